//! CLIENT LIST, INFO, KILL and UNBLOCK: which clients are meant. Grammar and error texts are Redis' (`networking.c`).

use super::SYNTAX;
use crate::client::context::{After, Context, shown};
use crate::client::roster::{Filter, Kind, Question, USER, What};

/// `CLIENT LIST [TYPE type | ID id ...]`
pub(super) fn list(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    let filter = match listed(args.get(2..).unwrap_or_default()) {
        Ok(filter) => filter,
        Err(text) => return context.error(&text),
    };
    ask(context, What::List, filter)
}

pub(super) fn info(context: &mut Context<'_>) -> After {
    let ids = Some(vec![context.session.id]);
    let filter = Filter {
        ids,
        ..Filter::default()
    };
    ask(context, What::List, filter)
}

/// `CLIENT KILL address` or `CLIENT KILL option value ...`
pub(super) fn kill(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    if let [_, _, address] = args {
        let filter = Filter {
            address: Some((*address).into()),
            ..Filter::default()
        };
        return ask(context, What::KillOne, filter);
    }
    match killed(args.get(2..).unwrap_or_default()) {
        Ok(filter) => ask(context, What::Kill, filter),
        Err(text) => context.error(&text),
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`
pub(super) fn unblock(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    let is = |word: &[u8], reason: &[u8]| reason.eq_ignore_ascii_case(word);
    let with_error = match args.get(3..).unwrap_or_default() {
        [] => false,
        [reason] if is(b"timeout", reason) => false,
        [reason] if is(b"error", reason) => true,
        [_] => return context.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        _ => return context.error(SYNTAX),
    };
    let Some(id) = integer(args[2]) else {
        return context.error("ERR value is not an integer or out of range");
    };
    let filter = Filter {
        ids: Some(vec![id.try_into().unwrap_or(0)]),
        ..Filter::default()
    };
    ask(context, What::Unblock { with_error }, filter)
}

fn ask(context: &mut Context<'_>, what: What, filter: Filter) -> After {
    let question = Question {
        pool: context.pool,
        what,
        filter,
        asker: context.session.id,
        resp: context.session.resp,
    };
    context.ask_workers(question)
}

fn listed(options: &[&[u8]]) -> Result<Filter, String> {
    match options {
        [] => Ok(Filter::default()),
        [word, name] if word.eq_ignore_ascii_case(b"type") => Ok(Filter {
            kind: Some(kind(name)?),
            ..Filter::default()
        }),
        [word, ids @ ..] if word.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let ids = ids.iter().map(|id| integer(id));
            // What is no id of anybody is none of Redis' either.
            let ids: Option<Vec<u64>> = ids.map(|id| Some(id?.try_into().unwrap_or(0))).collect();
            let mut ids = ids.ok_or("ERR Invalid client ID")?;
            ids.sort_unstable();
            Ok(Filter {
                ids: Some(ids),
                ..Filter::default()
            })
        }
        _ => Err(SYNTAX.to_owned()),
    }
}

fn killed(options: &[&[u8]]) -> Result<Filter, String> {
    let mut filter = Filter {
        skips_asker: true,
        ..Filter::default()
    };
    let mut pairs = options.chunks_exact(2);
    for pair in &mut pairs {
        let (option, value) = (pair[0].to_ascii_lowercase(), pair[1]);
        match &option[..] {
            b"id" => {
                let id = integer(value).and_then(|id| u64::try_from(id).ok());
                let id = id.filter(|id| *id > 0);
                filter.ids = Some(vec![id.ok_or("ERR client-id should be greater than 0")?]);
            }
            b"addr" => filter.address = Some(value.into()),
            b"laddr" => filter.listening = Some(value.into()),
            b"type" => filter.kind = Some(kind(value)?),
            b"user" if value == USER.as_bytes() => {}
            b"user" => return Err(format!("ERR No such user '{}'", shown(value))),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.skips_asker = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.skips_asker = false,
            b"maxage" => {
                let age = integer(value).ok_or("ERR maxage is not an integer or out of range")?;
                if age <= 0 {
                    return Err("ERR maxage should be greater than 0".to_owned());
                }
                filter.age = u32::try_from(age).unwrap_or(u32::MAX);
            }
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    match pairs.remainder() {
        [] => Ok(filter),
        _ => Err(SYNTAX.to_owned()),
    }
}

fn kind(name: &[u8]) -> Result<Kind, String> {
    let unknown = || format!("ERR Unknown client type '{}'", shown(name));
    Kind::from_name(name).ok_or_else(unknown)
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&[u8]> {
        text.split_ascii_whitespace().map(str::as_bytes).collect()
    }

    #[test]
    fn what_is_no_filter_is_refused_in_the_words_of_redis() {
        for (options, error) in [
            ("TYPE", "ERR syntax error"),
            ("ID", "ERR syntax error"),
            ("TYPE normal x", "ERR syntax error"),
            ("TYPE x", "ERR Unknown client type 'x'"),
            ("ID 1 x", "ERR Invalid client ID"),
            ("ID 99999999999999999999", "ERR Invalid client ID"),
            ("NONSENSE x", "ERR syntax error"),
        ] {
            assert_eq!(listed(&words(options)).unwrap_err(), error, "{options}");
        }
        for (options, error) in [
            ("ID 0", "ERR client-id should be greater than 0"),
            ("ID x", "ERR client-id should be greater than 0"),
            ("ID 1 TYPE", "ERR syntax error"),
            ("TYPE x", "ERR Unknown client type 'x'"),
            ("USER somebody", "ERR No such user 'somebody'"),
            ("SKIPME maybe", "ERR syntax error"),
            ("MAXAGE 0", "ERR maxage should be greater than 0"),
            ("MAXAGE x", "ERR maxage is not an integer or out of range"),
            ("NONSENSE x", "ERR syntax error"),
        ] {
            assert_eq!(killed(&words(options)).unwrap_err(), error, "{options}");
        }
    }

    #[test]
    fn all_options_narrow_the_filter() {
        let filter = killed(&words(
            "id 7 ADDR 127.0.0.1:5 laddr /s:0 Type pubsub user default maxage 9 skipme no",
        ));
        let filter = filter.expect("a filter");
        assert_eq!(filter.ids, Some(vec![7]));
        assert_eq!(filter.address.as_deref(), Some(&b"127.0.0.1:5"[..]));
        assert_eq!(filter.listening.as_deref(), Some(&b"/s:0"[..]));
        assert_eq!((filter.kind, filter.age), (Some(Kind::Pubsub), 9));
        assert!(!filter.skips_asker);
        assert!(killed(&words("id 7 addr x")).expect("a filter").skips_asker);
        let ids = listed(&words("ID 9 -3 7")).expect("a filter").ids;
        assert_eq!(ids, Some(vec![0, 7, 9]));
    }
}
