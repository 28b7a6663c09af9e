//! What all clients know about the servers: which owns a tag, and when which failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Key tags in use. More than enough for each server to own several.
pub const TAGS: usize = 64;

/// How long after a server is back the proxy may still answer errors for it: the time it has to notice
/// and to connect again.
const GRACE: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub struct World {
    start: Instant,
    owners: Vec<usize>,
    servers: Vec<Server>,
}

#[derive(Debug, Default)]
struct Server {
    /// Times its data was lost. Raised before the kill.
    losses: AtomicU64,
    /// Milliseconds since `start`: errors are accepted for requests sent before. `u64::MAX` while down.
    suspect_until: AtomicU64,
}

/// What a failure takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Data,
    Connections,
}

impl World {
    /// `owners[tag]` is the index of the server with the tag's keys.
    pub fn new(owners: Vec<usize>) -> World {
        let count = owners.iter().max().map_or(0, |max| max + 1);
        let servers = (0..count).map(|_| Server::default()).collect();
        World {
            start: Instant::now(),
            owners,
            servers,
        }
    }

    pub fn owner(&self, tag: usize) -> usize {
        self.owners[tag]
    }

    /// To be called before the server is harmed.
    pub fn fail(&self, server: usize, loss: Loss) {
        let server = &self.servers[server];
        server.suspect_until.store(u64::MAX, Ordering::SeqCst);
        if loss == Loss::Data {
            server.losses.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// To be called after the server takes connections again.
    pub fn recover(&self, server: usize) {
        let until = self.now() + u64::try_from(GRACE.as_millis()).expect("a short time");
        self.servers[server]
            .suspect_until
            .store(until, Ordering::SeqCst);
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis())
            .expect("a run shorter than the universe's age")
    }

    /// How often the data of the tag's server was lost so far.
    pub fn losses(&self, tag: usize) -> u64 {
        self.servers[self.owners[tag]].losses.load(Ordering::SeqCst)
    }

    /// May a request for the tag that was sent at `sent` and is answered now get an error?
    pub fn may_fail(&self, tag: usize, sent: u64) -> bool {
        sent < self.servers[self.owners[tag]]
            .suspect_until
            .load(Ordering::SeqCst)
    }

    /// Waits until no error is accepted any more. Called when nothing fails from now on.
    pub fn wait_healthy(&self) {
        let until = self
            .servers
            .iter()
            .map(|s| s.suspect_until.load(Ordering::SeqCst))
            .max()
            .unwrap_or(0);
        std::thread::sleep(Duration::from_millis(
            until.saturating_sub(self.now()).min(5000),
        ));
    }
}
