//! What the proxy answers itself: what concerns a client's own connection and what any server could say; and
//! what is not offered.

mod support;

use support::{Shards, Value, encode};

fn pong() -> Value {
    Value::Simple("PONG".into())
}

#[test]
fn commands_about_the_connection() {
    let shards = Shards::start_with(1, |pool| pool.set("redis_db", 3), &[]);
    let (mut client, mut other) = (shards.client(), shards.client());
    let (Value::Int(id), Value::Int(other_id)) =
        (client.cmd(&["CLIENT", "ID"]), other.cmd(&["client", "id"]))
    else {
        panic!("no id")
    };
    assert!(id > 0 && other_id > 0 && id != other_id, "{id} {other_id}");
    assert_eq!(client.cmd(&["CLIENT", "ID"]), Value::Int(id));
    assert_eq!(client.cmd(&["CLIENT", "GETNAME"]), Value::Nil);
    assert_eq!(client.cmd(&["CLIENT", "SETNAME", "worker-1"]), Value::ok());
    assert_eq!(client.cmd(&["CLIENT", "GETNAME"]), Value::bulk("worker-1"));
    assert_eq!(other.cmd(&["CLIENT", "GETNAME"]), Value::Nil);
    assert_eq!(client.cmd(&["CLIENT", "SETNAME", ""]), Value::ok());
    assert_eq!(client.cmd(&["CLIENT", "GETNAME"]), Value::Nil);
    assert_eq!(
        client.cmd(&["CLIENT", "SETINFO", "LIB-NAME", "redis-py"]),
        Value::ok()
    );
    let mut redis = shards.servers[0].client();
    for request in [
        ["CLIENT"].as_slice(),
        &["CLIENT", "SETNAME"],
        &["CLIENT", "SETNAME", "a b"],
        &["CLIENT", "SETNAME", "a\n"],
        &["CLIENT", "GETNAME", "x"],
        &["CLIENT", "ID", "x"],
        &["PING", "a", "b"],
        &["ECHO"],
        &["SELECT", "x"],
        &["SELECT"],
        &["RESET", "x"],
        &["TIME", "x"],
        &["CLIENT", "no\r\nsuch"],
        &["client", ""],
        &["OBJECT"],
        &["oBject", "encodin", "k"],
        &["CONFIG", "x"],
    ] {
        assert_eq!(client.cmd(request), redis.cmd(request), "{request:?}");
    }
    assert_eq!(client.cmd(&["SELECT", "3"]), Value::ok());
    for database in ["0", "15", "-1", "99999999999999999999"] {
        assert!(client.cmd(&["SELECT", database]).is_error(), "{database}");
    }
    // The pool's database, whatever the client said.
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    assert_eq!(redis.cmd(&["EXISTS", "k"]), Value::Int(0));
    assert_eq!(redis.cmd(&["SELECT", "3"]), Value::ok());
    assert_eq!(redis.cmd(&["EXISTS", "k"]), Value::Int(1));
}

#[test]
fn a_pool_looks_like_a_redis_that_is_alone() {
    let shards = Shards::start(2);
    let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
    for version in ["2", "3"] {
        for client in [&mut client, &mut redis] {
            assert!(!client.cmd(&["HELLO", version]).is_error());
        }
        for request in [
            "CLUSTER INFO",
            "cluster slots",
            "CLUSTER SHARDS",
            "CLUSTER HELP",
            "CLUSTER KEYSLOT",
            "CLUSTER NOPE",
            "READONLY",
            "READWRITE",
            "ASKING",
            "ROLE",
            "MODULE LIST",
            "SLOWLOG GET",
            "SLOWLOG GET 10",
            "SLOWLOG LEN",
            "SLOWLOG RESET",
            "SLOWLOG HELP",
            "LATENCY LATEST",
            "LATENCY HISTORY command",
            "LATENCY RESET",
            "LATENCY HISTOGRAM blpop",
            "LATENCY HELP",
            "ACL WHOAMI",
            "ACL CAT",
            "ACL CAT hyperloglog",
            "ACL HELP",
            "AUTH default anything",
            "AUTH somebody anything",
            "HELLO 2 AUTH somebody anything",
            "PING",
            "PING x",
            "ECHO x",
        ] {
            let request: Vec<&str> = request.split(' ').collect();
            for client in [&mut client, &mut redis] {
                client.send(encode(&request));
            }
            let (ours, theirs) = (client.read_raw(), redis.read_raw());
            let [ours, theirs] = [ours, theirs].map(|reply| reply.escape_ascii().to_string());
            assert_eq!(ours, theirs, "{request:?} by version {version}");
        }
    }
    assert_eq!(
        client.cmd(&["ACL", "SETUSER", "x", "on"]).error(),
        "ERR unsupported command 'acl|setuser': a pool has one user, whose rights are its \
         deny_commands and allow_commands"
    );
}

