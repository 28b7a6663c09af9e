//! Which address is believed: events, answers, the way back from what proved wrong.

use std::time::Instant;

use super::super::SentinelId;
use super::super::address::HostPort;
use super::super::answer::{MasterEntry, RoleAnswer};
use super::super::decide::{self, Claim, Known, Verdict};
use super::super::output::{Ignored, Note, Output, Release, Switch, Via};
use super::gate::Probe;
use super::{Context, Disagreement, Poll, Serving, Shard};

#[derive(Debug)]
pub(super) struct Belief {
    pub(super) address: HostPort,
    /// No lower epoch moves us. Before the epoch is known, the lowest it can be.
    pub(super) floor: Option<u64>,
    pub(super) standing: Standing,
    /// Epochs started over and no majority agreed on anything yet.
    pub(super) by_majority: bool,
    pub(super) via: Via,
    pub(super) source: Option<SentinelId>,
    pub(super) since: Instant,
    /// What was believed before, to return to if this is taken back.
    before: Option<Before>,
}

#[derive(Clone, Debug)]
struct Before {
    address: HostPort,
    floor: Option<u64>,
    standing: Standing,
}

/// How much speaks for the believed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The configuration only.
    Configured,
    /// The candidate said it is a master, but no sentinel has made that its configuration.
    Eager,
    /// A sentinel published it. Events may be late, by a stalled subscription for instance, and the node of
    /// an earlier failover may still say that it is a master: so nothing is sent there before a sentinel
    /// answers the same.
    Announced,
    /// A sentinel answered it, with its epoch.
    Confirmed,
}

/// A majority denies what is believed: the evidence it would take to follow it although its epoch is lower.
/// Else a leader that died before it told anybody would leave us with a node that is made a replica again.
#[derive(Debug)]
pub(super) struct Overrule {
    other: Claim,
    /// The leader itself took its candidate back; no majority is needed.
    revoked: bool,
    other_probe: Probe,
    /// The believed address has to say that it is no master, unless nothing was sent there or no sentinel
    /// ever vouched for it.
    own_probe: Option<Probe>,
}

impl Belief {
    fn new(
        address: HostPort,
        floor: Option<u64>,
        standing: Standing,
        via: Via,
        now: Instant,
    ) -> Belief {
        Belief {
            address,
            floor,
            standing,
            by_majority: false,
            via,
            source: None,
            since: now,
            before: None,
        }
    }

    pub(super) fn configured(address: HostPort, now: Instant) -> Belief {
        Belief::new(address, None, Standing::Configured, Via::Configuration, now)
    }

    pub(super) fn polled(claim: Claim, now: Instant) -> Belief {
        Belief {
            source: Some(claim.sentinel),
            ..Belief::new(
                claim.address,
                Some(claim.epoch),
                Standing::Confirmed,
                Via::Poll,
                now,
            )
        }
    }

    /// The epoch, where it is known and not only bounded.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.floor.filter(|_| self.standing == Standing::Confirmed)
    }

    pub(super) fn start_over(&mut self) {
        self.floor = None;
        self.by_majority = true;
    }
}

impl Overrule {
    pub(super) fn probes(&self) -> impl Iterator<Item = &Probe> {
        std::iter::once(&self.other_probe).chain(&self.own_probe)
    }

    pub(super) fn probes_mut(&mut self) -> impl Iterator<Item = &mut Probe> {
        std::iter::once(&mut self.other_probe).chain(&mut self.own_probe)
    }
}

