//! Short numbers of header lines, which nearly all are, read without a loop.

/// The number at the start of `bytes` if it has one or two digits, no leading zero, and its CR LF behind it;
/// with the offset behind that. `None` says nothing: the line may be longer, broken or not all there.
#[inline]
pub(super) fn short_number(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = bytes.first()?.wrapping_sub(b'0');
    if first > 9 {
        return None;
    }
    let (&second, rest) = bytes.get(1..)?.split_first()?;
    if second == b'\r' {
        return (rest.first() == Some(&b'\n')).then_some((usize::from(first), 3));
    }
    let second = second.wrapping_sub(b'0');
    (first > 0 && second <= 9 && rest.starts_with(b"\r\n"))
        .then(|| (usize::from(first) * 10 + usize::from(second), 4))
}

#[cfg(test)]
mod tests {
    use super::short_number;

    #[test]
    fn takes_one_and_two_digits_and_nothing_else() {
        for n in 0..100usize {
            let line = format!("{n}\r\nrest");
            let behind = line.find("rest").unwrap();
            assert_eq!(short_number(line.as_bytes()), Some((n, behind)));
            for cut in 0..behind {
                assert_eq!(short_number(&line.as_bytes()[..cut]), None, "{n} {cut}");
            }
        }
        for other in [
            "100\r\n", "01\r\n", "00\r\n", "-1\r\n", "+1\r\n", "1\n", "1\rx", "12\rx", "12\n\r",
            "a\r\n", "1a\r\n", "\r\n", ":\r\n", "/\r\n",
        ] {
            assert_eq!(short_number(other.as_bytes()), None, "{other:?}");
        }
    }
}
