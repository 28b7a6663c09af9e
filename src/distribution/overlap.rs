//! How many hashes go from which server of one ring to which of another: counted from the arcs and slots
//! themselves, so exactly.

use fnv::FnvHashMap;

use super::ketama::Ketama;
use super::modula::Modula;
use super::{HASHES, Kind, Ring};

/// Hashes or keys, by their server before and after.
pub type Pairs = FnvHashMap<(u16, u16), u64>;

/// More than this takes too long to wait for; it is a fraction of a second.
const MAX_STEPS: u64 = 1 << 25;

/// The hashes below `values` by the server that [`Ring::pick`] answers for them before and after.
///
/// `None` if one of the rings is empty or random, or if they have so many servers that counting would take
/// too long (tens of thousands of modula slots without a common divisor).
///
/// # Panics
/// If `values` is not 1 to 2^32.
pub fn overlap(before: &Ring, after: &Ring, values: u64) -> Option<Pairs> {
    assert!((1..=HASHES).contains(&values));
    match (&before.0, &after.0) {
        (Kind::Ketama(before), Kind::Ketama(after)) => Some(circles(before, after, values)),
        (Kind::Ketama(circle), Kind::Modula(slots)) => circle_and_slots(circle, slots, values),
        (Kind::Modula(slots), Kind::Ketama(circle)) => {
            let swapped = circle_and_slots(circle, slots, values)?;
            Some(swapped.into_iter().map(|((a, b), n)| ((b, a), n)).collect())
        }
        (Kind::Modula(before), Kind::Modula(after)) => both_slots(before, after, values),
        (Kind::Random(_) | Kind::Empty, _) | (_, Kind::Random(_) | Kind::Empty) => None,
    }
}

fn circles(before: &Ketama, after: &Ketama, values: u64) -> Pairs {
    let mut pairs = Pairs::default();
    merge(before.arcs(), after.arcs(), values, |start, end, pair| {
        *pairs.entry(pair).or_default() += end - start;
    });
    pairs
}

fn circle_and_slots(circle: &Ketama, slots: &Modula, values: u64) -> Option<Pairs> {
    let runs = slots.runs();
    if circle.arcs().len() as u64 * runs.len() as u64 > MAX_STEPS * 4 {
        return None;
    }
    let mut pairs = Pairs::default();
    let mut start = 0;
    for (end, owner) in circle.arcs() {
        let end = end.min(values);
        let whole = end / slots.slots() - start / slots.slots();
        let (low, high) = (start % slots.slots(), end % slots.slots());
        for (first, last, other) in runs.clone() {
            // Those below `end` without those below `start`.
            let hashes = whole * (last - first) + high.clamp(first, last) - low.clamp(first, last);
            if hashes > 0 {
                *pairs.entry((owner, other)).or_default() += hashes;
            }
        }
        start = end;
    }
    Some(pairs)
}

/// Both repeat after the least common multiple of their slots, so one such period is walked.
fn both_slots(before: &Modula, after: &Modula, values: u64) -> Option<Pairs> {
    let period = before.slots() / gcd(before.slots(), after.slots()) * after.slots();
    let walked = period.min(values);
    let steps = |ring: &Modula| (walked / ring.slots() + 1) * ring.runs().len() as u64;
    if steps(before) + steps(after) > MAX_STEPS {
        return None;
    }
    let (periods, rest) = (values / walked, values % walked);
    let mut pairs = Pairs::default();
    let ends = |ring: &Modula| -> Vec<(u64, u16)> {
        ring.runs().map(|(_, end, owner)| (end, owner)).collect()
    };
    let (before_ends, after_ends) = (ends(before), ends(after));
    merge(
        repeated(&before_ends, before.slots()),
        repeated(&after_ends, after.slots()),
        walked,
        |start, end, pair| {
            let hashes = (end - start) * periods + end.min(rest) - start.min(rest);
            *pairs.entry(pair).or_default() += hashes;
        },
    );
    pairs.retain(|_, hashes| *hashes > 0);
    Some(pairs)
}

fn repeated(ends: &[(u64, u16)], slots: u64) -> impl Iterator<Item = (u64, u16)> {
    let starts = (0..).map(move |turn| turn * slots);
    starts.flat_map(move |start| ends.iter().map(move |&(end, owner)| (start + end, owner)))
}

