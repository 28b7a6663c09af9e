//! Kinds of commands, for counting: the groups of Redis' documentation (`COMMAND DOCS`), so far as the proxy
//! offers them.

use super::{Command, Group, Policy};

/// What a request is counted as. Refused commands are [`Class::Refused`], whatever they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Keys of any type.
    Generic,
    String,
    Bitmap,
    Hash,
    List,
    Set,
    SortedSet,
    HyperLogLog,
    Geo,
    Stream,
    Array,
    VectorSet,
    /// What modules bring along.
    Module,
    /// Scripts and functions.
    Scripting,
    /// About the client's own connection; the proxy answers them.
    Connection,
    /// About servers, such as TIME.
    Server,
    /// Not in the table: a server told of it.
    Learned,
    /// Known and not offered.
    Refused,
    /// No command of Redis.
    Unknown,
}

impl Class {
    pub const ALL: [Class; 19] = [
        Class::Generic,
        Class::String,
        Class::Bitmap,
        Class::Hash,
        Class::List,
        Class::Set,
        Class::SortedSet,
        Class::HyperLogLog,
        Class::Geo,
        Class::Stream,
        Class::Array,
        Class::VectorSet,
        Class::Module,
        Class::Scripting,
        Class::Connection,
        Class::Server,
        Class::Learned,
        Class::Refused,
        Class::Unknown,
    ];

    /// As in the names of counters.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Generic => "generic",
            Class::String => "string",
            Class::Bitmap => "bitmap",
            Class::Hash => "hash",
            Class::List => "list",
            Class::Set => "set",
            Class::SortedSet => "sortedset",
            Class::HyperLogLog => "hyperloglog",
            Class::Geo => "geo",
            Class::Stream => "stream",
            Class::Array => "array",
            Class::VectorSet => "vectorset",
            Class::Module => "module",
            Class::Scripting => "scripting",
            Class::Connection => "connection",
            Class::Server => "server",
            Class::Learned => "learned",
            Class::Refused => "refused",
            Class::Unknown => "unknown",
        }
    }

    /// The commands, each of this class but those that are refused.
    pub(super) const fn of<const N: usize>(self, mut commands: [Command; N]) -> [Command; N] {
        let mut at = 0;
        while at < N {
            commands[at].class = match commands[at].policy {
                Policy::Refused(_) => Class::Refused,
                Policy::Container(subcommands) if all_refused(subcommands) => Class::Refused,
                _ => self,
            };
            at += 1;
        }
        commands
    }
}

const fn all_refused(subcommands: &[Command]) -> bool {
    let mut at = 0;
    while at < subcommands.len() {
        if !matches!(subcommands[at].policy, Policy::Refused(_)) {
            return false;
        }
        at += 1;
    }
    true
}

/// All of `groups` behind each other; `N` is how many that are.
pub(super) const fn concat<const N: usize>(groups: &[Group]) -> [Command; N] {
    let mut all = [groups[0].commands[0]; N];
    let (mut group, mut at) = (0, 0);
    while group < groups.len() {
        let mut member = 0;
        while member < groups[group].commands.len() {
            all[at] = groups[group].commands[member];
            (member, at) = (member + 1, at + 1);
        }
        group += 1;
    }
    assert!(at == N, "a place was left");
    all
}

/// How many commands are in all of `groups`.
pub(super) const fn count(groups: &[Group]) -> usize {
    let (mut group, mut sum) = (0, 0);
    while group < groups.len() {
        sum += groups[group].commands.len();
        group += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::{all, lookup};
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list_of_all() {
        for (number, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
        }
    }

    #[test]
    fn every_class_of_the_table_has_commands() {
        for class in Class::ALL {
            let known = all().iter().any(|command| command.class == class);
            let of_table = !matches!(class, Class::Learned | Class::Unknown);
            assert_eq!(known, of_table, "{class:?}");
        }
    }

    #[test]
    fn commands_have_the_class_of_their_data() {
        for (name, class) in [
            ("get", Class::String),
            ("del", Class::Generic),
            ("setbit", Class::Bitmap),
            ("hexpire", Class::Hash),
            ("blpop", Class::List),
            ("zadd", Class::SortedSet),
            ("pfdebug", Class::Refused),
            ("geoadd", Class::Geo),
            ("xadd", Class::Stream),
            ("arset", Class::Array),
            ("vadd", Class::VectorSet),
            ("json.get", Class::Module),
            ("ping", Class::Connection),
            ("time", Class::Server),
            ("memory", Class::Server),
            ("config", Class::Server),
        ] {
            assert_eq!(lookup(name.as_bytes()).unwrap().class, class, "{name}");
        }
    }
}
