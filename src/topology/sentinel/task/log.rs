//! The log lines of a watcher: every step of a failover, with its timings.
//!
//! Steps are changes of state and never dropped; what sentinels say is limited as any other line. A
//! sentinel is told of when it comes or goes, not at every attempt to reach it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::super::output::{Note, Switch, Via};
use super::super::{HostPort, Link, NoMaster, SentinelId, ShardId};
use crate::log::CHANGE;

/// When things happened in the failover of one shard that is under way.
#[derive(Clone, Copy, Default)]
struct Steps {
    suspected: Option<Instant>,
    held: Option<Instant>,
    decided: Option<Instant>,
}

/// A sentinel's links, and whether it was said to be up.
#[derive(Default)]
struct Links {
    up: [bool; 2],
    told: Option<bool>,
}

pub(super) struct Log {
    /// Pool and server, per shard.
    names: Vec<(String, String)>,
    steps: Vec<Steps>,
    /// Where each shard's requests go, as told.
    serving: Vec<Option<SocketAddr>>,
    sentinels: HashMap<SentinelId, Links>,
}

fn millis(since: Option<Instant>, now: Instant) -> String {
    match since {
        Some(since) => format!("{} ms", now.saturating_duration_since(since).as_millis()),
        None => "-".to_string(),
    }
}

/// A line about a shard: `tracing`'s macro of this name, with pool and server before the rest.
macro_rules! about {
    ($self:ident, $shard:expr, $level:ident, $($rest:tt)*) => {{
        let (pool, server) = &$self.names[$shard.0];
        tracing::$level!(pool, server, $($rest)*)
    }};
    ($self:ident, $shard:expr, change $level:ident, $($rest:tt)*) => {{
        let (pool, server) = &$self.names[$shard.0];
        tracing::$level!(target: CHANGE, pool, server, $($rest)*)
    }};
}

impl Log {
    pub fn new(names: Vec<(String, String)>) -> Log {
        Log {
            steps: vec![Steps::default(); names.len()],
            serving: vec![None; names.len()],
            sentinels: HashMap::new(),
            names,
        }
    }

    pub fn held(&mut self, shard: ShardId, now: Instant) {
        self.steps[shard.0].held = Some(now);
        about!(self, shard, change warn, "a failover is announced, requests wait");
    }

    pub fn released(&mut self, shard: ShardId, why: &str, now: Instant) {
        let steps = std::mem::take(&mut self.steps[shard.0]);
        let held = millis(steps.held, now);
        about!(
            self, shard, change warn,
            "no failover after all ({why}), requests go on after {held}"
        );
    }

    pub fn decided(&mut self, switch: &Switch, source: Option<&HostPort>, now: Instant) {
        self.steps[switch.shard.0].decided = Some(now);
        let via = match switch.via {
            Via::Configuration => "the configured address, no sentinel answered",
            Via::Poll => "answers of sentinels",
            Via::Promoted => "+promoted-slave",
            Via::Switched => "+switch-master",
            Via::Candidate => "the candidate's own word",
            Via::Overruled => "a majority of sentinels",
            Via::Restored => "an event taken back",
        };
        about!(
            self, switch.shard, change warn,
            address = %switch.address,
            epoch = switch.epoch,
            sentinel = source.map(tracing::field::display),
            "master is known, via {via}"
        );
    }

    pub fn published(&mut self, shard: ShardId, address: SocketAddr, now: Instant) {
        let steps = std::mem::take(&mut self.steps[shard.0]);
        let before = self.serving[shard.0].replace(address);
        if steps.decided.is_some() {
            about!(
                self, shard, change warn, %address,
                "requests go to the master; suspected {} ago, held for {}",
                millis(steps.suspected, now),
                millis(steps.held, now)
            );
        } else if before != Some(address) {
            about!(self, shard, change warn, %address, "the master's host name has another address");
        }
    }

    /// Logs that a shard has no master; answers the reason for its clients.
    pub fn without_master(&mut self, shard: ShardId, why: &NoMaster) -> String {
        self.steps[shard.0] = Steps::default();
        self.serving[shard.0] = None;
        let reason = match why {
            NoMaster::Unknown => "no sentinel knows it".to_string(),
            NoMaster::Ambiguous(names) => format!(
                "its address belongs to several masters ({}), name one with master:",
                names.join(", ")
            ),
            NoMaster::Disagreement => "the sentinels disagree".to_string(),
            NoMaster::NotMaster { address, answer } => match answer {
                Some(answer) => format!("{address} does not say it is a master: {answer:?}"),
                None => format!("{address} did not say that it is a master"),
            },
        };
        about!(self, shard, change warn, "no master: {reason}");
        reason
    }

