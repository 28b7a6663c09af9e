//! One redis-server process, as a Redis or as a Sentinel, with its folder.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::ask;
use crate::support::{Client, PATIENCE, Value, mortal, within};

/// A Redis or a Sentinel. Its configuration file is its own: it rewrites it, so that a restart comes back
/// with what it last knew, as in operation.
#[derive(Debug)]
pub struct Node {
    kind: Kind,
    dir: PathBuf,
    address: SocketAddr,
    announced: SocketAddr,
    password: Option<String>,
    child: Option<Child>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Redis,
    Sentinel,
}

impl Node {
    /// Writes the configuration file; [`Node::restart`] starts the process.
    ///
    /// `announced`: where others find it, which differs behind a relay. `password`: of its default user.
    pub(super) fn new(
        kind: Kind,
        dir: PathBuf,
        address: SocketAddr,
        announced: SocketAddr,
        password: Option<String>,
        configuration: &str,
    ) -> Node {
        fs::create_dir(&dir).expect("the cluster's folder is ours");
        fs::write(dir.join("conf"), configuration).expect("the folder is ours");
        Node {
            kind,
            dir,
            address,
            announced,
            password,
            child: None,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where sentinels and clients are told that it is.
    pub fn announced(&self) -> SocketAddr {
        self.announced
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The password that [`Node::ask`] uses from now on.
    pub fn use_password(&mut self, password: &str) {
        self.password = Some(password.to_owned());
    }

    /// A connection past proxy and relay, authenticated.
    #[track_caller]
    pub fn client(&self) -> Client {
        let mut client = Client::connect(self.address);
        if let Some(password) = &self.password {
            assert_eq!(client.cmd(&["AUTH", password]), Value::ok());
        }
        client
    }

    /// One command.
    ///
    /// # Errors
    /// Why there is no reply.
    pub fn ask(&self, command: &[&str]) -> Result<Value, String> {
        ask(self.address, self.password.as_deref(), command)
    }

    /// One command that must be answered, an error reply included.
    #[track_caller]
    pub fn cmd(&self, command: &[&str]) -> Value {
        self.ask(command)
            .unwrap_or_else(|error| panic!("{command:?} at {}: {error}", self.address))
    }

    /// Does it say that it is a master?
    pub fn is_master(&self) -> bool {
        matches!(self.ask(&["ROLE"]), Ok(Value::Array(role)) if role[0] == Value::bulk("master"))
    }

    /// SIGKILL, and waits until the process is gone. Nothing if it is down.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills it if it is up; starts it with its own configuration and data; waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        self.spawn();
        self.wait_up();
    }

    /// Stops the process without ending it: connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// As [`Node::restart`], without waiting: nodes that are started together come up together.
    pub(super) fn spawn(&mut self) {
        self.kill();
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("output"))
            .expect("the folder is ours");
        let mut command = mortal(Path::new("redis-server"));
        command.arg(self.dir.join("conf"));
        if self.kind == Kind::Sentinel {
            command.arg("--sentinel");
        }
        let child = command
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("redis-server starts; tests/run.sh installs it");
        self.child = Some(child);
    }

    #[track_caller]
    pub(super) fn wait_up(&self) {
        let up = within(PATIENCE, || self.ask(&["PING"]).is_ok());
        assert!(
            up,
            "{:?} {} is not up:\n{}",
            self.kind,
            self.address,
            self.log()
        );
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("output")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the node is up");
        kill_process(Pid::from_child(child), signal)
            .expect("the child is ours and not yet waited for");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
