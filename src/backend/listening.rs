//! Connections on which a client has subscribed to what servers publish. They speak RESP3, so that what the
//! server says unasked is a push and nothing else.
//!
//! Each request on them is one that is confirmed by pushes only, or refused by an error, with a request
//! behind it that always has a reply (see [`FENCE`](crate::protocol::redis::pubsub::FENCE)): the error, or
//! else the reply of the second, is the reply to the call.

use super::connection::{Connection, State};
use super::pool::{Backends, ConnectionId};
use super::{Again, Call, Failure, Kind, Owner, Replies, Turn};
use crate::buffer::BufferPool;
use crate::protocol::redis::Resp;

/// How far the replies to the head of such a connection's queue have come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listening {
    /// The head was refused: the fence's reply is for nobody.
    refused: bool,
    /// The server refused something at some time, so what it remembers is uncertain.
    doubtful: bool,
}

impl Call {
    /// Of what the proxy asks for by itself: no client waits for the reply.
    pub fn for_nobody(began: u32, write: bool) -> Call {
        Call {
            client: u32::MAX,
            generation: 0,
            slot: 0,
            began,
            part: 0,
            write,
            again: Again::May,
        }
    }

    pub(super) fn is_for_nobody(&self) -> bool {
        self.client == u32::MAX
    }
}

impl Backends {
    /// A connection of `owner`'s own, as [`Backends::dedicate`], that passes on what the server says unasked.
    /// To be given back with [`Backends::stop_listening`] or [`Backends::abandon`].
    ///
    /// # Errors
    /// As `dedicate`, but not counted.
    pub fn listen(
        &mut self,
        at: (u16, u16),
        owner: Owner,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        let id = self.claim(at, Kind::of(Resp::V3), owner, now)?;
        self.connections[id as usize].listening = Some(Listening::default());
        Ok(id)
    }

    /// The owner has ended all its subscriptions on the connection, or else it is abandoned.
    pub fn stop_listening(&mut self, id: ConnectionId, buffers: &mut BufferPool) {
        let connection = &mut self.connections[id as usize];
        let doubtful = connection.listening.take().is_none_or(|l| l.doubtful);
        let clean = connection.state == State::Ready && connection.fifo.is_empty() && !doubtful;
        match clean {
            true => self.release(id, buffers),
            false => self.abandon(id, buffers),
        }
    }

    /// A client's subscriptions were made anew.
    pub fn count_resubscribed(&self, (pool, server): (u16, u16)) {
        self.server_stats(pool, server).resubscribed.add(1);
    }
}

impl Connection {
    /// A run of bytes of a push. Where nobody listens, nobody asked for it.
    pub(super) fn hand_push<R: Replies>(&self, bytes: &[u8], end: bool, turn: &mut Turn<'_, R>) {
        if let (Some(owner), Some(_)) = (self.owner, self.listening)
            && !bytes.is_empty()
        {
            (turn.replies).push(owner, self.server, bytes, end, turn.buffers);
        }
    }

