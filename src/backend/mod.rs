//! Connections to the Redis servers: requests of many clients go out in one stream, replies come back in
//! the same order and are matched to the requests' reply slots.
//!
//! `connection.rs` is one stream (machine), `pool.rs` all streams of a worker and `lifecycle.rs` their life,
//! `lanes.rs` those that clients share, `dedicated.rs` those of one client alone, `blocking.rs` requests that
//! may wait for long on them and `listening.rs` such as servers push to, `gate.rs` when a failed server is tried
//! again, `hold.rs` the waiting for masters, `reload.rs` another configuration, `scripts.rs` the scripts that
//! clients have sent and `noscript.rs` how servers hear of them, `count.rs` what is counted of errors and
//! `slow.rs` which requests took long (machines).
//! The sockets are [`crate::worker`]'s. Who the clients are is unknown here: replies leave through [`Replies`].

mod blocking;
#[cfg(test)]
mod blocking_tests;
mod connection;
#[cfg(test)]
mod connection_tests;
mod count;
mod dedicated;
#[cfg(test)]
mod ending_tests;
mod failure;
mod gate;
mod hold;
mod lanes;
mod lifecycle;
#[cfg(test)]
mod lifecycle_tests;
mod listening;
#[cfg(test)]
mod model_steps_tests;
#[cfg(test)]
mod model_tests;
mod noscript;
mod pool;
mod reload;
#[cfg(test)]
mod reload_tests;
mod scripts;
mod slow;
mod stray;
mod survey;

pub use blocking::Blocking;
pub use connection::Connection;
pub use dedicated::{Change, Owner};
pub use failure::{Cause, Failure, Fate};
pub use pool::{Backends, ConnectionId, Plan, Target};
pub use scripts::Scripts;
pub use slow::SlowRequest;

use crate::buffer::BufferPool;
use crate::protocol::redis::Resp;

/// A request's return address: the reply slot it fills, and what may be said if it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub client: u32,
    /// Tells the client from an earlier one that had the same index.
    pub generation: u32,
    /// Number of the slot in the client's pipeline.
    pub slot: u32,
    /// When it was read from the client, in the worker's microseconds, which wrap; or [`UNTIMED`].
    pub began: u32,
    /// Which fragment of a split request this is; 0 for a whole one, until `noscript.rs` sends it again.
    pub part: u16,
    /// The request may change data: if it is lost after it was sent, its effect is unknown.
    pub write: bool,
    /// May it be sent once more?
    pub again: Again,
}

/// What happens to a request that a server did not answer, or refused for what it is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It may be sent once more, and wait for that.
    May,
    /// It was sent once more already, and may wait, but is not sent a third time.
    Was,
    /// It fails: who asks wants to know who cannot answer now.
    Not,
}

/// [`Call::began`] of what is not measured: it may wait for long, or nobody waits for it.
pub const UNTIMED: u32 = 0;

/// Where replies go. Each call ends in exactly one `reply` with `end`, or one `fail`.
pub trait Replies {
    /// A run of bytes of the reply to `call`; `end` with the last one.
    fn reply(&mut self, call: Call, piece: &[u8], end: bool, buffers: &mut BufferPool);

    /// There will be no (more) reply to `call`.
    fn fail(&mut self, call: Call, failure: &Failure, fate: Fate, buffers: &mut BufferPool);

    /// A run of bytes of what `server` said to a client that listens there without being asked, see
    /// [`Backends::listen`]; `end` with the last one. If the connection ends in the middle, the rest never
    /// comes.
    fn push(
        &mut self,
        _owner: Owner,
        _server: u16,
        _piece: &[u8],
        _end: bool,
        _buffers: &mut BufferPool,
    ) {
    }
}

/// What a client and its connections to servers have to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub resp: Resp,
    /// The database the client has selected; `None` is the pool's own, `redis_db`.
    pub db: Option<u16>,
}

impl Kind {
    /// In the pool's own database.
    pub const fn of(resp: Resp) -> Kind {
        Kind { resp, db: None }
    }
}

/// What the shell lends the machines for one turn.
pub struct Turn<'a, R> {
    pub replies: &'a mut R,
    pub buffers: &'a mut BufferPool,
    /// Milliseconds since the worker's start; wraps.
    pub now: u32,
    /// The same in microseconds, as [`Call::began`].
    pub us: u32,
}
