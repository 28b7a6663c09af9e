//! One pool's listening socket: bound, and its path removed, by the rules of `listen:`.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use socket2::{Domain, SockRef, Socket, Type};

use super::accept;
use super::handover::SharedSocket;
use super::passed::PassedSocket;
use super::path::{self, PathError, SocketPath};
use crate::client::Peer;
use crate::config::{Listen, PoolConfig};
use crate::log::CHANGE;
use crate::worker::ClientSocket;

/// Listens until dropped; a unix socket's path goes with it, unless it is somebody else's.
#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket is closed, so that a successor never finds a path nobody answers on.
    path: SocketPath,
    socket: Bound,
    keepalive: bool,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug, thiserror::Error)]
#[error("pool '{pool}': cannot listen on {address}: {cause}")]
pub struct BindError {
    pool: String,
    address: String,
    cause: PathError,
}

impl BindError {
    fn new(pool: &PoolConfig, cause: PathError) -> BindError {
        BindError {
            pool: pool.name.clone(),
            address: pool.listen.to_string(),
            cause,
        }
    }
}

impl Listener {
    /// # Errors
    /// If the address is taken or cannot be had. A unix socket that nobody answers on is replaced,
    /// anything else at its path is left alone.
    pub fn bind(pool: &PoolConfig) -> Result<Listener, BindError> {
        let backlog = backlog(pool);
        let bound = match &pool.listen {
            Listen::Tcp(address) => bind_tcp(*address, backlog, pool.reuseport),
            Listen::Unix { path, mode } => path::bind(path, Type::STREAM, *mode, backlog)
                .map(|(path, socket)| (path, Bound::Unix(socket.into()))),
        };
        match bound {
            Ok((path, socket)) => Ok(Listener {
                path,
                socket,
                keepalive: pool.tcpkeepalive,
            }),
            Err(cause) => Err(BindError::new(pool, cause)),
        }
    }

    /// Goes on with a socket that was bound elsewhere, under the options of `pool`; its path stays with
    /// who made it until [`Incoming::claim_path`].
    ///
    /// # Errors
    /// If the system refuses an option.
    pub fn adopt(pool: &PoolConfig, passed: PassedSocket) -> Result<Listener, BindError> {
        let failed = |error: io::Error| BindError::new(pool, error.into());
        let socket = &passed.socket;
        socket.set_nonblocking(true).map_err(failed)?;
        // Changes the backlog of a socket that listens already.
        socket.listen(backlog(pool)).map_err(failed)?;
        let (path, mode) = match &pool.listen {
            Listen::Tcp(_) => (None, None),
            Listen::Unix { mode, .. } => (passed.path(), *mode),
        };
        if path.is_none() && socket.reuse_port().map_err(failed)? != pool.reuseport {
            let name = &pool.name;
            tracing::warn!(target: CHANGE, pool = name, "a changed reuseport waits for a start that binds anew");
        }
        let path = match path {
            Some(path) if passed.owns_path() => SocketPath::inherited(path, mode),
            _ => SocketPath::default(),
        };
        let socket = match &pool.listen {
            Listen::Tcp(_) => Bound::Tcp(passed.socket.into()),
            Listen::Unix { .. } => Bound::Unix(passed.socket.into()),
        };
        Ok(Listener {
            path,
            socket,
            keepalive: pool.tcpkeepalive,
        })
    }

    /// Goes on listening as part of the current runtime.
    ///
    /// # Errors
    /// If the system refuses to watch one more socket.
    pub fn register(self) -> io::Result<Incoming> {
        Ok(Incoming {
            path: self.path,
            socket: match self.socket {
                Bound::Tcp(listener) => {
                    Registered::Tcp(tokio::net::TcpListener::from_std(listener)?)
                }
                Bound::Unix(listener) => {
                    Registered::Unix(tokio::net::UnixListener::from_std(listener)?)
                }
            },
            keepalive: Cell::new(self.keepalive),
        })
    }
}

/// A [`Listener`] that clients are taken from.
#[derive(Debug)]
pub struct Incoming {
    /// As in [`Listener`].
    path: SocketPath,
    socket: Registered,
    keepalive: Cell<bool>,
}

