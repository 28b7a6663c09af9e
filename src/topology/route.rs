//! From a key to its server. On the path of every request: no allocation, no lock.

use super::Pool;

impl Pool {
    /// The slot in [`Pool::servers`] of the server that serves `key`; `None` if no server is live.
    /// `draw` yields a random number and is called only for `distribution: random`.
    ///
    /// A pool with a single server does not hash at all, as in twemproxy (`nc_server.c`).
    pub fn route(&self, key: &[u8], draw: impl FnOnce() -> u32) -> Option<u16> {
        if let Some(only) = self.only {
            return (!self.servers[usize::from(only)].ejected).then_some(only);
        }
        self.ring.pick(self.hash_of(key), draw)
    }

    /// The slots of the servers that serve keys, ascending.
    pub fn live(&self) -> impl Iterator<Item = u16> {
        let all = (0..).zip(self.config.servers.iter().zip(&self.servers));
        all.filter(|(_, (config, server))| !config.removed && !server.ejected)
            .map(|(slot, _)| slot)
    }

    /// Is only one server configured?
    pub fn is_single(&self) -> bool {
        self.only.is_some()
    }

    /// The position of `key` on the ring. An empty key hashes to 0, whatever the hash (twemproxy's
    /// `server_pool_hash`).
    pub fn hash_of(&self, key: &[u8]) -> u32 {
        match self.tag_part(key) {
            [] => 0,
            part => self.config.hash.hash(part),
        }
    }

    /// The bytes that are hashed for `key`: all, or those within the pool's hash tag; for a key of a group
    /// those of the group's name.
    pub fn tag_part<'k>(&'k self, key: &'k [u8]) -> &'k [u8] {
        let key = match &self.config.key_groups {
            Some(groups) => groups.group_of(key).map_or(key, str::as_bytes),
            None => key,
        };
        match &self.config.hash_tag {
            Some(tag) => tag.part(key),
            None => key,
        }
    }

