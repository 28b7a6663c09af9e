//! `/metrics`: every line of the table in [`crate::stats::metrics`], what is known of pools and servers, and
//! the process, for Prometheus. Nothing is counted here, all is read when it is asked for.
//!
//! prometheus-client writes OpenMetrics. Who does not ask for that gets the classic text format (0.0.4),
//! which is the same but for the names of counters in comments and the types it has no word for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::State;
use super::latency::{self, Latency};
use super::process::Process;
use crate::stats::Stats;
use crate::stats::metrics::{POOL, PROCESS, SERVER};
use crate::stats::series::{Kind, Scope};
use crate::topology::health::{PoolHealth, ServerHealth};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Classic,
}

impl Format {
    /// What a header Accept asks for most; classic if it does not say, for people and for old tools.
    pub(super) fn wanted(accept: &str) -> Format {
        let weight = |wanted: &str| {
            let ranges = accept.split(',').map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let named = parts.next() == Some(wanted);
                let weight = parts.find_map(|part| part.strip_prefix("q="));
                let weight = weight.map_or(1.0, |q| q.parse().unwrap_or(0.0));
                if named { weight } else { 0.0 }
            });
            ranges.fold(0.0_f64, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") {
            Format::OpenMetrics
        } else {
            Format::Classic
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics as they are now.
pub(super) fn text(state: &State, format: Format) -> String {
    let pools = state.health();
    state.measure_memory();
    let readiness = &state.sources.readiness;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        stats: state.sources.stats.clone(),
        ready: readiness.verdict(&pools, false).ready,
        pools,
        started: state.started_unix,
        process: Process::read(),
    }));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing to a String");
    match format {
        Format::OpenMetrics => out,
        Format::Classic => classic(&out),
    }
}

/// All that is read for one answer.
#[derive(Debug)]
struct Scrape {
    stats: Stats,
    ready: bool,
    pools: Vec<PoolHealth>,
    started: f64,
    process: Option<Process>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let version = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("commit", super::COMMIT.unwrap_or("")),
        ];
        family(
            out,
            "nuthatch_build",
            "The program that runs.",
            MetricType::Info,
        )?
        .encode_info(&version)?;
        let help = "Start of the process since the Unix epoch.";
        gauge(out, "nuthatch_start_time_seconds", help, self.started)?;
        let help = "1 if this instance should be given clients, as /ready says, else 0.";
        gauge(out, "nuthatch_ready", help, f64::from(u8::from(self.ready)))?;
        for metric in PROCESS {
            let name = metric.family(Scope::Process);
            let mut family = family(out, &name, &metric.help(), metric_type(metric.kind))?;
            push(&mut family, metric.kind, metric.value(&self.stats))?;
        }
        self.encode_pools(out)?;
        self.encode_servers(out)?;
        self.process
            .iter()
            .try_for_each(|process| process.encode(out))
    }
}

impl Scrape {
    fn encode_pools(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for metric in POOL {
            let name = metric.family(Scope::Pool);
            let mut family = family(out, &name, &metric.help(), metric_type(metric.kind))?;
            for pool in &self.pools {
                let workers = self.stats.workers.iter();
                let workers = workers.map(|worker| &worker.pools[pool.slot]);
                let value = metric.value(workers, &self.stats.control.pools[pool.slot]);
                push(
                    &mut family.encode_family(&of_pool(pool))?,
                    metric.kind,
                    value,
                )?;
            }
        }
        let help = "1 if clients can connect to the pool and one of its servers is up, else 0.";
        let mut family = family(out, "nuthatch_pool_ready", help, MetricType::Gauge)?;
        for pool in &self.pools {
            let ready = u64::from(pool.is_ready());
            family.encode_family(&of_pool(pool))?.encode_gauge(&ready)?;
        }
        let help = "From the read of a request until its reply could be passed to the client.";
        let latencies = self.pools.iter().map(|pool| {
            let latency = self.stats.pool_latency(pool.slot);
            (of_pool(pool), Latency::from(&latency))
        });
        latency::encode(out, "nuthatch_pool_latency", help, latencies)
    }

