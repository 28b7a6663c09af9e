//! What becomes of a request: forwarded, split, answered here, or refused with a reason.

use super::context::{After, Context, Part, Request, shown};
use super::local;
use crate::backend::{Again, Call, ConnectionId, Failure, Fate};
use crate::distribution::Distribution;
use crate::protocol::redis::command::{
    self, Access, Command, Join, KeyPositions, Local, PLACEHOLDER, Policy,
};
use crate::protocol::redis::fragment::Gather;
use crate::protocol::redis::scan::{ArrayFrame, Span};
use crate::protocol::redis::write;

/// A huge MSET's notes are not kept for ever.
const MOST_GROUPS_KEPT: usize = 16 * 1024;
const NO_PART: u16 = u16::MAX;

impl Context<'_> {
    /// Decides over one request.
    #[inline]
    pub fn handle(&mut self, request: Request<'_>, frame: &ArrayFrame) -> After {
        if self.session.special.is_some() {
            return self.handle_special(request, frame);
        }
        self.decide(request, frame)
    }

    /// Of a client that has more than its requests.
    #[cold]
    fn handle_special(&mut self, request: Request<'_>, frame: &ArrayFrame) -> After {
        let errors = self.session.errors;
        let after = self.decide(request, frame);
        if self.session.errors != errors {
            self.flag_transaction();
        }
        after
    }

    #[inline(always)]
    fn decide(&mut self, request: Request<'_>, frame: &ArrayFrame) -> After {
        if let Some(rules) = self.config.commands.rules() {
            return self.handle_by_rules(rules, request, frame);
        }
        match command::lookup(frame.arg(request.bytes(), 0)) {
            Some(command) => self.handle_command(command, request, frame),
            None => self.handle_learned(request, frame),
        }
    }

    /// The table does not have the request's command. A server may have told of it.
    #[cold]
    fn handle_learned(&mut self, request: Request<'_>, frame: &ArrayFrame) -> After {
        match self.learned(frame.arg(request.bytes(), 0)) {
            Some(command) => self.handle_as(command, request, frame),
            None => self.unknown(request.bytes(), frame),
        }
    }

    pub(super) fn learned(&self, name: &[u8]) -> Option<&'static Command> {
        let pool = &self.backends.topology().pools[usize::from(self.pool)];
        pool.learned.find(name)
    }

    /// The request's command is, or is within, `command`.
    #[inline(never)]
    pub(super) fn handle_as(
        &mut self,
        command: &'static Command,
        request: Request<'_>,
        frame: &ArrayFrame,
    ) -> After {
        self.handle_command(command, request, frame)
    }

    /// As [`Context::handle_as`]. The common way from here to the backend is one function, whoever else calls
    /// what it consists of.
    #[inline(always)]
    fn handle_command(
        &mut self,
        mut command: &'static Command,
        request: Request<'_>,
        frame: &ArrayFrame,
    ) -> After {
        if let Policy::Container(_) = command.policy {
            match subcommand(command, request.bytes(), frame) {
                Some(found) => command = found,
                None => return self.unknown_subcommand(command, request.bytes(), frame),
            }
        }
        (self.class, self.command) = (command.class, Some(command));
        if !self.session.authenticated && !is_allowed_unauthenticated(command) {
            return self.error("NOAUTH Authentication required");
        }
        if !command.arity_ok(frame.argc) {
            return self.wrong_arity(command);
        }
        if let Some(special) = &self.session.special {
            let subscribed = special.subscriptions.is_some();
            if subscribed && let Some(after) = self.restrict(command) {
                return after;
            }
            if self.in_transaction() {
                return self.queue(request, frame, command);
            }
        }
        match command.policy {
            Policy::Forward => self.forward(request, frame, command),
            _ => self.handle_other(request, frame, command),
        }
    }

    /// Apart from the way of most requests, which stays short for that.
    #[inline(never)]
    fn handle_other(
        &mut self,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &'static Command,
    ) -> After {
        match command.policy {
            Policy::Forward => self.forward(request, frame, command),
            Policy::Split(join) => self.split(request, frame, command, join),
            Policy::Anywhere => self.anywhere(request, command),
            Policy::Everywhere(join) => self.everywhere(request, command, join),
            Policy::Flush => self.flush(request, command),
            Policy::Kill => self.kill(request, command),
            Policy::Scan => self.scan(request, frame, command),
            Policy::Script(script) => self.script(script, request, frame, command),
            Policy::Local(local) => local::handle(self, local, request.bytes(), frame),
            Policy::Wait(join) => self.wait(request.bytes(), frame, command, join),
            Policy::Blocking(timeout) => self.block(request, frame, command, timeout),
            // Only a name alone is left a container, and no container's arity admits that.
            Policy::Container(_) => self.wrong_arity(command),
            Policy::Transaction(word) => self.transact(word, request, frame, command),
            Policy::Subscribe(kind) => self.subscribe(kind, request.bytes(), frame),
            Policy::Unsubscribe(kind) => self.unsubscribe(kind, request.bytes(), frame),
            Policy::Refused(reason) => self.refuse(command, reason),
        }
    }

    fn anywhere(&mut self, request: Request<'_>, command: &Command) -> After {
        let server = self.placeholder();
        self.send(server, request, command)
    }

    #[inline(always)]
    pub(super) fn forward(
        &mut self,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &Command,
    ) -> After {
        let server = match self.server_of(request.bytes(), frame, command) {
            Ok(Some(server)) => Ok(server),
            Ok(None) => self.placeholder(),
            Err(after) => return after,
        };
        self.send(server, request, command)
    }

    /// The one server of a request's keys; `None` for a script that has none, or none that it tells.
    ///
    /// # Errors
    /// There is none; the request has been answered.
    #[inline(always)]
    pub(super) fn server_of(
        &mut self,
        bytes: &[u8],
        frame: &ArrayFrame,
        command: &Command,
    ) -> Result<Option<u16>, After> {
        let positions = match positions(command, bytes, frame) {
            Ok(positions) => positions,
            Err(error) => return Err(self.error(&error)),
        };
        let Some(first) = positions.first() else {
            return Ok(None);
        };
        let key = frame.arg(bytes, first);
        let server = match self.backends.route(self.pool, key) {
            Ok(server) => server,
            Err(failure) => return Err(self.failure(&failure)),
        };
        if positions.may_stray()
            && self.config.distribution != Distribution::Random
            && let Some(error) = self.stray_key(bytes, frame, command, &positions, server)
        {
            return Err(self.error(&error));
        }
        Ok(Some(server))
    }

    /// The server for what any can answer.
    #[inline(never)]
    pub(super) fn placeholder(&mut self) -> Result<u16, Failure> {
        self.backends.route(self.pool, PLACEHOLDER)
    }

    /// The error for a request whose keys do not all live on `server`.
    fn stray_key(
        &mut self,
        bytes: &[u8],
        frame: &ArrayFrame,
        command: &Command,
        positions: &KeyPositions,
        server: u16,
    ) -> Option<String> {
        let mut args = frame.args(bytes);
        let mut at = 0;
        for position in positions.iter() {
            let key = args.nth(position - at)?.bytes;
            at = position + 1;
            let other = self.backends.route(self.pool, key).ok()?;
            if other != server {
                let first = frame.arg(bytes, positions.first()?);
                return Some(format!(
                    "CROSSSLOT keys of '{}' live on different servers: '{}' on {}, '{}' on {}",
                    command.name,
                    shown(first),
                    self.config.servers[usize::from(server)].name,
                    shown(key),
                    self.config.servers[usize::from(other)].name,
                ));
            }
        }
        self.stray_pattern(bytes, frame, command, server)
    }

    /// Queues a whole request for a server.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        server: Result<u16, Failure>,
        request: Request<'_>,
        command: &Command,
    ) -> After {
        let connection = match server.and_then(|server| self.connection(server)) {
            Ok(connection) => connection,
            Err(failure) => return self.failure(&failure),
        };
        self.send_on(connection, request, command);
        After::Continue
    }

    #[inline(always)]
    pub(super) fn send_on(
        &mut self,
        connection: ConnectionId,
        request: Request<'_>,
        command: &Command,
    ) {
        let slot = self.pipeline.open(self.now.us);
        let call = self.call(slot, 0, command.access);
        match request {
            Request::Borrowed(bytes) => {
                self.backends
                    .send(connection, call, bytes, self.now.ms, self.buffers);
            }
            Request::Owned(bytes) => {
                self.backends
                    .send_owned(connection, call, bytes, self.now.ms, self.buffers);
            }
        }
    }

    #[inline(always)]
    pub(super) fn connection(&mut self, server: u16) -> Result<ConnectionId, Failure> {
        if let Some(special) = &self.session.special
            && let Some(own) = special.tied_to(server)
        {
            return self.backends.admit(own).map(|()| own);
        }
        let at = (self.pool, server);
        self.backends
            .connection(at, self.session.kind(), self.client, self.now.ms)
    }

    #[inline]
    pub(super) fn call(&self, slot: u32, part: u16, access: Access) -> Call {
        Call {
            client: self.client,
            generation: self.generation,
            slot,
            began: self.now.us,
            part,
            write: access != Access::Read,
            again: Again::May,
        }
    }

    /// Sends each server the part of the request that holds its keys.
    fn split(
        &mut self,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &Command,
        join: Join,
    ) -> After {
        let bytes = request.bytes();
        let positions = match positions(command, bytes, frame) {
            Ok(positions) => positions,
            Err(error) => return self.error(&error),
        };
        let one_server = positions.len() == 1
            || self.backends.topology().pools[usize::from(self.pool)].is_single()
            || self.config.distribution == Distribution::Random;
        let first = frame.arg(bytes, 1);
        if one_server {
            let server = self.backends.route(self.pool, first);
            return self.send(server, request, command);
        }
        if let Err(failure) = self.group(bytes, frame, &positions) {
            return self.failure(&failure);
        }
        if let [only] = self.scratch.parts[..] {
            return self.send(Ok(only.server), request, command);
        }
        self.send_parts(bytes, frame, command, join, &positions);
        After::Continue
    }

    /// Sorts the request's keys into parts, in the order of their servers' first key.
    fn group(
        &mut self,
        bytes: &[u8],
        frame: &ArrayFrame,
        positions: &KeyPositions,
    ) -> Result<(), Failure> {
        let scratch = &mut *self.scratch;
        scratch.groups.clear();
        scratch.groups.shrink_to(MOST_GROUPS_KEPT);
        scratch.parts.clear();
        scratch.part_of.clear();
        scratch.part_of.resize(self.config.servers.len(), NO_PART);
        let step = positions.step();
        let mut args = frame.args(bytes).skip(1);
        for _ in 0..positions.len() {
            let Some(key) = args.next() else { break };
            let end = match step {
                1 => key.outer.end,
                _ => args
                    .nth(step - 2)
                    .map_or(key.outer.end, |value| value.outer.end),
            };
            let server = self.backends.route(self.pool, key.bytes)?;
            let part = &mut scratch.part_of[usize::from(server)];
            if *part == NO_PART {
                *part = scratch.parts.len() as u16;
                scratch.parts.push(Part {
                    server,
                    keys: 0,
                    connection: None,
                });
            }
            scratch.parts[usize::from(*part)].keys += 1;
            let start = key.outer.start;
            scratch.groups.push((Span { start, end }, *part));
        }
        Ok(())
    }

    /// One sub-request per part: header and name first, then every key straight to its part's connection, then
    /// what stands behind all the keys.
    fn send_parts(
        &mut self,
        bytes: &[u8],
        frame: &ArrayFrame,
        command: &Command,
        join: Join,
        positions: &KeyPositions,
    ) {
        let step = positions.step();
        let behind = frame.argc - 1 - positions.len() * step;
        let tail = match self.scratch.groups.last() {
            Some((last, _)) if behind > 0 => &bytes[last.end..],
            _ => &[],
        };
        let order = match join {
            Join::Array => self.scratch.groups.iter().map(|(_, part)| *part).collect(),
            _ => Vec::new(),
        };
        let count = self.scratch.parts.len();
        self.session.fragments += count as u32;
        let slot = (self.pipeline).open_gather(Gather::new(join, order, count), self.now.us);
        let name_end = frame
            .args(bytes)
            .next()
            .map_or(frame.first, |name| name.outer.end);
        let name = &bytes[frame.first..name_end];
        let mut header = self.buffers.take(0);
        for part in 0..count {
            let server = self.scratch.parts[part].server;
            match self.connection(server) {
                Ok(connection) => {
                    header.clear();
                    let keys = self.scratch.parts[part].keys;
                    write::array_header(&mut header, 1 + keys * step + behind);
                    header.extend_from_slice(name);
                    self.backends.append(connection, &header, self.buffers);
                    self.scratch.parts[part].connection = Some(connection);
                }
                Err(failure) => self.fail_part(slot, part as u16, &failure),
            }
        }
        self.buffers.give(header);
        for (span, part) in &self.scratch.groups {
            if let Some(connection) = self.scratch.parts[usize::from(*part)].connection {
                self.backends
                    .append(connection, &bytes[span.start..span.end], self.buffers);
            }
        }
        for part in 0..count {
            if let Some(connection) = self.scratch.parts[part].connection {
                let call = self.call(slot, part as u16, command.access);
                self.backends
                    .send(connection, call, tail, self.now.ms, self.buffers);
            }
        }
    }

    pub(super) fn fail_part(&mut self, slot: u32, part: u16, failure: &Failure) {
        let mut error = Vec::new();
        failure.write(&mut error, true, Fate::NotSent);
        self.session.errors += 1;
        let failed = self
            .pipeline
            .handle_failure(slot, part, &error, self.timing, self.buffers);
        debug_assert!(failed.is_ok(), "a slot that was just opened has not begun");
    }
}

/// Out of the way of commands that are none.
#[inline(never)]
fn subcommand(
    container: &'static Command,
    bytes: &[u8],
    frame: &ArrayFrame,
) -> Option<&'static Command> {
    let word = (frame.argc > 1).then(|| frame.arg(bytes, 1));
    container.resolve(word)
}

/// The positions of the request's keys, or the error reply.
#[inline(always)]
fn positions(command: &Command, bytes: &[u8], frame: &ArrayFrame) -> Result<KeyPositions, String> {
    let mut args = None;
    let mut at = 0;
    let arg = |index: usize| {
        let args = args.get_or_insert_with(|| frame.args(bytes));
        let found = args.nth(index - at).map_or(&[][..], |arg| arg.bytes);
        at = index + 1;
        found
    };
    command
        .keys(frame.argc, arg)
        .map_err(|error| error.to_string())
}

fn is_allowed_unauthenticated(command: &Command) -> bool {
    matches!(
        command.policy,
        Policy::Local(Local::Auth | Local::Hello | Local::Quit | Local::Reset)
    )
}
