//! `key_groups`: keys that are placed together although no hash tag says so.
//!
//! Some libraries use several keys in one transaction or script and cannot be told to tag them.

use std::collections::BTreeMap;
use std::fmt;

use super::error::quoted;
use super::file::{Node, Value};
use super::sentinel::Mistake;
use super::value;

pub(super) const ACCEPTED: &str = "a mapping from group names to lists of prefixes, such as \
                                   {rq: [\"rq:\"]}, at most 64 groups and 256 prefixes";

const GROUPS_MAX: usize = 64;
const PREFIXES_MAX: usize = 256;

/// Equal ones place every key alike. At least one group, each with at least one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGroups {
    /// Each group's prefixes, ascending.
    groups: BTreeMap<String, Vec<String>>,
    /// Each prefix with its group's name: by first byte, then the longest first.
    prefixes: Box<[(String, String)]>,
    /// Prefixes that begin with the byte `b` are those from `starts[b]` to `starts[b + 1]`.
    starts: Box<[u16; 257]>,
}

impl KeyGroups {
    /// `groups` has no empty prefix and none twice.
    fn new(mut groups: BTreeMap<String, Vec<String>>) -> KeyGroups {
        groups.values_mut().for_each(|prefixes| prefixes.sort());
        let of = |(name, prefixes): (&String, &Vec<String>)| {
            let pairs = prefixes.iter().map(|prefix| (prefix.clone(), name.clone()));
            pairs.collect::<Vec<_>>()
        };
        let mut prefixes: Vec<(String, String)> = groups.iter().flat_map(of).collect();
        prefixes.sort_by_key(|(prefix, _)| (prefix.as_bytes()[0], usize::MAX - prefix.len()));
        let starts = std::array::from_fn(|byte| {
            let before = |(prefix, _): &(String, String)| usize::from(prefix.as_bytes()[0]) < byte;
            u16::try_from(prefixes.partition_point(before)).expect("there are few")
        });
        KeyGroups {
            groups,
            prefixes: prefixes.into(),
            starts: Box::new(starts),
        }
    }

    /// The name of the group that `key` belongs to: that of the longest prefix it begins with.
    pub fn group_of(&self, key: &[u8]) -> Option<&str> {
        let first = usize::from(*key.first()?);
        let [start, end] = [first, first + 1].map(|byte| usize::from(self.starts[byte]));
        let mut candidates = self.prefixes[start..end].iter();
        let (_, name) = candidates.find(|(prefix, _)| key.starts_with(prefix.as_bytes()))?;
        Some(name)
    }

    /// Is there a prefix that keys may have which begin with `start`, though `start` itself has it not?
    pub fn may_follow(&self, start: &[u8]) -> bool {
        let mut prefixes = self.prefixes().map(str::as_bytes);
        prefixes.any(|prefix| prefix.len() > start.len() && prefix.starts_with(start))
    }

    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.prefixes.iter().map(|(prefix, _)| prefix.as_str())
    }

    /// By name.
    pub fn groups(&self) -> &BTreeMap<String, Vec<String>> {
        &self.groups
    }
}

/// One line, such as `rq: ["rq:"], celery: ["_kombu.", "celery"]`.
impl fmt::Display for KeyGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups.iter();
        let groups =
            groups.map(|(name, prefixes)| format!("{}: {prefixes:?}", name.escape_debug()));
        f.write_str(&groups.collect::<Vec<_>>().join(", "))
    }
}

