//! One worker: an OS thread with its runtime, its clients, its backend connections and its copy of the
//! topology. Nothing on its hot path is shared with another thread.
//!
//! The rules live in [`crate::client`] and [`crate::backend`]; here are only their sockets, timers and
//! tasks: `client.rs` and `backend.rs` read, `shared.rs` writes, `memory.rs` gives memory back, `mail.rs` is
//! how workers ask each other.

mod backend;
mod client;
mod header;
mod mail;
mod memory;
mod shared;
mod socket;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Interval, interval};

use crate::backend::Scripts;
use crate::client::{Front, Peer};
use crate::stats::{Slots, WorkerStats};
use crate::topology::{Event, Topology};
pub use mail::Mailbox;
use mail::Post;
use shared::Shared;

/// Coarsest step of the clock for time-outs; pools with a short `timeout` get a finer one.
const TICK_MAX: Duration = Duration::from_millis(50);
const TICK_MIN: Duration = Duration::from_millis(5);

/// As many as one poll of the kernel brings events.
const TASKS_PER_POLL: u32 = 1024;

/// What a worker is born with.
pub struct WorkerOptions {
    pub mailbox: Mailbox,
    pub topology: watch::Receiver<Arc<Topology>>,
    pub events: mpsc::UnboundedSender<Event>,
    pub stats: Arc<WorkerStats>,
    /// Bytes this worker may hold in buffers.
    pub memory_limit: usize,
    /// Those of all workers.
    pub all_stats: Vec<Arc<WorkerStats>>,
    /// Likewise.
    pub scripts: Arc<Scripts>,
    /// How long clients of a removed pool may wait for the replies they are owed.
    pub farewell: Duration,
}

/// An accepted socket, on its way to a worker. Non-blocking already.
pub struct NewClient {
    pub pool: u16,
    pub socket: ClientSocket,
    /// The socket's.
    pub peer: Peer,
    /// A PROXY protocol header has to come first.
    pub proxied: bool,
}

pub enum ClientSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

enum Order {
    Serve(NewClient),
    /// Close clients that had nothing to do for this long.
    CloseIdle(Duration),
    SeeOff,
    Drain,
}

/// The control thread's end of a running worker.
pub struct Worker {
    orders: mpsc::UnboundedSender<Order>,
    /// Clients per pool, counted from assignment to close.
    clients: Arc<Slots<AtomicUsize>>,
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
        let clients = Arc::new(Slots::<AtomicUsize>::default());
        clients.grow(options.topology.borrow().pools.len());
        let counts = clients.clone();
        // A local runtime stays on the thread that made it.
        let (built, result) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(format!("worker-{}", options.mailbox.place.worker))
            .spawn(move || {
                let runtime = match runtime() {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(built.send(Err(error))),
                };
                drop(built.send(Ok(())));
                runtime.block_on(serve(options, incoming, counts));
                // The control thread may have given up waiting.
                let _ = end.send(());
            })?;
        result.recv().map_err(io::Error::other)??;
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

    /// Makes room for so many pools. To be called before anybody is assigned to a new one.
    pub fn grow(&self, pools: usize) {
        self.clients.grow(pools);
    }

    /// From now on clients are closed that have had nothing to do for `silence`, or up to twice that.
    pub fn close_idle(&self, silence: Duration) {
        // As below.
        let _ = self.orders.send(Order::CloseIdle(silence));
    }

    /// From now on each client is closed in the first moment in which it is owed nothing.
    pub fn see_off(&self) {
        // As below.
        let _ = self.orders.send(Order::SeeOff);
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

/// Without the second task queue of a `LocalSet`, and it asks the kernel for events only after everybody
/// who was ready had a turn: the flusher then has more to write at once.
fn runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_PER_POLL)
        .build_local(LocalOptions::default())
}

