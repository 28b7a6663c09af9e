//! What becomes of requests that may wait for long when their server goes or does not execute them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::SentinelConfig;
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::{Timeout, Wait};
use crate::stats::WorkerStats;
use crate::topology::{Endpoint, Topology, fixture};

const CALL: Call = Call {
    client: 7,
    generation: 1,
    slot: 3,
    began: 1,
    part: 0,
    write: true,
    again: Again::May,
};
const OWNER: Owner = Owner {
    client: 7,
    generation: 1,
};
const POP: &[u8] = b"*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$3\r\n9.0\r\n";
const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";

#[derive(Default)]
struct Ends {
    reply: Vec<u8>,
    failures: Vec<(Cause, Fate)>,
}

impl Replies for Ends {
    fn reply(&mut self, call: Call, piece: &[u8], _: bool, _: &mut BufferPool) {
        if call.client == CALL.client {
            self.reply.extend_from_slice(piece);
        }
    }

    fn fail(&mut self, call: Call, failure: &Failure, fate: Fate, _: &mut BufferPool) {
        if call.client == CALL.client {
            self.failures.push((failure.cause.clone(), fate));
        }
    }

    fn push(&mut self, _: Owner, _: u16, _: &[u8], _: bool, _: &mut BufferPool) {}
}

struct World {
    backends: Backends,
    buffers: BufferPool,
    ends: Ends,
    now: u32,
}

impl World {
    /// A client that waits, on a connection whose name (5) is known if it is `named`.
    fn waiting(movable: bool, named: bool) -> (World, ConnectionId) {
        let pool = crate::config::PoolConfig {
            timeout: Some(Duration::from_millis(400)),
            sentinel: Some(SentinelConfig {
                failover_hold: Duration::from_millis(1500),
                ..SentinelConfig::new(Vec::new())
            }),
            ..fixture::pool(&["127.0.0.1:1"])
        };
        let topology = Topology::initial(&fixture::config(vec![pool]));
        let stats = Arc::new(WorkerStats::new(&[1]));
        let mut world = World {
            backends: Backends::new(Arc::new(topology), stats, 1 << 20, 1),
            buffers: BufferPool::default(),
            ends: Ends::default(),
            now: 0,
        };
        world.change(1, false);
        let kind = Kind::of(Resp::V2);
        let id = world.backends.dedicate((0, 0), kind, OWNER, 0).unwrap();
        let what = Blocking {
            wait: Wait::Milliseconds(9000),
            timeout: Timeout::Last,
            movable,
        };
        world
            .backends
            .send_blocking(id, CALL, POP, what, 0, &mut world.buffers);
        let sent = world.serve(id);
        assert!(sent.ends_with(POP), "{}", sent.escape_ascii());
        if named {
            world.say(id, b":5\r\n");
        }
        (world, id)
    }

