//! What the tasks of one worker share, and the flusher: the one place that writes to sockets.
//!
//! Reading tasks only append to out-buffers and mark connections dirty. The flusher, woken by the first
//! mark, runs behind all tasks that are ready already and writes every dirty backend, then every dirty
//! client, once. Writing at once instead would cost 1.4 times the CPU without and 3 times with pipelining.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use super::mail::Post;
use super::socket::WriteHalf;
use crate::backend::ConnectionId;
use crate::client::{ClientId, Front, Now, Peer, SMALL_TABLE};
use crate::topology::Event;

/// Large enough that a 64 KB value with its headers is mostly one read; smaller buffers cost up to half
/// more CPU on large values.
const READ_BUFFER: usize = 256 * 1024;

/// The socket side of a client or backend, by its id.
#[derive(Default)]
struct Io {
    writer: Option<WriteHalf>,
    waker: Option<Waker>,
    /// The socket took less than it was given; its task waits until it takes more.
    blocked: bool,
    /// Writing failed; the task ends the connection.
    broken: Option<io::Error>,
    task: Option<AbortHandle>,
}

/// The other of two lists of each kind: while one is worked off, the next is filled.
#[derive(Default)]
struct Lists {
    backends: Vec<ConnectionId>,
    clients: Vec<ClientId>,
    woken: Vec<ClientId>,
}

pub(super) struct Shared {
    pub front: RefCell<Front>,
    /// Used within one poll only, so that an idle connection needs no buffer of its own.
    pub read_buffer: RefCell<Box<[u8]>>,
    /// Apart from `front`, because replies may go straight to a client's socket while `front` is in use.
    clients: Rc<RefCell<Vec<Io>>>,
    backends: RefCell<Vec<Io>>,
    flusher: RefCell<Option<Waker>>,
    scheduled: Cell<bool>,
    /// Wakes the ticker when requests are in flight again.
    pub in_flight: Notify,
    pub ticking: Cell<bool>,
    /// The ticker's pace; `None` if it has nothing to look for.
    pub tick: Cell<Option<Duration>>,
    pub tick_changed: Notify,
    /// Much memory has become free.
    pub ebbed: Notify,
    post: Post,
    events: mpsc::UnboundedSender<Event>,
    /// Starts the task that opens and serves a backend connection.
    open_task: fn(Rc<Shared>, ConnectionId) -> AbortHandle,
    start: Instant,
}

impl Shared {
    pub fn new(
        mut front: Front,
        post: Post,
        events: mpsc::UnboundedSender<Event>,
        open_task: fn(Rc<Shared>, ConnectionId) -> AbortHandle,
    ) -> Rc<Shared> {
        let clients = Rc::new(RefCell::new(Vec::<Io>::new()));
        let direct = clients.clone();
        front.write_directly(Box::new(move |id, bytes| {
            let mut clients = direct.borrow_mut();
            clients[id as usize]
                .write(&[IoSlice::new(bytes)])
                .unwrap_or(0)
        }));
        Rc::new(Shared {
            front: RefCell::new(front),
            read_buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            clients,
            backends: RefCell::default(),
            flusher: RefCell::default(),
            scheduled: Cell::new(false),
            in_flight: Notify::new(),
            ticking: Cell::new(false),
            tick: Cell::new(None),
            tick_changed: Notify::new(),
            ebbed: Notify::new(),
            post,
            events,
            open_task,
            start: Instant::now(),
        })
    }

    /// Reads the clock.
    pub fn now(&self) -> Now {
        let since = self.start.elapsed();
        Now::new(since.as_secs() * 1_000_000 + u64::from(since.subsec_micros()))
    }

