//! Requests that may wait at the server for as long as they say: on dedicated connections, alone there, and
//! not measured.
//!
//! When their server is about to be another one, they are called back: over a connection of its own the
//! server is told to unblock them (`CLIENT UNBLOCK`), and what it then answers with `-UNBLOCKED` it has not
//! executed. The same goes for what it unblocks by itself because it is no master any more, or refuses to
//! execute. Such a request goes on at the new address, with the rest of its time. One that was executed just
//! then has its reply, so nothing is lost or done twice.

use super::connection::{Bounced, Connection, InFlight, State, is_refusal};
use super::pool::{Backends, ConnectionId, Hold};
use super::stray::Stray;
use super::{Again, Call, Cause, Fate, Kind, Owner, Replies, Turn, UNTIMED};
use crate::buffer::BufferPool;
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::{Timeout, Wait};
use crate::topology::{Endpoint, Event};

/// In place of the number of a lane: carries a few words to a server and ends with the last reply.
pub(super) const MESSENGER: u32 = u32::MAX - 2;

/// Redis looks for clients whose time is over `hz` times a second, which is once at least.
const NOTICED: u64 = 1000;

const CLIENT_ID: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";

/// What a client asks for with a blocking request.
#[derive(Clone, Copy, Debug)]
pub struct Blocking {
    pub wait: Wait,
    pub timeout: Timeout,
    /// It may be sent again where it was not executed. Not so if it depends on what else the connection
    /// knows, or on the moment in which it is executed.
    pub movable: bool,
}

/// A request that may wait for long, on its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocked {
    pub what: Blocking,
    pub recall: Recall,
    /// The server knows of the recall.
    told: bool,
}

/// Is the request called back, and what becomes of it?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Recall {
    No,
    /// It goes on elsewhere.
    Move,
    /// Its client is to leave.
    Cancel,
}

impl Connection {
    /// Is this the reply to a request that was not executed, and that may go on or is called back?
    pub(super) fn bounces(&self, head: InFlight, reply: &[u8]) -> bool {
        let Some(blocked) = &self.blocked else {
            return head.call.again == Again::May && is_refusal(reply);
        };
        if !is_blocking(&head.call) {
            return false;
        }
        let unblocked = reply.starts_with(b"-UNBLOCKED ");
        match (blocked.recall, blocked.what.movable) {
            (Recall::Cancel, _) => unblocked,
            (_, false) => false,
            // Redis' words when it is made a replica; the other ones are an administrator's wish.
            (Recall::No, true) => reply.starts_with(b"-UNBLOCKED force ") || is_refusal(reply),
            (Recall::Move, true) => unblocked || is_refusal(reply),
        }
    }

    /// An unmeasured request has its reply. True if it tells how the server calls the connection.
    #[cold]
    pub(super) fn end_untimed(&mut self, call: &Call, reply: &[u8]) -> bool {
        if is_blocking(call) {
            self.blocked = None;
            self.gated = false;
            return false;
        }
        let number = reply
            .strip_prefix(b":")
            .and_then(|r| r.strip_suffix(b"\r\n"));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.server_id = number.or(self.server_id);
        number.is_some()
    }

    /// Milliseconds that its oldest request may take on top of the usual; `None` is for ever.
    pub(super) fn leisure(&self) -> Option<u64> {
        match self.blocked.map(|blocked| blocked.what.wait) {
            Some(Wait::Forever) if self.is_ready() => None,
            Some(Wait::Milliseconds(ms)) if self.is_ready() => Some(u64::from(ms) + NOTICED),
            _ => Some(0),
        }
    }
}

/// Or else a request that nobody waits for.
fn is_blocking(call: &Call) -> bool {
    call.began == UNTIMED && !call.is_for_nobody()
}

impl Backends {
    /// Queues a request that may wait for long, alone on a connection of its client's own.
    pub fn send_blocking(
        &mut self,
        id: ConnectionId,
        call: Call,
        request: &[u8],
        what: Blocking,
        now: u32,
        buffers: &mut BufferPool,
    ) {
        let connection = &self.connections[id as usize];
        let pool = connection.pool;
        if connection.server_id.is_none() {
            self.send(
                id,
                Call::for_nobody(UNTIMED, false),
                CLIENT_ID,
                now,
                buffers,
            );
        }
        let managed = self.sentinel(pool).is_some();
        let connection = &mut self.connections[id as usize];
        connection.block(what, managed);
        let call = Call {
            began: UNTIMED,
            ..call
        };
        self.send(id, call, request, now, buffers);
    }

