//! What a server says of its commands, as far as the proxy can use it: the reply to `COMMAND`, decoded with
//! the `redis-protocol` crate, as nothing here is on the path of a request.
//!
//! Only plain ranges of keys are taken. Where Redis says `movablekeys`, a range is not all: a command sent by
//! it could write a key to a server that is not the key's.

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use super::{Access, lookup};
use crate::protocol::redis::reply::ReplyScanner;

/// Redis 8 with its modules has a tenth of it.
const MAX_COMMANDS: usize = 8192;
/// Most bytes about one command with its sub-commands; longer ones are left out.
const MAX_ENTRY_BYTES: usize = 256 * 1024;
/// Names that are longer are left out.
pub const MAX_NAME: usize = 128;

// Why a command is refused.
const NO_KEY: &str = "it has no key by which a server could be chosen";
const MOVABLE: &str = "its keys are at no fixed places";
const BLOCKING: &str = "it can block, and clients share connections";
const ADMINISTRATION: &str = "server administration is not passed through the proxy";
const SUBSCRIPTION: &str = "it subscribes, and clients share connections";

/// One command of a server that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Lower case; of a sub-command with its container's, `container|sub`.
    pub name: String,
    pub arity: i16,
    pub access: Access,
    pub course: Course,
}

/// What may be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// It has these keys, and the arity leaves room for them.
    Keys {
        first: u8,
        last: i8,
        step: u8,
    },
    /// Its second argument is one of these.
    Container(Vec<Told>),
    Refused(&'static str),
}

/// Why a reply teaches nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToldError {
    #[error("COMMAND failed: {0}")]
    Refused(String),
    #[error("the reply to COMMAND is no list of commands")]
    Malformed,
    #[error("the reply to COMMAND lists more than {MAX_COMMANDS} commands")]
    TooMany,
}

