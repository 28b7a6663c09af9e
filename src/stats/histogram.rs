//! How long requests took: counts on a scale that is fine for short times and coarse for long ones.
//!
//! Sixteen steps per doubling, so a step is at most 1/16 of its times wide and its middle at most 1/32
//! off; below 32 us a step is one microsecond. The scale ends at 134 s, what took longer counts there. As
//! everywhere here one thread writes, with plain loads and stores, and any thread reads while it does:
//! published histograms are either locked, or atomic with a locked instruction per value.

use super::Counter;

const STEP_BITS: u32 = 4;
/// Per doubling.
const STEPS: usize = 1 << STEP_BITS;
/// Times have fewer bits than this; longer ones count in the last step.
const TIME_BITS: u32 = 27;
const BUCKETS: usize = (TIME_BITS - STEP_BITS + 1) as usize * STEPS;

/// Times in microseconds. 3 KB, whatever was counted.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum: Counter::default(),
        }
    }
}

/// The step of a time.
#[inline]
fn bucket(us: u32) -> usize {
    let us = us.min((1 << TIME_BITS) - 1);
    let doubling = (us | STEPS as u32).ilog2() - STEP_BITS;
    doubling as usize * STEPS + (us >> doubling) as usize
}

/// The least time of a step; that of the step behind the last is the scale's end.
fn least(bucket: usize) -> u64 {
    match (bucket / STEPS).checked_sub(1) {
        None => bucket as u64,
        Some(doubling) => ((STEPS + bucket % STEPS) as u64) << doubling,
    }
}

impl Histogram {
    /// Counts `times` requests that took so many microseconds each.
    #[inline]
    pub fn record(&self, us: u32, times: u64) {
        self.buckets[bucket(us)].add(times);
        self.sum.add(u64::from(us) * times);
    }
}

/// The content of one or several histograms at a moment, or what came to it between two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Steps that are not empty, in ascending order, and their counts.
    steps: Vec<(u16, u64)>,
    sum: u64,
}

