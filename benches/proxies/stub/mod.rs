//! Servers without a store: a process with any number of ports that answers GET and MGET from constant
//! memory, with values of the size that the key names (`v64:000000000012`), and everything else with what
//! Redis would say to it. It costs less than any proxy does, so the proxy is what limits.
//!
//! It also says what Sentinel and those who follow it want to hear of a master.

mod parser;
mod replies;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use slab::Slab;

use crate::Outcome;
use parser::Parser;
use replies::{Answering, Output, Values};

/// The role of the stand-in's process. Arguments: `PORT` or `PORT:MILLISECONDS`, the latter for a server
/// that takes so long for every reply.
pub const ROLE: &str = "stub";

const READ: usize = 256 << 10;
const EVENTS: usize = 512;
/// Marks the event of a listening socket.
const LISTENER: u64 = 1 << 32;

struct Listener {
    socket: TcpListener,
    delay: Duration,
}

struct Connection {
    socket: TcpStream,
    parser: Parser,
    answering: Answering,
    output: Output,
    waits_to_write: bool,
    delay: Duration,
    /// What a slow server has not looked at yet, and when it will.
    held: VecDeque<(Instant, Vec<u8>)>,
}

struct Stub {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    connections: Slab<Connection>,
    /// The moments at which connections of a slow server are due. All have the same delay.
    due: VecDeque<(Instant, usize)>,
    values: Values,
}

/// Serves until it is killed.
///
/// # Errors
/// If a port is taken or the kernel refuses.
pub fn serve(arguments: impl Iterator<Item = String>) -> Outcome<()> {
    let mut stub = Stub {
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        listeners: Vec::new(),
        connections: Slab::new(),
        due: VecDeque::new(),
        values: Values::default(),
    };
    for argument in arguments {
        let (port, delay) = argument.split_once(':').unwrap_or((&argument, "0"));
        let port: u16 = port.parse()?;
        stub.listen(port, Duration::from_millis(delay.parse()?))?;
    }
    stub.run()
}

impl Stub {
    fn listen(&mut self, port: u16, delay: Duration) -> Outcome<()> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nonblocking(true)?;
        let data = EventData::new_u64(LISTENER | self.listeners.len() as u64);
        epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
        self.listeners.push(Listener { socket, delay });
        Ok(())
    }

    fn run(&mut self) -> Outcome<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let mut buffer = vec![0; READ];
        loop {
            events.clear();
            let timeout = self.until_due();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let data = event.data.u64();
                if data & LISTENER != 0 {
                    self.accept((data - LISTENER) as usize)?;
                } else {
                    self.serve(data as usize, event.flags, &mut buffer);
                }
            }
            self.release();
        }
    }

    fn until_due(&self) -> Option<Timespec> {
        let (due, _) = self.due.front()?;
        // The kernel's clock for this counts milliseconds.
        let left = due.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        Timespec::try_from(left).ok()
    }

    fn accept(&mut self, listener: usize) -> Outcome<()> {
        let listener = &self.listeners[listener];
        loop {
            let Ok((socket, _)) = listener.socket.accept() else {
                // Nobody waits any more, or whoever did has gone.
                return Ok(());
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            entry.insert(Connection {
                socket,
                parser: Parser::default(),
                answering: Answering::default(),
                output: Output::default(),
                waits_to_write: false,
                delay: listener.delay,
                held: VecDeque::new(),
            });
        }
    }

    fn serve(&mut self, key: usize, flags: EventFlags, buffer: &mut [u8]) {
        // Of one that an event before this one has closed.
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut open = true;
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            match recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => open = false,
                Ok((length, _)) if connection.delay.is_zero() => {
                    connection.take(&buffer[..length], &mut self.values);
                }
                Ok((length, _)) => {
                    let due = Instant::now() + connection.delay;
                    connection.held.push_back((due, buffer[..length].to_vec()));
                    self.due.push_back((due, key));
                }
                Err(Errno::AGAIN) => {}
                Err(_) => open = false,
            }
        }
        self.flush(key, open);
    }

    fn flush(&mut self, key: usize, open: bool) {
        let connection = &mut self.connections[key];
        if !open || connection.flush(&self.epoll, key).is_err() {
            self.connections.remove(key);
        }
    }

    /// Lets slow servers go on.
    fn release(&mut self) {
        let now = Instant::now();
        while self.due.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.due.pop_front() else {
                return;
            };
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            while connection.held.front().is_some_and(|(due, _)| *due <= now) {
                let Some((_, bytes)) = connection.held.pop_front() else {
                    break;
                };
                connection.take(&bytes, &mut self.values);
            }
            self.flush(key, true);
        }
    }
}

impl Connection {
    /// Answers what is complete.
    fn take(&mut self, bytes: &[u8], values: &mut Values) {
        let (answering, output) = (&mut self.answering, &mut self.output);
        let fed = self
            .parser
            .feed(bytes, |found| answering.found(&found, output, values));
        if let Err(why) = fed {
            output.bytes(format!("-ERR {why}\r\n").as_bytes());
        }
    }

    fn flush(&mut self, epoll: &OwnedFd, key: usize) -> Result<(), Errno> {
        while let Some(bytes) = self.output.front() {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => self.output.advance(sent),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        let waits = self.output.front().is_some();
        if waits != self.waits_to_write {
            self.waits_to_write = waits;
            let write = if waits {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(key as u64);
            epoll::modify(epoll, &self.socket, data, EventFlags::IN | write)?;
        }
        Ok(())
    }
}
