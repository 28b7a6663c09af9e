//! Clients, proxy and servers simulated in memory: every split of every stream, every interleaving, must
//! give each client the replies a single Redis would have given.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::backend::{Cause, ConnectionId, Target};
use crate::client::{Front, Step};
use crate::protocol::redis::scan::{Body, RequestScanner, Scan, ScanLimits};
use crate::protocol::redis::write;
use crate::stats::WorkerStats;
use crate::topology::Topology;

type Store = HashMap<Vec<u8>, Vec<u8>>;

/// A Redis' end of one connection: executes what it understands, panics on what a proxy must never send.
#[derive(Default)]
struct Wire {
    port: u16,
    unread: Vec<u8>,
    replies: Vec<u8>,
}

impl Wire {
    fn receive(&mut self, bytes: &[u8], store: &mut Store) {
        self.unread.extend_from_slice(bytes);
        let limits = ScanLimits {
            request: u64::MAX,
            arguments: u32::MAX,
            bulk: u64::MAX,
            unauthenticated: false,
        };
        while let Scan::Complete(frame) = RequestScanner::default()
            .scan(&self.unread, &limits)
            .unwrap()
        {
            let Body::Array(array) = frame.body else {
                panic!("a proxy sends arrays only")
            };
            let args: Vec<Vec<u8>> = array.args(&self.unread).map(|a| a.bytes.to_vec()).collect();
            execute(store, &args, &mut self.replies);
            self.unread.drain(..frame.len);
        }
    }
}

