//! Finds out when a server that could not be reached can be again, though no request asks for it.
//!
//! Workers learn about servers from requests only. An instance that tells its load balancer that it is not
//! ready gets none, and would never learn that it is ready again. So a server that failed and that nobody
//! tries any more is probed. What a probe finds changes no route and opens nothing; it only disproves the
//! workers' failures in the statistics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::super::{Endpoint, ServerId, Topology};
use super::probe;
use crate::stats::Stats;

/// Between two probes of a server. The first comes when nobody has tried for this long, or up to twice that.
const PERIOD: Duration = Duration::from_secs(1);

/// Probes servers that fail until they answer; ends with the task that publishes `snapshots`. `stats`:
/// of the same configuration.
pub async fn watch_recovery(snapshots: watch::Receiver<Arc<Topology>>, stats: Stats) {
    let mut probes = JoinSet::new();
    let mut running: BTreeMap<ServerId, Id> = BTreeMap::new();
    let mut before: BTreeMap<ServerId, u64> = BTreeMap::new();
    let mut pace = tokio::time::interval(PERIOD);
    while snapshots.has_changed().is_ok() {
        tokio::select! {
            _ = pace.tick() => {
                let topology = Arc::clone(&snapshots.borrow());
                let now = failing(&topology, &stats);
                for (&id, &failures) in now.iter().filter(|(id, n)| before.get(*id) == Some(*n)) {
                    running.entry(id).or_insert_with(|| {
                        let topology = Arc::clone(&topology);
                        let probe = probe_once(topology, id, failures, stats.clone());
                        probes.spawn(probe).id()
                    });
                }
                before = now;
            }
            Some(ended) = probes.join_next_with_id() => {
                let ended = ended.map_or_else(|error| error.id(), |(ended, ())| ended);
                running.retain(|_, probe| *probe != ended);
            }
        }
    }
}

/// The servers to which a probe may go, with their failures so far. Ejected ones are probed by who ejected
/// them.
fn failing(topology: &Topology, stats: &Stats) -> BTreeMap<ServerId, u64> {
    let mut failing = BTreeMap::new();
    for pool in stats.names().iter() {
        for server in &pool.servers {
            // There are as many slots as a pool's and a server's position in a snapshot can have.
            let id = ServerId {
                pool: pool.slot as u16,
                server: server.slot as u16,
            };
            let Some(state) = topology.server(id) else {
                continue;
            };
            let somewhere = matches!(state.endpoint, Endpoint::Tcp(_) | Endpoint::Unix(_));
            if somewhere && !state.ejected && stats.is_failing(pool.slot, server.slot) {
                failing.insert(id, stats.connect_failures(pool.slot, server.slot));
            }
        }
    }
    failing
}

/// `failures`: those that a success disproves. One while the probe is under way is newer than what it finds.
async fn probe_once(topology: Arc<Topology>, id: ServerId, failures: u64, stats: Stats) {
    let (pool, server) = (usize::from(id.pool), usize::from(id.server));
    let config = &topology.pools[pool].config;
    match probe(&topology.pools[pool].servers[server].endpoint, config).await {
        Ok(()) => stats.control.pools[pool].servers[server]
            .disproved
            .set(failures),
        Err(error) => {
            let server = &config.servers[server].name;
            tracing::debug!(pool = config.name, server, %error, "server is still out of reach");
        }
    }
}
