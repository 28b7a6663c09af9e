//! One stream to a server: what is queued, what is sent, whose reply comes next.
//!
//! ```text
//!   fifo   [call][call][call][call][call]      one entry per request, oldest first
//!           ^ next reply       ^ first not yet (wholly) written
//!   stream ----consumed----written------appended-->   absolute byte offsets of the requests
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Call, Cause, Failure, Fate, Replies, Turn};
use crate::buffer::{BufferPool, OutBuf, SHARE_FROM};
use crate::protocol::redis::Resp;
use crate::protocol::redis::reply::ReplyScanner;
use crate::stats::ServerStats;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Requests queue up until the server has accepted us.
    Connecting,
    Ready,
    /// The server lives elsewhere now: nothing new is queued, the connection ends with its last reply.
    Retiring,
    /// Answers no more; waits to be removed by the shell.
    Dead,
}

/// What a batch of replies tells about the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub replies: u64,
    pub bytes: u64,
    /// Among them `-OOM`, `-BUSY` or `-LOADING`, which twemproxy counts as failures of the server.
    pub unwell: bool,
    /// Among them the first of the connection that says that the server wants a password.
    pub locked: bool,
}

#[derive(Debug)]
pub struct Connection {
    pub(super) pool: u16,
    pub(super) server: u16,
    pub(super) resp: Resp,
    /// Which of `server_connections`.
    pub(super) lane: u32,
    pub(super) endpoint: Endpoint,
    pub(super) state: State,
    pub(super) fifo: VecDeque<InFlight>,
    out: OutBuf,
    consumed: u64,
    written: u64,
    appended: u64,
    scanner: ReplyScanner,
    /// The incomplete header at the end of the last read.
    partial: Vec<u8>,
    pub(super) dirty: bool,
    /// The server has accepted us once.
    pub(super) connected: bool,
    /// It has given a reply: more than a kernel that accepts for a process that hangs.
    pub(super) proven: bool,
    /// What `-NOAUTH` means, if the pool has no password to give.
    no_password: Option<Failure>,
    told_locked: bool,
    /// It began with requests of an earlier connection.
    adopted: bool,
    /// Requests and their bytes queued since the last report.
    fresh: [u64; 2],
    /// What this connection has added to the server's gauges.
    reported: [u64; 4],
}