fn execute(store: &mut Store, args: &[Vec<u8>], out: &mut Vec<u8>) {
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

struct World {
    front: Front,
    /// Per port.
    stores: HashMap<u16, Store>,
    wires: HashMap<ConnectionId, Wire>,
    random: fastrand::Rng,
    received: HashMap<ClientId, Vec<u8>>,
}

impl World {
    fn new(extra: &str, seed: u64) -> World {
        let yaml = format!(
            "p:\n  listen: 127.0.0.1:1\n  redis: true\n  hash: md5\n{extra}  servers:\n   \
             - 127.0.0.1:7000:1\n   - 127.0.0.1:7001:1\n   - 127.0.0.1:7002:1\n"
        );
        let config = crate::config::parse(&yaml, "test.yml").unwrap().config;
        let stats = Arc::new(WorkerStats::new(&[3]));
        let topology = Arc::new(Topology::initial(&config));
        World {
            front: Front::new(topology, stats, 1 << 30, 1, 1),
            stores: HashMap::new(),
            wires: HashMap::new(),
            random: fastrand::Rng::with_seed(seed),
            received: HashMap::new(),
        }
    }

    /// Does what the shell would, with sockets that take and give a few bytes at a time. True while
    /// anything happened.
    fn turn(&mut self) -> bool {
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
        self.front.take_woken(Vec::new());
        busy
    }

    fn exchange(&mut self, id: ConnectionId) -> bool {
        let wire = self.wires.get_mut(&id).unwrap();
        let most = self.random.usize(1..20_000);
        let mut sent = Vec::new();
        // "Would block" ends a flush as it does on a real socket.
        let _ = self
            .front
            .flush_backend(id, |slices| take(slices, most, &mut sent));
        wire.receive(&sent, self.stores.entry(wire.port).or_default());
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
            assert!(self.front.handle_backend_bytes(id, &read, 0));
        }
        n > 0 || !sent.is_empty()
    }

    fn deliver(&mut self, id: ClientId) -> bool {
        let most = self.random.usize(1..5_000);
        let mut sent = Vec::new();
        let _ = self
            .front
            .flush_client(id, |slices| take(slices, most, &mut sent));
        self.received.get_mut(&id).unwrap().extend_from_slice(&sent);
        !sent.is_empty()
    }

    fn settle(&mut self) {
        while self.turn() {}
    }

    /// Feeds bytes as a socket would, through whichever buffer the machine asks for.
    fn feed(&mut self, id: ClientId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.front.step(id, 0) {
                Step::Read => {
                    let mut buffer = vec![0; 256 * 1024];
                    let held = self.front.copy_input(id, &mut buffer);
                    let n = bytes.len().min(buffer.len() - held);
                    buffer[held..held + n].copy_from_slice(&bytes[..n]);
                    self.front.handle_input(id, &buffer[..held + n], 0);
                    bytes = &bytes[n..];
                }
                Step::ReadOwn => {
                    let n = self.random.usize(1..=bytes.len());
                    self.front.own_input(id).extend_from_slice(&bytes[..n]);
                    self.front.handle_own_input(id, 0);
                    bytes = &bytes[n..];
                }
                Step::Wait if self.front.clients.table[id as usize].state == State::Open => {
                    assert!(self.turn(), "paused for ever");
                }
                Step::Wait | Step::Finish | Step::Abort => return,
            }
        }
    }

    fn open(&mut self) -> ClientId {
        let id = self.front.open(0);
        self.received.insert(id, Vec::new());
        id
    }

    fn text(&self, id: ClientId) -> String {
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

fn request(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    write::array_header(&mut out, args.len());
    args.iter().for_each(|arg| write::bulk(&mut out, arg));
    out
}

fn random_command(random: &mut fastrand::Rng, client: usize) -> Vec<Vec<u8>> {
    let key = |random: &mut fastrand::Rng| format!("c{client}:{}", random.u8(..12)).into_bytes();
    let value = |random: &mut fastrand::Rng| {
        let len = match random.u8(..20) {
            0 => random.usize(..90_000),
            1 => random.usize(..9_000),
            _ => random.usize(..30),
        };
        std::iter::repeat_with(|| random.u8(..))
            .take(len)
            .collect::<Vec<u8>>()
    };
    let word = |text: &str| text.as_bytes().to_vec();
    let n = random.usize(1..8);
    match random.u8(..12) {
        0..3 => vec![word("SET"), key(random), value(random)],
        3..5 => vec![word("get"), key(random)],
        5 => [vec![word("MGET")], (0..n).map(|_| key(random)).collect()].concat(),
        6 => {
            let pairs = (0..n).flat_map(|_| [key(random), value(random)]).collect();
            [vec![word("mset")], pairs].concat()
        }
        7 => [vec![word("DEL")], (0..n).map(|_| key(random)).collect()].concat(),
        8 => [vec![word("exists")], (0..n).map(|_| key(random)).collect()].concat(),
        9 => vec![word("echo"), value(random)],
        10 => vec![word("PING")],
        _ => match random.bool() {
            true => vec![word("lpush"), key(random), word("x")],
            false => vec![word("nonsense"), word("x")],
        },
    }
}

#[test]
fn every_client_sees_the_replies_of_one_redis_in_order() {
    for seed in 0..150 {
        let extra = match seed % 3 {
            0 => "",
            1 => "  server_connections: 3\n",
            _ => "  client_pending_limit: 5\n",
        };
        let mut world = World::new(extra, seed);
        let mut expected = Vec::new();
        let mut inputs = Vec::new();
        for client in 0..3 {
            let (mut store, mut input, mut output) = (Store::new(), Vec::new(), Vec::new());
            for _ in 0..world.random.usize(1..60) {
                let command = random_command(&mut world.random, client);
                input.extend(request(&command));
                execute(&mut store, &command, &mut output);
            }
            inputs.push((world.open(), input, 0));
            expected.push(output);
        }
        while inputs.iter().any(|(_, input, at)| at < &input.len()) {
            let which = world.random.usize(..3);
            let (id, input, at) = &mut inputs[which];
            let rest = &input[*at..];
            let n = match world.random.u8(..4) {
                0 => rest.len().min(1),
                1 => rest.len(),
                _ => world.random.usize(..=rest.len().min(300)),
            };
            *at += n;
            world.feed(*id, &rest[..n]);
            if world.random.bool() {
                world.turn();
            }
        }
        world.settle();
        for ((id, ..), want) in inputs.iter().zip(&expected) {
            // Ends with a pause that is over: the machine may still hold requests.
            loop {
                let step = world.front.step(*id, 0);
                if !world.turn() {
                    assert_eq!(step, Step::Read, "seed {seed}: stuck");
                    break;
                }
            }
            assert!(
                world.received[id] == *want,
                "seed {seed}: client {id} differs"
            );
            assert_eq!(
                world.front.clients.table[*id as usize].pipeline.pending(),
                0
            );
        }
        world.front.enforce_memory();
        assert_eq!(world.front.clients.buffered, 0, "seed {seed}");
        assert_eq!(world.front.backends().unsent(), 0, "seed {seed}");
    }
}

#[test]
fn malformed_input_is_answered_after_the_replies_before_it_at_any_split() {
    let cases: [(&[u8], &str); 9] = [
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF after a bulk string"),
        (b"set \"a\r\n", "unbalanced quotes in request"),
        (b"*1\rx", "expected CRLF after a bulk string"),
    ];
    for (bad, reason) in cases {
        let input = [
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nping\r\n",
            bad,
            b"*1\r\n$4\r\nPING\r\n",
        ]
        .concat();
        for first in 0..input.len() {
            let mut world = World::new("", first as u64);
            let id = world.open();
            world.feed(id, &input[..first]);
            world.feed(id, &input[first..]);
            world.settle();
            let want = format!(r"$-1\r\n+PONG\r\n-ERR Protocol error: {reason}\r\n");
            let want = want.replace('\'', r"\'").replace('"', "\\\"");
            assert_eq!(world.text(id), want, "split at {first}");
            assert_eq!(world.front.step(id, 0), Step::Finish);
        }
    }
}

#[test]
fn arbitrary_bytes_are_survived_and_mean_the_same_at_any_split() {
    let alphabet: &[&[u8]] = &[
        b"*",
        b"$",
        b"1",
        b"2",
        b"3",
        b"\r\n",
        b"\n",
        b"GET",
        b"ping",
        b" ",
        b"\"",
        b"x",
        b"\0",
        b"-",
        b"*1\r\n$4\r\nPING\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    ];
    for seed in 0..600 {
        let mut random = fastrand::Rng::with_seed(seed);
        let input: Vec<u8> = (0..random.usize(1..30))
            .flat_map(|_| alphabet[random.usize(..alphabet.len())].to_vec())
            .collect();
        let mut whole = World::new("", seed);
        let id = whole.open();
        whole.feed(id, &input);
        whole.settle();
        let mut split = World::new("", seed);
        let id = split.open();
        input.iter().for_each(|byte| split.feed(id, &[*byte]));
        split.settle();
        assert_eq!(whole.text(id), split.text(id), "{}", input.escape_ascii());
    }
}

#[test]
fn a_lost_connection_fails_what_was_sent_and_resends_the_rest() {
    let mut world = World::new("", 1);
    let id = world.open();
    let key = |n: u8| format!("key{n}").into_bytes();
    world.feed(id, &request(&[b"set".to_vec(), key(1), b"v".to_vec()]));
    world.settle();
    // Two more to the same server: one is written, one is not.
    let set = request(&[b"set".to_vec(), key(1), b"w".to_vec()]);
    let get = request(&[b"get".to_vec(), key(1)]);
    world.feed(id, &set);
    let (connection, _) = world
        .wires
        .iter()
        .next()
        .map(|(id, wire)| (*id, wire.port))
        .unwrap();
    world
        .front
        .flush_backend(connection, |slices| Ok(slices[0].len()))
        .unwrap();
    world.feed(id, &get);
    world
        .front
        .handle_backend_closed(connection, Cause::Closed, 0);
    world.settle();
    assert_eq!(
        world.text(id),
        r"+OK\r\n-ERR Connection closed by the server: server 127.0.0.1:7002; the command may or may not have been applied\r\n$1\r\nv\r\n"
            .replace("7002", &world.wires.values().next().unwrap().port.to_string())
    );
}

#[test]
fn a_reply_that_has_begun_and_cannot_end_closes_the_client() {
    let mut world = World::new("", 1);
    let id = world.open();
    world.feed(id, &request(&[b"get".to_vec(), b"k".to_vec()]));
    for id in world.front.backends().take_opening() {
        world.front.backends().handle_connected(id);
        world
            .front
            .flush_backend(id, |slices| Ok(slices[0].len()))
            .unwrap();
        assert!(world.front.handle_backend_bytes(id, b"$10\r\nabc", 0));
        world.front.handle_backend_closed(id, Cause::Closed, 0);
    }
    assert_eq!(world.front.step(id, 0), Step::Abort);
}

#[test]
fn a_client_that_does_not_read_is_paused_and_then_closed() {
    let mut world = World::new("  client_output_limit: 100k\n", 1);
    let id = world.open();
    let set = request(&[b"set".to_vec(), b"k".to_vec(), vec![b'v'; 40_000]]);
    let get = request(&[b"get".to_vec(), b"k".to_vec()]);
    world.feed(
        id,
        &[set, get.clone(), get.clone(), get.clone(), get].concat(),
    );
    let mut connections = Vec::new();
    for id in world.front.backends().take_opening() {
        world.front.backends().handle_connected(id);
        connections.push(id);
    }
    let reply = [&b"$40000\r\n"[..], &[b'v'; 40_000], b"\r\n"].concat();
    let connection = connections[0];
    world
        .front
        .flush_backend(connection, |s| Ok(s.iter().map(|s| s.len()).sum()))
        .unwrap();
    assert!(world.front.handle_backend_bytes(connection, b"+OK\r\n", 0));
    assert!(world.front.handle_backend_bytes(connection, &reply, 0));
    assert!(world.front.handle_backend_bytes(connection, &reply, 0));
    world.feed(id, b"PING\r\n");
    assert_eq!(world.front.step(id, 0), Step::Wait, "80 KB of 100 KB wait");
    assert!(world.front.handle_backend_bytes(connection, &reply, 0));
    assert_eq!(world.front.step(id, 0), Step::Abort, "120 KB wait");
}

#[test]
fn hello_waits_for_the_replies_of_the_old_protocol() {
    let mut world = World::new("", 3);
    let id = world.open();
    let input = [
        request(&[b"get".to_vec(), b"a".to_vec()]),
        request(&[b"hello".to_vec(), b"3".to_vec()]),
        request(&[b"get".to_vec(), b"a".to_vec()]),
    ]
    .concat();
    world.feed(id, &input);
    assert_eq!(world.front.step(id, 0), Step::Wait);
    world.settle();
    assert_eq!(world.front.step(id, 0), Step::Read);
    world.settle();
    let text = world.text(id);
    assert!(text.starts_with(r"$-1\r\n%7\r\n$6\r\nserver\r\n"), "{text}");
    assert!(text.ends_with(r"*0\r\n$-1\r\n"), "{text}");
    let versions: Vec<_> = (world.wires.keys())
        .map(|id| world.front.backends.plan(*id).unwrap().resp as u8)
        .collect();
    assert_eq!(versions.len(), 2, "one connection per protocol version");
    assert_ne!(versions[0], versions[1]);
}
