//! twemproxy's ketama: up to 160 points per server of average weight on a circle of 2^32.

use super::{HASHES, Member};

/// What a server of average weight owns, but for rounding.
const POINTS_PER_SERVER: f32 = 160.0;
/// One MD5 digest yields this many points.
const POINTS_PER_DIGEST: f32 = 4.0;
/// twemproxy formats a point's text into a buffer of this size and hashes what fits.
const MAX_POINT_TEXT: usize = 272;

/// `points` and `owners` lie apart so that the search touches nothing but points.
#[derive(Clone, Debug)]
pub(super) struct Ketama {
    /// Ascending.
    points: Vec<u32>,
    /// The owner of each point, and behind them the first point's owner once more: the circle closes
    /// without a branch.
    owners: Vec<u16>,
}

impl Ketama {
    /// `None` if nobody is live. Members come in internal order, which decides who owns a point that
    /// two of them hash to.
    pub(super) fn build(live: &[Member]) -> Option<Ketama> {
        let total: u64 = live.iter().map(|member| u64::from(member.weight)).sum();
        let mut circle = Vec::new();
        for member in live {
            for digest in 0..digests(member.weight, total, live.len()) {
                let words = point_words(member.name, digest);
                circle.extend(words.map(|point| (point, member.index)));
            }
        }
        // Stable: of equal points the first member's stays in front, where the search finds it.
        circle.sort_by_key(|&(point, _)| point);

        let (points, mut owners): (Vec<u32>, Vec<u16>) = circle.into_iter().unzip();
        owners.push(*owners.first()?);
        Some(Ketama { points, owners })
    }

    /// The owner of the first point at or after `hash`.
    #[inline]
    pub(super) fn pick(&self, hash: u32) -> u16 {
        self.owners[self.points.partition_point(|&point| point < hash)]
    }

    /// Where each arc ends (exclusive), the next one's begin, and who owns it; the first begins at 0, the
    /// last ends at [`HASHES`]. Some may be empty.
    pub(super) fn arcs(&self) -> impl ExactSizeIterator<Item = (u64, u16)> {
        (0..self.owners.len()).map(|at| {
            let end = self.points.get(at).map(|&point| u64::from(point) + 1);
            (end.unwrap_or(HASHES), self.owners[at])
        })
    }

    pub(super) fn points(&self, index: u16) -> usize {
        let owners = &self.owners[..self.points.len()];
        owners.iter().filter(|&&owner| owner == index).count()
    }
}

/// How many digests of four points a member gets.
///
/// Every step rounds as twemproxy's float arithmetic does; 25 equal servers get 39 digests each because of
/// it, not 40. The 1e-10 that twemproxy adds before rounding down is missing here: it is less than a float
/// just below a whole number can hold. A weight far below the average gets nothing.
fn digests(weight: u32, total: u64, live: usize) -> u32 {
    let share = weight as f32 / total as f32;
    (share * POINTS_PER_SERVER / POINTS_PER_DIGEST * live as f32) as u32
}

fn point_words(name: &str, digest: u32) -> [u32; 4] {
    let text = format!("{name}-{digest}").into_bytes();
    let md5::Digest(bytes) = md5::compute(&text[..text.len().min(MAX_POINT_TEXT)]);
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members<'a>(names: &'a [String], weights: &[u32]) -> Vec<Member<'a>> {
        (0..)
            .zip(names.iter().zip(weights))
            .map(|(index, (name, &weight))| Member {
                name,
                weight,
                index,
            })
            .collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count)
            .map(|i| format!("10.0.0.1:{}", 6379 + i))
            .collect()
    }

    fn build(weights: &[u32]) -> Ketama {
        Ketama::build(&members(&names(weights.len()), weights)).unwrap()
    }

    #[test]
    fn nobody_live_makes_no_circle() {
        assert!(Ketama::build(&[]).is_none());
    }

    #[test]
    fn equal_servers_get_160_points_or_by_rounding_156() {
        for count in 1..=64 {
            let expected = match count {
                25 | 47 | 50 | 55 | 61 => 156,
                _ => 160,
            };
            assert_eq!(
                build(&vec![1; count]).points(0),
                expected,
                "{count} servers"
            );
        }
    }

    #[test]
    fn points_follow_weight() {
        let ring = build(&[1, 2, 5]);
        assert_eq!([0, 1, 2].map(|i| ring.points(i)), [60, 120, 300]);
    }

    #[test]
    fn a_tiny_weight_gets_no_point() {
        let ring = build(&[1000, 1]);
        assert_eq!([0, 1].map(|i| ring.points(i)), [316, 0]);
    }

    #[test]
    fn weights_may_sum_past_32_bits() {
        let ring = build(&[u32::MAX; 3]);
        assert_eq!([0, 1, 2].map(|i| ring.points(i)), [160; 3]);
    }

    #[test]
    fn the_addend_left_out_never_changes_the_floor() {
        let most = POINTS_PER_SERVER / POINTS_PER_DIGEST * f32::from(u16::MAX);
        for whole in 1..=most as u32 {
            let below = (whole as f32).next_down();
            assert_eq!((f64::from(below) + 1e-10) as f32, below);
        }
    }

    /// The pair shares the point 4287979131.
    #[test]
    fn the_first_member_owns_a_shared_point() {
        for (first, second) in [("s272", "s705"), ("s705", "s272")] {
            let names = [first.to_string(), second.to_string()];
            assert_eq!(
                Ketama::build(&members(&names, &[1, 1]))
                    .unwrap()
                    .pick(4287979131),
                0
            );
        }
    }

    #[test]
    fn the_circle_closes() {
        let ring = build(&[1; 3]);
        let last = *ring.points.last().unwrap();
        assert_eq!(ring.pick(last), ring.owners[ring.points.len() - 1]);
        assert_eq!(ring.pick(last + 1), ring.pick(0));
        assert_eq!(ring.pick(u32::MAX), ring.pick(0));
    }

    #[test]
    fn names_beyond_the_text_limit_lose_the_digest_number() {
        let long = "n".repeat(MAX_POINT_TEXT);
        assert_eq!(point_words(&long, 0), point_words(&long, 1));
        let fits = "n".repeat(MAX_POINT_TEXT - 2);
        assert_ne!(point_words(&fits, 0), point_words(&fits, 1));
        assert_eq!(point_words(&fits, 1), point_words(&fits, 10));
    }

    proptest! {
        #[test]
        fn pick_is_the_nearest_point_clockwise(
            weights in proptest::collection::vec(1u32..20, 1..8), hashes: [u32; 32]
        ) {
            let names = names(weights.len());
            let members = members(&names, &weights);
            let ring = Ketama::build(&members).unwrap();
            for hash in hashes {
                let nearest = (0..).zip(&ring.points).min_by_key(|&(_, point)| point.wrapping_sub(hash));
                let (at, _): (usize, _) = nearest.unwrap();
                prop_assert_eq!(ring.pick(hash), ring.owners[at]);
            }
        }

        #[test]
        fn every_point_leads_to_a_member_that_hashes_to_it(
            weights in proptest::collection::vec(1u32..20, 1..6)
        ) {
            let names = names(weights.len());
            let members = members(&names, &weights);
            let ring = Ketama::build(&members).unwrap();
            for member in &members {
                let digests = ring.points(member.index) as u32 / 4;
                for point in (0..digests).flat_map(|digest| point_words(member.name, digest)) {
                    prop_assert_eq!(ring.pick(point), member.index);
                }
            }
        }
    }
}
