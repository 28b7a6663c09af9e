//! Scripts: every server knows them, and one that does not is told.

mod support;

use std::collections::BTreeMap;

use support::{Client, Pool, RedisServer, Shards, Value, encode, eventually};

const SCRIPT: &str = "return {KEYS[1], ARGV[1]}";
const HASH: &str = "4bb2a7cf3e4a6a0e5d5d0c7e6a9ba7d2a9ff6bd5";

fn clients(shards: &Shards) -> [Client; 2] {
    let mut newer = shards.client();
    assert!(!newer.cmd(&["HELLO", "3"]).is_error());
    [shards.client(), newer]
}

#[track_caller]
fn load(client: &mut Client, script: &str) -> String {
    match client.cmd(&["SCRIPT", "LOAD", script]) {
        Value::Bulk(hash) => String::from_utf8(hash).expect("text"),
        other => panic!("{other:?}"),
    }
}

fn is_unknown(reply: &Value) -> bool {
    reply.is_error() && reply.error().starts_with("NOSCRIPT No matching script.")
}

/// How often a server was asked to execute what.
fn calls(server: &RedisServer) -> BTreeMap<String, u64> {
    let Value::Bulk(info) = server.client().cmd(&["INFO", "commandstats"]) else {
        panic!("no INFO")
    };
    let info = String::from_utf8(info).expect("text");
    let lines = info
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(":calls=").expect(line);
            (
                name.to_owned(),
                rest.split(',').next().unwrap().parse().expect(line),
            )
        })
        .collect()
}

#[test]
fn a_script_is_loaded_on_every_server() {
    let shards = Shards::start(3);
    for client in &mut clients(&shards) {
        let hash = load(client, SCRIPT);
        for server in 0..3 {
            let key = shards.key(server, 0);
            let own = shards.servers[server]
                .client()
                .cmd(&["EVALSHA", &hash, "1", key, "x"]);
            assert_eq!(own, Value::bulks(&[key, "x"]));
            assert_eq!(client.cmd(&["EVALSHA", &hash, "1", key, "x"]), own);
            assert_eq!(client.cmd(&["EVALSHA_RO", &hash, "1", key, "x"]), own);
        }
        let none = "f".repeat(40);
        let exists = client.cmd(&["SCRIPT", "EXISTS", &hash, &none, &hash]);
        assert_eq!(
            exists,
            Value::Array(vec![Value::Int(1), Value::Int(0), Value::Int(1)])
        );
        shards.servers[2].client().cmd(&["SCRIPT", "FLUSH"]);
        let exists = client.cmd(&["SCRIPT", "EXISTS", &hash]);
        assert_eq!(exists, Value::Array(vec![Value::Int(0)]), "not on all");
        assert_eq!(client.cmd(&["SCRIPT", "FLUSH", "ASYNC"]), Value::ok());
        for server in &shards.servers {
            let exists = server.client().cmd(&["SCRIPT", "EXISTS", &hash]);
            assert_eq!(exists, Value::Array(vec![Value::Int(0)]));
        }
        let wrong = client.cmd(&["SCRIPT", "LOAD", "this is no Lua"]);
        assert!(
            wrong.error().starts_with("ERR Error compiling script"),
            "{wrong:?}"
        );
        let refused = client.cmd(&["SCRIPT", "DEBUG", "YES"]);
        assert!(
            refused
                .error()
                .starts_with("ERR unsupported command 'script|debug': "),
            "{refused:?}"
        );
    }
}

