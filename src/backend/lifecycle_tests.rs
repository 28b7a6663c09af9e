//! Single episodes of connections' lives that random steps hardly meet.

use std::sync::Arc;

use super::*;
use crate::config::PoolConfig;
use crate::protocol::redis::Resp;
use crate::stats::WorkerStats;
use crate::topology::{Endpoint, Event, Topology, fixture};

const CALL: Call = Call {
    client: 0,
    generation: 0,
    slot: 0,
    began: 1,
    part: 0,
    write: false,
    again: Again::May,
};

/// The errors that calls ended with, and how many replies did.
#[derive(Default)]
struct Ends {
    replies: usize,
    failures: Vec<Cause>,
}

impl Replies for Ends {
    fn reply(&mut self, _: Call, _: &[u8], end: bool, _: &mut BufferPool) {
        self.replies += usize::from(end);
    }

    fn fail(&mut self, _: Call, failure: &Failure, _: Fate, _: &mut BufferPool) {
        self.failures.push(failure.cause.clone());
    }
}

struct World {
    backends: Backends,
    buffers: BufferPool,
    ends: Ends,
}

impl World {
    fn new(pool: PoolConfig) -> World {
        let stats = Arc::new(WorkerStats::new(&[pool.servers.len()]));
        let topology = Arc::new(Topology::initial(&fixture::config(vec![pool])));
        World {
            backends: Backends::new(topology, stats, 1 << 20, 1),
            buffers: BufferPool::default(),
            ends: Ends::default(),
        }
    }

    /// Queues a request and hands its connection to the shell.
    fn queue(&mut self, now: u32) -> Result<ConnectionId, Cause> {
        let found = self.backends.connection((0, 0), Kind::of(Resp::V2), 0, now);
        let id = found.map_err(|failure| failure.cause)?;
        self.backends.send(id, CALL, b"GET", now, &mut self.buffers);
        self.backends.take_opening();
        Ok(id)
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

    fn refuse(&mut self, id: ConnectionId) {
        self.with_turn(|backends, turn| backends.handle_closed(id, Cause::Refused, turn));
    }
}

fn pool() -> PoolConfig {
    fixture::pool(&["127.0.0.1:1"])
}

#[test]
fn a_refusal_is_believed_for_a_moment_only_however_long_nobody_asks() {
    let day = 24 * 60 * 60 * 1000;
    for later in [1_000, 20 * day, 30 * day, 49 * day] {
        let mut world = World::new(pool());
        let id = world.queue(0).unwrap();
        world.refuse(id);
        assert_eq!(world.queue(1), Err(Cause::Refused));
        assert!(world.queue(later).is_ok(), "after {later} ms");
    }
}

#[test]
fn a_new_address_is_tried_at_once() {
    let mut world = World::new(pool());
    let id = world.queue(0).unwrap();
    world.refuse(id);
    let mut topology = Topology::clone(world.backends.topology());
    let mut pool = crate::topology::Pool::clone(&topology.pools[0]);
    pool.servers[0].endpoint = Endpoint::Tcp(([127, 0, 0, 1], 2).into());
    topology.pools[0] = Arc::new(pool);
    world.with_turn(|backends, turn| backends.apply(Arc::new(topology), turn));
    assert!(world.queue(1).is_ok());
}

#[test]
fn an_unrelated_snapshot_does_not_cut_the_pause_after_a_refusal() {
    let mut world = World::new(pool());
    let id = world.queue(0).unwrap();
    world.refuse(id);
    let same = Arc::new(Topology::clone(world.backends.topology()));
    world.with_turn(|backends, turn| backends.apply(same, turn));
    assert_eq!(world.queue(1), Err(Cause::Refused));
}

#[test]
fn errors_of_an_unwell_server_count_and_values_that_look_like_them_do_not() {
    let cases: [(&[&[u8]], bool); 4] = [
        (&[b"-OOM no\r\n"], true),
        (&[b"-LOADING wait\r\n"], true),
        (&[b"-ERR -OOM \r\n"], false),
        (&[b"$10\r\n", b"-OOM ", b"-BUSY\r\n"], false),
    ];
    for (reads, unwell) in cases {
        let mut world = World::new(pool());
        let id = world.queue(0).unwrap();
        world.backends.handle_connected(id);
        world
            .backends
            .flush(id, |slices| Ok(slices[0].len()))
            .unwrap();
        for read in reads {
            assert!(world.with_turn(|backends, turn| backends.handle_bytes(id, read, turn)));
        }
        assert_eq!(world.ends.replies, 1);
        let failed = Event::Failed { pool: 0, server: 0 };
        let events = world.backends.take_events();
        assert_eq!(events.contains(&failed), unwell, "{reads:?}");
    }
}
