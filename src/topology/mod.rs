//! The immutable, numbered snapshot pool -> server -> endpoint, and how it comes about.
//!
//! `route.rs` finds a key's server. `eject.rs` decides who leaves the ring and returns, `resolve.rs`
//! when a host name is looked up and which of its addresses serves, `learn.rs` whose commands are asked for
//! (all machines), `publish.rs` applies their [`Update`]s in order. `task.rs` is the only writer: it feeds the
//! machines, probes ejected servers (`task/probe.rs`), asks the resolver, asks servers for their commands
//! (`task/learn.rs`), takes other configurations over (`task/reload.rs`), and hands each new snapshot to the
//! workers. `task/recovery.rs` probes what fails and nobody asks for any more.
//!
//! ```text
//! workers --Event--> eject ---+
//!            |                +--Update--> publish --Arc<Topology>--> watch --> workers
//!            +-----> resolve -+
//! ```
//!
//! A configuration that is read later changes it as one more publication: `configure.rs` says what of a
//! server's state outlives that. Indices are slots, see `config/merge.rs`.
//!
//! `page.rs` shows it all as plain data, `health.rs` judges whether pools and servers can be used.
//!
//! A key's place is a matter of the configuration and of who is live; no address is ever hashed here.

pub mod configure;
pub mod eject;
pub mod health;
pub mod learn;
pub mod page;
pub mod publish;
pub mod resolve;
pub mod route;
pub mod sentinel;
pub mod task;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod page_tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::config::{Address, Config, PoolConfig, ServerConfig};
use crate::distribution::{Member, Ring};
use crate::protocol::redis::command::Learned;

pub use publish::Update;

/// What every worker holds a copy (an `Arc`) of.
#[derive(Clone, Debug)]
pub struct Topology {
    /// 1 at the start; grows by one with every publication.
    pub version: u64,
    /// Same slots as `Config::pools`. A pool that a publication did not change is the same
    /// `Arc` as before.
    pub pools: Vec<Arc<Pool>>,
}

#[derive(Clone, Debug)]
pub struct Pool {
    pub config: Arc<PoolConfig>,
    /// Same slots as `PoolConfig::servers`.
    pub servers: Vec<Server>,
    /// Over the servers that are configured and not ejected.
    pub(crate) ring: Ring,
    /// The one that is configured, if it is the only one.
    only: Option<u16>,
    /// The commands that servers told of, if the pool learns them.
    pub learned: Arc<Learned>,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub endpoint: Endpoint,
    pub ejected: bool,
    /// A failover was announced: requests wait for its end.
    pub held: bool,
    /// Set by the topology task while it counts failures of this server, so that workers report
    /// the next success ([`Event::Answered`]) only when somebody wants to know. Shared by all snapshots.
    pub suspect: Arc<AtomicBool>,
    /// Per protocol version what the log last said of this server's failing, 0 if it answers: workers
    /// find out each for itself, the log hears it once. Shared by all snapshots.
    pub told: Arc<[AtomicU64; 2]>,
}

/// Where a server is served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// The host name has no address yet.
    Unresolved(Arc<str>),
    /// Sentinel manages the server and has no master for it that may be used; why.
    NoMaster(Arc<str>),
}

/// One server of one pool, by their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId {
    pub pool: u16,
    pub server: u16,
}

/// What workers tell the topology task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A backend connection failed (connect, reset, time-out, bad reply); one event per connection.
    Failed { pool: u16, server: u16 },
    /// A suspect server gave a normal reply.
    Answered { pool: u16, server: u16 },
    /// A server that Sentinel manages says that it is no master (any more).
    NotMaster { pool: u16, server: u16 },
}

impl Topology {
    /// Version 1: every server live; names have no address yet.
    ///
    /// # Panics
    /// If a pool or the configuration has more than 65536 entries; `Config` is checked before.
    pub fn initial(config: &Config) -> Topology {
        let pools = config.pools.iter().map(|pool| Arc::new(Pool::new(pool)));
        Topology {
            version: 1,
            pools: pools.collect(),
        }
    }

