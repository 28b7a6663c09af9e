//! `-NOSCRIPT`: a server does not know a script that other servers of the pool know. If the proxy has seen its
//! text, the server is told, and the client sees only what it answers then.
//!
//! The request is sent a second time behind the script only if it is the client's last on that connection: what
//! followed has been executed, and an order that clients rely on must not change. Otherwise the client gets the
//! error, and the server is told for the next time.

use super::pool::Backends;
use super::{Again, Call, ConnectionId, Replies, Turn};
use crate::backend::connection::State;
use crate::protocol::redis::command::{self, Policy, Script};
use crate::protocol::redis::scan::{Body, RequestScanner, Scan, ScanLimits};
use crate::protocol::redis::write;

/// With what Redis and Valkey begin the error.
pub(super) const NO_SCRIPT: &[u8] = b"-NOSCRIPT No matching script.";

/// [`Call::part`] of a whole request whose script has been sent ahead of it: once is enough.
const SCRIPT_SENT: u16 = 1;

/// A request that was answered so.
#[derive(Debug)]
pub(super) struct Unknown {
    pub call: Call,
    pub request: Vec<u8>,
    /// What the client has not seen yet; `None`: it has.
    pub reply: Option<Vec<u8>>,
}

impl Call {
    /// Would this request be answered so once more after the server was told?
    pub(super) fn is_told(&self) -> bool {
        self.part == SCRIPT_SENT
    }

    /// Is it of the same client?
    pub(super) fn is_of(&self, other: &Call) -> bool {
        (self.client, self.generation) == (other.client, other.generation)
    }

    /// A request that nobody waits for, on the lane of this one: a client of an earlier generation has left.
    fn unheard(self, us: u32) -> Call {
        Call {
            generation: self.generation.wrapping_sub(1),
            slot: 0,
            began: us,
            write: false,
            again: Again::May,
            ..self
        }
    }
}

impl Backends {
    /// Nothing more can be sent on the connection: the clients get the error.
    pub(super) fn give_up_on_scripts<R: Replies>(
        &mut self,
        unknown: Vec<Unknown>,
        turn: &mut Turn<'_, R>,
    ) {
        for Unknown { call, reply, .. } in unknown {
            if let Some(reply) = reply {
                turn.replies.reply(call, &reply, true, turn.buffers);
            }
        }
    }

    /// Tells the server of a connection what it does not know, as far as the texts are known.
    pub(super) fn handle_unknown<R: Replies>(
        &mut self,
        id: ConnectionId,
        unknown: Vec<Unknown>,
        turn: &mut Turn<'_, R>,
    ) {
        let mut told: Vec<Vec<u8>> = Vec::new();
        for Unknown {
            call,
            request,
            reply,
        } in unknown
        {
            let connection = &self.connections[id as usize];
            let room = self.retained <= self.max_retained && connection.state == State::Ready;
            let hash = hash(&request).filter(|_| room);
            let text = hash
                .as_ref()
                .and_then(|hash| self.scripts.text(connection.pool, hash));
            match (hash.zip(text), reply) {
                (Some((hash, text)), reply) => {
                    if !told.contains(&hash) {
                        let mut load = turn.buffers.take(0);
                        write::array_header(&mut load, 3);
                        for word in [&b"SCRIPT"[..], b"LOAD", &text] {
                            write::bulk(&mut load, word);
                        }
                        let call = call.unheard(turn.us);
                        self.send(id, call, &load, turn.now, turn.buffers);
                        turn.buffers.give(load);
                        told.push(hash);
                    }
                    if reply.is_some() {
                        let part = SCRIPT_SENT;
                        let call = Call { part, ..call };
                        self.send(id, call, &request, turn.now, turn.buffers);
                    }
                }
                (None, Some(reply)) => turn.replies.reply(call, &reply, true, turn.buffers),
                (None, None) => {}
            }
        }
    }
}

/// The script that a request runs by its hash.
fn hash(request: &[u8]) -> Option<Vec<u8>> {
    let limits = ScanLimits {
        request: request.len() as u64,
        arguments: u32::MAX,
        bulk: request.len() as u64,
        unauthenticated: false,
    };
    let Ok(Scan::Complete(frame)) = RequestScanner::default().scan(request, &limits) else {
        return None;
    };
    let Body::Array(frame) = frame.body else {
        return None;
    };
    let command = command::lookup(frame.arg(request, 0))?;
    (command.policy == Policy::Script(Script::RunKnown)).then(|| frame.arg(request, 1).to_vec())
}
