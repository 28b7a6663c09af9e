//! Which commands a pool's clients may use, and under which names: `deny_commands`, `allow_commands`,
//! `rename_commands`.
//!
//! As Redis' ACL rules and `rename-command`. What clients need to be let in (`server.c`, CMD_NO_AUTH) is
//! always allowed, as there.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::Secret;
use super::error::{near_miss, quoted};
use super::file::{Node, Value};
use super::sentinel::Mistake;
use super::value;
use crate::protocol::redis::command::{self, Category, Class, Command};

pub(super) const LIST_ACCEPTED: &str = "names such as get, sub-commands such as config|set, and Redis' \
                                        ACL categories such as \"@admin\", in quotes";
pub(super) const RENAME_ACCEPTED: &str =
    "a mapping from commands to their new names, \"\" to remove a command";

/// Longer names are hardly meant.
const NAME_MAX: usize = 128;

/// As the file has it, names in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandRules {
    pub deny: Vec<String>,
    /// If it is empty, all are allowed that are not denied.
    pub allow: Vec<String>,
    /// New names; `None`: it has no name any more. Like redis.conf's they are as good as passwords.
    pub rename: Vec<(String, Option<Secret>)>,
    /// Of the above; `None` if there is nothing above.
    compiled: Option<Box<Rules>>,
}

/// What becomes of a request's name. Only for pools that have rules.
#[derive(Clone, PartialEq)]
pub struct Rules {
    /// By the name of a command or sub-command.
    denied: HashMap<&'static str, Denial>,
    /// New names in lower case, and old ones that mean nothing any more.
    names: HashMap<Box<[u8]>, Option<&'static Command>>,
    /// The lists, for commands that are learned later.
    deny: Box<[String]>,
    allow: Box<[String]>,
}

/// Why a command is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// `deny_commands` has it.
    Denied,
    /// `allow_commands` lacks it.
    NotAllowed,
}

/// A request's command.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    Unknown,
    Known(&'static Command),
    /// By another name than servers know it by.
    Renamed(&'static Command),
}

impl CommandRules {
    pub(super) fn new(
        deny: Vec<String>,
        allow: Vec<String>,
        rename: Vec<(String, Option<Secret>)>,
    ) -> CommandRules {
        let is_empty = deny.is_empty() && allow.is_empty() && rename.is_empty();
        let compiled = (!is_empty).then(|| Box::new(Rules::new(&deny, &allow, &rename)));
        CommandRules {
            deny,
            allow,
            rename,
            compiled,
        }
    }

    /// `None`: every command is allowed under its own name.
    #[inline]
    pub fn rules(&self) -> Option<&Rules> {
        self.compiled.as_deref()
    }
}

/// Shows none of the new names.
impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules(..)")
    }
}

impl Rules {
    fn new(deny: &[String], allow: &[String], rename: &[(String, Option<Secret>)]) -> Rules {
        let mut denied = HashMap::new();
        for command in command::every().filter(|command| !is_always_allowed(command.name)) {
            if let Some(denial) = judge(deny, allow, command) {
                denied.insert(command.name, denial);
            }
        }
        let mut names = HashMap::new();
        for (old, new) in rename {
            names.insert(old.as_bytes().into(), None);
            if let Some(Secret(new)) = new {
                let command = command::lookup(old.as_bytes());
                names.insert(new.to_ascii_lowercase().into_bytes().into(), command);
            }
        }
        Rules {
            denied,
            names,
            deny: deny.into(),
            allow: allow.into(),
        }
    }

    /// The command of this name.
    pub fn find(&self, name: &[u8]) -> Found {
        // Most names are short, and longer ones than any are not looked at.
        let mut folded = [0; NAME_MAX];
        let renamed = match folded.get_mut(..name.len()) {
            Some(folded) if !self.names.is_empty() => {
                folded.copy_from_slice(name);
                folded.make_ascii_lowercase();
                self.names.get(&*folded)
            }
            _ => None,
        };
        match renamed {
            Some(Some(command)) => Found::Renamed(command),
            Some(None) => Found::Unknown,
            None => command::lookup(name).map_or(Found::Unknown, Found::Known),
        }
    }

