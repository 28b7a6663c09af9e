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

    /// The bytes of `key` that are hashed: all, or those within the pool's hash tag.
    pub fn tag_part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        match &self.config.hash_tag {
            Some(tag) => tag.part(key),
            None => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::publish::Publisher;
    use super::super::{ServerId, Topology, Update, fixture};
    use crate::config::PoolConfig;
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
