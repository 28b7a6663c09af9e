//! Connections that belong to one client for a while: what a transaction, a watched key or a blocking
//! command leaves on a connection must not meet other clients.
//!
//! Their requests never move to another connection once one of them was written, as the server's side of
//! the matter (MULTI, WATCH) would stay behind; but for requests that leave nothing there (`blocking.rs`).
//! Before that they wait for a failover as all others do. What became of a connection its owner learns from
//! [`Backends::take_changes`]. One that is given back is kept for the next client.

use super::connection::State;
use super::pool::{Backends, ConnectionId, Hold};
use super::stray::Stray;
use super::{Cause, Failure, Fate, Kind, Replies, Turn};
use crate::buffer::BufferPool;

/// In place of the number of a lane.
pub(super) const DEDICATED: u32 = u32::MAX;
/// So many connections to a server are kept for later.
const IDLE_MOST: usize = 16;

/// Whose connection it is, as in [`super::Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub client: u32,
    pub generation: u32,
}

/// An owner's connection is another one now, or is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub owner: Owner,
    pub before: ConnectionId,
    /// `None`: lost; what was asked on it has been answered, or has failed.
    pub after: Option<ConnectionId>,
}

impl Backends {
    /// A connection for `owner` alone, until [`Backends::release`] or [`Backends::abandon`].
    ///
    /// # Errors
    /// As for other connections; besides, there are as many as the pool allows.
    pub fn dedicate(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        owner: Owner,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        let at = (pool, server);
        let claimed = self.claim(at, kind, owner, now);
        claimed.map_err(|failure| self.reject(at, failure))
    }

    /// [`Backends::dedicate`], whose failure is not counted.
    pub(super) fn claim(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        owner: Owner,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        match self.find_or_open((pool, server), kind, now) {
            Ok(id) => {
                let connection = &mut self.connections[id as usize];
                connection.owner = Some(owner);
                connection.claimed = connection.appended;
                Ok(id)
            }
            Err(cause) => Err(self.server(pool, server).failure(cause)),
        }
    }

    fn find_or_open(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        now: u32,
    ) -> Result<ConnectionId, Cause> {
        if self.retained > self.max_retained {
            return Err(Cause::Overloaded);
        }
        let known = self.server(pool, server);
        let fits = |id: &ConnectionId| self.connections[*id as usize].kind == kind;
        if known.hold == Hold::No
            && let Some(at) = known.idle.iter().rposition(fits)
        {
            return Ok(self.server_mut(pool, server).idle.remove(at));
        }
        let limits = &self.pools[usize::from(pool)].config.limits;
        if known.dedicated.len() - known.idle.len() >= limits.dedicated_connections as usize {
            return Err(Cause::Crowded(limits.dedicated_connections));
        }
        let id = self
            .open((pool, server), kind, DEDICATED, now)
            .map_err(|failure| failure.cause)?;
        self.server_mut(pool, server).dedicated.push(id);
        Ok(id)
    }

    /// May its owner queue more on it?
    ///
    /// # Errors
    /// Too much waits for servers already.
    pub fn admit(&self, id: ConnectionId) -> Result<(), Failure> {
        let connection = &self.connections[id as usize];
        let room = self.max_retained.saturating_sub(self.retained);
        if connection.retained() <= room {
            return Ok(());
        }
        let (pool, server) = (connection.pool, connection.server);
        let failure = self.server(pool, server).failure(Cause::Overloaded);
        Err(self.reject((pool, server), failure))
    }

    /// Is the server about to be replaced by another, or waited for?
    pub fn is_held(&self, pool: u16, server: u16) -> bool {
        !matches!(self.server(pool, server).hold, Hold::No | Hold::Renewal)
    }

    /// The owner has no more use for it and left nothing on it: no transaction, no watched key. All its
    /// requests are answered but for such as nobody waits for.
    pub fn release(&mut self, id: ConnectionId, buffers: &mut BufferPool) {
        let connection = &mut self.connections[id as usize];
        connection.owner = None;
        let (pool, server) = (connection.pool, connection.server);
        let reusable = connection.state == State::Ready && !connection.leaving;
        let known = self.server_mut(pool, server);
        if reusable && known.idle.len() < IDLE_MOST {
            known.idle.push(id);
        } else if connection_lives(self.connections[id as usize].state) {
            self.bury(id, buffers);
        }
    }

