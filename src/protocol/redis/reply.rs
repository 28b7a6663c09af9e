//! Finds where replies end in what a server sent. Incremental: nearly every byte is consumed as it comes,
//! so that a large reply can flow on to its client before its end is here. Looks at lengths and nesting
//! only; values pass unread.
//!
//! RESP2 and RESP3, nested to [`MAX_DEPTH`]. Streamed RESP3 values (`$?`, `*?`) are refused: no server
//! sends them.

use thiserror::Error;

use super::number::short_number;

/// Deeper nesting than Redis answers with: a script's reply nests to what Lua's stack holds (`luaconf.h`,
/// `LUAI_MAXCSTACK` 8000). Bounds the memory a lying server can take, to 8 bytes for each.
pub const MAX_DEPTH: usize = 10_000;
/// Room for so much nesting is kept from reply to reply.
const MOST_KEPT: usize = 64;
/// Longest line: status, error, number. Script errors are the long ones.
pub const MAX_LINE: usize = 1024 * 1024;
/// Longest header (`$<length>`): kind, sign, 19 digits, CR LF, with room to spare.
const MAX_HEADER: usize = 32;
/// So much of an error, or all of it, is in its first piece, for those who judge it by its first word.
const ERROR_CODE: usize = 16;

/// The server's output can no longer be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    #[error("unexpected byte '{}' where a reply should start", .0.escape_ascii())]
    UnknownType(u8),
    #[error("malformed length")]
    BadLength,
    #[error("line too long")]
    LineTooLong,
    #[error("missing CRLF")]
    MissingEnd,
    #[error("nested too deeply")]
    TooDeep,
}

/// A run of bytes at the start of the buffer that belongs to one top-level reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes; with `end == false` what is behind them is an incomplete header and must be given
    /// again with more.
    pub len: usize,
    /// The reply is complete.
    pub end: bool,
}

/// Where the scanner stands within the current reply.
#[derive(Clone, Debug, Default)]
pub struct ReplyScanner {
    /// First byte of the current top-level reply; 0 = between replies.
    kind: u8,
    /// Bytes of the current bulk string to come, its CR LF included.
    bulk: u64,
    /// Bytes of the current unfinished line seen so far; 0 = not in a line.
    line: usize,
    /// The last byte of that line was CR.
    carriage_return: bool,
    /// Elements to come, per open aggregate, outermost first.
    open: Vec<u64>,
}

impl ReplyScanner {
    /// First byte of the reply that the last piece belonged to.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// Is a reply begun and not complete?
    pub fn in_reply(&self) -> bool {
        self.bulk > 0 || self.line > 0 || !self.open.is_empty()
    }

    /// Consumes bytes of one top-level reply from the start of `buffer`.
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Piece, ReplyError> {
        if !self.in_reply() {
            self.kind = buffer.first().copied().unwrap_or(0);
        }
        let mut at = 0;
        loop {
            if self.bulk > 0 {
                at += self.take_bulk(&buffer[at..])?;
                if self.bulk > 0 {
                    return Ok(Piece {
                        len: at,
                        end: false,
                    });
                }
            } else if self.line > 0 {
                match self.finish_line(&buffer[at..])? {
                    Some(len) => at += len,
                    None => {
                        return Ok(Piece {
                            len: buffer.len(),
                            end: false,
                        });
                    }
                }
            } else if let Some(len) = small_bulk(&buffer[at..]) {
                at += len;
            } else {
                match self.start_element(&buffer[at..])? {
                    Some((len, true)) => at += len,
                    Some((len, false)) => {
                        at += len;
                        continue;
                    }
                    None => {
                        return Ok(Piece {
                            len: at,
                            end: false,
                        });
                    }
                }
            }
            if self.element_done() {
                return Ok(Piece { len: at, end: true });
            }
        }
    }

    /// Takes what is here of the current bulk string; its last two bytes must be CR LF.
    #[inline]
    fn take_bulk(&mut self, bytes: &[u8]) -> Result<usize, ReplyError> {
        let taken = self.bulk.min(bytes.len() as u64);
        let end = [(2, b'\r'), (1, b'\n')];
        for (from_end, want) in end {
            if self.bulk >= from_end
                && self.bulk - from_end < taken
                && bytes[(self.bulk - from_end) as usize] != want
            {
                return Err(ReplyError::MissingEnd);
            }
        }
        self.bulk -= taken;
        Ok(taken as usize)
    }

