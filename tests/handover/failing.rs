//! Hand-overs that fail, and what has to be left alone.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::site::{Connection, Process, Site};
use crate::support::{PATIENCE, Proxy, eventually, mortal};

/// The old process serves, at every address, and its files are there.
#[track_caller]
fn goes_on(site: &Site, old: &mut Process) {
    assert!(old.is_running());
    assert_eq!(site.pid(), Some(old.pid()));
    for address in [site.tcp(), site.unix()] {
        let mut client = Connection::new(&address);
        client.ping();
    }
}

/// The next start takes over, whatever happened before.
#[track_caller]
fn can_be_relieved(site: &Site, mut old: Process) -> Process {
    let mut new = site.start(&[]);
    old.ends();
    goes_on(site, &mut new);
    new
}

/// Speaks for a process that takes over, packet by packet.
pub struct FakeSuccessor(Socket);

impl FakeSuccessor {
    pub fn connect(site: &Site) -> FakeSuccessor {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let path = SockAddr::unix(site.path("handover")).expect("a path");
        socket.connect(&path).expect("somebody listens");
        FakeSuccessor(socket)
    }

    pub fn send(&self, packet: &str) {
        self.0.send(packet.as_bytes()).expect("it is read");
    }

    /// The next packet; empty at the end. Descriptors in it are dropped.
    pub fn receive(&self) -> String {
        use std::io::Read;
        let mut bytes = [0; 256];
        let n = (&self.0).read(&mut bytes).expect("an answer in time");
        String::from_utf8(bytes[..n].to_vec()).expect("text")
    }

    /// As far as the sockets.
    pub fn take(&self, pid: u32) {
        self.send("nuthatch-handover 1 take");
        // Two pools, the statistics and the path itself; two of them have a path to remove.
        let offer = format!("nuthatch-handover 1 offer 4 {pid}");
        assert_eq!(self.receive(), offer);
        assert_eq!(self.receive(), "nuthatch-handover 1 sockets 0101");
    }
}

#[test]
fn a_bad_configuration_leaves_the_old_process_alone() {
    let site = Site::new();
    let mut old = site.start(&[]);
    site.configure("broken:\n  listen: nowhere\n");
    let mut new = site.launch(&[]);
    assert_eq!(new.wait().code(), Some(1));
    assert!(!old.log().contains("hand-over"), "it was not even asked");
    goes_on(&site, &mut old);
    site.configure("");
    can_be_relieved(&site, old);
}

