//! HAProxy as a process of its own, with `deploy/haproxy.cfg` but for addresses.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::support::{PATIENCE, Proxy, free_port, mortal, within};

/// By what an instance is judged: a backend of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// As the file is.
    Ready,
    /// The alternative in the file.
    Ping,
}

impl Check {
    fn backend(self) -> &'static str {
        match self {
            Check::Ready => "nuthatch",
            Check::Ping => "nuthatch_ping",
        }
    }
}

/// A running HAProxy. Dropped: killed.
#[derive(Debug)]
pub struct Balancer {
    child: Child,
    dir: TempDir,
    check: Check,
    port: u16,
    status: u16,
}

impl Balancer {
    /// Starts it and waits until it finds both instances up.
    #[track_caller]
    pub fn start(instances: [&Proxy; 2], check: Check) -> Balancer {
        let dir = TempDir::new().expect("a temporary directory");
        let (port, status) = (free_port(), free_port());
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, configuration(instances, check, port, status)).expect("it is ours");
        let log = fs::File::create(dir.path().join("log")).expect("the directory is ours");
        let child = mortal(program())
            .arg("-f")
            .arg(&file)
            .arg("-db")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("haproxy starts");
        let balancer = Balancer {
            child,
            dir,
            check,
            port,
            status,
        };
        // "UP" alone, not "UP 1/2", and not as the state of the start: both were checked.
        let up = within(PATIENCE, || {
            balancer
                .try_column("check_status")
                .is_some_and(|checked| checked.iter().all(|status| status.starts_with("L7OK")))
                && balancer.states() == ["UP", "UP"]
        });
        assert!(up, "the instances are not up:\n{}", balancer.log());
        balancer
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// What HAProxy thinks of an instance, such as `UP`, `UP 1/2` or `DOWN`.
    pub fn state(&self, instance: usize) -> String {
        self.states()[instance].clone()
    }

    fn states(&self) -> [String; 2] {
        self.column("status")
    }

    /// Clients on each instance.
    pub fn sessions(&self) -> [usize; 2] {
        self.numbers("scur")
    }

    /// How often each instance was taken out.
    pub fn times_down(&self) -> [usize; 2] {
        self.numbers("chkdown")
    }

    fn numbers(&self, column: &str) -> [usize; 2] {
        self.column(column)
            .map(|text| text.parse().expect("a number"))
    }

    fn column(&self, name: &str) -> [String; 2] {
        let column = self.try_column(name);
        column.unwrap_or_else(|| panic!("no {name}:\n{}", self.log()))
    }

    /// From the status page's CSV: the value of each instance.
    fn try_column(&self, name: &str) -> Option<[String; 2]> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.status)).ok()?;
        stream
            .write_all(b"GET /;csv HTTP/1.0\r\n\r\n")
            .expect("the status page takes a request");
        let mut page = String::new();
        stream
            .read_to_string(&mut page)
            .expect("the status page answers");
        let (_, table) = page.split_once("# ")?;
        let mut lines = table.lines().map(|line| line.split(','));
        let at = lines.next()?.position(|title| title == name);
        let at = at.unwrap_or_else(|| panic!("no column {name}"));
        let mut rows = lines.filter_map(|mut row| {
            let ours = row.next()? == self.check.backend() && row.next()?.starts_with("nuthatch");
            // Two columns are taken already.
            ours.then(|| row.nth(at - 2).expect("a row has all columns").to_owned())
        });
        Some([rows.next()?, rows.next()?])
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- haproxy's log ---\n{}", self.log());
        }
        // Fails only for a process that has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's is where only root looks.
pub fn program() -> &'static Path {
    let debian = Path::new("/usr/sbin/haproxy");
    match debian.exists() {
        true => debian,
        false => Path::new("haproxy"),
    }
}

/// The shipped file, with the addresses of this run.
#[track_caller]
fn configuration(instances: [&Proxy; 2], check: Check, port: u16, status: u16) -> String {
    let mut text = include_str!("../../deploy/haproxy.cfg").to_owned();
    let mut replace = |from: &str, times: usize, to: &str| {
        assert_eq!(text.matches(from).count(), times, "{from}");
        text = text.replace(from, to);
    };
    replace("bind :6379\n", 1, &format!("bind 127.0.0.1:{port}\n"));
    let page = format!("bind 127.0.0.1:{status}\n");
    replace("bind 127.0.0.1:8404\n", 1, &page);
    for (number, instance) in (1..).zip(instances) {
        let (pool, stats) = (instance.addr().1, instance.stats_addr().1);
        let line = format!("server nuthatch{number} 172.30.0.1{number}:22121\n");
        let to = format!("server nuthatch{number} 127.0.0.1:{pool}");
        // The port of the check is where the check is not of the pool itself.
        let ready = format!("{to} port {stats}\n");
        let (front, back) = text
            .split_once("backend nuthatch_ping\n")
            .expect("both are there");
        assert_eq!(
            (front.matches(&line).count(), back.matches(&line).count()),
            (1, 1)
        );
        let (front, back) = (
            front.replace(&line, &ready),
            back.replace(&line, &format!("{to}\n")),
        );
        text = format!("{front}backend nuthatch_ping\n{back}");
    }
    if check == Check::Ping {
        let chosen = "default_backend nuthatch_ping\n";
        assert_eq!(text.matches("default_backend nuthatch\n").count(), 1);
        assert_eq!(text.matches("    disabled\n").count(), 1);
        text = text
            .replace("default_backend nuthatch\n", chosen)
            .replace("    disabled\n", "");
    }
    text
}
