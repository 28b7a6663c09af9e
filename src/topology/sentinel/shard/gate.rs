//! The ROLE gate: nobody is used as a master who did not say that it is one.

use std::time::{Duration, Instant};

use super::super::address::HostPort;
use super::super::answer::RoleAnswer;
use super::super::output::{Note, Output};
use super::super::timing::{ROLE_RETRIES, Timing};
use super::super::{Commit, ShardId};
use super::belief::Overrule;
use super::{Context, Poll, Shard};

/// Asks one node for its role until somebody is content with the answer.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) address: HostPort,
    /// When to ask, or, while `asked`, when the answer counts as missing.
    next: Instant,
    asked: bool,
    refusals: u32,
    pub(super) answer: Option<RoleAnswer>,
    /// When that came.
    answered: Instant,
}

/// For how long a node's word that it is a master is taken while a sentinel's is waited for.
const FRESH: Duration = Duration::from_millis(100);

impl Probe {
    pub(super) fn new(address: HostPort, start: Instant) -> Probe {
        Probe {
            address,
            next: start,
            asked: false,
            refusals: 0,
            answer: None,
            answered: start,
        }
    }

    /// Emits the question if it is due.
    fn drive(&mut self, shard: ShardId, ctx: Context, outputs: &mut Vec<Output>) {
        if self.next > ctx.now {
            return;
        }
        if self.asked {
            let late = RoleAnswer::Unreachable("no answer in time".to_string());
            self.answer = Some(late);
        }
        self.asked = true;
        self.next = ctx.now + ctx.timing.role_patience();
        let address = self.address.clone();
        outputs.push(Output::CheckRole { shard, address });
    }

    /// Takes an answer of its node, and asks again later.
    fn take(&mut self, answer: &RoleAnswer, retry: Duration, now: Instant) {
        self.answer = Some(answer.clone());
        self.answered = now;
        self.refusals += 1;
        self.asked = false;
        self.next = now + retry;
    }
}

fn gate_retry(answer: &RoleAnswer, refusals: u32, timing: &Timing) -> Duration {
    match answer {
        RoleAnswer::Denied(_) | RoleAnswer::Strange(_) => timing.role_retry_slow,
        _ if refusals > ROLE_RETRIES => timing.role_retry_slow,
        _ => timing.role_retry,
    }
}

impl Shard {
    /// What a node said of its role, or that it could not be asked.
    pub(in super::super) fn handle_role(
        &mut self,
        address: &HostPort,
        answer: &RoleAnswer,
        ctx: Context,
    ) {
        let is_of = |probe: &Probe| ctx.addresses.same(&probe.address, address);
        if self.gate.as_ref().is_some_and(is_of) {
            self.handle_gate(answer, ctx);
        }
        self.handle_candidate(address, answer, ctx);
        self.handle_overrule(address, answer, ctx);
        self.drive_probes(ctx);
        self.start(ctx);
    }

    fn handle_gate(&mut self, answer: &RoleAnswer, ctx: Context) {
        let unconfirmed = self.is_unconfirmed();
        let Some(gate) = &mut self.gate else { return };
        if *answer == RoleAnswer::Master {
            gate.take(answer, ctx.timing.role_retry, ctx.now);
            if !unconfirmed {
                self.publish(ctx);
            }
            return;
        }
        let address = gate.address.clone();
        let changed = gate.answer.as_ref() != Some(answer);
        let retry = gate_retry(answer, gate.refusals, ctx.timing);
        gate.take(answer, retry, ctx.now);
        // The sentinels may know better by now; not at every retry, they are polled anyway.
        let ask = gate.refusals % 10 == 1;
        if changed {
            self.note(Note::RoleMismatch {
                shard: self.id,
                address,
                answer: answer.clone(),
            });
        }
        if ask {
            self.polls.push(Poll::All);
        }
        self.tell_no_master_again();
    }

    /// A sentinel confirmed the event: if the node said so too a moment ago, it serves.
    pub(super) fn pass_gate(&mut self, ctx: Context) {
        let Some(gate) = &mut self.gate else { return };
        if gate.answer == Some(RoleAnswer::Master) {
            if gate.answered + FRESH >= ctx.now {
                return self.publish(ctx);
            }
            if !gate.asked {
                gate.next = ctx.now;
            }
        }
        if self.serving.is_some() && self.hold.is_none() {
            self.tell_not_master();
        }
    }

    /// With `commit: eager` the candidate of an announced failover serves as soon as it is a master. It has
    /// to be seen as a replica before: else the announcement may be late, and the node the former master
    /// of a failover since, which says that it is a master until it is told otherwise.
    fn handle_candidate(&mut self, address: &HostPort, answer: &RoleAnswer, ctx: Context) {
        let announcement = self.announcement.as_mut();
        let Some(probe) = announcement.and_then(|announced| announced.probe.as_mut()) else {
            return;
        };
        if !ctx.addresses.same(&probe.address, address) {
            return;
        }
        let turned = probe.answer == Some(RoleAnswer::Replica) && *answer == RoleAnswer::Master;
        if turned {
            self.believe_candidate(ctx);
        } else {
            probe.take(answer, ctx.timing.eager_check, ctx.now);
        }
    }

    pub(super) fn candidate_probe(&self, candidate: &HostPort, now: Instant) -> Option<Probe> {
        let eager = self.spec.commit == Commit::Eager;
        eager.then(|| Probe::new(candidate.clone(), now))
    }

    fn handle_overrule(&mut self, address: &HostPort, answer: &RoleAnswer, ctx: Context) {
        let Some(overrule) = &mut self.overrule else {
            return;
        };
        for probe in overrule.probes_mut() {
            if ctx.addresses.same(&probe.address, address) {
                probe.take(answer, ctx.timing.role_retry_slow / 2, ctx.now);
            }
        }
        self.apply_overrule(ctx);
    }

    pub(super) fn drive_probes(&mut self, ctx: Context) {
        let announced = self.announcement.as_mut().and_then(|it| it.probe.as_mut());
        let probes = self.gate.iter_mut().chain(announced);
        let overrule = self.overrule.iter_mut().flat_map(|it| it.probes_mut());
        for probe in probes.chain(overrule) {
            probe.drive(self.id, ctx, &mut self.outputs);
        }
    }

    pub(super) fn next_probe(&self) -> Option<Instant> {
        let announced = self.announcement.as_ref().and_then(|it| it.probe.as_ref());
        let overrule = self.overrule.iter().flat_map(Overrule::probes);
        let probes = self.gate.iter().chain(announced).chain(overrule);
        probes.map(|probe| probe.next).min()
    }
}
