//! Configurations that follow each other under requests: no request is lost, repeated or overtaken.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::connection::State;
use super::*;
use crate::config::{Config, PoolConfig, Secret, SentinelConfig};
use crate::protocol::redis::Resp;
use crate::stats::{PoolNames, Stats};
use crate::topology::publish::Publisher;
use crate::topology::{Endpoint, ServerId, Topology, Update, fixture};

const SERVERS: usize = 2;
/// Of every request, so that a server can tell where one ends.
const REQUEST: usize = 8;

/// How each request ended.
#[derive(Default)]
struct Ends {
    replied: Vec<u32>,
    failed: Vec<(u32, Cause)>,
}

impl Replies for Ends {
    fn reply(&mut self, call: Call, _: &[u8], end: bool, _: &mut BufferPool) {
        assert!(end, "replies come in one piece");
        self.replied.push(call.slot);
    }

    fn fail(&mut self, call: Call, failure: &Failure, _: Fate, _: &mut BufferPool) {
        self.failed.push((call.slot, failure.cause.clone()));
    }
}

struct World {
    backends: Backends,
    publisher: Publisher,
    config: Config,
    buffers: BufferPool,
    ends: Ends,
    /// What is on its way to a server.
    wires: HashMap<ConnectionId, Vec<u8>>,
    /// Per client the requests in the order in which they were executed.
    executed: HashMap<u32, Vec<u32>>,
    next: u32,
    random: fastrand::Rng,
}

fn pool() -> PoolConfig {
    fixture::pool(&["127.0.0.1:1", "127.0.0.1:2"])
}

