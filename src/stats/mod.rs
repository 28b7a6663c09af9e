//! What is counted, by whom, and in which unit.
//!
//! `metrics.rs` says what a metric is, `pools.rs`, `servers.rs`, `process.rs` and `latency.rs` are the one
//! table of names and descriptions; `report.rs` turns it into the stats JSON and the `-D` text, `series.rs`
//! into names for Prometheus. `histogram.rs` counts how long requests took. Nothing here listens or knows
//! the time; that is the admin's and the workers'.
//!
//! Every counter has one writing thread, so an increment is a plain load and store; the admin thread
//! reads at any moment. Names and meanings are twemproxy's where it has the counter (`nc_stats.h`).
//!
//! Every pool, and every server within its pool, has a *slot* that stays its own as long as the process
//! lives. A configuration that is read later may add slots: the arrays grow in place, without a lock, under
//! the workers that count in them. A slot whose pool or server was removed keeps its counters (what is in
//! flight still counts there) and is no longer listed.

pub mod histogram;
pub mod latency;
pub mod metrics;
mod pools;
mod process;
pub mod report;
pub mod series;
mod servers;

use std::ops::Index;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use histogram::Histogram;

/// Kinds of commands that are counted apart, by the numbers that the command table gives them.
pub const COMMAND_CLASSES: usize = 19;

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

/// A growing array: an index is a slot, and what is in it never moves.
#[derive(Debug)]
pub struct Slots<T>(boxcar::Vec<T>);

/// One worker's counters. Aligned, with what is in it, so that two workers never write to one cache line, nor
/// to the two that processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    pub pools: Slots<PoolStats>,
    /// Bytes held in the buffers of all clients and backends of this worker (gauge).
    pub buffered_bytes: Counter,
    /// The version of the topology that the worker goes by (gauge).
    pub topology_version: Counter,
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PoolStats {
    pub client_eof: Counter,
    pub client_err: Counter,
    pub client_connections: Counter,
    pub forward_error: Counter,
    pub fragments: Counter,
    /// Requests read from clients, whatever became of them.
    pub client_requests: Counter,
    /// The same by class of command.
    pub commands: [Counter; COMMAND_CLASSES],
    /// Those that `deny_commands` or `allow_commands` refused.
    pub requests_denied: Counter,
    /// From the read of a request that went to servers to the reply in the client's buffer.
    pub latency: Histogram,
    /// Requests in `latency` that took `slow_request_time` or longer.
    pub slow_requests: Counter,
    /// Clients closed for malformed input.
    pub protocol_errors: Counter,
    /// Clients closed because they did not begin with a PROXY protocol header and had to.
    pub proxy_protocol_errors: Counter,
    /// Clients closed because their unread replies reached `client_output_limit`, or for memory.
    pub output_limit_closed: Counter,
    /// Times a client was paused because it does not read or has too much unanswered.
    pub client_paused: Counter,
    /// What each limit of the configuration did, by the limit's name.
    pub max_request_bytes_hit: Counter,
    pub max_arguments_hit: Counter,
    /// Those of `client_paused` that had too much unanswered.
    pub client_pending_limit_hit: Counter,
    /// Those of `output_limit_closed` that did not read.
    pub client_output_limit_hit: Counter,
    /// Clients closed and requests refused for memory.
    pub max_memory_hit: Counter,
    pub servers: Slots<ServerStats>,
}

