//! Connections break, clients leave and stall: whoever stays gets one reply per request, in order, each
//! the right one or an error, and no client waits for what nobody will do.

use std::collections::HashSet;
use std::sync::Arc;

use super::world_tests::{NOW, Store, World, execute, request};
use super::{ClientId, Pause, State};
use crate::backend::Cause;
use crate::client::Step;
use crate::protocol::redis::reply::ReplyScanner;
use crate::topology::{Endpoint, Pool, Topology};

const KEYS: u8 = 12;

/// Every server has every key, and nothing changes them: a reply is right or wrong, never both.
fn store() -> Store {
    (0..KEYS)
        .map(|n| {
            let len = [3, 30, 5_000, 20_000][usize::from(n % 4)];
            (format!("key{n}").into_bytes(), vec![b'a' + n; len])
        })
        .collect()
}

fn command(random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let key = |random: &mut fastrand::Rng| format!("key{}", random.u8(..2 * KEYS)).into_bytes();
    let keys = random.usize(1..6);
    match random.u8(..8) {
        0..4 => vec![b"get".to_vec(), key(random)],
        4..6 => [
            vec![b"mget".to_vec()],
            (0..keys).map(|_| key(random)).collect(),
        ]
        .concat(),
        6 => [
            vec![b"exists".to_vec()],
            (0..keys).map(|_| key(random)).collect(),
        ]
        .concat(),
        _ => vec![b"ping".to_vec()],
    }
}

/// A client with its task: as the shell's, it looks at the machine only when it is woken or its socket
/// has something to read.
struct Peer {
    id: ClientId,
    input: Vec<u8>,
    at: usize,
    expected: Vec<Vec<u8>>,
    waiting: bool,
    says_eof: bool,
    eof: bool,
    end: Option<Step>,
}

impl Peer {
    fn new(world: &mut World) -> Peer {
        let (mut input, mut expected) = (Vec::new(), Vec::new());
        let mut store = store();
        for _ in 0..world.random.usize(1..40) {
            let command = command(&mut world.random);
            input.extend(request(&command));
            let mut reply = Vec::new();
            execute(&mut store, &command, &mut reply);
            expected.push(reply);
        }
        Peer {
            id: world.open(),
            input,
            at: 0,
            expected,
            waiting: false,
            says_eof: world.random.bool(),
            eof: false,
            end: None,
        }
    }

    fn poll(&mut self, world: &mut World) -> bool {
        let before = (self.at, self.waiting, self.eof);
        self.waiting = false;
        match world.front.step(self.id, &|| NOW) {
            Step::Wait => self.waiting = true,
            step @ (Step::Finish | Step::Abort) => {
                world.front.close(self.id, step == Step::Finish);
                self.end = Some(step);
                return true;
            }
            Step::Read | Step::ReadOwn if self.at == self.input.len() => {
                if self.says_eof && !self.eof {
                    self.eof = true;
                    world.front.handle_eof(self.id);
                }
            }
            step => {
                let n = world
                    .random
                    .usize(1..=(self.input.len() - self.at).min(2_000));
                let bytes = &self.input[self.at..self.at + n];
                self.at += n;
                match step {
                    Step::ReadOwn => {
                        world.front.own_input(self.id).extend_from_slice(bytes);
                        world.front.handle_own_input(self.id, NOW);
                    }
                    _ => {
                        let held = world.front.clients.table[self.id as usize].input.len();
                        let mut buffer = vec![0; held];
                        world.front.copy_input(self.id, &mut buffer);
                        buffer.extend_from_slice(bytes);
                        world.front.handle_input(self.id, &buffer, NOW);
                    }
                }
            }
        }
        before != (self.at, self.waiting, self.eof)
    }

    /// Compares what the client got; answers the number of whole replies.
    fn check(&self, world: &World) -> usize {
        let mut rest = &world.received[&self.id][..];
        for (n, expected) in self.expected.iter().enumerate() {
            let piece = ReplyScanner::default().scan(rest).expect("a reply");
            if !piece.end {
                let failed = rest.starts_with(b"-");
                assert!(
                    failed || expected.starts_with(rest),
                    "reply {n} is another's"
                );
                assert!(self.end == Some(Step::Abort) || rest.is_empty());
                return n;
            }
            let (reply, behind) = rest.split_at(piece.len);
            let failed = reply.starts_with(b"-ERR Connection");
            assert!(failed || reply == expected, "reply {n} is another's");
            rest = behind;
        }
        assert!(rest.is_empty(), "more replies than requests");
        self.expected.len()
    }
}

