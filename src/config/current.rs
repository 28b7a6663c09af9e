//! The configuration in use and what became of the last attempt to replace it, for whoever shows it.
//!
//! Written by the control thread only; readers take a copy.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::Config;

/// What is in use now.
#[derive(Clone, Debug)]
pub struct InUse {
    /// By slot, with place holders; [`Config::live`] has what the file has. It knows the passwords: who
    /// shows it must leave them out.
    pub config: Arc<Config>,
    pub file: PathBuf,
    /// 1 at the start; grows by one with every reload that changed something.
    pub generation: u64,
    /// When the file was read that is in use, since the Unix epoch.
    pub loaded_at: Duration,
    /// The last reload; `None` before the first.
    pub last_reload: Option<Outcome>,
}

/// What a reload came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Since the Unix epoch.
    pub at: Duration,
    /// A line for each change, or for each reason why the running configuration stays.
    pub result: Result<Vec<String>, Vec<String>>,
}

/// Shared by the thread that reloads and those that show.
#[derive(Clone, Debug)]
pub struct Current(Arc<RwLock<Arc<InUse>>>);

impl Current {
    /// As read at the start.
    pub fn new(config: Arc<Config>, file: PathBuf, loaded_at: Duration) -> Current {
        Current(Arc::new(RwLock::new(Arc::new(InUse {
            config,
            file,
            generation: 1,
            loaded_at,
            last_reload: None,
        }))))
    }

    pub fn get(&self) -> Arc<InUse> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A reload was applied; no lines if it changed nothing.
    pub fn accept(&self, config: Arc<Config>, changes: Vec<String>, at: Duration) {
        self.replace(|before| InUse {
            config,
            generation: before.generation + u64::from(!changes.is_empty()),
            loaded_at: at,
            last_reload: Some(Outcome {
                at,
                result: Ok(changes),
            }),
            ..before
        });
    }

    /// A reload was refused.
    pub fn refuse(&self, reasons: Vec<String>, at: Duration) {
        self.replace(|before| InUse {
            last_reload: Some(Outcome {
                at,
                result: Err(reasons),
            }),
            ..before
        });
    }

    fn replace(&self, next: impl FnOnce(InUse) -> InUse) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(next(InUse::clone(&current)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_a_change_and_a_refusal_leaves_everything() {
        let seconds = Duration::from_secs;
        let config = Arc::new(Config { pools: Vec::new() });
        let current = Current::new(Arc::clone(&config), "f.yml".into(), seconds(1));
        current.refuse(vec!["bad".to_owned()], seconds(2));
        let now = current.get();
        assert_eq!((now.generation, now.loaded_at), (1, seconds(1)));
        assert!(Arc::ptr_eq(&now.config, &config));
        let last = now.last_reload.as_ref().expect("there was one");
        assert_eq!(last.result, Err(vec!["bad".to_owned()]));

        current.accept(Arc::clone(&config), Vec::new(), seconds(3));
        let now = current.get();
        assert_eq!((now.generation, now.loaded_at), (1, seconds(3)));
        current.accept(config, vec!["changed".to_owned()], seconds(4));
        assert_eq!(current.get().generation, 2);
    }
}
