//! Clients that notice every failed, lost, doubled or mistaken reply, wherever their keys are at the moment.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use crate::support::{Client, Value, encode, eventually};

const CLIENTS: usize = 4;
/// Requests of a client in one write.
const DEPTH: usize = 24;
/// Keys that every server has, with values of their own.
const CONSTANTS: usize = 12;
/// Of each client.
const COUNTERS: usize = 6;

/// Each on one connection from the beginning to the end.
pub struct Load {
    stop: Arc<AtomicBool>,
    /// Of each client.
    replies: Vec<Arc<AtomicU64>>,
    clients: Vec<JoinHandle<u64>>,
    name: String,
}

fn constant(n: usize) -> (String, String) {
    (format!("{:x}:constant", n * 7919), format!("value{n}"))
}

/// Puts what all servers have on one of them.
#[track_caller]
pub fn prepare(server: &mut Client) {
    for n in 0..CONSTANTS {
        let (key, value) = constant(n);
        assert_eq!(server.cmd(&["SET", &key, &value]), Value::ok());
    }
}

impl Load {
    /// `name`: of the keys, so that two loads are apart. Returns when every client has got replies.
    #[track_caller]
    pub fn start(name: &str, address: (&str, u16), password: Option<&str>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let replies: Vec<Arc<AtomicU64>> = (0..CLIENTS).map(|_| Arc::default()).collect();
        let address = SocketAddr::new(address.0.parse().expect("an IP address"), address.1);
        let clients = replies.iter().enumerate().map(|(number, replies)| {
            let mut client = Client::connect(address);
            if let Some(password) = password {
                assert_eq!(client.cmd(&["AUTH", password]), Value::ok());
            }
            let worker = Worker {
                client,
                prefix: format!("{name}:{number}"),
                batch: 0,
                counted: 0,
            };
            let (stop, replies) = (Arc::clone(&stop), Arc::clone(replies));
            std::thread::spawn(move || worker.run(&stop, &replies))
        });
        let load = Load {
            clients: clients.collect(),
            replies,
            stop,
            name: name.to_owned(),
        };
        load.moment();
        load
    }

    /// Until every client has done several things more.
    #[track_caller]
    pub fn moment(&self) {
        let now = || self.replies.iter().map(|replies| replies.load(Relaxed));
        let before: Vec<u64> = now().collect();
        eventually("the load goes on", || {
            let done = now().zip(&before).map(|(now, before)| now - before);
            let enough = done.min() >= Some(4 * DEPTH as u64);
            enough || self.clients.iter().any(JoinHandle::is_finished)
        });
    }

    /// Ends it; `servers`: all that there ever were. Panics if a client met anything wrong or if the servers
    /// executed another number of increments than were acknowledged.
    #[track_caller]
    pub fn finish(self, servers: &mut [Client]) {
        self.stop.store(true, Relaxed);
        for (number, client) in self.clients.into_iter().enumerate() {
            let acknowledged = client.join().expect("a client met something wrong");
            assert!(acknowledged > 0);
            let mut executed = 0;
            for server in servers.iter_mut() {
                for counter in 0..COUNTERS {
                    let key = format!("{}:{number}:counter{counter}", self.name);
                    if let Value::Bulk(bytes) = server.cmd(&["GET", &key]) {
                        let text = String::from_utf8(bytes).expect("digits");
                        executed += text.parse::<u64>().expect("a number");
                    }
                }
            }
            assert_eq!(executed, acknowledged, "increments of client {number}");
        }
    }
}

struct Worker {
    client: Client,
    prefix: String,
    batch: usize,
    /// Increments that were acknowledged.
    counted: u64,
}

impl Worker {
    fn run(mut self, stop: &AtomicBool, replies: &AtomicU64) -> u64 {
        while !stop.load(Relaxed) {
            self.exchange();
            replies.fetch_add(DEPTH as u64, Relaxed);
        }
        self.counted
    }

    /// A pipeline whose every reply is known beforehand, but for where increments stand.
    fn exchange(&mut self) {
        self.batch += 1;
        let mut bytes = Vec::new();
        let mut expected = HashMap::new();
        for n in 0..DEPTH {
            let request = match n % 4 {
                0 => {
                    // A fresh key: the reply is the length, so it can be nobody else's.
                    let length = (self.batch * 31 + n) % 97 + 1;
                    expected.insert(n, Value::Int(length as i64));
                    let key = format!("{}:{}:{n}", self.prefix, self.batch);
                    encode(&["APPEND", &key, &"x".repeat(length)])
                }
                1 => {
                    let counter = (self.batch + n) % COUNTERS;
                    encode(&["INCR", &format!("{}:counter{counter}", self.prefix)])
                }
                2 => {
                    let (key, value) = constant((self.batch + n) % CONSTANTS);
                    expected.insert(n, Value::bulk(value));
                    encode(&["GET", &key])
                }
                _ => {
                    let all: Vec<_> = (0..5)
                        .map(|i| constant((self.batch + n + i) % CONSTANTS))
                        .collect();
                    let values: Vec<&str> = all.iter().map(|(_, value)| value.as_str()).collect();
                    expected.insert(n, Value::bulks(&values));
                    let keys = all.iter().map(|(key, _)| key.as_str());
                    encode(&["MGET"].into_iter().chain(keys).collect::<Vec<_>>())
                }
            };
            bytes.extend(request);
        }
        self.client.send(bytes);
        for n in 0..DEPTH {
            let reply = self.client.read();
            match expected.get(&n) {
                Some(expected) => assert_eq!(reply, *expected, "{} {n}", self.prefix),
                None => {
                    assert!(
                        matches!(reply, Value::Int(1..)),
                        "{} {reply:?}",
                        self.prefix
                    );
                    self.counted += 1;
                }
            }
        }
    }
}