    fn with_turn<T>(&mut self, act: impl FnOnce(&mut Backends, &mut Turn<'_, Ends>) -> T) -> T {
        let mut turn = Turn {
            replies: &mut self.ends,
            buffers: &mut self.buffers,
            now: self.now,
            us: 1,
        };
        act(&mut self.backends, &mut turn)
    }

    /// The server is at another port, or a switch to another is announced.
    fn change(&mut self, port: u16, held: bool) {
        let mut topology = Topology::clone(self.backends.topology());
        let mut pool = crate::topology::Pool::clone(&topology.pools[0]);
        pool.servers[0].endpoint = Endpoint::Tcp(([127, 0, 0, 1], port).into());
        pool.servers[0].held = held;
        topology.pools[0] = Arc::new(pool);
        self.with_turn(|backends, turn| backends.apply(Arc::new(topology), turn));
    }

    /// The connection is accepted and all it has is taken; answers that.
    fn serve(&mut self, id: ConnectionId) -> Vec<u8> {
        if self.backends.take_opening().contains(&id) {
            self.backends.handle_connected(id);
        }
        let mut sent = Vec::new();
        let write = |slices: &[std::io::IoSlice<'_>]| {
            let before = sent.len();
            slices
                .iter()
                .for_each(|slice| sent.extend_from_slice(slice));
            Ok(sent.len() - before)
        };
        self.backends.flush(id, write).unwrap();
        sent
    }

    fn say(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        self.with_turn(|backends, turn| backends.handle_bytes(id, bytes, turn))
    }

    /// What was told a server on a connection that is opened for that.
    fn word(&mut self) -> Option<Vec<u8>> {
        let id = self.backends.server(0, 0).messenger?;
        Some(self.serve(id))
    }

    #[track_caller]
    fn new_home(&mut self) -> ConnectionId {
        let changes = self.backends.take_changes();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(changes[0].owner, OWNER);
        changes[0].after.expect("another connection")
    }
}

#[test]
fn it_comes_back_before_a_failover_and_goes_on_behind_it() {
    for named in [true, false] {
        let (mut world, id) = World::waiting(true, named);
        world.now = 3_500;
        world.change(1, true);
        if !named {
            assert_eq!(world.word(), None, "nobody knows yet whom to unblock");
            world.say(id, b":5\r\n");
        }
        let unblock = b"*4\r\n$6\r\nCLIENT\r\n$7\r\nUNBLOCK\r\n$1\r\n5\r\n$5\r\nERROR\r\n";
        assert_eq!(world.word().as_deref(), Some(&unblock[..]));
        // At any split: a part of the error is nobody's reply.
        let (first, rest) = UNBLOCKED.split_at(9);
        assert!(world.say(id, first));
        let all = [world.backends.partial(id), rest].concat();
        assert!(!world.say(id, &all), "it is over");
        let home = world.new_home();
        assert!(world.serve(home).is_empty(), "it waits for the new master");
        world.change(2, false);
        let again = String::from_utf8(world.serve(home)).unwrap();
        assert!(again.ends_with("$5\r\n5.500\r\n"), "{again}");
        world.say(home, b":8\r\n*2\r\n$1\r\na\r\n$1\r\nx\r\n");
        assert_eq!(world.ends.reply, b"*2\r\n$1\r\na\r\n$1\r\nx\r\n");
        assert!(world.ends.failures.is_empty());
        assert_eq!(world.backends.retained(), unblock.len(), "the messenger's");
    }
}

#[test]
fn what_was_executed_just_then_has_its_reply() {
    let (mut world, id) = World::waiting(true, true);
    world.change(1, true);
    assert!(world.word().is_some());
    world.say(id, b"*2\r\n$1\r\na\r\n$1\r\nx\r\n");
    assert_eq!(world.ends.reply, b"*2\r\n$1\r\na\r\n$1\r\nx\r\n");
    assert!(world.backends.take_changes().is_empty());
}

#[test]
fn an_old_master_that_does_not_answer_leaves_it_in_doubt() {
    let (mut world, id) = World::waiting(true, true);
    world.change(2, false);
    assert!(world.word().is_some());
    world.now = 5_000;
    world.with_turn(|backends, turn| backends.check_deadlines(turn));
    assert_eq!(world.ends.failures, [(Cause::Moved, Fate::Sent)]);
    let changes = world.backends.take_changes();
    assert_eq!((changes[0].before, changes[0].after), (id, None));
}

#[test]
fn a_demotion_moves_what_may_move_only() {
    let forced = b"-UNBLOCKED force unblock from blocking operation, instance state changed\r\n";
    for reply in [
        &forced[..],
        b"-READONLY You can't write against a read only replica.\r\n",
    ] {
        let (mut world, id) = World::waiting(true, true);
        assert!(!world.say(id, reply));
        world.new_home();
        assert!(world.ends.reply.is_empty() && world.ends.failures.is_empty());
        let (mut world, id) = World::waiting(false, true);
        world.say(id, reply);
        assert_eq!(world.ends.reply, reply);
    }
    // The wish of an administrator, or of another client, is obeyed.
    let (mut world, id) = World::waiting(true, true);
    world.say(id, UNBLOCKED);
    assert_eq!(world.ends.reply, UNBLOCKED);
}

#[test]
fn it_takes_as_long_as_it_says_and_no_longer() {
    let (mut world, _) = World::waiting(true, true);
    for (now, late) in [(10_399, false), (10_400, true)] {
        world.now = now;
        world.with_turn(|backends, turn| backends.check_deadlines(turn));
        assert_eq!(!world.ends.failures.is_empty(), late, "at {now} ms");
    }
    assert_eq!(world.ends.failures, [(Cause::TimedOut(10_400), Fate::Sent)]);
}

#[test]
fn who_is_seen_off_learns_that_nothing_was_executed() {
    let (mut world, id) = World::waiting(true, true);
    assert!(world.backends.cancel(id, 0, &mut world.buffers));
    assert!(world.word().is_some());
    world.say(id, UNBLOCKED);
    assert_eq!(world.ends.failures, [(Cause::Abandoned, Fate::NotSent)]);
    // Of what was not sent, and where the server is not to be told, no answer comes.
    let (mut world, id) = World::waiting(true, false);
    world.say(id, b"-NOPERM no\r\n");
    assert!(!world.backends.cancel(id, 0, &mut world.buffers));
}