    /// `None` for an id that is not of this configuration.
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        let pool = self.pools.get(usize::from(id.pool))?;
        pool.servers.get(usize::from(id.server))
    }
}

impl Pool {
    fn new(config: &Arc<PoolConfig>) -> Pool {
        let servers = config.servers.iter();
        let servers = servers.map(|server| Server::new(config, server));
        Pool::with(config, servers.collect())
    }

    /// `servers`: by slot.
    fn with(config: &Arc<PoolConfig>, servers: Vec<Server>) -> Pool {
        Pool {
            ring: live_ring(config, &servers),
            only: match config.live()[..] {
                [(only, _)] => Some(only),
                _ => None,
            },
            config: Arc::clone(config),
            servers,
            learned: Arc::default(),
        }
    }
}

impl Server {
    /// One of which nothing is known but what the configuration says.
    fn new(pool: &PoolConfig, server: &ServerConfig) -> Server {
        Server {
            endpoint: match pool.sentinel {
                None => Endpoint::of(&server.address),
                Some(_) => Endpoint::NoMaster("the sentinels have not been heard yet".into()),
            },
            ejected: false,
            // The sentinels are asked before the first request is sent.
            held: pool.sentinel.is_some(),
            suspect: Arc::default(),
            told: Arc::default(),
        }
    }
}

/// The ring of those `servers` that are configured and not ejected, in the order of the file.
pub(crate) fn live_ring(config: &PoolConfig, servers: &[Server]) -> Ring {
    let live = config.live().into_iter();
    let live = live.filter(|(slot, _)| !servers[usize::from(*slot)].ejected);
    let members: Vec<Member> = live
        .map(|(index, config)| Member {
            name: &config.name,
            weight: config.weight,
            index,
        })
        .collect();
    Ring::build(config.distribution, &members)
}

impl Endpoint {
    /// A literal address is at once what it says; a name has to be looked up.
    fn of(address: &Address) -> Endpoint {
        match address {
            Address::Unix(path) => Endpoint::Unix(path.clone()),
            Address::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => Endpoint::Tcp(SocketAddr::new(ip, *port)),
                Err(_) => Endpoint::Unresolved(host.as_str().into()),
            },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "{address}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
            Endpoint::Unresolved(host) => write!(f, "{host} (no address yet)"),
            Endpoint::NoMaster(why) => write!(f, "no master ({why})"),
        }
    }
}

impl Event {
    pub fn server_id(&self) -> ServerId {
        match *self {
            Event::Failed { pool, server }
            | Event::Answered { pool, server }
            | Event::NotMaster { pool, server } => ServerId { pool, server },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture;
    use super::*;

    #[test]
    fn literal_addresses_are_endpoints_at_once_and_names_are_not() {
        let config = fixture::config(vec![fixture::pool(&[
            "127.0.0.1:1",
            "::1:2",
            "redis.example:3",
            "/run/redis.sock",
        ])]);
        let topology = Topology::initial(&config);
        assert_eq!(topology.version, 1);
        let endpoints = topology.pools[0].servers.iter().map(|s| &s.endpoint);
        assert!(endpoints.eq([
            &Endpoint::Tcp("127.0.0.1:1".parse().unwrap()),
            &Endpoint::Tcp("[::1]:2".parse().unwrap()),
            &Endpoint::Unresolved("redis.example".into()),
            &Endpoint::Unix("/run/redis.sock".into()),
        ]));
        assert!(topology.pools[0].servers.iter().all(|s| !s.ejected));
    }

    #[test]
    fn ids_of_no_server_find_nothing() {
        let topology = Topology::initial(&fixture::config(vec![fixture::pool(&["127.0.0.1:1"])]));
        for (pool, server, known) in [(0, 0, true), (0, 1, false), (1, 0, false)] {
            let found = topology.server(ServerId { pool, server });
            assert_eq!(found.is_some(), known, "{pool} {server}");
        }
    }
}
