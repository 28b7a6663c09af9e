//! A world for the tests of this stage: clients, proxy and servers simulated in memory, with sockets that
//! take and give a few bytes at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::*;
use crate::backend::{ConnectionId, Target};
use crate::client::{Front, Now, Step};
use crate::protocol::redis::scan::{Body, RequestScanner, Scan, ScanLimits};
use crate::protocol::redis::write;
use crate::stats::WorkerStats;
use crate::topology::Topology;

pub(super) const NOW: Now = Now { ms: 0, us: 1, s: 0 };

/// There are no other workers.
pub(super) const ALONE: Place = Place {
    worker: 0,
    workers: 1,
};

pub(super) type Store = HashMap<Vec<u8>, Vec<u8>>;

/// A Redis' end of one connection: executes what it understands, panics on what a proxy must never send.
#[derive(Default)]
pub(super) struct Wire {
    pub port: u16,
    unread: Vec<u8>,
    replies: Vec<u8>,
    /// Channels that are subscribed to, and patterns (true).
    names: HashSet<(bool, Vec<u8>)>,
}

impl Wire {
    /// The next request that has come whole.
    fn next(&mut self) -> Option<Vec<Vec<u8>>> {
        let limits = ScanLimits {
            request: u64::MAX,
            arguments: u32::MAX,
            bulk: u64::MAX,
            unauthenticated: false,
        };
        let scanned = RequestScanner::default().scan(&self.unread, &limits);
        let Scan::Complete(frame) = scanned.unwrap() else {
            return None;
        };
        let Body::Array(array) = frame.body else {
            panic!("a proxy sends arrays only")
        };
        let args: Vec<Vec<u8>> = array.args(&self.unread).map(|a| a.bytes.to_vec()).collect();
        self.unread.drain(..frame.len);
        Some(args)
    }

    /// (P)SUBSCRIBE, (P)UNSUBSCRIBE.
    fn subscribe(&mut self, pattern: bool, ends: bool, args: &[Vec<u8>]) {
        for name in &args[1..] {
            let entry = (pattern, name.clone());
            let _ = match ends {
                true => self.names.remove(&entry),
                false => self.names.insert(entry),
            };
            write::push_header(&mut self.replies, 3);
            write::bulk(&mut self.replies, &args[0]);
            write::bulk(&mut self.replies, name);
            write::integer(&mut self.replies, self.names.len() as i64);
        }
    }

    /// Pushes a message to whatever has subscribed here; how many that are. Patterns are a byte and the
    /// channel's end.
    fn hear(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let hears = |(pattern, name): &&(bool, Vec<u8>)| match pattern {
            true => channel.ends_with(&name[1..]),
            false => *name == channel,
        };
        let hearing = self.names.iter().filter(hears);
        let hearing = hearing.map(|(pattern, name)| match pattern {
            true => vec![&b"pmessage"[..], name, channel, payload],
            false => vec![&b"message"[..], channel, payload],
        });
        let messages: Vec<_> = hearing.collect();
        for words in &messages {
            write::push_header(&mut self.replies, words.len());
            words.iter().for_each(|w| write::bulk(&mut self.replies, w));
        }
        messages.len()
    }
}

pub(super) fn execute(store: &mut Store, args: &[Vec<u8>], out: &mut Vec<u8>) {
    let value = |store: &Store, key: &Vec<u8>, out: &mut Vec<u8>| match store.get(key) {
        Some(value) => write::bulk(out, value),
        None => out.extend_from_slice(b"$-1\r\n"),
    };
    match args[0].to_ascii_lowercase().as_slice() {
        b"get" => value(store, &args[1], out),
        b"set" => {
            store.insert(args[1].clone(), args[2].clone());
            write::simple(out, "OK");
        }
        b"mget" => {
            write::array_header(out, args.len() - 1);
            args[1..].iter().for_each(|key| value(store, key, out));
        }
        // Each key's value with the path behind it.
        b"json.mget" => {
            let (path, keys) = args[1..].split_last().expect("a path");
            write::array_header(out, keys.len());
            for key in keys {
                let value = store.get(key).map_or(&[][..], |value| value);
                write::bulk(out, &[value, path].concat());
            }
        }
        // Adds to the key's samples, and answers with the time or an error.
        b"ts.madd" => {
            write::array_header(out, args.len() / 3);
            for sample in args[1..].chunks(3) {
                match sample[2].first() {
                    None => write::error(out, "TSDB: invalid value"),
                    Some(_) => write::bulk(out, &sample[1]),
                }
                store.insert(sample[0].clone(), sample[2].clone());
            }
        }
        b"mset" => {
            for pair in args[1..].chunks(2) {
                store.insert(pair[0].clone(), pair[1].clone());
            }
            write::simple(out, "OK");
        }
        b"del" => {
            let gone = args[1..]
                .iter()
                .filter(|key| store.remove(*key).is_some())
                .count();
            write::integer(out, gone as i64);
        }
        b"exists" => {
            let there = args[1..]
                .iter()
                .filter(|key| store.contains_key(*key))
                .count();
            write::integer(out, there as i64);
        }
        b"lpush" => write::error(out, "WRONGTYPE of course"),
        b"echo" => write::bulk(out, &args[1]),
        b"ping" => write::simple(out, "PONG"),
        b"nonsense" => write::error(
            out,
            "ERR unknown command 'nonsense', with args beginning with: 'x' ",
        ),
        other => panic!("{}", other.escape_ascii()),
    }
}

