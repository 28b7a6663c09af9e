//! The new process's part: finds the old one, takes its sockets, and relieves it once everything is
//! ready. Blocks.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket};
use tokio::net::UnixStream;

use super::wire::{self, Packet, WireError};
use super::{Cause, HandoverError, KIND, PATIENCE, Peer};
use crate::app::passed::{Origin, PassedSocket};

/// The process that serves now. Dropped: it goes on serving.
pub struct Predecessor {
    connection: Socket,
    path: PathBuf,
    /// As it says itself; 0 before it has.
    pub pid: u32,
}

/// How the old process took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relieved {
    /// It accepts no more clients and serves those it has.
    Released,
    /// It ended in the meantime: its sockets are ours alone.
    Gone,
    /// It does not answer any more, and may still accept clients.
    Silent,
}

impl Predecessor {
    /// Who answers at `path`; `None` if nobody does. Needs a runtime around.
    ///
    /// # Errors
    /// If it is another user's process, or somebody may be there but cannot be reached.
    pub fn find(path: &Path) -> Result<Option<Predecessor>, HandoverError> {
        Predecessor::connect(path).map_err(|cause| cause.at(path))
    }

    fn connect(path: &Path) -> Result<Option<Predecessor>, Cause> {
        let connect = || -> io::Result<Socket> {
            let connection = Socket::new(Domain::UNIX, KIND, None)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.set_write_timeout(Some(PATIENCE))?;
            connection.connect(&SockAddr::unix(path)?)?;
            Ok(connection)
        };
        let connection = match connect() {
            Ok(connection) => connection,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                io::ErrorKind::WouldBlock => return Err(Cause::Silent),
                _ => return Err(Cause::Connect(error)),
            },
        };
        let peer = peer(&connection).map_err(Cause::Connect)?;
        if !peer.is_one_of_us() {
            return Err(Cause::Stranger(peer.uid));
        }
        Ok(Some(Predecessor {
            connection,
            path: path.to_owned(),
            pid: 0,
        }))
    }

    /// Its listening sockets, which both processes have from now on.
    ///
    /// # Errors
    /// If it does not answer, or not as it should.
    pub fn take(&mut self) -> Result<Vec<PassedSocket>, HandoverError> {
        self.ask().map_err(|cause| cause.at(&self.path))
    }

    fn ask(&mut self) -> Result<Vec<PassedSocket>, Cause> {
        self.send(&Packet::Take)?;
        let (packet, _) = wire::receive(&self.connection)?;
        let Packet::Offer {
            sockets: count,
            pid,
        } = packet
        else {
            return Err(Cause::OutOfTurn);
        };
        self.pid = pid;
        let mut sockets = Vec::new();
        while sockets.len() < count {
            let (Packet::Sockets(owned), descriptors) = wire::receive(&self.connection)? else {
                return Err(Cause::OutOfTurn);
            };
            if owned.is_empty() || sockets.len() + owned.len() > count {
                return Err(Cause::OutOfTurn);
            }
            for (owns_path, descriptor) in owned.into_iter().zip(descriptors) {
                let origin = Origin::Predecessor { owns_path };
                let socket = PassedSocket::new(descriptor.into(), origin);
                sockets.push(socket.map_err(Cause::Socket)?);
            }
        }
        Ok(sockets)
    }

    fn send(&self, packet: &Packet) -> Result<(), Cause> {
        wire::send(self.connection.as_fd(), packet, &[])
            .map_err(|error| Cause::from(WireError::Io(error)))
    }

    /// Says that this process is ready, and returns once the old one has stopped to accept.
    ///
    /// # Errors
    /// If the old one has given us up and goes on: then this process has to end.
    pub fn relieve(self) -> Result<Relieved, HandoverError> {
        // If that fails the connection is closed, and what was said before it, if anything, is read next.
        let said = self.send(&Packet::Ready);
        match wire::receive(&self.connection).map_err(Cause::from) {
            Ok((Packet::Released, _)) => Ok(Relieved::Released),
            Ok((Packet::Late, _)) => Err(Cause::Late.at(&self.path)),
            Ok(_) => Err(Cause::OutOfTurn.at(&self.path)),
            Err(Cause::Silent) if said.is_ok() => Ok(Relieved::Silent),
            Err(_) => Ok(Relieved::Gone),
        }
    }
}

/// rustix could say this too, but cannot hold the process id 0 of a process in another container.
fn peer(connection: &Socket) -> io::Result<Peer> {
    connection.set_nonblocking(true)?;
    let peer = UnixStream::from_std(connection.try_clone()?.into()).and_then(|c| Peer::of(&c));
    connection.set_nonblocking(false)?;
    peer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a successor that is told `packet`, or nothing before the end.
    fn told(packet: Option<Packet>) -> Result<Relieved, HandoverError> {
        let (old, new) = Socket::pair(Domain::UNIX, KIND, None).unwrap();
        if let Some(packet) = packet {
            wire::send(&old, &packet, &[]).unwrap();
        }
        drop(old);
        let predecessor = Predecessor {
            connection: new,
            path: PathBuf::from("p"),
            pid: 1,
        };
        predecessor.relieve()
    }

    #[test]
    fn a_late_successor_learns_it_though_the_connection_is_closed() {
        let error = told(Some(Packet::Late)).unwrap_err();
        assert!(error.to_string().contains("took too long"), "{error}");
    }

    #[test]
    fn a_release_is_heard_and_a_death_is_no_failure() {
        assert_eq!(told(Some(Packet::Released)).unwrap(), Relieved::Released);
        assert_eq!(told(None).unwrap(), Relieved::Gone);
    }

    #[test]
    fn nobody_is_found_where_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        assert!(Predecessor::find(&path).unwrap().is_none());
        std::fs::write(&path, "").unwrap();
        assert!(Predecessor::find(&path).unwrap().is_none());
    }
}
