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
