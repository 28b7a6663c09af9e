//! Finds complete requests in what a client sent. Incremental and bounded: any split of the input gives
//! the same result, and a large argument is not looked at again with every read.
//!
//! What it accepts is what Redis accepts (`networking.c`, `processMultibulkBuffer`), no more: a frame is
//! forwarded as it came, and one that Redis refuses would cost every client of the shared backend
//! connection its replies.

use thiserror::Error;

use super::number::short_number;

/// Redis' `PROTO_INLINE_MAX_SIZE`: longest inline request and longest header line.
const MAX_LINE: usize = 64 * 1024;
/// Redis' `proto-max-bulk-len` default, which the servers behind enforce anyway.
pub const MAX_BULK: u64 = 512 * 1024 * 1024;
/// Most arguments for anybody, C's `INT_MAX`.
const MAX_COUNT: u64 = i32::MAX as u64;
/// Leading arguments whose place the scanner remembers: name, first key, and one more.
const REMEMBERED: usize = 3;

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    /// Bytes of a whole request.
    pub request: u64,
    /// Arguments, the name included.
    pub arguments: u32,
    /// Bytes of one argument.
    pub bulk: u64,
    /// Refusals speak of an unauthenticated client, as Redis does.
    pub unauthenticated: bool,
}

/// Where an argument's bytes are, counted from the start of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// One complete request at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the request.
    pub len: usize,
    pub body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A RESP array of bulk strings with at least one argument.
    Array(ArrayFrame),
    /// A line of text; its end (CR LF or LF) is not within the span.
    Inline(Span),
    /// `*0`, `*-1`: Redis skips it without an answer.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayFrame {
    pub argc: usize,
    /// Offset of the first argument's `$`.
    pub first: usize,
    spans: [Span; REMEMBERED],
}

impl ArrayFrame {
    /// The argument `index`; O(1) for the first three, else a walk over the frame.
    pub fn arg<'a>(&self, request: &'a [u8], index: usize) -> &'a [u8] {
        match self.spans.get(index) {
            Some(span) if index < self.argc => &request[span.start..span.end],
            _ => self.args(request).nth(index).map_or(&[], |arg| arg.bytes),
        }
    }

    /// All arguments in order.
    pub fn args<'a>(&self, request: &'a [u8]) -> Args<'a> {
        Args {
            request,
            at: self.first,
            left: self.argc,
        }
    }
}

/// An argument with its place in the request, `$` header and closing CR LF included.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a> {
    pub bytes: &'a [u8],
    pub outer: Span,
}

/// Walks over the arguments of a complete request.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    request: &'a [u8],
    at: usize,
    left: usize,
}

impl<'a> Iterator for Args<'a> {
    type Item = Arg<'a>;

    fn next(&mut self) -> Option<Arg<'a>> {
        self.left = self.left.checked_sub(1)?;
        let outer_start = self.at;
        let mut at = self.at + 1;
        let mut len = 0usize;
        // The scanner has accepted the frame: digits up to CR LF.
        while self.request[at] != b'\r' {
            len = len * 10 + usize::from(self.request[at] - b'0');
            at += 1;
        }
        let start = at + 2;
        self.at = start + len + 2;
        Some(Arg {
            bytes: &self.request[start..start + len],
            outer: Span {
                start: outer_start,
                end: self.at,
            },
        })
    }
}

/// The client's input can no longer be understood; texts are Redis' where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    #[error("too big mbulk count string")]
    CountTooLong,
    #[error("invalid multibulk length")]
    InvalidCount,
    /// More than [`ScanLimits::arguments`].
    #[error("invalid multibulk length")]
    TooManyArguments,
    #[error("unauthenticated multibulk length")]
    UnauthenticatedCount,
    #[error("too big bulk count string")]
    LengthTooLong,
    #[error("expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    #[error("invalid bulk length")]
    InvalidLength,
    /// More than [`ScanLimits::bulk`].
    #[error("invalid bulk length")]
    ArgumentTooLarge,
    #[error("unauthenticated bulk length")]
    UnauthenticatedLength,
    #[error("expected CRLF after a bulk string")]
    MissingEnd,
    #[error("too big inline request")]
    InlineTooLong,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("request is larger than max_request_bytes")]
    RequestTooLarge,
}

/// Redis too puts a space for what would break the error's line.
fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() {
        char::from(byte)
    } else {
        ' '
    }
}

/// What [`RequestScanner::scan`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    Complete(Frame),
    /// More input is needed; the request has at least this many bytes in all.
    Incomplete(usize),
}

/// Where the scanner stands in the unfinished request at the start of the buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestScanner {
    /// Offset of the next header; 0 = nothing seen.
    at: usize,
    /// Arguments still to come.
    left: usize,
    argc: usize,
    first: usize,
    spans: [Span; REMEMBERED],
}

impl RequestScanner {
    /// Has it seen a part of a request? If not, it is as good as a new one.
    pub fn is_within(&self) -> bool {
        self.at != 0
    }

