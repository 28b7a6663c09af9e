//! The twelve key hashes of twemproxy, bit for bit, and hash tags. Pure.
//!
//! Several differ from the published function of the same name; each file says how, and `tests/vectors`
//! holds the values that twemproxy's own code gives.

mod crc;
mod fnv;
mod hsieh;
mod jenkins;
mod murmur;
mod one_at_a_time;

/// A key hash, by the name it has in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    non_camel_case_types,
    reason = "Fnv1_64 and Fnv1a_64 read as the configuration spells them"
)]
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

    /// One past the largest value that [`hash`](Hash::hash) gives.
    pub fn values(self) -> u64 {
        match self {
            Hash::Crc32 => crc::CRC32_VALUES,
            _ => 1 << 32,
        }
    }

    /// The hash of `key` by twemproxy's definition.
    ///
    /// The pool-level rule "an empty key hashes to 0" is the caller's (`topology::Pool`), not ours.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            Hash::OneAtATime => one_at_a_time::one_at_a_time(key),
            Hash::Md5 => md5(key),
            Hash::Crc16 => crc::crc16(key),
            Hash::Crc32 => crc::crc32(key),
            Hash::Crc32a => crc::crc32a(key),
            Hash::Fnv1_64 => fnv::fnv1_64(key),
            Hash::Fnv1a_64 => fnv::fnv1a_64(key),
            Hash::Fnv1_32 => fnv::fnv1_32(key),
            Hash::Fnv1a_32 => fnv::fnv1a_32(key),
            Hash::Hsieh => hsieh::hsieh(key),
            Hash::Murmur => murmur::murmur(key),
            Hash::Jenkins => jenkins::jenkins(key),
        }
    }
}

/// `hash_tag: "{}"`: only the part of a key between the two bytes decides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashTag {
    pub open: u8,
    pub close: u8,
}

impl HashTag {
    /// The bytes of `key` that are hashed: those between the first `open` and the first `close` after it.
    /// Without such a pair, or with nothing in between, the whole key; a later pair is not tried.
    #[inline]
    pub fn part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let tagged = memchr::memchr(self.open, key).and_then(|open| {
            let rest = &key[open + 1..];
            memchr::memchr(self.close, rest).map(|close| &rest[..close])
        });
        match tagged {
            Some(part) if !part.is_empty() => part,
            _ => key,
        }
    }
}

/// The first four bytes of the digest, little-endian.
fn md5(key: &[u8]) -> u32 {
    let md5::Digest([a, b, c, d, ..]) = md5::compute(key);
    u32::from_le_bytes([a, b, c, d])
}

/// A byte as twemproxy's code sees it wherever it reads keys through C's (signed) `char`.
#[inline]
fn sign_extended(byte: u8) -> u32 {
    byte as i8 as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn braces() -> HashTag {
        HashTag {
            open: b'{',
            close: b'}',
        }
    }

    /// Recorded from twemproxy; 7 bytes reach every loop's tail, and all are above 0x7f.
    #[test]
    fn ascii_and_high_byte_keys_hash_as_in_twemproxy() {
        let high = b"\xf3\xd8\xe5\xc5\xc2\xa8\xc9";
        for (hash, apple, of_high) in [
            (Hash::OneAtATime, 0x88f08ef3, 0x89175867),
            (Hash::Md5, 0xbe70381f, 0x16466f85),
            (Hash::Crc16, 0xda525bb4, 0xa7dbdd73),
            (Hash::Crc32, 0x0000292e, 0x0000017d),
            (Hash::Crc32a, 0xa92ed050, 0x817d3938),
            (Hash::Fnv1_64, 0x1c347217, 0xea105661),
            (Hash::Fnv1a_64, 0x58befdbf, 0x7188f48d),
            (Hash::Fnv1_32, 0x04010657, 0x04e647c1),
            (Hash::Fnv1a_32, 0x10bc2abf, 0xe2e1ddad),
            (Hash::Hsieh, 0xdeda533e, 0xec934d6d),
            (Hash::Murmur, 0xf6e68f62, 0x53b869c3),
            (Hash::Jenkins, 0x55f9f550, 0xdcd47916),
        ] {
            assert_eq!(hash.hash(b"apple"), apple, "{}", hash.name());
            assert_eq!(hash.hash(high), of_high, "{}", hash.name());
        }
    }

    #[test]
    fn names_round_trip() {
        for hash in Hash::ALL {
            assert_eq!(Hash::from_name(hash.name()), Some(hash));
        }
        assert_eq!(Hash::from_name("FNV1A_64"), None);
    }

    #[test]
    fn tag_is_what_stands_between_the_first_pair() {
        for (key, part) in [
            ("user:{42}:name", "42"),
            ("{a}{b}", "a"),
            ("{{a}}", "{a"),
            ("}a{b}", "b"),
        ] {
            assert_eq!(braces().part(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }

    #[test]
    fn without_a_filled_pair_the_whole_key_counts() {
        for key in ["", "{", "}", "{}", "{}{a}", "}{", "{a", "a}", "plain"] {
            assert_eq!(braces().part(key.as_bytes()), key.as_bytes(), "{key}");
        }
    }

    #[test]
    fn tag_may_open_and_close_with_the_same_byte() {
        let tag = HashTag {
            open: b'$',
            close: b'$',
        };
        assert_eq!(tag.part(b"x$y$z"), b"y");
        assert_eq!(tag.part(b"a$$b$"), b"a$$b$");
        assert_eq!(tag.part(b"x$y"), b"x$y");
    }

    proptest! {
        #[test]
        fn a_filled_tag_decides_alone(
            head in "[^{}]*", tag in "[^{}]+", tail in any::<String>()
        ) {
            let key = format!("{head}{{{tag}}}{tail}");
            prop_assert_eq!(braces().part(key.as_bytes()), tag.as_bytes());
        }
    }
}
