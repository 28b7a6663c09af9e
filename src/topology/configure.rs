//! What of a server's state outlives a new configuration: all that the change leaves true.
//!
//! Pure. A server whose requests go somewhere goes on there, so that a reload alone fails none: under
//! Sentinel it stays where it is until its watcher knows better, whatever else changed about the pool.

use std::sync::Arc;

use super::{Endpoint, Pool, Server};
use crate::config::{PoolConfig, ServerConfig};

/// How much of its past a server keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// Where it is served, whether it is ejected or held.
    All,
    /// Where it is served.
    Endpoint,
    Nothing,
}

/// `config`: merged from that of `before`.
pub(super) fn next_pool(before: &Pool, config: &Arc<PoolConfig>) -> Pool {
    let servers = config.servers.iter().enumerate();
    let servers = servers.map(|(slot, server)| match before.servers.get(slot) {
        Some(old) => next_server(&before.config, old, config, slot),
        None => Server::new(config, server),
    });
    Pool {
        // Until the servers are asked again.
        learned: match config.learn_commands {
            true => Arc::clone(&before.learned),
            false => Arc::default(),
        },
        ..Pool::with(config, servers.collect())
    }
}

fn next_server(old_pool: &PoolConfig, old: &Server, pool: &PoolConfig, slot: usize) -> Server {
    let fresh = || Server::new(pool, &pool.servers[slot]);
    let past = past(old_pool, pool, slot);
    // Under Sentinel there may be nowhere to stay.
    let is_somewhere = matches!(old.endpoint, Endpoint::Tcp(_));
    match past {
        Past::All => Server {
            ejected: old.ejected && auto_ejects(pool),
            ..old.clone()
        },
        Past::Endpoint if pool.servers[slot].removed || is_somewhere => Server {
            endpoint: old.endpoint.clone(),
            held: false,
            told: Arc::clone(&old.told),
            ..fresh()
        },
        Past::Endpoint | Past::Nothing => fresh(),
    }
}

/// Does the pool's servers' leaving and returning depend on their failures?
pub(super) fn auto_ejects(pool: &PoolConfig) -> bool {
    // Where a managed server goes is Sentinel's business; its keys stay.
    pool.auto_eject_hosts && pool.sentinel.is_none()
}

/// What the server in `slot` keeps when `new` follows `old`.
pub(super) fn past(old: &PoolConfig, new: &PoolConfig, slot: usize) -> Past {
    let (Some(before), Some(after)) = (old.servers.get(slot), new.servers.get(slot)) else {
        return Past::Nothing;
    };
    if after.removed {
        // Requests on their way to it still get there.
        return Past::Endpoint;
    }
    if before.removed {
        return Past::Nothing;
    }
    let same_address = before.address == after.address;
    match (old.sentinel.is_some(), new.sentinel.is_some()) {
        (false, false) if same_address => Past::All,
        (false, true) if same_address => Past::Endpoint,
        (true, true) if same_master(before, after) => Past::All,
        _ => Past::Nothing,
    }
}

