//! The one table of metrics: name, description, kind and where the value is counted. Its lines are in
//! `pools.rs`, `servers.rs`, `process.rs` and `latency.rs`.
//!
//! The stats JSON, the `-D` text and `/metrics` are all made from it, so they cannot disagree. What is
//! twemproxy's comes first in each list, in its order and words (`nc_stats.h`); ours follows.
//!
//! A line is a counter unless it stands in [`gauge`] or [`time`]. Its name for Prometheus is
//! made of `name` by `series.rs`; [`called`] gives another where that would not do.

use super::series::Kind;
use super::{ControlPoolStats, ControlServerStats, Counter, PoolStats, ServerStats, Stats};

pub use super::latency::{LATENCY, LatencyMetric};
pub use super::pools::POOL;
pub use super::process::PROCESS;
pub use super::servers::SERVER;

/// A line of the table. `R` says how its value is read.
#[derive(Clone, Copy, Debug)]
pub struct Metric<R> {
    pub name: &'static str,
    pub description: &'static str,
    pub kind: Kind,
    /// What stands for `name` in [`Metric::family`].
    pub(super) series: &'static str,
    pub(super) read: R,
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

pub(super) const fn workers<W, C>(
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

pub(super) const fn control<W, C>(
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
pub(super) const fn gauge<R: Copy>(metric: Metric<R>) -> Metric<R> {
    Metric {
        kind: Kind::Gauge,
        ..metric
    }
}

/// It is a time.
pub(super) const fn time<R: Copy>(metric: Metric<R>) -> Metric<R> {
    Metric {
        kind: Kind::Time,
        ..metric
    }
}

/// It has another name for Prometheus.
pub(super) const fn called<R: Copy>(series: &'static str, metric: Metric<R>) -> Metric<R> {
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
