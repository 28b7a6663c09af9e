//! What the kernel says about this process; for Prometheus under the names that all exporters use.

use std::fmt;

use procfs::process::{LimitValue, Process as Proc};
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};
use prometheus_client::encoding::DescriptorEncoder;

use super::metrics::{counter, gauge};

/// Bytes in memory now; 0 if `/proc` is not to be read.
pub(super) fn resident_bytes() -> u64 {
    let stat = Proc::myself().and_then(|process| process.stat());
    stat.map_or(0, |stat| stat.rss * page_size())
}

#[derive(Debug)]
pub(super) struct Process {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    open_files: f64,
    /// Infinite without a limit.
    max_files: f64,
    /// Since the Unix epoch.
    started: f64,
}

impl Process {
    /// `None` if `/proc` is not to be read, as in some containers.
    pub(super) fn read() -> Option<Process> {
        Process::try_read().ok()
    }

    fn try_read() -> ProcResult<Process> {
        let process = Proc::myself()?;
        let stat = process.stat()?;
        let tick = ticks_per_second() as f64;
        Ok(Process {
            cpu_seconds: (stat.utime + stat.stime) as f64 / tick,
            resident_bytes: (stat.rss * page_size()) as f64,
            virtual_bytes: stat.vsize as f64,
            open_files: process.fd_count()? as f64,
            max_files: match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(files) => files as f64,
                LimitValue::Unlimited => f64::INFINITY,
            },
            started: boot_time_secs()? as f64 + stat.starttime as f64 / tick,
        })
    }

    pub(super) fn encode(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "User and system processor time.";
        counter(out, "process_cpu_seconds", help, self.cpu_seconds)?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory in use.",
                self.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory.",
                self.virtual_bytes,
            ),
            (
                "process_open_fds",
                "Number of open file descriptors.",
                self.open_files,
            ),
            (
                "process_max_fds",
                "Limit on open file descriptors.",
                self.max_files,
            ),
            (
                "process_start_time_seconds",
                "Start of the process since the Unix epoch.",
                self.started,
            ),
        ] {
            gauge(out, name, help, value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let before = Process::read().expect("/proc is there");
        assert!(before.resident_bytes > 100e3 && before.virtual_bytes >= before.resident_bytes);
        assert!(before.max_files >= before.open_files && before.open_files >= 3.0);
        let file = std::fs::File::open("/proc/self/stat").expect("/proc is there");
        // Other tests open and close files meanwhile, but not all of these.
        let more: Vec<_> = (0..500)
            .map(|_| file.try_clone().expect("a file"))
            .collect();
        let after = Process::read().expect("/proc is there");
        assert!(
            after.open_files > before.open_files + 100.0,
            "{} {}",
            more.len(),
            after.open_files
        );
        assert!(after.cpu_seconds >= before.cpu_seconds);
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .expect("a clock")
            .as_secs_f64();
        assert!(
            before.started < now + 2.0 && before.started > now - 86400.0,
            "{}",
            before.started
        );
        assert_eq!(before.started, after.started);
    }
}
