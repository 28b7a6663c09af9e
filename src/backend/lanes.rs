//! The connections that take requests of all clients: per server, protocol version and database as many as
//! the pool's `server_connections`, opened when they are first wanted.

use super::connection::{Connection, State};
use super::dedicated::DEDICATED;
use super::pool::{Backends, ConnectionId, Hold};
use super::{Cause, Failure, Kind};
use crate::protocol::redis::Resp;
use crate::topology::Endpoint;

impl Backends {
    /// The connection of a lane, opened if need be.
    #[inline]
    pub(super) fn lane(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        lane: usize,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        let known = &self.pools[usize::from(pool)].servers[usize::from(server)];
        if kind.db.is_some() {
            return self.other_lane((pool, server), kind, lane, now);
        }
        match known.lanes[kind.resp as usize][lane] {
            Some(id) => Ok(id),
            None => {
                let id = self.open((pool, server), kind, lane as u32, now)?;
                self.server_mut(pool, server).lanes[kind.resp as usize][lane] = Some(id);
                Ok(id)
            }
        }
    }

    /// As [`Backends::lane`], for a database that clients have to select.
    fn other_lane(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        lane: usize,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        let is_it = |id: &&ConnectionId| {
            let connection = &self.connections[**id as usize];
            connection.kind == kind && connection.lane as usize == lane
        };
        if let Some(id) = self.server(pool, server).others.iter().find(is_it) {
            return Ok(*id);
        }
        let id = self.open((pool, server), kind, lane as u32, now)?;
        self.server_mut(pool, server).others.push(id);
        Ok(id)
    }

    #[cold]
    pub(super) fn open(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        lane: u32,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        let known = &self.pools[usize::from(pool)].servers[usize::from(server)];
        let endpoint =
            &self.topology.pools[usize::from(pool)].servers[usize::from(server)].endpoint;
        let waits = known.hold != Hold::No;
        let config = &self.pools[usize::from(pool)].config;
        if config.servers[usize::from(server)].removed {
            return Err(known.failure(Cause::Removed));
        }
        match endpoint {
            Endpoint::Unresolved(_) if !waits => return Err(known.failure(Cause::Unresolved)),
            Endpoint::NoMaster(why) if !waits => {
                return Err(known.failure(Cause::NoMaster(why.clone())));
            }
            _ => {}
        }
        let gate = &known.gates[kind.resp as usize];
        if let (true, false, Some(cause)) = (gate.is_closed(now), waits, &gate.failure) {
            return Err(known.failure(cause.clone()));
        }
        let no_password = (config.redis_auth.is_none()).then(|| known.failure(Cause::NoPassword));
        // What a refusal means to a transaction is its client's business.
        let gated = config.sentinel.is_some() && lane != DEDICATED;
        let at = (pool, server);
        let mut connection = Connection::new(at, kind, lane, endpoint.clone(), no_password, gated);
        if waits {
            connection.state = State::Waiting;
        }
        let id = self.connections.insert(connection) as ConnectionId;
        if !waits {
            self.opening.push(id);
        }
        Ok(id)
    }

    /// Opens one RESP2 connection to every server of the pools with `preconnect`.
    pub fn preconnect(&mut self, now: u32) {
        for pool in 0..self.pools.len() {
            for server in 0..self.pools[pool].servers.len() {
                self.preconnect_server(pool as u16, server as u16, now);
            }
        }
    }

    pub(super) fn preconnect_server(&mut self, pool: u16, server: u16, now: u32) {
        if self.pools[usize::from(pool)].config.preconnect {
            // A failure is logged by whoever tries to connect; there is no request to fail yet.
            let _ = self.lane((pool, server), Kind::of(Resp::V2), 0, now);
        }
    }
}
