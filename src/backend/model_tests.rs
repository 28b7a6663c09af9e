//! Random lives of connections: whatever the sockets, the clock and the topology do, each request ends
//! exactly once, no write is executed twice, nothing new is sent while a server is held, and every sum
//! returns to zero.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::connection::State;
use super::model_steps_tests::{Step, Way, step};
use super::*;
use crate::config::{PoolConfig, SentinelConfig};
use crate::protocol::redis::scan::{Body, RequestScanner, Scan, ScanLimits};
use crate::protocol::redis::write;
use crate::stats::WorkerStats;
use crate::topology::{Endpoint, Topology, fixture};

pub(super) const SERVERS: u16 = 2;
pub(super) const TIMEOUT: u32 = 400;
const HOLD: u32 = 1500;

/// What became of a call.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// Bytes of the request.
    len: u64,
    reply: Vec<u8>,
    ended: bool,
}

/// Receives the replies and knows which calls are open. A call's slot is its number.
#[derive(Default)]
struct Ledger {
    /// See [`World::liars`].
    liars: bool,
    calls: Vec<Outcome>,
    /// Of which at least one byte has left for a server.
    begun: HashSet<u32>,
    executed: HashMap<u32, u32>,
    /// Answered with a refusal once.
    refused: HashSet<u32>,
}

impl Ledger {
    fn open(&mut self, call: Call) -> &mut Outcome {
        let outcome = &mut self.calls[call.slot as usize];
        assert!(!outcome.ended, "call {} ended twice", call.slot);
        outcome
    }
}

impl Replies for Ledger {
    fn reply(&mut self, call: Call, piece: &[u8], end: bool, _: &mut BufferPool) {
        let outcome = self.open(call);
        assert!(end || !piece.is_empty(), "a piece of nothing");
        outcome.reply.extend_from_slice(piece);
        outcome.ended = end;
    }

    fn fail(&mut self, call: Call, _: &Failure, fate: Fate, _: &mut BufferPool) {
        self.open(call).ended = true;
        // What was sent in part only counts as not sent: it cannot have been executed.
        match fate {
            Fate::Sent => assert!(self.begun.contains(&call.slot)),
            // Nor does a read that could not be repeated.
            Fate::NotSent => {
                let executed = call.write && self.executed.contains_key(&call.slot);
                assert!(self.liars || !executed);
            }
        }
    }
}

/// The server's end of a connection.
struct Wire {
    server: u16,
    address: SocketAddr,
    accepted: bool,
    /// Bytes taken in all.
    received: u64,
    unread: Vec<u8>,
    replies: Vec<u8>,
}

struct World {
    backends: Backends,
    stats: Arc<WorkerStats>,
    ledger: Ledger,
    buffers: BufferPool,
    wires: HashMap<ConnectionId, Wire>,
    now: u32,
    /// Servers say what nobody asked for; then replies may well reach the wrong call.
    liars: bool,
    managed: bool,
}

fn sentinel(outage_hold: u32) -> SentinelConfig {
    SentinelConfig {
        failover_hold: Duration::from_millis(HOLD.into()),
        outage_hold: Duration::from_millis(outage_hold.into()),
        hold_requests: 20,
        hold_bytes: 30_000,
        ..SentinelConfig::new(Vec::new())
    }
}

fn limits() -> ScanLimits {
    ScanLimits {
        request: u64::MAX,
        arguments: u32::MAX,
        bulk: u64::MAX,
        unauthenticated: false,
    }
}

/// The complete request at the start of `bytes`: its length and the number of its call.
fn request_at(bytes: &[u8]) -> Option<(usize, u32)> {
    let scanned = RequestScanner::default().scan(bytes, &limits());
    let Scan::Complete(frame) = scanned.expect("requests arrive whole and in order") else {
        return None;
    };
    let Body::Array(array) = frame.body else {
        panic!("only arrays were sent")
    };
    let number = std::str::from_utf8(array.arg(bytes, 0)).unwrap();
    Some((frame.len, number.parse().unwrap()))
}

