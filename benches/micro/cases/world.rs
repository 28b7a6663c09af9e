//! A worker without sockets between clients and servers that say the same in every round: what they say
//! is found out, and checked, before anything is measured.

use std::io::IoSlice;
use std::sync::Arc;

use nuthatch::backend::ConnectionId;
use nuthatch::client::{ClientId, Front, Now, Peer, Place, Step};
use nuthatch::config;
use nuthatch::protocol::redis::scan::{Body, RequestScanner, Scan};
use nuthatch::protocol::redis::write;
use nuthatch::stats::WorkerStats;
use nuthatch::topology::Topology;

use super::scan::LIMITS;
use super::{key, value};

const MEMORY: usize = 1 << 30;
/// Between two readings of the clock.
const STEP_US: u64 = 20;

/// What clients, by number, send before the worker writes anything.
pub(super) type Inputs = Vec<(usize, Vec<u8>)>;

/// In which order the servers of a turn answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// The one that was asked first is first.
    Forward,
    Backward,
}

/// What is read from sockets until all is answered.
struct Turn {
    inputs: Vec<(ClientId, Vec<u8>)>,
    replies: Vec<(ConnectionId, Vec<u8>)>,
    /// Bytes that clients get.
    owed: usize,
}

/// Where bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Client(ClientId),
    Backend(ConnectionId),
}

pub(super) struct World {
    front: Front,
    us: u64,
    turns: Vec<Turn>,
    dirty_backends: Vec<ConnectionId>,
    dirty_clients: Vec<ClientId>,
    woken: Vec<ClientId>,
}

/// One pool of so many servers with nutcracker's defaults. `options`: lines of the pool.
pub(super) fn topology(servers: usize, options: &str) -> Topology {
    let servers: String = (0..servers)
        .map(|n| format!("    - 127.0.0.1:{}:1 server{n}\n", 7000 + n))
        .collect();
    let yaml = format!("p:\n  listen: 127.0.0.1:1\n  redis: true\n{options}  servers:\n{servers}");
    let loaded = config::parse(&yaml, "bench.yml").expect("a valid configuration");
    Topology::initial(&loaded.config)
}

/// Numbers of keys that are all on the same server.
pub(super) fn on_one_server(servers: usize) -> impl Iterator<Item = usize> {
    let topology = topology(servers, "");
    let place = move |number: &usize| topology.pools[0].route(&key(*number), || 0);
    let first = place(&0);
    (0..).filter(move |number| place(number) == first)
}

/// There are no other workers.
const ALONE: Place = Place {
    worker: 0,
    workers: 1,
};

impl World {
    pub fn new(servers: usize, turns: Vec<Inputs>, answers: Answers) -> World {
        let topology = Arc::new(topology(servers, ""));
        let stats = Arc::new(WorkerStats::new(&[servers]));
        let mut world = World {
            front: Front::new(topology, stats, MEMORY, ALONE, 1),
            us: 0,
            turns: Vec::new(),
            dirty_backends: Vec::new(),
            dirty_clients: Vec::new(),
            woken: Vec::new(),
        };
        let numbers = turns.iter().flatten().map(|(number, _)| *number);
        let clients: Vec<_> = (0..=numbers.max().unwrap_or(0))
            .map(|_| world.front.open(0, Peer::Unix, Now::new(0)))
            .collect();
        for inputs in turns {
            let inputs = inputs.into_iter();
            let inputs: Vec<_> = inputs.map(|(n, bytes)| (clients[n], bytes)).collect();
            // Only the second time all connections are open.
            world.rehearse(inputs.clone(), answers);
            let turn = world.rehearse(inputs, answers);
            world.turns.push(turn);
        }
        world
    }

    /// Everything once more.
    pub fn round(&mut self) {
        let turns = std::mem::take(&mut self.turns);
        turns.iter().for_each(|turn| self.turn(turn));
        self.turns = turns;
    }

    fn turn(&mut self, turn: &Turn) {
        let mut given = 0;
        for (client, input) in &turn.inputs {
            self.read_client(*client, input);
        }
        self.flush(|_, _| {});
        for (connection, reply) in &turn.replies {
            self.read_backend(*connection, reply);
        }
        self.flush(|_, slices| given += slices.iter().map(|slice| slice.len()).sum::<usize>());
        assert_eq!(given, turn.owed, "a round differs from the first");
    }

