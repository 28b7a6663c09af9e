//! What a service manager is told.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::site::{Connection, Process, Site};
use crate::support::{PATIENCE, Proxy, mortal};

struct Manager(UnixDatagram);

impl Manager {
    fn new(site: &Site, name: &str) -> Manager {
        let socket = UnixDatagram::bind(site.path(name)).expect("the folder is ours");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Manager(socket)
    }

    fn launch(&self, site: &Site, watchdog: Option<Duration>) -> Process {
        let mut program = mortal(&Proxy::binary());
        let address = self.0.local_addr().expect("it is bound");
        program.env("NOTIFY_SOCKET", address.as_pathname().expect("a path"));
        if let Some(period) = watchdog {
            program.env("WATCHDOG_USEC", period.as_micros().to_string());
        }
        site.launch_with(program, &["--drain-idle", "0"])
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut bytes = [0; 1024];
        let n = self.0.recv(&mut bytes).expect("a message in time");
        String::from_utf8(bytes[..n].to_vec()).expect("text")
    }

    /// The next message has a line that begins so.
    #[track_caller]
    fn hears(&self, begin: &str) -> String {
        let message = self.next();
        let found = message.lines().any(|line| line.starts_with(begin));
        assert!(found, "{begin}: {message}");
        message
    }
}

#[test]
fn the_start_a_reload_and_the_end_are_told() {
    let site = Site::new();
    let manager = Manager::new(&site, "notify");
    let mut process = manager.launch(&site, None);
    let message = manager.hears("READY=1");
    assert!(message.contains("STATUS=serving\n"), "{message}");
    Connection::new(&site.tcp()).ping();
    process.signal(Signal::HUP);
    let message = manager.hears("RELOADING=1");
    assert!(message.contains("MONOTONIC_USEC="), "{message}");
    manager.hears("READY=1");
    process.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    process.ends();
}

#[test]
fn a_hand_over_is_ready_when_the_old_process_is_stopping() {
    let site = Site::new();
    let (one, other) = (Manager::new(&site, "one"), Manager::new(&site, "other"));
    let mut old = one.launch(&site, None);
    one.hears("READY=1");
    let stays = Connection::new(&site.tcp());
    old.says("listening on");
    let _new = other.launch(&site, None);
    other.hears("READY=1");
    one.hears("STOPPING=1");
    drop(stays);
    old.ends();
}

#[test]
fn the_watchdog_is_fed_until_the_process_is_stuck() {
    let site = Site::new();
    let manager = Manager::new(&site, "notify");
    let process = manager.launch(&site, Some(Duration::from_millis(200)));
    manager.hears("READY=1");
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }
    process.signal(Signal::STOP);
    let silence = Duration::from_millis(500);
    manager.0.set_read_timeout(Some(silence)).expect("not zero");
    // What was sent before the signal may still be there.
    let error = loop {
        match manager.0.recv(&mut [0; 64]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    manager
        .0
        .set_read_timeout(Some(PATIENCE))
        .expect("not zero");
    process.signal(Signal::CONT);
    assert_eq!(manager.next(), "WATCHDOG=1\n");
}
