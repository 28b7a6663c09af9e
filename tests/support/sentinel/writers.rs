//! Clients in the background that write what can be looked for afterwards.
//!
//! Per shard two writers and a reader, and one client that uses all shards in turn. Each waits for every
//! reply. Lists get unique tokens (what is lost or doubled is seen), counters are raised (what is counted
//! twice is seen although nobody kept the value), one register per shard is overwritten and read (what is
//! served from the past is seen) and one key per shard never changes (what belongs to another request is
//! seen). [`super::report`] compares all this with the final masters.

use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::report::Report;
use super::{Cluster, QUESTION, exchange};
use crate::support::{Client, Proxy, Value};

/// From one operation of a client to its next, about.
const PACE: Duration = Duration::from_millis(8);

/// After which a client gives up and connects again; longer than any hold here.
const LOST: Duration = Duration::from_secs(8);

/// Hash tags tried until every shard has one.
const TAGS: usize = 200;

/// Where the writers send what belongs to each shard.
#[derive(Clone, Debug)]
pub struct Target {
    /// Per shard: where, and the hash tag of its keys.
    shards: Vec<(SocketAddr, String)>,
    /// What connections authenticate with.
    password: Option<String>,
    /// Is it one address for all shards, so that one connection and MGET reach all?
    shared: bool,
}

impl Target {
    /// Through the proxy, as its configuration places keys.
    #[track_caller]
    pub fn proxy(cluster: &Cluster, proxy: &Proxy) -> Target {
        let (host, port) = proxy.addr();
        let address = SocketAddr::new(host.parse().expect("an IP address"), port);
        let tags: Vec<String> = (0..TAGS).map(|tag| format!("{{t{tag}}}")).collect();
        let located = Command::new(Proxy::binary())
            .args(["locate", "--no-header", "-c"])
            .arg(proxy.config_path())
            .args(&tags)
            .output()
            .expect("the proxy's binary starts");
        let located = String::from_utf8(located.stdout).expect("UTF-8");
        let shards = (0..cluster.shards()).map(|shard| {
            let lives = |line: &&str| line.split('\t').nth(4) == Some(cluster.name(shard));
            let line = located.lines().find(lives);
            let line = line.unwrap_or_else(|| panic!("no key for a shard in:\n{located}"));
            (
                address,
                line.split('\t').next().expect("a column").to_owned(),
            )
        });
        Target {
            shards: shards.collect(),
            password: cluster.password().map(str::to_owned),
            shared: true,
        }
    }

    /// Past any proxy, to the node of each shard with this index.
    pub fn direct(cluster: &Cluster, index: usize) -> Target {
        let shards = (0..cluster.shards()).map(|shard| {
            let address = cluster.nodes(shard)[index].addr();
            (address, format!("{{t{shard}}}"))
        });
        Target {
            shards: shards.collect(),
            password: cluster.password().map(str::to_owned),
            shared: false,
        }
    }

    /// The same keys, by another way in.
    pub fn via(mut self, address: SocketAddr) -> Target {
        self.shards.iter_mut().for_each(|shard| shard.0 = address);
        self
    }

    /// A key of the shard.
    pub fn key(&self, shard: usize, rest: &str) -> String {
        format!("{}{rest}", self.shards[shard].1)
    }
}

/// What came of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// An error reply.
    Error(String),
    /// No reply: the connection ended, or the client gave up.
    Lost(String),
}

#[derive(Clone, Debug)]
pub struct Operation {
    /// `None`: all of them (MGET).
    pub shard: Option<usize>,
    pub write: bool,
    pub sent: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
}

/// One write of a unique token to a list.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub key: String,
    pub shard: usize,
    pub sent: Instant,
    /// Was it acknowledged? If not, it may have been applied or not.
    pub acknowledged: bool,
}

/// One counter, raised by one client only.
#[derive(Clone, Debug)]
pub struct Counter {
    pub key: String,
    pub shard: usize,
    pub acknowledged: i64,
    /// May have been applied or not.
    pub unsure: i64,
}

/// What one client did and saw.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub operations: Vec<Operation>,
    pub tokens: Vec<Token>,
    pub counters: Vec<Counter>,
    /// A value of another key, a missing value that exists, a partial MGET.
    pub wrong_reads: Vec<String>,
    /// Older than what was acknowledged before the read was sent.
    pub stale_reads: Vec<String>,
    /// Connections that ended under the client.
    pub dropped: usize,
}

#[derive(Debug)]
pub struct Writers {
    /// Per client: its list and its counter on its first shard.
    keys: Vec<(String, String)>,
    begin: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Record>>,
}

