//! Clients and backends of one worker, tied together. The shell calls `handle_*` with what sockets did
//! and `take_*`, `flush_*` for what they should do.

use std::sync::Arc;

use bytes::BytesMut;

use super::context::{After, Context, Scratch, Session};
use super::ebb::HighWater;
use super::farewell::Farewell;
use super::pipeline::Pipeline;
use super::resubscribe::Lost;
use super::roster::{Desk, Place};
use super::source::{Source, count_refusal, handle_inline, refuse_input, scan_limits};
use super::time::Now;
use super::{Client, ClientId, Clients, Direct, Pause, Peer, State};
use crate::backend::{Backends, Cause, ConnectionId, Turn};
use crate::buffer::{BufferPool, SHARE_FROM};
use crate::config::PoolConfig;
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::Class;
use crate::protocol::redis::scan::{Body, Scan};
use crate::stats::WorkerStats;
use crate::topology::Topology;

/// A partial request that has or still misses more than this is read into its own memory, so that it is
/// not copied in front of every read.
const READ_OWN: usize = 32 * 1024;
/// Memory a partial request reserves ahead of its bytes, at most twice as much: a length is only a claim.
const READ_AHEAD: usize = 1024 * 1024;
/// What has come of a request earns it this many times as much ahead, where that is more.
const GROWTH: usize = 15;
/// Up to this size the next request is expected to be as large as the last one was.
const LARGEST_EXPECTED: usize = 2 * 1024 * 1024;

/// What a client's task does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read into a shared buffer, behind the bytes of [`Front::copy_input`].
    Read,
    /// Read into [`Front::own_input`].
    ReadOwn,
    /// Nothing to read for now; the task is woken.
    Wait,
    /// The client has everything it is owed: say goodbye in order.
    Finish,
    /// Close at once.
    Abort,
}

/// All that a worker knows.
pub struct Front {
    pub(super) clients: Clients,
    pub(super) backends: Backends,
    pub(super) buffers: BufferPool,
    pub(super) scratch: Scratch,
    pub(super) configs: Vec<Arc<PoolConfig>>,
    /// RESP form of an inline request.
    inline: Vec<u8>,
    pub(super) stats: Arc<WorkerStats>,
    next_id: u64,
    pub(super) desk: Desk,
    pub(super) farewell: Farewell,
    pub(super) high_water: HighWater,
    pub(super) memory_limit: usize,
    pub(super) lost: Lost,
    /// When the turn began.
    pub(super) now: Now,
}

impl Front {
    /// `memory_limit`: bytes in all buffers.
    pub fn new(
        topology: Arc<Topology>,
        stats: Arc<WorkerStats>,
        memory_limit: usize,
        place: Place,
        seed: u32,
    ) -> Front {
        let configs: Vec<_> = (topology.pools.iter())
            .map(|pool| pool.config.clone())
            .collect();
        Front {
            clients: Clients::new(&configs, stats.clone()),
            backends: Backends::new(topology, stats.clone(), memory_limit / 2, seed),
            buffers: BufferPool::new(memory_limit),
            scratch: Scratch::default(),
            configs,
            inline: Vec::new(),
            stats,
            next_id: place.first_id(),
            desk: Desk::new(place),
            farewell: Farewell::No,
            high_water: HighWater::default(),
            memory_limit,
            lost: Lost::default(),
            now: Now::new(0),
        }
    }

    /// Lets large pieces of replies go straight to their client's socket.
    pub fn write_directly(&mut self, direct: Direct) {
        self.clients.direct = Some(direct);
    }

    pub fn backends(&mut self) -> &mut Backends {
        &mut self.backends
    }

    fn config(&self, pool: u16) -> &PoolConfig {
        &self.configs[usize::from(pool)]
    }

    /// For log lines.
    pub fn pool_name(&self, pool: u16) -> &str {
        &self.config(pool).name
    }

