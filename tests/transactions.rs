//! MULTI, EXEC, DISCARD, WATCH and UNWATCH through the proxy, beside a Redis that is asked directly.

mod support;

use support::{Client, RedisServer, Shards, Value, encode, eventually};

fn shards() -> Shards {
    Shards::start(3)
}

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}

const QUEUED: &str = "QUEUED";

fn queued() -> Value {
    Value::Simple(QUEUED.to_owned())
}

/// Whatever keys of one server are used, the replies are those of Redis.
#[test]
fn replies_are_those_of_redis() {
    let shards = shards();
    let redis = RedisServer::start();
    let (a, b) = (shards.key(1, 0), shards.key(1, 1));
    let scripts: &[&[&str]] = &[
        &["MULTI", "SET a 1", "INCR a", "GET a", "EXEC", "GET a"],
        &["MULTI", "SET a 2", "DISCARD", "GET a"],
        &["MULTI", "EXEC"],
        &["MULTI", "DISCARD"],
        &["EXEC"],
        &["DISCARD"],
        &["UNWATCH"],
        &["MULTI", "MULTI", "SET a 3", "EXEC", "GET a"],
        &["MULTI", "WATCH a", "SET a 4", "EXEC", "GET a"],
        &["MULTI", "NOSUCH a", "SET a 5", "EXEC", "GET a"],
        &["MULTI", "GET", "SET a 6", "EXEC", "GET a"],
        &["MULTI", "LPUSH a x", "SET b 7", "EXEC", "GET b"],
        &["MULTI", "PING", "ECHO hello", "EXEC"],
        &["MULTI", "PING", "SET a 8", "PING hi", "EXEC"],
        &["WATCH a", "MULTI", "SET a 9", "EXEC", "GET a"],
        &["WATCH a b", "GET a", "UNWATCH", "MULTI", "GET a", "EXEC"],
        &["WATCH a", "SET a 10", "MULTI", "SET a 11", "EXEC", "GET a"],
        &["WATCH a", "SET a 10", "MULTI", "PING", "EXEC", "GET a"],
        &["WATCH a", "MULTI", "EXEC"],
        &["WATCH a", "SET a 12", "MULTI", "EXEC"],
        &[
            "WATCH a", "SET a 13", "MULTI", "DISCARD", "MULTI", "SET a 14", "EXEC",
        ],
        &["MULTI", "UNWATCH", "SET a 15", "EXEC"],
        &["MULTI", "MSET a 1 b 2", "MGET a b", "DEL a b", "EXEC"],
        &["MULTI", "BLPOP nothing{a} 0", "EXEC"],
        &["MULTI", "SET a 1", "RESET", "EXEC", "GET a"],
        &["EXEC now", "MULTI", "EXEC now", "EXEC"],
    ];
    for script in scripts {
        for at_once in [false, true] {
            let (mut ours, mut theirs) = (shards.client(), redis.client());
            let commands: Vec<Vec<String>> = script
                .iter()
                .filter(|line| !line.contains("nothing"))
                .map(|line| {
                    let words = line.split(' ').map(|word| match word {
                        "a" => a.to_owned(),
                        "b" => b.to_owned(),
                        word => word.to_owned(),
                    });
                    words.collect()
                })
                .collect();
            if at_once {
                let bytes: Vec<u8> = commands.iter().flat_map(|c| encode(c)).collect();
                ours.send(&bytes);
                theirs.send(&bytes);
            }
            for command in &commands {
                if !at_once {
                    ours.send(encode(command));
                    theirs.send(encode(command));
                }
                let (ours, theirs) = (ours.read(), theirs.read());
                assert_eq!(
                    ours, theirs,
                    "{command:?} of {script:?}, at once: {at_once}"
                );
            }
        }
    }
}

