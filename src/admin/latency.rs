//! Latencies for Prometheus: from the fine buckets in which they are counted to the few that are exported.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::stats::histogram::Snapshot;

/// Upper bounds of the exported buckets, microseconds: 50 µs to 10 s, round in every decade so that a goal
/// such as "99 % within 5 ms" can be read off one bucket. The last bucket has no bound.
pub const BOUNDS: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// What was counted of a pool or a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    pub count: u64,
    pub sum_us: u64,
    /// Upper bounds in microseconds, ascending, and how many values are not above each.
    pub buckets: Vec<(u64, u64)>,
}

/// In Prometheus' unit and buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub count: u64,
    pub sum_seconds: f64,
    /// Upper bounds in seconds and how many values lie between each and the one before.
    pub buckets: Vec<(f64, u64)>,
}

impl From<&Snapshot> for Latency {
    fn from(snapshot: &Snapshot) -> Latency {
        Latency {
            count: snapshot.count(),
            sum_us: snapshot.sum(),
            buckets: snapshot.buckets().collect(),
        }
    }
}

impl Latency {
    /// A fine bucket that lies across an exported bound counts as above it, so that no latency is shown
    /// as better than it was; as worse by the width of one fine bucket at most. The counters may move while
    /// they are read: no bucket holds less than the one before, and the count is that of all buckets.
    pub fn histogram(&self) -> Histogram {
        let mut buckets = Vec::with_capacity(BOUNDS.len() + 1);
        let mut fine = self.buckets.iter().peekable();
        let mut below = 0;
        for bound in BOUNDS {
            let mut reached = below;
            while let Some((_, cumulative)) = fine.next_if(|(upper, _)| *upper <= bound) {
                reached = reached.max(*cumulative);
            }
            buckets.push((seconds(bound), reached - below));
            below = reached;
        }
        let rest = fine.map(|(_, cumulative)| *cumulative).max();
        let count = self.count.max(rest.unwrap_or(0)).max(below);
        buckets.push((f64::INFINITY, count - below));
        Histogram {
            count,
            sum_seconds: seconds(self.sum_us),
            buckets,
        }
    }
}

/// Writes the metric family `<stem>_seconds` with one histogram for each set of labels.
///
/// # Errors
/// What the encoder says.
pub fn encode<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    stem: &str,
    help: &str,
    latencies: impl IntoIterator<Item = (L, Latency)>,
) -> fmt::Result {
    let unit = Unit::Seconds;
    let mut family = out.encode_descriptor(stem, help, Some(&unit), MetricType::Histogram)?;
    for (labels, latency) in latencies {
        let Histogram {
            count,
            sum_seconds,
            buckets,
        } = latency.histogram();
        let mut sample = family.encode_family(&labels)?;
        sample.encode_histogram::<NoLabelSet>(sum_seconds, count, &buckets, None)?;
    }
    Ok(())
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Two;

    impl Collector for Two {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let latency = |count| Latency {
                count,
                sum_us: 70 * count,
                buckets: vec![(80, count)],
            };
            let both = [([("pool", "a")], latency(2)), ([("pool", "b")], latency(0))];
            encode(&mut encoder, "x_latency", "Time.", both)
        }
    }

    #[test]
    fn a_family_has_a_histogram_for_each_set_of_labels() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Two));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String");
        let head = "# HELP x_latency_seconds Time.\n# TYPE x_latency_seconds histogram\n\
                    # UNIT x_latency_seconds seconds\n\
                    x_latency_seconds_sum{pool=\"a\"} 0.00014\n\
                    x_latency_seconds_count{pool=\"a\"} 2\n\
                    x_latency_seconds_bucket{le=\"0.00005\",pool=\"a\"} 0\n\
                    x_latency_seconds_bucket{le=\"0.0001\",pool=\"a\"} 2\n";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.contains("_bucket{le=\"+Inf\",pool=\"a\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("_bucket{le=\"+Inf\",pool=\"b\"} 0\n"),
            "{text}"
        );
    }

    /// Cumulative counts by bound in seconds.
    fn cumulative(histogram: &Histogram) -> Vec<(f64, u64)> {
        let mut sum = 0;
        let buckets = histogram.buckets.iter();
        buckets
            .map(|(bound, count)| {
                sum += count;
                (*bound, sum)
            })
            .collect()
    }

    #[test]
    fn nothing_counted_is_a_histogram_of_zeros() {
        let none = Latency {
            count: 0,
            sum_us: 0,
            buckets: vec![],
        };
        let histogram = none.histogram();
        assert_eq!((histogram.count, histogram.sum_seconds), (0, 0.0));
        assert_eq!(histogram.buckets.len(), BOUNDS.len() + 1);
        assert_eq!(histogram.buckets[0].0, 0.000_05);
        assert!(histogram.buckets.iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn fine_buckets_are_added_up_and_never_flattered() {
        let latency = Latency {
            count: 10,
            sum_us: 1_500_000,
            // The third lies across 100 µs, the last has what is above all bounds.
            buckets: vec![
                (40, 1),
                (50, 3),
                (120, 6),
                (240, 7),
                (8_000_000, 9),
                (20_000_000, 10),
            ],
        };
        let histogram = latency.histogram();
        assert_eq!((histogram.count, histogram.sum_seconds), (10, 1.5));
        let cumulative = cumulative(&histogram);
        let at = |bound: f64| {
            cumulative
                .iter()
                .find(|(b, _)| *b == bound)
                .expect("a bound")
                .1
        };
        assert_eq!(
            (at(0.000_05), at(0.000_1), at(0.000_25), at(0.000_5)),
            (3, 3, 7, 7)
        );
        assert_eq!((at(5.0), at(10.0), at(f64::INFINITY)), (7, 9, 10));
    }

    #[test]
    fn counters_that_move_while_they_are_read_give_a_sound_histogram() {
        for (count, buckets) in [
            (3, vec![(50, 5), (100, 4), (20_000_000, 4)]),
            (9, vec![(50, 1), (100, 2)]),
            (0, vec![(20_000_000, 6)]),
        ] {
            let latency = Latency {
                count,
                sum_us: 1,
                buckets,
            };
            let histogram = latency.histogram();
            let cumulative = cumulative(&histogram);
            assert!(
                cumulative.is_sorted_by_key(|(_, count)| *count),
                "{latency:?}"
            );
            let (bound, all) = cumulative[cumulative.len() - 1];
            assert_eq!(
                (bound, all),
                (f64::INFINITY, histogram.count),
                "{latency:?}"
            );
            assert!(histogram.count >= count);
        }
    }
}