impl Writers {
    /// Prepares the keys that never change on the cluster's masters, past the proxy, and starts.
    #[track_caller]
    pub fn start(cluster: &Cluster, target: &Target) -> Writers {
        let registers: Vec<AtomicI64> = target.shards.iter().map(|_| AtomicI64::new(0)).collect();
        let shared = Arc::new(Shared {
            target: target.clone(),
            registers,
            next: AtomicU64::new(0),
        });
        for shard in 0..target.shards.len() {
            prepare(cluster, target, shard);
        }
        let all: Vec<usize> = (0..target.shards.len()).collect();
        let mut tasks: Vec<(Role, Vec<usize>)> = Vec::new();
        for &shard in &all {
            tasks.push((Role::Writer { register: true }, vec![shard]));
            tasks.push((Role::Writer { register: false }, vec![shard]));
            tasks.push((Role::Reader, vec![shard]));
        }
        if target.shared {
            tasks.push((Role::Writer { register: false }, all.clone()));
            tasks.push((Role::Reader, all));
        }
        let workers: Vec<Worker> = tasks
            .into_iter()
            .map(|(role, shards)| Worker::new(Arc::clone(&shared), role, shards))
            .collect();
        let keys = workers.iter().map(|worker| {
            let counter = &worker.record.counters[0];
            (worker.list(counter.shard), counter.key.clone())
        });
        let keys = keys.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let threads = workers.into_iter().map(|mut worker| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    worker.turn();
                    std::thread::sleep(PACE);
                }
                worker.record
            })
        });
        Writers {
            keys,
            begin,
            threads: threads.collect(),
            stop,
        }
    }

    /// How many there are; each has one connection, but for those to shards with addresses of their own.
    pub fn clients(&self) -> usize {
        self.keys.len()
    }

    /// The list that client `number` writes to, on its first shard.
    pub fn list(&self, number: usize) -> String {
        self.keys[number].0.clone()
    }

    /// The counter that client `number` raises, on its first shard.
    pub fn counter(&self, number: usize) -> String {
        self.keys[number].1.clone()
    }

    /// Ends all clients, waits until every shard has an agreed master and compares.
    #[track_caller]
    pub fn finish(mut self, cluster: &Cluster) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let end = Instant::now();
        let records = self
            .threads
            .drain(..)
            .map(|t| t.join().expect("a client does not panic"));
        let records: Vec<Record> = records.collect();
        Report::make(cluster, records, self.begin, end)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sets the shard's constant and its register and waits until the replicas have them: no failover may
/// take them away.
#[track_caller]
fn prepare(cluster: &Cluster, target: &Target, shard: usize) {
    let index = match target.shared {
        true => cluster.master_of(shard),
        false => cluster
            .addresses(shard)
            .iter()
            .position(|address| *address == target.shards[shard].0)
            .expect("a direct target is a node"),
    };
    let mut client = cluster.nodes(shard)[index].client();
    let (constant, register) = (constant(target, shard), target.key(shard, "register"));
    assert_eq!(client.cmd(&["SET", &constant, &constant]), Value::ok());
    assert_eq!(client.cmd(&["SET", &register, "0"]), Value::ok());
    let replicas = cluster
        .nodes(shard)
        .iter()
        .filter(|n| n.is_running())
        .count()
        - 1;
    client.cmd(&["WAIT", &replicas.to_string(), "3000"]);
}

/// The key that never changes; it is its own value.
fn constant(target: &Target, shard: usize) -> String {
    target.key(shard, "constant")
}

#[derive(Debug)]
struct Shared {
    target: Target,
    /// Per shard: the highest acknowledged value of its register.
    registers: Vec<AtomicI64>,
    /// Number of the next token.
    next: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    /// `register`: the one client that overwrites the shard's register.
    Writer {
        register: bool,
    },
    Reader,
}

#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    role: Role,
    shards: Vec<usize>,
    id: usize,
    turns: i64,
    /// All its shards have one address, or it has but one shard.
    client: Option<Client>,
    record: Record,
}

