//! How long servers took, and the requests that were slow.
//!
//! Fast requests leave nothing behind but a count. What a slow one was is read from the connection's sent
//! window, which holds every request until its reply has passed. Whoever logs them takes them with
//! [`Backends::take_slow`]; of many only some are offered, with how many were not.

use super::Call;
use super::connection::{Connection, InFlight};
use super::pool::Backends;
use crate::config::SlowRequests;
use crate::stats::ServerStats;

/// Slow requests offered per worker and second.
const PER_SECOND: u32 = 10;
/// Bytes of a slow request that are looked at for its command and key.
const LOOKED_AT: usize = 64 * 1024;

/// A reply that took long.
#[derive(Debug)]
pub struct SlowRequest {
    pub pool: u16,
    pub server: u16,
    /// The address that answered.
    pub endpoint: String,
    pub call: Call,
    /// How long it took, in microseconds.
    pub us: u32,
    /// The request, or its first 64 KB; for a part of a split request, that part.
    pub request: Vec<u8>,
    /// Slow requests that were not offered since the one before.
    pub dropped: u64,
}

/// Slow requests nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct SlowLog {
    found: Vec<SlowRequest>,
    /// The second of the worker's clock that `offered` is about.
    second: u32,
    offered: u32,
    dropped: u64,
}

impl SlowLog {
    /// May one more be offered? If not, it is counted. `now`: milliseconds.
    fn admit(&mut self, now: u32) -> bool {
        if self.second != now / 1000 {
            (self.second, self.offered) = (now / 1000, 0);
        }
        let admitted = self.offered < PER_SECOND;
        self.offered += u32::from(admitted);
        self.dropped += u64::from(!admitted);
        admitted
    }
}

/// Measures the replies of one read. Equal times in a row are counted at once.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    stats: &'a ServerStats,
    slow_from: u32,
    slow: &'a mut SlowLog,
    us: u32,
    replies: u64,
}

impl<'a> Meter<'a> {
    pub fn new(stats: &'a ServerStats, config: SlowRequests, slow: &'a mut SlowLog) -> Meter<'a> {
        Meter {
            stats,
            slow_from: config.from_us(),
            slow,
            us: 0,
            replies: 0,
        }
    }

    /// A reply took `us`; was that slow?
    #[inline]
    pub fn count(&mut self, us: u32) -> bool {
        if us != self.us {
            self.flush();
            self.us = us;
        }
        self.replies += 1;
        us >= self.slow_from
    }

    /// Counts what is not counted yet: to be called behind the last reply.
    pub fn flush(&mut self) {
        let replies = std::mem::take(&mut self.replies);
        if replies > 0 {
            self.stats.latency.record(self.us, replies);
        }
    }
}

impl Connection {
    /// `head`, whose request still begins the retained bytes but for the first `from`, was slow.
    #[cold]
    pub(super) fn note_slow(
        &self,
        head: InFlight,
        from: usize,
        us: u32,
        now: u32,
        meter: &mut Meter<'_>,
    ) {
        meter.stats.slow_requests.add(1);
        if !meter.slow.admit(now) {
            return;
        }
        let len = (head.end - self.consumed) as usize;
        meter.slow.found.push(SlowRequest {
            pool: self.pool,
            server: self.server,
            endpoint: self.endpoint.to_string(),
            call: head.call,
            us,
            request: self.out.copy(from, len.min(LOOKED_AT)),
            dropped: std::mem::take(&mut meter.slow.dropped),
        });
    }
}

impl Backends {
    /// Are there any for [`Backends::take_slow`]?
    #[inline]
    pub fn has_slow(&self) -> bool {
        !self.slow.found.is_empty()
    }

    /// The slow requests since the last call.
    pub fn take_slow(&mut self) -> Vec<SlowRequest> {
        std::mem::take(&mut self.slow.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_second_are_offered_and_the_rest_is_counted() {
        let mut log = SlowLog::default();
        let admitted = |log: &mut SlowLog, now| (0..25).filter(|_| log.admit(now)).count();
        assert_eq!((admitted(&mut log, 999), log.dropped), (10, 15));
        assert_eq!((admitted(&mut log, 1000), log.dropped), (10, 30));
        assert_eq!((admitted(&mut log, 1999), log.dropped), (0, 55));
    }

    #[test]
    fn runs_of_equal_times_are_counted_and_slow_ones_told() {
        let (stats, mut slow) = (ServerStats::default(), SlowLog::default());
        let config = SlowRequests {
            time: Some(std::time::Duration::from_millis(1)),
            ..SlowRequests::default()
        };
        let mut meter = Meter::new(&stats, config, &mut slow);
        let told = [5, 5, 1000, 999, 999].map(|us| meter.count(us));
        assert_eq!(told, [false, false, true, false, false]);
        meter.flush();
        meter.flush();
        let all = crate::stats::histogram::Snapshot::of([&stats.latency]);
        assert_eq!((all.count(), all.sum()), (5, 3008));
        let mut never = Meter::new(&stats, SlowRequests::default(), &mut slow);
        assert!(!never.count(u32::MAX - 1));
    }
}
