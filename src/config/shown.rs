//! The configuration in use as one would write it: the keys of [`OPTIONS`] with every default filled in.
//!
//! It is a file that means the same, in JSON, which is YAML too, but for secrets: in their place stands
//! [`MASK`]. Keys without a default that are not set are `null`; keys that need `sentinels` are left out of
//! pools without.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::options::{OPTIONS, OptionDoc, Rule};
use super::{Config, Listen, PoolConfig, Secret, SentinelConfig, ServerConfig};

/// What is shown of a secret.
pub const MASK: &str = "********";

/// A mapping from pool names to pools, as in the file; indented, ends with a newline.
pub fn effective(config: &Config) -> String {
    let live = config.live();
    let pools = live.iter().map(|(_, pool)| {
        let keys = OPTIONS
            .iter()
            .filter(|option| pool.sentinel.is_some() || !option.needs_sentinels);
        let keys = keys.map(|option| (option.name, shown(option, pool).unwrap_or_default()));
        (pool.name.as_str(), Ordered(keys.collect()))
    });
    let pools = Ordered(pools.collect());
    let mut text = serde_json::to_string_pretty(&pools).expect("keys are text");
    text.push('\n');
    text
}

/// A mapping in the order of its entries.
struct Ordered<'a, V>(Vec<(&'a str, V)>);

impl<V: Serialize> Serialize for Ordered<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// `None` for a key that is not known here: a mistake that a test finds.
fn shown(option: &OptionDoc, pool: &PoolConfig) -> Option<Value> {
    let value = match &pool.sentinel {
        Some(sentinel) if option.needs_sentinels || option.name == "sentinels" => {
            about_sentinel(option.name, sentinel)?
        }
        _ => about_pool(option.name, pool)?,
    };
    Some(match option.rule {
        // Whatever was read, there is one or not.
        Rule::Secret(_) if !value.is_null() => MASK.into(),
        _ => value,
    })
}

fn about_pool(key: &str, pool: &PoolConfig) -> Option<Value> {
    Some(match key {
        "listen" => listen(&pool.listen).into(),
        "client_connections" => pool.client_connections.map_or(0, |n| n.get()).into(),
        "hash" => pool.hash.name().into(),
        "hash_tag" => (pool.hash_tag)
            .map(|tag| String::from_utf8_lossy(&[tag.open, tag.close]).into_owned())
            .into(),
        "distribution" => pool.distribution.name().into(),
        "timeout" => millis(pool.timeout.unwrap_or_default()),
        "backlog" => pool.backlog.into(),
        "tcpkeepalive" => pool.tcpkeepalive.into(),
        "reuseport" => pool.reuseport.into(),
        "preconnect" => pool.preconnect.into(),
        "redis" => true.into(),
        "redis_auth" => pool.redis_auth.as_ref().map(|_| MASK).into(),
        "redis_db" => pool.redis_db.into(),
        "server_connections" => pool.server_connections.get().into(),
        "auto_eject_hosts" => pool.auto_eject_hosts.into(),
        "server_retry_timeout" => millis(pool.server_retry_timeout),
        "server_failure_limit" => pool.server_failure_limit.into(),
        "servers" => {
            let mut servers = pool.live();
            servers.sort_by_key(|(_, server)| server.position);
            servers.iter().map(|(_, one)| server(one)).collect()
        }
        "key_groups" => (pool.key_groups.as_ref())
            .map(|groups| json!(groups.groups()))
            .into(),
        "max_request_bytes" => pool.limits.max_request_bytes.into(),
        "max_arguments" => pool.limits.max_arguments.into(),
        "client_pending_limit" => pool.limits.client_pending_limit.into(),
        "client_output_limit" => pool.limits.client_output_limit.into(),
        "databases" => pool.databases.into(),
        "dedicated_connections" => pool.limits.dedicated_connections.into(),
        "proxy_protocol" => pool.proxy_protocol.into(),
        "slow_request_time" => millis(pool.slow_requests.time.unwrap_or_default()),
        "slow_request_key" => pool.slow_requests.key.name().into(),
        "learn_commands" => pool.learn_commands.into(),
        "allow_flush" => pool.allow_flush.into(),
        "deny_commands" => words(&pool.commands.deny),
        "allow_commands" => words(&pool.commands.allow),
        "rename_commands" => renamed(&pool.commands.rename),
        "sentinels" => Value::Null,
        _ => return None,
    })
}

fn about_sentinel(key: &str, sentinel: &SentinelConfig) -> Option<Value> {
    Some(match key {
        "sentinels" => sentinel.sentinels.iter().map(ToString::to_string).collect(),
        "sentinel_auth" => match &sentinel.auth {
            None => Value::Null,
            Some(auth) => match &auth.username {
                None => MASK.into(),
                Some(username) => json!({"username": username, "password": MASK}),
            },
        },
        "failover_hold" => millis(sentinel.failover_hold),
        "outage_hold" => millis(sentinel.outage_hold),
        "commit" => sentinel.commit.name().into(),
        "hold_requests" => sentinel.hold_requests.into(),
        "hold_bytes" => sentinel.hold_bytes.into(),
        "sentinel_poll" => millis(sentinel.poll),
        "sentinel_connect_timeout" => millis(sentinel.connect_timeout),
        "sentinel_command_timeout" => millis(sentinel.command_timeout),
        "sentinel_startup_wait" => millis(sentinel.startup_wait),
        "sentinel_nat" => {
            let pairs = sentinel.nat.iter();
            let pairs = pairs.map(|(from, to)| (from.to_string(), to.to_string().into()));
            pairs.collect::<Map<String, Value>>().into()
        }
        _ => return None,
    })
}

