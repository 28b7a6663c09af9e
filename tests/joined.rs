//! Commands that concern all servers of a pool, answered as one server would.

mod support;

use std::collections::BTreeSet;

use rustix::process::Signal;
use support::{Client, Pool, Proxy, RedisServer, Shards, Value, eventually};

/// Clients of both protocols.
fn clients(shards: &Shards) -> [Client; 2] {
    let mut newer = shards.client();
    assert!(!newer.cmd(&["HELLO", "3"]).is_error());
    [shards.client(), newer]
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8(bytes.clone()).expect("text"),
        Value::Verbatim(bytes) => {
            let text = bytes.strip_prefix(b"txt:").expect("a format");
            String::from_utf8(text.to_vec()).expect("text")
        }
        other => panic!("no text: {other:?}"),
    }
}

/// The value of a field of INFO.
fn field(info: &str, name: &str) -> Option<String> {
    let found = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.map(str::to_owned)
}

fn strings(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        other => panic!("no array: {other:?}"),
    }
}

/// Pairs of a map, or of RESP2's flat array.
fn pairs(value: Value) -> Vec<(String, String)> {
    let flat = match value {
        Value::Map(pairs) => return pairs.iter().map(|(k, v)| (text(k), text(v))).collect(),
        Value::Array(items) => items,
        other => panic!("no pairs: {other:?}"),
    };
    flat.chunks_exact(2)
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .collect()
}

#[test]
fn keys_of_all_servers_are_counted_and_listed() {
    let shards = Shards::start(3);
    for client in &mut clients(&shards) {
        let name = |n: u32| format!("name:{n}");
        for n in 0..60 {
            assert_eq!(client.cmd(&["SET", &name(n), "x"]), Value::ok());
        }
        client.cmd(&["SET", "other", "x"]);
        assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(61));
        let own: BTreeSet<_> = (0..60).map(name).collect();
        assert_eq!(strings(&client.cmd(&["KEYS", "name:*"])), own);
        assert_eq!(client.cmd(&["KEYS", "nothing*"]), Value::Array(vec![]));
        let mut servers = BTreeSet::new();
        for _ in 0..100 {
            let key = text(&client.cmd(&["RANDOMKEY"]));
            let at = shards
                .servers
                .iter()
                .position(|server| server.client().cmd(&["EXISTS", &key]) == Value::Int(1));
            servers.insert(at.expect("a key that exists"));
        }
        assert!(servers.len() > 1, "always of one server");
        // Between others, and in their order.
        let replies = client.pipeline(&[&["GET", "other"], &["DBSIZE"], &["GET", "other"]]);
        assert_eq!(
            replies,
            [Value::bulk("x"), Value::Int(61), Value::bulk("x")]
        );
    }
}

#[test]
fn a_random_key_is_found_wherever_it_is_and_none_where_there_is_none() {
    let shards = Shards::start(3);
    for client in &mut clients(&shards) {
        assert_eq!(client.cmd(&["RANDOMKEY"]), Value::Nil);
        for server in 0..3 {
            let key = shards.key(server, 0);
            client.cmd(&["SET", key, "x"]);
            for _ in 0..10 {
                assert_eq!(client.cmd(&["RANDOMKEY"]), Value::bulk(key));
            }
            client.cmd(&["DEL", key]);
        }
    }
}

#[test]
fn the_oldest_save_counts() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let saved: Vec<i64> = shards
        .servers
        .iter()
        .map(|server| match server.client().cmd(&["LASTSAVE"]) {
            Value::Int(time) => time,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        client.cmd(&["LASTSAVE"]),
        Value::Int(*saved.iter().min().unwrap())
    );
    let Value::Array(time) = client.cmd(&["TIME"]) else {
        panic!("no time")
    };
    assert_eq!(time.len(), 2);
}