fn reply_to(slot: u32, out: &mut Vec<u8>) {
    match slot % 4 {
        0 => write::integer(out, slot.into()),
        1 => write::bulk(out, &vec![b'v'; slot as usize % 50]),
        2 => write::error(out, "BUSY of course"),
        _ => {
            write::array_header(out, 2);
            write::integer(out, slot.into());
            write::bulk(out, b"x");
        }
    }
}

impl World {
    fn new(server_connections: u32, liars: bool, sentinel: Option<SentinelConfig>) -> World {
        let managed = sentinel.is_some();
        let pool = PoolConfig {
            timeout: Some(Duration::from_millis(TIMEOUT.into())),
            server_connections: NonZeroU32::new(server_connections).unwrap(),
            sentinel,
            ..fixture::pool(&["127.0.0.1:1", "127.0.0.2:1"])
        };
        let mut topology = Topology::initial(&fixture::config(vec![pool]));
        // As after the first answers of sentinels.
        let mut known = crate::topology::Pool::clone(&topology.pools[0]);
        for (server, known) in (1u8..).zip(&mut known.servers) {
            known.endpoint = Endpoint::Tcp(([127, 0, 0, server], 1).into());
            known.held = false;
        }
        topology.pools[0] = Arc::new(known);
        let stats = Arc::new(WorkerStats::new(&[usize::from(SERVERS)]));
        World {
            backends: Backends::new(Arc::new(topology), stats.clone(), 60_000, 1),
            stats,
            ledger: Ledger {
                liars,
                ..Ledger::default()
            },
            buffers: BufferPool::default(),
            wires: HashMap::new(),
            now: u32::MAX - 2 * TIMEOUT,
            liars,
            managed,
        }
    }

