//! How many clusters run at a time in one test binary.

use std::sync::{Condvar, Mutex, PoisonError};

/// Each is up to a dozen processes; continuous integration has two cores.
pub const CLUSTERS: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// One of the [`CLUSTERS`] places, until dropped.
#[derive(Debug)]
pub struct Permit(());

impl Permit {
    /// Waits for a place. A test that takes two at once may wait for ever.
    pub fn wait() -> Permit {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = ENDED
            .wait_while(running, |running| *running >= CLUSTERS)
            .unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Permit(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
