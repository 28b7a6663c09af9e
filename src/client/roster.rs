//! The clients of a pool, to be listed and killed (CLIENT LIST, INFO and KILL). They are spread over the
//! workers, so that whoever asks asks all workers, his own among them; each answers with a reply of its own,
//! and the replies are joined like those of servers. Workers answer by message, hence the way over
//! [`Asked`], [`Front::answer`] and [`Front::handle_answer`].

use std::fmt::Write as _;
use std::sync::Arc;

use slab::Slab;

use super::context::{After, Context};
use super::{Client, ClientId, Clients, Front, Now, Pause, Peer, State};
use crate::backend::{Again, Call, Replies, UNTIMED};
use crate::buffer::BufferPool;
use crate::config::{Listen, PoolConfig};
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::Join;
use crate::protocol::redis::fragment::Gather;
use crate::protocol::redis::write;

/// The one user of a pool.
pub(super) const USER: &str = "default";
const NO_SUCH_CLIENT: &str = "ERR No such client";

/// A worker's place among all of them.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub worker: u16,
    pub workers: u16,
}

impl Place {
    /// Ids of clients count up from here, so that none is given twice.
    pub(super) fn first_id(self) -> u64 {
        (u64::from(self.worker) << 48) + 1
    }
}

/// What is asked about the clients of a pool.
#[derive(Debug)]
pub struct Question {
    pub(super) pool: u16,
    pub(super) what: What,
    pub(super) filter: Filter,
    /// Who asks, and how he wants to be told.
    pub(super) asker: u64,
    pub(super) resp: Resp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    List,
    /// Reply with how many there were.
    Kill,
    /// CLIENT KILL's older form: reply with OK, or that there is none.
    KillOne,
    /// Reply with how many waited.
    Unblock {
        with_error: bool,
    },
}

/// Which clients are meant: those to which all of this applies.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// In ascending order.
    pub ids: Option<Vec<u64>>,
    pub address: Option<Box<[u8]>>,
    /// The address they connected to.
    pub listening: Option<Box<[u8]>>,
    pub kind: Option<Kind>,
    /// Connected for so many seconds.
    pub age: u32,
    /// All but the asker.
    pub skips_asker: bool,
}

/// What Redis tells clients apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Pubsub,
    /// A replica, or a master: clients of the proxy are neither.
    Replication,
}

impl Kind {
    pub fn from_name(name: &[u8]) -> Option<Kind> {
        let known = [
            ("normal", Kind::Normal),
            ("pubsub", Kind::Pubsub),
            ("master", Kind::Replication),
            ("replica", Kind::Replication),
            ("slave", Kind::Replication),
        ];
        let mut known = known.into_iter();
        let found = known.find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(_, kind)| kind)
    }
}

/// A question on its way to another worker.
#[derive(Debug)]
pub struct Asked {
    /// The worker that is to answer.
    pub to: u16,
    /// What the answer is for.
    pub call: Call,
    pub question: Arc<Question>,
}

/// Which worker this is, and the questions it has for others.
#[derive(Debug)]
pub(super) struct Desk {
    place: Place,
    asked: Vec<Asked>,
}

impl Desk {
    pub fn new(place: Place) -> Desk {
        Desk {
            place,
            asked: Vec::new(),
        }
    }

    /// Asks all workers on behalf of a client; `own` is what this one says.
    fn ask(
        &mut self,
        id: ClientId,
        question: Question,
        own: &[u8],
        clients: &mut Clients,
        buffers: &mut BufferPool,
    ) {
        let client = &mut clients.table[id as usize];
        let Place { worker, workers } = self.place;
        if workers == 1 || question.is_own() {
            return client.pipeline.answer(buffers, |out| out.extend(own));
        }
        let gather = Gather::new(question.join(), Vec::new(), workers.into());
        let slot = client.pipeline.open_gather(gather, UNTIMED);
        let generation = client.generation;
        let question = Arc::new(question);
        let call = |part| Call {
            client: id,
            generation,
            slot,
            began: UNTIMED,
            part,
            write: true,
            again: Again::May,
        };
        let others = (0..workers).filter(|other| *other != worker);
        self.asked.extend(others.map(|to| Asked {
            to,
            call: call(to),
            question: Arc::clone(&question),
        }));
        clients.reply(call(worker), own, true, buffers);
    }
}

