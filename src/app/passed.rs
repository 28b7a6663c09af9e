//! Listening sockets that were bound by somebody else: what they are bound to, and who gets which.
//!
//! Where they come from is the business of `activation.rs` (systemd) and `handover` (the process before
//! this one); here they are only told apart by their addresses.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use socket2::{Socket, Type};

use crate::config::Listen;

/// A listening socket with its address.
#[derive(Debug)]
pub struct PassedSocket {
    pub socket: Socket,
    address: Address,
    pub origin: Origin,
}

/// Who bound a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Systemd,
    /// The process before this one. `owns_path`: the path of a unix socket becomes this process's to
    /// remove.
    Predecessor {
        owns_path: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp {
        address: SocketAddr,
        /// An IPv6 socket that takes IPv4 clients too.
        dual_stack: bool,
    },
    Unix {
        path: PathBuf,
        kind: Type,
    },
}

impl fmt::Display for PassedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { address, .. } => write!(f, "{address}"),
            Address::Unix { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

impl PassedSocket {
    /// # Errors
    /// If `socket` does not listen, or has no address that a configuration could name.
    pub fn new(socket: Socket, origin: Origin) -> io::Result<PassedSocket> {
        if !socket.is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it does not listen",
            ));
        }
        let bound = socket.local_addr()?;
        let kind = socket.r#type()?;
        let address = match (bound.as_socket(), bound.as_pathname()) {
            (Some(address), _) if kind == Type::STREAM => Address::Tcp {
                dual_stack: address.is_ipv6() && !socket.only_v6()?,
                address,
            },
            (_, Some(path)) => Address::Unix {
                path: path.to_owned(),
                kind,
            },
            _ => {
                let what = "its address is neither of TCP nor a path";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
        };
        Ok(PassedSocket {
            socket,
            address,
            origin,
        })
    }

    /// Will this process have to remove its path?
    pub fn owns_path(&self) -> bool {
        self.origin == Origin::Predecessor { owns_path: true }
    }

    /// The path, of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::Tcp { .. } => None,
            Address::Unix { path, .. } => Some(path),
        }
    }
}

/// Sockets nobody has taken yet. Earlier ones come first.
#[derive(Debug, Default)]
pub struct PassedSockets {
    sockets: Vec<PassedSocket>,
    taken: Vec<Address>,
}

impl PassedSockets {
    pub fn add(&mut self, sockets: impl IntoIterator<Item = PassedSocket>) {
        self.sockets.extend(sockets);
    }

    /// The socket for a pool's `listen`.
    pub fn take(&mut self, listen: &Listen) -> Option<PassedSocket> {
        match listen {
            Listen::Tcp(address) => self.take_tcp(*address),
            Listen::Unix { path, .. } => self.take_unix(path, Type::STREAM),
        }
    }

    /// `[::]:port` does for `0.0.0.0:port` if it takes IPv4 clients: systemd binds a bare port so.
    pub fn take_tcp(&mut self, wanted: SocketAddr) -> Option<PassedSocket> {
        let place = |address: SocketAddr| (address.ip(), address.port());
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, wanted.port()));
        let any_v4 = wanted.ip() == Ipv4Addr::UNSPECIFIED;
        self.take_if(|address| {
            matches!(address, Address::Tcp { address, .. } if place(*address) == place(wanted))
        })
        .or_else(|| {
            self.take_if(|found| {
                matches!(found, Address::Tcp { address, dual_stack: true }
                    if any_v4 && place(*address) == place(any))
            })
        })
    }

    pub fn take_unix(&mut self, wanted: &Path, wanted_kind: Type) -> Option<PassedSocket> {
        self.take_if(|address| {
            matches!(address, Address::Unix { path, kind }
                if *kind == wanted_kind && is_same_path(path, wanted))
        })
    }

    fn take_if(&mut self, is_it: impl Fn(&Address) -> bool) -> Option<PassedSocket> {
        let mut sockets = self.sockets.iter();
        let index = sockets.position(|socket| is_it(&socket.address))?;
        let socket = self.sockets.remove(index);
        self.taken.push(socket.address.clone());
        Some(socket)
    }

    /// Those left over. A second one for an address that is taken is not worth a word: systemd and the
    /// process before this one may both have passed it.
    pub fn into_rest(self) -> Vec<PassedSocket> {
        let PassedSockets { mut sockets, taken } = self;
        sockets.retain(|socket| !taken.contains(&socket.address));
        sockets
    }
}

/// Also through symbolic links, such as `/var/run` for `/run`.
fn is_same_path(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one)
            .is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn passed(socket: impl Into<Socket>) -> PassedSocket {
        PassedSocket::new(socket.into(), Origin::Systemd).unwrap()
    }

    fn tcp(address: &str) -> (SocketAddr, PassedSocket) {
        let listener = TcpListener::bind(address).unwrap();
        (listener.local_addr().unwrap(), passed(listener))
    }

    #[test]
    fn a_socket_is_found_by_its_address_and_only_once() {
        let mut sockets = PassedSockets::default();
        let (first, socket) = tcp("127.0.0.1:0");
        let (second, other) = tcp("127.0.0.1:0");
        sockets.add([socket, other]);
        let found = sockets.take(&Listen::Tcp(second)).unwrap();
        assert_eq!(found.to_string(), second.to_string());
        assert!(sockets.take(&Listen::Tcp(second)).is_none());
        let rest = sockets.into_rest();
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].to_string(), first.to_string());
    }

    #[test]
    fn the_same_socket_from_two_sides_is_taken_once_and_leaves_nothing() {
        let mut sockets = PassedSockets::default();
        let (address, socket) = tcp("127.0.0.1:0");
        let again = passed(socket.socket.try_clone().unwrap());
        sockets.add([socket, again]);
        assert!(sockets.take(&Listen::Tcp(address)).is_some());
        assert!(sockets.into_rest().is_empty());
    }

    #[test]
    fn a_wildcard_of_both_families_does_for_that_of_one() {
        let mut sockets = PassedSockets::default();
        let (bound, socket) = tcp("[::]:0");
        sockets.add([socket]);
        let port = bound.port();
        assert!(sockets.take_tcp(([127, 0, 0, 1], port).into()).is_none());
        assert!(sockets.take_tcp(([0, 0, 0, 0], port).into()).is_some());
    }

    #[test]
    fn a_path_is_found_through_links_and_its_kind_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut sockets = PassedSockets::default();
        sockets.add([passed(UnixListener::bind(real.join("a")).unwrap())]);
        assert!(sockets.take_unix(&real.join("b"), Type::STREAM).is_none());
        assert!(
            sockets
                .take_unix(&link.join("a"), Type::SEQPACKET)
                .is_none()
        );
        assert!(sockets.take_unix(&link.join("a"), Type::STREAM).is_some());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (address, _listening) = tcp("127.0.0.1:0");
        let connected = std::net::TcpStream::connect(address).unwrap();
        let error = PassedSocket::new(connected.into(), Origin::Systemd).unwrap_err();
        assert_eq!(error.to_string(), "it does not listen");
    }
}
