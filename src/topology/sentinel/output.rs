//! What the watcher wants done or known, in order. The shell takes it with
//! [`Watcher::poll_output`](super::Watcher::poll_output).

use std::time::Instant;

use super::address::HostPort;
use super::answer::{AnswerError, Question, RoleAnswer};
use super::message::MessageError;
use super::{Link, SentinelId, ShardId, Symptom};

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Connect and authenticate; answer with `handle_link_up` or `handle_link_down`. Nothing of an
    /// earlier connection of this link may be reported afterwards.
    OpenLink {
        sentinel: SentinelId,
        address: HostPort,
        link: Link,
    },
    /// Drop the connection, or the attempt at one, without a word. Also for links that are down.
    CloseLink { sentinel: SentinelId, link: Link },
    /// Send `SUBSCRIBE` with all of [`super::message::CHANNELS`]; once all are confirmed,
    /// `handle_subscribed`.
    Subscribe(SentinelId),
    /// Send `PING` on the subscription; its answer is a `handle_alive`.
    Ping(SentinelId),
    /// One pipeline on the query link. Each reply is a `handle_answer`, in this order.
    Ask(SentinelId, Vec<Question>),
    /// Look the name up and report with `handle_resolved`.
    Resolve(String),
    /// Ask the node, with the pool's credentials, for its `ROLE`; `handle_role` in any case.
    CheckRole { shard: ShardId, address: HostPort },
    /// Requests may soon go there: connections may be opened and authenticated, but not used.
    Warm { shard: ShardId, address: HostPort },
    /// Send no more requests of this shard; those in flight go on. Ended by `Release`, `NoMaster` or
    /// `Switch` at `until` the latest.
    Hold { shard: ShardId, until: Instant },
    /// Requests go to the address of the last `Switch` again.
    Release { shard: ShardId, why: Release },
    /// No address may be used before the next `Switch` (or held for before the next `Hold`): requests
    /// fail, or wait as far as `outage_hold` allows.
    NoMaster { shard: ShardId, why: NoMaster },
    /// From now on requests go here, over connections opened for it; also if it is the address that
    /// served before. Before its first one a shard has no address.
    Switch(Switch),
    /// Every shard had its `Switch` or `NoMaster`. Once, `startup_wait` and a `ROLE` after the start
    /// the latest.
    Ready { without_master: Vec<ShardId> },
    /// For log and counters.
    Note(Note),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    pub shard: ShardId,
    /// As announced, translated by the NAT map; a host name is to be looked up at each connect.
    pub address: HostPort,
    /// `None` for the configured address and for a candidate's own word: no sentinel gave one yet. Never
    /// goes back but after [`Note::EpochReset`] and [`Note::Overruled`].
    pub epoch: Option<u64>,
    pub via: Via,
    /// Who said so first; `None` for the configured address.
    pub source: Option<SentinelId>,
}

/// What made an address the believed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// No sentinel answered at the start.
    Configuration,
    /// Answers of the sentinels.
    Poll,
    /// `+promoted-slave`, from the leader, and an answer that confirmed it.
    Promoted,
    /// `+switch-master`, and an answer that confirmed it.
    Switched,
    /// The candidate itself (`commit: eager`).
    Candidate,
    /// A majority of all sentinels, after what was believed had proved wrong.
    Overruled,
    /// The address from before an event that its own sentinel denied.
    Restored,
}

/// Why a hold ended with the address it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The leader gave up.
    Aborted,
    /// `failover_hold` is over.
    Expired,
    /// The sentinel does not stand by its event.
    Refuted,
}

/// Why a shard has no address that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMaster {
    /// Sentinels answer, none of them monitors the name, or any master at the address.
    Unknown,
    /// Several masters have, or had, the address of an unnamed server.
    Ambiguous(Vec<String>),
    /// Sentinels name different addresses and none prevails.
    Disagreement,
    /// The address is known, but it did not say that it is a master.
    NotMaster {
        address: HostPort,
        /// `None`: no answer yet.
        answer: Option<RoleAnswer>,
    },
}

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Already known.
    Duplicate,
    /// It starts from an address that is not the believed one.
    Stale,
    /// The sentinel's knowledge is older than ours or not known; it was asked instead.
    Unproven,
    /// An abort, by another sentinel than the leader.
    NotLeader,
}

/// Why a master is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// A sentinel does not reach it (`+sdown`).
    SubjectivelyDown,
    /// A quorum does not reach it (`+odown`).
    ObjectivelyDown,
    /// What requests met.
    Symptom(Symptom),
}

/// Something worth a log line or a counter.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    LinkUp {
        sentinel: SentinelId,
        link: Link,
    },
    LinkDown {
        sentinel: SentinelId,
        link: Link,
        reason: String,
    },
    /// Credentials were refused; once per text.
    Denied {
        sentinel: SentinelId,
        reason: String,
    },
    /// An answer that tells nothing; once per text.
    BadAnswer {
        sentinel: SentinelId,
        error: AnswerError,
    },
    Tilt {
        sentinel: SentinelId,
        entered: bool,
    },
    SentinelLearned {
        sentinel: SentinelId,
        address: HostPort,
    },
    /// A learned sentinel moved, or was found to be a configured one, or vanished.
    SentinelDropped {
        sentinel: SentinelId,
        address: HostPort,
    },
    /// Masters keep being served where they were. Repeated every `reminder`.
    AllSentinelsGone,
    SentinelsBack,
    /// An event about this shard, before it is judged.
    Event {
        shard: ShardId,
        sentinel: SentinelId,
        channel: &'static str,
    },
    /// About a master that is none of ours.
    Foreign {
        sentinel: SentinelId,
    },
    Malformed {
        sentinel: SentinelId,
        error: MessageError,
    },
    Ignored {
        shard: ShardId,
        sentinel: SentinelId,
        why: Ignored,
    },
    Suspect {
        shard: ShardId,
        why: Suspicion,
    },
    SuspicionEnded {
        shard: ShardId,
    },
    /// Believed, not yet verified.
    Decided {
        shard: ShardId,
        address: HostPort,
        epoch: Option<u64>,
        via: Via,
    },
    /// A node that should be a master does not say so; once per different answer.
    RoleMismatch {
        shard: ShardId,
        address: HostPort,
        answer: RoleAnswer,
    },
    /// A sentinel stands by the believed address, with this epoch.
    Confirmed {
        shard: ShardId,
        epoch: u64,
    },
    /// A sentinel denied its own event.
    Refuted {
        shard: ShardId,
        sentinel: SentinelId,
    },
    /// The leader gave up, or a majority denied it, after the switch to its candidate.
    Overruled {
        shard: ShardId,
        address: HostPort,
    },
    /// Sentinels name different addresses for longer than a failover takes.
    Disagreement {
        shard: ShardId,
        claims: Vec<(SentinelId, HostPort, u64)>,
    },
    /// A majority of the sentinels began to monitor the master anew: epochs start over.
    EpochReset {
        shard: ShardId,
    },
    /// No sentinel that answers knows the name any more. Repeated every `reminder`.
    UnknownMaster {
        shard: ShardId,
    },
    /// The master of an unnamed server.
    Found {
        shard: ShardId,
        name: String,
    },
}
