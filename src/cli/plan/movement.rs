//! How many keys live elsewhere: measured on the hash space, estimated from made-up keys, or counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::servers::{data_addresses, in_file_order};
use crate::config::{Address, PoolConfig};
use crate::distribution::{Distribution, Member, Pairs, Ring, overlap};
use crate::hash::HashTag;
use crate::topology::Pool;

/// Made-up keys or hashes of an estimate: enough that it is a tenth of a percentage point off at most.
pub(super) const SAMPLE: u64 = 1_000_000;

/// A pool before and after.
pub(super) struct Sides {
    pub old: Arc<Pool>,
    pub new: Arc<Pool>,
    /// By position in `old.config.servers`.
    data: Vec<Address>,
}

/// What a share is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Basis {
    /// All values of the hash: exact, if keys are spread evenly over them.
    HashSpace,
    /// Values of the hash drawn evenly, for there are too many pieces to measure.
    HashSample,
    /// Made-up keys, since no measure fits two ways of hashing.
    KeySample,
    /// As `KeySample`, each with a hash tag.
    TaggedKeySample,
    /// As `KeySample`, each with a prefix of `key_groups` that has another group, or none, on the other side.
    GroupedKeySample,
    /// The keys that were given.
    Keys,
}

impl Basis {
    pub(super) fn is_sample(self) -> bool {
        match self {
            Basis::HashSample
            | Basis::KeySample
            | Basis::TaggedKeySample
            | Basis::GroupedKeySample => true,
            Basis::HashSpace | Basis::Keys => false,
        }
    }
}

/// Shares are between 0 and 1.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Movement {
    pub basis: Basis,
    pub total: u64,
    pub moved: u64,
    pub share: f64,
    /// Of a sample's `share`, in either direction, at 95 % confidence.
    pub margin: Option<f64>,
    /// With [`Basis::TaggedKeySample`]: the share of those keys that have no tag.
    pub untagged_share: Option<f64>,
    /// With [`Basis::GroupedKeySample`]: the share of all other keys.
    pub ungrouped_share: Option<f64>,
    /// Largest first.
    pub streams: Vec<Stream>,
    /// In the order of the old file, then those that are new.
    pub balance: Vec<Balance>,
}

/// Keys that go from one server to another.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Stream {
    pub from: String,
    pub to: String,
    pub count: u64,
    pub share: f64,
}

/// A server's share of all keys; `None` where it is not in the file.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Balance {
    pub server: String,
    pub before: Option<f64>,
    pub after: Option<f64>,
}

impl Sides {
    pub(super) fn new(old: Arc<Pool>, new: Arc<Pool>) -> Sides {
        let data = data_addresses(&old.config, &new.config);
        Sides { old, new, data }
    }

    /// Does a key have no place of its own on one of the sides?
    pub(super) fn is_random(&self) -> bool {
        [&self.old, &self.new].into_iter().any(|pool| {
            pool.config.distribution == Distribution::Random && pool.config.servers.len() > 1
        })
    }

    /// With both sides random: are the same servers drawn from?
    pub(super) fn draws_alike(&self) -> bool {
        let (old, new) = (&self.old.config, &self.new.config);
        let random = |pool: &PoolConfig| pool.distribution == Distribution::Random;
        let found = |address: &Address| new.servers.iter().any(|it| it.address == *address);
        random(old)
            && random(new)
            && old.servers.len() == new.servers.len()
            && self.data.iter().all(found)
            && old.redis_db == new.redis_db
    }

    /// Is a key looked for where it is not, if these are its servers before and after?
    fn is_miss(&self, (before, after): (u16, u16)) -> bool {
        let (old, new) = (&self.old.config, &self.new.config);
        let asked = &new.servers[usize::from(after)].address;
        old.redis_db != new.redis_db || self.data[usize::from(before)] != *asked
    }

    fn hashes_alike(&self) -> bool {
        self.old.config.hash == self.new.config.hash
    }

