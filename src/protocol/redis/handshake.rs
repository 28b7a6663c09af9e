//! The opening of a connection of ours to a Redis: HELLO, AUTH, SELECT, PING and what they answer.
//!
//! A machine: it says what to send and judges what came back. Connecting, deadlines and what a failed
//! opening means for the server are its caller's. Replies are decoded with the `redis-protocol` crate,
//! as nothing here is on the path of a request.
//!
//! twemproxy puts SELECT before AUTH, swallows the answers and goes on whatever they are, so that a pool
//! with both keys serves database 0. Here the order is the one that works and a refusal is an error.

use redis_protocol::resp3::decode::complete::decode_range;
use redis_protocol::resp3::types::RangeFrame;

use super::Resp;

/// Most bytes of one reply; HELLO lists the server's modules, the others are one line.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Most arrays, maps, sets, pushes and attributes within one reply. The decoder recurses into each and
/// trusts announced lengths, so this bounds its stack and what it allocates. HELLO has two per module.
const MAX_AGGREGATES: usize = 256;

/// Most characters of a server's error text that we repeat.
const MAX_ERROR_CHARS: usize = 256;

/// How Redis says that it needs no password: before version 6, and since. Not a failure: a password
/// meant for our clients only is a valid twemproxy configuration.
const NO_PASSWORD_NEEDED: [&str; 2] = [
    "ERR Client sent AUTH, but no password is set",
    "ERR AUTH <password> called without any password configured",
];

/// Opens one connection. Send [`request`](Handshake::request), then feed what arrives to
/// [`handle_bytes`](Handshake::handle_bytes) until it is done or failed; after an error the connection
/// is of no use.
pub struct Handshake {
    steps: Vec<Step>,
    /// How many of `steps` are answered.
    answered: usize,
    auth: Option<String>,
    /// Received and not decoded yet: less than one reply between two calls.
    partial: Vec<u8>,
}

/// One command of the opening, in the order they are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Carries the password too, if there is one.
    Hello,
    Auth,
    Select(u32),
    Ping,
    Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More replies are due.
    Incomplete,
    /// The connection is ready for requests.
    Done,
}

