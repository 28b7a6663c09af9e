//! The process: everything built in order, every socket bound before anything starts, signals, the end.
//!
//! ```text
//! log -> configuration -> open files -> bind every pool and the statistics port -> signal handlers
//!     -> pid file -> topology -> workers -> accept -> (daemon: tell the waiting process)
//!     -> signals, reloads ... SIGTERM or SIGINT -> close the listeners -> drain the workers -> remove the pid file
//! ```
//! A step that fails undoes those before it and is reported in the log and on standard error. The thread
//! that runs this is the control thread: it accepts clients and hands them to workers, runs the topology
//! and the statistics port, and never touches a request.

mod accept;
mod daemon;
mod listener;
mod logging;
mod pidfile;
mod reload;
mod resources;
mod running;
mod signals;
mod watch;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::task::LocalSet;

use crate::admin::Admin;
use crate::config::{self, Config, ConfigErrors, Current};

use daemon::Detached;
use listener::Listener;
use logging::{Logging, NOTICE};
use pidfile::PidFile;
use reload::Reloader;
use running::Running;
use signals::{Request, Signal, Signals};
use watch::Stamp;

pub use logging::Level;

const PROGRAM: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the command line decides.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: PathBuf,
    /// Read the configuration again whenever its file has changed.
    pub watch: bool,
    /// `None` is standard error.
    pub log: Option<PathBuf>,
    pub level: Level,
    pub pid_file: Option<PathBuf>,
    /// A name or an address of this machine.
    pub stats_host: String,
    pub stats_port: u16,
    /// `None` is half the cores.
    pub workers: Option<NonZeroUsize>,
    /// Bytes that buffers may take, over all workers; `None` is half the memory.
    pub max_memory: Option<usize>,
    /// From the first request to stop to the end, whatever is still in flight.
    pub shutdown_timeout: Duration,
    pub life: Life,
    /// About the command line, for the log.
    pub remarks: Vec<&'static str>,
}

/// How the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Foreground,
    /// Starts this program again with `flag`, which must lead to `Detached`, and ends once that one can
    /// be used.
    Daemonize {
        flag: &'static str,
    },
    Detached,
}

/// Runs the proxy until a signal ends it. All that has to be said is said in the log or on standard
/// error; 0 only after a clean end.
pub fn run(options: &Options) -> ExitCode {
    let detached = match options.life {
        Life::Foreground => Ok(None),
        Life::Daemonize { flag } => match daemon::detach(flag) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Life::Detached => Detached::new().map(Some),
    };
    let detached = match detached {
        Ok(detached) => detached,
        Err(error) => return say(format_args!("going to the background failed: {error}")),
    };
    let mut logging = match Logging::start(options.log.as_deref(), options.level) {
        Ok(logging) => logging,
        Err(error) => return say(format_args!("{error}")),
    };
    let ended = start(options, &mut logging, detached);
    if let Err(error) = &ended {
        for line in error.to_string().lines() {
            tracing::error!("{line}");
            if logging.is_file() {
                say(format_args!("{line}"));
            }
        }
        tracing::info!(target: NOTICE, "not started");
        return ExitCode::FAILURE;
    }
    tracing::info!(target: NOTICE, "stopped");
    ExitCode::SUCCESS
}

fn say(what: fmt::Arguments) -> ExitCode {
    eprintln!("{PROGRAM}: {what}");
    ExitCode::FAILURE
}

/// Why the proxy did not start, a line for each reason.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A line for each socket.
    #[error("{}", .0.join("\n"))]
    Bind(Vec<String>),
    #[error(transparent)]
    PidFile(#[from] pidfile::WriteError),
    #[error("{step} failed: {cause}")]
    System {
        step: &'static str,
        cause: io::Error,
    },
}

impl StartError {
    fn system(step: &'static str) -> impl Fn(io::Error) -> StartError {
        move |cause| StartError::System { step, cause }
    }
}

/// What is bound and decided before the runtime is there.
struct Prepared {
    config: Arc<Config>,
    /// Of the file that it was read from, and when that was since the epoch.
    read: (Option<Stamp>, Duration),
    farewell: Duration,
    workers: NonZeroUsize,
    memory_per_worker: usize,
    client_limit: u64,
    listeners: Vec<Listener>,
    admin: Admin,
}

/// Returns after a clean end.
fn start(
    options: &Options,
    logging: &mut Logging,
    detached: Option<Detached>,
) -> Result<(), StartError> {
    if detached.is_some() && !logging.is_file() {
        tracing::warn!("a daemon without a log file (-o): what it logs once started is lost");
    }
    let prepared = prepare(options)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("starting the control thread"))?;
    let ended = LocalSet::new().block_on(&runtime, live(options, prepared, logging, detached));
    // Not dropped: that would wait for the name service if it is being asked just now.
    runtime.shutdown_background();
    ended
}

