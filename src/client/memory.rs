//! The worker's memory limit: who is closed when its buffers hold too much.

use super::{Client, ClientId, Front, State};

impl Front {
    /// Over the limit, whoever holds most goes first, as with Redis' client eviction; clients that asked not
    /// to be evicted go when no other holds anything.
    pub fn enforce_memory(&mut self) {
        for id in std::mem::take(&mut self.clients.overflowed) {
            if let Some(client) = self.clients.table.get(id as usize) {
                let stats = &self.stats.pools[usize::from(client.pool)];
                stats.client_output_limit_hit.add(1);
                self.count_overflow(client, "unread replies exceed client_output_limit");
            }
        }
        let mut total = self.clients.buffered;
        if total + self.backends.retained() > self.memory_limit {
            // The tasks of those chosen before may not have closed them yet.
            let leaving = self.clients.table.iter().map(|(_, client)| client);
            let leaving = leaving.filter(|client| client.state == State::Dead);
            total -= leaving.map(|client| client.accounted).sum::<usize>();
        }
        while total + self.backends.retained() > self.memory_limit {
            let alive = self.clients.table.iter_mut();
            let holding = alive.filter(|(_, c)| c.state != State::Dead && c.accounted > 0);
            let first = |client: &Client| (!client.session.is_not_evicted(), client.accounted);
            let Some((id, client)) = holding.max_by_key(|(_, client)| first(client)) else {
                break;
            };
            client.state = State::Dead;
            total -= client.accounted;
            self.clients.woken.push(id as ClientId);
            let client = &self.clients.table[id];
            let stats = &self.stats.pools[usize::from(client.pool)];
            stats.max_memory_hit.add(1);
            self.count_overflow(client, "it held most when the memory limit was reached");
        }
        self.note_held();
        self.stats
            .buffered_bytes
            .set((self.clients.buffered + self.backends.retained()) as u64);
    }

    fn count_overflow(&self, client: &Client, why: &str) {
        let stats = &self.stats.pools[usize::from(client.pool)];
        stats.output_limit_closed.add(1);
        let (pool, peer) = (self.pool_name(client.pool), client.session.peer);
        tracing::warn!(pool, client = %peer, "client closed: {why}");
    }
}
