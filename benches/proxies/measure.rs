//! What a process has used: processor time, memory, connections, as the kernel counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use procfs::process::Process;
use serde::Serialize;

use crate::Outcome;

/// Processor time of a process up to a moment.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Nanoseconds of each thread that is alive, by its id.
    threads: BTreeMap<i32, u64>,
    /// All threads that ever were, in ticks of the clock.
    user: u64,
    system: u64,
}

/// Processor time between two moments.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Used {
    pub cpu_ns: u64,
    /// The part that was not the kernel's, 0 to 1. The kernel samples it, so it is rough for short runs.
    pub user_share: f64,
}

impl Usage {
    /// # Errors
    /// If the process has ended.
    pub fn of(pid: i32) -> Outcome<Usage> {
        let process = Process::new(pid)?;
        let mut threads = BTreeMap::new();
        for task in process.tasks()? {
            // A thread may end between the two.
            if let Ok(task) = task
                && let Ok(times) = task.schedstat()
            {
                threads.insert(task.tid, times.sum_exec_runtime);
            }
        }
        let stat = process.stat()?;
        let (user, system) = (stat.utime, stat.stime);
        Ok(Usage {
            threads,
            user,
            system,
        })
    }

    pub fn since(&self, before: &Usage) -> Used {
        let threads = self.threads.iter().map(|(thread, ns)| {
            let earlier = before.threads.get(thread).copied().unwrap_or(0);
            ns.saturating_sub(earlier)
        });
        let threads: u64 = threads.sum();
        let (user, system) = (self.user - before.user, self.system - before.system);
        // What ended threads had used is only in the sums, which are right to a tick each.
        let tick_ns = 1_000_000_000 / procfs::ticks_per_second();
        let ticks = (user + system).saturating_sub(2) * tick_ns;
        Used {
            cpu_ns: threads.max(ticks),
            user_share: user as f64 / (user + system).max(1) as f64,
        }
    }
}

/// Resident memory in KB.
///
/// # Errors
/// If the process has ended.
pub fn resident_kb(pid: i32) -> Outcome<u64> {
    let status = Process::new(pid)?.status()?;
    Ok(status.vmrss.ok_or("no resident memory")?)
}

/// Resident memory in KB once it is at most `goal`, or when `patience` is over.
///
/// # Errors
/// If the process has ended.
pub fn settled_kb(pid: i32, goal: u64, patience: Duration) -> Outcome<u64> {
    let end = Instant::now() + patience;
    loop {
        let now = resident_kb(pid)?;
        if now <= goal || Instant::now() > end {
            return Ok(now);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What each epoll instance of a process watches: the sockets of each of its threads, whatever the program
/// itself tells.
#[derive(Debug)]
pub struct Watched(Vec<BTreeSet<String>>);

impl Watched {
    /// # Errors
    /// If the process has ended.
    pub fn of(pid: i32) -> Outcome<Watched> {
        let mut instances = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // A file may be closed between the two.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            let files = text.lines().filter(|line| line.starts_with("tfd:"));
            // An instance may have several descriptors, which say the same.
            instances.insert(files.map(str::to_owned).collect::<BTreeSet<String>>());
        }
        Ok(Watched(instances.into_iter().collect()))
    }

    /// How many files each instance watches that nobody did `before`, for those that watch any.
    pub fn new_since(&self, before: &Watched) -> Vec<usize> {
        let known: BTreeSet<&String> = before.0.iter().flatten().collect();
        let new =
            |files: &BTreeSet<String>| files.iter().filter(|file| !known.contains(file)).count();
        self.0.iter().map(new).filter(|new| *new > 0).collect()
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.is_empty() {
        None
    } else if values.len() % 2 == 1 {
        Some(values[middle])
    } else {
        Some(f64::midpoint(values[middle - 1], values[middle]))
    }
}