    /// Why this command is refused, if it is.
    pub fn denial(&self, command: &Command) -> Option<Denial> {
        match command.class {
            Class::Learned => judge(&self.deny, &self.allow, command),
            _ => self.denied.get(command.name).copied(),
        }
    }
}

fn judge(deny: &[String], allow: &[String], command: &Command) -> Option<Denial> {
    let selects = |words: &[String]| words.iter().any(|word| selects(word, command));
    if selects(deny) {
        Some(Denial::Denied)
    } else if !allow.is_empty() && !selects(allow) {
        Some(Denial::NotAllowed)
    } else {
        None
    }
}

/// AUTH, HELLO, QUIT and RESET.
fn is_always_allowed(name: &str) -> bool {
    ["auth", "hello", "quit", "reset"].contains(&name)
}

/// Does a word of a list mean this command? A container means its sub-commands too.
fn selects(word: &str, command: &Command) -> bool {
    if let Some(category) = word.strip_prefix('@') {
        return Category::from_name(category).is_some_and(|category| category.holds(command));
    }
    let container = command.name.split_once('|').map(|(name, _)| name);
    word == command.name || Some(word) == container
}

/// A list of commands, sub-commands and categories. `line` is the key's, here and below.
pub(super) fn allow(line: usize, node: &Node) -> Result<Vec<String>, Vec<Mistake>> {
    words(line, node, |_| None)
}

/// As [`allow`]'s, without what is always allowed.
pub(super) fn deny(line: usize, node: &Node) -> Result<Vec<String>, Vec<Mistake>> {
    words(line, node, |word| {
        let text = || format!("{} is always allowed, as by Redis' ACL", quoted(word));
        is_always_allowed(word).then(text)
    })
}

