//! Commands with several keys: split over the servers and joined again, or refused with the reason.

mod support;

use support::{RedisServer, Shards, Value, encode, eventually};

/// The command's name, then the arguments.
fn request<A: AsRef<str>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    all.extend(
        arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned()),
    );
    all
}

#[test]
fn ten_thousand_keys_at_once() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    let keys: Vec<String> = (0..10_000).map(|n| format!("key:{n}")).collect();
    let pairs = keys
        .iter()
        .flat_map(|key| [key.clone(), format!("value of {key}")]);
    assert_eq!(client.cmd(&request("MSET", pairs)), Value::ok());
    for server in &shards.servers {
        let Value::Int(held) = server.client().cmd(&["DBSIZE"]) else {
            panic!("no size")
        };
        assert!(held > 2000, "{held} of {} keys", keys.len());
    }
    let values = keys
        .iter()
        .map(|key| Value::bulk(format!("value of {key}")));
    assert_eq!(
        client.cmd(&request("MGET", &keys)),
        Value::Array(values.collect())
    );
    for name in ["EXISTS", "TOUCH"] {
        assert_eq!(
            client.cmd(&request(name, &keys)),
            Value::Int(10_000),
            "{name}"
        );
    }
    let (deleted, unlinked) = keys.split_at(3000);
    assert_eq!(client.cmd(&request("DEL", deleted)), Value::Int(3000));
    assert_eq!(client.cmd(&request("DEL", deleted)), Value::Int(0));
    assert_eq!(client.cmd(&request("EXISTS", &keys)), Value::Int(7000));
    assert_eq!(client.cmd(&request("UNLINK", unlinked)), Value::Int(7000));
    assert_eq!(
        client.cmd(&request("MGET", &keys)),
        Value::Array(vec![Value::Nil; 10_000])
    );
    // One part per server, never per key.
    assert_eq!(shards.stat("fragments"), 9 * 3);
}

#[test]
fn the_same_key_several_times() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    // The last of equal keys counts, as in Redis.
    assert_eq!(client.cmd(&["MSET", a, "1", b, "2", a, "3"]), Value::ok());
    let got = client.cmd(&["MGET", b, a, a, "none", b, a]);
    assert_eq!(
        got,
        Value::Array(vec![
            Value::bulk("2"),
            Value::bulk("3"),
            Value::bulk("3"),
            Value::Nil,
            Value::bulk("2"),
            Value::bulk("3"),
        ])
    );
    assert_eq!(client.cmd(&["EXISTS", a, b, a, a]), Value::Int(4));
    assert_eq!(client.cmd(&["TOUCH", a, b, a]), Value::Int(3));
    assert_eq!(client.cmd(&["UNLINK", a, a]), Value::Int(1));
    assert_eq!(client.cmd(&["DEL", b, a, b]), Value::Int(1));
}

#[test]
fn keys_of_the_wrong_type_and_large_values_within_a_part() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    assert_eq!(client.cmd(&["RPUSH", a, "x"]), Value::Int(1));
    let large = vec![b'l'; 3 << 20];
    let request = [
        b"MSET".as_slice(),
        b.as_bytes(),
        &large,
        shards.key(0, 1).as_bytes(),
        &large,
    ];
    assert_eq!(client.cmd(&request), Value::ok());
    let got = client.cmd(&["MGET", a, b, shards.key(0, 1)]);
    assert!(got == Value::Array(vec![Value::Nil, Value::bulk(&large), Value::bulk(&large)]));
    assert_eq!(client.cmd(&["EXISTS", a, b]), Value::Int(2));
    // A whole value of another type is replaced.
    assert_eq!(client.cmd(&["MSET", a, "1", b, "2"]), Value::ok());
    assert_eq!(client.cmd(&["MGET", a, b]), Value::bulks(&["1", "2"]));
}

