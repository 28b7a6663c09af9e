//! The command table: for each Redis command, how many arguments it takes, which of them are keys,
//! whether it writes, and what the proxy does with it.
//!
//! Everything that depends on a command's name is decided by its line in `table/`; no
//! other module compares command names. It checks no values: arguments that are no keys are Redis's
//! to judge. It routes nothing and builds no request.

mod blocking;
mod category;
mod class;
mod index;
mod keys;
mod learned;
mod numkeys;
mod page;
mod positions;
mod table;
mod told;

pub use blocking::{Timeout, Wait};
pub use category::Category;
pub use class::Class;
pub use keys::{Keys, Store};
pub use learned::{Learned, Vocabulary};
pub use numkeys::Numkeys;
pub use page::page;
pub use positions::{KeyPositions, KeysError};
pub use told::{Course, Told, ToldError};

use super::pubsub::Kind;

/// The key whose server gets every command of [`Policy::Anywhere`], twemproxy's choice, and every script
/// without keys.
pub const PLACEHOLDER: &[u8] = b"placeholder";

/// One command, or one subcommand of a container such as OBJECT (`object|encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Lower case, as `COMMAND` lists it.
    pub name: &'static str,
    /// Number of arguments, the name included, as in `COMMAND`: exactly `n`, or at least `-n` if
    /// negative.
    pub arity: i16,
    /// What the command does to the data.
    pub access: Access,
    /// Which arguments are keys. [`Keys::None`] unless the policy is one that [is routed by
    /// keys](Policy::is_routed).
    pub keys: Keys,
    /// What the proxy does with the command.
    pub policy: Policy,
    /// What its requests are counted as.
    pub class: Class,
    /// What introduced it: a version of Redis, or of another program that is named then.
    pub since: &'static str,
    /// The version of Nuthatch since which it is treated as it is now.
    pub offered: &'static str,
}

/// Commands that belong together.
pub struct Group {
    pub title: &'static str,
    pub commands: &'static [Command],
}

impl Group {
    const fn new(title: &'static str, commands: &'static [Command]) -> Group {
        Group { title, commands }
    }
}

/// The `readonly` and `write` flags of `COMMAND`. A container has none, its subcommands do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Changes nothing: the only kind that may be sent a second time when its answer was lost.
    Read,
    Write,
    /// Flagged as neither: commands about the connection or the server, and scripts, which may write.
    Neither,
}

/// What the proxy does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Send it whole to the one server all its keys belong to.
    Forward,
    /// Send each server the part that holds its keys, and join the replies.
    Split(Join),
    /// Send it whole to every server that is live, and join the replies.
    Everywhere(Join),
    /// As `Everywhere`, in pools that allow it: it deletes what all clients have.
    Flush,
    /// As `Everywhere(Join::AnyOk)`, past what is under way there: it is to end that.
    Kill,
    /// Send it to one server after the other, as the cursor says.
    Scan,
    /// Something with scripts, which the proxy remembers.
    Script(Script),
    /// The proxy answers itself, if need be by what it asks of servers.
    Local(Local),
    /// Any server can answer: send it to the one of [`PLACEHOLDER`].
    Anywhere,
    /// May wait long for its reply: sent to the one server all its keys belong to, on a connection of the
    /// client's own, and the client's next request waits for it.
    Blocking(Timeout),
    /// May wait long, for the replicas of every live server: sent whole to each, on connections of the
    /// client's own, behind a request that has the server count all writes so far; replies are joined.
    Wait(Join),
    /// About a transaction, on a connection of the client's own to the one server of its keys.
    Transaction(Transaction),
    /// The client hears what is published, on connections of its own to the servers.
    Subscribe(Kind),
    Unsubscribe(Kind),
    /// The second argument names one of these commands (`object|encoding`), see [`Command::resolve`]. One
    /// without a `|` in its name is what the container's name alone means.
    Container(&'static [Command]),
    /// Known to Redis, not offered here; the reason completes "it is refused because ...".
    Refused(&'static str),
}

impl Policy {
    /// Do keys say which server gets the request? Then there is at least one.
    pub fn is_routed(self) -> bool {
        match self {
            Policy::Forward | Policy::Split(_) | Policy::Blocking(_) => true,
            Policy::Transaction(word) => word == Transaction::Watch,
            Policy::Script(script) => matches!(script, Script::Run | Script::RunKnown),
            _ => false,
        }
    }
}

/// What a command does with a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Runs the text in its first argument: as [`Policy::Forward`].
    Run,
    /// Runs the one its server knows by the hash in the first argument: as [`Policy::Forward`]. A server that
    /// does not know it is told, if the proxy has seen the text.
    RunKnown,
    /// Makes the text behind the subcommand known to every server.
    Load,
    /// Every server forgets all.
    Flush,
}

