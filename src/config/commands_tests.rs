use super::*;
use crate::protocol::redis::command::{Access, Course, Told, Vocabulary};

fn rules(deny: &[&str], allow: &[&str], rename: &[(&str, &str)]) -> CommandRules {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let secret = |new: &str| (!new.is_empty()).then(|| Secret(new.to_owned()));
    let rename = rename
        .iter()
        .map(|(old, new)| ((*old).to_owned(), secret(new)));
    CommandRules::new(words(deny), words(allow), rename.collect())
}

fn denial(rules: &CommandRules, name: &str) -> Option<Denial> {
    let command = command::every().find(|command| command.name == name);
    rules
        .rules()
        .expect("there are some")
        .denial(command.expect(name))
}

fn find(rules: &CommandRules, name: &str) -> String {
    match rules.rules().expect("there are some").find(name.as_bytes()) {
        Found::Unknown => "unknown".to_owned(),
        Found::Known(command) => command.name.to_owned(),
        Found::Renamed(command) => format!("renamed {}", command.name),
    }
}

#[test]
fn no_rules_are_none() {
    assert_eq!(rules(&[], &[], &[]).rules(), None);
    assert_eq!(CommandRules::default(), rules(&[], &[], &[]));
}

#[test]
fn lists_name_commands_sub_commands_and_categories() {
    let denies = rules(&["get", "object", "xinfo|stream", "@bitmap"], &[], &[]);
    for (name, denied) in [
        ("get", true),
        ("getdel", false),
        ("object|encoding", true),
        ("xinfo|stream", true),
        ("xinfo|groups", false),
        ("setbit", true),
    ] {
        let expected = denied.then_some(Denial::Denied);
        assert_eq!(denial(&denies, name), expected, "{name}");
    }
}

#[test]
fn lists_may_name_commands_of_modules_that_are_not_known() {
    for (word, accepted) in [
        ("words.get", true),
        ("words.get|part", true),
        ("json.get", true),
        ("json.gett", false),
        ("words.", false),
        ("wo rds.get", false),
        ("words", false),
    ] {
        assert_eq!(unknown(word).is_none(), accepted, "{word}");
    }
}

#[test]
fn learned_commands_are_judged_by_the_lists() {
    let told = |name: &str, access| Told {
        name: name.to_owned(),
        arity: 2,
        access,
        course: Course::Keys {
            first: 1,
            last: 1,
            step: 1,
        },
    };
    let told = [told("w.get", Access::Read), told("w.set", Access::Write)];
    let learned = Vocabulary::default().join([&told[..]]);
    let denials = |deny: &[&str], allow: &[&str]| {
        let rules = rules(deny, allow, &[]);
        let rules = rules.rules().expect("there are some");
        [&b"w.get"[..], b"W.SET"].map(|name| rules.denial(learned.find(name).expect("it was told")))
    };
    let (denied, not_allowed) = (Some(Denial::Denied), Some(Denial::NotAllowed));
    assert_eq!(denials(&["get"], &[]), [None, None]);
    assert_eq!(denials(&["w.set"], &[]), [None, denied]);
    assert_eq!(denials(&["@read"], &[]), [denied, None]);
    assert_eq!(denials(&[], &["get"]), [not_allowed, not_allowed]);
    assert_eq!(denials(&[], &["w.get", "@string"]), [None, not_allowed]);
    assert_eq!(denials(&["@write"], &["@all"]), [None, denied]);
}

#[test]
fn only_what_is_allowed_and_not_denied_is_left() {
    let both = rules(&["@write", "ping"], &["@hash", "@connection"], &[]);
    for (name, expected) in [
        ("hget", None),
        ("hset", Some(Denial::Denied)),
        ("set", Some(Denial::Denied)),
        ("get", Some(Denial::NotAllowed)),
        ("echo", None),
        ("ping", Some(Denial::Denied)),
    ] {
        assert_eq!(denial(&both, name), expected, "{name}");
    }
    // What Redis flags as CMD_NO_AUTH.
    for needed in ["auth", "hello", "quit", "reset"] {
        assert_eq!(denial(&both, needed), None);
        assert_eq!(denial(&rules(&["@all"], &[], &[]), needed), None);
        assert_eq!(denial(&rules(&[], &["get"], &[]), needed), None);
    }
}

#[test]
fn a_command_has_its_new_name_only() {
    let names = rules(&[], &[], &[("flushall", "Empty"), ("keys", "")]);
    for (name, found) in [
        ("flushall", "unknown"),
        ("FlushAll", "unknown"),
        ("empty", "renamed flushall"),
        ("EMPTY", "renamed flushall"),
        ("keys", "unknown"),
        ("get", "get"),
        ("GET", "get"),
        ("nope", "unknown"),
        (&"n".repeat(NAME_MAX + 1), "unknown"),
    ] {
        assert_eq!(find(&names, name), found, "{name}");
    }
    assert_eq!(find(&rules(&["get"], &[], &[]), "GET"), "get");
}
