//! BLPOP and its kin through the proxy, beside a Redis that is asked directly.

mod support;

use std::time::Duration;

use support::{Client, Pool, RedisServer, Shards, Value, encode, eventually};

fn shards() -> Shards {
    Shards::start(3)
}

/// Clients that wait at the server.
fn blocked(server: &RedisServer) -> u64 {
    let Value::Bulk(info) = server.client().cmd(&["INFO", "clients"]) else {
        panic!("INFO is a string")
    };
    let info = String::from_utf8(info).expect("text");
    let mut lines = info.lines();
    let line = lines.find_map(|line| line.strip_prefix("blocked_clients:"));
    line.expect("blocked_clients").parse().expect("a number")
}

#[track_caller]
fn wait_blocked(server: &RedisServer, count: u64) {
    eventually("as many wait", || blocked(server) == count);
}

fn pair(key: &str, value: &str) -> Value {
    Value::Array(vec![Value::bulk(key), Value::bulk(value)])
}

/// Two clients to one Redis, one of them through the proxy: what they wait for, and what wakes them up.
#[test]
fn replies_are_those_of_redis() {
    let shards = shards();
    let redis = RedisServer::start();
    let (a, b) = (shards.key(1, 0), shards.key(1, 1));
    let wakers: &[(&str, &str)] = &[
        ("BLPOP a 0", "RPUSH a 1 2"),
        ("BLPOP a b 0", "RPUSH b 1"),
        ("BRPOP a b 0.0", "RPUSH a 1 2"),
        ("BRPOPLPUSH a b 0", "RPUSH a 1"),
        ("BLMOVE a b LEFT RIGHT 0", "RPUSH a 1"),
        ("BLMPOP 0 2 a b LEFT COUNT 2", "RPUSH b 1 2 3"),
        ("BZPOPMIN a b 0", "ZADD b 1 x 2 y"),
        ("BZPOPMAX a b 0", "ZADD a 1 x 2 y"),
        ("BZMPOP 0 2 a b MAX", "ZADD a 1 x 2 y"),
        ("XREAD BLOCK 0 STREAMS a 0", "XADD a 1-1 f v"),
        ("XREAD COUNT 1 BLOCK 0 STREAMS a b $ $", "XADD b 1-1 f v"),
    ];
    let words = |line: &str| -> Vec<String> {
        let word = |word: &str| match word {
            "a" => a.to_owned(),
            "b" => b.to_owned(),
            word => word.to_owned(),
        };
        line.split(' ').map(word).collect()
    };
    for resp in ["2", "3"] {
        for (wait, wake) in wakers {
            let mut replies = Vec::new();
            for (mut client, mut other, server) in [
                (shards.client(), shards.client(), &shards.servers[1]),
                (redis.client(), redis.client(), &redis),
            ] {
                client.cmd(&["HELLO", resp]);
                client.send(encode(&words(wait)));
                wait_blocked(server, 1);
                assert!(!other.cmd(&words(wake)).is_error(), "{wake}");
                replies.push(client.read_raw());
                // There is something: it does not wait at all.
                other.cmd(&words("DEL a b"));
                other.cmd(&words(wake));
                let at_once = wait.replace('$', "0");
                client.send(encode(&words(&at_once)));
                replies.push(client.read_raw());
                other.cmd(&words("DEL a b"));
            }
            let theirs = replies.split_off(2);
            let shown = |replies: &[Vec<u8>]| -> Vec<String> {
                replies
                    .iter()
                    .map(|r| r.escape_ascii().to_string())
                    .collect()
            };
            assert_eq!(shown(&replies), shown(&theirs), "{wait} with RESP{resp}");
        }
        for nothing in [
            "BLPOP a 0.01",
            "BRPOP a b 0.01",
            "BRPOPLPUSH a b 0.01",
            "BLMOVE a b LEFT LEFT 0.01",
            "BLMPOP 0.01 1 a LEFT",
            "BZPOPMIN a 0.01",
            "BZMPOP 0.01 1 a MIN",
            "XREAD BLOCK 1 STREAMS a 0",
            "XREAD STREAMS a 0",
            "XREADGROUP GROUP g c BLOCK 1 STREAMS a >",
            "BLPOP a -1",
            "BLPOP a soon",
            "BLPOP a",
            "BLMPOP 0 0 a LEFT",
            "XREAD BLOCK x STREAMS a 0",
        ] {
            let ask = |mut client: Client| {
                client.cmd(&["HELLO", resp]);
                client.send(encode(&words(nothing)));
                client.read_raw().escape_ascii().to_string()
            };
            let (ours, theirs) = (ask(shards.client()), ask(redis.client()));
            assert_eq!(ours, theirs, "{nothing} with RESP{resp}");
        }
    }
}

