//! The whole watcher against scripted sentinels and nodes, in virtual time.

mod failover;
mod links;
mod rules;
mod search;
mod simulation;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use redis_protocol::resp2::types::OwnedFrame;

use super::*;

pub const MS: Duration = Duration::from_millis(1);

/// A node of a test: one letter is enough of a name.
pub fn at(host: &str) -> HostPort {
    HostPort::new(host, 6379)
}

pub fn bulk(text: &str) -> OwnedFrame {
    OwnedFrame::BulkString(text.as_bytes().to_vec())
}

pub fn list(texts: &[&str]) -> OwnedFrame {
    OwnedFrame::Array(texts.iter().map(|text| bulk(text)).collect())
}

pub fn master_reply(name: &str, ip: &str, epoch: u64) -> OwnedFrame {
    let epoch = epoch.to_string();
    list(&[
        "name",
        name,
        "ip",
        ip,
        "port",
        "6379",
        "flags",
        "master",
        "config-epoch",
        &epoch,
    ])
}

pub fn address_reply(address: &HostPort) -> OwnedFrame {
    list(&[&address.host, &address.port.to_string()])
}

/// A sentinel that says what the test wants.
#[derive(Clone)]
pub struct Script {
    pub address: HostPort,
    pub alive: bool,
    /// It accepts connections and says nothing.
    pub mute: bool,
    pub denies: bool,
    pub run_id: Option<String>,
    pub masters: BTreeMap<String, (HostPort, u64)>,
    pub replicas: BTreeMap<String, Vec<HostPort>>,
    /// Run id and address.
    pub others: Vec<(String, HostPort)>,
}

pub struct Bench {
    pub watcher: Watcher,
    pub start: Instant,
    pub now: Instant,
    pub sentinels: Vec<Script>,
    pub roles: BTreeMap<HostPort, RoleAnswer>,
    pub names: BTreeMap<String, IpAddr>,
    /// Everything but notes, links and questions, with milliseconds since the start.
    pub log: Vec<String>,
    pub notes: Vec<Note>,
    /// Role checks and questions, with the time since the start.
    pub checks: Vec<(Duration, HostPort)>,
    pub asked: Vec<(Duration, SentinelId, Vec<Question>)>,
    pub opened: Vec<(Duration, SentinelId, Link)>,
    /// Which sentinel of the script an id is.
    ids: BTreeMap<SentinelId, usize>,
    up: BTreeSet<(SentinelId, Link)>,
    /// What is on its way back to the watcher.
    inbox: Vec<Inbox>,
}

enum Inbox {
    Up(SentinelId, Link),
    Down(SentinelId, Link, LinkDown),
    Subscribed(SentinelId),
    Alive(SentinelId),
    Answer(SentinelId, Question, OwnedFrame),
    Role(ShardId, HostPort, RoleAnswer),
    Resolved(String, Option<IpAddr>),
}

pub fn spec(name: &str, initial: &str) -> ShardSpec {
    ShardSpec {
        master: MasterRef::Named(name.to_string()),
        initial: at(initial),
        commit: Commit::Confirmed,
        failover_hold: 1500 * MS,
    }
}

impl Script {
    pub fn new(index: usize) -> Script {
        Script {
            address: HostPort::new(format!("10.0.0.{}", index + 1), 26379),
            alive: true,
            mute: false,
            denies: false,
            run_id: Some(format!("id{index}")),
            masters: BTreeMap::from([("s".to_string(), (at("A"), 5))]),
            replicas: BTreeMap::new(),
            others: Vec::new(),
        }
    }

    pub fn says(&mut self, host: &str, epoch: u64) {
        self.masters.insert("s".to_string(), (at(host), epoch));
    }

    fn answer(&self, question: &Question) -> OwnedFrame {
        let unknown = || OwnedFrame::Error("ERR No such master with that name".to_string());
        if self.denies {
            return OwnedFrame::Error("NOAUTH Authentication required.".to_string());
        }
        match question {
            Question::MyId => match &self.run_id {
                Some(id) => bulk(id),
                None => OwnedFrame::Error("ERR unknown subcommand".to_string()),
            },
            Question::Masters => {
                let entry = |(name, (at, epoch)): (&String, &(HostPort, u64))| {
                    master_reply(name, &at.host, *epoch)
                };
                OwnedFrame::Array(self.masters.iter().map(entry).collect())
            }
            Question::Master(name) => match self.masters.get(name) {
                Some((address, epoch)) => master_reply(name, &address.host, *epoch),
                None => unknown(),
            },
            Question::Address(name) => match self.masters.get(name) {
                Some((address, _)) => address_reply(address),
                None => OwnedFrame::Null,
            },
            Question::Replicas(name) => {
                let replicas = self.replicas.get(name).into_iter().flatten();
                let entry = |it: &HostPort| list(&["ip", &it.host, "port", &it.port.to_string()]);
                OwnedFrame::Array(replicas.map(entry).collect())
            }
            Question::Sentinels(_) => {
                let entry = |(id, it): &(String, HostPort)| {
                    list(&["ip", &it.host, "port", &it.port.to_string(), "runid", id])
                };
                OwnedFrame::Array(self.others.iter().map(entry).collect())
            }
        }
    }
}

