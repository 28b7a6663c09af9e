//! One pool's listening socket: bound, and its path removed, by the rules of `listen:`.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::config::{Listen, PoolConfig};
use crate::worker::ClientSocket;

/// Listens until dropped; a unix socket's path goes with it.
#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket is closed, so that a successor never finds a path nobody answers on.
    path: Option<BoundPath>,
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
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the path exists and is not a socket")]
    NotASocket,
    #[error("another process listens there")]
    InUse,
    #[error("whether another process listens there cannot be found out: {0}")]
    Unknown(io::Error),
}

impl Listener {
    /// # Errors
    /// If the address is taken or cannot be had. A unix socket that nobody answers on is replaced,
    /// anything else at its path is left alone.
    pub fn bind(pool: &PoolConfig) -> Result<Listener, BindError> {
        let backlog = backlog(pool);
        let bound = match &pool.listen {
            Listen::Tcp(address) => bind_tcp(*address, backlog, pool.reuseport),
            Listen::Unix { path, mode } => bind_unix(path, *mode, backlog),
        };
        match bound {
            Ok((path, socket)) => Ok(Listener {
                path,
                socket,
                keepalive: pool.tcpkeepalive,
            }),
            Err(cause) => Err(BindError {
                pool: pool.name.clone(),
                address: pool.listen.to_string(),
                cause,
            }),
        }
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
    path: Option<BoundPath>,
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
    pub async fn accept(&self) -> io::Result<ClientSocket> {
        let aborted = |error| io::Error::new(io::ErrorKind::ConnectionAborted, error);
        match &self.socket {
            Registered::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                self.set_up(stream).map(ClientSocket::Tcp).map_err(aborted)
            }
            Registered::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.into_std().map(ClientSocket::Unix).map_err(aborted)
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
        if let (
            Some(bound),
            Listen::Unix {
                mode: Some(mode), ..
            },
        ) = (&self.path, &pool.listen)
        {
            fs::set_permissions(&bound.path, fs::Permissions::from_mode(*mode))?;
        }
        Ok(())
    }

    fn set_up(&self, stream: tokio::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nodelay(true)?;
        if self.keepalive.get() {
            SockRef::from(&stream).set_keepalive(true)?;
        }
        stream.into_std()
    }
}

fn backlog(pool: &PoolConfig) -> i32 {
    i32::try_from(pool.backlog).unwrap_or(i32::MAX)
}

fn bind_tcp(
    address: SocketAddr,
    backlog: i32,
    reuseport: bool,
) -> Result<(Option<BoundPath>, Bound), Cause> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if reuseport {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok((None, Bound::Tcp(socket.into())))
}

fn bind_unix(
    path: &Path,
    mode: Option<u32>,
    backlog: i32,
) -> Result<(Option<BoundPath>, Bound), Cause> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let path = BoundPath::new(path)?;
    if let Some(mode) = mode {
        // Before listen: nobody can connect under other permissions.
        fs::set_permissions(&path.path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    Ok((Some(path), Bound::Unix(socket.into())))
}

/// Removes what a process left at `path` that did not end cleanly.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), Cause> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(Cause::NotASocket),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // Non-blocking: a listener with a full backlog must not hold up the start.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Ok(()) => Err(Cause::InUse),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
            io::ErrorKind::WouldBlock => Err(Cause::InUse),
            _ => Err(Cause::Unknown(error)),
        },
    }
}

/// A socket's name in the file system.
#[derive(Debug)]
struct BoundPath {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl BoundPath {
    fn new(path: &Path) -> io::Result<BoundPath> {
        Ok(BoundPath {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for BoundPath {
    /// Leaves alone what a successor has put there.
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("removing socket '{}' failed: {error}", self.path.display());
        }
    }
}
