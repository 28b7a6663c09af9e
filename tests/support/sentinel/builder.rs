//! How a cluster is laid out and started.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::{Cluster, Shard};
use super::events::Events;
use super::node::{Kind, Node};
use super::permit::Permit;
use super::relay::Relay;
use crate::support::{Value, free_port, within};

/// For everything to come up and get to know each other, on a busy machine.
const SETUP: Duration = Duration::from_secs(40);

/// `down-after-milliseconds` of [`Builder::patient`].
pub(super) const PATIENCE: u32 = 20_000;

/// Source addresses of the sentinels and of the data nodes when there are relays; clients and the proxy
/// come from 127.0.0.1, so that a relay can tell them apart.
pub const FROM_SENTINELS: &str = "127.0.1.";
pub const FROM_NODES: &str = "127.0.2.";

/// What differs from two shards, each a master with one replica, and three sentinels with quorum 2.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) shards: usize,
    pub(super) replicas: usize,
    pub(super) sentinels: usize,
    down_after: u32,
    failover_timeout: u32,
    pub(super) password: Option<String>,
    pub(super) sentinel_password: Option<String>,
    ip: IpAddr,
    host_names: bool,
    relays: bool,
    hasty: bool,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            shards: 2,
            replicas: 1,
            sentinels: 3,
            down_after: 1000,
            failover_timeout: 6000,
            password: None,
            sentinel_password: None,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host_names: false,
            relays: false,
            hasty: false,
        }
    }

    pub fn shards(mut self, shards: usize) -> Builder {
        self.shards = shards;
        self
    }

    pub fn replicas(mut self, replicas: usize) -> Builder {
        self.replicas = replicas;
        self
    }

    /// Milliseconds without an answer until a sentinel calls a node down.
    pub fn down_after(mut self, milliseconds: u32) -> Builder {
        self.down_after = milliseconds;
        self
    }

    /// Milliseconds; see Sentinel's documentation for the four things it limits.
    pub fn failover_timeout(mut self, milliseconds: u32) -> Builder {
        self.failover_timeout = milliseconds;
        self
    }

    /// Of the data nodes' default user, for clients, replicas and sentinels.
    pub fn password(mut self, password: &str) -> Builder {
        self.password = Some(password.to_owned());
        self
    }

    /// Of the sentinels' default user.
    pub fn sentinel_password(mut self, password: &str) -> Builder {
        self.sentinel_password = Some(password.to_owned());
        self
    }

    /// Everything on `::1`.
    pub fn ipv6(mut self) -> Builder {
        self.ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
        self
    }

    /// The sentinels announce data nodes by the name `localhost`.
    pub fn host_names(mut self) -> Builder {
        self.host_names = true;
        self
    }

    /// A [`Relay`] in front of every data node, which is what sentinels and replicas know of it.
    pub fn relays(mut self) -> Builder {
        self.relays = true;
        self
    }

    /// Sentinels ask and tell several times as often as they do by default, so that an old master is
    /// demoted within two seconds instead of ten and sentinels find each other at once.
    pub fn hasty(mut self) -> Builder {
        self.hasty = true;
        self
    }

    /// For tests in which no node fails: a machine that is busy for a second or two is not taken for a
    /// dead master.
    pub fn patient(self) -> Builder {
        self.down_after(PATIENCE)
    }

    /// Starts everything and waits until all replicas are in sync and all sentinels know everybody.
    #[track_caller]
    pub fn start(self) -> Cluster {
        let permit = Permit::wait();
        let dir = TempDir::new().expect("a temporary directory");
        let mut shards: Vec<Shard> = (0..self.shards)
            .map(|shard| self.shard(shard, dir.path()))
            .collect();
        for node in shards.iter_mut().flat_map(|shard| &mut shard.nodes) {
            node.spawn();
        }
        for shard in &shards {
            self.wait_in_sync(&shard.nodes[0]);
        }
        // Their first look at the replicas is their last for ten seconds, so it must find them in sync.
        let mut sentinels = self.sentinels(&shards, dir.path());
        sentinels.iter_mut().for_each(Node::spawn);
        for sentinel in &sentinels {
            sentinel.wait_up();
            if self.hasty {
                set_timing(sentinel, HASTY);
            }
        }
        for sentinel in &sentinels {
            for shard in &shards {
                self.wait_acquainted(sentinel, &shard.name);
            }
        }
        let listened = sentinels
            .iter()
            .map(|s| (s.addr(), self.sentinel_password.clone()));
        let events = Events::listen(listened.collect());
        Cluster {
            plan: self,
            shards,
            sentinels,
            events,
            _dir: dir,
            _permit: permit,
        }
    }

    /// The first node is the master, the others are its replicas.
    fn shard(&self, number: usize, dir: &Path) -> Shard {
        let mut relays = Vec::new();
        let mut nodes: Vec<Node> = Vec::new();
        for index in 0..=self.replicas {
            let address = SocketAddr::new(self.ip, free_port());
            let announced = match self.relays {
                true => {
                    relays.push(Relay::start(address));
                    relays[index].addr()
                }
                false => address,
            };
            let name = format!("shard{number}-{index}");
            let master = nodes.first().map(Node::announced);
            let source = 10 * number + index + 1;
            let configuration = self.data_node(address, announced, master, source);
            let folder = dir.join(name);
            let password = self.password.clone();
            nodes.push(Node::new(
                Kind::Redis,
                folder,
                address,
                announced,
                password,
                &configuration,
            ));
        }
        Shard {
            name: format!("shard{number}"),
            nodes,
            relays,
        }
    }

    fn data_node(
        &self,
        address: SocketAddr,
        announced: SocketAddr,
        master: Option<SocketAddr>,
        source: usize,
    ) -> String {
        let mut lines = self.listen(address);
        // What is killed comes back with all it acknowledged: the test's losses are the failover's.
        lines.push("save \"\"\nappendonly yes\nappendfsync no".into());
        lines.push("auto-aof-rewrite-percentage 0".into());
        lines.push("repl-diskless-sync yes\nrepl-diskless-sync-delay 0".into());
        lines.push("repl-ping-replica-period 1".into());
        if self.relays || self.host_names {
            let host = self.host();
            lines.push(format!("replica-announce-ip {host}"));
            lines.push(format!("replica-announce-port {}", announced.port()));
        }
        if self.relays {
            lines.push(format!("bind-source-addr {FROM_NODES}{source}"));
        }
        if let Some(password) = &self.password {
            lines.push(format!("requirepass {password}\nmasterauth {password}"));
        }
        if let Some(master) = master {
            lines.push(format!("replicaof {} {}", self.host(), master.port()));
        }
        lines.join("\n") + "\n"
    }

    fn sentinels(&self, shards: &[Shard], dir: &Path) -> Vec<Node> {
        let addresses: Vec<SocketAddr> = (0..self.sentinels)
            .map(|_| SocketAddr::new(self.ip, free_port()))
            .collect();
        let configured = addresses.iter().enumerate().map(|(index, &address)| {
            let configuration = self.sentinel(index, &addresses, shards);
            let folder = dir.join(format!("sentinel{index}"));
            let password = self.sentinel_password.clone();
            Node::new(
                Kind::Sentinel,
                folder,
                address,
                address,
                password,
                &configuration,
            )
        });
        configured.collect()
    }

    /// Sentinels that are told of each other and of the replicas need not wait seconds for a greeting.
    fn sentinel(&self, index: usize, addresses: &[SocketAddr], shards: &[Shard]) -> String {
        let mut lines = self.listen(addresses[index]);
        if self.host_names {
            lines.push("sentinel resolve-hostnames yes\nsentinel announce-hostnames yes".into());
        }
        if self.relays {
            lines.push(format!("bind-source-addr {FROM_SENTINELS}{}", index + 1));
        }
        lines.push(format!("sentinel announce-ip {}", self.ip));
        lines.push(format!(
            "sentinel announce-port {}",
            addresses[index].port()
        ));
        if let Some(password) = &self.sentinel_password {
            // Sentinels use the one password for clients and for each other.
            lines.push(format!("requirepass {password}"));
        }
        lines.push(format!("sentinel myid {}", sentinel_id(index)));
        for Shard { name, nodes, .. } in shards {
            let host = self.host();
            let port = nodes[0].announced().port();
            let quorum = self.sentinels / 2 + 1;
            lines.push(format!("sentinel monitor {name} {host} {port} {quorum}"));
            lines.push(format!(
                "sentinel down-after-milliseconds {name} {}\nsentinel failover-timeout {name} {}",
                self.down_after, self.failover_timeout
            ));
            if let Some(password) = &self.password {
                lines.push(format!("sentinel auth-pass {name} {password}"));
            }
            for replica in &nodes[1..] {
                let port = replica.announced().port();
                lines.push(format!("sentinel known-replica {name} {host} {port}"));
            }
            for (other, address) in addresses.iter().enumerate() {
                if other != index {
                    let (ip, port, id) = (self.ip, address.port(), sentinel_id(other));
                    lines.push(format!("sentinel known-sentinel {name} {ip} {port} {id}"));
                }
            }
        }
        lines.join("\n") + "\n"
    }

    fn listen(&self, address: SocketAddr) -> Vec<String> {
        // The name may mean ::1 for one program and 127.0.0.1 for another.
        let bind = match self.host_names {
            true => "127.0.0.1 -::1".into(),
            false => address.ip().to_string(),
        };
        let port = address.port();
        vec![format!("bind {bind}\nport {port}\nprotected-mode no")]
    }

    /// What data nodes are called by others.
    pub(super) fn host(&self) -> String {
        match self.host_names {
            true => "localhost".into(),
            false => self.ip.to_string(),
        }
    }

    #[track_caller]
    fn wait_in_sync(&self, master: &Node) {
        let in_sync = within(SETUP, || {
            let Ok(Value::Bulk(info)) = master.ask(&["INFO", "replication"]) else {
                return false;
            };
            String::from_utf8_lossy(&info)
                .matches("state=online")
                .count()
                == self.replicas
        });
        assert!(in_sync, "replicas are not in sync:\n{}", master.log());
    }

    #[track_caller]
    pub(super) fn wait_acquainted(&self, sentinel: &Node, name: &str) {
        let mut seen = String::new();
        let acquainted = within(SETUP, || {
            let all = ["MASTER", "REPLICAS", "SENTINELS"]
                .map(|what| sentinel.ask(&["SENTINEL", what, name]));
            seen = format!("{all:?}");
            let [
                Ok(master),
                Ok(Value::Array(replicas)),
                Ok(Value::Array(others)),
            ] = &all
            else {
                return false;
            };
            let flags = |entry: &Value| super::field(entry, "flags");
            let in_sync = |replica: &Value| {
                super::field(replica, "master-link-status").as_deref() == Some("ok")
            };
            flags(master).as_deref() == Some("master")
                && replicas.len() == self.replicas
                && replicas
                    .iter()
                    .all(|r| flags(r).as_deref() == Some("slave") && in_sync(r))
                && others.len() == self.sentinels - 1
                && others
                    .iter()
                    .all(|s| flags(s).as_deref() == Some("sentinel"))
        });
        assert!(
            acquainted,
            "a sentinel lacks something: {seen}\n{}",
            sentinel.log()
        );
    }
}

/// Sentinel's periods in milliseconds: several times shorter than usual, and the usual ones.
pub(super) const HASTY: &str = "info-period 500 publish-period 250 ask-period 250 ping-period 250";
pub(super) const USUAL: &str =
    "info-period 10000 publish-period 2000 ask-period 1000 ping-period 1000";

/// Lasts until the sentinel is restarted.
#[track_caller]
pub(super) fn set_timing(sentinel: &Node, timing: &str) {
    let command: Vec<&str> = ["SENTINEL", "DEBUG"]
        .into_iter()
        .chain(timing.split(' '))
        .collect();
    assert_eq!(sentinel.cmd(&command), Value::ok());
}

fn sentinel_id(index: usize) -> String {
    format!("{:040x}", index + 1)
}
