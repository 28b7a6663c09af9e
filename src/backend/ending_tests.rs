//! What the end of a connection counts as, and whom it concerns.

use std::time::Duration;

use std::sync::Arc;

use super::*;
use crate::backend::{Call, Failure};
use crate::config::PoolConfig;
use crate::protocol::redis::Resp;
use crate::stats::WorkerStats;
use crate::topology::fixture;
use crate::topology::{Event, Topology};

#[derive(Default)]
struct Failed(Vec<(u32, Cause)>);

impl Replies for Failed {
    fn reply(&mut self, _: Call, _: &[u8], _: bool, _: &mut BufferPool) {}

    fn fail(&mut self, call: Call, failure: &Failure, _: Fate, _: &mut BufferPool) {
        self.0.push((call.slot, failure.cause.clone()));
    }
}

/// The connections to one server, and what they came to.
struct Fixture {
    backends: Backends,
    stats: Arc<WorkerStats>,
    buffers: BufferPool,
    failed: Failed,
}

impl Fixture {
    fn new() -> Fixture {
        let pool = PoolConfig {
            timeout: Some(Duration::from_millis(100)),
            ..fixture::pool(&["127.0.0.1:1"])
        };
        let config = fixture::config(vec![pool]);
        let stats = Arc::new(WorkerStats::new(&[1]));
        let topology = Arc::new(Topology::initial(&config));
        Fixture {
            backends: Backends::new(topology, stats.clone(), 1 << 20, 1),
            stats,
            buffers: BufferPool::default(),
            failed: Failed::default(),
        }
    }

    /// The connection for a request that is queued right away.
    fn queue(&mut self, slot: u32) -> ConnectionId {
        let id =
            (self.backends.connection((0, 0), Kind::of(Resp::V2), 0, 0)).expect("a connection");
        let call = Call {
            client: 0,
            generation: 0,
            slot,
            began: 1,
            part: 0,
            write: true,
            again: Again::May,
        };
        (self.backends).send(id, call, b"PING\r\n", 0, &mut self.buffers);
        id
    }

    fn close(&mut self, id: ConnectionId, cause: Cause) {
        let mut turn = Turn {
            replies: &mut self.failed,
            buffers: &mut self.buffers,
            now: 0,
            us: 1,
        };
        self.backends.handle_closed(id, cause, &mut turn);
    }

    fn connections(&self) -> u64 {
        self.stats.pools[0].servers[0].server_connections.get()
    }
}

/// The request came in the same turn as the close and has not left.
#[test]
fn a_close_with_nothing_sent_is_no_failure() {
    let mut f = Fixture::new();
    let first = f.queue(0);
    f.backends.handle_connected(first);
    f.close(first, Cause::Closed);
    assert_eq!((f.failed.0.len(), f.backends.take_events()), (0, vec![]));
    // The next one ends likewise: enough is enough.
    let second = f.queue(1);
    assert_ne!(second, first);
    f.backends.handle_connected(second);
    f.close(second, Cause::Closed);
    assert_eq!(f.failed.0, [(0, Cause::Closed), (1, Cause::Closed)]);
    assert_eq!(f.backends.take_events().len(), 1);
}

/// Before the topology task could mark the server as suspect.
#[test]
fn a_reply_right_after_a_failure_is_reported() {
    let (pool, server) = (0, 0);
    let mut f = Fixture::new();
    let id = f.queue(0);
    f.backends.handle_connected(id);
    for _ in 0..2 {
        f.queue(1);
    }
    f.backends.flush(id, |slices| Ok(slices[0].len())).unwrap();
    for (reply, events) in [
        (&b"-OOM no\r\n"[..], vec![Event::Failed { pool, server }]),
        (b"+OK\r\n", vec![Event::Answered { pool, server }]),
        (b"+OK\r\n", vec![]),
    ] {
        let mut turn = Turn {
            replies: &mut f.failed,
            buffers: &mut f.buffers,
            now: 0,
            us: 1,
        };
        assert!(f.backends.handle_bytes(id, reply, &mut turn));
        assert_eq!(f.backends.take_events(), events);
    }
}

#[test]
fn a_request_that_is_late_says_whether_there_was_a_connection() {
    for (connected, cause) in [(false, Cause::ConnectTimeout), (true, Cause::TimedOut(100))] {
        let mut f = Fixture::new();
        let id = f.queue(0);
        if connected {
            f.backends.handle_connected(id);
            let sent = (f.backends).flush(id, |bytes| Ok(bytes[0].len()));
            assert!(sent.is_ok());
        }
        for now in [99, 100] {
            assert!(f.failed.0.is_empty());
            let mut turn = Turn {
                replies: &mut f.failed,
                buffers: &mut f.buffers,
                now,
                us: 1,
            };
            f.backends.check_deadlines(&mut turn);
        }
        assert_eq!(f.failed.0, [(0, cause)]);
    }
}

#[test]
fn a_connection_that_is_made_after_its_time_does_not_count() {
    let mut f = Fixture::new();
    let id = f.queue(0);
    f.close(id, Cause::ConnectTimeout);
    f.backends.handle_connected(id);
    assert_eq!(f.connections(), 0);
    f.backends.remove(id);
}

#[test]
fn a_server_that_returns_is_tried_at_once() {
    let mut f = Fixture::new();
    let id = f.queue(0);
    f.close(id, Cause::Refused);
    let (at, kind) = ((0, 0), Kind::of(Resp::V2));
    let refused = f.backends.connection(at, kind, 0, 1).unwrap_err();
    assert_eq!(refused.cause, Cause::Refused);
    for ejected in [true, false] {
        let mut topology = Topology::clone(f.backends.topology());
        Arc::make_mut(&mut topology.pools[0]).servers[0].ejected = ejected;
        let mut turn = Turn {
            replies: &mut f.failed,
            buffers: &mut f.buffers,
            now: 1,
            us: 1,
        };
        f.backends.apply(Arc::new(topology), &mut turn);
    }
    assert!(f.backends.connection(at, kind, 0, 1).is_ok());
}
