//! SCAN over all servers: every key that lives through it is seen, whatever else happens meanwhile.

mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::{Client, Pool, RedisServer, Shards, Value, eventually};

/// One call: the next cursor and the keys.
#[track_caller]
fn call(client: &mut Client, cursor: &str, options: &[&str]) -> (String, Vec<String>) {
    let request = [&["SCAN", cursor], options].concat();
    let reply = client.cmd(&request);
    let Value::Array(parts) = &reply else {
        panic!("{reply:?}")
    };
    let text = |value: &Value| match value {
        Value::Bulk(bytes) => String::from_utf8(bytes.clone()).expect("text"),
        other => panic!("{other:?}"),
    };
    match &parts[..] {
        [cursor, Value::Array(keys)] => (text(cursor), keys.iter().map(text).collect()),
        _ => panic!("{reply:?}"),
    }
}

/// A whole scan: how often each key was seen. `between` runs after every call.
#[track_caller]
fn scan(
    client: &mut Client,
    options: &[&str],
    mut between: impl FnMut(),
) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, keys) = call(client, &cursor, options);
        for key in keys {
            *seen.entry(key).or_default() += 1;
        }
        if next == "0" {
            return seen;
        }
        cursor = next;
        between();
    }
}

fn resp3(shards: &Shards) -> Client {
    let mut client = shards.client();
    assert!(!client.cmd(&["HELLO", "3"]).is_error());
    client
}

#[test]
fn every_key_is_seen_once_where_nothing_changes() {
    let shards = Shards::start(3);
    let mut setter = shards.client();
    for n in 0..500 {
        setter.cmd(&["SET", &format!("key:{n}"), "x"]);
    }
    setter.cmd(&["RPUSH", "list", "x"]);
    for client in &mut [shards.client(), resp3(&shards)] {
        for count in ["1", "10", "1000"] {
            let seen = scan(client, &["COUNT", count], || {});
            assert_eq!(seen.len(), 501);
            assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        }
        let seen = scan(client, &["MATCH", "key:1?", "count", "50"], || {});
        assert_eq!(seen.len(), 10);
        let seen = scan(client, &["TYPE", "list"], || {});
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["list"]);
        let seen = scan(client, &["MATCH", "none"], || {});
        assert!(seen.is_empty());
    }
    // A server's call of it is one request.
    let replies = setter.pipeline(&[&["GET", "key:1"], &["SCAN", "0"], &["GET", "key:2"]]);
    assert_eq!(
        (&replies[0], &replies[2]),
        (&Value::bulk("x"), &Value::bulk("x"))
    );
}

#[test]
fn empty_servers_and_empty_pools_come_to_an_end() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    let (next, keys) = call(&mut client, "0", &[]);
    assert_eq!(
        (next.as_str(), keys.len()),
        ("1", 0),
        "the second server is next"
    );
    assert!(scan(&mut client, &[], || {}).is_empty());
    client.cmd(&["SET", shards.key(1, 0), "x"]);
    assert_eq!(scan(&mut client, &[], || {}).len(), 1);
    let single = Shards::start(1);
    let mut client = single.client();
    client.cmd(&["SET", "a", "x"]);
    assert_eq!(scan(&mut client, &["COUNT", "1"], || {}).len(), 1);
}

#[test]
fn errors_are_those_of_redis() {
    let shards = Shards::start(2);
    let mut redis = shards.servers[0].client();
    for client in &mut [shards.client(), resp3(&shards)] {
        for request in [
            &["SCAN", "x"][..],
            &["SCAN", "1x"],
            &["SCAN", "18446744073709551616"],
            &["SCAN"],
            &["SCAN", "0", "COUNT", "0"],
            &["SCAN", "0", "COUNT"],
            &["SCAN", "0", "NONSENSE", "1"],
        ] {
            assert_eq!(client.cmd(request), redis.cmd(request), "{request:?}");
        }
        // The third of two servers.
        assert_eq!(client.cmd(&["SCAN", "2"]).error(), "ERR invalid cursor");
        assert_eq!(client.cmd(&["SCAN", "-1"]).error(), "ERR invalid cursor");
    }
}

#[test]
fn a_server_that_is_down_is_named_and_the_scan_goes_on_when_it_is_back() {
    let mut shards = Shards::start(3);
    let mut client = shards.client();
    for server in [0, 2] {
        for n in 0..8 {
            client.cmd(&["SET", shards.key(server, n), "x"]);
        }
    }
    shards.servers[1].kill();
    let down = format!(
        "ERR Connection refused: server {} (server2)",
        shards.servers[1].addr()
    );
    let (mut cursor, mut keys) = ("0".to_owned(), 0);
    while cursor != "1" {
        let (next, found) = call(&mut client, &cursor, &[]);
        keys += found.len();
        cursor = next;
    }
    assert_eq!(keys, 8);
    eventually("the loss is seen", || {
        let reply = client.cmd(&["SCAN", "1"]);
        reply.is_error() && reply.error() == down
    });
    shards.servers[1].restart();
    eventually("it is back", || !client.cmd(&["SCAN", "1"]).is_error());
    while cursor != "0" {
        let (next, found) = call(&mut client, &cursor, &[]);
        keys += found.len();
        cursor = next;
    }
    assert_eq!(keys, 16);
}

