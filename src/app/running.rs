//! The parts at work: topology, workers, statistics, and the taking in of clients.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::accept::{self, Admission};
use super::handover::SharedSocket;
use super::listener::{Incoming, Listener};
use super::{Prepared, StartError, resources};
use crate::admin::{Admin, Readiness, Sources};
use crate::backend::Scripts;
use crate::config::{Config, Current, PoolConfig};
use crate::log::CHANGE;
use crate::stats::{PoolNames, ServerName, Stats, WorkerStats, latency};
use crate::topology::task::{self, TopologyHandle, watch_recovery};
use crate::worker::{Mailbox, Worker, WorkerOptions};

/// The first clients should find servers with addresses, but a slow name service must not keep pools
/// from starting that do not need it.
const RESOLUTION_PATIENCE: Duration = Duration::from_secs(2);

/// How long the workers, which may be busy, are waited for after a reload.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(5);
const FOLLOW_PAUSE: Duration = Duration::from_millis(1);

/// What runs between the start and the first signal to stop.
pub struct Running {
    topology: TopologyHandle,
    accepting: JoinSet<()>,
    /// By the slot of the pool.
    listening: BTreeMap<u16, Listening>,
    admission: Rc<Admission>,
    readiness: Readiness,
    /// A second handle of the statistics port, to pass on.
    statistics: OwnedFd,
    /// Dropped: the statistics port is closed.
    statistics_open: Option<oneshot::Sender<()>>,
}

/// Where the clients of one pool come in.
struct Listening {
    incoming: Rc<Incoming>,
    /// With which they are taken in.
    config: Arc<PoolConfig>,
    /// The loop that takes them in; none before [`Running::open`].
    task: Option<AbortHandle>,
}

/// Where a pool of another configuration listens.
pub struct Place {
    pool: u16,
    incoming: Rc<Incoming>,
}

