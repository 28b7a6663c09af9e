//! From a hash to a server: twemproxy's ketama, modula and random. Pure.
//!
//! Builds and searches rings over the servers it is given, and compares two of them (`overlap.rs`); who is
//! live and when to build anew is the topology's to know.

mod ketama;
mod modula;
mod overlap;
mod random;

use ketama::Ketama;
use modula::Modula;
use random::Random;

pub use overlap::{Pairs, overlap};

/// One past the largest hash.
const HASHES: u64 = 1 << 32;

/// How a pool spreads hashes over its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    Ketama,
    Modula,
    Random,
}

impl Distribution {
    pub const ALL: [Distribution; 3] = [
        Distribution::Ketama,
        Distribution::Modula,
        Distribution::Random,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Distribution::Ketama => "ketama",
            Distribution::Modula => "modula",
            Distribution::Random => "random",
        }
    }

    pub fn from_name(name: &str) -> Option<Distribution> {
        Distribution::ALL.into_iter().find(|d| d.name() == name)
    }
}

/// A live server as the ring sees it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Ring identity, see `config::ServerConfig::name`.
    pub name: &'a str,
    pub weight: u32,
    /// What [`Ring::pick`] answers for this server.
    pub index: u16,
}

/// The finished lookup structure over the live servers of a pool.
#[derive(Clone, Debug)]
pub struct Ring(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Ketama(Ketama),
    Modula(Modula),
    Random(Random),
    /// No server is live.
    Empty,
}

impl Ring {
    /// `live` in the pool's internal order (shorter names first, then bytewise), every weight at least 1.
    pub fn build(distribution: Distribution, live: &[Member]) -> Ring {
        let kind = match distribution {
            Distribution::Ketama => Ketama::build(live).map(Kind::Ketama),
            Distribution::Modula => Modula::build(live).map(Kind::Modula),
            Distribution::Random => Random::build(live).map(Kind::Random),
        };
        Ring(kind.unwrap_or(Kind::Empty))
    }

    /// The server for `hash`, `None` if no server is live. `draw` yields a random number and is called
    /// only by [`Distribution::Random`].
    #[inline]
    pub fn pick(&self, hash: u32, draw: impl FnOnce() -> u32) -> Option<u16> {
        match &self.0 {
            Kind::Ketama(ring) => Some(ring.pick(hash)),
            Kind::Modula(ring) => Some(ring.pick(hash)),
            Kind::Random(ring) => Some(ring.pick(draw())),
            Kind::Empty => None,
        }
    }

    /// Ring points (ketama), slots (modula) or chances (random: 1) that lead to the server `index`; 0
    /// means it gets no key.
    pub fn points(&self, index: u16) -> usize {
        match &self.0 {
            Kind::Ketama(ring) => ring.points(index),
            Kind::Modula(ring) => ring.points(index),
            Kind::Random(ring) => ring.points(index),
            Kind::Empty => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two live servers of a larger pool, so their indexes are not their positions.
    const LIVE: [Member; 2] = [
        Member {
            name: "b",
            weight: 1,
            index: 1,
        },
        Member {
            name: "e",
            weight: 9,
            index: 4,
        },
    ];

    #[test]
    fn names_round_trip() {
        for distribution in Distribution::ALL {
            assert_eq!(
                Distribution::from_name(distribution.name()),
                Some(distribution)
            );
        }
        assert_eq!(Distribution::from_name("Ketama"), None);
    }

    #[test]
    fn without_live_servers_there_is_no_pick() {
        for distribution in Distribution::ALL {
            let ring = Ring::build(distribution, &[]);
            assert_eq!(ring.pick(7, || 7), None);
            assert_eq!(ring.points(0), 0);
        }
    }

    #[test]
    fn picks_are_member_indexes() {
        for distribution in Distribution::ALL {
            let ring = Ring::build(distribution, &LIVE);
            let mut picked = [0; 5];
            for step in 0..1000_u32 {
                let hash = step.wrapping_mul(0x9e37_79b9);
                picked[ring.pick(hash, || hash).unwrap() as usize] += 1;
            }
            assert!(
                picked[1] > 0 && picked[4] > 0,
                "{distribution:?} {picked:?}"
            );
            assert_eq!(picked[1] + picked[4], 1000);
            assert_eq!(ring.points(0), 0);
        }
    }

    #[test]
    fn only_random_draws_and_ignores_hash_and_weight() {
        let ring = Ring::build(Distribution::Random, &LIVE);
        assert_eq!(ring.pick(0, || 6), Some(1));
        assert_eq!(ring.pick(0, || 7), Some(4));
        assert_eq!([1, 4].map(|i| ring.points(i)), [1, 1]);
        for distribution in [Distribution::Ketama, Distribution::Modula] {
            let ring = Ring::build(distribution, &LIVE);
            assert!(
                ring.pick(0, || unreachable!("the hash decides alone"))
                    .is_some()
            );
        }
    }
}