    /// Without keys. A sample has `sample` of them. Not for random pools.
    pub(super) fn estimate(&self, sample: u64) -> Movement {
        // A single server is not hashed for.
        let several = [&self.old, &self.new].map(|pool| pool.servers.len() > 1);
        if several != [true, true] {
            return self.by_hash(sample);
        }
        let others = self.estimate_ungrouped(sample);
        let prefixes = self.regrouped();
        if prefixes.is_empty() {
            return others;
        }
        Movement {
            basis: Basis::GroupedKeySample,
            untagged_share: others.untagged_share,
            ungrouped_share: Some(others.share),
            ..self.by_made_up_keys(sample, &prefixes, [None, None])
        }
    }

    /// The prefixes whose keys are of different groups before and after. Without one all keys are of the
    /// same: a key that is not begins with the longer of its two prefixes, which then is not either.
    fn regrouped(&self) -> Vec<&str> {
        let groups = [&self.old, &self.new].map(|pool| pool.config.key_groups.as_deref());
        let prefixes: BTreeSet<&str> = (groups.iter().flatten())
            .flat_map(|groups| groups.prefixes())
            .collect();
        let is_apart = |prefix: &&str| {
            let [old, new] = groups.map(|groups| groups?.group_of(prefix.as_bytes()));
            old != new
        };
        prefixes.into_iter().filter(is_apart).collect()
    }

    fn estimate_ungrouped(&self, sample: u64) -> Movement {
        let tag = |pool: &Pool| pool.config.hash_tag;
        let tags_apart = match self.hashes_alike() {
            true => self.by_hash(sample),
            false => self.by_made_up_keys(sample, &[], [None, None]),
        };
        if tag(&self.old) == tag(&self.new) {
            return tags_apart;
        }
        let tags = [tag(&self.old), tag(&self.new)];
        Movement {
            basis: Basis::TaggedKeySample,
            untagged_share: Some(tags_apart.share),
            ..self.by_made_up_keys(sample, &[], tags)
        }
    }

    /// Both sides hash alike, or one of them not at all.
    fn by_hash(&self, sample: u64) -> Movement {
        let sides = [&self.old, &self.new];
        let hashing = sides.into_iter().find(|pool| pool.servers.len() > 1);
        let values = hashing.unwrap_or(&self.old).config.hash.values();
        let [before, after] = sides.map(|pool| ring(pool));
        if let Some(pairs) = overlap(&before, &after, values) {
            return self.movement(Basis::HashSpace, pairs);
        }
        let mut random = SplitMix(0);
        let mut pairs = Pairs::default();
        for _ in 0..sample {
            let hash = u32::try_from(random.next() % values).expect("hashes have 32 bits");
            *pairs
                .entry((pick(&before, hash), pick(&after, hash)))
                .or_default() += 1;
        }
        self.movement(Basis::HashSample, pairs)
    }

    /// Keys of 16 hexadecimal digits, for each of `tags` within that tag, behind each of `prefixes` in turn.
    fn by_made_up_keys(
        &self,
        sample: u64,
        prefixes: &[&str],
        tags: [Option<HashTag>; 2],
    ) -> Movement {
        let mut tally = Tally::new(self);
        let mut random = SplitMix(0);
        let mut key = Vec::new();
        let mut prefixes = prefixes.iter().cycle();
        for _ in 0..sample {
            key.clear();
            key.extend(
                prefixes
                    .next()
                    .into_iter()
                    .flat_map(|prefix| prefix.bytes()),
            );
            let mut digits = |key: &mut Vec<u8>| {
                write!(key, "{:016x}", random.next()).expect("writing to memory");
            };
            for tag in tags.into_iter().flatten() {
                key.push(tag.open);
                digits(&mut key);
                key.push(tag.close);
            }
            digits(&mut key);
            tally.add(&key);
        }
        self.movement(Basis::KeySample, tally.pairs)
    }