#[test]
fn ping_and_echo_and_quit() {
    let shards = Shards::start(1);
    let mut client = shards.client();
    let large = vec![b'x'; 1 << 20];
    assert_eq!(client.cmd(&["PING"]), pong());
    assert_eq!(client.cmd(&["ping", "hello"]), Value::bulk("hello"));
    assert!(client.cmd(&[b"ECHO".as_slice(), &large]) == Value::bulk(&large));
    let bytes = [
        encode(&["GET", "a"]),
        encode(&["QUIT", "now"]),
        encode(&["SET", "a", "never"]),
    ];
    client.send(bytes.concat());
    assert_eq!(client.read(), Value::Nil);
    assert_eq!(client.read(), Value::ok());
    client.expect_closed();
    assert_eq!(shards.client().cmd(&["GET", "a"]), Value::Nil);
}

#[test]
fn commands_that_any_server_can_answer() {
    let shards = Shards::start(3);
    let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
    for request in [
        ["COMMAND"].as_slice(),
        &["COMMAND", "COUNT"],
        &["COMMAND", "DOCS"],
        &["COMMAND", "DOCS", "get"],
        &["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"],
        &["COMMAND", "LIST"],
        &["LOLWUT", "VERSION", "5", "1", "1", "1"],
        &["OBJECT", "HELP"],
        &["CLIENT", "HELP"],
        &["XGROUP", "HELP"],
    ] {
        let (ours, theirs) = (client.cmd(request), redis.cmd(request));
        assert!(
            ours == theirs && !ours.is_error(),
            "{request:?}: {ours:?}, Redis: {theirs:?}"
        );
    }
    let Value::Array(time) = client.cmd(&["TIME"]) else {
        panic!("no time")
    };
    assert_eq!(time.len(), 2);
    assert!(matches!(client.cmd(&["LOLWUT"]), Value::Bulk(text) if !text.is_empty()));
    let Value::Bulk(info) = client.cmd(&["INFO"]) else {
        panic!("no text")
    };
    let info = String::from_utf8(info).expect("text");
    for line in [
        "redis_mode:standalone",
        "loading:0",
        "role:master",
        "pool:alpha",
        "servers:3",
    ] {
        assert!(info.lines().any(|found| found == line), "{line} in {info}");
    }
    assert!(matches!(
        client.cmd(&["INFO", "server", "memory"]),
        Value::Bulk(_)
    ));
}

#[test]
fn what_is_not_offered_disturbs_nothing_around_it() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let mut redis = shards.servers[0].client();
    let unknown: &[&[&str]] = &[
        &["NOPE"],
        &["nope", "a", "b\r\nc"],
        &["", "x"],
        &["GE", "a"],
        &["GETT", "a", "b", "c"],
        &[&"n".repeat(500), &"a".repeat(500), "b"],
        &[
            "nope",
            &"a".repeat(100),
            &"b".repeat(100),
            &"c".repeat(100),
            "d",
        ],
    ];
    for request in unknown {
        let replies = client.pipeline(&[&["SET", "a", "1"], request, &["GET", "a"]]);
        assert_eq!(
            replies,
            [Value::ok(), redis.cmd(request), Value::bulk("1")],
            "{request:?}"
        );
    }
    let refused: &[(&[&str], &str)] = &[
        (
            &["CLUSTERSCAN", "0"],
            "it would have to run on every server",
        ),
        (
            &["FLUSHALL"],
            "pool alpha has to allow it with allow_flush: true",
        ),
        (
            &["SCRIPT", "DEBUG", "YES"],
            "it would stop the server for all clients",
        ),
        (
            &["TS.READ", "1", "a"],
            "blocking commands of modules are not supported",
        ),
        (
            &["MONITOR"],
            "server administration is not passed through the proxy",
        ),
        (
            &["CONFIG", "SET", "save", ""],
            "servers are configured one by one, not through the proxy",
        ),
        (
            &["SHUTDOWN", "NOSAVE"],
            "server administration is not passed through the proxy",
        ),
    ];
    let before = shards.stat("forward_error");
    for (request, reason) in refused {
        let replies =
            client.pipeline(&[&["MSET", "a", "1", "b", "2"], request, &["MGET", "a", "b"]]);
        let name = match request {
            ["SCRIPT" | "CONFIG", subcommand, ..] => format!("{}|{subcommand}", request[0]),
            _ => request[0].to_owned(),
        };
        let name = name.to_ascii_lowercase();
        assert_eq!(
            replies[1].error(),
            format!("ERR unsupported command '{name}': {reason}")
        );
        assert_eq!(
            (&replies[0], &replies[2]),
            (&Value::ok(), &Value::bulks(&["1", "2"]))
        );
    }
    for request in [
        ["XREAD", "BLOCK", "0", "STREAMS", "a"].as_slice(),
        &["OBJECT", "NOPE"],
        &["GET"],
    ] {
        let replies = client.pipeline(&[&["GET", "a"], request, &["GET", "b"]]);
        assert!(replies[1].is_error(), "{request:?}");
        assert_eq!(
            (&replies[0], &replies[2]),
            (&Value::bulk("1"), &Value::bulk("2"))
        );
    }
    assert_eq!(
        shards.stat("forward_error"),
        before + refused.len() as u64 + 3
    );
}