#[test]
fn an_error_of_one_part_is_the_reply() {
    let full = RedisServer::with_args(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let shards = Shards::over(vec![RedisServer::start(), full], |pool| pool, &[]);
    let mut client = shards.client();
    let (good, bad) = (shards.key(0, 0), shards.key(1, 0));
    let own = shards.servers[1].client().cmd(&["MSET", bad, "v"]);
    assert!(own.error().starts_with("OOM "), "{own:?}");
    for request in [["MSET", good, "1", bad, "1"], ["MSET", bad, "2", good, "2"]] {
        let replies = client.pipeline(&[&["PING"], &request, &["GET", good]]);
        assert_eq!(
            replies,
            [
                Value::Simple("PONG".into()),
                own.clone(),
                Value::bulk(request[if request[1] == good { 2 } else { 4 }])
            ]
        );
    }
    // A refused part is the server's error, none of the proxy's.
    assert_eq!(shards.stat("forward_error"), 0);
}

#[test]
fn a_part_whose_server_is_down_fails_the_request_and_nothing_else() {
    let mut shards = Shards::start(3);
    let mut client = shards.client();
    let keys: Vec<String> = (0..3)
        .map(|server| shards.key(server, 0).to_owned())
        .collect();
    let [a, b, c] = [&*keys[0], &*keys[1], &*keys[2]];
    assert_eq!(client.cmd(&["MSET", a, "1", b, "2", c, "3"]), Value::ok());
    shards.servers[1].kill();
    let address = shards.servers[1].addr();
    eventually("the loss is seen", || {
        shards.server_stat(1, "server_connections") == 0
    });
    let down = format!("ERR Connection refused: server {address} (server2)");
    for request in [
        ["MGET", a, b, c].as_slice(),
        &["DEL", b, a],
        &["EXISTS", "x", "y", "z", a, b, c],
        &["MSET", c, "4", b, "5"],
        &["TOUCH", b],
    ] {
        let replies = client.pipeline(&[&["GET", a], request, &["GET", c]]);
        assert_eq!(replies[1].error(), down, "{request:?}");
        assert!(!replies[2].is_error(), "{:?}", replies[2]);
    }
    assert_eq!(shards.stat("forward_error"), 5);
    // The parts of other servers were executed.
    assert_eq!(
        client.cmd(&["MGET", a, c]),
        Value::Array(vec![Value::Nil, Value::bulk("4")])
    );
    shards.servers[1].restart();
    eventually("it is back", || !client.cmd(&["GET", b]).is_error());
    assert_eq!(client.cmd(&["MSET", a, "1", b, "2", c, "3"]), Value::ok());
    assert_eq!(
        client.cmd(&["MGET", a, b, c]),
        Value::bulks(&["1", "2", "3"])
    );
}

#[test]
fn a_server_lost_within_requests_leaves_them_in_doubt() {
    let mut shards = Shards::start(2);
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0).to_owned(), shards.key(1, 0).to_owned());
    assert_eq!(client.cmd(&["MSET", &a, "1", &b, "2"]), Value::ok());
    shards.servers[1].pause();
    client.send(encode(&["MSET", &a, "3", &b, "4"]));
    client.send(encode(&["MGET", &a, &b]));
    client.send(encode(&["GET", &a]));
    eventually("the requests are on their way", || {
        shards.server_stat(1, "out_queue") == 2
    });
    eventually("the other has answered", || {
        shards.server_stat(0, "responses") == 4
    });
    shards.servers[1].kill();
    let (write, read) = (client.read(), client.read());
    let who = format!("server {} (server2)", shards.servers[1].addr());
    let doubt = "; the command may or may not have been applied";
    assert!(write.error().starts_with("ERR Connection "), "{write:?}");
    assert!(
        write.error().ends_with(&format!("{who}{doubt}")),
        "{write:?}"
    );
    assert!(read.error().ends_with(&who), "{read:?}");
    assert_eq!(client.read(), Value::bulk("3"));
    assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
}

#[test]
fn wrong_numbers_of_arguments_and_keys_are_refused_as_redis_does() {
    let shards = Shards::start(2);
    let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
    for request in [
        ["MSET"].as_slice(),
        &["MSET", "a"],
        &["MSET", "a", "1", "b"],
        &["MGET"],
        &["DEL"],
        &["EXISTS"],
        &["UNLINK"],
        &["TOUCH"],
        &["MSETNX", "a", "1", "b"],
        &["GET"],
        &["GET", "a", "b"],
        &["ZUNION", "x", "a"],
        &["SINTERCARD", "0", "a"],
        &["SINTERCARD", "2", "a"],
        &["LMPOP", "0", "a", "LEFT"],
        &["ZMPOP", "0", "a", "MIN"],
        &["EVAL", "return 1", "x", "a"],
        &["EVAL", "return 1", "2", "a"],
        &["XREAD", "COUNT", "1", "a", "0"],
    ] {
        let (ours, theirs) = (client.cmd(request), redis.cmd(request));
        assert!(
            ours.is_error() && ours == theirs,
            "{request:?}: {ours:?}, Redis: {theirs:?}"
        );
    }
    // Redis words these differently for each command.
    for request in [
        ["ZUNION", "0", "a"].as_slice(),
        &["ZUNIONSTORE", "d", "0", "a"],
        &["ZINTER", "2", "a"],
        &["LMPOP", "x", "a", "LEFT"],
        &["LMPOP", "9223372036854775807", "a", "LEFT"],
        &["EVAL", "return 1", "-1", "a"],
        &["XREAD", "STREAMS", "a", "b", "0"],
    ] {
        let (ours, theirs) = (client.cmd(request), redis.cmd(request));
        assert!(
            ours.is_error() && theirs.is_error(),
            "{request:?}: {ours:?}"
        );
    }
}

