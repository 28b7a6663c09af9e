//! How long to wait before the next attempt at something that failed. Pure: the caller brings the
//! random number and does the waiting.

use std::time::Duration;

/// Exponential backoff with jitter: each wait is drawn from the upper half of a window that doubles,
/// so that many who failed together do not come back together.
///
/// ```text
/// attempt   1             2              3        ...  n
/// wait      [min, 2 min]  [2 min, 4 min] [4, 8]   ...  [max / 2, max]
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// Upper end of the next wait's window; never above `max`.
    window: Duration,
}

impl Backoff {
    /// No wait is shorter than `min` nor longer than `max`; a `max` below `min` acts like `min`.
    pub fn new(min: Duration, max: Duration) -> Backoff {
        let max = max.max(min);
        Backoff {
            min,
            max,
            window: first_window(min, max),
        }
    }

    /// The wait before the next attempt. `random` is spread evenly over all of `u32`.
    pub fn next(&mut self, random: u32) -> Duration {
        let low = (self.window / 2).max(self.min);
        let span = self.window - low;
        self.window = self.window.saturating_mul(2).min(self.max);
        low + span.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The attempt succeeded: the next failure starts from `min` again.
    pub fn reset(&mut self) {
        self.window = first_window(self.min, self.max);
    }
}

fn first_window(min: Duration, max: Duration) -> Duration {
    min.saturating_mul(2).min(max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIN: Duration = Duration::from_millis(10);
    const MAX: Duration = Duration::from_millis(100);

    fn waits(backoff: &mut Backoff, random: u32) -> Vec<u128> {
        (0..6).map(|_| backoff.next(random).as_millis()).collect()
    }

    #[test]
    fn the_window_doubles_until_max() {
        assert_eq!(
            waits(&mut Backoff::new(MIN, MAX), 0),
            [10, 20, 40, 50, 50, 50]
        );
        assert_eq!(
            waits(&mut Backoff::new(MIN, MAX), u32::MAX),
            [20, 40, 80, 100, 100, 100]
        );
    }

    #[test]
    fn reset_starts_from_min_again() {
        let mut backoff = Backoff::new(MIN, MAX);
        let first = waits(&mut backoff, 7);
        backoff.reset();
        assert_eq!(waits(&mut backoff, 7), first);
    }

    #[test]
    fn equal_bounds_leave_no_choice() {
        assert_eq!(Backoff::new(MIN, MIN).next(12345), MIN);
        assert_eq!(Backoff::new(MAX, MIN).next(12345), MAX);
    }

    proptest! {
        #[test]
        fn every_wait_is_within_bounds(
            min in 0u64..5_000, max in 0u64..100_000, randoms in prop::collection::vec(any::<u32>(), 1..80),
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let mut backoff = Backoff::new(min, max);
            for random in randoms {
                let wait = backoff.next(random);
                prop_assert!(min <= wait && wait <= max.max(min), "{wait:?}");
            }
        }
    }
}
