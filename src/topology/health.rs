//! Can the pools be used? The one rule behind `/ready` and the metrics about it.
//!
//! A server is *up* if a request for it can be expected to succeed, or is not known to fail: a backend
//! connection is open, or none was needed yet or since the last success. A server whose failover is announced
//! is up too: its requests wait. It is not up while connecting to it fails, while it is ejected, and
//! while Sentinel names no master or the name service no address for it.
//!
//! A pool is *ready* if clients can connect to it and at least one of its servers is up. Every instance of
//! the proxy meets the same dead server: if that made all of them unready, a load balancer would turn
//! one shard's failure into that of all.
//!
//! Pure: made from a snapshot and from what the counters say.

use std::fmt;
use std::sync::Arc;

use super::{Endpoint, Server, Topology};
use crate::stats::{PoolNames, Stats};

#[derive(Clone, Debug)]
pub struct PoolHealth {
    /// Of its statistics.
    pub slot: usize,
    pub name: String,
    /// Clients can connect.
    pub listening: bool,
    pub servers: Vec<ServerHealth>,
}

#[derive(Clone, Debug)]
pub struct ServerHealth {
    pub slot: usize,
    pub name: String,
    /// Where requests go now, or why nowhere.
    pub endpoint: Endpoint,
    /// Sentinel names the endpoint, else the configuration does.
    pub by_sentinel: bool,
    pub ejected: bool,
    /// Requests wait for a failover.
    pub held: bool,
    /// `None`: it is up.
    pub problem: Option<Problem>,
}

/// Why a server is not up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Unresolved,
    /// Sentinel was not asked yet; requests wait.
    Starting,
    NoMaster(Arc<str>),
    Ejected,
    /// The last attempts to connect, or the first requests on new connections, failed.
    OutOfReach,
}

/// Of every pool that is listed in `stats`, which is of the same configuration as `topology`.
pub fn health(topology: &Topology, stats: &Stats) -> Vec<PoolHealth> {
    let pools = stats.names();
    let pools = pools
        .iter()
        .filter_map(|names| pool(topology, stats, names));
    pools.collect()
}

/// `None` for a pool that the snapshot does not have yet.
fn pool(topology: &Topology, stats: &Stats, names: &PoolNames) -> Option<PoolHealth> {
    let pool = topology.pools.get(names.slot)?;
    let servers = names.servers.iter().filter_map(|server| {
        let state = pool.servers.get(server.slot)?;
        Some(ServerHealth {
            slot: server.slot,
            name: server.name.clone(),
            endpoint: state.endpoint.clone(),
            by_sentinel: pool.config.sentinel.is_some(),
            ejected: state.ejected,
            held: state.held,
            problem: problem(state, stats.is_failing(names.slot, server.slot)),
        })
    });
    Some(PoolHealth {
        slot: names.slot,
        name: names.name.clone(),
        listening: stats.control.pools[names.slot].listening.get() > 0,
        servers: servers.collect(),
    })
}

fn problem(server: &Server, failing: bool) -> Option<Problem> {
    match &server.endpoint {
        Endpoint::Unresolved(_) => Some(Problem::Unresolved),
        Endpoint::NoMaster(_) if server.held => Some(Problem::Starting),
        Endpoint::NoMaster(why) => Some(Problem::NoMaster(Arc::clone(why))),
        _ if server.ejected => Some(Problem::Ejected),
        _ if server.held => None,
        _ => failing.then_some(Problem::OutOfReach),
    }
}

impl PoolHealth {
    /// Can clients connect and be served by at least one server?
    pub fn is_ready(&self) -> bool {
        self.listening && self.servers.iter().any(ServerHealth::is_up)
    }

    /// Is there a server of which nothing is known yet? Its requests wait, for a short time at most.
    pub fn is_starting(&self) -> bool {
        let mut problems = self.servers.iter().map(|server| &server.problem);
        problems.any(|problem| *problem == Some(Problem::Starting))
    }
}

