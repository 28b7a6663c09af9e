//! A model of nodes and sentinels: elections, promotions, gossip, conversion of rogue masters, and what
//! sentinels publish meanwhile. It knows nothing of the proxy.

use std::time::Duration;

use super::*;

/// How often sentinels tell each other what they hold, and look at their masters.
const GOSSIP: Duration = Duration::from_secs(2);
/// How long sentinels let a node claim to be a master before they make it a replica.
const CONVERT: Duration = Duration::from_secs(8);

pub struct Node {
    pub alive: bool,
    pub master: bool,
    rogue_since: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub address: HostPort,
    pub epoch: u64,
}

pub struct Sentinel {
    pub alive: bool,
    /// From the other sentinels.
    pub cut: bool,
    /// One per shard; kept on disk.
    pub views: Vec<Config>,
    /// The leader of a failover publishes its `+switch-master` last.
    process: u32,
}

/// One attempt of a leader.
#[derive(Clone, Debug)]
pub struct Failover {
    pub shard: usize,
    pub leader: usize,
    process: u32,
    pub old: HostPort,
    pub candidate: HostPort,
    pub epoch: u64,
}

#[derive(Clone, Debug)]
pub enum Step {
    Select(Failover),
    Command(Failover),
    Promote(Failover),
    Finish(Failover),
    /// What all sentinels do every two seconds.
    Gossip,
    Tell {
        from: usize,
        to: usize,
    },
}

pub struct Cluster {
    pub nodes: BTreeMap<HostPort, Node>,
    pub sentinels: Vec<Sentinel>,
    /// Every configuration there ever was, per shard.
    pub elected: Vec<Vec<Config>>,
    /// Whom leaders announced, with the epoch they were elected for.
    pub announced: Vec<Vec<Config>>,
    /// The epoch of the attempt under way, per shard.
    in_progress: Vec<Option<u64>>,
    /// Leaders may die just after a promotion.
    pub crashes: bool,
    epoch: u64,
    /// Steps to come, and messages that leave a sentinel now.
    pub steps: Vec<(Duration, Step)>,
    pub published: Vec<(usize, String, String)>,
}

pub fn name(shard: usize) -> String {
    format!("s{shard}")
}

pub fn node(shard: usize, index: usize) -> HostPort {
    HostPort::new(format!("10.{shard}.0.{index}"), 6379)
}

fn is_of(address: &HostPort, shard: usize) -> bool {
    address.host.starts_with(&format!("10.{shard}."))
}

impl Cluster {
    pub fn new(sentinels: usize, shards: usize, replicas: usize) -> Cluster {
        let mut nodes = BTreeMap::new();
        for shard in 0..shards {
            for index in 0..=replicas {
                let master = index == 0;
                let it = Node {
                    alive: true,
                    master,
                    rogue_since: None,
                };
                nodes.insert(node(shard, index), it);
            }
        }
        let first = |shard| Config {
            address: node(shard, 0),
            epoch: 0,
        };
        let views: Vec<Config> = (0..shards).map(first).collect();
        let sentinel = |_| Sentinel {
            alive: true,
            cut: false,
            views: views.clone(),
            process: 0,
        };
        Cluster {
            nodes,
            sentinels: (0..sentinels).map(sentinel).collect(),
            elected: views.iter().map(|view| vec![view.clone()]).collect(),
            announced: vec![Vec::new(); shards],
            in_progress: vec![None; shards],
            crashes: true,
            epoch: 0,
            steps: vec![(GOSSIP, Step::Gossip)],
            published: Vec::new(),
        }
    }

    /// What a majority can agree on: the newest configuration of those who can talk to each other.
    pub fn agreed(&self, shard: usize) -> Option<Config> {
        let talking = self.sentinels.iter().filter(|it| it.alive && !it.cut);
        let talking: Vec<&Sentinel> = talking.collect();
        if talking.len() * 2 <= self.sentinels.len() {
            return None;
        }
        let views = talking.iter().map(|it| &it.views[shard]);
        views.max_by_key(|view| view.epoch).cloned()
    }