async fn serve(
    options: WorkerOptions,
    mut orders: mpsc::UnboundedReceiver<Order>,
    counts: Arc<Slots<AtomicUsize>>,
) {
    let mut topology = options.topology;
    let first = topology.borrow_and_update().clone();
    let (first_tick, first_version) = (tick(&first), first.version);
    let stats = Arc::clone(&options.stats);
    let Mailbox {
        place,
        mut incoming,
        workers,
    } = options.mailbox;
    let seed = std::process::id().wrapping_mul(0x9e37_79b9) ^ u32::from(place.worker);
    let mut front = Front::new(first, options.stats, options.memory_limit, place, seed);
    front.backends().share(options.scripts, options.all_stats);
    let post = Post::new(place, workers);
    let shared = Shared::new(front, post, options.events, |shared, id| {
        tokio::task::spawn_local(backend::run(shared, id)).abort_handle()
    });
    tokio::task::spawn_local(shared.clone().flush_for_ever());
    shared.tick.set(first_tick);
    stats.topology_version.set(first_version);
    tokio::task::spawn_local(keep_time(shared.clone()));
    tokio::task::spawn_local(memory::give_back(shared.clone()));
    shared.front.borrow_mut().backends().preconnect(0);
    shared.kick();
    let served = Served {
        counts,
        tasks: Cell::new(0),
        left: Notify::new(),
    };
    let served = Rc::new(served);
    let mut draining = false;
    let mut sweeps = None;
    // Tasks, not clients: one that has been told goodbye may still have to read it.
    while !draining || served.tasks.get() > 0 {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Serve(new)) => {
                    // The client's pool may be one of a snapshot that is to be followed first.
                    if topology.has_changed().unwrap_or(false) {
                        let snapshot = topology.borrow_and_update().clone();
                        stats.topology_version.set(follow(&shared, snapshot, options.farewell));
                    }
                    start(&shared, new, &served);
                }
                Some(Order::Drain) | None if !draining => {
                    draining = true;
                    shared.front.borrow_mut().drain(shared.now());
                    shared.kick();
                }
                Some(Order::Drain) => {}
                Some(Order::CloseIdle(silence)) => sweeps = Some(interval(silence)),
                Some(Order::SeeOff) => {
                    shared.front.borrow_mut().see_off(shared.now());
                    shared.kick();
                }
                None => served.left.notified().await,
            },
            Ok(()) = topology.changed() => {
                let snapshot = topology.borrow_and_update().clone();
                stats.topology_version.set(follow(&shared, snapshot, options.farewell));
            }
            Some(mail) = incoming.recv() => mail::receive(&shared, mail),
            () = served.left.notified() => {}
            () = due(&mut sweeps) => {
                shared.front.borrow_mut().sweep();
                shared.kick();
            }
        }
    }
}

/// Goes on by another snapshot, whose version is answered; clients that must go get `farewell` to do so.
fn follow(shared: &Rc<Shared>, snapshot: Arc<Topology>, farewell: Duration) -> u64 {
    let version = snapshot.version;
    shared.tick.set(tick(&snapshot));
    shared.tick_changed.notify_one();
    let now = shared.now();
    let leaving = shared.front.borrow_mut().apply(snapshot, now);
    shared.kick();
    if leaving.is_empty() {
        return version;
    }
    let shared = shared.clone();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(farewell).await;
        let late = shared.front.borrow_mut().cut_off(&leaving);
        if late > 0 {
            tracing::warn!("{late} clients of a removed pool still waited and are cut off");
        }
        shared.kick();
    });
    version
}

/// The next beat; never without an interval.
async fn due(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Who is being served.
struct Served {
    /// Per pool, shared with the control thread.
    counts: Arc<Slots<AtomicUsize>>,
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
    let NewClient {
        pool,
        socket,
        peer,
        proxied,
    } = new;
    let halves = match socket {
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
                let id = shared.open_client(pool, peer, writer);
                client::run(shared, id, proxied, reader).await;
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

/// How often time-outs and the ends of waits are looked for; `None` without a pool.
fn tick(topology: &Topology) -> Option<Duration> {
    let pools = topology.pools.iter().map(|pool| &pool.config);
    // Without a time-out there may be holds to end, or subscribers who want their servers back.
    let waits = pools.map(|config| config.timeout.unwrap_or(TICK_MAX * 8));
    Some((waits.min()? / 8).clamp(TICK_MIN, TICK_MAX))
}

/// Looks for requests that waited too long, while any are waiting.
async fn keep_time(shared: Rc<Shared>) {
    loop {
        let Some(tick) = shared.tick.get() else {
            shared.tick_changed.notified().await;
            continue;
        };
        if shared.front.borrow().is_idle() {
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