#[test]
fn everything_is_deleted_only_where_that_is_allowed() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    client.cmd(&["SET", "a", "x"]);
    for request in [&["FLUSHALL"][..], &["flushdb", "async"]] {
        let refused = client.cmd(request);
        let name = request[0].to_lowercase();
        assert_eq!(
            refused.error(),
            format!(
                "ERR unsupported command '{name}': pool alpha has to allow it with allow_flush: true"
            )
        );
    }
    assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(1));

    let shards = Shards::start_with(3, |pool| pool.set("allow_flush", "true"), &[]);
    for client in &mut clients(&shards) {
        for request in [
            &["FLUSHALL"][..],
            &["FLUSHDB", "SYNC"],
            &["flushall", "ASYNC"],
        ] {
            for server in 0..3 {
                client.cmd(&["SET", shards.key(server, 0), "x"]);
            }
            let replies = client.pipeline(&[&["DBSIZE"], request, &["DBSIZE"]]);
            assert_eq!(
                replies,
                [Value::Int(3), Value::ok(), Value::Int(0)],
                "{request:?}"
            );
        }
        let wrong = client.cmd(&["FLUSHALL", "NOW"]);
        assert_eq!(wrong.error(), "ERR syntax error");
    }
    let swapped = shards.client().cmd(&["SWAPDB", "0", "1"]);
    assert!(
        swapped
            .error()
            .starts_with("ERR unsupported command 'swapdb': "),
        "{swapped:?}"
    );
}

#[test]
fn a_server_that_is_down_is_named() {
    let mut shards = Shards::start(3);
    let [mut client, mut newer] = clients(&shards);
    assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(0));
    shards.servers[1].kill();
    let down = format!(
        "ERR Connection refused: server {} (server2)",
        shards.servers[1].addr()
    );
    eventually("the loss is seen", || {
        client.cmd(&["DBSIZE"]).error() == down
    });
    for client in [&mut client, &mut newer] {
        for request in [
            &["DBSIZE"][..],
            &["KEYS", "*"],
            &["RANDOMKEY"],
            &["LASTSAVE"],
            &["SCRIPT", "LOAD", "return 1"],
        ] {
            let replies = client.pipeline(&[&["PING"], request, &["PING"]]);
            assert_eq!(replies[1].error(), down, "{request:?}");
            assert_eq!(replies[2], replies[0]);
        }
    }
    shards.servers[1].restart();
    eventually("it is back", || client.cmd(&["DBSIZE"]) == Value::Int(0));
}

#[test]
fn a_server_out_of_the_ring_is_not_asked() {
    let shape = |pool: Pool| {
        pool.set("auto_eject_hosts", "true")
            .set("server_failure_limit", "1")
            .set("server_retry_timeout", "600000")
    };
    let mut shards = Shards::start_with(3, shape, &[]);
    let mut client = shards.client();
    let key = shards.key(0, 0).to_owned();
    client.cmd(&["SET", &key, "x"]);
    shards.servers[1].kill();
    eventually("it is ejected", || client.cmd(&["DBSIZE"]) == Value::Int(1));
    assert_eq!(client.cmd(&["KEYS", "*"]), Value::bulks(&[&key]));
    let info = text(&client.cmd(&["INFO"]));
    assert_eq!(field(&info, "unreachable").as_deref(), Some("server2"));
    assert_eq!(field(&info, "servers").as_deref(), Some("3"));
    assert_eq!(field(&info, "live_servers").as_deref(), Some("2"));
    shards.servers[0].kill();
    shards.servers[2].kill();
    eventually("all are ejected", || {
        let reply = client.cmd(&["DBSIZE"]);
        reply.is_error()
            && reply.error() == "ERR Connection refused: all servers are ejected: pool alpha"
    });
    let scanned = client.cmd(&["SCAN", "0"]);
    assert_eq!(
        scanned.error(),
        "ERR Connection refused: all servers are ejected: pool alpha"
    );
    assert_eq!(
        field(&text(&client.cmd(&["INFO"])), "loading").as_deref(),
        Some("0")
    );
}

