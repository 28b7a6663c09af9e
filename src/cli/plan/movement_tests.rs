use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::fixture::{named, pool, sides};
use super::*;
use crate::hash::Hash;

/// Streams by names.
fn streams(movement: &Movement) -> BTreeMap<(String, String), u64> {
    let streams = movement.streams.iter();
    streams
        .map(|stream| ((stream.from.clone(), stream.to.clone()), stream.count))
        .collect()
}

/// `count` keys unlike those an estimate makes up.
fn keys(count: u32) -> impl Iterator<Item = Vec<u8>> {
    let mut random = SplitMix(42);
    (0..count).map(move |_| {
        let (user, item) = (random.next(), random.next() % 10_000);
        format!("user:{user}:item:{item}").into_bytes()
    })
}

/// Every key is asked for on both sides, as a request is.
fn routed(sides: &Sides, keys: impl Iterator<Item = Vec<u8>>) -> BTreeMap<(String, String), u64> {
    let mut moved = BTreeMap::new();
    for key in keys {
        let server = |pool: &Pool| {
            let never = || panic!("nothing is random");
            let index = pool.route(&key, never).expect("all servers are live");
            pool.config.servers[usize::from(index)].name.clone()
        };
        let (before, after) = (server(&sides.old), server(&sides.new));
        if before != after {
            *moved.entry((before, after)).or_default() += 1;
        }
    }
    moved
}

/// The chance that a right estimate fails here is below one in a million.
fn assert_near(estimated: f64, counted: u64, of: u32, what: &str) {
    let found = counted as f64 / f64::from(of);
    let deviation = (estimated * (1.0 - estimated) / f64::from(of)).sqrt();
    let allowed = 5.5 * deviation + 2.0 / f64::from(of);
    assert!(
        (estimated - found).abs() <= allowed,
        "{what}: estimated {estimated}, counted {found}, off by more than {allowed}"
    );
}

#[track_caller]
fn assert_matches_keys(sides: &Sides, movement: &Movement, of: u32, what: &str) {
    let counted = routed(sides, keys(of));
    assert_near(movement.share, counted.values().sum(), of, what);
    let estimated = movement.streams.iter();
    let estimated: BTreeMap<_, _> = estimated
        .map(|stream| ((stream.from.clone(), stream.to.clone()), stream.share))
        .collect();
    for pair in estimated.keys().chain(counted.keys()) {
        let share = estimated.get(pair).copied().unwrap_or(0.0);
        let count = counted.get(pair).copied().unwrap_or(0);
        assert_near(share, count, of, &format!("{what}, {pair:?}"));
    }
}

#[test]
fn the_measured_share_is_that_of_keys_with_every_hash_and_distribution() {
    const KEYS: u32 = 10_000;
    let servers = named(4);
    let other = ["h:1:2 server1", "h:2:1 server2", "h:5:3 server5"];
    for hash in Hash::ALL {
        for (before, after) in [
            ("ketama", "ketama"),
            ("modula", "modula"),
            ("ketama", "modula"),
            ("modula", "ketama"),
        ] {
            let pool = |distribution, servers: &[String]| {
                let lines = format!("hash: {};distribution: {distribution}", hash.name());
                pool(&lines, servers)
            };
            let sides = sides(
                &pool(before, &servers),
                &pool(after, &other.map(str::to_owned)),
            );
            let movement = sides.estimate(SAMPLE);
            let what = format!("{} {before} {after}", hash.name());
            assert_eq!(movement.basis, Basis::HashSpace, "{what}");
            assert_eq!(movement.total, hash.values(), "{what}");
            assert_matches_keys(&sides, &movement, KEYS, &what);
        }
    }
}

#[test]
fn another_hash_is_estimated_with_made_up_keys() {
    for (before, after) in [("fnv1a_64", "md5"), ("murmur", "crc32"), ("hsieh", "crc16")] {
        let lines = |hash| format!("hash: {hash};distribution: modula");
        let sides = sides(
            &pool(&lines(before), &named(4)),
            &pool(&lines(after), &named(3)),
        );
        let movement = sides.estimate(20_000);
        assert_eq!(movement.basis, Basis::KeySample);
        let margin = movement.margin.expect("a sample has one");
        assert!((0.005..0.007).contains(&margin), "{margin}");
        // Three of four, and of the others two of three.
        assert!((movement.share - 0.75).abs() < 0.03, "{}", movement.share);
    }
}

