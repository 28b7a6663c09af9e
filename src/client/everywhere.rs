//! Requests that concern the pool as a whole: sent to every server and joined, to one server after the other
//! (SCAN), or answered with what servers are asked (INFO, CONFIG GET).

use super::context::{After, Context, Request};
use crate::backend::{Again, Call, ConnectionId, Failure};
use crate::protocol::redis::command::{Access, Command, Join, PLACEHOLDER, Script};
use crate::protocol::redis::config_get::{self, ConfigRequest};
use crate::protocol::redis::cursor::{self, Progress, ScanCursor};
use crate::protocol::redis::fragment::Gather;
use crate::protocol::redis::info::InfoRequest;
use crate::protocol::redis::scan::ArrayFrame;
use crate::protocol::redis::write;

/// Longest CONFIG GET: each of its patterns is compared with each parameter.
const LONGEST_CONFIG_GET: usize = 16 * 1024;
/// Sections of INFO that are looked at, and how much of a name: no section of Redis' is longer.
const SECTIONS: usize = 64;
const SECTION_BYTES: usize = 64;

impl Context<'_> {
    /// Sends the whole request to every live server.
    pub(super) fn everywhere(
        &mut self,
        request: Request<'_>,
        command: &Command,
        join: Join,
    ) -> After {
        let servers = self.backends.live(self.pool);
        let [_, _, ..] = servers[..] else {
            // The only one, or the error that there is none.
            let server = self.backends.route(self.pool, PLACEHOLDER);
            return self.send(server, request, command);
        };
        let order = match join {
            Join::OneOf => self.shuffled(servers.len()),
            _ => Vec::new(),
        };
        let gather = Gather::new(join, order, servers.len());
        let slot = self.open_gather(gather, servers.len());
        for (part, server) in (0u16..).zip(servers) {
            let call = self.call(slot, part, command.access);
            self.send_part(server, call, request.share());
        }
        After::Continue
    }

    /// The numbers below `count`, each order as likely as the others.
    fn shuffled(&mut self, count: usize) -> Vec<u16> {
        let mut order: Vec<u16> = (0..count as u16).collect();
        for left in (1..order.len()).rev() {
            order.swap(left, self.backends.draw() as usize % (left + 1));
        }
        order
    }

    pub(super) fn open_gather(&mut self, gather: Gather, parts: usize) -> u32 {
        self.session.fragments += parts as u32;
        self.pipeline.open_gather(gather, self.now.us)
    }

    /// Sends a request whose reply is a part of the client's.
    fn send_part(&mut self, server: u16, call: Call, request: Request<'_>) {
        let connection = self.connection(server);
        self.send_part_on(connection, call, request);
    }

    fn send_part_on(
        &mut self,
        connection: Result<ConnectionId, Failure>,
        call: Call,
        request: Request<'_>,
    ) {
        match connection {
            Ok(connection) => match request {
                Request::Borrowed(bytes) => {
                    self.backends
                        .send(connection, call, bytes, self.now.ms, self.buffers);
                }
                Request::Owned(bytes) => {
                    self.backends
                        .send_owned(connection, call, bytes, self.now.ms, self.buffers);
                }
            },
            Err(failure) => self.fail_part(call.slot, call.part, &failure),
        }
    }

    /// Asks a server on the client's behalf: a request of ours, which changes nothing.
    fn ask(&mut self, server: Result<u16, Failure>, call: Call, words: &[&[u8]]) {
        let server = match server {
            Ok(server) => server,
            Err(failure) => return self.fail_part(call.slot, call.part, &failure),
        };
        let mut request = self.buffers.take(0);
        write::array_header(&mut request, words.len());
        words
            .iter()
            .for_each(|word| write::bulk(&mut request, word));
        self.send_part(server, call, Request::Borrowed(&request));
        self.buffers.give(request);
    }

    /// `SCRIPT KILL`, `FUNCTION KILL`: to every server, past what runs there.
    pub(super) fn kill(&mut self, request: Request<'_>, command: &Command) -> After {
        let servers = self.backends.live(self.pool);
        if servers.is_empty() {
            return self.all_are_ejected();
        }
        let gather = Gather::new(Join::AnyOk, Vec::new(), servers.len());
        let slot = self.open_gather(gather, servers.len());
        for (part, server) in (0u16..).zip(servers) {
            let at = (self.pool, server);
            let (kind, now) = (self.session.kind(), self.now.ms);
            let connection = self.backends.aside(at, kind, self.client, now);
            let call = self.call(slot, part, command.access);
            self.send_part_on(connection, call, request.share());
        }
        After::Continue
    }

    pub(super) fn flush(&mut self, request: Request<'_>, command: &Command) -> After {
        if !self.config.allow_flush {
            let (name, pool) = (command.name, &self.config.name);
            return self.error(&format!(
                "ERR unsupported command '{name}': pool {pool} has to allow it with allow_flush: true"
            ));
        }
        self.everywhere(request, command, Join::AllOk)
    }

    pub(super) fn script(
        &mut self,
        script: Script,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &Command,
    ) -> After {
        let pool = self.pool;
        match script {
            Script::Run => {
                let text = frame.arg(request.bytes(), 1);
                self.backends.scripts().note_run(pool, text);
                self.forward(request, frame, command)
            }
            Script::RunKnown => self.forward(request, frame, command),
            Script::Load => {
                let text = frame.arg(request.bytes(), 2);
                self.backends.scripts().note_load(pool, text);
                self.everywhere(request, command, Join::Same)
            }
            Script::Flush => {
                self.backends.scripts().forget(pool);
                self.everywhere(request, command, Join::AllOk)
            }
        }
    }

    /// `SCAN cursor ...`: the cursor tells the server, which gets its own.
    pub(super) fn scan(
        &mut self,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &Command,
    ) -> After {
        let bytes = request.bytes();
        let place = ScanCursor::parse(frame.arg(bytes, 1));
        let known = |place: &ScanCursor| usize::from(place.server) < self.config.servers.len();
        let Some(place) = place.filter(known) else {
            return self.error(cursor::INVALID);
        };
        let live = self.backends.live(self.pool);
        let mut rest = live.iter().filter(|server| **server >= place.server);
        let (server, next) = match (rest.next(), live.is_empty()) {
            (Some(server), _) => (*server, rest.next().copied()),
            (None, false) => return self.answer(|out| out.extend_from_slice(cursor::END)),
            (None, true) => return self.all_are_ejected(),
        };
        let cursor = match server == place.server {
            true => place.cursor,
            false => 0,
        };
        let slot = self.open_gather(Gather::scan(Progress { server, next }), 1);
        let mut args = frame.args(bytes);
        let name = args
            .next()
            .map_or(0..0, |arg| arg.outer.start..arg.outer.end);
        let behind = args.next().map_or(bytes.len(), |arg| arg.outer.end);
        let mut made = self.buffers.take(0);
        write::array_header(&mut made, frame.argc);
        made.extend_from_slice(&bytes[name]);
        write::bulk_number(&mut made, cursor);
        made.extend_from_slice(&bytes[behind..]);
        let call = self.call(slot, 0, command.access);
        self.send_part(server, call, Request::Borrowed(&made));
        self.buffers.give(made);
        After::Continue
    }

    pub(super) fn all_are_ejected(&mut self) -> After {
        match self.backends.route(self.pool, PLACEHOLDER) {
            Err(failure) => self.failure(&failure),
            Ok(_) => self.error(cursor::INVALID),
        }
    }

    /// `INFO [section ...]`; answered whatever is wrong with servers, because clients wait for it.
    pub(super) fn info(
        &mut self,
        bytes: &[u8],
        frame: &ArrayFrame,
        version: &'static str,
    ) -> After {
        let own = self.own_section();
        let name = |server: &u16| self.config.servers[usize::from(*server)].name.clone();
        let all = self.config.live();
        let all: Vec<u16> = all.into_iter().map(|(server, _)| server).collect();
        let live = self.backends.live(self.pool);
        let at = |server| (self.pool, server);
        let (asked, skipped): (Vec<u16>, Vec<u16>) = all.into_iter().partition(|server| {
            live.contains(server) && !self.backends.is_late(at(*server), self.now.ms)
        });
        let section = |bytes: &[u8]| {
            let cut = &bytes[..bytes.len().min(SECTION_BYTES)];
            String::from_utf8_lossy(cut).to_ascii_lowercase()
        };
        let given = || frame.args(bytes).skip(1);
        let request = InfoRequest {
            resp: self.session.resp,
            sections: given()
                .take(SECTIONS)
                .map(|arg| section(arg.bytes))
                .collect(),
            asked: asked.iter().map(name).collect(),
            skipped: skipped.iter().map(name).collect(),
            clients: self.backends.clients(self.pool),
            own,
            version,
        };
        if asked.is_empty() || !request.needs_servers() {
            return self.answer(|out| request.write(&[], out));
        }
        let mut words = vec![&b"INFO"[..]];
        words.extend(
            given()
                .map(|arg| arg.bytes)
                .filter(|word| !InfoRequest::is_own(word)),
        );
        let slot = self.open_gather(Gather::info(request), asked.len());
        for (part, server) in (0u16..).zip(asked) {
            let mut call = self.call(slot, part, Access::Read);
            call.again = Again::Not;
            self.ask(Ok(server), call, &words);
        }
        After::Continue
    }

    /// The fields of INFO's section about the proxy.
    fn own_section(&self) -> String {
        format!(
            "nuthatch_version:{}\r\npool:{}\r\nservers:{}\r\nlive_servers:{}\r\n\
             clients:{}\r\n",
            env!("CARGO_PKG_VERSION"),
            self.config.name,
            self.config.live_count(),
            self.backends.live(self.pool).len(),
            self.backends.clients(self.pool),
        )
    }

    /// How many databases there seem to be to whoever selects them by their numbers.
    fn databases(&self) -> u32 {
        (self.config.redis_db + 1).max(self.config.databases.into())
    }

    /// `CONFIG GET pattern [pattern ...]`
    pub(super) fn config_get(&mut self, bytes: &[u8], frame: &ArrayFrame) -> After {
        if bytes.len() > LONGEST_CONFIG_GET {
            return self.error("ERR too many or too long patterns");
        }
        let patterns = frame.args(bytes).skip(2).map(|arg| arg.bytes);
        let mut own = Vec::new();
        let mut asked = Vec::new();
        for name in config_get::shown(patterns) {
            match name {
                "cluster-enabled" => own.push((name, "no".to_owned())),
                "databases" => own.push((name, self.databases().to_string())),
                // The clients' connections are the proxy's, which closes none for being idle.
                "timeout" => own.push((name, "0".to_owned())),
                config_get::MAXMEMORY => {
                    let live = self.backends.live(self.pool).into_iter();
                    asked.extend(live.map(|server| (name, Ok(server))));
                }
                _ => asked.push((name, self.backends.route(self.pool, PLACEHOLDER))),
            }
        }
        let request = ConfigRequest {
            resp: self.session.resp,
            own,
        };
        if asked.is_empty() {
            return self.answer(|out| {
                request.write(&[], out);
            });
        }
        let slot = self.open_gather(Gather::config(request, asked.len()), asked.len());
        for (part, (name, server)) in (0u16..).zip(asked) {
            let call = self.call(slot, part, Access::Read);
            self.ask(server, call, &[b"CONFIG", b"GET", name.as_bytes()]);
        }
        After::Continue
    }
}