impl Shard {
    /// A sentinel published that the master moved from `old` to `new`.
    pub(in super::super) fn handle_moved(
        &mut self,
        from: SentinelId,
        old: &HostPort,
        new: HostPort,
        via: Via,
        ctx: Context,
    ) {
        // Events carry no epoch; and where this one is not believed, the answers decide.
        self.polls.push(Poll::All);
        let same = |a: &HostPort, b: &HostPort| ctx.addresses.same(a, b);
        let Some(belief) = &mut self.belief else {
            return;
        };
        if same(&new, &belief.address) {
            if belief.standing == Standing::Eager {
                belief.standing = Standing::Announced;
                belief.source = Some(from);
                self.overrule = None;
            }
            return self.ignore(from, Ignored::Duplicate);
        }
        if !same(old, &belief.address) {
            return self.ignore(from, Ignored::Stale);
        }
        // A sentinel that was cut off may follow another one's old news; but one that knew our epoch can
        // only have learned of a higher one.
        let proven = match (belief.floor, self.views.said(from)) {
            (Some(floor), Some((_, epoch))) => epoch >= floor,
            _ => false,
        };
        if !proven {
            return self.ignore(from, Ignored::Unproven);
        }
        let next = Belief {
            floor: belief.floor.map(|floor| floor + 1),
            source: Some(from),
            ..Belief::new(new, None, Standing::Announced, via, ctx.now)
        };
        self.believe(next, ctx);
        self.drive_probes(ctx);
    }

    pub(in super::super) fn handle_master(&mut self, from: SentinelId, entry: Option<MasterEntry>) {
        self.views.handle_master(from, entry);
    }

    /// The address ends the pair that a sentinel was asked for at `asked`.
    pub(in super::super) fn handle_address(
        &mut self,
        from: SentinelId,
        address: Option<HostPort>,
        asked: Instant,
        ctx: Context,
    ) {
        if self.views.handle_address(from, address) {
            self.check_refuted(from, asked, ctx);
            self.reconsider(ctx);
        }
    }

    /// Applies the rules to what is known now.
    pub(in super::super) fn reconsider(&mut self, ctx: Context) {
        if self.views.start_over() {
            self.note(Note::EpochReset { shard: self.id });
            if let Some(belief) = &mut self.belief {
                belief.start_over();
            }
        }
        let believed = self.belief.as_ref().map(|it| (&it.address, it.floor));
        let claims = self.views.claims(believed, ctx.addresses);
        self.follow(&claims, ctx);
        self.watch_disagreement(&claims, ctx);
        self.note_unknown(ctx);
        self.start(ctx);
        self.drive_probes(ctx);
    }

    fn follow(&mut self, claims: &[Claim], ctx: Context) {
        let seats = self.views.seats();
        let Some(belief) = &mut self.belief else {
            return;
        };
        let known = Known {
            address: &belief.address,
            floor: belief.floor,
            seats,
            by_majority: belief.by_majority,
        };
        match decide::decide(claims, known, ctx.addresses) {
            Verdict::Move(claim) => self.believe(Belief::polled(claim, ctx.now), ctx),
            Verdict::Confirm { epoch } => {
                let news = belief.epoch() != Some(epoch);
                belief.floor = Some(epoch);
                belief.standing = Standing::Confirmed;
                belief.by_majority = false;
                if news {
                    self.note(Note::Confirmed {
                        shard: self.id,
                        epoch,
                    });
                    self.pass_gate(ctx);
                }
                self.overrule = None;
            }
            Verdict::Keep | Verdict::Split => {
                let contradiction = decide::contradiction(claims, known, ctx.addresses);
                self.watch_contradiction(contradiction, ctx);
            }
        }
    }

    /// Another address is the master's. Requests are held until it says so itself.
    pub(super) fn believe(&mut self, belief: Belief, ctx: Context) {
        self.gate = Some(Probe::new(belief.address.clone(), ctx.now));
        self.adopt(belief);
        if self.serving.is_some() {
            self.start_hold(ctx);
            if self.hold.is_none() && !self.is_unconfirmed() {
                self.tell_not_master();
            }
        }
    }

    /// An event says so and no answer yet.
    pub(super) fn is_unconfirmed(&self) -> bool {
        let belief = self.belief.as_ref();
        belief.is_some_and(|belief| belief.standing == Standing::Announced)
    }

