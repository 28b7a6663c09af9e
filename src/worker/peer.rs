//! Where a client comes from, for the log.

use std::fmt;
use std::net::SocketAddr;

use super::ClientSocket;

/// A client's address; a unix socket's client has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("local"),
        }
    }
}

impl ClientSocket {
    /// Also `local` if the client is gone already.
    pub fn peer(&self) -> Peer {
        Peer(match self {
            ClientSocket::Tcp(stream) => stream.peer_addr().ok(),
            ClientSocket::Unix(_) => None,
        })
    }
}
