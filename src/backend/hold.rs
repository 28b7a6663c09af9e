//! Servers that Sentinel manages: their requests wait while a failover is under way instead of failing, and
//! go on, in order, on a connection to the new master.
//!
//! A held server's lanes are connections without a socket ([`State::Waiting`]). What the old connections
//! have sent is answered by them; what they have not moves to the waiting ones, and so does what the
//! server refused to execute.

use super::connection::{Bounced, Connection, State};
use super::gate::Gate;
use super::pool::{Backends, ConnectionId, Hold};
use super::stray::Stray;
use super::{Again, Cause, Fate, Kind, Replies, Turn};
use crate::buffer::BufferPool;
use crate::config::SentinelConfig;
use crate::topology::{Event, ServerId, Topology};

/// How long a master that has moved may take for the replies it still owes.
const LAST_REPLIES: u32 = 500;
/// A server that goes on refusing after one hold is not asked to wait for again so soon: nobody is about
/// to replace it, and its clients should see its error.
const SYMPTOM_REST: u32 = 10_000;

impl Backends {
    pub(super) fn sentinel(&self, pool: u16) -> Option<&SentinelConfig> {
        self.pools[usize::from(pool)].config.sentinel.as_ref()
    }

    /// Does a server hold as much as it may? Counts that it does.
    pub(super) fn is_full(&self, pool: u16, server: u16) -> bool {
        let Some(limits) = self.sentinel(pool) else {
            return false;
        };
        let queues = self.queues(pool, server).into_iter();
        let (requests, bytes) = queues
            .map(|id| &self.connections[id as usize])
            .filter(|c| !c.is_dedicated() || c.state == State::Waiting)
            .fold((0, 0), |(n, b), c| (n + c.fifo.len(), b + c.retained()));
        let stats = self.server_stats(pool, server);
        if requests >= limits.hold_requests as usize {
            stats.hold_requests_hit.add(1);
        } else if bytes as u64 >= limits.hold_bytes {
            stats.hold_bytes_hit.add(1);
        } else {
            return false;
        }
        true
    }

    /// Follows the holds of a new snapshot; addresses have been followed already.
    pub(super) fn apply_holds<R: Replies>(&mut self, before: &Topology, turn: &mut Turn<'_, R>) {
        for pool in 0..self.pools.len() as u16 {
            for server in 0..self.pools[usize::from(pool)].servers.len() as u16 {
                let old = before.server(ServerId { pool, server });
                let new = &self.topology.pools[usize::from(pool)].servers[usize::from(server)];
                let moved = old.is_none_or(|old| old.endpoint != new.endpoint);
                match (new.held, self.server(pool, server).hold) {
                    (true, Hold::Announced) => {}
                    (true, _) => {
                        self.server_mut(pool, server).hold = Hold::Announced;
                        self.set_aside(pool, server, turn);
                    }
                    (false, Hold::Announced) => self.let_go(pool, server, turn.now, turn.buffers),
                    (false, Hold::Symptom { .. } | Hold::Outage | Hold::Renewal) if moved => {
                        self.let_go(pool, server, turn.now, turn.buffers);
                    }
                    (false, _) => {}
                }
            }
        }
    }

    /// Nothing more is written to the server; what was not written waits.
    pub(super) fn set_aside<R: Replies>(&mut self, pool: u16, server: u16, turn: &mut Turn<'_, R>) {
        self.dismiss_idle(pool, server, turn.buffers);
        for id in self.server(pool, server).dedicated.clone() {
            let connection = &self.connections[id as usize];
            let unsent = connection.blocked.is_some() && connection.is_fresh();
            match connection.state {
                State::Connecting => self.move_dedicated(id, turn),
                State::Ready if unsent => self.move_dedicated(id, turn),
                _ => {}
            }
        }
        // One that is a replica already has unblocked its clients.
        if self.server(pool, server).hold == Hold::Announced {
            self.recall_all(pool, server, turn.now, turn.buffers);
        }
        for id in self.server(pool, server).shared() {
            let connection = &self.connections[id as usize];
            if connection.state != State::Waiting {
                let kind = connection.kind;
                let stray = self.retire(id, turn);
                self.take_in((pool, server), kind, stray, turn);
            }
        }
    }

