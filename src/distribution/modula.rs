//! twemproxy's modula: each server owns as many slots as its weight, a hash is a slot modulo their number.

use super::{HASHES, Member};

/// Memory goes with the members, not with their weights (twemproxy spells out every slot).
#[derive(Clone, Debug)]
pub(super) struct Modula {
    /// Where each member's slots end (exclusive) and the next one's begin; ascending, up to [`HASHES`]: no
    /// slot from there on is ever chosen.
    ends: Vec<u64>,
    owners: Vec<u16>,
    slots: u64,
}

impl Modula {
    /// `None` if nobody is live. Members come in internal order.
    pub(super) fn build(live: &[Member]) -> Option<Modula> {
        let ends: Vec<u64> = live
            .iter()
            .scan(0, |end, member| {
                *end = HASHES.min(*end + u64::from(member.weight));
                Some(*end)
            })
            .collect();
        let slots = *ends.last()?;
        let owners = live.iter().map(|member| member.index).collect();
        Some(Modula {
            ends,
            owners,
            slots,
        })
    }

    #[inline]
    pub(super) fn pick(&self, hash: u32) -> u16 {
        let slot = u64::from(hash) % self.slots;
        self.owners[self.ends.partition_point(|&end| end <= slot)]
    }

    /// After how many hashes the slots begin anew.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// The slots of each member, as their begin and end (exclusive); some may be empty.
    pub(super) fn runs(&self) -> impl ExactSizeIterator<Item = (u64, u64, u16)> + Clone {
        let owners = self.owners.iter().enumerate();
        owners.map(|(at, &owner)| {
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            (start, self.ends[at], owner)
        })
    }

    pub(super) fn points(&self, index: u16) -> usize {
        let starts = std::iter::once(&0).chain(&self.ends);
        self.owners
            .iter()
            .zip(starts.zip(&self.ends))
            .filter(|&(&owner, _)| owner == index)
            .map(|(_, (start, end))| (end - start) as usize)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(weights: &[u32]) -> Option<Modula> {
        let members: Vec<Member> = (0..)
            .zip(weights)
            .map(|(index, &weight)| Member {
                name: "",
                weight,
                index,
            })
            .collect();
        Modula::build(&members)
    }

    #[test]
    fn nobody_live_makes_no_slots() {
        assert!(build(&[]).is_none());
    }

    #[test]
    fn large_weights_cost_no_memory() {
        let ring = build(&[i32::MAX as u32, i32::MAX as u32, 1]).unwrap();
        let picks = [
            0,
            0x7fff_fffe,
            0x7fff_ffff,
            0xffff_fffd,
            0xffff_fffe,
            0xffff_ffff,
        ];
        assert_eq!(picks.map(|hash| ring.pick(hash)), [0, 0, 1, 1, 2, 0]);
        assert_eq!(
            [0, 1, 2].map(|i| ring.points(i)),
            [0x7fff_ffff, 0x7fff_ffff, 1]
        );
    }

    #[test]
    fn slots_beyond_the_largest_hash_do_not_count() {
        let ring = build(&[u32::MAX, 5, 7]).unwrap();
        assert_eq!(ring.pick(u32::MAX - 1), 0);
        assert_eq!(ring.pick(u32::MAX), 1);
        assert_eq!([0, 1, 2].map(|i| ring.points(i)), [u32::MAX as usize, 1, 0]);
    }

    proptest! {
        #[test]
        fn pick_is_an_index_into_the_list_of_all_slots(
            weights in proptest::collection::vec(1u32..50, 1..10), hashes: [u32; 32]
        ) {
            let ring = build(&weights).unwrap();
            let slots: Vec<u16> = (0..)
                .zip(&weights)
                .flat_map(|(index, &weight)| std::iter::repeat_n(index, weight as usize))
                .collect();
            for hash in hashes {
                prop_assert_eq!(ring.pick(hash), slots[hash as usize % slots.len()]);
            }
            for (index, &weight) in (0..).zip(&weights) {
                prop_assert_eq!(ring.points(index), weight as usize);
            }
        }
    }
}
