//! What is wrong with a command line, in nutcracker's words where it has them.

use clap::ArgAction;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Why a command line cannot be followed.
#[derive(Debug)]
pub enum Mistake {
    /// Not a mistake: the help of a sub-command was asked for.
    HelpWanted(String),
    /// One line, without the program's name.
    Wrong(String),
}

impl Mistake {
    pub(super) fn new(command: &clap::Command, error: clap::Error) -> Mistake {
        if error.kind() == ErrorKind::DisplayHelp {
            return Mistake::HelpWanted(error.render().to_string());
        }
        Mistake::Wrong(wording(command, &error))
    }
}

/// nutcracker's words (`nc.c`, `nc_get_options`) for what getopt refuses, else clap's first line.
fn wording(command: &clap::Command, error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg);
    match (error.kind(), argument) {
        (ErrorKind::ValueValidation, _) => {
            if let Some(reason) = std::error::Error::source(error) {
                return reason.to_string();
            }
        }
        (ErrorKind::InvalidValue, Some(argument)) => {
            if let Some(given) = text(ContextKind::InvalidValue).filter(|given| !given.is_empty()) {
                return invalid_value(argument, given, error);
            }
            if let Some(option) = find_option(command, argument) {
                return missing_value(option);
            }
        }
        (ErrorKind::UnknownArgument, Some(argument)) => {
            return unknown_argument(argument, text(ContextKind::SuggestedArg));
        }
        (ErrorKind::MissingRequiredArgument, _) => {
            if let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) {
                return missing_arguments(missing);
            }
        }
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            return "a sub-command is missing".to_owned();
        }
        (ErrorKind::InvalidSubcommand, _) => {
            let given = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            let meant = match error.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(known)) => known.first().map(String::as_str),
                _ => None,
            };
            return unknown_argument(given, meant);
        }
        _ => {}
    }
    let rendered = error.render().to_string();
    let first = rendered.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

/// The name that `wanted` is a slip of the pen away from.
pub(super) fn nearest<'n>(wanted: &str, names: &[&'n str]) -> Option<&'n str> {
    let near = names
        .iter()
        .map(|&name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|&(distance, name)| distance <= (name.len() / 3).max(1))
        .min();
    near.map(|(_, name)| name)
}

fn missing_arguments(missing: &[String]) -> String {
    match missing {
        // The one option that requires another.
        [option] if option == "--test-conf" => {
            "option --live goes with -t (--test-conf) only".to_owned()
        }
        _ => format!("{} is missing", missing.join(", ")),
    }
}

fn invalid_value(argument: &str, given: &str, error: &clap::Error) -> String {
    let accepted = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("; accepted: {}", values.join(", ")),
        _ => String::new(),
    };
    format!("'{given}' is not a valid {argument}{accepted}")
}

fn unknown_argument(given: &str, meant: Option<&str>) -> String {
    let meant = match meant {
        Some(meant) => format!(", did you mean '{meant}'?"),
        None => String::new(),
    };
    match given.strip_prefix('-') {
        Some(long) if long.starts_with('-') => format!("invalid option '{given}'{meant}"),
        Some(short) => format!("invalid option -- '{short}'"),
        None => format!("unexpected argument '{given}'{meant}"),
    }
}

/// The option that clap shows as `shown`, for instance `--conf-file <FILE>`.
fn find_option<'c>(command: &'c clap::Command, shown: &str) -> Option<&'c clap::Arg> {
    let mut below = command.get_subcommands();
    command
        .get_arguments()
        .find(|argument| argument.to_string() == shown)
        .or_else(|| below.find_map(|command| find_option(command, shown)))
}

fn missing_value(option: &clap::Arg) -> String {
    debug_assert!(matches!(option.get_action(), ArgAction::Set));
    let name = match (option.get_short(), option.get_long()) {
        (Some(short), _) => format!("-{short}"),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => option.get_id().to_string(),
    };
    let value_name = option.get_value_names().and_then(<[_]>::first);
    let wanted = match value_name.map(clap::builder::Str::as_str) {
        Some("FILE") => "a file name",
        Some("DIR") => "a directory",
        Some("N" | "MS") => "a number",
        Some("BYTES") => "a non-zero number",
        Some("SIZE") => "a size",
        _ => "a string",
    };
    format!("option {name} requires {wanted}")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::arguments::parse;

    fn mistake(line: &str) -> String {
        let arguments = std::iter::once("nuthatch").chain(line.split(' '));
        match parse(arguments.map(OsString::from)) {
            Err(Mistake::Wrong(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn mistakes_have_nutcrackers_words() {
        for (line, words) in [
            ("-v", "option -v requires a number"),
            ("-v x", "option -v requires a number"),
            ("-v -5", "option -v requires a number"),
            ("--verbose=", "option -v requires a number"),
            ("-s", "option -s requires a number"),
            ("-s 1x", "option -s requires a number"),
            ("-s 0", "option -s value 0 is not a valid port"),
            ("-s 65536", "option -s value 65536 is not a valid port"),
            ("-i x", "option -i requires a number"),
            ("-m x", "option -m requires a non-zero number"),
            ("-m", "option -m requires a non-zero number"),
            ("-m 0", "option -m requires a non-zero number"),
            (
                "-m 511",
                "mbuf chunk size must be between 512 and 16777216 bytes",
            ),
            (
                "-m 16777217",
                "mbuf chunk size must be between 512 and 16777216 bytes",
            ),
            ("-c", "option -c requires a file name"),
            ("-o", "option -o requires a file name"),
            ("-p", "option -p requires a file name"),
            ("-a", "option -a requires a string"),
            ("-z", "invalid option -- 'z'"),
            (
                "--verbos3",
                "invalid option '--verbos3', did you mean '--verbose'?",
            ),
            (
                "lokate",
                "unexpected argument 'lokate', did you mean 'locate'?",
            ),
            (
                "--workers 0",
                "option --workers value 0 is not between 1 and 1024",
            ),
            ("--workers", "option --workers requires a number"),
            ("--live", "option --live goes with -t (--test-conf) only"),
            ("plan", "--from <FILE>, --to <FILE> is missing"),
            ("plan --from a", "--to <FILE> is missing"),
            ("plan --from", "option --from requires a file name"),
            (
                "plan --from a --to b --format xml",
                "option --format value 'xml' is neither text nor json",
            ),
            ("locate -c", "option -c requires a file name"),
            ("locate --pool", "option --pool requires a string"),
            (
                "generate completions tcsh",
                "'tcsh' is not a valid <SHELL>; accepted: bash,",
            ),
            ("generate completions", "<SHELL> is missing"),
            ("generate man", "--out <DIR> is missing"),
            ("generate man --out", "option --out requires a directory"),
            ("generate", "a sub-command is missing"),
        ] {
            let text = mistake(line);
            assert!(text.starts_with(words), "{line}: {text}");
        }
    }
}
