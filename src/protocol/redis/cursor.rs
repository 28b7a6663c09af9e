//! SCAN over several servers, one after the other, with nothing kept between its calls: the cursor says
//! which server's turn it is and where the scan stands there.
//!
//! ```text
//! client's cursor = server's cursor << 16 | slot of the server
//! ```
//! The width does not depend on how many servers there are, so a scan goes on across a reload. 0 is the start
//! and the end, as in Redis: no other place of a scan has it, because a server whose cursor is 0 again is
//! finished and the next one has a higher slot.

use super::write;

const SLOT_BITS: u32 = u16::BITS;
/// A server's cursor has as many bits as the size of its table.
const CURSOR_BITS: u32 = u64::BITS - SLOT_BITS;

pub const INVALID: &str = "ERR invalid cursor";
/// The reply of a scan that has come to its end.
pub const END: &[u8] = b"*2\r\n$1\r\n0\r\n*0\r\n";
const TOO_LARGE: &str =
    "ERR a server's scan cursor does not fit in the 48 bits the proxy has for it";

/// Where a scan stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanCursor {
    /// The slot of the server whose turn it is.
    pub server: u16,
    /// The cursor it is given.
    pub cursor: u64,
}

impl ScanCursor {
    /// A client's cursor; `None` if it is no number.
    pub fn parse(text: &[u8]) -> Option<ScanCursor> {
        let whole = number(text)?;
        Some(ScanCursor {
            server: whole as u16,
            cursor: whole >> SLOT_BITS,
        })
    }

    fn encode(self) -> u64 {
        self.cursor << SLOT_BITS | u64::from(self.server)
    }
}

/// What a call of SCAN has to know to answer its client.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The slot of the server that is asked.
    pub server: u16,
    /// The one that is next when this one is finished; `None`: it is the last.
    pub next: Option<u16>,
}

impl Progress {
    /// Appends the client's reply, given the server's; `None` if that is none to SCAN.
    pub(super) fn write(&self, reply: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let rest = reply.strip_prefix(b"*2\r\n$")?;
        let line = memchr::memchr(b'\r', rest)?;
        let len = usize::try_from(number(&rest[..line])?).ok()?;
        let rest = rest[line..].strip_prefix(b"\r\n")?;
        let (digits, rest) = rest.split_at_checked(len)?;
        let keys = rest.strip_prefix(b"\r\n")?;
        let cursor = number(digits)?;
        if cursor >> CURSOR_BITS != 0 {
            write::error(out, TOO_LARGE);
            return Some(());
        }
        let place = match (cursor, self.next) {
            (0, None) => ScanCursor::default(),
            (0, Some(server)) => ScanCursor { server, cursor: 0 },
            _ => ScanCursor {
                server: self.server,
                cursor,
            },
        };
        write::array_header(out, 2);
        write::bulk_number(out, place.encode());
        out.extend_from_slice(keys);
        Some(())
    }
}

/// Digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(server: u16, next: Option<u16>, reply: &str) -> Option<String> {
        let mut out = Vec::new();
        let progress = Progress { server, next };
        progress.write(reply.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_client_gives_back_what_it_was_given() {
        for (server, cursor) in [(0, 1), (1, 0), (65535, (1 << 48) - 1), (7, 1 << 40)] {
            let place = ScanCursor { server, cursor };
            let reply = format!("*2\r\n${}\r\n{cursor}\r\n*0\r\n", cursor.to_string().len());
            let text = match cursor {
                0 => rewritten(server - 1, Some(server), &reply),
                _ => rewritten(server, None, &reply),
            };
            let text = text.unwrap();
            let given = text.lines().nth(2).unwrap();
            assert_eq!(ScanCursor::parse(given.as_bytes()), Some(place));
            assert!(text.ends_with("\r\n*0\r\n"));
        }
        assert_eq!(ScanCursor::parse(b"0"), Some(ScanCursor::default()));
    }

    #[test]
    fn a_finished_server_is_followed_by_the_next_and_the_last_by_the_end() {
        let reply = "*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n";
        let at = |cursor: &str| {
            let len = cursor.len();
            Some(format!("*2\r\n${len}\r\n{cursor}\r\n*1\r\n$1\r\na\r\n"))
        };
        assert_eq!(rewritten(3, Some(5), reply), at("5"));
        assert_eq!(rewritten(5, None, reply), at("0"));
    }

    #[test]
    fn other_texts_are_no_cursors() {
        for text in [
            "",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "x",
            "18446744073709551616",
        ] {
            assert_eq!(ScanCursor::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_cursor_of_a_server_that_does_not_fit_is_an_error() {
        let reply = format!("*2\r\n$15\r\n{}\r\n*0\r\n", 1u64 << 48);
        assert_eq!(
            rewritten(0, None, &reply).unwrap(),
            format!("-{TOO_LARGE}\r\n")
        );
    }

    #[test]
    fn other_replies_are_not_taken_for_ones_to_scan() {
        for reply in [
            "*0\r\n",
            "*2\r\n:1\r\n*0\r\n",
            "*2\r\n$1\r\nx\r\n*0\r\n",
            "*2\r\n$9\r\n1\r\n*0\r\n",
            "+OK\r\n",
            "*2\r\n$-1\r\n*0\r\n",
            "*3\r\n$1\r\n1\r\n*0\r\n*0\r\n",
        ] {
            assert_eq!(rewritten(0, None, reply), None, "{reply:?}");
        }
    }
}
