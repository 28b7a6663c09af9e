//! The worker's time, and how long clients' requests took.
//!
//! Measured is every request that went to servers, exactly: from the clock reading behind the socket read
//! that completed the request to the one behind the socket read that completed the last reply it waited
//! for, its own or one before it in the pipeline. What the proxy answers alone takes no such time and is
//! left out; so is a request whose client has left, and one that waits as long as it says.
//! The clock is read once per socket read, so requests of
//! one read have one time: runs of equal times are counted at once.

use std::sync::Arc;

use crate::backend::UNTIMED;
use crate::stats::{PoolStats, WorkerStats};

/// A moment, counted from the worker's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds; wraps after 49 days.
    pub ms: u32,
    /// Microseconds, for how long requests take; wraps after 71 minutes, never 0.
    pub us: u32,
    /// Seconds; wraps after 136 years.
    pub s: u32,
}

impl Now {
    /// `us`: microseconds since the worker's start.
    pub fn new(us: u64) -> Now {
        Now {
            ms: (us / 1000) as u32,
            us: (us as u32).max(1),
            s: (us / 1_000_000) as u32,
        }
    }
}

/// Counts the requests that are over, for one turn of the worker after the other.
#[derive(Debug)]
pub(super) struct Timing {
    stats: Arc<WorkerStats>,
    /// Per pool, from which time in microseconds on a request is slow.
    slow_from: Vec<u32>,
    now: u32,
    /// Requests of this pool that began at `began` and are not counted yet.
    pool: u16,
    began: u32,
    requests: u64,
}

impl Timing {
    pub fn new(stats: Arc<WorkerStats>, slow_from: Vec<u32>) -> Timing {
        Timing {
            stats,
            slow_from,
            now: 1,
            pool: 0,
            began: UNTIMED,
            requests: 0,
        }
    }

    /// The pools have other configurations; between turns only.
    pub fn set_slow_from(&mut self, slow_from: Vec<u32>) {
        self.slow_from = slow_from;
    }

    /// What this worker counts of a pool.
    pub fn stats(&self, pool: u16) -> &PoolStats {
        &self.stats.pools[usize::from(pool)]
    }

    /// A turn begins, in which requests of `pool` end, unless [`Timing::switch`] says otherwise.
    pub fn begin(&mut self, now: u32, pool: u16) {
        self.flush();
        (self.now, self.pool) = (now, pool);
    }

    /// The requests that end next are those of `pool`.
    #[inline]
    pub fn switch(&mut self, pool: u16) {
        if self.pool != pool {
            self.flush();
            self.pool = pool;
        }
    }

    /// A request that was read at `began` is over.
    #[inline]
    pub fn end(&mut self, began: u32) {
        if self.began != began {
            self.flush();
            self.began = began;
        }
        self.requests += 1;
    }

    /// Counts what is not counted yet: to be called when a turn ends.
    pub fn flush(&mut self) {
        let requests = std::mem::take(&mut self.requests);
        if requests == 0 || self.began == UNTIMED {
            return;
        }
        let pool = usize::from(self.pool);
        let stats: &PoolStats = &self.stats.pools[pool];
        let us = self.now.wrapping_sub(self.began);
        stats.latency.record(us, requests);
        if us >= self.slow_from[pool] {
            stats.slow_requests.add(requests);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_wraps_and_is_never_zero() {
        assert_eq!(Now::new(0), Now { ms: 0, us: 1, s: 0 });
        assert_eq!(Now::new(1_234_567).ms, 1234);
        assert_eq!(
            Now::new(1 << 32),
            Now {
                ms: 4_294_967,
                us: 1,
                s: 4294
            }
        );
        assert_eq!(Now::new((1 << 32) + 9).us, 9);
    }

    #[test]
    fn runs_are_counted_where_they_belong_and_nothing_stays_behind() {
        let stats = Arc::new(WorkerStats::new(&[0, 0]));
        let mut timing = Timing::new(stats.clone(), vec![100, u32::MAX]);
        timing.begin(u32::MAX, 0);
        timing.end(u32::MAX - 10);
        timing.end(u32::MAX - 10);
        timing.end(UNTIMED);
        timing.end(u32::MAX - 100);
        timing.switch(1);
        timing.end(u32::MAX - 100);
        // The clock goes round.
        timing.begin(20, 1);
        timing.end(u32::MAX - 10);
        timing.flush();
        timing.flush();
        let counted = [0, 1].map(|pool| {
            let stats = &stats.pools[pool];
            let all = crate::stats::histogram::Snapshot::of([&stats.latency]);
            (all.count(), all.sum(), stats.slow_requests.get())
        });
        assert_eq!(counted, [(3, 120, 1), (2, 131, 0)]);
    }
}
