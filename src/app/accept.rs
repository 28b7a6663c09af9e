//! From a listening socket to a worker: who may connect, and who serves them.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::listener::Incoming;
use crate::config::PoolConfig;
use crate::stats::Stats;
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

/// Takes the clients of one pool in, until dropped.
pub async fn run(
    incoming: Rc<Incoming>,
    pool: u16,
    config: Arc<PoolConfig>,
    admission: Rc<Admission>,
) {
    let name = &config.name;
    let mut refusals = Throttle::default();
    let mut failures = Throttle::default();
    loop {
        match incoming.accept().await {
            Ok(socket) => {
                if let Err(reason) = admission.admit(pool, &config, socket)
                    && let Some(often) = refusals.log(Instant::now())
                {
                    tracing::warn!("pool '{name}': {reason}{often}");
                }
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if let Some(often) = failures.log(Instant::now()) {
                    tracing::error!("pool '{name}': accepting a client failed: {error}{often}");
                }
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Did the connection fail that waited, rather than our taking it? (`accept(2)`, "Error handling".)
fn is_the_clients(error: &io::Error) -> bool {
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
    fn admit(&self, pool: u16, config: &PoolConfig, socket: ClientSocket) -> Result<(), String> {
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
        tracing::debug!("pool '{}': client accepted, worker {worker}", config.name);
        self.workers[worker].assign(NewClient { pool, socket });
        Ok(())
    }

    fn check(&self, pool: u16, config: &PoolConfig) -> Result<(), String> {
        let clients = |pool| -> usize { self.workers.iter().map(|w| w.clients(pool)).sum() };
        if let Some(limit) = config.client_connections
            && clients(pool) as u64 >= u64::from(limit.get())
        {
            return Err(format!("client refused, client_connections is {limit}"));
        }
        let all: usize = (0..self.pools.get()).map(clients).sum();
        let limit = self.client_limit.get();
        if all as u64 >= limit {
            return Err(format!(
                "client refused, open files suffice for {limit} clients"
            ));
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

/// Keeps a line that repeats from filling the log.
#[derive(Default)]
struct Throttle {
    last: Option<Instant>,
    times: u64,
}

impl Throttle {
    const PERIOD: Duration = Duration::from_secs(5);

    /// What to add to the line if it is time for one: how often it was due since the last.
    fn log(&mut self, now: Instant) -> Option<String> {
        self.times += 1;
        if self.last.is_some_and(|last| now - last < Throttle::PERIOD) {
            return None;
        }
        self.last = Some(now);
        match std::mem::take(&mut self.times) {
            1 => Some(String::new()),
            times => Some(format!(" ({times} times since the last such line)")),
        }
    }
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

    #[test]
    fn a_line_that_repeats_is_held_back_and_counted() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.log(start), Some(String::new()));
        assert_eq!(throttle.log(start), None);
        assert_eq!(throttle.log(start + Throttle::PERIOD / 2), None);
        let line = throttle.log(start + Throttle::PERIOD).unwrap();
        assert!(line.contains("3 times"), "{line}");
    }
}
