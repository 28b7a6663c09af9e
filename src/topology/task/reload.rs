//! Another configuration for the topology task: looked up, taken in by all machines, published as one
//! snapshot.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{TopologyHandle, TopologyTask, now};
use crate::config::Config;
use crate::topology::{ServerId, Topology, Update, resolve};

/// Names and their addresses, or why they have none.
type Found = Vec<(Arc<str>, io::Result<Vec<SocketAddr>>)>;

/// Another configuration, merged from the one before.
pub(super) struct Reload {
    config: Arc<Config>,
    /// Of the names that are new.
    found: Found,
    done: oneshot::Sender<()>,
}

impl TopologyHandle {
    /// Goes on by `config`, which is merged from the one before, and returns when the snapshot by it is
    /// published. New host names are looked up before, for `patience` at most, so that their servers can
    /// be used at once.
    pub async fn reconfigure(&self, config: Arc<Config>, patience: Duration) {
        let found = look_up(self.new_names(&config), patience).await;
        let (done, applied) = oneshot::channel();
        let reload = Reload {
            config,
            found,
            done,
        };
        if self.reloads.send(reload).is_ok() {
            // A task that ends instead has nobody to publish to.
            let _ = applied.await;
        }
    }

    fn new_names(&self, config: &Config) -> HashSet<Arc<str>> {
        let names = |config: &Config| -> HashSet<Arc<str>> {
            let names = resolve::names(config);
            names.map(|(_, host, _)| Arc::from(host)).collect()
        };
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let pools = snapshot.pools.iter().map(|pool| Arc::clone(&pool.config));
        let known = names(&Config {
            pools: pools.collect(),
        });
        names(config).difference(&known).cloned().collect()
    }
}

/// What takes longer than `patience` is left out; the task looks it up once more.
async fn look_up(names: HashSet<Arc<str>>, patience: Duration) -> Found {
    let mut lookups = JoinSet::new();
    for host in names {
        lookups.spawn(async move {
            let answer = lookup_host((host.as_ref(), 0)).await;
            let answer = answer.map(Iterator::collect);
            (host, answer)
        });
    }
    let mut found = Vec::new();
    let all = async {
        while let Some(Ok(answer)) = lookups.join_next().await {
            found.push(answer);
        }
    };
    let _ = timeout(patience, all).await;
    found
}

impl TopologyTask {
    /// The machines go by another configuration; all that follows is one publication.
    pub(super) fn reconfigure(&mut self, reload: Reload) {
        let Reload {
            config,
            found,
            done,
        } = reload;
        self.ejection.configure(&self.config, &config);
        self.resolver.configure(&config, now());
        self.learning.configure(&config, now());
        for (host, answer) in found {
            let answer = answer.map_err(|error| error.to_string());
            self.resolver.handle_answer(&host, answer, now());
        }
        let (updates, probes) = self.take_actions();
        let before = Arc::clone(self.publisher.current());
        if let Some(topology) = self.publisher.configure(&config, updates) {
            self.record_returns(&before, &topology);
            self.tell(topology);
        }
        for id in probes {
            self.start_probe(id);
        }
        for pool in self.watchers.configure(&config, self.publisher.current()) {
            let stats = &self.stats.pools[usize::from(pool)];
            stats.sentinels_known.set(0);
            stats.sentinels_up.set(0);
        }
        self.config = Config::clone(&config);
        let _ = done.send(());
    }

    /// Counts and logs the servers that a configuration brought back to the ring.
    fn record_returns(&self, before: &Topology, after: &Topology) {
        for (pool, (old, new)) in (0u16..).zip(before.pools.iter().zip(&after.pools)) {
            for (server, (old, new)) in (0u16..).zip(old.servers.iter().zip(&new.servers)) {
                let id = ServerId { pool, server };
                if old.ejected && !new.ejected && !self.configured(id).1.removed {
                    self.record(&Update::Return(id));
                }
            }
        }
    }
}