/// How replies become one: those to the parts of a split command, or of every server to a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// An array with each key's element at that key's place.
    Array,
    /// The sum of the integers.
    Sum,
    /// `+OK` once every part said so.
    AllOk,
    /// `+OK` if any part said so, whatever the others say; else an error that is not `-NOTBUSY`, if there is
    /// one. For SCRIPT KILL: where nothing runs, nothing can be stopped.
    AnyOk,
    /// What all say alike.
    Same,
    /// The smallest of the integers.
    Least,
    /// The largest of the integers.
    Greatest,
    /// One that is no null, if there is one.
    OneOf,
    /// An array of the elements of all arrays.
    Concat,
    /// The same, equal elements once.
    Union,
    /// Arrays of integers, as long as each other: the smallest at each place.
    EachLeast,
    /// The texts behind each other, in one string of their kind.
    Text,
    /// Arrays of the same names, each followed by an integer: the integers of each name added up.
    SumOfEach,
}

impl Join {
    /// May some of the parts be errors, and the joined reply none?
    pub fn bears_errors(self) -> bool {
        self == Join::AnyOk
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
}

/// The commands the proxy answers itself: they concern the client's connection to it, or have the same answer
/// whatever the servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    Ping,
    Echo,
    Quit,
    Auth,
    Select,
    ClientCaching,
    ClientGetName,
    ClientGetRedir,
    ClientId,
    ClientImportSource,
    ClientInfo,
    ClientKill,
    ClientList,
    ClientNoEvict,
    ClientNoTouch,
    ClientReply,
    ClientSetInfo,
    ClientSetName,
    ClientTracking,
    ClientTrackingInfo,
    ClientUnblock,
    ConfigGet,
    Hello,
    Info,
    Reset,
    Role,
    WhoAmI,
    /// The answer of a Redis that is no part of a cluster.
    ClusterDisabled,
    Ok,
    Zero,
    /// An empty array.
    NoElements,
    /// An empty map.
    NoPairs,
}

/// The command of this name in any ASCII case; `None` if Redis has no such command.
#[inline(always)]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    index::INDEX.find(name)
}

/// Every command, in the order of the table.
pub fn all() -> &'static [Command] {
    &index::TABLE
}

/// Whatever can be named: the commands, each followed by its subcommands.
pub fn every() -> impl Iterator<Item = &'static Command> {
    all().iter().flat_map(Command::and_below)
}