    /// A new client of `pool`.
    pub fn open(&mut self, pool: u16, peer: Peer, now: Now) -> ClientId {
        let id = self.next_id;
        self.next_id += 1;
        self.clients.generation = self.clients.generation.wrapping_add(1);
        self.stats.pools[usize::from(pool)]
            .client_connections
            .add(1);
        let state = match self.farewell {
            Farewell::Now => State::Closing,
            _ if self.config(pool).removed => State::Closing,
            _ => State::Open,
        };
        let client = Client {
            generation: self.clients.generation,
            since: now.s,
            heard_at: now.s,
            pool,
            state,
            pause: Pause::No,
            dirty: false,
            heard: true,
            may_leave: false,
            session: Session {
                id,
                peer,
                authenticated: self.config(pool).redis_auth.is_none(),
                resp: Resp::V2,
                db: None,
                about: None,
                special: None,
                errors: 0,
                fragments: 0,
            },
            scanner: None,
            input: BytesMut::new(),
            need: 0,
            large: 0,
            pipeline: Pipeline::default(),
            accounted: 0,
            last: None,
        };
        self.clients.table.insert(Box::new(client)) as ClientId
    }

    /// The client's socket is gone. Replies it was owed are swallowed when they come.
    pub fn close(&mut self, id: ClientId, in_order: bool) {
        self.account(id);
        let mut client = self.clients.remove(id);
        self.clients.buffered -= client.accounted;
        client.pipeline.out.clear(&mut self.buffers);
        if let Some(special) = &client.session.special {
            self.abandon(special);
        }
        let stats = &self.stats.pools[usize::from(client.pool)];
        stats.client_connections.sub(1);
        if in_order {
            stats.client_eof.add(1);
        } else {
            stats.client_err.add(1);
        }
    }

    /// What the client's task should do now. Handles what waited behind a pause that is over; only then
    /// is the clock read.
    pub fn step(&mut self, id: ClientId, now: &dyn Fn() -> Now) -> Step {
        let client = &mut self.clients.table[id as usize];
        if client.is_finished() {
            return match client.state {
                State::Dead => Step::Abort,
                _ => Step::Finish,
            };
        }
        if client.state != State::Open {
            return Step::Wait;
        }
        if client.pause != Pause::No {
            if !client.may_resume(&self.clients.limits[usize::from(client.pool)]) {
                return match client.watches_input() {
                    true => Step::Read,
                    false => Step::Wait,
                };
            }
            client.pause = Pause::No;
            self.handle_own_input(id, now());
            return self.step(id, now);
        }
        let held = client.input.len();
        if client.large > 0 || held.max(client.need.saturating_sub(held)) > READ_OWN {
            Step::ReadOwn
        } else {
            Step::Read
        }
    }

    /// Puts the client's unfinished request in front of a read; answers its length. The request's rest is
    /// expected in [`Front::handle_input`].
    pub fn copy_input(&mut self, id: ClientId, buffer: &mut [u8]) -> usize {
        let input = &self.clients.table[id as usize].input;
        buffer[..input.len()].copy_from_slice(input);
        input.len()
    }

    /// The client's own buffer, with room for what is missing.
    pub fn own_input(&mut self, id: ClientId) -> &mut BytesMut {
        let client = &mut self.clients.table[id as usize];
        let need = client.need.max(client.large as usize);
        let missing = need.saturating_sub(client.input.len());
        // By a multiple each time, or growing would be copying.
        let most = READ_AHEAD.max(client.input.len() * GROWTH);
        let room = if missing <= 2 * most {
            missing.max(4096)
        } else {
            most
        };
        make_room(&mut client.input, room, &mut self.buffers);
        &mut client.input
    }

    /// There was nothing to read: a client that sends nothing keeps no buffer.
    pub fn release_input(&mut self, id: ClientId) {
        let input = &mut self.clients.table[id as usize].input;
        if input.is_empty() && input.capacity() > 0 {
            self.buffers.give_large(std::mem::take(input).freeze());
        }
    }

