//! Which log lines are more than one of many: targets that the log ([`app`](crate::app)) treats apart.
//!
//! A line without one of these targets may repeat for as long as its cause lasts (a failed connection, a
//! refused client), so the log lets only so many of a kind through and counts the rest. Mark what changes
//! a state instead: it happens once per change and no limit may hide it.
//!
//! Fields have one name everywhere, as JSON lines show them: `pool`, `server`, `sentinel` (their names),
//! `address` (where a server is now), `client` (where a client comes from), `event` (a sentinel's). Lines
//! that differ in pool, server, sentinel or event are different kinds. No line contains a key, a value or a
//! password, whoever said it.

/// Start, end and what an operator asked for by a signal: shown at every level, never dropped.
pub const NOTICE: &str = "nuthatch::notice";

/// Slow requests: a log of their own, that whoever writes it bounds, so nothing is dropped here.
pub const SLOW: &str = "nuthatch::slow";

/// A change of state, told once: ejections and returns, switches of masters, holds, sentinels that come
/// and go, what a configuration means. Shown as its level says, never dropped.
pub const CHANGE: &str = "nuthatch::change";
