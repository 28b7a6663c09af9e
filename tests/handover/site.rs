//! A configuration in a folder of its own, of which one process after the other is started.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{
    PATIENCE, Pool, Proxy, RedisServer, Value, encode, eventually, free_port, mortal, parse, within,
};

/// Two pools in front of one server: `tcp` and `unix`.
pub struct Site {
    folder: TempDir,
    pub redis: RedisServer,
    tcp: Pool,
    pub stats_port: u16,
    started: Cell<usize>,
}

impl Site {
    pub fn new() -> Site {
        let redis = RedisServer::start();
        let site = Site {
            folder: TempDir::new().expect("a temporary directory"),
            tcp: Pool::new("tcp").servers([&redis]),
            redis,
            stats_port: free_port(),
            started: Cell::new(0),
        };
        site.configure("");
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration: both pools and `more`.
    pub fn configure(&self, more: &str) {
        let socket = self.path("unix.sock").display().to_string();
        let unix = Pool::new("unix").listen(&socket).servers([&self.redis]);
        let text = self.tcp.yaml() + &unix.yaml() + more;
        fs::write(self.path("nutcracker.yml"), text).expect("the folder is ours");
    }

    pub fn tcp(&self) -> Address {
        Address::Tcp(self.tcp.addr().1)
    }

    pub fn unix(&self) -> Address {
        Address::Unix(self.path("unix.sock"))
    }

    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.path("pid")).ok()?.parse().ok()
    }

    /// A process that knows the path for hand-overs, with further arguments.
    pub fn launch(&self, more: &[&str]) -> Process {
        self.launch_with(mortal(&Proxy::binary()), more)
    }

    /// `program` has to run the proxy with the arguments it is given.
    pub fn launch_with(&self, mut program: Command, more: &[&str]) -> Process {
        let number = self.started.get() + 1;
        self.started.set(number);
        let log = self.path(&format!("log.{number}"));
        let child = program
            .current_dir(self.folder.path())
            .args([
                "-c",
                "nutcracker.yml",
                "-p",
                "pid",
                "--handover",
                "handover",
            ])
            .arg("-o")
            .arg(&log)
            .args(["-s", &self.stats_port.to_string(), "--workers", "2"])
            .args(more)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Process { child, log }
    }

    /// As [`Site::launch`], and waits until it serves.
    #[track_caller]
    pub fn start(&self, more: &[&str]) -> Process {
        let process = self.launch(more);
        process.says(" started, pid ");
        process
    }

    /// What the server has for `key`.
    #[track_caller]
    pub fn value(&self, key: &str) -> Value {
        self.redis.client().cmd(&["GET", key])
    }
}

/// Dropped: killed.
pub struct Process {
    pub child: Child,
    log: PathBuf,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[track_caller]
    pub fn says(&self, text: &str) {
        assert!(
            within(PATIENCE, || self.log().contains(text)),
            "not said: {text}\n{}",
            self.log()
        );
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child is ours");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = within(PATIENCE, || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        assert!(ended, "still running:\n{}", self.log());
        status.expect("it has ended")
    }

    /// Waits until it has ended without a fault.
    #[track_caller]
    pub fn ends(&mut self) {
        assert_eq!(self.wait().code(), Some(0), "{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of process {} ---\n{}", self.pid(), self.log());
        }
        // Fails only for a process that has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(u16),
    Unix(PathBuf),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A client over either kind of socket.
pub struct Connection {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Connection {
    #[track_caller]
    pub fn new(address: &Address) -> Connection {
        Connection::try_new(address).expect("somebody listens")
    }

    pub fn try_new(address: &Address) -> std::io::Result<Connection> {
        let stream: Box<dyn Stream> = match address {
            Address::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        };
        Ok(Connection {
            stream,
            unread: Vec::new(),
        })
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the proxy reads");
    }

    /// False if the proxy has closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next reply; `None` at the end of the stream.
    pub fn try_read(&mut self) -> std::io::Result<Option<Value>> {
        loop {
            if let Some((value, length)) = parse(&self.unread).expect("a reply") {
                self.unread.drain(..length);
                return Ok(Some(value));
            }
            let mut bytes = [0; 4096];
            let n = self.stream.read(&mut bytes)?;
            if n == 0 {
                assert!(self.unread.is_empty(), "half a reply");
                return Ok(None);
            }
            self.unread.extend_from_slice(&bytes[..n]);
        }
    }

    #[track_caller]
    pub fn read(&mut self) -> Value {
        let reply = self.try_read().expect("the connection lives");
        reply.expect("a reply instead of a close")
    }

    #[track_caller]
    pub fn cmd(&mut self, arguments: &[&str]) -> Value {
        self.send(&encode(arguments));
        self.read()
    }

    #[track_caller]
    pub fn ping(&mut self) {
        assert_eq!(self.cmd(&["PING"]), Value::Simple("PONG".into()));
    }

    /// The proxy closes, in order and without a word.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let end = self.try_read().expect("the proxy closes in order");
        assert_eq!(end, None);
    }
}

/// Waits until connections are refused, at once.
#[track_caller]
pub fn eventually_refused(address: &Address) {
    eventually("nobody listens", || Connection::try_new(address).is_err());
}
