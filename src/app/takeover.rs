//! What a start owes to the process before it: sockets that were passed on, and the moment in which that
//! process may stop to accept.

use std::io;
use std::path::Path;

use super::handover::{HandoverError, Port, Predecessor, Relieved};
use super::passed::{Origin, PassedSocket, PassedSockets};
use super::path::SocketPath;
use super::pidfile::PidFile;
use super::{StartError, activation};
use crate::log::{CHANGE, NOTICE};

/// Sockets for the asking, before anything is bound.
pub struct Offered {
    pub sockets: PassedSockets,
    predecessor: Option<Predecessor>,
}

impl Offered {
    /// Asks systemd and, if there is a path for hand-overs, the process there. Needs a runtime around,
    /// but no other thread.
    ///
    /// # Errors
    /// If there is a process, but it does not hand over.
    pub fn find(handover: Option<&Path>) -> Result<Offered, HandoverError> {
        let mut sockets = PassedSockets::default();
        sockets.add(activation::take());
        let mut predecessor = handover.map(Predecessor::find).transpose()?.flatten();
        if let Some(predecessor) = &mut predecessor {
            sockets.add(predecessor.take()?);
            let pid = predecessor.pid;
            tracing::info!(target: NOTICE, "taking over from process {pid}");
        }
        Ok(Offered {
            sockets,
            predecessor,
        })
    }

    /// Everything is bound: what is left is nobody's. Listens for the next hand-over.
    ///
    /// # Errors
    /// If the path for hand-overs cannot be had.
    pub fn settle(mut self, handover: Option<&Path>) -> Result<Takeover, HandoverError> {
        let port = handover
            .map(|path| Port::bind(path, &mut self.sockets))
            .transpose()?;
        let leftovers = self.sockets.into_rest();
        for socket in leftovers.iter().filter(|s| s.origin == Origin::Systemd) {
            tracing::warn!(
                target: CHANGE,
                "systemd passed the socket {socket}, which no pool's listen names: it is closed"
            );
        }
        Ok(Takeover {
            predecessor: self.predecessor,
            leftovers,
            port,
        })
    }
}

/// What is still to be done once everything is ready.
pub struct Takeover {
    predecessor: Option<Predecessor>,
    /// Open as long as a failed start could leave them to the predecessor alone.
    leftovers: Vec<PassedSocket>,
    port: Option<Port>,
}

impl Takeover {
    /// Relieves the process before this one, if there is one, and writes the pid file. From here on
    /// nothing may fail. Answers the socket for the next hand-over.
    ///
    /// # Errors
    /// If the pid file cannot be written, or the other process has given this one up.
    pub async fn finish(
        self,
        pid_file: Option<&Path>,
    ) -> Result<(Option<PidFile>, Option<Port>), StartError> {
        let pid_file = pid_file.map(PidFile::write).transpose()?;
        if let Some(predecessor) = self.predecessor {
            let pid = predecessor.pid;
            // Not on this thread, which has workers to tell of changes.
            let relieved = tokio::task::spawn_blocking(|| predecessor.relieve()).await;
            match relieved.map_err(|error| StartError::system(STEP)(io::Error::from(error)))? {
                Ok(Relieved::Released) => {
                    tracing::info!(target: NOTICE, "process {pid} has handed over");
                }
                Ok(Relieved::Gone) => {
                    tracing::warn!(target: NOTICE, "process {pid} ended during the hand-over, going on without it");
                }
                Ok(Relieved::Silent) => tracing::warn!(
                    target: NOTICE,
                    "process {pid} does not say that it has stopped to accept, going on beside it"
                ),
                Err(error) => {
                    if let Some(pid_file) = pid_file {
                        pid_file.give_back();
                    }
                    return Err(error.into());
                }
            }
        }
        for socket in self.leftovers {
            close(socket);
        }
        if let Some(port) = &self.port {
            port.claim_path();
        }
        Ok((pid_file, self.port))
    }
}

const STEP: &str = "taking over";

/// Closes a socket of the predecessor's that is not in the configuration any more.
fn close(socket: PassedSocket) {
    if socket.origin != Origin::Systemd {
        tracing::info!(target: CHANGE, "nothing listens on {socket} any more");
    }
    if socket.owns_path()
        && let Some(path) = socket.path()
    {
        SocketPath::inherited(path, None).claim();
    }
}
