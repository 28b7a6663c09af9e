//! What whoever speaks to all servers of a pool wants to know of them.

use super::pool::{ASIDE, Backends, Hold, next_random};
use super::scripts::ScriptMemory;
use super::{Cause, ConnectionId, Failure, Kind};

/// A server that has left a request unanswered for so long, in milliseconds, is not asked for its INFO:
/// those who ask wait for the answer before they do anything else.
const LATE: u32 = 1_000;

impl Backends {
    /// The slots of the servers of a pool that are routed to, ascending.
    pub fn live(&self, pool: u16) -> Vec<u16> {
        self.topology.pools[usize::from(pool)].live().collect()
    }

    /// Clients of a pool, of all workers.
    pub fn clients(&self, pool: u16) -> u64 {
        let pools = self
            .workers
            .iter()
            .map(|stats| &stats.pools[usize::from(pool)]);
        pools.map(|pool| pool.client_connections.get()).sum()
    }

    /// Would a request have to wait for the server to answer older ones, or for a master?
    pub fn is_late(&self, (pool, server): (u16, u16), now: u32) -> bool {
        let known = self.server(pool, server);
        if !matches!(known.hold, Hold::No | Hold::Renewal) {
            return true;
        }
        let lanes = known.lanes.iter().flatten().flatten();
        lanes.chain(&known.others).any(|id| {
            let oldest = self.connections[*id as usize].fifo.front();
            oldest.is_some_and(|oldest| now.wrapping_sub(oldest.since) >= LATE)
        })
    }

    /// A connection for one request that must not wait behind others, as it is to end what they wait for. It
    /// closes with the reply.
    ///
    /// # Errors
    /// As for other connections.
    pub fn aside(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        client: u32,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        let at = (pool, server);
        let known = self.server(pool, server);
        if known.hold != Hold::No {
            // There is no server that it could reach sooner.
            return self.connection(at, kind, client, now);
        }
        if self.retained > self.max_retained {
            return Err(self.reject(at, known.failure(Cause::Overloaded)));
        }
        match self.open(at, kind, ASIDE, now) {
            Ok(id) => {
                self.connections[id as usize].leaving = true;
                Ok(id)
            }
            Err(failure) => Err(self.reject(at, failure)),
        }
    }

    /// A random number; nothing secret may depend on it.
    pub fn draw(&mut self) -> u32 {
        next_random(&mut self.random)
    }

    /// The scripts that clients have made known.
    pub fn scripts(&mut self) -> &mut ScriptMemory {
        &mut self.scripts
    }
}
