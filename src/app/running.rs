//! The parts at work: topology, workers, statistics, and the taking in of clients.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::accept::{self, Admission};
use super::handover::SharedSocket;
use super::listener::Incoming;
use super::{Prepared, StartError, resources};
use crate::admin::{Admin, Readiness, Sources};
use crate::config::{Config, PoolConfig};
use crate::log::CHANGE;
use crate::stats::{PoolNames, Stats, latency};
use crate::topology::task::{self, TopologyHandle, watch_recovery};
use crate::worker::{Worker, WorkerOptions};

/// The first clients should find servers with addresses, but a slow name service must not keep pools
/// from starting that do not need it.
const RESOLUTION_PATIENCE: Duration = Duration::from_secs(2);

/// What runs between the start and the first signal to stop.
pub struct Running {
    doors: Vec<Door>,
    accepting: JoinSet<()>,
    admission: Rc<Admission>,
    readiness: Readiness,
    /// A second handle of the statistics port, to pass on.
    statistics: OwnedFd,
    /// Dropped: the statistics port is closed.
    statistics_open: Option<oneshot::Sender<()>>,
}

/// Where the clients of one pool come in.
struct Door {
    incoming: Rc<Incoming>,
    pool: u16,
    config: Arc<PoolConfig>,
}

impl Running {
    /// Starts the topology, the workers and the statistics port. Clients wait until [`Running::open`].
    ///
    /// # Errors
    /// If the system refuses a thread or to watch a socket.
    pub async fn start(prepared: Prepared) -> Result<Running, StartError> {
        let Prepared { config, admin, .. } = prepared;
        let stats = Stats::new(names(&config), prepared.workers.get());
        let memory = prepared.memory_per_worker * prepared.workers.get();
        stats.control.memory_limit_bytes.set(memory as u64);
        (stats.control.open_files_limit).set(resources::open_files());
        tokio::task::spawn_local(keep_latencies(stats.clone()));
        let mut topology = task::spawn(&config, Arc::clone(&stats.control));
        let readiness = Readiness::default();
        let system = StartError::system("starting to listen");
        let statistics = admin.share().map_err(&system)?;
        let statistics_open = answer(admin, &topology, &stats, &readiness);
        if !topology.first_resolution(RESOLUTION_PATIENCE).await {
            tracing::warn!("not all servers' names are resolved yet, starting without them");
        }
        let workers = stats.workers.iter().enumerate().map(|(index, stats)| {
            Worker::spawn(WorkerOptions {
                index,
                topology: topology.snapshots.clone(),
                events: topology.events.clone(),
                stats: Arc::clone(stats),
                memory_limit: prepared.memory_per_worker,
            })
        });
        let workers: io::Result<Vec<Worker>> = workers.collect();
        let admission = Rc::new(Admission {
            workers: workers.map_err(StartError::system("starting a worker"))?,
            stats: stats.clone(),
            client_limit: prepared.client_limit,
            pools: config.pools.len() as u16,
        });
        let mut doors = Vec::new();
        for ((pool, config), listener) in (0..).zip(&config.pools).zip(prepared.listeners) {
            doors.push(Door {
                incoming: Rc::new(listener.register().map_err(&system)?),
                pool,
                config: Arc::clone(config),
            });
        }
        Ok(Running {
            doors,
            accepting: JoinSet::new(),
            admission,
            readiness,
            statistics,
            statistics_open: Some(statistics_open),
        })
    }

    /// Takes clients in from now on. What a process before this one has let go is ours.
    pub fn open(&mut self) {
        for door in &self.doors {
            let (name, address) = (&door.config.name, &door.config.listen);
            tracing::info!(target: CHANGE, pool = name, "listening on {address}");
            door.incoming.claim_path();
            self.accepting.spawn_local(accept::run(
                Rc::clone(&door.incoming),
                door.pool,
                Arc::clone(&door.config),
                Rc::clone(&self.admission),
            ));
        }
        self.readiness.set_started();
    }

    /// All listening sockets, for a successor.
    ///
    /// # Errors
    /// If there are not enough file descriptors.
    pub fn share(&self) -> io::Result<Vec<SharedSocket>> {
        let pools = self.doors.iter().map(|door| door.incoming.share());
        let statistics = self.statistics.try_clone().map(|socket| SharedSocket {
            socket,
            owns_path: false,
        });
        pools.chain([statistics]).collect()
    }

    /// From now on another process is responsible for the paths of the listening sockets.
    pub fn leave_paths(&self) {
        for door in &self.doors {
            door.incoming.leave_path();
        }
    }

    /// Stops to accept, in favour of a process that accepts from the same sockets: who waits in their
    /// queues waits for that one. It is to be left the paths too.
    pub async fn pass_on(&mut self) {
        self.readiness.set_draining();
        self.accepting.shutdown().await;
        self.doors.clear();
        self.statistics_open = None;
    }

    /// Stops to accept; takes in first who waits in the queues. The statistics port stays.
    pub async fn close(&mut self) {
        self.readiness.set_draining();
        self.accepting.shutdown().await;
        for door in self.doors.drain(..) {
            let incoming = Rc::into_inner(door.incoming);
            let incoming = incoming.expect("the accept loops had the other references");
            let (pool, config) = (door.pool, &*door.config);
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
        self.doors.clear();
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

/// Serves the statistics port from now on, while the rest still starts: who asks is told so.
/// Until what it returns is dropped.
fn answer(
    admin: Admin,
    topology: &TopologyHandle,
    stats: &Stats,
    readiness: &Readiness,
) -> oneshot::Sender<()> {
    let snapshots = topology.snapshots.clone();
    tokio::task::spawn_local(watch_recovery(snapshots.clone(), stats.clone()));
    let pages = topology.pages(stats.clone());
    let sources = Sources {
        stats: stats.clone(),
        topology: snapshots,
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

fn names(config: &Config) -> Vec<PoolNames> {
    let pools = config.pools.iter().enumerate();
    let names = pools.map(|(slot, pool)| {
        let servers: Vec<&str> = pool.servers.iter().map(|s| s.name.as_str()).collect();
        PoolNames::numbered(slot, &pool.name, &servers)
    });
    names.collect()
}