    /// The client is to leave: has the server end what it waits for there; the request then fails, unless it
    /// was executed just now. False if no answer will come, as nothing was sent or the server cannot be told.
    pub fn cancel(&mut self, id: ConnectionId, now: u32, buffers: &mut BufferPool) -> bool {
        let connection = &self.connections[id as usize];
        // Its name may be on its way.
        let may_be_told = connection.server_id.is_some() || connection.fifo.len() > 1;
        if connection.state == State::Dead || connection.is_fresh() || !may_be_told {
            return false;
        }
        self.recall(id, Recall::Cancel, now, buffers);
        true
    }

    /// Has the server end what the connection waits for, as after its time or with an error. False: it waits
    /// for nothing there, or the server cannot be told.
    pub fn unblock(
        &mut self,
        id: ConnectionId,
        with_error: bool,
        now: u32,
        buffers: &mut BufferPool,
    ) -> bool {
        let connection = &self.connections[id as usize];
        let waits = connection.is_ready() && connection.blocked.is_some();
        let Some(name) = connection.server_id.filter(|_| waits) else {
            return false;
        };
        let (at, endpoint) = (
            (connection.pool, connection.server),
            connection.endpoint.clone(),
        );
        let how = if with_error { "ERROR" } else { "TIMEOUT" };
        let call = Call::for_nobody(UNTIMED, false);
        self.send_word(at, endpoint, call, &unblock(name, how), now, buffers);
        true
    }

    pub(super) fn recall(
        &mut self,
        id: ConnectionId,
        how: Recall,
        now: u32,
        buffers: &mut BufferPool,
    ) {
        let connection = &mut self.connections[id as usize];
        let Some(blocked) = &mut connection.blocked else {
            return;
        };
        blocked.recall = blocked.recall.max(how);
        connection.gated = true;
        self.tell(id, now, buffers);
    }

    /// Tells the server of a recall, unless it knows, or does not call the connection by a name yet.
    pub(super) fn tell(&mut self, id: ConnectionId, now: u32, buffers: &mut BufferPool) {
        let connection = &mut self.connections[id as usize];
        let (Some(blocked), Some(name)) = (&mut connection.blocked, connection.server_id) else {
            return;
        };
        if blocked.recall == Recall::No || std::mem::replace(&mut blocked.told, true) {
            return;
        }
        let (at, endpoint) = (
            (connection.pool, connection.server),
            connection.endpoint.clone(),
        );
        let request = unblock(name, "ERROR");
        self.send_word(
            at,
            endpoint,
            Call::for_nobody(UNTIMED, false),
            &request,
            now,
            buffers,
        );
    }

    /// Sends a server a request that is in no order with others and is never sent anywhere else.
    fn send_word(
        &mut self,
        (pool, server): (u16, u16),
        endpoint: Endpoint,
        call: Call,
        request: &[u8],
        now: u32,
        buffers: &mut BufferPool,
    ) {
        let known = self.server(pool, server).messenger;
        let known = known.filter(|id| self.connections[*id as usize].endpoint == endpoint);
        let id = known.unwrap_or_else(|| {
            let at = (pool, server);
            let mut messenger =
                Connection::new(at, Kind::of(Resp::V2), MESSENGER, endpoint, None, false);
            messenger.leaving = true;
            let id = self.connections.insert(messenger) as ConnectionId;
            self.opening.push(id);
            self.server_mut(pool, server).messenger = Some(id);
            id
        });
        self.send(id, call, request, now, buffers);
    }

    /// The server will be another one, or wants other connections: requests that wait there come back.
    pub(super) fn recall_all(
        &mut self,
        pool: u16,
        server: u16,
        now: u32,
        buffers: &mut BufferPool,
    ) {
        for id in self.server(pool, server).dedicated.clone() {
            self.recall(id, Recall::Move, now, buffers);
        }
    }