    /// Are all keys that begin with `start` placed as it is, by its hash tag or group?
    pub fn places_all(&self, start: &[u8]) -> bool {
        if let Some(groups) = &self.config.key_groups {
            if groups.may_follow(start) {
                return false;
            }
            if groups.group_of(start).is_some() {
                return true;
            }
        }
        self.tag_part(start).len() < start.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::publish::Publisher;
    use super::super::{Pool, ServerId, Topology, Update, fixture};
    use crate::config::{PoolConfig, parse};
    use crate::distribution::Distribution;
    use crate::hash::{Hash, HashTag};

    fn publisher(pool: PoolConfig) -> Publisher {
        Publisher::new(Topology::initial(&fixture::config(vec![pool])))
    }

    fn eject(publisher: &mut Publisher, server: u16) {
        let update = Update::Eject(ServerId { pool: 0, server });
        publisher.apply([update]).expect("it was live");
    }

    fn route(publisher: &Publisher, key: &str) -> Option<u16> {
        let never = || panic!("only distribution: random draws");
        publisher.current().pools[0].route(key.as_bytes(), never)
    }

    #[test]
    fn a_single_server_serves_all_keys_until_it_is_ejected() {
        let mut publisher = publisher(fixture::pool(&["127.0.0.1:1"]));
        assert_eq!(route(&publisher, "key"), Some(0));
        assert_eq!(route(&publisher, ""), Some(0));
        eject(&mut publisher, 0);
        assert_eq!(route(&publisher, "key"), None);
    }

    #[test]
    fn modula_counts_the_hash_over_the_live_servers() {
        let config = PoolConfig {
            distribution: Distribution::Modula,
            ..fixture::pool(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"])
        };
        let mut publisher = publisher(config);
        let hash = |key: &str| Hash::Md5.hash(key.as_bytes());
        for key in ["a", "b", "c", "d", "e"] {
            assert_eq!(route(&publisher, key), Some((hash(key) % 3) as u16));
        }
        assert!(publisher.current().pools[0].live().eq([0, 1, 2]));
        eject(&mut publisher, 1);
        assert!(publisher.current().pools[0].live().eq([0, 2]));
        for key in ["a", "b", "c", "d", "e"] {
            let expected = [0, 2][(hash(key) % 2) as usize];
            assert_eq!(route(&publisher, key), Some(expected));
        }
    }

    #[test]
    fn only_the_tagged_part_decides_and_an_empty_key_is_zero() {
        let config = PoolConfig {
            hash: Hash::Murmur,
            hash_tag: Some(HashTag {
                open: b'{',
                close: b'}',
            }),
            ..fixture::pool(&["127.0.0.1:1", "127.0.0.1:2"])
        };
        let publisher = publisher(config);
        let pool = &publisher.current().pools[0];
        assert_eq!(pool.tag_part(b"user:{42}:name"), b"42");
        assert_eq!(pool.hash_of(b"user:{42}:name"), Hash::Murmur.hash(b"42"));
        assert_eq!(pool.hash_of(b"plain"), Hash::Murmur.hash(b"plain"));
        assert_eq!(pool.hash_of(b""), 0);

        let untagged = self::publisher(PoolConfig {
            hash: Hash::Jenkins,
            ..fixture::pool(&["127.0.0.1:1", "127.0.0.1:2"])
        });
        let pool = &untagged.current().pools[0];
        assert_eq!(pool.tag_part(b"user:{42}:name"), b"user:{42}:name");
        assert_ne!(Hash::Jenkins.hash(b""), 0);
        assert_eq!(pool.hash_of(b""), 0);
    }

    fn grouped(tag: &str, groups: &str) -> Arc<Pool> {
        let text = format!(
            "p:\n  listen: 127.0.0.1:1\n  redis: true\n  hash: md5\n{tag}{groups}  servers:\n    \
             - 127.0.0.1:1:1\n    - 127.0.0.1:2:1\n    - 127.0.0.1:3:1\n"
        );
        let config = parse(&text, "f").expect("correct").config;
        Arc::clone(&Topology::initial(&config).pools[0])
    }

    const GROUPS: &str = "  key_groups: {jobs: ['a', 'c{'], 'x{b}': ['ab', 'b:'], b: [jobs]}\n";
    const BRACES: &str = "  hash_tag: '{}'\n";

    #[test]
    fn keys_of_a_group_are_placed_by_its_name_whatever_their_tags() {
        let pool = grouped(BRACES, GROUPS);
        for (key, part) in [
            ("a", "jobs"),
            ("a{tag}", "jobs"),
            ("c{tag}", "jobs"),
            // The tag of a name counts, its group does not.
            ("ab:1", "b"),
            ("b:{tag}", "b"),
            ("jobs", "b"),
            ("{a}", "a"),
            ("c", "c"),
            ("", ""),
        ] {
            assert_eq!(pool.tag_part(key.as_bytes()), part.as_bytes(), "{key}");
        }
        assert_eq!(pool.hash_of(b"a{tag}"), Hash::Md5.hash(b"jobs"));
        assert_eq!(pool.hash_of(b""), 0);
        assert_eq!(grouped("", GROUPS).tag_part(b"ab:1"), b"x{b}");
    }

    #[test]
    fn a_tag_or_a_group_places_whatever_begins_with_it() {
        let groups = "  key_groups: {jobs: ['a', 'c{', '{q}x'], b: ['ab']}\n";
        let pool = grouped(BRACES, groups);
        for (start, expected) in [
            ("{t}", true),
            ("x{t}w_", true),
            ("x{t", false),
            ("{}{t}", false),
            ("x", false),
            ("", false),
            // Of a group, whose keys a longer prefix may take.
            ("a", false),
            ("ab", true),
            ("ac", true),
            ("c", false),
            ("c{", true),
            ("{q}", false),
            ("{q}y", true),
        ] {
            assert_eq!(pool.places_all(start.as_bytes()), expected, "{start}");
        }
        assert!(grouped(BRACES, "").places_all(b"{q}"));
        assert!(!grouped("", "").places_all(b"{q}"));
    }

    proptest! {
        #[test]
        fn only_keys_of_groups_are_placed_otherwise(
            tag in prop::sample::select(&["", BRACES]),
            key in "[abcx:{}]{0,8}",
        ) {
            let (pool, plain) = (grouped(tag, GROUPS), grouped(tag, ""));
            let place = |pool: &Pool, key: &str| pool.route(key.as_bytes(), || 0);
            let like = if key.starts_with("ab") || key.starts_with("b:") {
                "x{b}"
            } else if key.starts_with('a') || key.starts_with("c{") {
                "jobs"
            } else {
                &key
            };
            prop_assert_eq!(place(&pool, &key), place(&plain, like));
            prop_assert_eq!(pool.hash_of(key.as_bytes()), plain.hash_of(like.as_bytes()));
        }
    }

    #[test]
    fn random_draws_among_the_live_servers() {
        let config = PoolConfig {
            distribution: Distribution::Random,
            ..fixture::pool(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"])
        };
        let mut publisher = publisher(config);
        eject(&mut publisher, 0);
        let pool = &publisher.current().pools[0];
        let picks = [0, 1, 2, 3].map(|number| pool.route(b"key", || number));
        assert_eq!(picks, [Some(1), Some(2), Some(1), Some(2)]);
    }
}
