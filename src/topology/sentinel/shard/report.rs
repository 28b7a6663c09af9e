//! What a shard tells about itself.

use std::time::{Duration, Instant};

use super::super::SentinelId;
use super::super::address::{Addresses, HostPort};
use super::super::output::Switch;
use super::super::snapshot::{HISTORY, Phase, ShardSnapshot, SwitchRecord, ViewSnapshot};
use super::super::view::{Knowledge, View};
use super::{Context, Shard};

impl Shard {
    /// Remembers a switch that is about to happen.
    pub(super) fn record(&mut self, switch: &Switch, decided: Instant, ctx: Context) {
        let held = self.hold.as_ref();
        let held = held.map_or(Duration::ZERO, |hold| ctx.now.duration_since(hold.since));
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.switches += 1;
        self.history.push_back(SwitchRecord {
            from: self.serving.as_ref().map(|serving| serving.address.clone()),
            to: switch.address.clone(),
            epoch: switch.epoch,
            via: switch.via,
            source: switch.source,
            announced: self.announced_at.take(),
            decided,
            verified: ctx.now,
            held,
        });
    }

    pub(in super::super) fn snapshot(&self, addresses: &Addresses) -> ShardSnapshot {
        let belief = self.belief.as_ref();
        let serving = self.serving.as_ref().map(|serving| &serving.address);
        ShardSnapshot {
            id: self.id,
            master: self.name.clone(),
            address: self.serving.as_ref().map(|serving| serving.address.clone()),
            since: self.serving.as_ref().map(|serving| serving.since),
            epoch: belief.and_then(|belief| belief.epoch()),
            phase: self.phase(),
            switches: self.switches,
            views: (self.views.iter())
                .map(|entry| view(entry, serving, addresses))
                .collect(),
            history: self.history.iter().cloned().collect(),
        }
    }

    fn phase(&self) -> Phase {
        let announced = self.announcement.as_ref();
        if let Some(hold) = &self.hold {
            let candidate = announced.and_then(|announced| announced.candidate.clone());
            let believed = self.gate.as_ref().map(|gate| gate.address.clone());
            Phase::Held {
                candidate: believed.or(candidate),
                until: hold.until,
            }
        } else if let Some(gate) = &self.gate {
            Phase::Verifying {
                address: gate.address.clone(),
            }
        } else if self.views.unknown_to_all() {
            Phase::Unknown
        } else if self.belief.is_none() {
            Phase::Init
        } else if self.suspicion.is_some() {
            Phase::Suspect
        } else {
            Phase::Stable
        }
    }
}

fn view(
    (sentinel, view): (SentinelId, &View),
    serving: Option<&HostPort>,
    addresses: &Addresses,
) -> ViewSnapshot {
    let (says, flags) = match &view.knowledge {
        Knowledge::Says {
            address,
            epoch,
            flags,
        } => (Some((address.clone(), *epoch)), *flags),
        _ => Default::default(),
    };
    let said = says.as_ref().map(|(address, _)| address);
    ViewSnapshot {
        sentinel,
        reachable: view.reachable,
        agrees: (said.zip(serving)).map(|(said, serving)| addresses.same(said, serving)),
        says,
        down: flags.subjectively_down || flags.objectively_down,
        failover_in_progress: flags.failover_in_progress,
    }
}