/// Each closed connection, also one that never came to be, adds to exactly one of `server_eof`,
/// `server_err` and `server_timedout`: with the open ones they make the connections ever begun.
///
/// Each of `requests` is in `in_queue`, in `out_queue`, or ended as one of `responses` or of `failed`.
#[derive(Debug, Default)]
#[repr(align(128))]
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
    /// Times a client's subscriptions were made anew on another connection.
    pub resubscribed: Counter,
    /// Refusals that clients did not see, because the request was kept for the new master.
    pub bounced: Counter,
    /// Connections that failed before a first reply, by the server's fault.
    pub connect_failures: Counter,
    /// 1 from such a failure to the next reply or address, else 0.
    pub failing: Counter,
    /// From the read of a request to the read of the reply to it; as many as `responses`.
    pub latency: Histogram,
    /// Replies in `latency` that took `slow_request_time` or longer.
    pub slow_requests: Counter,
    /// Requests that were queued and then answered with an error by the proxy.
    pub failed: Counter,
    /// Requests that were answered with an error instead of being queued.
    pub rejected: Counter,
    /// `failed` and `rejected` by reason.
    pub errors: [Counter; ErrorKind::COUNT],
    /// Requests rejected because that many, or that many bytes, waited for a failover.
    pub hold_requests_hit: Counter,
    pub hold_bytes_hit: Counter,
}

/// Why the proxy answered for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No reply, or no connection, in time.
    Timeout,
    /// There was no connection to be had.
    Connect,
    /// The connection ended, or made no sense, before the reply.
    Lost,
    /// The server has no address now.
    NoMaster,
    /// A limit on what may wait was reached.
    Limit,
}

impl ErrorKind {
    pub const COUNT: usize = 5;
}

/// What the control thread (listeners, topology) counts.
#[derive(Debug, Default)]
pub struct ControlStats {
    /// Clients accepted since the start.
    pub total_connections: Counter,
    pub topology_version: Counter,
    /// Configurations that changed something, the first one included (gauge).
    pub config_generation: Counter,
    /// Configurations taken over since the start, also those that changed nothing.
    pub config_reloads: Counter,
    /// Configurations refused since the start.
    pub config_reload_failures: Counter,
    /// When the file was read that is in use, microseconds since the epoch.
    pub config_loaded_at: Counter,
    /// Bytes of memory the process has, as of the last question (gauge).
    pub resident_bytes: Counter,
    /// Bytes that buffers may take, over all workers (gauge).
    pub memory_limit_bytes: Counter,
    /// Files the process may have open, 0 without limit (gauge).
    pub open_files_limit: Counter,
    pub pools: Slots<ControlPoolStats>,
}

#[derive(Debug, Default)]
pub struct ControlPoolStats {
    pub server_ejects: Counter,
    pub server_returns: Counter,
    /// Connections refused because `client_connections` or the limit on open files was reached.
    pub client_refused: Counter,
    /// Those of `client_refused` for `client_connections`, and those for open files.
    pub client_connections_hit: Counter,
    pub open_files_hit: Counter,
    /// Sentinels of the pool to which both links are up (gauge).
    pub sentinels_up: Counter,
    /// Sentinels of the pool, configured ones and those they told of (gauge).
    pub sentinels_known: Counter,
    /// Sockets on which clients are accepted (gauge).
    pub listening: Counter,
    pub servers: Slots<ControlServerStats>,
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
    /// How many of the workers' `connect_failures` are disproved: a probe found the server well since.
    pub disproved: Counter,
    /// 1 while it is off the ring, else 0 (gauge).
    pub ejected: Counter,
    /// 1 while its requests wait for an announced failover, else 0 (gauge).
    pub held_now: Counter,
    /// 1 if its address comes from sentinels, else 0 (gauge).
    pub sentinel_managed: Counter,
}

/// What a pool and its servers are called in reports.
#[derive(Clone, Debug)]
pub struct PoolNames {
    pub slot: usize,
    pub name: String,
    /// In the configuration's order, unique.
    pub servers: Vec<ServerName>,
}

#[derive(Clone, Debug)]
pub struct ServerName {
    pub slot: usize,
    pub name: String,
}

/// Everything a report needs. `control` and each worker have every slot that `names` has.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Replaced on the control thread only.
    names: Arc<RwLock<Arc<[PoolNames]>>>,
    /// Likewise.
    kept: Arc<Mutex<latency::Kept>>,
    pub workers: Vec<Arc<WorkerStats>>,
    pub control: Arc<ControlStats>,
    /// Log lines that were dropped; the log counts them.
    pub dropped_lines: Arc<AtomicU64>,
}