    /// A read into a shared buffer, behind what [`Front::copy_input`] put there.
    pub fn handle_input(&mut self, id: ClientId, input: &[u8], now: Now) {
        let mut source = Source::Shared { input, at: 0 };
        self.handle_requests(id, &mut source, now);
        let client = &mut self.clients.table[id as usize];
        let rest = source.rest();
        if rest.is_empty() || client.state != State::Open {
            client.input = BytesMut::new();
        } else {
            client.input.clear();
            // All of a large argument at once, so that it is not moved while it grows.
            let room = client.need.clamp(rest.len(), rest.len() + READ_AHEAD);
            make_room(&mut client.input, room, &mut self.buffers);
            client.input.extend_from_slice(rest);
        }
        self.account(id);
    }

    /// More bytes are in [`Front::own_input`].
    pub fn handle_own_input(&mut self, id: ClientId, now: Now) {
        let input = std::mem::take(&mut self.clients.table[id as usize].input);
        let before = input.len();
        let mut source = Source::Own { input, at: 0 };
        self.handle_requests(id, &mut source, now);
        let client = &mut self.clients.table[id as usize];
        if let Source::Own { mut input, at } = source
            && at < input.len()
            && client.state == State::Open
        {
            bytes::Buf::advance(&mut input, at);
            // What little remains shares the memory of the requests before it.
            client.input = match input.len() < before / 2 {
                true => BytesMut::from(&input[..]),
                false => input,
            };
        }
        self.account(id);
    }

    /// Takes requests from `source` until it has none, or the client may send no more for now.
    fn handle_requests(&mut self, id: ClientId, source: &mut Source<'_>, now: Now) {
        if self.take_requests(id, source, now) {
            self.ask(id, now);
        }
    }

    /// True: the last one asks about clients.
    fn take_requests(&mut self, id: ClientId, source: &mut Source<'_>, now: Now) -> bool {
        let client = &mut self.clients.table[id as usize];
        if client.pause == Pause::Blocked {
            return false;
        }
        let pool = usize::from(client.pool);
        let limits = &self.clients.limits[pool];
        let config = &self.configs[pool];
        let stats = &self.stats.pools[pool];
        let timing = &mut self.clients.timing;
        timing.begin(now.us, client.pool);
        let (mut taken, mut last, mut asks) = (0, 0, false);
        let mut command = client.last;
        let mut scanner = client
            .scanner
            .take()
            .map(|begun| *begun)
            .unwrap_or_default();
        client.need = 0;
        client.heard = true;
        client.heard_at = now.s;
        while client.state == State::Open {
            if client.is_pressed(limits, 2) {
                client.pause = Pause::Pressure;
                client.count_pause(limits, stats);
                break;
            }
            let scan_limits = scan_limits(client.session.authenticated, limits);
            let frame = match scanner.scan(source.rest(), &scan_limits) {
                Ok(Scan::Complete(frame)) => frame,
                Ok(Scan::Incomplete(need)) => {
                    client.need = need;
                    client.scanner = scanner.is_within().then(|| Box::new(scanner));
                    break;
                }
                Err(error) => {
                    count_refusal(stats, error);
                    refuse_input(client, error, config, &mut self.buffers);
                    break;
                }
            };
            last = frame.len;
            let mut context = Context {
                pool: client.pool,
                client: id,
                generation: client.generation,
                now,
                class: Class::Unknown,
                command,
                timing,
                backends: &mut self.backends,
                buffers: &mut self.buffers,
                scratch: &mut self.scratch,
                config,
                session: &mut client.session,
                pipeline: &mut client.pipeline,
            };
            let after = match frame.body {
                Body::Array(array) => {
                    source.hand(frame.len, |request| context.handle(request, &array))
                }
                Body::Inline(span) => {
                    let line = &source.rest()[span.start..span.end];
                    match handle_inline(&mut context, line, &mut self.inline) {
                        Ok(after) => {
                            if after != After::Drain {
                                source.advance(frame.len);
                            }
                            after
                        }
                        Err(error) => {
                            count_refusal(stats, error);
                            refuse_input(client, error, config, &mut self.buffers);
                            break;
                        }
                    }
                }
                Body::Nothing => {
                    source.advance(frame.len);
                    After::Skip
                }
            };
            match after {
                After::Skip => continue,
                After::Drain => {
                    client.pause = Pause::Drain;
                    break;
                }
                After::Continue | After::Close | After::Ask | After::Block => {}
            }
            taken += 1;
            stats.commands[context.class as usize].add(1);
            command = context.command;
            if after == After::Continue {
                client.pipeline.end_request();
                continue;
            }
            match after {
                After::Ask => {
                    // Whoever has many questions lets others have their turn in between.
                    client.pause = Pause::Drain;
                    asks = true;
                }
                After::Block => {
                    client.pipeline.end_request();
                    client.pause = Pause::Blocked;
                }
                _ => client.state = State::Closing,
            }
            break;
        }
        client.last = command;
        if last > 0 {
            client.large = match last {
                READ_OWN..=LARGEST_EXPECTED => last as u32,
                _ => 0,
            };
        }
        stats.client_requests.add(taken);
        timing.flush();
        self.clients.mark(id);
        asks
    }