impl Connection {
    /// `no_password`: in place of the server's `-NOAUTH`, which names no server.
    pub(super) fn new(
        (pool, server): (u16, u16),
        resp: Resp,
        lane: u32,
        endpoint: Endpoint,
        no_password: Option<Failure>,
    ) -> Self {
        Connection {
            pool,
            server,
            resp,
            lane,
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
            connected: false,
            proven: false,
            no_password,
            told_locked: false,
            adopted: false,
            fresh: [0; 2],
            reported: [0; 4],
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
        buffers: &mut BufferPool,
        write: impl FnOnce(&[std::io::IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let n = self.out.write_to(buffers, write)?;
        self.written += n as u64;
        Ok(n)
    }

    /// The bytes that must stand before the next read's.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes a read ([`Connection::partial`] in front of it) and hands the replies on.
    ///
    /// # Errors
    /// The server's output makes no sense; the connection must be closed. What was understood before has
    /// been handed on.
    pub(super) fn handle_bytes<R: Replies>(
        &mut self,
        input: &[u8],
        turn: &mut Turn<'_, R>,
    ) -> Result<Batch, Cause> {
        let mut batch = Batch::default();
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            let begun = self.scanner.in_reply();
            let piece = self.scanner.scan(rest).map_err(Cause::BadReply)?;
            let bytes = &rest[..piece.len];
            at += piece.len;
            if bytes.is_empty() {
                break;
            }
            // A push is no reply; nothing of ours asks for one, so nobody waits for it.
            if self.scanner.kind() != b'>' {
                let Some(&head) = self.fifo.front() else {
                    return Err(unasked(bytes));
                };
                let substitute = match bytes {
                    [b'-', ..] if !begun => self.judge_error(bytes, piece.end, &mut batch),
                    _ => None,
                };
                match substitute {
                    None => (turn.replies).reply(head.call, bytes, piece.end, turn.buffers),
                    Some(failure) => {
                        (turn.replies).fail(head.call, &failure, Fate::NotSent, turn.buffers);
                    }
                }
                batch.bytes += piece.len as u64;
                if piece.end {
                    self.consumed = head.end;
                    self.fifo.pop_front();
                    batch.replies += 1;
                }
            }
            if !piece.end {
                break;
            }
        }
        self.partial.clear();
        if at < input.len() {
            self.partial.extend_from_slice(&input[at..]);
        } else if self.partial.capacity() > SHARE_FROM {
            self.partial = Vec::new();
        }
        Ok(batch)
    }

    /// What the start of an error reply says about the server; answers what the client is told instead.
    #[cold]
    fn judge_error(&mut self, error: &[u8], whole: bool, batch: &mut Batch) -> Option<Failure> {
        batch.unwell |= [&b"-OOM "[..], b"-BUSY ", b"-LOADING "]
            .iter()
            .any(|word| error.starts_with(word));
        if !whole || !error.starts_with(b"-NOAUTH ") {
            return None;
        }
        let failure = self.no_password.clone()?;
        batch.locked |= !std::mem::replace(&mut self.told_locked, true);
        Some(failure)
    }

    /// Splits off the requests of which no byte was written, with their bytes: they were provably not
    /// executed and may go elsewhere.
    pub(super) fn take_unsent(&mut self) -> (VecDeque<InFlight>, Vec<u8>) {
        let mut start = self.consumed;
        let first = self.fifo.iter().position(|entry| {
            let untouched = start >= self.written;
            start = entry.end;
            untouched
        });
        let Some(first) = first else {
            return (VecDeque::new(), Vec::new());
        };
        let from = match first {
            0 => self.consumed,
            n => self.fifo[n - 1].end,
        };
        let unsent = self.fifo.split_off(first);
        let bytes = self.out.split_off((from - self.written) as usize);
        self.appended = from;
        (unsent, bytes)
    }

    /// Takes over what [`Connection::take_unsent`] of another gave; only for a fresh connection.
    pub(super) fn adopt(
        &mut self,
        unsent: VecDeque<InFlight>,
        bytes: &[u8],
        buffers: &mut BufferPool,
    ) {
        debug_assert!(self.fifo.is_empty() && self.appended == 0);
        let Some(last) = unsent.back() else { return };
        let base = last.end - bytes.len() as u64;
        self.appended = bytes.len() as u64;
        self.out.extend(bytes, buffers);
        self.adopted = true;
        self.fifo = unsent;
        for entry in &mut self.fifo {
            entry.end -= base;
        }
    }

    /// Did it get an earlier connection's requests and send none of them?
    pub(super) fn is_barren(&self) -> bool {
        self.adopted && self.written == 0
    }

    pub(super) fn discard(&mut self, buffers: &mut BufferPool) {
        self.out.clear(buffers);
    }

    /// Brings the server's request counters and queue gauges up to date: once per batch, not per request.
    pub(super) fn report(&mut self, stats: &ServerStats) {
        let [requests, bytes] = std::mem::take(&mut self.fresh);
        stats.requests.add(requests);
        stats.request_bytes.add(bytes);
        let sent = self.fifo.partition_point(|entry| entry.end <= self.written);
        let now = if self.state == State::Dead {
            [0; 4]
        } else {
            [
                (self.fifo.len() - sent) as u64,
                self.out.len() as u64,
                sent as u64,
                self.written.saturating_sub(self.consumed),
            ]
        };
        let gauges = [
            &stats.in_queue,
            &stats.in_queue_bytes,
            &stats.out_queue,
            &stats.out_queue_bytes,
        ];
        for ((gauge, now), before) in gauges.into_iter().zip(now).zip(&mut self.reported) {
            gauge.add(now.wrapping_sub(*before));
            *before = now;
        }
    }
}

/// Why a connection ends on which bytes came that answer nothing.
fn unasked(bytes: &[u8]) -> Cause {
    const MOST: usize = 256;
    match bytes.strip_prefix(b"-") {
        Some(error) => {
            let text = String::from_utf8_lossy(&error[..error.len().min(MOST)]);
            let text = text.trim_end().replace(char::is_control, " ");
            Cause::Dismissed(text)
        }
        None => Cause::Unasked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Failure, Fate};

    #[derive(Default)]
    struct Seen(Vec<(u32, Vec<u8>, bool)>);

    impl Replies for Seen {
        fn reply(&mut self, call: Call, piece: &[u8], end: bool, _: &mut BufferPool) {
            match self.0.last_mut() {
                Some((slot, bytes, done)) if *slot == call.slot && !*done => {
                    bytes.extend_from_slice(piece);
                    *done = end;
                }
                _ => self.0.push((call.slot, piece.to_vec(), end)),
            }
        }

        fn fail(&mut self, _: Call, _: &Failure, _: Fate, _: &mut BufferPool) {
            unreachable!("a connection itself fails no call")
        }
    }

    fn turn<'a>(replies: &'a mut Seen, buffers: &'a mut BufferPool) -> Turn<'a, Seen> {
        Turn {
            replies,
            buffers,
            now: 0,
        }
    }

    fn call(slot: u32) -> Call {
        Call {
            client: 0,
            generation: 0,
            slot,
            part: 0,
            write: false,
        }
    }

    fn connection() -> Connection {
        let endpoint = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
        Connection::new((0, 0), Resp::V2, 0, endpoint, None)
    }

    fn write(connection: &mut Connection, buffers: &mut BufferPool, n: usize) {
        if n > 0 {
            connection.write_to(buffers, |_| Ok(n)).unwrap();
        }
    }

    #[test]
    fn replies_meet_their_calls_in_order_at_any_split() {
        let input = b"+A\r\n$3\r\nxyz\r\n>1\r\n+push\r\n*1\r\n:5\r\n";
        for first in 0..input.len() {
            let (mut c, mut buffers, mut seen) =
                (connection(), BufferPool::default(), Seen::default());
            for slot in 0..3 {
                c.queue(call(slot), b"GET", 0, &mut buffers);
            }
            for part in [&input[..first], &input[first..]] {
                let read = [c.partial(), part].concat();
                c.handle_bytes(&read, &mut turn(&mut seen, &mut buffers))
                    .unwrap();
            }
            let want: [(u32, &[u8]); 3] =
                [(0, b"+A\r\n"), (1, b"$3\r\nxyz\r\n"), (2, b"*1\r\n:5\r\n")];
            for ((slot, bytes, end), (want_slot, want_bytes)) in seen.0.iter().zip(want) {
                assert_eq!(
                    (*slot, &bytes[..], *end),
                    (want_slot, want_bytes, true),
                    "{first}"
                );
            }
            assert!(c.fifo.is_empty());
        }
    }

    #[test]
    fn overload_errors_tell_of_the_server_and_values_that_look_alike_do_not() {
        let unwell = |parts: &[&[u8]]| {
            let (mut c, mut buffers, mut seen) =
                (connection(), BufferPool::default(), Seen::default());
            c.queue(call(0), b"GET", 0, &mut buffers);
            let mut turn = turn(&mut seen, &mut buffers);
            let batches = parts.iter().map(|part| {
                let read = [c.partial(), part].concat();
                c.handle_bytes(&read, &mut turn)
            });
            batches.fold(false, |any, batch| any | batch.unwrap().unwell)
        };
        assert!(unwell(&[b"-OOM command not allowed\r\n"]));
        assert!(unwell(&[b"-LOADING Redis", b" is loading\r\n"]));
        assert!(!unwell(&[b"$12\r\n", b"-OOM -OOM -O\r\n"]));
        assert!(!unwell(&[b"+so ", b"-OOM \r\n"]));
    }

    #[test]
    fn a_reply_without_a_request_is_refused() {
        let full = Cause::Dismissed("ERR full".into());
        for (bytes, cause) in [(&b"+OK\r\n"[..], Cause::Unasked), (b"-ERR full\r\n", full)] {
            let (mut seen, mut buffers) = (Seen::default(), BufferPool::default());
            let result = connection().handle_bytes(bytes, &mut turn(&mut seen, &mut buffers));
            assert_eq!(result, Err(cause));
        }
    }

    #[test]
    fn unsent_requests_move_to_a_new_connection() {
        // Requests of 4, 6 and 2 bytes; how many are provably unsent after n written bytes?
        for (written, kept) in [(0, 0), (1, 1), (4, 1), (5, 2), (10, 2), (11, 3), (12, 3)] {
            let (mut old, mut buffers) = (connection(), BufferPool::default());
            for (slot, request) in [&b"aaaa"[..], b"bbbbbb", b"cc"].into_iter().enumerate() {
                old.queue(call(slot as u32), request, 0, &mut buffers);
            }
            write(&mut old, &mut buffers, written);
            let (unsent, bytes) = old.take_unsent();
            assert_eq!(old.fifo.len(), kept, "{written}");
            let all = b"aaaabbbbbbcc";
            let offset = [0, 4, 10, 12][kept];
            assert_eq!(bytes, &all[offset..]);
            assert_eq!(old.unsent(), offset - written);
            let mut new = connection();
            new.adopt(unsent, &bytes, &mut buffers);
            assert_eq!(new.fifo.len(), 3 - kept);
            assert_eq!(new.fifo.back().map_or(0, |e| e.end), (12 - offset) as u64);
        }
    }

    #[test]
    fn gauges_follow_the_queues() {
        let (mut c, mut buffers, stats) =
            (connection(), BufferPool::default(), ServerStats::default());
        c.queue(call(0), b"aaaa", 0, &mut buffers);
        c.queue(call(1), b"bb", 0, &mut buffers);
        write(&mut c, &mut buffers, 5);
        c.report(&stats);
        let read = |s: &ServerStats| {
            [
                &s.in_queue,
                &s.in_queue_bytes,
                &s.out_queue,
                &s.out_queue_bytes,
            ]
            .map(|g| g.get())
        };
        assert_eq!(read(&stats), [1, 1, 1, 5]);
        c.state = State::Dead;
        c.report(&stats);
        assert_eq!(read(&stats), [0; 4]);
    }
}