fn break_something(world: &mut World) {
    let mut ids: Vec<_> = world.wires.keys().copied().collect();
    ids.sort_unstable();
    match world.random.u8(..3) {
        0 => {
            let mut topology = Topology::clone(world.front.backends().topology());
            let mut pool = Pool::clone(&topology.pools[0]);
            let (server, port) = (world.random.usize(..3), world.random.u16(7000..7006));
            pool.servers[server].endpoint = Endpoint::Tcp(([127, 0, 0, 1], port).into());
            topology.pools[0] = Arc::new(pool);
            world.front.apply(Arc::new(topology), NOW);
        }
        _ if ids.is_empty() => {}
        _ => {
            let id = ids[world.random.usize(..ids.len())];
            world.front.handle_backend_closed(id, Cause::Closed, NOW);
        }
    }
}

/// Polls the tasks that have a reason to run; true if anything came of it.
fn run_tasks(world: &mut World, peers: &mut [Peer], woken: &mut HashSet<ClientId>) -> bool {
    let mut busy = false;
    for peer in peers.iter_mut().filter(|peer| peer.end.is_none()) {
        if woken.remove(&peer.id) || !peer.waiting {
            busy |= peer.poll(world);
        }
    }
    // What is left is of clients that have gone.
    woken.clear();
    busy
}

fn run(seed: u64) {
    let extra = [
        "",
        "  client_pending_limit: 2\n",
        "  client_pending_limit: 1\n  server_connections: 2\n",
        "  client_output_limit: 60k\n",
    ][seed as usize % 4];
    let mut world = World::new(extra, seed);
    for port in 7000..7006 {
        world.stores.insert(port, store());
    }
    let mut woken = HashSet::new();
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::new(&mut world)).collect();
    for _ in 0..world.random.usize(5..80) {
        match world.random.u8(..20) {
            0..2 => break_something(&mut world),
            2 => {
                let which = world.random.usize(..peers.len());
                let peer = &mut peers[which];
                if peer.end.is_none() {
                    world.front.close(peer.id, false);
                    peer.end = Some(Step::Abort);
                }
            }
            3 if peers.len() < 8 => {
                // Ids are used again: what was said to an earlier client is checked before.
                let leavers = peers.iter().filter(|peer| peer.end.is_some());
                for peer in leavers {
                    peer.check(&world);
                }
                peers.retain(|peer| peer.end.is_none());
                peers.push(Peer::new(&mut world));
            }
            4..12 => drop(world.turn()),
            _ => drop(run_tasks(&mut world, &mut peers, &mut woken)),
        }
        woken.extend(world.woken.drain(..));
    }
    let drains = seed.is_multiple_of(3);
    if drains {
        world.front.drain(NOW);
    }
    loop {
        let busy = world.turn() | run_tasks(&mut world, &mut peers, &mut woken);
        woken.extend(world.woken.drain(..));
        if !busy && woken.is_empty() && !world.front.has_work() {
            break;
        }
    }
    for peer in &peers {
        let replies = peer.check(&world);
        match &peer.end {
            Some(Step::Abort) => {}
            Some(_) => assert!(drains || replies == peer.expected.len()),
            None => {
                let client = &world.front.clients.table[peer.id as usize];
                let state = (client.state, client.pause, peer.waiting);
                assert_eq!(state, (State::Open, Pause::No, false), "waits for ever");
                assert!(!drains && !peer.says_eof, "has not ended");
                assert_eq!(replies, peer.expected.len());
                world.front.close(peer.id, true);
            }
        }
    }
    world.front.enforce_memory();
    assert_eq!(world.front.clients.buffered, 0);
    assert_eq!(world.front.backends().retained(), 0);
    assert_eq!(world.stats.pools[0].client_connections.get(), 0);
}

#[test]
fn nobody_gets_anothers_reply_or_waits_for_ever_whatever_breaks() {
    for seed in 0..300 {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}
