//! The old process's part: answers at PATH, passes its sockets on, and learns when it is relieved.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process;
use std::time::Duration;

use socket2::Socket;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::wire::{self, BATCH, MAX_SOCKETS, Packet, WireError};
use super::{Cause, HandoverError, KIND, MODE, PATIENCE, Peer, SharedSocket};
use crate::app::passed::PassedSockets;
use crate::app::path::{self, SocketPath};
use crate::log::CHANGE;

/// How long a new process may take to start. It may have to wait for its sentinels and for names.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// After a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Processes that wait for their turn.
const BACKLOG: i32 = 8;

/// The socket at PATH. Dropped: closed, and the path is removed if it is ours.
pub struct Port {
    /// Dropped before the socket is closed.
    path: SocketPath,
    socket: Socket,
    /// Somebody is connected who may take over.
    busy: watch::Sender<bool>,
    offered: Cell<bool>,
}

impl Port {
    /// Goes on with the predecessor's socket, or binds one of our own.
    ///
    /// # Errors
    /// If the path is taken by something else or cannot be had.
    pub fn bind(path: &Path, passed: &mut PassedSockets) -> Result<Port, HandoverError> {
        let (path, socket) = match passed.take_unix(path, KIND) {
            Some(passed) => {
                let path = match passed.owns_path() {
                    true => SocketPath::inherited(path, Some(MODE)),
                    false => SocketPath::default(),
                };
                (path, passed.socket)
            }
            None => path::bind(path, KIND, Some(MODE), BACKLOG)
                .map_err(|error| Cause::Bind(error).at(path))?,
        };
        Ok(Port {
            path,
            socket,
            busy: watch::Sender::new(false),
            offered: Cell::new(false),
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

    /// Was this future of [`Port::successor`] dropped while a process had our sockets that was not ready
    /// yet? It goes on alone then.
    pub fn is_offered(&self) -> bool {
        self.offered.get()
    }

    /// Returns when nobody is about to take over, or at once: then a future of [`Port::successor`] can be
    /// dropped unnoticed.
    pub async fn idle(&self) {
        // Fails only without a sender, which is ours.
        let _ = self.busy.subscribe().wait_for(|busy| !busy).await;
    }

    /// Passes what `sockets` answers on to whoever asks, one after the other, until one of them is ready
    /// to take over.
    ///
    /// # Errors
    /// If the system refuses to watch the socket.
    pub async fn successor(
        &self,
        sockets: impl Fn() -> io::Result<Vec<SharedSocket>>,
    ) -> io::Result<Successor> {
        // The runtime does not mind that this is not of the type `SOCK_STREAM`.
        let listener = UnixListener::from_std(self.socket.try_clone()?.into())?;
        loop {
            let accepted = listener.accept().await;
            let successor = match accepted.and_then(|(stream, _)| Successor::new(stream)) {
                Ok(successor) => successor,
                Err(error) => {
                    tracing::error!("hand-over: accepting a connection failed: {error}");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            self.busy.send_replace(true);
            let pid = successor.pid();
            match self.pass_on(&successor, &sockets).await {
                Ok(()) => return Ok(successor),
                Err(error) => {
                    tracing::warn!(target: CHANGE, "hand-over to process {pid}: {error}; this process goes on");
                }
            }
            self.offered.set(false);
            self.busy.send_replace(false);
        }
    }

    /// Returns when the successor is ready.
    async fn pass_on(
        &self,
        successor: &Successor,
        sockets: impl Fn() -> io::Result<Vec<SharedSocket>>,
    ) -> Result<(), PassError> {
        if !successor.peer.is_one_of_us() {
            return Err(PassError::Stranger(successor.peer.uid));
        }
        if successor.receive(PATIENCE).await? != Packet::Take {
            return Err(PassError::OutOfTurn);
        }
        let mut shared = sockets()?;
        shared.push(SharedSocket {
            socket: self.socket.as_fd().try_clone_to_owned()?,
            owns_path: self.path.is_ours(),
        });
        if shared.len() > MAX_SOCKETS {
            return Err(PassError::TooMany(shared.len()));
        }
        let pid = successor.pid();
        tracing::info!(target: CHANGE, "hand-over: process {pid} takes {} sockets", shared.len());
        self.offered.set(true);
        let offer = Packet::Offer {
            sockets: shared.len(),
            pid: process::id(),
        };
        successor.send(&offer, &[]).await?;
        for batch in shared.chunks(BATCH) {
            let owned = batch.iter().map(|socket| socket.owns_path).collect();
            successor.send(&Packet::Sockets(owned), batch).await?;
        }
        drop(shared);
        match successor.receive(START_PATIENCE).await {
            Ok(Packet::Ready) => Ok(()),
            Ok(_) => Err(PassError::OutOfTurn),
            Err(PassError::Silent) => {
                successor.send(&Packet::Late, &[]).await?;
                Err(PassError::Late)
            }
            Err(PassError::Wire(WireError::Closed)) => Err(PassError::Failed),
            Err(other) => Err(other),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("it belongs to user {0}")]
    Stranger(u32),
    #[error("it did not answer in time")]
    Silent,
    #[error("it was not ready within {} s", START_PATIENCE.as_secs())]
    Late,
    #[error("it ended before it was ready")]
    Failed,
    #[error("it spoke out of turn")]
    OutOfTurn,
    #[error("{0} sockets are too many")]
    TooMany(usize),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The process that takes over.
pub struct Successor {
    connection: UnixStream,
    peer: Peer,
}

impl Successor {
    fn new(connection: UnixStream) -> io::Result<Successor> {
        Ok(Successor {
            peer: Peer::of(&connection)?,
            connection,
        })
    }

    pub fn pid(&self) -> i32 {
        self.peer.pid
    }

    /// Says that this process accepts no more clients.
    pub async fn release(self) {
        if let Err(error) = self.send(&Packet::Released, &[]).await {
            // It has our sockets and is ready: a lost word keeps it from nothing.
            tracing::warn!("hand-over to process {}: {error}", self.pid());
        }
    }

    async fn send(&self, packet: &Packet, sockets: &[SharedSocket]) -> Result<(), PassError> {
        let descriptors: Vec<_> = sockets.iter().map(|shared| shared.socket.as_fd()).collect();
        let sent = self.connection.async_io(Interest::WRITABLE, || {
            wire::send(&self.connection, packet, &descriptors)
        });
        match timeout(PATIENCE, sent).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(PassError::Silent),
        }
    }

    async fn receive(&self, patience: Duration) -> Result<Packet, PassError> {
        let received = self.connection.async_io(Interest::READABLE, || {
            match wire::receive(&self.connection) {
                Err(WireError::Io(error)) => Err(error),
                other => Ok(other),
            }
        });
        match timeout(patience, received).await {
            Ok(received) => Ok(received??.0),
            Err(_) => Err(PassError::Silent),
        }
    }
}
