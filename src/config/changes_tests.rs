use super::super::{OPTIONS, merge, parse};
use super::*;

fn config(lines: &[&str], servers: &[&str]) -> Config {
    let mut text = "p:\n  redis: true\n".to_owned();
    if !lines.iter().any(|line| line.starts_with("listen:")) {
        text += "  listen: 127.0.0.1:22121\n";
    }
    for line in lines {
        text += &format!("  {line}\n");
    }
    text += "  servers:\n";
    for server in servers {
        text += &format!("    - {server}\n");
    }
    parse(&text, "f").expect("correct").config
}

fn lines(before: &Config, after: &Config) -> Vec<String> {
    let merged = merge(before, after).expect("there is room");
    merged.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn servers_are_told_by_name() {
    let before = config(&[], &["h:1:1 a", "h:2:1 b", "h:3:1 c"]);
    let after = config(&[], &["h:1:2 a", "h:9:1 b", "h:4:3 d"]);
    assert_eq!(
        lines(&before, &after),
        [
            "pool 'p': server 'a': weight 1 -> 2 (moves keys)",
            "pool 'p': server 'b': address h:2 -> h:9",
            "pool 'p': server 'c' removed",
            "pool 'p': server 'd' added (h:4, weight 3)",
        ]
    );
}

/// One line of a pool with sentinels and what is told when it is added.
const ONE_BY_ONE: &[(&str, &str)] = &[
    (
        "listen: 127.0.0.1:1",
        "listen 127.0.0.1:22121 -> 127.0.0.1:1",
    ),
    ("client_connections: 7", "client_connections 0 -> 7"),
    ("hash: md5", "hash fnv1a_64 -> md5 (moves keys)"),
    ("hash_tag: '{}'", "hash_tag none -> {} (moves keys)"),
    (
        "distribution: modula",
        "distribution ketama -> modula (moves keys)",
    ),
    ("timeout: 400", "timeout none -> 400 ms"),
    ("backlog: 9", "backlog 512 -> 9"),
    (
        "tcpkeepalive: true",
        "tcpkeepalive false -> true (for clients that connect afterwards)",
    ),
    (
        "reuseport: true",
        "reuseport false -> true (at the next start)",
    ),
    ("preconnect: true", "preconnect false -> true"),
    (
        "redis_auth: geheim",
        "redis_auth set (clients that are in stay in)",
    ),
    ("redis_db: 3", "redis_db 0 -> 3"),
    ("server_connections: 2", "server_connections 1 -> 2"),
    ("auto_eject_hosts: true", "auto_eject_hosts false -> true"),
    (
        "server_retry_timeout: 9",
        "server_retry_timeout 30000 ms -> 9 ms",
    ),
    ("server_failure_limit: 9", "server_failure_limit 2 -> 9"),
    (
        "key_groups: {b: [y, x], a: [z]}",
        "key_groups none -> {a: [\"z\"], b: [\"x\", \"y\"]} (moves keys)",
    ),
    (
        "max_request_bytes: 1mb",
        "max_request_bytes 1073741824 -> 1048576",
    ),
    ("max_arguments: 9", "max_arguments 1048576 -> 9"),
    ("client_pending_limit: 9", "client_pending_limit 65536 -> 9"),
    (
        "client_output_limit: 1mb",
        "client_output_limit 1073741824 -> 1048576",
    ),
    ("databases: 9", "databases 0 -> 9"),
    (
        "dedicated_connections: 9",
        "dedicated_connections 1000 -> 9",
    ),
    (
        "proxy_protocol: true",
        "proxy_protocol false -> true (for clients that connect afterwards)",
    ),
    ("slow_request_time: 9", "slow_request_time 0 ms -> 9 ms"),
    ("slow_request_key: none", "slow_request_key hash -> none"),
    ("learn_commands: true", "learn_commands false -> true"),
    ("allow_flush: true", "allow_flush false -> true"),
    ("deny_commands: [keys]", "deny_commands none -> [keys]"),
    (
        "allow_commands: [get, '@hash']",
        "allow_commands all -> [get, @hash]",
    ),
    ("rename_commands: {get: geheim}", "rename_commands set"),
    ("sentinels: [h:2, h:3]", "sentinels [h:1] -> [h:2, h:3]"),
    ("sentinel_auth: geheim", "sentinel_auth set"),
    ("failover_hold: 9", "failover_hold 1500 ms -> 9 ms"),
    ("outage_hold: 9", "outage_hold 0 ms -> 9 ms"),
    ("commit: eager", "commit confirmed -> eager"),
    ("hold_requests: 9", "hold_requests 1024 -> 9"),
    ("hold_bytes: 1mb", "hold_bytes 4194304 -> 1048576"),
    ("sentinel_poll: 900", "sentinel_poll 1000 ms -> 900 ms"),
    (
        "sentinel_connect_timeout: 9",
        "sentinel_connect_timeout 300 ms -> 9 ms",
    ),
    (
        "sentinel_command_timeout: 9",
        "sentinel_command_timeout 500 ms -> 9 ms",
    ),
    (
        "sentinel_startup_wait: 9",
        "sentinel_startup_wait 3000 ms -> 9 ms",
    ),
];

#[test]
fn every_key_is_told_and_no_password() {
    let before = config(&["sentinels: [h:1]"], &["h:1:1 a"]);
    let mut untold: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    untold.retain(|name| !["redis", "servers"].contains(name));
    let nat = (
        "sentinel_nat: {h:1: h:2}",
        "sentinel_nat none -> [h:1: h:2]",
    );
    for (line, told) in ONE_BY_ONE.iter().copied().chain([nat]) {
        let sentinels = (!line.starts_with("sentinels:")).then_some("sentinels: [h:1]");
        let given: Vec<&str> = sentinels.into_iter().chain([line]).collect();
        let after = config(&given, &["h:1:1 a"]);
        let found = lines(&before, &after);
        assert_eq!(found, [format!("pool 'p': {told}")], "{line}");
        assert!(!found[0].contains("geheim"));
        let name = line.split(':').next().unwrap();
        untold.retain(|other| *other != name);
    }
    assert_eq!(untold, [""; 0]);
}

#[test]
fn passwords_and_masters_that_change() {
    let changed = |before: &str, after: &str| {
        let file = |line| config(&["sentinels: [h:1]", line], &["h:1:1 a"]);
        lines(&file(before), &file(after))
    };
    let note = "(clients that are in stay in)";
    let (one, other) = ("redis_auth: a", "redis_auth: b");
    assert_eq!(
        changed(one, other),
        [format!("pool 'p': redis_auth changed {note}")]
    );
    assert_eq!(
        changed(one, "timeout: 0"),
        [format!("pool 'p': redis_auth removed {note}")]
    );
    assert_eq!(
        changed("rename_commands: {get: a}", "rename_commands: {get: b}"),
        ["pool 'p': rename_commands changed"]
    );
    assert_eq!(
        changed(
            "sentinel_auth: a",
            "sentinel_auth: {username: u, password: a}"
        ),
        ["pool 'p': sentinel_auth.username none -> u"]
    );
    let file = |server: &str| config(&["sentinels: [h:1]"], &[server]);
    assert_eq!(
        lines(
            &file("{addr: h:1, name: a}"),
            &file("{addr: h:1, name: a, master: m}")
        ),
        ["pool 'p': server 'a': master 'a' -> 'm'"]
    );
}

#[test]
fn pools_are_told_as_a_whole() {
    let file = |names: &[&str]| {
        let pool = |(n, name): (usize, &&str)| {
            let port = 22121 + n;
            format!("{name}:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers: [h:1:1]\n")
        };
        let text: String = names.iter().enumerate().map(pool).collect();
        parse(&text, "f").expect("correct").config
    };
    let told = lines(&file(&["a", "b"]), &file(&["a", "c"]));
    assert_eq!(told, ["pool 'b': removed", "pool 'c': added, 1 servers"]);
}
