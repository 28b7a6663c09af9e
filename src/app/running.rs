//! The parts at work: topology, workers, statistics, and the taking in of clients.

use std::future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::accept::{self, Admission};
use super::{Prepared, StartError, resources};
use crate::config::Config;
use crate::stats::{PoolNames, Stats, latency};
use crate::topology;
use crate::worker::{Worker, WorkerOptions};

/// The first clients should find servers with addresses, but a slow name service must not keep pools
/// from starting that do not need it.
const RESOLUTION_PATIENCE: Duration = Duration::from_secs(2);

/// What runs between the start and the first signal to stop.
pub struct Running {
    accepting: JoinSet<()>,
    admission: Rc<Admission>,
}

impl Running {
    /// Starts the topology, the workers, the statistics port and, last, the taking in of clients.
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
        let mut topology = topology::task::spawn(&config, Arc::clone(&stats.control));
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
        let pages = topology.pages(stats.clone());
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
        let mut accepting = JoinSet::new();
        for ((pool, config), listener) in (0..).zip(&config.pools).zip(prepared.listeners) {
            let incoming = listener
                .register()
                .map_err(StartError::system("starting to listen"))?;
            let (config, admission) = (Arc::clone(config), Rc::clone(&admission));
            let (name, address) = (&config.name, &config.listen);
            tracing::info!("pool '{name}': listening on {address}");
            accepting.spawn_local(accept::run(incoming, pool, config, admission));
        }
        Ok(Running {
            accepting,
            admission,
        })
    }

    /// Closes the listeners, lets the workers finish, and returns when they have.
    pub async fn drain(mut self) {
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
