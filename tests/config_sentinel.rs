//! The keys about Sentinel as a user writes them: the samples we ship, defaults, spellings, warnings.
//! Mistakes have their reports beside those of the other keys (`tests/conf/invalid_*sentinel*.yml`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nuthatch::config::{
    Commit, HostPort, Loaded, PoolConfig, Secret, SentinelAuth, SentinelConfig, load, parse,
};

fn address(host: &str, port: u16) -> HostPort {
    HostPort {
        host: host.to_owned(),
        port,
    }
}

/// A pool `p` with these lines and a server.
fn pool_with(lines: &str) -> Loaded {
    let text = format!("p:\n  listen: 127.0.0.1:1\n  redis: true\n  servers: [h:1:1 n]\n{lines}");
    parse(&text, "f").unwrap_or_else(|errors| panic!("{errors}\n---\n{text}"))
}

fn sentinel(loaded: &Loaded) -> SentinelConfig {
    loaded.config.pools[0].sentinel.clone().expect("sentinels")
}

/// Ring identity, master's name and address of each server.
fn servers(pool: &PoolConfig) -> Vec<(&str, Option<&str>, String)> {
    pool.servers
        .iter()
        .map(|s| (s.name.as_str(), s.master_name(), s.address.to_string()))
        .collect()
}

#[test]
fn the_sample_of_a_whole_set_up() {
    let loaded = load(Path::new("conf/redis_14555.yml")).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    // Its comments say so.
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].ends_with(
            "listen: '0.0.0.0:14555' is a public address, and without redis_auth anyone who reaches it \
             can read and write"
        ),
        "{warnings:?}"
    );
    let pool = Arc::clone(&loaded.config.pools[0]);
    assert_eq!(pool.name, "redis_14555");
    let (one, two) = ("redis_14555_g1_4500", "redis_14555_g2_4501");
    assert_eq!(
        servers(&pool),
        [
            (one, Some(one), "192.168.16.22:4500".to_owned()),
            (two, Some(two), "192.168.16.22:4501".to_owned()),
        ]
    );
    let hosts = ["192.168.16.22", "192.168.16.23", "192.168.16.24"];
    let sentinels = hosts.map(|host| address(host, 26379));
    assert_eq!(sentinel(&loaded), SentinelConfig::new(sentinels.to_vec()));
}

#[test]
fn what_the_set_up_has_in_comments_is_good_too() {
    let text = include_str!("../conf/redis_14555.yml");
    let with_passwords = text
        .replace("  #redis_auth:", "  redis_auth:")
        .replace("  #sentinel_auth:", "  sentinel_auth:");
    let loaded = parse(&with_passwords, "f").unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(loaded.config.pools[0].redis_auth.is_some());
    assert!(sentinel(&loaded).auth.is_some());

    let written = "    - 192.168.16.22:4500:1 redis_14555_g1_4500\n";
    let examples: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  #   - "))
        .filter(|example| example.starts_with('{'))
        .collect();
    let names = ["server1", "192.168.16.22:4500"];
    assert_eq!(examples.len(), names.len());
    for (example, name) in examples.into_iter().zip(names) {
        let text = text.replace(written, &format!("    - {example}\n"));
        let loaded = parse(&text, "f").unwrap();
        let pool = &loaded.config.pools[0];
        let expected = (
            name,
            Some("redis_14555_g1_4500"),
            "192.168.16.22:4500".to_owned(),
        );
        assert!(servers(pool).contains(&expected), "{example}: {pool:?}");
    }
}

#[test]
fn the_name_the_set_up_advises_for_an_unnamed_server_keeps_its_place() {
    let servers = |servers: &str| {
        let text = format!(
            "p: {{listen: '127.0.0.1:1', redis: true, sentinels: [s:1], servers: [{servers}]}}"
        );
        let loaded = parse(&text, "f").unwrap_or_else(|errors| panic!("{errors}"));
        let server = loaded.config.pools[0].servers[0].clone();
        (server.name.clone(), server.master_name().map(str::to_owned))
    };
    let unnamed = servers("192.168.16.22:4500:1");
    let advised =
        servers("{addr: 10.0.0.1:1, name: '192.168.16.22:4500', master: redis_14555_g1_4500}");
    assert_eq!(unnamed.0, advised.0);
    assert_eq!(unnamed.1, None);
    assert_eq!(advised.1.as_deref(), Some("redis_14555_g1_4500"));
}

#[test]
fn the_sample_with_every_key() {
    let loaded = load(Path::new("conf/nuthatch.yml")).unwrap();
    let pools = &loaded.config.pools;
    assert_eq!(pools[0].sentinel, None);
    let pool = &pools[1];
    assert_eq!(pool.name, "example_with_sentinels");
    assert_eq!(
        servers(pool),
        [
            ("one", Some("one"), "127.0.0.1:6379".to_owned()),
            ("two", Some("mymaster"), "127.0.0.1:6380".to_owned()),
            ("127.0.0.1:6381", None, "127.0.0.1:6381".to_owned()),
        ]
    );
    let sentinel = pool.sentinel.clone().unwrap();
    let shown: Vec<String> = sentinel.sentinels.iter().map(|s| s.to_string()).collect();
    assert_eq!(shown, ["127.0.0.1:26379", "127.0.0.1:26380", "[::1]:26381"]);
    let expected = SentinelConfig {
        auth: Some(SentinelAuth {
            username: Some("nuthatch".to_owned()),
            password: Secret("change-me".to_owned()),
        }),
        nat: vec![
            (address("172.17.0.2", 6379), address("127.0.0.1", 6379)),
            (address("172.17.0.3", 6379), address("127.0.0.1", 6380)),
        ],
        ..SentinelConfig::new(sentinel.sentinels.clone())
    };
    assert_eq!(sentinel, expected);
}