    /// The owner is gone, or the connection is in a state that nobody else should meet.
    pub fn abandon(&mut self, id: ConnectionId, buffers: &mut BufferPool) {
        let connection = &mut self.connections[id as usize];
        connection.owner = None;
        let (pool, server) = (connection.pool, connection.server);
        let unanswered = connection.fifo.len();
        if connection_lives(connection.state) {
            let failure = self.server(pool, server).failure(Cause::Abandoned);
            self.count_failed((pool, server), &failure, unanswered);
            self.bury(id, buffers);
        }
    }

    /// What became of clients' connections since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The server will be another one, or wants other connections: those that nobody has now are closed,
    /// the others when they are given back.
    pub(super) fn dismiss_idle(&mut self, pool: u16, server: u16, buffers: &mut BufferPool) {
        for id in std::mem::take(&mut self.server_mut(pool, server).idle) {
            self.bury(id, buffers);
        }
        for id in self.server(pool, server).dedicated.clone() {
            let connection = &mut self.connections[id as usize];
            if connection.state == State::Ready {
                connection.leaving = true;
            }
        }
    }

    /// The server has moved. Whoever has written nothing yet goes on at the new address; the others get the
    /// replies that are due, and no more.
    pub(super) fn move_dedicated<R: Replies>(&mut self, id: ConnectionId, turn: &mut Turn<'_, R>) {
        let connection = &mut self.connections[id as usize];
        let (pool, server, kind) = (connection.pool, connection.server, connection.kind);
        let fresh = connection.is_fresh();
        if connection.blocked.is_some() && !fresh {
            return self.move_blocked(id, turn);
        }
        let owner = connection.owner.take();
        let stray = self.retire(id, turn);
        let Some(owner) = owner else {
            return;
        };
        if fresh {
            return self.go_on((pool, server), kind, (owner, id), stray, turn);
        }
        self.changes.push(Change {
            owner,
            before: id,
            after: None,
        });
        let failure = self.server(pool, server).failure(Cause::Moved);
        self.fail_stray((pool, server), &failure, stray, turn);
    }

    /// Requests of which none was written go on with another connection of their owner's.
    pub(super) fn go_on<R: Replies>(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        (owner, before): (Owner, ConnectionId),
        stray: Stray,
        turn: &mut Turn<'_, R>,
    ) {
        let listening = self.connections[before as usize].listening;
        let opened = self.dedicate((pool, server), kind, owner, turn.now);
        self.changes.push(Change {
            owner,
            before,
            after: opened.as_ref().ok().copied(),
        });
        match opened {
            Ok(id) => {
                self.retained += stray.bytes.len();
                let blocked = self.connections[before as usize].blocked.take();
                let managed = self.sentinel(pool).is_some();
                let connection = &mut self.connections[id as usize];
                connection.block_as(blocked, managed);
                connection.listening = listening;
                connection.take_in(stray, turn.buffers);
                self.mark(id);
            }
            Err(failure) => self.fail_stray((pool, server), &failure, stray, turn),
        }
    }

    /// Its owner learns that it has no connection any more.
    pub(super) fn lose(&mut self, id: ConnectionId) {
        if let Some(owner) = self.connections[id as usize].owner.take() {
            self.changes.push(Change {
                owner,
                before: id,
                after: None,
            });
        }
    }

    /// Requests that were never written get `failure`.
    pub(super) fn fail_stray<R: Replies>(
        &mut self,
        at: (u16, u16),
        failure: &Failure,
        stray: Stray,
        turn: &mut Turn<'_, R>,
    ) {
        self.count_failed(at, failure, stray.entries.len());
        for entry in stray.entries {
            (turn.replies).fail(entry.call, failure, Fate::NotSent, turn.buffers);
        }
    }

    /// All that waited on a connection without a socket fail together: what follows on it would be
    /// executed without what came before.
    pub(super) fn give_up_waiting<R: Replies>(
        &mut self,
        id: ConnectionId,
        failure: &Failure,
        turn: &mut Turn<'_, R>,
    ) {
        let connection = &mut self.connections[id as usize];
        let at = (connection.pool, connection.server);
        let (stray, lost) = connection.dismantle(false);
        debug_assert!(lost.is_empty(), "nothing was written");
        self.bury(id, turn.buffers);
        self.fail_stray(at, failure, stray, turn);
    }
}

fn connection_lives(state: State) -> bool {
    state != State::Dead
}
