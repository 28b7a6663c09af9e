//! Another configuration for clients: those of pools that are no longer there take no more requests and end
//! when they have what they are owed. How clients leave at the end of the process is `farewell.rs`'s.

use std::sync::Arc;

use bytes::BytesMut;

use super::slow::slow_from;
use super::{ClientId, Front, Now, State};
use crate::topology::Topology;

/// A client that is to leave, as it was when that was decided.
#[derive(Clone, Copy, Debug)]
pub struct Leaving(ClientId, u32);

impl Front {
    /// Goes on by another snapshot. Clients of pools that were removed take no more requests; answers
    /// those that still wait for replies, see [`Front::cut_off`].
    pub fn apply(&mut self, topology: Arc<Topology>, now: Now) -> Vec<Leaving> {
        let pools = topology.pools.iter().map(|pool| &pool.config);
        let same = pools.len() == self.configs.len()
            && (pools.clone().zip(&self.configs)).all(|(new, old)| Arc::ptr_eq(new, old));
        let leaving = if same {
            Vec::new()
        } else {
            self.configs = pools.cloned().collect();
            self.reconfigure(now)
        };
        let (backends, mut turn) = self.turn(now);
        backends.apply(topology, &mut turn);
        self.end_turn();
        self.relocate_subscriptions();
        leaving
    }

    /// Goes by other configurations of the pools.
    fn reconfigure(&mut self, now: Now) -> Vec<Leaving> {
        let limits = self.configs.iter().map(|config| config.limits);
        self.clients.limits = limits.collect();
        let slow = self.configs.iter().map(|config| slow_from(config));
        self.clients.timing.set_slow_from(slow.collect());
        let removed: Vec<bool> = (self.configs.iter()).map(|config| config.removed).collect();
        self.call_back(now, |client| removed[usize::from(client.pool)]);
        let mut leaving = Vec::new();
        for (id, client) in &mut self.clients.table {
            let removed = self.configs[usize::from(client.pool)].removed;
            if !removed || client.state == State::Dead {
                continue;
            }
            client.state = State::Closing;
            client.input = BytesMut::new();
            self.clients.woken.push(id as ClientId);
            leaving.push(Leaving(id as ClientId, client.generation));
        }
        leaving
    }

    /// Whoever of `leaving` still waits is closed without what it waits for; answers how many did.
    pub fn cut_off(&mut self, leaving: &[Leaving]) -> usize {
        let mut count = 0;
        for Leaving(id, generation) in leaving {
            if let Some(client) = self.clients.table.get_mut(*id as usize)
                && client.generation == *generation
                && client.state != State::Dead
            {
                client.state = State::Dead;
                self.clients.woken.push(*id);
                count += 1;
            }
        }
        count
    }
}
