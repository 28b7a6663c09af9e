//! One stream to a server: what is queued, what is sent, whose reply comes next.
//!
//! ```text
//!   fifo   [call][call][call][call][call]      one entry per request, oldest first
//!           ^ next reply       ^ first not yet (wholly) written
//!   stream ----consumed----written------appended-->   absolute byte offsets of the requests
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::blocking::{Blocked, MESSENGER};
use super::dedicated::{DEDICATED, Owner};
use super::listening::Listening;
use super::noscript::{NO_SCRIPT, Unknown};
use super::slow::Meter;
use super::{Call, Cause, Failure, Fate, Kind, Replies, Turn, UNTIMED};
use crate::buffer::{BufferPool, OutBuf, SHARE_FROM};
use crate::protocol::redis::handshake::repeatable;
use crate::protocol::redis::reply::ReplyScanner;
use crate::topology::Endpoint;

/// A request that waits for its reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub call: Call,
    /// When it was queued, in the worker's milliseconds.
    pub since: u32,
    /// Stream offset behind its last byte.
    pub end: u64,
}

// One per request in flight: half a cache line.
const _: () = assert!(std::mem::size_of::<InFlight>() == 32);

/// A request that the server refused to execute: it may be sent elsewhere, or get this reply.
#[derive(Debug)]
pub(super) struct Bounced {
    pub entry: InFlight,
    pub request: Vec<u8>,
    pub reply: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Has no socket and gets none before the hold on its server ends.
    Waiting,
    /// Requests queue up until the server has accepted us.
    Connecting,
    Ready,
    /// The server lives elsewhere now: nothing new is queued, the connection ends with its last reply.
    Retiring,
    /// Answers no more; waits to be removed by the shell.
    Dead,
}

/// What a batch of replies tells about the server.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub replies: u64,
    pub bytes: u64,
    /// Among them `-OOM`, `-BUSY` or `-LOADING`, which twemproxy counts as failures of the server.
    pub unwell: bool,
    /// Among them the first of the connection that says that the server wants a password.
    pub locked: bool,
    /// Requests that the server refused to execute because of its role or state.
    pub bounced: Vec<Bounced>,
    /// Requests that run a script which the server does not know.
    pub unknown: Vec<Unknown>,
    /// The server has told how it calls the connection.
    pub named: bool,
}

/// What becomes of (the start of) a reply.
enum Verdict {
    HandOn,
    /// It must be read whole before anything of it is handed on.
    ReadOn,
    /// The request may be sent elsewhere: it has no reply yet.
    Bounced,
    /// The request has its reply, but the client does not get it for now.
    Kept,
    /// The client is told this.
    Instead(Failure),
}

#[derive(Debug)]
pub struct Connection {
    pub(super) pool: u16,
    pub(super) server: u16,
    pub(super) kind: Kind,
    /// Which of `server_connections`; or [`DEDICATED`], [`MESSENGER`], [`super::pool::ASIDE`].
    pub(super) lane: u32,
    /// Whose it is, if it is a dedicated one in use.
    pub(super) owner: Option<Owner>,
    /// Where in the stream that owner began.
    pub(super) claimed: u64,
    /// Its last request may wait for long.
    pub(super) blocked: Option<Blocked>,
    /// The server's own name for it (`CLIENT ID`), if it was asked.
    pub(super) server_id: Option<u64>,
    /// Its owner wants to hear what the server says unasked.
    pub(super) listening: Option<Listening>,
    pub(super) endpoint: Endpoint,
    pub(super) state: State,
    pub(super) fifo: VecDeque<InFlight>,
    pub(super) out: OutBuf,
    pub(super) consumed: u64,
    pub(super) written: u64,
    pub(super) appended: u64,
    pub(super) scanner: ReplyScanner,
    /// The incomplete header at the end of the last read.
    partial: Vec<u8>,
    pub(super) dirty: bool,
    /// Retires as soon as the server has accepted us.
    pub(super) leaving: bool,
    /// The server has accepted us once.
    pub(super) connected: bool,
    /// It has given a reply: more than a kernel that accepts for a process that hangs.
    pub(super) proven: bool,
    /// What `-NOAUTH` means, if the pool has no password to give.
    no_password: Option<Failure>,
    told_locked: bool,
    /// It began with requests of an earlier connection.
    pub(super) adopted: bool,
    /// How many requests at the front came back from an earlier connection.
    pub(super) returned: usize,
    /// Part of the head's reply has been handed on.
    pub(super) begun: bool,
    /// The server answers only while it is a master: what it refuses as none is not handed on.
    pub(super) gated: bool,
    /// When to give up on replies still due, once the server has moved.
    pub(super) ends_by: Option<u32>,
    /// Requests and their bytes queued since the last report.
    pub(super) fresh: [u64; 2],
    /// What this connection has added to the server's gauges.
    pub(super) reported: [u64; 6],
}

