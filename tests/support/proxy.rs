//! The proxy under test, as a process of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Client, PATIENCE, RedisServer, free_port, mortal, within};

const UNSHARE: &str = "/usr/bin/unshare";
/// Each replaces itself by the next, so the process id stays.
const MOUNT_AND_RUN: &str = "mount --bind \"$0\" /etc/hosts && \
                             mount --bind /dev/null /etc/resolv.conf && exec \"$@\"";

/// May this user give a process its own `/etc/hosts`?
pub fn can_replace_hosts() -> bool {
    Command::new(UNSHARE)
        .args(["--mount", "sh", "-c", MOUNT_AND_RUN, "/etc/hosts", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Said at every level and in every format, to standard error if there is no log file, once clients are
/// accepted and signals obeyed. Ports take connections earlier: the kernel does so as soon as they are bound.
const STARTED: &str = " started, pid ";

/// One pool of the configuration file. Its listen port is chosen when it is made.
#[derive(Clone, Debug)]
pub struct Pool {
    name: String,
    port: u16,
    /// Instead of the port on 127.0.0.1.
    listen: Option<String>,
    lines: Vec<String>,
    servers: Vec<String>,
}

impl Pool {
    /// A redis pool; everything but `listen` and `redis: true` is left at its default.
    pub fn new(name: &str) -> Pool {
        Pool {
            name: name.into(),
            port: free_port(),
            listen: None,
            lines: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// A `key: value` of the pool, in place of one set before.
    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Pool {
        let before = format!("{key}: ");
        self.lines.retain(|line| !line.starts_with(&before));
        self.lines.push(format!("{key}: {value}"));
        self
    }

    /// Listens elsewhere; [`Pool::addr`] and [`Proxy::addr`] say nothing about such a pool.
    pub fn listen(mut self, listen: &str) -> Pool {
        self.listen = Some(listen.into());
        self
    }

    /// Adds servers with weight 1 named `server1`, `server2`, ... by which keys are placed, whatever
    /// the ports of this run are.
    pub fn servers<'a>(mut self, servers: impl IntoIterator<Item = &'a RedisServer>) -> Pool {
        for server in servers {
            let number = self.servers.len() + 1;
            self.servers
                .push(format!("{}:1 server{number}", server.addr()));
        }
        self
    }

    /// Adds a line of the `servers:` list as it is.
    pub fn server(mut self, line: &str) -> Pool {
        self.servers.push(line.into());
        self
    }

    /// The address clients connect to.
    pub fn addr(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.port)
    }

    /// Its part of the configuration file.
    pub fn yaml(&self) -> String {
        let listen = match &self.listen {
            Some(listen) => format!("'{listen}'"),
            None => format!("127.0.0.1:{}", self.port),
        };
        let mut out = format!("{}:\n  listen: {listen}\n  redis: true\n", self.name);
        for line in &self.lines {
            writeln!(out, "  {line}").expect("writing to a String");
        }
        out.push_str("  servers:\n");
        for server in &self.servers {
            writeln!(out, "    - {server}").expect("writing to a String");
        }
        out
    }
}

/// A running proxy. Dropped: killed.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    dir: TempDir,
    ports: Vec<u16>,
    stats_port: u16,
}

/// What differs from an ordinary start: see [`Proxy::build`].
#[derive(Debug)]
pub struct ProxyBuilder {
    yaml: String,
    ports: Vec<u16>,
    arguments: Vec<String>,
    hosts: Option<PathBuf>,
}

impl Proxy {
    /// Starts the proxy and waits until it has started in full; panics with its log otherwise.
    #[track_caller]
    pub fn start(pools: &[Pool]) -> Proxy {
        Proxy::build(pools).start()
    }

    /// To add command line arguments before the start.
    pub fn build(pools: &[Pool]) -> ProxyBuilder {
        ProxyBuilder {
            yaml: pools.iter().map(Pool::yaml).collect(),
            ports: pools
                .iter()
                .filter(|pool| pool.listen.is_none())
                .map(|pool| pool.port)
                .collect(),
            arguments: Vec::new(),
            hosts: None,
        }
    }

    /// The binary under test: `NUTHATCH_BIN` if that is set, else the one cargo built for this run.
    pub fn binary() -> PathBuf {
        std::env::var_os("NUTHATCH_BIN")
            .map_or_else(|| env!("CARGO_BIN_EXE_nuthatch").into(), PathBuf::from)
    }

    /// The address of the first pool.
    pub fn addr(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.ports[0])
    }

    pub fn stats_addr(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.stats_port)
    }

    /// A new connection to the first pool.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.addr())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What was logged so far, standard output and error included.
    pub fn log(&self) -> String {
        log_of(self.dir.path())
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("nuthatch.log")
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("nutcracker.yml")
    }

    pub fn pid_path(&self) -> PathBuf {
        self.dir.path().join("nuthatch.pid")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .expect("the child is ours and not yet waited for");
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = within(PATIENCE, || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        assert!(ended, "the proxy did not end:\n{}", self.log());
        status.expect("set when it ended")
    }
}

impl ProxyBuilder {
    /// More command line arguments, such as `&["--workers", "2"]`.
    pub fn args(mut self, arguments: &[&str]) -> ProxyBuilder {
        self.arguments
            .extend(arguments.iter().map(|&a| a.to_owned()));
        self
    }

    /// With this file in place of `/etc/hosts` and no name service, for the proxy alone. Needs [`can_replace_hosts`].
    pub fn hosts(mut self, file: &Path) -> ProxyBuilder {
        self.hosts = Some(file.into());
        self
    }

    fn command(&self) -> Command {
        let binary = Proxy::binary();
        let Some(hosts) = &self.hosts else {
            return mortal(&binary);
        };
        let mut command = mortal(Path::new(UNSHARE));
        command.args(["--mount", "sh", "-c", MOUNT_AND_RUN]);
        command.arg(hosts).arg(binary);
        command
    }

    #[track_caller]
    pub fn start(self) -> Proxy {
        let dir = TempDir::new().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("nutcracker.yml"), &self.yaml).expect("the directory is ours");
        let output = fs::File::create(path("output")).expect("the directory is ours");
        let stats_port = free_port();
        let mut child = self
            .command()
            .arg("-c")
            .arg(path("nutcracker.yml"))
            .arg("-o")
            .arg(path("nuthatch.log"))
            .arg("-p")
            .arg(path("nuthatch.pid"))
            .args(["-a", "127.0.0.1", "-s", &stats_port.to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("the proxy's binary starts");
        let mut ended = None;
        let up = within(PATIENCE, || {
            ended = child.try_wait().expect("the child is ours");
            ended.is_some() || log_of(dir.path()).contains(STARTED)
        });
        if !up || ended.is_some() {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "the proxy did not come up: {ended:?}\n{}\n{}",
                self.yaml,
                log_of(dir.path())
            );
        }
        Proxy {
            child,
            dir,
            ports: self.ports,
            stats_port,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the proxy's log ---\n{}", self.log());
        }
        // Fails only for a process that has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(dir: &Path) -> String {
    ["nuthatch.log", "output"]
        .map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default())
        .concat()
}