#[test]
fn scripts_without_keys_run_on_the_server_of_the_placeholder() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    let count = "return redis.call('INCR', 'placeholder')";
    for (n, arguments) in [(1, ["0", "0"].as_slice()), (2, &["0"]), (3, &["0", "x"])] {
        let request = [&["EVAL", count], arguments].concat();
        assert_eq!(client.cmd(&request), Value::Int(n), "{request:?}");
    }
    assert_eq!(client.cmd(&["GET", "placeholder"]), Value::bulk("3"));
    let sha = "0".repeat(40);
    assert_eq!(
        client.cmd(&["EVALSHA", &sha, "0"]).error(),
        "NOSCRIPT No matching script. Please use EVAL."
    );
}

#[test]
fn keys_on_different_servers_are_named_with_their_servers() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    let (a, b, c) = (shards.key(0, 0), shards.key(1, 0), shards.key(2, 0));
    let crossing: &[(&[&str], &str, &str)] = &[
        (&["RENAME", a, b], a, b),
        (&["COPY", b, c], b, c),
        (&["SMOVE", a, c, "m"], a, c),
        (&["LMOVE", b, a, "LEFT", "RIGHT"], b, a),
        (&["MSETNX", a, "1", shards.key(0, 1), "1", b, "1"], a, b),
        (&["SINTER", a, shards.key(0, 1), c], a, c),
        (&["SUNIONSTORE", a, b], a, b),
        (&["SINTERCARD", "2", a, b, "LIMIT", "3"], a, b),
        (&["PFCOUNT", a, b], a, b),
        (&["PFMERGE", a, a, b], a, b),
        (&["BITOP", "AND", a, b, c], a, b),
        (&["LCS", a, b], a, b),
        (&["ZUNION", "2", a, b, "WITHSCORES"], a, b),
        (&["ZINTERSTORE", c, "2", c, a], c, a),
        (&["ZDIFFSTORE", c, "1", b], c, b),
        (&["ZRANGESTORE", a, b, "0", "-1"], a, b),
        (&["LMPOP", "2", a, b, "LEFT"], a, b),
        (&["ZMPOP", "2", a, b, "MIN"], a, b),
        (&["EVAL", "return 1", "2", a, b], a, b),
        (&["SORT", a, "LIMIT", "0", "1", "STORE", b], a, b),
        (&["GEORADIUS", a, "0", "0", "1", "m", "STORE", c], a, c),
        (
            &[
                "GEOSEARCHSTORE",
                a,
                b,
                "FROMLONLAT",
                "0",
                "0",
                "BYRADIUS",
                "1",
                "m",
            ],
            a,
            b,
        ),
        (&["XREAD", "COUNT", "1", "STREAMS", a, b, "0", "0"], a, b),
    ];
    for (request, first, other) in crossing {
        let server = |key: &str| {
            (0..3)
                .find(|&s| shards.key(s, 0) == key)
                .expect("one of three")
                + 1
        };
        let name = request[0].to_ascii_lowercase();
        let expected = format!(
            "CROSSSLOT keys of '{name}' live on different servers: '{first}' on server{}, '{other}' on server{}",
            server(first),
            server(other),
        );
        let replies = client.pipeline(&[&["PING"], request, &["GET", a]]);
        assert_eq!(replies[1].error(), expected);
        assert_eq!(
            (&replies[0], &replies[2]),
            (&Value::Simple("PONG".into()), &Value::Nil)
        );
    }
    assert_eq!(shards.stat("forward_error"), crossing.len() as u64);
    let requests: u64 = (0..3)
        .map(|server| shards.server_stat(server, "requests"))
        .sum();
    assert_eq!(requests, crossing.len() as u64, "only the GETs have left");
}

