//! Failovers with real sentinels: what clients of the proxy notice, and what of their writes is left.
//!
//! Each test starts a cluster of its own (`tests/support/sentinel`), harms it under load and compares what
//! was acknowledged with what the final masters have. `harness.rs` shows that the comparison finds a loss.

mod auth;
mod blocking;
mod crash;
mod crowd;
mod endurance;
mod events;
mod harness;
mod network;
mod partition;
mod pipelines;
mod planned;
mod pubsub;
mod restart;
mod scene;
// Others use what these tests do not.
#[allow(dead_code)]
#[path = "../support/sentinel/mod.rs"]
mod sentinel;
mod sentinels;
#[path = "../support/mod.rs"]
mod support;
mod telling;
mod whole;
