//! The life of backend connections: accepted, answering, ended, moved to another address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::blocking::MESSENGER;
use super::connection::{Connection, State};
use super::gate::Gate;
use super::pool::{Backends, ConnectionId, Hold, next_random};
use super::slow::Meter;
use super::stray::Stray;
use super::{Cause, Fate, Replies, Turn};
use crate::buffer::BufferPool;
use crate::protocol::redis::Resp;
use crate::topology::{Event, Topology};

impl Backends {
    /// The server accepted us: what waited may be sent.
    pub fn handle_connected(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id as usize];
        // It may have been given up in the same turn.
        if connection.state != State::Connecting {
            return;
        }
        connection.state = match connection.leaving {
            true => State::Retiring,
            false => State::Ready,
        };
        connection.connected = true;
        let (pool, server) = (connection.pool, connection.server);
        if connection.leaving {
            self.leave_lane(id);
        }
        tracing::debug!(
            pool = self.pool_name(pool),
            server = self.server_name(pool, server),
            address = %self.connections[id as usize].endpoint,
            "connected"
        );
        self.server_stats(pool, server).server_connections.add(1);
        self.mark(id);
        if self.server(pool, server).hold == Hold::Outage {
            self.end_outage(pool, server);
        }
    }

    /// The pool whose server the connection leads to.
    pub fn pool_of(&self, id: ConnectionId) -> u16 {
        self.connections[id as usize].pool
    }

    /// Bytes that the shell must put in front of the next read.
    pub fn partial(&self, id: ConnectionId) -> &[u8] {
        self.connections[id as usize].partial()
    }

    /// A read, [`Backends::partial`] in front of it. False: the connection is over, stop reading.
    pub fn handle_bytes<R: Replies>(
        &mut self,
        id: ConnectionId,
        input: &[u8],
        turn: &mut Turn<'_, R>,
    ) -> bool {
        let connection = &mut self.connections[id as usize];
        if connection.state == State::Dead {
            return false;
        }
        let (pool, server, kind) = (connection.pool, connection.server, connection.kind);
        let before = connection.retained();
        let stats = &self.stats.pools[usize::from(pool)].servers[usize::from(server)];
        let slow = self.pools[usize::from(pool)].config.slow_requests;
        let mut meter = Meter::new(stats, slow, &mut self.slow);
        let (batch, result) = connection.handle_bytes(input, turn, &mut meter);
        self.retained -= before - connection.retained();
        let (dedicated, named) = (connection.is_dedicated(), batch.named);
        stats.responses.add(batch.replies);
        stats.response_bytes.add(batch.bytes);
        if let Err(cause) = result {
            self.give_up_on_scripts(batch.unknown, turn);
            // They are older than all that is left on the connection, and go on before it.
            self.leave_lane(id);
            let mut bounced = batch.bounced;
            if dedicated && let Some(bounced) = bounced.pop() {
                self.handle_unblocked(id, bounced, turn);
            }
            self.handle_bounced((pool, server), kind, bounced, turn);
            self.handle_closed(id, cause, turn);
            return false;
        }
        let first = batch.replies > 0 && !std::mem::replace(&mut connection.proven, true);
        if first {
            self.handle_proof(id, kind.resp);
        }
        if batch.locked {
            tracing::warn!(
                pool = self.pool_name(pool),
                server = self.server_name(pool, server),
                address = %self.connections[id as usize].endpoint,
                "server fails: {}", Cause::NoPassword
            );
        }
        if batch.unwell {
            self.report_failure(pool, server);
        } else if batch.replies > 0 && self.is_suspect(pool, server) {
            self.server_mut(pool, server).blamed = false;
            self.events.push(Event::Answered { pool, server });
        }
        if !batch.unknown.is_empty() {
            self.handle_unknown(id, batch.unknown, turn);
        }
        let mut bounced = batch.bounced;
        if dedicated && let Some(bounced) = bounced.pop() {
            self.handle_unblocked(id, bounced, turn);
        } else if named {
            self.tell(id, turn.now, turn.buffers);
        }
        let connection = &self.connections[id as usize];
        let done = match connection.state {
            State::Retiring => connection.fifo.is_empty(),
            state => state == State::Dead,
        };
        if !done {
            self.mark(id);
        } else if connection.state != State::Dead {
            self.bury(id, turn.buffers);
        }
        self.handle_bounced((pool, server), kind, bounced, turn);
        if done {
            self.end_renewal(pool, server, turn.now, turn.buffers);
        }
        !done
    }

    /// A connection gave its first reply: the server is well.
    fn handle_proof(&mut self, id: ConnectionId, resp: Resp) {
        let connection = &self.connections[id as usize];
        let (pool, server) = (connection.pool, connection.server);
        self.server_stats(pool, server).failing.set(0);
        let gate = &mut self.server_mut(pool, server).gates[resp as usize];
        gate.open();
        gate.failure = None;
        if self.told(pool, server, resp).swap(0, Relaxed) != 0 {
            tracing::info!(
                pool = self.pool_name(pool),
                server = self.server_name(pool, server),
                address = %self.connections[id as usize].endpoint,
                "server answers again"
            );
        }
    }

    fn told(&self, pool: u16, server: u16, resp: Resp) -> &AtomicU64 {
        let server = &self.topology.pools[usize::from(pool)].servers[usize::from(server)];
        &server.told[resp as usize]
    }

    pub(super) fn pool_name(&self, pool: u16) -> &str {
        &self.pools[usize::from(pool)].config.name
    }

    pub(super) fn server_name(&self, pool: u16, server: u16) -> &str {
        &self.pools[usize::from(pool)].config.servers[usize::from(server)].name
    }

    fn report_failure(&mut self, pool: u16, server: u16) {
        self.server_mut(pool, server).blamed = true;
        self.events.push(Event::Failed { pool, server });
    }

    fn is_suspect(&self, pool: u16, server: u16) -> bool {
        // The snapshot may not yet know of a failure that we have just reported.
        if self.server(pool, server).blamed {
            return true;
        }
        let server = &self.topology.pools[usize::from(pool)].servers[usize::from(server)];
        server.suspect.load(Relaxed)
    }

    /// The connection is over. What was sent fails; what was not goes to a new connection, if this one
    /// ever worked.
    pub fn handle_closed<R: Replies>(
        &mut self,
        id: ConnectionId,
        cause: Cause,
        turn: &mut Turn<'_, R>,
    ) {
        let connection = &mut self.connections[id as usize];
        if connection.state == State::Dead {
            return;
        }
        let (pool, server, kind) = (connection.pool, connection.server, connection.kind);
        let (connected, proven) = (connection.connected, connection.proven);
        // A server that accepts and hangs up would otherwise send the same requests round for ever.
        let may_resend = connected && !connection.is_barren();
        let (owner, dedicated) = (connection.owner.take(), connection.is_dedicated());
        let movable = (connection.blocked).is_some_and(|blocked| blocked.what.movable);
        let fresh = connection.is_fresh();
        let messenger = connection.lane == MESSENGER;
        let managed = self.sentinel(pool).is_some();
        // What was taken out of it counts as its own until it is buried.
        let held = self.connections[id as usize].retained();
        let (stray, lost) =
            self.connections[id as usize].dismantle(managed && (!dedicated || movable));
        debug_assert_eq!(held, self.connections[id as usize].retained());
        let fresh = fresh || (movable && lost.is_empty());
        let failure = self.server(pool, server).failure(cause);
        self.count_end(pool, server, &failure.cause);
        let harmless = failure.cause == Cause::Closed
            && connected
            && lost.is_empty()
            && (stray.is_empty() || may_resend);
        if harmless {
            tracing::debug!(
                pool = self.pool_name(pool),
                server = self.server_name(pool, server),
                address = %self.connections[id as usize].endpoint,
                "{}, nothing was in flight", failure.cause
            );
        } else {
            if failure.blames_server() {
                self.report_failure(pool, server);
                if !proven {
                    let stats = self.server_stats(pool, server);
                    stats.connect_failures.add(1);
                    stats.failing.set(1);
                }
            }
            let requests = lost.len() + stray.entries.len();
            self.log(id, kind.resp, &failure.cause, requests);
        }
        self.bury(id, turn.buffers);
        self.count_failed((pool, server), &failure, lost.len());
        for entry in lost {
            turn.replies
                .fail(entry.call, &failure, Fate::Sent, turn.buffers);
        }
        let waits = if connected {
            self.server(pool, server).hold != Hold::No
        } else {
            self.hold_for_outage(pool, server)
        };
        match owner {
            Some(owner) if fresh && (waits || may_resend) => {
                self.go_on((pool, server), kind, (owner, id), stray, turn);
            }
            None if !messenger && (waits || may_resend) => {
                self.take_in((pool, server), kind, stray, turn)
            }
            owner => {
                self.connections[id as usize].owner = owner;
                self.lose(id);
                self.fail_stray((pool, server), &failure, stray, turn);
            }
        }
        if !harmless {
            // Only now, because what was resent may try once.
            let random = next_random(&mut self.random);
            let gate = &mut self.server_mut(pool, server).gates[kind.resp as usize];
            gate.failure = Some(failure.cause);
            if !proven {
                let pause = gate.backoff.next(random).as_millis() as u32;
                gate.retry_at = Some(turn.now.wrapping_add(pause));
            }
        }
        self.end_renewal(pool, server, turn.now, turn.buffers);
    }

    /// A failing server is told of once, not by every worker and at every attempt to connect to it.
    /// `requests`: queued or in flight on the connection that ended.
    fn log(&self, id: ConnectionId, resp: Resp, cause: &Cause, requests: usize) {
        let connection = &self.connections[id as usize];
        let (pool, server) = (connection.pool, connection.server);
        let names = (self.pool_name(pool), self.server_name(pool, server));
        let address = &connection.endpoint;
        let told = self.told(pool, server, resp);
        let print = cause.fingerprint();
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(pool = names.0, server = names.1, %address, requests, $text)
            };
        }
        if told.swap(print, Relaxed) == print {
            line!(debug, "server still fails: {cause}");
        } else {
            line!(warn, "server fails: {cause}");
        }
    }

    /// Each end of a connection counts in exactly one of twemproxy's three counters.
    fn count_end(&self, pool: u16, server: u16, cause: &Cause) {
        let stats = self.server_stats(pool, server);
        match cause {
            Cause::Closed => stats.server_eof.add(1),
            Cause::TimedOut(_) | Cause::ConnectTimeout => stats.server_timedout.add(1),
            _ => stats.server_err.add(1),
        }
    }

    /// Takes the connection out of use; the shell removes it.
    pub(super) fn bury(&mut self, id: ConnectionId, buffers: &mut BufferPool) {
        let connection = &mut self.connections[id as usize];
        let (pool, server) = (usize::from(connection.pool), usize::from(connection.server));
        let stats = &self.stats.pools[pool].servers[server];
        self.retained -= connection.retained();
        connection.discard(buffers);
        connection.state = State::Dead;
        connection.report(stats);
        if connection.connected {
            stats.server_connections.sub(1);
        }
        self.lose(id);
        self.leave_lane(id);
        // Its index may be another's by the time the shell looks at the list.
        self.opening.retain(|opening| *opening != id);
        self.dead.push(id);
    }

    /// The connection takes no new requests.
    pub(super) fn leave_lane(&mut self, id: ConnectionId) {
        let connection = &self.connections[id as usize];
        let (kind, lane) = (connection.kind, connection.lane as usize);
        let (pool, server) = (connection.pool, connection.server);
        if connection.is_dedicated() {
            let known = self.server_mut(pool, server);
            known.dedicated.retain(|other| *other != id);
            known.idle.retain(|other| *other != id);
            known.messenger = known.messenger.filter(|other| *other != id);
            return;
        }
        let known = self.server_mut(pool, server);
        if kind.db.is_some() {
            return known.others.retain(|other| *other != id);
        }
        // There may be fewer lanes by now.
        let lane = known.lanes[kind.resp as usize].get_mut(lane);
        if let Some(lane) = lane.filter(|lane| **lane == Some(id)) {
            *lane = None;
        }
    }

    /// Forgets a dead connection, after its socket is gone.
    pub fn remove(&mut self, id: ConnectionId) {
        debug_assert_eq!(self.connections[id as usize].state, State::Dead);
        self.connections.remove(id as usize);
    }

    /// Ends every connection whose oldest request has waited longer than the pool's `timeout`.
    pub fn check_deadlines<R: Replies>(&mut self, turn: &mut Turn<'_, R>) {
        let late: Vec<(ConnectionId, u64)> = self
            .connections
            .iter()
            .filter_map(|(id, connection)| {
                let limit = self.patience(connection)?;
                let waited = turn.now.wrapping_sub(connection.fifo.front()?.since);
                (u64::from(waited) >= limit).then_some((id as ConnectionId, limit))
            })
            .collect();
        for (id, limit) in late {
            let cause = match self.connections[id as usize].state {
                State::Connecting => Cause::ConnectTimeout,
                _ => Cause::TimedOut(limit),
            };
            self.handle_closed(id, cause, turn);
        }
        self.check_holds(turn);
    }

    /// Milliseconds that a request may wait on the connection; `None` is for ever, or as long as a hold
    /// lasts.
    fn patience(&self, connection: &Connection) -> Option<u64> {
        let config = &self.pools[usize::from(connection.pool)].config;
        let timeout = config.timeout?.as_millis() as u64;
        let hold = self.server(connection.pool, connection.server).hold;
        let timeout = timeout + connection.leisure()?;
        match (connection.state, hold) {
            (State::Waiting, _) | (State::Connecting, Hold::Outage) => None,
            // A master that hands over pauses its clients.
            (_, Hold::Announced) => {
                let hold = (config.sentinel.as_ref()).map_or(0, |s| s.failover_hold.as_millis());
                Some(timeout.max(hold as u64))
            }
            _ => Some(timeout),
        }
    }

    /// Follows a new snapshot: connections to an address that is no longer the server's take no new
    /// request; what they have not sent goes to the new address.
    pub fn apply<R: Replies>(&mut self, topology: Arc<Topology>, turn: &mut Turn<'_, R>) {
        let before = std::mem::replace(&mut self.topology, topology);
        let configured = self.follow_configuration(turn);
        let mut changed = Vec::new();
        for (pool, (old, new)) in before.pools.iter().zip(&self.topology.pools).enumerate() {
            let by_file = !Arc::ptr_eq(&old.config, &new.config);
            for (server, (old, new)) in old.servers.iter().zip(&new.servers).enumerate() {
                let moved = old.endpoint != new.endpoint;
                // Who moves a server by the file has not lost it: it may answer at its leisure.
                if moved && !by_file {
                    changed.push((pool as u16, server as u16));
                }
                if (old.ejected && !new.ejected) || moved {
                    // The probe, or the new address, knows better than our last attempt.
                    let gates = &mut self.pools[pool].servers[server].gates;
                    gates.iter_mut().for_each(Gate::open);
                    self.stats.pools[pool].servers[server].failing.set(0);
                }
            }
        }
        let moved: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| {
                let pool = &self.topology.pools[usize::from(c.pool)];
                matches!(c.state, State::Connecting | State::Ready)
                    && c.lane != MESSENGER
                    && pool.servers[usize::from(c.server)].endpoint != c.endpoint
            })
            .map(|(id, _)| id as ConnectionId)
            .collect();
        for id in moved {
            let connection = &self.connections[id as usize];
            let (pool, server, kind) = (connection.pool, connection.server, connection.kind);
            if connection.is_dedicated() {
                self.move_dedicated(id, turn);
                continue;
            }
            let stray = self.retire(id, turn);
            self.take_in((pool, server), kind, stray, turn);
        }
        self.apply_holds(&before, turn);
        for (pool, server) in changed {
            self.limit_last_replies(pool, server, turn.now);
        }
        if configured {
            self.end_renewals(turn.now, turn.buffers);
            self.preconnect(turn.now);
        }
    }

    /// Takes a connection out of use but for the replies it owes; answers what it had not sent.
    pub(super) fn retire<R: Replies>(&mut self, id: ConnectionId, turn: &mut Turn<'_, R>) -> Stray {
        let connection = &mut self.connections[id as usize];
        let before = connection.retained();
        let stray = connection.take_unsent();
        self.retained -= before - connection.retained();
        connection.state = State::Retiring;
        let done = connection.fifo.is_empty();
        self.leave_lane(id);
        if done {
            self.bury(id, turn.buffers);
        } else {
            // Its gauges still count what it gave away.
            self.mark(id);
        }
        stray
    }
}