impl Connection {
    /// `no_password`: in place of the server's `-NOAUTH`, which names no server. `gated`: a refusal to
    /// execute because of the server's role is not handed on.
    pub(super) fn new(
        (pool, server): (u16, u16),
        kind: Kind,
        lane: u32,
        endpoint: Endpoint,
        no_password: Option<Failure>,
        gated: bool,
    ) -> Self {
        Connection {
            pool,
            server,
            kind,
            lane,
            owner: None,
            claimed: 0,
            blocked: None,
            server_id: None,
            listening: None,
            endpoint,
            state: State::Connecting,
            fifo: VecDeque::new(),
            out: OutBuf::default(),
            consumed: 0,
            written: 0,
            appended: 0,
            scanner: ReplyScanner::default(),
            partial: Vec::new(),
            dirty: false,
            leaving: false,
            connected: false,
            proven: false,
            no_password,
            told_locked: false,
            adopted: false,
            returned: 0,
            begun: false,
            gated,
            ends_by: None,
            fresh: [0; 2],
            reported: [0; 6],
        }
    }

    fn enqueue(&mut self, call: Call, len: usize, now: u32) {
        self.appended += len as u64;
        self.fresh[0] += 1;
        self.fresh[1] += len as u64;
        self.fifo.push_back(InFlight {
            call,
            since: now,
            end: self.appended,
        });
    }

    /// Queues a complete request.
    #[inline]
    pub fn queue(&mut self, call: Call, request: &[u8], now: u32, buffers: &mut BufferPool) {
        self.out.extend(request, buffers);
        self.enqueue(call, request.len(), now);
    }

    /// Queues a complete request that owns its memory.
    pub fn queue_owned(&mut self, call: Call, request: Bytes, now: u32, buffers: &mut BufferPool) {
        let len = request.len();
        self.out.push(request, buffers);
        self.enqueue(call, len, now);
    }

    /// Appends a part of a request that [`Connection::queue`] will complete in the same turn.
    pub fn append(&mut self, bytes: &[u8], buffers: &mut BufferPool) {
        self.out.extend(bytes, buffers);
        self.appended += bytes.len() as u64;
        self.fresh[1] += bytes.len() as u64;
    }

