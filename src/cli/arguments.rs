//! The command line as written: nutcracker's options and ours.
//!
//! One entry per option feeds the parser and the help; sub-commands have theirs in `commands.rs`. What the
//! options do is `app`'s and the sub-commands' business; `mistake.rs` words what is wrong with them.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::commands::Command;
use super::mistake::Mistake;
use crate::app::{Level, LogFormat};

pub const PROGRAM: &str = "nuthatch";

/// Takes every option that nutcracker takes, with nutcracker's defaults but for `--stats-addr`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = PROGRAM,
    bin_name = PROGRAM,
    about = "A sharding proxy for Redis that drops in for twemproxy",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    infer_long_args = true,
    override_usage = "nuthatch [OPTIONS]\n       nuthatch locate [OPTIONS] [KEY]...\n       nuthatch plan --from OLD --to NEW [OPTIONS]\n       nuthatch sentinel [OPTIONS]\n       nuthatch reload [OPTIONS]\n       nuthatch generate completions|man [OPTIONS]",
    after_help = AFTER_HELP
)]
pub struct Arguments {
    /// Print this help and exit
    #[arg(short = 'h', long)]
    pub help: bool,

    /// Print the version and exit
    #[arg(short = 'V', long)]
    pub version: bool,

    /// Check the configuration file, print every mistake in it with its reason, and exit
    #[arg(short = 't', long)]
    pub test_conf: bool,

    /// With -t: also ask the sentinels and servers in the file now, print every problem with what to do
    /// about it
    #[arg(long, requires = "test_conf")]
    pub live: bool,

    /// Run as a daemon; returns once clients can connect, or with the reason why they cannot
    #[arg(short = 'd', long)]
    pub daemonize: bool,

    /// Print the names and meanings of all counters and exit
    #[arg(short = 'D', long)]
    pub describe_stats: bool,

    /// Log level from 0 to 11: 0 start and end only, 1-3 errors, 4 warnings, 5-6 notices, 7 debug, 8-11
    /// trace
    #[arg(
        short = 'v', long, value_name = "N", default_value = "5",
        allow_negative_numbers = true,
        value_parser = |text: &str| number("-v", text).map(Level::clamped),
    )]
    pub verbose: Level,

    /// Log file, appended to; without it (or with an empty name) standard error
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<OsString>,

    /// Form of log lines: human, or json with one object per line
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser = log_format)]
    pub log_format: LogFormat,

    /// Configuration file
    #[arg(
        short = 'c',
        long,
        value_name = "FILE",
        default_value = "conf/nutcracker.yml"
    )]
    pub conf_file: PathBuf,

    /// Read the configuration again whenever its file has changed
    #[arg(long)]
    pub watch: bool,

    /// Port of the statistics listener
    #[arg(
        short = 's', long, value_name = "N", default_value = "22222",
        allow_negative_numbers = true, value_parser = stats_port,
    )]
    pub stats_port: u16,

    /// Address of the statistics listener; nutcracker's default, 0.0.0.0, shows them to everyone
    #[arg(short = 'a', long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub stats_addr: String,

    /// Accepted for nutcracker's sake, without effect: statistics are always current
    #[arg(
        short = 'i', long, value_name = "MS", default_value = "30000",
        allow_negative_numbers = true, value_parser = |text: &str| number("-i", text),
    )]
    pub stats_interval: u64,

    /// File to write the process id to, with and without --daemonize; removed at the end
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Accepted for nutcracker's sake (512 to 16777216), without effect: buffers grow and shrink with
    /// need
    #[arg(
        short = 'm', long, value_name = "BYTES",
        allow_negative_numbers = true, value_parser = mbuf_size,
    )]
    pub mbuf_size: Option<u64>,

    /// Worker threads [default: half the processor's cores, at least 1]
    #[arg(
        long, value_name = "N",
        allow_negative_numbers = true, value_parser = workers,
    )]
    pub workers: Option<NonZeroUsize>,

    /// Memory that all requests and replies in flight may take, in bytes or as 512M, 4G (powers of
    /// 1024) [default: half the memory of the machine or control group, at least 256M]
    #[arg(
        long, value_name = "SIZE",
        allow_negative_numbers = true, value_parser = memory_size,
    )]
    pub max_memory: Option<usize>,

    /// How long requests in flight may take to finish after SIGTERM or SIGINT
    #[arg(
        long, value_name = "MS", default_value = "5000",
        allow_negative_numbers = true, value_parser = |text: &str| number("--shutdown-timeout", text),
    )]
    pub shutdown_timeout: u64,

    /// Take over the listening sockets of the process that has this path, without a refused connection,
    /// and hand them to the next one; the same on every start
    #[arg(long, value_name = "PATH")]
    pub handover: Option<PathBuf>,

    /// How long clients may stay after a hand-over or SIGUSR1
    #[arg(
        long, value_name = "MS", default_value = "60000",
        allow_negative_numbers = true, value_parser = |text: &str| number("--drain-timeout", text),
    )]
    pub drain_timeout: u64,

    /// How long clients with nothing to do may stay then; 0: as long as the others
    #[arg(
        long, value_name = "MS", default_value = "5000",
        allow_negative_numbers = true, value_parser = |text: &str| number("--drain-idle", text),
    )]
    pub drain_idle: u64,

    /// Set by --daemonize on the process that goes on in the background.
    #[arg(long, hide = true)]
    pub detached: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Also the manual page's section about them.
