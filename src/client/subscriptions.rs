//! What one client has subscribed to, and on which servers: the bookkeeping without the connections.
//!
//! Every message is published on one server: that of its channel, as if the channel's name were a key, or for
//! the servers' own notifications that of the key they are about. So a channel is subscribed to on one server
//! and a pattern on all of them, and each message comes once.
//!
//! A name is subscribed to, and counted, from its request on, as the confirmations are sent in the order of
//! the requests. Its messages wait for the confirmation. A name whose subscription ends is remembered until
//! that is confirmed, as messages may come until then.

use std::borrow::Cow;
use std::collections::hash_map::{Entry as Slot, HashMap};
use std::collections::{BTreeMap, BTreeSet};

use crate::backend::ConnectionId;
use crate::protocol::redis::pubsub::{self, Kind, Push};

/// What a name takes besides its bytes.
const ENTRY: usize = size_of::<(Box<[u8]>, Entry)>() + 16;

/// Where the messages to a name come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    One(u16),
    /// Any of the live servers.
    Every,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// The slot with the confirmation.
    slot: u32,
    /// Its end is on its way.
    leaving: bool,
}

/// A connection to a server, or the want of one.
#[derive(Debug)]
pub(super) struct Link {
    pub server: u16,
    pub connection: Option<ConnectionId>,
    /// When a new one was last asked for, in the worker's milliseconds.
    pub tried: Option<u32>,
    /// Subscriptions on it.
    names: usize,
    /// The beginning of a push.
    partial: Vec<u8>,
}

/// The last request whose confirmation servers have to fence off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub slot: u32,
    /// It ends subscriptions.
    pub ends: bool,
}

/// What becomes of something that a server pushed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is nothing for the client.
    Nothing,
    /// The client gets it behind the reply of slot `behind`.
    Message { behind: u32 },
    /// The server ended the subscription to this shard channel.
    Ended(Vec<u8>),
    /// The server refused to subscribe anew.
    Refused,
}

/// A push is larger than a client's output may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Requests to servers, each with whom it is for.
pub(super) type Orders = Vec<(u16, Vec<u8>)>;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    names: [HashMap<Box<[u8]>, Entry>; 3],
    /// How many of them are not leaving.
    counts: [usize; 3],
    leaving: Vec<(Kind, Box<[u8]>)>,
    links: Vec<Link>,
    /// The servers that are in use.
    live: Vec<u16>,
    pub fence: Option<Fence>,
    /// It is on the list of those that have lost a connection.
    pub waits: bool,
    bytes: usize,
}

impl Subscriptions {
    pub fn new(live: Vec<u16>) -> Subscriptions {
        Subscriptions {
            live,
            ..Subscriptions::default()
        }
    }

    /// As confirmations count: channels with patterns, shard channels apart.
    pub fn count(&self, kind: Kind) -> usize {
        let [channels, patterns, shards] = self.counts;
        match kind {
            Kind::Channel | Kind::Pattern => channels + patterns,
            Kind::Shard => shards,
        }
    }

    /// Channels, patterns and shard channels.
    pub fn counts(&self) -> [usize; 3] {
        self.counts
    }

    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Bytes that all this takes.
    pub fn memory(&self) -> usize {
        let partial = self.links.iter().map(|link| link.partial.capacity());
        self.bytes + partial.sum::<usize>()
    }

    pub fn has(&self, kind: Kind, name: &[u8]) -> bool {
        let entry = self.names[kind as usize].get(name);
        entry.is_some_and(|entry| !entry.leaving)
    }

    /// The servers of a place.
    pub fn servers(&self, place: Place) -> Vec<u16> {
        match place {
            Place::One(server) => vec![server],
            Place::Every => self.live.clone(),
        }
    }

    /// Subscribes to `name`, to be confirmed in `slot`. False: it is subscribed to already.
    pub fn add(&mut self, kind: Kind, name: &[u8], place: Place, slot: u32) -> bool {
        let entry = Entry {
            place,
            slot,
            leaving: false,
        };
        match self.names[kind as usize].entry(name.into()) {
            Slot::Occupied(_) => return false,
            Slot::Vacant(vacant) => vacant.insert(entry),
        };
        self.bytes += name.len() + ENTRY;
        self.counts[kind as usize] += 1;
        for server in self.servers(place) {
            self.link(server).names += 1;
        }
        true
    }

    /// Ends the subscription to `name`; answers where it was.
    pub fn leave(&mut self, kind: Kind, name: &[u8]) -> Option<Vec<u16>> {
        let entry = self.names[kind as usize].get_mut(name);
        let entry = entry.filter(|entry| !entry.leaving)?;
        entry.leaving = true;
        let place = entry.place;
        self.counts[kind as usize] -= 1;
        self.leaving.push((kind, name.into()));
        let servers = self.servers(place);
        for server in &servers {
            self.link(*server).names -= 1;
        }
        Some(servers)
    }

    /// All names of a kind.
    pub fn names(&self, kind: Kind) -> Vec<Box<[u8]>> {
        let names = self.names[kind as usize].iter();
        let there = names.filter(|(_, entry)| !entry.leaving);
        there.map(|(name, _)| name.clone()).collect()
    }

    /// The end of everything that was to end is confirmed. Answers the connections that are of no more use.
    pub fn forget_left(&mut self) -> Vec<ConnectionId> {
        self.fence = None;
        for (kind, name) in std::mem::take(&mut self.leaving) {
            self.forget(kind, &name);
        }
        let unused = self.links.extract_if(.., |link| link.names == 0);
        unused.filter_map(|link| link.connection).collect()
    }