impl Question {
    /// Is it about the asker alone?
    fn is_own(&self) -> bool {
        self.filter.ids.as_deref() == Some(&[self.asker])
    }

    fn join(&self) -> Join {
        match self.what {
            What::List => Join::Text,
            What::Kill | What::Unblock { .. } => Join::Sum,
            What::KillOne => Join::AnyOk,
        }
    }

    /// The answer of a worker that has none of the clients meant.
    pub fn nobody(&self) -> Vec<u8> {
        self.reply("", 0)
    }

    fn reply(&self, list: &str, killed: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(list.len() + 32);
        match (self.what, killed) {
            (What::List, _) => write::text(&mut out, self.resp, list),
            (What::Kill | What::Unblock { .. }, _) => write::integer(&mut out, killed),
            (What::KillOne, 0) => write::error(&mut out, NO_SUCH_CLIENT),
            (What::KillOne, _) => write::simple(&mut out, "OK"),
        }
        out
    }

    /// Does what is asked with the clients in `table`; answers the reply. It unblocks nobody.
    pub(super) fn carry_out(
        &self,
        table: &mut Slab<Box<Client>>,
        woken: &mut Vec<ClientId>,
        config: &PoolConfig,
        now: Now,
    ) -> Vec<u8> {
        let there = table.iter().filter(|(_, client)| {
            client.pool == self.pool
                && client.state != State::Dead
                && self.filter.fits(client, self.asker, config, now)
        });
        let mut meant: Vec<(u64, usize)> = there
            .map(|(index, client)| (client.session.id, index))
            .collect();
        if self.what != What::List {
            for (_, index) in &meant {
                self.kill(&mut table[*index], *index as ClientId, woken, config);
            }
            return self.reply("", meant.len() as i64);
        }
        meant.sort_unstable();
        let mut list = String::new();
        for (_, index) in meant {
            table[index].describe(config, now, &mut list);
        }
        self.reply(&list, 0)
    }

    /// The asker still gets the reply to that.
    fn kill(
        &self,
        client: &mut Client,
        id: ClientId,
        woken: &mut Vec<ClientId>,
        config: &PoolConfig,
    ) {
        let (pool, peer) = (&config.name, client.session.peer);
        tracing::info!(pool, client = %peer, "client closed: CLIENT KILL");
        if client.session.id == self.asker {
            client.state = State::Closing;
        } else {
            client.state = State::Dead;
            woken.push(id);
        }
    }
}

impl Filter {
    fn fits(&self, client: &Client, asker: u64, config: &PoolConfig, now: Now) -> bool {
        let id = client.session.id;
        let is = |wanted: &Option<Box<[u8]>>, address: &dyn Fn() -> String| match wanted {
            Some(wanted) => **wanted == *address().as_bytes(),
            None => true,
        };
        self.ids
            .as_ref()
            .is_none_or(|ids| ids.binary_search(&id).is_ok())
            && !(self.skips_asker && id == asker)
            && self.kind.is_none_or(|kind| kind == client.kind())
            && client.age(now) >= self.age
            && is(&self.address, &|| client.address(config))
            && is(&self.listening, &|| listening(config))
    }
}

impl Client {
    fn kind(&self) -> Kind {
        match self.subscriptions() {
            [0, 0, 0] => Kind::Normal,
            _ => Kind::Pubsub,
        }
    }

    /// To how many channels, patterns and shard channels it has subscribed.
    fn subscriptions(&self) -> [usize; 3] {
        let special = self.session.special.as_ref();
        let subscriptions = special.and_then(|special| special.subscriptions.as_ref());
        subscriptions.map_or([0; 3], |subscriptions| subscriptions.counts())
    }

    /// In seconds.
    fn age(&self, now: Now) -> u32 {
        now.s.wrapping_sub(self.since)
    }

    /// As Redis shows it, which has the server's path where a client has no address.
    fn address(&self, config: &PoolConfig) -> String {
        match self.session.peer {
            Peer::Unix => listening(config),
            peer => peer.to_string(),
        }
    }

