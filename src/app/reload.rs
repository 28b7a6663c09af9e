//! The configuration file is read again: refused whole with its reasons, or taken over whole.
//!
//! ```text
//! read, check -> merge into what runs -> bind what is new -> (from here on nothing can fail)
//!     -> room in counters and workers -> topology: one snapshot -> workers follow it -> accept loops
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::running::Running;
use super::watch::{FileWatch, Stamp};
use crate::config::{self, Current, Loaded, Merged};
use crate::log::{CHANGE, NOTICE};
use crate::stats::ControlStats;

/// Reads the file when it is told to.
pub struct Reloader {
    file: PathBuf,
    current: Current,
    stats: Arc<ControlStats>,
    /// With `--watch`.
    watch: Option<FileWatch>,
}

impl Reloader {
    /// `read`: the file's stamp when it was read at the start.
    pub fn new(
        current: Current,
        stats: Arc<ControlStats>,
        watch: bool,
        read: Option<Stamp>,
    ) -> Reloader {
        let file = current.get().file.clone();
        let reloader = Reloader {
            watch: watch.then(|| FileWatch::new(&file, read)),
            file,
            current,
            stats,
        };
        reloader.count();
        reloader
    }

    /// Resolves when the file has changed; never without `--watch`. Can be dropped and called again.
    pub async fn file_changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Reads the file and applies it; what comes of it is in the log, the statistics and [`Current`].
    pub async fn reload(&mut self, running: &mut Running) {
        if let Some(watch) = &mut self.watch {
            watch.note_read(Stamp::of(&self.file));
        }
        let file = self.file.display();
        let done = match self.attempt(running).await {
            Ok(0) => {
                tracing::info!(target: NOTICE, "configuration '{file}' read again, nothing changed");
                &self.stats.config_reloads
            }
            Ok(changes) => {
                let generation = self.current.get().generation;
                tracing::info!(
                    target: NOTICE,
                    "configuration '{file}' reloaded: {changes} changes, generation {generation}"
                );
                &self.stats.config_reloads
            }
            Err(reasons) => {
                for reason in &reasons {
                    tracing::error!(target: NOTICE, "{reason}");
                }
                tracing::error!(target: NOTICE, "configuration '{file}' refused, the running one stays");
                self.current.refuse(reasons, unix_now());
                &self.stats.config_reload_failures
            }
        };
        self.count();
        // Last: who waits for this finds all the rest as it is now.
        done.add(1);
    }

    /// How many changes there were, or why nothing is changed.
    async fn attempt(&self, running: &mut Running) -> Result<usize, Vec<String>> {
        let Loaded { config, warnings } = load(self.file.clone()).await?;
        let before = Arc::clone(&self.current.get().config);
        let merged = config::merge(&before, &config).map_err(|error| vec![error.to_string()])?;
        let Merged { config, changes } = merged;
        let config = Arc::new(config);
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let sockets = running.bind(&config)?;
        if !changes.is_empty() {
            // Else they were told when the file was read first.
            for warning in &warnings {
                tracing::warn!(target: CHANGE, "{warning}");
            }
        }
        for change in &changes {
            tracing::info!(target: CHANGE, pool = change.pool, "configuration: {}", change.text());
        }
        running.reconfigure(&config, sockets).await;
        self.current.accept(config, lines, unix_now());
        Ok(changes.len())
    }

    fn count(&self) {
        let now = self.current.get();
        self.stats.config_generation.set(now.generation);
        let micros = u64::try_from(now.loaded_at.as_micros()).unwrap_or(u64::MAX);
        self.stats.config_loaded_at.set(micros);
    }
}

/// On another thread: a `listen` with a host name asks the name service.
async fn load(file: PathBuf) -> Result<Loaded, Vec<String>> {
    let loading = tokio::task::spawn_blocking(move || config::load(Path::new(&file)));
    match loading.await {
        Ok(Ok(loaded)) => Ok(loaded),
        Ok(Err(errors)) => Err(errors.0.iter().map(ToString::to_string).collect()),
        Err(error) => Err(vec![format!("reading the configuration failed: {error}")]),
    }
}

/// Since the epoch.
pub fn unix_now() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}