    /// All sentinels hold the same, and it is so.
    pub fn is_whole(&self, shard: usize) -> bool {
        let agreed = self.agreed(shard).expect("sentinels talk");
        let held = self
            .sentinels
            .iter()
            .all(|it| it.alive && it.views[shard] == agreed);
        let masters = self
            .nodes
            .iter()
            .filter(|(at, it)| it.master && is_of(at, shard));
        let masters: Vec<&HostPort> = masters.map(|(at, _)| at).collect();
        held && masters == [&agreed.address] && self.in_progress[shard].is_none()
    }

    pub fn restart_sentinel(&mut self, index: usize) {
        let sentinel = &mut self.sentinels[index];
        sentinel.alive = true;
        sentinel.process += 1;
    }

    /// A sentinel tries a failover, if a majority could elect it.
    pub fn start_failover(&mut self, shard: usize, leader: usize, random: &mut fastrand::Rng) {
        let Some(agreed) = self.agreed(shard) else {
            return;
        };
        let it = &self.sentinels[leader];
        if !it.alive || it.cut || it.views[shard] != agreed || self.in_progress[shard].is_some() {
            return;
        }
        let process = it.process;
        let old = agreed.address;
        let able = |(at, node): &(&HostPort, &Node)| node.alive && is_of(at, shard) && **at != old;
        let able: Vec<HostPort> = self
            .nodes
            .iter()
            .filter(able)
            .map(|(at, _)| at.clone())
            .collect();
        let payload = format!("master {} {} {}", name(shard), old.host, old.port);
        self.publish(leader, "+try-failover", payload.clone());
        if able.is_empty() || random.u8(..10) == 0 {
            return self.publish(leader, "-failover-abort-not-elected", payload);
        }
        self.epoch += 1;
        self.in_progress[shard] = Some(self.epoch);
        self.publish(leader, "+elected-leader", payload);
        let failover = Failover {
            shard,
            leader,
            process,
            old,
            candidate: able[random.usize(..able.len())].clone(),
            epoch: self.epoch,
        };
        self.after(random.u64(20..100), Step::Select(failover));
    }

    pub fn step(&mut self, step: Step, now: Duration, random: &mut fastrand::Rng) {
        match step {
            Step::Gossip => {
                self.gossip(now, random);
                self.after(GOSSIP.as_millis() as u64, Step::Gossip);
            }
            Step::Tell { from, to } => self.tell(from, to),
            Step::Select(it) if self.leads(&it) => {
                let announced = Config {
                    address: it.candidate.clone(),
                    epoch: it.epoch,
                };
                self.announced[it.shard].push(announced);
                self.publish_replica(&it, "+selected-slave");
                self.publish_replica(&it, "+failover-state-send-slaveof-noone");
                self.after(random.u64(50..150), Step::Command(it));
            }
            Step::Command(it) if self.leads(&it) => {
                let node = self.nodes.get_mut(&it.candidate).expect("a node");
                node.master |= node.alive;
                self.publish_replica(&it, "+failover-state-wait-promotion");
                let slow = random.u8(..5) == 0;
                let wait = random.u64(if slow { 1000..4000 } else { 50..1000 });
                self.after(wait, Step::Promote(it));
            }
            Step::Promote(it) if self.leads(&it) => self.promote(it, random),
            Step::Finish(it) if self.leads(&it) => {
                self.in_progress[it.shard] = None;
                self.publish_switch(it.leader, it.shard, &it.old, &it.candidate);
            }
            Step::Select(it) | Step::Command(it) | Step::Promote(it) | Step::Finish(it) => {
                if self.in_progress[it.shard] == Some(it.epoch) {
                    self.in_progress[it.shard] = None;
                }
            }
        }
    }

