//! What each sentinel says of one master, and which of them have a say.
//!
//! Nothing is concluded from a sentinel that does not answer: it keeps its seat when majorities of all are
//! counted, and its last word does not count as an answer.

use std::collections::BTreeMap;

use super::SentinelId;
use super::address::{Addresses, HostPort};
use super::answer::{Flags, MasterEntry};
use super::decide::Claim;

/// One master, as all sentinels see it.
#[derive(Debug, Default)]
pub(super) struct Views {
    views: BTreeMap<SentinelId, View>,
    /// Grows when epochs start over, see [`Views::start_over`].
    era: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) knowledge: Knowledge,
    /// It can be asked, so that its knowledge is of now.
    pub(super) reachable: bool,
    /// The first half of a pair, until the address comes. See [`super::Question::Address`].
    half: Option<Option<MasterEntry>>,
    /// The last epoch it ever said: an epoch never falls while a sentinel monitors a master.
    last_epoch: Option<u64>,
    /// It began to monitor the master anew, so its epochs compare with nobody's.
    anew: bool,
    era: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Knowledge {
    /// Not asked yet.
    #[default]
    Nothing,
    /// It does not monitor a master of this name.
    Unknown,
    /// It does not tell, or not intelligibly.
    Refused,
    Says {
        address: HostPort,
        epoch: u64,
        flags: Flags,
    },
}

impl Views {
    pub(super) fn add(&mut self, sentinel: SentinelId) {
        let era = self.era;
        self.views.entry(sentinel).or_insert(View {
            era,
            ..View::default()
        });
    }

    pub(super) fn remove(&mut self, sentinel: SentinelId) {
        self.views.remove(&sentinel);
    }

    /// Its answers are history until it answers again.
    pub(super) fn lose(&mut self, sentinel: SentinelId) {
        if let Some(view) = self.views.get_mut(&sentinel) {
            view.reachable = false;
            view.half = None;
        }
    }

    /// Another master is to be watched: nothing is known of it.
    pub(super) fn clear(&mut self) {
        let era = self.era;
        for view in self.views.values_mut() {
            *view = View {
                era,
                ..View::default()
            };
        }
    }

    /// The first half of a pair: epoch and flags.
    pub(super) fn handle_master(&mut self, sentinel: SentinelId, entry: Option<MasterEntry>) {
        if let Some(view) = self.views.get_mut(&sentinel) {
            view.half = Some(entry);
        }
    }

    /// The second half. Says whether the two fit together and are taken.
    pub(super) fn handle_address(
        &mut self,
        sentinel: SentinelId,
        address: Option<HostPort>,
    ) -> bool {
        let era = self.era;
        let Some(view) = self.views.get_mut(&sentinel) else {
            return false;
        };
        let knowledge = match (view.half.take(), address) {
            (Some(Some(entry)), Some(address)) => Knowledge::Says {
                address,
                epoch: entry.epoch,
                flags: entry.flags,
            },
            (Some(_), None) => Knowledge::Unknown,
            (Some(None) | None, Some(_)) | (None, None) => return false,
        };
        if let Knowledge::Says { epoch, .. } = knowledge {
            let fell = view.last_epoch.is_some_and(|last| epoch < last);
            let returned = view.knowledge == Knowledge::Unknown && view.last_epoch.is_some();
            if fell || returned {
                view.begin_anew(era);
            }
            view.last_epoch = Some(epoch);
        }
        view.knowledge = knowledge;
        view.reachable = true;
        true
    }

    pub(super) fn handle_refusal(&mut self, sentinel: SentinelId) {
        if let Some(view) = self.views.get_mut(&sentinel) {
            view.half = None;
            view.knowledge = Knowledge::Refused;
        }
    }

    /// `-monitor`.
    pub(super) fn handle_unmonitored(&mut self, sentinel: SentinelId) {
        if let Some(view) = self.views.get_mut(&sentinel) {
            view.knowledge = Knowledge::Unknown;
        }
    }

    /// `+monitor`, or another process at the sentinel's address.
    pub(super) fn handle_anew(&mut self, sentinel: SentinelId) {
        let era = self.era;
        if let Some(view) = self.views.get_mut(&sentinel)
            && view.last_epoch.is_some()
        {
            view.begin_anew(era);
        }
    }

    /// If a majority of all sentinels of this master monitors it anew, a new era begins in which only
    /// they count, until the others join them. Says whether it did.
    pub(super) fn start_over(&mut self) -> bool {
        let anew = self.views.values().filter(|view| view.anew).count();
        if anew * 2 <= self.seats() {
            return false;
        }
        self.era += 1;
        for view in self.views.values_mut().filter(|view| view.anew) {
            view.anew = false;
            view.era = self.era;
        }
        true
    }

    /// What is said now by those who have a say, and takes back in who agrees with `believed`.
    pub(super) fn claims(
        &mut self,
        believed: Option<(&HostPort, Option<u64>)>,
        addresses: &Addresses,
    ) -> Vec<Claim> {
        let era = self.era;
        let mut claims = Vec::new();
        for (&sentinel, view) in &mut self.views {
            let Knowledge::Says { address, epoch, .. } = &view.knowledge else {
                continue;
            };
            if let Some((believed, Some(floor))) = believed
                && addresses.same(address, believed)
            {
                view.era = era;
                view.anew &= *epoch < floor;
            }
            if view.reachable && view.era == era {
                claims.push(Claim {
                    sentinel,
                    address: address.clone(),
                    epoch: *epoch,
                });
            }
        }
        claims
    }

    /// The last word of one sentinel, of now or not.
    pub(super) fn said(&self, sentinel: SentinelId) -> Option<(&HostPort, u64)> {
        match &self.views.get(&sentinel)?.knowledge {
            Knowledge::Says { address, epoch, .. } => Some((address, *epoch)),
            _ => None,
        }
    }

    /// How many sentinels watch this master, or may: all but those that never knew it.
    pub(super) fn seats(&self) -> usize {
        let seated =
            |view: &&View| view.knowledge != Knowledge::Unknown || view.last_epoch.is_some();
        self.views.values().filter(seated).count()
    }

    /// All were asked and told, or refused to tell.
    pub(super) fn all_answered(&self) -> bool {
        let mut all = self.views.values();
        all.all(|view| view.knowledge != Knowledge::Nothing)
    }

    /// There are answers, and none of them knows the name.
    pub(super) fn unknown_to_all(&self) -> bool {
        let mut any = false;
        for view in self.views.values() {
            match view.knowledge {
                Knowledge::Says { .. } if view.reachable => return false,
                Knowledge::Unknown => any |= view.reachable,
                _ => {}
            }
        }
        any
    }

    /// Somebody who can be asked holds the master to be down.
    pub(super) fn any_down(&self) -> bool {
        let down = |view: &View| match view.knowledge {
            Knowledge::Says { flags, .. } => flags.subjectively_down || flags.objectively_down,
            _ => false,
        };
        self.views.values().any(|view| view.reachable && down(view))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SentinelId, &View)> {
        self.views.iter().map(|(&sentinel, view)| (sentinel, view))
    }
}

impl View {
    /// Who comes late to a new era joins it; else a new one may begin.
    fn begin_anew(&mut self, era: u32) {
        if self.era < era {
            self.era = era;
        } else {
            self.anew = true;
        }
    }
}