#[derive(Debug)]
enum Registered {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Incoming {
    /// The next client, non-blocking, with the socket options of the pool, and unknown to this runtime.
    ///
    /// # Errors
    /// As `accept(2)`; `ConnectionAborted` also if a connection did not live long enough to be set up.
    pub async fn accept(&self) -> io::Result<(ClientSocket, Peer)> {
        let aborted = |error| io::Error::new(io::ErrorKind::ConnectionAborted, error);
        match &self.socket {
            Registered::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let stream = stream.into_std().map_err(aborted)?;
                set_up(&stream, self.keepalive.get()).map_err(aborted)?;
                Ok((ClientSocket::Tcp(stream), address.into()))
            }
            Registered::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let stream = stream.into_std().map_err(aborted)?;
                Ok((ClientSocket::Unix(stream), Peer::Unix))
            }
        }
    }

    /// Becomes as if it had been bound for `pool`, as far as a socket can that listens: SO_REUSEPORT stays,
    /// and so do the permissions of a unix socket of which the pool says nothing.
    ///
    /// # Errors
    /// As `listen(2)` and `chmod(2)`.
    pub fn set_up_as(&self, pool: &PoolConfig) -> io::Result<()> {
        self.keepalive.set(pool.tcpkeepalive);
        let backlog = backlog(pool);
        match &self.socket {
            Registered::Tcp(listener) => SockRef::from(listener).listen(backlog)?,
            Registered::Unix(listener) => SockRef::from(listener).listen(backlog)?,
        }
        match pool.listen {
            Listen::Unix {
                mode: Some(mode), ..
            } => self.path.set_mode(mode),
            _ => Ok(()),
        }
    }

    /// The socket, for a successor to go on with.
    ///
    /// # Errors
    /// If there is no file descriptor left.
    pub fn share(&self) -> io::Result<SharedSocket> {
        let socket: OwnedFd = match &self.socket {
            Registered::Tcp(listener) => listener.as_fd().try_clone_to_owned()?,
            Registered::Unix(listener) => listener.as_fd().try_clone_to_owned()?,
        };
        Ok(SharedSocket {
            socket,
            owns_path: self.path.is_ours(),
        })
    }

    /// The path of a socket that was passed on is this process's from now on.
    pub fn claim_path(&self) {
        self.path.claim();
    }

    /// The path is another process's from now on.
    pub fn leave_path(&self) {
        self.path.leave();
    }

    /// Stops listening: removes the path, gives `take` every client that has connected by now, at most
    /// `limit`, and closes. Only who connects during the last moment of this is refused.
    ///
    /// # Errors
    /// As [`Incoming::accept`].
    pub fn close(self, limit: usize, mut take: impl FnMut(ClientSocket, Peer)) -> io::Result<()> {
        let Incoming {
            path,
            socket,
            keepalive,
        } = self;
        drop(path);
        // Not through the runtime, which may not know yet that somebody waits.
        let socket = match socket {
            Registered::Tcp(listener) => Bound::Tcp(listener.into_std()?),
            Registered::Unix(listener) => Bound::Unix(listener.into_std()?),
        };
        for _ in 0..limit {
            let accepted = match &socket {
                Bound::Tcp(listener) => listener.accept().and_then(|(stream, address)| {
                    stream.set_nonblocking(true)?;
                    set_up(&stream, keepalive.get())?;
                    Ok((ClientSocket::Tcp(stream), address.into()))
                }),
                Bound::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                    stream.set_nonblocking(true)?;
                    Ok((ClientSocket::Unix(stream), Peer::Unix))
                }),
            };
            match accepted {
                Ok((client, peer)) => take(client, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if accept::is_the_clients(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The options of a client's socket.
fn set_up(stream: &TcpStream, keepalive: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if keepalive {
        SockRef::from(stream).set_keepalive(true)?;
    }
    Ok(())
}

fn backlog(pool: &PoolConfig) -> i32 {
    i32::try_from(pool.backlog).unwrap_or(i32::MAX)
}

fn bind_tcp(
    address: SocketAddr,
    backlog: i32,
    reuseport: bool,
) -> Result<(SocketPath, Bound), PathError> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if reuseport {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok((SocketPath::default(), Bound::Tcp(socket.into())))
}