    /// Looks for one request at the start of `buffer`. After `Incomplete` it must be called again with
    /// the same bytes and more behind them; after `Complete` with what follows the request.
    pub fn scan(&mut self, buffer: &[u8], limits: &ScanLimits) -> Result<Scan, ProtocolError> {
        if self.at == 0 {
            match buffer.first() {
                None => return Ok(Scan::Incomplete(1)),
                Some(b'*') => {}
                Some(_) => return scan_inline(buffer),
            }
            let (count, end) = match short_number(&buffer[1..]) {
                Some((count, len)) => (count as u64, 1 + len),
                None => {
                    let line = header(buffer, 1, ProtocolError::CountTooLong)?;
                    let Some((count, end)) = line else {
                        return Ok(Scan::Incomplete(buffer.len() + 1));
                    };
                    let count = parse_count(count).ok_or(ProtocolError::InvalidCount)?;
                    (count, end)
                }
            };
            if count == 0 {
                return Ok(Scan::Complete(Frame {
                    len: end,
                    body: Body::Nothing,
                }));
            }
            if count > u64::from(limits.arguments) {
                return Err(match limits.unauthenticated {
                    _ if count > MAX_COUNT => ProtocolError::InvalidCount,
                    true => ProtocolError::UnauthenticatedCount,
                    false => ProtocolError::TooManyArguments,
                });
            }
            self.argc = count as usize;
            self.left = count as usize;
            self.first = end;
            self.at = end;
        }
        self.scan_arguments(buffer, limits)
    }

    fn scan_arguments(
        &mut self,
        buffer: &[u8],
        limits: &ScanLimits,
    ) -> Result<Scan, ProtocolError> {
        let mut at = self.at;
        let mut left = self.left;
        while left > 0 {
            match buffer.get(at) {
                None => break,
                Some(b'$') => {}
                Some(&other) => return Err(ProtocolError::ExpectedBulk(other)),
            }
            let (len, start) = match short_number(&buffer[at + 1..]) {
                Some((len, line)) => (len as u64, at + 1 + line),
                None => {
                    let line = header(buffer, at + 1, ProtocolError::LengthTooLong)?;
                    let Some((digits, start)) = line else {
                        break;
                    };
                    let len = parse_digits(digits).ok_or(ProtocolError::InvalidLength)?;
                    (len, start)
                }
            };
            if len > limits.bulk {
                return Err(match limits.unauthenticated {
                    _ if len > MAX_BULK => ProtocolError::InvalidLength,
                    true => ProtocolError::UnauthenticatedLength,
                    false => ProtocolError::ArgumentTooLarge,
                });
            }
            let end = start + len as usize;
            if end as u64 + 2 > limits.request {
                return Err(ProtocolError::RequestTooLarge);
            }
            if buffer.len() < end + 2 {
                self.at = at;
                self.left = left;
                // Every further argument takes at least "$0\r\n\r\n".
                return Ok(Scan::Incomplete(end + 2 + (left - 1) * 6));
            }
            if buffer[end] != b'\r' || buffer[end + 1] != b'\n' {
                return Err(ProtocolError::MissingEnd);
            }
            let index = self.argc - left;
            if index < REMEMBERED {
                self.spans[index] = Span { start, end };
            }
            at = end + 2;
            left -= 1;
        }
        if left > 0 {
            self.at = at;
            self.left = left;
            return Ok(Scan::Incomplete((at + left * 6).max(buffer.len() + 1)));
        }
        let frame = Frame {
            len: at,
            body: Body::Array(ArrayFrame {
                argc: self.argc,
                first: self.first,
                spans: self.spans,
            }),
        };
        self.at = 0;
        Ok(Scan::Complete(frame))
    }
}

/// The text between `from` and CR LF, and the offset behind it; `None` if it is not complete.
#[inline]
fn header(
    buffer: &[u8],
    from: usize,
    too_long: ProtocolError,
) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    // Headers are a few digits: a plain loop beats memchr's set-up.
    let window = &buffer[from..buffer.len().min(from + MAX_LINE)];
    match window.iter().position(|&b| b == b'\r') {
        Some(cr) => match buffer.get(from + cr + 1) {
            Some(b'\n') => Ok(Some((&window[..cr], from + cr + 2))),
            Some(_) => Err(ProtocolError::MissingEnd),
            None => Ok(None),
        },
        None if window.len() == MAX_LINE => Err(too_long),
        None => Ok(None),
    }
}

/// Digits as Redis' `string2ll` takes them: no sign, no leading zero.
#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || (digits[0] == b'0' && digits.len() > 1) {
        return None;
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    Some(value)
}

/// An array's count; a negative one counts as 0 (Redis skips both).
fn parse_count(digits: &[u8]) -> Option<u64> {
    match digits.strip_prefix(b"-") {
        Some(magnitude) => parse_digits(magnitude).filter(|&n| n > 0).map(|_| 0),
        None => parse_digits(digits),
    }
}

fn scan_inline(buffer: &[u8]) -> Result<Scan, ProtocolError> {
    let window = &buffer[..buffer.len().min(MAX_LINE)];
    match memchr::memchr(b'\n', window) {
        Some(lf) => {
            let end = if lf > 0 && buffer[lf - 1] == b'\r' {
                lf - 1
            } else {
                lf
            };
            Ok(Scan::Complete(Frame {
                len: lf + 1,
                body: Body::Inline(Span { start: 0, end }),
            }))
        }
        None if window.len() == MAX_LINE => Err(ProtocolError::InlineTooLong),
        None => Ok(Scan::Incomplete(buffer.len() + 1)),
    }
}
