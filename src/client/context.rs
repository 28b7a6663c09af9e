//! What one request is handled with: the client's session and pipeline, the backends, scratch memory.

use bytes::Bytes;

use super::Peer;
use super::about::About;
use super::pipeline::Pipeline;
use super::roster::Question;
use super::special::Special;
use super::time::{Now, Timing};
use crate::backend::{Backends, ConnectionId, Failure, Fate, Kind};
use crate::buffer::BufferPool;
use crate::config::PoolConfig;
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::{Class, Command};
use crate::protocol::redis::scan::Span;
use crate::protocol::redis::write;

/// Who a client is.
#[derive(Debug)]
pub(super) struct Session {
    /// Answer to CLIENT ID; unique in the process.
    pub id: u64,
    pub peer: Peer,
    pub authenticated: bool,
    pub resp: Resp,
    /// As in [`Kind`].
    pub db: Option<u16>,
    pub about: Option<Box<About>>,
    pub special: Option<Box<Special>>,
    /// Error replies made by the proxy, not yet counted in the statistics.
    pub errors: u32,
    /// Parts of split requests, likewise.
    pub fragments: u32,
}

impl Session {
    pub fn kind(&self) -> Kind {
        Kind {
            resp: self.resp,
            db: self.db,
        }
    }

    pub fn about(&mut self) -> &mut About {
        self.about.get_or_insert_default()
    }

    /// Did it ask to be spared when memory is short?
    pub fn is_not_evicted(&self) -> bool {
        self.about.as_ref().is_some_and(|about| about.no_evict)
    }
}

/// A complete request as it came.
pub(super) enum Request<'a> {
    Borrowed(&'a [u8]),
    /// Large, and alone in its memory: can be passed on without a copy.
    Owned(Bytes),
}

impl Request<'_> {
    /// The same once more, to be sent to another server.
    pub fn share(&self) -> Request<'_> {
        match self {
            Request::Borrowed(bytes) => Request::Borrowed(bytes),
            Request::Owned(bytes) => Request::Owned(bytes.clone()),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Request::Borrowed(bytes) => bytes,
            Request::Owned(bytes) => bytes,
        }
    }
}

/// What happens to the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Continue,
    /// It was no request: a blank line, an empty array.
    Skip,
    /// The request must wait until all before it are answered; it was not handled.
    Drain,
    /// It was a question about clients, to be answered by [`super::Front::ask`].
    Ask,
    /// It may wait for long for its reply, and the next request for that.
    Block,
    /// No more requests.
    Close,
}

/// Scratch memory of a worker for splitting requests.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// One entry per key: the key with what belongs to it, and its part.
    pub groups: Vec<(Span, u16)>,
    /// Per part its server, connection and number of keys.
    pub parts: Vec<Part>,
    /// Per server of the pool its part; `NO_PART` = none.
    pub part_of: Vec<u16>,
    /// What the request that is being handled asks about clients.
    pub question: Option<Question>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub server: u16,
    pub keys: usize,
    pub connection: Option<ConnectionId>,
}

/// One request's surroundings.
pub(super) struct Context<'a> {
    pub session: &'a mut Session,
    pub pipeline: &'a mut Pipeline,
    pub backends: &'a mut Backends,
    pub buffers: &'a mut BufferPool,
    pub scratch: &'a mut Scratch,
    pub config: &'a PoolConfig,
    pub pool: u16,
    pub client: u32,
    pub generation: u32,
    pub now: Now,
    /// What the request turned out to be.
    pub class: Class,
    pub command: Option<&'static Command>,
    pub timing: &'a mut Timing,
}

impl Context<'_> {
    /// Answers here with what `write` appends.
    pub fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> After {
        self.pipeline.answer(self.buffers, write);
        After::Continue
    }

    /// Answers with an error; `text` starts with the code word.
    pub fn error(&mut self, text: &str) -> After {
        self.session.errors += 1;
        self.answer(|out| write::error(out, text))
    }

    pub fn failure(&mut self, failure: &Failure) -> After {
        self.session.errors += 1;
        self.answer(|out| failure.write(out, true, Fate::NotSent))
    }
}

/// As much of a client's words as Redis shows in an error.
pub(super) const SHOWN_BYTES: usize = 128;

/// An argument as it may stand in an error line.
pub(super) fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES)];
    String::from_utf8_lossy(cut).into_owned()
}