/// A mapping from names to lists of prefixes; `{}` has no groups. `line` is the key's.
pub(super) fn read(line: usize, node: &Node) -> Result<Option<Box<KeyGroups>>, Vec<Mistake>> {
    let Value::Mapping(entries) = &node.value else {
        let wrong = match &node.value {
            Value::Scalar(text) if text.is_empty() => "has no value",
            _ => "must be a mapping",
        };
        let message = format!("{wrong}; accepted: {ACCEPTED}");
        return Err(vec![Mistake::new(line, message)]);
    };
    let mut reader = Reader::default();
    for (key, node) in entries {
        if let Err(wrong) = reader.group(key, node) {
            reader.mistakes.push(Mistake::new(key.line, wrong));
        }
    }
    if reader.groups.len() > GROUPS_MAX {
        let message = format!("has more than {GROUPS_MAX} groups");
        reader.mistakes.push(Mistake::new(line, message));
    }
    if reader.owners.len() > PREFIXES_MAX {
        let message = format!("has more than {PREFIXES_MAX} prefixes");
        reader.mistakes.push(Mistake::new(line, message));
    }
    match reader.mistakes.is_empty() {
        true if reader.groups.is_empty() => Ok(None),
        true => Ok(Some(Box::new(KeyGroups::new(reader.groups)))),
        false => Err(reader.mistakes),
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    groups: BTreeMap<String, Vec<String>>,
    /// The lines of the groups' names.
    lines: BTreeMap<String, usize>,
    /// Of prefixes, their groups.
    owners: BTreeMap<String, String>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// An error is about the group as a whole; those of its prefixes have lines of their own.
    fn group(&mut self, key: &Node, node: &Node) -> Result<(), String> {
        let Value::Scalar(name) = &key.value else {
            return Err(super::resolve::KEY_NOT_TEXT.to_owned());
        };
        if name.is_empty() {
            return Err(format!("a group has no name; accepted: {ACCEPTED}"));
        }
        let shown = quoted(name);
        if let Some(first) = self.lines.get(name) {
            return Err(format!(
                "{shown} is a duplicate; the first is on line {first}"
            ));
        }
        self.lines.insert(name.clone(), key.line);
        let entries = value::list(node, "prefix")
            .map_err(|wrong| format!("group {shown}: {wrong}; accepted: {ACCEPTED}"))?;
        let mut prefixes = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.prefix(name, entry) {
                Ok(prefix) => prefixes.push(prefix),
                Err(wrong) => {
                    let message = format!("group {shown}: {wrong}");
                    self.mistakes.push(Mistake::new(entry.line, message));
                }
            }
        }
        self.groups.insert(name.clone(), prefixes);
        Ok(())
    }

    fn prefix(&mut self, group: &str, entry: &Node) -> Result<String, String> {
        let prefix = match &entry.value {
            Value::Scalar(prefix) if prefix.is_empty() => {
                return Err("a prefix is empty, with which every key begins".to_owned());
            }
            Value::Scalar(prefix) => prefix,
            // As `rq:` is without quotes.
            Value::Sequence(_) | Value::Mapping(_) => {
                return Err(
                    "a prefix must be a single value; one that ends with ':' has to be in quotes"
                        .to_owned(),
                );
            }
        };
        match self.owners.get(prefix) {
            Some(owner) if owner == group => Err(format!("{} is there twice", quoted(prefix))),
            Some(owner) => Err(format!(
                "{} is a prefix of group {} already",
                quoted(prefix),
                quoted(owner)
            )),
            None => {
                self.owners.insert(prefix.clone(), group.to_owned());
                Ok(prefix.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ConfigErrors, parse};
    use super::*;

    fn loaded(value: &str) -> Result<Option<Box<KeyGroups>>, ConfigErrors> {
        let text = format!(
            "p:\n  listen: 127.0.0.1:1\n  redis: true\n  servers: [h:1:1]\n  key_groups: {value}\n"
        );
        let loaded = parse(&text, "f")?;
        Ok(loaded.config.pools[0].key_groups.clone())
    }

    fn groups(value: &str) -> KeyGroups {
        *loaded(value).expect(value).expect("there are groups")
    }

    #[test]
    fn the_longest_prefix_decides() {
        let groups = groups("{a: [x, 'xyz:'], b: [xy], é: ['é', 'ÿ']}");
        for (key, group) in [
            ("x", Some("a")),
            ("x:1", Some("a")),
            ("xy", Some("b")),
            ("xyz", Some("b")),
            ("xyz:", Some("a")),
            ("xyz:{tag}", Some("a")),
            ("é1", Some("é")),
            ("ÿ", Some("é")),
            ("", None),
            ("a", None),
            ("{x}", None),
            ("X", None),
        ] {
            assert_eq!(groups.group_of(key.as_bytes()), group, "{key}");
        }
        // The first byte of both letters, and the last one there is.
        assert_eq!(groups.group_of(b"\xc3"), None);
        assert_eq!(groups.group_of(b"\xff"), None);
    }

    #[test]
    fn order_means_nothing_and_no_groups_are_none() {
        let one = groups("{rq: ['rq:'], celery: [celery, _kombu.]}");
        assert_eq!(one, groups("{celery: [_kombu., celery], rq: ['rq:']}"));
        assert_ne!(one, groups("{celery: [_kombu.], rq: ['rq:', celery]}"));
        assert_eq!(
            one.to_string(),
            "celery: [\"_kombu.\", \"celery\"], rq: [\"rq:\"]"
        );
        assert_eq!(loaded("{}").unwrap(), None);
    }

    #[test]
    fn there_are_bounds() {
        let groups = |count: usize, prefixes: usize| {
            let group = |n| {
                let prefixes = (0..prefixes).map(|m| format!("{n}.{m}."));
                format!("g{n}: [{}]", prefixes.collect::<Vec<_>>().join(", "))
            };
            let groups = (0..count).map(group).collect::<Vec<_>>().join(", ");
            loaded(&format!("{{{groups}}}"))
        };
        assert_eq!(groups(64, 4).unwrap().unwrap().prefixes().count(), 256);
        for (count, prefixes, wrong) in [(65, 1, "64 groups"), (1, 257, "256 prefixes")] {
            let errors = groups(count, prefixes).unwrap_err().to_string();
            assert_eq!(
                errors,
                format!("f:5: pool 'p': key_groups: has more than {wrong}")
            );
        }
    }

    proptest! {
        #[test]
        fn a_key_is_found_as_by_trying_all(
            prefixes in prop::collection::btree_map("[ab\u{e9}]{1,4}", 0..3u8, 1..12),
            key in "[abc\u{e9}]{0,6}",
        ) {
            let mut by_group: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (prefix, group) in &prefixes {
                by_group.entry(group.to_string()).or_default().push(prefix.clone());
            }
            let matching = prefixes.iter().filter(|(prefix, _)| key.starts_with(*prefix));
            let longest = matching.max_by_key(|(prefix, _)| prefix.len());
            let expected = longest.map(|(_, group)| group.to_string());
            let groups = KeyGroups::new(by_group);
            prop_assert_eq!(groups.group_of(key.as_bytes()), expected.as_deref());
        }
    }
}
