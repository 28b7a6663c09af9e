//! The life of backend connections: accepted, answering, ended, moved to another address.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::connection::{InFlight, State};
use super::pool::{Backends, ConnectionId, Gate, next_random};
use super::{Cause, Failure, Fate, Replies, Turn};
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
        connection.state = State::Ready;
        connection.connected = true;
        let (pool, server) = (connection.pool, connection.server);
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
        let first = batch.replies > 0 && !std::mem::replace(&mut connection.proven, true);
        let resp = connection.resp;
        if first {
            self.handle_proof(pool, server, resp);
        }
        if batch.locked {
            let failure = self.server(pool, server).failure(Cause::NoPassword);
            let pool = &self.pools[usize::from(pool)].config.name;
            tracing::warn!("pool {pool}: {failure}");
        }
        let stats = self.server_stats(pool, server);
        stats.responses.add(batch.replies);
        stats.response_bytes.add(batch.bytes);
        if batch.unwell {
            self.report_failure(pool, server);
        } else if batch.replies > 0 && self.is_suspect(pool, server) {
            self.server_mut(pool, server).blamed = false;
            self.events.push(Event::Answered { pool, server });
        }
        if done {
            self.bury(id, turn.buffers);
        } else {
            self.mark(id);
        }
        !done
    }

    /// A connection gave its first reply: the server is well.
    fn handle_proof(&mut self, pool: u16, server: u16, resp: Resp) {
        let known = self.server_mut(pool, server);
        let gate = &mut known.gates[resp as usize];
        gate.open();
        if let Some(cause) = gate.failure.take() {
            tracing::info!("{} answers again (was: {cause})", known.who);
        }
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
        let (pool, server, resp) = (connection.pool, connection.server, connection.resp);
        let (connected, proven) = (connection.connected, connection.proven);
        // A server that accepts and hangs up would otherwise send the same requests round for ever.
        let may_resend = connected && !connection.is_barren();
        let (unsent, bytes) = connection.take_unsent();
        self.unsent -= bytes.len();
        let sent = std::mem::take(&mut self.connections[id as usize].fifo);
        let failure = self.server(pool, server).failure(cause);
        self.count_end(pool, server, &failure.cause);
        let harmless = failure.cause == Cause::Closed
            && connected
            && sent.is_empty()
            && (unsent.is_empty() || may_resend);
        if harmless {
            tracing::debug!("{failure}, nothing was in flight");
        } else {
            if failure.blames_server() {
                self.report_failure(pool, server);
            }
            self.log((pool, server), resp, &failure, sent.len() + unsent.len());
        }
        self.bury(id, turn.buffers);
        for entry in sent {
            turn.replies
                .fail(entry.call, &failure, Fate::Sent, turn.buffers);
        }
        if may_resend {
            self.resend((pool, server), resp, unsent, &bytes, turn);
        } else {
            for entry in unsent {
                (turn.replies).fail(entry.call, &failure, Fate::NotSent, turn.buffers);
            }
        }
        if !harmless {
            // Only now, because what was resent may try once.
            let random = next_random(&mut self.random);
            let gate = &mut self.server_mut(pool, server).gates[resp as usize];
            gate.failure = Some(failure.cause);
            if !proven {
                let pause = gate.backoff.next(random).as_millis() as u32;
                gate.retry_at = Some(turn.now.wrapping_add(pause));
            }
        }
    }

    /// A failing server is reported once, not at every attempt to connect to it.
    fn log(&self, (pool, server): (u16, u16), resp: Resp, failure: &Failure, lost: usize) {
        let before = &self.server(pool, server).gates[resp as usize].failure;
        if before.as_ref().is_some_and(|b| b.is_like(&failure.cause)) {
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
            let cause = match self.connections[id as usize].state {
                State::Connecting => Cause::ConnectTimeout,
                _ => Cause::TimedOut(limit),
            };
            self.handle_closed(id, cause, turn);
        }
    }

    /// Follows a new snapshot: connections to an address that is no longer the server's take no new
    /// request; what they have not sent goes to the new address.
    pub fn apply<R: Replies>(&mut self, topology: Arc<Topology>, turn: &mut Turn<'_, R>) {
        let before = std::mem::replace(&mut self.topology, topology);
        for (pool, (old, new)) in before.pools.iter().zip(&self.topology.pools).enumerate() {
            for (server, (old, new)) in old.servers.iter().zip(&new.servers).enumerate() {
                if (old.ejected && !new.ejected) || old.endpoint != new.endpoint {
                    // The probe, or the new address, knows better than our last attempt.
                    let gates = &mut self.pools[pool].servers[server].gates;
                    gates.iter_mut().for_each(Gate::open);
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
        let known = self.server_mut(pool, server);
        known.lanes[resp as usize][lane] = None;
        if done {
            self.bury(id, turn.buffers);
        }
        self.resend((pool, server), resp, unsent, &bytes, turn);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::{Call, Failure};
    use crate::config::PoolConfig;
    use crate::stats::{PoolNames, Stats, WorkerStats};
    use crate::topology::fixture;

    #[derive(Default)]
    struct Failed(Vec<(u32, Cause)>);

    impl Replies for Failed {
        fn reply(&mut self, _: Call, _: &[u8], _: bool, _: &mut BufferPool) {}

        fn fail(&mut self, call: Call, failure: &Failure, _: Fate, _: &mut BufferPool) {
            self.0.push((call.slot, failure.cause.clone()));
        }
    }

    /// The connections to one server, and what they came to.
    struct Fixture {
        backends: Backends,
        stats: Arc<WorkerStats>,
        buffers: BufferPool,
        failed: Failed,
    }

    impl Fixture {
        fn new() -> Fixture {
            let pool = PoolConfig {
                timeout: Some(Duration::from_millis(100)),
                ..fixture::pool(&["127.0.0.1:1"])
            };
            let config = fixture::config(vec![pool]);
            let names = PoolNames {
                name: config.pools[0].name.clone(),
                servers: vec![config.pools[0].servers[0].name.clone()],
            };
            let stats = Stats::new(vec![names], 1).workers[0].clone();
            let topology = Arc::new(Topology::initial(&config));
            Fixture {
                backends: Backends::new(topology, stats.clone(), 1 << 20, 1),
                stats,
                buffers: BufferPool::default(),
                failed: Failed::default(),
            }
        }

        /// The connection for a request that is queued right away.
        fn queue(&mut self, slot: u32) -> ConnectionId {
            let id = (self.backends.connection((0, 0), Resp::V2, 0, 0)).expect("a connection");
            let call = Call {
                client: 0,
                generation: 0,
                slot,
                part: 0,
                write: true,
            };
            (self.backends).send(id, call, b"PING\r\n", 0, &mut self.buffers);
            id
        }

        fn close(&mut self, id: ConnectionId, cause: Cause) {
            let mut turn = Turn {
                replies: &mut self.failed,
                buffers: &mut self.buffers,
                now: 0,
            };
            self.backends.handle_closed(id, cause, &mut turn);
        }

        fn connections(&self) -> u64 {
            self.stats.pools[0].servers[0].server_connections.get()
        }
    }

    /// The request came in the same turn as the close and has not left.
    #[test]
    fn a_close_with_nothing_sent_is_no_failure() {
        let mut f = Fixture::new();
        let first = f.queue(0);
        f.backends.handle_connected(first);
        f.close(first, Cause::Closed);
        assert_eq!((f.failed.0.len(), f.backends.take_events()), (0, vec![]));
        // The next one ends likewise: enough is enough.
        let second = f.queue(1);
        assert_ne!(second, first);
        f.backends.handle_connected(second);
        f.close(second, Cause::Closed);
        assert_eq!(f.failed.0, [(0, Cause::Closed), (1, Cause::Closed)]);
        assert_eq!(f.backends.take_events().len(), 1);
    }

    /// Before the topology task could mark the server as suspect.
    #[test]
    fn a_reply_right_after_a_failure_is_reported() {
        let (pool, server) = (0, 0);
        let mut f = Fixture::new();
        let id = f.queue(0);
        f.backends.handle_connected(id);
        for _ in 0..2 {
            f.queue(1);
        }
        for (reply, events) in [
            (&b"-OOM no\r\n"[..], vec![Event::Failed { pool, server }]),
            (b"+OK\r\n", vec![Event::Answered { pool, server }]),
            (b"+OK\r\n", vec![]),
        ] {
            let mut turn = Turn {
                replies: &mut f.failed,
                buffers: &mut f.buffers,
                now: 0,
            };
            assert!(f.backends.handle_bytes(id, reply, &mut turn));
            assert_eq!(f.backends.take_events(), events);
        }
    }

    #[test]
    fn a_request_that_is_late_says_whether_there_was_a_connection() {
        for (connected, cause) in [(false, Cause::ConnectTimeout), (true, Cause::TimedOut(100))] {
            let mut f = Fixture::new();
            let id = f.queue(0);
            if connected {
                f.backends.handle_connected(id);
                let sent = (f.backends).flush(id, &mut f.buffers, |bytes| Ok(bytes[0].len()));
                assert!(sent.is_ok());
            }
            for now in [99, 100] {
                assert!(f.failed.0.is_empty());
                let mut turn = Turn {
                    replies: &mut f.failed,
                    buffers: &mut f.buffers,
                    now,
                };
                f.backends.check_deadlines(&mut turn);
            }
            assert_eq!(f.failed.0, [(0, cause)]);
        }
    }

    #[test]
    fn a_connection_that_is_made_after_its_time_does_not_count() {
        let mut f = Fixture::new();
        let id = f.queue(0);
        f.close(id, Cause::ConnectTimeout);
        f.backends.handle_connected(id);
        assert_eq!(f.connections(), 0);
        f.backends.remove(id);
    }

    #[test]
    fn a_server_that_returns_is_tried_at_once() {
        let mut f = Fixture::new();
        let id = f.queue(0);
        f.close(id, Cause::Refused);
        let (at, resp) = ((0, 0), Resp::V2);
        let refused = f.backends.connection(at, resp, 0, 1).unwrap_err();
        assert_eq!(refused.cause, Cause::Refused);
        for ejected in [true, false] {
            let mut topology = Topology::clone(f.backends.topology());
            Arc::make_mut(&mut topology.pools[0]).servers[0].ejected = ejected;
            let mut turn = Turn {
                replies: &mut f.failed,
                buffers: &mut f.buffers,
                now: 1,
            };
            f.backends.apply(Arc::new(topology), &mut turn);
        }
        assert!(f.backends.connection(at, resp, 0, 1).is_ok());
    }
}