#[test]
fn a_second_server_is_refused_and_aborts() {
    let shards = shards();
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    assert_eq!(client.cmd(&["MULTI"]), Value::ok());
    assert_eq!(client.cmd(&["SET", a, "1"]), queued());
    let refused = client.cmd(&["SET", b, "1"]);
    assert!(refused.error().starts_with("CROSSSLOT "), "{refused:?}");
    assert_eq!(client.cmd(&["SET", a, "2"]), queued());
    let aborted = error("EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(client.cmd(&["EXEC"]), aborted);
    assert_eq!(
        client.cmd(&["MGET", a, b]),
        Value::Array(vec![Value::Nil, Value::Nil])
    );
    // The same with one request of keys on two servers, and with watched keys.
    assert_eq!(client.cmd(&["MULTI"]), Value::ok());
    assert!(
        client
            .cmd(&["MGET", a, b])
            .error()
            .starts_with("CROSSSLOT ")
    );
    assert_eq!(client.cmd(&["EXEC"]), aborted);
    assert!(
        client
            .cmd(&["WATCH", a, b])
            .error()
            .starts_with("CROSSSLOT ")
    );
    assert_eq!(client.cmd(&["WATCH", a]), Value::ok());
    assert!(client.cmd(&["WATCH", b]).error().starts_with("CROSSSLOT "));
    assert_eq!(client.cmd(&["MULTI"]), Value::ok());
    assert!(
        client
            .cmd(&["SET", b, "1"])
            .error()
            .starts_with("CROSSSLOT ")
    );
    assert_eq!(client.cmd(&["EXEC"]), aborted);
    assert_eq!(client.cmd(&["SET", b, "3"]), Value::ok());
}

#[test]
fn a_watched_key_that_another_client_changes_stops_exec() {
    let shards = shards();
    let (mut client, mut other) = (shards.client(), shards.client());
    let key = shards.key(2, 0);
    assert_eq!(client.cmd(&["WATCH", key]), Value::ok());
    assert_eq!(client.cmd(&["GET", key]), Value::Nil);
    assert_eq!(other.cmd(&["SET", key, "theirs"]), Value::ok());
    let all: [&[&str]; 3] = [&["MULTI"], &["SET", key, "mine"], &["EXEC"]];
    assert_eq!(client.pipeline(&all), [Value::ok(), queued(), Value::Nil]);
    assert_eq!(client.cmd(&["GET", key]), Value::bulk("theirs"));
    // Nothing of it is left on the connection for whoever gets it next.
    assert_eq!(other.pipeline(&all)[2], Value::Array(vec![Value::ok()]));
}

/// What one client left open never meets another, however it left.
#[test]
fn a_client_that_leaves_takes_its_transaction_with_it() {
    let shards = shards();
    let key = shards.key(0, 0);
    for leave in ["MULTI", "WATCH"] {
        let mut client = shards.client();
        match leave {
            "MULTI" => {
                let all: [&[&str]; 2] = [&["MULTI"], &["SET", key, "half"]];
                assert_eq!(client.pipeline(&all), [Value::ok(), queued()]);
            }
            _ => assert_eq!(client.cmd(&["WATCH", key]), Value::ok()),
        }
        drop(client);
        eventually("the connection is closed", || connections(&shards, 0) <= 1);
        let mut next = shards.client();
        let all: [&[&str]; 3] = [&["MULTI"], &["INCR", "{x}n"], &["EXEC"]];
        let replies = next.pipeline(&all);
        assert_eq!(replies[1], queued());
        assert!(
            matches!(&replies[2], Value::Array(one) if one.len() == 1),
            "{replies:?}"
        );
        assert_eq!(next.cmd(&["GET", key]), Value::Nil);
    }
}

/// Connections of the proxy to a server.
fn connections(shards: &Shards, server: usize) -> u64 {
    shards.server_stat(server, "server_connections")
}

#[test]
fn connections_are_used_again() {
    let shards = shards();
    let key = shards.key(0, 0);
    let all: [&[&str]; 3] = [&["MULTI"], &["INCR", key], &["EXEC"]];
    for n in 1..=50 {
        let mut client = shards.client();
        let replies = client.pipeline(&all);
        assert_eq!(replies[2], Value::Array(vec![Value::Int(n)]));
    }
    assert!(connections(&shards, 0) <= 4, "{}", connections(&shards, 0));
}

#[test]
fn as_many_as_allowed_have_a_connection() {
    let shards = Shards::start_with(1, |pool| pool.set("dedicated_connections", 2), &[]);
    let mut clients: Vec<Client> = (0..3).map(|_| shards.client()).collect();
    assert_eq!(clients[0].cmd(&["WATCH", "a"]), Value::ok());
    assert_eq!(clients[1].cmd(&["WATCH", "a"]), Value::ok());
    let refused = clients[2].cmd(&["WATCH", "a"]);
    assert!(
        refused.error().contains("dedicated_connections: 2"),
        "{refused:?}"
    );
    assert_eq!(clients[2].cmd(&["SET", "b", "1"]), Value::ok());
    assert_eq!(clients[0].cmd(&["UNWATCH"]), Value::ok());
    assert_eq!(clients[2].cmd(&["WATCH", "a"]), Value::ok());
}

/// Requests before and behind a transaction keep their place, on the same server and on others.
#[test]
fn pipelines_stay_in_order() {
    let shards = shards();
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    for round in 0..50 {
        let n = |k: i64| Value::Int(round * 4 + k);
        let all: [&[&str]; 11] = [
            &["INCR", a],
            &["INCR", b],
            &["MULTI"],
            &["INCR", a],
            &["INCR", a],
            &["EXEC"],
            &["INCR", a],
            &["MULTI"],
            &["GET", b],
            &["EXEC"],
            &["GET", a],
        ];
        let replies = client.pipeline(&all);
        assert_eq!(replies[0], n(1));
        assert_eq!(replies[5], Value::Array(vec![n(2), n(3)]), "{replies:?}");
        assert_eq!(replies[6], n(4));
        assert_eq!(
            replies[9],
            Value::Array(vec![Value::bulk((round + 1).to_string())])
        );
        assert_eq!(replies[10], Value::bulk((round * 4 + 4).to_string()));
    }
}

/// A server that dies between MULTI and EXEC executes nothing, and EXEC says so.
#[test]
fn exec_fails_whole_when_the_server_is_lost() {
    let mut shards = shards();
    let mut client = shards.client();
    let key = shards.key(0, 0).to_owned();
    let key = key.as_str();
    let begin: [&[&str]; 2] = [&["MULTI"], &["SET", key, "1"]];
    assert_eq!(client.pipeline(&begin), [Value::ok(), queued()]);
    shards.servers[0].kill();
    eventually("the proxy has noticed", || connections(&shards, 0) == 0);
    shards.servers[0].restart();
    let refused = client.cmd(&["SET", key, "2"]);
    assert!(
        refused.error().starts_with("ERR the connection to "),
        "{refused:?}"
    );
    let aborted = client.cmd(&["EXEC"]);
    assert!(aborted.error().starts_with("EXECABORT "), "{aborted:?}");
    eventually("the server is used again", || {
        client.cmd(&["GET", key]) == Value::Nil
    });
    // The client is as good as new.
    let all: [&[&str]; 3] = [&["MULTI"], &["SET", key, "3"], &["EXEC"]];
    assert_eq!(client.pipeline(&all)[2], Value::Array(vec![Value::ok()]));
    // Watched keys are lost as well.
    assert_eq!(client.cmd(&["WATCH", key]), Value::ok());
    shards.servers[0].kill();
    eventually("the proxy has noticed", || connections(&shards, 0) == 0);
    shards.servers[0].restart();
    eventually("the server is used again", || {
        !matches!(client.cmd(&["GET", key]), Value::Error(_))
    });
    let replies = client.pipeline(&all);
    assert!(replies[2].error().starts_with("EXECABORT "), "{replies:?}");
}

#[test]
fn exec_replies_in_the_clients_protocol() {
    let shards = shards();
    let mut client = shards.client();
    let key = shards.key(0, 0);
    client.cmd(&["HELLO", "3"]);
    let all: [&[&str]; 5] = [
        &["WATCH", key],
        &["MULTI"],
        &["HSET", key, "f", "v"],
        &["HGETALL", key],
        &["EXEC"],
    ];
    let bytes: Vec<u8> = all.iter().flat_map(|c| encode(c)).collect();
    client.send(bytes);
    client.read_n(4);
    assert_eq!(
        client.read_raw(),
        b"*2\r\n:1\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
    );
}

#[test]
fn what_is_for_all_servers_is_no_part_of_a_transaction() {
    let shards = shards();
    let mut client = shards.client();
    assert_eq!(client.cmd(&["MULTI"]), Value::ok());
    let refused = client.cmd(&["CLIENT", "ID"]);
    assert!(
        refused.error().contains("cannot be part of a transaction"),
        "{refused:?}"
    );
    assert!(client.cmd(&["EXEC"]).error().starts_with("EXECABORT"));
}

#[test]
fn keys_of_a_group_live_together() {
    let keys = ["rq:job:1", "rq:queue:default", "rq:queues", "rq:{tag}"];
    let add = |client: &mut Client| {
        assert_eq!(client.cmd(&["MULTI"]), Value::ok());
        let replies = keys.map(|key| client.cmd(&["RPUSH", key, "x"]));
        (replies, client.cmd(&["EXEC"]))
    };
    // Not by themselves.
    let apart = shards();
    let (replies, ended) = add(&mut apart.client());
    let refused = |reply: &Value| reply.is_error() && reply.error().starts_with("CROSSSLOT");
    assert!(replies.iter().any(refused), "{replies:?}");
    assert!(ended.error().starts_with("EXECABORT"), "{ended:?}");

    let groups = "{rq: [\"rq:\"], other: [\"rq:other:\"]}";
    let shards = Shards::start_with(3, |pool| pool.set("key_groups", groups), &[]);
    let mut client = shards.client();
    let (replies, ended) = add(&mut client);
    assert_eq!(replies, keys.map(|_| queued()));
    assert_eq!(ended, Value::Array(keys.map(|_| Value::Int(1)).to_vec()));
    let script = "return redis.call('exists', KEYS[1], KEYS[2], KEYS[3], KEYS[4])";
    let eval = [&["EVAL", script, "4"], &keys[..]].concat();
    assert_eq!(client.cmd(&eval), Value::Int(4));

    // A key with the group's name is where they are, and those of no group are everywhere.
    assert_eq!(client.cmd(&["SET", "rq", "x"]), Value::ok());
    let all = [&["EXISTS", "rq"], &keys[..]].concat();
    let counts = shards
        .servers
        .iter()
        .map(|server| server.client().cmd(&all));
    let mut counts: Vec<Value> = counts.collect();
    counts.sort_by_key(|count| *count == Value::Int(5));
    assert_eq!(counts, [Value::Int(0), Value::Int(0), Value::Int(5)]);
    for (index, server) in shards.servers.iter().enumerate() {
        let key = shards.key(index, 0);
        assert_eq!(client.cmd(&["SET", key, "x"]), Value::ok());
        assert_eq!(server.client().cmd(&["EXISTS", key]), Value::Int(1));
    }
}

/// A connection that is lost after EXEC was answered takes nothing with it.
#[test]
fn a_lost_connection_matters_only_to_what_was_on_it() {
    let mut shards = shards();
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0).to_owned(), shards.key(1, 0).to_owned());
    let all: [&[&str]; 3] = [&["MULTI"], &["SET", &a, "1"], &["EXEC"]];
    shards.servers[1].pause();
    let mut bytes: Vec<u8> = all.iter().flat_map(|c| encode(c)).collect();
    // It keeps the client from being at rest.
    bytes.extend(encode(&["GET", &b]));
    client.send(bytes);
    assert_eq!(client.read_n(3)[2], Value::Array(vec![Value::ok()]));
    shards.servers[0].kill();
    eventually("the proxy has noticed", || connections(&shards, 0) == 0);
    shards.servers[0].restart();
    client.send(all.iter().flat_map(|c| encode(c)).collect::<Vec<u8>>());
    shards.servers[1].resume();
    assert_eq!(client.read(), Value::Nil);
    let replies = client.read_n(3);
    assert_eq!(replies[2], Value::Array(vec![Value::ok()]), "{replies:?}");
}
