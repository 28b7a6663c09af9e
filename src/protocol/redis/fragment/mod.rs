//! Joins the replies of several servers to one request into the one reply its client expects: those to the
//! parts of a split request (MGET, MSET, DEL, ...), one part per server, however many keys it holds, and those
//! to a request that went to every server whole (DBSIZE, KEYS, SCRIPT LOAD, ...).
//!
//! A part that failed makes the whole reply an error: a nil in its place would be a lie.

#[cfg(test)]
mod generated_tests;
mod join;

use std::borrow::Cow;

use super::command::Join;
use super::config_get::ConfigRequest;
use super::cursor::Progress;
use super::element::string;
use super::info::{Answer, InfoRequest};
use super::write;

/// The replies to one request, as they come in.
#[derive(Debug)]
pub struct Gather {
    how: How,
    parts: Vec<Part>,
    /// Parts without a complete reply.
    open: usize,
    /// The first part that is an error.
    error: Option<u16>,
}

/// How the replies become one.
#[derive(Debug)]
enum How {
    Join {
        join: Join,
        /// [`Join::Array`]: for each key of the request, the part that answers it. [`Join::OneOf`]: the
        /// parts, the preferred ones first.
        order: Vec<u16>,
    },
    Scan(Progress),
    Info(Box<InfoRequest>),
    Config(Box<ConfigRequest>),
    Confirm {
        text: Box<[u8]>,
        /// What failed is undone anyway.
        regardless: bool,
    },
}

#[derive(Debug, Default)]
struct Part {
    reply: Vec<u8>,
    done: bool,
    /// There will be no reply; what is in its place is ours.
    failed: bool,
}

const UNEXPECTED: &str =
    "ERR Invalid argument: a server answered a part of this command unexpectedly";

impl Gather {
    /// `order`: the part of each key, or the order in which parts are preferred; `parts` is their number.
    pub fn new(join: Join, order: Vec<u16>, parts: usize) -> Gather {
        Gather::of(How::Join { join, order }, parts)
    }

    /// One part: the reply of the server that is asked.
    pub fn scan(progress: Progress) -> Gather {
        Gather::of(How::Scan(progress), 1)
    }

    /// A part for each server asked.
    pub fn info(request: InfoRequest) -> Gather {
        let parts = request.asked.len();
        Gather::of(How::Info(Box::new(request)), parts)
    }

    /// A part for each parameter asked for.
    pub fn config(request: ConfigRequest, parts: usize) -> Gather {
        Gather::of(How::Config(Box::new(request)), parts)
    }

    /// The reply is `text` if no part is an error, or `regardless` of that.
    pub fn confirm(text: Vec<u8>, regardless: bool, parts: usize) -> Gather {
        let text = text.into();
        Gather::of(How::Confirm { text, regardless }, parts)
    }

    /// Are those replies told in pushes, which nobody can take back, so that an error in place of them is the
    /// last reply?
    pub fn is_confirmation(&self) -> bool {
        matches!(self.how, How::Confirm { .. })
    }

    fn of(how: How, parts: usize) -> Gather {
        Gather {
            how,
            parts: std::iter::repeat_with(Part::default).take(parts).collect(),
            open: parts,
            error: None,
        }
    }

    /// A run of bytes of a part's reply. True once every part is complete.
    pub fn handle_piece(&mut self, part: u16, piece: &[u8], end: bool) -> bool {
        let number = part;
        let part = &mut self.parts[usize::from(part)];
        if part.done {
            return self.open == 0;
        }
        part.reply.extend_from_slice(piece);
        if end {
            part.done = true;
            self.open -= 1;
            if is_error(&part.reply) {
                self.error.get_or_insert(number);
            }
        }
        self.open == 0
    }

