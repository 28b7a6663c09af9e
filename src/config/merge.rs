//! The configuration that runs, and a file that was read later, become the one that runs next.
//!
//! Whoever is at work addresses pools and servers by their index. So that nothing in flight is ever taken
//! for somebody else's, an index is a *slot* and belongs to one name for the life of the process: what is
//! new is appended, what is gone leaves its place `removed` behind, and what comes back finds its old place.
//! Where a key lives is a matter of the file alone and not of the slots: rings are made of
//! [`PoolConfig::live`], which is the file's order.

use std::sync::Arc;

use super::changes::{self, Change};
use super::resolve::internal_order;
use super::{Config, Listen, PoolConfig, ServerConfig};

/// Slots are numbered with 16 bits.
const SLOTS_MAX: usize = u16::MAX as usize;

/// What a file that was read again leads to.
#[derive(Clone, Debug)]
pub struct Merged {
    /// By slot. A pool that is as before is the same `Arc`.
    pub config: Config,
    /// Nothing if the file says what the one before said.
    pub changes: Vec<Change>,
}

/// The names since the start of the process are more than there are slots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error(
        "pool '{pool}' has had more than {SLOTS_MAX} different servers since the start; a restart forgets \
         those that were removed"
    )]
    Servers { pool: String },
    #[error(
        "there have been more than {SLOTS_MAX} different pools since the start; a restart forgets those \
         that were removed"
    )]
    Pools,
}

/// `running`: as answered last, or as read at the start; `fresh`: as read from the file now.
///
/// # Errors
/// If there is no room for another slot.
pub fn merge(running: &Config, fresh: &Config) -> Result<Merged, MergeError> {
    let mut pools = Vec::with_capacity(running.pools.len());
    for old in &running.pools {
        let new = fresh.pools.iter().find(|new| new.name == old.name);
        pools.push(match new {
            Some(new) => next_pool(old, new)?,
            None if old.removed => Arc::clone(old),
            None => Arc::new(removed(old)),
        });
    }
    let is_new = |new: &&Arc<PoolConfig>| running.pools.iter().all(|old| old.name != new.name);
    pools.extend(fresh.pools.iter().filter(is_new).cloned());
    if pools.len() > SLOTS_MAX {
        return Err(MergeError::Pools);
    }
    let config = Config { pools };
    Ok(Merged {
        changes: changes::between(running, &config),
        config,
    })
}

fn next_pool(old: &Arc<PoolConfig>, new: &PoolConfig) -> Result<Arc<PoolConfig>, MergeError> {
    let mut servers = Vec::with_capacity(old.servers.len());
    for known in &old.servers {
        let found = new.servers.iter().find(|server| server.name == known.name);
        servers.push(match found {
            // Another line of the file is no other server.
            Some(found) if is_same(known, found) => known.clone(),
            Some(found) => found.clone(),
            None => ServerConfig {
                removed: true,
                ..known.clone()
            },
        });
    }
    let is_new = |new: &&ServerConfig| old.servers.iter().all(|known| known.name != new.name);
    servers.extend(new.servers.iter().filter(is_new).cloned());
    if servers.len() > SLOTS_MAX {
        return Err(MergeError::Servers {
            pool: new.name.clone(),
        });
    }
    let next = PoolConfig {
        servers,
        ..new.clone()
    };
    Ok(if next == **old {
        Arc::clone(old)
    } else {
        Arc::new(next)
    })
}

fn is_same(known: &ServerConfig, found: &ServerConfig) -> bool {
    let there = ServerConfig {
        position: known.position,
        ..found.clone()
    };
    *known == there
}

fn removed(pool: &PoolConfig) -> PoolConfig {
    let mut pool = pool.clone();
    pool.removed = true;
    for server in &mut pool.servers {
        server.removed = true;
    }
    pool
}

impl Config {
    /// The pools that are configured, with their slots, in the file's order (nutcracker's internal one).
    pub fn live(&self) -> Vec<(u16, &Arc<PoolConfig>)> {
        let all = (0..).zip(&self.pools);
        let mut live: Vec<_> = all.filter(|(_, pool)| !pool.removed).collect();
        live.sort_by(|(_, a), (_, b)| internal_order(&a.name, &b.name));
        live
    }
}

