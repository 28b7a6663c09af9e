//! Nuthatch beside other proxies, end to end. `cargo bench --bench proxies -- --help`, and
//! benches/README.md for how to read it.
//!
//! | module | |
//! |---|---|
//! | [`options`] | the command line |
//! | [`children`] | processes, their processors and ports |
//! | [`peers`] | the proxies and their configurations |
//! | [`backends`], [`stub`] | what is behind them |
//! | [`load`] | what is in front of them |
//! | [`measure`] | what the kernel says they used |
//! | [`runner`] | all of that in rounds |
//! | [`scenarios`], [`goals`], [`workers`], [`memory`] | the table of goals |
//! | [`features`], [`latency`], [`growth`] | further questions |
//! | [`table`], [`report`] | what comes out |

#![forbid(unsafe_code)]

mod backends;
mod children;
mod features;
mod goals;
mod growth;
mod latency;
mod load;
mod measure;
mod memory;
mod options;
mod peers;
mod report;
mod runner;
mod scenarios;
mod stub;
mod table;
mod workers;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, process, thread};

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use children::Nursery;
use options::Options;
use peers::Peer;
use report::Report;
use runner::Context;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let role = env::args().nth(1).unwrap_or_default();
    let outcome = match role.as_str() {
        children::BECOME => children::become_program(env::args_os().skip(2)).map(|()| true),
        load::plan::ROLE => load::serve().map(|()| true),
        stub::ROLE => stub::serve(env::args().skip(2)).map(|()| true),
        // `cargo test --all-targets` runs this with nothing.
        "" => {
            println!("a benchmark: cargo bench --bench proxies");
            Ok(true)
        }
        _ => bench(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether Nuthatch served everything.
fn bench() -> Outcome<bool> {
    let options = Options::parse_from(env::args_os().skip(1));
    let names = scenarios::names();
    if options.list {
        println!("{}", names.join(" "));
        return Ok(true);
    }
    if let Some(unknown) = options
        .scenarios
        .iter()
        .find(|name| !names.contains(&name.as_str()))
    {
        return Err(format!("no scenario {unknown}; there are: {}", names.join(" ")).into());
    }
    raise_open_files()?;
    let nursery = Nursery::new()?;
    tidy_up_when_interrupted(nursery.dir().to_owned())?;
    let peers = Peer::all(&options)?;
    let context = Context {
        options: &options,
        nursery: &nursery,
    };
    let mut report = Report::default();
    report.head(&options, &peers)?;
    let mut failures = 0;
    if options.wants_table() {
        failures += goals::run(&context, &peers, &mut report)?;
        if options.wants(scenarios::WORKERS) {
            failures += workers::run(&context, &mut report)?;
        }
        if options.wants(scenarios::MEMORY) {
            failures += memory::run(&context, &peers, &mut report)?;
        }
    }
    if options.features_ab {
        failures += features::run(&context, &mut report)?;
    }
    if options.latency {
        failures += latency::run(&context, &peers, &mut report)?;
    }
    if !options.growth.is_empty() {
        failures += growth::run(&context, &peers, &mut report)?;
    }
    report.write(&options)?;
    Ok(failures == 0)
}

/// As far as this process may: the proxies and the load generator inherit it.
fn raise_open_files() -> Outcome<()> {
    /// Enough for the most clients that anything here has.
    const WANTED: u64 = 1 << 15;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map(|most| most.max(WANTED));
    let raised = Rlimit {
        current: wanted,
        maximum: wanted,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// Children end with this process in any case, but their files would stay.
fn tidy_up_when_interrupted(dir: PathBuf) -> Outcome<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let (mut interrupt, mut terminate) = signals;
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            let _ = fs::remove_dir_all(dir);
            process::exit(130);
        })?;
    Ok(())
}
