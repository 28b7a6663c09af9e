use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::page::{Moment, Watched, page};
use super::sentinel::snapshot::{
    Phase, SentinelSnapshot, ShardSnapshot, Snapshot, SwitchRecord, ViewSnapshot,
};
use super::sentinel::{HostPort, SentinelId, ShardId, Via};
use super::{Endpoint, ServerId, Topology, Update, fixture, publish::Publisher};
use crate::config::{self, Current, SentinelConfig};
use crate::stats::{PoolNames, Stats};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn node(port: u16) -> HostPort {
    HostPort::new("10.0.0.1", port)
}

fn shard(start: Instant) -> ShardSnapshot {
    ShardSnapshot {
        id: ShardId(0),
        master: Some("m".to_string()),
        address: Some(node(2)),
        since: Some(start),
        epoch: Some(7),
        phase: Phase::Stable,
        switches: 3,
        views: vec![ViewSnapshot {
            sentinel: SentinelId(4),
            reachable: true,
            says: Some((node(2), 7)),
            agrees: Some(true),
            down: false,
            failover_in_progress: true,
        }],
        history: vec![SwitchRecord {
            from: Some(node(1)),
            to: node(2),
            epoch: Some(7),
            via: Via::Promoted,
            source: Some(SentinelId(9)),
            announced: Some(start),
            decided: start + ms(900),
            verified: start + ms(904),
            held: ms(950),
        }],
    }
}

fn sentinel(start: Instant) -> SentinelSnapshot {
    SentinelSnapshot {
        id: SentinelId(4),
        address: HostPort::new("10.0.0.9", 26379),
        run_id: Some("abc".to_string()),
        configured: true,
        subscribed: true,
        queried: false,
        tilt: false,
        last_event: Some(start),
        problem: Some("no answer".to_string()),
    }
}

/// A pool without sentinels, whose second server is ejected, and one with the shard as its second server.
fn shown(shard: ShardSnapshot, start: Instant) -> Value {
    let sentinels = SentinelConfig::new(vec![config::HostPort {
        host: "10.0.0.9".to_string(),
        port: 26379,
    }]);
    let plain = fixture::pool(&["127.0.0.1:1", "redis.example:2"]);
    let mut managed = fixture::pool(&["127.0.0.1:3", "127.0.0.1:4"]);
    managed.sentinel = Some(sentinels);
    managed.name = "managed".to_string();
    let config = fixture::config(vec![plain, managed]);
    let names = [(0, "pool"), (1, "managed")]
        .map(|(slot, name)| PoolNames::numbered(slot, name, &["server0", "server1"]));
    let stats = Stats::new(names.to_vec(), 2);
    for (requests, worker) in (1..).zip(&stats.workers) {
        worker.pools[1].servers[1].held.set(requests);
        worker.pools[1].servers[1].held_bytes.set(requests * 100);
    }
    let id = |pool, server| ServerId { pool, server };
    let mut publisher = Publisher::new(Topology::initial(&config));
    publisher.apply([
        Update::Eject(id(0, 1)),
        Update::Endpoint(id(1, 1), Endpoint::Tcp(([10, 0, 0, 1], 2).into())),
    ]);
    let other = ShardSnapshot {
        id: ShardId(1),
        master: None,
        ..shard.clone()
    };
    let watched = Watched {
        // Not in the order of the configuration.
        servers: vec![id(1, 1), id(1, 0)],
        snapshot: Snapshot {
            sentinels: vec![sentinel(start)],
            shards: vec![shard, other],
        },
    };
    let at = Moment {
        now: start + ms(10_000),
        unix: ms(1_700_000_000_000),
    };
    let current = Current::new(Arc::new(config), "f.yml".into(), ms(1_600_000_000_000));
    current.refuse(vec!["bad".to_string()], ms(1_650_000_000_000));
    let in_use = current.get();
    let page = page(
        publisher.current(),
        &in_use,
        &[Arc::new(watched)],
        &stats,
        at,
    );
    serde_json::to_value(&page).expect("keys are text")
}