    fn promote(&mut self, it: Failover, random: &mut fastrand::Rng) {
        let node = &self.nodes[&it.candidate];
        if !node.alive || !node.master || random.u8(..8) == 0 {
            self.in_progress[it.shard] = None;
            let payload = format!("master {} {} {}", name(it.shard), it.old.host, it.old.port);
            return self.publish(it.leader, "-failover-abort-slave-timeout", payload);
        }
        let config = Config {
            address: it.candidate.clone(),
            epoch: it.epoch,
        };
        self.elected[it.shard].push(config.clone());
        self.sentinels[it.leader].views[it.shard] = config;
        // The disk is written before anybody hears of it.
        if self.crashes && random.u8(..10) == 0 {
            self.sentinels[it.leader].alive = false;
            self.in_progress[it.shard] = None;
            return;
        }
        self.publish_replica(&it, "+promoted-slave");
        for to in 0..self.sentinels.len() {
            let from = it.leader;
            self.after(random.u64(5..60), Step::Tell { from, to });
        }
        self.after(random.u64(100..3000), Step::Finish(it));
    }

    fn leads(&self, it: &Failover) -> bool {
        let leader = &self.sentinels[it.leader];
        leader.alive && leader.process == it.process && self.in_progress[it.shard] == Some(it.epoch)
    }

    fn tell(&mut self, from: usize, to: usize) {
        let talks = |it: &Sentinel| it.alive && !it.cut;
        if from == to || !talks(&self.sentinels[from]) || !talks(&self.sentinels[to]) {
            return;
        }
        for shard in 0..self.elected.len() {
            let news = self.sentinels[from].views[shard].clone();
            let held = &self.sentinels[to].views[shard];
            if news.epoch > held.epoch {
                let old = held.address.clone();
                self.sentinels[to].views[shard] = news.clone();
                if old != news.address {
                    self.publish_switch(to, shard, &old, &news.address);
                }
            }
        }
    }

    fn gossip(&mut self, now: Duration, random: &mut fastrand::Rng) {
        let all = 0..self.sentinels.len();
        for from in all.clone() {
            for to in all.clone() {
                self.after(random.u64(1..100), Step::Tell { from, to });
            }
        }
        for shard in 0..self.elected.len() {
            let Some(agreed) = self.agreed(shard) else {
                continue;
            };
            let sane = |node: &Node| node.alive && node.master;
            if sane(&self.nodes[&agreed.address]) {
                self.convert(shard, &agreed.address, now);
            } else if self.in_progress[shard].is_none() {
                let leader = random.usize(all.clone());
                let payload = format!("master {} {} 6379", name(shard), agreed.address.host);
                self.publish(leader, "+sdown", payload);
                self.start_failover(shard, leader, random);
            }
        }
    }

    fn convert(&mut self, shard: usize, master: &HostPort, now: Duration) {
        let of_shard = |(at, _): &(&HostPort, &mut Node)| is_of(at, shard);
        for (at, node) in self.nodes.iter_mut().filter(of_shard) {
            if at == master || !node.alive || !node.master {
                node.rogue_since = None;
            } else if now - *node.rogue_since.get_or_insert(now) >= CONVERT {
                node.master = false;
            }
        }
    }

    fn after(&mut self, ms: u64, step: Step) {
        self.steps.push((Duration::from_millis(ms), step));
    }

    fn publish(&mut self, from: usize, channel: &str, payload: String) {
        if self.sentinels[from].alive {
            self.published.push((from, channel.to_string(), payload));
        }
    }

    fn publish_switch(&mut self, from: usize, shard: usize, old: &HostPort, new: &HostPort) {
        let payload = format!(
            "{} {} {} {} {}",
            name(shard),
            old.host,
            old.port,
            new.host,
            new.port
        );
        self.publish(from, "+switch-master", payload);
    }

    fn publish_replica(&mut self, it: &Failover, channel: &str) {
        let (new, old) = (&it.candidate, &it.old);
        let payload = format!(
            "slave {new} {} {} @ {} {} {}",
            new.host,
            new.port,
            name(it.shard),
            old.host,
            old.port
        );
        self.publish(it.leader, channel, payload);
    }
}
