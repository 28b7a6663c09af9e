//! The sub-commands and their options, as written. What they do is in the files of their names.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Subcommand};

use super::arguments::stats_port;
use super::generate::GenerateArguments;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print on which server each key lives
    ///
    /// One line for each key, in columns separated by tabs: the key, the part of it that is hashed, its
    /// hash in decimal and in hexadecimal, the server's name, and the server's address. All servers
    /// count as alive; nothing is connected to. In keys, backslashes, control characters and bytes that
    /// are not UTF-8 are written as \\, \t, \n, \r and \xNN.
    #[command(args_override_self = true)]
    Locate(LocateArguments),

    /// Print what a changed configuration changes, and which share of the keys moves
    ///
    /// Compares two configuration files pool by pool: keys of the file with another value, servers that
    /// come, go, weigh or listen otherwise, and the keys that would live on another server: how many, and
    /// from where to where. All servers count as alive; nothing is connected to. Without --keys the share
    /// is that of the hash space, exactly if only servers change, as an estimate if hash or hash_tag do.
    ///
    /// Exits with 0 if no key moves, with 3 if keys move, may move or lose their pool, and with 1 if a
    /// file cannot be used or the command line is wrong.
    #[command(args_override_self = true)]
    Plan(PlanArguments),

    /// Print what each sentinel says about the master of each server
    ///
    /// Asks all sentinels of all pools now. A block for each pool, a row for each server, in columns
    /// separated by two or more spaces: state, the server's name, its master's name in Sentinel, the
    /// configured address, what each sentinel says (address, epoch, flags, or why it says nothing), and
    /// what the node itself answers to ROLE. The state is ok, ! if somebody disagrees or the node is no
    /// master, or ? if not every sentinel could be asked. Exits with 0 if every state is ok, else with 1.
    #[command(args_override_self = true)]
    Sentinel(SentinelArguments),

    /// Let a running proxy read its configuration again
    ///
    /// Checks the file as -t does, sends SIGHUP to the process, waits for the outcome on its statistics
    /// port, and prints every change, or why the running configuration stays. Exits with 0 if the file is in
    /// use, else with 1.
    #[command(args_override_self = true)]
    Reload(ReloadArguments),

    /// Print shell completions or the list of commands, or write manual pages
    Generate(GenerateArguments),
}

#[derive(Clone, Debug, clap::Args)]
pub struct ReloadArguments {
    /// Configuration file of the process
    #[arg(
        short = 'c',
        long,
        value_name = "FILE",
        default_value = "conf/nutcracker.yml"
    )]
    pub conf_file: PathBuf,

    /// File with the process id
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// The process id, instead of a file with it
    #[arg(long, value_name = "N")]
    pub pid: Option<i32>,

    /// Port of the process's statistics listener
    #[arg(
        short = 's', long, value_name = "N", default_value = "22222",
        allow_negative_numbers = true, value_parser = stats_port,
    )]
    pub stats_port: u16,

    /// Address of the process's statistics listener
    #[arg(short = 'a', long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub stats_addr: String,

    /// Print this help and exit
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct PlanArguments {
    /// Configuration file in use
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,

    /// Configuration file that shall replace it
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,

    /// Count these keys, one per line; - reads them from standard input
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// Pool to compare [default: all; with --keys needed if both files have several]
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,

    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = format)]
    pub format: Format,

    /// Print this help and exit
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Debug, clap::Args)]
pub struct SentinelArguments {
    /// Configuration file
    #[arg(
        short = 'c',
        long,
        value_name = "FILE",
        default_value = "conf/nutcracker.yml"
    )]
    pub conf_file: PathBuf,

    /// Pool to ask about [default: all that have sentinels]
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,

    /// Print this help and exit
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct LocateArguments {
    /// Configuration file
    #[arg(
        short = 'c',
        long,
        value_name = "FILE",
        default_value = "conf/nutcracker.yml"
    )]
    pub conf_file: PathBuf,

    /// Pool to look in; not needed if the file has just one
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,

    /// Leave out the line that names the columns
    #[arg(long)]
    pub no_header: bool,

    // clap's own flag is off for the program, whose -h has to win over -t, and thereby here too.
    /// Print this help and exit
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Keys; none or - reads them from standard input, one per line
    #[arg(value_name = "KEY")]
    pub keys: Vec<OsString>,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(format!(
            "option --format value '{text}' is neither text nor json"
        )),
    }
}
