//! Clients that keep several requests in flight, check every reply, and connect again when their connection
//! breaks.

use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{Client, Value, encode, eventually};

pub const CLIENTS: usize = 12;
/// Requests of a client that are in flight at a time: one round.
pub const DEPTH: usize = 8;

const PACE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Tally>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    stop: AtomicBool,
    /// Per client: rounds that were answered in full.
    rounds: Vec<AtomicUsize>,
    /// Per client: its address on its latest connection.
    names: Mutex<Vec<Option<SocketAddr>>>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: usize,
    /// Replies that are not what they should be.
    pub wrong: Vec<String>,
    /// Error replies.
    pub errors: Vec<String>,
    /// Requests without a reply, because the connection broke.
    pub lost: usize,
    /// Connections that broke after they had served.
    pub broken: usize,
    /// Connections that never served.
    pub refused: usize,
    /// When a connection broke last.
    pub last_broken: Option<Instant>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} without a reply, {} error replies, {} wrong replies, {} connections broken, \
             {} turned away",
            self.sent,
            self.lost,
            self.errors.len(),
            self.wrong.len(),
            self.broken,
            self.refused
        )
    }
}

impl Load {
    pub fn start(address: SocketAddr) -> Load {
        let shared = Arc::new(Shared {
            address,
            stop: AtomicBool::new(false),
            rounds: (0..CLIENTS).map(|_| AtomicUsize::new(0)).collect(),
            names: Mutex::new(vec![None; CLIENTS]),
        });
        let threads = (0..CLIENTS).map(|id| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || work(&shared, id))
        });
        Load {
            threads: threads.collect(),
            shared,
        }
    }

    /// Waits until every client has had so many rounds more answered.
    #[track_caller]
    pub fn await_rounds(&self, more: usize) {
        let rounds = || self.shared.rounds.iter().map(|n| n.load(Ordering::Relaxed));
        let wanted: Vec<usize> = rounds().map(|n| n + more).collect();
        eventually("all clients are served", || {
            rounds().zip(&wanted).all(|(n, &wanted)| n >= wanted)
        });
    }

    /// The addresses of the clients, as a server they connect to sees them.
    pub fn names(&self) -> Vec<SocketAddr> {
        let names = self.shared.names.lock().expect("no client panics");
        names
            .iter()
            .map(|name| name.expect("all have connected"))
            .collect()
    }

    pub fn finish(mut self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for thread in self.threads.drain(..) {
            let mut tally = thread.join().expect("no client panics");
            sum.sent += tally.sent;
            sum.wrong.append(&mut tally.wrong);
            sum.errors.append(&mut tally.errors);
            sum.lost += tally.lost;
            sum.broken += tally.broken;
            sum.refused += tally.refused;
            sum.last_broken = sum.last_broken.max(tally.last_broken);
        }
        sum
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn work(shared: &Shared, id: usize) -> Tally {
    let mut tally = Tally::default();
    let mut client = None;
    let mut served = false;
    let mut round = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let mut current = client.take().unwrap_or_else(|| {
            served = false;
            let stream = TcpStream::connect(shared.address).expect("the balancer listens");
            let name = stream.local_addr().expect("it is connected");
            shared.names.lock().expect("no client panics")[id] = Some(name);
            Client::over(stream)
        });
        round += 1;
        tally.sent += DEPTH;
        let answered = exchange(&mut current, id, round, &mut tally);
        tally.lost += DEPTH - answered;
        if answered == DEPTH {
            served = true;
            client = Some(current);
            shared.rounds[id].fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PACE);
            continue;
        }
        tally.last_broken = Some(Instant::now());
        match served {
            true => tally.broken += 1,
            false => tally.refused += 1,
        }
    }
    tally
}

/// Writes some keys of the client's own and reads them back; how many replies came.
fn exchange(client: &mut Client, id: usize, round: usize, tally: &mut Tally) -> usize {
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for key in 0..DEPTH / 2 {
        let (key, value) = (format!("load:{id}:{key}"), format!("{id}:{key}:{round}"));
        requests.extend(encode(&["SET", &key, &value]));
        requests.extend(encode(&["GET", &key]));
        expected.extend([Value::ok(), Value::bulk(&value)]);
    }
    if client.stream().write_all(&requests).is_err() {
        return 0;
    }
    for (answered, expected) in expected.iter().enumerate() {
        match client.try_read() {
            Ok(Value::Error(error)) => tally.errors.push(error),
            Ok(reply) if reply == *expected => {}
            Ok(reply) => tally
                .wrong
                .push(format!("{reply:?} instead of {expected:?}")),
            Err(_) => return answered,
        }
    }
    DEPTH
}