impl Worker {
    fn new(shared: Arc<Shared>, role: Role, shards: Vec<usize>) -> Worker {
        /// So that the keys of one load are not those of another.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let counters = shards.iter().map(|&shard| Counter {
            key: shared.target.key(shard, &format!("counter{id}")),
            shard,
            acknowledged: 0,
            unsure: 0,
        });
        let record = Record {
            counters: counters.collect(),
            ..Record::default()
        };
        Worker {
            shared,
            role,
            shards,
            id,
            turns: 0,
            client: None,
            record,
        }
    }

    fn turn(&mut self) {
        self.turns += 1;
        for at in 0..self.shards.len() {
            let shard = self.shards[at];
            match (self.role, self.turns % 4) {
                (Role::Writer { .. }, 0) => self.count(at),
                (Role::Writer { register: true }, 1) => self.overwrite(shard),
                (Role::Writer { .. }, _) => self.push(shard),
                (Role::Reader, 0 | 2) => self.read_constant(shard),
                (Role::Reader, _) => self.read_register(shard),
            }
        }
        if matches!(self.role, Role::Reader) && self.shards.len() > 1 && self.turns % 4 == 0 {
            self.read_all();
        }
    }

    fn count(&mut self, at: usize) {
        let key = self.record.counters[at].key.clone();
        let outcome = self.write(self.shards[at], &["INCR", &key]);
        let counter = &mut self.record.counters[at];
        match outcome {
            Outcome::Done => counter.acknowledged += 1,
            Outcome::Error(text) if not_applied(&text) => {}
            _ => counter.unsure += 1,
        }
    }

    fn push(&mut self, shard: usize) {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("t{number}");
        let key = self.list(shard);
        let sent = Instant::now();
        let outcome = self.write(shard, &["RPUSH", &key, &text]);
        if matches!(&outcome, Outcome::Error(text) if not_applied(text)) {
            return;
        }
        self.record.tokens.push(Token {
            text,
            key,
            shard,
            sent,
            acknowledged: outcome == Outcome::Done,
        });
    }

    fn list(&self, shard: usize) -> String {
        self.shared.target.key(shard, &format!("list{}", self.id))
    }

    fn overwrite(&mut self, shard: usize) {
        let key = self.shared.target.key(shard, "register");
        if self.write(shard, &["SET", &key, &self.turns.to_string()]) == Outcome::Done {
            self.shared.registers[shard].store(self.turns, Ordering::SeqCst);
        }
    }

    fn read_constant(&mut self, shard: usize) {
        let key = constant(&self.shared.target, shard);
        if let Some(value) = self.perform(Some(shard), false, &["GET", &key])
            && value != Value::bulk(&key)
        {
            self.record.wrong_reads.push(format!("{key}: {value:?}"));
        }
    }

    fn read_register(&mut self, shard: usize) {
        let key = self.shared.target.key(shard, "register");
        let least = self.shared.registers[shard].load(Ordering::SeqCst);
        let Some(value) = self.perform(Some(shard), false, &["GET", &key]) else {
            return;
        };
        match super::text(&value).and_then(|text| text.parse::<i64>().ok()) {
            None => self.record.wrong_reads.push(format!("{key}: {value:?}")),
            Some(number) if number < least => {
                let what = format!("{key}: {number} after {least}");
                self.record.stale_reads.push(what);
            }
            Some(_) => {}
        }
    }

    fn read_all(&mut self) {
        let target = &self.shared.target;
        let keys: Vec<String> = self.shards.iter().map(|&s| constant(target, s)).collect();
        let command: Vec<&str> = std::iter::once("MGET")
            .chain(keys.iter().map(String::as_str))
            .collect();
        if let Some(values) = self.perform(None, false, &command)
            && values != Value::bulks(&keys)
        {
            self.record.wrong_reads.push(format!("MGET: {values:?}"));
        }
    }

    fn write(&mut self, shard: usize, command: &[&str]) -> Outcome {
        self.perform(Some(shard), true, command);
        let last = self.record.operations.last().expect("it was recorded");
        last.outcome.clone()
    }

    /// One operation, recorded; its reply unless that is an error or there is none.
    fn perform(&mut self, shard: Option<usize>, write: bool, command: &[&str]) -> Option<Value> {
        let sent = Instant::now();
        let reply = self.ask(shard.unwrap_or(self.shards[0]), command);
        let (outcome, value) = match reply {
            Ok(Value::Error(text)) => (Outcome::Error(text), None),
            Ok(value) => (Outcome::Done, Some(value)),
            Err(why) => (Outcome::Lost(why), None),
        };
        self.record.operations.push(Operation {
            shard,
            write,
            sent,
            ended: Instant::now(),
            outcome,
        });
        value
    }

    fn ask(&mut self, shard: usize, command: &[&str]) -> Result<Value, String> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => connect(&self.shared.target, shard).map_err(|e| format!("connect: {e}"))?,
        };
        match exchange(&mut client, command) {
            Ok(value) => {
                self.client = Some(client);
                Ok(value)
            }
            Err(why) => {
                self.record.dropped += 1;
                Err(why)
            }
        }
    }
}

fn connect(target: &Target, shard: usize) -> Result<Client, String> {
    let stream = TcpStream::connect_timeout(&target.shards[shard].0, QUESTION)
        .map_err(|error| error.to_string())?;
    let mut client = Client::over(stream);
    client.set_timeout(LOST);
    if let Some(password) = &target.password
        && let Value::Error(refused) = exchange(&mut client, &["AUTH", password])?
    {
        return Err(refused);
    }
    Ok(client)
}

/// Errors by which the server says that it did not execute the command.
fn not_applied(error: &str) -> bool {
    let word = error.split(' ').next();
    let known = ["READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "NOAUTH"];
    word.is_some_and(|word| known.contains(&word))
}