    fn encode_servers(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for metric in SERVER {
            let name = metric.family(Scope::Server);
            let mut family = family(out, &name, &metric.help(), metric_type(metric.kind))?;
            for (pool, server) in self.servers() {
                let workers = self.stats.workers.iter();
                let workers = workers.map(|w| &w.pools[pool.slot].servers[server.slot]);
                let control = &self.stats.control.pools[pool.slot].servers[server.slot];
                let value = metric.value(workers, control);
                let labels = of_server(pool, server);
                push(&mut family.encode_family(&labels)?, metric.kind, value)?;
            }
        }
        for (name, help, read) in STATES {
            let mut family = family(out, name, help, MetricType::Gauge)?;
            for (pool, server) in self.servers() {
                let labels = of_server(pool, server);
                let value = u64::from(read(server));
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        let help = "Where requests for the server go now.";
        let mut family = family(out, "nuthatch_server", help, MetricType::Info)?;
        for (pool, server) in self.servers() {
            let [pool, name] = of_server(pool, server);
            let address = server.endpoint.to_string();
            let place = [
                pool,
                name,
                ("address", &address),
                ("role_source", server.role_source()),
            ];
            family.encode_info(&place)?;
        }
        let help = "From the read of a request at the client to the read of the server's reply.";
        let latencies = self.servers().map(|(pool, server)| {
            let latency = self.stats.server_latency(pool.slot, server.slot);
            (of_server(pool, server), Latency::from(&latency))
        });
        latency::encode(out, "nuthatch_server_latency", help, latencies)
    }

    fn servers(&self) -> impl Iterator<Item = (&PoolHealth, &ServerHealth)> {
        let pools = self.pools.iter();
        pools.flat_map(|pool| pool.servers.iter().map(move |server| (pool, server)))
    }
}

/// Name, help and value of the gauges about a server's state, 1 or 0.
type ServerState = (&'static str, &'static str, fn(&ServerHealth) -> bool);

const STATES: [ServerState; 1] = [(
    "nuthatch_server_up",
    "1 unless the server cannot be reached, is ejected or has no address, else 0.",
    ServerHealth::is_up,
)];

fn of_pool(pool: &PoolHealth) -> [(&str, &str); 1] {
    [("pool", &pool.name)]
}

fn of_server<'a>(pool: &'a PoolHealth, server: &'a ServerHealth) -> [(&'a str, &'a str); 2] {
    [("pool", &pool.name), ("server", &server.name)]
}

/// Begins a metric family. OpenMetrics wants its unit apart; the name has to end with it.
fn family<'e>(
    out: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    for (end, unit) in [("_seconds", &Unit::Seconds), ("_bytes", &Unit::Bytes)] {
        if let Some(stem) = name.strip_suffix(end) {
            return out.encode_descriptor(stem, help, Some(unit), kind);
        }
    }
    out.encode_descriptor(name, help, None, kind)
}

/// A family of one value.
pub(super) fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> fmt::Result {
    family(out, name, help, MetricType::Gauge)?.encode_gauge(&value)
}

/// A family of one value that never falls.
pub(super) fn counter(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> fmt::Result {
    family(out, name, help, MetricType::Counter)?.encode_counter(&value, NO_EXEMPLAR)
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::Time => MetricType::Gauge,
    }
}

/// A value of the table.
fn push(sample: &mut MetricEncoder<'_>, kind: Kind, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => sample.encode_counter(&value, NO_EXEMPLAR),
        Kind::Gauge => sample.encode_gauge(&value),
        Kind::Time => sample.encode_gauge(&(value as f64 / 1e6)),
    }
}

/// The classic text format: a counter is described by the name of its samples, with `_total`, as an info
/// is with `_info` and as a gauge; units and the end are not marked.
fn classic(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + openmetrics.len() / 8);
    let mut help = "";
    for line in openmetrics.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.trim_end().split_once(' ').unwrap_or((rest, ""));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let help = help.strip_prefix(name).unwrap_or("\n");
            out.extend(["# HELP ", name, suffix, help]);
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for_most() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                          version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "text/plain;q=0.5, application/openmetrics-text; q=0.6",
                Format::OpenMetrics,
            ),
            (
                "text/plain, application/openmetrics-text; q=0.6",
                Format::Classic,
            ),
            ("application/openmetrics-text;q=0", Format::Classic),
            ("application/openmetrics-text;q=x", Format::Classic),
            ("application/openmetrics-texts", Format::Classic),
            ("text/html,*/*;q=0.1", Format::Classic),
            ("", Format::Classic),
            (";;,,q=1", Format::Classic),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_classic_format_describes_samples_by_their_own_names() {
        let open = "# HELP a_b_seconds Time of b.\n# TYPE a_b_seconds counter\n\
                    # UNIT a_b_seconds seconds\na_b_seconds_total{c=\"# d\"} 1\n\
                    # HELP i Info.\n# TYPE i info\ni_info{v=\"1\"} 1\n\
                    # HELP g A gauge.\n# TYPE g gauge\ng 7\n\
                    # HELP h Times.\n# TYPE h histogram\nh_sum 0.0\n# EOF\n";
        let expected = "# HELP a_b_seconds_total Time of b.\n# TYPE a_b_seconds_total counter\n\
                        a_b_seconds_total{c=\"# d\"} 1\n\
                        # HELP i_info Info.\n# TYPE i_info gauge\ni_info{v=\"1\"} 1\n\
                        # HELP g A gauge.\n# TYPE g gauge\ng 7\n\
                        # HELP h Times.\n# TYPE h histogram\nh_sum 0.0\n";
        assert_eq!(classic(open), expected);
    }
}
