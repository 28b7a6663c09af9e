//! The process: everything built in order, every socket bound before anything starts, signals, the end.
//!
//! ```text
//! log -> configuration -> open files -> (sockets of systemd, of the process before this one)
//!     -> bind every pool and the statistics port -> signal handlers -> topology -> workers -> pid file
//!     -> (the process before this one stops to accept) -> accept
//!     -> (daemon: tell the waiting process; systemd: say that we are ready)
//!     -> signals, reloads ... SIGTERM, SIGINT, SIGUSR1 or a process after this one -> close the listeners
//!     -> (let the clients leave) -> drain the workers -> remove the pid file
//! ```
//! A step that fails undoes those before it and is reported in the log and on standard error. The thread
//! that runs this is the control thread: it accepts clients and hands them to workers, runs the topology
//! and the statistics port, and never touches a request.

mod accept;
mod activation;
mod daemon;
mod ending;
mod handover;
mod listener;
mod logging;
mod notify;
mod passed;
mod path;
mod pidfile;
mod reload;
mod resources;
mod running;
mod signals;
mod takeover;
mod watch;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::runtime;
use tokio::task::LocalSet;

use crate::admin::Admin;
use crate::config::{self, Config, ConfigErrors, Current};
use crate::log::{CHANGE, NOTICE};

use daemon::Detached;
use handover::HandoverError;
use listener::Listener;
use logging::Logging;
use reload::Reloader;
use running::Running;
use signals::{Request, Signal, Signals};
use takeover::{Offered, Takeover};
use watch::Stamp;

pub use ending::Patience;
pub use logging::{Level, LogFormat};

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
    pub log_format: LogFormat,
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
    /// With clients once this process accepts no more.
    pub patience: Patience,
    /// Where one process of this program takes over from another.
    pub handover: Option<PathBuf>,
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
    crate::allocator::prepare();
    let logging = Logging::start(options.log.as_deref(), options.level, options.log_format);
    let mut logging = match logging {
        Ok(logging) => logging,
        Err(error) => return say(format_args!("{error}")),
    };
    let ended = start(options, &mut logging, detached);
    logging.tell_rest();
    let dropped = logging.dropped().load(Relaxed);
    if dropped > 0 {
        tracing::info!(target: NOTICE, "{dropped} log lines were dropped since the start");
    }
    if let Err(error) = &ended {
        for line in error.to_string().lines() {
            tracing::error!(target: NOTICE, "{line}");
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
    Handover(#[from] HandoverError),
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
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("starting the control thread"))?;
    let prepared = {
        let _inside = runtime.enter();
        prepare(options)?
    };
    let ended = LocalSet::new().block_on(&runtime, live(options, prepared, logging, detached));
    // Not dropped: that would wait for the name service if it is being asked just now.
    runtime.shutdown_background();
    ended
}

fn prepare(options: &Options) -> Result<(Prepared, Takeover), StartError> {
    let read = (Stamp::of(&options.config), reload::unix_now());
    let config::Loaded { config, warnings } = config::load(&options.config)?;
    for warning in &warnings {
        tracing::warn!(target: CHANGE, "{warning}");
    }
    for remark in &options.remarks {
        tracing::info!(target: CHANGE, "{remark}");
    }
    let workers = options.workers.unwrap_or_else(resources::default_workers);
    let memory = options.max_memory.unwrap_or_else(resources::default_memory);
    let client_limit = resources::raise_open_files(&config, workers.get());
    let (listeners, admin, takeover) = bind(&config, options)?;
    let megabytes = memory >> 20;
    tracing::info!("workers: {workers}, memory: {megabytes} MB, clients: {client_limit} at most");
    let prepared = Prepared {
        config: Arc::new(config),
        read,
        farewell: options.shutdown_timeout,
        workers,
        memory_per_worker: memory / workers,
        client_limit,
        listeners,
        admin,
    };
    Ok((prepared, takeover))
}

/// Binds everything that is not bound already, or says of everything that cannot be bound why not.
fn bind(
    config: &Config,
    options: &Options,
) -> Result<(Vec<Listener>, Admin, Takeover), StartError> {
    let handover = options.handover.as_deref();
    let mut offered = Offered::find(handover)?;
    let mut errors = Vec::new();
    let mut listeners = Vec::new();
    for (_, pool) in config.live() {
        let listener = match offered.sockets.take(&pool.listen) {
            Some(socket) => Listener::adopt(pool, socket),
            None => Listener::bind(pool),
        };
        match listener {
            Ok(listener) => listeners.push(listener),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let (host, port) = (options.stats_host.as_str(), options.stats_port);
    let admin =
        first_address(host, port).and_then(|address| match offered.sockets.take_tcp(address) {
            Some(socket) => Admin::over(socket.socket.into()),
            None => Admin::bind(address),
        });
    match admin {
        Ok(admin) if errors.is_empty() => {
            return Ok((listeners, admin, offered.settle(handover)?));
        }
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
    (prepared, takeover): (Prepared, Takeover),
    logging: &mut Logging,
    detached: Option<Detached>,
) -> Result<(), StartError> {
    // Before the pid file: who reads it may send signals at once.
    let mut signals =
        Signals::register().map_err(StartError::system("setting up signal handlers"))?;
    let address = prepared.admin.local_addr();
    tokio::task::spawn_local(logging.tell_dropped());
    let (read, loaded_at) = prepared.read;
    let config = Arc::clone(&prepared.config);
    let current = Current::new(config, options.config.clone(), loaded_at);
    let mut running = Running::start(prepared, current.clone(), logging.dropped()).await?;
    let control = Arc::clone(&running.stats().control);
    let reloader = Reloader::new(current, control, options.watch, read);
    let (_pid_file, port) = takeover.finish(options.pid_file.as_deref()).await?;
    running.open();
    if let Some(detached) = detached {
        detached
            .ready()
            .map_err(StartError::system("leaving the terminal"))?;
    }
    let pid = process::id();
    tracing::info!(target: NOTICE, "{PROGRAM}-{VERSION} started, pid {pid}, statistics on {address}");
    notify::ready(SERVING);
    let heartbeat = tokio::task::spawn_local(notify::feed_watchdog());
    let ended = ending::run(running, reloader, port, options, &mut signals, logging).await;
    heartbeat.abort();
    ended.map_err(StartError::system("listening for a process to take over"))
}

/// For `systemctl status`.
const SERVING: &str = "serving";

/// Does what signals ask for until one asks for an end or, after the log file was reopened, for a reload.
async fn obey(signals: &mut Signals, logging: &mut Logging) -> Signal {
    loop {
        let signal = signals.next().await;
        match signal.request {
            Request::Stop | Request::Retire => return signal,
            Request::Reload if !logging.is_file() => {
                tracing::info!(target: NOTICE, "{signal} received, there is no log file to reopen");
                return signal;
            }
            Request::Reload => {
                tracing::info!(target: NOTICE, "{signal} received, reopening log file");
                match logging.reopen() {
                    Ok(()) => tracing::info!(target: NOTICE, "{signal}: log file reopened"),
                    Err(error) => {
                        tracing::error!(target: NOTICE, "{signal}: {error}; the old one stays in use");
                    }
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