/// Why a connection cannot be used. The texts fit a log line and a client's error reply: one line, no
/// control characters, never the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The server's error to the password.
    #[error("Authentication required, and AUTH failed: {0}")]
    AuthRejected(String),
    #[error("SELECT {db} failed: {text}")]
    SelectRejected { db: u32, text: String },
    /// Servers before Redis 6 do not know HELLO.
    #[error("HELLO 3 failed: {0}")]
    HelloRejected(String),
    #[error("PING failed: {0}")]
    PingRejected(String),
    /// Neither the answer the command has nor an error; perhaps not a Redis at all.
    #[error("unexpected reply to {command}")]
    UnexpectedReply { command: &'static str },
    #[error("reply to {command} is too long")]
    ReplyTooLong { command: &'static str },
    /// What it says it is instead, or why it says nothing.
    #[error("the server is no master: {0}")]
    NotMaster(String),
    /// The server sent more than it was asked for.
    #[error("bytes after the last reply to the opening of the connection")]
    TrailingBytes,
}

impl Handshake {
    /// `auth`: the password of the default user. `db`: 0 is where a connection starts, so it is not
    /// selected. `ping`: ask for a sign of life too; a server that still loads its data fails it.
    pub fn new(auth: Option<&str>, db: u32, version: Resp, ping: bool) -> Handshake {
        let opening = match (version, auth) {
            (Resp::V3, _) => Some(Step::Hello),
            (Resp::V2, Some(_)) => Some(Step::Auth),
            (Resp::V2, None) => None,
        };
        let select = (db != 0).then_some(Step::Select(db));
        let ping = ping.then_some(Step::Ping);
        Handshake {
            steps: [opening, select, ping].into_iter().flatten().collect(),
            answered: 0,
            auth: auth.map(str::to_owned),
            partial: Vec::new(),
        }
    }

    /// Asks for the server's role too, which must be master: whoever follows a failover must not take an
    /// announced address for granted.
    pub fn require_master(mut self) -> Handshake {
        self.steps.push(Step::Role);
        self
    }

    /// Nothing is left to wait for; true at once if there was nothing to ask.
    pub fn is_done(&self) -> bool {
        self.answered == self.steps.len()
    }

    /// All commands, to be sent in one piece; empty if there is nothing to ask.
    pub fn request(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for step in &self.steps {
            match (step, self.auth.as_deref()) {
                (Step::Hello, None) => push_command(&mut out, &["HELLO", "3"]),
                (Step::Hello, Some(password)) => {
                    push_command(&mut out, &["HELLO", "3", "AUTH", "default", password]);
                }
                (Step::Auth, password) => {
                    push_command(&mut out, &["AUTH", password.unwrap_or_default()])
                }
                (Step::Select(db), _) => push_command(&mut out, &["SELECT", &db.to_string()]),
                (Step::Ping, _) => push_command(&mut out, &["PING"]),
                (Step::Role, _) => push_command(&mut out, &["ROLE"]),
            }
        }
        out
    }

    /// `received`: what arrived since the last call; all of it is taken.
    ///
    /// # Errors
    /// The first step that failed, whatever later ones answered; or a reply that no Redis gives.
    pub fn handle_bytes(&mut self, received: &[u8]) -> Result<Progress, HandshakeError> {
        self.partial.extend_from_slice(received);
        while let Some(&step) = self.steps.get(self.answered) {
            let Some(taken) = self.judge_reply(step)? else {
                return Ok(Progress::Incomplete);
            };
            self.partial.drain(..taken);
            self.answered += 1;
        }
        if self.partial.is_empty() {
            Ok(Progress::Done)
        } else {
            Err(HandshakeError::TrailingBytes)
        }
    }

    /// The length of the reply at the head of `partial` if it is complete and what `step` needs.
    fn judge_reply(&self, step: Step) -> Result<Option<usize>, HandshakeError> {
        let command = step.command();
        let unexpected = HandshakeError::UnexpectedReply { command };
        let bytes = &self.partial[..self.partial.len().min(MAX_REPLY_BYTES)];
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let success = match step {
            Step::Hello => b'%',
            Step::Role => b'*',
            _ => b'+',
        };
        if first != success && first != b'-' {
            return Err(unexpected);
        }
        if matches!(first, b'%' | b'*') && aggregates(bytes) > MAX_AGGREGATES {
            return Err(HandshakeError::ReplyTooLong { command });
        }
        let (frame, taken) = match decode_range(bytes) {
            Ok(Some(decoded)) => decoded,
            Ok(None) if bytes.len() == MAX_REPLY_BYTES => {
                return Err(HandshakeError::ReplyTooLong { command });
            }
            Ok(None) => return Ok(None),
            Err(_) => return Err(unexpected),
        };
        match frame {
            RangeFrame::Map { .. } => Ok(Some(taken)),
            RangeFrame::Array { data, .. } => match data.first() {
                Some(RangeFrame::BlobString { data, .. }) => match &bytes[data.0..data.1] {
                    b"master" => Ok(Some(taken)),
                    other => Err(HandshakeError::NotMaster(self.error_text(other))),
                },
                _ => Err(unexpected),
            },
            RangeFrame::SimpleString { data, .. } if bytes[data.0..data.1] == *step.answer() => {
                Ok(Some(taken))
            }
            RangeFrame::SimpleError { data, .. } => {
                let text = self.error_text(&bytes[data.0..data.1]);
                match step.rejected(text) {
                    None => Ok(Some(taken)),
                    Some(error) => Err(error),
                }
            }
            _ => Err(unexpected),
        }
    }

    /// A server's error as we may repeat it.
    fn error_text(&self, raw: &[u8]) -> String {
        repeatable(&String::from_utf8_lossy(raw), self.auth.as_deref())
    }
}

/// A server's error as it may be repeated, in the log for instance: one line, not long, without
/// `password` and without arguments of a command.
pub fn repeatable(error: &str, password: Option<&str>) -> String {
    // A server that does not know a command (AUTH, for one) quotes its arguments, cut somewhere.
    let mut text = error.split(", with args").next().unwrap_or_default();
    if let Some(password) = password.filter(|p| !p.is_empty()) {
        if text.contains(password) {
            text = text.split(' ').next().unwrap_or_default();
        }
        if text.contains(password) {
            text = "ERR";
        }
    }
    text.trim_end()
        .chars()
        .take(MAX_ERROR_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl Step {
    fn command(self) -> &'static str {
        match self {
            Step::Hello => "HELLO",
            Step::Auth => "AUTH",
            Step::Select(_) => "SELECT",
            Step::Ping => "PING",
            Step::Role => "ROLE",
        }
    }

    /// The simple string that means success.
    fn answer(self) -> &'static [u8] {
        match self {
            Step::Hello | Step::Auth | Step::Select(_) => b"OK",
            Step::Ping => b"PONG",
            Step::Role => b"master",
        }
    }

    /// What the server's error `text` means, `None` if it does no harm.
    fn rejected(self, text: String) -> Option<HandshakeError> {
        let harmless = |text: &str| NO_PASSWORD_NEEDED.iter().any(|t| text.starts_with(t));
        match self {
            Step::Auth if harmless(&text) => None,
            Step::Auth => Some(HandshakeError::AuthRejected(text)),
            Step::Hello if text.starts_with("WRONGPASS") => {
                Some(HandshakeError::AuthRejected(text))
            }
            Step::Hello => Some(HandshakeError::HelloRejected(text)),
            Step::Select(db) => Some(HandshakeError::SelectRejected { db, text }),
            Step::Ping => Some(HandshakeError::PingRejected(text)),
            Step::Role => Some(HandshakeError::NotMaster(text)),
        }
    }
}

/// An upper bound of the aggregates in `bytes`: their type bytes, wherever they stand.
fn aggregates(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| b"*%~>|".contains(b)).count()
}

fn push_command(out: &mut Vec<u8>, arguments: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