/// `refuse` says what is wrong with a word that means something.
fn words(
    line: usize,
    node: &Node,
    refuse: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Vec<Mistake>> {
    let entries = value::list(node, "name").map_err(|wrong| {
        let message = format!("{wrong}; accepted: a list of {LIST_ACCEPTED}");
        vec![Mistake::new(line, message)]
    })?;
    let mut words: Vec<String> = Vec::with_capacity(entries.len());
    let mut mistakes = Vec::new();
    for entry in entries {
        let wrong = match &entry.value {
            Value::Scalar(text) if text.is_empty() => {
                format!("has no value; accepted: {LIST_ACCEPTED}")
            }
            Value::Scalar(text) => {
                let word = text.to_ascii_lowercase();
                match unknown(&word).or_else(|| refuse(&word)) {
                    Some(wrong) => wrong,
                    None if words.contains(&word) => format!("{} is there twice", quoted(text)),
                    None => {
                        words.push(word);
                        continue;
                    }
                }
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                format!("must be a single value; accepted: {LIST_ACCEPTED}")
            }
        };
        mistakes.push(Mistake::new(entry.line, wrong));
    }
    match mistakes.is_empty() {
        true => Ok(words),
        false => Err(mistakes),
    }
}

/// What is wrong with a word of a list, if anything is.
fn unknown(word: &str) -> Option<String> {
    let (what, meant) = match word.strip_prefix('@') {
        Some(category) if Category::from_name(category).is_some() => return None,
        Some(category) => {
            let names = Category::NAMES.map(|name| format!("@{name}"));
            let what = format!(
                "{} is no category of Redis; accepted: {}",
                quoted(word),
                names.join(", ")
            );
            let meant = near_miss(category, Category::NAMES).map(|name| format!("@{name}"));
            (what, meant)
        }
        None if command::every().any(|command| command.name == word) => return None,
        // Perhaps one that a pool learns.
        None if is_of_unknown_module(word) => return None,
        None => (
            format!(
                "{} is no command of Redis; accepted: {LIST_ACCEPTED}",
                quoted(word)
            ),
            near_command(word),
        ),
    };
    Some(asked(what, meant))
}

/// Names of modules' commands have a dot, Redis' own have none.
fn is_of_unknown_module(word: &str) -> bool {
    let Some((module, name)) = word.split_once('.') else {
        return false;
    };
    let is_known = |command: &Command| {
        let rest = command.name.strip_prefix(module);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let is_name = !name.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    is_name && !command::every().any(is_known)
}

fn near_command(word: &str) -> Option<String> {
    // A sub-command as one types it.
    let word = word.replacen(' ', "|", 1);
    // What is right but for this is near in any case.
    let exact = command::every().find(|command| command.name == word);
    let names = command::every().map(|command| command.name);
    let meant = exact.map(|command| command.name);
    meant.or_else(|| near_miss(&word, names)).map(str::to_owned)
}

fn asked(what: String, meant: Option<String>) -> String {
    match meant {
        Some(meant) => format!("{what}; did you mean {}?", quoted(&meant)),
        None => what,
    }
}

/// A mapping from commands to new names; `{}` renames none. No message shows a new name.
pub(super) fn rename(
    line: usize,
    node: &Node,
) -> Result<Vec<(String, Option<Secret>)>, Vec<Mistake>> {
    let Value::Mapping(entries) = &node.value else {
        let wrong = match &node.value {
            Value::Scalar(text) if text.is_empty() => "has no value",
            _ => "must be a mapping",
        };
        let message = format!("{wrong}; accepted: {RENAME_ACCEPTED}");
        return Err(vec![Mistake::new(line, message)]);
    };
    let mut found: Vec<(String, Option<Secret>)> = Vec::with_capacity(entries.len());
    let mut lines = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (key, node) in entries {
        let named = old_name(key).and_then(|old| match lines.get(&old) {
            Some(first) => Err(format!(
                "{} is a duplicate; the first is on line {first}",
                quoted(&old)
            )),
            None => {
                lines.insert(old.clone(), key.line);
                let new = new_name(&old, node, &found)?;
                Ok((old, new))
            }
        });
        match named {
            Ok(named) => found.push(named),
            Err(wrong) => mistakes.push(Mistake::new(key.line, wrong)),
        }
    }
    match mistakes.is_empty() {
        true => Ok(found),
        false => Err(mistakes),
    }
}

fn old_name(key: &Node) -> Result<String, String> {
    let Value::Scalar(name) = &key.value else {
        return Err(super::resolve::KEY_NOT_TEXT.to_owned());
    };
    let name = name.to_ascii_lowercase();
    if command::lookup(name.as_bytes()).is_some() {
        return Ok(name);
    }
    let shown = quoted(&name);
    Err(match name.contains('|') {
        true => format!("{shown} is no command of its own: only whole commands have other names"),
        false => asked(
            format!("{shown} is no command of Redis; accepted: {RENAME_ACCEPTED}"),
            near_command(&name).filter(|meant| !meant.contains('|')),
        ),
    })
}

/// `found` are those before it.
fn new_name(
    old: &str,
    node: &Node,
    found: &[(String, Option<Secret>)],
) -> Result<Option<Secret>, String> {
    let shown = quoted(old);
    let Value::Scalar(name) = &node.value else {
        return Err(format!(
            "the new name of {shown} must be a single value; accepted: {RENAME_ACCEPTED}"
        ));
    };
    if name.is_empty() {
        return Ok(None);
    }
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) || name.len() > NAME_MAX {
        return Err(format!(
            "the new name of {shown} must be at most {NAME_MAX} letters, digits and signs of ASCII, \
             without spaces"
        ));
    }
    if command::lookup(name.as_bytes()).is_some() {
        return Err(format!(
            "the new name of {shown} is a command of Redis: {}",
            quoted(name)
        ));
    }
    let same = |(_, other): &&(String, Option<Secret>)| {
        (other.as_ref()).is_some_and(|Secret(other)| other.eq_ignore_ascii_case(name))
    };
    match found.iter().find(same) {
        Some((other, _)) => Err(format!(
            "the new name of {shown} is that of {} already",
            quoted(other)
        )),
        None => Ok(Some(Secret(name.clone()))),
    }
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