/// The list's server would look up the keys of patterns that live elsewhere, and find none.
#[test]
fn patterns_of_sort_are_refused_unless_their_keys_are_there() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    let (here, there) = (shards.key(0, 0), shards.key(1, 0));
    let list = format!("{{{here}}}list");
    assert_eq!(client.cmd(&["RPUSH", &list, "1", "2"]), Value::Int(2));
    for (n, weight) in [("1", "9"), ("2", "3")] {
        assert_eq!(
            client.cmd(&["SET", &format!("{{{here}}}w_{n}"), weight]),
            Value::ok()
        );
    }
    let at = |key: &str, rest: &str| format!("{{{key}}}{rest}");
    let strays = [
        "w_*".to_owned(),
        "*".to_owned(),
        at(there, "w_*"),
        format!("*{}", at(here, "")),
        format!("*->{}", at(here, "")),
        format!("{{}}{}", at(here, "*")),
        at("*", ""),
        at(&format!("{here}*"), ""),
        format!("{here}*"),
    ];
    for (command, name) in [("SORT", "SORT"), ("sort_ro", "SORT_RO")] {
        for stray in &strays {
            for option in ["BY", "get"] {
                let reply = client.cmd(&[command, &list, "ASC", option, stray, "GET", "#"]);
                let expected = format!(
                    "CROSSSLOT {} option of {name} denied when keys formed by the pattern may be on \
                     different servers",
                    option.to_ascii_uppercase()
                );
                assert_eq!(reply.error(), expected, "{stray}");
            }
        }
        let mine = at(here, "w_*");
        for (options, expected) in [
            (&["BY", &mine][..], Value::bulks(&["2", "1"])),
            (
                &["GET", &mine, "GET", "#"],
                Value::bulks(&["9", "1", "3", "2"]),
            ),
            (&["BY", "nosort", "GET", "#"], Value::bulks(&["1", "2"])),
            (&["GET", there], Value::Array(vec![Value::Nil, Value::Nil])),
            (&["LIMIT", "1", "1"], Value::bulks(&["2"])),
        ] {
            let request = [&[command, &list], options].concat();
            assert_eq!(client.cmd(&request), expected, "{options:?}");
        }
    }
    // So in a transaction, which this ends.
    let replies = client.pipeline(&[
        &["MULTI"],
        &["SORT", &list, "BY", &at(here, "w_*")],
        &["SORT", &list, "BY", "w_*"],
        &["EXEC"],
        &["GET", &list],
    ]);
    assert!(
        replies[2]
            .error()
            .starts_with("CROSSSLOT BY option of SORT")
    );
    assert!(replies[3].error().starts_with("EXECABORT "), "{replies:?}");
    assert!(replies[4].error().starts_with("WRONGTYPE "), "{replies:?}");
}

#[test]
fn patterns_of_sort_are_served_where_there_is_one_server() {
    let shards = Shards::start(1);
    let mut client = shards.client();
    client.cmd(&["RPUSH", "list", "1", "2"]);
    client.cmd(&["MSET", "w_1", "9", "w_2", "3"]);
    let reply = client.cmd(&["SORT", "list", "BY", "w_*", "GET", "w_*"]);
    assert_eq!(reply, Value::bulks(&["3", "9"]));
}

/// In the words of the Redis that is asked beside it.
#[test]
fn wrong_numbers_of_keys_are_refused_as_by_redis() {
    let shards = Shards::start(2);
    let (mut ours, mut theirs) = (shards.client(), shards.servers[0].client());
    let library = "#!lua name=l\nredis.register_function('f', function() return 1 end)";
    for server in &shards.servers {
        server.client().cmd(&["FUNCTION", "LOAD", library]);
    }
    let hash = "f".repeat(40);
    for request in [
        "LMPOP N a LEFT",
        "ZMPOP N a MIN",
        "BLMPOP 1 N a LEFT",
        "BZMPOP 1 N a MIN",
        "SINTERCARD N a",
        "ZINTERCARD N a",
        "ZUNION N a",
        "ZINTER N a",
        "ZDIFF N a",
        "ZUNIONSTORE d N a",
        "ZINTERSTORE d N a",
        "ZDIFFSTORE d N a",
        "EVAL s N a",
        "EVAL_RO s N a",
        "EVALSHA H N a",
        "EVALSHA_RO H N a",
        "FCALL f N a",
        "FCALL_RO f N a",
    ] {
        for number in ["x", "", "-1", "0", "9", "99999999999999999999"] {
            if number == "0"
                && ["EVAL", "FCALL"]
                    .iter()
                    .any(|name| request.starts_with(name))
            {
                continue;
            }
            let words = request.split(' ').map(|word| match word {
                "N" => number,
                "H" => &hash,
                word => word,
            });
            let words: Vec<&str> = words.collect();
            let (ours, theirs) = (ours.cmd(&words), theirs.cmd(&words));
            assert!(theirs.is_error(), "{words:?}: {theirs:?}");
            assert_eq!(ours, theirs, "{words:?}");
        }
    }
    for request in [
        "XREAD STREAMS a b 0",
        "XREAD COUNT 1 STREAMS",
        "XREAD COUNT 1 a 0",
        "XREADGROUP GROUP g c STREAMS a b 0",
    ] {
        let words: Vec<&str> = request.split(' ').collect();
        let (ours, theirs) = (ours.cmd(&words), theirs.cmd(&words));
        assert!(theirs.is_error(), "{request}: {theirs:?}");
        assert_eq!(ours, theirs, "{request}");
    }
}

