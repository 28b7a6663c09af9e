//! Which arguments of a request are keys.
//!
//! The rules follow what each command's implementation in Redis reads as keys, where that differs
//! from `COMMAND GETKEYS` (a SORT whose STORE destination is called `limit`).

use super::{KeyPositions, KeysError, Numkeys};

/// How a command's keys are found among its arguments; argument 0 is the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    None,
    /// `first`, `first + step`, ... up to `last`; a negative `last` counts from the end, -1 being the
    /// last argument. The range must hold whole steps: MSET's keys each have a value.
    Range {
        first: u8,
        last: i8,
        step: u8,
    },
    /// Argument `at` is the number of keys that follow it, each `step` behind the one before;
    /// `destination` is a key before it.
    Numkeys {
        at: u8,
        destination: Option<u8>,
        step: u8,
        words: Numkeys,
    },
    /// As `Numkeys { at: 2 }`, for EVAL and its kin, which may have no key.
    Script(Numkeys),
    /// Argument 1, and the destination if the options name one.
    Store(&'static Store),
    /// XREAD's: after the word STREAMS, keys and then as many ids.
    Streams,
}

/// Options with which a command that otherwise reads writes its result to a second key.
#[derive(Debug, PartialEq, Eq)]
pub struct Store {
    /// The argument at which the options begin.
    pub options: u8,
    /// Options followed by the destination; the last one given counts.
    pub store: &'static [&'static str],
    /// Options followed by a pattern, from which the server makes names of keys that it looks up.
    pub patterns: &'static [&'static str],
    /// Other options with values, and how many: a value may look like an option.
    pub valued: &'static [(&'static str, u8)],
}

impl Store {
    /// The options of a request that have patterns, each with its pattern; `arguments` begin with the name.
    pub fn patterns_in<'a>(
        &self,
        arguments: impl Iterator<Item = &'a [u8]>,
    ) -> impl Iterator<Item = (&'static str, &'a [u8])> {
        let mut options = arguments.skip(self.options.into());
        std::iter::from_fn(move || {
            loop {
                let option = options.next()?;
                if let Some(name) = named(option, self.patterns) {
                    return Some((name, options.next()?));
                }
                let values = match named(option, self.store) {
                    Some(_) => 1,
                    None => values_of(option, self.valued).unwrap_or(0),
                };
                for _ in 0..values {
                    options.next()?;
                }
            }
        })
    }
}

/// Options of XREAD and XREADGROUP before STREAMS, and how many values each has.
const STREAM_OPTIONS: &[(&str, u8)] = &[
    ("block", 1),
    ("count", 1),
    ("group", 2),
    ("noack", 0),
    ("claim", 1),
    ("maxcount", 1),
    ("maxsize", 1),
];

impl Keys {
    /// See [`Command::keys`], which has checked the arity of the command called `name`.
    pub(super) fn positions<'a>(
        &self,
        name: &'static str,
        argc: usize,
        arg: impl FnMut(usize) -> &'a [u8],
    ) -> Result<KeyPositions, KeysError> {
        match *self {
            Self::None => Ok(KeyPositions::NONE),
            Self::Range { first, last, step } => {
                range(first.into(), last, step.into(), argc).ok_or(KeysError::Arity(name))
            }
            Self::Numkeys {
                at,
                destination,
                step,
                words,
            } => Ok(KeyPositions {
                extra: destination.map(usize::from),
                ..words.positions(name, at.into(), step.into(), argc, arg)?
            }),
            Self::Script(words) => words.positions(name, 2, 1, argc, arg),
            Self::Store(options) => {
                let extra = destination(options, argc, arg);
                Ok(KeyPositions {
                    extra,
                    patterns: !options.patterns.is_empty(),
                    ..KeyPositions::adjacent(1, 1)
                })
            }
            Self::Streams => streams(argc, arg),
        }
    }
}

/// `None` if the last step of the range is cut short. The arity must admit the range.
fn range(first: usize, last: i8, step: usize, argc: usize) -> Option<KeyPositions> {
    let offset = usize::from(last.unsigned_abs());
    let end = if last < 0 {
        argc - offset + 1
    } else {
        offset + 1
    };
    let arguments = end - first;
    arguments.is_multiple_of(step).then_some(KeyPositions {
        first,
        count: arguments / step,
        step,
        extra: None,
        patterns: false,
    })
}

fn destination<'a>(
    options: &Store,
    argc: usize,
    mut arg: impl FnMut(usize) -> &'a [u8],
) -> Option<usize> {
    let mut destination = None;
    let mut at = usize::from(options.options);
    while at < argc {
        let option = arg(at);
        if named(option, options.store).is_some() {
            at += 1;
            destination = (at < argc).then_some(at).or(destination);
        } else if named(option, options.patterns).is_some() {
            at += 1;
        } else {
            at += values_of(option, options.valued).unwrap_or(0);
        }
        at += 1;
    }
    destination
}

