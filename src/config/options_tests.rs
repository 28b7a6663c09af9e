//! The table of keys against itself: defaults, ranges and words are what it says they are.

use super::Commit;
use super::error::Refusal;
use super::options::{
    DATABASES, MILLISECONDS, NUMBER, NUMBER_NOT_ZERO, OPTIONS, OptionDoc, POLL, Rule, SIZE, TIMEOUT,
};
use super::settings::Settings;
use crate::distribution::Distribution;
use crate::hash::Hash;

fn set(settings: &mut Settings, option: &OptionDoc, value: &str) -> Result<(), Refusal> {
    match option.rule {
        Rule::Value(rule) | Rule::Secret(rule) => rule(settings, value),
        Rule::Listen | Rule::Servers | Rule::Nested(_) => {
            panic!("{} is not one value", option.name)
        }
    }
}

#[test]
fn documented_defaults_are_the_defaults() {
    for option in OPTIONS {
        match option.default {
            Some(default) => {
                assert_eq!(option.absent, "", "{}", option.name);
                let mut settings = Settings::default();
                set(&mut settings, option, default).unwrap();
                assert_eq!(
                    format!("{settings:?}"),
                    format!("{:?}", Settings::default()),
                    "{}",
                    option.name
                );
            }
            None => assert_ne!(option.absent, "", "{}", option.name),
        }
    }
}

#[test]
fn each_value_reaches_a_setting_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for option in OPTIONS {
        let value = match (option.name, option.default) {
            ("listen" | "servers" | "redis", _) => continue,
            _ if matches!(option.rule, Rule::Nested(_)) => continue,
            ("hash", _) => "md5",
            ("hash_tag", _) => "{}",
            ("distribution", _) => "random",
            ("commit", _) => "eager",
            ("slow_request_key", _) => "none",
            (_, Some("false")) => "true",
            (_, Some("1gb")) => "2000",
            _ => "7777",
        };
        let mut settings = Settings::default();
        set(&mut settings, option, value).unwrap();
        assert!(seen.insert(format!("{settings:?}")), "{}", option.name);
        assert!(!seen.contains(&format!("{:?}", Settings::default())));
    }
}

#[test]
fn documented_ranges_are_the_ranges() {
    for option in OPTIONS {
        let (Rule::Value(_), Some((low, rest))) =
            (&option.rule, option.accepted.split_once(" to "))
        else {
            continue;
        };
        let high = rest.split(';').next().unwrap();
        let mut settings = Settings::default();
        for value in [low, high] {
            set(&mut settings, option, value).unwrap();
        }
        let outside: &[&str] = match option.accepted {
            NUMBER | MILLISECONDS => &["-1", "2147483648", "99999999999999999999"],
            NUMBER_NOT_ZERO => &["0", "2147483648"],
            DATABASES => &["-1", "65536"],
            POLL => &["0", "99", "60001"],
            TIMEOUT => &["0", "60001"],
            SIZE => &["0", "1023", "1025gb", "99999999999999999999gb"],
            other => panic!("{}: untested range {other}", option.name),
        };
        for value in outside {
            set(&mut settings, option, value).unwrap_err();
        }
    }
}

#[test]
fn documented_words_are_the_words() {
    for (name, words) in [
        ("hash", Hash::ALL.map(Hash::name).join(", ")),
        (
            "distribution",
            Distribution::ALL.map(Distribution::name).join(", "),
        ),
        ("commit", Commit::ALL.map(Commit::name).join(", ")),
    ] {
        let option = OPTIONS.iter().find(|option| option.name == name).unwrap();
        assert_eq!(option.accepted, words);
    }
}
