//! What a reload changes, one line each, for the log. No password is ever shown.

use std::fmt;
use std::time::Duration;

use super::error::quoted;
use super::{Config, PoolConfig, Secret, SentinelConfig, ServerConfig};

/// One difference between two configurations. Its `Display` is a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub pool: String,
    /// Such as `server 'y' added (10.0.0.1:6379, weight 1)` or `timeout 400 ms -> 500 ms`.
    pub what: String,
    /// How it takes effect, where that is not plain.
    pub note: Option<&'static str>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}: {}", quoted(&self.pool), self.text())
    }
}

impl Change {
    /// Its line without the pool.
    pub fn text(&self) -> String {
        match self.note {
            Some(note) => format!("{} ({note})", self.what),
            None => self.what.clone(),
        }
    }
}

/// When another value of a pool's key takes effect at a reload; `None`: at once and for all.
pub fn takes_effect(key: &str) -> Option<&'static str> {
    let note = SETTINGS.iter().find(|setting| setting.name == key)?.note;
    note.filter(|note| *note != MOVES_KEYS)
}

const MOVES_KEYS: &str = "moves keys";
const NEW_CLIENTS: &str = "for clients that connect afterwards";
const CLIENTS_STAY: &str = "clients that are in stay in";
const NEXT_START: &str = "at the next start";

/// `after` is merged from `before`, so that slots are the same.
pub(super) fn between(before: &Config, after: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    for (slot, new) in after.pools.iter().enumerate() {
        let old = before.pools.get(slot).filter(|old| !old.removed);
        let whole = match old {
            None if new.removed => continue,
            None => format!("added, {} servers", new.live_count()),
            Some(_) if new.removed => "removed".to_owned(),
            Some(old) => {
                changes.extend(within(old, new));
                continue;
            }
        };
        changes.push(Change {
            pool: new.name.clone(),
            what: whole,
            note: None,
        });
    }
    changes
}

fn within(old: &PoolConfig, new: &PoolConfig) -> Vec<Change> {
    let settings = SETTINGS.iter().filter_map(|setting| {
        let what = match setting.show {
            Show::Plain(show) => {
                let (before, after) = (show(old), show(new));
                (before != after).then(|| format!("{} {before} -> {after}", setting.name))
            }
            Show::Secret(secret) => {
                secret_change(secret(old), secret(new)).map(|how| format!("{} {how}", setting.name))
            }
        };
        what.map(|what| (what, setting.note))
    });
    let servers = new.servers.iter().enumerate().flat_map(|(slot, server)| {
        let before = old.servers.get(slot).filter(|before| !before.removed);
        server_changes(before, server)
    });
    let all = settings.chain(servers.map(|what| (what, None)));
    all.map(|(what, note)| Change {
        pool: new.name.clone(),
        what,
        note,
    })
    .collect()
}

fn server_changes(before: Option<&ServerConfig>, after: &ServerConfig) -> Vec<String> {
    let name = quoted(&after.name);
    let (address, weight) = (&after.address, after.weight);
    let Some(before) = before else {
        return match after.removed {
            true => Vec::new(),
            false => vec![format!("server {name} added ({address}, weight {weight})")],
        };
    };
    if after.removed {
        return vec![format!("server {name} removed")];
    }
    let mut found = Vec::new();
    if before.address != *address {
        found.push(format!(
            "server {name}: address {} -> {address}",
            before.address
        ));
    }
    if before.weight != weight {
        found.push(format!(
            "server {name}: weight {} -> {weight} ({MOVES_KEYS})",
            before.weight
        ));
    }
    if before.master_name() != after.master_name() {
        let shown = |server: &ServerConfig| {
            let name = server.master_name().map(quoted);
            name.unwrap_or_else(|| "by its address".to_owned())
        };
        let (before, after) = (shown(before), shown(after));
        found.push(format!("server {name}: master {before} -> {after}"));
    }
    found
}

fn secret_change(before: Option<&Secret>, after: Option<&Secret>) -> Option<&'static str> {
    match (before, after) {
        (None, Some(_)) => Some("set"),
        (Some(_), None) => Some("removed"),
        (before, after) if before != after => Some("changed"),
        _ => None,
    }
}

/// One key of a pool, for comparing and showing.
struct Setting {
    name: &'static str,
    show: Show,
    note: Option<&'static str>,
}

enum Show {
    Plain(fn(&PoolConfig) -> String),
    Secret(fn(&PoolConfig) -> Option<&Secret>),
}

const fn plain(name: &'static str, show: fn(&PoolConfig) -> String) -> Setting {
    Setting {
        name,
        show: Show::Plain(show),
        note: None,
    }
}

const fn noted(name: &'static str, show: fn(&PoolConfig) -> String, note: &'static str) -> Setting {
    Setting {
        name,
        show: Show::Plain(show),
        note: Some(note),
    }
}

