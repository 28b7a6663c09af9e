//! Joins the replies to the parts of a split request (MGET, MSET, DEL, ...) into the one its client
//! expects. One part per server, however many keys it holds.
//!
//! A part that failed makes the whole reply an error: a nil in its place would be a lie.

use super::command::Join;
use super::reply::ReplyScanner;
use super::write;

/// The replies to one split request, as they come in.
#[derive(Debug)]
pub struct Gather {
    join: Join,
    /// `Join::Array`: for each key of the request, the part that answers it.
    order: Vec<u16>,
    parts: Vec<Part>,
    /// Parts without a complete reply.
    open: usize,
    /// The first error of a part, as a complete RESP error line.
    error: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Part {
    reply: Vec<u8>,
    done: bool,
}

const UNEXPECTED: &str =
    "ERR Invalid argument: a server answered a part of this command unexpectedly";

impl Gather {
    /// `order` names the part of each key, `parts` is their number.
    pub fn new(join: Join, order: Vec<u16>, parts: usize) -> Gather {
        Gather {
            join,
            order,
            parts: std::iter::repeat_with(Part::default).take(parts).collect(),
            open: parts,
            error: None,
        }
    }

    /// A run of bytes of a part's reply. True once every part is complete.
    pub fn handle_piece(&mut self, part: u16, piece: &[u8], end: bool) -> bool {
        let part = &mut self.parts[usize::from(part)];
        if part.done {
            return self.open == 0;
        }
        part.reply.extend_from_slice(piece);
        if end {
            part.done = true;
            self.open -= 1;
            if matches!(part.reply.first(), Some(b'-' | b'!')) {
                let error = std::mem::take(&mut part.reply);
                self.error.get_or_insert(error);
            }
        }
        self.open == 0
    }

    /// A part will have no reply but `error`, a complete RESP error line. True once every part is
    /// complete.
    pub fn handle_failure(&mut self, part: u16, error: Vec<u8>) -> bool {
        self.parts[usize::from(part)].reply = Vec::new();
        self.handle_piece(part, &error, true)
    }

    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.parts.iter().map(|part| part.reply.len()).sum()
    }

    /// Appends the joined reply; only when all parts are complete. True if it is an error.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        if let Some(error) = &self.error {
            out.extend_from_slice(error);
            return true;
        }
        let before = out.len();
        let joined = match self.join {
            Join::Array => self.write_array(out),
            Join::Sum => self.write_sum(out),
            Join::AllOk => self.write_ok(out),
        };
        if joined.is_none() {
            out.truncate(before);
            write::error(out, UNEXPECTED);
        }
        joined.is_none()
    }

    /// `None` if a part's reply is not an array with an element for each of its keys.
    fn write_array(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut expected = vec![0usize; self.parts.len()];
        for &part in &self.order {
            expected[usize::from(part)] += 1;
        }
        let mut cursors = Vec::with_capacity(self.parts.len());
        for (part, keys) in self.parts.iter().zip(expected) {
            cursors.push(array_body(&part.reply, keys)?);
        }
        out.reserve(self.held());
        write::array_header(out, self.order.len());
        let mut scanner = ReplyScanner::default();
        for &part in &self.order {
            let rest = &mut cursors[usize::from(part)];
            let piece = scanner.scan(rest).ok().filter(|piece| piece.end)?;
            let (element, behind) = rest.split_at(piece.len);
            out.extend_from_slice(element);
            *rest = behind;
        }
        cursors.iter().all(|rest| rest.is_empty()).then_some(())
    }

    fn write_sum(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut sum = 0i64;
        for part in &self.parts {
            let digits = part.reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
            let n: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            sum = sum.checked_add(n)?;
        }
        write::integer(out, sum);
        Some(())
    }

    fn write_ok(&self, out: &mut Vec<u8>) -> Option<()> {
        const OK: &[u8] = b"+OK\r\n";
        self.parts
            .iter()
            .all(|part| part.reply == OK)
            .then(|| out.extend_from_slice(OK))
    }
}

/// What follows the header of an array of `elements` elements.
fn array_body(reply: &[u8], elements: usize) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', reply)? + 1;
    let mut header = Vec::with_capacity(16);
    write::array_header(&mut header, elements);
    (reply[..end] == header[..]).then(|| &reply[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(join: Join, order: &[u16], replies: &[&[u8]]) -> String {
        let mut gather = Gather::new(join, order.to_vec(), replies.len());
        // Out of order and byte by byte, as the worst network would have it.
        for (part, reply) in replies.iter().enumerate().rev() {
            for (i, byte) in reply.iter().enumerate() {
                let all = gather.handle_piece(part as u16, &[*byte], i + 1 == reply.len());
                assert_eq!(all, part == 0 && i + 1 == reply.len());
            }
        }
        let mut out = b"before".to_vec();
        gather.write(&mut out);
        out.drain(..6);
        out.escape_ascii().to_string()
    }

    #[test]
    fn elements_return_to_the_places_of_their_keys() {
        let parts: [&[u8]; 2] = [
            b"*2\r\n$1\r\na\r\n$-1\r\n",
            b"*3\r\n$0\r\n\r\n*1\r\n:1\r\n_\r\n",
        ];
        assert_eq!(
            joined(Join::Array, &[1, 0, 1, 0, 1], &parts),
            r"*5\r\n$0\r\n\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n_\r\n"
        );
    }

    #[test]
    fn sums_and_oks_are_joined() {
        assert_eq!(
            joined(Join::Sum, &[], &[b":2\r\n", b":0\r\n", b":40\r\n"]),
            r":42\r\n"
        );
        assert_eq!(
            joined(Join::AllOk, &[], &[b"+OK\r\n", b"+OK\r\n"]),
            r"+OK\r\n"
        );
    }

    #[test]
    fn an_error_in_any_part_is_the_reply() {
        assert_eq!(
            joined(
                Join::Array,
                &[0, 1],
                &[b"*1\r\n$1\r\na\r\n", b"-OOM no\r\n"]
            ),
            r"-OOM no\r\n"
        );
        let mut gather = Gather::new(Join::Sum, Vec::new(), 2);
        assert!(!gather.handle_piece(0, b":1", false));
        assert!(!gather.handle_failure(0, b"-ERR gone\r\n".to_vec()));
        assert!(gather.handle_piece(1, b":1\r\n", true));
        let mut out = Vec::new();
        assert!(gather.write(&mut out));
        assert_eq!(out, b"-ERR gone\r\n");
    }

    #[test]
    fn a_part_of_the_wrong_shape_is_an_error_not_a_shifted_reply() {
        let unexpected = format!(r"-{UNEXPECTED}\r\n");
        type Case = (Join, &'static [u16], [&'static [u8]; 2]);
        let wrong: [Case; 5] = [
            (Join::Array, &[0, 1], [b"+OK\r\n", b"*1\r\n:1\r\n"]),
            (
                Join::Array,
                &[0, 1],
                [b"*2\r\n:1\r\n:2\r\n", b"*1\r\n:1\r\n"],
            ),
            (Join::Array, &[0, 1], [b"*-1\r\n", b"*1\r\n:1\r\n"]),
            (Join::Sum, &[], [b":9223372036854775807\r\n", b":1\r\n"]),
            (Join::AllOk, &[], [b"+OK\r\n", b"+QUEUED\r\n"]),
        ];
        for (join, order, parts) in wrong {
            assert_eq!(joined(join, order, &parts), unexpected, "{join:?}");
        }
    }
}
