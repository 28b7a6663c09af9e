//! The clients of one worker, from their bytes to requests on backend connections and back.
//!
//! `source.rs` is where requests are parsed from, `session.rs` decides what becomes of one and `local/`
//! answers those about the client's own connection, `everywhere.rs` those about all servers, all with a
//! `context.rs`; `rules.rs` goes before where a pool has rules about commands; `special.rs` is what clients
//! have that need a connection of their own, `transaction.rs` the first of those and `blocking.rs` the next;
//! `subscribe.rs` and `resubscribe.rs` are publish/subscribe, with `subscriptions.rs` for what a client has
//! subscribed to; `about.rs` is what clients say of themselves, and `roster.rs` lists and kills them, wherever
//! they are; `pipeline.rs` keeps replies in order; `time.rs` measures how long requests take and `slow.rs` logs
//! the slow ones; `farewell.rs` sees clients off, `leave.rs` those of a pool that a reload removed, `memory.rs`
//! those that hold too much; `ebb.rs` tells when memory is to be given back; [`Front`] ties clients and backends
//! of a worker together, `output.rs` is its side to the writer. All machines; the sockets are
//! [`crate::worker`]'s.

mod about;
mod blocking;
#[cfg(test)]
mod chaos_tests;
#[cfg(test)]
mod class_tests;
mod context;
mod ebb;
mod everywhere;
mod farewell;
#[cfg(test)]
mod farewell_tests;
mod front;
#[cfg(test)]
mod front_tests;
mod leave;
mod local;
mod memory;
mod output;
mod patterns;
mod peer;
mod pipeline;
#[cfg(test)]
mod pubsub_tests;
mod refusal;
mod resubscribe;
mod roster;
mod rules;
mod session;
mod slow;
mod source;
mod special;
mod subscribe;
mod subscriptions;
mod time;
mod transaction;
#[cfg(test)]
mod world_tests;

use std::sync::Arc;

use bytes::BytesMut;
use slab::Slab;

pub use front::{Front, Step};
pub use leave::Leaving;
pub use peer::Peer;
pub use roster::{Asked, Place, Question};
pub use time::Now;

use crate::backend::{Call, Failure, Fate, Owner, Replies};
use crate::buffer::{BufferPool, SHARE_FROM};
use crate::config::{Limits, PoolConfig};
use crate::protocol::redis::command::Command;
use crate::protocol::redis::scan::RequestScanner;
use crate::stats::{PoolStats, WorkerStats};
use context::Session;
use pipeline::Pipeline;
use time::Timing;

/// Index into the worker's clients; reused only after its task has ended.
pub type ClientId = u32;

/// Why no more requests are taken from a client for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    No,
    /// Too much is unanswered or unread; goes on when half of it is gone.
    Pressure,
    /// The next request must not overtake the ones before it; goes on when they are answered.
    Drain,
    /// The last request may wait for long; goes on when it is answered. Until then the socket is read so far
    /// that its end is noticed.
    Blocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Takes no more requests; ends when all replies are delivered.
    Closing,
    /// Cannot be served any more; ends at once.
    Dead,
}

struct Client {
    generation: u32,
    /// When it connected, and when it was last heard, in the worker's seconds.
    since: u32,
    heard_at: u32,
    pool: u16,
    state: State,
    pause: Pause,
    dirty: bool,
    /// Bytes came since the last [`Front::sweep`], or replies were due then.
    heard: bool,
    /// It had nothing to do between the last two sweeps.
    may_leave: bool,
    session: Session,
    /// Where the scan of an unfinished request in `input` stands.
    scanner: Option<Box<RequestScanner>>,
    /// Bytes that are no complete request yet, or wait behind a pause.
    input: BytesMut,
    /// `input` needs this many bytes before it is worth another look.
    need: usize,
    /// Length of its last request if that was large: the next is expected to be, too.
    large: u32,
    pipeline: Pipeline,
    /// What this client has in [`Clients::buffered`].
    accounted: usize,
    /// Its last command.
    last: Option<&'static Command>,
}

// Idle clients are mostly this and what the kernel keeps; what few clients need is in a box of its own.
const _: () = assert!(size_of::<Client>() <= 328);

impl Client {
    fn is_finished(&self) -> bool {
        match self.state {
            State::Open => false,
            State::Closing => self.pipeline.pending() == 0 && self.pipeline.out.is_empty(),
            State::Dead => true,
        }
    }

    /// Are all its requests answered, and has it begun no other?
    fn is_quiet(&self) -> bool {
        self.state == State::Open
            && self.pipeline.pending() == 0
            && self.pipeline.out.is_empty()
            && self.input.is_empty()
            && !(self.session.special.as_ref()).is_some_and(|special| special.is_needed())
    }

    /// May the next request be taken?
    fn is_pressed(&self, limits: &Limits, share: u64) -> bool {
        self.pipeline.pending() as u64 * share >= u64::from(limits.client_pending_limit) * 2
            || self.pipeline.buffered() as u64 * share >= limits.client_output_limit
    }

    /// Counts that it is paused under pressure.
    fn count_pause(&self, limits: &Limits, stats: &PoolStats) {
        stats.client_paused.add(1);
        if self.pipeline.pending() as u64 >= u64::from(limits.client_pending_limit) {
            stats.client_pending_limit_hit.add(1);
        }
    }