    fn adopt(&mut self, belief: Belief) {
        self.note(Note::Decided {
            shard: self.id,
            address: belief.address.clone(),
            epoch: belief.epoch(),
            via: belief.via,
        });
        let before = self.belief.take().map(|before| Before {
            address: before.address,
            floor: before.floor,
            standing: before.standing,
        });
        self.belief = Some(Belief { before, ..belief });
        self.announced_at = self.announcement.take().map(|it| it.since);
        self.overrule = None;
    }

    /// The candidate says that it is a master, before any sentinel says so.
    pub(super) fn believe_candidate(&mut self, ctx: Context) {
        let (Some(announced), Some(belief)) = (&self.announcement, &self.belief) else {
            return;
        };
        let Some(candidate) = announced.candidate.clone() else {
            return;
        };
        let eager = Belief {
            floor: belief.floor.map(|floor| floor + 1),
            source: Some(announced.leader),
            ..Belief::new(candidate, None, Standing::Eager, Via::Candidate, ctx.now)
        };
        self.adopt(eager);
        self.publish(ctx);
    }

    /// The believed address said that it is a master: from here on it serves.
    pub(super) fn publish(&mut self, ctx: Context) {
        let Some(belief) = &self.belief else { return };
        let switch = Switch {
            shard: self.id,
            address: belief.address.clone(),
            epoch: belief.epoch(),
            via: belief.via,
            source: belief.source,
        };
        self.record(&switch, belief.since, ctx);
        self.gate = None;
        self.overrule = None;
        self.hold = None;
        self.without_master = None;
        self.suspicion = None;
        self.settled = true;
        self.serving = Some(Serving {
            address: switch.address.clone(),
            since: ctx.now,
        });
        self.outputs.push(Output::Switch(switch));
    }

    /// A sentinel that was asked after its event and does not stand by it sent it late: the event of an
    /// earlier failover from the same address.
    fn check_refuted(&mut self, from: SentinelId, asked: Instant, ctx: Context) {
        let Some(belief) = &self.belief else { return };
        let event = belief.standing == Standing::Announced && belief.source == Some(from);
        if !event || self.gate.is_none() || asked < belief.since {
            return;
        }
        let Some((address, epoch)) = self.views.said(from) else {
            return;
        };
        let stands = ctx.addresses.same(address, &belief.address) || Some(epoch) >= belief.floor;
        let Some(before) = belief.before.clone().filter(|_| !stands) else {
            return;
        };
        self.note(Note::Refuted {
            shard: self.id,
            sentinel: from,
        });
        self.restore(before, Release::Refuted, ctx);
    }

    /// The hold is over, and a majority still names the address from before an event that nobody has
    /// confirmed: then that is the best there is. Says whether that is so.
    pub(super) fn give_up_event(&mut self, ctx: Context) -> bool {
        let (Some(belief), Some(overrule)) = (&self.belief, &self.overrule) else {
            return false;
        };
        let before = belief.before.clone().filter(|before| {
            self.is_unconfirmed() && ctx.addresses.same(&before.address, &overrule.other.address)
        });
        let Some(before) = before else {
            return false;
        };
        self.restore(before, Release::Expired, ctx);
        true
    }

    fn restore(&mut self, before: Before, why: Release, ctx: Context) {
        let (floor, standing) = (before.floor, before.standing);
        let restored = Belief::new(before.address, floor, standing, Via::Restored, ctx.now);
        let serves = |serving: &Serving| ctx.addresses.same(&serving.address, &restored.address);
        if self.without_master.is_none() && self.serving.as_ref().is_some_and(serves) {
            self.adopt(restored);
            self.gate = None;
            self.release(why);
        } else {
            self.believe(restored, ctx);
        }
    }