#[test]
fn a_pool_without_sentinels_has_its_addresses_only() {
    let start = Instant::now();
    let page = shown(shard(start), start);
    assert_eq!(
        page["pools"][0],
        json!({"name": "pool", "listen": "127.0.0.1:0", "servers": [
            {"name": "server0", "address": "127.0.0.1:1", "endpoint": "127.0.0.1:1",
             "role_source": "configuration", "ejected": false},
            {"name": "server1", "address": "redis.example:2",
             "endpoint": "redis.example (no address yet)",
             "role_source": "name service", "ejected": true},
        ]})
    );
    assert_eq!(page["timestamp_ms"], 1_700_000_000_000_u64);
    assert_eq!(page["topology_version"], 2);
}

#[test]
fn a_managed_server_has_its_sentinels_requests_and_switches() {
    let start = Instant::now();
    let page = shown(shard(start), start);
    let pool = &page["pools"][1];
    assert_eq!(
        pool["sentinels"],
        json!([{"address": "10.0.0.9:26379", "run_id": "abc", "configured": true,
            "up": false, "subscribed": true, "queried": false, "tilt": false,
            "last_event_ms": 1_699_999_990_000_u64, "problem": "no answer"}])
    );
    assert_eq!(
        pool["servers"][1],
        json!({"name": "server1", "address": "127.0.0.1:4", "endpoint": "10.0.0.1:2",
            "role_source": "+promoted-slave",
            "ejected": false, "master": "m", "since_ms": 1_699_999_990_000_u64, "epoch": 7,
            "phase": "stable", "candidate": null, "hold_ends_in_ms": null,
            "held_requests": 3, "held_bytes": 300, "switches": 3,
            "views": [{"sentinel": "10.0.0.9:26379", "reachable": true,
                "address": "10.0.0.1:2", "agrees": true, "epoch": 7, "down": false,
                "failover_in_progress": true}],
            "history": [{"from": "10.0.0.1:1", "to": "10.0.0.1:2", "epoch": 7,
                "via": "+promoted-slave", "sentinel": "forgotten",
                "at_ms": 1_699_999_990_904_u64, "announced_to_decided_ms": 900,
                "decided_to_verified_ms": 4, "held_ms": 950}]})
    );
    let other = &pool["servers"][0];
    assert_eq!(other["master"], Value::Null);
    assert_eq!(other["held_requests"], 0);
    assert!(
        other["endpoint"]
            .as_str()
            .is_some_and(|e| e.starts_with("no master"))
    );
}

#[test]
fn nobody_says_where_a_server_is_before_the_first_switch() {
    let start = Instant::now();
    let unknown = ShardSnapshot {
        history: Vec::new(),
        ..shard(start)
    };
    let page = shown(unknown, start);
    assert_eq!(page["pools"][1]["servers"][1]["role_source"], Value::Null);
}

#[test]
fn each_phase_has_its_word_and_what_belongs_to_it() {
    let start = Instant::now();
    let held = |candidate| Phase::Held {
        candidate,
        until: start + ms(10_700),
    };
    let verifying = Phase::Verifying { address: node(2) };
    for (phase, word, candidate, ends) in [
        (Phase::Init, "init", json!(null), json!(null)),
        (held(None), "held", json!(null), json!(700)),
        (held(Some(node(2))), "held", json!("10.0.0.1:2"), json!(700)),
        (verifying, "verifying", json!("10.0.0.1:2"), json!(null)),
        (Phase::Unknown, "unknown", json!(null), json!(null)),
        (Phase::Suspect, "suspect", json!(null), json!(null)),
        (Phase::Stable, "stable", json!(null), json!(null)),
    ] {
        let shard = ShardSnapshot {
            phase,
            ..shard(start)
        };
        let page = shown(shard, start);
        let server = &page["pools"][1]["servers"][1];
        assert_eq!(server["phase"], word);
        assert_eq!(server["candidate"], candidate, "{word}");
        assert_eq!(server["hold_ends_in_ms"], ends, "{word}");
    }
}

#[test]
fn the_last_reload_is_told() {
    let start = Instant::now();
    let page = shown(shard(start), start);
    assert_eq!(
        page["config"],
        json!({
            "file": "f.yml",
            "generation": 1,
            "loaded_at_ms": 1_600_000_000_000_u64,
            "last_reload": {
                "at_ms": 1_650_000_000_000_u64,
                "applied": false,
                "changes": [],
                "reasons": ["bad"],
            },
        })
    );
}