/// Everything of a pool but its servers.
const SETTINGS: &[Setting] = &[
    plain("listen", |p| match &p.listen {
        super::Listen::Unix {
            path,
            mode: Some(mode),
        } => format!("{} {mode:o}", path.display()),
        listen => listen.to_string(),
    }),
    plain("client_connections", |p| {
        p.client_connections.map_or(0, |n| n.get()).to_string()
    }),
    noted("hash", |p| p.hash.name().to_owned(), MOVES_KEYS),
    noted(
        "hash_tag",
        |p| {
            p.hash_tag.map_or("none".to_owned(), |tag| {
                [tag.open, tag.close].escape_ascii().to_string()
            })
        },
        MOVES_KEYS,
    ),
    noted(
        "distribution",
        |p| p.distribution.name().to_owned(),
        MOVES_KEYS,
    ),
    plain("timeout", |p| p.timeout.map_or("none".to_owned(), millis)),
    plain("backlog", |p| p.backlog.to_string()),
    noted("tcpkeepalive", |p| p.tcpkeepalive.to_string(), NEW_CLIENTS),
    noted("reuseport", |p| p.reuseport.to_string(), NEXT_START),
    plain("preconnect", |p| p.preconnect.to_string()),
    Setting {
        name: "redis_auth",
        show: Show::Secret(|p| p.redis_auth.as_ref()),
        note: Some(CLIENTS_STAY),
    },
    plain("redis_db", |p| p.redis_db.to_string()),
    plain("server_connections", |p| p.server_connections.to_string()),
    plain("auto_eject_hosts", |p| p.auto_eject_hosts.to_string()),
    plain("server_retry_timeout", |p| millis(p.server_retry_timeout)),
    plain("server_failure_limit", |p| {
        p.server_failure_limit.to_string()
    }),
    plain("max_request_bytes", |p| {
        p.limits.max_request_bytes.to_string()
    }),
    plain("max_arguments", |p| p.limits.max_arguments.to_string()),
    plain("client_pending_limit", |p| {
        p.limits.client_pending_limit.to_string()
    }),
    plain("client_output_limit", |p| {
        p.limits.client_output_limit.to_string()
    }),
    noted(
        "proxy_protocol",
        |p| p.proxy_protocol.to_string(),
        NEW_CLIENTS,
    ),
    plain("slow_request_time", |p| {
        millis(p.slow_requests.time.unwrap_or_default())
    }),
    plain("slow_request_key", |p| {
        p.slow_requests.key.name().to_owned()
    }),
    plain("sentinels", |p| {
        of_sentinel(p, |s| list(s.sentinels.iter().map(ToString::to_string)))
    }),
    Setting {
        name: "sentinel_auth",
        show: Show::Secret(|p| {
            let sentinel = p.sentinel.as_ref()?;
            sentinel.auth.as_ref().map(|auth| &auth.password)
        }),
        note: None,
    },
    plain("sentinel_auth.username", |p| {
        of_sentinel(p, |s| {
            let name = s.auth.as_ref().and_then(|auth| auth.username.clone());
            name.unwrap_or_else(|| "none".to_owned())
        })
    }),
    plain("failover_hold", |p| {
        of_sentinel(p, |s| millis(s.failover_hold))
    }),
    plain("outage_hold", |p| of_sentinel(p, |s| millis(s.outage_hold))),
    plain("commit", |p| of_sentinel(p, |s| s.commit.name().to_owned())),
    plain("hold_requests", |p| {
        of_sentinel(p, |s| s.hold_requests.to_string())
    }),
    plain("hold_bytes", |p| {
        of_sentinel(p, |s| s.hold_bytes.to_string())
    }),
    plain("sentinel_poll", |p| of_sentinel(p, |s| millis(s.poll))),
    plain("sentinel_connect_timeout", |p| {
        of_sentinel(p, |s| millis(s.connect_timeout))
    }),
    plain("sentinel_command_timeout", |p| {
        of_sentinel(p, |s| millis(s.command_timeout))
    }),
    plain("sentinel_startup_wait", |p| {
        of_sentinel(p, |s| millis(s.startup_wait))
    }),
    plain("sentinel_nat", |p| {
        of_sentinel(p, |s| {
            list(s.nat.iter().map(|(from, to)| format!("{from}: {to}")))
        })
    }),
];

/// A pool without sentinels has the values of one that only begins to have them: then the list is all
/// that is told.
fn of_sentinel(pool: &PoolConfig, show: impl Fn(&SentinelConfig) -> String) -> String {
    match &pool.sentinel {
        Some(sentinel) => show(sentinel),
        None => show(&SentinelConfig::new(Vec::new())),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => format!("[{}]", items.join(", ")),
    }
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
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
    const ONE_BY_ONE: [(&str, &str); 34] = [
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
            "max_request_bytes: 1mb",
            "max_request_bytes 1073741824 -> 1048576",
        ),
        ("max_arguments: 9", "max_arguments 1048576 -> 9"),
        ("client_pending_limit: 9", "client_pending_limit 65536 -> 9"),
        (
            "client_output_limit: 1mb",
            "client_output_limit 1073741824 -> 1048576",
        ),
        (
            "proxy_protocol: true",
            "proxy_protocol false -> true (for clients that connect afterwards)",
        ),
        ("slow_request_time: 9", "slow_request_time 0 ms -> 9 ms"),
        ("slow_request_key: none", "slow_request_key hash -> none"),
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
        for (line, told) in ONE_BY_ONE.into_iter().chain([nat]) {
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
}
