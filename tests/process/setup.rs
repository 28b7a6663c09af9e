//! A program with its files in a folder of its own, started without waiting for success.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{PATIENCE, Proxy, eventually, free_port, within};

/// A folder with a configuration of one pool that listens on a unix socket in it.
pub struct Setup {
    folder: TempDir,
    pub stats_port: u16,
}

impl Setup {
    pub fn new() -> Setup {
        let setup = Setup {
            folder: TempDir::new().expect("a temporary directory"),
            stats_port: free_port(),
        };
        let socket = setup.path("alpha.sock");
        setup.configure(&pool("alpha", &format!("{} 0600", socket.display())));
        setup
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configure(&self, yaml: &str) {
        fs::write(self.path("nutcracker.yml"), yaml).expect("the directory is ours");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.path("pid")).ok()?;
        Pid::from_raw(text.parse().ok()?)
    }

    pub fn spawn(&self, more: &[&str]) -> Running<'_> {
        self.spawn_with(Command::new(Proxy::binary()), more)
    }

    pub fn spawn_with(&self, mut program: Command, more: &[&str]) -> Running<'_> {
        let child = program
            .current_dir(self.folder.path())
            .args(["-c", "nutcracker.yml", "-o", "log", "-p", "pid"])
            .args(["-s", &self.stats_port.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Running { setup: self, child }
    }

    /// A start that is to fail: what it says.
    #[track_caller]
    pub fn fails(&self, more: &[&str]) -> String {
        let mut running = self.spawn(more);
        let status = running.wait();
        assert_eq!(status.code(), Some(1), "{}", self.log());
        assert!(!self.path("pid").is_file(), "the pid file is left");
        running.stderr()
    }
}

pub fn pool(name: &str, listen: &str) -> String {
    format!("{name}:\n  listen: {listen}\n  redis: true\n  servers:\n    - 127.0.0.1:1:1\n")
}

pub struct Running<'s> {
    setup: &'s Setup,
    pub child: Child,
}

impl Running<'_> {
    /// Waits until it has said so in the log.
    #[track_caller]
    pub fn started(self) -> Self {
        eventually("started", || self.setup.log().contains(" started, pid "));
        self
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child is ours");
    }

    #[track_caller]
    pub fn says(&self, text: &str) {
        eventually(text, || self.setup.log().contains(text));
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = within(PATIENCE, || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        assert!(ended, "still running:\n{}", self.setup.log());
        status.expect("it has ended")
    }

    pub fn stderr(&mut self) -> String {
        let pipe = self.child.stderr.take().expect("stderr is a pipe");
        std::io::read_to_string(pipe).expect("text")
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Fails only for a process that has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
