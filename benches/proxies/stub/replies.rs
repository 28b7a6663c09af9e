//! What the stand-in says.

use std::collections::VecDeque;
use std::rc::Rc;

use super::parser::Found;
use crate::load::traffic::append_value;

/// Longer values are sent from the one place in memory where they are.
const SHARED: usize = 16 << 10;
/// Memory that an idle connection may keep for its next replies.
const KEPT: usize = 1 << 20;

/// The values that were asked for, as replies. There are few sizes.
#[derive(Debug, Default)]
pub struct Values(Vec<(usize, Rc<[u8]>)>);

impl Values {
    fn get(&mut self, size: usize) -> &Rc<[u8]> {
        let place = self.0.iter().position(|(other, _)| *other == size);
        let place = place.unwrap_or_else(|| {
            let mut reply = Vec::new();
            append_value(&mut reply, size);
            self.0.push((size, reply.into()));
            self.0.len() - 1
        });
        &self.0[place].1
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Command {
    Get,
    Mget,
    Ping,
    Info,
    Role,
    Publish,
    Subscribe,
    #[default]
    Other,
}

impl Command {
    fn of(name: &[u8]) -> Command {
        const NAMES: [(&[u8], Command); 7] = [
            (b"get", Command::Get),
            (b"mget", Command::Mget),
            (b"ping", Command::Ping),
            (b"info", Command::Info),
            (b"role", Command::Role),
            (b"publish", Command::Publish),
            (b"subscribe", Command::Subscribe),
        ];
        let known = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Command::Other, |(_, command)| *command)
    }
}

/// The request under way.
#[derive(Debug, Default)]
pub struct Answering {
    command: Command,
    arguments: usize,
}

impl Answering {
    pub fn found(&mut self, found: &Found, output: &mut Output, values: &mut Values) {
        match found {
            Found::Request(arguments) => self.arguments = *arguments,
            Found::Argument(0, name) => {
                self.command = Command::of(name);
                if self.command == Command::Mget {
                    output.bytes(format!("*{}\r\n", self.arguments - 1).as_bytes());
                }
            }
            Found::Argument(_, key) if matches!(self.command, Command::Get | Command::Mget) => {
                output.value(values.get(size_of(key)));
            }
            Found::Argument(..) => {}
            Found::End => self.end(output),
        }
    }

    fn end(&self, output: &mut Output) {
        match self.command {
            Command::Get | Command::Mget => {}
            Command::Ping => output.bytes(b"+PONG\r\n"),
            Command::Info => {
                let run_id = "0123456789abcdef0123456789abcdef01234567";
                let text = format!("run_id:{run_id}\r\nrole:master\r\nconnected_slaves:0\r\n");
                output.bytes(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
            }
            Command::Role => output.bytes(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
            Command::Publish => output.bytes(b":0\r\n"),
            Command::Subscribe => {
                output.bytes(b"*3\r\n$9\r\nsubscribe\r\n$18\r\n__sentinel__:hello\r\n:1\r\n")
            }
            Command::Other => output.bytes(b"+OK\r\n"),
        }
    }
}

/// The size that a key names; 64 for a key that names none.
fn size_of(key: &[u8]) -> usize {
    let Some(digits) = key.strip_prefix(b"v") else {
        return 64;
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |size, digit| size * 10 + usize::from(digit - b'0'))
}

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Rc<[u8]>),
}

/// Replies on their way out.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are gone.
    gone: usize,
    /// For the next replies.
    spare: Vec<u8>,
}

impl Output {
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Some(Piece::Own(last)) = self.pieces.back_mut() {
            last.extend_from_slice(bytes);
            return;
        }
        let mut piece = std::mem::take(&mut self.spare);
        piece.extend_from_slice(bytes);
        self.pieces.push_back(Piece::Own(piece));
    }

    fn value(&mut self, reply: &Rc<[u8]>) {
        if reply.len() < SHARED {
            self.bytes(reply);
        } else {
            self.pieces.push_back(Piece::Shared(Rc::clone(reply)));
        }
    }

    /// What is to be sent next; never empty.
    pub fn front(&self) -> Option<&[u8]> {
        let bytes: &[u8] = match self.pieces.front()? {
            Piece::Own(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        };
        Some(&bytes[self.gone..])
    }

    /// So many bytes of [`Output::front`] were sent.
    pub fn advance(&mut self, sent: usize) {
        self.gone += sent;
        if self.front().is_some_and(|left| !left.is_empty()) {
            return;
        }
        self.gone = 0;
        if let Some(Piece::Own(mut bytes)) = self.pieces.pop_front()
            && bytes.capacity() <= KEPT
        {
            bytes.clear();
            self.spare = bytes;
        }
    }
}