    /// Schedules the flusher if there is anything for it. To be called after whatever touched `front`.
    pub fn kick(&self) {
        if !self.scheduled.get() && self.front.borrow().has_work() {
            self.scheduled.set(true);
            if let Some(waker) = &*self.flusher.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// The flusher task; never ends.
    pub async fn flush_for_ever(self: Rc<Self>) {
        let mut lists = Lists::default();
        poll_fn(|cx| {
            set_waker(&mut self.flusher.borrow_mut(), cx);
            if self.scheduled.replace(false) {
                self.flush(&mut lists);
            }
            Poll::<()>::Pending
        })
        .await;
    }

    fn flush(self: &Rc<Self>, lists: &mut Lists) {
        loop {
            self.change_backends();
            let mut front = self.front.borrow_mut();
            lists.backends = front
                .backends()
                .take_dirty(std::mem::take(&mut lists.backends));
            for id in lists.backends.drain(..) {
                // One that waits for a failover has no entry of its own yet, but counters to bring up to
                // date and a mark to lose.
                flush_backend(&mut front, entry(&mut self.backends.borrow_mut(), id), id);
            }
            lists.clients = front.take_dirty(std::mem::take(&mut lists.clients));
            for id in lists.clients.drain(..) {
                // It may have left since.
                if let Some(io) = self.clients.borrow_mut().get_mut(id as usize) {
                    flush_client(&mut front, io, id);
                }
            }
            self.enforce_memory(&mut front);
            lists.woken = front.take_woken(std::mem::take(&mut lists.woken));
            for id in lists.woken.drain(..) {
                wake(&mut self.clients.borrow_mut(), id);
            }
            if !front.has_work() {
                break;
            }
        }
        if !self.ticking.get() {
            self.in_flight.notify_one();
        }
    }

    fn enforce_memory(&self, front: &mut Front) {
        front.enforce_memory();
        if front.has_ebbed() {
            self.ebbed.notify_one();
        }
    }

    /// Removes and opens backend connections, passes on what the topology task and other workers should
    /// know.
    fn change_backends(self: &Rc<Self>) {
        let mut front = self.front.borrow_mut();
        for id in front.backends().take_dead() {
            // One that died before it was opened has no entry of its own yet.
            let io = std::mem::take(entry(&mut self.backends.borrow_mut(), id));
            if let Some(task) = io.task {
                task.abort();
            }
            front.backends().remove(id);
        }
        for id in front.backends().take_opening() {
            let task = (self.open_task)(self.clone(), id);
            entry(&mut self.backends.borrow_mut(), id).task = Some(task);
        }
        for event in front.backends().take_events() {
            // Without a topology task nobody ejects; the data path goes on.
            let _ = self.events.send(event);
        }
        self.post.send(front.take_asked());
    }

    /// Gives a new client its place.
    pub fn open_client(&self, pool: u16, peer: Peer, writer: WriteHalf) -> ClientId {
        let id = self.front.borrow_mut().open(pool, peer, self.now());
        entry(&mut self.clients.borrow_mut(), id).writer = Some(writer);
        id
    }

    /// Ends a client; answers its socket.
    pub fn close_client(&self, id: ClientId, in_order: bool) -> Option<WriteHalf> {
        let mut front = self.front.borrow_mut();
        front.close(id, in_order);
        self.enforce_memory(&mut front);
        drop(front);
        let mut clients = self.clients.borrow_mut();
        let io = std::mem::take(&mut clients[id as usize]);
        while clients.last().is_some_and(|io| io.writer.is_none()) {
            clients.pop();
        }
        if clients.capacity() > SMALL_TABLE && clients.len() < clients.capacity() / 4 {
            clients.shrink_to_fit();
        }
        drop(clients);
        self.kick();
        io.writer
    }

    /// The server of a backend connection accepted us.
    pub fn open_backend(&self, id: ConnectionId, writer: WriteHalf) {
        entry(&mut self.backends.borrow_mut(), id).writer = Some(writer);
        self.front.borrow_mut().backends().handle_connected(id);
        self.kick();
    }

    /// Registers a client's task for wake-ups and writes on when the socket takes more.
    ///
    /// # Errors
    /// The socket broke.
    pub fn poll_client(&self, id: ClientId, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            if !self.clients.borrow_mut()[id as usize].is_writable(cx)? {
                return Ok(());
            }
            let mut front = self.front.borrow_mut();
            flush_client(&mut front, &mut self.clients.borrow_mut()[id as usize], id);
            self.enforce_memory(&mut front);
        }
    }

    /// As [`Shared::poll_client`].
    pub fn poll_backend(&self, id: ConnectionId, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let mut backends = self.backends.borrow_mut();
            let io = &mut backends[id as usize];
            if !io.is_writable(cx)? {
                return Ok(());
            }
            let mut front = self.front.borrow_mut();
            flush_backend(&mut front, io, id);
            self.enforce_memory(&mut front);
        }
    }
}

fn entry(table: &mut Vec<Io>, id: u32) -> &mut Io {
    if table.len() <= id as usize {
        table.resize_with(id as usize + 1, Io::default);
    }
    &mut table[id as usize]
}

fn flush_client(front: &mut Front, io: &mut Io, id: ClientId) {
    let result = front.flush_client(id, |slices| io.write(slices));
    io.note(result);
}

fn flush_backend(front: &mut Front, io: &mut Io, id: ConnectionId) {
    let result = front.flush_backend(id, |slices| io.write(slices));
    io.note(result);
}

fn wake(table: &mut [Io], id: u32) {
    if let Some(waker) = table.get_mut(id as usize).and_then(|io| io.waker.as_ref()) {
        waker.wake_by_ref();
    }
}

fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

impl Io {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.writer {
            Some(_) if self.blocked => Err(io::ErrorKind::WouldBlock.into()),
            Some(writer) => writer.try_write(slices),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes the result of a flush: the task must wait for the socket, or end it.
    fn note(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => return,
            Err(_) if self.writer.is_none() => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if std::mem::replace(&mut self.blocked, true) {
                    return;
                }
            }
            Err(error) => self.broken = Some(error),
        }
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Registers the task; true if the socket was blocked and takes more now.
    fn is_writable(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        set_waker(&mut self.waker, cx);
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        if self.blocked
            && let Some(writer) = &self.writer
            && let Poll::Ready(result) = writer.poll_write_ready(cx)
        {
            result?;
            self.blocked = false;
            return Ok(true);
        }
        Ok(false)
    }
}