fn streams<'a>(
    argc: usize,
    mut arg: impl FnMut(usize) -> &'a [u8],
) -> Result<KeyPositions, KeysError> {
    let mut at = 1;
    while at < argc {
        let option = arg(at);
        at += 1;
        if option.eq_ignore_ascii_case(b"streams") {
            return match argc - at {
                0 => Err(KeysError::Syntax),
                keys_and_ids if keys_and_ids.is_multiple_of(2) => {
                    Ok(KeyPositions::adjacent(at, keys_and_ids / 2))
                }
                _ => Err(KeysError::UnbalancedStreams),
            };
        }
        at += values_of(option, STREAM_OPTIONS).ok_or(KeysError::Syntax)?;
    }
    Err(KeysError::Syntax)
}

/// Where the value of XREAD's option BLOCK is, `args` being all but the name.
pub(super) fn value_of_block<'a>(args: &mut impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let mut at = 1;
    while let Some(option) = args.next() {
        if option.eq_ignore_ascii_case(b"block") {
            return Some(at + 1);
        }
        // STREAMS is none of them.
        let values = values_of(option, STREAM_OPTIONS)?;
        if values > 0 {
            args.nth(values - 1)?;
        }
        at += 1 + values;
    }
    None
}

/// The one of `names` that `option` is.
fn named(option: &[u8], names: &'static [&'static str]) -> Option<&'static str> {
    let same = |name: &&&str| name.as_bytes().eq_ignore_ascii_case(option);
    names.iter().find(same).copied()
}

