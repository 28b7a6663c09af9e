//! What few clients have: a server connection of their own and what it is for. Apart from the session, so
//! that clients which send plain commands only stay small.
//!
//! A client that is tied to a server sends all its requests to that server on its own connection, so that
//! they stay in their order; requests to other servers go the common way. The tie lasts until nothing holds
//! it (a transaction, watched keys) and every request is answered.

use super::blocking::Stay;
use super::context::{After, Context};
use super::subscriptions::Subscriptions;
use super::transaction::Transaction;
use super::{ClientId, Front};
use crate::backend::{Call, Change, ConnectionId, Owner};

#[derive(Debug, Default)]
pub(super) struct Special {
    pub tie: Option<Tie>,
    pub transaction: Option<Transaction>,
    pub subscriptions: Option<Box<Subscriptions>>,
    /// Where its last request waits for long, or did.
    pub stays: Vec<Stay>,
}

/// A connection of the client's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tie {
    pub server: u16,
    pub connection: ConnectionId,
    /// Keys are watched on it.
    pub watching: bool,
    /// It has ended, and what it held with it.
    pub lost: bool,
}

impl Special {
    /// The client's own connection to `server`.
    pub fn tied_to(&self, server: u16) -> Option<ConnectionId> {
        self.tie
            .filter(|tie| tie.server == server && !tie.lost)
            .map(|tie| tie.connection)
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        let subscriptions = self.subscriptions.as_ref();
        subscriptions.map_or(0, |subscriptions| subscriptions.memory())
    }

    /// One of its connections is another one now, or lost; was it known?
    fn follow(&mut self, before: ConnectionId, after: Option<ConnectionId>) -> bool {
        let mut known = false;
        if let Some(tie) = &mut self.tie
            && tie.connection == before
            && !tie.lost
        {
            match after {
                Some(after) => tie.connection = after,
                None => self.lose_tie(),
            }
            known = true;
        }
        if let Some(at) = self.stays.iter().position(|stay| stay.connection == before) {
            match after {
                Some(after) => self.stays[at].connection = after,
                None => drop(self.stays.swap_remove(at)),
            }
            known = true;
        }
        known
    }

    /// The tie's connection has ended. What nothing depended on is forgotten.
    fn lose_tie(&mut self) {
        let begun = self.transaction.as_ref().is_some_and(Transaction::is_begun);
        self.tie = self.tie.filter(|tie| begun || tie.watching);
        self.tie.iter_mut().for_each(|tie| tie.lost = true);
    }

    /// Would the tie's connection meet its next owner with something of this one's?
    pub fn is_needed(&self) -> bool {
        self.transaction.is_some() || self.tie.is_some_and(|tie| tie.watching)
    }
}

impl Context<'_> {
    pub(super) fn special(&mut self) -> &mut Special {
        self.session.special.get_or_insert_default()
    }

    pub(super) fn owner(&self) -> Owner {
        Owner {
            client: self.client,
            generation: self.generation,
        }
    }

    /// Ties the client to a server, unless it is tied there already.
    ///
    /// # Errors
    /// What becomes of the request that wanted it: it waits until all before it are answered, as they went
    /// another way; or it has been answered with an error.
    pub(super) fn tie_to(&mut self, server: u16) -> Result<ConnectionId, After> {
        match self.session.special.as_ref().and_then(|s| s.tie) {
            Some(tie) if tie.lost => {
                let name = &self.config.servers[usize::from(tie.server)].name;
                let text = format!(
                    "ERR the connection to '{name}' that held the watched keys or the transaction is lost"
                );
                return Err(self.error(&text));
            }
            Some(tie) if tie.server == server => {
                return match self.backends.admit(tie.connection) {
                    Ok(()) => Ok(tie.connection),
                    Err(failure) => Err(self.failure(&failure)),
                };
            }
            Some(tie) if tie.watching => {
                let name = |server: u16| &self.config.servers[usize::from(server)].name;
                let text = format!(
                    "CROSSSLOT keys are watched on '{}', this request's live on '{}'",
                    name(tie.server),
                    name(server)
                );
                return Err(self.error(&text));
            }
            _ if self.pipeline.pending() > 0 => return Err(After::Drain),
            _ => {
                self.untie();
            }
        }
        let (at, kind) = ((self.pool, server), self.session.kind());
        let owner = self.owner();
        match self.backends.dedicate(at, kind, owner, self.now.ms) {
            Ok(connection) => {
                self.special().tie = Some(Tie {
                    server,
                    connection,
                    watching: false,
                    lost: false,
                });
                Ok(connection)
            }
            Err(failure) => Err(self.failure(&failure)),
        }
    }

    /// Sends what the client has not asked for and hears no reply to.
    pub(super) fn send_unheard(&mut self, connection: ConnectionId, request: &[u8], write: bool) {
        let call = Call::for_nobody(self.now.us, write);
        self.backends
            .send(connection, call, request, self.now.ms, self.buffers);
    }

    /// Ends a tie that nothing holds. False: keys are watched on it.
    pub(super) fn untie(&mut self) -> bool {
        let Some(special) = &mut self.session.special else {
            return true;
        };
        match special.tie {
            Some(tie) if tie.watching => return false,
            Some(tie) if !tie.lost => self.backends.release(tie.connection, self.buffers),
            _ => {}
        }
        special.tie = None;
        true
    }
}

impl Front {
    /// Takes note of what became of clients' own connections.
    pub(super) fn follow_changes(&mut self) {
        for change in self.backends.take_changes() {
            let Change {
                owner,
                before,
                after,
            } = change;
            if self.follow_subscriber(owner, before, after) {
                continue;
            }
            let client = self.clients.table.get_mut(owner.client as usize);
            let known = client
                .filter(|client| client.generation == owner.generation)
                .and_then(|client| client.session.special.as_mut())
                .is_some_and(|special| special.follow(before, after));
            match after {
                Some(after) if !known => self.backends.abandon(after, &mut self.buffers),
                None if known => self.settle(owner.client),
                _ => {}
            }
        }
    }

    /// Gives a client's own connection back when nothing holds it.
    pub(super) fn settle(&mut self, id: ClientId) {
        self.tidy_subscriptions(id);
        let client = &mut self.clients.table[id as usize];
        let Some(special) = &mut client.session.special else {
            return;
        };
        if special.is_needed() || client.pipeline.pending() > 0 {
            return;
        }
        if let Some(tie) = special.tie.take()
            && !tie.lost
        {
            self.backends.release(tie.connection, &mut self.buffers);
        }
        for stay in special.stays.drain(..).filter(|stay| stay.own) {
            self.backends.release(stay.connection, &mut self.buffers);
        }
        if special.subscriptions.is_none() {
            client.session.special = None;
        }
    }

    /// A client is gone: so is what it had for itself.
    pub(super) fn abandon(&mut self, special: &Special) {
        if let Some(tie) = special.tie
            && !tie.lost
        {
            self.backends.abandon(tie.connection, &mut self.buffers);
        }
        for stay in special.stays.iter().filter(|stay| stay.own) {
            self.backends.abandon(stay.connection, &mut self.buffers);
        }
        self.abandon_subscriptions(special);
    }
}
