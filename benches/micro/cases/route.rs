//! From a key to its server.

use std::hint::black_box;

use nuthatch::distribution::{Distribution, Member, Ring};
use nuthatch::hash::Hash;

use super::world::topology;
use super::{Case, key};

const KEYS: usize = 64;
const LONG: usize = 128;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for hash in Hash::ALL {
        for (length, keys) in [("short", short as fn(usize) -> _), ("long", long)] {
            let name = format!("hash/{}/{length}", hash.name());
            cases.push(Case::new(name, (KEYS, "key"), move || hash_all(hash, keys)));
        }
    }
    for distribution in Distribution::ALL {
        for servers in [3, 48, 300] {
            let name = format!("ring/{}/{servers}", distribution.name());
            cases.push(Case::new(name, (KEYS, "key"), move || {
                pick(distribution, servers)
            }));
        }
    }
    let tag = "  hash_tag: \"{}\"\n";
    let keys = (KEYS, "key");
    cases.push(Case::new("route/whole", keys, || route("", short)));
    cases.push(Case::new("route/tagged", keys, move || route(tag, tagged)));
    cases.push(Case::new("route/untagged", keys, move || route(tag, short)));
    cases
}

fn short(number: usize) -> Vec<u8> {
    key(number)
}

fn long(number: usize) -> Vec<u8> {
    key(number).repeat(LONG.div_ceil(key(number).len()))[..LONG].to_vec()
}

fn tagged(number: usize) -> Vec<u8> {
    [b"profile:{", &key(number)[..], b"}:name"].concat()
}

fn hash_all(hash: Hash, keys: fn(usize) -> Vec<u8>) -> impl FnMut() {
    let keys: Vec<_> = (0..KEYS).map(keys).collect();
    move || {
        for key in &keys {
            black_box(hash.hash(black_box(key)));
        }
    }
}

fn pick(distribution: Distribution, servers: u16) -> impl FnMut() {
    let names: Vec<_> = (0..servers).map(|n| format!("server{n:03}")).collect();
    let members = names.iter().zip(0..).map(|(name, index)| Member {
        name,
        weight: 1,
        index,
    });
    let ring = Ring::build(distribution, &members.collect::<Vec<_>>());
    let hashes: Vec<_> = (0..KEYS).map(|n| Hash::Md5.hash(&key(n))).collect();
    move || {
        for &hash in &hashes {
            black_box(ring.pick(black_box(hash), || hash));
        }
    }
}

/// Tag, hash and ring of a pool of 3 servers.
fn route(options: &str, keys: fn(usize) -> Vec<u8>) -> impl FnMut() + use<> {
    let topology = topology(3, options);
    let keys: Vec<_> = (0..KEYS).map(keys).collect();
    move || {
        for key in &keys {
            black_box(topology.pools[0].route(black_box(key), || 0));
        }
    }
}
