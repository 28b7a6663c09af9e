//! Applies [`Update`]s and new configurations in order to the snapshot and numbers the results.
//!
//! Pure: who is told of a new snapshot is `task.rs`'s business.

use std::sync::Arc;

use super::{Endpoint, Pool, Server, ServerId, Topology, configure, live_ring};
use crate::config::Config;
use crate::protocol::redis::command::Learned;

/// A change of one server. Whatever moves a key or an address, from whatever source, is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Leaves the ring.
    Eject(ServerId),
    /// Is in the ring again.
    Return(ServerId),
    /// Is served there from now on; its place on the ring stays.
    Endpoint(ServerId, Endpoint),
    /// Its requests wait, for a failover was announced.
    Hold(ServerId),
    /// They need not wait any longer.
    Release(ServerId),
}

/// Holds the snapshot that was published last.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<Topology>,
}

impl Publisher {
    pub fn new(initial: Topology) -> Publisher {
        Publisher {
            current: Arc::new(initial),
        }
    }

    pub fn current(&self) -> &Arc<Topology> {
        &self.current
    }

    /// The snapshot after all of `updates`, one version later; `None` if together they change nothing.
    /// Ids of no server are ignored. A ring is rebuilt only if other servers are live than before.
    pub fn apply(&mut self, updates: impl IntoIterator<Item = Update>) -> Option<Arc<Topology>> {
        let pools = self.current.pools.clone();
        self.publish(pools, updates)
    }

    /// The snapshot by `config`, which is merged from the one before, and then after all of `updates`, one
    /// version later; `None` if nothing changed. A pool whose configuration is the same `Arc` as before is
    /// left alone.
    pub fn configure(
        &mut self,
        config: &Config,
        updates: impl IntoIterator<Item = Update>,
    ) -> Option<Arc<Topology>> {
        let before = &self.current.pools;
        let pools = config.pools.iter().enumerate();
        let pools = pools.map(|(slot, config)| match before.get(slot) {
            Some(pool) if Arc::ptr_eq(&pool.config, config) => Arc::clone(pool),
            Some(pool) => Arc::new(configure::next_pool(pool, config)),
            None => Arc::new(Pool::new(config)),
        });
        let pools = pools.collect();
        self.publish(pools, updates)
    }

    /// The snapshot in which the pool in slot `pool` has these commands, one version later; `None` if it has
    /// them, or is no pool.
    pub fn learn(&mut self, pool: u16, learned: &Arc<Learned>) -> Option<Arc<Topology>> {
        let mut pools = self.current.pools.clone();
        let pool = pools.get_mut(usize::from(pool))?;
        if pool.learned == *learned {
            return None;
        }
        Arc::make_mut(pool).learned = Arc::clone(learned);
        Some(self.replace(pools))
    }

    fn replace(&mut self, pools: Vec<Arc<Pool>>) -> Arc<Topology> {
        self.current = Arc::new(Topology {
            version: self.current.version + 1,
            pools,
        });
        Arc::clone(&self.current)
    }

    fn publish(
        &mut self,
        mut pools: Vec<Arc<Pool>>,
        updates: impl IntoIterator<Item = Update>,
    ) -> Option<Arc<Topology>> {
        for update in updates {
            let id = update.server_id();
            let Some(pool) = pools.get_mut(usize::from(id.pool)) else {
                continue;
            };
            let index = usize::from(id.server);
            if index < pool.servers.len() {
                // Copies the pool at its first change only: then this Arc is its one owner.
                update.change(&mut Arc::make_mut(pool).servers[index]);
            }
        }
        let mut changed = pools.len() > self.current.pools.len();
        for (pool, before) in pools.iter_mut().zip(&self.current.pools) {
            if Arc::ptr_eq(pool, before) {
                continue;
            }
            if !Arc::ptr_eq(&pool.config, &before.config) {
                // Its ring is new; nobody is ejected by a configuration.
                changed = true;
                continue;
            }
            if same(pool, before, |server| {
                (server.ejected, server.held, &server.endpoint)
            }) {
                *pool = Arc::clone(before);
                continue;
            }
            changed = true;
            if !same(pool, before, |server| server.ejected) {
                let pool = Arc::make_mut(pool);
                pool.ring = live_ring(&pool.config, &pool.servers);
            }
        }
        changed.then(|| self.replace(pools))
    }
}

impl Update {
    pub fn server_id(&self) -> ServerId {
        match *self {
            Update::Eject(id)
            | Update::Return(id)
            | Update::Endpoint(id, _)
            | Update::Hold(id)
            | Update::Release(id) => id,
        }
    }

    fn change(self, server: &mut Server) {
        match self {
            Update::Eject(_) => server.ejected = true,
            Update::Return(_) => server.ejected = false,
            Update::Endpoint(_, endpoint) => server.endpoint = endpoint,
            Update::Hold(_) => server.held = true,
            Update::Release(_) => server.held = false,
        }
    }
}