fn words(words: &[String]) -> Value {
    match words {
        [] => Value::Null,
        words => words.into(),
    }
}

fn renamed(names: &[(String, Option<Secret>)]) -> Value {
    let shown = |new: &Option<Secret>| new.as_ref().map_or("", |_| MASK).into();
    let names = names.iter().map(|(old, new)| (old.clone(), shown(new)));
    match names.collect::<Map<String, Value>>() {
        names if names.is_empty() => Value::Null,
        names => names.into(),
    }
}

fn listen(listen: &Listen) -> String {
    match listen {
        Listen::Unix {
            mode: Some(mode), ..
        } => format!("{listen} {mode:04o}"),
        _ => listen.to_string(),
    }
}

/// In the long form, which has a place for everything.
fn server(server: &ServerConfig) -> Value {
    let mut entry = Map::new();
    entry.insert("addr".into(), server.address.to_string().into());
    entry.insert("weight".into(), server.weight.into());
    if server.named {
        entry.insert("name".into(), server.name.clone().into());
    }
    if let Some(master) = &server.master {
        entry.insert("master".into(), master.clone().into());
    }
    entry.into()
}

fn millis(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::super::{Config, parse};
    use super::*;

    /// Every key with another value than its default.
    const EVERYTHING: &str = r#"
full:
  listen: /tmp/full.sock 0660
  client_connections: 7
  hash: md5
  hash_tag: "{}"
  distribution: modula
  timeout: 400
  backlog: 99
  tcpkeepalive: true
  reuseport: true
  preconnect: true
  redis: true
  redis_auth: "sesame-servers"
  redis_db: 3
  server_connections: 2
  auto_eject_hosts: true
  server_retry_timeout: 1234
  server_failure_limit: 5
  key_groups: { jobs: [ "rq:", "{" ], a: [ "b" ] }
  max_request_bytes: 2mb
  max_arguments: 77
  client_pending_limit: 88
  client_output_limit: 3mb
  databases: 7
  dedicated_connections: 20
  proxy_protocol: true
  deny_commands: [ keys, "@dangerous" ]
  allow_commands: [ "@all" ]
  rename_commands: { config: sesame-config, flushall: "" }
  sentinels: [ "10.0.0.1:26379", "[::1]:26379" ]
  sentinel_auth: { username: watcher, password: sesame-sentinels }
  failover_hold: 11
  outage_hold: 12
  commit: eager
  hold_requests: 13
  hold_bytes: 14kb
  sentinel_poll: 150
  sentinel_connect_timeout: 16
  sentinel_command_timeout: 17
  sentinel_startup_wait: 18
  sentinel_nat: { "10.0.0.1:1": "127.0.0.1:2" }
  servers:
   - "[::1]:6379:2 z"
   - { addr: redis.example:6380, name: "a", master: m, weight: 3 }
plain:
  listen: 127.0.0.1:22122
  redis: true
  servers: [ "127.0.0.1:11211:1", "/tmp/s:1" ]
"#;

    fn config(text: &str) -> Config {
        parse(text, "test").expect(text).config
    }

    fn shown_of(config: &Config) -> String {
        effective(config)
    }

    #[test]
    fn every_key_is_shown() {
        let pools = config(EVERYTHING).pools;
        for option in OPTIONS {
            let full = shown(option, &pools[0]);
            assert!(
                full.is_some_and(|value| !value.is_null()),
                "{} is set and not shown, see src/config/shown.rs",
                option.name
            );
            if !option.needs_sentinels {
                assert!(shown(option, &pools[1]).is_some(), "{}", option.name);
            }
        }
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let pools = config(EVERYTHING).pools;
        for option in OPTIONS.iter().filter(|option| !option.needs_sentinels) {
            let value = shown(option, &pools[1]).expect(option.name);
            match option.default {
                // Sizes are shown in bytes.
                Some(default) if option.unit == "bytes" => assert_eq!(default, "1gb"),
                Some(default) => {
                    let text = value.to_string();
                    assert_eq!(text.trim_matches('"'), default, "{}", option.name);
                }
                None => assert_eq!(value.is_null(), !option.is_required(), "{}", option.name),
            }
        }
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let before = config(EVERYTHING);
        let text = shown_of(&before);
        assert!(!text.contains("sesame"), "{text}");
        let mut document: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        for pool in document.values_mut() {
            let keys = pool.as_object_mut().expect("a mapping");
            keys.retain(|_, value| !value.is_null());
        }
        let after = config(&Value::from(document).to_string());
        // Secrets look alike in it.
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
        assert_eq!(shown_of(&after), text);
    }

    #[test]
    fn keys_are_in_the_order_of_the_table() {
        let text = shown_of(&config(EVERYTHING));
        let at = |key: &str| text.find(&format!("\"{key}\":"));
        let places: Vec<_> = OPTIONS.iter().map(|option| at(option.name)).collect();
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
    }

    #[test]
    fn a_password_alone_is_masked() {
        let secret = "x:\n listen: 127.0.0.1:1\n redis: true\n sentinels: ['127.0.0.1:1']\n \
                      sentinel_auth: sesame\n servers: ['127.0.0.1:2:1']\n";
        let text = shown_of(&config(secret));
        assert!(!text.contains("sesame"), "{text}");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["x"]["sentinel_auth"], MASK);
    }
}