impl PoolConfig {
    /// The servers that are configured, with their slots, in the file's order (nutcracker's internal one).
    pub fn live(&self) -> Vec<(u16, &ServerConfig)> {
        let all = (0..).zip(&self.servers);
        let mut live: Vec<_> = all.filter(|(_, server)| !server.removed).collect();
        live.sort_by(|(_, a), (_, b)| internal_order(&a.name, &b.name));
        live
    }

    /// How many servers are configured.
    pub fn live_count(&self) -> usize {
        let live = self.servers.iter().filter(|server| !server.removed);
        live.count()
    }
}

impl Listen {
    /// Can one socket serve both?
    pub fn is_same_place(&self, other: &Listen) -> bool {
        match (self, other) {
            (Listen::Tcp(a), Listen::Tcp(b)) => a == b,
            (Listen::Unix { path: a, .. }, Listen::Unix { path: b, .. }) => a == b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn config(pools: &[(&str, &[&str])]) -> Config {
        let text: String = pools
            .iter()
            .enumerate()
            .map(|(n, (name, servers))| {
                let servers: String = servers.iter().map(|s| format!("    - {s}\n")).collect();
                let port = 22121 + n;
                format!("{name}:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n{servers}")
            })
            .collect();
        parse(&text, "f").expect("correct").config
    }

    fn merged(running: &Config, fresh: &Config) -> Config {
        merge(running, fresh).expect("there is room").config
    }

    fn names(pool: &PoolConfig) -> Vec<(&str, bool)> {
        let servers = pool.servers.iter();
        servers.map(|s| (s.name.as_str(), s.removed)).collect()
    }

    #[test]
    fn slots_stay_and_the_order_is_the_files() {
        let first = config(&[("p", &["h:1:1 bb", "h:2:1 cc"])]);
        let second = merged(&first, &config(&[("p", &["h:3:1 a", "h:2:1 cc"])]));
        let pool = &second.pools[0];
        assert_eq!(names(pool), [("bb", true), ("cc", false), ("a", false)]);
        let live: Vec<_> = pool.live().iter().map(|(slot, _)| *slot).collect();
        assert_eq!(live, [2, 1], "shorter names first, then bytewise");
        let third = merged(&second, &first);
        let pool = &third.pools[0];
        assert_eq!(names(pool), [("bb", false), ("cc", false), ("a", true)]);
        assert_eq!(pool.live_count(), 2);
    }

    #[test]
    fn pools_come_go_and_find_their_place_again() {
        let first = config(&[("p", &["h:1:1"]), ("q", &["h:1:1"])]);
        let without = merged(&first, &config(&[("p", &["h:1:1"]), ("a", &["h:2:1"])]));
        let pools = |config: &Config| -> Vec<(String, bool)> {
            let pools = config.pools.iter();
            pools.map(|p| (p.name.clone(), p.removed)).collect()
        };
        let expected = [("p", false), ("q", true), ("a", false)];
        assert_eq!(
            pools(&without),
            expected.map(|(name, removed)| (name.to_string(), removed))
        );
        assert!(without.pools[1].servers[0].removed);
        let order: Vec<u16> = without.live().iter().map(|(slot, _)| *slot).collect();
        assert_eq!(order, [2, 0]);
        let back = merged(&without, &first);
        assert_eq!(back.pools[1], first.pools[1]);
        assert!(Arc::ptr_eq(&back.pools[0], &without.pools[0]));
    }

    #[test]
    fn the_same_file_and_another_order_of_lines_change_nothing() {
        let running = config(&[("p", &["h:1:1 a", "h:2:1 b"])]);
        let turned = config(&[("p", &["h:2:1 b", "h:1:1 a"])]);
        let merged = merge(&running, &turned).unwrap();
        assert!(Arc::ptr_eq(&merged.config.pools[0], &running.pools[0]));
        assert_eq!(merged.changes, []);
    }

    #[test]
    fn more_names_than_slots_are_refused() {
        let mut running = config(&[("p", &["h:1:1"])]);
        let pool = Arc::make_mut(&mut running.pools[0]);
        let first = pool.servers[0].clone();
        pool.servers = (0..SLOTS_MAX)
            .map(|n| ServerConfig {
                name: format!("old{n}"),
                removed: n > 0,
                ..first.clone()
            })
            .collect();
        let error = merge(&running, &config(&[("p", &["h:1:1 new"])])).unwrap_err();
        let pool = "p".to_string();
        assert_eq!(error, MergeError::Servers { pool });
        assert!(error.to_string().contains("restart"), "{error}");
    }
}
