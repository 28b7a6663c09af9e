//! When a server may be connected to again after a failure.

use std::time::Duration;

use super::Cause;
use crate::backoff::Backoff;

/// First pause after a failed connect: short, a restarted server is back at once.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest pause: a server that is back should not be missed for longer.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// When a new connection may be tried.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) backoff: Backoff,
    /// No new connection before this time, requests fail with `failure` meanwhile.
    pub(super) retry_at: Option<u32>,
    /// What ended the last connection, unless a reply came since.
    pub(super) failure: Option<Cause>,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate {
            backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX),
            retry_at: None,
            failure: None,
        }
    }

    /// Is it too early for another attempt? No pause is longer than the longest, so that one from before
    /// the clock went round is over.
    pub(super) fn is_closed(&self, now: u32) -> bool {
        let longest = BACKOFF_MAX.as_millis() as u32;
        (self.retry_at).is_some_and(|at| (1..=longest).contains(&at.wrapping_sub(now)))
    }

    /// The next connection may be tried at once.
    pub(super) fn open(&mut self) {
        self.backoff.reset();
        self.retry_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_closed_for_its_pause_and_no_longer() {
        let mut gate = Gate::new();
        assert!(!gate.is_closed(0));
        for start in [0, u32::MAX - 100] {
            let at = start.wrapping_add(500);
            gate.retry_at = Some(at);
            for (now, closed) in [
                (start, true),
                (at.wrapping_sub(1), true),
                (at, false),
                (at.wrapping_add(1), false),
                // A pool that nobody used for 25 and 49 days.
                (at.wrapping_add(1 << 31), false),
                (at.wrapping_sub(501), false),
            ] {
                assert_eq!(gate.is_closed(now), closed, "{now} of {at}");
            }
        }
        gate.retry_at = Some(500);
        gate.open();
        assert!(!gate.is_closed(0));
    }
}