    /// The client will send nothing more; it still gets what it is owed, unless it would have to wait.
    pub fn handle_eof(&mut self, id: ClientId) {
        self.forsake(id);
        let client = &mut self.clients.table[id as usize];
        if client.state == State::Open {
            client.state = State::Closing;
            client.input = BytesMut::new();
        }
    }

    /// Brings the worker's sums up to date with one client.
    pub(super) fn account(&mut self, id: ClientId) {
        let client = &mut self.clients.table[id as usize];
        // Of `input` what is there: room for the rest of a request may never be touched.
        let special = client.session.special.as_ref();
        let now = client.input.len()
            + client.pipeline.memory()
            + special.map_or(0, |special| special.memory());
        self.clients.buffered = self.clients.buffered + now - client.accounted;
        client.accounted = now;
        let session = &mut client.session;
        if session.errors + session.fragments > 0 {
            let stats = &self.stats.pools[usize::from(client.pool)];
            let errors = std::mem::take(&mut session.errors);
            stats.forward_error.add(errors.into());
            let fragments = std::mem::take(&mut session.fragments);
            stats.fragments.add(fragments.into());
        }
    }

    /// A read from a server. False: the connection is over.
    pub fn handle_backend_bytes(&mut self, id: ConnectionId, input: &[u8], now: Now) -> bool {
        let pool = self.backends.pool_of(id);
        let (backends, mut turn) = self.turn(now);
        turn.replies.timing.switch(pool);
        let goes_on = backends.handle_bytes(id, input, &mut turn);
        self.end_turn();
        goes_on
    }

    pub fn handle_backend_closed(&mut self, id: ConnectionId, cause: Cause, now: Now) {
        let (backends, mut turn) = self.turn(now);
        backends.handle_closed(id, cause, &mut turn);
        self.end_turn();
    }

    /// Coarse periodic work: requests that waited too long, memory.
    pub fn tick(&mut self, now: Now) {
        let (backends, mut turn) = self.turn(now);
        backends.check_deadlines(&mut turn);
        self.end_turn();
        self.restore_waiting();
        self.tell_restored();
        self.enforce_memory();
    }

    pub(super) fn turn(&mut self, now: Now) -> (&mut Backends, Turn<'_, Clients>) {
        self.clients.timing.begin(now.us, 0);
        self.now = now;
        let turn = Turn {
            replies: &mut self.clients,
            buffers: &mut self.buffers,
            now: now.ms,
            us: now.us,
        };
        (&mut self.backends, turn)
    }
}

/// Room for so many bytes more.
fn make_room(input: &mut BytesMut, more: usize, buffers: &mut BufferPool) {
    if input.capacity() - input.len() >= more {
        return;
    }
    if more < SHARE_FROM {
        return input.reserve(more);
    }
    let mut larger = buffers.take_large(input.len() + more);
    larger.extend_from_slice(input);
    let outgrown = std::mem::replace(input, larger);
    buffers.give_large(outgrown.freeze());
}
