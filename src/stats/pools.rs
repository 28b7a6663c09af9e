//! The part of the table of metrics about each pool.

use super::metrics::{PoolMetric, called, control, gauge, workers};

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
        "commands_array",
        "# requests of commands about arrays",
        |pool| &pool.commands[10],
    ),
    workers(
        "commands_vectorset",
        "# requests of commands about vector sets",
        |pool| &pool.commands[11],
    ),
    workers(
        "commands_module",
        "# requests of commands about modules' own data, such as JSON documents",
        |pool| &pool.commands[12],
    ),
    workers(
        "commands_scripting",
        "# requests of commands about scripts and functions",
        |pool| &pool.commands[13],
    ),
    workers(
        "commands_connection",
        "# requests of commands about the client's own connection",
        |pool| &pool.commands[14],
    ),
    workers(
        "commands_server",
        "# requests of commands about servers, such as TIME",
        |pool| &pool.commands[15],
    ),
    workers(
        "commands_learned",
        "# requests of commands that only servers told of, see learn_commands",
        |pool| &pool.commands[16],
    ),
    workers(
        "commands_refused",
        "# requests of commands that are not offered",
        |pool| &pool.commands[17],
    ),
    workers(
        "commands_unknown",
        "# requests of commands that Redis does not know",
        |pool| &pool.commands[18],
    ),
    workers(
        "requests_denied",
        "# requests refused by deny_commands or allow_commands",
        |pool| &pool.requests_denied,
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