    fn with_turn<T>(&mut self, act: impl FnOnce(&mut Backends, &mut Turn<'_, Ledger>) -> T) -> T {
        let mut turn = Turn {
            replies: &mut self.ledger,
            buffers: &mut self.buffers,
            now: self.now,
            us: 1,
        };
        act(&mut self.backends, &mut turn)
    }

    /// One of the wires that are (not) accepted yet; those of dead connections included, as the shell
    /// may hear of them once more before it removes them.
    fn pick(&self, accepted: bool, which: usize) -> Option<ConnectionId> {
        let those = self.wires.iter().filter(|(_, w)| w.accepted == accepted);
        let mut ids: Vec<_> = those.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    }

    fn address(&self, server: u16) -> SocketAddr {
        let pool = &self.backends.topology().pools[0];
        match pool.servers[usize::from(server)].endpoint {
            Endpoint::Tcp(address) => address,
            _ => panic!("all test servers are TCP"),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Queue {
                client,
                server,
                kind,
                padding,
                way,
            } => self.queue(client, server, kind, padding, way),
            Step::Shell => self.shell(),
            Step::Accept(which) => {
                if let Some(id) = self.pick(false, which) {
                    self.wires.get_mut(&id).unwrap().accepted = true;
                    self.backends.handle_connected(id);
                }
            }
            Step::Refuse(which) => self.close(self.pick(false, which), Cause::Refused),
            Step::Write(which, most) => self.write(self.pick(true, which), most),
            Step::Execute(which, most) => self.execute(self.pick(true, which), most),
            Step::Read(which, most) => self.read(self.pick(true, which), most),
            Step::Babble(which, bytes) => {
                if let Some(id) = self.pick(true, which).filter(|_| self.liars) {
                    let wire = self.wires.get_mut(&id).unwrap();
                    wire.replies.extend_from_slice(bytes);
                }
            }
            Step::Close(which) => self.close(self.pick(true, which), Cause::Closed),
            Step::Pass(ms) => {
                self.now = self.now.wrapping_add(ms);
                self.with_turn(|backends, turn| backends.check_deadlines(turn));
            }
            Step::Move(server, port) => {
                let address = ([127, 0, 0, 1 + server as u8], port).into();
                self.change(server, |known| known.endpoint = Endpoint::Tcp(address));
            }
            Step::Hold(server, held) if self.managed => {
                self.change(server, |known| known.held = held)
            }
            Step::Hold(..) => {}
        }
    }

    fn queue(&mut self, client: u32, server: u16, kind: Kind, padding: usize, way: Way) {
        let connection = self
            .backends
            .connection((0, server), kind, client, self.now);
        let Ok(id) = connection else { return };
        let elsewhere = self.backends.connections.iter().any(|(other, c)| {
            let alike = (c.server, c.kind) == (server, kind) && other != id as usize;
            let takes_more = matches!(c.state, State::Connecting | State::Ready);
            alike && takes_more && c.fifo.iter().any(|entry| entry.call.client == client)
        });
        assert!(
            !elsewhere,
            "requests of one client would overtake each other"
        );
        let call = Call {
            client,
            generation: 0,
            slot: self.ledger.calls.len() as u32,
            began: 1,
            part: 0,
            write: self.ledger.calls.len().is_multiple_of(2),
            again: Again::May,
        };
        let mut request = Vec::new();
        write::array_header(&mut request, 2);
        write::bulk(&mut request, call.slot.to_string().as_bytes());
        write::bulk(&mut request, &vec![b'k'; padding]);
        self.ledger.calls.push(Outcome {
            len: request.len() as u64,
            ..Outcome::default()
        });
        let (backends, buffers) = (&mut self.backends, &mut self.buffers);
        match way {
            Way::Whole => backends.send(id, call, &request, self.now, buffers),
            Way::Owned => backends.send_owned(id, call, Bytes::from(request), self.now, buffers),
            Way::Parts => {
                let (front, back) = request.split_at(request.len() / 2);
                backends.append(id, front, buffers);
                backends.append(id, back, buffers);
                backends.send(id, call, &[], self.now, buffers);
            }
        }
    }

    fn shell(&mut self) {
        for id in self.backends.take_dead() {
            self.wires.remove(&id);
            self.backends.remove(id);
        }
        for id in self.backends.take_opening() {
            let plan = self.backends.plan(id).expect("who opens is there");
            let Target::Tcp(address) = plan.target else {
                panic!("all test servers are TCP")
            };
            let wire = Wire {
                server: self.backends.connections[id as usize].server,
                address,
                accepted: false,
                received: 0,
                unread: Vec::new(),
                replies: Vec::new(),
            };
            let before = self.wires.insert(id, wire);
            assert!(before.is_none(), "connection {id} is opened twice");
        }
        self.backends.take_dirty(Vec::new());
        self.backends.take_events();
    }

    fn write(&mut self, id: Option<ConnectionId>, most: usize) {
        let Some(id) = id else { return };
        let mut sent = Vec::new();
        // "Would block" ends a flush as it does on a real socket.
        let _ = self.backends.flush(id, |slices| {
            let before = sent.len();
            for slice in slices {
                let room = most.saturating_sub(sent.len());
                sent.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            match sent.len() - before {
                0 => Err(std::io::ErrorKind::WouldBlock.into()),
                n => Ok(n),
            }
        });
        let server = self.wires[&id].server;
        let wanted = self.address(server);
        let held = self.backends.topology().pools[0].servers[usize::from(server)].held;
        let wire = self.wires.get_mut(&id).unwrap();
        wire.received += sent.len() as u64;
        wire.unread.extend(sent);
        for entry in &self.backends.connections[id as usize].fifo {
            let slot = entry.call.slot;
            let start = entry.end - self.ledger.calls[slot as usize].len;
            if start < wire.received && self.ledger.begun.insert(slot) {
                assert!(!held, "call {slot} begins while its server is held");
                assert_eq!(
                    wire.address, wanted,
                    "call {slot} begins at a former address"
                );
            }
        }
    }

    fn execute(&mut self, id: Option<ConnectionId>, most: usize) {
        let Some(id) = id else { return };
        let wire = self.wires.get_mut(&id).unwrap();
        for _ in 0..most {
            let Some((len, slot)) = request_at(&wire.unread) else {
                break;
            };
            wire.unread.drain(..len);
            // Unasked pushes may stand between replies.
            if slot % 7 == 0 {
                wire.replies
                    .extend_from_slice(b">2\r\n+invalidate\r\n*0\r\n");
            }
            if self.managed && slot % 5 == 0 && self.ledger.refused.insert(slot) {
                write::error(&mut wire.replies, "READONLY not me");
                continue;
            }
            let times = self.ledger.executed.entry(slot).or_default();
            *times += 1;
            // A read may be repeated once, when the connection of a managed server is lost.
            let most = if self.managed && slot % 2 == 1 { 2 } else { 1 };
            assert!(
                self.liars || *times <= most,
                "call {slot} is executed {times} times"
            );
            reply_to(slot, &mut wire.replies);
        }
    }

    fn read(&mut self, id: Option<ConnectionId>, most: usize) {
        let Some(id) = id else { return };
        let wire = self.wires.get_mut(&id).unwrap();
        let n = wire.replies.len().min(most);
        if n == 0 {
            return;
        }
        let mut input = self.backends.partial(id).to_vec();
        input.extend(wire.replies.drain(..n));
        self.with_turn(|backends, turn| backends.handle_bytes(id, &input, turn));
    }

    fn close(&mut self, id: Option<ConnectionId>, cause: Cause) {
        let Some(id) = id else { return };
        self.with_turn(|backends, turn| backends.handle_closed(id, cause, turn));
    }

    fn change(&mut self, server: u16, change: impl FnOnce(&mut crate::topology::Server)) {
        let mut topology = Topology::clone(self.backends.topology());
        let mut pool = crate::topology::Pool::clone(&topology.pools[0]);
        change(&mut pool.servers[usize::from(server)]);
        topology.pools[0] = Arc::new(pool);
        self.with_turn(|backends, turn| backends.apply(Arc::new(topology), turn));
    }

    /// What holds at any time.
    fn check(&self) {
        let connections = || self.backends.connections.iter().map(|(_, c)| c);
        let retained: usize = connections().map(Connection::retained).sum();
        assert_eq!(self.backends.retained(), retained);
        let waiting: usize = connections().map(|c| c.fifo.len()).sum();
        let open = self.ledger.calls.iter().filter(|call| !call.ended).count();
        assert_eq!(waiting, open, "every open call waits on one connection");
        for server in 0..SERVERS {
            let up = connections()
                .filter(|c| c.server == server && c.connected && c.state != State::Dead)
                .count();
            let stats = &self.stats.pools[0].servers[usize::from(server)];
            assert_eq!(stats.server_connections.get(), up as u64);
        }
    }

    /// Closes whatever is left, as often as that opens something new.
    fn end(&mut self) {
        for server in 0..SERVERS {
            self.change(server, |known| known.held = false);
        }
        for round in 0.. {
            if self.backends.connections.is_empty() {
                break;
            }
            if round >= 1000 {
                for (_, c) in &self.backends.connections {
                    eprintln!(
                        "{:?} {} {:?}",
                        c.state,
                        c.fifo.len(),
                        self.backends.server(0, c.server)
                    );
                }
                panic!("these do not end");
            }
            self.shell();
            if let Some(id) = self.wires.keys().next().copied() {
                self.close(Some(id), Cause::Closed);
            }
            // Whatever waits for something else than the topology has waited long enough.
            self.now = self.now.wrapping_add(2 * HOLD);
            self.with_turn(|backends, turn| backends.check_deadlines(turn));
            self.shell();
        }
        assert!(self.backends.is_idle() && self.backends.connections.is_empty());
        for (slot, call) in self.ledger.calls.iter().enumerate() {
            assert!(call.ended, "call {slot} has not ended");
            let mut whole = Vec::new();
            reply_to(slot as u32, &mut whole);
            let refusal = call.reply.starts_with(b"-READONLY");
            let refused = refusal && self.ledger.refused.contains(&(slot as u32));
            assert!(
                self.liars || refused || whole.starts_with(&call.reply),
                "call {slot}"
            );
        }
        for server in self.stats.pools[0].servers.iter() {
            let gauges = [
                &server.in_queue,
                &server.in_queue_bytes,
                &server.out_queue,
                &server.out_queue_bytes,
                &server.server_connections,
            ];
            assert_eq!(gauges.map(|gauge| gauge.get()), [0; 5]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_and_every_sum_returns_to_zero(
        server_connections in 1u32..3,
        liars in any::<bool>(),
        managed in any::<bool>(),
        outage_hold in prop_oneof![Just(0), Just(HOLD)],
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(server_connections, liars, managed.then(|| sentinel(outage_hold)));
        for step in steps {
            world.take(step);
            world.check();
        }
        world.end();
        world.check();
    }
}