#[test]
fn a_group_waits_for_entries() {
    let shards = shards();
    let (mut client, mut other) = (shards.client(), shards.client());
    let key = shards.key(0, 0);
    client.cmd(&["XGROUP", "CREATE", key, "g", "$", "MKSTREAM"]);
    let read = [
        "XREADGROUP",
        "GROUP",
        "g",
        "c",
        "BLOCK",
        "0",
        "STREAMS",
        key,
        ">",
    ];
    client.send(encode(&read));
    wait_blocked(&shards.servers[0], 1);
    other.cmd(&["XADD", key, "1-1", "f", "v"]);
    assert!(matches!(client.read(), Value::Array(_)));
}

#[test]
fn keys_of_several_servers_are_refused() {
    let shards = shards();
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    let requests: &[&[&str]] = &[
        &["BLPOP", a, b, "0"],
        &["BLMOVE", a, b, "LEFT", "LEFT", "0"],
        &["BZMPOP", "0", "2", a, b, "MIN"],
        &["XREAD", "BLOCK", "0", "STREAMS", a, b, "0", "0"],
    ];
    for request in requests {
        let refused = client.cmd(request);
        assert!(refused.error().starts_with("CROSSSLOT "), "{refused:?}");
    }
}

/// Requests before a blocking one are answered first, those behind it after it.
#[test]
fn pipelines_wait_behind_it() {
    let shards = shards();
    let (mut client, mut other) = (shards.client(), shards.client());
    let (list, near, far) = (shards.key(0, 0), shards.key(0, 1), shards.key(1, 0));
    let mut sent = Vec::new();
    for request in [
        &["SET", near, "1"][..],
        &["SET", far, "1"],
        &["BLPOP", list, "0"],
        &["INCR", near],
        &["INCR", far],
        &["BLPOP", list, "0"],
        &["GET", near],
    ] {
        sent.extend(encode(request));
    }
    client.send(&sent);
    assert_eq!(client.read_n(2), [Value::ok(), Value::ok()]);
    wait_blocked(&shards.servers[0], 1);
    assert_eq!(other.cmd(&["MGET", near, far]), pair("1", "1"));
    other.cmd(&["RPUSH", list, "x"]);
    assert_eq!(client.read(), pair(list, "x"));
    assert_eq!(client.read_n(2), [Value::Int(2), Value::Int(2)]);
    wait_blocked(&shards.servers[0], 1);
    // What comes while it waits is kept.
    client.send(encode(&["INCR", near]));
    other.cmd(&["RPUSH", list, "y"]);
    let rest = client.read_n(3);
    assert_eq!(rest, [pair(list, "y"), Value::bulk("2"), Value::Int(3)]);
}

/// More than the proxy holds while the client waits: nothing of it is lost.
#[test]
fn much_may_come_behind_it() {
    let shards = shards();
    let (mut client, mut other) = (shards.client(), shards.client());
    let (list, key) = (shards.key(0, 0), shards.key(1, 0));
    let value = "x".repeat(10_000);
    client.send(encode(&["BLPOP", list, "0"]));
    wait_blocked(&shards.servers[0], 1);
    for _ in 0..40 {
        client.send(encode(&["APPEND", key, &value]));
    }
    other.cmd(&["RPUSH", list, "x"]);
    assert_eq!(client.read(), pair(list, "x"));
    for n in 1..=40 {
        assert_eq!(client.read(), Value::Int(n * 10_000));
    }
}