impl ServerHealth {
    /// Who says where the server is: `sentinel` or `configuration`.
    pub fn role_source(&self) -> &'static str {
        match self.by_sentinel {
            true => "sentinel",
            false => "configuration",
        }
    }

    pub fn is_up(&self) -> bool {
        self.problem.is_none()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unresolved => f.write_str("its host name has no address"),
            Problem::Starting => f.write_str("the sentinels have not been heard yet"),
            Problem::NoMaster(why) => write!(f, "no master ({why})"),
            Problem::Ejected => f.write_str("ejected"),
            Problem::OutOfReach => f.write_str("cannot be reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::publish::{Publisher, Update};
    use super::super::{ServerId, fixture};
    use super::*;

    struct World {
        publisher: Publisher,
        stats: Stats,
    }

    /// One pool of two servers and as many workers; clients can connect.
    fn world() -> World {
        let config = fixture::config(vec![fixture::pool(&["127.0.0.1:1", "127.0.0.1:2"])]);
        let names = PoolNames::numbered(0, "pool", &["server0", "server1"]);
        let stats = Stats::new(vec![names], 2);
        stats.control.pools[0].listening.add(1);
        World {
            publisher: Publisher::new(Topology::initial(&config)),
            stats,
        }
    }

    const FIRST: ServerId = ServerId { pool: 0, server: 0 };

    impl World {
        fn apply(&mut self, updates: impl IntoIterator<Item = Update>) {
            self.publisher.apply(updates).expect("a change");
        }

        /// A connection of this worker to the first server fails.
        fn fail(&self, worker: usize) {
            let server = &self.stats.workers[worker].pools[0].servers[0];
            server.connect_failures.add(1);
            server.failing.set(1);
        }

        fn pool(&self) -> PoolHealth {
            health(self.publisher.current(), &self.stats).remove(0)
        }

        /// What the first server's problem is; the second has none.
        fn problem(&self) -> Option<Problem> {
            let mut servers = self.pool().servers;
            assert_eq!(servers[1].problem, None);
            servers.remove(0).problem
        }
    }

    #[test]
    fn servers_that_nobody_needed_yet_are_up() {
        let world = world();
        assert_eq!(world.problem(), None);
        assert!(world.pool().is_ready());
    }

    #[test]
    fn a_server_is_down_from_a_failure_to_a_success_of_anybody() {
        let world = world();
        let second = &world.stats.workers[1].pools[0].servers[0];
        world.fail(0);
        assert_eq!(world.problem(), Some(Problem::OutOfReach));
        // The first worker has not tried again, the other one is connected.
        second.server_connections.set(1);
        assert_eq!(world.problem(), None);
        second.failing.set(1);
        assert_eq!(world.problem(), Some(Problem::OutOfReach));
    }

    #[test]
    fn a_probe_disproves_the_failures_before_it_only() {
        let world = world();
        world.fail(0);
        world.fail(1);
        let disproved = &world.stats.control.pools[0].servers[0].disproved;
        disproved.set(1);
        assert_eq!(world.problem(), Some(Problem::OutOfReach));
        disproved.set(2);
        assert_eq!(world.problem(), None);
        world.fail(1);
        assert_eq!(world.problem(), Some(Problem::OutOfReach));
    }

    #[test]
    fn what_the_topology_says_of_a_server() {
        let mut world = world();
        world.apply([Update::Eject(FIRST)]);
        assert_eq!(world.problem(), Some(Problem::Ejected));
        world.apply([Update::Return(FIRST), Update::Hold(FIRST)]);
        world.fail(0);
        assert_eq!(world.problem(), None, "a failover is announced");
        let nowhere = |why: &str| Update::Endpoint(FIRST, Endpoint::NoMaster(why.into()));
        world.apply([nowhere("nobody asked yet")]);
        assert_eq!(world.problem(), Some(Problem::Starting));
        world.apply([Update::Release(FIRST), nowhere("unknown")]);
        assert_eq!(world.problem(), Some(Problem::NoMaster("unknown".into())));
        let unresolved = Endpoint::Unresolved("redis.example".into());
        world.apply([Update::Endpoint(FIRST, unresolved)]);
        assert_eq!(world.problem(), Some(Problem::Unresolved));
    }

    #[test]
    fn a_pool_is_ready_with_a_listener_and_one_server() {
        let mut world = world();
        world.fail(0);
        assert!(world.pool().is_ready());
        let second = ServerId { pool: 0, server: 1 };
        world.apply([Update::Eject(second)]);
        assert!(!world.pool().is_ready());
        world.apply([Update::Return(second)]);
        world.stats.control.pools[0].listening.sub(1);
        assert!(!world.pool().is_ready());
    }

    #[test]
    fn a_pool_that_the_snapshot_lacks_is_left_out() {
        let world = world();
        let pool = |slot| PoolNames::numbered(slot, "pool", &["server0", "server1", "server2"]);
        world.stats.list(vec![pool(0), pool(1)]);
        let health = health(world.publisher.current(), &world.stats);
        assert_eq!((health.len(), health[0].servers.len()), (1, 2));
    }
}