fn same<'a, T: PartialEq>(a: &'a Pool, b: &'a Pool, aspect: impl Fn(&'a Server) -> T) -> bool {
    a.servers
        .iter()
        .map(&aspect)
        .eq(b.servers.iter().map(&aspect))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;

    fn id(pool: u16, server: u16) -> ServerId {
        ServerId { pool, server }
    }

    fn tcp(port: u16) -> Endpoint {
        Endpoint::Tcp(([127, 0, 0, 1], port).into())
    }

    /// Two pools of three servers.
    fn publisher() -> Publisher {
        let pool = || fixture::pool(&["127.0.0.1:0", "127.0.0.1:1", "name:2"]);
        Publisher::new(Topology::initial(&fixture::config(vec![pool(), pool()])))
    }

    #[test]
    fn a_batch_is_one_version_and_untouched_pools_are_shared() {
        let mut publisher = publisher();
        let before = Arc::clone(publisher.current());
        let batch = [
            Update::Eject(id(0, 0)),
            Update::Endpoint(id(0, 2), tcp(9)),
            Update::Endpoint(id(0, 2), tcp(10)),
        ];
        let after = publisher.apply(batch).unwrap();
        assert_eq!((before.version, after.version), (1, 2));
        assert!(Arc::ptr_eq(&before.pools[1], &after.pools[1]));
        assert!(after.pools[0].servers[0].ejected);
        assert_eq!(after.pools[0].servers[2].endpoint, tcp(10));
        assert!(!before.pools[0].servers[0].ejected, "a snapshot is final");
        assert!(Arc::ptr_eq(publisher.current(), &after));
    }

    #[test]
    fn what_changes_nothing_publishes_nothing() {
        for batch in [
            vec![],
            vec![Update::Return(id(0, 0))],
            vec![Update::Endpoint(id(1, 1), tcp(1))],
            vec![Update::Eject(id(1, 1)), Update::Return(id(1, 1))],
            vec![Update::Eject(id(0, 3)), Update::Eject(id(2, 0))],
        ] {
            let mut publisher = publisher();
            let before = Arc::clone(publisher.current());
            assert!(publisher.apply(batch.clone()).is_none(), "{batch:?}");
            assert!(Arc::ptr_eq(publisher.current(), &before));
        }
    }

    #[test]
    fn ejection_moves_the_keys_of_that_server_only_until_it_returns() {
        let mut publisher = publisher();
        let servers = |topology: &Topology| -> Vec<Option<u16>> {
            let keys = (0..200).map(|n| format!("key:{n}"));
            keys.map(|key| topology.pools[0].route(key.as_bytes(), || 0))
                .collect()
        };
        let whole = servers(publisher.current());
        assert!([0, 1, 2].iter().all(|i| whole.contains(&Some(*i))));
        let without = servers(&publisher.apply([Update::Eject(id(0, 1))]).unwrap());
        assert!(!without.contains(&Some(1)));
        for (whole, without) in whole.iter().zip(&without) {
            assert!(*whole == Some(1) || whole == without);
        }
        let returned = publisher.apply([Update::Return(id(0, 1))]).unwrap();
        assert_eq!(servers(&returned), whole);
    }

    #[test]
    fn a_new_address_moves_no_key() {
        let mut publisher = publisher();
        let points = |topology: &Topology| [0, 1, 2].map(|i| topology.pools[0].ring.points(i));
        let before = points(publisher.current());
        let moved = publisher
            .apply([Update::Endpoint(id(0, 1), tcp(77))])
            .unwrap();
        assert_eq!(points(&moved), before);
    }

    #[test]
    fn nobody_is_live_after_the_last_ejection() {
        let mut publisher = publisher();
        let all = [0, 1, 2].map(|server| Update::Eject(id(0, server)));
        let none = publisher.apply(all).unwrap();
        assert_eq!(none.pools[0].route(b"key", || 0), None);
        assert!(none.pools[1].route(b"key", || 0).is_some());
    }

    fn any_update() -> impl Strategy<Value = Update> {
        (0u16..3, 0u16..4, 0u8..3, 0u16..3).prop_map(|(pool, server, what, port)| match what {
            0 => Update::Eject(id(pool, server)),
            1 => Update::Return(id(pool, server)),
            _ => Update::Endpoint(id(pool, server), tcp(port)),
        })
    }

    proptest! {
        /// Applying one by one, in one batch, or over a plain table gives the same servers; versions
        /// grow by one exactly when something changed.
        #[test]
        fn batches_do_not_matter_but_for_the_version(updates in prop::collection::vec(any_update(), 0..40)) {
            let (mut single, mut batch) = (publisher(), publisher());
            for update in updates.clone() {
                let before = Arc::clone(single.current());
                let id = update.server_id();
                let differs = before.server(id).is_some_and(|server| match &update {
                    Update::Eject(_) => !server.ejected,
                    Update::Return(_) => server.ejected,
                    Update::Endpoint(_, endpoint) => server.endpoint != *endpoint,
                    Update::Hold(_) => !server.held,
                    Update::Release(_) => server.held,
                });
                let published = single.apply([update]);
                prop_assert_eq!(published.map(|t| t.version), differs.then_some(before.version + 1));
            }
            batch.apply(updates);
            prop_assert!(batch.current().version <= 2);
            for (a, b) in single.current().pools.iter().zip(&batch.current().pools) {
                prop_assert!(same(a, b, |server| (server.ejected, server.held, &server.endpoint)));
                for n in 0..30 {
                    let key = format!("key:{n}");
                    prop_assert_eq!(a.route(key.as_bytes(), || 0), b.route(key.as_bytes(), || 0));
                }
            }
        }
    }
}