impl World {
    fn new(pool: PoolConfig, seed: u64) -> World {
        let config = fixture::config(vec![pool]);
        let names: Vec<&str> = vec!["server0", "server1"];
        let names = [0, 1].map(|slot| PoolNames::numbered(slot, "pool", &names));
        let stats = Stats::new(names.to_vec(), 1);
        let publisher = Publisher::new(Topology::initial(&config));
        let topology = Arc::clone(publisher.current());
        World {
            backends: Backends::new(topology, Arc::clone(&stats.workers[0]), 1 << 20, 1),
            publisher,
            config,
            buffers: BufferPool::default(),
            ends: Ends::default(),
            wires: HashMap::new(),
            executed: HashMap::new(),
            next: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn with_turn<T>(&mut self, act: impl FnOnce(&mut Backends, &mut Turn<'_, Ends>) -> T) -> T {
        let mut turn = Turn {
            replies: &mut self.ends,
            buffers: &mut self.buffers,
            now: 0,
            us: 1,
        };
        act(&mut self.backends, &mut turn)
    }

    fn reload(&mut self, change: impl FnOnce(&mut PoolConfig)) {
        change(Arc::make_mut(&mut self.config.pools[0]));
        let config = self.config.clone();
        self.publisher.configure(&config, []);
        self.follow();
    }

    fn update(&mut self, update: Update) {
        self.publisher.apply([update]);
        self.follow();
    }

    fn follow(&mut self) {
        let topology = Arc::clone(self.publisher.current());
        self.with_turn(|backends, turn| backends.apply(topology, turn));
    }

    fn remove(&mut self, server: usize, removed: bool) {
        self.reload(|pool| pool.servers[server].removed = removed);
    }

    /// Queues a request; its number.
    fn send(&mut self, client: u32, server: u16) -> Result<u32, Cause> {
        let slot = self.next;
        let id = (self.backends).connection((0, server), Kind::of(Resp::V2), client, 0);
        let id = id.map_err(|failure| failure.cause)?;
        self.next += 1;
        let call = Call {
            client,
            generation: 0,
            slot,
            began: 1,
            part: 0,
            write: true,
            again: Again::May,
        };
        let request = format!("{client:02}{slot:06}");
        assert_eq!(request.len(), REQUEST);
        (self.backends).send(id, call, request.as_bytes(), 0, &mut self.buffers);
        Ok(slot)
    }

    fn connections(&self, state: State) -> Vec<ConnectionId> {
        let all = self.backends.connections.iter();
        let those = all.filter(|(_, connection)| connection.state == state);
        those.map(|(id, _)| id as ConnectionId).collect()
    }

    fn bury_dead(&mut self) {
        for id in self.backends.take_dead() {
            self.wires.remove(&id);
            self.backends.remove(id);
        }
    }

    fn accept(&mut self) {
        self.bury_dead();
        for id in self.backends.take_opening() {
            self.wires.insert(id, Vec::new());
            self.backends.handle_connected(id);
        }
    }

    /// Lets at most `most` bytes of a connection leave.
    fn flush(&mut self, id: ConnectionId, most: usize) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let mut left = most;
        let result = self.backends.flush(id, |slices| {
            if left == 0 {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            let n = slices[0].len().min(left);
            wire.extend_from_slice(&slices[0][..n]);
            left -= n;
            Ok(n)
        });
        assert!(result.is_ok() || left == 0);
    }

    /// The server of a connection executes and answers what it has.
    fn serve(&mut self, id: ConnectionId) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let whole = wire.len() / REQUEST;
        for request in wire.drain(..whole * REQUEST).as_slice().chunks(REQUEST) {
            let text = std::str::from_utf8(request).unwrap();
            let (client, slot) = text.split_at(2);
            let executed = self.executed.entry(client.parse().unwrap()).or_default();
            executed.push(slot.parse().unwrap());
        }
        let replies = b"+OK\r\n".repeat(whole);
        if whole > 0 {
            self.with_turn(|backends, turn| backends.handle_bytes(id, &replies, turn));
        }
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            self.accept();
            let mut ids: Vec<ConnectionId> = self.wires.keys().copied().collect();
            ids.sort_unstable();
            for id in ids {
                self.flush(id, usize::MAX);
                self.serve(id);
            }
        }
        self.bury_dead();
    }

    fn any(&mut self, ids: &[ConnectionId]) -> Option<ConnectionId> {
        (!ids.is_empty()).then(|| ids[self.random.usize(..ids.len())])
    }
}

fn set_password(pool: &mut PoolConfig, password: &str) {
    pool.redis_auth = Some(Secret(password.to_owned()));
}

#[test]
fn a_new_password_waits_for_the_last_reply_and_keeps_the_order() {
    let mut world = World::new(pool(), 1);
    world.send(0, 0).unwrap();
    world.accept();
    let [old] = world.connections(State::Ready)[..] else {
        panic!("one connection");
    };
    // The first is sent whole, the second in part, the third not at all.
    world.send(0, 0).unwrap();
    world.send(0, 0).unwrap();
    world.flush(old, REQUEST + 3);
    world.reload(|pool| set_password(pool, "new"));
    world.send(0, 0).unwrap();
    assert_eq!(world.connections(State::Retiring), [old]);
    assert_eq!(world.connections(State::Waiting).len(), 1);
    assert!(world.backends.take_opening().is_empty());
    world.settle();
    assert_eq!(world.ends.replied, [0, 1, 2, 3]);
    assert_eq!(world.executed[&0], [0, 1, 2, 3]);
    assert_eq!(world.ends.failed, []);
    let [new] = world.connections(State::Ready)[..] else {
        panic!("one connection");
    };
    let plan = world.backends.plan(new).unwrap();
    assert_eq!(plan.config.redis_auth, Some(Secret("new".to_owned())));
    assert_eq!(world.backends.retained(), 0);
}

#[test]
fn what_no_connection_is_opened_with_leaves_connections_alone() {
    let mut world = World::new(pool(), 1);
    world.send(0, 0).unwrap();
    world.settle();
    let before = world.connections(State::Ready);
    world.reload(|pool| {
        pool.timeout = Some(std::time::Duration::from_millis(70));
        pool.backlog += 1;
        pool.servers[0].weight = 7;
    });
    world.remove(1, true);
    assert_eq!(world.connections(State::Ready), before);
    let limit = world.backends.plan(before[0]).unwrap().timeout;
    assert_eq!(limit.as_millis(), 70);
}

#[test]
fn a_removed_server_answers_what_it_has_and_takes_no_more() {
    let mut world = World::new(pool(), 1);
    for client in 0..3 {
        world.send(client, 1).unwrap();
    }
    world.send(0, 0).unwrap();
    // The connection is not even open.
    world.remove(1, true);
    assert_eq!(world.send(0, 1), Err(Cause::Removed));
    world.settle();
    assert_eq!(world.ends.replied.len(), 4);
    assert_eq!(world.ends.failed, []);
    assert_eq!(world.connections(State::Ready).len(), 1);
    assert_eq!(world.backends.connections.len(), 1);

    world.remove(1, false);
    world.send(0, 1).unwrap();
    world.settle();
    assert_eq!(world.ends.replied.len(), 5);
    world.remove(1, true);
    assert_eq!(world.backends.connections.len(), 2, "idle, to be closed");
    world.settle();
    assert_eq!(world.backends.connections.len(), 1);
}

#[test]
fn requests_held_for_a_server_that_is_removed_are_told() {
    let mut managed = pool();
    managed.sentinel = Some(SentinelConfig::new(Vec::new()));
    let mut world = World::new(managed, 1);
    let slot = world.send(0, 1).unwrap();
    assert_eq!(world.connections(State::Waiting).len(), 1);
    world.remove(1, true);
    assert_eq!(world.ends.failed, [(slot, Cause::Removed)]);
    assert_eq!(world.backends.server_stats(0, 1).failed.get(), 1);
    world.settle();
    assert_eq!(world.backends.connections.len(), 0);
    assert_eq!(world.backends.retained(), 0);
}

#[test]
fn a_server_without_sentinels_goes_on_at_its_address() {
    let mut managed = pool();
    managed.sentinel = Some(SentinelConfig::new(Vec::new()));
    let mut world = World::new(managed, 1);
    let id = ServerId { pool: 0, server: 0 };
    world.update(Update::Endpoint(
        id,
        Endpoint::Tcp(([127, 0, 0, 1], 9).into()),
    ));
    world.update(Update::Release(id));
    world.send(0, 0).unwrap();
    world.settle();
    world.send(0, 0).unwrap();
    world.send(0, 1).unwrap();
    // One is sent to where Sentinel said, the other is held.
    let [ready] = world.connections(State::Ready)[..] else {
        panic!("one connection");
    };
    world.flush(ready, usize::MAX);
    world.reload(|pool| pool.sentinel = None);
    world.settle();
    assert_eq!(world.ends.replied.len(), 3, "{:?}", world.ends.failed);
    let ready = world.connections(State::Ready);
    for id in ready {
        let target = world.backends.plan(id).unwrap().target;
        let Target::Tcp(address) = target else {
            panic!("no unix sockets here");
        };
        assert!([1, 2].contains(&address.port()), "{address}");
    }
}

#[test]
fn a_new_pool_is_served_and_preconnect_opens_at_once() {
    let mut world = World::new(pool(), 1);
    let mut second = pool();
    second.name = "second".to_owned();
    second.preconnect = true;
    world.config.pools.push(Arc::new(second));
    world.reload(|_| {});
    assert_eq!(world.connections(State::Connecting).len(), SERVERS);
    assert!(
        world
            .backends
            .connection((1, 1), Kind::of(Resp::V2), 0, 0)
            .is_ok()
    );
    world.settle();
    world.reload(|pool| pool.preconnect = true);
    assert_eq!(world.connections(State::Connecting).len(), SERVERS);
}

#[test]
fn random_reloads_lose_repeat_and_reorder_nothing() {
    for seed in 0..400 {
        let mut world = World::new(pool(), seed);
        for step in 0..80 {
            let server = world.random.u16(..SERVERS as u16);
            match world.random.u8(..12) {
                0..=4 => {
                    let client = world.random.u32(..5);
                    // Each client has its own server, whose order is looked at.
                    let _ = world.send(client, (client % SERVERS as u32) as u16);
                }
                5 => world.accept(),
                6 | 7 => {
                    let ids: Vec<ConnectionId> = world.wires.keys().copied().collect();
                    if let Some(id) = world.any(&ids) {
                        let most = world.random.usize(..30);
                        world.flush(id, most);
                    }
                }
                8 | 9 => {
                    let ids: Vec<ConnectionId> = world.wires.keys().copied().collect();
                    if let Some(id) = world.any(&ids) {
                        world.serve(id);
                    }
                }
                10 => {
                    let count = NonZeroU32::new(world.random.u32(1..4)).unwrap();
                    let password = step.to_string();
                    world.reload(|pool| {
                        pool.server_connections = count;
                        set_password(pool, &password);
                    });
                }
                _ => {
                    let removed = world.random.bool();
                    world.remove(usize::from(server), removed);
                }
            }
        }
        world.settle();
        let mut replied = world.ends.replied.clone();
        replied.sort_unstable();
        let all: Vec<u32> = (0..world.next).collect();
        assert_eq!(world.ends.failed, [], "seed {seed}");
        assert_eq!(replied, all, "seed {seed}: each ends once");
        for (client, executed) in &world.executed {
            assert!(executed.is_sorted(), "seed {seed}: {client}: {executed:?}");
        }
        assert_eq!(world.executed.values().flatten().count(), replied.len());
        assert_eq!(world.backends.retained(), 0, "seed {seed}");
    }
}
