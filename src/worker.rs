//! One worker: an OS thread with its runtime, its clients, its backend connections and its copy of the
//! topology. Nothing on its hot path is shared with another thread.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::stats::WorkerStats;
use crate::topology::{Event, Topology};

/// What a worker is born with.
pub struct WorkerOptions {
    pub index: usize,
    pub topology: watch::Receiver<Arc<Topology>>,
    pub events: mpsc::UnboundedSender<Event>,
    pub stats: Arc<WorkerStats>,
    /// Bytes this worker may hold in buffers.
    pub memory_limit: usize,
}

/// An accepted socket, on its way to a worker. Non-blocking already.
pub struct NewClient {
    pub pool: u16,
    pub socket: ClientSocket,
}

pub enum ClientSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// The control thread's end of a running worker.
pub struct Worker {}

impl Worker {
    pub fn spawn(_options: WorkerOptions) -> io::Result<Worker> {
        Ok(Worker {})
    }

    /// Hands a client over; dropped (closed) if the worker is gone.
    pub fn assign(&self, _client: NewClient) {}

    /// Clients of `pool` that were assigned and are not closed yet.
    pub fn clients(&self, _pool: u16) -> usize {
        0
    }

    /// Clients take no new request, get the replies they are owed and are closed; then the thread ends.
    pub fn drain(&self) {}

    /// Resolves when the thread has ended.
    pub async fn stopped(self) {}
}