#[test]
fn a_start_that_fails_with_the_sockets_in_its_hands_gives_them_back() {
    let site = Site::new();
    let mut old = site.start(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    site.configure(&format!(
        "taken:\n  listen: {address}\n  redis: true\n  servers:\n    - 127.0.0.1:1:1\n"
    ));
    let mut new = site.launch(&[]);
    assert_eq!(new.wait().code(), Some(1));
    new.says("pool 'taken': cannot listen on");
    old.says("it ended before it was ready; this process goes on");
    goes_on(&site, &mut old);
    site.configure("");
    can_be_relieved(&site, old);
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_only_the_new_process() {
    let site = Site::new();
    let mut old = site.start(&[]);
    let mut new = site.launch(&["-p", "no/such/folder/pid"]);
    assert_eq!(new.wait().code(), Some(1));
    old.says("it ended before it was ready; this process goes on");
    goes_on(&site, &mut old);
}

#[test]
fn who_dies_or_talks_nonsense_or_says_nothing_is_dropped() {
    let site = Site::new();
    let mut old = site.start(&[]);
    let dies = FakeSuccessor::connect(&site);
    dies.take(old.pid());
    drop(dies);
    old.says("it ended before it was ready; this process goes on");
    let babbles = FakeSuccessor::connect(&site);
    babbles.send("GET / HTTP/1.0");
    assert_eq!(babbles.receive(), "");
    old.says("not a packet of a hand-over: GET / HTTP/1.0");
    let newer = FakeSuccessor::connect(&site);
    newer.send("nuthatch-handover 2 take");
    assert_eq!(newer.receive(), "");
    old.says("speaks version 2 of the hand-over, this one 1");
    let hasty = FakeSuccessor::connect(&site);
    hasty.send("nuthatch-handover 1 ready");
    assert_eq!(hasty.receive(), "");
    old.says("it spoke out of turn");
    let silent = FakeSuccessor::connect(&site);
    assert_eq!(silent.receive(), "");
    old.says("it did not answer in time");
    goes_on(&site, &mut old);
    can_be_relieved(&site, old);
}

#[test]
fn an_end_while_another_process_has_the_sockets_leaves_their_paths() {
    let site = Site::new();
    let mut old = site.start(&[]);
    let heir = FakeSuccessor::connect(&site);
    heir.take(old.pid());
    old.signal(Signal::TERM);
    old.ends();
    assert_eq!(heir.receive(), "", "it learns that it is alone");
    assert!(site.path("unix.sock").exists());
    assert!(site.path("handover").exists());
    drop(heir);
    let mut new = site.start(&[]);
    goes_on(&site, &mut new);
}

#[test]
fn a_path_that_nobody_answers_on_is_replaced_and_private() {
    let site = Site::new();
    let mut killed = site.start(&[]);
    killed.signal(Signal::KILL);
    killed.wait();
    assert!(site.path("handover").exists());
    let mut new = site.start(&[]);
    let metadata = fs::metadata(site.path("handover")).expect("it is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    goes_on(&site, &mut new);
    can_be_relieved(&site, new);
}

#[test]
fn another_users_process_gets_nothing_and_gives_nothing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to be two users");
        return;
    }
    let site = Site::new();
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(site.path(""), everybody).expect("the folder is ours");
    // A copy, because the user may not be let in where the program is.
    fs::copy(Proxy::binary(), site.path("program")).expect("the folder is ours");
    let mut nobody = mortal(Path::new("/usr/bin/setpriv"));
    nobody.args(["--reuid", "65534", "--clear-groups"]);
    nobody.arg(site.path("program"));
    let mut old = site.launch_with(nobody, &[]);
    old.says(" started, pid ");
    let stranger = FakeSuccessor::connect(&site);
    assert_eq!(stranger.receive(), "");
    old.says("it belongs to user 0; this process goes on");
    let mut new = site.launch(&[]);
    assert_eq!(new.wait().code(), Some(1));
    new.says("hand-over at 'handover': the process there belongs to user 65534");
    goes_on(&site, &mut old);
}

#[test]
fn what_else_is_at_the_path_is_left_alone() {
    let site = Site::new();
    fs::write(site.path("handover"), "precious").expect("the folder is ours");
    let mut new = site.launch(&[]);
    assert_eq!(new.wait().code(), Some(1));
    new.says("the path exists and is not a socket");
    let content = fs::read_to_string(site.path("handover")).expect("it is there");
    assert_eq!(content, "precious");
    assert!(
        !site.path("unix.sock").exists(),
        "a failed start undoes itself"
    );

    fs::remove_file(site.path("handover")).expect("it is there");
    let _other: OwnedFd = UnixListener::bind(site.path("handover"))
        .expect("free")
        .into();
    let mut new = site.launch(&[]);
    assert_eq!(new.wait().code(), Some(1));
    new.says("hand-over at 'handover': connecting failed: ");
    assert!(site.path("handover").exists());
}

#[test]
fn pools_come_and_go_with_a_hand_over() {
    let site = Site::new();
    let folder = site.path("");
    let pool = |name: &str| {
        let socket = folder.join(name);
        let server = site.redis.addr();
        format!(
            "{name}:\n  listen: {}\n  redis: true\n  servers:\n    - {server}:1\n",
            socket.display()
        )
    };
    site.configure(&pool("goes"));
    let mut old = site.start(&[]);
    assert!(site.path("goes").exists());
    site.configure(&pool("comes"));
    let mut new = site.start(&[]);
    new.says("nothing listens on ");
    old.ends();
    goes_on(&site, &mut new);
    assert!(!site.path("goes").exists());
    let comes = crate::site::Address::Unix(site.path("comes"));
    Connection::new(&comes).ping();
    new.signal(Signal::TERM);
    new.ends();
    eventually("all paths are gone", || {
        ["unix.sock", "comes", "handover", "pid"]
            .iter()
            .all(|name| !site.path(name).exists())
    });
}
