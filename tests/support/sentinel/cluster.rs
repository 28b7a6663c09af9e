//! A running cluster: what tests do to it and ask it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::builder::{self, Builder};
use super::events::{Event, Events};
use super::node::Node;
use super::permit::Permit;
use super::relay::Relay;
use super::text;
use crate::support::{PATIENCE, Pool, Value, within};

/// What the pools of all tests have but servers, sentinels and passwords.
pub fn settings() -> Pool {
    Pool::new("failover")
        .set("hash", "md5")
        .set("hash_tag", "\"{}\"")
        .set("timeout", 400)
}

/// As a list in a configuration file.
pub fn quoted(addresses: impl IntoIterator<Item = SocketAddr>) -> String {
    let quoted = addresses.into_iter().map(|address| format!("'{address}'"));
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

/// For an election and all that follows, should the first one fail.
const FAILOVER: Duration = Duration::from_secs(30);

/// Shards `shard0`, `shard1`, ... under these names for Sentinel and on the ring.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order.
    pub(super) events: Events,
    pub(super) sentinels: Vec<Node>,
    pub(super) shards: Vec<Shard>,
    pub(super) plan: Builder,
    pub(super) _dir: TempDir,
    pub(super) _permit: Permit,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) name: String,
    /// The first was the master at the start.
    pub(super) nodes: Vec<Node>,
    /// One per node, or none.
    pub(super) relays: Vec<Relay>,
}

