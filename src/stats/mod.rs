//! What is counted, by whom, and in which unit. Reporting is `report.rs`'s.
//!
//! Every counter has one writing thread, so an increment is a plain load and store; the admin thread
//! reads at any moment. Names and meanings are twemproxy's where it has the counter (`nc_stats.h`).

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
    /// Clients closed because their unread replies reached `client_output_limit`, or for memory.
    pub output_limit_closed: Counter,
    /// Times a client was paused because it does not read or has too much unanswered.
    pub client_paused: Counter,
    pub servers: Vec<ServerStats>,
}

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
    pub servers: Vec<ControlServerStats>,
}

#[derive(Debug, Default)]
pub struct ControlServerStats {
    pub ejects: Counter,
    pub returns: Counter,
    /// Microseconds since the epoch of the last ejection, never cleared; 0 = never.
    pub server_ejected_at: Counter,
}

/// Everything a report needs.
#[derive(Debug, Clone)]
pub struct Stats {
    pub workers: Vec<Arc<WorkerStats>>,
    pub control: Arc<ControlStats>,
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