    fn movement(&self, basis: Basis, pairs: Pairs) -> Movement {
        let total: u64 = pairs.values().sum();
        let share = |count: u64| count as f64 / total as f64;
        let [old_name, new_name] = [&self.old, &self.new].map(|pool| {
            let config = Arc::clone(&pool.config);
            move |index: u16| config.servers[usize::from(index)].name.clone()
        });
        let mut streams = Vec::new();
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        for (&pair, &count) in &pairs {
            *before.entry(old_name(pair.0)).or_default() += count;
            *after.entry(new_name(pair.1)).or_default() += count;
            if self.is_miss(pair) {
                streams.push((count, pair));
            }
        }
        streams.sort_by_key(|&(count, pair)| (std::cmp::Reverse(count), pair));
        let moved = streams.iter().map(|&(count, _)| count).sum();
        Movement {
            basis,
            total,
            moved,
            share: share(moved),
            margin: basis.is_sample().then(|| margin(share(moved), total)),
            untagged_share: None,
            ungrouped_share: None,
            streams: streams
                .into_iter()
                .map(|(count, (from, to))| Stream {
                    from: old_name(from),
                    to: new_name(to),
                    count,
                    share: share(count),
                })
                .collect(),
            balance: self.balance(&before, &after, share),
        }
    }

    fn balance(
        &self,
        before: &BTreeMap<String, u64>,
        after: &BTreeMap<String, u64>,
        share: impl Fn(u64) -> f64,
    ) -> Vec<Balance> {
        let (old, new) = (&self.old.config, &self.new.config);
        let added = in_file_order(new).into_iter();
        let added = added.filter(|server| !has_server(old, &server.name));
        let of = |pool: &PoolConfig, counts: &BTreeMap<String, u64>, name: &str| {
            has_server(pool, name).then(|| share(counts.get(name).copied().unwrap_or(0)))
        };
        in_file_order(old)
            .into_iter()
            .chain(added)
            .map(|server| Balance {
                server: server.name.clone(),
                before: of(old, before, &server.name),
                after: of(new, after, &server.name),
            })
            .collect()
    }
}

fn has_server(pool: &PoolConfig, name: &str) -> bool {
    pool.servers.iter().any(|server| server.name == name)
}

/// Counts keys by their servers before and after.
pub(super) struct Tally<'s> {
    sides: &'s Sides,
    /// One hash serves both sides.
    shared_hash: bool,
    pairs: Pairs,
}

impl Tally<'_> {
    pub(super) fn new(sides: &Sides) -> Tally<'_> {
        let (old, new) = (&sides.old, &sides.new);
        let several = old.servers.len() > 1 && new.servers.len() > 1;
        let tags_alike = old.config.hash_tag == new.config.hash_tag;
        let groups_alike = old.config.key_groups == new.config.key_groups;
        Tally {
            sides,
            shared_hash: several && tags_alike && groups_alike && sides.hashes_alike(),
            pairs: Pairs::default(),
        }
    }

    pub(super) fn add(&mut self, key: &[u8]) {
        let (old, new) = (&self.sides.old, &self.sides.new);
        let pair = if self.shared_hash {
            let hash = old.hash_of(key);
            (pick(&old.ring, hash), pick(&new.ring, hash))
        } else {
            let place = |pool: &Pool| pool.route(key, || 0).expect(ALL_LIVE);
            (place(old), place(new))
        };
        *self.pairs.entry(pair).or_default() += 1;
    }

    pub(super) fn into_movement(self) -> Movement {
        self.sides.movement(Basis::Keys, self.pairs)
    }
}

const ALL_LIVE: &str = "every server counts as live";

fn pick(ring: &Ring, hash: u32) -> u16 {
    ring.pick(hash, || 0).expect(ALL_LIVE)
}

/// Where [`Pool::route`] sends each hash: a single server gets all.
fn ring(pool: &Pool) -> Ring {
    let all = Member {
        name: "",
        weight: 1,
        index: 0,
    };
    match pool.servers.len() {
        1 => Ring::build(Distribution::Modula, &[all]),
        _ => pool.ring.clone(),
    }
}

/// Of a share found in `total` draws; for one of nothing the rule of three.
fn margin(share: f64, total: u64) -> f64 {
    let total = total as f64;
    let normal = 1.96 * (share * (1.0 - share) / total).sqrt();
    normal.max(3.0 / total)
}

/// Sebastiano Vigna's splitmix64: the same numbers on every machine and in every version.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
#[path = "movement_tests.rs"]
mod tests;
