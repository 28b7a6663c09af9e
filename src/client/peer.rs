//! Who is at the other end of a client's connection, and what is logged of them under that name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Client, ClientId, Front};
use crate::config::PoolConfig;
use crate::protocol::redis::scan::ProtocolError;

/// A client's address: its socket's, or what a PROXY protocol header says it is. Small, as every client
/// has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    V4(Ipv4Addr, u16),
    V6(Ipv6Addr, u16),
    /// Somebody on this machine, or with a load balancer on its machine.
    Unix,
}

impl From<SocketAddr> for Peer {
    /// IPv4 over an IPv6 socket is IPv4.
    fn from(address: SocketAddr) -> Peer {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Peer::V4(ip, address.port()),
            IpAddr::V6(ip) => Peer::V6(ip, address.port()),
        }
    }
}

impl fmt::Display for Peer {
    /// As `host:port`, `[host]:port` or `unix`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::V4(ip, port) => write!(f, "{ip}:{port}"),
            Peer::V6(ip, port) => write!(f, "[{ip}]:{port}"),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

impl Front {
    /// The client is this one, says its PROXY protocol header.
    pub fn set_peer(&mut self, id: ClientId, peer: Peer) {
        let client = &mut self.clients.table[id as usize];
        let pool = &self.configs[usize::from(client.pool)].name;
        let sender = std::mem::replace(&mut client.session.peer, peer);
        tracing::debug!(pool, client = %peer, by = %sender, "client connects through a balancer");
    }

    /// The client is about to be closed; how it ended.
    pub fn log_closed(&self, id: ClientId, end: &dyn fmt::Display) {
        let client = &self.clients.table[id as usize];
        let (pool, peer) = (self.pool_name(client.pool), client.session.peer);
        tracing::debug!(pool, client = %peer, "client closed: {end}");
    }

    /// The client is to be closed: what it sent instead of a PROXY protocol header. `why` shows none of it.
    pub fn refuse_header(&self, id: ClientId, why: &dyn fmt::Display) {
        let client = &self.clients.table[id as usize];
        let pool = usize::from(client.pool);
        self.stats.pools[pool].proxy_protocol_errors.add(1);
        let (name, peer) = (&self.configs[pool].name, client.session.peer);
        tracing::warn!(pool = name, client = %peer, "client closed: PROXY protocol header: {why}");
    }
}

impl Client {
    pub(super) fn log_protocol_error(&self, config: &PoolConfig, error: &ProtocolError) {
        let (name, peer) = (&config.name, self.session.peer);
        tracing::info!(pool = name, client = %peer, "client closed: protocol error: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_an_address() {
        for (address, shown) in [
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Peer::from(address).to_string(), shown);
        }
        assert_eq!(Peer::Unix.to_string(), "unix");
    }

    #[test]
    fn is_small() {
        assert!(size_of::<Peer>() <= 20);
    }
}