#[test]
fn a_pool_of_one_and_a_random_one_are_whole_too() {
    let shards = Shards::start(1);
    for client in &mut clients(&shards) {
        client.cmd(&["SET", "a", "x"]);
        assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(1));
        assert_eq!(client.cmd(&["KEYS", "*"]), Value::bulks(&["a"]));
        assert_eq!(client.cmd(&["RANDOMKEY"]), Value::bulk("a"));
        assert_eq!(
            field(&text(&client.cmd(&["INFO"])), "db0").unwrap(),
            "keys=1,expires=0,avg_ttl=0"
        );
        assert_eq!(
            pairs(client.cmd(&["CONFIG", "GET", "maxmemory"])),
            [("maxmemory".into(), "0".into())]
        );
    }
    let servers = [(); 3].map(|()| RedisServer::start());
    let pool = Pool::new("alpha").set("distribution", "random");
    let proxy = Proxy::start(&[pool.servers(&servers)]);
    let mut client = proxy.client();
    for (n, server) in servers.iter().enumerate() {
        server.client().cmd(&["SET", &format!("key{n}"), "x"]);
    }
    assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(3));
    assert_eq!(strings(&client.cmd(&["KEYS", "*"])).len(), 3);
}

#[test]
fn passwords_and_databases_are_the_pools() {
    let servers = (0..2).map(|_| RedisServer::with_args(&["--requirepass", "secret"]));
    let shape = |pool: Pool| pool.set("redis_auth", "secret").set("redis_db", "3");
    let shards = Shards::over(servers.collect(), shape, &[]);
    let mut client = shards.client();
    assert_eq!(
        client.cmd(&["DBSIZE"]).error(),
        "NOAUTH Authentication required"
    );
    assert_eq!(
        client.cmd(&["INFO"]).error(),
        "NOAUTH Authentication required"
    );
    assert_eq!(client.cmd(&["AUTH", "secret"]), Value::ok());
    client.cmd(&["MSET", shards.key(0, 0), "x", shards.key(1, 0), "x"]);
    assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(2));
    let info = text(&client.cmd(&["INFO", "keyspace"]));
    assert_eq!(info, "# Keyspace\r\ndb3:keys=2,expires=0,avg_ttl=0\r\n");
    assert_eq!(
        pairs(client.cmd(&["CONFIG", "GET", "databases", "requirepass"])),
        [("databases".into(), "4".into())]
    );
}

#[test]
fn a_listing_above_the_clients_limit_ends_the_client() {
    let shards = Shards::start_with(2, |pool| pool.set("client_output_limit", "64kb"), &[]);
    let mut client = shards.client();
    for n in 0..200 {
        client.cmd(&["SET", &format!("{n}:{}", "k".repeat(1000)), "x"]);
    }
    client.send(support::encode(&["KEYS", "*"]));
    client.expect_closed();
    assert_eq!(shards.client().cmd(&["DBSIZE"]), Value::Int(200));
}

#[test]
fn info_speaks_for_all_servers() {
    let shards = Shards::start(3);
    for (resp, client) in clients(&shards).iter_mut().enumerate() {
        for server in 0..3 {
            client.cmd(&["SET", shards.key(server, 0), "x", "EX", "1000"]);
            client.cmd(&["SET", shards.key(server, 1), "x"]);
        }
        let reply = client.cmd(&["INFO"]);
        assert_eq!(resp == 1, matches!(reply, Value::Verbatim(_)));
        let info = text(&reply);
        for (name, value) in [
            ("redis_mode", "standalone"),
            ("role", "master"),
            ("loading", "0"),
            ("connected_slaves", "0"),
            ("maxmemory", "0"),
            ("maxmemory_policy", "noeviction"),
            ("cluster_enabled", "0"),
            ("pool", "alpha"),
            ("servers", "3"),
            ("live_servers", "3"),
            ("nuthatch_version", env!("CARGO_PKG_VERSION")),
        ] {
            assert_eq!(field(&info, name).as_deref(), Some(value), "{name}");
        }
        for gone in [
            "run_id",
            "tcp_port",
            "process_id",
            "config_file",
            "executable",
            "unreachable",
            "master_replid",
        ] {
            assert_eq!(field(&info, gone), None, "{gone}");
        }
        let keyspace = field(&info, "db0").expect("keys");
        assert!(
            keyspace.starts_with("keys=6,expires=3,avg_ttl="),
            "{keyspace}"
        );
        let used: u64 = field(&info, "used_memory").unwrap().parse().unwrap();
        let one = text(&shards.servers[0].client().cmd(&["INFO", "memory"]));
        let one: u64 = field(&one, "used_memory").unwrap().parse().unwrap();
        assert!(used > 2 * one, "{used}, one server alone {one}");
        let version = field(
            &text(&shards.servers[0].client().cmd(&["INFO"])),
            "redis_version",
        );
        assert_eq!(field(&info, "redis_version"), version);
    }
}