#[test]
fn absent_keys_have_their_defaults() {
    assert_eq!(pool_with("").config.pools[0].sentinel, None);
    let read = sentinel(&pool_with("  sentinels: [s:26379]\n"));
    let expected = SentinelConfig {
        sentinels: vec![address("s", 26379)],
        auth: None,
        failover_hold: Duration::from_millis(1500),
        outage_hold: Duration::ZERO,
        commit: Commit::Confirmed,
        hold_requests: 1024,
        hold_bytes: 4 * 1024 * 1024,
        poll: Duration::from_millis(1000),
        connect_timeout: Duration::from_millis(300),
        command_timeout: Duration::from_millis(500),
        startup_wait: Duration::from_millis(3000),
        nat: Vec::new(),
    };
    assert_eq!(read, expected);
}

#[test]
fn values_reach_their_keys_wherever_sentinels_stands() {
    let keys = "  sentinel_auth: {password: p, username: u}\n  failover_hold: 1\n  outage_hold: 2\n  \
                commit: eager\n  hold_requests: 3\n  hold_bytes: 4kb\n  sentinel_poll: 105\n  \
                sentinel_connect_timeout: 6\n  sentinel_command_timeout: 7\n  \
                sentinel_startup_wait: 8\n  sentinel_nat: {'a:1': 'b:2', '[0::1]:3': '::2:4'}\n";
    let sentinels = "  sentinels:\n   - s:1:1\n   - ::1:2\n   - '[::2]:3:100'\n";
    let expected = SentinelConfig {
        sentinels: vec![address("s", 1), address("::1", 2), address("::2", 3)],
        auth: Some(SentinelAuth {
            username: Some("u".to_owned()),
            password: Secret("p".to_owned()),
        }),
        failover_hold: Duration::from_millis(1),
        outage_hold: Duration::from_millis(2),
        commit: Commit::Eager,
        hold_requests: 3,
        hold_bytes: 4096,
        poll: Duration::from_millis(105),
        connect_timeout: Duration::from_millis(6),
        command_timeout: Duration::from_millis(7),
        startup_wait: Duration::from_millis(8),
        nat: vec![
            (address("a", 1), address("b", 2)),
            (address("::1", 3), address("::2", 4)),
        ],
    };
    for text in [format!("{sentinels}{keys}"), format!("{keys}{sentinels}")] {
        let loaded = pool_with(&text);
        assert_eq!(sentinel(&loaded), expected);
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn sentinels_get_their_own_password_only() {
    let read = |keys: &str| sentinel(&pool_with(&format!("  sentinels: [s:1]\n{keys}")));
    assert_eq!(read("  redis_auth: hunter2\n").auth, None);
    let alone = SentinelAuth {
        username: None,
        password: Secret("hunter2".to_owned()),
    };
    for spelling in ["hunter2", "'hunter2'", "{password: hunter2}"] {
        let auth = read(&format!("  sentinel_auth: {spelling}\n")).auth;
        assert_eq!(auth, Some(alone.clone()), "{spelling}");
    }
    assert!(!format!("{alone:?}").contains("hunter2"));
    assert_eq!(read("  sentinel_nat: {}\n").nat, []);
}

#[test]
fn passwords_of_sentinels_are_never_shown() {
    for value in [
        "[hunter2]",
        "{hunter2}",
        "{hunter2: x}",
        "{pasword: hunter2}",
        "{username: hunter2 hunter2, password: [hunter2]}",
        "{password: hunter2, password: hunter2}",
        "hunter2\n  sentinel_auth: hunter2",
    ] {
        let text = format!("p:\n  sentinels: [s:1]\n  sentinel_auth: {value}\n");
        let errors = parse(&text, "f").unwrap_err();
        let about = |p: &&nuthatch::config::Problem| {
            p.key
                .as_ref()
                .is_some_and(|k| k.starts_with("sentinel_auth"))
        };
        assert!(errors.0.iter().any(|p| about(&p)), "{value}: {errors}");
        assert!(
            !format!("{errors} {errors:?}").contains("hunter2"),
            "{errors}"
        );
    }
}

#[test]
fn ejecting_is_warned_of_in_pools_with_sentinels() {
    let eject = "  auto_eject_hosts: true\n";
    assert_eq!(pool_with(eject).warnings, []);
    let warnings = pool_with(&format!("{eject}  sentinels: [s:1]\n")).warnings;
    let shown: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "f:5: warning: pool 'p': auto_eject_hosts: does not apply to servers that Sentinel manages: \
             it gives them a new master, where ejecting would move their keys to other servers"
        ]
    );
}

#[test]
fn names_and_sockets_are_as_free_as_before_without_sentinels() {
    let text =
        "p: {listen: '127.0.0.1:1', redis: true, servers: [/tmp/s:1 a, {addr: 'h:1', name: b c}]}";
    let loaded = parse(text, "f").unwrap();
    assert_eq!(loaded.config.pools[0].servers.len(), 2);
}

#[test]
fn pools_may_share_masters_and_sentinels() {
    let text = "p: {listen: '127.0.0.1:1', redis: true, sentinels: [s:1], servers: [h:1:1 m]}\n\
                q: {listen: '127.0.0.1:2', redis: true, sentinels: [s:1], servers: [h:1:1 m]}\n";
    assert_eq!(parse(text, "f").unwrap().config.pools.len(), 2);
}
