//! What the lines of the table are made with.

pub(super) use super::super::super::pubsub::Kind;
pub(super) use super::super::Access::{self, *};
pub(super) use super::super::{
    Class, Command, Join, Keys, Local, Numkeys, Policy, Script, Store, Timeout, Transaction,
};

/// The release of Nuthatch that served the first commands as they are served now.
const FIRST: &str = "0.1.0";

// Why a command is refused.
pub(super) const EVERY_SERVER: &str = "it would have to run on every server";
pub(super) const DATABASES: &str = "other pools and clients may use the databases of the servers";
pub(super) const DEBUGGER: &str = "it would stop the server for all clients";
pub(super) const CONFIGURATION: &str = "servers are configured one by one, not through the proxy";
pub(super) const ONE_BY_ONE: &str = "it speaks of one server, ask that one";
pub(super) const BLOCKING: &str = "blocking commands of modules are not supported";
pub(super) const PAUSE: &str = "servers have other clients, which would go on";
pub(super) const SHARED_CONNECTION: &str =
    "it concerns one connection to a server, and clients share those";
pub(super) const ONE_USER: &str =
    "a pool has one user, whose rights are its deny_commands and allow_commands";
pub(super) const ADMIN: &str = "server administration is not passed through the proxy";

// Where the keys are.
pub(super) const KEY: Keys = range(1, 1, 1);
pub(super) const TWO_KEYS: Keys = range(1, 2, 1);
pub(super) const ALL_KEYS: Keys = range(1, -1, 1);
/// Each key is followed by its value.
pub(super) const PAIRS: Keys = range(1, -1, 2);
/// Each key is followed by two values.
pub(super) const TRIPLES: Keys = range(1, -1, 3);
/// The last argument is for all keys.
pub(super) const ALL_BUT_LAST: Keys = range(1, -2, 1);
pub(super) const AFTER_OPERATION: Keys = range(2, -1, 1);
/// The key after a subcommand.
pub(super) const SUBJECT: Keys = range(2, 2, 1);
/// As many keys as the first argument says.
pub(super) const NUMKEYS: Keys = numkeys(1, None, 1, Numkeys::Other);
pub(super) const POP: Keys = numkeys(1, None, 1, Numkeys::Pop);
pub(super) const CARD: Keys = numkeys(1, None, 1, Numkeys::Card);
pub(super) const SETS_OF_SCORES: Keys = numkeys(1, None, 1, Numkeys::SortedSets);
/// As many keys as the first argument says, each followed by its value.
pub(super) const NUMPAIRS: Keys = numkeys(1, None, 2, Numkeys::Other);
/// As many keys as the second argument says.
pub(super) const BLOCKING_POP: Keys = numkeys(2, None, 1, Numkeys::Pop);
pub(super) const NUMKEYS_STORE: Keys = numkeys(2, Some(1), 1, Numkeys::Other);
pub(super) const SETS_OF_SCORES_STORE: Keys = numkeys(2, Some(1), 1, Numkeys::SortedSets);
pub(super) const FUNCTION_KEYS: Keys = Keys::Script(Numkeys::Function);
pub(super) const SORT: Keys = Keys::Store(&Store {
    options: 2,
    store: &["store"],
    ..SORT_READING
});
pub(super) const SORT_RO: Keys = Keys::Store(&SORT_READING);
pub(super) const GEORADIUS: Keys = Keys::Store(&Store {
    options: 6,
    ..GEO_STORE
});
pub(super) const GEORADIUSBYMEMBER: Keys = Keys::Store(&Store {
    options: 5,
    ..GEO_STORE
});
const SORT_READING: Store = Store {
    options: 2,
    store: &[],
    patterns: &["by", "get"],
    valued: &[("limit", 2)],
};
const GEO_STORE: Store = Store {
    options: 0,
    store: &["store", "storedist"],
    patterns: &[],
    valued: &[("count", 1)],
};

const fn range(first: u8, last: i8, step: u8) -> Keys {
    Keys::Range { first, last, step }
}

const fn numkeys(at: u8, destination: Option<u8>, step: u8, words: Numkeys) -> Keys {
    Keys::Numkeys {
        at,
        destination,
        step,
        words,
    }
}

type Text = &'static str;