impl Stats {
    /// All counters, at zero, of so many workers.
    pub fn new(names: Vec<PoolNames>, workers: usize) -> Stats {
        let stats = Stats {
            names: Arc::new(RwLock::new(Arc::default())),
            kept: Arc::default(),
            workers: std::iter::repeat_with(Arc::default).take(workers).collect(),
            control: Arc::default(),
            dropped_lines: Arc::default(),
        };
        stats.list(names);
        stats
    }

    /// The pools and servers that are configured now, in the configuration's order.
    pub fn names(&self) -> Arc<[PoolNames]> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lists these pools and servers from now on; slots that are new start at zero. To be called before
    /// anybody counts in a new slot.
    pub fn list(&self, names: Vec<PoolNames>) {
        for pool in &names {
            let servers = pool.servers.iter().map(|server| server.slot + 1);
            let servers = servers.max().unwrap_or(0);
            for worker in &self.workers {
                worker.pools.grow(pool.slot + 1);
                worker.pools[pool.slot].servers.grow(servers);
            }
            self.control.pools.grow(pool.slot + 1);
            self.control.pools[pool.slot].servers.grow(servers);
        }
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names.into();
    }

    /// Requests that wait for a server's failover, and their bytes, over all workers.
    pub fn held(&self, pool: usize, server: usize) -> (u64, u64) {
        let parts = self.workers.iter().map(|w| &w.pools[pool].servers[server]);
        parts.fold((0, 0), |(requests, bytes), part| {
            (requests + part.held.get(), bytes + part.held_bytes.get())
        })
    }
}

impl Stats {
    /// Connections to a server that failed before a first reply, over all workers.
    pub fn connect_failures(&self, pool: usize, server: usize) -> u64 {
        let parts = self.workers.iter().map(|w| &w.pools[pool].servers[server]);
        parts.map(|part| part.connect_failures.get()).sum()
    }

    /// Can a server not be reached, as far as anybody has tried? A worker that has not tried for long may
    /// know less than one that has a connection, and both less than a probe.
    pub fn is_failing(&self, pool: usize, server: usize) -> bool {
        let parts = || self.workers.iter().map(|w| &w.pools[pool].servers[server]);
        let control = &self.control.pools[pool].servers[server];
        parts().any(|part| part.failing.get() > 0)
            && !parts().any(|part| part.failing.get() == 0 && part.server_connections.get() > 0)
            && self.connect_failures(pool, server) > control.disproved.get()
    }
}

impl<T: Default> Slots<T> {
    /// Adds what is missing to `len` slots. Only the control thread makes an array longer.
    pub fn grow(&self, len: usize) {
        while self.0.count() < len {
            self.0.push(T::default());
        }
    }
}

impl<T> Slots<T> {
    /// Those of removed pools and servers too.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots(boxcar::Vec::new())
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, slot: usize) -> &T {
        &self.0[slot]
    }
}

impl WorkerStats {
    /// `servers[i]`: how many servers pool `i` has.
    pub fn new(servers: &[usize]) -> WorkerStats {
        let stats = WorkerStats::default();
        stats.pools.grow(servers.len());
        for (pool, &servers) in stats.pools.iter().zip(servers) {
            pool.servers.grow(servers);
        }
        stats
    }
}

impl PoolNames {
    /// As at the start, when slots and positions are the same.
    pub fn numbered(slot: usize, name: &str, servers: &[&str]) -> PoolNames {
        let servers = servers.iter().enumerate();
        PoolNames {
            slot,
            name: name.to_owned(),
            servers: servers
                .map(|(slot, name)| ServerName {
                    slot,
                    name: (*name).to_owned(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_workers_counters_share_a_cache_line() {
        assert_eq!(align_of::<WorkerStats>() % 128, 0);
        let workers = [WorkerStats::new(&[2]), WorkerStats::new(&[2])];
        for worker in &workers {
            let pool = &worker.pools[0];
            assert_eq!(std::ptr::from_ref(pool).addr() % 128, 0);
            assert_eq!(std::ptr::from_ref(&pool.servers[1]).addr() % 128, 0);
        }
    }
}