#[test]
fn another_tag_is_estimated_with_keys_that_have_it_and_with_keys_that_do_not() {
    let servers = named(4);
    let sides = sides(
        &pool("hash: md5", &servers),
        &pool("hash: md5;hash_tag: '{}'", &servers),
    );
    let movement = sides.estimate(20_000);
    assert_eq!(movement.basis, Basis::TaggedKeySample);
    assert!((movement.share - 0.75).abs() < 0.03, "{}", movement.share);
    assert_eq!(movement.untagged_share, Some(0.0));
}

#[test]
fn other_groups_are_estimated_with_keys_that_change_theirs() {
    let servers = named(4);
    let groups = |groups| format!("hash: md5;key_groups: {groups}");
    let sides = |old, new, servers: &[String]| {
        let (old, new) = (pool(old, &named(4)), pool(&groups(new), servers));
        sides(&old, &new)
    };
    let movement = sides("hash: md5", "{rq: ['rq:']}", &servers).estimate(20_000);
    assert_eq!(movement.basis, Basis::GroupedKeySample);
    assert!((movement.share - 0.75).abs() < 0.25, "{}", movement.share);
    assert_eq!(movement.ungrouped_share, Some(0.0));
    // All go to one server, and nowhere else.
    let to: BTreeSet<&str> = movement.streams.iter().map(|it| it.to.as_str()).collect();
    assert_eq!((to.len(), movement.streams.len()), (1, 3));

    // What has a shorter prefix besides says nothing new.
    let old = groups("{rq: ['rq:']}");
    let movement = sides(&old, "{rq: ['rq:', 'rq:queue']}", &servers).estimate(SAMPLE);
    assert_eq!((movement.basis, movement.moved), (Basis::HashSpace, 0));

    // A group keeps its place while others lose theirs.
    let both = sides(&old, "{'{rq}': ['rq:']};hash_tag: '{}'", &servers).estimate(1000);
    assert_eq!((both.basis, both.moved), (Basis::GroupedKeySample, 0));
    assert!(both.ungrouped_share > Some(0.5), "{both:?}");
    assert_eq!(both.untagged_share, Some(0.0));
}

#[test]
fn slots_without_a_common_divisor_are_estimated_with_hashes() {
    let unnamed = |count| -> Vec<String> {
        let addresses = (0..count).map(|n| format!("10.0.{}.{}:1:1", n / 256, n % 256));
        addresses.collect()
    };
    let lines = "hash: md5;distribution: modula";
    let sides = sides(&pool(lines, &unnamed(6007)), &pool(lines, &unnamed(6011)));
    let movement = sides.estimate(10_000);
    assert_eq!(
        (movement.basis, movement.total),
        (Basis::HashSample, 10_000)
    );
    assert!(movement.share > 0.9);
}

#[test]
fn one_of_many_ketama_servers_has_its_share_of_the_keys() {
    for count in [2, 5, 20] {
        let servers = named(count);
        let sides = sides(&pool("", &servers), &pool("", &servers[1..]));
        let movement = sides.estimate(SAMPLE);
        let share = 1.0 / count as f64;
        assert!(
            (movement.share / share - 1.0).abs() < 0.25,
            "{count}: {}",
            movement.share
        );
        assert!(movement.streams.iter().all(|it| it.from == "server1"));
    }
}

#[test]
fn a_single_server_is_not_hashed_for() {
    let one = pool("hash: crc16;hash_tag: '<>'", &["h:1:1 a"]);
    let other = pool("hash: md5", &["h:1:1 b"]);
    let movement = sides(&one, &other).estimate(SAMPLE);
    assert_eq!(
        (movement.basis, movement.moved),
        (Basis::HashSpace, 0),
        "the same address"
    );
    let two = pool("hash: crc32;distribution: modula", &["h:1:1 a", "h:2:3 b"]);
    let movement = sides(&one, &two).estimate(SAMPLE);
    assert_eq!((movement.total, movement.share), (1 << 15, 0.75));
}

#[test]
fn another_database_has_none_of_the_keys() {
    let servers = named(3);
    let sides = sides(&pool("", &servers), &pool("redis_db: 1", &servers));
    let movement = sides.estimate(SAMPLE);
    assert_eq!((movement.share, movement.moved), (1.0, movement.total));
    assert!(movement.streams.iter().all(|it| it.from == it.to));
}

