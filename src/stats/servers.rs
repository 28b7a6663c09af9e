//! The part of the table of metrics about each server.

use super::ErrorKind;
use super::metrics::{ServerMetric, called, control, gauge, time, workers};

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
        "resubscribed",
        "# times a client's subscriptions were made anew on another connection",
        |server| &server.resubscribed,
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
    gauge(control(
        "ejected",
        "1 while the server is off the ring, else 0",
        |server| &server.ejected,
    )),
    called(
        "holding",
        gauge(control(
            "held_now",
            "1 while requests wait for an announced failover, else 0",
            |server| &server.held_now,
        )),
    ),
    gauge(control(
        "sentinel_managed",
        "1 if sentinels say where the server is, else 0",
        |server| &server.sentinel_managed,
    )),
];