#[test]
fn a_server_that_forgot_is_told_and_the_client_does_not_notice() {
    let shards = Shards::start(3);
    for client in &mut clients(&shards) {
        let hash = load(client, SCRIPT);
        for server in 0..3 {
            let key = shards.key(server, 0);
            shards.servers[server].client().cmd(&["SCRIPT", "FLUSH"]);
            for name in ["EVALSHA", "EVALSHA_RO"] {
                let replies = client.pipeline(&[&["PING"], &[name, &hash, "1", key, "x"]]);
                assert_eq!(replies[1], Value::bulks(&[key, "x"]));
            }
            let own = shards.servers[server]
                .client()
                .cmd(&["SCRIPT", "EXISTS", &hash]);
            assert_eq!(own, Value::Array(vec![Value::Int(1)]));
        }
        // In capitals it is the same.
        shards.servers[0].client().cmd(&["SCRIPT", "FLUSH"]);
        let key = shards.key(0, 0);
        let reply = client.cmd(&["evalsha", &hash.to_uppercase(), "1", key, "x"]);
        assert_eq!(reply, Value::bulks(&[key, "x"]));
    }
}

/// EVAL makes a script known to one server only.
#[test]
fn a_script_that_was_run_on_one_server_is_known_to_all() {
    let shards = Shards::start(3);
    for (n, client) in clients(&shards).iter_mut().enumerate() {
        for (m, name) in ["EVAL", "EVAL_RO"].into_iter().enumerate() {
            let script = format!("return {{ARGV[1], {}}}", 10 * n + m);
            let wanted = Value::Array(vec![Value::bulk("x"), Value::Int((10 * n + m) as i64)]);
            let mut other = RedisServer::start();
            let hash = load(&mut other.client(), &script);
            other.kill();
            assert!(is_unknown(&client.cmd(&[
                "EVALSHA",
                &hash,
                "1",
                shards.key(1, 0),
                "x"
            ])));
            assert_eq!(
                client.cmd(&[name, &script, "1", shards.key(0, 0), "x"]),
                wanted
            );
            for server in 0..3 {
                assert_eq!(
                    client.cmd(&["EVALSHA", &hash, "1", shards.key(server, 0), "x"]),
                    wanted
                );
            }
        }
    }
}

#[test]
fn what_nobody_has_sent_stays_unknown() {
    let shards = Shards::start(2);
    for client in &mut clients(&shards) {
        let key = shards.key(1, 0);
        let replies = client.pipeline(&[
            &["EVALSHA", HASH, "1", key, "x"],
            &["SET", key, "x"],
            &["EVALSHA", "no hash", "1", key],
        ]);
        assert!(
            is_unknown(&replies[0]) && is_unknown(&replies[2]),
            "{replies:?}"
        );
        assert_eq!(replies[1], Value::ok());
        // Nor what was flushed on purpose.
        let hash = load(client, SCRIPT);
        assert_eq!(client.cmd(&["SCRIPT", "FLUSH"]), Value::ok());
        assert!(is_unknown(&client.cmd(&["EVALSHA", &hash, "1", key, "x"])));
        // A script may say what it likes.
        let liar =
            "redis.call('INCR', KEYS[1]) return redis.error_reply('NOSCRIPT No matching script.')";
        let counter = shards.key(0, 1);
        client.cmd(&["DEL", counter]);
        assert!(is_unknown(&client.cmd(&["EVAL", liar, "1", counter])));
        assert_eq!(client.cmd(&["GET", counter]), Value::bulk("1"));
    }
}

