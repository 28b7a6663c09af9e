//! The keys of a pool that have another value, and when a reload applies it where that is not at once.
//!
//! Servers are not here: they are a list, whose parts have places of their own.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Listen, PoolConfig, Secret, SentinelAuth, SentinelConfig, takes_effect};

/// Passwords are shown as `(hidden)`, also where they differ.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ChangedSetting {
    pub key: &'static str,
    pub old: String,
    pub new: String,
    /// At a reload; `None`: at once.
    pub takes_effect: Option<&'static str>,
}

/// In the order of [`OPTIONS`](crate::config::OPTIONS).
pub(super) fn changed(old: &PoolConfig, new: &PoolConfig) -> Vec<ChangedSetting> {
    let both = values(old).into_iter().zip(values(new));
    both.filter(|((_, old), (_, new))| old != new)
        .map(|((key, old), (_, new))| ChangedSetting {
            key,
            old: old.to_string(),
            new: new.to_string(),
            takes_effect: takes_effect(key),
        })
        .collect()
}

/// Its `Display` is one line, as in the file where that is possible. Equal ones mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Plain(String),
    /// The key is absent and has no default.
    Absent,
    /// Its `Display` says no more than that there is one.
    Password(Secret),
    SentinelAuth(SentinelAuth),
    /// As passwords: new names are not shown.
    Renamed(Vec<(String, Option<Secret>)>),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Plain(text) => f.write_str(text),
            Shown::Absent => f.write_str("none"),
            Shown::Password(_) => f.write_str("(hidden)"),
            Shown::SentinelAuth(auth) => match &auth.username {
                Some(username) => write!(f, "(hidden) of user {username}"),
                None => f.write_str("(hidden)"),
            },
            Shown::Renamed(names) => {
                let shown = names.iter().map(|(old, new)| match new {
                    Some(_) => format!("{old}: (hidden)"),
                    None => format!("{old}: \"\""),
                });
                f.write_str(&shown.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Every key but `redis`, which has one value, and `servers`. A pool without sentinels has the defaults of
/// the keys about them, so that only `sentinels` differs where a pool begins to have them.
fn values(pool: &PoolConfig) -> Vec<(&'static str, Shown)> {
    let without_sentinels = SentinelConfig::new(Vec::new());
    let sentinel = pool.sentinel.as_ref().unwrap_or(&without_sentinels);
    let limits = &pool.limits;
    vec![
        ("listen", listen(&pool.listen)),
        (
            "client_connections",
            plain(pool.client_connections.map_or(0, |n| n.get())),
        ),
        ("hash", plain(pool.hash.name())),
        (
            "hash_tag",
            match pool.hash_tag {
                Some(tag) => plain(String::from_utf8_lossy(&[tag.open, tag.close])),
                None => Shown::Absent,
            },
        ),
        ("distribution", plain(pool.distribution.name())),
        ("timeout", ms(pool.timeout.unwrap_or_default())),
        ("backlog", plain(pool.backlog)),
        ("tcpkeepalive", plain(pool.tcpkeepalive)),
        ("reuseport", plain(pool.reuseport)),
        ("preconnect", plain(pool.preconnect)),
        (
            "redis_auth",
            match &pool.redis_auth {
                Some(secret) => Shown::Password(secret.clone()),
                None => Shown::Absent,
            },
        ),
        ("redis_db", plain(pool.redis_db)),
        ("server_connections", plain(pool.server_connections)),
        ("auto_eject_hosts", plain(pool.auto_eject_hosts)),
        ("server_retry_timeout", ms(pool.server_retry_timeout)),
        ("server_failure_limit", plain(pool.server_failure_limit)),
        (
            "key_groups",
            pool.key_groups.as_ref().map_or(Shown::Absent, plain),
        ),
        ("max_request_bytes", size(limits.max_request_bytes)),
        ("max_arguments", plain(limits.max_arguments)),
        ("client_pending_limit", plain(limits.client_pending_limit)),
        ("client_output_limit", size(limits.client_output_limit)),
        ("databases", plain(pool.databases)),
        ("dedicated_connections", plain(limits.dedicated_connections)),
        ("proxy_protocol", plain(pool.proxy_protocol)),
        (
            "slow_request_time",
            ms(pool.slow_requests.time.unwrap_or_default()),
        ),
        ("slow_request_key", plain(pool.slow_requests.key.name())),
        ("learn_commands", plain(pool.learn_commands)),
        ("allow_flush", plain(pool.allow_flush)),
        ("deny_commands", list(pool.commands.deny.iter().cloned())),
        (
            "allow_commands",
            match list(pool.commands.allow.iter().cloned()) {
                Shown::Absent => plain("all"),
                list => list,
            },
        ),
        (
            "rename_commands",
            match pool.commands.rename.is_empty() {
                true => Shown::Absent,
                false => Shown::Renamed(pool.commands.rename.clone()),
            },
        ),
        (
            "sentinels",
            list(sentinel.sentinels.iter().map(ToString::to_string)),
        ),
        (
            "sentinel_auth",
            match &sentinel.auth {
                Some(auth) => Shown::SentinelAuth(auth.clone()),
                None => Shown::Absent,
            },
        ),
        ("failover_hold", ms(sentinel.failover_hold)),
        ("outage_hold", ms(sentinel.outage_hold)),
        ("commit", plain(sentinel.commit.name())),
        ("hold_requests", plain(sentinel.hold_requests)),
        ("hold_bytes", size(sentinel.hold_bytes)),
        ("sentinel_poll", ms(sentinel.poll)),
        ("sentinel_connect_timeout", ms(sentinel.connect_timeout)),
        ("sentinel_command_timeout", ms(sentinel.command_timeout)),
        ("sentinel_startup_wait", ms(sentinel.startup_wait)),
        (
            "sentinel_nat",
            list(
                sentinel
                    .nat
                    .iter()
                    .map(|(from, to)| format!("{from}: {to}")),
            ),
        ),
    ]
}

fn plain(value: impl ToString) -> Shown {
    Shown::Plain(value.to_string())
}

fn ms(time: Duration) -> Shown {
    plain(time.as_millis())
}

/// In the largest unit that leaves no fraction.
fn size(bytes: u64) -> Shown {
    let units = [("gb", 30), ("mb", 20), ("kb", 10)];
    let whole = units
        .into_iter()
        .find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match whole {
        Some((unit, shift)) => plain(format!("{}{unit}", bytes >> shift)),
        None => plain(bytes),
    }
}

fn list(entries: impl Iterator<Item = String>) -> Shown {
    let entries: Vec<String> = entries.collect();
    if entries.is_empty() {
        Shown::Absent
    } else {
        Shown::Plain(entries.join(", "))
    }
}

fn listen(listen: &Listen) -> Shown {
    match listen {
        Listen::Unix {
            path,
            mode: Some(mode),
        } => plain(format!("{} {mode:04o}", path.display())),
        Listen::Unix { mode: None, .. } | Listen::Tcp(_) => plain(listen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OPTIONS, parse};

    fn settings(more: &str) -> Vec<(&'static str, Shown)> {
        values(&pool(more))
    }

    fn pool(more: &str) -> PoolConfig {
        let text = format!(
            "alpha:\n  listen: 127.0.0.1:22121\n  redis: true\n  servers:\n    - 127.0.0.1:1:1\n{more}"
        );
        let loaded = parse(&text, "f").expect("a good configuration");
        PoolConfig::clone(&loaded.config.pools[0])
    }

    fn shown(settings: &[(&str, Shown)], key: &str) -> String {
        let setting = settings.iter().find(|(known, _)| *known == key);
        setting.expect(key).1.to_string()
    }

    #[test]
    fn every_key_of_a_pool_is_compared_in_its_place() {
        let shown: Vec<&str> = settings("").iter().map(|(key, _)| *key).collect();
        let keys = OPTIONS.iter().map(|option| option.name);
        let keys: Vec<&str> = keys
            .filter(|key| !["redis", "servers"].contains(key))
            .collect();
        assert_eq!(shown, keys);
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let settings = settings("");
        for option in OPTIONS {
            if let Some(default) = option.default {
                assert_eq!(shown(&settings, option.name), default, "{}", option.name);
            } else if !option.is_required() {
                let shown = shown(&settings, option.name);
                assert!(shown == "none" || shown == option.absent, "{}", option.name);
            }
        }
        assert_eq!(shown(&settings, "listen"), "127.0.0.1:22121");
    }

    #[test]
    fn values_are_shown_as_one_writes_them_and_passwords_are_not() {
        let settings = settings(
            "  hash_tag: \"{}\"\n  key_groups: {rq: ['rq:']}\n  timeout: 400\n  redis_auth: hunter2\n  max_request_bytes: 5000\n  \
             hold_bytes: 3mb\n  sentinels:\n    - h:1\n    - '[::1]:2'\n  sentinel_auth: {username: u, \
             password: hunter3}\n  rename_commands: {GET: hunter4, SET: ''}\n  sentinel_nat: {'a:1': 'b:2'}\n",
        );
        for (key, value) in [
            ("hash_tag", "{}"),
            ("key_groups", "rq: [\"rq:\"]"),
            ("timeout", "400"),
            ("redis_auth", "(hidden)"),
            ("max_request_bytes", "5000"),
            ("hold_bytes", "3mb"),
            ("rename_commands", "get: (hidden), set: \"\""),
            ("sentinels", "h:1, [::1]:2"),
            ("sentinel_auth", "(hidden) of user u"),
            ("sentinel_nat", "a:1: b:2"),
        ] {
            assert_eq!(shown(&settings, key), value, "{key}");
        }
        assert!(!format!("{settings:?}").contains("hunter"));
    }

    #[test]
    fn only_what_differs_is_listed_and_when_it_applies() {
        let old = pool("  redis_auth: a\n  tcpkeepalive: true\n");
        assert_eq!(changed(&old, &old.clone()), []);
        let new = pool("  redis_auth: b\n  sentinels: ['h:1']\n");
        let change = |key, old: &str, new: &str, takes_effect| ChangedSetting {
            key,
            old: old.to_owned(),
            new: new.to_owned(),
            takes_effect,
        };
        let connect = Some("for clients that connect afterwards");
        let stay = Some("clients that are in stay in");
        assert_eq!(
            changed(&old, &new),
            [
                change("tcpkeepalive", "true", "false", connect),
                change("redis_auth", "(hidden)", "(hidden)", stay),
                change("sentinels", "none", "h:1", None),
            ]
        );
    }
}