    fn forget(&mut self, kind: Kind, name: &[u8]) {
        if self.names[kind as usize].remove(name).is_some() {
            self.bytes -= name.len() + ENTRY;
        }
    }

    /// The link to a server, perhaps without a connection yet.
    pub fn link(&mut self, server: u16) -> &mut Link {
        let found = self.links.iter().position(|link| link.server == server);
        let at = found.unwrap_or_else(|| {
            self.links.push(Link {
                server,
                connection: None,
                tried: None,
                names: 0,
                partial: Vec::new(),
            });
            self.links.len() - 1
        });
        &mut self.links[at]
    }

    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.links.iter().filter_map(|link| link.connection)
    }

    /// A connection is another one now, or lost. False: it is none of these.
    pub fn follow(&mut self, before: ConnectionId, after: Option<ConnectionId>) -> bool {
        let found = self.links.iter_mut().find(|l| l.connection == Some(before));
        let Some(link) = found else {
            return false;
        };
        link.connection = after;
        link.partial = Vec::new();
        true
    }

    /// Servers with subscriptions and without a connection.
    pub fn lost(&self) -> Vec<u16> {
        let lost = |link: &&Link| link.connection.is_none() && link.names > 0;
        let lost = self.links.iter().filter(lost);
        lost.map(|link| link.server).collect()
    }

    /// Everything that is to be subscribed to on a server.
    pub fn requests(&self, server: u16) -> Vec<Vec<u8>> {
        let is_there = |entry: &Entry| match entry.place {
            _ if entry.leaving => false,
            Place::One(place) => place == server,
            Place::Every => self.live.contains(&server),
        };
        let names = |kind: Kind| {
            let names = self.names[kind as usize].iter();
            let there = names.filter(|(_, entry)| is_there(entry));
            there.map(|(name, _)| &name[..]).collect::<Vec<_>>()
        };
        let all = Kind::ALL.map(|kind| (kind, names(kind)));
        let some = all.into_iter().filter(|(_, names)| !names.is_empty());
        some.map(|(kind, names)| request(kind.subscribe(), &names))
            .collect()
    }

    /// Other servers are live now, and names may be elsewhere. Where `place` has no answer, all stays as it
    /// is. What is to be said on the connections that are there: see [`Subscriptions::lost`] for the others.
    pub fn relocate(
        &mut self,
        live: Vec<u16>,
        mut place: impl FnMut(Kind, &[u8]) -> Option<Place>,
    ) -> Orders {
        let mut changes: BTreeMap<(u16, bool, Kind), Vec<&[u8]>> = BTreeMap::new();
        let mut counts: BTreeMap<u16, isize> = BTreeMap::new();
        for (kind, names) in Kind::ALL.into_iter().zip(&mut self.names) {
            for (name, entry) in names {
                if entry.leaving {
                    continue;
                }
                let Some(there) = place(kind, name) else {
                    continue;
                };
                let servers = |place: Place, live: &[u16]| match place {
                    Place::One(server) => BTreeSet::from([server]),
                    Place::Every => live.iter().copied().collect(),
                };
                let before = servers(entry.place, &self.live);
                let after = servers(there, &live);
                entry.place = there;
                for (ends, only) in [(false, &after - &before), (true, &before - &after)] {
                    for server in only {
                        *counts.entry(server).or_default() += if ends { -1 } else { 1 };
                        changes.entry((server, ends, kind)).or_default().push(name);
                    }
                }
            }
        }
        let orders = changes.into_iter().map(|((server, ends, kind), names)| {
            let word = match ends {
                true => kind.unsubscribe(),
                false => kind.subscribe(),
            };
            (server, request(word, &names))
        });
        let orders = orders.collect();
        self.live = live;
        for (server, change) in counts {
            let link = self.link(server);
            link.names = link.names.saturating_add_signed(change);
        }
        orders
    }

    /// Takes bytes that a server pushed; answers the push when it is complete.
    ///
    /// # Errors
    /// It has more than `most` bytes.
    pub fn assemble<'a>(
        &mut self,
        server: u16,
        piece: &'a [u8],
        end: bool,
        most: u64,
    ) -> Result<Option<Cow<'a, [u8]>>, TooLarge> {
        let partial = &mut self.link(server).partial;
        if (partial.len() + piece.len()) as u64 > most {
            return Err(TooLarge);
        }
        if end && partial.is_empty() {
            return Ok(Some(Cow::Borrowed(piece)));
        }
        partial.extend_from_slice(piece);
        Ok(end.then(|| Cow::Owned(std::mem::take(partial))))
    }

    /// Decides over a complete push.
    pub fn judge(&mut self, frame: &[u8]) -> Verdict {
        match pubsub::read(frame) {
            Push::Message { kind, name } => match self.names[kind as usize].get(name) {
                Some(entry) => Verdict::Message { behind: entry.slot },
                None => Verdict::Nothing,
            },
            // If it is not leaving, the client has not asked for this.
            Push::Unsubscribed(name) if self.has(Kind::Shard, name) => {
                self.leave(Kind::Shard, name);
                self.leaving.pop();
                self.forget(Kind::Shard, name);
                Verdict::Ended(name.to_vec())
            }
            Push::Unsubscribed(_) => Verdict::Nothing,
            Push::Other if frame.first() == Some(&b'-') => Verdict::Refused,
            Push::Other => Verdict::Nothing,
        }
    }
}

fn request(word: &str, names: &[&[u8]]) -> Vec<u8> {
    let mut request = Vec::new();
    pubsub::request(&mut request, word, names.iter().copied());
    request
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