/// How many values follow `option`, if it is one of `options`.
fn values_of(option: &[u8], options: &[(&str, u8)]) -> Option<usize> {
    let named = options
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(option));
    named.map(|&(_, values)| values.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::protocol::redis::command::{Command, all, lookup};

    use super::*;

    fn keys(request: &str) -> Result<Vec<usize>, String> {
        let args: Vec<_> = request.split(' ').map(str::as_bytes).collect();
        let command = lookup(args[0]).unwrap().resolve(args.get(1).copied());
        let found = command.unwrap().keys(args.len(), |i| args[i]);
        found
            .map(|keys| keys.iter().collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn positions_of_the_tricky_commands() {
        for (request, expected) in [
            ("set k v ex 10", &[1][..]),
            ("rename a b", &[1, 2]),
            ("del a b c", &[1, 2, 3]),
            ("mset a 1 b 2", &[1, 3]),
            ("bitop and d a b", &[2, 3, 4]),
            ("ZUNIONSTORE d 2 a b weights 1 2", &[1, 3, 4]),
            ("zunion 2 a b withscores", &[2, 3]),
            ("lmpop 1 a left", &[2]),
            ("eval script 2 a b c", &[3, 4]),
            ("fcall_ro f 1 a", &[3]),
            ("EVALSHA sha 0 a", &[]),
            ("msetex 2 a 1 b 2 nx", &[2, 4]),
            ("json.mget a b $", &[1, 2]),
            ("json.mset a $ 1 b $ 2", &[1, 4]),
            ("ts.createrule a b aggregation avg 1", &[1, 2]),
            ("tdigest.merge d 2 a b override", &[1, 3, 4]),
            ("sort k", &[1]),
            ("sort k by w_* limit 0 5 get # STORE d", &[1, 10]),
            ("sort k by store get store store d", &[1, 7]),
            ("sort k store limit", &[1, 3]),
            ("sort k limit 0 store d", &[1]),
            ("georadius k 1 2 store m", &[1]),
            ("sort k store a store b", &[1, 5]),
            ("sort k store", &[1]),
            ("sort_ro k by store get store", &[1]),
            ("georadius k 1 2 3 m", &[1]),
            ("georadius k 1 2 3 m count 2 any store d", &[1, 10]),
            ("georadiusbymember k store 3 m storedist d", &[1, 6]),
            ("xread streams a 0", &[2]),
            ("xread count 2 STREAMS streams block 0 $", &[4, 5]),
            (
                "xreadgroup group streams block count 1 noack streams a >",
                &[8],
            ),
            ("xread BLOCK 0 streams a 0", &[4]),
            ("blpop a b 0", &[1, 2]),
            ("blmove a b left right 0", &[1, 2]),
            ("blmpop 0 2 a b left", &[3, 4]),
            ("xreadgroup group g c claim 5 streams a b > >", &[7, 8]),
            ("object ENCODING k", &[2]),
            ("memory usage k samples 5", &[2]),
            ("xgroup create k g $ mkstream", &[2]),
        ] {
            assert_eq!(keys(request).as_deref(), Ok(expected), "{request}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (request, expected) in [
            (
                "mset a 1 b",
                "ERR wrong number of arguments for 'mset' command",
            ),
            (
                "msetnx a 1 b",
                "ERR wrong number of arguments for 'msetnx' command",
            ),
            ("zunion x a", "ERR value is not an integer or out of range"),
            (
                "zunion 99999999999999999999 a",
                "ERR value is not an integer or out of range",
            ),
            ("lmpop x a left", "ERR numkeys should be greater than 0"),
            ("blmpop 1 0 a left", "ERR numkeys should be greater than 0"),
            ("lmpop 3 a left", "ERR syntax error"),
            ("sintercard x a", "ERR numkeys should be greater than 0"),
            (
                "zinter 0 a",
                "ERR at least 1 input key is needed for 'zinter' command",
            ),
            ("eval script -1 a", "ERR Number of keys can't be negative"),
            ("fcall f -1 a", "ERR Number of keys can't be negative"),
            ("fcall f x a", "ERR Bad number of keys provided"),
            (
                "sintercard 2 a",
                "ERR Number of keys can't be greater than number of args",
            ),
            (
                "eval s 9223372036854775807 a",
                "ERR Number of keys can't be greater than number of args",
            ),
            ("zunionstore d 9223372036854775807 a", "ERR syntax error"),
            ("msetex 0 a 1", "ERR numkeys should be greater than 0"),
            (
                "msetex 2 a 1 b",
                "ERR Number of keys can't be greater than number of args",
            ),
            (
                "json.mset a $ 1 b $",
                "ERR wrong number of arguments for 'json.mset' command",
            ),
            ("xread count 1 a 0", "ERR syntax error"),
            ("xread count 1 streams", "ERR syntax error"),
            ("xread count 1 count", "ERR syntax error"),
            (
                "xread streams a b 0",
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
            ),
            (
                "object freq",
                "ERR wrong number of arguments for 'object|freq' command",
            ),
        ] {
            assert_eq!(keys(request), Err(expected.to_owned()), "{request}");
        }
    }

    #[test]
    fn the_foremost_key_is_the_destination_where_that_comes_first() {
        let first = |request: &str| {
            let args: Vec<_> = request.split(' ').map(str::as_bytes).collect();
            lookup(args[0])
                .unwrap()
                .keys(args.len(), |i| args[i])
                .unwrap()
                .first()
        };
        assert_eq!(first("zunionstore d 1 a"), Some(1));
        assert_eq!(first("sort k store d"), Some(1));
        assert_eq!(first("zunion 1 a"), Some(2));
    }

    #[test]
    fn patterns_are_found_among_the_options() {
        let patterns = |request: &str| {
            let args: Vec<_> = request.split(' ').map(str::as_bytes).collect();
            let command = lookup(args[0]).unwrap();
            let Keys::Store(options) = command.keys else {
                panic!("{request}")
            };
            assert!(command.keys(args.len(), |i| args[i]).unwrap().may_stray());
            options
                .patterns_in(args.iter().copied())
                .map(|(name, pattern)| format!("{name} {}", pattern.escape_ascii()))
                .collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(patterns("sort k"), none);
        assert_eq!(patterns("sort by limit by get store get desc"), none);
        assert_eq!(patterns("sort k get"), none);
        assert_eq!(patterns("sort k limit 0"), none);
        assert_eq!(
            patterns("sort k BY by asc Get get limit get get get # store by by *"),
            ["by by", "get get", "get #", "by *"]
        );
        assert_eq!(patterns("sort_ro k alpha by w_*->f"), ["by w_*->f"]);
    }

    #[test]
    fn step_leads_from_key_to_key() {
        let mset = lookup(b"mset").unwrap().keys(5, |_| b"").unwrap();
        assert_eq!((mset.first(), mset.len(), mset.step()), (Some(1), 2, 2));
    }

    fn argument() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "store",
            "STOREDIST",
            "limit",
            "get",
            "by",
            "count",
            "streams",
            "STREAMS",
            "block",
            "group",
            "noack",
            "0",
            "1",
            "2",
            "3",
            "-1",
            "18446744073709551616",
            "encoding",
            "USAGE",
            "create",
            "help",
            "",
        ];
        prop_oneof![
            4 => prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..6),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_request_gets_keys_inside_it_or_an_error(args in prop::collection::vec(argument(), 0..12)) {
            for command in all() {
                let mut next = 0;
                let found = command.keys(args.len(), |i| {
                    assert!(i >= next, "{}: argument {i} after {next}", command.name);
                    next = i + 1;
                    &args[i]
                });
                let Ok(found) = found else { continue };
                let positions: Vec<_> = found.iter().collect();
                prop_assert!(positions.is_sorted_by(|a, b| a < b), "{} {:?}", command.name, positions);
                prop_assert!(positions.iter().all(|&i| (1..args.len()).contains(&i)));
                prop_assert_eq!((positions.len(), positions.first().copied()), (found.len(), found.first()));
                prop_assert!(command.keys != Keys::None || found.is_empty(), "{}", command.name);
                let may_lack = matches!(command.keys, Keys::None | Keys::Script(_));
                prop_assert!(may_lack || !found.is_empty(), "{}", command.name);
            }
        }

        /// Without the commands that read every argument, which would take forever.
        #[test]
        fn any_number_of_arguments_is_safe(argc: usize, word in argument()) {
            let scans = |command: &&Command| matches!(command.keys, Keys::Store(_) | Keys::Streams);
            for command in all().iter().filter(|command| !scans(command)) {
                let count = command.keys(argc, |_| &word).map_or(0, |keys| keys.len());
                prop_assert!(count < argc.max(1), "{}: {count} keys", command.name);
            }
        }
    }
}