    /// Bytes that wait to be written.
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready | State::Retiring)
    }

    /// Writes what is queued; the shell calls it while it makes progress.
    ///
    /// # Errors
    /// Whatever `write` answers.
    pub fn write_to(
        &mut self,
        write: impl FnOnce(&[std::io::IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let n = self.out.write_to(write)?;
        self.written += n as u64;
        Ok(n)
    }

    /// The bytes that must stand before the next read's.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes a read ([`Connection::partial`] in front of it) and hands the replies on.
    ///
    /// With an error the server's output makes no sense and the connection must be closed; what was
    /// understood before has been handed on.
    pub(super) fn handle_bytes<R: Replies>(
        &mut self,
        input: &[u8],
        turn: &mut Turn<'_, R>,
        meter: &mut Meter<'_>,
    ) -> (Batch, Result<(), Cause>) {
        let mut batch = Batch::default();
        let base = self.consumed;
        let result = self.take_replies(input, turn, base, &mut batch, meter);
        meter.flush();
        self.out
            .release((self.consumed - base) as usize, turn.buffers);
        let taken = match result {
            Ok(taken) => taken,
            Err(cause) => return (batch, Err(cause)),
        };
        self.partial.clear();
        if taken < input.len() {
            self.partial.extend_from_slice(&input[taken..]);
        } else if self.partial.capacity() > SHARE_FROM {
            self.partial = Vec::new();
        }
        (batch, Ok(()))
    }

    /// Answers how much of `input` was taken. `base`: the stream offset of the first retained byte.
    fn take_replies<R: Replies>(
        &mut self,
        input: &[u8],
        turn: &mut Turn<'_, R>,
        base: u64,
        batch: &mut Batch,
        meter: &mut Meter<'_>,
    ) -> Result<usize, Cause> {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            let piece = self.scanner.scan(rest).map_err(Cause::BadReply)?;
            let bytes = &rest[..piece.len];
            // A push is no reply.
            if self.scanner.kind() == b'>' {
                self.hand_push(bytes, piece.end, turn);
                at += piece.len;
                if piece.end {
                    continue;
                }
                break;
            }
            let Some(&head) = self.fifo.front() else {
                return Err(unasked(bytes));
            };
            // Nor does it answer what has not been sent.
            if head.end > self.written {
                return Err(unasked(bytes));
            }
            let mut hand_on = true;
            if !self.begun && bytes.first() == Some(&b'-') {
                let from = (self.consumed - base) as usize;
                match self.judge_error(head, (bytes, piece.end), rest.len(), from, batch) {
                    Verdict::HandOn => {}
                    Verdict::ReadOn => {
                        self.scanner = ReplyScanner::default();
                        break;
                    }
                    Verdict::Bounced => {
                        self.pop(head);
                        at += piece.len;
                        continue;
                    }
                    Verdict::Kept => hand_on = false,
                    Verdict::Instead(failure) => {
                        (turn.replies).fail(head.call, &failure, Fate::NotSent, turn.buffers);
                        hand_on = false;
                    }
                }
            }
            batch.bytes += piece.len as u64;
            at += piece.len;
            if self.listening.is_some() && self.take_refusal(bytes, piece.end, turn) {
                match piece.end {
                    true => continue,
                    false => break,
                }
            }
            // Half a header is no part of the reply yet: if no more comes, the reply has not begun.
            if bytes.is_empty() {
                break;
            }
            if hand_on {
                (turn.replies).reply(head.call, bytes, piece.end, turn.buffers);
            }
            self.begun = true;
            if !piece.end {
                break;
            }
            let us = turn.us.wrapping_sub(head.call.began);
            if head.call.began == UNTIMED {
                batch.named |= self.end_untimed(&head.call, bytes);
            } else if meter.count(us) {
                let from = (self.consumed - base) as usize;
                self.note_slow(head, from, us, turn.now, meter);
            }
            self.pop(head);
            batch.replies += 1;
        }
        Ok(at)
    }

    /// What the start of an error reply says about the server, and what becomes of it. `seen`: how much of it
    /// has been read; `from`: where the request begins in what is retained.
    #[cold]
    fn judge_error(
        &mut self,
        head: InFlight,
        (error, whole): (&[u8], bool),
        seen: usize,
        from: usize,
        batch: &mut Batch,
    ) -> Verdict {
        let no_script = error.starts_with(b"-NOSCRIPT ") && !head.call.is_told();
        if (self.gated || no_script) && !whole && seen <= LONGEST_REFUSAL {
            return Verdict::ReadOn;
        }
        let request = || self.out.copy(from, (head.end - self.consumed) as usize);
        if self.gated && whole && self.bounces(head, error) {
            batch.bounced.push(Bounced {
                entry: head,
                request: request(),
                reply: error.to_vec(),
            });
            return Verdict::Bounced;
        }
        if no_script && whole && error.starts_with(NO_SCRIPT) {
            let mut later = self.fifo.iter().skip(1);
            let last = !later.any(|entry| entry.call.is_of(&head.call));
            batch.unknown.push(Unknown {
                call: head.call,
                request: request(),
                reply: last.then(|| error.to_vec()),
            });
            return match last {
                true => Verdict::Kept,
                false => Verdict::HandOn,
            };
        }
        batch.unwell |= [&b"-OOM "[..], b"-BUSY ", b"-LOADING "]
            .iter()
            .any(|word| error.starts_with(word));
        match &self.no_password {
            Some(failure) if whole && error.starts_with(b"-NOAUTH ") => {
                batch.locked |= !std::mem::replace(&mut self.told_locked, true);
                Verdict::Instead(failure.clone())
            }
            _ => Verdict::HandOn,
        }
    }

    #[inline]
    fn pop(&mut self, head: InFlight) {
        self.consumed = head.end;
        self.fifo.pop_front();
        self.begun = false;
        self.returned = self.returned.saturating_sub(1);
    }

    pub(super) fn is_dedicated(&self) -> bool {
        matches!(self.lane, DEDICATED | MESSENGER)
    }

    /// Was nothing of its owner's written yet?
    pub(super) fn is_fresh(&self) -> bool {
        self.written <= self.claimed
    }

    /// Bytes it holds, sent ones among them.
    pub(super) fn retained(&self) -> usize {
        self.out.retained()
    }

    /// Did it get an earlier connection's requests and send none of them?
    pub(super) fn is_barren(&self) -> bool {
        self.adopted && self.written == 0
    }

    /// Leaves the memory of a queue that is empty now to the allocator.
    pub(super) fn shrink(&mut self) {
        if self.fifo.is_empty() {
            self.fifo = VecDeque::new();
        }
    }

    pub(super) fn discard(&mut self, buffers: &mut BufferPool) {
        self.out.clear(buffers);
    }
}

/// Longest error line that is looked at whole before it is handed on.
const LONGEST_REFUSAL: usize = 1024;

/// Errors with which Redis says that it did not execute a request because of what it is at the moment.
pub(super) fn is_refusal(reply: &[u8]) -> bool {
    [&b"-READONLY "[..], b"-LOADING ", b"-MASTERDOWN "]
        .iter()
        .any(|word| reply.starts_with(word))
}

/// Why a connection ends on which bytes came that answer nothing.
fn unasked(bytes: &[u8]) -> Cause {
    const MOST: usize = 256;
    match bytes.strip_prefix(b"-") {
        Some(error) => {
            let text = String::from_utf8_lossy(&error[..error.len().min(MOST)]);
            Cause::Dismissed(repeatable(&text, None))
        }
        None => Cause::Unasked,
    }
}