    /// Appends its line: the fields of Redis 7.2 in their order (`networking.c`, `catClientInfoString`). What
    /// does not exist here, or only a server knows, is 0.
    fn describe(&self, config: &PoolConfig, now: Now, list: &mut String) {
        let session = &self.session;
        let text = |bytes: Option<&[u8]>| {
            let bytes = bytes.unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let about = session.about.as_ref();
        let [sub, psub, ssub] = self.subscriptions();
        let written = writeln!(
            list,
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={} \
             qbuf={} qbuf-free={} argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} \
             events={} cmd={} user={USER} redir=-1 resp={} lib-name={} lib-ver={}",
            session.id,
            self.address(config),
            listening(config),
            text(about.map(|about| &*about.name)),
            self.age(now),
            now.s.wrapping_sub(self.heard_at),
            self.flags(),
            session.db.map_or(config.redis_db, u32::from),
            if self.is_in_transaction() { 0 } else { -1 },
            self.input.len(),
            self.input.capacity() - self.input.len(),
            self.pipeline.out.len(),
            self.pipeline.memory(),
            size_of::<Client>() + self.input.capacity() + self.pipeline.memory(),
            if self.pipeline.out.is_empty() {
                "r"
            } else {
                "rw"
            },
            self.last.map_or("NULL", |command| command.name),
            match session.resp {
                Resp::V2 => 2,
                Resp::V3 => 3,
            },
            text(about.map(|about| &*about.lib_name)),
            text(about.map(|about| &*about.lib_ver)),
        );
        debug_assert!(written.is_ok(), "a String takes all");
    }

    fn is_in_transaction(&self) -> bool {
        let special = self.session.special.as_ref();
        special.is_some_and(|special| special.transaction.is_some())
    }

    fn flags(&self) -> String {
        let flags = [
            ('P', self.kind() == Kind::Pubsub),
            ('b', self.pause == Pause::Blocked),
            ('x', self.is_in_transaction()),
            ('c', self.state == State::Closing),
            ('U', self.session.peer == Peer::Unix),
            ('e', self.session.is_not_evicted()),
        ];
        let set: String = (flags.iter())
            .filter_map(|(flag, set)| set.then_some(*flag))
            .collect();
        match set.is_empty() {
            true => "N".to_owned(),
            false => set,
        }
    }
}

/// The pool's address as Redis shows its own.
fn listening(config: &PoolConfig) -> String {
    match &config.listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix { path, .. } => format!("{}:0", path.display()),
    }
}

impl Context<'_> {
    /// Has a question answered by all workers. Nothing is taken from the client until it is answered: what
    /// others say is not counted before it is here.
    pub(super) fn ask_workers(&mut self, question: Question) -> After {
        self.scratch.question = Some(question);
        After::Ask
    }
}

impl Front {
    /// Asks what the client's request was about.
    #[cold]
    pub(super) fn ask(&mut self, id: ClientId, now: Now) {
        let Some(question) = self.scratch.question.take() else {
            return;
        };
        let own = self.answer(&question, now);
        let (clients, buffers) = (&mut self.clients, &mut self.buffers);
        self.desk.ask(id, question, &own, clients, buffers);
        self.clients.table[id as usize].pipeline.end_request();
    }

    /// Questions for other workers.
    pub fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.desk.asked)
    }

    /// This worker's part of the answer to another's question.
    pub fn answer(&mut self, question: &Question, now: Now) -> Vec<u8> {
        // It may know of a pool that this one has not been told of yet.
        let Some(config) = self.configs.get(usize::from(question.pool)) else {
            return question.nobody();
        };
        if let What::Unblock { with_error } = question.what {
            let config = Arc::clone(config);
            let count = self.unblock(with_error, now, |client| {
                client.pool == question.pool
                    && question.filter.fits(client, question.asker, &config, now)
            });
            return question.reply("", count);
        }
        let Clients { table, woken, .. } = &mut self.clients;
        question.carry_out(table, woken, config, now)
    }

    /// Another worker's part of the answer to a client's question. Nothing happens if the client has left.
    pub fn handle_answer(&mut self, call: Call, reply: &[u8], now: Now) {
        let Some(pool) = self.clients.find(call).map(|client| client.pool) else {
            return;
        };
        self.clients.timing.begin(now.us, pool);
        self.clients.reply(call, reply, true, &mut self.buffers);
        self.clients.timing.flush();
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
