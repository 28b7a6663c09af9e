//! The parts at work: topology, workers, statistics, and the taking in of clients.

use std::future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::accept::{self, Admission};
use super::{Prepared, StartError};
use crate::admin::{Admin, Readiness, Sources};
use crate::config::Config;
use crate::log::CHANGE;
use crate::stats::{PoolNames, Stats};
use crate::topology::task::{self, TopologyHandle, watch_recovery};
use crate::worker::{Worker, WorkerOptions};

/// The first clients should find servers with addresses, but a slow name service must not keep pools
/// from starting that do not need it.
const RESOLUTION_PATIENCE: Duration = Duration::from_secs(2);

/// What runs between the start and the first signal to stop.
pub struct Running {
    accepting: JoinSet<()>,
    admission: Rc<Admission>,
    readiness: Readiness,
}

impl Running {
    /// Starts the topology, the workers, the statistics port and, last, the taking in of clients.
    ///
    /// # Errors
    /// If the system refuses a thread or to watch a socket.
    pub async fn start(prepared: Prepared) -> Result<Running, StartError> {
        let Prepared { config, admin, .. } = prepared;
        let stats = Stats::new(names(&config), prepared.workers.get());
        let mut topology = task::spawn(&config, Arc::clone(&stats.control));
        let readiness = Readiness::default();
        answer(admin, &topology, &stats, &readiness);
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
        let mut accepting = JoinSet::new();
        for ((pool, config), listener) in (0..).zip(&config.pools).zip(prepared.listeners) {
            let incoming = listener
                .register()
                .map_err(StartError::system("starting to listen"))?;
            let (config, admission) = (Arc::clone(config), Rc::clone(&admission));
            let (name, address) = (&config.name, &config.listen);
            tracing::info!(target: CHANGE, pool = name, "listening on {address}");
            accepting.spawn_local(accept::run(incoming, pool, config, admission));
        }
        readiness.set_started();
        Ok(Running {
            accepting,
            admission,
            readiness,
        })
    }

    /// Closes the listeners, lets the workers finish, and returns when they have.
    pub async fn drain(mut self) {
        self.readiness.set_draining();
        self.accepting.shutdown().await;
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
fn answer(admin: Admin, topology: &TopologyHandle, stats: &Stats, readiness: &Readiness) {
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
    tokio::task::spawn_local(async move {
        if let Err(error) = admin.serve(sources, future::pending()).await {
            tracing::error!("the statistics port is closed: {error}");
        }
    });
}

fn names(config: &Config) -> Vec<PoolNames> {
    let pools = config.pools.iter().enumerate();
    let names = pools.map(|(slot, pool)| {
        let servers: Vec<&str> = pool.servers.iter().map(|s| s.name.as_str()).collect();
        PoolNames::numbered(slot, &pool.name, &servers)
    });
    names.collect()
}
