//! Transactions: MULTI, EXEC, DISCARD, WATCH and UNWATCH for keys of one server, on a connection of the
//! client's own.
//!
//! MULTI is answered here, as only the first key tells the server; requests without a key that come before
//! it wait here too. From then on everything is the server's: it queues, counts errors, executes or aborts,
//! and the client gets its replies. What the proxy refuses within a transaction it remembers, so that EXEC
//! aborts as Redis would (`multi.c`, `flagTransaction`). If the connection is lost before EXEC was sent, EXEC
//! is refused: nothing was executed.

use super::context::{After, Context, Request};
use crate::distribution::Distribution;
use crate::protocol::redis::command::{Command, Keys, Local, Policy, Transaction as Word};
use crate::protocol::redis::scan::ArrayFrame;
use crate::protocol::redis::write;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";
/// Most bytes of requests that wait for a first key; they are PING, TIME and the like.
const MOST_EARLY: usize = 64 * 1024;
const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// An open MULTI.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// The server knows of it.
    begun: bool,
    /// Something in it was refused: EXEC will not execute it.
    aborted: bool,
    /// The last refusal does not count.
    forgiven: bool,
    /// Requests without a key from before the server was known, and where each ends.
    early: Vec<u8>,
    ends: Vec<usize>,
}

impl Transaction {
    pub fn is_begun(&self) -> bool {
        self.begun
    }
}

