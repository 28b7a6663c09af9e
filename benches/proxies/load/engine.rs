//! One thread, one epoll: sends requests that were written in advance and compares the replies.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::plan::{End, Group, GroupReport, Mode, Plan, Report};
use super::traffic::{Prepared, same};
use super::{Gate, connect};
use crate::Outcome;

const READ: usize = 256 << 10;
const EVENTS: usize = 512;
/// Longer times count as this one.
const LONGEST_NS: u64 = 600_000_000_000;
/// How long at most without a look at the clock.
const TICK: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

struct Client {
    socket: TcpStream,
    group: usize,
    /// What is to be sent, in the group's bytes.
    sending: (usize, usize),
    /// The first request of the batch under way; in a window always 0.
    first: usize,
    /// Bytes of the batch's replies that have come; in a window those of the replies under way.
    received: usize,
    /// Requests sent and not answered.
    outstanding: usize,
    since: Instant,
    waits_to_write: bool,
}

struct State {
    group: Group,
    prepared: Prepared,
    /// Where in the cycle the next request is.
    next: usize,
    done: u64,
    times: Histogram<u64>,
}

struct Engine {
    epoll: OwnedFd,
    clients: Vec<Client>,
    groups: Vec<State>,
    /// Requests sent and answered by all groups, in this part.
    sent: u64,
    done: u64,
    /// No more than these are sent.
    limit: u64,
    buffer: Vec<u8>,
}