/// Calls `piece(start, end, owners)` for every longest stretch of hashes below `limit` that has one owner
/// on each side. Both sides give ends, ascending, and owners; together they reach `limit`.
fn merge(
    before: impl Iterator<Item = (u64, u16)>,
    after: impl Iterator<Item = (u64, u16)>,
    limit: u64,
    mut piece: impl FnMut(u64, u64, (u16, u16)),
) {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    let mut start = 0;
    while let (true, Some(&(end, owner)), Some(&(other_end, other))) =
        (start < limit, before.peek(), after.peek())
    {
        let stop = end.min(other_end).min(limit);
        if stop > start {
            piece(start, stop, (owner, other));
            start = stop;
        }
        if end <= stop {
            before.next();
        }
        if other_end <= stop {
            after.next();
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Distribution, Member};
    use super::*;

    fn ring(distribution: Distribution, weights: &[u32]) -> Ring {
        let names: Vec<String> = (0..weights.len()).map(|i| format!("server{i}")).collect();
        let members: Vec<Member> = (0..)
            .zip(names.iter().zip(weights))
            .map(|(index, (name, &weight))| Member {
                name,
                weight,
                index,
            })
            .collect();
        Ring::build(distribution, &members)
    }

    /// One hash at a time.
    fn counted(before: &Ring, after: &Ring, values: u64) -> Pairs {
        let mut pairs = Pairs::default();
        let mut run = ((0, 0), 0);
        for hash in 0..values as u32 {
            let pick = |ring: &Ring| ring.pick(hash, || unreachable!("not random")).unwrap();
            let pair = (pick(before), pick(after));
            if pair != run.0 {
                *pairs.entry(run.0).or_default() += run.1;
                run = (pair, 0);
            }
            run.1 += 1;
        }
        *pairs.entry(run.0).or_default() += run.1;
        pairs.retain(|_, hashes| *hashes > 0);
        pairs
    }

    fn total(pairs: &Pairs) -> u64 {
        pairs.values().sum()
    }

    #[test]
    fn every_hash_is_counted_once() {
        use Distribution::{Ketama, Modula};
        for before in [Ketama, Modula] {
            for after in [Ketama, Modula] {
                for values in [1 << 32, 1 << 15, 12_345] {
                    let (before, after) = (ring(before, &[1, 2, 5]), ring(after, &[3, 1, 4, 7]));
                    let pairs = overlap(&before, &after, values).unwrap();
                    assert_eq!(total(&pairs), values);
                }
            }
        }
    }

    #[test]
    fn a_ring_overlaps_itself_without_a_move() {
        for distribution in [Distribution::Ketama, Distribution::Modula] {
            let ring = ring(distribution, &[1, 2, 5]);
            let pairs = overlap(&ring, &ring.clone(), 1 << 32).unwrap();
            assert!(pairs.keys().all(|(before, after)| before == after));
        }
    }

    #[test]
    fn slots_of_a_whole_circle_of_hashes_are_exact() {
        // 2^32 = 12 * 357913941 + 4: the hashes that are left over count for the residues 0 to 3.
        let (three, four) = (
            ring(Distribution::Modula, &[1; 3]),
            ring(Distribution::Modula, &[1; 4]),
        );
        let pairs = overlap(&three, &four, 1 << 32).unwrap();
        assert_eq!(pairs.len(), 12);
        for ((before, after), hashes) in pairs {
            let residue = (0..12).find(|n| (n % 3, n % 4) == (before, after)).unwrap();
            let expected = 357_913_941 + u64::from(residue < 4);
            assert_eq!(hashes, expected, "{before} {after}");
        }
    }

    #[test]
    fn what_would_take_too_long_or_has_no_places_is_not_counted() {
        let many = |count| ring(Distribution::Modula, &vec![1; count]);
        assert!(overlap(&many(10_007), &many(10_009), 1 << 32).is_none());
        assert!(overlap(&many(10_007), &many(10_007), 1 << 32).is_some());
        let random = ring(Distribution::Random, &[1, 1]);
        assert!(overlap(&random, &many(2), 1 << 32).is_none());
        assert!(overlap(&many(2), &ring(Distribution::Ketama, &[]), 1 << 32).is_none());
    }

    /// Within the first hashes, where everything can be counted: ketama's points are spread over 2^32, so
    /// there rings of many servers are taken.
    fn any_ring() -> impl Strategy<Value = Ring> {
        let weights = prop_oneof![
            prop::collection::vec(1u32..50, 1..8),
            prop::collection::vec(1u32..4000, 1..8),
            prop::collection::vec(1u32..3, 300..400),
        ];
        let distribution = prop::sample::select(&[Distribution::Ketama, Distribution::Modula]);
        (distribution, weights).prop_map(|(distribution, weights)| ring(distribution, &weights))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn counting_by_arcs_is_counting_by_hashes(
            before in any_ring(), after in any_ring(), values in 1u64..100_000
        ) {
            prop_assert_eq!(overlap(&before, &after, values), Some(counted(&before, &after, values)));
        }
    }
}
