//! Austin Appleby's MurmurHash2 with nutcracker's seed.

#[inline]
pub(super) fn murmur(key: &[u8]) -> u32 {
    murmur2(key, 0xdead_beef_u32.wrapping_mul(key.len() as u32))
}

#[inline]
fn murmur2(key: &[u8], seed: u32) -> u32 {
    const M: u32 = 0x5bd1_e995;

    let (words, tail) = key.as_chunks::<4>();
    let mut hash = words.iter().fold(seed ^ key.len() as u32, |hash, &word| {
        let word = u32::from_le_bytes(word).wrapping_mul(M);
        hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M)
    });
    if !tail.is_empty() {
        hash ^= (0..)
            .step_by(8)
            .zip(tail)
            .fold(0, |word, (shift, &byte)| word | u32::from(byte) << shift);
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The procedure and the value by which the author's test suite SMHasher knows MurmurHash2.
    #[test]
    fn smhasher_verification_value() {
        let key: Vec<u8> = (0..=255).collect();
        let hashes: Vec<u8> = (0..256)
            .flat_map(|len| murmur2(&key[..len], 256 - len as u32).to_le_bytes())
            .collect();
        assert_eq!(murmur2(&hashes, 0), 0x27864c1e);
    }
}
