//! All backend connections of one worker: which exist, which a request takes, what happens when one ends.
//!
//! The shell reads its duties from the `take_*` lists: connections to open, to flush, to remove.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use super::connection::Connection;
use super::dedicated::Change;
use super::gate::Gate;
use super::scripts::{ScriptMemory, Scripts};
use super::slow::SlowLog;
use super::{Call, Cause, Failure, Kind};
use crate::buffer::BufferPool;
use crate::config::PoolConfig;
use crate::stats::{ServerStats, WorkerStats};
use crate::topology::{self, Endpoint, Event, Topology};

/// How long connecting and the handshake may take in pools without a shorter `timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// In place of the number of a lane: a connection for one request.
pub(super) const ASIDE: u32 = u32::MAX - 1;

/// Index into the worker's connections; reused only after [`Backends::remove`].
pub type ConnectionId = u32;

/// All a task needs to open a connection.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    pub config: Arc<PoolConfig>,
    pub kind: Kind,
    pub timeout: Duration,
    /// It may be silent for as long as it likes, so only the system can tell that the server is gone.
    pub silent: bool,
    /// For messages.
    pub who: Arc<str>,
    /// Without asking for the database or the role, which a server that runs a script refuses.
    pub aside: bool,
}

#[derive(Clone, Debug)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A server as this worker knows it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) who: Arc<str>,
    /// Per protocol version and lane, the connection that takes new requests for the pool's own database.
    pub(super) lanes: [Vec<Option<ConnectionId>>; 2],
    /// The same for other databases, in no order: few clients select one.
    pub(super) others: Vec<ConnectionId>,
    /// All dedicated connections, and those of them that nobody has.
    pub(super) dedicated: Vec<ConnectionId>,
    pub(super) idle: Vec<ConnectionId>,
    /// Takes words to the server that are in no order with requests.
    pub(super) messenger: Option<ConnectionId>,
    /// Per protocol version: a server that does not speak RESP3 still serves RESP2.
    pub(super) gates: [Gate; 2],
    /// A failure was reported and no reply since.
    pub(super) blamed: bool,
    pub(super) hold: Hold,
    /// When requests were last held because the server said that it is no master.
    pub(super) last_symptom: Option<u32>,
}

/// Do a server's requests wait, and for what?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    No,
    /// For the end of a failover; the topology says when that is.
    Announced,
    /// For the topology to learn what a reply gave away: the server is no master. At most until then.
    Symptom {
        until: u32,
    },
    /// For connections to it that want replies still, before new ones are opened by a new configuration.
    Renewal,
    /// For the server to accept connections again, each request as long as `outage_hold` allows.
    Outage,
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) who: Arc<str>,
    pub(super) config: Arc<PoolConfig>,
    pub(super) servers: Vec<Server>,
}

#[derive(Debug)]
pub struct Backends {
    pub(super) topology: Arc<Topology>,
    pub(super) pools: Vec<Pool>,
    pub(super) connections: Slab<Connection>,
    pub(super) stats: Arc<WorkerStats>,
    /// Those of all workers.
    pub(super) workers: Vec<Arc<WorkerStats>>,
    /// Bytes of requests on all connections, sent ones that are not answered among them.
    pub(super) retained: usize,
    pub(super) max_retained: usize,
    pub(super) dirty: Vec<ConnectionId>,
    pub(super) opening: Vec<ConnectionId>,
    pub(super) dead: Vec<ConnectionId>,
    pub(super) events: Vec<Event>,
    pub(super) changes: Vec<Change>,
    pub(super) slow: SlowLog,
    pub(super) random: u32,
    pub(super) scripts: ScriptMemory,
}

impl Backends {
    /// `max_retained`: bytes that requests to all servers may take before more are refused.
    pub fn new(
        topology: Arc<Topology>,
        stats: Arc<WorkerStats>,
        max_retained: usize,
        seed: u32,
    ) -> Backends {
        Backends {
            pools: topology.pools.iter().map(|pool| Pool::new(pool)).collect(),
            topology,
            connections: Slab::new(),
            workers: vec![Arc::clone(&stats)],
            stats,
            retained: 0,
            max_retained,
            dirty: Vec::new(),
            opening: Vec::new(),
            dead: Vec::new(),
            events: Vec::new(),
            changes: Vec::new(),
            slow: SlowLog::default(),
            random: seed | 1,
            scripts: ScriptMemory::new(Arc::default()),
        }
    }

