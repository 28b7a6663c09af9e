//! The table in words: `docs/commands.md`, which `nuthatch generate commands` prints. All that it says
//! follows from the table's lines.

use std::fmt::Write as _;

use super::super::pubsub::Kind;
use super::table::GROUPS;
use super::{Command, Join, Keys, Local, PLACEHOLDER, Policy, Script, Timeout};

/// Of Markdown.
pub fn page() -> String {
    let mut page = String::from("# Commands\n\n");
    introduce(&mut page);
    for group in GROUPS {
        let head = "| command | here | since | here since |\n|---|---|---|---|";
        write!(page, "\n## {}\n\n{head}\n", group.title).expect("a String takes all");
        for command in group.commands {
            match command.policy {
                Policy::Container(subcommands) => {
                    subcommands.iter().for_each(|sub| row(&mut page, sub))
                }
                _ => row(&mut page, command),
            }
        }
    }
    page
}

fn introduce(page: &mut String) {
    let placeholder = PLACEHOLDER.escape_ascii();
    let (mut known, mut refused) = (0, 0);
    for command in super::every().filter(|command| !is_container(command)) {
        known += 1;
        refused += usize::from(matches!(command.policy, Policy::Refused(_)));
    }
    write!(
        page,
        "What becomes of each command, as `nuthatch generate commands` prints it: {known} commands and \
         sub-commands of Redis, Valkey and their modules are known, {refused} of them refused. A pool's \
         `deny_commands` and `allow_commands` can refuse more.\n\
         \n\
         \"Its server\" is the one that owns the key, or all keys of the command: if they belong to \
         different servers, the reply is a `CROSSSLOT` error that names two of them. `{placeholder}` is the \
         key whose server is asked what any server could answer. A refused command is answered \
         `ERR unsupported command '...': ` and the reason. Commands that are not listed are answered as \
         Redis answers unknown ones, unless `learn_commands` is set and a server tells where their keys are.\n\
         \n\
         *since*: the version that introduced the command, of Redis unless another program is named. *here \
         since*: the version of Nuthatch since which it is treated as it is now.\n"
    )
    .expect("a String takes all");
}

fn is_container(command: &Command) -> bool {
    matches!(command.policy, Policy::Container(_))
}

fn row(page: &mut String, command: &Command) {
    let name = command.name.to_ascii_uppercase().replace('|', " ");
    let treatment = command.treatment();
    let (since, offered) = (command.since, command.offered);
    writeln!(page, "| `{name}` | {treatment} | {since} | {offered} |").expect("a String takes all");
}

impl Command {
    /// What the proxy does with it, in a few words.
    pub fn treatment(&self) -> String {
        match self.policy {
            Policy::Forward => format!("sent to its server{}", self.keys.condition()),
            Policy::Split(join) => {
                format!("each server gets the part with its keys; {}", join.words())
            }
            Policy::Everywhere(join) => format!("sent to every server; {}", join.words()),
            Policy::Flush => "sent to every server, where `allow_flush` allows it".to_owned(),
            Policy::Kill => format!("sent to every server; {}", Join::AnyOk.words()),
            Policy::Scan => "sent to one server after the other, as the cursor says".to_owned(),
            Policy::Script(Script::Run) => format!(
                "sent to its server{}; the script is remembered",
                self.keys.condition()
            ),
            Policy::Script(Script::RunKnown) => format!(
                "sent to its server{}; a script that it does not know is loaded there, if the proxy \
                 remembers it",
                self.keys.condition()
            ),
            Policy::Script(Script::Load) => {
                "sent to every server; the script is remembered".to_owned()
            }
            Policy::Script(Script::Flush) => {
                "sent to every server; no script is remembered".to_owned()
            }
            Policy::Local(Local::Info | Local::ConfigGet) => {
                "answered by the proxy, which asks the servers".to_owned()
            }
            Policy::Local(Local::ClientKill | Local::ClientList) => {
                "answered by the proxy, for its clients of the same pool".to_owned()
            }
            Policy::Local(Local::ClientNoTouch | Local::ClientTracking) => {
                "answered by the proxy; `ON` is refused".to_owned()
            }
            Policy::Local(Local::ClusterDisabled) => {
                "answered by the proxy: it is no cluster".to_owned()
            }
            Policy::Local(_) => "answered by the proxy".to_owned(),
            Policy::Anywhere => {
                format!("sent to the server of `{}`", PLACEHOLDER.escape_ascii())
            }
            Policy::Blocking(timeout) => {
                let when = match timeout {
                    Timeout::Block => "; with BLOCK",
                    _ => ",",
                };
                let condition = self.keys.condition();
                format!("sent to its server{condition}{when} on a connection of the client's own")
            }
            Policy::Wait(join) => {
                let joined = join.words();
                format!(
                    "sent to every server, on connections of the client's own, for all writes before it; {joined}"
                )
            }
            Policy::Transaction(_) => {
                "a transaction, whose keys all have to be on one server".to_owned()
            }
            Policy::Subscribe(Kind::Pattern) => "sent to every server".to_owned(),
            Policy::Subscribe(_) => {
                "sent to the server that would own a key of the channel's name".to_owned()
            }
            Policy::Unsubscribe(_) => "sent to the servers that were subscribed to".to_owned(),
            Policy::Container(_) => "by sub-command".to_owned(),
            Policy::Refused(reason) => format!("refused: {reason}"),
        }
    }
}

