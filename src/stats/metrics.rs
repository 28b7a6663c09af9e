//! The one table of metrics: name, description and where the value is counted.
//!
//! The stats JSON and the `-D` text are both made from it, so they cannot disagree. What is twemproxy's
//! comes first in each list, in its order and words (`nc_stats.h`); ours follows.

use super::{
    ControlPoolStats, ControlServerStats, Counter, ErrorKind, PoolStats, ServerStats, Stats,
};

pub use super::latency::{LATENCY, LatencyMetric};
pub use super::process::PROCESS;

/// A line of the table. `R` says how its value is read.
#[derive(Clone, Copy, Debug)]
pub struct Metric<R> {
    pub name: &'static str,
    pub description: &'static str,
    pub(super) read: R,
}

/// Who counts a value that exists per pool or per server: `W` is a worker's part, `C` the control
/// thread's.
#[derive(Clone, Copy, Debug)]
pub enum Source<W, C> {
    /// The value is the sum over all workers.
    Workers(fn(&W) -> &Counter),
    Control(fn(&C) -> &Counter),
}

pub type ProcessMetric = Metric<fn(&Stats) -> u64>;
pub type PoolMetric = Metric<Source<PoolStats, ControlPoolStats>>;
pub type ServerMetric = Metric<Source<ServerStats, ControlServerStats>>;