/// The server forgets a client that left, and the next element is for somebody who is there.
#[test]
fn a_client_that_leaves_waits_no_longer() {
    let shards = shards();
    let key = shards.key(0, 0);
    for leave in ["close", "half", "behind"] {
        let mut client = shards.client();
        client.send(encode(&["BLPOP", key, "0"]));
        wait_blocked(&shards.servers[0], 1);
        match leave {
            "half" => {
                client.half_close();
                client.expect_closed();
            }
            "behind" => {
                client.send(encode(&["GET", key]));
                drop(client);
            }
            _ => drop(client),
        }
        wait_blocked(&shards.servers[0], 0);
        let mut other = shards.client();
        assert_eq!(other.cmd(&["RPUSH", key, leave]), Value::Int(1));
        assert_eq!(other.cmd(&["BLPOP", key, "0"]), pair(key, leave));
    }
    eventually("none is left", || shards.stat("client_connections") == 0);
}

#[test]
fn connections_are_used_again() {
    let shards = shards();
    let key = shards.key(0, 0);
    let mut client = shards.client();
    for n in 0..50 {
        client.cmd(&["RPUSH", key, &n.to_string()]);
        assert_eq!(client.cmd(&["BLPOP", key, "0"]), pair(key, &n.to_string()));
    }
    let connections = shards.server_stat(0, "server_connections");
    assert!(connections <= 3, "{connections}");
}

#[test]
fn as_many_as_allowed_wait() {
    let shards = Shards::start_with(1, |pool| pool.set("dedicated_connections", 2), &[]);
    let mut clients: Vec<Client> = (0..2).map(|_| shards.client()).collect();
    for client in &mut clients {
        client.send(encode(&["BLPOP", "a", "0"]));
    }
    wait_blocked(&shards.servers[0], 2);
    let mut third = shards.client();
    let refused = third.cmd(&["BLPOP", "a", "0"]);
    assert!(
        refused.error().contains("dedicated_connections: 2"),
        "{refused:?}"
    );
    assert_eq!(third.cmd(&["RPUSH", "a", "1", "2"]), Value::Int(2));
    for client in &mut clients {
        assert!(matches!(client.read(), Value::Array(_)));
    }
    assert_eq!(third.cmd(&["RPUSH", "a", "3"]), Value::Int(1));
    assert_eq!(third.cmd(&["BLPOP", "a", "0"]), pair("a", "3"));
}

/// The pool's `timeout` is for servers that do not answer, not for clients that wait.
#[test]
fn waiting_is_not_slow() {
    let quick = |pool: Pool| pool.set("timeout", 100).set("slow_request_time", 50);
    let shards = Shards::start_with(1, quick, &[]);
    let (mut client, mut other) = (shards.client(), shards.client());
    assert_eq!(client.cmd(&["BLPOP", "a", "0.4"]), Value::Nil);
    client.send(encode(&["BLPOP", "a", "0"]));
    client.expect_silence(Duration::from_millis(400));
    other.cmd(&["RPUSH", "a", "x"]);
    assert_eq!(client.read(), pair("a", "x"));
    assert_eq!(shards.stat("slow_requests"), 0);
    assert_eq!(shards.server_stat(0, "server_timedout"), 0);
    // A server that hangs keeps nobody longer than it may.
    shards.servers[0].pause();
    let failed = client.cmd(&["BLPOP", "a", "0.01"]);
    shards.servers[0].resume();
    assert!(failed.error().contains("timed out"), "{failed:?}");
    assert!(failed.error().contains("may or may not"), "{failed:?}");
}

#[test]
fn a_server_that_dies_ends_the_waiting() {
    let mut shards = shards();
    let (list, stream) = (shards.key(0, 0).to_owned(), shards.key(0, 1).to_owned());
    let (mut pops, mut reads) = (shards.client(), shards.client());
    pops.send(encode(&["BLPOP", &list, "0"]));
    reads.send(encode(&["XREAD", "BLOCK", "0", "STREAMS", &stream, "0"]));
    wait_blocked(&shards.servers[0], 2);
    shards.servers[0].kill();
    let (popped, read) = (pops.read(), reads.read());
    let doubt = "the command may or may not have been applied";
    assert!(popped.error().ends_with(doubt), "{popped:?}");
    assert!(read.is_error() && !read.error().contains(doubt), "{read:?}");
    shards.servers[0].restart();
    eventually("it is used again", || {
        pops.cmd(&["RPUSH", &list, "x"]) == Value::Int(1)
    });
    assert_eq!(pops.cmd(&["BLPOP", &list, "0"]), pair(&list, "x"));
}

