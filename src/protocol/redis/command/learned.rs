//! Commands that are not in the table but that servers told of.
//!
//! A request's command is `&'static`, so what was told is kept for the life of the process: each different
//! command once, however often it is told, and no more than [`MAX_KEPT`].

use std::collections::{BTreeMap, HashMap};

use super::told::{Course, MAX_NAME, Told};
use super::{Class, Command, Keys, Policy};

/// Commands and sub-commands that are kept, of all pools together.
const MAX_KEPT: usize = 4096;
/// Commands of one pool.
const MAX_LEARNED: usize = 1024;

const DIFFERENT: &str = "the servers of the pool disagree about its keys";

/// Every command that any server told of.
#[derive(Debug, Default)]
pub struct Vocabulary {
    by_name: HashMap<&'static str, Vec<&'static Command>>,
    kept: usize,
}

/// What a pool's servers have besides the table's commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Learned {
    by_name: BTreeMap<&'static str, &'static Command>,
    /// There was no room for so many.
    pub left_out: usize,
}

impl Vocabulary {
    /// The command that was told of; `None` if there is no room for another.
    pub fn keep(&mut self, told: &Told) -> Option<&'static Command> {
        let known = self.by_name.get(&told.name[..]);
        let same = known.and_then(|known| known.iter().find(|command| told.describes(command)));
        if let Some(command) = same {
            return Some(command);
        }
        let size = match &told.course {
            Course::Container(below) => 1 + below.len(),
            _ => 1,
        };
        if self.kept + size > MAX_KEPT {
            return None;
        }
        self.kept += size;
        let command: &'static Command = Box::leak(Box::new(told.to_command()));
        self.by_name.entry(command.name).or_default().push(command);
        Some(command)
    }

    /// What all servers of a pool told together.
    pub fn join<'a>(&mut self, servers: impl IntoIterator<Item = &'a [Told]>) -> Learned {
        let mut all: BTreeMap<&str, Told> = BTreeMap::new();
        let mut left_out = 0;
        for told in servers.into_iter().flatten() {
            let room = all.len() < MAX_LEARNED;
            match all.get_mut(&told.name[..]) {
                Some(other) if other == told => {}
                Some(other) => other.course = Course::Refused(DIFFERENT),
                None if room => {
                    all.insert(&told.name, told.clone());
                }
                None => left_out += 1,
            }
        }
        let kept = all.values().filter_map(|told| self.keep(told));
        let by_name: BTreeMap<_, _> = kept.map(|command| (command.name, command)).collect();
        Learned {
            left_out: left_out + all.len() - by_name.len(),
            by_name,
        }
    }
}

impl Learned {
    /// The command of this name in any ASCII case.
    pub fn find(&self, name: &[u8]) -> Option<&'static Command> {
        if self.by_name.is_empty() || name.len() > MAX_NAME {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(&name[..]).copied()
    }

    /// By name, each followed by its sub-commands.
    pub fn every(&self) -> impl Iterator<Item = &'static Command> {
        self.by_name
            .values()
            .flat_map(|command| command.and_below())
    }
}

impl Told {
    fn describes(&self, command: &Command) -> bool {
        let same = (&self.name[..], self.arity, self.access)
            == (command.name, command.arity, command.access);
        same && match (&self.course, command.policy) {
            (Course::Container(told), Policy::Container(below)) => {
                told.len() == below.len()
                    && told
                        .iter()
                        .zip(below)
                        .all(|(told, sub)| told.describes(sub))
            }
            (Course::Keys { .. }, Policy::Forward) => self.keys() == command.keys,
            (Course::Refused(reason), Policy::Refused(other)) => *reason == other,
            _ => false,
        }
    }

    fn keys(&self) -> Keys {
        match self.course {
            Course::Keys { first, last, step } => Keys::Range { first, last, step },
            Course::Container(_) | Course::Refused(_) => Keys::None,
        }
    }