/// Not the servers', which are the proxy's connections.
#[test]
fn info_counts_the_clients_of_all_workers() {
    let shards = Shards::start_with(2, |pool| pool, &["--workers", "2"]);
    let mut all: Vec<_> = (0..5).map(|_| shards.client()).collect();
    for client in &mut all {
        client.cmd(&["PING"]);
    }
    let info = text(&all[0].cmd(&["INFO"]));
    for name in ["connected_clients", "clients"] {
        assert_eq!(field(&info, name).as_deref(), Some("5"), "{name}");
    }
    let section = text(&all[1].cmd(&["INFO", "clients"]));
    assert_eq!(field(&section, "connected_clients").as_deref(), Some("5"));
}

#[test]
fn info_has_the_sections_that_are_asked_for() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    client.cmd(&["MSET", shards.key(0, 0), "x", shards.key(1, 0), "x"]);
    let titles = |reply: &Value| -> Vec<String> {
        let info = text(reply);
        info.lines()
            .filter_map(|line| line.strip_prefix("# "))
            .map(str::to_owned)
            .collect()
    };
    for (sections, wanted) in [
        (&["server"][..], &["Server"][..]),
        (&["MEMORY", "cpu"], &["Memory", "CPU"]),
        (&["nuthatch"], &["Nuthatch"]),
        (&["Nuthatch", "keyspace"], &["Keyspace", "Nuthatch"]),
        (&["nonsense"], &[]),
    ] {
        let mut request = vec!["INFO"];
        request.extend(sections);
        let mut found = titles(&client.cmd(&request));
        let order = |title: &String| wanted.iter().position(|other| other == title);
        found.sort_by_key(order);
        assert_eq!(found, wanted, "{sections:?}");
    }
    for request in [
        &["INFO"][..],
        &["INFO", "default"],
        &["INFO", "all"],
        &["INFO", "everything"],
    ] {
        let found = titles(&client.cmd(request));
        assert!(
            ["Server", "Keyspace", "Nuthatch"]
                .iter()
                .all(|title| found.iter().any(|found| found == title)),
            "{found:?}"
        );
    }
    let stats = text(&client.cmd(&["INFO", "commandstats"]));
    // One part of MSET for each server, as a command with one key.
    assert!(
        field(&stats, "cmdstat_mset")
            .unwrap()
            .starts_with("calls=2,usec="),
        "{stats}"
    );
}

#[test]
fn info_is_answered_whatever_is_wrong_with_servers() {
    let mut shards = Shards::start(3);
    shards.servers[2].kill();
    // No server has been connected to before.
    for (n, client) in clients(&shards).iter_mut().enumerate() {
        let info = text(&client.cmd(&["INFO"]));
        assert_eq!(field(&info, "loading").as_deref(), Some("0"));
        assert_eq!(
            field(&info, "unreachable").as_deref(),
            Some("server3"),
            "{n}"
        );
        assert!(field(&info, "used_memory").is_some());
        let section = text(&client.cmd(&["INFO", "cpu"]));
        assert_eq!(field(&section, "unreachable").as_deref(), Some("server3"));
    }
    shards.servers[0].kill();
    shards.servers[1].kill();
    for client in &mut clients(&shards) {
        let mut info = String::new();
        eventually("the losses are seen", || {
            info = text(&client.cmd(&["INFO"]));
            field(&info, "unreachable").as_deref() == Some("server1,server2,server3")
        });
        for (name, value) in [
            ("loading", "0"),
            ("role", "master"),
            ("redis_mode", "standalone"),
        ] {
            assert_eq!(field(&info, name).as_deref(), Some(value));
        }
        assert!(field(&info, "redis_version").is_some());
    }
}

