//! A real redis-server without persistence: what is killed comes back empty.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::{Client, PATIENCE, accepts, free_port, mortal, within};

#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    dir: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// On a free loopback port; also on the unix socket [`RedisServer::socket`].
    #[track_caller]
    pub fn start() -> RedisServer {
        RedisServer::with_args(&[])
    }

    /// With further arguments of redis-server, such as `&["--requirepass", "secret"]`.
    #[track_caller]
    pub fn with_args(arguments: &[&str]) -> RedisServer {
        let mut server = RedisServer {
            port: free_port(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            dir: TempDir::new().expect("a temporary directory"),
            child: None,
        };
        server.restart();
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The process id; panics while the server is down.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is up").id()
    }

    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// A connection past the proxy.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(("127.0.0.1", self.port))
    }

    /// SIGKILL, and waits until the process is gone. Nothing if it is down.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_file(self.socket());
        }
    }

    /// Starts the server on its old port, empty, and waits until it takes connections. Kills it first if
    /// it is up.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let mut child = mortal(Path::new("redis-server"))
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(self.dir.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts; tests/run.sh installs it");
        let up = within(PATIENCE, || {
            accepts(self.port) || child.try_wait().is_ok_and(|s| s.is_some())
        });
        let ended = child.try_wait().expect("the child is ours");
        self.child = Some(child);
        assert!(
            up && ended.is_none(),
            "redis-server on port {} did not come up: {ended:?}",
            self.port
        );
    }

    /// Stops the process without ending it: connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    #[track_caller]
    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("the server is up");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal)
            .expect("the child is ours and not yet waited for");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