    /// The hold is over: what waited goes to the server's address of now.
    pub(super) fn let_go(&mut self, pool: u16, server: u16, now: u32, buffers: &mut BufferPool) {
        let endpoint = self.topology.pools[usize::from(pool)].servers[usize::from(server)]
            .endpoint
            .clone();
        let known = self.server_mut(pool, server);
        known.hold = Hold::No;
        known.gates.iter_mut().for_each(Gate::open);
        for id in self.queues(pool, server) {
            let connection = &mut self.connections[id as usize];
            if connection.state != State::Waiting {
                continue;
            }
            if connection.fifo.is_empty() && connection.owner.is_none() {
                self.bury(id, buffers);
            } else {
                connection.state = State::Connecting;
                connection.endpoint = endpoint.clone();
                // They waited for us, not for the server.
                connection.touch(now);
                self.opening.push(id);
                self.mark(id);
            }
        }
    }

    /// Requests without a connection join those of their clients' lanes, in front of what is newer.
    pub(super) fn take_in<R: Replies>(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        mut stray: Stray,
        turn: &mut Turn<'_, R>,
    ) {
        if self.is_held(pool, server) {
            let known = self.server(pool, server);
            let cause = known.gates[kind.resp as usize].failure.clone();
            let failure = known.failure(cause.unwrap_or(Cause::Refused));
            let hasty = stray.split_off_hasty();
            self.count_failed((pool, server), &failure, hasty.len());
            for entry in hasty {
                (turn.replies).fail(entry.call, &failure, Fate::NotSent, turn.buffers);
            }
        }
        if stray.is_empty() {
            return;
        }
        let repeats = stray.repeats;
        let mut taken = false;
        let count = self.server(pool, server).lanes[kind.resp as usize].len();
        for (lane, stray) in stray.spread(count).into_iter().enumerate() {
            if stray.is_empty() {
                continue;
            }
            match self.lane((pool, server), kind, lane, turn.now) {
                Ok(id) => {
                    self.retained += stray.bytes.len();
                    self.connections[id as usize].take_in(stray, turn.buffers);
                    self.mark(id);
                    taken = true;
                }
                Err(failure) => {
                    self.count_failed((pool, server), &failure, stray.entries.len());
                    for entry in stray.entries {
                        (turn.replies).fail(entry.call, &failure, Fate::NotSent, turn.buffers);
                    }
                }
            }
        }
        if taken {
            self.server_stats(pool, server).resent.add(repeats);
        }
    }

    /// Requests that the server refused to execute: they wait if that can help, else the client gets the
    /// refusal.
    pub(super) fn handle_bounced<R: Replies>(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        bounced: Vec<Bounced>,
        turn: &mut Turn<'_, R>,
    ) {
        if bounced.is_empty() {
            return;
        }
        let read_only = bounced.iter().any(|b| b.reply.starts_with(b"-READONLY"));
        if read_only {
            self.events.push(Event::NotMaster { pool, server });
            self.hold_for_symptom(pool, server, turn);
        }
        let waits = self.server(pool, server).hold != Hold::No;
        let mut stray = Stray::default();
        for mut refused in bounced {
            if waits {
                refused.entry.call.again = Again::Was;
                stray.repeats += 1;
                stray.push(refused.entry, &refused.request);
            } else {
                self.count_refusal((pool, server), &refused, turn.us);
                let Bounced { entry, reply, .. } = refused;
                turn.replies.reply(entry.call, &reply, true, turn.buffers);
            }
        }
        let stats = self.server_stats(pool, server);
        stats.bounced.add(stray.repeats);
        self.take_in((pool, server), kind, stray, turn);
    }

    pub(super) fn hold_for_symptom<R: Replies>(
        &mut self,
        pool: u16,
        server: u16,
        turn: &mut Turn<'_, R>,
    ) {
        let Some(sentinel) = self.sentinel(pool) else {
            return;
        };
        let patience = sentinel.failover_hold.as_millis() as u32;
        let now = turn.now;
        let known = self.server_mut(pool, server);
        let rested = known
            .last_symptom
            .is_none_or(|last| now.wrapping_sub(last) >= SYMPTOM_REST);
        if patience == 0 || known.hold != Hold::No || !rested {
            return;
        }
        known.last_symptom = Some(now);
        known.hold = Hold::Symptom {
            until: now.wrapping_add(patience),
        };
        // Every worker hears it, the watcher warns once.
        tracing::debug!(
            pool = self.pool_name(pool),
            server = self.server_name(pool, server),
            "server says it is no master, its requests wait"
        );
        self.set_aside(pool, server, turn);
    }