/// The server has executed what came after the script: to run it then would be another order.
#[test]
fn a_script_never_overtakes_nor_falls_behind() {
    let shards = Shards::start(2);
    for client in &mut clients(&shards) {
        let key = shards.key(0, 0);
        let append = "return redis.call('APPEND', KEYS[1], ARGV[1])";
        let hash = load(client, append);
        client.cmd(&["DEL", key]);
        shards.servers[0].client().cmd(&["SCRIPT", "FLUSH"]);
        let before = calls(&shards.servers[0]);
        let replies = client.pipeline(&[
            &["APPEND", key, "a"],
            &["EVALSHA", &hash, "1", key, "b"],
            &["EVALSHA", &hash, "1", key, "c"],
            &["APPEND", key, "d"],
            &["GET", shards.key(1, 0)],
        ]);
        assert!(
            is_unknown(&replies[1]) && is_unknown(&replies[2]),
            "{replies:?}"
        );
        assert_eq!((&replies[0], &replies[3]), (&Value::Int(1), &Value::Int(2)));
        // But the server has been told, once.
        let replies = client.pipeline(&[&["EVALSHA", &hash, "1", key, "e"], &["APPEND", key, "f"]]);
        assert_eq!(replies, [Value::Int(3), Value::Int(4)]);
        assert_eq!(client.cmd(&["GET", key]), Value::bulk("adef"));
        let count = |calls: &BTreeMap<String, u64>| calls.get("script|load").copied().unwrap_or(0);
        assert_eq!(count(&calls(&shards.servers[0])) - count(&before), 1);
        // Requests to other servers are in nobody's way, and the last request of a pipeline can be repeated.
        shards.servers[0].client().cmd(&["SCRIPT", "FLUSH"]);
        let replies = client.pipeline(&[
            &["APPEND", key, "g"],
            &["EVALSHA", &hash, "1", key, "h"],
            &["GET", shards.key(1, 0)],
        ]);
        assert_eq!(replies, [Value::Int(5), Value::Int(6), Value::Nil]);
        assert_eq!(client.cmd(&["GET", key]), Value::bulk("adefgh"));
    }
}

/// Clients of all kinds share one connection; each gets the answers to its own requests.
#[test]
fn other_clients_are_not_in_the_way_and_nobody_gets_anothers_answer() {
    let shards = Shards::start(1);
    let mut several: Vec<Client> = (0..20).map(|_| shards.client()).collect();
    let hash = load(&mut several[0], SCRIPT);
    for round in 0..20 {
        shards.servers[0].client().cmd(&["SCRIPT", "FLUSH"]);
        shards.servers[0].pause();
        for (n, client) in several.iter_mut().enumerate() {
            let (key, value) = (format!("k{n}"), format!("{round}"));
            client.send(encode(&["EVALSHA", &hash, "1", &key, &value]));
            if n % 3 == 0 {
                client.send(encode(&["ECHO", &key]));
            }
        }
        shards.servers[0].resume();
        for (n, client) in several.iter_mut().enumerate() {
            let (key, value) = (format!("k{n}"), format!("{round}"));
            assert_eq!(client.read(), Value::bulks(&[&key, &value]));
            if n % 3 == 0 {
                assert_eq!(client.read(), Value::bulk(&key));
            }
        }
    }
}

#[test]
fn a_server_that_starts_anew_is_told() {
    let mut shards = Shards::start(2);
    let mut client = shards.client();
    let hash = load(&mut client, SCRIPT);
    let key = shards.key(1, 0).to_owned();
    shards.servers[1].restart();
    eventually("it is back", || !client.cmd(&["GET", &key]).is_error());
    let reply = client.cmd(&["EVALSHA", &hash, "1", &key, "x"]);
    assert_eq!(reply, Value::bulks(&[&key, "x"]));
}

#[test]
fn a_script_loaded_while_a_server_was_down_is_known_to_it_when_it_is_back() {
    let mut shards = Shards::start(2);
    let mut client = shards.client();
    let key = shards.key(1, 0).to_owned();
    client.cmd(&["GET", &key]);
    shards.servers[1].kill();
    eventually("the loss is seen", || client.cmd(&["GET", &key]).is_error());
    let lost = client.cmd(&["SCRIPT", "LOAD", SCRIPT]);
    assert!(lost.error().ends_with("(server2)"), "{lost:?}");
    let hash = load(&mut shards.servers[0].client(), SCRIPT);
    shards.servers[1].restart();
    eventually("it is back", || !client.cmd(&["GET", &key]).is_error());
    let reply = client.cmd(&["EVALSHA", &hash, "1", &key, "x"]);
    assert_eq!(reply, Value::bulks(&[&key, "x"]));
}

