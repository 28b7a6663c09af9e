//! `auto_eject_hosts` with real processes: when a server leaves, where its keys go, and what it takes to
//! return.

mod support;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use support::{
    Client, FakeServer, Pool, Proxy, RedisServer, Stats, Value, count, encode, eventually, keys_on,
};

/// Milliseconds that are over soon, and never within a test.
const SOON: u64 = 60;
const NEVER: u64 = 3_600_000;

fn ejecting(limit: u32, retry: u64) -> Pool {
    Pool::new("alpha")
        .set("auto_eject_hosts", true)
        .set("server_failure_limit", limit)
        .set("server_retry_timeout", retry)
}

fn all_ejected(client: &mut Client) -> bool {
    let reply = client.cmd(&["GET", "k"]);
    reply.error() == "ERR Connection refused: all servers are ejected: pool alpha"
}

fn vectors(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the recording")).expect("JSON")
}

/// Keys with the server each had in a real nutcracker, before and after the second of three had gone.
struct Recording {
    names: Vec<String>,
    keys: Vec<Vec<u8>>,
    /// After the ejection.
    places: Vec<usize>,
}

impl Recording {
    fn load() -> Recording {
        let file = vectors("ejection-named3.json");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let lines = file["servers"].as_array().expect("a list");
        let name = |line| text(line).rsplit(' ').next().expect("a name").to_owned();
        let keys = vectors("keys.json");
        let key = |value| {
            let key = text(value);
            match key.strip_prefix("b64:") {
                Some(encoded) => BASE64_STANDARD.decode(encoded).expect("base64"),
                None => key.into_bytes(),
            }
        };
        let cases = file["cases"].as_array().expect("a list");
        let case = cases
            .iter()
            .find(|case| case["hash"] == "fnv1a_64" && case["distribution"] == "ketama")
            .expect("the default case");
        assert_eq!(case["ejected"], serde_json::json!([1]));
        Recording {
            names: lines.iter().map(name).collect(),
            keys: keys.as_array().expect("a list").iter().map(key).collect(),
            places: serde_json::from_value(case["placement"].clone()).expect("places"),
        }
    }
}

/// Writes all keys through `client`, and looks where they are.
#[track_caller]
fn placement(client: &mut Client, servers: &[RedisServer], keys: &[Vec<u8>]) -> Vec<usize> {
    let mut inside: Vec<(usize, Client)> = servers
        .iter()
        .enumerate()
        .filter(|(_, server)| server.is_up())
        .map(|(index, server)| (index, server.client()))
        .collect();
    for (_, client) in &mut inside {
        assert_eq!(client.cmd(&["FLUSHALL"]), Value::ok());
    }
    let sets: Vec<u8> = (keys.iter())
        .flat_map(|key| encode(&[b"SET", &key[..], b"v"]))
        .collect();
    client.send(sets);
    for reply in client.read_n(keys.len()) {
        assert_eq!(reply, Value::ok());
    }
    let place = |key: &Vec<u8>| {
        let mut holders = Vec::new();
        for (index, client) in &mut inside {
            if client.cmd(&[b"EXISTS", &key[..]]) == Value::Int(1) {
                holders.push(*index);
            }
        }
        assert_eq!(holders.len(), 1, "{}", key.escape_ascii());
        holders[0]
    };
    keys.iter().map(place).collect()
}

#[test]
fn keys_of_a_dead_server_go_where_nutcracker_sent_them_and_come_back() {
    let recording = Recording::load();
    let mut servers = [(); 3].map(|()| RedisServer::start());
    let mut pool = ejecting(2, 300).set("hash_tag", "\"{}\"");
    for (server, name) in servers.iter().zip(&recording.names) {
        pool = pool.server(&format!("{}:1 {name}", server.addr()));
    }
    let proxy = Proxy::build(&[pool]).args(&["--workers", "2"]).start();
    // One each of the workers, as they are given out in turn.
    let mut clients = [proxy.client(), proxy.client()];
    let before = placement(&mut clients[0], &servers, &recording.keys);
    assert_eq!(
        placement(&mut clients[1], &servers, &recording.keys),
        before
    );
    let dead = recording.names[1].as_str();
    let moved = before.iter().position(|&place| place == 1).expect("a key");
    let moved = &recording.keys[moved];

    let start = SystemTime::now();
    servers[1].kill();
    for client in &mut clients {
        eventually("the key has another place", || {
            let reply = client.cmd(&[b"SET", &moved[..], b"v"]);
            if reply.is_error() {
                assert!(reply.error().contains(&format!("({dead})")), "{reply:?}");
            }
            reply == Value::ok()
        });
    }
    for client in &mut clients {
        assert_eq!(
            placement(client, &servers, &recording.keys),
            recording.places
        );
    }
    for (now, then) in recording.places.iter().zip(&before) {
        assert!(
            now == then || *then == 1,
            "only the dead server's keys move"
        );
    }
    let stats = Stats::of(&proxy);
    assert_eq!(stats.pool("alpha", "server_ejects"), 1);
    assert_eq!(stats.pool("alpha", "server_returns"), 0);
    let at = Duration::from_micros(stats.server("alpha", dead, "server_ejected_at"));
    let start = start.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(
        start <= at && at < start + Duration::from_secs(60),
        "{at:?}"
    );
    assert_eq!(count(&proxy.log(), "server ejected"), 1);

    servers[1].restart();
    for client in &mut clients {
        eventually("the key is back", || {
            client.cmd(&[b"SET", &moved[..], b"v"]);
            servers[1].client().cmd(&[b"DEL", &moved[..]]) == Value::Int(1)
        });
    }
    for client in &mut clients {
        assert_eq!(placement(client, &servers, &recording.keys), before);
    }
    let stats = Stats::of(&proxy);
    assert_eq!(stats.pool("alpha", "server_ejects"), 1);
    assert_eq!(stats.pool("alpha", "server_returns"), 1);
    assert_eq!(count(&proxy.log(), "server returned"), 1);
}