impl Command {
    /// The command, followed by its subcommands.
    fn and_below(&'static self) -> impl Iterator<Item = &'static Command> {
        let below = match self.policy {
            Policy::Container(below) => below,
            _ => &[],
        };
        std::iter::once(self).chain(below)
    }

    /// The command itself, or if it is a container, the subcommand that `word`, the request's second
    /// argument, names in any ASCII case; `None` if it has no such subcommand.
    ///
    /// Without a word a container is what its name alone means, if anything; else it stays the container,
    /// whose arity the request then has not.
    pub fn resolve(&'static self, word: Option<&[u8]>) -> Option<&'static Command> {
        let Policy::Container(subcommands) = self.policy else {
            return Some(self);
        };
        let of = |command: &Command| command.name.split_once('|').map(|(_, word)| word);
        match word {
            Some(word) => subcommands
                .iter()
                .find(|sub| of(sub).is_some_and(|sub| sub.as_bytes().eq_ignore_ascii_case(word))),
            None => subcommands
                .iter()
                .find(|sub| of(sub).is_none())
                .or(Some(self)),
        }
    }

    /// Whether a request of `argc` arguments, the name included, has the right length.
    #[inline]
    pub fn arity_ok(&self, argc: usize) -> bool {
        let count = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            argc >= count
        } else {
            argc == count
        }
    }

    /// Where the keys of a request of `argc` arguments are. Checks the arity first.
    ///
    /// `arg(i)` yields argument `i`, the name being 0. It is called with ascending indexes below
    /// `argc`, each at most once, so that it may walk the request with a cursor, and not at all where
    /// the positions do not depend on an argument. With policies that are routed by keys the result
    /// holds at least one key, save for scripts, which may have none; with the others it holds none.
    ///
    /// # Errors
    /// The request cannot be routed; the error's text is the reply.
    #[inline]
    pub fn keys<'a>(
        &self,
        argc: usize,
        arg: impl FnMut(usize) -> &'a [u8],
    ) -> Result<KeyPositions, KeysError> {
        if !self.arity_ok(argc) {
            return Err(KeysError::Arity(self.name));
        }
        // Most requests end here; only this much is worth inlining.
        if let Keys::Range {
            first: 1, last: 1, ..
        } = self.keys
        {
            return Ok(KeyPositions::adjacent(1, 1));
        }
        self.keys.positions(self.name, argc, arg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fewest arguments the arity admits.
    fn shortest(command: &Command) -> usize {
        usize::from(command.arity.unsigned_abs())
    }

    #[test]
    fn arity_counts_the_name_and_is_a_minimum_when_negative() {
        let get = lookup(b"get").unwrap();
        assert_eq!(
            [1, 2, 3].map(|argc| get.arity_ok(argc)),
            [false, true, false]
        );
        let del = lookup(b"del").unwrap();
        assert_eq!(
            [0, 1, 2, 9].map(|argc| del.arity_ok(argc)),
            [false, false, true, true]
        );
    }

    #[test]
    fn keys_refuses_a_wrong_number_of_arguments_before_reading_any() {
        let unread = |_| -> &[u8] { panic!("no argument is needed") };
        let error = lookup(b"ZUNION").unwrap().keys(2, unread).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ERR wrong number of arguments for 'zunion' command"
        );
    }

    /// The promises of [`Command::keys`] rest on this: whoever breaks it wrote a wrong line.
    #[test]
    fn every_line_is_consistent() {
        for command in every() {
            let fixed = match command.keys {
                Keys::None => 0,
                Keys::Range { first, last, step } => {
                    assert!(first >= 1 && step >= 1, "{}", command.name);
                    let back = usize::from(last.unsigned_abs());
                    usize::from(first).max(if last < 0 {
                        usize::from(first) + back - 1
                    } else {
                        back
                    })
                }
                Keys::Numkeys {
                    at,
                    destination,
                    step,
                    ..
                } => {
                    assert!(step >= 1, "{}", command.name);
                    assert!(
                        destination.is_none_or(|key| 1 <= key && key < at),
                        "{}",
                        command.name
                    );
                    usize::from(at) + usize::from(step) - 1
                }
                Keys::Script(_) => 1,
                Keys::Store(_) | Keys::Streams => 1,
            };
            assert!(
                shortest(command) > fixed,
                "{}: the arity admits no key",
                command.name
            );
            let routed = command.policy.is_routed();
            assert_eq!(routed, command.keys != Keys::None, "{}", command.name);
        }
    }

    #[test]
    fn subcommands_belong_to_their_container() {
        for container in all() {
            assert!(!container.name.contains('|'), "{}", container.name);
            let Policy::Container(subcommands) = container.policy else {
                continue;
            };
            assert!(!subcommands.is_empty(), "{}", container.name);
            assert!(
                subcommands.is_sorted_by(|a, b| a.name < b.name),
                "{}",
                container.name
            );
            let mut alone = 0;
            for sub in subcommands {
                assert!(!matches!(sub.policy, Policy::Container(_)), "{}", sub.name);
                let of = sub.name.split_once('|').map(|(container, _)| container);
                if of.is_none() {
                    alone += 1;
                    assert_eq!(sub.arity, 1, "{}", sub.name);
                } else {
                    assert!(shortest(sub) > 1, "{}", sub.name);
                }
                assert_eq!(of.unwrap_or(sub.name), container.name);
            }
            let arity = if alone > 0 { -1 } else { -2 };
            assert_eq!(container.arity, arity, "{}", container.name);
        }
    }

    #[test]
    fn a_container_resolves_to_its_subcommand() {
        let resolved = |name: &[u8], word: Option<&[u8]>| {
            lookup(name).unwrap().resolve(word).map(|found| found.name)
        };
        for (name, word, expected) in [
            (&b"get"[..], Some(&b"encoding"[..]), Some("get")),
            (b"get", None, Some("get")),
            (b"object", Some(b"ENCOding"), Some("object|encoding")),
            (b"object", Some(b"encodin"), None),
            (b"object", Some(b"object"), None),
            (b"object", Some(b""), None),
            (b"object", Some(b"object|encoding"), None),
            (b"object", None, Some("object")),
            (b"COMMAND", Some(b"count"), Some("command|count")),
            (b"command", Some(b"command"), None),
        ] {
            assert_eq!(resolved(name, word), expected);
        }
        let bare = lookup(b"command").unwrap().resolve(None).unwrap();
        assert_eq!((bare.name, bare.policy), ("command", Policy::Anywhere));
    }

    #[test]
    fn every_version_can_be_shown() {
        for command in every() {
            for version in [command.since, command.offered] {
                let number = version.rsplit(' ').next().unwrap();
                let parts: Vec<_> = number.split('.').collect();
                let right = parts.len() >= 2 && parts.iter().all(|part| part.parse::<u8>().is_ok());
                assert!(right, "{}: {version}", command.name);
            }
        }
    }

    #[test]
    fn only_policies_that_need_a_server_have_keys() {
        for name in ["ping", "time", "shutdown"] {
            let command = lookup(name.as_bytes()).unwrap();
            let found = command.keys(shortest(command), |_| b"").unwrap();
            assert_eq!((found.len(), found.first()), (0, None), "{name}");
        }
    }
}
