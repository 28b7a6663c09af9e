//! Finds the masters of unnamed servers: which master has, or whose replica has, a configured address.
//!
//! A configuration that was written before a failover names a node that is a replica by now; sentinels
//! remember every replica they ever saw. Who is a master at the address now goes before who knows it as a
//! replica: nodes that moved to another group stay in the old group's list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::SentinelId;
use super::address::{Addresses, HostPort};
use super::answer::MasterEntry;

#[derive(Debug, Default)]
pub(super) struct Search {
    listings: BTreeMap<SentinelId, Listing>,
    /// When the next round begins; `None`: not searching.
    pub(super) due: Option<Instant>,
    /// When this round ends though not all have told.
    pub(super) ends: Option<Instant>,
}

/// What one sentinel told in this round.
#[derive(Debug, Default)]
struct Listing {
    masters: Vec<(String, HostPort)>,
    replicas: Vec<(String, HostPort)>,
    /// The masters whose replicas it has not told yet.
    missing: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody told anything.
    Nothing,
    /// Nobody knows the address.
    Absent,
    One(String),
    Several(Vec<String>),
}

impl Search {
    pub(super) fn begin(&mut self, next: Instant, ends: Instant) {
        self.listings.clear();
        self.due = Some(next);
        self.ends = Some(ends);
    }

    pub(super) fn stop(&mut self) {
        *self = Search::default();
    }

    /// The names whose replicas are to be asked for.
    pub(super) fn handle_masters(
        &mut self,
        sentinel: SentinelId,
        entries: Vec<MasterEntry>,
        addresses: &Addresses,
    ) -> Vec<String> {
        let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let masters = entries.into_iter().filter_map(|entry| {
            let address = addresses.translate(entry.address?);
            Some((entry.name, address))
        });
        let listing = Listing {
            masters: masters.collect(),
            replicas: Vec::new(),
            missing: names.iter().cloned().collect(),
        };
        self.listings.insert(sentinel, listing);
        names
    }

    /// No replicas are told for a master that vanished meanwhile.
    pub(super) fn handle_replicas(
        &mut self,
        sentinel: SentinelId,
        name: &str,
        replicas: Vec<HostPort>,
        addresses: &Addresses,
    ) {
        if let Some(listing) = self.listings.get_mut(&sentinel) {
            listing.missing.remove(name);
            let replicas = replicas.into_iter();
            let replicas = replicas.map(|it| (name.to_string(), addresses.translate(it)));
            listing.replicas.extend(replicas);
        }
    }

    pub(super) fn handle_lost(&mut self, sentinel: SentinelId) {
        self.listings.remove(&sentinel);
    }

    /// Enough of `sentinels` have told, and whoever began has told all.
    pub(super) fn is_complete(&self, sentinels: usize) -> bool {
        let told = self.listings.values().all(|it| it.missing.is_empty());
        told && self.listings.len() * 2 > sentinels
    }

    pub(super) fn find(&self, wanted: &[&HostPort], addresses: &Addresses) -> Found {
        let names = |of: fn(&Listing) -> &[(String, HostPort)]| -> BTreeSet<&String> {
            let all = self.listings.values().flat_map(of);
            let hits = all.filter(|(_, it)| wanted.iter().any(|a| addresses.same(a, it)));
            hits.map(|(name, _)| name).collect()
        };
        let mut found = names(|listing| &listing.masters);
        if found.is_empty() {
            found = names(|listing| &listing.replicas);
        }
        let mut found = found.into_iter().cloned();
        match (found.next(), found.next()) {
            (None, _) if self.listings.is_empty() => Found::Nothing,
            (None, _) => Found::Absent,
            (Some(name), None) => Found::One(name),
            (Some(first), Some(second)) => {
                Found::Several([first, second].into_iter().chain(found).collect())
            }
        }
    }
}
