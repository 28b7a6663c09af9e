//! The first address: from the sentinels if any answers, else from the configuration, and in both cases
//! only after the node said that it is a master.

use super::super::decide::{self, Known, Verdict};
use super::super::output::NoMaster;
use super::belief::Belief;
use super::{Context, Shard};

impl Shard {
    /// Does what the start is due for. Also takes the first answers that come after a start without any.
    pub(super) fn start(&mut self, ctx: Context) {
        let round_over = ctx.now >= self.started + ctx.timing.startup_round;
        let wait_over = ctx.now >= self.started + ctx.timing.startup_wait;
        if self.start_due.is_some_and(|due| due <= ctx.now) {
            self.start_due = (!wait_over).then(|| self.started + ctx.timing.startup_wait);
        }
        if self.belief.is_none() {
            self.first_belief(round_over, wait_over, ctx);
        }
        let answered = self.gate.as_ref().is_some_and(|gate| gate.answer.is_some());
        if !self.settled && wait_over && answered {
            self.tell_not_master();
        }
    }

    fn first_belief(&mut self, round_over: bool, wait_over: bool, ctx: Context) {
        let claims = self.views.claims(None, ctx.addresses);
        let seats = self.views.seats();
        let complete = round_over || self.views.all_answered();
        if !complete && claims.len() * 2 <= seats {
            return;
        }
        let known = Known {
            address: &self.spec.initial,
            floor: None,
            seats,
            by_majority: false,
        };
        let believed = match decide::decide(&claims, known, ctx.addresses) {
            Verdict::Move(claim) => Some(claim),
            Verdict::Confirm { epoch } => {
                let same = |address: &_| ctx.addresses.same(address, &self.spec.initial);
                let mut claims = claims.into_iter();
                claims.find(|claim| claim.epoch == epoch && same(&claim.address))
            }
            Verdict::Split if wait_over => return self.tell_no_master(NoMaster::Disagreement),
            Verdict::Keep if self.views.unknown_to_all() => {
                return self.tell_no_master(NoMaster::Unknown);
            }
            Verdict::Keep | Verdict::Split => None,
        };
        match believed {
            Some(claim) => self.believe(Belief::polled(claim, ctx.now), ctx),
            None if wait_over && !self.settled => {
                let initial = self.spec.initial.clone();
                self.believe(Belief::configured(initial, ctx.now), ctx);
            }
            None => {}
        }
    }
}
