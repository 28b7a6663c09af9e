//! Where log lines go, in which form and which ones: changed and reopened while running.
//!
//! Every line goes through three steps. `level.rs`: is it of a severity that is shown? `flood.rs` and
//! `limit.rs`: have there been too many of its kind just now? Then it is written, as text or as JSON. Lines
//! that mark a change of state or the life of the process say so by their target ([`crate::log`]); they are
//! never dropped.

mod flood;
mod level;
mod limit;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

use flood::{Flood, Gate};
pub use level::Level;

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `TIME LEVEL message field=value ...`
    #[default]
    Human,
    /// One object: `timestamp`, `level`, `message`, the fields, and `target`, a module or one of
    /// [`crate::log`].
    Json,
}

/// The log file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening log file '{}' failed: {cause}", path.display())]
pub struct OpenError {
    path: PathBuf,
    cause: io::Error,
}

/// The process's log, for as long as it lives.
pub struct Logging {
    sink: Sink,
    path: Option<PathBuf>,
    level: Level,
    filter: reload::Handle<Targets, Registry>,
    flood: Arc<Flood>,
}

impl Logging {
    /// Opens `path` (standard error if `None`) and makes it the destination of all `tracing` events
    /// of this process.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    ///
    /// # Panics
    /// If called twice in a process.
    pub fn start(
        path: Option<&Path>,
        level: Level,
        format: LogFormat,
    ) -> Result<Logging, OpenError> {
        let sink = Sink(Arc::new(Mutex::new(match path {
            Some(path) => Output::File(open(path)?),
            None => Output::Stderr,
        })));
        let (targets, filter) = reload::Layer::new(level.targets());
        let flood = Arc::new(Flood::new());
        let subscriber = Registry::default()
            .with(targets)
            .with(Gate(Arc::clone(&flood)))
            .with(lines(format, sink.clone()));
        tracing::subscriber::set_global_default(subscriber).expect("logging is started once");
        Ok(Logging {
            sink,
            path: path.map(Path::to_owned),
            level,
            filter,
            flood,
        })
    }

    pub fn is_file(&self) -> bool {
        self.path.is_some()
    }

    /// Opens the log file anew, for after it was renamed; the old one stays in use if that fails.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn reopen(&self) -> Result<(), OpenError> {
        if let Some(path) = &self.path {
            *self.sink.lock() = Output::File(open(path)?);
        }
        Ok(())
    }

    /// Lines that were not logged because there were too many of their kind, since the start.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.flood.dropped()
    }

    /// Tells now and then what was dropped; never ends.
    pub fn tell_dropped(&self) -> impl Future<Output = ()> + use<> {
        let flood = Arc::clone(&self.flood);
        async move { flood.tell_for_ever().await }
    }

    /// Tells what was dropped and not told yet.
    pub fn tell_rest(&self) {
        self.flood.tell_all();
    }

    pub fn raise_level(&mut self) -> Level {
        self.set_level(self.level.up())
    }

    pub fn lower_level(&mut self) -> Level {
        self.set_level(self.level.down())
    }

    fn set_level(&mut self, level: Level) -> Level {
        let reloaded = self.filter.reload(level.targets());
        reloaded.expect("the subscriber lives as long as the process");
        self.level = level;
        level
    }
}

/// The layer that writes lines.
fn lines<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        LogFormat::Human => layer.with_target(false).boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    }
}

fn open(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        // A daemon leads its session: a terminal must not become its controlling one.
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open(path)
        .map_err(|cause| OpenError {
            path: path.to_owned(),
            cause,
        })
}

enum Output {
    Stderr,
    File(File),
}

/// One line is one write, so lines of several threads do not mix.
#[derive(Clone)]
struct Sink(Arc<Mutex<Output>>);

impl Sink {
    fn lock(&self) -> MutexGuard<'_, Output> {
        // An output is replaced as a whole: it is sound whatever happened to another thread.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.lock())
    }
}

struct Line<'a>(MutexGuard<'a, Output>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0 {
            Output::Stderr => io::stderr().write(bytes),
            Output::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
