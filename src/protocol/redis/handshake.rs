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
        let success = if step == Step::Hello { b'%' } else { b'+' };
        if first != success && first != b'-' {
            return Err(unexpected);
        }
        if first == b'%' && aggregates(bytes) > MAX_AGGREGATES {
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
        let text = String::from_utf8_lossy(raw);
        let mut text = text.as_ref();
        if let Some(password) = self.auth.as_deref().filter(|p| !p.is_empty()) {
            // A server that does not know AUTH or HELLO quotes their arguments, cut somewhere.
            text = text.split(", with args").next().unwrap_or_default();
            if text.contains(password) {
                text = text.split(' ').next().unwrap_or_default();
            }
            if text.contains(password) {
                text = "ERR";
            }
        }
        text.chars()
            .take(MAX_ERROR_CHARS)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }
}

impl Step {
    fn command(self) -> &'static str {
        match self {
            Step::Hello => "HELLO",
            Step::Auth => "AUTH",
            Step::Select(_) => "SELECT",
            Step::Ping => "PING",
        }
    }

    /// The simple string that means success.
    fn answer(self) -> &'static [u8] {
        match self {
            Step::Hello | Step::Auth | Step::Select(_) => b"OK",
            Step::Ping => b"PONG",
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELLO: &str = "%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n\
                         *1\r\n%2\r\n$4\r\nname\r\n$2\r\nbf\r\n$3\r\nver\r\n:20612\r\n";
    const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

    fn sent(handshake: &Handshake) -> String {
        String::from_utf8(handshake.request()).unwrap()
    }

    fn after(mut handshake: Handshake, replies: &str) -> Result<Progress, HandshakeError> {
        handshake.handle_bytes(replies.as_bytes())
    }

    #[test]
    fn commands_are_pipelined_in_the_order_redis_needs() {
        let ping = "*1\r\n$4\r\nPING\r\n";
        let select = "*2\r\n$6\r\nSELECT\r\n$2\r\n15\r\n";
        let auth = "*2\r\n$4\r\nAUTH\r\n$5\r\ns e\"c\r\n";
        let hello_auth =
            "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$2\r\npw\r\n";
        for (handshake, expected) in [
            (Handshake::new(None, 0, Resp::V2, false), String::new()),
            (
                Handshake::new(Some("s e\"c"), 15, Resp::V2, true),
                format!("{auth}{select}{ping}"),
            ),
            (
                Handshake::new(None, 15, Resp::V2, false),
                select.to_string(),
            ),
            (
                Handshake::new(None, 0, Resp::V3, true),
                format!("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n{ping}"),
            ),
            (
                Handshake::new(Some("pw"), 15, Resp::V3, false),
                format!("{hello_auth}{select}"),
            ),
        ] {
            assert_eq!(sent(&handshake), expected);
        }
    }

    #[test]
    fn without_steps_it_is_done_at_once() {
        let mut handshake = Handshake::new(None, 0, Resp::V2, false);
        assert!(handshake.is_done());
        assert_eq!(handshake.handle_bytes(b""), Ok(Progress::Done));
        let error = handshake.handle_bytes(b"+").unwrap_err();
        assert_eq!(error, HandshakeError::TrailingBytes);
    }

    #[test]
    fn good_replies_open_the_connection() {
        let full_v2 = Handshake::new(Some("pw"), 3, Resp::V2, true);
        assert_eq!(
            after(full_v2, "+OK\r\n+OK\r\n+PONG\r\n"),
            Ok(Progress::Done)
        );
        let full_v3 = Handshake::new(Some("pw"), 3, Resp::V3, true);
        let replies = format!("{HELLO}+OK\r\n+PONG\r\n");
        assert_eq!(after(full_v3, &replies), Ok(Progress::Done));
    }

    #[test]
    fn a_server_without_password_does_not_mind_ours() {
        for error in NO_PASSWORD_NEEDED {
            let handshake = Handshake::new(Some("pw"), 3, Resp::V2, false);
            let replies = format!("-{error} for the default user.\r\n+OK\r\n");
            assert_eq!(after(handshake, &replies), Ok(Progress::Done));
        }
    }

    #[test]
    fn the_first_refusal_is_the_error() {
        for (version, db, replies, expected) in [
            (
                Resp::V2,
                3,
                format!("-{WRONGPASS}\r\n-NOAUTH x\r\n-NOAUTH x\r\n"),
                format!("Authentication required, and AUTH failed: {WRONGPASS}"),
            ),
            (
                Resp::V3,
                0,
                format!("-{WRONGPASS}\r\n"),
                format!("Authentication required, and AUTH failed: {WRONGPASS}"),
            ),
            (
                Resp::V3,
                0,
                "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'def\r\n"
                    .into(),
                "HELLO 3 failed: ERR unknown command 'HELLO'".into(),
            ),
            (
                Resp::V2,
                99,
                "+OK\r\n-ERR DB index is out of range\r\n".into(),
                "SELECT 99 failed: ERR DB index is out of range".into(),
            ),
            (
                Resp::V2,
                0,
                "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n".into(),
                "PING failed: LOADING Redis is loading the dataset in memory".into(),
            ),
            (
                Resp::V2,
                0,
                "+OK\r\n+OK\r\n".into(),
                "unexpected reply to PING".into(),
            ),
            (
                Resp::V2,
                0,
                "HTTP/1.1 400 Bad Request\r\n".into(),
                "unexpected reply to AUTH".into(),
            ),
            (
                Resp::V3,
                0,
                "*2\r\n$5\r\nproto\r\n:2\r\n".into(),
                "unexpected reply to HELLO".into(),
            ),
            (
                Resp::V2,
                0,
                "+OK\r\n+PONG\r\n:".into(),
                HandshakeError::TrailingBytes.to_string(),
            ),
        ] {
            let handshake = Handshake::new(Some("secret-pw"), db, version, true);
            let error = after(handshake, &replies).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn no_error_text_repeats_the_password() {
        for reply in [
            "-ERR unknown command `AUTH`, with args beginning with: `hunter2`, \r\n",
            "-ERR proxy: bad password hunter2\r\n",
            "-hunter2\r\n",
        ] {
            let handshake = Handshake::new(Some("hunter2"), 0, Resp::V2, false);
            let error = after(handshake, reply).unwrap_err();
            assert!(matches!(error, HandshakeError::AuthRejected(_)));
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn error_texts_are_one_short_line() {
        let handshake = Handshake::new(None, 0, Resp::V2, true);
        let reply = format!("-ERR a\nb\tc{}\r\n", "x".repeat(5000));
        let text = after(handshake, &reply).unwrap_err().to_string();
        assert!(text.starts_with("PING failed: ERR a b cxxx"), "{text}");
        assert!(text.chars().count() < 300, "{}", text.len());
    }

    #[test]
    fn long_and_deep_replies_are_refused() {
        let endless = "+".to_string() + &"x".repeat(MAX_REPLY_BYTES);
        let error = after(Handshake::new(None, 0, Resp::V2, true), &endless).unwrap_err();
        assert_eq!(error, HandshakeError::ReplyTooLong { command: "PING" });

        let deep = "%1\r\n$1\r\na\r\n".to_string() + &"*1\r\n".repeat(10_000);
        let error = after(Handshake::new(None, 0, Resp::V3, false), &deep).unwrap_err();
        assert_eq!(error, HandshakeError::ReplyTooLong { command: "HELLO" });

        let huge = "%99999999999\r\n";
        let progress = after(Handshake::new(None, 0, Resp::V3, false), huge);
        assert_eq!(progress, Ok(Progress::Incomplete));
    }

    /// Feeds `bytes` in pieces of the given sizes, the rest at once.
    fn fed(
        mut handshake: Handshake,
        bytes: &[u8],
        sizes: &[usize],
    ) -> Result<Progress, HandshakeError> {
        let mut rest = bytes;
        for &size in sizes {
            let (piece, tail) = rest.split_at(size.min(rest.len()));
            handshake.handle_bytes(piece)?;
            rest = tail;
        }
        handshake.handle_bytes(rest)
    }

    proptest! {
        #[test]
        fn any_split_of_the_replies_gives_the_same_verdict(
            case in 0usize..6, sizes in prop::collection::vec(0usize..9, 0..60),
        ) {
            let endings = [
                "+OK\r\n+PONG\r\n", "+OK\r\n+PON\r\n", "+OK\r\n", "-ERR no\r\n", "+OK\r\n+PONG\r\n:1\r\n", "x",
            ];
            let replies = format!("{HELLO}{}", endings[case]);
            let new = || Handshake::new(Some("pw"), 3, Resp::V3, true);
            prop_assert_eq!(fed(new(), replies.as_bytes(), &sizes), after(new(), &replies));
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(prop::sample::select(b"%*+-$:>|~_#,!=(H?;.019\r\naOK".to_vec()), 0..300),
            hello: bool,
        ) {
            let version = if hello { Resp::V3 } else { Resp::V2 };
            let bytes = if hello { [b"%2\r\n", bytes.as_slice()].concat() } else { bytes };
            let verdict = Handshake::new(None, 1, version, false).handle_bytes(&bytes);
            prop_assert!(verdict != Ok(Progress::Done) || bytes.ends_with(b"+OK\r\n"));
        }
    }
}
