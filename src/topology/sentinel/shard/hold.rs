//! Announced failovers and the holding of requests.
//!
//! Only the leader announces, 50-100 ms before the candidate becomes a master. Requests that go on to the
//! old master until the switch is known would be acknowledged and lost. A hold is never prolonged: its end
//! is fixed when it begins.

use std::time::Instant;

use super::super::SentinelId;
use super::super::address::HostPort;
use super::super::message::{Named, Stage};
use super::super::output::{Ignored, NoMaster, Note, Output, Release};
use super::super::timing::Timing;
use super::gate::Probe;
use super::{Context, Poll, Shard};

/// A failover that its leader announced and that is neither done nor given up.
#[derive(Debug)]
pub(super) struct Announcement {
    pub(super) leader: SentinelId,
    pub(super) candidate: Option<HostPort>,
    pub(super) since: Instant,
    /// Asks the candidate (`commit: eager`).
    pub(super) probe: Option<Probe>,
    /// Requests were held for it and are no more: later stages do not hold them again.
    held: bool,
}

#[derive(Debug)]
pub(super) struct Hold {
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Shard {
    /// A sentinel tries to start a failover: what was announced before is over.
    pub(in super::super) fn handle_attempt(&mut self, master: &Named, ctx: Context) {
        if self.believes(&master.address, ctx)
            && self.hold.is_none()
            && let Some(announcement) = &mut self.announcement
        {
            announcement.held = false;
        }
    }

    /// A leader promotes `candidate`.
    pub(in super::super) fn handle_announced(
        &mut self,
        from: SentinelId,
        stage: Stage,
        master: &Named,
        candidate: Option<HostPort>,
        ctx: Context,
    ) {
        self.polls.push(Poll::One(from));
        if !self.believes(&master.address, ctx) {
            return self.ignore(from, Ignored::Stale);
        }
        if self.serving.is_none() {
            return;
        }
        if let Some(candidate) = candidate {
            self.expect_candidate(from, candidate, ctx);
        } else if self.announcement.is_none() {
            self.announcement = Some(Announcement::new(from, None, None, ctx.now));
        }
        let announcement = self.announcement.as_mut().expect("set just now");
        if stage == Stage::Selected || !announcement.held {
            announcement.held = true;
            self.start_hold(ctx);
        }
        self.drive_probes(ctx);
    }

    fn expect_candidate(&mut self, leader: SentinelId, candidate: HostPort, ctx: Context) {
        if let Some(announcement) = &mut self.announcement
            && let Some(known) = &announcement.candidate
            && ctx.addresses.same(known, &candidate)
        {
            announcement.leader = leader;
            return;
        }
        let held = self
            .announcement
            .as_ref()
            .is_some_and(|it| it.held && it.candidate.is_none());
        let probe = self.candidate_probe(&candidate, ctx.now);
        let mut announcement = Announcement::new(leader, Some(candidate.clone()), probe, ctx.now);
        announcement.held = held;
        self.announcement = Some(announcement);
        self.outputs.push(Output::Warm {
            shard: self.id,
            address: candidate,
        });
    }

    /// The leader gave up. An attempt of another sentinel that lost its election says the same and means
    /// nothing.
    pub(in super::super) fn handle_aborted(
        &mut self,
        from: SentinelId,
        master: &Named,
        ctx: Context,
    ) {
        self.polls.push(Poll::All);
        if self.revoke_candidate(from, &master.address, ctx) {
            return;
        }
        if !self.believes(&master.address, ctx) {
            return self.ignore(from, Ignored::Stale);
        }
        match &self.announcement {
            Some(announced) if announced.leader == from => {
                self.announcement = None;
                if self.gate.is_none() {
                    self.release(Release::Aborted);
                }
            }
            Some(_) => self.ignore(from, Ignored::NotLeader),
            None => {}
        }
    }

    pub(super) fn ignore(&mut self, sentinel: SentinelId, why: Ignored) {
        self.note(Note::Ignored {
            shard: self.id,
            sentinel,
            why,
        });
    }

    pub(super) fn start_hold(&mut self, ctx: Context) {
        if self.hold.is_some() || self.spec.failover_hold.is_zero() {
            return;
        }
        let until = ctx.now + self.spec.failover_hold;
        self.hold = Some(Hold {
            since: ctx.now,
            until,
        });
        self.without_master = None;
        self.outputs.push(Output::Hold {
            shard: self.id,
            until,
        });
    }

    pub(super) fn release(&mut self, why: Release) {
        if self.hold.take().is_some() {
            self.outputs.push(Output::Release {
                shard: self.id,
                why,
            });
        }
    }

    /// Back to the old address if it may still be the master; but if another one is believed, nothing
    /// may be sent to the old one any more.
    pub(super) fn expire_hold(&mut self, ctx: Context) {
        if self.hold.as_ref().is_none_or(|hold| hold.until > ctx.now) {
            return;
        }
        self.polls.push(Poll::All);
        if self.gate.is_none() {
            self.release(Release::Expired);
        } else if !self.give_up_event(ctx) {
            self.hold = None;
            self.tell_not_master();
        }
    }

    pub(super) fn tell_not_master(&mut self) {
        if let Some(gate) = &self.gate {
            self.tell_no_master(NoMaster::NotMaster {
                address: gate.address.clone(),
                answer: gate.answer.clone(),
            });
        }
    }

    /// The reason changed while there is no master.
    pub(super) fn tell_no_master_again(&mut self) {
        if self.without_master.is_some() {
            self.tell_not_master();
        }
    }

    pub(super) fn tell_no_master(&mut self, why: NoMaster) {
        self.settled = true;
        if self.without_master.as_ref() != Some(&why) {
            self.without_master = Some(why.clone());
            self.outputs.push(Output::NoMaster {
                shard: self.id,
                why,
            });
        }
    }

    pub(super) fn announcement_ends(&self, timing: &Timing) -> Option<Instant> {
        let announcement = self.announcement.as_ref()?;
        let lasts = timing.announcement.max(self.spec.failover_hold);
        Some(announcement.since + lasts)
    }
}

impl Announcement {
    fn new(
        leader: SentinelId,
        candidate: Option<HostPort>,
        probe: Option<Probe>,
        since: Instant,
    ) -> Announcement {
        Announcement {
            leader,
            candidate,
            since,
            probe,
            held: false,
        }
    }
}