pub(super) struct World {
    pub front: Front,
    pub stats: Arc<WorkerStats>,
    /// Per port.
    pub stores: HashMap<u16, Store>,
    pub wires: HashMap<ConnectionId, Wire>,
    pub random: fastrand::Rng,
    pub received: HashMap<ClientId, Vec<u8>>,
    /// Clients and backends that are marked or whose socket was full.
    unwritten: (HashSet<ClientId>, HashSet<ConnectionId>),
    /// Whom the shell would have woken.
    pub woken: Vec<ClientId>,
}

impl World {
    pub fn new(extra: &str, seed: u64) -> World {
        World::with_memory(extra, seed, 1 << 30)
    }

    pub fn with_memory(extra: &str, seed: u64, memory: usize) -> World {
        let yaml = format!(
            "p:\n  listen: 127.0.0.1:1\n  redis: true\n  hash: md5\n{extra}  servers:\n   \
             - 127.0.0.1:7000:1\n   - 127.0.0.1:7001:1\n   - 127.0.0.1:7002:1\n"
        );
        let config = crate::config::parse(&yaml, "test.yml").unwrap().config;
        let stats = Arc::new(WorkerStats::new(&[3]));
        let topology = Arc::new(Topology::initial(&config));
        World {
            front: Front::new(topology, stats.clone(), memory, ALONE, 1),
            stats,
            stores: HashMap::new(),
            wires: HashMap::new(),
            random: fastrand::Rng::with_seed(seed),
            received: HashMap::new(),
            unwritten: Default::default(),
            woken: Vec::new(),
        }
    }

    /// Does what the shell would, with sockets that take and give a few bytes at a time. True while
    /// anything happened.
    pub fn turn(&mut self) -> bool {
        let mut busy = false;
        for id in self.front.backends().take_dead() {
            self.wires.remove(&id);
            self.front.backends().remove(id);
            busy = true;
        }
        for id in self.front.backends().take_opening() {
            let Target::Tcp(address) = self.front.backends().plan(id).unwrap().target else {
                panic!("all test servers are TCP")
            };
            let wire = Wire {
                port: address.port(),
                ..Wire::default()
            };
            self.wires.insert(id, wire);
            self.front.backends().handle_connected(id);
            busy = true;
        }
        self.front.backends().take_events();
        let marked = self.front.backends().take_dirty(Vec::new());
        self.unwritten.1.extend(marked);
        self.unwritten.0.extend(self.front.take_dirty(Vec::new()));
        let mut ids: Vec<_> = self.wires.keys().copied().collect();
        ids.sort_unstable();
        self.random.shuffle(&mut ids);
        for id in ids {
            busy |= self.exchange(id);
        }
        let mut clients: Vec<_> = self.received.keys().copied().collect();
        clients.sort_unstable();
        for id in clients {
            busy |= self.deliver(id);
        }
        self.woken.extend(self.front.take_woken(Vec::new()));
        busy
    }