#[test]
fn a_server_returns_only_after_its_pong() {
    let mut fake = FakeServer::refusing();
    let pool = ejecting(1, SOON)
        .set("timeout", 150)
        .set("redis_auth", "pw")
        .set("redis_db", 1);
    let proxy = Proxy::start(&[pool.server(&fake.line("server1"))]);
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["AUTH", "pw"]), Value::ok());
    eventually("it is ejected", || all_ejected(&mut client));
    fake.listen();
    for opening in [
        // No answer at all, or not to all.
        "",
        "+OK\r\n+OK\r\n",
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n-NOAUTH no\r\n-NOAUTH no\r\n",
        "+OK\r\n-ERR DB index is out of range\r\n+PONG\r\n",
        "+OK\r\n+OK\r\n-LOADING Redis is loading the dataset in memory\r\n",
        "+OK\r\n+OK\r\n-MASTERDOWN Link with MASTER is down\r\n",
        "+OK\r\n+OK\r\n$4\r\nPONG\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let mut probe = fake.accept();
        probe.expect(&["AUTH", "pw"]);
        probe.expect(&["SELECT", "1"]);
        probe.expect(&["PING"]);
        probe.reply(opening);
        probe.expect_closed();
        assert!(all_ejected(&mut client), "after {opening:?}");
        assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
    }
    // Hangs up, refuses, and is well.
    fake.accept().close();
    fake.refuse();
    fake.listen();
    assert_eq!(Stats::of(&proxy).pool("alpha", "server_returns"), 0);
    let mut probe = fake.accept();
    for command in [&["AUTH", "pw"][..], &["SELECT", "1"], &["PING"]] {
        probe.expect(command);
    }
    probe.reply("+OK\r\n+OK\r\n+PONG\r\n");
    eventually("it returns", || {
        Stats::of(&proxy).pool("alpha", "server_returns") == 1
    });
    probe.expect_closed();
    client.send(encode(&["GET", "k"]));
    let mut backend = fake.accept();
    backend.expect(&["AUTH", "pw"]);
    backend.expect(&["SELECT", "1"]);
    backend.reply("+OK\r\n+OK\r\n");
    backend.answer(&["GET", "k"], "$1\r\nv\r\n");
    assert_eq!(client.read(), Value::bulk("v"));
}

#[test]
fn with_all_servers_ejected_nothing_is_tried_and_pings_are_answered() {
    for servers in [1, 2] {
        let mut fakes: Vec<FakeServer> = (0..servers).map(|_| FakeServer::refusing()).collect();
        let mut pool = ejecting(1, NEVER);
        for (fake, number) in fakes.iter().zip(1..) {
            pool = pool.server(&fake.line(&format!("server{number}")));
        }
        let proxy = Proxy::start(&[pool]);
        let mut client = proxy.client();
        let keys: Vec<String> = (1..=servers).flat_map(|n| keys_on(n, servers)).collect();
        eventually("all are ejected", || {
            for key in &keys {
                assert!(client.cmd(&["GET", key]).is_error());
            }
            Stats::of(&proxy).pool("alpha", "server_ejects") == servers as u64
        });
        eventually("the worker knows", || all_ejected(&mut client));
        fakes.iter_mut().for_each(FakeServer::listen);
        let begin = Instant::now();
        for _ in 0..100 {
            assert!(all_ejected(&mut client));
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "not at once");
        let mget = [&["MGET".to_owned()], &keys[..]].concat();
        let reply = client.cmd(&mget);
        assert!(
            reply.error().contains("all servers are ejected"),
            "{reply:?}"
        );
        assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
        assert!(fakes.iter_mut().all(|fake| fake.connections() == 0));
    }
}

