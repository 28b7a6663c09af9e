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
            Show::Renames => {
                let of = |pool: &PoolConfig| {
                    let names = pool.commands.rename.clone();
                    Some(names).filter(|names| !names.is_empty())
                };
                secret_change(of(old), of(new)).map(|how| format!("{} {how}", setting.name))
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

fn secret_change<S: PartialEq>(before: Option<S>, after: Option<S>) -> Option<&'static str> {
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
    /// Of commands; new names are as good as passwords.
    Renames,
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
    noted(
        "key_groups",
        |p| {
            let groups = p.key_groups.as_ref();
            groups.map_or("none".to_owned(), |groups| format!("{{{groups}}}"))
        },
        MOVES_KEYS,
    ),
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
    plain("databases", |p| p.databases.to_string()),
    plain("dedicated_connections", |p| {
        p.limits.dedicated_connections.to_string()
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
    plain("learn_commands", |p| p.learn_commands.to_string()),
    plain("allow_flush", |p| p.allow_flush.to_string()),
    plain("deny_commands", |p| list(p.commands.deny.iter().cloned())),
    plain("allow_commands", |p| match &p.commands.allow[..] {
        [] => "all".to_owned(),
        names => list(names.iter().cloned()),
    }),
    Setting {
        name: "rename_commands",
        show: Show::Renames,
        note: None,
    },
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
#[path = "changes_tests.rs"]
mod tests;
