//! The watcher's state as plain data, for statistics and pages.

use std::time::{Duration, Instant};

use super::address::HostPort;
use super::output::Via;
use super::{SentinelId, ShardId};

/// How many switches of a shard are remembered.
pub const HISTORY: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub sentinels: Vec<SentinelSnapshot>,
    /// In the order of the specifications.
    pub shards: Vec<ShardSnapshot>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SentinelSnapshot {
    pub id: SentinelId,
    pub address: HostPort,
    pub run_id: Option<String>,
    /// From the configuration, not from other sentinels.
    pub configured: bool,
    /// The subscription is confirmed.
    pub subscribed: bool,
    /// It can be asked.
    pub queried: bool,
    pub tilt: bool,
    /// The last published message of any kind.
    pub last_event: Option<Instant>,
    /// Why it is of no use, as far as it is.
    pub problem: Option<String>,
}

impl SentinelSnapshot {
    /// Can it be asked, and does it tell what happens?
    pub fn is_up(&self) -> bool {
        self.subscribed && self.queried
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ShardSnapshot {
    pub id: ShardId,
    /// `None` while the master of an unnamed server is searched.
    pub master: Option<String>,
    /// The address of the last switch, and when that was.
    pub address: Option<HostPort>,
    pub since: Option<Instant>,
    /// `None` if none is known (yet).
    pub epoch: Option<u64>,
    pub phase: Phase,
    pub switches: u64,
    pub views: Vec<ViewSnapshot>,
    /// Oldest first.
    pub history: Vec<SwitchRecord>,
}

/// What a shard is waiting for, the most telling first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No address is believed yet.
    Init,
    /// A failover is announced or verified, requests wait.
    Held {
        candidate: Option<HostPort>,
        until: Instant,
    },
    /// This address is believed, but did not yet say that it is a master; requests do not wait (any
    /// more).
    Verifying {
        address: HostPort,
    },
    /// No sentinel that answers knows the name.
    Unknown,
    /// Somebody doubts the master.
    Suspect,
    Stable,
}

/// What one sentinel says of one master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewSnapshot {
    pub sentinel: SentinelId,
    /// It can be asked; else `says` is its last word.
    pub reachable: bool,
    /// Address and epoch; `None` if it does not know the master or does not tell.
    pub says: Option<(HostPort, u64)>,
    /// Is that the address that serves? `None` without either.
    pub agrees: Option<bool>,
    pub down: bool,
    pub failover_in_progress: bool,
}

/// One switch and how long its parts took.
#[derive(Clone, Debug, PartialEq)]
pub struct SwitchRecord {
    pub from: Option<HostPort>,
    pub to: HostPort,
    pub epoch: Option<u64>,
    pub via: Via,
    pub source: Option<SentinelId>,
    /// When the leader announced the failover, if it was heard.
    pub announced: Option<Instant>,
    /// When the address was believed.
    pub decided: Instant,
    /// When it said that it is a master, which is when it began to serve.
    pub verified: Instant,
    /// How long requests were held for it.
    pub held: Duration,
}
