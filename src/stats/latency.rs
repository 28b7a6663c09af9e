//! Latencies of pools and servers: since the start, and of about the last minute.
//!
//! Histograms only ever grow. Every [`PERIOD`] the control thread keeps a copy of each; what came since the
//! oldest of them is the last minute, up to the moment of the question.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::Stats;
use super::histogram::{Histogram, Snapshot};
use super::metrics::Metric;
use super::series::Kind;

/// Between two calls of [`Stats::keep_latencies`].
pub const PERIOD: Duration = Duration::from_secs(10);
/// Copies kept: the oldest is 50 to 60 seconds old.
const KEPT: usize = 6;

/// What is known about how long requests took.
#[derive(Debug, Default)]
pub struct Latency {
    /// Since the start.
    pub total: Snapshot,
    /// Of the last 50 to 60 seconds.
    pub recent: Snapshot,
}

pub type LatencyMetric = Metric<fn(&Latency) -> u64>;

/// Values that every pool and every server has.
pub const LATENCY: &[LatencyMetric] = &[
    latency(
        "latency_p50_us",
        "usec half of the last minute's requests took at most",
        |latency| latency.recent.quantile(0.5),
    ),
    latency(
        "latency_p99_us",
        "usec 99% of the last minute's requests took at most",
        |latency| latency.recent.quantile(0.99),
    ),
    latency(
        "latency_p999_us",
        "usec 99.9% of the last minute's requests took at most",
        |latency| latency.recent.quantile(0.999),
    ),
    latency(
        "latency_max_us",
        "usec the slowest of the last minute's requests took",
        |latency| latency.recent.max(),
    ),
    latency(
        "latency_count",
        "# requests whose latency was measured",
        |latency| latency.total.count(),
    ),
    latency(
        "latency_sum_us",
        "total usec of the requests whose latency was measured",
        |latency| latency.total.sum(),
    ),
];

const fn latency(
    name: &'static str,
    description: &'static str,
    read: fn(&Latency) -> u64,
) -> LatencyMetric {
    Metric {
        name,
        description,
        kind: Kind::Gauge,
        series: name,
        read,
    }
}

impl LatencyMetric {
    pub fn value(&self, latency: &Latency) -> u64 {
        (self.read)(latency)
    }
}

/// Whose latency: a pool's slot, and a server's in it.
type Whose = (usize, Option<usize>);

/// The copies of every histogram, oldest first. One that did not change since the last is shared with it.
pub(super) type Kept = BTreeMap<Whose, VecDeque<Arc<Snapshot>>>;

impl Stats {
    /// How long the pool's requests took since the start, over all workers.
    pub fn pool_latency(&self, pool: usize) -> Snapshot {
        self.snapshot((pool, None))
    }

    /// How long the server's requests took since the start, over all workers.
    pub fn server_latency(&self, pool: usize, server: usize) -> Snapshot {
        self.snapshot((pool, Some(server)))
    }

    /// A pool's latency (`server`: `None`) or a server's, with that of the last minute.
    pub fn latency(&self, pool: usize, server: Option<usize>) -> Latency {
        let total = self.snapshot((pool, server));
        let kept = self.kept();
        let oldest = kept.get(&(pool, server)).and_then(VecDeque::front);
        Latency {
            recent: oldest.map_or_else(|| total.clone(), |oldest| total.since(oldest)),
            total,
        }
    }

    /// To be called every [`PERIOD`]: lets the last minute go on.
    pub fn keep_latencies(&self) {
        let mut kept = self.kept();
        let mut before = std::mem::take(&mut *kept);
        for pool in self.names().iter() {
            let servers = pool.servers.iter().map(|server| Some(server.slot));
            for server in [None].into_iter().chain(servers) {
                let whose = (pool.slot, server);
                let now = self.snapshot(whose);
                // One that was not listed before comes with an empty past.
                let mut copies = before
                    .remove(&whose)
                    .unwrap_or_else(|| [Arc::default()].into());
                let unchanged = copies.back().filter(|last| ***last == now).map(Arc::clone);
                copies.push_back(unchanged.unwrap_or_else(|| Arc::new(now)));
                if copies.len() > KEPT {
                    copies.pop_front();
                }
                kept.insert(whose, copies);
            }
        }
    }

    fn snapshot(&self, (pool, server): Whose) -> Snapshot {
        let pools = self.workers.iter().map(|worker| &worker.pools[pool]);
        let histograms = pools.map(|pool| match server {
            None => &pool.latency,
            Some(server) => &pool.servers[server].latency,
        });
        Snapshot::of::<'_>(histograms.collect::<Vec<&Histogram>>())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::PoolNames;

    fn stats() -> Stats {
        Stats::new(vec![PoolNames::numbered(0, "p", &["a", "b"])], 2)
    }

    #[test]
    fn a_time_is_forgotten_after_a_minute_and_stays_in_the_total() {
        let stats = stats();
        stats.workers[1].pools[0].servers[1].latency.record(5000, 1);
        for period in 0..KEPT {
            let latency = stats.latency(0, Some(1));
            assert_eq!(latency.recent.count(), 1, "{period} periods later");
            stats.keep_latencies();
        }
        let latency = stats.latency(0, Some(1));
        assert_eq!((latency.recent.count(), latency.recent.max()), (0, 0));
        assert_eq!((latency.total.count(), latency.total.sum()), (1, 5000));
        assert_eq!(stats.latency(0, Some(0)).total.count(), 0);
        assert_eq!(stats.pool_latency(0).count(), 0);
    }

    #[test]
    fn a_time_counts_at_once() {
        let stats = stats();
        (0..3 * KEPT).for_each(|_| stats.keep_latencies());
        stats.workers[0].pools[0].latency.record(100, 99);
        stats.workers[1].pools[0].latency.record(9000, 1);
        let latency = stats.latency(0, None);
        let values = LATENCY.iter().map(|metric| metric.value(&latency));
        assert_eq!(
            values.collect::<Vec<_>>(),
            [101, 101, 8959, 9215, 100, 18_900]
        );
    }

    #[test]
    fn what_does_not_change_is_kept_once_and_what_is_gone_not_at_all() {
        let stats = stats();
        stats.workers[0].pools[0].latency.record(1, 1);
        (0..3 * KEPT).for_each(|_| stats.keep_latencies());
        let copies = stats.kept()[&(0, None)].clone();
        assert_eq!(copies.len(), KEPT);
        assert!(copies.iter().all(|copy| Arc::ptr_eq(copy, &copies[0])));
        stats.list(Vec::new());
        stats.keep_latencies();
        assert!(stats.kept().is_empty());
    }
}
