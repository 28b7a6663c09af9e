//! One worker: an OS thread with its runtime, its clients, its backend connections and its copy of the
//! topology. Nothing on its hot path is shared with another thread.
//!
//! The rules live in [`crate::client`] and [`crate::backend`]; here are only their sockets, timers and
//! tasks: `client.rs` and `backend.rs` read, `shared.rs` writes.

mod backend;
mod client;
mod peer;
mod shared;
mod socket;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::client::Front;
use crate::stats::WorkerStats;
use crate::topology::{Event, Topology};
pub use peer::Peer;
use shared::Shared;

/// Coarsest step of the clock for time-outs; pools with a short `timeout` get a finer one.
const TICK_MAX: Duration = Duration::from_millis(50);
const TICK_MIN: Duration = Duration::from_millis(5);

/// What a worker is born with.
pub struct WorkerOptions {
    pub index: usize,
    pub topology: watch::Receiver<Arc<Topology>>,
    pub events: mpsc::UnboundedSender<Event>,
    pub stats: Arc<WorkerStats>,
    /// Bytes this worker may hold in buffers.
    pub memory_limit: usize,
}

/// An accepted socket, on its way to a worker. Non-blocking already.
pub struct NewClient {
    pub pool: u16,
    pub socket: ClientSocket,
    pub peer: Peer,
}

pub enum ClientSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

enum Order {
    Serve(NewClient),
    Drain,
}

/// The control thread's end of a running worker.
pub struct Worker {
    orders: mpsc::UnboundedSender<Order>,
    /// Clients per pool, counted from assignment to close.
    clients: Arc<[AtomicUsize]>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts the thread; it serves at once.
    ///
    /// # Errors
    /// The system has no thread or no epoll instance to give.
    pub fn spawn(options: WorkerOptions) -> io::Result<Worker> {
        let (orders, incoming) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let pools = options.topology.borrow().pools.len();
        let clients: Arc<[AtomicUsize]> = (0..pools).map(|_| AtomicUsize::new(0)).collect();
        let counts = clients.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name(format!("worker-{}", options.index))
            .spawn(move || {
                LocalSet::new().block_on(&runtime, serve(options, incoming, counts));
                // The control thread may have given up waiting.
                let _ = end.send(());
            })?;
        Ok(Worker {
            orders,
            clients,
            ended,
        })
    }

    /// Hands a client over; dropped (closed) if the worker is gone.
    pub fn assign(&self, client: NewClient) {
        let count = &self.clients[usize::from(client.pool)];
        count.fetch_add(1, Relaxed);
        if self.orders.send(Order::Serve(client)).is_err() {
            count.fetch_sub(1, Relaxed);
        }
    }

    /// Clients of `pool` that were assigned and are not closed yet.
    pub fn clients(&self, pool: u16) -> usize {
        self.clients[usize::from(pool)].load(Relaxed)
    }

    /// Clients take no new request, get the replies they are owed and are closed; then the thread ends.
    pub fn drain(&self) {
        // A worker that is gone has drained.
        let _ = self.orders.send(Order::Drain);
    }

    /// Resolves when the thread has ended.
    pub async fn stopped(self) {
        let _ = self.ended.await;
    }
}

async fn serve(
    options: WorkerOptions,
    mut orders: mpsc::UnboundedReceiver<Order>,
    counts: Arc<[AtomicUsize]>,
) {
    let mut topology = options.topology;
    let first = topology.borrow_and_update().clone();
    let tick = tick(&first);
    let first_id = ((options.index as u64) << 48) + 1;
    let seed = std::process::id().wrapping_mul(0x9e37_79b9) ^ options.index as u32;
    let front = Front::new(first, options.stats, options.memory_limit, first_id, seed);
    let shared = Shared::new(front, options.events, |shared, id| {
        tokio::task::spawn_local(backend::run(shared, id)).abort_handle()
    });
    tokio::task::spawn_local(shared.clone().flush_for_ever());
    if let Some(tick) = tick {
        tokio::task::spawn_local(keep_time(shared.clone(), tick));
    }
    shared.front.borrow_mut().backends().preconnect(0);
    shared.kick();
    let served = Served {
        counts,
        tasks: Cell::new(0),
        left: Notify::new(),
    };
    let served = Rc::new(served);
    let mut draining = false;
    // Tasks, not clients: one that has been told goodbye may still have to read it.
    while !draining || served.tasks.get() > 0 {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Serve(new)) => start(&shared, new, &served),
                Some(Order::Drain) | None if !draining => {
                    draining = true;
                    shared.front.borrow_mut().drain();
                    shared.kick();
                }
                Some(Order::Drain) => {}
                None => served.left.notified().await,
            },
            Ok(()) = topology.changed() => {
                let snapshot = topology.borrow_and_update().clone();
                let now = shared.now();
                shared.front.borrow_mut().apply(snapshot, now);
                shared.kick();
            }
            () = served.left.notified() => {}
        }
    }
}

/// Who is being served.
struct Served {
    /// Per pool, shared with the control thread.
    counts: Arc<[AtomicUsize]>,
    tasks: Cell<usize>,
    left: Notify,
}

impl Served {
    fn end(&self, pool: u16) {
        self.counts[usize::from(pool)].fetch_sub(1, Relaxed);
    }
}

/// Starts the task of a new client.
fn start(shared: &Rc<Shared>, new: NewClient, served: &Rc<Served>) {
    let NewClient { pool, peer, .. } = new;
    let halves = match new.socket {
        ClientSocket::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(socket::split_tcp),
        ClientSocket::Unix(stream) => {
            tokio::net::UnixStream::from_std(stream).map(socket::split_unix)
        }
    };
    match halves {
        Ok((reader, writer)) => {
            let (shared, served) = (shared.clone(), served.clone());
            served.tasks.set(served.tasks.get() + 1);
            tokio::task::spawn_local(async move {
                let end = client::run(shared.clone(), pool, reader, writer).await;
                tracing::debug!(
                    pool = shared.front.borrow().pool_name(pool),
                    client = %peer,
                    "client closed: {end}"
                );
                served.end(pool);
                served.tasks.set(served.tasks.get() - 1);
                served.left.notify_one();
            });
        }
        Err(error) => {
            let front = shared.front.borrow();
            let name = front.pool_name(pool);
            tracing::warn!(pool = name, client = %peer, "a client could not be served: {error}");
            served.end(pool);
        }
    }
}

/// How often time-outs are looked for; `None` if no pool has any.
fn tick(topology: &Topology) -> Option<Duration> {
    let shortest = topology
        .pools
        .iter()
        .filter_map(|pool| pool.config.timeout)
        .min()?;
    Some((shortest / 8).clamp(TICK_MIN, TICK_MAX))
}

/// Looks for requests that waited too long, while any are waiting.
async fn keep_time(shared: Rc<Shared>, tick: Duration) {
    loop {
        if shared.front.borrow_mut().backends().is_idle() {
            shared.ticking.set(false);
            shared.in_flight.notified().await;
            shared.ticking.set(true);
        }
        tokio::time::sleep(tick).await;
        let now = shared.now();
        shared.front.borrow_mut().tick(now);
        shared.kick();
    }
}