#[test]
fn binary_keys_cannot_break_the_error_that_names_them() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    for tail in ["\r\n+OK\r\n", "\0", "\u{1b}[31m", &"x".repeat(1000)] {
        // Only what is in the braces is hashed.
        let (a, b) = (format!("{{{a}}}{tail}"), format!("{{{b}}}{tail}"));
        let replies = client.pipeline(&[&["RENAME", &a, &b], &["PING"]]);
        assert!(
            replies[0].error().starts_with("CROSSSLOT keys of 'rename'"),
            "{:?}",
            replies[0]
        );
        assert!(replies[0].error().len() < 500, "{:?}", replies[0]);
        assert_eq!(replies[1], Value::Simple("PONG".into()));
    }
}

#[test]
fn hash_tags_bring_keys_together() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    let tag = |name: &str| format!("{{{}}}{name}", shards.key(2, 0));
    let [a, b, c, stream] = ["a", "b", "c", "stream"].map(tag);
    let (a, b, c) = (&*a, &*b, &*c);
    let script = "redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[2])";
    let steps: &[(&[&str], Value)] = &[
        (&["ZADD", a, "1", "x", "2", "y"], Value::Int(2)),
        (&["ZADD", b, "5", "y"], Value::Int(1)),
        (&["ZUNION", "2", a, b], Value::bulks(&["x", "y"])),
        (
            &["ZINTERSTORE", c, "2", a, b, "WEIGHTS", "1", "2"],
            Value::Int(1),
        ),
        (&["ZSCORE", c, "y"], Value::bulk("12")),
        (
            &["ZMPOP", "2", a, b, "MAX"],
            Value::Array(vec![
                Value::bulk(a),
                Value::Array(vec![Value::bulks(&["y", "2"])]),
            ]),
        ),
        (&["DEL", a, b, c], Value::Int(3)),
        (&["RPUSH", a, "3", "1", "2"], Value::Int(3)),
        (&["SORT", a, "STORE", b], Value::Int(3)),
        (&["LRANGE", b, "0", "-1"], Value::bulks(&["1", "2", "3"])),
        (&["SORT_RO", a, "DESC"], Value::bulks(&["3", "2", "1"])),
        (
            &["LMPOP", "2", c, b, "LEFT", "COUNT", "2"],
            Value::Array(vec![Value::bulk(b), Value::bulks(&["1", "2"])]),
        ),
        (&["LMOVE", a, c, "LEFT", "RIGHT"], Value::bulk("3")),
        (&["RENAME", c, a], Value::ok()),
        (&["DEL", a, b], Value::Int(2)),
        (&["MSETNX", a, "1", b, "2"], Value::Int(1)),
        (&["MSETNX", b, "1", c, "2"], Value::Int(0)),
        (&["EVAL", script, "2", c, b, "7"], Value::bulk("2")),
        (
            &["EVAL_RO", "return redis.call('get', KEYS[1])", "1", c],
            Value::bulk("7"),
        ),
        (&["MGET", a, b, c], Value::bulks(&["1", "2", "7"])),
        (&["BITOP", "OR", c, a, b], Value::Int(1)),
        (&["GET", c], Value::bulk("3")),
        (&["XADD", &stream, "1-1", "f", "v"], Value::bulk("1-1")),
    ];
    for (request, expected) in steps {
        assert_eq!(&client.cmd(request), expected, "{request:?}");
    }
    // One server has it all, and a request that stays there is not split.
    assert_eq!(shards.servers[2].client().cmd(&["DBSIZE"]), Value::Int(4));
    assert_eq!(shards.stat("fragments"), 0);
}
