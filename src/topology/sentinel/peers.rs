//! Who the sentinels are: the configured ones for ever, and those they name.
//!
//! A sentinel is known by its run id, so that one with a new address replaces the old and the list does not
//! grow for ever. Nothing is remembered beyond the process.

use std::collections::BTreeMap;
use std::time::Instant;

use super::address::HostPort;
use super::answer::SentinelEntry;
use super::output::{Note, Output};
use super::peer::{Means, Peer};
use super::timing::Timing;
use super::{Link, SentinelId};

/// More sentinels than anybody runs for one master.
const MAX_SENTINELS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: BTreeMap<SentinelId, Peer>,
    next: u32,
}

/// Who came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added(SentinelId),
    Removed(SentinelId),
    /// Another process at the same address: it knows nothing of what the former said.
    Replaced(SentinelId),
}

impl Peers {
    pub(super) fn add(
        &mut self,
        address: HostPort,
        configured: bool,
        timing: &Timing,
        now: Instant,
    ) -> SentinelId {
        let id = SentinelId(self.next);
        self.next += 1;
        let peer = Peer::new(id, address, configured, timing, now);
        self.peers.insert(id, peer);
        id
    }

    pub(super) fn get_mut(&mut self, id: SentinelId) -> Option<&mut Peer> {
        self.peers.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.values_mut()
    }

    pub(super) fn any_up(&self) -> bool {
        let up = |peer: &Peer| peer.is_up(Link::Query) || peer.is_up(Link::Subscription);
        self.iter().any(up)
    }

    /// The sentinel told its own id.
    pub(super) fn identify(
        &mut self,
        id: SentinelId,
        run_id: String,
        means: &mut Means,
    ) -> Vec<Change> {
        let twin = self.iter().find(|peer| {
            peer.id != id && peer.run_id.as_ref() == Some(&run_id) && !peer.configured
        });
        let twin = twin.map(|peer| peer.id);
        let mut changes = Vec::new();
        if let Some(twin) = twin {
            self.remove(twin, means);
            changes.push(Change::Removed(twin));
        }
        if let Some(peer) = self.get_mut(id) {
            let former = peer.run_id.replace(run_id.clone());
            if former.is_some_and(|former| former != run_id) {
                changes.push(Change::Replaced(id));
            }
        }
        changes
    }

    /// A sentinel listed those it knows.
    pub(super) fn learn(&mut self, entries: Vec<SentinelEntry>, means: &mut Means) -> Vec<Change> {
        let addresses = means.addresses;
        let mut changes = Vec::new();
        for entry in entries {
            let address = addresses.translate(entry.address);
            let mut known = self.peers.values_mut();
            if let Some(peer) = known.find(|peer| peer.run_id.as_ref() == Some(&entry.run_id)) {
                peer.last_sign = means.now;
                let moved = !addresses.same(&peer.address, &address);
                let lost = !peer.is_up(Link::Query) && !peer.is_up(Link::Subscription);
                if moved && lost && !peer.configured && !entry.down {
                    peer.relocate(address, means);
                }
                continue;
            }
            let mut known = self.peers.values_mut();
            if let Some(peer) = known.find(|peer| addresses.same(&peer.address, &address)) {
                peer.last_sign = means.now;
                peer.run_id.get_or_insert(entry.run_id);
            } else if !entry.down && self.peers.len() < MAX_SENTINELS {
                let sentinel = self.add(address.clone(), false, means.timing, means.now);
                if let Some(peer) = self.get_mut(sentinel) {
                    peer.run_id = Some(entry.run_id);
                }
                let note = Note::SentinelLearned { sentinel, address };
                means.outputs.push_back(Output::Note(note));
                changes.push(Change::Added(sentinel));
            }
        }
        changes
    }

    /// Drops learned sentinels of which there was no sign for long.
    pub(super) fn forget(&mut self, means: &mut Means) -> Vec<Change> {
        let forget = means.timing.forget;
        let lost = |peer: &&Peer| !peer.configured && peer.last_sign + forget <= means.now;
        let lost: Vec<SentinelId> = self.iter().filter(lost).map(|peer| peer.id).collect();
        for &id in &lost {
            self.remove(id, means);
        }
        lost.into_iter().map(Change::Removed).collect()
    }

    /// When [`Peers::forget`] has something to do.
    pub(super) fn next_forget(&self, timing: &Timing) -> Option<Instant> {
        let learned = self.iter().filter(|peer| !peer.configured);
        learned.map(|peer| peer.last_sign + timing.forget).min()
    }

    fn remove(&mut self, sentinel: SentinelId, means: &mut Means) {
        if let Some(peer) = self.peers.remove(&sentinel) {
            peer.close(means.outputs);
            let address = peer.address;
            let note = Note::SentinelDropped { sentinel, address };
            means.outputs.push_back(Output::Note(note));
        }
    }
}