impl Keys {
    /// What is to be added to "sent to its server".
    fn condition(&self) -> String {
        match self {
            Keys::None => String::new(),
            Keys::Range { first, last, .. } if i16::from(*first) == i16::from(*last) => {
                String::new()
            }
            Keys::Store(options) => {
                let mut text = String::new();
                if !options.store.is_empty() {
                    text += ", where the destination has to be too";
                }
                if !options.patterns.is_empty() {
                    let names: Vec<_> = options
                        .patterns
                        .iter()
                        .map(|name| name.to_ascii_uppercase())
                        .collect();
                    let names = names.join(" and ");
                    let _ = write!(
                        text,
                        "; patterns of {names} are refused without a hash tag of that server before the `*`"
                    );
                }
                text
            }
            Keys::Script(_) => format!(
                ", which all keys have to share; without keys to that of `{}`",
                PLACEHOLDER.escape_ascii()
            ),
            Keys::Range { .. } | Keys::Numkeys { .. } | Keys::Streams => {
                ", which all keys have to share".to_owned()
            }
        }
    }
}

impl Join {
    fn words(self) -> &'static str {
        match self {
            Join::Array => "the elements of the replies come in the order of the keys",
            Join::Sum => "the replies are added up",
            Join::AllOk => "`OK` if all say so",
            Join::AnyOk => "`OK` if any says so",
            Join::Same => "what all say alike",
            Join::Least => "the smallest of the replies",
            Join::Greatest => "the largest of the replies",
            Join::OneOf => "one of the replies that is no null",
            Join::Concat => "the elements of all replies",
            Join::Union => "the elements of all replies, equal ones once",
            Join::EachLeast => "the smallest at each place of the replies",
            Join::Text => "the texts of all replies",
            Join::SumOfEach => "the numbers of each name added up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::redis::command::{every, lookup};

    #[track_caller]
    fn treatment(words: &str) -> String {
        let mut words = words.split(' ').map(str::as_bytes);
        let command = lookup(words.next().unwrap()).unwrap();
        command.resolve(words.next()).unwrap().treatment()
    }

    #[test]
    fn policies_are_told_in_words() {
        for (name, expected) in [
            ("get", "sent to its server"),
            ("object encoding", "sent to its server"),
            ("zadd", "sent to its server"),
            ("rename", "sent to its server, which all keys have to share"),
            ("zunion", "sent to its server, which all keys have to share"),
            ("bitop", "sent to its server, which all keys have to share"),
            (
                "sort",
                "sent to its server, where the destination has to be too; patterns of BY and GET are \
                 refused without a hash tag of that server before the `*`",
            ),
            (
                "sort_ro",
                "sent to its server; patterns of BY and GET are refused without a hash tag of that \
                 server before the `*`",
            ),
            (
                "georadius",
                "sent to its server, where the destination has to be too",
            ),
            (
                "fcall",
                "sent to its server, which all keys have to share; without keys to that of `placeholder`",
            ),
            (
                "eval",
                "sent to its server, which all keys have to share; without keys to that of `placeholder`; \
                 the script is remembered",
            ),
            ("dbsize", "sent to every server; the replies are added up"),
            (
                "script load",
                "sent to every server; the script is remembered",
            ),
            ("info", "answered by the proxy, which asks the servers"),
            (
                "mget",
                "each server gets the part with its keys; the elements of the replies come in the order of the keys",
            ),
            (
                "brpop",
                "sent to its server, which all keys have to share, on a connection of the client's own",
            ),
            (
                "xread",
                "sent to its server, which all keys have to share; with BLOCK on a connection of the client's own",
            ),
            ("ping", "answered by the proxy"),
            ("command", "sent to the server of `placeholder`"),
            ("time", "sent to the server of `placeholder`"),
            (
                "shutdown",
                "refused: server administration is not passed through the proxy",
            ),
        ] {
            assert_eq!(treatment(name), expected, "{name}");
        }
    }

    #[test]
    fn every_command_has_its_row() {
        let page = page();
        for command in every().filter(|command| !is_container(command)) {
            let name = command.name.to_ascii_uppercase().replace('|', " ");
            let start = format!("\n| `{name}` | ");
            assert_eq!(page.matches(&start).count(), 1, "{name}");
        }
        assert!(
            !page.lines().any(|line| line.matches('|').count() > 5),
            "a cell with a bar in it"
        );
    }
}