impl Told {
    /// The commands of a whole RESP2 reply to `COMMAND` that the table does not have. What makes no sense of
    /// a single command leaves out that command.
    ///
    /// # Errors
    /// It is no such reply.
    pub fn read(reply: &[u8]) -> Result<Vec<Told>, ToldError> {
        let end = memchr::memmem::find(reply, b"\r\n").ok_or(ToldError::Malformed)?;
        let (line, mut rest) = (&reply[..end], &reply[end + 2..]);
        let count = match line.split_first() {
            Some((b'*', digits)) => number(digits).ok_or(ToldError::Malformed)?,
            Some((b'-', text)) => {
                return Err(ToldError::Refused(
                    String::from_utf8_lossy(text).into_owned(),
                ));
            }
            _ => return Err(ToldError::Malformed),
        };
        if count > MAX_COMMANDS {
            return Err(ToldError::TooMany);
        }
        let mut told = Vec::new();
        for _ in 0..count {
            let piece = ReplyScanner::default().scan(rest);
            let piece = piece.ok().filter(|piece| piece.end);
            let (entry, behind) = rest.split_at(piece.ok_or(ToldError::Malformed)?.len);
            rest = behind;
            if entry.len() <= MAX_ENTRY_BYTES
                && let Ok(Some((OwnedFrame::Array(facts), _))) = decode(entry)
                && let Some(command) = command(&facts)
                && lookup(command.name.as_bytes()).is_none()
            {
                told.push(command);
            }
        }
        match rest.is_empty() {
            true => Ok(told),
            false => Err(ToldError::Malformed),
        }
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A command that is no sub-command.
fn command(facts: &[OwnedFrame]) -> Option<Told> {
    let mut told = entry(facts)?;
    if told.name.contains('|') {
        return None;
    }
    // The tenth element, since Redis 7.
    let Some(OwnedFrame::Array(subcommands)) = facts.get(9) else {
        return Some(told);
    };
    let prefix = format!("{}|", told.name);
    let subcommands = subcommands.iter().filter_map(|sub| match sub {
        OwnedFrame::Array(facts) => entry(facts),
        _ => None,
    });
    let fits = |sub: &Told| sub.name.len() > prefix.len() && sub.name.starts_with(&prefix);
    let mut subcommands: Vec<Told> = subcommands.filter(fits).collect();
    if !subcommands.is_empty() {
        subcommands.sort_by(|a, b| a.name.cmp(&b.name));
        subcommands.dedup_by(|a, b| a.name == b.name);
        told.arity = -2;
        told.course = Course::Container(subcommands);
    }
    Some(told)
}

fn entry(facts: &[OwnedFrame]) -> Option<Told> {
    let [name, arity, flags, first, last, step, ..] = facts else {
        return None;
    };
    let name = text(name)?.to_ascii_lowercase();
    let is_name = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_NAME || !is_name {
        return None;
    }
    let OwnedFrame::Array(flags) = flags else {
        return None;
    };
    let flagged = |flag: &str| flags.iter().filter_map(text).any(|other| other == flag);
    let arity = i16::try_from(integer(arity)?)
        .ok()
        .filter(|arity| *arity != 0 && *arity != i16::MIN)?;
    let range = [integer(first)?, integer(last)?, integer(step)?];
    let reason = if flagged("admin") {
        Some(ADMINISTRATION)
    } else if flagged("blocking") {
        Some(BLOCKING)
    } else if flagged("pubsub") {
        Some(SUBSCRIPTION)
    } else if flagged("movablekeys") {
        Some(MOVABLE)
    } else if range[0] == 0 {
        Some(NO_KEY)
    } else {
        None
    };
    let (arity, course) = match reason {
        Some(reason) => (arity, Course::Refused(reason)),
        None => keys(arity, range).unwrap_or((arity, Course::Refused(MOVABLE))),
    };
    let access = match (flagged("write"), flagged("readonly")) {
        (true, _) => Access::Write,
        (false, true) => Access::Read,
        (false, false) => Access::Neither,
    };
    Some(Told {
        name,
        arity,
        access,
        course,
    })
}

/// The range with an arity that leaves room for it: modules need not tell theirs.
fn keys(arity: i16, [first, last, step]: [i64; 3]) -> Option<(i16, Course)> {
    let (first, last, step) = (
        u8::try_from(first).ok()?,
        i8::try_from(last).ok()?,
        u8::try_from(step).ok().filter(|step| *step > 0)?,
    );
    let back = i16::from(last.unsigned_abs());
    let fewest = match last {
        ..0 => i16::from(first) + back,
        0.. if back >= i16::from(first) => back + 1,
        0.. => return None,
    };
    let arity = match arity {
        ..0 => arity.min(-fewest),
        _ if arity < fewest => return None,
        _ => arity,
    };
    Some((arity, Course::Keys { first, last, step }))
}

fn text(frame: &OwnedFrame) -> Option<&str> {
    match frame {
        OwnedFrame::SimpleString(bytes) | OwnedFrame::BulkString(bytes) => {
            std::str::from_utf8(bytes).ok()
        }
        _ => None,
    }
}

fn integer(frame: &OwnedFrame) -> Option<i64> {
    match frame {
        OwnedFrame::Integer(integer) => Some(*integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `name arity flag,flag first last step`, below it perhaps sub-commands.
    fn entry_bytes(line: &str, below: &[&str]) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, arity, flags, first, last, step] = words[..] else {
            panic!("{line}")
        };
        let flags: Vec<&str> = flags.split(',').filter(|flag| *flag != "-").collect();
        let listed: String = flags.iter().map(|flag| format!("+{flag}\r\n")).collect();
        let below: Vec<String> = below.iter().map(|line| entry_bytes(line, &[])).collect();
        format!(
            "*10\r\n${}\r\n{name}\r\n:{arity}\r\n*{}\r\n{listed}:{first}\r\n:{last}\r\n:{step}\r\n\
             *1\r\n+@read\r\n*0\r\n*0\r\n*{}\r\n{}",
            name.len(),
            flags.len(),
            below.len(),
            below.concat()
        )
    }

    fn one(line: &str) -> Told {
        let reply = format!("*1\r\n{}", entry_bytes(line, &[]));
        let [told] = &Told::read(reply.as_bytes()).expect("a list")[..] else {
            panic!("{line}")
        };
        told.clone()
    }

    fn range(first: u8, last: i8, step: u8) -> Course {
        Course::Keys { first, last, step }
    }

    #[test]
    fn keys_at_fixed_places_are_taken() {
        for (line, arity, access, course) in [
            (
                "a.get 2 readonly,fast 1 1 1",
                2,
                Access::Read,
                range(1, 1, 1),
            ),
            ("A.Set -3 write 1 1 1", -3, Access::Write, range(1, 1, 1)),
            (
                "a.do -1 write,readonly 1 1 1",
                -2,
                Access::Write,
                range(1, 1, 1),
            ),
            ("a.mset -1 - 1 -1 2", -2, Access::Neither, range(1, -1, 2)),
            (
                "a.mget -1 readonly 1 -2 1",
                -3,
                Access::Read,
                range(1, -2, 1),
            ),
            ("a.move -2 write 2 3 1", -4, Access::Write, range(2, 3, 1)),
            ("a.move 9 write 2 3 1", 9, Access::Write, range(2, 3, 1)),
        ] {
            let told = one(line);
            assert!(told.name.starts_with("a."), "{line}");
            assert_eq!(
                (told.arity, told.access, told.course),
                (arity, access, course),
                "{line}"
            );
        }
    }

    #[test]
    fn what_cannot_be_routed_is_refused_with_its_reason() {
        for (line, reason) in [
            ("a.x -1 readonly 0 0 0", NO_KEY),
            ("a.x -1 readonly,movablekeys 1 1 1", MOVABLE),
            ("a.x -1 readonly,movablekeys 0 0 0", MOVABLE),
            ("a.x -1 write,blocking 1 1 1", BLOCKING),
            ("a.x -1 admin 1 1 1", ADMINISTRATION),
            ("a.x -1 pubsub 0 0 0", SUBSCRIPTION),
            ("a.x -1 write 1 1 0", MOVABLE),
            ("a.x -1 write 300 300 1", MOVABLE),
            ("a.x -1 write -1 -1 1", MOVABLE),
            ("a.x -1 write 2 1 1", MOVABLE),
            ("a.x -1 write 1 0 1", MOVABLE),
            ("a.x 1 write 1 1 1", MOVABLE),
        ] {
            assert_eq!(one(line).course, Course::Refused(reason), "{line}");
        }
    }

    #[test]
    fn what_the_table_has_or_is_no_command_is_left_out() {
        for line in [
            "get 2 readonly 1 1 1",
            "GET 2 readonly 1 1 1",
            "a|b 2 readonly 1 1 1",
            "a\u{e9} 2 readonly 1 1 1",
            "a 0 readonly 1 1 1",
            "a 40000 readonly 1 1 1",
            &format!("{} 2 readonly 1 1 1", "n".repeat(MAX_NAME + 1)),
        ] {
            let reply = format!("*2\r\n*-1\r\n{}", entry_bytes(line, &[]));
            assert_eq!(Told::read(reply.as_bytes()), Ok(vec![]), "{line}");
        }
        let long = format!("a.long 2 {} 1 1 1", "x".repeat(MAX_ENTRY_BYTES));
        let reply = format!("*1\r\n{}", entry_bytes(&long, &[]));
        assert_eq!(Told::read(reply.as_bytes()), Ok(vec![]));
    }

    #[test]
    fn subcommands_are_taken_with_their_container() {
        let below = [
            "b.obj|len 3 readonly 2 2 1",
            "b.obj|all 2 readonly 0 0 0",
            "other|x 2 - 0 0 0",
        ];
        let reply = format!("*1\r\n{}", entry_bytes("b.obj -1 - 0 0 0", &below));
        let [told] = &Told::read(reply.as_bytes()).expect("a list")[..] else {
            panic!("no container")
        };
        let Course::Container(below) = &told.course else {
            panic!("{told:?}")
        };
        assert_eq!((&told.name[..], told.arity), ("b.obj", -2));
        let names: Vec<_> = below.iter().map(|sub| &sub.name[..]).collect();
        assert_eq!(names, ["b.obj|all", "b.obj|len"]);
        assert_eq!(below[1].course, range(2, 2, 1));
    }

    #[test]
    fn other_replies_teach_nothing() {
        for (reply, error) in [
            ("-NOPERM no\r\n", ToldError::Refused("NOPERM no".into())),
            ("+OK\r\n", ToldError::Malformed),
            ("*x\r\n", ToldError::Malformed),
            ("*1\r\n", ToldError::Malformed),
            ("*0\r\n+OK\r\n", ToldError::Malformed),
            ("", ToldError::Malformed),
            ("*99999\r\n", ToldError::TooMany),
        ] {
            assert_eq!(Told::read(reply.as_bytes()), Err(error), "{reply:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..400usize) {
            let _ = Told::read(&bytes);
            let whole = format!("*1\r\n{}", entry_bytes("a.b -1 write 1 1 1", &["a.b|c 3 write 2 2 1"]));
            let cut = cut.min(whole.len());
            prop_assert_eq!(Told::read(&whole.as_bytes()[..cut]).is_ok(), cut == whole.len());
            let mut mixed = whole.into_bytes();
            mixed.splice(cut..cut, bytes);
            let _ = Told::read(&mixed);
        }
    }
}