    /// One element is complete; closes every aggregate this completes. True at the end of the reply.
    #[inline]
    fn element_done(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }

    /// Takes an element's first line (for a line type, the element). Answers its length and whether the
    /// element is complete with it, `None` if the header is not all there.
    #[inline]
    fn start_element(&mut self, buffer: &[u8]) -> Result<Option<(usize, bool)>, ReplyError> {
        let Some(&kind) = buffer.first() else {
            return Ok(None);
        };
        match kind {
            b'$' | b'*' | b'=' | b'!' | b'~' | b'>' | b'%' | b'|' => {}
            b'-' if buffer.len() < ERROR_CODE && !buffer.contains(&b'\n') => return Ok(None),
            b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' => {
                return match self.finish_line(buffer)? {
                    Some(len) => Ok(Some((len, true))),
                    None => Ok(Some((buffer.len(), false))),
                };
            }
            other => return Err(ReplyError::UnknownType(other)),
        }
        let Some((value, end)) = length(buffer)? else {
            return Ok(None);
        };
        let Some(n) = value else {
            // Null bulk string or array; RESP3 has no other null of this form.
            return match kind {
                b'$' | b'*' => Ok(Some((end, true))),
                _ => Err(ReplyError::BadLength),
            };
        };
        match kind {
            b'$' | b'=' | b'!' => {
                self.bulk = n.checked_add(2).ok_or(ReplyError::BadLength)?;
                Ok(Some((end, false)))
            }
            b'%' => self.open_aggregate(n.checked_mul(2), end),
            // An attribute stands before the element it describes, and is none itself.
            b'|' => self.open_aggregate(n.checked_mul(2).and_then(|n| n.checked_add(1)), end),
            _ => self.open_aggregate(Some(n), end),
        }
    }

    fn open_aggregate(
        &mut self,
        elements: Option<u64>,
        header: usize,
    ) -> Result<Option<(usize, bool)>, ReplyError> {
        let n = elements.ok_or(ReplyError::BadLength)?;
        if n == 0 {
            return Ok(Some((header, true)));
        }
        match self.open.len() {
            // What a deep reply took is not kept for ever.
            0 => self.open.shrink_to(MOST_KEPT),
            MAX_DEPTH => return Err(ReplyError::TooDeep),
            _ => {}
        }
        self.open.push(n);
        Ok(Some((header, false)))
    }

    /// Looks for the end of the current line; answers the bytes up to and with its CR LF, or `None` if it
    /// goes on behind the buffer.
    #[inline]
    fn finish_line(&mut self, buffer: &[u8]) -> Result<Option<usize>, ReplyError> {
        match memchr::memchr(b'\n', buffer) {
            Some(lf) => {
                let cr = match lf {
                    0 => self.line > 0 && self.carriage_return,
                    _ => buffer[lf - 1] == b'\r',
                };
                if !cr {
                    return Err(ReplyError::MissingEnd);
                }
                self.line = 0;
                Ok(Some(lf + 1))
            }
            None => {
                self.line += buffer.len();
                if self.line > MAX_LINE {
                    return Err(ReplyError::LineTooLong);
                }
                if let Some(&last) = buffer.last() {
                    self.carriage_return = last == b'\r';
                }
                Ok(None)
            }
        }
    }
}

/// The length of the element at the start of `buffer` if it is a whole bulk string of less than 100 bytes, as
/// most are.
#[inline]
fn small_bulk(buffer: &[u8]) -> Option<usize> {
    let (len, line) = short_number(buffer.strip_prefix(b"$")?)?;
    let end = 1 + line + len;
    (buffer.get(end..end + 2)? == b"\r\n").then_some(end + 2)
}

/// The number of a header line (`None` for -1) and the offset behind its CR LF.
#[inline]
fn length(buffer: &[u8]) -> Result<Option<(Option<u64>, usize)>, ReplyError> {
    let mut value = 0u64;
    for (i, &byte) in buffer.iter().enumerate().skip(1).take(MAX_HEADER) {
        match byte {
            b'0'..=b'9' if i <= 18 => value = value * 10 + u64::from(byte - b'0'),
            b'\r' if i > 1 => {
                return match buffer.get(i + 1) {
                    Some(b'\n') => Ok(Some((Some(value), i + 2))),
                    Some(_) => Err(ReplyError::MissingEnd),
                    None => Ok(None),
                };
            }
            b'-' if i == 1 => return null_length(buffer),
            _ => return Err(ReplyError::BadLength),
        }
    }
    Ok(None)
}

