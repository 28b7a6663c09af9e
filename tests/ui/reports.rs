//! Whole reports for the scripted port: two quiet servers, servers in every state, and many servers.

use std::time::SystemTime;

use serde_json::{Value as Json, json};

use crate::scripted::{fixed, followed, header, pool_stats, server_stats};

fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
    u64::try_from(since.as_millis()).expect("fits")
}

fn topology(now: u64, pools: &[Json]) -> Json {
    json!({"timestamp_ms": now, "topology_version": 3, "pools": pools})
}

fn pool(name: &str, servers: &[Json]) -> Json {
    json!({"name": name, "listen": "127.0.0.1:22121", "servers": servers})
}

fn with_sentinels(mut pool: Json, now: u64) -> Json {
    let sentinel = |number: usize| {
        json!({"address": format!("10.9.0.{number}:26379"), "run_id": "abc", "configured": number < 3,
            "up": true, "subscribed": true, "queried": true, "tilt": false, "last_event_ms": now - 900,
            "problem": null})
    };
    pool["sentinels"] = json!([sentinel(1), sentinel(2), sentinel(3)]);
    pool
}

/// A pool `cache` of two servers without sentinels that have served this many requests each.
pub fn cache(requests: u64) -> (Json, Json) {
    let now = now();
    let servers = ["one", "two"].map(|name| fixed(name, "10.0.0.1:6379"));
    let mut stats = header(now);
    stats["cache"] = pool_stats(requests * 2);
    stats["cache"]["one"] = server_stats(requests);
    stats["cache"]["two"] = server_stats(requests);
    (stats, topology(now, &[pool("cache", &servers)]))
}

/// Eight servers, each in another state.
pub fn troubled() -> (Json, Json) {
    let now = now();
    let names = [
        "well", "held", "lost", "suspect", "moved", "split", "asking", "ejected",
    ];
    let mut servers: Vec<Json> = (1..)
        .zip(names)
        .map(|(n, name)| followed(name, &format!("10.0.0.{n}:6379"), now))
        .collect();
    servers[1]["phase"] = json!("held");
    servers[1]["candidate"] = json!("10.0.1.2:6379");
    servers[1]["hold_ends_in_ms"] = json!(840);
    servers[2]["endpoint"] = json!("no master (no sentinel answers)");
    servers[2]["phase"] = json!("init");
    servers[2]["views"][1]["reachable"] = json!(false);
    servers[3]["phase"] = json!("suspect");
    servers[3]["views"][0]["down"] = json!(true);
    servers[4]["endpoint"] = json!("10.0.1.5:6379");
    servers[4]["switches"] = json!(3);
    let moved = |ago: u64, from: &str, to: &str, sentinel: Json| {
        json!({"from": from, "to": to, "epoch": 8, "via": "+switch-master", "sentinel": sentinel,
            "at_ms": now - ago, "announced_to_decided_ms": 812, "decided_to_verified_ms": 4, "held_ms": 1_240})
    };
    servers[4]["history"] = json!([
        moved(
            4_000_000,
            "10.0.0.5:6379",
            "10.0.2.5:6379",
            json!("forgotten")
        ),
        moved(
            60_500,
            "10.0.2.5:6379",
            "10.0.1.5:6379",
            json!("10.9.0.2:26379")
        ),
    ]);
    servers[5]["views"][2]["agrees"] = json!(false);
    servers[5]["views"][2]["address"] = json!("10.0.9.9:6379");
    servers[6]["phase"] = json!("verifying");
    servers[6]["candidate"] = json!("10.0.1.7:6379");
    servers[7]["ejected"] = json!(true);
    let mut sessions = with_sentinels(pool("sessions", &servers), now);
    sessions["sentinels"][2]["up"] = json!(false);
    sessions["sentinels"][2]["problem"] = json!("connection refused");
    let mut stats = header(now);
    stats["sessions"] = pool_stats(8000);
    for name in names {
        stats["sessions"][name] = server_stats(1000);
    }
    stats["sessions"]["held"]["held"] = json!(17);
    stats["sessions"]["ejected"]["server_ejected_at"] = json!((now - 12_000) * 1000);
    stats["sessions"]["forward_error"] = json!(3);
    let plain = fixed("first", "redis.example:6379");
    let mut unresolved = fixed("second", "other.example:6379");
    unresolved["endpoint"] = json!("other.example (no address yet)");
    stats["names"] = pool_stats(0);
    stats["names"]["first"] = server_stats(0);
    (
        stats,
        topology(now, &[sessions, pool("names", &[plain, unresolved])]),
    )
}

/// `count` servers with traffic that differs from one to the next.
pub fn many(count: u64, tick: u64) -> (Json, Json) {
    let now = now();
    let name = |n: u64| format!("shard{n:03}");
    let servers: Vec<Json> = (0..count)
        .map(|n| {
            followed(
                &name(n),
                &format!("10.0.{}.{}:6379", n / 250, n % 250 + 1),
                now,
            )
        })
        .collect();
    let mut stats = header(now);
    stats["users"] = pool_stats(0);
    let mut total = 0;
    for n in 0..count {
        let served = |second: u64| 60 + n * 37 % 900 + (second * second + n) % 41 * 5;
        let requests = (1..=tick).map(served).sum::<u64>();
        total += requests;
        let mut server = server_stats(requests);
        for (part, micros) in [
            ("p50", 210),
            ("p99", 900 + n * 31 % 700 + tick * 37 % 300),
            ("p999", 4_100),
            ("max", 18_000),
        ] {
            server[format!("latency_{part}_us")] = json!(micros);
            stats["users"][format!("latency_{part}_us")] = json!(micros);
        }
        stats["users"][name(n)] = server;
    }
    stats["users"]["client_requests"] = json!(total);
    for (class, share) in [("read", 70), ("write", 25), ("script", 1)] {
        stats["users"][format!("commands_{class}")] = json!(total * share / 100);
    }
    stats["resident_bytes"] = json!(87_000_000);
    stats["uptime"] = json!(3600 + tick / 4);
    (
        stats,
        topology(now, &[with_sentinels(pool("users", &servers), now)]),
    )
}