    /// With a name that stays for ever.
    fn to_command(&self) -> Command {
        let (policy, class) = match &self.course {
            Course::Keys { .. } => (Policy::Forward, Class::Learned),
            Course::Refused(reason) => (Policy::Refused(reason), Class::Refused),
            Course::Container(told) => {
                let below: Vec<Command> = told.iter().map(Told::to_command).collect();
                (Policy::Container(Vec::leak(below)), Class::Learned)
            }
        };
        Command {
            name: String::leak(self.name.clone()),
            arity: self.arity,
            access: self.access,
            keys: self.keys(),
            policy,
            class,
            since: "",
            offered: env!("CARGO_PKG_VERSION"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::redis::command::{Access, lookup};

    fn told(name: &str, first: u8) -> Told {
        Told {
            name: name.to_owned(),
            arity: -4,
            access: Access::Read,
            course: Course::Keys {
                first,
                last: first as i8,
                step: 1,
            },
        }
    }

    fn container(name: &str, below: &[Told]) -> Told {
        Told {
            arity: -2,
            course: Course::Container(below.to_vec()),
            ..told(name, 1)
        }
    }

    #[test]
    fn a_command_that_is_told_again_is_the_same() {
        let mut words = Vocabulary::default();
        let commands = [
            told("x.get", 1),
            told("x.get", 2),
            container("x.obj", &[told("x.obj|len", 2)]),
            container("x.obj", &[told("x.obj|len", 3)]),
        ];
        let first = commands.each_ref().map(|told| words.keep(told).unwrap());
        let again = commands.each_ref().map(|told| words.keep(told).unwrap());
        assert!(first.iter().zip(again).all(|(a, b)| std::ptr::eq(*a, b)));
        assert_eq!(words.kept, 6);
        assert_ne!(first[0], first[1]);
        assert_ne!(first[2], first[3]);
        assert_eq!(first[0].class, Class::Learned);
        let keys = first[1].keys(4, |_| b"").unwrap();
        assert_eq!(keys.iter().collect::<Vec<_>>(), [2]);
        let len = first[3].resolve(Some(b"LEN")).unwrap();
        assert_eq!((len.name, len.policy), ("x.obj|len", Policy::Forward));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut words = Vocabulary::default();
        for n in 0..MAX_KEPT {
            assert!(words.keep(&told(&format!("n{n}"), 1)).is_some(), "{n}");
        }
        assert_eq!(words.keep(&told("one.more", 1)), None);
        assert!(words.keep(&told("n7", 1)).is_some());
        let many: Vec<Told> = (0..MAX_KEPT).map(|n| told(&format!("n{n}"), 1)).collect();
        let learned = words.join([&many[..]]);
        assert_eq!(learned.by_name.len(), MAX_LEARNED);
        assert_eq!(learned.left_out, MAX_KEPT - MAX_LEARNED);
        let learned = words.join([&[told("n1", 1), told("none.such", 1)][..]]);
        assert_eq!((learned.by_name.len(), learned.left_out), (1, 1));
    }

    #[test]
    fn a_pool_has_what_any_of_its_servers_has() {
        let mut words = Vocabulary::default();
        let one = [told("a.get", 1), told("a.set", 1)];
        let two = [told("a.get", 1), told("a.set", 2), told("b.get", 1)];
        let learned = words.join([&one[..], &two, &[]]);
        let names: Vec<_> = learned.every().map(|command| command.name).collect();
        assert_eq!(names, ["a.get", "a.set", "b.get"]);
        let find = |name: &[u8]| learned.find(name).map(|command| command.policy);
        assert_eq!(find(b"A.Get"), Some(Policy::Forward));
        assert_eq!(find(b"a.set"), Some(Policy::Refused(DIFFERENT)));
        assert_eq!(
            (find(b"c.get"), find(b"a.ge\xff"), find(b"")),
            (None, None, None)
        );
        assert_eq!(find(&[b'a'; 4000]), None);
        assert_eq!(lookup(b"a.get"), None);
        assert!(words.join([]).find(b"a.get").is_none());
    }
}
