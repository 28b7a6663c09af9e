//! The running watchers: one for every distinct set of sentinels. A new configuration ends those it has no
//! use for and starts those it lacks; one of which nothing changed that it goes by keeps its links and all it
//! knows.
//!
//! A watcher that takes the place of another begins at the address that serves now instead of that in the
//! file, and its servers go on there until it knows better.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::super::{Commit, HostPort, MasterRef, ShardSpec, Symptom};
use super::{Decision, Driver, Input};
use crate::config::{self, Address, Config, SentinelConfig};
use crate::topology::page::Watched;
use crate::topology::{Endpoint, ServerId, Topology};

/// Tells a watcher from those before it: what one decided that is no more is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatcherId(u64);

/// What each watcher says of its sentinels and servers.
pub(crate) type Told = Vec<watch::Receiver<Arc<Watched>>>;

pub(crate) struct Watchers {
    running: Vec<Running>,
    by_server: HashMap<ServerId, mpsc::UnboundedSender<Input>>,
    decisions: mpsc::UnboundedSender<(WatcherId, Decision)>,
    /// Aborted with us.
    jobs: JoinSet<()>,
    started: u64,
    told: watch::Sender<Told>,
}

struct Running {
    id: WatcherId,
    setup: Setup,
    inputs: mpsc::UnboundedSender<Input>,
    told: watch::Receiver<Arc<Watched>>,
    task: AbortHandle,
}

/// All that a watcher goes by.
#[derive(Clone, Debug, PartialEq)]
struct Setup {
    /// Of the first pool; see [`is_same_set`].
    sentinel: SentinelConfig,
    shards: Vec<ShardSetup>,
}

#[derive(Clone, Debug, PartialEq)]
struct ShardSetup {
    server: ServerId,
    master: MasterRef,
    commit: config::Commit,
    failover_hold: Duration,
}

impl Watchers {
    /// None yet; [`Watchers::configure`] starts them.
    pub fn new(decisions: mpsc::UnboundedSender<(WatcherId, Decision)>) -> Watchers {
        Watchers {
            running: Vec::new(),
            by_server: HashMap::new(),
            decisions,
            jobs: JoinSet::new(),
            started: 0,
            told: watch::Sender::new(Vec::new()),
        }
    }

    pub fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Are the watcher's decisions (still) of interest?
    pub fn is_running(&self, id: WatcherId) -> bool {
        self.running.iter().any(|running| running.id == id)
    }

    /// Tells the watcher of a server what requests met there.
    pub fn report(&self, id: ServerId, symptom: Symptom) {
        if let Some(watcher) = self.by_server.get(&id) {
            // A watcher ends with us only.
            let _ = watcher.send(Input::Symptom(id, symptom));
        }
    }

    /// Watches what `config` says; `topology` has where its servers are. Answers the pools that are watched
    /// no more.
    pub fn configure(&mut self, config: &Config, topology: &Topology) -> Vec<u16> {
        let pools_before = self.pools();
        let mut before = std::mem::take(&mut self.running);
        for setup in setups(config) {
            let same = before.iter().position(|running| {
                is_same_set(&running.setup.sentinel, &setup.sentinel)
                    && running.setup.shards == setup.shards
            });
            let running = match same {
                Some(index) => {
                    let running = before.swap_remove(index);
                    let _ = running.inputs.send(Input::Pools(config.pools.clone()));
                    running
                }
                None => self.start(setup, config, topology),
            };
            self.running.push(running);
        }
        for running in before {
            running.task.abort();
        }
        let servers = self.running.iter().flat_map(|running| {
            let shards = running.setup.shards.iter();
            shards.map(|shard| (shard.server, running.inputs.clone()))
        });
        self.by_server = servers.collect();
        let told = self.running.iter().map(|running| running.told.clone());
        self.told.send_replace(told.collect());
        // Jobs that have ended are of no interest.
        while self.jobs.try_join_next().is_some() {}
        let pools = self.pools();
        pools_before.difference(&pools).copied().collect()
    }

    fn pools(&self) -> BTreeSet<u16> {
        let shards = self.running.iter().flat_map(|r| r.setup.shards.iter());
        shards.map(|shard| shard.server.pool).collect()
    }

    fn start(&mut self, setup: Setup, config: &Config, topology: &Topology) -> Running {
        self.started += 1;
        let id = WatcherId(self.started);
        let shards = setup.shards.iter();
        let shards = shards.map(|shard| (shard.server, shard.spec(config, topology)));
        let driver = Driver::new(
            config,
            &setup.sentinel,
            shards.collect(),
            id,
            self.decisions.clone(),
        );
        let (inputs, receiver) = mpsc::unbounded_channel();
        Running {
            id,
            setup,
            inputs,
            told: driver.told.subscribe(),
            task: self.jobs.spawn(driver.run(receiver)),
        }
    }
}

/// What there is to watch.
fn setups(config: &Config) -> Vec<Setup> {
    let mut setups: Vec<Setup> = Vec::new();
    for (pool, pool_config) in (0u16..).zip(&config.pools) {
        let Some(sentinel) = pool_config
            .sentinel
            .as_ref()
            .filter(|_| !pool_config.removed)
        else {
            continue;
        };
        let servers = (0u16..).zip(&pool_config.servers);
        let live = servers.filter(|(_, server)| !server.removed);
        let shards = live.map(|(server, config)| ShardSetup {
            server: ServerId { pool, server },
            master: match config.master_name() {
                Some(name) => MasterRef::Named(name.to_string()),
                None => MasterRef::ByAddress(configured(&config.address)),
            },
            commit: sentinel.commit,
            failover_hold: sentinel.failover_hold,
        });
        match setups
            .iter_mut()
            .find(|known| is_same_set(&known.sentinel, sentinel))
        {
            Some(known) => known.shards.extend(shards),
            None => setups.push(Setup {
                sentinel: sentinel.clone(),
                shards: shards.collect(),
            }),
        }
    }
    setups
}

