//! The part of the table of metrics about the process as a whole.

use std::sync::atomic::Ordering::Relaxed;

use super::metrics::{Metric, ProcessMetric, called, gauge, time};
use super::series::Kind;
use super::{Counter, PoolStats, Stats, WorkerStats};

/// Values of the whole process.
pub const PROCESS: &[ProcessMetric] = &[
    called(
        "connections",
        process(
            "total_connections",
            "# connections ever: clients, servers and listeners",
            total_connections,
        ),
    ),
    called(
        "open_connections",
        gauge(process(
            "curr_connections",
            "# open connections: clients, servers and listeners",
            current_connections,
        )),
    ),
    gauge(process("workers", "# worker threads", |stats| {
        stats.workers.len() as u64
    })),
    gauge(process(
        "topology_version",
        "# times the servers' addresses or the ring changed",
        |stats| stats.control.topology_version.get(),
    )),
    gauge(process(
        "config_generation",
        "# configurations that changed something, the first one included",
        |stats| stats.control.config_generation.get(),
    )),
    process(
        "config_reloads",
        "# times the configuration was read again and taken over",
        |stats| stats.control.config_reloads.get(),
    ),
    process(
        "config_reload_failures",
        "# times the configuration was read again and refused",
        |stats| stats.control.config_reload_failures.get(),
    ),
    called(
        "config_loaded",
        time(process(
            "config_loaded_at",
            "timestamp when the configuration in use was read in usec since epoch",
            |stats| stats.control.config_loaded_at.get(),
        )),
    ),
    gauge(process(
        "buffered_bytes",
        "current bytes in the buffers of clients and servers",
        |stats| sum(&stats.workers, |worker| &worker.buffered_bytes),
    )),
    gauge(process(
        "resident_bytes",
        "current bytes of memory the process has",
        |stats| stats.control.resident_bytes.get(),
    )),
    gauge(process(
        "memory_limit_bytes",
        "bytes that buffered_bytes may reach (--max-memory)",
        |stats| stats.control.memory_limit_bytes.get(),
    )),
    gauge(process(
        "open_files_limit",
        "# files and connections that may be open, 0 if there is no limit",
        |stats| stats.control.open_files_limit.get(),
    )),
    process(
        "log_lines_dropped",
        "# log lines left out because there were too many of their kind",
        |stats| stats.dropped_lines.load(Relaxed),
    ),
];

const fn process(
    name: &'static str,
    description: &'static str,
    read: fn(&Stats) -> u64,
) -> ProcessMetric {
    Metric {
        name,
        description,
        kind: Kind::Counter,
        series: name,
        read,
    }
}

fn sum(workers: &[std::sync::Arc<WorkerStats>], counter: fn(&WorkerStats) -> &Counter) -> u64 {
    workers.iter().map(|worker| counter(worker).get()).sum()
}

fn current_connections(stats: &Stats) -> u64 {
    // Every pool has one listening socket.
    let listeners = stats.names().len() as u64;
    listeners
        + pools(stats)
            .map(|pool| {
                let servers = pool.servers.iter().map(|s| s.server_connections.get());
                pool.client_connections.get() + servers.sum::<u64>()
            })
            .sum::<u64>()
}

fn total_connections(stats: &Stats) -> u64 {
    let servers = pools(stats).flat_map(|pool| pool.servers.iter());
    // Places of removed pools stay, so that this never falls with a pool.
    let listeners = stats.control.pools.iter().count() as u64;
    listeners
        + stats.control.total_connections.get()
        + servers
            .map(|server| {
                server.server_connections.get()
                    + server.server_eof.get()
                    + server.server_err.get()
                    + server.server_timedout.get()
            })
            .sum::<u64>()
}

/// Every pool of every worker.
fn pools(stats: &Stats) -> impl Iterator<Item = &PoolStats> {
    stats.workers.iter().flat_map(|worker| worker.pools.iter())
}