pub const AFTER_HELP: &str = "\
Signals: SIGTERM and SIGINT finish what is in flight and stop, a second one stops at once; SIGUSR1 \
stops when the clients have left, accepting no more; SIGHUP reopens the log file and reads the configuration \
again; SIGTTIN and SIGTTOU raise and lower the log level.";

/// Parses `arguments`, the program's name first.
///
/// # Errors
/// A mistake in nutcracker's words where it has them, or what the `--help` of a sub-command has to say.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, Mistake> {
    let mut command = Arguments::command();
    command.build();
    command
        .clone()
        .try_get_matches_from(arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches))
        .map_err(|error| Mistake::new(&command, error))
}

/// The help text of the program.
pub fn help() -> String {
    Arguments::command().render_help().to_string()
}

/// What to say after a mistake.
pub fn usage() -> String {
    let usage = Arguments::command().render_usage();
    format!("{usage}\nTry '{PROGRAM} --help'")
}

/// Plain decimal digits, as nutcracker's `nc_atoi` has it; more than 64 bits hold count as the most
/// they hold.
fn number(option: &str, text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("option {option} requires a number"));
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!(
            "option --log-format value '{text}' is neither human nor json"
        )),
    }
}

pub(super) fn stats_port(text: &str) -> Result<u16, String> {
    let value = number("-s", text)?;
    match u16::try_from(value) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("option -s value {value} is not a valid port")),
    }
}

fn mbuf_size(text: &str) -> Result<u64, String> {
    match number("-m", text) {
        Ok(0) | Err(_) => Err("option -m requires a non-zero number".to_owned()),
        Ok(value @ 512..=16_777_216) => Ok(value),
        Ok(_) => Err("mbuf chunk size must be between 512 and 16777216 bytes".to_owned()),
    }
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let value = number("--workers", text)?;
    match NonZeroUsize::new(usize::try_from(value).unwrap_or(usize::MAX)) {
        Some(workers) if workers.get() <= MAX_WORKERS => Ok(workers),
        _ => Err(format!(
            "option --workers value {value} is not between 1 and {MAX_WORKERS}"
        )),
    }
}

/// More threads than any machine has cores for is a slip of the finger.
const MAX_WORKERS: usize = 1024;

/// Below this a worker could hardly hold its read buffer.
const MIN_MEMORY: u64 = 1 << 20;

fn memory_size(text: &str) -> Result<usize, String> {
    let wrong = || {
        format!(
            "option --max-memory value '{text}' is not a size of at least 1M, such as 512M or 4G"
        )
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number("--max-memory", digits)
        .ok()
        .and_then(|value| value.checked_mul(1 << shift))
        .filter(|&bytes| bytes >= MIN_MEMORY)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Arguments, Mistake> {
        parse(
            std::iter::once(PROGRAM)
                .chain(line.split(' '))
                .map(OsString::from),
        )
    }

    #[test]
    fn definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_command_line_of_twemproxys_own_tests_is_understood() {
        let line = "-c a.yml -o a.log -p a.pid -a 127.0.0.1 -s 4001 -v 5 -m 512 -i 1";
        let arguments = parse_line(line).unwrap();
        assert_eq!(arguments.conf_file, PathBuf::from("a.yml"));
        assert_eq!(arguments.output, Some(OsString::from("a.log")));
        assert_eq!(arguments.pid_file, Some(PathBuf::from("a.pid")));
        assert_eq!(arguments.stats_addr, "127.0.0.1");
        assert_eq!(arguments.stats_port, 4001);
        assert_eq!(arguments.verbose, Level::clamped(5));
        assert_eq!(arguments.mbuf_size, Some(512));
        assert_eq!(arguments.stats_interval, 1);
    }

    #[test]
    fn getopts_spellings_are_understood() {
        assert_eq!(parse_line("-v7").unwrap().verbose, Level::clamped(7));
        assert_eq!(
            parse_line("--verbose=7").unwrap().verbose,
            Level::clamped(7)
        );
        assert_eq!(parse_line("--verb 7").unwrap().verbose, Level::clamped(7));
        assert_eq!(parse_line("-v 2 -v 3").unwrap().verbose, Level::clamped(3));
        let flags = parse_line("-tdD").unwrap();
        assert!(flags.test_conf && flags.daemonize && flags.describe_stats);
        assert!(parse_line("-t -t").unwrap().test_conf);
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(memory_size("1048576"), Ok(1 << 20));
        assert_eq!(memory_size("512M"), Ok(512 << 20));
        assert_eq!(memory_size("512mb"), Ok(512 << 20));
        assert_eq!(memory_size("2GiB"), Ok(2 << 30));
        for wrong in [
            "",
            "M",
            "1X",
            "-1G",
            "1.5G",
            "1048575",
            "99999999999T",
            "1 G",
        ] {
            assert!(
                memory_size(wrong).unwrap_err().contains("--max-memory"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn log_formats_are_human_and_json() {
        let format = |line| parse_line(line).map(|arguments| arguments.log_format);
        assert_eq!(format("-v 5").unwrap(), LogFormat::Human);
        assert_eq!(format("--log-format json").unwrap(), LogFormat::Json);
        assert_eq!(format("--log-format=human").unwrap(), LogFormat::Human);
        let Err(Mistake::Wrong(said)) = format("--log-format JSON") else {
            panic!("it is refused");
        };
        assert_eq!(
            said,
            "option --log-format value 'JSON' is neither human nor json"
        );
    }

    #[test]
    fn levels_are_clamped() {
        assert_eq!(parse_line("-v 99").unwrap().verbose, Level::clamped(11));
    }
}