/// WATCH holds a connection to the server already; and within MULTI nothing blocks.
#[test]
fn it_goes_with_transactions() {
    let shards = shards();
    let (mut client, mut other) = (shards.client(), shards.client());
    let (list, key, far) = (shards.key(0, 0), shards.key(0, 1), shards.key(1, 0));
    assert_eq!(client.cmd(&["WATCH", key]), Value::ok());
    for list in [list, far] {
        other.cmd(&["RPUSH", list, "x"]);
        assert_eq!(client.cmd(&["BLPOP", list, "0"]), pair(list, "x"));
    }
    assert_eq!(other.cmd(&["SET", key, "changed"]), Value::ok());
    let all: [&[&str]; 3] = [&["MULTI"], &["BLPOP", list, "0"], &["EXEC"]];
    assert_eq!(client.pipeline(&all)[2], Value::Nil, "still watched");
    let empty = client.pipeline(&all).remove(2);
    assert_eq!(empty, Value::Array(vec![Value::Nil]));
}

/// To end while clients wait takes no time, and nothing that was given them is lost.
#[test]
fn the_end_is_not_held_up() {
    let mut shards = shards();
    let key = shards.key(0, 0).to_owned();
    let mut clients: Vec<Client> = (0..3).map(|_| shards.client()).collect();
    for client in &mut clients {
        client.send(encode(&["BLPOP", &key, "0"]));
    }
    wait_blocked(&shards.servers[0], 3);
    shards.proxy.signal(rustix::process::Signal::TERM);
    for client in &mut clients {
        client.expect_closed();
    }
    assert_eq!(
        shards.proxy.wait().code(),
        Some(0),
        "{}",
        shards.proxy.log()
    );
    let log = shards.proxy.log();
    assert!(!log.contains("still waiting"), "{log}");
    wait_blocked(&shards.servers[0], 0);
}

fn replica_of(server: &RedisServer) -> RedisServer {
    let port = server.port().to_string();
    let replica = RedisServer::with_args(&["--replicaof", "127.0.0.1", &port]);
    eventually("it replicates", || {
        let mut client = server.client();
        client.cmd(&["SET", "replicated", "1"]);
        client.cmd(&["WAIT", "1", "100"]) == Value::Int(1)
    });
    replica
}

/// Whatever server a client has written to, WAIT is about that too.
#[test]
fn wait_tells_the_fewest_replicas() {
    let shards = Shards::start(2);
    let (mut client, mut other) = (shards.client(), shards.client());
    let keys = [0, 1].map(|server| shards.key(server, 0));
    let write = |client: &mut Client| {
        for key in keys {
            assert_eq!(client.cmd(&["SET", key, "1"]), Value::ok());
        }
    };
    assert_eq!(client.cmd(&["WAIT", "0", "0"]), Value::Int(0));
    let first = replica_of(&shards.servers[0]);
    write(&mut client);
    assert_eq!(
        client.cmd(&["WAIT", "1", "50"]),
        Value::Int(0),
        "one has none"
    );
    let second = replica_of(&shards.servers[1]);
    write(&mut client);
    assert_eq!(client.cmd(&["WAIT", "1", "0"]), Value::Int(1));
    // A replica that says nothing has nothing, until it speaks again.
    second.pause();
    let all: [&[&str]; 3] = [
        &["SET", keys[1], "2"],
        &["WAIT", "1", "0"],
        &["GET", keys[1]],
    ];
    client.send(all.iter().flat_map(|c| encode(c)).collect::<Vec<u8>>());
    assert_eq!(client.read(), Value::ok());
    wait_blocked(&shards.servers[1], 1);
    assert_eq!(other.cmd(&["WAIT", "1", "50"]), Value::Int(0));
    // It leaves no trace of who leaves.
    let mut third = shards.client();
    third.send(encode(&["WAIT", "1", "0"]));
    wait_blocked(&shards.servers[1], 2);
    drop(third);
    wait_blocked(&shards.servers[1], 1);
    second.resume();
    assert_eq!(client.read_n(2), [Value::Int(1), Value::bulk("2")]);
    assert_eq!(
        client.cmd(&["WAIT", "x", "0"]).error(),
        "ERR value is not an integer or out of range"
    );
    let queued = client.pipeline(&[&["MULTI"][..], &["WAIT", "1", "0"]]);
    assert!(queued[1].is_error(), "{queued:?}");
    drop(first);
}

