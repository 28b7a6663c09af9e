//! The log lines of a watcher: every step of a failover, with its timings.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::super::output::{Note, Switch, Via};
use super::super::{HostPort, NoMaster, SentinelId, ShardId};

/// When things happened in the failover of one shard that is under way.
#[derive(Clone, Copy, Default)]
struct Steps {
    suspected: Option<Instant>,
    held: Option<Instant>,
    decided: Option<Instant>,
}

pub(super) struct Log {
    /// Pool and server, per shard.
    names: Vec<(String, String)>,
    steps: Vec<Steps>,
}

fn millis(since: Option<Instant>, now: Instant) -> String {
    match since {
        Some(since) => format!("{} ms", now.saturating_duration_since(since).as_millis()),
        None => "-".to_string(),
    }
}

impl Log {
    pub fn new(names: Vec<(String, String)>) -> Log {
        Log {
            steps: vec![Steps::default(); names.len()],
            names,
        }
    }

    fn name(&self, shard: ShardId) -> String {
        let (pool, server) = &self.names[shard.0];
        format!("pool {pool}: {server}")
    }

    pub fn held(&mut self, shard: ShardId, now: Instant) {
        self.steps[shard.0].held = Some(now);
        tracing::warn!(
            "{}: a failover is announced, requests wait",
            self.name(shard)
        );
    }

    pub fn released(&mut self, shard: ShardId, why: &str, now: Instant) {
        let steps = std::mem::take(&mut self.steps[shard.0]);
        let held = millis(steps.held, now);
        tracing::warn!(
            "{}: no failover after all ({why}), requests go on after {held}",
            self.name(shard)
        );
    }

    pub fn decided(&mut self, switch: &Switch, source: Option<&HostPort>, now: Instant) {
        self.steps[switch.shard.0].decided = Some(now);
        let epoch = match switch.epoch {
            Some(epoch) => format!("epoch {epoch}"),
            None => "epoch not known yet".to_string(),
        };
        let via = match switch.via {
            Via::Configuration => "the configured address, no sentinel answered",
            Via::Poll => "answers of sentinels",
            Via::Promoted => "+promoted-slave",
            Via::Switched => "+switch-master",
            Via::Candidate => "the candidate's own word",
            Via::Overruled => "a majority of sentinels",
            Via::Restored => "an event taken back",
        };
        let source = source.map_or_else(String::new, |source| format!(" of sentinel {source}"));
        tracing::warn!(
            "{}: master is {}, {epoch}, via {via}{source}",
            self.name(switch.shard),
            switch.address
        );
    }

    pub fn published(&mut self, shard: ShardId, address: SocketAddr, now: Instant) {
        let steps = std::mem::take(&mut self.steps[shard.0]);
        if steps.decided.is_none() {
            // A host name was looked up again.
            return;
        }
        tracing::warn!(
            "{}: requests go to {address}; suspected {} ago, held for {}",
            self.name(shard),
            millis(steps.suspected, now),
            millis(steps.held, now),
        );
    }

    /// Logs that a shard has no master; answers the reason for its clients.
    pub fn without_master(&mut self, shard: ShardId, why: &NoMaster) -> String {
        self.steps[shard.0] = Steps::default();
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
        tracing::warn!("{}: no master: {reason}", self.name(shard));
        reason
    }

    pub fn ready(&self, without: &[ShardId]) {
        match without.len() {
            0 => tracing::info!("the masters of all servers are known"),
            n => tracing::warn!("{n} servers have no master yet"),
        }
    }

    pub fn note(&mut self, note: &Note, sentinels: &HashMap<SentinelId, HostPort>, now: Instant) {
        let of = |id: &SentinelId| {
            sentinels
                .get(id)
                .map_or_else(String::new, HostPort::to_string)
        };
        match note {
            Note::LinkUp { sentinel, link } => {
                tracing::debug!("sentinel {}: {link:?} link is up", of(sentinel));
            }
            Note::LinkDown {
                sentinel,
                link,
                reason,
            } => tracing::info!("sentinel {}: {link:?} link is down: {reason}", of(sentinel)),
            Note::Denied { sentinel, reason } => {
                tracing::error!("sentinel {} refuses us: {reason}", of(sentinel));
            }
            Note::BadAnswer { sentinel, error } => {
                tracing::warn!("sentinel {}: {error}", of(sentinel));
            }
            Note::Tilt { sentinel, entered } => {
                tracing::warn!(
                    "sentinel {}: tilt mode {}",
                    of(sentinel),
                    if *entered { "entered" } else { "left" }
                );
            }
            Note::AllSentinelsGone => {
                tracing::error!("no sentinel can be reached; masters stay where they are");
            }
            Note::SentinelsBack => tracing::warn!("a sentinel can be reached again"),
            Note::Event {
                shard,
                sentinel,
                channel,
            } => tracing::info!(
                "{}: {channel} from sentinel {}",
                self.name(*shard),
                of(sentinel)
            ),
            Note::Suspect { shard, why } => {
                self.steps[shard.0].suspected.get_or_insert(now);
                tracing::warn!("{}: master is suspected ({why:?})", self.name(*shard));
            }
            Note::SuspicionEnded { shard } => {
                self.steps[shard.0].suspected = None;
                tracing::info!("{}: master is not suspected any more", self.name(*shard));
            }
            Note::RoleMismatch {
                shard,
                address,
                answer,
            } => tracing::warn!(
                "{}: {address} should be master and answers {answer:?}",
                self.name(*shard)
            ),
            Note::UnknownMaster { shard } => {
                tracing::warn!("{}: no sentinel knows this master", self.name(*shard));
            }
            Note::Disagreement { shard, claims } => {
                tracing::warn!("{}: the sentinels disagree: {claims:?}", self.name(*shard));
            }
            Note::Found { shard, name } => {
                tracing::info!("{}: its master is called {name}", self.name(*shard));
            }
            other => tracing::debug!("{other:?}"),
        }
    }
}
