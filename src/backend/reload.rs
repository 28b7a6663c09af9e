//! Another configuration: servers that come, go, or want connections of another kind.
//!
//! Nothing that was accepted is dropped. A removed server's connections take no new request, send what they
//! have and end with their last reply. Where a password, a database or the number of connections changed,
//! new requests wait until the old connections have given their replies ([`Hold::Renewal`]), as they would
//! have waited behind them: so a client's requests to a server stay in their order.

use std::sync::Arc;

use super::blocking::{MESSENGER, Recall};
use super::connection::{Connection, State};
use super::gate::Gate;
use super::pool::{Backends, ConnectionId, Hold, Pool, Server};
use super::{Cause, Fate, Replies, Turn};
use crate::buffer::BufferPool;
use crate::config::PoolConfig;

impl Backends {
    /// Goes by the configurations of the snapshot of now; were they other ones before?
    pub(super) fn follow_configuration<R: Replies>(&mut self, turn: &mut Turn<'_, R>) -> bool {
        let topology = Arc::clone(&self.topology);
        let mut changed = false;
        for (pool, next) in (0u16..).zip(&topology.pools) {
            let Some(known) = self.pools.get_mut(usize::from(pool)) else {
                self.pools.push(Pool::new(next));
                changed = true;
                continue;
            };
            if Arc::ptr_eq(&known.config, &next.config) {
                continue;
            }
            changed = true;
            let before = std::mem::replace(&mut known.config, Arc::clone(&next.config));
            let renew = wants_other_connections(&before, &next.config);
            for (server, (config, state)) in
                (0u16..).zip(next.config.servers.iter().zip(&next.servers))
            {
                let fresh = || Server::new(&next.config, config, state.held);
                let servers = &mut self.pools[usize::from(pool)].servers;
                let Some(known) = servers.get_mut(usize::from(server)) else {
                    servers.push(fresh());
                    continue;
                };
                match (before.servers[usize::from(server)].removed, config.removed) {
                    (true, true) => {}
                    (true, false) => {
                        // There may be requests on their way still.
                        let lanes = std::mem::take(&mut known.lanes);
                        let others = std::mem::take(&mut known.others);
                        let dedicated = std::mem::take(&mut known.dedicated);
                        let idle = std::mem::take(&mut known.idle);
                        let messenger = known.messenger.take();
                        *known = Server {
                            lanes,
                            others,
                            dedicated,
                            idle,
                            messenger,
                            ..fresh()
                        };
                        self.renew(pool, server, turn);
                    }
                    (false, true) => self.dismiss(pool, server, turn),
                    (false, false) => {
                        known.who = fresh().who;
                        if renew {
                            self.renew(pool, server, turn);
                        }
                    }
                }
            }
        }
        changed
    }

    /// The server is no longer configured: what is on its way to it goes on, nothing follows.
    fn dismiss<R: Replies>(&mut self, pool: u16, server: u16, turn: &mut Turn<'_, R>) {
        let known = self.server_mut(pool, server);
        let renews = known.hold == Hold::Renewal;
        if !renews {
            known.hold = Hold::No;
        }
        let failure = known.failure(Cause::Removed);
        for id in self.connections_of(pool, server) {
            if self.connections[id as usize].lane == MESSENGER {
                continue;
            }
            if self.connections[id as usize].state != State::Waiting {
                self.leave_lane(id);
            }
            let connection = &mut self.connections[id as usize];
            match connection.state {
                // They go on when the last replies are here, as nothing else keeps them.
                State::Waiting if renews => connection.leaving = true,
                // Their master may never come.
                State::Waiting => {
                    let waited = connection.fifo.clone();
                    self.bury(id, turn.buffers);
                    self.count_failed((pool, server), &failure, waited.len());
                    for entry in waited {
                        (turn.replies).fail(entry.call, &failure, Fate::NotSent, turn.buffers);
                    }
                }
                _ if connection.fifo.is_empty() => self.bury(id, turn.buffers),
                State::Connecting => connection.leaving = true,
                State::Ready | State::Retiring => {
                    connection.state = State::Retiring;
                    if connection.blocked.is_some() {
                        connection.end_soon(turn.now);
                    }
                    self.mark(id);
                    self.recall(id, Recall::Move, turn.now, turn.buffers);
                }
                State::Dead => {}
            }
        }
    }

    /// All lanes anew, as the configuration wants them now.
    fn renew<R: Replies>(&mut self, pool: u16, server: u16, turn: &mut Turn<'_, R>) {
        let count = self.pools[usize::from(pool)]
            .config
            .server_connections
            .get() as usize;
        let managed = self.sentinel(pool).is_some();
        let known = self.server_mut(pool, server);
        known.hold = match known.hold {
            Hold::No => Hold::Renewal,
            // Nobody would end these any more.
            Hold::Symptom { .. } | Hold::Outage if !managed => Hold::Renewal,
            hold => hold,
        };
        // What failed before says nothing about connections of another kind.
        known.gates.iter_mut().for_each(Gate::open);
        self.server_stats(pool, server).failing.set(0);
        self.dismiss_idle(pool, server, turn.buffers);
        self.recall_all(pool, server, turn.now, turn.buffers);
        let known = self.server_mut(pool, server);
        let before = known.shared();
        known.lanes = [vec![None; count], vec![None; count]];
        known.others.clear();
        for id in before {
            let kind = self.connections[id as usize].kind;
            let stray = self.retire(id, turn);
            self.take_in((pool, server), kind, stray, turn);
        }
    }

    /// Requests that waited for the last replies of old connections go on, if there were any.
    pub(super) fn end_renewal(
        &mut self,
        pool: u16,
        server: u16,
        now: u32,
        buffers: &mut BufferPool,
    ) {
        if self.server(pool, server).hold != Hold::Renewal {
            return;
        }
        let now_at = &self.topology.pools[usize::from(pool)].servers[usize::from(server)].endpoint;
        let ids = self.connections_of(pool, server).into_iter();
        let mut all = ids.map(|id| &self.connections[id as usize]);
        let is_ending = |c: &Connection| match c.state {
            State::Retiring => true,
            State::Connecting => c.leaving,
            State::Waiting | State::Ready | State::Dead => false,
        };
        // What another node does is in no order with this one.
        if !all.any(|c| is_ending(c) && c.endpoint == *now_at) {
            self.let_go(pool, server, now, buffers);
            self.preconnect_server(pool, server, now);
        }
    }

    pub(super) fn end_renewals(&mut self, now: u32, buffers: &mut BufferPool) {
        for pool in 0..self.pools.len() as u16 {
            for server in 0..self.pools[usize::from(pool)].servers.len() as u16 {
                self.end_renewal(pool, server, now, buffers);
            }
        }
    }

    /// All that are not dead.
    fn connections_of(&self, pool: u16, server: u16) -> Vec<ConnectionId> {
        let all = self.connections.iter();
        let its =
            all.filter(|(_, c)| (c.pool, c.server) == (pool, server) && c.state != State::Dead);
        its.map(|(id, _)| id as ConnectionId).collect()
    }
}

/// Did anything change that a connection is opened with?
fn wants_other_connections(before: &PoolConfig, after: &PoolConfig) -> bool {
    let aspect = |pool: &PoolConfig| {
        (
            pool.redis_auth.clone(),
            pool.redis_db,
            pool.server_connections,
            pool.tcpkeepalive,
            // Only a master may be asked then.
            pool.sentinel.is_some(),
        )
    };
    aspect(before) != aspect(after)
}
