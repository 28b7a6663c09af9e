//! What is counted, by whom, and in which unit.
//!
//! `metrics.rs` is the one table of names and descriptions, `report.rs` turns it into the stats JSON
//! and the `-D` text. Nothing here listens or knows the time; that is the admin's.
//!
//! Every counter has one writing thread, so an increment is a plain load and store; the admin thread
//! reads at any moment. Names and meanings are twemproxy's where it has the counter (`nc_stats.h`).

pub mod metrics;
pub mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number with a single writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// For gauges.
    pub fn sub(&self, n: u64) {
        self.0
            .store(self.0.load(Relaxed).saturating_sub(n), Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One worker's counters; same shape as the configuration.
#[derive(Debug)]
pub struct WorkerStats {
    pub pools: Vec<PoolStats>,
    /// Bytes held in the buffers of all clients and backends of this worker (gauge).
    pub buffered_bytes: Counter,
}

#[derive(Debug, Default)]
pub struct PoolStats {
    pub client_eof: Counter,
    pub client_err: Counter,
    pub client_connections: Counter,
    pub forward_error: Counter,
    pub fragments: Counter,
    /// Requests read from clients, whatever became of them.
    pub client_requests: Counter,
    /// Clients closed for malformed input.
    pub protocol_errors: Counter,
    /// Clients closed because they did not begin with a PROXY protocol header and had to.
    pub proxy_protocol_errors: Counter,
    /// Clients closed because their unread replies reached `client_output_limit`, or for memory.
    pub output_limit_closed: Counter,
    /// Times a client was paused because it does not read or has too much unanswered.
    pub client_paused: Counter,
    pub servers: Vec<ServerStats>,
}

/// Each closed connection, also one that never came to be, adds to exactly one of `server_eof`,
/// `server_err` and `server_timedout`: with the open ones they make the connections ever begun.
#[derive(Debug, Default)]
pub struct ServerStats {
    pub server_eof: Counter,
    pub server_err: Counter,
    pub server_timedout: Counter,
    pub server_connections: Counter,
    pub requests: Counter,
    pub request_bytes: Counter,
    pub responses: Counter,
    pub response_bytes: Counter,
    pub in_queue: Counter,
    pub in_queue_bytes: Counter,
    pub out_queue: Counter,
    pub out_queue_bytes: Counter,
    /// Requests that wait for a failover, without a connection to the server (gauge); in `in_queue` too.
    pub held: Counter,
    pub held_bytes: Counter,
    /// Requests that had reached a server and go out once more.
    pub resent: Counter,
    /// Refusals that clients did not see, because the request was kept for the new master.
    pub bounced: Counter,
}

/// What the control thread (listeners, topology) counts.
#[derive(Debug)]
pub struct ControlStats {
    /// Clients accepted since the start.
    pub total_connections: Counter,
    pub topology_version: Counter,
    pub pools: Vec<ControlPoolStats>,
}

#[derive(Debug, Default)]
pub struct ControlPoolStats {
    pub server_ejects: Counter,
    pub server_returns: Counter,
    /// Connections refused because `client_connections` was reached.
    pub client_refused: Counter,
    /// Sentinels of the pool to which both links are up (gauge).
    pub sentinels_up: Counter,
    /// Sentinels of the pool, configured ones and those they told of (gauge).
    pub sentinels_known: Counter,
    pub servers: Vec<ControlServerStats>,
}

#[derive(Debug, Default)]
pub struct ControlServerStats {
    pub ejects: Counter,
    pub returns: Counter,
    /// Changes of the master's address; the first one at the start is none.
    pub switches: Counter,
    /// Times requests were held for an announced failover.
    pub holds: Counter,
    /// Microseconds since the epoch of the last ejection, never cleared; 0 = never.
    pub server_ejected_at: Counter,
}

/// What a pool and its servers are called in reports.
#[derive(Clone, Debug)]
pub struct PoolNames {
    pub name: String,
    /// In the configuration's order, unique.
    pub servers: Vec<String>,
}

/// Everything a report needs. `names`, `control` and each worker have the same shape.
#[derive(Debug, Clone)]
pub struct Stats {
    /// In the configuration's order.
    pub names: Arc<[PoolNames]>,
    pub workers: Vec<Arc<WorkerStats>>,
    pub control: Arc<ControlStats>,
}

impl Stats {
    /// All counters, at zero, of so many workers.
    pub fn new(names: Vec<PoolNames>, workers: usize) -> Stats {
        let servers: Vec<usize> = names.iter().map(|pool| pool.servers.len()).collect();
        Stats {
            names: names.into(),
            workers: std::iter::repeat_with(|| Arc::new(WorkerStats::new(&servers)))
                .take(workers)
                .collect(),
            control: Arc::new(ControlStats::new(&servers)),
        }
    }

    /// Requests that wait for a server's failover, and their bytes, over all workers.
    pub fn held(&self, pool: usize, server: usize) -> (u64, u64) {
        let parts = self.workers.iter().map(|w| &w.pools[pool].servers[server]);
        parts.fold((0, 0), |(requests, bytes), part| {
            (requests + part.held.get(), bytes + part.held_bytes.get())
        })
    }
}

impl WorkerStats {
    /// `servers[i]`: how many servers pool `i` has.
    pub fn new(servers: &[usize]) -> WorkerStats {
        let pools = servers.iter().map(|&n| PoolStats {
            servers: std::iter::repeat_with(ServerStats::default)
                .take(n)
                .collect(),
            ..PoolStats::default()
        });
        WorkerStats {
            pools: pools.collect(),
            buffered_bytes: Counter::default(),
        }
    }
}

impl ControlStats {
    /// `servers[i]`: how many servers pool `i` has.
    pub fn new(servers: &[usize]) -> ControlStats {
        let pools = servers.iter().map(|&n| ControlPoolStats {
            servers: std::iter::repeat_with(ControlServerStats::default)
                .take(n)
                .collect(),
            ..ControlPoolStats::default()
        });
        ControlStats {
            total_connections: Counter::default(),
            topology_version: Counter::default(),
            pools: pools.collect(),
        }
    }
}
