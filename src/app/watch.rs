//! `--watch`: when the configuration file has changed.
//!
//! Looks at the file once a second instead of subscribing to its directory: that also sees a file on a
//! network or another mount, one that an editor replaced by renaming, and a symbolic link (as Kubernetes
//! makes of a ConfigMap) that leads elsewhere now.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

const PERIOD: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: it changes with every write and with every replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Stamp {
    /// `None` if there is no file at the end of `path`.
    pub fn of(path: &Path) -> Option<Stamp> {
        let found = fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// Waits for changes of one file.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    changes: Changes,
    pace: Interval,
}

impl FileWatch {
    /// `read`: of the file when it was read.
    pub fn new(path: &Path, read: Option<Stamp>) -> FileWatch {
        let mut pace = interval(PERIOD);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        FileWatch {
            path: path.to_owned(),
            changes: Changes {
                read,
                pending: None,
            },
            pace,
        }
    }

    /// The file is about to be read, whatever for.
    pub fn note_read(&mut self, read: Option<Stamp>) {
        self.changes.read = read;
    }

    /// Resolves when the file is another than when it was read, and was left alone for a while. Can be
    /// dropped and called again at any time.
    pub async fn changed(&mut self) {
        loop {
            self.pace.tick().await;
            if self.changes.observe(Stamp::of(&self.path)) {
                return;
            }
        }
    }
}

#[derive(Debug)]
struct Changes {
    read: Option<Stamp>,
    /// Seen once, maybe half written.
    pending: Option<Stamp>,
}

impl Changes {
    /// Is it time to read? Only what looks the same twice is; a file that is missing may be on its way.
    fn observe(&mut self, now: Option<Stamp>) -> bool {
        let settled = now.is_some() && now == self.pending;
        self.pending = now;
        settled && now != self.read
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn stamp(inode: u64) -> Option<Stamp> {
        Some(Stamp {
            device: 1,
            inode,
            length: 10,
            modified: (5, 0),
        })
    }

    #[test]
    fn only_a_change_that_lasts_is_one() {
        let mut changes = Changes {
            read: stamp(1),
            pending: None,
        };
        let mut see = |now| changes.observe(now);
        assert!(!see(stamp(1)) && !see(stamp(1)));
        assert!(!see(stamp(2)), "may be half written");
        assert!(!see(None), "is being replaced");
        assert!(!see(stamp(3)) && see(stamp(3)));
        changes.read = stamp(3);
        let mut see = |now| changes.observe(now);
        assert!(!see(stamp(3)));
        assert!(!see(None) && !see(None));
        assert!(!see(stamp(3)) && !see(stamp(3)), "the same is back");
        assert!(!see(stamp(4)) && see(stamp(4)));
    }

    #[test]
    fn writing_renaming_and_relinking_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut seen = Vec::new();
        let mut look = |what: &str| {
            let stamp = Stamp::of(&path("config"));
            assert!(!seen.contains(&stamp), "{what}");
            seen.push(stamp);
        };
        look("missing");
        fs::write(path("config"), "a").unwrap();
        look("written");
        fs::write(path("config"), "ab").unwrap();
        look("longer");
        fs::write(path("new"), "xy").unwrap();
        fs::rename(path("new"), path("config")).unwrap();
        look("renamed");
        fs::write(path("data"), "xy").unwrap();
        fs::remove_file(path("config")).unwrap();
        symlink(path("data"), path("config")).unwrap();
        look("linked");
        fs::write(path("data2"), "xy").unwrap();
        symlink(path("data2"), path("link")).unwrap();
        fs::rename(path("link"), path("config")).unwrap();
        look("linked elsewhere");
    }
}