fn null_length(buffer: &[u8]) -> Result<Option<(Option<u64>, usize)>, ReplyError> {
    const NULL: &[u8] = b"-1\r\n";
    let given = &buffer[1..buffer.len().min(1 + NULL.len())];
    if !NULL.starts_with(given) {
        return Err(ReplyError::BadLength);
    }
    Ok((given.len() == NULL.len()).then_some((None, 1 + NULL.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces; answers the lengths of the replies found.
    fn lengths(input: &[u8], pieces: &[usize]) -> Result<Vec<usize>, ReplyError> {
        let mut scanner = ReplyScanner::default();
        let (mut found, mut current, mut held) = (Vec::new(), 0, Vec::new());
        let mut rest = input;
        let mut sizes = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let n = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            held.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            loop {
                let piece = scanner.scan(&held)?;
                held.drain(..piece.len);
                current += piece.len;
                if !piece.end {
                    break;
                }
                found.push(current);
                current = 0;
                if held.is_empty() {
                    break;
                }
            }
        }
        Ok(found)
    }

    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$5\r\nhello\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n+a\r\n$2\r\n\r\n\r\n",
        b"%1\r\n+k\r\n*2\r\n:1\r\n_\r\n",
        b"~2\r\n#t\r\n,1.5\r\n",
        b"|1\r\n+ttl\r\n:3\r\n*1\r\n$1\r\nx\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!5\r\nERR x\r\n",
        b"(123456789012345678901234567890\r\n",
        b">2\r\n+invalidate\r\n*0\r\n",
        b"%0\r\n",
        b"*3\r\n*0\r\n*-1\r\n%0\r\n",
    ];

    #[test]
    fn finds_every_reply_at_any_split() {
        let all: Vec<u8> = REPLIES.concat();
        let want: Vec<usize> = REPLIES.iter().map(|r| r.len()).collect();
        for size in 1..all.len() {
            assert_eq!(lengths(&all, &[size]).unwrap(), want, "size {size}");
        }
        for first in 1..all.len() {
            assert_eq!(
                lengths(&all, &[first, all.len()]).unwrap(),
                want,
                "first {first}"
            );
        }
    }

    #[test]
    fn a_large_bulk_is_consumed_as_it_comes() {
        let mut scanner = ReplyScanner::default();
        assert_eq!(
            scanner.scan(b"$10\r\nabc").unwrap(),
            Piece { len: 8, end: false }
        );
        assert_eq!(scanner.kind(), b'$');
        assert_eq!(scanner.scan(b"defg").unwrap(), Piece { len: 4, end: false });
        assert_eq!(
            scanner.scan(b"hij\r\n+next\r\n").unwrap(),
            Piece { len: 5, end: true }
        );
    }

    #[test]
    fn refuses_garbage() {
        let cases: [(&[u8], ReplyError); 10] = [
            (b"HTTP/1.1 200", ReplyError::UnknownType(b'H')),
            (b"$x\r\n", ReplyError::BadLength),
            (b"$-2\r\n", ReplyError::BadLength),
            (b"%-1\r\n", ReplyError::BadLength),
            (b"$?\r\n", ReplyError::BadLength),
            (b"$99999999999999999999\r\n", ReplyError::BadLength),
            (b"$1\r\nabc", ReplyError::MissingEnd),
            (b"$1\r\na\r\r", ReplyError::MissingEnd),
            (b"+OK\n", ReplyError::MissingEnd),
            (b"*1\rx", ReplyError::MissingEnd),
        ];
        for (input, want) in cases {
            for size in [1, 2, 3, 64] {
                assert_eq!(
                    lengths(input, &[size]),
                    Err(want),
                    "{}",
                    input.escape_ascii()
                );
            }
        }
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 1);
        assert_eq!(lengths(&deep, &[64]), Err(ReplyError::TooDeep));
        let long = vec![b'+'; MAX_LINE + 2];
        assert_eq!(lengths(&long, &[4096]), Err(ReplyError::LineTooLong));
    }
}