/// A line without keys; `Class::of` fills in the class.
const fn line(name: Text, since: Text, arity: i16, access: Access, policy: Policy) -> Command {
    Command {
        name,
        arity,
        access,
        keys: Keys::None,
        policy,
        class: Class::Unknown,
        since,
        offered: FIRST,
    }
}

const fn forward(name: Text, since: Text, arity: i16, access: Access, keys: Keys) -> Command {
    Command {
        keys,
        ..line(name, since, arity, access, Policy::Forward)
    }
}

pub(super) const fn read(name: Text, since: Text, arity: i16, keys: Keys) -> Command {
    forward(name, since, arity, Read, keys)
}

pub(super) const fn write(name: Text, since: Text, arity: i16, keys: Keys) -> Command {
    forward(name, since, arity, Write, keys)
}

pub(super) const fn neither(name: Text, since: Text, arity: i16, keys: Keys) -> Command {
    forward(name, since, arity, Neither, keys)
}

pub(super) const fn split(
    name: Text,
    since: Text,
    arity: i16,
    access: Access,
    keys: Keys,
    join: Join,
) -> Command {
    Command {
        keys,
        ..line(name, since, arity, access, Policy::Split(join))
    }
}

pub(super) const fn everywhere(
    name: Text,
    since: Text,
    arity: i16,
    access: Access,
    join: Join,
) -> Command {
    line(name, since, arity, access, Policy::Everywhere(join))
}

pub(super) const fn flush(name: Text, since: Text) -> Command {
    line(name, since, -1, Write, Policy::Flush)
}

pub(super) const fn scan(name: Text, since: Text) -> Command {
    line(name, since, -2, Read, Policy::Scan)
}

pub(super) const fn kill(name: Text, since: Text) -> Command {
    line(name, since, 2, Neither, Policy::Kill)
}

/// Runs a script.
pub(super) const fn runs(name: Text, since: Text, access: Access, script: Script) -> Command {
    Command {
        keys: Keys::Script(Numkeys::Script),
        ..line(name, since, -3, access, Policy::Script(script))
    }
}

pub(super) const fn script(name: Text, since: Text, arity: i16, script: Script) -> Command {
    line(name, since, arity, Neither, Policy::Script(script))
}

pub(super) const fn local(name: Text, since: Text, arity: i16, local: Local) -> Command {
    line(name, since, arity, Neither, Policy::Local(local))
}

/// Commands of clusters, all answered as by a Redis that is no part of one.
pub(super) const fn standalone<const N: usize>(mut commands: [Command; N]) -> [Command; N] {
    let mut at = 0;
    while at < N {
        commands[at].policy = Policy::Local(Local::ClusterDisabled);
        at += 1;
    }
    commands
}

pub(super) const fn blocking(
    name: Text,
    since: Text,
    arity: i16,
    access: Access,
    keys: Keys,
    timeout: Timeout,
) -> Command {
    Command {
        keys,
        ..line(name, since, arity, access, Policy::Blocking(timeout))
    }
}

pub(super) const fn wait(name: Text, since: Text, arity: i16, join: Join) -> Command {
    line(name, since, arity, Neither, Policy::Wait(join))
}

pub(super) const fn transaction(
    name: Text,
    since: Text,
    arity: i16,
    keys: Keys,
    word: Transaction,
) -> Command {
    Command {
        keys,
        ..line(name, since, arity, Neither, Policy::Transaction(word))
    }
}

pub(super) const fn subscribe(name: Text, since: Text, kind: Kind) -> Command {
    line(name, since, -2, Neither, Policy::Subscribe(kind))
}

pub(super) const fn unsubscribe(name: Text, since: Text, kind: Kind) -> Command {
    line(name, since, -1, Neither, Policy::Unsubscribe(kind))
}

pub(super) const fn anywhere(name: Text, since: Text, arity: i16, access: Access) -> Command {
    line(name, since, arity, access, Policy::Anywhere)
}

pub(super) const fn container(
    name: Text,
    since: Text,
    arity: i16,
    subcommands: &'static [Command],
) -> Command {
    line(name, since, arity, Neither, Policy::Container(subcommands))
}

pub(super) const fn refused(
    name: Text,
    since: Text,
    arity: i16,
    access: Access,
    reason: Text,
) -> Command {
    line(name, since, arity, access, Policy::Refused(reason))
}