fn prepare(options: &Options) -> Result<Prepared, StartError> {
    let read = (Stamp::of(&options.config), reload::unix_now());
    let config::Loaded { config, warnings } = config::load(&options.config)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    for remark in &options.remarks {
        tracing::info!("{remark}");
    }
    let workers = options.workers.unwrap_or_else(resources::default_workers);
    let memory = options.max_memory.unwrap_or_else(resources::default_memory);
    let client_limit = resources::raise_open_files(&config, workers.get());
    let (listeners, admin) = bind(&config, options)?;
    let megabytes = memory >> 20;
    tracing::info!("workers: {workers}, memory: {megabytes} MB, clients: {client_limit} at most");
    Ok(Prepared {
        config: Arc::new(config),
        read,
        farewell: options.shutdown_timeout,
        workers,
        memory_per_worker: memory / workers,
        client_limit,
        listeners,
        admin,
    })
}

/// Binds everything, or says of everything that cannot be bound why not.
fn bind(config: &Config, options: &Options) -> Result<(Vec<Listener>, Admin), StartError> {
    let mut errors = Vec::new();
    let mut listeners = Vec::new();
    for pool in &config.pools {
        match Listener::bind(pool) {
            Ok(listener) => listeners.push(listener),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let (host, port) = (options.stats_host.as_str(), options.stats_port);
    match first_address(host, port).and_then(Admin::bind) {
        Ok(admin) if errors.is_empty() => return Ok((listeners, admin)),
        Ok(_) => {}
        Err(error) => errors.push(format!(
            "statistics: cannot listen on {host}:{port}: {error}"
        )),
    }
    Err(StartError::Bind(errors))
}

fn first_address(host: &str, port: u16) -> io::Result<SocketAddr> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    (host, port).to_socket_addrs()?.next().ok_or_else(none)
}

/// From the first signal handler to the last client.
async fn live(
    options: &Options,
    prepared: Prepared,
    logging: &mut Logging,
    detached: Option<Detached>,
) -> Result<(), StartError> {
    // Before the pid file: who reads it may send signals at once.
    let mut signals =
        Signals::register().map_err(StartError::system("setting up signal handlers"))?;
    let pid_file = options.pid_file.as_deref().map(PidFile::write);
    let _pid_file = pid_file.transpose()?;
    let address = prepared.admin.local_addr();
    let (read, loaded_at) = prepared.read;
    let config = Arc::clone(&prepared.config);
    let current = Current::new(config, options.config.clone(), loaded_at);
    let mut running = Running::start(prepared, current.clone()).await?;
    let control = Arc::clone(&running.stats().control);
    let mut reloader = Reloader::new(current, control, options.watch, read);
    if let Some(detached) = detached {
        detached
            .ready()
            .map_err(StartError::system("leaving the terminal"))?;
    }
    let pid = process::id();
    tracing::info!(target: NOTICE, "{PROGRAM}-{VERSION} started, pid {pid}, statistics on {address}");
    let stop = loop {
        tokio::select! {
            signal = obey(&mut signals, logging) => match signal.request {
                Request::Stop => break signal,
                _ => reloader.reload(&mut running).await,
            },
            () = reloader.file_changed() => {
                tracing::info!(target: NOTICE, "the configuration file has changed");
                reloader.reload(&mut running).await;
            }
        }
    };
    tracing::info!(target: NOTICE, "{stop} received, finishing what is in flight");
    tokio::select! {
        () = running.drain() => {}
        () = tokio::time::sleep(options.shutdown_timeout) => {
            let limit = options.shutdown_timeout.as_millis();
            tracing::warn!("clients were still waiting after {limit} ms and are cut off");
        }
        again = obey_until_stop(&mut signals, logging) => {
            tracing::warn!("{again} received, clients that still wait are cut off");
        }
    }
    Ok(())
}

/// As [`obey`], but reads no configuration any more.
async fn obey_until_stop(signals: &mut Signals, logging: &mut Logging) -> Signal {
    loop {
        let signal = obey(signals, logging).await;
        if signal.request == Request::Stop {
            return signal;
        }
        tracing::info!(target: NOTICE, "{signal}: the configuration is not read again, this is the end");
    }
}

/// Does what signals ask for until one asks to stop or, after the log file was reopened, to reload.
async fn obey(signals: &mut Signals, logging: &mut Logging) -> Signal {
    loop {
        let signal = signals.next().await;
        match signal.request {
            Request::Stop => return signal,
            Request::Reload if !logging.is_file() => {
                tracing::info!(target: NOTICE, "{signal} received, there is no log file to reopen");
                return signal;
            }
            Request::Reload => {
                tracing::info!(target: NOTICE, "{signal} received, reopening log file");
                match logging.reopen() {
                    Ok(()) => tracing::info!(target: NOTICE, "{signal}: log file reopened"),
                    Err(error) => tracing::error!("{signal}: {error}; the old one stays in use"),
                }
                return signal;
            }
            Request::RaiseLevel => {
                let level = logging.raise_level();
                tracing::info!(target: NOTICE, "{signal} received, log level is now {level}");
            }
            Request::LowerLevel => {
                let level = logging.lower_level();
                tracing::info!(target: NOTICE, "{signal} received, log level is now {level}");
            }
            Request::Nothing => tracing::info!(target: NOTICE, "{signal} received, ignored"),
        }
    }
}
