//! The configuration as meant: checked, typed, in the order placement needs.
//!
//! `file.rs` has it as written (YAML with line numbers), `resolve.rs` turns one into the other and
//! collects every mistake, `error.rs` words them.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::distribution::Distribution;
use crate::hash::{Hash, HashTag};

#[derive(Clone, Debug)]
pub struct Config {
    /// In nutcracker's internal order: shorter names first, then bytewise.
    pub pools: Vec<Arc<PoolConfig>>,
}

#[derive(Clone, Debug)]
pub struct PoolConfig {
    pub name: String,
    pub listen: Listen,
    pub hash: Hash,
    pub hash_tag: Option<HashTag>,
    pub distribution: Distribution,
    /// From the moment a request is queued to its reply; `None` waits for ever.
    pub timeout: Option<Duration>,
    pub backlog: u32,
    /// Most clients of this pool at a time, over all workers; `None` is bounded by open files only.
    pub client_connections: Option<NonZeroU32>,
    /// SO_KEEPALIVE on client and on server sockets.
    pub tcpkeepalive: bool,
    pub reuseport: bool,
    pub redis_auth: Option<Secret>,
    pub redis_db: u32,
    pub preconnect: bool,
    pub auto_eject_hosts: bool,
    /// Per worker, server and protocol version (RESP2, RESP3).
    pub server_connections: NonZeroU32,
    pub server_retry_timeout: Duration,
    /// At least 1.
    pub server_failure_limit: u32,
    pub limits: Limits,
    /// In nutcracker's internal order: shorter names first, then bytewise. At least one.
    pub servers: Vec<ServerConfig>,
}

/// What one client of a pool may ask of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request, and of one argument.
    pub max_request_bytes: u64,
    /// Arguments of one request, the command's name included.
    pub max_arguments: u32,
    /// Unanswered requests of one client; above it we stop reading from that client.
    pub client_pending_limit: u32,
    /// Bytes of replies that wait for one client; above half of it we stop reading its requests, above
    /// it the client is closed.
    pub client_output_limit: u64,
}

#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Ring identity, unique in the pool: the given name, else derived from the address as written.
    /// Never derived from the endpoint of the moment.
    pub name: String,
    /// Was `name` written in the file?
    pub named: bool,
    pub address: Address,
    pub weight: u32,
    /// Position in the file's `servers:` list, from 0.
    pub position: usize,
}

/// A server's address as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host` is a name, an IPv4 or an IPv6 literal without brackets.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    /// `mode`: chmod after bind, `None` leaves the umask's.
    Unix {
        path: PathBuf,
        mode: Option<u32>,
    },
}

/// A password. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix { path, .. } => write!(f, "{}", path.display()),
        }
    }
}
