//! Sockets that are passed as systemd passes them.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::site::{Address, Connection, Process, Site};
use crate::support::{Proxy, free_port, mortal};

/// Passes its standard streams on as the descriptors 3 and 4, as systemd would.
const PASS: &str = "export LISTEN_PID=$$ LISTEN_FDS=2; \
                    exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null";

fn launch(site: &Site, sockets: [OwnedFd; 2]) -> Process {
    let [first, second] = sockets;
    let mut shell = mortal(Path::new("/bin/sh"));
    shell.args(["-c", PASS]).arg(Proxy::binary());
    shell.stdin(Stdio::from(first)).stdout(Stdio::from(second));
    site.launch_with(shell, &[])
}

fn copy(socket: impl Into<OwnedFd>) -> (OwnedFd, OwnedFd) {
    let socket = socket.into();
    (socket.try_clone().expect("a descriptor"), socket)
}

fn port(address: &Address) -> u16 {
    match address {
        Address::Tcp(port) => *port,
        Address::Unix(_) => panic!("not TCP"),
    }
}

#[test]
fn passed_sockets_serve_who_came_before_the_start_and_outlive_the_process() {
    let site = Site::new();
    let tcp = TcpListener::bind(("127.0.0.1", port(&site.tcp()))).expect("it is free");
    let unix = UnixListener::bind(site.path("unix.sock")).expect("it is free");
    let (_systemds, tcp) = copy(tcp);
    let (_systemds_too, unix) = copy(unix);
    let mut early: Vec<_> = [site.tcp(), site.unix()]
        .iter()
        .map(Connection::new)
        .collect();
    let mut process = launch(&site, [tcp, unix]);
    for client in &mut early {
        client.ping();
    }
    process.says(" started, pid ");
    assert!(!process.log().contains("[WARN"), "{}", process.log());
    process.signal(Signal::TERM);
    process.ends();
    assert!(site.path("unix.sock").exists(), "it is systemd's");
    assert!(!site.path("handover").exists(), "it is ours");
    // Nobody is refused in between, and the next process serves who waits.
    for address in [site.tcp(), site.unix()] {
        drop(Connection::new(&address));
    }
}

#[test]
fn a_passed_socket_stays_systemds_through_a_hand_over() {
    let site = Site::new();
    let tcp = TcpListener::bind(("127.0.0.1", port(&site.tcp()))).expect("it is free");
    let unix = UnixListener::bind(site.path("unix.sock")).expect("it is free");
    let mut old = launch(&site, [tcp.into(), unix.into()]);
    old.says(" started, pid ");
    let mut new = site.start(&[]);
    old.ends();
    for address in [site.tcp(), site.unix()] {
        Connection::new(&address).ping();
    }
    new.signal(Signal::TERM);
    new.ends();
    assert!(site.path("unix.sock").exists(), "it is systemd's");
}

#[test]
fn the_statistics_port_can_be_passed_and_a_stranger_is_named() {
    let site = Site::new();
    let statistics = TcpListener::bind(("127.0.0.1", site.stats_port)).expect("it is free");
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = stranger.local_addr().expect("it is bound");
    let (_systemds, statistics) = copy(statistics);
    let process = launch(&site, [statistics, stranger.into()]);
    process.says(" started, pid ");
    process.says(&format!(
        "systemd passed the socket {address}, which no pool's listen names"
    ));
}

#[test]
fn what_is_no_listening_socket_is_named() {
    let site = Site::new();
    let file = fs::File::open("/dev/null").expect("it is there");
    let connected =
        std::net::TcpStream::connect(("127.0.0.1", site.redis.port())).expect("it is up");
    let process = launch(&site, [file.into(), connected.into()]);
    process.says(" started, pid ");
    process.says("socket 0 passed by systemd is not used: fd 3 is not a socket");
    process.says("socket 1 passed by systemd is not used: it does not listen");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let site = Site::new();
    let passed = TcpListener::bind(("127.0.0.1", port(&site.tcp()))).expect("it is free");
    let mut shell = mortal(Path::new("/bin/sh"));
    let pass = PASS.replace("LISTEN_PID=$$", "LISTEN_PID=1");
    shell.args(["-c", &pass]).arg(Proxy::binary());
    shell
        .stdin(Stdio::from(OwnedFd::from(passed)))
        .stdout(Stdio::null());
    let mut process = site.launch_with(shell, &[]);
    assert_eq!(
        process.wait().code(),
        Some(1),
        "it binds itself, and cannot"
    );
    process.says("Address already in use");
}

/// The real thing, where systemd is installed.
#[test]
fn systemd_socket_activate_starts_it_with_the_first_client() {
    let program = Path::new("/usr/bin/systemd-socket-activate");
    if !program.exists() {
        eprintln!("skipped: {} is missing", program.display());
        return;
    }
    let site = Site::new();
    let (tcp, statistics) = (port(&site.tcp()), site.stats_port);
    let other = free_port();
    let mut activate = mortal(program);
    for port in [tcp, statistics, other] {
        activate.args(["-l", &format!("127.0.0.1:{port}")]);
    }
    activate.arg("--").arg(Proxy::binary());
    activate.stdin(Stdio::null()).stdout(Stdio::null());
    let process = site.launch_with(activate, &[]);
    let client = crate::support::within(crate::support::PATIENCE, || {
        Connection::try_new(&site.tcp()).is_ok()
    });
    assert!(client, "systemd-socket-activate does not listen");
    process.says(" started, pid ");
    Connection::new(&site.tcp()).ping();
    process.says(&format!("systemd passed the socket 127.0.0.1:{other}"));
}
