//! Follows Redis Sentinel: which node is the master of which shard, and when requests must wait.
//!
//! One [`Watcher`] per set of sentinels, shared by all pools that name it. It is a machine: feed it with
//! `handle_*`, take what it wants with [`Watcher::poll_output`] after each input, and call
//! [`Watcher::handle_timeout`] when [`Watcher::poll_timeout`] has come. It opens no sockets, reads no clock
//! and looks up no names; its randomness is a seed.
//!
//! ```text
//! message.rs  published messages -> events      \                       /  peer.rs    links, polls, patience
//! answer.rs   replies -> typed answers           >  watcher.rs  <------<   peers.rs   who the sentinels are
//! address.rs  which addresses are the same node /        |              \  search.rs  masters of unnamed servers
//!                                                        v
//!                 shard/  one shard: belief, ROLE gate, hold   <---   view.rs    what each sentinel says
//!                                                        |            decide.rs  which address wins
//!                                                        v
//!                                      output.rs, snapshot.rs
//! ```
//! *Three things must agree before requests go to a new address*: a sentinel answers with it, the epoch it
//! gives is not below what was known, and the node itself says that it is a master. Events only make that
//! fast: they begin holds and the questions. With `commit: eager` the word of the announced candidate
//! replaces the sentinel's. Nothing is ever concluded from somebody's silence.

pub mod address;
pub mod answer;
mod decide;
pub mod message;
pub mod output;
mod peer;
mod peers;
mod search;
mod shard;
pub mod snapshot;
pub mod task;
pub mod timing;
mod view;
pub mod watcher;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use address::HostPort;
pub use answer::{Question, RoleAnswer};
pub use output::{NoMaster, Note, Output, Release, Switch, Via};
pub use snapshot::Snapshot;
pub use timing::Timing;
pub use watcher::Watcher;

/// One sentinel of a watcher; never reused, also after the sentinel was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SentinelId(pub u32);

/// One shard of a watcher: its position among the specifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub usize);

/// How Sentinel calls the master of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterRef {
    Named(String),
    /// An unnamed server: the master that has this address, or whose replica has it.
    ByAddress(HostPort),
}

/// When an announced candidate may serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// Once a sentinel says that it is the master.
    #[default]
    Confirmed,
    /// As soon as it says so itself: about a second earlier. Should the leader die in that second, the
    /// sentinels turn the candidate back into a replica and what was written to it is lost.
    Eager,
}

#[derive(Clone, Debug)]
pub struct ShardSpec {
    pub master: MasterRef,
    /// The configured address: tried if no sentinel answers at the start.
    pub initial: HostPort,
    pub commit: Commit,
    /// Longest that requests are held for one failover; zero: they are not held.
    pub failover_hold: Duration,
}

/// The two connections to a sentinel: with RESP2 a subscribed one cannot ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    Subscription,
    Query,
}

/// Why a link is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkDown {
    /// Not connected, or not any more.
    Failed(String),
    /// The sentinel refused our credentials, or `SUBSCRIBE`.
    Denied(String),
}

/// What requests met at a shard's master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// Could not connect, or the connection was lost or timed out.
    ConnectionLost,
    /// `-READONLY`.
    ReadOnly,
    /// `-MASTERDOWN`, or another sign that it is not a master.
    NotMaster,
    /// `-NOREPLICAS`: an isolated master may say so.
    NoReplicas,
}