    /// Finds out what the servers are asked and answer; checks what the clients get.
    fn rehearse(&mut self, inputs: Vec<(ClientId, Vec<u8>)>, answers: Answers) -> Turn {
        for (client, input) in &inputs {
            self.read_client(*client, input);
        }
        let asked = self.flush_and_collect();
        let replies = asked.iter().map(|(to, requests)| match to {
            To::Backend(id) => (*id, execute(requests)),
            To::Client(_) => panic!("no server has answered yet"),
        });
        let mut replies: Vec<_> = replies.collect();
        if answers == Answers::Backward {
            replies.reverse();
        }
        for (connection, reply) in &replies {
            self.read_backend(*connection, reply);
        }
        let given = self.flush_and_collect();
        assert_eq!(given.len(), inputs.len());
        for (client, input) in &inputs {
            let got = given.iter().find(|(to, _)| *to == To::Client(*client));
            assert_eq!(got.map(|(_, bytes)| bytes), Some(&execute(input)));
        }
        Turn {
            inputs,
            replies,
            owed: given.iter().map(|(_, bytes)| bytes.len()).sum(),
        }
    }

    fn now(&mut self) -> Now {
        self.us += STEP_US;
        Now::new(self.us)
    }

    /// As `worker/client.rs`: a read, and the attempt at another one.
    fn read_client(&mut self, id: ClientId, input: &[u8]) {
        let now = self.now();
        assert_eq!(self.front.step(id, &|| now), Step::Read);
        assert_eq!(self.front.copy_input(id, &mut []), 0);
        self.front.handle_input(id, input, now);
        assert_eq!(self.front.step(id, &|| now), Step::Read);
        assert_eq!(self.front.copy_input(id, &mut []), 0);
        assert!(!self.front.should_leave(id));
    }

    /// As `worker/backend.rs`.
    fn read_backend(&mut self, id: ConnectionId, input: &[u8]) {
        let now = self.now();
        assert!(self.front.backends().partial(id).is_empty());
        assert!(self.front.handle_backend_bytes(id, input, now));
        assert!(self.front.backends().partial(id).is_empty());
    }

    /// As the flusher in `worker/shared.rs`, with sockets that take everything.
    fn flush(&mut self, mut write: impl FnMut(To, &[IoSlice<'_>])) {
        let mut take = |to: To, slices: &[IoSlice<'_>]| {
            write(to, slices);
            Ok(slices.iter().map(|slice| slice.len()).sum())
        };
        let front = &mut self.front;
        while front.has_work() {
            assert!(front.backends().take_dead().is_empty());
            for id in front.backends().take_opening() {
                front.backends().handle_connected(id);
            }
            assert!(front.backends().take_events().is_empty());
            let spare = std::mem::take(&mut self.dirty_backends);
            self.dirty_backends = front.backends().take_dirty(spare);
            for id in self.dirty_backends.drain(..) {
                let flushed = front.flush_backend(id, |slices| take(To::Backend(id), slices));
                flushed.expect("the sockets take all");
            }
            let spare = std::mem::take(&mut self.dirty_clients);
            self.dirty_clients = front.take_dirty(spare);
            for id in self.dirty_clients.drain(..) {
                let flushed = front.flush_client(id, |slices| take(To::Client(id), slices));
                flushed.expect("the sockets take all");
            }
            front.enforce_memory();
            let spare = std::mem::take(&mut self.woken);
            self.woken = front.take_woken(spare);
            assert!(self.woken.is_empty());
        }
    }

    /// What was written where, in the order of the first writes.
    fn flush_and_collect(&mut self) -> Vec<(To, Vec<u8>)> {
        let mut written: Vec<(To, Vec<u8>)> = Vec::new();
        self.flush(|to, slices| {
            let at = written.iter().position(|(known, _)| *known == to);
            let at = at.unwrap_or_else(|| {
                written.push((to, Vec::new()));
                written.len() - 1
            });
            (slices.iter()).for_each(|slice| written[at].1.extend_from_slice(slice));
        });
        written
    }
}

/// A Redis: what it answers to these requests.
fn execute(requests: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = requests;
    while !rest.is_empty() {
        let scan = RequestScanner::default().scan(rest, &LIMITS);
        let Ok(Scan::Complete(frame)) = scan else {
            panic!("a proxy sends whole requests");
        };
        let Body::Array(array) = frame.body else {
            panic!("a proxy sends arrays only");
        };
        let mut arguments = array.args(rest).map(|argument| argument.bytes);
        match arguments.next() {
            Some(b"GET") => write::bulk(&mut out, &value(arguments.next().expect("a key"))),
            Some(b"MGET") => {
                write::array_header(&mut out, array.argc - 1);
                arguments.for_each(|key| write::bulk(&mut out, &value(key)));
            }
            Some(b"SET" | b"MSET") => write::simple(&mut out, "OK"),
            other => panic!("no such command here: {other:?}"),
        }
        rest = &rest[frame.len..];
    }
    out
}
