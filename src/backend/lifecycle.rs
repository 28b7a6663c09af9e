//! The life of backend connections: accepted, answering, ended, moved to another address.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::connection::{InFlight, State};
use super::pool::{Backends, ConnectionId, next_random};
use super::{Cause, Fate, Replies, Turn};
use crate::buffer::BufferPool;
use crate::protocol::redis::Resp;
use crate::topology::{Event, Topology};

impl Backends {
    /// The server accepted us: what waited may be sent.
    pub fn handle_connected(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id as usize];
        if connection.state != State::Connecting {
            // It ended while its server made up its mind, and is not removed yet.
            return;
        }
        connection.state = State::Ready;
        connection.connected = true;
        let (pool, server) = (connection.pool, connection.server);
        let known = self.server_mut(pool, server);
        known.backoff.reset();
        known.retry_at = None;
        if let Some(cause) = known.failure.take() {
            tracing::info!("{} accepts connections again (was: {cause})", known.who);
        }
        self.server_stats(pool, server).server_connections.add(1);
        self.mark(id);
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
        let (pool, server) = (connection.pool, connection.server);
        let batch = match connection.handle_bytes(input, turn) {
            Ok(batch) => batch,
            Err(cause) => {
                self.handle_closed(id, cause, turn);
                return false;
            }
        };
        let done = connection.state == State::Retiring && connection.fifo.is_empty();
        let stats = self.server_stats(pool, server);
        stats.responses.add(batch.replies);
        stats.response_bytes.add(batch.bytes);
        if batch.unwell {
            self.events.push(Event::Failed { pool, server });
        } else if batch.replies > 0 && self.is_suspect(pool, server) {
            self.events.push(Event::Answered { pool, server });
        }
        if done {
            self.bury(id, turn.buffers);
        } else {
            self.mark(id);
        }
        !done
    }

    fn is_suspect(&self, pool: u16, server: u16) -> bool {
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
        let (pool, server, resp) = (connection.pool, connection.server, connection.resp);
        let connected = connection.connected;
        // A server that accepts and hangs up would otherwise send the same requests round for ever.
        let may_resend = connected && !connection.is_barren();
        let idle = connection.fifo.is_empty();
        let (unsent, bytes) = connection.take_unsent();
        self.unsent -= bytes.len();
        let sent = std::mem::take(&mut self.connections[id as usize].fifo);
        let failure = self.server(pool, server).failure(cause);
        self.count_end(pool, server, &failure.cause);
        if idle && failure.cause == Cause::Closed {
            tracing::debug!("{failure}, nothing was in flight");
        } else {
            self.events.push(Event::Failed { pool, server });
            self.log(pool, server, &failure, sent.len() + unsent.len());
        }
        self.bury(id, turn.buffers);
        for entry in sent {
            turn.replies
                .fail(entry.call, &failure, Fate::Sent, turn.buffers);
        }
        if may_resend {
            return self.resend((pool, server), resp, unsent, &bytes, turn);
        }
        if !connected {
            let random = next_random(&mut self.random);
            let known = self.server_mut(pool, server);
            let pause = known.backoff.next(random).as_millis() as u32;
            known.retry_at = Some(turn.now.wrapping_add(pause));
            known.failure = Some(failure.cause.clone());
        }
        for entry in unsent {
            turn.replies
                .fail(entry.call, &failure, Fate::NotSent, turn.buffers);
        }
    }

    /// A failing server is reported once, not at every attempt to connect to it.
    fn log(&self, pool: u16, server: u16, failure: &super::Failure, lost: usize) {
        if self.server(pool, server).failure.as_ref() == Some(&failure.cause) {
            tracing::debug!("{failure}; {lost} requests");
        } else {
            let pool = &self.pools[usize::from(pool)].config.name;
            tracing::warn!("pool {pool}: {failure}; {lost} requests were queued or in flight");
        }
    }

    /// Requests that no server has seen go to the server's new connection of the same lane.
    fn resend<R: Replies>(
        &mut self,
        (pool, server): (u16, u16),
        resp: Resp,
        unsent: VecDeque<InFlight>,
        bytes: &[u8],
        turn: &mut Turn<'_, R>,
    ) {
        let Some(first) = unsent.front() else { return };
        match self.connection((pool, server), resp, first.call.client, turn.now) {
            Ok(id) => {
                self.connections[id as usize].adopt(unsent, bytes, turn.buffers);
                self.unsent += bytes.len();
                self.mark(id);
            }
            Err(failure) => {
                for entry in unsent {
                    turn.replies
                        .fail(entry.call, &failure, Fate::NotSent, turn.buffers);
                }
            }
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
    fn bury(&mut self, id: ConnectionId, buffers: &mut BufferPool) {
        let connection = &mut self.connections[id as usize];
        let (pool, server) = (usize::from(connection.pool), usize::from(connection.server));
        let stats = &self.stats.pools[pool].servers[server];
        self.unsent -= connection.unsent();
        connection.discard(buffers);
        connection.state = State::Dead;
        connection.report(stats);
        if connection.connected {
            stats.server_connections.sub(1);
        }
        let lanes = &mut self.pools[pool].servers[server].lanes[connection.resp as usize];
        let lane = &mut lanes[connection.lane as usize];
        if *lane == Some(id) {
            *lane = None;
        }
        // Its index may be another's by the time the shell looks at the list.
        self.opening.retain(|opening| *opening != id);
        self.dead.push(id);
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
                let timeout = self.pools[usize::from(connection.pool)].config.timeout?;
                let limit = timeout.as_millis() as u64;
                let waited = turn.now.wrapping_sub(connection.fifo.front()?.since);
                (u64::from(waited) >= limit).then_some((id as ConnectionId, limit))
            })
            .collect();
        for (id, limit) in late {
            self.handle_closed(id, Cause::TimedOut(limit), turn);
        }
    }

    /// Follows a new snapshot: connections to an address that is no longer the server's take no new
    /// request; what they have not sent goes to the new address.
    pub fn apply<R: Replies>(&mut self, topology: Arc<Topology>, turn: &mut Turn<'_, R>) {
        let before = std::mem::replace(&mut self.topology, topology);
        for ((known, before), after) in (self.pools.iter_mut())
            .zip(&before.pools)
            .zip(&self.topology.pools)
        {
            let servers = before.servers.iter().zip(&after.servers);
            for (known, (before, after)) in known.servers.iter_mut().zip(servers) {
                if before.endpoint != after.endpoint {
                    // What the old address did says nothing about the new one.
                    known.retry_at = None;
                    known.backoff.reset();
                }
            }
        }
        let moved: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| {
                let pool = &self.topology.pools[usize::from(c.pool)];
                matches!(c.state, State::Connecting | State::Ready)
                    && pool.servers[usize::from(c.server)].endpoint != c.endpoint
            })
            .map(|(id, _)| id as ConnectionId)
            .collect();
        for id in moved {
            self.retire(id, turn);
        }
    }

    fn retire<R: Replies>(&mut self, id: ConnectionId, turn: &mut Turn<'_, R>) {
        let connection = &mut self.connections[id as usize];
        let (pool, server, resp) = (connection.pool, connection.server, connection.resp);
        let (unsent, bytes) = connection.take_unsent();
        connection.state = State::Retiring;
        let (lane, done) = (connection.lane as usize, connection.fifo.is_empty());
        self.unsent -= bytes.len();
        self.server_mut(pool, server).lanes[resp as usize][lane] = None;
        if done {
            self.bury(id, turn.buffers);
        }
        self.resend((pool, server), resp, unsent, &bytes, turn);
    }
}