    /// A blocking request was not executed: it goes on elsewhere if it may, else it ends so.
    pub(super) fn handle_unblocked<R: Replies>(
        &mut self,
        id: ConnectionId,
        bounced: Bounced,
        turn: &mut Turn<'_, R>,
    ) {
        let connection = &mut self.connections[id as usize];
        let (pool, server, kind) = (connection.pool, connection.server, connection.kind);
        let (owner, blocked) = (connection.owner, connection.blocked.take());
        connection.gated = false;
        let recall = blocked.map_or(Recall::No, |blocked| blocked.recall);
        let (Some(owner), Some(blocked), false) = (owner, blocked, recall == Recall::Cancel) else {
            let failure = self.server(pool, server).failure(Cause::Abandoned);
            self.count_failed((pool, server), &failure, 1);
            let call = bounced.entry.call;
            return (turn.replies).fail(call, &failure, Fate::NotSent, turn.buffers);
        };
        if recall == Recall::No {
            self.events.push(Event::NotMaster { pool, server });
            self.hold_for_symptom(pool, server, turn);
            if self.server(pool, server).hold == Hold::No {
                self.count_refusal((pool, server), &bounced, turn.us);
                let Bounced { entry, reply, .. } = bounced;
                return turn.replies.reply(entry.call, &reply, true, turn.buffers);
            }
        }
        self.server_stats(pool, server).bounced.add(1);
        self.resume((pool, server), kind, (owner, id), (blocked, bounced), turn);
    }

    /// The request goes on with another connection of its owner's, for the rest of its time.
    fn resume<R: Replies>(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        (owner, before): (Owner, ConnectionId),
        (mut blocked, bounced): (Blocked, Bounced),
        turn: &mut Turn<'_, R>,
    ) {
        let Bounced { entry, request, .. } = bounced;
        let wait = blocked.what.wait.after(turn.now.wrapping_sub(entry.since));
        let changed = blocked.what.timeout.put(&request, wait);
        blocked.what.wait = wait;
        let mut stray = Stray {
            repeats: 1,
            ..Stray::default()
        };
        let entry = InFlight {
            since: turn.now,
            ..entry
        };
        let name = InFlight {
            call: Call::for_nobody(UNTIMED, false),
            ..entry
        };
        stray.push(name, CLIENT_ID);
        stray.push(entry, changed.as_ref().unwrap_or(&request));
        let connection = &mut self.connections[before as usize];
        connection.blocked = Some(blocked);
        connection.owner = None;
        let rest = self.retire(before, turn);
        debug_assert!(rest.is_empty(), "a blocking request is alone");
        self.server_stats(pool, server).resent.add(1);
        self.go_on((pool, server), kind, (owner, before), stray, turn);
    }

    /// The server has moved: a request that waits at its old address comes back, or ends.
    pub(super) fn move_blocked<R: Replies>(&mut self, id: ConnectionId, turn: &mut Turn<'_, R>) {
        // What becomes of it the owner learns when that is known.
        let owner = self.connections[id as usize].owner.take();
        let (pool, server) = {
            let connection = &self.connections[id as usize];
            (connection.pool, connection.server)
        };
        let stray = self.retire(id, turn);
        let failure = self.server(pool, server).failure(Cause::Moved);
        self.fail_stray((pool, server), &failure, stray, turn);
        let connection = &mut self.connections[id as usize];
        connection.owner = owner;
        if connection.state == State::Dead {
            return self.lose(id);
        }
        connection.end_soon(turn.now);
        self.recall(id, Recall::Move, turn.now, turn.buffers);
    }
}

impl Connection {
    /// A request that may wait for long is queued next.
    fn block(&mut self, what: Blocking, managed: bool) {
        self.blocked = Some(Blocked {
            what,
            recall: Recall::No,
            told: false,
        });
        self.gated = managed && what.movable;
    }

    /// Takes over what an earlier connection's request may do.
    pub(super) fn block_as(&mut self, earlier: Option<Blocked>, managed: bool) {
        if let Some(blocked) = earlier {
            self.block(blocked.what, managed);
        }
    }
}

/// The request that ends what the connection of this name waits for.
fn unblock(name: u64, how: &str) -> Vec<u8> {
    let name = name.to_string();
    let len = name.len();
    let how_len = how.len();
    format!("*4\r\n$6\r\nCLIENT\r\n$7\r\nUNBLOCK\r\n${len}\r\n{name}\r\n${how_len}\r\n{how}\r\n")
        .into_bytes()
}