    fn exchange(&mut self, id: ConnectionId) -> bool {
        let wire = self.wires.get_mut(&id).unwrap();
        let most = self.random.usize(1..20_000);
        let mut sent = Vec::new();
        // "Would block" ends a flush as on a real socket, which then says when it takes more.
        if self.unwritten.1.contains(&id)
            && self
                .front
                .flush_backend(id, |slices| take(slices, most, &mut sent))
                .is_ok()
        {
            self.unwritten.1.remove(&id);
        }
        wire.unread.extend_from_slice(&sent);
        self.serve(id);
        let wire = self.wires.get_mut(&id).unwrap();
        let len = wire.replies.len();
        let most = if self.random.bool() { len.min(9) } else { len };
        let n = if len == 0 {
            0
        } else {
            self.random.usize(1..=most)
        };
        if n > 0 {
            let mut read = self.front.backends().partial(id).to_vec();
            read.extend(wire.replies.drain(..n));
            if !self.front.handle_backend_bytes(id, &read, NOW) {
                let wire = self.wires.remove(&id).unwrap();
                assert!(wire.replies.is_empty(), "ends before its last reply");
            }
        }
        n > 0 || !sent.is_empty()
    }

    /// Executes what has come.
    fn serve(&mut self, id: ConnectionId) {
        loop {
            let wire = self.wires.get_mut(&id).unwrap();
            let Some(args) = wire.next() else {
                return;
            };
            match args[0].to_ascii_lowercase().as_slice() {
                b"subscribe" => wire.subscribe(false, false, &args),
                b"psubscribe" => wire.subscribe(true, false, &args),
                b"unsubscribe" => wire.subscribe(false, true, &args),
                b"punsubscribe" => wire.subscribe(true, true, &args),
                b"hello" => wire.replies.extend(b"%1\r\n+proto\r\n:3\r\n"),
                b"publish" => {
                    let port = wire.port;
                    let wires = self.wires.values_mut().filter(|wire| wire.port == port);
                    let count: usize = wires.map(|wire| wire.hear(&args[1], &args[2])).sum();
                    let wire = self.wires.get_mut(&id).unwrap();
                    write::integer(&mut wire.replies, count as i64);
                }
                _ => {
                    let store = self.stores.entry(wire.port).or_default();
                    execute(store, &args, &mut wire.replies);
                }
            }
        }
    }

    fn deliver(&mut self, id: ClientId) -> bool {
        let most = self.random.usize(1..5_000);
        let mut sent = Vec::new();
        if self.unwritten.0.contains(&id)
            && self
                .front
                .flush_client(id, |slices| take(slices, most, &mut sent))
                .is_ok()
        {
            self.unwritten.0.remove(&id);
        }
        self.received.get_mut(&id).unwrap().extend_from_slice(&sent);
        !sent.is_empty()
    }

    pub fn settle(&mut self) {
        while self.turn() {}
    }

    /// Feeds bytes as a socket would, through whichever buffer the machine asks for.
    pub fn feed(&mut self, id: ClientId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.front.step(id, &|| NOW) {
                Step::Read => {
                    let mut buffer = vec![0; 256 * 1024];
                    let held = self.front.copy_input(id, &mut buffer);
                    let n = bytes.len().min(buffer.len() - held);
                    buffer[held..held + n].copy_from_slice(&bytes[..n]);
                    self.front.handle_input(id, &buffer[..held + n], NOW);
                    bytes = &bytes[n..];
                }
                Step::ReadOwn => {
                    let n = self.random.usize(1..=bytes.len());
                    self.front.own_input(id).extend_from_slice(&bytes[..n]);
                    self.front.handle_own_input(id, NOW);
                    bytes = &bytes[n..];
                }
                Step::Wait if self.front.clients.table[id as usize].state == State::Open => {
                    assert!(self.turn(), "paused for ever");
                }
                Step::Wait | Step::Finish | Step::Abort => return,
            }
        }
    }

    pub fn open(&mut self) -> ClientId {
        let id = self.front.open(0, Peer::Unix, NOW);
        self.received.insert(id, Vec::new());
        id
    }

    pub fn text(&self, id: ClientId) -> String {
        self.received[&id].escape_ascii().to_string()
    }
}

fn take(
    slices: &[std::io::IoSlice<'_>],
    most: usize,
    sent: &mut Vec<u8>,
) -> std::io::Result<usize> {
    let before = sent.len();
    for slice in slices {
        let room = most.saturating_sub(sent.len());
        sent.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    match sent.len() - before {
        0 => Err(std::io::ErrorKind::WouldBlock.into()),
        n => Ok(n),
    }
}

pub(super) fn request(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    write::array_header(&mut out, args.len());
    args.iter().for_each(|arg| write::bulk(&mut out, arg));
    out
}
