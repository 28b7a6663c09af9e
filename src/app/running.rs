//! The parts at work: topology, workers, statistics, and the taking in of clients.

use std::collections::BTreeMap;
use std::future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::accept::{self, Admission};
use super::listener::{Incoming, Listener};
use super::{Prepared, StartError, resources};
use crate::config::{Config, Current, PoolConfig};
use crate::stats::{PoolNames, ServerName, Stats, WorkerStats};
use crate::topology::task::{self, TopologyHandle};
use crate::worker::{Worker, WorkerOptions};

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
}

/// The taking in of one pool's clients.
struct Listening {
    incoming: Rc<Incoming>,
    /// With which the loop runs.
    config: Arc<PoolConfig>,
    task: AbortHandle,
}

/// Where a pool of another configuration listens.
pub struct Place {
    pool: u16,
    incoming: Rc<Incoming>,
}

impl Running {
    /// Starts the topology, the workers, the statistics port and, last, the taking in of clients.
    ///
    /// # Errors
    /// If the system refuses a thread or to watch a socket.
    pub async fn start(prepared: Prepared, current: Current) -> Result<Running, StartError> {
        let Prepared { config, admin, .. } = prepared;
        let stats = Stats::new(names(&config), prepared.workers.get());
        let mut topology = task::spawn(&config, Arc::clone(&stats.control));
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
                farewell: prepared.farewell,
            })
        });
        let workers: io::Result<Vec<Worker>> = workers.collect();
        let workers = workers.map_err(StartError::system("starting a worker"))?;
        let pools = config.pools.len() as u16;
        let admission = Admission::new(workers, stats.clone(), prepared.client_limit, pools);
        let pages = topology.pages(stats.clone(), current);
        let page = Box::new(move || {
            let mut text = serde_json::to_string(&pages()).expect("keys are text");
            text.push('\n');
            text
        });
        tokio::task::spawn_local(async move {
            if let Err(error) = admin.serve(stats, page, future::pending()).await {
                tracing::error!("the statistics port is closed: {error}");
            }
        });
        let mut running = Running {
            topology,
            accepting: JoinSet::new(),
            listening: BTreeMap::new(),
            admission: Rc::new(admission),
        };
        for ((pool, config), listener) in config.live().into_iter().zip(prepared.listeners) {
            let incoming = listener
                .register()
                .map_err(StartError::system("starting to listen"))?;
            tell_address(config);
            running.listen(pool, Rc::new(incoming), config);
        }
        Ok(running)
    }

    pub fn stats(&self) -> &Stats {
        &self.admission.stats
    }

    /// Takes in the clients of a pool, and no longer those of another that listened there.
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
            task: self.accepting.spawn_local(run),
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
            match other {
                Some(same) if Arc::ptr_eq(&same.config, wanted) => {
                    self.listening.insert(pool, same);
                    continue;
                }
                Some(other) => other.task.abort(),
                None => {}
            }
            if let Err(error) = incoming.set_up_as(wanted) {
                let name = &wanted.name;
                tracing::warn!("pool '{name}': its listening socket stays as it is: {error}");
            }
            self.listen(pool, incoming, wanted);
        }
        for removed in before.into_values() {
            removed.task.abort();
        }
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
            tracing::warn!("a worker has not followed the new configuration yet");
        }
    }

    /// Closes the listeners, lets the workers finish, and returns when they have.
    pub async fn drain(mut self) {
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
    let (name, address) = (&pool.name, &pool.listen);
    tracing::info!("pool '{name}': listening on {address}");
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