impl Bench {
    /// Three sentinels that say master "s" is at A with epoch 5; A is a master, all others are replicas.
    pub fn new(shards: Vec<ShardSpec>) -> Bench {
        Bench::with((0..3).map(Script::new).collect(), shards, Vec::new())
    }

    pub fn with(
        sentinels: Vec<Script>,
        shards: Vec<ShardSpec>,
        nat: Vec<(HostPort, HostPort)>,
    ) -> Bench {
        let addresses = sentinels
            .iter()
            .map(|script| script.address.clone())
            .collect();
        let now = Instant::now();
        Bench {
            watcher: Watcher::new(addresses, shards, nat, Timing::default(), 7, now),
            start: now,
            now,
            sentinels,
            roles: BTreeMap::from([(at("A"), RoleAnswer::Master)]),
            names: BTreeMap::new(),
            log: Vec::new(),
            notes: Vec::new(),
            checks: Vec::new(),
            asked: Vec::new(),
            opened: Vec::new(),
            ids: BTreeMap::new(),
            up: BTreeSet::new(),
            inbox: Vec::new(),
        }
    }

    /// One named shard that serves A; what led there is forgotten.
    pub fn stable() -> Bench {
        Bench::stable_with(spec("s", "A"))
    }

    pub fn stable_with(spec: ShardSpec) -> Bench {
        let mut bench = Bench::new(vec![spec]);
        bench.run(2000);
        assert_eq!(bench.log, ["0: switch 0 A 5 Poll", "0: ready []"]);
        bench.forget();
        bench
    }

    pub fn forget(&mut self) {
        self.log.clear();
        self.notes.clear();
        self.checks.clear();
        self.asked.clear();
        self.opened.clear();
    }

    pub fn master(&mut self, host: &str) {
        self.roles.insert(at(host), RoleAnswer::Master);
    }

    pub fn replica(&mut self, host: &str) {
        self.roles.insert(at(host), RoleAnswer::Replica);
    }

    pub fn all_say(&mut self, host: &str, epoch: u64) {
        for sentinel in &mut self.sentinels {
            sentinel.says(host, epoch);
        }
    }

    pub fn id(&self, index: usize) -> SentinelId {
        let found = self.ids.iter().find(|(_, it)| **it == index);
        *found.expect("a sentinel the watcher knows").0
    }

    /// A message of a sentinel; nothing else happens than what follows at once.
    pub fn publish(&mut self, index: usize, channel: &str, payload: &str) {
        let id = self.id(index);
        let (channel, payload) = (channel.as_bytes(), payload.as_bytes());
        self.watcher.handle_message(id, channel, payload, self.now);
        self.drive();
    }

    /// "+selected-slave" and the like, about candidate B of master A.
    pub fn stage(&mut self, index: usize, channel: &str, candidate: &str, master: &str) {
        let payload = format!("slave {candidate}:6379 {candidate} 6379 @ s {master} 6379");
        self.publish(index, channel, &payload);
    }

    pub fn switched(&mut self, index: usize, old: &str, new: &str) {
        let payload = format!("s {old} 6379 {new} 6379");
        self.publish(index, "+switch-master", &payload);
    }

    pub fn aborted(&mut self, index: usize, master: &str) {
        let payload = format!("master s {master} 6379");
        self.publish(index, "-failover-abort-slave-timeout", &payload);
    }

    /// A sentinel dies: its links with it.
    pub fn kill(&mut self, index: usize) {
        self.sentinels[index].alive = false;
        let id = self.id(index);
        for link in [Link::Subscription, Link::Query] {
            if self.up.remove(&(id, link)) {
                let closed = LinkDown::Failed("closed".to_string());
                self.inbox.push(Inbox::Down(id, link, closed));
            }
        }
        self.drive();
    }

    /// Lets `ms` pass.
    pub fn run(&mut self, ms: u32) {
        let end = self.now + ms * MS;
        for rounds in 0.. {
            assert!(rounds < 100_000, "time stands still");
            self.drive();
            match self.watcher.poll_timeout().filter(|&next| next <= end) {
                Some(next) => {
                    self.now = self.now.max(next);
                    self.watcher.handle_timeout(self.now);
                }
                None => break,
            }
        }
        self.now = end;
    }

    /// Everything that follows without time passing.
    pub fn drive(&mut self) {
        for _ in 0..10_000 {
            while let Some(output) = self.watcher.poll_output() {
                self.react(output);
            }
            if self.inbox.is_empty() {
                return;
            }
            let arrived = self.inbox.remove(0);
            self.deliver(arrived);
        }
        panic!("the watcher never comes to rest");
    }

