//! The configuration is read again while clients are at work: none of them notices, but for what the new
//! file says.

mod command;
mod endurance;
mod failover;
mod listen;
mod load;
mod plain;
mod pubsub;
mod refusal;
mod scene;
// Only a part of it is used here.
#[allow(dead_code, unused_imports)]
#[path = "../support/sentinel/mod.rs"]
mod sentinel;
mod shown;
#[path = "../support/mod.rs"]
mod support;
mod watch;