impl Listening {
    /// Clients go on waiting, or to another loop.
    fn stop(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl Running {
    /// Starts the topology, the workers and the statistics port. Clients wait until [`Running::open`].
    ///
    /// # Errors
    /// If the system refuses a thread or to watch a socket.
    pub async fn start(
        prepared: Prepared,
        current: Current,
        dropped_lines: Arc<AtomicU64>,
    ) -> Result<Running, StartError> {
        let Prepared { config, admin, .. } = prepared;
        let mut stats = Stats::new(names(&config), prepared.workers.get());
        stats.dropped_lines = dropped_lines;
        let memory = prepared.memory_per_worker * prepared.workers.get();
        stats.control.memory_limit_bytes.set(memory as u64);
        (stats.control.open_files_limit).set(resources::open_files());
        tokio::task::spawn_local(keep_latencies(stats.clone()));
        let mut topology = task::spawn(&config, Arc::clone(&stats.control));
        let readiness = Readiness::default();
        let system = StartError::system("starting to listen");
        let statistics = admin.share().map_err(&system)?;
        let statistics_open = answer(admin, &topology, &stats, &readiness, current);
        if !topology.first_resolution(RESOLUTION_PATIENCE).await {
            tracing::warn!("not all servers' names are resolved yet, starting without them");
        }
        let scripts = Arc::<Scripts>::default();
        let all = stats.workers.clone();
        let mailboxes = Mailbox::for_all(stats.workers.len());
        let workers = stats.workers.iter().zip(mailboxes).map(|(stats, mailbox)| {
            Worker::spawn(WorkerOptions {
                mailbox,
                topology: topology.snapshots.clone(),
                events: topology.events.clone(),
                stats: Arc::clone(stats),
                memory_limit: prepared.memory_per_worker,
                scripts: Arc::clone(&scripts),
                all_stats: all.clone(),
                farewell: prepared.farewell,
            })
        });
        let workers: io::Result<Vec<Worker>> = workers.collect();
        let workers = workers.map_err(StartError::system("starting a worker"))?;
        let pools = config.pools.len() as u16;
        let admission = Admission::new(workers, stats, prepared.client_limit, pools);
        let mut listening = BTreeMap::new();
        for ((pool, config), listener) in config.live().into_iter().zip(prepared.listeners) {
            let closed = Listening {
                incoming: Rc::new(listener.register().map_err(&system)?),
                config: Arc::clone(config),
                task: None,
            };
            listening.insert(pool, closed);
        }
        Ok(Running {
            topology,
            accepting: JoinSet::new(),
            listening,
            admission: Rc::new(admission),
            readiness,
            statistics,
            statistics_open: Some(statistics_open),
        })
    }

    pub fn stats(&self) -> &Stats {
        &self.admission.stats
    }

    /// Takes clients in from now on. What a process before this one has let go is ours.
    pub fn open(&mut self) {
        for (pool, closed) in std::mem::take(&mut self.listening) {
            tell_address(&closed.config);
            closed.incoming.claim_path();
            self.listen(pool, closed.incoming, &closed.config);
        }
        self.readiness.set_started();
    }

    /// Takes in the clients of a pool.
    fn listen(&mut self, pool: u16, incoming: Rc<Incoming>, config: &Arc<PoolConfig>) {
        let run = accept::run(
            Rc::clone(&incoming),
            pool,
            Arc::clone(config),
            Rc::clone(&self.admission),
        );
        let listening = Listening {
            incoming,
            config: Arc::clone(config),
            task: Some(self.accepting.spawn_local(run)),
        };
        self.listening.insert(pool, listening);
    }

    /// Sockets for all pools of another configuration. A socket that its pool gives up goes to the pool
    /// that wants its address, so that a pool can be renamed.
    ///
    /// # Errors
    /// A line for each socket that cannot be had. Nothing is changed then.
    pub fn bind(&self, config: &Config) -> Result<Vec<Place>, Vec<String>> {
        let live = config.live();
        let keeps = |pool: u16, here: &Listening| {
            let after = live.iter().find(|(slot, _)| *slot == pool);
            after.is_some_and(|(_, after)| here.config.listen.is_same_place(&after.listen))
        };
        let mut places = Vec::new();
        let mut errors = Vec::new();
        for (pool, wanted) in &live {
            let found = self.listening.iter().find(|(slot, here)| {
                here.config.listen.is_same_place(&wanted.listen)
                    && (*slot == pool || !keeps(**slot, here))
            });
            let incoming = match found {
                Some((_, here)) => Ok(Rc::clone(&here.incoming)),
                None => Listener::bind(wanted)
                    .map_err(|error| error.to_string())
                    .and_then(|listener| listener.register().map_err(|error| error.to_string()))
                    .map(Rc::new),
            };
            match incoming {
                Ok(incoming) => places.push(Place {
                    pool: *pool,
                    incoming,
                }),
                Err(error) => errors.push(error),
            }
        }
        match errors.is_empty() {
            true => Ok(places),
            false => Err(errors),
        }
    }

    /// Goes on by `config`, merged from the one before, at the `places` bound for it.
    pub async fn reconfigure(&mut self, config: &Arc<Config>, places: Vec<Place>) {
        let admission = &self.admission;
        admission.stats.list(names(config));
        admission.grow(config.pools.len() as u16);
        // Whoever connects to a new pool waits for the rest of this, and is taken in.
        let bound = places.iter().map(|place| place.pool);
        let new = bound.filter(|pool| !self.listening.contains_key(pool));
        let _open: Vec<_> = new.map(|pool| admission.count_listening(pool)).collect();
        let workers = admission.stats.workers.len();
        admission
            .client_limit
            .set(resources::raise_open_files(config, workers));
        let patience = RESOLUTION_PATIENCE;
        self.topology
            .reconfigure(Arc::clone(config), patience)
            .await;
        let mut before = std::mem::take(&mut self.listening);
        for Place { pool, incoming } in places {
            let wanted = &config.pools[usize::from(pool)];
            let other = before.remove(&pool);
            let is_same = |other: &Listening| other.config.listen.is_same_place(&wanted.listen);
            if !other.as_ref().is_some_and(is_same) {
                tell_address(wanted);
            }
            let other = match other {
                Some(same) if Arc::ptr_eq(&same.config, wanted) => {
                    self.listening.insert(pool, same);
                    continue;
                }
                other => other,
            };
            if let Err(error) = incoming.set_up_as(wanted) {
                let pool = &wanted.name;
                tracing::warn!(target: CHANGE, pool, "its listening socket stays as it is: {error}");
            }
            self.listen(pool, incoming, wanted);
            // Only now, so that there is no moment in which the pool does not listen.
            other.into_iter().for_each(Listening::stop);
        }
        before.into_values().for_each(Listening::stop);
        // Loops that have ended are of no interest.
        while self.accepting.try_join_next().is_some() {}
        self.wait_for_workers().await;
    }

    /// Until every worker goes by the snapshot of now, so that who is told of a reload finds it done.
    async fn wait_for_workers(&self) {
        let stats = self.stats();
        let version = self.topology.snapshots.borrow().version;
        let follows = |worker: &Arc<WorkerStats>| worker.topology_version.get() >= version;
        let all = async {
            while !stats.workers.iter().all(follows) {
                tokio::time::sleep(FOLLOW_PAUSE).await;
            }
        };
        if tokio::time::timeout(FOLLOW_PATIENCE, all).await.is_err() {
            tracing::warn!(target: CHANGE, "a worker has not followed the new configuration yet");
        }
    }

    /// All listening sockets, for a successor.
    ///
    /// # Errors
    /// If there are not enough file descriptors.
    pub fn share(&self) -> io::Result<Vec<SharedSocket>> {
        let pools = self.listening.values().map(|here| here.incoming.share());
        let statistics = self.statistics.try_clone().map(|socket| SharedSocket {
            socket,
            owns_path: false,
        });
        pools.chain([statistics]).collect()
    }

    /// From now on another process is responsible for the paths of the listening sockets.
    pub fn leave_paths(&self) {
        for here in self.listening.values() {
            here.incoming.leave_path();
        }
    }

    /// Stops to accept, in favour of a process that accepts from the same sockets: who waits in their
    /// queues waits for that one. It is to be left the paths too.
    pub async fn pass_on(&mut self) {
        self.readiness.set_draining();
        self.accepting.shutdown().await;
        self.listening.clear();
        self.statistics_open = None;
    }

    /// Stops to accept; takes in first who waits in the queues. The statistics port stays.
    pub async fn close(&mut self) {
        self.readiness.set_draining();
        self.accepting.shutdown().await;
        for (pool, here) in std::mem::take(&mut self.listening) {
            let incoming = Rc::into_inner(here.incoming);
            let incoming = incoming.expect("the accept loops had the other references");
            let config = &*here.config;
            // One more than `backlog` can wait.
            let waiting = config.backlog as usize + 1;
            let closed = incoming.close(waiting, |client, peer| {
                if let Err(reason) = self.admission.admit(pool, config, client, peer) {
                    tracing::warn!(pool = config.name, client = %peer, "client refused, {reason}");
                }
            });
            if let Err(error) = closed {
                tracing::error!(
                    pool = config.name,
                    "accepting the last clients failed: {error}"
                );
            }
        }
    }

    /// Clients that are connected.
    pub fn clients(&self) -> usize {
        self.admission.clients()
    }

    /// Closes clients that have had nothing to do for `silence`, or up to twice that.
    pub fn close_idle(&self, silence: Duration) {
        for worker in &self.admission.workers {
            worker.close_idle(silence);
        }
    }

    /// Closes each client in the first moment in which it is owed nothing.
    pub fn see_off(&self) {
        for worker in &self.admission.workers {
            worker.see_off();
        }
    }

    /// Closes the listeners, lets the workers finish, and returns when they have.
    pub async fn drain(mut self) {
        self.readiness.set_draining();
        self.accepting.shutdown().await;
        self.listening.clear();
        let admission = Rc::into_inner(self.admission);
        let workers = admission.expect("the accept loops had the other references");
        for worker in &workers.workers {
            worker.drain();
        }
        for worker in workers.workers {
            worker.stopped().await;
        }
    }
}

fn tell_address(pool: &PoolConfig) {
    let (pool, address) = (&pool.name, &pool.listen);
    tracing::info!(target: CHANGE, pool, "listening on {address}");
}

/// Serves the statistics port from now on, while the rest still starts: who asks is told so.
/// Until what it returns is dropped.
fn answer(
    admin: Admin,
    topology: &TopologyHandle,
    stats: &Stats,
    readiness: &Readiness,
    current: Current,
) -> oneshot::Sender<()> {
    let snapshots = topology.snapshots.clone();
    tokio::task::spawn_local(watch_recovery(snapshots.clone(), stats.clone()));
    let pages = topology.pages(stats.clone(), current.clone());
    let sources = Sources {
        stats: stats.clone(),
        topology: snapshots,
        config: current,
        page: Box::new(move || {
            let mut text = serde_json::to_string(&pages()).expect("keys are text");
            text.push('\n');
            text
        }),
        readiness: readiness.clone(),
    };
    let (open, closed) = oneshot::channel::<()>();
    tokio::task::spawn_local(async move {
        let closed = async { drop(closed.await) };
        if let Err(error) = admin.serve(sources, closed).await {
            tracing::error!("the statistics port is closed: {error}");
        }
    });
    open
}

/// Lets the last minute of the latencies go on.
async fn keep_latencies(stats: Stats) {
    let mut periods = tokio::time::interval(latency::PERIOD);
    periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        periods.tick().await;
        stats.keep_latencies();
    }
}

/// What is configured, in the order of the file.
fn names(config: &Config) -> Vec<PoolNames> {
    let pools = config.live().into_iter().map(|(slot, pool)| PoolNames {
        slot: usize::from(slot),
        name: pool.name.clone(),
        servers: pool
            .live()
            .into_iter()
            .map(|(slot, server)| ServerName {
                slot: usize::from(slot),
                name: server.name.clone(),
            })
            .collect(),
    });
    pools.collect()
}