impl Cluster {
    pub fn build() -> Builder {
        Builder::new()
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    pub fn name(&self, shard: usize) -> &str {
        &self.shards[shard].name
    }

    /// The nodes of a shard; the first was its master at the start.
    pub fn nodes(&self, shard: usize) -> &[Node] {
        &self.shards[shard].nodes
    }

    pub fn node(&mut self, shard: usize, index: usize) -> &mut Node {
        &mut self.shards[shard].nodes[index]
    }

    /// In front of the node; only with [`Builder::relays`].
    pub fn relay(&self, shard: usize, index: usize) -> &Relay {
        &self.shards[shard].relays[index]
    }

    pub fn sentinels(&self) -> &[Node] {
        &self.sentinels
    }

    pub fn sentinel(&mut self, index: usize) -> &mut Node {
        &mut self.sentinels[index]
    }

    /// All sentinels, after they were killed.
    #[track_caller]
    pub fn restart_sentinels(&mut self) {
        self.sentinels.iter_mut().for_each(Node::spawn);
        self.sentinels.iter().for_each(Node::wait_up);
    }

    /// As [`Builder::hasty`] from now on.
    #[track_caller]
    pub fn make_hasty(&self) {
        self.set_timing(builder::HASTY);
    }

    /// The timing of sentinels that are told nothing else.
    #[track_caller]
    pub fn make_usual(&self) {
        self.set_timing(builder::USUAL);
    }

    /// As [`Builder::patient`] from now on.
    #[track_caller]
    pub fn make_patient(&self) {
        let down_after = builder::PATIENCE.to_string();
        for sentinel in self.sentinels.iter().filter(|s| s.is_running()) {
            for shard in 0..self.shards.len() {
                let name = self.name(shard);
                let set = [
                    "SENTINEL",
                    "SET",
                    name,
                    "down-after-milliseconds",
                    &down_after,
                ];
                assert_eq!(sentinel.cmd(&set), Value::ok());
            }
        }
    }

    #[track_caller]
    fn set_timing(&self, timing: &str) {
        for sentinel in self.sentinels.iter().filter(|s| s.is_running()) {
            builder::set_timing(sentinel, timing);
        }
    }

    pub fn password(&self) -> Option<&str> {
        self.plan.password.as_deref()
    }

    /// A pool of all shards, with the masters of the start as addresses and all sentinels.
    pub fn pool(&self) -> Pool {
        self.pool_at(0)
    }

    /// As [`Cluster::pool`], but the configured addresses are those of the nodes with this index.
    pub fn pool_at(&self, index: usize) -> Pool {
        self.with_sentinels(self.fixed_pool(index, self.password()))
    }

    /// As [`Cluster::pool`], with another password for data nodes and clients than the nodes use.
    pub fn pool_with_password(&self, password: &str) -> Pool {
        self.with_sentinels(self.fixed_pool(0, Some(password)))
    }

    /// A pool of all shards for a proxy that stays with the masters of the start.
    pub fn pool_without_sentinels(&self) -> Pool {
        self.fixed_pool(0, self.password())
    }

    fn with_sentinels(&self, pool: Pool) -> Pool {
        let sentinels = self.sentinels.iter().map(Node::addr);
        let pool = pool.set("sentinels", quoted(sentinels));
        match &self.plan.sentinel_password {
            Some(password) => pool.set("sentinel_auth", password),
            None => pool,
        }
    }

    fn fixed_pool(&self, index: usize, password: Option<&str>) -> Pool {
        let mut pool = settings();
        if let Some(password) = password {
            pool = pool.set("redis_auth", password);
        }
        for Shard { name, nodes, .. } in &self.shards {
            let (host, port) = (self.plan.host(), nodes[index].announced().port());
            let host = match host.contains(':') {
                true => format!("[{host}]"),
                false => host,
            };
            pool = pool.server(&format!("'{host}:{port}:1 {name}'"));
        }
        pool
    }

    /// The node that the first running sentinel names as the shard's master.
    #[track_caller]
    pub fn master_of(&self, shard: usize) -> usize {
        let named = self.named_masters(shard);
        assert!(!named.is_empty(), "no sentinel names a master");
        named[0]
    }

    /// Waits until all running sentinels name the same master and it says that it is one.
    #[track_caller]
    pub fn settle(&self, shard: usize) -> usize {
        let settled = within(FAILOVER, || {
            let named = self.named_masters(shard);
            let running = self.sentinels.iter().filter(|s| s.is_running()).count();
            named.len() == running
                && named.iter().all(|&n| n == named[0])
                && self.shards[shard].nodes[named[0]].is_master()
        });
        let name = self.name(shard);
        assert!(
            settled,
            "{name} has no agreed master:\n{}",
            self.sentinels[0].log()
        );
        self.master_of(shard)
    }

    fn named_masters(&self, shard: usize) -> Vec<usize> {
        let Shard { name, nodes, .. } = &self.shards[shard];
        let question = ["SENTINEL", "get-master-addr-by-name", name.as_str()];
        let answers = self.sentinels.iter().filter(|s| s.is_running());
        let named = answers.filter_map(|sentinel| {
            let Ok(Value::Array(answer)) = sentinel.ask(&question) else {
                return None;
            };
            let port = text(answer.get(1)?)?;
            nodes
                .iter()
                .position(|n| n.announced().port().to_string() == port)
        });
        named.collect()
    }

    /// Waits until the node replicates from the shard's current master, and what is written there arrives:
    /// `connected` it is already when it has loaded the snapshot, but its master sends it what was written
    /// since only after its next acknowledgement, up to a second later. Promoted before, it would lose that.
    #[track_caller]
    pub fn wait_replica(&self, shard: usize, index: usize) {
        let nodes = &self.shards[shard].nodes;
        let node = &nodes[index];
        let mut wanted = None;
        let replicates = within(FAILOVER, || {
            let Some((offset, port)) = arrived(node) else {
                return false;
            };
            let mut others = nodes.iter();
            let master = others.find(|node| i64::from(node.announced().port()) == port);
            wanted = wanted.or_else(|| written(master?));
            wanted.is_some_and(|wanted| offset >= wanted)
        });
        assert!(
            replicates,
            "{} is no replica: {:?}\n{}",
            node.addr(),
            node.ask(&["ROLE"]),
            node.log()
        );
    }

    /// Waits until all running sentinels know all others and find the shard's nodes up and in sync, as a
    /// planned failover requires. Only while all nodes of the shard run.
    #[track_caller]
    pub fn wait_acquainted(&self, shard: usize) {
        for sentinel in self.sentinels.iter().filter(|s| s.is_running()) {
            self.plan.wait_acquainted(sentinel, self.name(shard));
        }
    }

    /// `SENTINEL FAILOVER` at the first running sentinel; asks again while it is not ready for one.
    #[track_caller]
    pub fn failover(&self, shard: usize) {
        let sentinel = self.sentinels.iter().find(|s| s.is_running());
        let sentinel = sentinel.expect("a sentinel runs");
        let name = self.name(shard);
        let mut reply = Value::Nil;
        let accepted = within(PATIENCE, || {
            reply = sentinel.cmd(&["SENTINEL", "FAILOVER", name]);
            reply == Value::ok()
        });
        assert!(accepted, "the failover of {name} is refused: {reply:?}");
    }

    /// When the first sentinel published `+switch-master` for the shard after `since`.
    #[track_caller]
    pub fn wait_switch(&self, shard: usize, since: Instant) -> Instant {
        self.wait_event("+switch-master", shard, since).at
    }

    /// The first event on `channel` about the shard after `since`.
    #[track_caller]
    pub fn wait_event(&self, channel: &str, shard: usize, since: Instant) -> Event {
        let name = self.name(shard);
        let found = self.events.wait(FAILOVER, since, |event| {
            event.channel == channel && event.concerns(name)
        });
        found.unwrap_or_else(|| {
            let seen = self.describe_events(since);
            panic!("no {channel} of {name} within {FAILOVER:?}, only:\n{seen}")
        })
    }

    /// All events since then, for messages.
    pub fn describe_events(&self, since: Instant) -> String {
        self.events.describe(since)
    }

    /// Where the shard's nodes can be reached, past proxy and relays.
    pub fn addresses(&self, shard: usize) -> Vec<SocketAddr> {
        self.shards[shard].nodes.iter().map(Node::addr).collect()
    }
}

/// How far a replica has come that is connected to its master, and that master's announced port.
fn arrived(replica: &Node) -> Option<(i64, i64)> {
    match replica.ask(&["ROLE"]) {
        Ok(Value::Array(role)) => match role.as_slice() {
            [
                _,
                _,
                Value::Int(port),
                Value::Bulk(state),
                Value::Int(offset),
            ] if state == b"connected" => Some((*offset, *port)),
            _ => None,
        },
        _ => None,
    }
}

/// How far the writes of a master go.
fn written(master: &Node) -> Option<i64> {
    match master.ask(&["ROLE"]) {
        Ok(Value::Array(role)) => match role.as_slice() {
            [Value::Bulk(kind), Value::Int(offset), ..] if kind == b"master" => Some(*offset),
            _ => None,
        },
        _ => None,
    }
}
