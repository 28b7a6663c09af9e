//! Where log lines go and which ones: nutcracker's levels, changed and reopened while running.
//!
//! Lines that an operator asked for by a signal, and those that mark the life of the process, are
//! written at every level (target [`NOTICE`]), as nutcracker does.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// Target of the lines that no level hides.
pub const NOTICE: &str = "nuthatch::notice";

/// nutcracker's log level, 0 (emergencies) to 11 (everything).
///
/// | level | nutcracker | shown |
/// |---|---|---|
/// | 0-3 | emergency, alert, critical, error | errors |
/// | 4 | warning | and warnings |
/// | 5-6 | notice, information | and what changes: topology, listeners |
/// | 7 | debug | and each connection |
/// | 8-11 | verbose to very verbose | everything |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    const MAX: u8 = 11;

    /// Higher numbers count as 11.
    pub fn clamped(number: u64) -> Level {
        Level(u8::try_from(number).map_or(Level::MAX, |level| level.min(Level::MAX)))
    }

    fn up(self) -> Level {
        Level((self.0 + 1).min(Level::MAX))
    }

    fn down(self) -> Level {
        Level(self.0.saturating_sub(1))
    }

    fn filter(self) -> LevelFilter {
        match self.0 {
            0..=3 => LevelFilter::ERROR,
            4 => LevelFilter::WARN,
            5 | 6 => LevelFilter::INFO,
            7 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

    /// Libraries are heard from level 11 on only, but for their warnings.
    fn targets(self) -> Targets {
        let libraries = match self.0 {
            Level::MAX => LevelFilter::TRACE,
            _ => self.filter().min(LevelFilter::WARN),
        };
        Targets::new()
            .with_default(libraries)
            .with_target(env!("CARGO_PKG_NAME"), self.filter())
            .with_target(NOTICE, LevelFilter::INFO)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.filter().to_string();
        write!(f, "{} ({})", self.0, shown.to_ascii_lowercase())
    }
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
    pub fn start(path: Option<&Path>, level: Level) -> Result<Logging, OpenError> {
        let sink = Sink(Arc::new(Mutex::new(match path {
            Some(path) => Output::File(open(path)?),
            None => Output::Stderr,
        })));
        let (targets, filter) = reload::Layer::new(level.targets());
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_target(false)
            .log_internal_errors(false)
            .with_writer(sink.clone());
        let subscriber = Registry::default().with(targets).with(lines);
        tracing::subscriber::set_global_default(subscriber).expect("logging is started once");
        Ok(Logging {
            sink,
            path: path.map(Path::to_owned),
            level,
            filter,
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
mod tests {
    use super::*;

    #[test]
    fn levels_end_at_0_and_11() {
        assert_eq!(Level::clamped(0).down(), Level::clamped(0));
        assert_eq!(Level::clamped(12), Level::clamped(11));
        assert_eq!(Level::clamped(11).up(), Level::clamped(11));
        assert_eq!(Level::clamped(5).up(), Level::clamped(6));
    }

    #[test]
    fn levels_map_to_what_is_shown() {
        let shown: Vec<String> = (0..=11).map(|n| Level::clamped(n).to_string()).collect();
        assert_eq!(
            shown[3..=8],
            [
                "3 (error)",
                "4 (warn)",
                "5 (info)",
                "6 (info)",
                "7 (debug)",
                "8 (trace)"
            ]
        );
    }

    #[test]
    fn notices_show_at_every_level() {
        let targets = Level::clamped(0).targets();
        assert!(targets.would_enable(NOTICE, &tracing::Level::INFO));
        assert!(!targets.would_enable("nuthatch::app", &tracing::Level::WARN));
    }

    #[test]
    fn libraries_are_quiet_below_level_11() {
        assert!(
            !Level::clamped(10)
                .targets()
                .would_enable("hyper", &tracing::Level::DEBUG)
        );
        assert!(
            Level::clamped(11)
                .targets()
                .would_enable("hyper", &tracing::Level::DEBUG)
        );
    }
}