    /// A connection could not be opened: may its requests wait for a better time?
    pub(super) fn hold_for_outage(&mut self, pool: u16, server: u16) -> bool {
        let patient = self
            .sentinel(pool)
            .is_some_and(|s| !s.outage_hold.is_zero());
        let known = self.server_mut(pool, server);
        if patient && known.hold == Hold::No {
            known.hold = Hold::Outage;
        }
        known.hold != Hold::No
    }

    /// The server accepts connections again: whoever waited for that may try.
    pub(super) fn end_outage(&mut self, pool: u16, server: u16) {
        let known = self.server_mut(pool, server);
        known.hold = Hold::No;
        for id in self.queues(pool, server) {
            let connection = &mut self.connections[id as usize];
            if connection.state == State::Waiting {
                connection.state = State::Connecting;
                self.opening.push(id);
                self.mark(id);
            }
        }
    }

    /// Ends holds whose time is over, and waits whose end is not the topology's business.
    pub(super) fn check_holds<R: Replies>(&mut self, turn: &mut Turn<'_, R>) {
        for pool in 0..self.pools.len() as u16 {
            if self.sentinel(pool).is_none() {
                continue;
            }
            for server in 0..self.pools[usize::from(pool)].servers.len() as u16 {
                let known = self.server(pool, server);
                match known.hold {
                    Hold::Symptom { until } if super::pool::is_past(turn.now, until) => {
                        self.let_go(pool, server, turn.now, turn.buffers);
                    }
                    Hold::Outage => self.check_outage(pool, server, turn),
                    _ => {}
                }
            }
        }
        self.end_last_replies(turn);
    }

    fn check_outage<R: Replies>(&mut self, pool: u16, server: u16, turn: &mut Turn<'_, R>) {
        let patience = self.sentinel(pool).map_or(0, |s| s.outage_hold.as_millis()) as u32;
        let now = turn.now;
        let known = self.server(pool, server);
        let failures = known.gates.each_ref().map(|gate| {
            let cause = gate.failure.clone().unwrap_or(Cause::Refused);
            (known.failure(cause), !gate.is_closed(now))
        });
        for id in self.queues(pool, server) {
            let connection = &mut self.connections[id as usize];
            if !matches!(connection.state, State::Waiting | State::Connecting) {
                continue;
            }
            let (failure, retry) = &failures[connection.kind.resp as usize];
            let before = connection.retained();
            let is_late = |since: u32| now.wrapping_sub(since) >= patience;
            let oldest = connection.fifo.front().map(|entry| entry.since);
            if connection.is_dedicated() && oldest.is_some_and(is_late) {
                self.give_up_waiting(id, failure, turn);
                continue;
            }
            let expired = connection.take_expired(|entry| is_late(entry.since), turn.buffers);
            self.retained -= before - connection.retained();
            if *retry && connection.state == State::Waiting && !connection.fifo.is_empty() {
                connection.state = State::Connecting;
                self.opening.push(id);
            }
            self.mark(id);
            self.count_failed((pool, server), failure, expired.len());
            for entry in expired {
                turn.replies
                    .fail(entry.call, failure, Fate::NotSent, turn.buffers);
            }
        }
        let mut queues = self.queues(pool, server).into_iter();
        if queues.all(|id| self.connections[id as usize].fifo.is_empty()) {
            // Nobody waits any more: the next request tries anew.
            self.let_go(pool, server, now, turn.buffers);
        }
    }

    fn end_last_replies<R: Replies>(&mut self, turn: &mut Turn<'_, R>) {
        let now = turn.now;
        let over = |c: &Connection| {
            let ends = c.ends_by.is_some_and(|at| super::pool::is_past(now, at));
            ends && c.state == State::Retiring
        };
        let late = self.connections.iter().filter(|(_, c)| over(c));
        let late: Vec<ConnectionId> = late.map(|(id, _)| id as ConnectionId).collect();
        for id in late {
            self.handle_closed(id, Cause::Moved, turn);
        }
    }

    /// The server has moved: its old connections get a last chance to answer.
    pub(super) fn limit_last_replies(&mut self, pool: u16, server: u16, now: u32) {
        for (_, connection) in &mut self.connections {
            if (connection.pool, connection.server) == (pool, server)
                && connection.state == State::Retiring
            {
                connection.end_soon(now);
            }
        }
    }
}

impl Connection {
    /// It gets a last chance to answer.
    pub(super) fn end_soon(&mut self, now: u32) {
        self.ends_by.get_or_insert(now.wrapping_add(LAST_REPLIES));
    }
}