#[test]
fn balance_has_a_share_for_every_server_of_each_file() {
    let old = pool("distribution: modula", &["h:3:1 c", "h:1:1 a"]);
    let new = pool("distribution: modula", &["h:1:1 a", "h:2:3 b"]);
    let movement = sides(&old, &new).estimate(SAMPLE);
    let balance = movement.balance.iter();
    let balance: Vec<_> = balance
        .map(|it| (it.server.as_str(), it.before, it.after))
        .collect();
    assert_eq!(
        balance,
        [
            ("c", Some(0.5), None),
            ("a", Some(0.5), Some(0.25)),
            ("b", None, Some(0.75)),
        ]
    );
}

#[test]
fn random_pools_draw_alike_from_the_same_servers_only() {
    let random = |servers: &[&str]| pool("distribution: random", servers);
    let two = random(&["h:1:1 a", "h:2:1 b"]);
    for (new, alike) in [
        (random(&["h:2:5", "h:1:1"]), true),
        (random(&["h:9:1 a", "h:2:1 b"]), true),
        (random(&["h:1:1 a", "h:3:1 c"]), false),
        (random(&["h:1:1 a", "h:2:1 b", "h:3:1 c"]), false),
        (pool("", &["h:1:1 a", "h:2:1 b"]), false),
    ] {
        let sides = sides(&two, &new);
        assert!(sides.is_random());
        assert_eq!(sides.draws_alike(), alike, "{:?}", new.config.servers);
    }
    let single = random(&["h:1:1 a"]);
    assert!(!sides(&single, &single).is_random());
}

fn any_pool() -> impl Strategy<Value = Arc<Pool>> {
    let hash = prop::sample::select(&Hash::ALL[..]);
    let distribution = prop::sample::select(&["ketama", "modula"]);
    let tag = prop::sample::select(&["", ";hash_tag: '{}'", ";hash_tag: '$$'"]);
    let groups = prop::sample::select(&["", ";key_groups: {b: [a]}", ";key_groups: {c: [a, ba]}"]);
    let weights = prop::collection::btree_map(0u16..6, 1u32..9, 1..5);
    let parts = (hash, distribution, tag, groups, weights);
    parts.prop_map(|(hash, distribution, tag, groups, weights)| {
        let name = hash.name();
        let lines = format!("hash: {name};distribution: {distribution}{tag}{groups}");
        let servers = weights.into_iter();
        let servers: Vec<String> = servers
            .map(|(name, weight)| format!("127.0.0.1:{}:{weight} s{name}", 7000 + name))
            .collect();
        pool(&lines, &servers)
    })
}

proptest! {
    #[test]
    fn counted_keys_are_those_that_requests_would_miss(
        old in any_pool(),
        new in any_pool(),
        keys in prop::collection::vec("[a-c{}$]{0,12}", 1..200),
    ) {
        // One of many pairs hashes alike by chance: each is also compared with itself.
        for (old, new) in [(&old, &new), (&old, &old)] {
            let sides = sides(old, new);
            let mut tally = Tally::new(&sides);
            keys.iter().for_each(|key| tally.add(key.as_bytes()));
            let movement = tally.into_movement();
            let expected = routed(&sides, keys.iter().map(|key| key.clone().into_bytes()));
            prop_assert_eq!(movement.total, keys.len() as u64);
            prop_assert_eq!(movement.moved, expected.values().sum::<u64>());
            prop_assert_eq!(streams(&movement), expected);
        }
    }

    /// Shares add up, whatever they are shares of.
    #[test]
    fn balance_and_streams_agree(old in any_pool(), new in any_pool()) {
        let movement = sides(&old, &new).estimate(1000);
        let total = |side: fn(&Balance) -> Option<f64>| -> f64 {
            movement.balance.iter().filter_map(side).sum()
        };
        prop_assert!((total(|it| it.before) - 1.0).abs() < 1e-9);
        prop_assert!((total(|it| it.after) - 1.0).abs() < 1e-9);
        let moved: u64 = movement.streams.iter().map(|it| it.count).sum();
        prop_assert_eq!(moved, movement.moved);
        for it in &movement.balance {
            let sum = |end: fn(&Stream) -> &str| -> f64 {
                let streams = movement.streams.iter().filter(|stream| end(stream) == it.server);
                streams.map(|stream| stream.share).sum()
            };
            let gain = sum(|stream| &stream.to) - sum(|stream| &stream.from);
            let change = it.after.unwrap_or(0.0) - it.before.unwrap_or(0.0);
            prop_assert!((gain - change).abs() < 1e-9, "{}: {} {}", it.server, gain, change);
        }
    }
}
