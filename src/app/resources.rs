//! What the machine lends this process: cores, memory, open files.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Buffers need this much even on a small machine.
const MIN_DEFAULT_MEMORY: u64 = 256 << 20;

/// Files that are neither clients, backends nor listeners: standard streams, log, timers, the runtimes'
/// epoll instances, statistics readers.
const OTHER_FILES: u64 = 64;

/// Half the cores: clients that are spread over more workers are read and written in smaller batches,
/// which costs 10 to 25 % of processor time per request, so more is a choice.
pub fn default_workers() -> NonZeroUsize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN)
}

/// Half of what the machine has or the control group allows, at least 256 MB. In bytes.
pub fn default_memory() -> usize {
    let bytes = available_memory(Path::new("/")) / 2;
    usize::try_from(bytes.max(MIN_DEFAULT_MEMORY)).unwrap_or(usize::MAX)
}

/// Bytes, with `proc` and `sys` below `root`; 0 if nothing is known.
fn available_memory(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo"))
        .ok()
        .and_then(|text| total_memory(&text));
    let group = fs::read_to_string(root.join("proc/self/cgroup"))
        .ok()
        .and_then(|text| group_memory(&text, &root.join("sys/fs/cgroup")));
    machine.into_iter().chain(group).min().unwrap_or(0)
}

/// `MemTotal:       16303428 kB`
fn total_memory(meminfo: &str) -> Option<u64> {
    let value = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = value.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The lowest limit of this process's control group and of the groups around it. Each line of `groups`
/// is `number:controllers:path`; version 2 has the number 0 and names no controller.
fn group_memory(groups: &str, mount: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next(), fields.next(), fields.next());
        let (mount, file) = match (number, controllers) {
            (Some("0"), Some("")) => (mount.to_owned(), "memory.max"),
            (_, Some(names)) if names.split(',').any(|name| name == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        // Inside a container the path may be the host's: the mount itself is the group then.
        let group = Path::new(path.unwrap_or_default().trim_start_matches('/')).to_owned();
        let limit = |group: &Path| -> Option<u64> {
            let text = fs::read_to_string(mount.join(group).join(file)).ok()?;
            text.trim().parse().ok()
        };
        group.ancestors().filter_map(limit).collect()
    });
    limits.min()
}

/// Raises the soft limit on open files to the hard one, logs if that is small for `config`, and returns
/// how many clients of all pools it leaves room for when every backend connection exists: at least half.
pub fn raise_open_files(config: &Config, workers: usize) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut limit = current.unwrap_or(u64::MAX);
    if current != maximum {
        let wanted = Rlimit {
            current: maximum,
            maximum,
        };
        match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => limit = maximum.unwrap_or(u64::MAX),
            Err(error) => tracing::warn!("raising the limit on open files failed: {error}"),
        }
    }
    let backends = backend_files(config, workers);
    let clients = clients_for(limit, backends + config.live().len() as u64);
    let wanted = wanted_clients(config);
    if clients < wanted {
        tracing::warn!(
            "{limit} open files are allowed: {clients} clients can connect, client_connections of all \
             pools are {wanted}; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    } else if clients == limit / 2 {
        tracing::warn!(
            "{limit} open files are allowed, backend connections alone may need {backends}: connections \
             may fail; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    clients
}

/// How many files this process may have open now; 0 is without limit.
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(0)
}

/// Each worker has its own connections, and one set for each protocol version that clients speak.
fn backend_files(config: &Config, workers: usize) -> u64 {
    let pools = config.live().into_iter();
    let per_worker = pools.map(|(_, pool)| {
        let versions = 2;
        versions * u64::from(pool.server_connections.get()) * pool.live_count() as u64
    });
    per_worker.sum::<u64>().saturating_mul(workers as u64)
}

fn wanted_clients(config: &Config) -> u64 {
    let limits = config
        .live()
        .into_iter()
        .filter_map(|(_, pool)| pool.client_connections);
    limits.map(|limit| u64::from(limit.get())).sum()
}

fn clients_for(limit: u64, others: u64) -> u64 {
    limit.saturating_sub(others + OTHER_FILES).max(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    const MEMINFO: &str = "MemTotal:        4000000 kB\nMemFree:         1000 kB\n";

    #[test]
    fn memory_is_the_machines_without_a_group() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("proc/meminfo"), MEMINFO);
        assert_eq!(available_memory(root.path()), 4_000_000 * 1024);
    }

    #[test]
    fn nothing_known_leaves_the_minimum() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(available_memory(root.path()), 0);
        assert!(default_memory() >= 256 << 20);
    }

    #[test]
    fn the_lowest_enclosing_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(&root.join("proc/meminfo"), MEMINFO);
        write(&root.join("proc/self/cgroup"), "0::/a/b\n");
        write(&root.join("sys/fs/cgroup/a/b/memory.max"), "max\n");
        assert_eq!(available_memory(root), 4_000_000 * 1024);
        write(&root.join("sys/fs/cgroup/a/memory.max"), "1000000\n");
        assert_eq!(available_memory(root), 1_000_000);
    }

    #[test]
    fn version_1_groups_count_also_where_the_path_is_the_hosts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(&root.join("proc/meminfo"), MEMINFO);
        write(
            &root.join("proc/self/cgroup"),
            "5:cpu,memory:/docker/x\n3:pids:/y\n",
        );
        write(
            &root.join("sys/fs/cgroup/memory/memory.limit_in_bytes"),
            "2000000\n",
        );
        assert_eq!(available_memory(root), 2_000_000);
    }

    #[test]
    fn backends_leave_clients_at_least_half() {
        assert_eq!(clients_for(1024, 100), 1024 - 100 - OTHER_FILES);
        assert_eq!(clients_for(1024, 2000), 512);
        assert_eq!(clients_for(u64::MAX, 0), u64::MAX - OTHER_FILES);
    }
}