    /// Takes the scripts of all `workers` for its own.
    pub fn share(&mut self, scripts: Arc<Scripts>, workers: Vec<Arc<WorkerStats>>) {
        self.scripts = ScriptMemory::new(scripts);
        self.workers = workers;
    }

    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Bytes that requests without a reply take.
    pub fn retained(&self) -> usize {
        self.retained
    }

    /// The server for `key`, or why there is none.
    #[inline]
    pub fn route(&mut self, pool: u16, key: &[u8]) -> Result<u16, Failure> {
        let random = &mut self.random;
        match self.topology.pools[usize::from(pool)].route(key, || next_random(random)) {
            Some(server) => Ok(server),
            None => Err(Failure {
                who: self.pools[usize::from(pool)].who.clone(),
                cause: Cause::AllEjected,
            }),
        }
    }

    /// The connection that takes a request of `client` for `server`, opened if need be. A client always
    /// meets the same one, so that its requests to one server are executed in their order.
    #[inline]
    pub fn connection(
        &mut self,
        (pool, server): (u16, u16),
        kind: Kind,
        client: u32,
        now: u32,
    ) -> Result<ConnectionId, Failure> {
        let known = &self.pools[usize::from(pool)].servers[usize::from(server)];
        let lane = match known.lanes[kind.resp as usize].len() {
            1 => 0,
            n => client as usize % n,
        };
        if self.retained > self.max_retained {
            return Err(self.reject((pool, server), known.failure(Cause::Overloaded)));
        }
        if !matches!(known.hold, Hold::No | Hold::Renewal) && self.is_full(pool, server) {
            return Err(self.reject((pool, server), known.failure(Cause::HoldFull)));
        }
        let id = match self.lane((pool, server), kind, lane, now) {
            Ok(id) => id,
            Err(failure) => return Err(self.reject((pool, server), failure)),
        };
        // No connection may take more than what it leaves to all the others: a server that hangs gets half.
        if self.connections[id as usize].retained() > self.max_retained - self.retained {
            let failure = self.server(pool, server).failure(Cause::Overloaded);
            return Err(self.reject((pool, server), failure));
        }
        Ok(id)
    }

    /// Queues a whole request.
    #[inline]
    pub fn send(
        &mut self,
        id: ConnectionId,
        call: Call,
        request: &[u8],
        now: u32,
        buffers: &mut BufferPool,
    ) {
        let connection = &mut self.connections[id as usize];
        connection.queue(call, request, now, buffers);
        self.retained += request.len();
        self.mark(id);
    }

    /// Queues a whole request that owns its memory.
    pub fn send_owned(
        &mut self,
        id: ConnectionId,
        call: Call,
        request: Bytes,
        now: u32,
        buffers: &mut BufferPool,
    ) {
        let len = request.len();
        self.connections[id as usize].queue_owned(call, request, now, buffers);
        self.retained += len;
        self.mark(id);
    }

    /// Queues bytes of a request that [`Backends::send`] (perhaps of nothing) completes in this turn.
    pub fn append(&mut self, id: ConnectionId, bytes: &[u8], buffers: &mut BufferPool) {
        self.connections[id as usize].append(bytes, buffers);
        self.retained += bytes.len();
    }