    /// The leader gave up on the candidate we followed eagerly: back, if the old master still is one.
    /// Says whether that is so.
    pub(super) fn revoke_candidate(
        &mut self,
        from: SentinelId,
        old: &HostPort,
        ctx: Context,
    ) -> bool {
        let Some(belief) = &self.belief else {
            return false;
        };
        let Some((before, epoch)) = belief.before.as_ref().and_then(|it| Some((it, it.floor?)))
        else {
            return false;
        };
        let ours = belief.standing == Standing::Eager && belief.source == Some(from);
        if !ours || !ctx.addresses.same(&before.address, old) {
            return false;
        }
        let address = before.address.clone();
        self.overrule = Some(Overrule {
            other: Claim {
                sentinel: from,
                address: address.clone(),
                epoch,
            },
            revoked: true,
            other_probe: Probe::new(address, ctx.now),
            own_probe: None,
        });
        self.drive_probes(ctx);
        true
    }

    fn watch_contradiction(&mut self, found: Option<Claim>, ctx: Context) {
        let Some(belief) = &self.belief else { return };
        let current = self.overrule.as_ref();
        if current.is_some_and(|overrule| overrule.revoked) {
            return;
        }
        let Some(other) = found else {
            self.overrule = None;
            return;
        };
        let same = |it: &Overrule| ctx.addresses.same(&it.other.address, &other.address);
        if current.is_some_and(same) {
            return;
        }
        let vouched = belief.standing != Standing::Eager && self.gate.is_none();
        let wait = if vouched {
            ctx.timing.overrule
        } else {
            ctx.timing.overrule_unconfirmed
        };
        let own = belief.address.clone();
        self.overrule = Some(Overrule {
            revoked: false,
            other_probe: Probe::new(other.address.clone(), ctx.now + wait),
            own_probe: vouched.then(|| Probe::new(own, ctx.now + wait)),
            other,
        });
    }

    /// Follows the majority once the evidence is complete.
    pub(super) fn apply_overrule(&mut self, ctx: Context) {
        let Some(overrule) = &self.overrule else {
            return;
        };
        let own = overrule.own_probe.as_ref().map(|probe| &probe.answer);
        let deposed = own.is_none_or(|answer| *answer == Some(RoleAnswer::Replica));
        if !deposed || overrule.other_probe.answer != Some(RoleAnswer::Master) {
            return;
        }
        let other = overrule.other.clone();
        self.note(Note::Overruled {
            shard: self.id,
            address: other.address.clone(),
        });
        let belief = Belief {
            via: Via::Overruled,
            ..Belief::polled(other, ctx.now)
        };
        self.adopt(belief);
        self.publish(ctx);
    }

    fn watch_disagreement(&mut self, claims: &[Claim], ctx: Context) {
        if !decide::disagree(claims, ctx.addresses) {
            self.disagreement = None;
        } else if self.disagreement.is_none() {
            let since = ctx.now;
            self.disagreement = Some(Disagreement {
                since,
                noted: false,
            });
        }
    }

    pub(super) fn note_disagreement(&mut self, ctx: Context) {
        let Some(it) = &mut self.disagreement else {
            return;
        };
        if it.noted || it.since + ctx.timing.disagreement > ctx.now {
            return;
        }
        it.noted = true;
        let believed = self.belief.as_ref().map(|it| (&it.address, it.floor));
        let claims = self.views.claims(believed, ctx.addresses);
        let claims = claims
            .into_iter()
            .map(|it| (it.sentinel, it.address, it.epoch));
        self.note(Note::Disagreement {
            shard: self.id,
            claims: claims.collect(),
        });
    }

    fn note_unknown(&mut self, ctx: Context) {
        if !self.views.unknown_to_all() {
            self.unknown_noted = None;
            return;
        }
        let last = self.unknown_noted;
        if last.is_none_or(|last| last + ctx.timing.reminder <= ctx.now) {
            self.unknown_noted = Some(ctx.now);
            self.note(Note::UnknownMaster { shard: self.id });
        }
    }
}
