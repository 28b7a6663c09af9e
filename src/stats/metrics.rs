//! The one table of metrics: name, description, kind and where the value is counted.
//!
//! The stats JSON, the `-D` text and `/metrics` are all made from it, so they cannot disagree. What is
//! twemproxy's comes first in each list, in its order and words (`nc_stats.h`); ours follows.
//!
//! A line is a counter unless it stands in [`gauge`] or [`time`]. Its name for Prometheus is
//! made of `name` by `series.rs`; [`called`] gives another where that would not do.

use super::series::Kind;
use super::{
    ControlPoolStats, ControlServerStats, Counter, PoolStats, ServerStats, Stats, WorkerStats,
};

/// A line of the table. `R` says how its value is read.
#[derive(Clone, Copy, Debug)]
pub struct Metric<R> {
    pub name: &'static str,
    pub description: &'static str,
    pub kind: Kind,
    /// What stands for `name` in [`Metric::family`].
    pub(super) series: &'static str,
    read: R,
}

/// Who counts a value that exists per pool or per server: `W` is a worker's part, `C` the control
/// thread's.
#[derive(Debug)]
pub enum Source<W, C> {
    /// The value is the sum over all workers.
    Workers(fn(&W) -> &Counter),
    Control(fn(&C) -> &Counter),
}

// Derived, they would ask the same of `W` and `C`.
impl<W, C> Clone for Source<W, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, C> Copy for Source<W, C> {}

pub type ProcessMetric = Metric<fn(&Stats) -> u64>;
pub type PoolMetric = Metric<Source<PoolStats, ControlPoolStats>>;
pub type ServerMetric = Metric<Source<ServerStats, ControlServerStats>>;

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
];

/// Values of one pool.
pub const POOL: &[PoolMetric] = &[
    workers("client_eof", "# eof on client connections", |pool| {
        &pool.client_eof
    }),
    called(
        "client_errors",
        workers("client_err", "# errors on client connections", |pool| {
            &pool.client_err
        }),
    ),
    gauge(workers(
        "client_connections",
        "# active client connections",
        |pool| &pool.client_connections,
    )),
    control(
        "server_ejects",
        "# times backend server was ejected",
        |pool| &pool.server_ejects,
    ),
    called(
        "forward_errors",
        workers(
            "forward_error",
            "# times we encountered a forwarding error",
            |pool| &pool.forward_error,
        ),
    ),
    workers(
        "fragments",
        "# fragments created from a multi-vector request",
        |pool| &pool.fragments,
    ),
    control(
        "server_returns",
        "# times an ejected server was taken back",
        |pool| &pool.server_returns,
    ),
    workers("client_requests", "# requests read from clients", |pool| {
        &pool.client_requests
    }),
    control(
        "client_refused",
        "# clients refused because client_connections was reached",
        |pool| &pool.client_refused,
    ),
    workers(
        "client_paused",
        "# times a client was not read from until it took its replies",
        |pool| &pool.client_paused,
    ),
    workers(
        "output_limit_closed",
        "# clients closed because they left too many reply bytes unread",
        |pool| &pool.output_limit_closed,
    ),
    workers(
        "protocol_errors",
        "# clients closed for malformed input",
        |pool| &pool.protocol_errors,
    ),
    workers(
        "proxy_protocol_errors",
        "# clients closed for a missing or malformed PROXY protocol header",
        |pool| &pool.proxy_protocol_errors,
    ),
    gauge(control(
        "sentinels_up",
        "# sentinels that are connected and subscribed to",
        |pool| &pool.sentinels_up,
    )),
    gauge(control(
        "sentinels_known",
        "# sentinels known, configured or learned from others",
        |pool| &pool.sentinels_known,
    )),
    gauge(control(
        "listening",
        "sockets on which clients can connect, 1 or, while draining, 0",
        |pool| &pool.listening,
    )),
];