#[test]
fn servers_out_of_the_ring_are_passed_over() {
    let shape = |pool: Pool| {
        pool.set("auto_eject_hosts", "true")
            .set("server_failure_limit", "1")
            .set("server_retry_timeout", "600000")
    };
    let mut shards = Shards::start_with(4, shape, &[]);
    let mut client = shards.client();
    for server in 0..4 {
        client.cmd(&["SET", shards.key(server, 0), "x"]);
    }
    for (gone, left) in [(1, 3), (3, 2), (0, 1)] {
        shards.servers[gone].kill();
        eventually("it is ejected", || {
            client.cmd(&["DBSIZE"]) == Value::Int(left)
        });
        assert_eq!(scan(&mut client, &[], || {}).len() as i64, left);
        // Whoever stood there goes on behind it.
        let next = (gone + 1..4).find(|server| shards.servers[*server].is_up());
        let cursor = (5u64 << 16 | gone as u64).to_string();
        let (after, keys) = call(&mut client, &cursor, &[]);
        let found = next.map(|server| vec![shards.key(server, 0).to_owned()]);
        assert_eq!(keys, found.unwrap_or_default(), "{after}");
    }
}

/// With a server added while the scan is under way, and one removed.
#[test]
fn a_scan_goes_on_across_a_reload() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    for n in 0..300 {
        client.cmd(&["SET", &format!("key:{n}"), "x"]);
    }
    let kept: Vec<String> = (0..300)
        .map(|n| format!("key:{n}"))
        .filter(|key| shards.servers[2].client().cmd(&["EXISTS", key]) == Value::Int(0))
        .collect();
    let added = RedisServer::start();
    added.client().cmd(&["SET", "added", "x"]);
    let path = shards.proxy.config_path();
    let before = std::fs::read_to_string(&path).expect("the configuration");
    let line = format!("    - {}:1 server3\n", shards.servers[2].addr());
    assert!(before.contains(&line), "{before}");
    let other = before.replace(&line, &format!("    - {}:1 server4\n", added.addr()));
    let mut calls = 0;
    let seen = scan(&mut client, &["COUNT", "5"], || {
        calls += 1;
        if calls == 3 {
            std::fs::write(&path, &other).expect("written");
            shards.proxy.signal(rustix::process::Signal::HUP);
            let mut other = shards.client();
            eventually("it is taken over", || {
                let keys = other.cmd(&["KEYS", "added"]);
                keys == Value::bulks(&["added"])
            });
        }
    });
    for key in kept {
        assert!(seen.contains_key(&key), "{key}");
    }
    assert!(seen.contains_key("added"));
}

/// Keys come, go and move their server's table while clients scan.
#[test]
fn scans_under_changes_miss_nothing_that_stays() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    for n in 0..300 {
        client.cmd(&["SET", &format!("stays:{n}"), "x"]);
    }
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..4 {
        let mut changer = shards.client();
        let count = ["1", "3", "17", "100"][round];
        let seen = scan(&mut client, &["COUNT", count], || {
            // Tables grow to many times their size and shrink again.
            let grow = random.bool();
            let requests: Vec<Vec<String>> = (0..random.u32(1..200))
                .map(|_| {
                    let key = format!("goes:{}", random.u32(..5000));
                    match grow {
                        true => vec!["SET".into(), key, "x".into()],
                        false => vec!["DEL".into(), key],
                    }
                })
                .collect();
            let requests: Vec<&[String]> = requests.iter().map(|request| &request[..]).collect();
            changer.pipeline(&requests);
        });
        for n in 0..300 {
            assert!(
                seen.contains_key(&format!("stays:{n}")),
                "{n} in round {round}"
            );
        }
    }
}

/// What happens between two calls of a scan.
#[derive(Clone, Debug)]
enum Change {
    Add(u16),
    Delete(u16),
    /// Another client scans meanwhile.
    Scan(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..2000u16).prop_map(Change::Add),
        (0..2000u16).prop_map(Change::Delete),
        (1..50u8).prop_map(Change::Scan),
    ]
}

#[test]
fn any_scan_sees_what_lives_through_it_and_nothing_that_never_was() {
    let shards = Shards::start_with(3, |pool| pool.set("allow_flush", "true"), &[]);
    let connections = RefCell::new((shards.client(), resp3(&shards)));
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let input = (
        0..400u16,
        1..60u8,
        prop::collection::vec(prop::collection::vec(change(), 0..40), 1..20),
    );
    runner
        .run(&input, |(stay, count, changes)| {
            let (client, other) = &mut *connections.borrow_mut();
            client.cmd(&["FLUSHALL"]);
            let stays: Vec<String> = (0..stay).map(|n| format!("stays:{n}")).collect();
            for key in &stays {
                client.cmd(&["SET", key, "x"]);
            }
            let count = count.to_string();
            let mut changes = changes.iter().cycle().take(60);
            let mut ever: BTreeSet<String> = stays.iter().cloned().collect();
            let seen = scan(client, &["COUNT", &count], || {
                for change in changes.next().into_iter().flatten() {
                    match change {
                        Change::Add(n) => {
                            let key = format!("goes:{n}");
                            other.cmd(&["SET", &key, "x"]);
                            ever.insert(key);
                        }
                        Change::Delete(n) => {
                            other.cmd(&["DEL", &format!("goes:{n}")]);
                        }
                        Change::Scan(count) => {
                            call(other, "0", &["COUNT", &count.to_string()]);
                        }
                    }
                }
            });
            for key in &stays {
                prop_assert!(seen.contains_key(key), "{key}");
            }
            for key in seen.keys() {
                prop_assert!(ever.contains(key), "{key}");
            }
            Ok(())
        })
        .unwrap();
}