/// Do the sentinels know both by the same name? One without a name is known by its address.
fn same_master(before: &ServerConfig, after: &ServerConfig) -> bool {
    match (before.master_name(), after.master_name()) {
        (Some(before), Some(after)) => before == after,
        (None, None) => before.address == after.address,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use proptest::prelude::*;

    use super::super::publish::{Publisher, Update};
    use super::super::{ServerId, Topology, fixture};
    use super::*;
    use crate::config::{Config, merge, parse};

    const ID: ServerId = ServerId { pool: 0, server: 0 };

    fn config(settings: &str, servers: &str) -> Config {
        let text = format!(
            "p:\n  listen: 127.0.0.1:22121\n  redis: true\n  auto_eject_hosts: true\n{settings}  servers: \
             {servers}\n"
        );
        let text = if settings.contains("sentinels") {
            text.replace("  auto_eject_hosts: true\n", "")
        } else {
            text
        };
        parse(&text, "f").expect("correct").config
    }

    fn tcp(port: u16) -> Endpoint {
        Endpoint::Tcp(([127, 0, 0, 1], port).into())
    }

    /// The first server after `updates` and then a reload: endpoint, ejected, held, suspect.
    fn after(before: &Config, updates: &[Update], fresh: &Config) -> (Endpoint, bool, bool, bool) {
        let mut publisher = Publisher::new(Topology::initial(before));
        publisher.apply(updates.iter().cloned());
        let server = &publisher.current().pools[0].servers[0];
        server.suspect.store(true, Relaxed);
        let next = merge(before, fresh).expect("there is room").config;
        publisher.configure(&next, []);
        let server = &publisher.current().pools[0].servers[0];
        let suspect = server.suspect.load(Relaxed);
        (
            server.endpoint.clone(),
            server.ejected,
            server.held,
            suspect,
        )
    }

    #[test]
    fn a_plain_server_keeps_its_state_with_its_address() {
        let before = config("", "[127.0.0.1:1:1 a, 127.0.0.1:2:1 b]");
        let ejected = [Update::Eject(ID)];
        let slower = config("  timeout: 9\n", "[127.0.0.1:1:1 a, 127.0.0.1:2:1 b]");
        assert_eq!(
            after(&before, &ejected, &slower),
            (tcp(1), true, false, true)
        );
        let moved = config("", "[127.0.0.1:9:1 a, 127.0.0.1:2:1 b]");
        assert_eq!(
            after(&before, &ejected, &moved),
            (tcp(9), false, false, false)
        );
        let mut patient = slower.clone();
        Arc::make_mut(&mut patient.pools[0]).auto_eject_hosts = false;
        assert_eq!(
            after(&before, &ejected, &patient),
            (tcp(1), false, false, true)
        );
    }

    #[test]
    fn what_the_log_said_of_a_server_counts_as_long_as_its_address() {
        let before = config("", "[127.0.0.1:1:1 a, 127.0.0.1:2:1 b]");
        let told_after = |fresh: &Config| {
            let mut publisher = Publisher::new(Topology::initial(&before));
            publisher.current().pools[0].servers[0].told[0].store(7, Relaxed);
            let next = merge(&before, fresh).expect("there is room").config;
            publisher.configure(&next, []);
            publisher.current().pools[0].servers[0].told[0].load(Relaxed)
        };
        for (settings, servers, told) in [
            ("  timeout: 9\n", "[127.0.0.1:1:1 a, 127.0.0.1:2:1 b]", 7),
            ("  sentinels: [h:1]\n", "[127.0.0.1:1:1 a]", 7),
            ("", "[127.0.0.1:2:1 b]", 7),
            ("", "[127.0.0.1:9:1 a]", 0),
        ] {
            assert_eq!(told_after(&config(settings, servers)), told, "{servers}");
        }
    }

    #[test]
    fn a_managed_server_stays_where_it_is() {
        let sentinels = "  sentinels: [127.0.0.1:26379]\n";
        let before = config(sentinels, "[127.0.0.1:1:1 a]");
        let failed_over = [Update::Endpoint(ID, tcp(5)), Update::Release(ID)];
        let others = config("  sentinels: [127.0.0.1:26380]\n", "[127.0.0.1:7:1 a]");
        assert_eq!(
            after(&before, &failed_over, &others),
            (tcp(5), false, false, true)
        );
        let held = [Update::Endpoint(ID, tcp(5))];
        assert_eq!(after(&before, &held, &others), (tcp(5), false, true, true));
        let other_master = config(sentinels, "[{addr: '127.0.0.1:1', name: a, master: m}]");
        let (endpoint, _, held, _) = after(&before, &failed_over, &other_master);
        assert!(matches!(endpoint, Endpoint::NoMaster(_)) && held);
    }

    #[test]
    fn sentinels_that_come_hold_nothing_and_without_them_the_file_counts() {
        let sentinels = "  sentinels: [127.0.0.1:26379]\n";
        let plain = config("", "[127.0.0.1:1:1 a]");
        let managed = config(sentinels, "[127.0.0.1:1:1 a]");
        assert_eq!(after(&plain, &[], &managed), (tcp(1), false, false, false));
        let failed_over = [Update::Endpoint(ID, tcp(5))];
        assert_eq!(
            after(&managed, &failed_over, &plain),
            (tcp(1), false, false, false)
        );
        let named = config("", "[localhost:1:1 a]");
        let named_managed = config(sentinels, "[localhost:1:1 a]");
        let (endpoint, _, held, _) = after(&named, &[], &named_managed);
        assert!(matches!(endpoint, Endpoint::NoMaster(_)) && held);
    }

    #[test]
    fn a_removed_server_keeps_its_address_until_it_comes_back_anew() {
        let both = config("", "[127.0.0.1:1:1 a, 127.0.0.1:2:1 b]");
        let one = config("", "[127.0.0.1:2:1 b]");
        let ejected = [Update::Eject(ID)];
        assert_eq!(after(&both, &ejected, &one), (tcp(1), false, false, false));
        let mut publisher = Publisher::new(Topology::initial(&both));
        let without = merge(&both, &one).unwrap().config;
        let topology = publisher.configure(&without, []).unwrap();
        assert_eq!(topology.pools[0].route(b"x", || 0), Some(1));
        let back = merge(&without, &both).unwrap().config;
        let topology = publisher.configure(&back, []).unwrap();
        assert!(!topology.pools[0].servers[0].ejected);
        assert_eq!(topology.version, 3);
    }

    #[test]
    fn unchanged_pools_are_the_same_and_nothing_is_no_version() {
        let two = fixture::config(vec![fixture::pool(&["127.0.0.1:1"]); 2]);
        let mut publisher = Publisher::new(Topology::initial(&two));
        assert!(publisher.configure(&two, []).is_none());
        let mut changed = two.clone();
        Arc::make_mut(&mut changed.pools[1]).backlog += 1;
        let before = Arc::clone(publisher.current());
        let after = publisher.configure(&changed, []).unwrap();
        assert!(Arc::ptr_eq(&before.pools[0], &after.pools[0]));
        assert!(Arc::ptr_eq(&after.pools[1].config, &changed.pools[1]));
        let moved = publisher.configure(&changed, [Update::Endpoint(ID, tcp(3))]);
        assert_eq!(moved.unwrap().pools[0].servers[0].endpoint, tcp(3));
    }

    /// Which of eight servers with which weight, and how they are spread.
    fn any_file() -> impl Strategy<Value = (Vec<(usize, u32)>, usize)> {
        let servers = prop::collection::btree_map(0usize..8, 1u32..5, 1..8);
        let list = |servers: std::collections::BTreeMap<usize, u32>| servers.into_iter().collect();
        (servers.prop_map(list), 0usize..3)
    }

    fn file((servers, distribution): &(Vec<(usize, u32)>, usize)) -> Config {
        // Names whose order is neither that of their length nor that of their appearance.
        const NAMES: [&str; 8] = ["dd", "a", "ccc", "b", "aa", "z", "bbbb", "m"];
        let servers = servers
            .iter()
            .map(|(n, weight)| format!("127.0.0.1:{}:{weight} {}", n + 1, NAMES[*n]));
        let servers: Vec<String> = servers.collect();
        let distribution = ["ketama", "modula", "random"][*distribution];
        config(
            &format!("  distribution: {distribution}\n"),
            &format!("[{}]", servers.join(", ")),
        )
    }

    proptest! {
        /// After any reloads a key lives on the server of which a fresh start would say so, and no slot
        /// ever changes its name.
        #[test]
        fn reloads_place_keys_as_a_fresh_start_does(files in prop::collection::vec(any_file(), 1..8)) {
            let mut running = file(&files[0]);
            let mut publisher = Publisher::new(Topology::initial(&running));
            let mut names: Vec<String> = Vec::new();
            for fresh in files.iter().map(file) {
                running = merge(&running, &fresh).unwrap().config;
                publisher.configure(&running, []);
                let pool = Arc::clone(&publisher.current().pools[0]);
                let slots: Vec<String> = pool.config.servers.iter().map(|s| s.name.clone()).collect();
                prop_assert!(slots.starts_with(&names), "{slots:?} after {names:?}");
                names = slots;
                let fresh = Topology::initial(&fresh);
                let fresh = &fresh.pools[0];
                for n in 0u32..100 {
                    let key = format!("key:{n}");
                    let here = pool.route(key.as_bytes(), || n).expect("somebody serves");
                    let there = fresh.route(key.as_bytes(), || n).expect("somebody serves");
                    let here = &pool.config.servers[usize::from(here)];
                    let there = &fresh.config.servers[usize::from(there)];
                    prop_assert_eq!((&here.name, &here.address), (&there.name, &there.address));
                    prop_assert!(!here.removed);
                }
            }
        }
    }
}
