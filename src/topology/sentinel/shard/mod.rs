//! One shard: which address is believed to be its master, whether it has said so itself, and whether
//! requests are held meanwhile.
//!
//! ```text
//!           first verified address                a failover is announced
//!  +------+          +--------+ -----------------------------------> +------+
//!  | Init |--------->| Stable | <----------------------------------- | Held |
//!  +------+          +--------+       aborted, expired, verified     +------+
//!                     |  ^   ^                                        |  ^
//!    another address  |  |   | verified                  the address  |  | time is left
//!    is believed      v  |   |                           is believed  v  | to hold
//!                    +-----------+ <---------------------------------------+
//!                    | Verifying |   asks ROLE until the node says master
//!                    +-----------+
//! ```
//! *Suspect* and *Unknown* are what a stable shard is called while somebody doubts its master, or no
//! sentinel knows its name; neither moves it.
//!
//! `belief.rs` applies the decision rules, `hold.rs` announcements and holds, `gate.rs` the ROLE gate.
//! Links and questions are the watcher's.

mod belief;
mod gate;
mod hold;
mod report;
mod start;

use std::collections::VecDeque;
use std::time::Instant;

use super::address::{Addresses, HostPort};
use super::output::{self, Note, Output};
use super::snapshot::SwitchRecord;
use super::timing::Timing;
use super::view::Views;
use super::{MasterRef, SentinelId, ShardId, ShardSpec, Symptom};

use belief::{Belief, Overrule};
use gate::Probe;
use hold::{Announcement, Hold};

/// What a shard is given with every input.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) timing: &'a Timing,
    pub(super) addresses: &'a Addresses,
}

/// Whom a shard wants asked about its master, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    One(SentinelId),
    All,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) spec: ShardSpec,
    /// `None` while the master of an unnamed server is searched.
    pub(super) name: Option<String>,
    pub(super) views: Views,
    /// `None` until the first decision.
    belief: Option<Belief>,
    /// Asks the believed address; `Some` exactly while it is not verified.
    gate: Option<Probe>,
    /// The address of the last switch.
    serving: Option<Serving>,
    announcement: Option<Announcement>,
    hold: Option<Hold>,
    overrule: Option<Overrule>,
    suspicion: Option<Suspected>,
    /// The `NoMaster` that was output and is not over.
    without_master: Option<output::NoMaster>,
    /// Whether requests got their first answer to where they go, see [`Output::Ready`].
    pub(super) settled: bool,
    started: Instant,
    /// The next moment at which the start settles for less.
    start_due: Option<Instant>,
    /// When the failover was announced that led to the believed address.
    announced_at: Option<Instant>,
    disagreement: Option<Disagreement>,
    unknown_noted: Option<Instant>,
    symptom_polled: Option<Instant>,
    /// When the poll for a symptom that came too soon after the last is due.
    symptom_due: Option<Instant>,
    history: VecDeque<SwitchRecord>,
    switches: u64,
    pub(super) outputs: Vec<Output>,
    pub(super) polls: Vec<Poll>,
}

#[derive(Debug)]
struct Serving {
    address: HostPort,
    since: Instant,
}

#[derive(Debug)]
struct Suspected {
    why: output::Suspicion,
    until: Instant,
}

#[derive(Debug)]
struct Disagreement {
    since: Instant,
    noted: bool,
}

impl Shard {
    pub(super) fn new(id: ShardId, spec: ShardSpec, timing: &Timing, now: Instant) -> Shard {
        let name = match &spec.master {
            MasterRef::Named(name) => Some(name.clone()),
            MasterRef::ByAddress(_) => None,
        };
        Shard {
            id,
            spec,
            name,
            views: Views::default(),
            belief: None,
            gate: None,
            serving: None,
            announcement: None,
            hold: None,
            overrule: None,
            suspicion: None,
            without_master: None,
            settled: false,
            started: now,
            start_due: Some(now + timing.startup_round),
            announced_at: None,
            disagreement: None,
            unknown_noted: None,
            symptom_polled: None,
            symptom_due: None,
            history: VecDeque::new(),
            switches: 0,
            outputs: Vec::new(),
            polls: Vec::new(),
        }
    }