/// May pools share one watcher? All that concerns the sentinels must be the same.
fn is_same_set(a: &SentinelConfig, b: &SentinelConfig) -> bool {
    let aspect = |s: &SentinelConfig| {
        let mut sentinels = s.sentinels.clone();
        sentinels.sort();
        let waits = (s.poll, s.connect_timeout, s.command_timeout, s.startup_wait);
        (sentinels, s.auth.clone(), s.nat.clone(), waits)
    };
    aspect(a) == aspect(b)
}

fn configured(address: &Address) -> HostPort {
    match address {
        Address::Tcp { host, port } => HostPort::new(host.clone(), *port),
        Address::Unix(path) => HostPort::new(path.display().to_string(), 0),
    }
}

impl ShardSetup {
    fn spec(&self, config: &Config, topology: &Topology) -> ShardSpec {
        let ServerId { pool, server } = self.server;
        let server = &config.pools[usize::from(pool)].servers[usize::from(server)];
        ShardSpec {
            master: self.master.clone(),
            initial: match topology.server(self.server).map(|server| &server.endpoint) {
                Some(Endpoint::Tcp(now)) => HostPort::new(now.ip().to_string(), now.port()),
                _ => configured(&server.address),
            },
            commit: match self.commit {
                config::Commit::Confirmed => Commit::Confirmed,
                config::Commit::Eager => Commit::Eager,
            },
            failover_hold: self.failover_hold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{merge, parse};

    /// Sentinels that nobody answers at; the watchers only have to be there.
    fn config(pools: &[(&str, u16, &str)]) -> Config {
        let text: String = (1u16..)
            .zip(pools)
            .map(|(n, (name, sentinel, rest))| {
                format!(
                    "{name}:\n  listen: 127.0.0.1:{n}\n  redis: true\n  sentinels: \
                     ['127.0.0.1:{sentinel}']\n{rest}"
                )
            })
            .collect();
        parse(&text, "f").expect("correct").config
    }

    const SERVERS: &str = "  servers: [127.0.0.1:1:1 a]\n";

    struct World {
        watchers: Watchers,
        config: Config,
        _decisions: mpsc::UnboundedReceiver<(WatcherId, Decision)>,
    }

    impl World {
        fn new(config: Config) -> World {
            let (sender, decisions) = mpsc::unbounded_channel();
            let mut world = World {
                watchers: Watchers::new(sender),
                config: Config { pools: Vec::new() },
                _decisions: decisions,
            };
            assert!(world.reload(&config).is_empty());
            world
        }

        fn reload(&mut self, fresh: &Config) -> Vec<u16> {
            self.config = merge(&self.config, fresh).unwrap().config;
            let topology = Topology::initial(&self.config);
            self.watchers.configure(&self.config, &topology)
        }

        fn ids(&self) -> Vec<u64> {
            self.watchers.running.iter().map(|r| r.id.0).collect()
        }
    }

    #[tokio::test]
    async fn a_watcher_lives_as_long_as_what_it_goes_by() {
        let mut world = World::new(config(&[("p", 1, SERVERS), ("q", 2, SERVERS)]));
        assert_eq!(world.ids(), [1, 2]);
        let slower = format!("  timeout: 9\n  redis_auth: x\n  hold_requests: 9\n{SERVERS}");
        world.reload(&config(&[("p", 1, &slower), ("q", 2, SERVERS)]));
        assert_eq!(world.ids(), [1, 2]);
        let moved = "  servers: [127.0.0.1:7:1 a]\n";
        world.reload(&config(&[("p", 1, moved), ("q", 2, SERVERS)]));
        assert_eq!(world.ids(), [1, 2], "the address counts at the start only");
        let more = "  servers: [127.0.0.1:1:1 a, 127.0.0.1:2:1 b]\n";
        world.reload(&config(&[("p", 1, more), ("q", 2, SERVERS)]));
        assert_eq!(world.ids(), [3, 2]);
        assert!(!world.watchers.is_running(WatcherId(1)));
        let eager = format!("  commit: eager\n{SERVERS}");
        world.reload(&config(&[("p", 1, more), ("q", 2, &eager)]));
        assert_eq!(world.ids(), [3, 4]);
        assert_eq!(world.reload(&config(&[("q", 2, &eager)])), [0]);
        assert_eq!(world.ids(), [4]);
        assert_eq!(world.watchers.told().borrow().len(), 1);
    }

    #[tokio::test]
    async fn pools_of_the_same_sentinels_share_a_watcher() {
        let world = World::new(config(&[("p", 1, SERVERS), ("q", 1, SERVERS)]));
        assert_eq!(world.ids(), [1]);
        let id = ServerId { pool: 1, server: 0 };
        assert!(world.watchers.by_server.contains_key(&id));
    }

    #[test]
    fn a_new_watcher_begins_where_the_server_is() {
        let config = config(&[("p", 1, SERVERS)]);
        let mut topology = Topology::initial(&config);
        let spec = |topology: &Topology| setups(&config)[0].shards[0].spec(&config, topology);
        assert_eq!(spec(&topology).initial, HostPort::new("127.0.0.1", 1));
        let pool = Arc::make_mut(&mut topology.pools[0]);
        pool.servers[0].endpoint = Endpoint::Tcp(([10, 0, 0, 1], 5).into());
        assert_eq!(spec(&topology).initial, HostPort::new("10.0.0.1", 5));
    }
}