/// Values of one pool.
pub const POOL: &[PoolMetric] = &[
    workers("client_eof", "# eof on client connections", |pool| {
        &pool.client_eof
    }),
    workers("client_err", "# errors on client connections", |pool| {
        &pool.client_err
    }),
    workers(
        "client_connections",
        "# active client connections",
        |pool| &pool.client_connections,
    ),
    control(
        "server_ejects",
        "# times backend server was ejected",
        |pool| &pool.server_ejects,
    ),
    workers(
        "forward_error",
        "# times we encountered a forwarding error",
        |pool| &pool.forward_error,
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
    control(
        "sentinels_up",
        "# sentinels that are connected and subscribed to",
        |pool| &pool.sentinels_up,
    ),
    control(
        "sentinels_known",
        "# sentinels known, configured or learned from others",
        |pool| &pool.sentinels_known,
    ),
    workers(
        "commands_generic",
        "# requests of commands about keys of any type",
        |pool| &pool.commands[0],
    ),
    workers(
        "commands_string",
        "# requests of commands about strings",
        |pool| &pool.commands[1],
    ),
    workers(
        "commands_bitmap",
        "# requests of commands about bitmaps",
        |pool| &pool.commands[2],
    ),
    workers(
        "commands_hash",
        "# requests of commands about hashes",
        |pool| &pool.commands[3],
    ),
    workers(
        "commands_list",
        "# requests of commands about lists",
        |pool| &pool.commands[4],
    ),
    workers(
        "commands_set",
        "# requests of commands about sets",
        |pool| &pool.commands[5],
    ),
    workers(
        "commands_sortedset",
        "# requests of commands about sorted sets",
        |pool| &pool.commands[6],
    ),
    workers(
        "commands_hyperloglog",
        "# requests of commands about HyperLogLogs",
        |pool| &pool.commands[7],
    ),
    workers(
        "commands_geo",
        "# requests of commands about geospatial data",
        |pool| &pool.commands[8],
    ),
    workers(
        "commands_stream",
        "# requests of commands about streams",
        |pool| &pool.commands[9],
    ),
    workers(
        "commands_scripting",
        "# requests of commands about scripts and functions",
        |pool| &pool.commands[10],
    ),
    workers(
        "commands_connection",
        "# requests of commands about the client's own connection",
        |pool| &pool.commands[11],
    ),
    workers(
        "commands_server",
        "# requests of commands about servers, such as TIME",
        |pool| &pool.commands[12],
    ),
    workers(
        "commands_refused",
        "# requests of commands that are not offered",
        |pool| &pool.commands[13],
    ),
    workers(
        "commands_unknown",
        "# requests of commands that Redis does not know",
        |pool| &pool.commands[14],
    ),
    workers(
        "slow_requests",
        "# requests that took slow_request_time or longer",
        |pool| &pool.slow_requests,
    ),
    workers(
        "max_request_bytes_hit",
        "# clients closed for a request above max_request_bytes",
        |pool| &pool.max_request_bytes_hit,
    ),
    workers(
        "max_arguments_hit",
        "# clients closed for a request above max_arguments",
        |pool| &pool.max_arguments_hit,
    ),
    workers(
        "client_pending_limit_hit",
        "# times a client was paused at client_pending_limit",
        |pool| &pool.client_pending_limit_hit,
    ),
    workers(
        "client_output_limit_hit",
        "# clients closed at client_output_limit",
        |pool| &pool.client_output_limit_hit,
    ),
    workers(
        "max_memory_hit",
        "# clients closed or requests refused at --max-memory",
        |pool| &pool.max_memory_hit,
    ),
    control(
        "client_connections_hit",
        "# clients refused at client_connections",
        |pool| &pool.client_connections_hit,
    ),
    control(
        "open_files_hit",
        "# clients refused at the limit on open files",
        |pool| &pool.open_files_hit,
    ),
];

/// Values of one server of a pool.
pub const SERVER: &[ServerMetric] = &[
    workers("server_eof", "# eof on server connections", |server| {
        &server.server_eof
    }),
    workers("server_err", "# errors on server connections", |server| {
        &server.server_err
    }),
    workers(
        "server_timedout",
        "# timeouts on server connections",
        |server| &server.server_timedout,
    ),
    workers(
        "server_connections",
        "# active server connections",
        |server| &server.server_connections,
    ),
    control(
        "server_ejected_at",
        "timestamp when server was ejected in usec since epoch",
        |server| &server.server_ejected_at,
    ),
    workers("requests", "# requests", |server| &server.requests),
    workers("request_bytes", "total request bytes", |server| {
        &server.request_bytes
    }),
    workers("responses", "# responses", |server| &server.responses),
    workers("response_bytes", "total response bytes", |server| {
        &server.response_bytes
    }),
    workers("in_queue", "# requests in incoming queue", |server| {
        &server.in_queue
    }),
    workers(
        "in_queue_bytes",
        "current request bytes in incoming queue",
        |server| &server.in_queue_bytes,
    ),
    workers("out_queue", "# requests in outgoing queue", |server| {
        &server.out_queue
    }),
    workers(
        "out_queue_bytes",
        "current request bytes in outgoing queue",
        |server| &server.out_queue_bytes,
    ),
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
    workers(
        "held",
        "# requests that wait for a failover, also in in_queue",
        |server| &server.held,
    ),
    workers(
        "held_bytes",
        "current request bytes that wait for a failover",
        |server| &server.held_bytes,
    ),
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
        "slow_requests",
        "# replies that took slow_request_time or longer",
        |server| &server.slow_requests,
    ),
    workers(
        "failed",
        "# requests answered with an error by the proxy",
        |server| &server.failed,
    ),
    workers(
        "rejected",
        "# requests answered with an error and not queued, not in requests",
        |server| &server.rejected,
    ),
    workers(
        "errors_timeout",
        "# errors because nothing came in time",
        |server| &server.errors[ErrorKind::Timeout as usize],
    ),
    workers(
        "errors_connect",
        "# errors because there was no connection",
        |server| &server.errors[ErrorKind::Connect as usize],
    ),
    workers(
        "errors_lost",
        "# errors because the connection was lost",
        |server| &server.errors[ErrorKind::Lost as usize],
    ),
    workers(
        "errors_no_master",
        "# errors because the server had no address",
        |server| &server.errors[ErrorKind::NoMaster as usize],
    ),
    workers(
        "errors_limit",
        "# errors because too much was waiting",
        |server| &server.errors[ErrorKind::Limit as usize],
    ),
    workers(
        "hold_requests_hit",
        "# requests rejected at hold_requests",
        |server| &server.hold_requests_hit,
    ),
    workers(
        "hold_bytes_hit",
        "# requests rejected at hold_bytes",
        |server| &server.hold_bytes_hit,
    ),
    control(
        "ejected",
        "1 while the server is off the ring, else 0",
        |server| &server.ejected,
    ),
    control(
        "held_now",
        "1 while requests wait for an announced failover, else 0",
        |server| &server.held_now,
    ),
    control(
        "sentinel_managed",
        "1 if sentinels say where the server is, else 0",
        |server| &server.sentinel_managed,
    ),
];

const fn workers<W, C>(
    name: &'static str,
    description: &'static str,
    counter: fn(&W) -> &Counter,
) -> Metric<Source<W, C>> {
    Metric {
        name,
        description,
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
        read: Source::Control(counter),
    }
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