#[test]
fn info_does_not_wait_for_a_server_that_hangs() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    client.cmd(&["DBSIZE"]);
    shards.servers[1].pause();
    client.send(support::encode(&["GET", shards.key(1, 0)]));
    let mut other = shards.client();
    // Those who ask at first do wait.
    let mut waiting = vec![];
    eventually("it is left out", || {
        let mut asks = shards.client();
        asks.set_timeout(std::time::Duration::from_millis(200));
        asks.send(support::encode(&["INFO", "nuthatch", "cpu"]));
        let answer = asks.try_read();
        waiting.push(asks);
        answer.is_ok_and(|info| field(&text(&info), "unreachable").as_deref() == Some("server2"))
    });
    assert!(text(&other.cmd(&["INFO"])).contains("unreachable:server2\r\n"));
    shards.servers[1].resume();
    assert_eq!(client.read(), Value::Nil);
    eventually("it is asked again", || {
        field(&text(&other.cmd(&["INFO"])), "unreachable").is_none()
    });
}

#[test]
fn config_shows_what_is_harmless() {
    let limited =
        |limit: &str| RedisServer::with_args(&["--maxmemory", limit, "--requirepass", ""]);
    let shards = Shards::over(vec![limited("100mb"), limited("50mb")], |pool| pool, &[]);
    for client in &mut clients(&shards) {
        let mut get = |patterns: &[&str]| {
            let mut request = vec!["CONFIG", "GET"];
            request.extend(patterns);
            pairs(client.cmd(&request))
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(get(&["maxmemory"]), [pair("maxmemory", "157286400")]);
        assert_eq!(
            get(&["MAXMEMORY-P*"]),
            [pair("maxmemory-policy", "noeviction")]
        );
        assert_eq!(
            get(&["save", "databases", "appendonly", "save"]),
            [
                pair("databases", "1"),
                pair("appendonly", "no"),
                pair("save", "")
            ]
        );
        for hidden in [
            "requirepass",
            "*pass*",
            "dir",
            "dbfilename",
            "tls-*",
            "bind",
            "port",
            "nothing",
            "*user",
            "logfile",
        ] {
            assert_eq!(get(&[hidden]), [], "{hidden}");
        }
        let all = get(&["*"]);
        let names: BTreeSet<_> = all.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names.len(), all.len(), "each once");
        for name in [
            "notify-keyspace-events",
            "timeout",
            "proto-max-bulk-len",
            "hash-max-listpack-entries",
            "maxmemory",
        ] {
            assert!(names.contains(name), "{name}");
        }
        for (request, name) in [
            (&["CONFIG", "SET", "maxmemory", "1"][..], "set"),
            (&["CONFIG", "RESETSTAT"], "resetstat"),
            (&["CONFIG", "REWRITE"], "rewrite"),
        ] {
            let refused = client.cmd(request);
            assert!(
                refused
                    .error()
                    .starts_with(&format!("ERR unsupported command 'config|{name}': ")),
                "{refused:?}"
            );
        }
        let long = "*".repeat(20_000);
        assert_eq!(
            client.cmd(&["CONFIG", "GET", &long]).error(),
            "ERR too many or too long patterns"
        );
    }
    // Of the parameters of one server, nothing was asked but the harmless.
    let mut own = shards.servers[0].client();
    let all = pairs(own.cmd(&["CONFIG", "GET", "requirepass"]));
    assert_eq!(all, [("requirepass".into(), String::new())]);
}