/// Answers with the report and what has to stay open.
pub fn run(plan: &Plan, gate: &mut Gate) -> Outcome<(Report, Box<dyn std::any::Any>)> {
    let mut engine = Engine::new(plan)?;
    let patience = Duration::from_secs(plan.patience_s);
    // Every client once.
    let once = plan
        .groups
        .iter()
        .map(|group| (group.clients * group.depth) as u64);
    engine.part(once.sum(), Instant::now() + patience, true)?;
    gate.wait()?;
    let start = Instant::now();
    match plan.end {
        End::Requests(requests) => engine.part(requests, start + patience, true)?,
        End::Milliseconds(time) => {
            engine.part(u64::MAX, start + Duration::from_millis(time), false)?
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let groups = engine.groups.iter().map(State::report).collect();
    Ok((Report { seconds, groups }, Box::new(engine)))
}

impl State {
    fn report(&self) -> GroupReport {
        let us = |share| self.times.value_at_quantile(share) as f64 / 1000.0;
        GroupReport {
            requests: self.done,
            p50: us(0.5),
            p99: us(0.99),
            p999: us(0.999),
            max: self.times.max() as f64 / 1000.0,
        }
    }
}

impl Engine {
    fn new(plan: &Plan) -> Outcome<Engine> {
        let mut engine = Engine {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            groups: Vec::new(),
            sent: 0,
            done: 0,
            limit: 0,
            buffer: vec![0; READ],
        };
        for (number, group) in plan.groups.iter().enumerate() {
            engine.groups.push(State {
                prepared: Prepared::new(&group.traffic, group.depth),
                group: group.clone(),
                next: 0,
                done: 0,
                times: Histogram::new_with_bounds(1, LONGEST_NS, 3)?,
            });
            for _ in 0..group.clients {
                engine.connect(plan.port, number)?;
            }
        }
        Ok(engine)
    }

    fn connect(&mut self, port: u16, group: usize) -> Outcome<()> {
        let socket = connect(port)?;
        let number = self.clients.len() as u64;
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(number),
            EventFlags::IN,
        )?;
        self.clients.push(Client {
            socket,
            group,
            sending: (0, 0),
            first: 0,
            received: 0,
            outstanding: 0,
            since: Instant::now(),
            waits_to_write: false,
        });
        Ok(())
    }

    /// Sends `limit` requests and takes their replies, or ends at `end`; that is an error if all are
    /// wanted.
    fn part(&mut self, limit: u64, end: Instant, all: bool) -> Outcome<()> {
        (self.sent, self.done, self.limit) = (0, 0, limit);
        for group in &mut self.groups {
            group.done = 0;
            group.times.reset();
        }
        for number in 0..self.clients.len() {
            self.begin(number)?;
        }
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        while self.done < limit {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            if now >= end {
                let error = format!("only {} of {limit} replies in time", self.done);
                return if all { Err(error.into()) } else { Ok(()) };
            }
            for event in &events {
                let (number, flags) = (event.data.u64() as usize, event.flags);
                if self.clients[number].waits_to_write && flags.contains(EventFlags::OUT) {
                    self.write(number)?;
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.read(number)?;
                }
            }
        }
        Ok(())
    }

    /// Sends as much as the client may have unanswered.
    fn begin(&mut self, number: usize) -> Outcome<()> {
        let client = &mut self.clients[number];
        let state = &mut self.groups[client.group];
        let depth = state.group.depth;
        let count = match state.group.mode {
            Mode::Batch if client.outstanding == 0 => depth,
            Mode::Window if client.sending.0 == client.sending.1 => {
                (depth - client.outstanding).min(state.prepared.count() - state.next)
            }
            _ => 0,
        };
        if count == 0 || self.sent >= self.limit {
            return Ok(());
        }
        client.sending = state.prepared.span(state.next, count);
        if state.group.mode == Mode::Batch {
            (client.first, client.received) = (state.next, 0);
            client.since = Instant::now();
        }
        client.outstanding += count;
        state.next = (state.next + count) % state.prepared.count();
        self.sent += count as u64;
        self.write(number)
    }

    fn write(&mut self, number: usize) -> Outcome<()> {
        let client = &mut self.clients[number];
        let prepared = &self.groups[client.group].prepared;
        let (from, to) = client.sending;
        match send(
            &client.socket,
            prepared.bytes(from, to),
            SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => client.sending.0 += sent,
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(format!("sending: {error}").into()),
        }
        let waits = client.sending.0 < to;
        if waits != client.waits_to_write {
            client.waits_to_write = waits;
            let write = if waits {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &client.socket, data, EventFlags::IN | write)?;
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> Outcome<()> {
        let client = &mut self.clients[number];
        let length = match recv(&client.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => return Err("a connection was closed".into()),
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(format!("receiving: {error}").into()),
        };
        let state = &mut self.groups[client.group];
        let got = &self.buffer[..length];
        let answered = match state.group.mode {
            Mode::Batch => batch(client, state, got)?,
            Mode::Window => window(client, state, got)?,
        };
        if answered == 0 {
            return Ok(());
        }
        client.outstanding -= answered;
        state.done += answered as u64;
        self.done += answered as u64;
        self.begin(number)
    }
}

/// How many requests are answered now: none, or the whole batch.
fn batch(client: &mut Client, state: &mut State, got: &[u8]) -> Outcome<usize> {
    let expected = state.prepared.replies(client.first);
    let end = client.received + got.len();
    let part = expected.get(client.received..end);
    if !part.is_some_and(|part| same(part, got)) || client.outstanding == 0 {
        return Err(wrong(got));
    }
    client.received = end;
    if end < expected.len() {
        return Ok(0);
    }
    let time = client.since.elapsed().as_nanos();
    state.times.saturating_record(u64::try_from(time)?);
    Ok(state.group.depth)
}

/// How many requests are answered now. The replies of a batch repeat for ever.
fn window(client: &mut Client, state: &State, mut got: &[u8]) -> Outcome<usize> {
    let expected = state.prepared.replies(0);
    // All replies of a window are alike.
    let one = expected.len() / state.group.depth;
    let before = client.received / one;
    let mut after = before;
    while !got.is_empty() {
        let length = got.len().min(expected.len() - client.received);
        if !same(
            &expected[client.received..client.received + length],
            &got[..length],
        ) {
            return Err(wrong(got));
        }
        client.received += length;
        after += client.received / one - (client.received - length) / one;
        client.received %= expected.len();
        got = &got[length..];
    }
    let answered = after - before;
    if answered > client.outstanding {
        return Err("more replies than requests".into());
    }
    Ok(answered)
}

fn wrong(got: &[u8]) -> Box<dyn std::error::Error> {
    let start = String::from_utf8_lossy(&got[..got.len().min(80)]);
    format!("a wrong reply: {start:?}").into()
}