/// CLIENT UNBLOCK from any worker: as after the time the client gave, or with an error.
#[test]
fn clients_can_be_unblocked() {
    let shards = Shards::start_with(2, |pool| pool, &["--workers", "3"]);
    let list = shards.key(1, 0);
    let mut others: Vec<Client> = (0..3).map(|_| shards.client()).collect();
    for (round, reason) in ["TIMEOUT", "ERROR", "TIMEOUT", "ERROR"].iter().enumerate() {
        let mut client = shards.client();
        let Value::Int(id) = client.cmd(&["CLIENT", "ID"]) else {
            panic!("CLIENT ID is a number")
        };
        let id = id.to_string();
        let other = &mut others[round % 3];
        let unblock = ["CLIENT", "UNBLOCK", &id, reason];
        assert_eq!(other.cmd(&unblock), Value::Int(0), "it does not wait");
        client.send(encode(&["BLPOP", list, "0"]));
        wait_blocked(&shards.servers[1], 1);
        let listed = other.cmd(&["CLIENT", "LIST", "ID", &id]);
        assert!(
            matches!(&listed, Value::Bulk(line) if String::from_utf8_lossy(line).contains(" flags=b ")),
            "{listed:?}"
        );
        eventually("it is told", || other.cmd(&unblock) == Value::Int(1));
        let reply = client.read();
        match *reason {
            "ERROR" => assert_eq!(
                reply.error(),
                "UNBLOCKED client unblocked via CLIENT UNBLOCK"
            ),
            _ => assert_eq!(reply, Value::Nil),
        }
        wait_blocked(&shards.servers[1], 0);
        assert_eq!(other.cmd(&["RPUSH", list, "x"]), Value::Int(1));
        assert_eq!(client.cmd(&["BLPOP", list, "0"]), pair(list, "x"));
    }
}

/// Who waits at a server goes with it to another address; where it is removed, that is the end.
#[test]
fn a_reload_takes_along_who_waits() {
    let shards = shards();
    let next = RedisServer::start();
    let list = shards.key(1, 0);
    let (mut client, mut other) = (shards.client(), shards.client());
    let path = shards.proxy.config_path();
    let reload = |text: &str| {
        std::fs::write(&path, text).expect("the file is ours");
        shards.proxy.signal(rustix::process::Signal::HUP);
    };
    let text = std::fs::read_to_string(&path).expect("text");
    client.send(encode(&["BLPOP", list, "0"]));
    wait_blocked(&shards.servers[1], 1);
    let moved = text.replace(
        &shards.servers[1].port().to_string(),
        &next.port().to_string(),
    );
    assert_ne!(moved, text);
    reload(&moved);
    wait_blocked(&next, 1);
    wait_blocked(&shards.servers[1], 0);
    assert_eq!(other.cmd(&["RPUSH", list, "x"]), Value::Int(1));
    assert_eq!(client.read(), pair(list, "x"));
    client.send(encode(&["BLPOP", list, "0"]));
    wait_blocked(&next, 1);
    let without: Vec<&str> = moved
        .lines()
        .filter(|line| !line.contains("server2"))
        .collect();
    reload(&(without.join("\n") + "\n"));
    let ended = client.read();
    assert!(
        ended.error().contains("Removed from the configuration"),
        "{ended:?}"
    );
    wait_blocked(&next, 0);
}
