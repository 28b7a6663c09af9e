//! The immutable, numbered snapshot pool -> server -> endpoint, and how it comes about.
//!
//! `route.rs` finds a key's server, `eject.rs` decides who leaves and returns (machine), `publish.rs`
//! applies updates in order, `task.rs` is the only writer: sources -> publish -> watch.

pub mod task;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::PoolConfig;
use crate::distribution::Ring;

/// What every worker holds a copy (an `Arc`) of.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Grows by one with every publication.
    pub version: u64,
    /// Same order and length as `Config::pools`.
    pub pools: Vec<Arc<Pool>>,
}

#[derive(Clone, Debug)]
pub struct Pool {
    pub config: Arc<PoolConfig>,
    /// Same order and length as `PoolConfig::servers`.
    pub servers: Vec<Server>,
    pub(crate) ring: Ring,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub endpoint: Endpoint,
    pub ejected: bool,
    /// Set by the topology task while it counts failures of this server, so that workers report
    /// the next success ([`Event::Answered`]) only when somebody wants to know.
    pub suspect: Arc<AtomicBool>,
}

/// Where a server is served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// The host name has no address yet.
    Unresolved(Arc<str>),
}

/// What workers tell the topology task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A backend connection failed (connect, reset, time-out, bad reply); one event per connection.
    Failed { pool: u16, server: u16 },
    /// A suspect server gave a normal reply.
    Answered { pool: u16, server: u16 },
}