    fn deliver(&mut self, arrived: Inbox) {
        let (watcher, now) = (&mut self.watcher, self.now);
        match arrived {
            Inbox::Up(id, link) => watcher.handle_link_up(id, link, now),
            Inbox::Down(id, link, why) => watcher.handle_link_down(id, link, why, now),
            Inbox::Subscribed(id) => watcher.handle_subscribed(id, now),
            Inbox::Alive(id) => watcher.handle_alive(id, now),
            Inbox::Answer(id, question, answer) => {
                if self.up.contains(&(id, Link::Query)) {
                    watcher.handle_answer(id, &question, &answer, now);
                }
            }
            Inbox::Role(shard, address, answer) => {
                watcher.handle_role(shard, &address, &answer, now);
            }
            Inbox::Resolved(name, ip) => watcher.handle_resolved(&name, ip, now),
        }
    }

    fn react(&mut self, output: Output) {
        let since = self.now - self.start;
        match output {
            Output::OpenLink {
                sentinel,
                address,
                link,
            } => {
                self.opened.push((since, sentinel, link));
                let found = self.sentinels.iter().position(|it| it.address == address);
                let alive = found.is_some_and(|index| self.sentinels[index].alive);
                if let Some(index) = found {
                    self.ids.insert(sentinel, index);
                }
                if alive {
                    self.up.insert((sentinel, link));
                    self.inbox.push(Inbox::Up(sentinel, link));
                } else {
                    let refused = LinkDown::Failed("refused".to_string());
                    self.inbox.push(Inbox::Down(sentinel, link, refused));
                }
            }
            Output::CloseLink { sentinel, link } => {
                self.up.remove(&(sentinel, link));
            }
            Output::Subscribe(id) if self.hears(id) => self.inbox.push(Inbox::Subscribed(id)),
            Output::Ping(id) if self.hears(id) => self.inbox.push(Inbox::Alive(id)),
            Output::Subscribe(_) | Output::Ping(_) => {}
            Output::Ask(id, questions) => {
                for question in &questions {
                    if self.hears(id) {
                        let answer = self.sentinels[self.ids[&id]].answer(question);
                        self.inbox.push(Inbox::Answer(id, question.clone(), answer));
                    }
                }
                self.asked.push((since, id, questions));
            }
            Output::Resolve(name) => {
                let ip = self.names.get(&name).copied();
                self.inbox.push(Inbox::Resolved(name, ip));
            }
            Output::CheckRole { shard, address } => {
                self.checks.push((since, address.clone()));
                let role = self.roles.get(&address).cloned();
                let role = role.unwrap_or(RoleAnswer::Replica);
                self.inbox.push(Inbox::Role(shard, address, role));
            }
            Output::Note(note) => self.notes.push(note),
            decision => self.record(decision),
        }
    }

    fn hears(&self, id: SentinelId) -> bool {
        let script = &self.sentinels[self.ids[&id]];
        script.alive && !script.mute
    }

    fn record(&mut self, decision: Output) {
        let line = match decision {
            Output::Warm { shard, address } => format!("warm {} {}", shard.0, address.host),
            Output::Hold { shard, until } => {
                format!("hold {} {}", shard.0, (until - self.now).as_millis())
            }
            Output::Release { shard, why } => format!("release {} {why:?}", shard.0),
            Output::NoMaster { shard, why } => {
                let why = match why {
                    NoMaster::NotMaster { address, .. } => format!("NotMaster {}", address.host),
                    other => format!("{other:?}"),
                };
                format!("no master {} {why}", shard.0)
            }
            Output::Switch(switch) => {
                let epoch = switch
                    .epoch
                    .map_or("?".to_string(), |epoch| epoch.to_string());
                let (shard, host) = (switch.shard.0, &switch.address.host);
                format!("switch {shard} {host} {epoch} {:?}", switch.via)
            }
            Output::Ready { without_master } => {
                let ids: Vec<usize> = without_master.iter().map(|id| id.0).collect();
                format!("ready {ids:?}")
            }
            other => panic!("not a decision: {other:?}"),
        };
        let at = (self.now - self.start).as_millis();
        self.log.push(format!("{at}: {line}"));
    }

    /// The decisions without their times.
    pub fn decisions(&self) -> Vec<&str> {
        let lines = self.log.iter();
        lines
            .map(|line| line.split_once(": ").expect("a time").1)
            .collect()
    }

    pub fn ignored(&self) -> Vec<output::Ignored> {
        let notes = self.notes.iter();
        let why = notes.filter_map(|note| match note {
            Note::Ignored { why, .. } => Some(*why),
            _ => None,
        });
        why.collect()
    }

    pub fn shard(&self) -> snapshot::ShardSnapshot {
        self.watcher.snapshot().shards.swap_remove(0)
    }
}
