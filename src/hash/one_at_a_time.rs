//! Bob Jenkins's one-at-a-time hash, as nutcracker computes it: bytes are signed.

#[inline]
pub(super) fn one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = key.iter().fold(0, |hash: u32, &byte| {
        let hash = hash.wrapping_add(super::sign_extended(byte));
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        assert_eq!(one_at_a_time(b"a"), 0xca2e9442);
        assert_eq!(
            one_at_a_time(b"The quick brown fox jumps over the lazy dog"),
            0x519e91f5
        );
    }
}
