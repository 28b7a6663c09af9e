//! SUBSCRIBE, UNSUBSCRIBE and their kin for patterns and shard channels, on connections of the client's own:
//! one to each server that has something for it, so that PUBLISH counts right and PUBSUB NUMSUB can be added
//! up.
//!
//! Every server confirms its part; then the client gets the confirmations of all names, in the order of its
//! request, with the counts of what it has subscribed to here. If a part fails, that is the reply, and the
//! client is closed behind it: what it has subscribed to is uncertain, and clients subscribe anew when they
//! connect again. Later the proxy itself subscribes anew where a connection is lost (`resubscribe.rs`).
//!
//! Requests before and behind one of these wait for each other, as they go other ways; one of these does not
//! wait for others of the same direction.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{After, Context};
use super::resubscribe::connect;
use super::subscriptions::{Fence, Place, Subscriptions};

use crate::backend::{Backends, ConnectionId, Failure, UNTIMED};
use crate::distribution::Distribution;
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::{Access, Command, Local, PLACEHOLDER, Policy};
use crate::protocol::redis::fragment::Gather;
use crate::protocol::redis::pubsub::{self, Kind, Source};
use crate::protocol::redis::scan::ArrayFrame;
use crate::protocol::redis::write;

/// Names on one server, and the connection to it.
type Part<'a> = (Result<ConnectionId, Failure>, Vec<&'a [u8]>);

/// Where a name is subscribed to.
///
/// # Errors
/// No server is live.
pub(super) fn place_of(
    backends: &mut Backends,
    pool: u16,
    distribution: Distribution,
    kind: Kind,
    name: &[u8],
) -> Result<Place, Failure> {
    let source = match kind {
        // What is published goes to any server then.
        _ if distribution == Distribution::Random => Source::Everywhere,
        Kind::Pattern => Source::Everywhere,
        Kind::Channel => pubsub::source(name),
        Kind::Shard => Source::Key(name),
    };
    match source {
        Source::Key(key) => backends.route(pool, key).map(Place::One),
        Source::Everywhere => backends.route(pool, PLACEHOLDER).map(|_| Place::Every),
    }
}