    /// Takes bytes of a reply to the head if they are its refusal, or what follows that.
    #[cold]
    pub(super) fn take_refusal<R: Replies>(
        &mut self,
        bytes: &[u8],
        end: bool,
        turn: &mut Turn<'_, R>,
    ) -> bool {
        let (Some(listening), Some(head)) = (&mut self.listening, self.fifo.front_mut()) else {
            return false;
        };
        if listening.refused {
            listening.refused = !end;
            return !end;
        }
        if self.scanner.kind() != b'-' || bytes.is_empty() {
            return false;
        }
        let call = head.call;
        if end {
            (listening.refused, listening.doubtful) = (true, true);
            // It has its reply.
            head.call = Call::for_nobody(call.began, call.write);
        }
        match (call.is_for_nobody(), self.owner) {
            (true, Some(owner)) => {
                (turn.replies).push(owner, self.server, bytes, end, turn.buffers);
            }
            _ => (turn.replies).reply(call, bytes, end, turn.buffers),
        }
        self.begun = !end;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::dedicated::DEDICATED;
    use super::super::slow::{Meter, SlowLog};
    use super::super::{Failure, Fate};
    use super::*;
    use crate::config::SlowRequests;
    use crate::protocol::redis::pubsub::FENCE;
    use crate::stats::ServerStats;
    use crate::topology::Endpoint;

    /// What came for each slot, and of pushes (`u32::MAX`).
    #[derive(Default)]
    struct Heard(Vec<(u32, Vec<u8>, bool)>);

    impl Heard {
        fn note(&mut self, slot: u32, piece: &[u8], end: bool) {
            match self.0.last_mut() {
                Some((last, bytes, done)) if *last == slot && !*done => {
                    bytes.extend_from_slice(piece);
                    *done = end;
                }
                _ => self.0.push((slot, piece.to_vec(), end)),
            }
        }
    }

    impl Replies for Heard {
        fn reply(&mut self, call: Call, piece: &[u8], end: bool, _: &mut BufferPool) {
            if call.client != u32::MAX {
                self.note(call.slot, piece, end);
            }
        }

        fn fail(&mut self, _: Call, _: &Failure, _: Fate, _: &mut BufferPool) {
            unreachable!("a connection itself fails no call")
        }

        fn push(&mut self, owner: Owner, server: u16, piece: &[u8], end: bool, _: &mut BufferPool) {
            assert_eq!((owner, server), (OWNER, 3));
            self.note(u32::MAX, piece, end);
        }
    }

    const OWNER: Owner = Owner {
        client: 7,
        generation: 8,
    };

    /// With a request for each slot, of which those of `u32::MAX` are for nobody.
    fn asked(slots: &[u32], buffers: &mut BufferPool) -> Connection {
        let endpoint = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
        let kind = Kind::of(Resp::V3);
        let mut connection = Connection::new((0, 3), kind, DEDICATED, endpoint, None, false);
        connection.owner = Some(OWNER);
        connection.listening = Some(Listening::default());
        for &slot in slots {
            let nobody = Call::for_nobody(1, false);
            let call = match slot {
                u32::MAX => nobody,
                slot => Call {
                    client: OWNER.client,
                    slot,
                    ..nobody
                },
            };
            connection.queue(call, FENCE, 0, buffers);
        }
        let len = connection.unsent();
        connection.write_to(|_| Ok(len)).unwrap();
        connection
    }

    /// All of `input`, in every two reads.
    fn heard(slots: &[u32], input: &[u8], expected: &[(u32, &[u8])], doubtful: bool) {
        for cut in 0..=input.len() {
            let (mut buffers, mut heard) = (BufferPool::default(), Heard::default());
            let mut connection = asked(slots, &mut buffers);
            for part in [&input[..cut], &input[cut..]] {
                let read = [connection.partial(), part].concat();
                let (stats, mut slow) = (ServerStats::default(), SlowLog::default());
                let mut meter = Meter::new(&stats, SlowRequests::default(), &mut slow);
                let mut turn = Turn {
                    replies: &mut heard,
                    buffers: &mut buffers,
                    now: 0,
                    us: 1,
                };
                let (_, result) = connection.handle_bytes(&read, &mut turn, &mut meter);
                assert_eq!(result, Ok(()), "cut at {cut}");
            }
            let heard = heard.0.iter().map(|(slot, bytes, end)| {
                assert!(end, "cut at {cut}");
                (*slot, &bytes[..])
            });
            let heard = heard.collect::<Vec<_>>();
            assert_eq!(heard, expected, "cut at {cut}");
            assert!(connection.fifo.is_empty());
            assert_eq!(connection.listening.unwrap().doubtful, doubtful);
        }
    }

    const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\n\r\n-x\r\n";
    const DONE: &[u8] = b"%1\r\n+proto\r\n:3\r\n";
    const REFUSED: &[u8] = b"-NOPERM this user has no permissions\r\n";

    #[test]
    fn pushes_and_replies_part_ways() {
        let input = [MESSAGE, DONE, MESSAGE, MESSAGE, DONE, MESSAGE].concat();
        let push = (u32::MAX, MESSAGE);
        let expected = [push, (4, DONE), push, push, (5, DONE), push];
        heard(&[4, 5], &input, &expected, false);
    }

    #[test]
    fn a_refusal_is_the_reply_and_the_fence_behind_it_nobodys() {
        let input = [MESSAGE, REFUSED, MESSAGE, DONE, DONE].concat();
        let push = (u32::MAX, MESSAGE);
        let expected = [push, (4, REFUSED), push, (5, DONE)];
        heard(&[4, 5], &input, &expected, true);
    }

    #[test]
    fn a_refusal_of_what_nobody_waits_for_is_told_to_the_owner() {
        let input = [REFUSED, DONE, DONE].concat();
        let expected = [(u32::MAX, REFUSED), (5, DONE)];
        heard(&[u32::MAX, 5], &input, &expected, true);
    }
}