    /// The time has come for what [`Shard::poll_timeout`] announced.
    pub(super) fn handle_timeout(&mut self, ctx: Context) {
        self.expire_hold(ctx);
        if self.symptom_due.is_some_and(|due| due <= ctx.now) {
            self.poll_for_symptom(ctx);
        }
        if self.suspicion_ends().is_some_and(|end| end <= ctx.now) {
            self.end_suspicion();
        }
        if self
            .announcement_ends(ctx.timing)
            .is_some_and(|end| end <= ctx.now)
        {
            self.announcement = None;
        }
        self.note_disagreement(ctx);
        self.start(ctx);
        self.drive_probes(ctx);
        self.start(ctx);
    }

    /// When there is something to do without further input.
    pub(super) fn poll_timeout(&self, timing: &Timing) -> Option<Instant> {
        let disagreement = self.disagreement.as_ref().filter(|it| !it.noted);
        [
            self.hold.as_ref().map(|hold| hold.until),
            self.next_probe(),
            self.symptom_due,
            self.suspicion_ends(),
            self.announcement_ends(timing),
            disagreement.map(|it| it.since + timing.disagreement),
            self.start_due,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Requests met something odd. It never moves the shard by itself; the sentinels are asked.
    pub(super) fn handle_symptom(&mut self, symptom: Symptom, ctx: Context) {
        if symptom != Symptom::NoReplicas {
            self.suspect(output::Suspicion::Symptom(symptom), ctx);
        }
        match self.symptom_polled {
            Some(last) if last + ctx.timing.symptom_gap > ctx.now => {
                self.symptom_due = Some(last + ctx.timing.symptom_gap);
            }
            _ => self.poll_for_symptom(ctx),
        }
    }

    fn poll_for_symptom(&mut self, ctx: Context) {
        self.symptom_due = None;
        self.symptom_polled = Some(ctx.now);
        self.polls.push(Poll::All);
    }

    pub(super) fn suspect(&mut self, why: output::Suspicion, ctx: Context) {
        let until = ctx.now + ctx.timing.suspicion;
        if self
            .suspicion
            .as_ref()
            .is_none_or(|suspected| suspected.why != why)
        {
            self.note(Note::Suspect {
                shard: self.id,
                why,
            });
        }
        self.suspicion = Some(Suspected { why, until });
    }

    pub(super) fn end_suspicion(&mut self) {
        if self.suspicion.take().is_some() {
            self.note(Note::SuspicionEnded { shard: self.id });
        }
    }

    /// As long as a sentinel holds the master to be down, a suspicion does not end by itself.
    fn suspicion_ends(&self) -> Option<Instant> {
        let suspected = self.suspicion.as_ref().filter(|_| !self.views.any_down())?;
        Some(suspected.until)
    }

    pub(super) fn note(&mut self, note: Note) {
        self.outputs.push(Output::Note(note));
    }

    /// Whether events about `address` as the master are about what we believe.
    pub(super) fn believes(&self, address: &HostPort, ctx: Context) -> bool {
        let believed = self.belief.as_ref();
        believed.is_some_and(|belief| ctx.addresses.same(&belief.address, address))
    }

    /// The addresses by which the master of an unnamed server is found.
    pub(super) fn search_addresses(&self) -> Vec<&HostPort> {
        let MasterRef::ByAddress(configured) = &self.spec.master else {
            return Vec::new();
        };
        let serving = self.serving.as_ref().map(|serving| &serving.address);
        std::iter::once(configured).chain(serving).collect()
    }

    /// Whether the name of the master is to be found by its address.
    pub(super) fn is_searching(&self) -> bool {
        let by_address = matches!(self.spec.master, MasterRef::ByAddress(_));
        by_address && (self.name.is_none() || self.views.unknown_to_all())
    }

    /// No master, or no single one, has the address of an unnamed server. One that serves goes on.
    pub(super) fn handle_not_found(&mut self, why: output::NoMaster) {
        if self.belief.is_none() {
            self.tell_no_master(why);
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving.is_some()
    }

    /// The master of an unnamed server was found. After another name the epochs of the old one mean
    /// nothing, so that a majority has to agree on the address.
    pub(super) fn bind(&mut self, name: &str) {
        if self.name.as_deref() == Some(name) {
            return;
        }
        self.views.clear();
        if self.name.is_some()
            && let Some(belief) = &mut self.belief
        {
            belief.start_over();
        }
        self.name = Some(name.to_string());
        self.note(Note::Found {
            shard: self.id,
            name: name.to_string(),
        });
        self.polls.push(Poll::All);
    }
}