impl Context<'_> {
    #[cold]
    pub(super) fn transact(
        &mut self,
        word: Word,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &Command,
    ) -> After {
        match word {
            Word::Multi => self.multi(),
            Word::Exec => self.exec(request, command),
            Word::Discard => self.discard(request, command),
            Word::Watch => self.watch(request, frame, command),
            Word::Unwatch => self.unwatch(request, command),
        }
    }

    pub(super) fn in_transaction(&self) -> bool {
        let special = self.session.special.as_ref();
        special.is_some_and(|special| special.transaction.is_some())
    }

    fn open_transaction(&mut self) -> Option<&mut Transaction> {
        self.session.special.as_mut()?.transaction.as_mut()
    }

    /// The proxy has answered a request with an error of its own.
    #[cold]
    pub(super) fn flag_transaction(&mut self) {
        if let Some(open) = self.open_transaction() {
            open.aborted |= !std::mem::take(&mut open.forgiven);
        }
    }

    /// As Redis, which goes on with the transaction after these errors.
    fn forgive(&mut self, text: &str) -> After {
        if let Some(open) = self.open_transaction() {
            open.forgiven = true;
        }
        self.error(text)
    }

    fn multi(&mut self) -> After {
        if self.in_transaction() {
            return self.forgive("ERR MULTI calls can not be nested");
        }
        self.special().transaction = Some(Transaction::default());
        self.answer(|out| write::simple(out, "OK"))
    }

    /// A request within a transaction.
    #[cold]
    pub(super) fn queue(
        &mut self,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &Command,
    ) -> After {
        let server = match command.policy {
            Policy::Transaction(word) => return self.transact(word, request, frame, command),
            Policy::Local(local @ (Local::Quit | Local::Reset)) => {
                return super::local::handle(self, local, request.bytes(), frame);
            }
            Policy::Refused(reason) => return self.refuse(command, reason),
            Policy::Anywhere | Policy::Local(Local::Ping | Local::Echo) => None,
            // Its connection is of that database, and remains so.
            Policy::Local(Local::Select) if self.is_selected(frame.arg(request.bytes(), 1)) => None,
            _ if command.keys != Keys::None => {
                match self.server_of(request.bytes(), frame, command) {
                    Ok(server) => server,
                    Err(after) => return after,
                }
            }
            _ => {
                let name = command.name;
                return self.error(&format!(
                    "ERR '{name}' is not for a single server and cannot be part of a transaction"
                ));
            }
        };
        let begun = self.open_transaction().is_some_and(|open| open.begun);
        let tied = self.session.special.as_ref().and_then(|s| s.tie);
        let random = self.config.distribution == Distribution::Random;
        let server = server.filter(|_| !(random && begun));
        match (server, tied.filter(|tie| begun || tie.watching)) {
            (None, None) => self.queue_early(request.bytes()),
            (Some(server), Some(tie)) if server != tie.server => {
                self.elsewhere(command, tie.server, server)
            }
            (None, Some(tie)) => self.send_queued(tie.server, request, command),
            (Some(server), _) => self.send_queued(server, request, command),
        }
    }

    /// Is it the number of the client's database?
    fn is_selected(&self, index: &[u8]) -> bool {
        let own = self.config.redis_db;
        let db = self.session.db.map_or(own, u32::from);
        index == db.to_string().as_bytes()
    }

    fn elsewhere(&mut self, command: &Command, here: u16, there: u16) -> After {
        let name = |server: u16| &self.config.servers[usize::from(server)].name;
        let text = format!(
            "CROSSSLOT the transaction is on '{}', the keys of '{}' live on '{}'",
            name(here),
            command.name,
            name(there)
        );
        self.error(&text)
    }

    /// Keeps a request until the server is known.
    fn queue_early(&mut self, request: &[u8]) -> After {
        let Some(open) = self.open_transaction() else {
            return After::Continue;
        };
        if open.early.len() + request.len() > MOST_EARLY {
            return self.error("ERR too much in the transaction before its first key");
        }
        open.early.extend_from_slice(request);
        open.ends.push(open.early.len());
        self.answer(|out| write::simple(out, "QUEUED"))
    }

    fn send_queued(&mut self, server: u16, request: Request<'_>, command: &Command) -> After {
        match self.begin(server) {
            Ok(()) => self.send(Ok(server), request, command),
            Err(after) => after,
        }
    }

    /// Lets the server know of the transaction, unless it does already.
    fn begin(&mut self, server: u16) -> Result<(), After> {
        let connection = self.tie_to(server)?;
        let Some(open) = self.open_transaction().filter(|open| !open.begun) else {
            return Ok(());
        };
        open.begun = true;
        let early = std::mem::take(&mut open.early);
        let ends = std::mem::take(&mut open.ends);
        self.send_unheard(connection, MULTI, true);
        let mut start = 0;
        for end in ends {
            self.send_unheard(connection, &early[start..end], true);
            start = end;
        }
        Ok(())
    }

    fn exec(&mut self, request: Request<'_>, command: &Command) -> After {
        let Some(open) = self.open_transaction() else {
            return self.error("ERR EXEC without MULTI");
        };
        let (aborted, begun, empty) = (open.aborted, open.begun, open.ends.is_empty());
        let tie = self.session.special.as_ref().and_then(|s| s.tie);
        if aborted {
            self.drop_transaction();
            return self.error(ABORTED);
        }
        if tie.is_some_and(|tie| tie.lost) {
            self.drop_transaction();
            return self.error(
                "EXECABORT Transaction discarded because the connection to its server was lost.",
            );
        }
        if let Some(tie) = tie
            && self.backends.is_held(self.pool, tie.server)
        {
            // What a master that is being replaced executes now may be lost.
            self.drop_transaction();
            return self
                .error("EXECABORT Transaction discarded because its server is switching masters.");
        }
        if !begun && empty && tie.is_none_or(|tie| !tie.watching) {
            self.special().transaction = None;
            return self.answer(|out| write::array_header(out, 0));
        }
        if !begun {
            let server = match tie.filter(|tie| tie.watching) {
                Some(tie) => Ok(tie.server),
                None => self.placeholder(),
            };
            let begun = match server {
                Ok(server) => self.begin(server),
                Err(failure) => Err(self.failure(&failure)),
            };
            match begun {
                Ok(()) => {}
                Err(After::Drain) => return After::Drain,
                Err(after) => {
                    self.drop_transaction();
                    return after;
                }
            }
        }
        let special = self.special();
        special.transaction = None;
        let Some(tie) = &mut special.tie else {
            return self.error(ABORTED);
        };
        tie.watching = false;
        let connection = tie.connection;
        self.send_on(connection, request, command);
        After::Continue
    }

    /// Ends the transaction and the watching of keys without executing anything.
    pub(super) fn drop_transaction(&mut self) {
        let Some(special) = &mut self.session.special else {
            return;
        };
        let begun = special.transaction.take().is_some_and(|open| open.begun);
        let Some(tie) = &mut special.tie else {
            return;
        };
        if tie.lost {
            special.tie = None;
            return;
        }
        let (connection, watching) = (tie.connection, tie.watching);
        tie.watching = false;
        if begun {
            self.send_unheard(connection, DISCARD, false);
        } else if watching {
            self.send_unheard(connection, UNWATCH, false);
        }
    }

    fn discard(&mut self, request: Request<'_>, command: &Command) -> After {
        let Some(open) = self.open_transaction() else {
            return self.error("ERR DISCARD without MULTI");
        };
        let begun = open.begun;
        if let Some(special) = &mut self.session.special
            && let Some(tie) = &mut special.tie
            && begun
            && !tie.lost
        {
            tie.watching = false;
            let connection = tie.connection;
            special.transaction = None;
            self.send_on(connection, request, command);
            return After::Continue;
        }
        self.drop_transaction();
        self.answer(|out| write::simple(out, "OK"))
    }

    fn watch(&mut self, request: Request<'_>, frame: &ArrayFrame, command: &Command) -> After {
        if self.in_transaction() {
            return self.forgive("ERR WATCH inside MULTI is not allowed");
        }
        let server = match self.server_of(request.bytes(), frame, command) {
            Ok(Some(server)) => server,
            Ok(None) => return self.wrong_arity(command),
            Err(after) => return after,
        };
        if let Err(after) = self.tie_to(server) {
            return after;
        }
        if let Some(tie) = &mut self.special().tie {
            tie.watching = true;
        }
        self.send(Ok(server), request, command)
    }

    fn unwatch(&mut self, request: Request<'_>, command: &Command) -> After {
        let tie = self.session.special.as_ref().and_then(|s| s.tie);
        if self.in_transaction() {
            let begun = self.open_transaction().is_some_and(|open| open.begun);
            // Redis queues it, where it does nothing.
            return match tie.filter(|_| begun) {
                Some(tie) => self.send_queued(tie.server, request, command),
                None => self.queue_early(request.bytes()),
            };
        }
        match tie {
            Some(tie) if tie.watching && !tie.lost => {
                if let Some(tie) = &mut self.special().tie {
                    tie.watching = false;
                }
                self.send(Ok(tie.server), request, command)
            }
            _ => {
                self.drop_transaction();
                self.answer(|out| write::simple(out, "OK"))
            }
        }
    }
}