    fn may_resume(&self, limits: &Limits) -> bool {
        match self.pause {
            Pause::No => true,
            Pause::Pressure => !self.is_pressed(limits, 4),
            Pause::Drain | Pause::Blocked => self.pipeline.pending() == 0,
        }
    }
}

/// A table of clients up to this size is not made smaller.
pub const SMALL_TABLE: usize = 1024;

/// Writes bytes to a client's socket at once; answers how many it took, 0 if it takes none now.
pub type Direct = Box<dyn Fn(ClientId, &[u8]) -> usize>;

/// All clients of a worker. As the receiver of replies it is what backends know of them.
struct Clients {
    /// Boxed, so that those who have left leave no memory behind.
    table: Slab<Box<Client>>,
    generation: u32,
    /// Limits per pool.
    limits: Vec<Limits>,
    /// Something to write.
    dirty: Vec<ClientId>,
    /// Their task must look at them again.
    woken: Vec<ClientId>,
    /// Bytes in all buffers, brought up to date once per turn.
    buffered: usize,
    /// Clients closed because a limit was hit, per pool, not yet counted in the statistics.
    overflowed: Vec<ClientId>,
    direct: Option<Direct>,
    timing: Timing,
}

impl Clients {
    fn new(configs: &[Arc<PoolConfig>], stats: Arc<WorkerStats>) -> Clients {
        let slow = configs.iter().map(|config| slow::slow_from(config));
        Clients {
            table: Slab::new(),
            generation: 0,
            limits: configs.iter().map(|config| config.limits).collect(),
            dirty: Vec::new(),
            woken: Vec::new(),
            buffered: 0,
            overflowed: Vec::new(),
            direct: None,
            timing: Timing::new(stats, slow.collect()),
        }
    }

    fn remove(&mut self, id: ClientId) -> Box<Client> {
        let client = self.table.remove(id as usize);
        if self.table.capacity() > SMALL_TABLE && self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to_fit();
        }
        client
    }

    #[inline]
    fn mark(&mut self, id: ClientId) {
        let client = &mut self.table[id as usize];
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(id);
        }
    }

    /// After a reply: let the flusher know, and the client's task if it waits for this.
    #[inline]
    fn after_reply(&mut self, id: ClientId) {
        self.mark(id);
        let client = &mut self.table[id as usize];
        let limits = &self.limits[usize::from(client.pool)];
        if client.pause != Pause::No && client.may_resume(limits) {
            self.woken.push(id);
        }
        if client.pipeline.buffered() as u64 > limits.client_output_limit
            && client.state != State::Dead
        {
            client.state = State::Dead;
            self.overflowed.push(id);
            self.woken.push(id);
        }
    }

    /// Writes a large piece whose turn it is without copying it; answers what the socket did not take.
    fn pass_through<'p>(&self, id: ClientId, piece: &'p [u8]) -> &'p [u8] {
        match &self.direct {
            Some(direct) => &piece[direct(id, piece)..],
            None => piece,
        }
    }

    #[inline]
    fn find(&mut self, call: Call) -> Option<&mut Client> {
        self.table
            .get_mut(call.client as usize)
            .map(Box::as_mut)
            .filter(|client| client.generation == call.generation && client.state != State::Dead)
    }
}

impl Replies for Clients {
    #[inline]
    fn reply(&mut self, call: Call, piece: &[u8], end: bool, buffers: &mut BufferPool) {
        // Replies to a client that has left are swallowed.
        let Some(client) = self.find(call) else {
            return;
        };
        let mut rest = piece;
        if piece.len() >= SHARE_FROM && client.pipeline.is_next(call.slot) {
            client.pipeline.begin();
            rest = self.pass_through(call.client, piece);
        }
        let pipeline = &mut self.table[call.client as usize].pipeline;
        let timing = &mut self.timing;
        pipeline.handle_reply(call.slot, call.part, rest, end, timing, buffers);
        self.after_reply(call.client);
    }

    fn fail(&mut self, call: Call, failure: &Failure, fate: Fate, buffers: &mut BufferPool) {
        let Some(pool) = self.find(call).map(|client| client.pool) else {
            return;
        };
        self.timing.switch(pool);
        let client = &mut self.table[call.client as usize];
        if client.state == State::Closing && client.pause == Pause::Blocked {
            // It was called back: the close says what an error would.
            client.pipeline.forget();
            return self.after_reply(call.client);
        }
        let mut error = Vec::with_capacity(128);
        failure.write(&mut error, call.write, fate);
        client.session.errors += 1;
        let (pipeline, timing) = (&mut client.pipeline, &mut self.timing);
        let failed = pipeline.handle_failure(call.slot, call.part, &error, timing, buffers);
        if failed.is_err() {
            // Half a reply has left; whatever followed would be read as its rest.
            client.state = State::Dead;
            self.woken.push(call.client);
            return;
        }
        self.after_reply(call.client);
    }

    fn push(
        &mut self,
        owner: Owner,
        server: u16,
        piece: &[u8],
        end: bool,
        buffers: &mut BufferPool,
    ) {
        self.take_push(owner, server, piece, end, buffers);
    }
}