impl Context<'_> {
    fn subscriptions(&mut self) -> &mut Subscriptions {
        let special = self.session.special.get_or_insert_default();
        let live = || self.backends.live(self.pool);
        (special.subscriptions).get_or_insert_with(|| Box::new(Subscriptions::new(live())))
    }

    /// The last request about subscriptions that is not answered yet.
    fn fence(&self) -> Option<Fence> {
        let subscriptions = self.session.special.as_ref()?.subscriptions.as_ref()?;
        let fence = subscriptions.fence?;
        self.pipeline.is_open(fence.slot).then_some(fence)
    }

    /// May a request about subscriptions go out, behind what is not answered yet?
    fn is_next(&mut self, ends: bool) -> bool {
        match self.fence() {
            Some(fence) => fence.ends == ends,
            None if self.pipeline.pending() > 0 => false,
            None => {
                for connection in self.subscriptions().forget_left() {
                    self.backends.stop_listening(connection, self.buffers);
                }
                true
            }
        }
    }

    #[cold]
    pub(super) fn subscribe(&mut self, kind: Kind, bytes: &[u8], frame: &ArrayFrame) -> After {
        if !self.is_next(false) {
            return After::Drain;
        }
        let mut names = Vec::new();
        for name in frame.args(bytes).skip(1).map(|arg| arg.bytes) {
            let distribution = self.config.distribution;
            match place_of(self.backends, self.pool, distribution, kind, name) {
                Ok(place) => names.push((name, place)),
                Err(failure) => {
                    self.failure(&failure);
                    return After::Close;
                }
            }
        }
        let subscriptions = self.subscriptions();
        let fresh = names.iter();
        let fresh = fresh.filter(|(name, _)| !subscriptions.has(kind, name));
        let servers: BTreeSet<u16> = fresh
            .flat_map(|(_, place)| subscriptions.servers(*place))
            .collect();
        // Before any name is new, so that none is asked for twice where a connection is.
        let connections = servers
            .into_iter()
            .map(|server| (server, self.connect(server)));
        let mut connections: BTreeMap<u16, _> = connections.collect();
        let (slot, resp) = (self.pipeline.next_number(), self.session.resp);
        let mut text = Vec::new();
        let mut parts: BTreeMap<u16, Vec<&[u8]>> = BTreeMap::new();
        let subscriptions = self.subscriptions();
        for (name, place) in names {
            if subscriptions.add(kind, name, place, slot) {
                for server in subscriptions.servers(place) {
                    parts.entry(server).or_default().push(name);
                }
            }
            let count = subscriptions.count(kind);
            pubsub::confirm(&mut text, resp, kind.subscribe(), Some(name), count);
        }
        let parts = parts.into_iter();
        let parts = parts.filter_map(|(server, names)| Some((connections.remove(&server)?, names)));
        let parts = parts.collect();
        self.confirm_behind(text, kind.subscribe(), parts, false)
    }

    /// The client's connection to a server for what is published there.
    fn connect(&mut self, server: u16) -> Result<ConnectionId, Failure> {
        let (at, owner) = ((self.pool, server), self.owner());
        let subscriptions = self.subscriptions();
        if let Some(connection) = subscriptions.link(server).connection {
            return self.backends.admit(connection).map(|()| connection);
        }
        let special = self.session.special.get_or_insert_default();
        let subscriptions = special.subscriptions.get_or_insert_default();
        let connected = connect(
            subscriptions,
            self.backends,
            self.buffers,
            at,
            owner,
            self.now,
        );
        connected.map_err(|failure| self.backends.reject(at, failure))
    }

    #[cold]
    pub(super) fn unsubscribe(&mut self, kind: Kind, bytes: &[u8], frame: &ArrayFrame) -> After {
        if !self.is_next(true) {
            return After::Drain;
        }
        let (resp, word) = (self.session.resp, kind.unsubscribe());
        let subscriptions = self.subscriptions();
        let all = match frame.argc {
            1 => subscriptions.names(kind),
            _ => Vec::new(),
        };
        let given = frame.args(bytes).skip(1).map(|arg| arg.bytes);
        let mut text = Vec::new();
        let mut parts: BTreeMap<ConnectionId, Vec<&[u8]>> = BTreeMap::new();
        for name in given.chain(all.iter().map(|name| &name[..])) {
            for server in subscriptions.leave(kind, name).unwrap_or_default() {
                // Without a connection it has ended already.
                if let Some(connection) = subscriptions.link(server).connection {
                    parts.entry(connection).or_default().push(name);
                }
            }
            let count = subscriptions.count(kind);
            pubsub::confirm(&mut text, resp, word, Some(name), count);
        }
        if text.is_empty() {
            pubsub::confirm(&mut text, resp, word, None, subscriptions.count(kind));
        }
        let parts = parts.into_iter().map(|(id, names)| (Ok(id), names));
        let parts = parts.collect();
        self.confirm_behind(text, word, parts, true)
    }

    /// Answers with `text` when all servers have done their part.
    fn confirm_behind(
        &mut self,
        text: Vec<u8>,
        word: &str,
        parts: Vec<Part<'_>>,
        ends: bool,
    ) -> After {
        if parts.is_empty() {
            if self.pipeline.pending() > 0 {
                let gather = Gather::confirm(text, ends, 0);
                self.pipeline.open_gather(gather, UNTIMED);
                return After::Continue;
            }
            let write = |out: &mut Vec<u8>| out.extend_from_slice(&text);
            self.pipeline.deliver(None, self.buffers, write);
            return After::Continue;
        }
        let gather = Gather::confirm(text, ends, parts.len());
        let slot = self.open_gather(gather, parts.len());
        self.subscriptions().fence = Some(Fence { slot, ends });
        let mut request = self.buffers.take(0);
        for (part, (connection, names)) in (0u16..).zip(parts) {
            match connection {
                Ok(connection) => {
                    request.clear();
                    pubsub::request(&mut request, word, names.into_iter());
                    let call = self.call(slot, part, Access::Read);
                    let now = self.now.ms;
                    self.backends
                        .send(connection, call, &request, now, self.buffers);
                }
                Err(failure) => self.fail_part(slot, part, &failure),
            }
        }
        self.buffers.give(request);
        After::Continue
    }

    /// What becomes of another request of a client that has subscribed to something.
    #[cold]
    pub(super) fn restrict(&mut self, command: &Command) -> Option<After> {
        let allowed = matches!(
            command.policy,
            Policy::Subscribe(_)
                | Policy::Unsubscribe(_)
                | Policy::Local(Local::Ping | Local::Quit | Local::Reset)
        );
        if !allowed && self.is_subscriber() && self.session.resp == Resp::V2 {
            let name = command.name;
            return Some(self.error(&format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context"
            )));
        }
        let waits = !allowed && self.fence().is_some();
        waits.then_some(After::Drain)
    }

    /// Has it subscribed to anything?
    pub(super) fn is_subscriber(&self) -> bool {
        let special = self.session.special.as_ref();
        let subscriptions = special.and_then(|special| special.subscriptions.as_ref());
        subscriptions.is_some_and(|subscriptions| subscriptions.total() > 0)
    }

    /// A subscriber with RESP2 cannot tell a reply from a message, but for this form (`server.c`,
    /// `pingCommand`).
    #[cold]
    pub(super) fn pong(&mut self, message: &[u8]) -> After {
        self.answer(|out| {
            write::array_header(out, 2);
            write::bulk(out, b"pong");
            write::bulk(out, message);
        })
    }

    /// Ends all subscriptions without a word. Everything is answered.
    pub(super) fn end_subscriptions(&mut self) {
        let special = self.session.special.as_mut();
        let Some(subscriptions) = special.and_then(|special| special.subscriptions.take()) else {
            return;
        };
        for connection in subscriptions.connections() {
            self.backends.abandon(connection, self.buffers);
        }
    }
}