    /// A part will have no reply but `error`, a complete RESP error line. True once every part is
    /// complete.
    pub fn handle_failure(&mut self, part: u16, error: Vec<u8>) -> bool {
        let failed = &mut self.parts[usize::from(part)];
        if !failed.done {
            failed.reply = Vec::new();
            failed.failed = true;
        }
        self.handle_piece(part, &error, true)
    }

    /// Parts without a complete reply.
    pub fn open(&self) -> u32 {
        self.open as u32
    }

    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        let text = match &self.how {
            How::Confirm { text, .. } => text.len(),
            _ => 0,
        };
        text + self
            .parts
            .iter()
            .map(|part| part.reply.len())
            .sum::<usize>()
    }

    /// Appends the joined reply; only when all parts are complete. True if it is an error.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        match self.error {
            Some(part) if !self.bears_errors() => {
                out.extend_from_slice(&self.parts[usize::from(part)].reply);
            }
            _ if self.join(out).is_none() => {
                out.truncate(before);
                write::error(out, UNEXPECTED);
            }
            _ => {}
        }
        is_error(&out[before..])
    }

    /// May some of the parts be errors, and the joined reply none?
    fn bears_errors(&self) -> bool {
        match &self.how {
            How::Join { join, .. } => join.bears_errors(),
            How::Info(_) => true,
            How::Confirm { regardless, .. } => *regardless,
            How::Scan(_) | How::Config(_) => false,
        }
    }

    fn join(&self, out: &mut Vec<u8>) -> Option<()> {
        let replies = || {
            self.parts
                .iter()
                .map(|part| &part.reply[..])
                .collect::<Vec<_>>()
        };
        match &self.how {
            How::Join { join, order } => join::write(*join, order, &self.parts, out),
            How::Scan(progress) => progress.write(&self.parts.first()?.reply, out),
            How::Confirm { text, .. } => {
                out.extend_from_slice(text);
                Some(())
            }
            How::Config(request) => request.write(&replies(), out),
            How::Info(request) => {
                let texts: Vec<Option<Cow<str>>> = self.parts.iter().map(Part::text).collect();
                let answers: Vec<Answer> = (self.parts.iter().zip(&texts))
                    .map(|(part, text)| match text {
                        Some(text) => Answer::Text(text),
                        None if !part.failed && is_error(&part.reply) => Answer::Error(&part.reply),
                        None => Answer::None,
                    })
                    .collect();
                request.write(&answers, out);
                Some(())
            }
        }
    }
}

impl Part {
    fn text(&self) -> Option<Cow<'_, str>> {
        string(&self.reply).map(String::from_utf8_lossy)
    }
}