    /// The shell has something to do for this connection.
    #[inline]
    pub(super) fn mark(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id as usize];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
    }

    /// The connections of a server that requests may wait on.
    pub(super) fn queues(&self, pool: u16, server: u16) -> Vec<ConnectionId> {
        let known = self.server(pool, server);
        let mut queues = known.shared();
        queues.extend(&known.dedicated);
        queues
    }

    pub(super) fn server(&self, pool: u16, server: u16) -> &Server {
        &self.pools[usize::from(pool)].servers[usize::from(server)]
    }

    pub(super) fn server_mut(&mut self, pool: u16, server: u16) -> &mut Server {
        &mut self.pools[usize::from(pool)].servers[usize::from(server)]
    }

    pub(super) fn server_stats(&self, pool: u16, server: u16) -> &ServerStats {
        &self.stats.pools[usize::from(pool)].servers[usize::from(server)]
    }

    /// Connections for which the shell must start a task.
    pub fn take_opening(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.opening)
    }

    /// Connections with something to write; `spare` is an empty list to be filled next.
    pub fn take_dirty(&mut self, spare: Vec<ConnectionId>) -> Vec<ConnectionId> {
        std::mem::replace(&mut self.dirty, spare)
    }

    /// Connections whose socket and task must go; answer with [`Backends::remove`].
    pub fn take_dead(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.dead)
    }

    /// What the topology task should know.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Does no request wait for a reply?
    pub fn is_idle(&self) -> bool {
        self.connections
            .iter()
            .all(|(_, connection)| connection.fifo.is_empty())
    }

    /// Leaves the memory of queues that are empty now to the allocator.
    pub fn shrink(&mut self) {
        for (_, connection) in &mut self.connections {
            connection.shrink();
        }
    }

    /// Is there anything in the lists?
    pub fn has_work(&self) -> bool {
        !(self.dirty.is_empty()
            && self.opening.is_empty()
            && self.dead.is_empty()
            && self.events.is_empty())
    }

    /// How to open the connection, or why it cannot be opened now.
    pub fn plan(&self, id: ConnectionId) -> Result<Plan, Cause> {
        let connection = &self.connections[id as usize];
        let pool = &self.pools[usize::from(connection.pool)];
        let target = match &connection.endpoint {
            Endpoint::Tcp(address) => Target::Tcp(*address),
            Endpoint::Unix(path) => Target::Unix(path.clone()),
            Endpoint::Unresolved(_) => return Err(Cause::Unresolved),
            Endpoint::NoMaster(why) => return Err(Cause::NoMaster(why.clone())),
        };
        Ok(Plan {
            target,
            config: pool.config.clone(),
            kind: connection.kind,
            timeout: pool
                .config
                .timeout
                .unwrap_or(CONNECT_TIMEOUT)
                .min(CONNECT_TIMEOUT),
            silent: connection.is_dedicated(),
            who: pool.servers[usize::from(connection.server)].who.clone(),
            aside: connection.lane == ASIDE,
        })
    }

    /// The connection for the shell to write; clears its dirty mark.
    pub fn flush(
        &mut self,
        id: ConnectionId,
        mut write: impl FnMut(&[std::io::IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        let Some(connection) = self.connections.get_mut(id as usize) else {
            return Ok(());
        };
        connection.dirty = false;
        let mut result = Ok(());
        while connection.is_ready() && connection.unsent() > 0 && result.is_ok() {
            result = connection.write_to(&mut write).map(|_| ());
        }
        let stats = &self.stats.pools[usize::from(connection.pool)];
        connection.report(&stats.servers[usize::from(connection.server)]);
        result
    }
}

impl Pool {
    pub(super) fn new(pool: &topology::Pool) -> Pool {
        let servers = pool.config.servers.iter().zip(&pool.servers);
        let servers =
            servers.map(|(config, server)| Server::new(&pool.config, config, server.held));
        Pool {
            who: format!("pool {}", pool.config.name).into(),
            config: pool.config.clone(),
            servers: servers.collect(),
        }
    }
}

impl Server {
    pub(super) fn new(
        pool: &PoolConfig,
        server: &crate::config::ServerConfig,
        held: bool,
    ) -> Server {
        let address = server.address.to_string();
        let who = if server.named {
            format!("server {address} ({})", server.name)
        } else {
            format!("server {address}")
        };
        let lanes = || vec![None; pool.server_connections.get() as usize];
        Server {
            who: who.into(),
            lanes: [lanes(), lanes()],
            others: Vec::new(),
            dedicated: Vec::new(),
            idle: Vec::new(),
            messenger: None,
            gates: [Gate::new(), Gate::new()],
            blamed: false,
            hold: if held { Hold::Announced } else { Hold::No },
            last_symptom: None,
        }
    }

    /// The connections that take requests of all clients.
    pub(super) fn shared(&self) -> Vec<ConnectionId> {
        let lanes = self.lanes.iter().flatten().flatten();
        lanes.chain(&self.others).copied().collect()
    }

    pub(super) fn failure(&self, cause: Cause) -> Failure {
        Failure {
            who: self.who.clone(),
            cause,
        }
    }
}

/// Is the wrapping millisecond clock at or behind `at`, which is never set further ahead than 24 days?
pub(super) fn is_past(now: u32, at: u32) -> bool {
    now.wrapping_sub(at) < u32::MAX / 2
}

/// xorshift32: spreads the `random` distribution and the backoff; nothing secret depends on it.
#[inline]
pub(super) fn next_random(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}
