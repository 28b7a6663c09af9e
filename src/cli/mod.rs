//! The program's face: which of its modes a command line asks for, what is printed where, exit codes.
//!
//! What was asked for (help, version, counters, places of keys, plans, words of sentinels) goes to standard
//! output, all else to standard error. nutcracker prints everything on standard error. As in nutcracker `-h`, `-V` and `-D`
//! win over `-t`, and that over running; every failure exits with 1.

mod arguments;
mod commands;
mod generate;
mod live;
mod locate;
mod mistake;
mod plan;
mod reload;
mod sentinel;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use arguments::{Arguments, PROGRAM};
use commands::Command;
use mistake::Mistake;

use crate::app::{self, Options};
use crate::{config, stats};

pub fn main() -> ExitCode {
    let arguments = match arguments::parse(env::args_os()) {
        Ok(arguments) => arguments,
        Err(Mistake::HelpWanted(help)) => return print(&help),
        Err(Mistake::Wrong(mistake)) => {
            eprintln!("{PROGRAM}: {mistake}");
            eprintln!("{}", arguments::usage());
            return ExitCode::FAILURE;
        }
    };
    match &arguments.command {
        Some(Command::Locate(arguments)) => return locate::run(arguments),
        Some(Command::Plan(arguments)) => return plan::run(arguments),
        Some(Command::Sentinel(arguments)) => return sentinel::run(arguments),
        Some(Command::Reload(arguments)) => return reload::run(arguments),
        Some(Command::Generate(arguments)) => return generate::run(arguments),
        None => {}
    }
    if arguments.help || arguments.version || arguments.describe_stats {
        return print(&information(&arguments));
    }
    if arguments.test_conf {
        return test_configuration(&arguments.conf_file, arguments.live);
    }
    app::run(&options(arguments))
}

/// As nutcracker: the version in any case, then what was asked for.
fn information(arguments: &Arguments) -> String {
    let mut text = format!("This is {PROGRAM}-{}\n", env!("CARGO_PKG_VERSION"));
    if arguments.help {
        text += "\n";
        text += &arguments::help();
    }
    if arguments.describe_stats {
        text += "\n";
        text += &stats::report::describe();
    }
    text
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("{PROGRAM}: writing failed: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// For modes that ask others and then end.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn test_configuration(file: &Path, live: bool) -> ExitCode {
    let shown = file.display();
    match config::load(file) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("{PROGRAM}: {warning}");
            }
            eprintln!("{PROGRAM}: configuration file '{shown}' syntax is ok");
            if live {
                live::run(file, &loaded.config)
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(mistakes) => {
            for mistake in mistakes.to_string().lines() {
                eprintln!("{PROGRAM}: {mistake}");
            }
            eprintln!("{PROGRAM}: configuration file '{shown}' syntax is invalid");
            ExitCode::FAILURE
        }
    }
}

/// More than a timer takes is as good as the most it takes.
fn milliseconds(number: u64) -> Duration {
    const MOST: Duration = Duration::from_secs(365 * 86400);
    Duration::from_millis(number).min(MOST)
}

fn options(arguments: Arguments) -> Options {
    let without_effect = arguments
        .mbuf_size
        .map(|_| "-m (--mbuf-size) has no effect: buffers grow and shrink with need");
    Options {
        config: arguments.conf_file,
        watch: arguments.watch,
        log: arguments
            .output
            .filter(|file| !file.is_empty())
            .map(PathBuf::from),
        level: arguments.verbose,
        log_format: arguments.log_format,
        pid_file: arguments.pid_file,
        stats_host: arguments.stats_addr,
        stats_port: arguments.stats_port,
        workers: arguments.workers,
        max_memory: arguments.max_memory,
        shutdown_timeout: Duration::from_millis(arguments.shutdown_timeout),
        patience: app::Patience {
            total: milliseconds(arguments.drain_timeout),
            idle: (arguments.drain_idle > 0).then(|| milliseconds(arguments.drain_idle)),
        },
        handover: arguments.handover,
        life: match (arguments.detached, arguments.daemonize) {
            (true, _) => app::Life::Detached,
            (false, true) => app::Life::Daemonize { flag: "--detached" },
            (false, false) => app::Life::Foreground,
        },
        remarks: without_effect.into_iter().collect(),
    }
}