#[test]
fn channels_are_counted_over_all_servers_and_messages_go_to_one() {
    let shards = Shards::start(3);
    let mut subscribers = Vec::new();
    for (n, server) in shards.servers.iter().enumerate() {
        let mut client = server.client();
        client.send(support::encode(&["SUBSCRIBE", shards.key(n, 0), "common"]));
        client.send(support::encode(&["PSUBSCRIBE", "a*", "b*"]));
        client.send(support::encode(&["SSUBSCRIBE", shards.key(n, 1)]));
        client.read_n(5);
        subscribers.push(client);
    }
    let keys: Vec<&str> = (0..3).map(|n| shards.key(n, 0)).collect();
    for client in &mut clients(&shards) {
        let mut channels: BTreeSet<_> = keys.iter().map(|key| key.to_string()).collect();
        assert_eq!(
            strings(&client.cmd(&["PUBSUB", "CHANNELS", "key*"])),
            channels
        );
        channels.insert("common".into());
        assert_eq!(strings(&client.cmd(&["PUBSUB", "CHANNELS"])), channels);
        assert_eq!(strings(&client.cmd(&["PUBSUB", "SHARDCHANNELS"])).len(), 3);
        assert_eq!(
            client.cmd(&["PUBSUB", "NUMSUB", "common", keys[1], "none"]),
            Value::Array(vec![
                Value::bulk("common"),
                Value::Int(3),
                Value::bulk(keys[1]),
                Value::Int(1),
                Value::bulk("none"),
                Value::Int(0),
            ])
        );
        assert_eq!(client.cmd(&["PUBSUB", "NUMSUB"]), Value::Array(vec![]));
        assert_eq!(
            client.cmd(&["PUBSUB", "SHARDNUMSUB", shards.key(0, 1)]),
            Value::Array(vec![Value::bulk(shards.key(0, 1)), Value::Int(1)])
        );
        // Clients of the proxy have each pattern on every server.
        assert_eq!(client.cmd(&["PUBSUB", "NUMPAT"]), Value::Int(2));
        for (n, subscriber) in subscribers.iter_mut().enumerate() {
            assert_eq!(
                client.cmd(&["PUBLISH", shards.key(n, 0), "hello"]),
                Value::Int(1)
            );
            assert_eq!(
                client.cmd(&["SPUBLISH", shards.key(n, 1), "hello"]),
                Value::Int(1)
            );
            let got = subscriber.read();
            assert_eq!(got, Value::bulks(&["message", shards.key(n, 0), "hello"]));
            let got = subscriber.read();
            assert_eq!(got, Value::bulks(&["smessage", shards.key(n, 1), "hello"]));
        }
        assert_eq!(client.cmd(&["PUBLISH", "nobody", "hello"]), Value::Int(0));
    }
}

#[test]
fn functions_are_those_of_all_servers() {
    let shards = Shards::start(3);
    let library = "#!lua name=lib\nredis.register_function('f', function(k, a) return a[1] end)";
    for client in &mut clients(&shards) {
        let load = ["FUNCTION", "LOAD", library];
        assert_eq!(client.cmd(&load), Value::bulk("lib"));
        for server in 0..3 {
            let called = client.cmd(&["FCALL", "f", "1", shards.key(server, 0), "hi"]);
            assert_eq!(called, Value::bulk("hi"));
        }
        assert_eq!(
            client.cmd(&load).error(),
            "ERR Library 'lib' already exists"
        );
        assert!(matches!(client.cmd(&["FUNCTION", "LIST"]), Value::Array(list) if list.len() == 1));
        let Value::Bulk(dump) = client.cmd(&["FUNCTION", "DUMP"]) else {
            panic!("no dump")
        };
        assert!(!client.cmd(&["FUNCTION", "STATS"]).is_error());
        assert_eq!(client.cmd(&["FUNCTION", "DELETE", "lib"]), Value::ok());
        assert_eq!(
            client.cmd(&["FUNCTION", "DELETE", "lib"]).error(),
            "ERR Library not found"
        );
        let restore = [b"FUNCTION".as_slice(), b"RESTORE", &dump];
        assert_eq!(client.cmd(&restore), Value::ok());
        assert_eq!(
            client
                .cmd(&["FCALL_RO", "f", "1", shards.key(2, 0), "x"])
                .error(),
            "ERR Can not execute a script with write flag using *_ro command."
        );
        assert_eq!(client.cmd(&["FUNCTION", "FLUSH"]), Value::ok());
        for server in &shards.servers {
            assert_eq!(
                server.client().cmd(&["FUNCTION", "LIST"]),
                Value::Array(vec![])
            );
        }
    }
}

