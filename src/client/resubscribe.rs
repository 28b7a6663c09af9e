//! What servers push to clients that have subscribed, and their subscriptions when a connection is lost, its
//! server moves, or other servers are live: they are made anew without a word to the client. What is published
//! meanwhile is lost, as it is to a client of Redis that connects again. Nothing comes twice: a connection
//! that is no longer the client's is not heard any more.
//!
//! While a server is held or fails, its subscribers wait here, not in its queues; they are looked after at
//! each tick.

use super::special::Special;
use super::subscribe::place_of;
use super::subscriptions::{Subscriptions, Verdict};
use super::{ClientId, Clients, Front, Now, State};
use crate::backend::{Backends, Call, ConnectionId, Failure, Owner};
use crate::buffer::BufferPool;
use crate::protocol::redis::pubsub::{self, Kind};

/// A server that takes connections and drops them is tried no more often, in milliseconds.
const PACE: u32 = 500;

/// Clients that want connections for their subscriptions.
#[derive(Debug, Default)]
pub(super) struct Lost {
    waiting: Vec<Owner>,
    /// Per server how many clients have one again and were not told of in the log.
    restored: Vec<((u16, u16), u32)>,
}

impl Lost {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.restored.is_empty()
    }

    fn note(&mut self, at: (u16, u16)) {
        match self.restored.iter_mut().find(|(server, _)| *server == at) {
            Some((_, count)) => *count += 1,
            None => self.restored.push((at, 1)),
        }
    }
}

/// Gives a client a connection to a server, and subscribes there to all that it has subscribed to.
///
/// # Errors
/// There is no connection to be had.
pub(super) fn connect(
    subscriptions: &mut Subscriptions,
    backends: &mut Backends,
    buffers: &mut BufferPool,
    at: (u16, u16),
    owner: Owner,
    now: Now,
) -> Result<ConnectionId, Failure> {
    let link = subscriptions.link(at.1);
    link.tried = Some(now.ms);
    let connection = backends.listen(at, owner, now.ms)?;
    link.connection = Some(connection);
    let requests = subscriptions.requests(at.1);
    if !requests.is_empty() {
        backends.count_resubscribed(at);
    }
    for request in requests {
        let call = Call::for_nobody(now.us, false);
        backends.send(connection, call, &request, now.ms, buffers);
    }
    Ok(connection)
}

impl Clients {
    /// Bytes that a server pushed to a client that listens there.
    pub(super) fn take_push(
        &mut self,
        owner: Owner,
        server: u16,
        piece: &[u8],
        end: bool,
        buffers: &mut BufferPool,
    ) {
        let client = self.table.get_mut(owner.client as usize).map(Box::as_mut);
        let client = client.filter(|c| c.generation == owner.generation && c.state == State::Open);
        let Some(client) = client else {
            return;
        };
        let session = &mut client.session;
        let special = session.special.as_mut();
        let Some(subscriptions) = special.and_then(|special| special.subscriptions.as_mut()) else {
            return;
        };
        let limits = &self.limits[usize::from(client.pool)];
        let (pipeline, resp) = (&mut client.pipeline, session.resp);
        match subscriptions.assemble(server, piece, end, limits.client_output_limit) {
            Ok(Some(frame)) => match subscriptions.judge(&frame) {
                Verdict::Nothing => return,
                Verdict::Message { behind } => pipeline.deliver(Some(behind), buffers, |out| {
                    pubsub::write_message(out, resp, &frame);
                }),
                Verdict::Ended(name) => {
                    let (word, count) =
                        (Kind::Shard.unsubscribe(), subscriptions.count(Kind::Shard));
                    pipeline.deliver(None, buffers, |out| {
                        pubsub::confirm(out, resp, word, Some(&name), count);
                    });
                }
                Verdict::Refused => {
                    client.state = State::Closing;
                    self.woken.push(owner.client);
                    return;
                }
            },
            Ok(None) => {}
            Err(_) => {
                client.state = State::Dead;
                self.overflowed.push(owner.client);
                self.woken.push(owner.client);
                return;
            }
        }
        client.heard = true;
        self.after_reply(owner.client);
    }
}

impl Front {
    /// A connection is another one now, or lost; was it for subscriptions?
    pub(super) fn follow_subscriber(
        &mut self,
        owner: Owner,
        before: ConnectionId,
        after: Option<ConnectionId>,
    ) -> bool {
        let client = self.clients.table.get_mut(owner.client as usize);
        let followed = client
            .filter(|client| client.generation == owner.generation)
            .and_then(|client| client.session.special.as_mut()?.subscriptions.as_mut())
            .is_some_and(|subscriptions| subscriptions.follow(before, after));
        if followed && after.is_none() {
            self.restore(owner);
        }
        followed
    }