    pub fn ready(&self, without: &[ShardId]) {
        match without.len() {
            0 => tracing::info!(target: CHANGE, "the masters of all servers are known"),
            n => tracing::warn!(target: CHANGE, "{n} servers have no master yet"),
        }
    }

    /// One of a sentinel's two links is up or down, and why; the sentinel is up if both are.
    fn link(&mut self, id: SentinelId, name: &str, link: Link, down: Option<&str>) {
        tracing::debug!(
            sentinel = name,
            reason = down,
            "{link:?} link is {}",
            up_or_down(down)
        );
        let links = self.sentinels.entry(id).or_default();
        links.up[link as usize] = down.is_none();
        let up = links.up == [true; 2];
        let half_open = !up && down.is_none();
        if half_open || links.told.replace(up) == Some(up) {
            return;
        }
        match down {
            None => tracing::info!(target: CHANGE, sentinel = name, "sentinel is up"),
            Some(reason) => {
                tracing::warn!(target: CHANGE, sentinel = name, "sentinel is down: {reason}");
            }
        }
    }

    pub fn note(&mut self, note: &Note, sentinels: &HashMap<SentinelId, HostPort>, now: Instant) {
        let of = |id: &SentinelId| {
            sentinels
                .get(id)
                .map_or_else(String::new, HostPort::to_string)
        };
        match note {
            Note::LinkUp { sentinel, link } => self.link(*sentinel, &of(sentinel), *link, None),
            Note::LinkDown {
                sentinel,
                link,
                reason,
            } => self.link(*sentinel, &of(sentinel), *link, Some(reason)),
            Note::Denied { sentinel, reason } => {
                self.sentinels.entry(*sentinel).or_default().told = Some(false);
                tracing::error!(sentinel = of(sentinel), "sentinel refuses us: {reason}");
            }
            Note::BadAnswer { sentinel, error } => {
                tracing::warn!(
                    sentinel = of(sentinel),
                    "sentinel cannot be understood: {error}"
                );
            }
            Note::Tilt { sentinel, entered } => tracing::warn!(
                target: CHANGE,
                sentinel = of(sentinel),
                "tilt mode {}",
                if *entered { "entered" } else { "left" }
            ),
            Note::SentinelLearned { sentinel, address } => {
                tracing::info!(target: CHANGE, sentinel = %address, "sentinel learned of");
                self.sentinels.remove(sentinel);
            }
            Note::SentinelDropped { sentinel, address } => {
                tracing::info!(target: CHANGE, sentinel = %address, "sentinel not watched any more");
                self.sentinels.remove(sentinel);
            }
            Note::AllSentinelsGone => tracing::error!(
                target: CHANGE,
                "no sentinel can be reached, masters stay where they are"
            ),
            Note::SentinelsBack => {
                tracing::warn!(target: CHANGE, "a sentinel can be reached again")
            }
            Note::Event {
                shard,
                sentinel,
                channel,
            } => about!(
                self,
                shard,
                info,
                sentinel = of(sentinel),
                event = channel,
                "event from a sentinel"
            ),
            Note::Suspect { shard, why } => {
                self.steps[shard.0].suspected.get_or_insert(now);
                about!(self, shard, warn, "master is suspected ({why:?})");
            }
            Note::SuspicionEnded { shard } => {
                self.steps[shard.0].suspected = None;
                about!(self, shard, info, "master is not suspected any more");
            }
            Note::RoleMismatch {
                shard,
                address,
                answer,
            } => about!(
                self, shard, warn, %address,
                "this node should be master and answers {answer:?}"
            ),
            Note::UnknownMaster { shard } => {
                about!(self, shard, warn, "no sentinel knows this master");
            }
            Note::Disagreement { shard, claims } => {
                about!(self, shard, warn, "the sentinels disagree: {claims:?}");
            }
            Note::Found { shard, name } => {
                about!(self, shard, change info, "its master is called {name}");
            }
            other => tracing::trace!("{other:?}"),
        }
    }
}

fn up_or_down(down: Option<&str>) -> &'static str {
    match down {
        Some(_) => "down",
        None => "up",
    }
}
