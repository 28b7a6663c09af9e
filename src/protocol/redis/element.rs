//! A complete reply taken apart: its elements, and what they hold.

use super::reply::ReplyScanner;

/// The elements of an aggregate, a map's keys and values in turn.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
    scanner: ReplyScanner,
}

impl<'a> Elements<'a> {
    /// `None` if `reply` is no array, set, push or map.
    pub fn of(reply: &'a [u8]) -> Option<Elements<'a>> {
        let (header, rest) = reply.split_at(memchr::memchr(b'\n', reply)? + 1);
        let digits = header.get(1..)?.strip_suffix(b"\r\n")?;
        let count: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let left = match header.first()? {
            b'*' | b'~' | b'>' => count,
            b'%' => count.checked_mul(2)?,
            _ => return None,
        };
        Some(Elements {
            rest,
            left,
            scanner: ReplyScanner::default(),
        })
    }

    pub fn len(&self) -> usize {
        self.left
    }

    /// The bytes of the elements not yet taken.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let piece = self.scanner.scan(self.rest).ok()?;
        let (element, rest) = self.rest.split_at_checked(piece.len)?;
        self.rest = rest;
        piece.end.then_some(element)
    }
}

/// The value of an integer reply.
pub(super) fn integer(reply: &[u8]) -> Option<i64> {
    let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What a string holds: of a simple one, a bulk string, or a verbatim string, whose format is left out.
pub(super) fn string(reply: &[u8]) -> Option<&[u8]> {
    let line = memchr::memchr(b'\n', reply)? + 1;
    match reply.first()? {
        b'+' => reply.get(1..line.checked_sub(2)?),
        b'$' => reply.get(line..)?.strip_suffix(b"\r\n"),
        b'=' => reply.get(line + b"txt:".len()..)?.strip_suffix(b"\r\n"),
        _ => None,
    }
}

pub(super) fn is_null(reply: &[u8]) -> bool {
    matches!(reply, b"_\r\n" | b"$-1\r\n" | b"*-1\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregates_of_every_kind_have_elements() {
        let elements = |reply| Elements::of(reply).map(Iterator::collect::<Vec<&[u8]>>);
        let nested = elements(b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n_\r\n").unwrap();
        assert_eq!(nested, [&b"$1\r\na\r\n"[..], b"*1\r\n:1\r\n", b"_\r\n"]);
        assert_eq!(elements(b"~1\r\n+a\r\n").unwrap(), [b"+a\r\n"]);
        assert_eq!(elements(b"%1\r\n+a\r\n:1\r\n").unwrap().len(), 2);
        assert_eq!(elements(b"*0\r\n").unwrap().len(), 0);
        for other in [&b"*-1\r\n"[..], b"$1\r\na\r\n", b"+OK\r\n", b"", b"*x\r\n"] {
            assert_eq!(elements(other), None, "{}", other.escape_ascii());
        }
        // The caller sees by the count that some are missing.
        let mut cut = Elements::of(b"*2\r\n:1\r\n").unwrap();
        assert_eq!((cut.len(), cut.next()), (2, Some(&b":1\r\n"[..])));
        assert_eq!(cut.next(), None);
    }

    #[test]
    fn strings_and_integers_are_read_whole() {
        for (reply, held) in [
            (&b"$2\r\nab\r\n"[..], Some(&b"ab"[..])),
            (b"=6\r\ntxt:ab\r\n", Some(b"ab")),
            (b"+ab\r\n", Some(b"ab")),
            (b"$0\r\n\r\n", Some(b"")),
            (b"$4\r\na\r\nb\r\n", Some(b"a\r\nb")),
            (b":1\r\n", None),
            (b"*0\r\n", None),
        ] {
            assert_eq!(string(reply), held, "{}", reply.escape_ascii());
        }
        assert_eq!(integer(b":-12\r\n"), Some(-12));
        assert_eq!(integer(b":99999999999999999999\r\n"), None);
        assert_eq!(integer(b"$1\r\n1\r\n"), None);
        assert!(is_null(b"_\r\n") && is_null(b"$-1\r\n") && !is_null(b"$0\r\n\r\n"));
    }
}