fn is_error(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'-' | b'!'))
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
    fn whole_requests_are_joined_by_what_they_ask() {
        type Case = (Join, &'static [u16], &'static [&'static [u8]], &'static str);
        let cases: [Case; 16] = [
            (
                Join::Least,
                &[],
                &[b":5\r\n", b":-2\r\n", b":7\r\n"],
                r":-2\r\n",
            ),
            (Join::Greatest, &[], &[b":5\r\n", b":-2\r\n"], r":5\r\n"),
            (
                Join::Same,
                &[],
                &[b"$1\r\na\r\n", b"$1\r\na\r\n"],
                r"$1\r\na\r\n",
            ),
            (
                Join::OneOf,
                &[2, 0, 1],
                &[b"$1\r\na\r\n", b"$1\r\nb\r\n", b"$-1\r\n"],
                r"$1\r\na\r\n",
            ),
            (Join::OneOf, &[1, 0], &[b"_\r\n", b"_\r\n"], r"_\r\n"),
            (
                Join::Concat,
                &[],
                &[b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*2\r\n:1\r\n$1\r\na\r\n"],
                r"*3\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n",
            ),
            (
                Join::Union,
                &[],
                &[b"*1\r\n$1\r\na\r\n", b"~2\r\n$1\r\nb\r\n$1\r\na\r\n"],
                r"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            ),
            (
                Join::EachLeast,
                &[],
                &[b"*2\r\n:1\r\n:1\r\n", b"*2\r\n:0\r\n:1\r\n"],
                r"*2\r\n:0\r\n:1\r\n",
            ),
            (
                Join::SumOfEach,
                &[],
                &[
                    b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n",
                    b"%2\r\n+a\r\n:2\r\n+b\r\n:1\r\n",
                ],
                r"*4\r\n$1\r\na\r\n:3\r\n$1\r\nb\r\n:1\r\n",
            ),
            (Join::SumOfEach, &[], &[b"*0\r\n", b"*0\r\n"], r"*0\r\n"),
            (
                Join::Text,
                &[],
                &[b"$2\r\na\n\r\n", b"$0\r\n\r\n", b"$1\r\nb\r\n"],
                r"$3\r\na\nb\r\n",
            ),
            (
                Join::Text,
                &[],
                &[b"=4\r\ntxt:\r\n", b"=5\r\ntxt:b\r\n"],
                r"=5\r\ntxt:b\r\n",
            ),
            (
                Join::AnyOk,
                &[],
                &[b"-NOTBUSY a\r\n", b"+OK\r\n"],
                r"+OK\r\n",
            ),
            (
                Join::AnyOk,
                &[],
                &[b"-NOTBUSY a\r\n", b"-NOTBUSY b\r\n"],
                r"-NOTBUSY a\r\n",
            ),
            (
                Join::AnyOk,
                &[],
                &[b"-NOTBUSY a\r\n", b"-ERR gone\r\n"],
                r"-ERR gone\r\n",
            ),
            (
                Join::AllOk,
                &[],
                &[b"-NOTBUSY a\r\n", b"+OK\r\n"],
                r"-NOTBUSY a\r\n",
            ),
        ];
        for (join, order, replies, wanted) in cases {
            assert_eq!(joined(join, order, replies), wanted, "{join:?}");
        }
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
        let wrong: [Case; 16] = [
            (Join::Array, &[0, 1], [b"+OK\r\n", b"*1\r\n:1\r\n"]),
            (
                Join::Array,
                &[0, 1],
                [b"*2\r\n:1\r\n:2\r\n", b"*1\r\n:1\r\n"],
            ),
            (Join::Array, &[0, 1], [b"*-1\r\n", b"*1\r\n:1\r\n"]),
            (Join::Sum, &[], [b":9223372036854775807\r\n", b":1\r\n"]),
            (Join::AllOk, &[], [b"+OK\r\n", b"+QUEUED\r\n"]),
            (Join::Same, &[], [b"+a\r\n", b"+b\r\n"]),
            (Join::AnyOk, &[], [b"-NOTBUSY a\r\n", b"+QUEUED\r\n"]),
            (Join::Least, &[], [b":1\r\n", b"+1\r\n"]),
            (Join::Concat, &[], [b"*0\r\n", b"$-1\r\n"]),
            (Join::Union, &[], [b"*0\r\n", b":1\r\n"]),
            (
                Join::EachLeast,
                &[],
                [b"*1\r\n:1\r\n", b"*2\r\n:1\r\n:1\r\n"],
            ),
            (Join::EachLeast, &[], [b"*1\r\n:1\r\n", b"*1\r\n+1\r\n"]),
            (
                Join::SumOfEach,
                &[],
                [b"*2\r\n+a\r\n:1\r\n", b"*2\r\n+b\r\n:1\r\n"],
            ),
            (Join::SumOfEach, &[], [b"*2\r\n+a\r\n:1\r\n", b"*0\r\n"]),
            (Join::SumOfEach, &[], [b"*1\r\n+a\r\n", b"*1\r\n+a\r\n"]),
            (Join::Text, &[], [b"$1\r\na\r\n", b"$-1\r\n"]),
        ];
        for (join, order, parts) in wrong {
            assert_eq!(joined(join, order, &parts), unexpected, "{join:?}");
        }
    }
}
