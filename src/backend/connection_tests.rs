//! One stream, its queue and what happens to it when the stream ends.

use super::connection::*;
use super::slow::{Meter, SlowLog};
use super::*;
use crate::config::SlowRequests;
use crate::protocol::redis::Resp;
use crate::stats::ServerStats;
use crate::topology::Endpoint;

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
        us: 1,
    }
}

/// A read that nobody measures.
fn take(
    connection: &mut Connection,
    input: &[u8],
    turn: &mut Turn<'_, Seen>,
) -> (Batch, Result<(), Cause>) {
    let (stats, mut slow) = (ServerStats::default(), SlowLog::default());
    let mut meter = Meter::new(&stats, SlowRequests::default(), &mut slow);
    connection.handle_bytes(input, turn, &mut meter)
}

fn call(slot: u32) -> Call {
    Call {
        client: 0,
        generation: 0,
        slot,
        began: 1,
        part: 0,
        write: false,
        again: Again::May,
    }
}

fn connection() -> Connection {
    let endpoint = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
    Connection::new((0, 0), Kind::of(Resp::V2), 0, endpoint, None, false)
}

fn write(connection: &mut Connection, n: usize) {
    if n > 0 {
        connection.write_to(|_| Ok(n)).unwrap();
    }
}

#[test]
fn replies_meet_their_calls_in_order_at_any_split() {
    let input = b"+A\r\n$3\r\nxyz\r\n>1\r\n+push\r\n*1\r\n:5\r\n";
    for first in 0..input.len() {
        let (mut c, mut buffers, mut seen) = (connection(), BufferPool::default(), Seen::default());
        for slot in 0..3 {
            c.queue(call(slot), b"GET", 0, &mut buffers);
        }
        write(&mut c, 9);
        for part in [&input[..first], &input[first..]] {
            let read = [c.partial(), part].concat();
            let (_, result) = take(&mut c, &read, &mut turn(&mut seen, &mut buffers));
            assert_eq!(result, Ok(()));
        }
        let want: [(u32, &[u8]); 3] = [(0, b"+A\r\n"), (1, b"$3\r\nxyz\r\n"), (2, b"*1\r\n:5\r\n")];
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
fn a_reply_without_a_request_is_refused() {
    let (mut seen, mut buffers) = (Seen::default(), BufferPool::default());
    let mut c = connection();
    let mut answer = || {
        take(&mut c, b"+OK\r\n", &mut turn(&mut seen, &mut buffers))
            .1
            .err()
    };
    assert_eq!(answer(), Some(Cause::Unasked));
    let mut c = connection();
    c.queue(call(0), b"GET", 0, &mut BufferPool::default());
    let (mut seen, mut buffers) = (Seen::default(), BufferPool::default());
    let early = take(&mut c, b"+OK\r\n", &mut turn(&mut seen, &mut buffers))
        .1
        .err();
    assert_eq!(early, Some(Cause::Unasked), "answered before it was sent");
}

fn three(connection: &mut Connection, buffers: &mut BufferPool) {
    for (slot, request) in [&b"aaaa"[..], b"bbbbbb", b"cc"].into_iter().enumerate() {
        connection.queue(call(slot as u32), request, 0, buffers);
    }
}

const THREE: &[u8] = b"aaaabbbbbbcc";

#[test]
fn untouched_requests_move_to_a_new_connection() {
    // Requests of 4, 6 and 2 bytes; how many stay after n written bytes?
    for (written, kept) in [(0, 0), (1, 1), (4, 1), (5, 2), (10, 2), (11, 3), (12, 3)] {
        let (mut old, mut buffers) = (connection(), BufferPool::default());
        three(&mut old, &mut buffers);
        write(&mut old, written);
        let stray = old.take_unsent();
        assert_eq!(old.fifo.len(), kept, "{written}");
        let offset = [0, 4, 10, 12][kept];
        assert_eq!(stray.bytes, &THREE[offset..]);
        assert_eq!(old.unsent(), offset - written);
        let mut new = connection();
        new.adopt(stray, &mut buffers);
        assert_eq!(new.fifo.len(), 3 - kept);
        assert_eq!(new.fifo.back().map_or(0, |e| e.end), (12 - offset) as u64);
        assert_eq!(new.retained(), 12 - offset);
    }
}

#[test]
fn what_was_not_wholly_sent_survives_its_connection_and_reads_if_allowed() {
    for (written, lost) in [(0, 0), (3, 0), (4, 1), (9, 1), (10, 2), (12, 3)] {
        for repeat_reads in [false, true] {
            let (mut old, mut buffers) = (connection(), BufferPool::default());
            three(&mut old, &mut buffers);
            write(&mut old, written);
            let (stray, gone) = old.dismantle(repeat_reads);
            let lost = if repeat_reads { 0 } else { lost };
            assert_eq!(gone.len(), lost, "{written}");
            assert_eq!(stray.bytes, &THREE[[0, 4, 10, 12][lost]..]);
        }
    }
}

#[test]
fn a_write_that_was_sent_and_a_read_that_was_repeated_are_lost() {
    let (mut old, mut buffers) = (connection(), BufferPool::default());
    let write_call = Call {
        write: true,
        ..call(0)
    };
    old.queue(write_call, b"wwww", 0, &mut buffers);
    old.queue(call(1), b"rr", 0, &mut buffers);
    write(&mut old, 6);
    let (stray, lost) = old.dismantle(true);
    assert_eq!((stray.entries.len(), lost.len()), (1, 1));
    let mut next = connection();
    next.adopt(stray, &mut buffers);
    write(&mut next, 2);
    let (stray, lost) = next.dismantle(true);
    assert_eq!((stray.entries.len(), lost.len()), (0, 1));
}

#[test]
fn requests_that_come_back_stand_before_later_ones_in_their_old_order() {
    let mut buffers = BufferPool::default();
    let stray = |slot: u32, request: &[u8]| {
        let mut from = connection();
        from.queue(call(slot), request, 0, &mut BufferPool::default());
        from.take_unsent()
    };
    let mut waiting = connection();
    waiting.queue(call(9), b"later", 0, &mut buffers);
    waiting.adopt(stray(1, b"one"), &mut buffers);
    waiting.adopt(stray(2, b"two!"), &mut buffers);
    let slots: Vec<u32> = waiting.fifo.iter().map(|e| e.call.slot).collect();
    assert_eq!(slots, [1, 2, 9]);
    let mut sent = Vec::new();
    waiting
        .write_to(|slices| {
            slices.iter().for_each(|s| sent.extend_from_slice(s));
            Ok(sent.len())
        })
        .unwrap();
    assert_eq!(sent, b"onetwo!later");
    assert_eq!(
        waiting.fifo.iter().map(|e| e.end).collect::<Vec<_>>(),
        [3, 7, 12]
    );
}

#[test]
fn a_gated_connection_keeps_refusals_back_at_any_split() {
    let input = b"+A\r\n-READONLY You can't write.\r\n-ERR other\r\n";
    for first in 0..input.len() {
        let endpoint = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
        let mut c = Connection::new((0, 0), Kind::of(Resp::V2), 0, endpoint, None, true);
        let (mut buffers, mut seen) = (BufferPool::default(), Seen::default());
        three(&mut c, &mut buffers);
        write(&mut c, 12);
        let mut bounced = Vec::new();
        for part in [&input[..first], &input[first..]] {
            let read = [c.partial(), part].concat();
            bounced.extend(
                take(&mut c, &read, &mut turn(&mut seen, &mut buffers))
                    .0
                    .bounced,
            );
        }
        assert_eq!(bounced.len(), 1, "{first}");
        assert_eq!(bounced[0].request, b"bbbbbb");
        assert_eq!(bounced[0].reply, b"-READONLY You can't write.\r\n");
        let slots: Vec<u32> = seen.0.iter().map(|(slot, ..)| *slot).collect();
        assert_eq!(slots, [0, 2]);
        assert_eq!(c.retained(), 0);
    }
}

#[test]
fn expired_requests_leave_from_the_front() {
    let (mut c, mut buffers) = (connection(), BufferPool::default());
    c.queue(call(0), b"aaaa", 1, &mut buffers);
    c.queue(call(1), b"bb", 5, &mut buffers);
    let expired = c.take_expired(|entry| entry.since < 3, &mut buffers);
    assert_eq!(expired.len(), 1);
    assert_eq!((c.fifo.len(), c.unsent()), (1, 2));
    let stray = c.take_unsent();
    assert_eq!(stray.bytes, b"bb");
}

#[test]
fn gauges_follow_the_queues() {
    let (mut c, mut buffers, stats) = (connection(), BufferPool::default(), ServerStats::default());
    c.queue(call(0), b"aaaa", 0, &mut buffers);
    c.queue(call(1), b"bb", 0, &mut buffers);
    write(&mut c, 5);
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