impl Snapshot {
    /// All of `parts` together. Values that are counted meanwhile may be missing, or be missing in
    /// [`Snapshot::sum`] only.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a Histogram>) -> Snapshot {
        let (mut counts, mut sum) = ([0; BUCKETS], 0u64);
        for part in parts {
            sum = sum.wrapping_add(part.sum.get());
            for (count, counter) in counts.iter_mut().zip(&part.buckets) {
                *count += counter.get();
            }
        }
        let steps = (0u16..).zip(counts).filter(|(_, count)| *count > 0);
        Snapshot {
            steps: steps.collect(),
            sum,
        }
    }

    /// What came since `earlier`, a snapshot of the same histograms.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let mut before = earlier.steps.iter().peekable();
        let steps = self.steps.iter().map(|&(step, count)| {
            let known = before.next_if(|(other, _)| *other == step);
            (step, count - known.map_or(0, |(_, count)| *count))
        });
        Snapshot {
            steps: steps.filter(|(_, count)| *count > 0).collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    pub fn count(&self) -> u64 {
        self.steps.iter().map(|(_, count)| count).sum()
    }

    /// Of all times, exact, in microseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The time that `share` (0 to 1) of the requests did not exceed, in microseconds, to within 1/32; 0
    /// if there were none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = self.steps.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        reached.map_or(0, |(step, _)| {
            let (first, end) = (least(usize::from(*step)), least(usize::from(*step) + 1));
            first.midpoint(end - 1)
        })
    }

    /// The longest time in microseconds, rounded up by 1/16 at most; 0 if there was none.
    pub fn max(&self) -> u64 {
        let last = self.steps.last();
        last.map_or(0, |(step, _)| least(usize::from(*step) + 1) - 1)
    }

    /// How many took less than `us` microseconds. Exact if a step begins there, as at all powers of two;
    /// else the step that `us` lies in is left out.
    pub fn below(&self, us: u64) -> u64 {
        let whole = (self.steps.iter()).take_while(|(step, _)| least(usize::from(*step) + 1) <= us);
        whole.map(|(_, count)| count).sum()
    }

    /// The steps that are not empty: the time in microseconds that all in it stay below, and how many
    /// stay below that in all.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.steps.iter().scan(0, |seen, (step, count)| {
            *seen += count;
            Some((least(usize::from(*step) + 1), *seen))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[u32]) -> Snapshot {
        let histogram = Histogram::default();
        times.iter().for_each(|us| histogram.record(*us, 1));
        Snapshot::of([&histogram])
    }

    #[test]
    fn steps_follow_each_other_without_a_gap_and_are_narrow() {
        assert!(std::mem::size_of::<Histogram>() <= 4096);
        for step in 0..BUCKETS {
            let (first, end) = (least(step), least(step + 1));
            assert!(first < end);
            assert_eq!(bucket(first as u32), step);
            assert_eq!(bucket((end - 1) as u32), step);
            assert!((end - first) * 16 <= first.max(16), "{first} to {end}");
        }
        assert_eq!(bucket(u32::MAX), BUCKETS - 1);
        assert_eq!(least(BUCKETS), 1 << TIME_BITS);
    }

    #[test]
    fn nothing_counted_is_all_zero() {
        let empty = of(&[]);
        assert_eq!((empty.count(), empty.sum(), empty.max()), (0, 0, 0));
        assert_eq!((empty.quantile(0.5), empty.below(u64::MAX)), (0, 0));
        assert_eq!(empty.buckets().count(), 0);
    }

    #[test]
    fn several_histograms_are_one() {
        let parts = [Histogram::default(), Histogram::default()];
        parts[0].record(10, 3);
        parts[1].record(10, 1);
        parts[1].record(100, 1);
        let all = Snapshot::of(&parts);
        assert_eq!((all.count(), all.sum()), (5, 140));
        assert_eq!(all.buckets().collect::<Vec<_>>(), [(11, 4), (104, 5)]);
    }

    #[test]
    fn below_is_exact_at_powers_of_two() {
        let some = of(&[0, 63, 64, 127, 128, 4095, 4096]);
        for (us, count) in [(1, 1), (64, 2), (128, 4), (4096, 6), (8192, 7)] {
            assert_eq!(some.below(us), count, "{us}");
        }
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_times(
            mut times in prop::collection::vec(0u32..200_000_000, 1..300),
            share in 0.0f64..=1.0,
        ) {
            let snapshot = of(&times);
            times.sort_unstable();
            let rank = ((times.len() as f64 * share).ceil() as usize).max(1);
            let right = f64::from(times[rank - 1].min((1 << TIME_BITS) - 1));
            let found = snapshot.quantile(share) as f64;
            prop_assert!((found - right).abs() <= right / 32.0 + 0.5, "{found} for {right}");
            let longest = u64::from(times[times.len() - 1].min((1 << TIME_BITS) - 1));
            prop_assert!(snapshot.max() >= longest);
            prop_assert!(snapshot.max() as f64 <= longest as f64 * 17.0 / 16.0);
            prop_assert_eq!(snapshot.count(), times.len() as u64);
            prop_assert_eq!(snapshot.sum(), times.iter().map(|us| u64::from(*us)).sum::<u64>());
        }

        #[test]
        fn what_came_since_is_what_was_counted_since(
            before in prop::collection::vec(0u32..100_000, 0..100),
            after in prop::collection::vec(0u32..100_000, 0..100),
        ) {
            let histogram = Histogram::default();
            before.iter().for_each(|us| histogram.record(*us, 1));
            let earlier = Snapshot::of([&histogram]);
            after.iter().for_each(|us| histogram.record(*us, 1));
            let since = Snapshot::of([&histogram]).since(&earlier);
            prop_assert_eq!(since, of(&after));
        }
    }
}
