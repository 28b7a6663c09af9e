//! From a listening socket to a worker: who may connect, and who serves them.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::listener::Incoming;
use crate::client::Peer;
use crate::config::PoolConfig;
use crate::stats::{ControlStats, Stats};
use crate::worker::{ClientSocket, NewClient, Worker};

/// How long to wait for a file to be closed or memory to be freed.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The words of Redis, which client libraries know.
const REFUSAL: &[u8] = b"-ERR max number of clients reached\r\n";

/// What all accept loops share.
pub struct Admission {
    pub workers: Vec<Worker>,
    pub stats: Stats,
    /// Clients of all pools together that open files suffice for.
    pub client_limit: Cell<u64>,
    /// How many pools there are, removed ones included.
    pools: Cell<u16>,
}

/// Takes the clients of one pool in, until dropped. Counts as listening from the call on, so that a loop
/// that follows another leaves no gap.
pub fn run(
    incoming: Rc<Incoming>,
    pool: u16,
    config: Arc<PoolConfig>,
    admission: Rc<Admission>,
) -> impl Future<Output = ()> {
    let listening = admission.count_listening(pool);
    async move {
        let _listening = listening;
        accept_all(&incoming, pool, &config, &admission).await;
    }
}

/// Never returns.
async fn accept_all(incoming: &Incoming, pool: u16, config: &PoolConfig, admission: &Admission) {
    let name = &config.name;
    loop {
        match incoming.accept().await {
            Ok((socket, peer)) => {
                if let Err(reason) = admission.admit(pool, config, socket, peer) {
                    tracing::warn!(pool = name, client = %peer, "client refused, {reason}");
                }
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(pool = name, "accepting a client failed: {error}");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Counts a socket on which clients can connect, as long as it lives.
pub struct Listening {
    pool: usize,
    stats: Arc<ControlStats>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stats.pools[self.pool].listening.sub(1);
    }
}

/// Did the connection fail that waited, rather than our taking it? (`accept(2)`, "Error handling".)
pub fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
    )
}

impl Admission {
    pub fn new(workers: Vec<Worker>, stats: Stats, client_limit: u64, pools: u16) -> Admission {
        Admission {
            workers,
            stats,
            client_limit: Cell::new(client_limit),
            pools: Cell::new(pools),
        }
    }

    /// There are so many pools from now on.
    pub fn grow(&self, pools: u16) {
        for worker in &self.workers {
            worker.grow(usize::from(pools));
        }
        self.pools.set(pools);
    }

    /// Hands `socket` to a worker, or refuses it and says why.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn admit(
        &self,
        pool: u16,
        config: &PoolConfig,
        socket: ClientSocket,
        peer: Peer,
    ) -> Result<(), String> {
        if let Err(reason) = self.check(pool, config) {
            refuse(socket);
            self.stats.control.pools[usize::from(pool)]
                .client_refused
                .add(1);
            return Err(reason);
        }
        let total = |worker: &Worker| (0..self.pools.get()).map(|pool| worker.clients(pool)).sum();
        let counts = self.workers.iter().map(|worker| Load {
            of_pool: worker.clients(pool),
            total: total(worker),
        });
        let worker = least_loaded(counts).expect("there is at least one worker");
        self.stats.control.total_connections.add(1);
        tracing::debug!(pool = config.name, worker, client = %peer, "client accepted");
        self.workers[worker].assign(NewClient {
            pool,
            socket,
            peer,
            proxied: config.proxy_protocol,
        });
        Ok(())
    }

    /// Clients can connect to the pool, as long as what is answered lives.
    pub fn count_listening(&self, pool: u16) -> Listening {
        let (pool, stats) = (usize::from(pool), Arc::clone(&self.stats.control));
        stats.pools[pool].listening.add(1);
        Listening { pool, stats }
    }

    /// Clients of all pools.
    pub fn clients(&self) -> usize {
        let clients = |pool| self.workers.iter().map(move |w| w.clients(pool));
        (0..self.pools.get()).flat_map(clients).sum()
    }

    fn check(&self, pool: u16, config: &PoolConfig) -> Result<(), String> {
        let stats = &self.stats.control.pools[usize::from(pool)];
        let clients = |pool| -> usize { self.workers.iter().map(|w| w.clients(pool)).sum() };
        if let Some(limit) = config.client_connections
            && clients(pool) as u64 >= u64::from(limit.get())
        {
            stats.client_connections_hit.add(1);
            return Err(format!("client_connections is {limit}"));
        }
        let limit = self.client_limit.get();
        if self.clients() as u64 >= limit {
            stats.open_files_hit.add(1);
            return Err(format!("open files suffice for {limit} clients"));
        }
        Ok(())
    }
}

/// Best effort: the socket's empty send buffer holds the line, or else the client is gone.
fn refuse(socket: ClientSocket) {
    let _sent = match socket {
        ClientSocket::Tcp(mut stream) => stream.write(REFUSAL),
        ClientSocket::Unix(mut stream) => stream.write(REFUSAL),
    };
}

/// Clients of one worker. Fewest of the pool counts first, so that few connections of a pool spread
/// evenly; fewest of all pools second, so that pools with one client each do not share a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    of_pool: usize,
    total: usize,
}

fn least_loaded(counts: impl Iterator<Item = Load>) -> Option<usize> {
    // The first of equals.
    counts
        .enumerate()
        .min_by_key(|&(_, load)| load)
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(loads: &[(usize, usize)]) -> Option<usize> {
        least_loaded(
            loads
                .iter()
                .map(|&(of_pool, total)| Load { of_pool, total }),
        )
    }

    #[test]
    fn the_worker_with_fewest_clients_of_the_pool_is_taken() {
        assert_eq!(pick(&[(1, 1), (0, 9), (2, 2)]), Some(1));
    }

    #[test]
    fn the_total_decides_between_equals_and_then_the_order() {
        assert_eq!(pick(&[(1, 5), (1, 4), (1, 4)]), Some(1));
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn four_clients_on_two_workers_are_two_each() {
        let mut counts = [0, 0];
        for _ in 0..4 {
            let index = least_loaded(counts.iter().map(|&n| Load {
                of_pool: n,
                total: n,
            }));
            counts[index.unwrap()] += 1;
        }
        assert_eq!(counts, [2, 2]);
    }
}
