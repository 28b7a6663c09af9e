//! The four FNV hashes, as nutcracker computes them.
//!
//! It reads key bytes through a signed `char`, so a byte from 0x80 on is sign-extended before it is mixed
//! in; for ASCII keys these are the textbook functions. Of the 64-bit forms it keeps the low 32 bits, and
//! those depend on nothing but the low 32 bits of basis and prime.

use std::hash::Hasher;

use fnv::FnvHasher;

const BASIS_32: u32 = 2166136261;
const PRIME_32: u32 = 16777619;
/// The low halves of the 64-bit basis cbf29ce484222325 and prime 100000001b3.
const BASIS_64: u32 = 0x8422_2325;
const PRIME_64: u32 = 0x0000_01b3;

#[inline]
pub(super) fn fnv1_64(key: &[u8]) -> u32 {
    fnv1(key, BASIS_64, PRIME_64)
}

/// nutcracker has truncated this one to 32 bits throughout, which gives the low half of the 64-bit value.
#[inline]
pub(super) fn fnv1a_64(key: &[u8]) -> u32 {
    let mut state = FnvHasher::default();
    for &byte in key {
        // Mixes in the sign bits; the byte itself follows, as in any FNV-1a.
        let sign = super::sign_extended(byte) ^ u32::from(byte);
        state = FnvHasher::with_key(state.finish() ^ u64::from(sign));
        state.write_u8(byte);
    }
    state.finish() as u32
}

#[inline]
pub(super) fn fnv1_32(key: &[u8]) -> u32 {
    fnv1(key, BASIS_32, PRIME_32)
}

#[inline]
pub(super) fn fnv1a_32(key: &[u8]) -> u32 {
    key.iter().fold(BASIS_32, |hash, &byte| {
        (hash ^ super::sign_extended(byte)).wrapping_mul(PRIME_32)
    })
}

#[inline]
fn fnv1(key: &[u8], basis: u32, prime: u32) -> u32 {
    key.iter().fold(basis, |hash, &byte| {
        hash.wrapping_mul(prime) ^ super::sign_extended(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The published algorithm in full width, with the signed bytes as the only change.
    fn wide(key: &[u8], basis: u64, prime: u64, xor_first: bool) -> u64 {
        key.iter().fold(basis, |hash, &byte| {
            let byte = byte as i8 as i64 as u64;
            if xor_first {
                (hash ^ byte).wrapping_mul(prime)
            } else {
                hash.wrapping_mul(prime) ^ byte
            }
        })
    }

    #[test]
    fn published_values_for_foobar() {
        assert_eq!(fnv1_32(b"foobar"), 0x31f0b262);
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9cf968);
        assert_eq!(fnv1_64(b"foobar"), 0x340d8765a4dda9c2_u64 as u32);
        assert_eq!(fnv1a_64(b"foobar"), 0x85944171f73967e8_u64 as u32);
    }

    #[test]
    fn bytes_from_0x80_on_differ_from_the_published_function() {
        let mut textbook = FnvHasher::default();
        textbook.write(b"\xff");
        assert_ne!(fnv1a_64(b"\xff"), textbook.finish() as u32);
    }

    proptest! {
        #[test]
        fn low_halves_of_the_64_bit_functions(key: Vec<u8>) {
            let (basis, prime) = (0xcbf2_9ce4_8422_2325, 0x100_0000_01b3);
            prop_assert_eq!(fnv1_64(&key), wide(&key, basis, prime, false) as u32);
            prop_assert_eq!(fnv1a_64(&key), wide(&key, basis, prime, true) as u32);
        }

        #[test]
        fn thirty_two_bits_with_signed_bytes(key: Vec<u8>) {
            prop_assert_eq!(fnv1_32(&key), wide(&key, BASIS_32.into(), PRIME_32.into(), false) as u32);
            prop_assert_eq!(fnv1a_32(&key), wide(&key, BASIS_32.into(), PRIME_32.into(), true) as u32);
        }

        #[test]
        fn plain_fnv1a_for_ascii(key in proptest::collection::vec(0u8..0x80, 0..64)) {
            let mut textbook = FnvHasher::default();
            textbook.write(&key);
            prop_assert_eq!(fnv1a_64(&key), textbook.finish() as u32);
        }
    }
}
