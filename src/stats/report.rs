//! The stats JSON and the `-D` text, in twemproxy's shape (`nc_stats.c`), made from the table in
//! [`metrics`](super::metrics).
//!
//! Existing agents tell a pool or server from a number by its being an object, and stop at the line's
//! end. So our own values are plain numbers after twemproxy's, before the objects, and the text is one
//! line. A pool or server that bears a metric's name comes after it, so a reader that keeps the last of
//! two equal keys still finds it.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::metrics::{LATENCY, Metric, POOL, PROCESS, SERVER};
use super::{PoolNames, ServerName, Stats};

/// Who reports, and when.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The host's name.
    pub source: &'a str,
    pub uptime: Duration,
    /// Since the Unix epoch.
    pub timestamp: Duration,
    /// Of every server.
    pub places: &'a [Place],
}

/// Where a server is now. Text, which has no place among a server's numbers: agents made for nutcracker
/// turn all of those into numbers. A list in the header is neither a number nor a pool to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub pool: String,
    pub server: String,
    /// Or why there is none.
    pub address: String,
    /// `sentinel` or `configuration`.
    pub role_source: &'static str,
}

/// All values as they are now: one line of JSON, no newline at its end.
///
/// Header with the servers' places, then an object per pool: its numbers, then an object per server. Spaces are where twemproxy
/// puts them, for scripts that cut the text without a parser.
pub fn json(stats: &Stats, origin: Origin<'_>) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        r#"{{"service":"nuthatch", "source":{}, "version":"{}", "uptime":{}, "timestamp":{}"#,
        quoted(origin.source),
        env!("CARGO_PKG_VERSION"),
        origin.uptime.as_secs(),
        origin.timestamp.as_secs(),
    );
    for metric in PROCESS {
        push_number(&mut out, ", ", metric.name, metric.value(stats));
    }
    let places = serde_json::to_string(origin.places).expect("all of it is text");
    let _ = write!(out, r#", "server_addresses":{places}"#);
    for (index, pool) in stats.names().iter().enumerate() {
        out.push_str(if index == 0 { ", " } else { "," });
        push_pool(&mut out, stats, pool);
    }
    out.push('}');
    out
}

/// The names and meanings of all values, for `-D`; ends with a newline. twemproxy's two lists, each with
/// ours at its end, then the header's values, which twemproxy does not list.
pub fn describe() -> String {
    let mut out = String::new();
    out.push_str("pool stats:\n");
    push_descriptions(&mut out, POOL);
    push_descriptions(&mut out, LATENCY);
    out.push_str("\nserver stats:\n");
    push_descriptions(&mut out, SERVER);
    push_descriptions(&mut out, LATENCY);
    out.push_str("\nprocess stats:\n");
    push_descriptions(&mut out, PROCESS);
    out
}

/// In twemproxy's columns; a name too long for them keeps its space.
fn push_descriptions<R>(out: &mut String, metrics: &[Metric<R>]) {
    for metric in metrics {
        let _ = writeln!(out, "  {:<19} \"{}\"", metric.name, metric.description);
    }
}

fn push_pool(out: &mut String, stats: &Stats, names: &PoolNames) {
    let pool = names.slot;
    let control = &stats.control.pools[pool];
    let _ = write!(out, "{}: {{", quoted(&names.name));
    let mut separator = "";
    for metric in POOL {
        let workers = stats.workers.iter().map(|worker| &worker.pools[pool]);
        push_number(out, separator, metric.name, metric.value(workers, control));
        separator = ", ";
    }
    push_latency(out, stats, pool, None);
    for (index, server) in names.servers.iter().enumerate() {
        out.push_str(if index == 0 { ", " } else { "," });
        push_server(out, stats, pool, server);
    }
    out.push('}');
}

fn push_server(out: &mut String, stats: &Stats, pool: usize, server: &ServerName) {
    let control = &stats.control.pools[pool].servers[server.slot];
    let _ = write!(out, "{}: {{", quoted(&server.name));
    let mut separator = "";
    for metric in SERVER {
        let workers = stats.workers.iter();
        let workers = workers.map(|worker| &worker.pools[pool].servers[server.slot]);
        push_number(out, separator, metric.name, metric.value(workers, control));
        separator = ", ";
    }
    push_latency(out, stats, pool, Some(server.slot));
    out.push('}');
}

/// Of a pool, or of one of its servers.
fn push_latency(out: &mut String, stats: &Stats, pool: usize, server: Option<usize>) {
    let latency = stats.latency(pool, server);
    for metric in LATENCY {
        push_number(out, ", ", metric.name, metric.value(&latency));
    }
}

fn push_number(out: &mut String, separator: &str, name: &str, value: u64) {
    let _ = write!(out, "{separator}\"{name}\":{value}");
}

/// As a JSON string. twemproxy writes names as they are, which makes a name with a quote or a backslash
/// unreadable.
fn quoted(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

#[cfg(test)]
mod tests;