    /// Subscribes anew, as far as that is possible now; a client for whom it is not waits.
    fn restore(&mut self, owner: Owner) {
        let client = self.clients.table.get_mut(owner.client as usize);
        let client = client.filter(|c| c.generation == owner.generation && c.state == State::Open);
        let Some(client) = client else {
            return;
        };
        let special = client.session.special.as_mut();
        let Some(subscriptions) = special.and_then(|special| special.subscriptions.as_mut()) else {
            return;
        };
        for server in subscriptions.lost() {
            let at = (client.pool, server);
            let tried = subscriptions.link(server).tried;
            let early = tried.is_some_and(|tried| self.now.ms.wrapping_sub(tried) < PACE);
            if early || self.backends.is_held(at.0, at.1) {
                continue;
            }
            let (backends, buffers) = (&mut self.backends, &mut self.buffers);
            let restored = connect(subscriptions, backends, buffers, at, owner, self.now);
            if restored.is_ok() {
                self.lost.note(at);
            }
        }
        let waits = !subscriptions.lost().is_empty();
        if waits && !subscriptions.waits {
            self.lost.waiting.push(owner);
        }
        subscriptions.waits = waits;
    }

    /// Tries again for all that wait.
    pub(super) fn restore_waiting(&mut self) {
        for owner in std::mem::take(&mut self.lost.waiting) {
            let client = self.clients.table.get_mut(owner.client as usize);
            let special = client.and_then(|client| client.session.special.as_mut());
            if let Some(subscriptions) = special.and_then(|s| s.subscriptions.as_mut()) {
                subscriptions.waits = false;
            }
            self.restore(owner);
        }
    }

    /// Tells of those that have a connection again, together.
    pub(super) fn tell_restored(&mut self) {
        for ((pool, server), clients) in std::mem::take(&mut self.lost.restored) {
            let config = &self.configs[usize::from(pool)];
            tracing::info!(
                pool = config.name,
                server = config.servers[usize::from(server)].name,
                clients,
                "connections of subscribers were lost, their subscriptions are made anew"
            );
        }
    }

    /// Names may have other places in a new snapshot.
    pub(super) fn relocate_subscriptions(&mut self) {
        for id in 0..self.clients.table.capacity() {
            let Some(client) = self.clients.table.get_mut(id) else {
                continue;
            };
            let special = client.session.special.as_mut();
            let subscriptions = special.and_then(|special| special.subscriptions.as_mut());
            let (Some(subscriptions), State::Open) = (subscriptions, client.state) else {
                continue;
            };
            let pool = client.pool;
            let distribution = self.configs[usize::from(pool)].distribution;
            let backends = &mut self.backends;
            let live = backends.live(pool);
            let place = |kind, name: &[u8]| place_of(backends, pool, distribution, kind, name).ok();
            for (server, request) in subscriptions.relocate(live, place) {
                if let Some(connection) = subscriptions.link(server).connection {
                    let call = Call::for_nobody(self.now.us, false);
                    let buffers = &mut self.buffers;
                    (self.backends).send(connection, call, &request, self.now.ms, buffers);
                }
            }
            let owner = Owner {
                client: id as ClientId,
                generation: client.generation,
            };
            self.restore(owner);
            self.tidy_subscriptions(owner.client);
        }
    }

    /// Forgets what has ended, if the client knows that.
    pub(super) fn tidy_subscriptions(&mut self, id: ClientId) {
        let client = &mut self.clients.table[id as usize];
        let Some(special) = &mut client.session.special else {
            return;
        };
        let Some(subscriptions) = &mut special.subscriptions else {
            return;
        };
        let fence = subscriptions.fence;
        if fence.is_some_and(|fence| client.pipeline.is_open(fence.slot)) {
            return;
        }
        for connection in subscriptions.forget_left() {
            self.backends.stop_listening(connection, &mut self.buffers);
        }
        if subscriptions.total() == 0 {
            special.subscriptions = None;
        }
    }

    /// A client is gone.
    pub(super) fn abandon_subscriptions(&mut self, special: &Special) {
        if let Some(subscriptions) = &special.subscriptions {
            for connection in subscriptions.connections() {
                self.backends.abandon(connection, &mut self.buffers);
            }
        }
    }
}