/// Values of one server of a pool.
pub const SERVER: &[ServerMetric] = &[
    called(
        "connection_eof",
        workers("server_eof", "# eof on server connections", |server| {
            &server.server_eof
        }),
    ),
    called(
        "connection_errors",
        workers("server_err", "# errors on server connections", |server| {
            &server.server_err
        }),
    ),
    called(
        "connection_timeouts",
        workers(
            "server_timedout",
            "# timeouts on server connections",
            |server| &server.server_timedout,
        ),
    ),
    gauge(workers(
        "server_connections",
        "# active server connections",
        |server| &server.server_connections,
    )),
    called(
        "ejected",
        time(control(
            "server_ejected_at",
            "timestamp when server was ejected in usec since epoch",
            |server| &server.server_ejected_at,
        )),
    ),
    workers("requests", "# requests", |server| &server.requests),
    workers("request_bytes", "total request bytes", |server| {
        &server.request_bytes
    }),
    workers("responses", "# responses", |server| &server.responses),
    workers("response_bytes", "total response bytes", |server| {
        &server.response_bytes
    }),
    called(
        "in_queue_requests",
        gauge(workers(
            "in_queue",
            "# requests in incoming queue",
            |server| &server.in_queue,
        )),
    ),
    gauge(workers(
        "in_queue_bytes",
        "current request bytes in incoming queue",
        |server| &server.in_queue_bytes,
    )),
    called(
        "out_queue_requests",
        gauge(workers(
            "out_queue",
            "# requests in outgoing queue",
            |server| &server.out_queue,
        )),
    ),
    gauge(workers(
        "out_queue_bytes",
        "current request bytes in outgoing queue",
        |server| &server.out_queue_bytes,
    )),
    control(
        "server_ejects",
        "# times this server was ejected",
        |server| &server.ejects,
    ),
    control(
        "server_returns",
        "# times this server was taken back",
        |server| &server.returns,
    ),
    control(
        "switches",
        "# times Sentinel moved this server to another address",
        |server| &server.switches,
    ),
    control(
        "holds",
        "# times requests were held for a failover",
        |server| &server.holds,
    ),
    called(
        "held_requests",
        gauge(workers(
            "held",
            "# requests that wait for a failover, also in in_queue",
            |server| &server.held,
        )),
    ),
    gauge(workers(
        "held_bytes",
        "current request bytes that wait for a failover",
        |server| &server.held_bytes,
    )),
    workers(
        "resent",
        "# requests sent once more after a refusal or a lost connection",
        |server| &server.resent,
    ),
    workers(
        "bounced",
        "# refusals kept from clients until the failover is over",
        |server| &server.bounced,
    ),
    workers(
        "connect_failures",
        "# server connections that failed before a first reply",
        |server| &server.connect_failures,
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

const fn workers<W, C>(
    name: &'static str,
    description: &'static str,
    counter: fn(&W) -> &Counter,
) -> Metric<Source<W, C>> {
    Metric {
        name,
        description,
        kind: Kind::Counter,
        series: name,
        read: Source::Workers(counter),
    }
}

const fn control<W, C>(
    name: &'static str,
    description: &'static str,
    counter: fn(&C) -> &Counter,
) -> Metric<Source<W, C>> {
    Metric {
        name,
        description,
        kind: Kind::Counter,
        series: name,
        read: Source::Control(counter),
    }
}

/// It goes up and down.
const fn gauge<R: Copy>(metric: Metric<R>) -> Metric<R> {
    Metric {
        kind: Kind::Gauge,
        ..metric
    }
}

/// It is a time.
const fn time<R: Copy>(metric: Metric<R>) -> Metric<R> {
    Metric {
        kind: Kind::Time,
        ..metric
    }
}

/// It has another name for Prometheus.
const fn called<R: Copy>(series: &'static str, metric: Metric<R>) -> Metric<R> {
    Metric { series, ..metric }
}

impl ProcessMetric {
    pub fn value(&self, stats: &Stats) -> u64 {
        (self.read)(stats)
    }
}

impl<W, C> Metric<Source<W, C>> {
    /// `workers`: the pool's or server's part of every worker; `control`: its control part.
    pub fn value<'a>(&self, workers: impl IntoIterator<Item = &'a W>, control: &C) -> u64
    where
        W: 'a,
    {
        match self.read {
            Source::Workers(counter) => workers.into_iter().map(|part| counter(part).get()).sum(),
            Source::Control(counter) => counter(control).get(),
        }
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