/// Workers share what they have seen, pools do not.
#[test]
fn scripts_are_known_to_all_workers_and_to_one_pool() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let pools = [
        Pool::new("alpha").servers(&servers[..1]),
        Pool::new("beta").servers(&servers[1..]),
    ];
    let (alpha, beta) = (pools[0].addr(), pools[1].addr());
    let _proxy = support::Proxy::build(&pools)
        .args(&["--workers", "4"])
        .start();
    let mut several: Vec<Client> = (0..8).map(|_| Client::connect(alpha)).collect();
    let hash = load(&mut several[0], SCRIPT);
    for client in &mut several {
        servers[0].client().cmd(&["SCRIPT", "FLUSH"]);
        let reply = client.cmd(&["EVALSHA", &hash, "1", "k", "x"]);
        assert_eq!(reply, Value::bulks(&["k", "x"]));
    }
    let Value::Bulk(info) = several[0].cmd(&["INFO", "nuthatch"]) else {
        panic!("no INFO")
    };
    assert!(
        info.windows(11).any(|found| found == b"clients:8\r\n"),
        "{}",
        info.escape_ascii()
    );
    let mut other = Client::connect(beta);
    assert!(is_unknown(&other.cmd(&["EVALSHA", &hash, "1", "k", "x"])));
}

#[test]
fn counters_stay_in_balance() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let hash = load(&mut client, SCRIPT);
    let key = shards.key(0, 0);
    let before = [
        shards.server_stat(0, "requests"),
        shards.server_stat(0, "responses"),
    ];
    assert_eq!(before[0], before[1]);
    shards.servers[0].client().cmd(&["SCRIPT", "FLUSH"]);
    client.cmd(&["EVALSHA", &hash, "1", key, "x"]);
    // The refusal, the script, and the second try.
    let after = [
        shards.server_stat(0, "requests"),
        shards.server_stat(0, "responses"),
    ];
    assert_eq!(after, before.map(|n| n + 3));
    for gauge in ["in_queue", "out_queue", "in_queue_bytes", "out_queue_bytes"] {
        assert_eq!(shards.server_stat(0, gauge), 0, "{gauge}");
    }
}

/// Over the connection on which a script came its server reads nothing before it ends.
#[test]
fn a_script_that_runs_for_ever_can_be_stopped() {
    let busy =
        || RedisServer::with_args(&["--busy-reply-threshold", "20", "--requirepass", "secret"]);
    for count in [1, 3] {
        let servers = (0..count).map(|_| busy()).collect();
        let shape = |pool: Pool| pool.set("redis_db", "2").set("redis_auth", "secret");
        let shards = Shards::over(servers, shape, &[]);
        for resp in ["2", "3"] {
            let greeting = ["HELLO", resp, "AUTH", "default", "secret"];
            let [mut runs, mut stops] = [(); 2].map(|()| shards.client());
            for client in [&mut runs, &mut stops] {
                assert!(!client.cmd(&greeting).is_error());
            }
            for name in ["SCRIPT", "FUNCTION"] {
                let nothing = stops.cmd(&[name, "KILL"]);
                assert!(nothing.error().starts_with("NOTBUSY "), "{nothing:?}");
            }
            let library =
                "#!lua name=l\nredis.register_function('f', function() while true do end end)";
            let loaded = stops.cmd(&["FUNCTION", "LOAD", "REPLACE", library]);
            assert_eq!(loaded, Value::bulk("l"));
            let key = shards.key(count - 1, 0);
            for (endless, name) in [
                (["EVAL", "while true do end", "1", key].as_slice(), "SCRIPT"),
                (&["FCALL", "f", "1", key], "FUNCTION"),
            ] {
                runs.send(encode(endless));
                runs.send(encode(&["GET", key]));
                eventually("it is stopped", || {
                    stops.cmd(&[name, "KILL"]) == Value::ok()
                });
                let stopped = runs.read();
                assert!(stopped.error().contains("killed by user"), "{stopped:?}");
                assert_eq!(runs.read(), Value::Nil);
            }
        }
        // Each was for one request.
        eventually("they are closed", || {
            (0..count).all(|server| shards.server_stat(server, "server_connections") <= 2)
        });
    }
}