/// Whoever loads a library while one server is down is told, and can go on when it is back.
#[test]
fn a_library_that_one_server_missed_can_be_loaded_again() {
    let mut shards = Shards::start(2);
    let mut client = shards.client();
    assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(0));
    shards.servers[1].kill();
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    eventually("the loss is seen", || client.cmd(&["DBSIZE"]).is_error());
    let lost = client.cmd(&["FUNCTION", "LOAD", library]);
    assert!(lost.error().ends_with("(server2)"), "{lost:?}");
    shards.servers[1].restart();
    eventually("it is back", || client.cmd(&["DBSIZE"]) == Value::Int(0));
    assert_eq!(
        client.cmd(&["FUNCTION", "LOAD", "REPLACE", library]),
        Value::bulk("lib")
    );
    for server in 0..2 {
        assert_eq!(
            client.cmd(&["FCALL", "f", "1", shards.key(server, 0)]),
            Value::Int(1)
        );
    }
}

/// As a reload adds a server, so does what concerns all of them.
#[test]
fn a_server_that_a_reload_brings_is_asked_too() {
    let shards = Shards::start(2);
    let third = RedisServer::start();
    let mut client = shards.client();
    assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(0));
    third.client().cmd(&["SET", "elsewhere", "x"]);
    let path = shards.proxy.config_path();
    let before = std::fs::read_to_string(&path).expect("the configuration");
    let more = format!("{}    - {}:1 server3\n", before, third.addr());
    std::fs::write(&path, more).expect("written");
    shards.proxy.signal(Signal::HUP);
    eventually("three servers", || client.cmd(&["DBSIZE"]) == Value::Int(1));
    assert_eq!(client.cmd(&["KEYS", "*"]), Value::bulks(&["elsewhere"]));
    std::fs::write(&path, before).expect("written");
    shards.proxy.signal(Signal::HUP);
    eventually("two servers", || client.cmd(&["DBSIZE"]) == Value::Int(0));
}

/// Each database by itself, of all servers.
#[test]
fn a_selected_database_is_that_of_all_servers() {
    let shape = |pool: Pool| pool.set("databases", "4").set("allow_flush", "true");
    let shards = Shards::start_with(3, shape, &[]);
    for client in &mut clients(&shards) {
        for server in 0..3 {
            client.cmd(&["SET", shards.key(server, 0), "x"]);
        }
        assert_eq!(client.cmd(&["SELECT", "2"]), Value::ok());
        assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(0));
        client.cmd(&["SET", shards.key(1, 1), "x"]);
        assert_eq!(
            client.cmd(&["KEYS", "*"]),
            Value::bulks(&[shards.key(1, 1)])
        );
        let info = text(&client.cmd(&["INFO", "keyspace"]));
        assert!(
            field(&info, "db0").unwrap().starts_with("keys=3,"),
            "{info}"
        );
        assert!(
            field(&info, "db2").unwrap().starts_with("keys=1,"),
            "{info}"
        );
        assert_eq!(
            pairs(client.cmd(&["CONFIG", "GET", "databases"])),
            [("databases".into(), "4".into())]
        );
        assert_eq!(client.cmd(&["FLUSHDB"]), Value::ok());
        assert_eq!(client.cmd(&["SELECT", "0"]), Value::ok());
        assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(3));
        assert_eq!(client.cmd(&["FLUSHALL"]), Value::ok());
    }
}