#[test]
fn a_pool_of_one_works_again_when_its_server_is_back() {
    let mut server = RedisServer::start();
    let proxy = Proxy::start(&[ejecting(3, SOON).servers([&server])]);
    let mut client = proxy.client();
    for round in 1..=2 {
        assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
        server.kill();
        eventually("it is ejected", || all_ejected(&mut client));
        server.restart();
        eventually("it returns", || client.cmd(&["GET", "k"]) == Value::Nil);
        assert_eq!(Stats::of(&proxy).pool("alpha", "server_returns"), round);
    }
}

#[test]
fn failures_add_up_to_the_limit_unless_a_reply_comes_between() {
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[ejecting(3, NEVER).server(&fake.line("server1"))]);
    let mut client = proxy.client();
    let ejects = |proxy: &Proxy| Stats::of(proxy).pool("alpha", "server_ejects");
    let fail = |fake: &mut FakeServer, client: &mut Client| {
        fake.accept_for(client, &["GET", "k"]).reset();
        assert!(client.read().is_error());
    };
    for _ in 0..3 {
        fail(&mut fake, &mut client);
        fail(&mut fake, &mut client);
        let mut backend = fake.accept_for(&mut client, &["GET", "k"]);
        backend.reply("$1\r\nv\r\n");
        assert_eq!(client.read(), Value::bulk("v"));
        // One connection is one failure, however many requests it had.
        for _ in 0..10 {
            client.send(encode(&["GET", "k"]));
        }
        for _ in 0..10 {
            backend.expect(&["GET", "k"]);
        }
        backend.reset();
        assert!(client.read_n(10).iter().all(Value::is_error));
        let mut backend = fake.accept_for(&mut client, &["GET", "k"]);
        backend.reply("$1\r\nv\r\n");
        assert_eq!(client.read(), Value::bulk("v"));
        backend.close();
        eventually("the close is seen", || {
            Stats::of(&proxy).server("alpha", "server1", "server_connections") == 0
        });
    }
    assert_eq!(ejects(&proxy), 0);
    for _ in 0..3 {
        fail(&mut fake, &mut client);
    }
    eventually("the third ejects it", || ejects(&proxy) == 1);
}

#[test]
fn a_stopped_process_is_ejected_and_stays_out_until_it_goes_on() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let proxy = Proxy::start(&[ejecting(1, SOON).set("timeout", 100).servers(&servers)]);
    let mut client = proxy.client();
    let key = &keys_on(1, 2)[0];
    assert_eq!(client.cmd(&["SET", key, "first"]), Value::ok());
    servers[0].pause();
    // Reads only: a write would still be there when the process goes on, and be applied.
    eventually("the other is asked for the key", || {
        client.cmd(&["GET", key]) == Value::Nil
    });
    assert_eq!(client.cmd(&["SET", key, "second"]), Value::ok());
    assert_eq!(
        servers[1].client().cmd(&["GET", key]),
        Value::bulk("second")
    );
    // It is probed again and again; its kernel accepts.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        assert_eq!(client.cmd(&["GET", key]), Value::bulk("second"));
    }
    assert_eq!(Stats::of(&proxy).pool("alpha", "server_returns"), 0);
    servers[0].resume();
    eventually("it has its key again", || {
        client.cmd(&["GET", key]) == Value::bulk("first")
    });
    assert_eq!(Stats::of(&proxy).pool("alpha", "server_returns"), 1);
}

#[test]
fn without_auto_eject_hosts_no_key_ever_moves() {
    let mut servers = [RedisServer::start(), RedisServer::start()];
    let pool = Pool::new("alpha").set("server_failure_limit", 1);
    let proxy = Proxy::start(&[pool.servers(&servers)]);
    let mut client = proxy.client();
    let (dead, live) = (&keys_on(1, 2)[0], &keys_on(2, 2)[0]);
    servers[0].kill();
    let attempts = |proxy: &Proxy| Stats::of(proxy).server("alpha", "server1", "server_err");
    eventually("several attempts", || {
        assert!(
            client
                .cmd(&["SET", dead, "v"])
                .error()
                .contains("(server1)")
        );
        assert_eq!(client.cmd(&["SET", live, "v"]), Value::ok());
        attempts(&proxy) >= 4
    });
    servers[0].restart();
    eventually("it is found again", || {
        client.cmd(&["SET", dead, "v"]) == Value::ok()
    });
    assert_eq!(servers[0].client().cmd(&["DBSIZE"]), Value::Int(1));
    assert_eq!(servers[1].client().cmd(&["DBSIZE"]), Value::Int(1));
    assert_eq!(Stats::of(&proxy).pool("alpha", "server_ejects"), 0);
}
