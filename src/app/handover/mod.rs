//! Hand-over: a new process takes the listening sockets of the one that runs, without a moment in which
//! nobody listens.
//!
//! Both are started alike, with the same `--handover PATH`. Who starts asks at PATH first. If a process
//! answers, it passes on its listening sockets, each of which is used if the configuration names its
//! address, and goes on serving until the new process says that it is ready; then it stops to accept and
//! serves the clients it has (`ending.rs`). If the new process fails before, the old one has lost
//! nothing. The socket at PATH itself is passed on in the same way, for the next time.
//!
//! Only the sockets move. Clients stay where they are: half a request, or a reply that is under way,
//! cannot be moved. Binding a second socket with `SO_REUSEPORT` instead would be simpler, but the kernel
//! spreads connections over both, and closing the old one resets those that wait in its queue.
//!
//! `wire.rs` has the packets, `successor.rs` the part of the new process, `predecessor.rs` that of the
//! old one.

mod predecessor;
mod successor;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use socket2::Type;
use tokio::net::UnixStream;

pub use predecessor::{Port, Successor};
pub use successor::{Predecessor, Relieved};

use super::path::PathError;
use wire::WireError;

/// How long either side waits for an answer that needs no work.
const PATIENCE: Duration = Duration::from_secs(5);

/// Packets keep their borders, and none can be mistaken for a client's connection.
const KIND: Type = Type::SEQPACKET;

/// Owner only: who can connect can have the sockets.
const MODE: u32 = 0o600;

/// A listening socket that is passed on.
pub struct SharedSocket {
    pub socket: OwnedFd,
    /// Its path is the receiver's to remove.
    pub owns_path: bool,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: u32,
    /// 0 if it cannot be seen from here, as in another container.
    pid: i32,
}

impl Peer {
    fn of(connection: &UnixStream) -> io::Result<Peer> {
        let credentials = connection.peer_cred()?;
        Ok(Peer {
            uid: credentials.uid(),
            pid: credentials.pid().unwrap_or(0),
        })
    }

    fn is_one_of_us(self) -> bool {
        self.uid == geteuid().as_raw()
    }
}

/// Why there was no hand-over. All but [`Cause::Bind`] are about the other process.
#[derive(Debug, thiserror::Error)]
#[error("hand-over at '{}': {cause}", path.display())]
pub struct HandoverError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("connecting failed: {0}")]
    Connect(io::Error),
    #[error("the process there belongs to user {0}")]
    Stranger(u32),
    #[error("the process there does not answer; it may be busy with another hand-over")]
    Silent,
    #[error("{0}")]
    Wire(WireError),
    #[error("the process there answered out of turn")]
    OutOfTurn,
    #[error("it passed on a socket that cannot be used: {0}")]
    Socket(io::Error),
    #[error("this process took too long to start, the old one goes on")]
    Late,
    #[error("cannot listen: {0}")]
    Bind(PathError),
}

impl From<WireError> for Cause {
    fn from(error: WireError) -> Cause {
        match error {
            WireError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => Cause::Silent,
            other => Cause::Wire(other),
        }
    }
}

impl Cause {
    fn at(self, path: &Path) -> HandoverError {
        HandoverError {
            path: path.to_owned(),
            cause: self,
        }
    }
}
