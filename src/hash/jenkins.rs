//! Bob Jenkins's lookup3 (`hashlittle`) with nutcracker's initial value.

#[inline]
pub(super) fn jenkins(key: &[u8]) -> u32 {
    lookup3(key, 13)
}

#[inline]
fn lookup3(key: &[u8], initial: u32) -> u32 {
    let start = 0xdead_beef_u32
        .wrapping_add(key.len() as u32)
        .wrapping_add(initial);
    let mut state = [start; 3];

    // The last 1 to 12 bytes are mixed differently, so a key of whole blocks keeps its last block back.
    let (blocks, mut tail) = key.as_chunks::<12>();
    let blocks = match blocks {
        [all_but_last @ .., last] if tail.is_empty() => {
            tail = last;
            all_but_last
        }
        _ => blocks,
    };
    for block in blocks {
        add(&mut state, block);
        mix(&mut state);
    }
    if tail.is_empty() {
        return start;
    }
    let mut last = [0; 12];
    last[..tail.len()].copy_from_slice(tail);
    add(&mut state, &last);
    finish(state)
}

#[inline]
fn add(state: &mut [u32; 3], block: &[u8; 12]) {
    for (part, &word) in state.iter_mut().zip(block.as_chunks::<4>().0) {
        *part = part.wrapping_add(u32::from_le_bytes(word));
    }
}

#[inline]
fn mix([a, b, c]: &mut [u32; 3]) {
    #[inline]
    fn step(x: &mut u32, y: &mut u32, z: u32, rotation: u32) {
        *x = x.wrapping_sub(*y) ^ y.rotate_left(rotation);
        *y = y.wrapping_add(z);
    }
    step(a, c, *b, 4);
    step(b, a, *c, 6);
    step(c, b, *a, 8);
    step(a, c, *b, 16);
    step(b, a, *c, 19);
    step(c, b, *a, 4);
}

#[inline]
fn finish([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    #[inline]
    fn step(x: u32, y: u32, rotation: u32) -> u32 {
        (x ^ y).wrapping_sub(y.rotate_left(rotation))
    }
    c = step(c, b, 14);
    a = step(a, c, 11);
    b = step(b, a, 25);
    c = step(c, b, 16);
    a = step(a, c, 4);
    b = step(b, a, 14);
    step(c, b, 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_published_with_lookup3() {
        let text = b"Four score and seven years ago";
        assert_eq!(lookup3(b"", 0), 0xdeadbeef);
        assert_eq!(lookup3(text, 0), 0x17770551);
        assert_eq!(lookup3(text, 1), 0xcd628161);
    }
}
