//! The life of the process: start, signals, end, and what it leaves behind.

#[path = "process/clients.rs"]
mod clients;
#[path = "process/setup.rs"]
mod setup;
#[path = "process/start.rs"]
mod start;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::{Pid, Signal, getsid, kill_process, test_kill_process};

use setup::{Setup, pool};
use support::eventually;

#[test]
fn both_signals_to_stop_leave_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let setup = Setup::new();
        let mut running = setup.spawn(&[]).started();
        let pid = fs::read_to_string(setup.path("pid")).unwrap();
        assert_eq!(pid, running.child.id().to_string());
        let mode = |name| fs::metadata(setup.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("pid"), mode("log")), (0o644, 0o644));
        assert_eq!(mode("alpha.sock"), 0o600);
        UnixStream::connect(setup.path("alpha.sock")).expect("the pool listens");

        running.signal(signal);
        assert_eq!(running.wait().code(), Some(0), "{}", setup.log());
        assert!(!setup.path("pid").exists());
        assert!(!setup.path("alpha.sock").exists());
        assert!(
            setup.log().trim_end().ends_with("stopped"),
            "{}",
            setup.log()
        );
    }
}

#[test]
fn a_successors_files_are_left_alone() {
    let setup = Setup::new();
    let mut running = setup.spawn(&[]).started();
    fs::write(setup.path("pid"), "1").unwrap();
    fs::remove_file(setup.path("alpha.sock")).unwrap();
    let _successor = UnixListener::bind(setup.path("alpha.sock")).unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!(fs::read_to_string(setup.path("pid")).unwrap(), "1");
    assert!(UnixStream::connect(setup.path("alpha.sock")).is_ok());
}

#[test]
fn the_log_is_reopened() {
    let setup = Setup::new();
    let running = setup.spawn(&[]).started();
    fs::rename(setup.path("log"), setup.path("log.1")).unwrap();
    running.signal(Signal::HUP);
    running.says("signal 1 (SIGHUP): log file reopened");
    let old = fs::read_to_string(setup.path("log.1")).unwrap();
    assert!(
        old.contains("signal 1 (SIGHUP) received, reopening log file"),
        "{old}"
    );
    assert!(!setup.log().contains(" started, pid "));
}

#[test]
fn a_log_that_cannot_be_reopened_stays_in_use() {
    let setup = Setup::new();
    let running = setup.spawn(&[]).started();
    fs::rename(setup.path("log"), setup.path("log.1")).unwrap();
    fs::create_dir(setup.path("log")).unwrap();
    running.signal(Signal::HUP);
    eventually("the error is logged", || {
        let old = fs::read_to_string(setup.path("log.1")).unwrap();
        old.contains("opening log file 'log' failed: ") && old.contains("stays in use")
    });
}

#[test]
fn signals_change_the_log_level() {
    let setup = Setup::new();
    let running = setup.spawn(&["-v", "5"]).started();
    let connect = || UnixStream::connect(setup.path("alpha.sock")).unwrap();
    let accepted = || setup.log().matches("client accepted").count();
    running.signal(Signal::TTIN);
    running.says("signal 21 (SIGTTIN) received, log level is now 6 (info)");
    let _unheard = connect();
    running.signal(Signal::TTIN);
    running.says("log level is now 7 (debug)");
    let before = accepted();
    let _heard = connect();
    eventually("the client is logged", || accepted() > before);
    running.signal(Signal::TTOU);
    running.says("signal 22 (SIGTTOU) received, log level is now 6 (info)");
}

#[test]
fn the_life_of_the_process_is_logged_at_every_level() {
    let setup = Setup::new();
    let mut running = setup.spawn(&["-v", "0"]).started();
    running.signal(Signal::USR2);
    running.says("signal 12 (SIGUSR2) received, ignored");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
    assert!(!setup.log().contains("listening on"), "{}", setup.log());
}

#[test]
fn options_without_effect_are_explained() {
    let setup = Setup::new();
    let running = setup.spawn(&["-m", "512", "-i", "1"]).started();
    running.says("-m (--mbuf-size) has no effect");
}

#[test]
fn warnings_of_the_configuration_are_logged() {
    let setup = Setup::new();
    let listen = setup.path("alpha.sock").display().to_string();
    let yaml = pool("alpha", &listen).replace("redis:", "hash: crc32\n  redis:");
    setup.configure(&(yaml + "    - 127.0.0.1:2:1\n"));
    let running = setup.spawn(&[]).started();
    running.says("crc32");
    assert!(setup.log().contains(" WARN "), "{}", setup.log());
}

#[test]
fn a_daemon_is_ready_when_the_command_returns() {
    let setup = Setup::new();
    let mut command = setup.spawn(&["-d"]);
    assert_eq!(command.wait().code(), Some(0), "{}", setup.log());
    assert_eq!(command.stderr(), "");
    let daemon = setup.pid().expect("the pid file is there");
    UnixStream::connect(setup.path("alpha.sock")).expect("the pool listens");
    assert_ne!(daemon, Pid::from_child(&command.child));
    assert_eq!(getsid(Some(daemon)), Ok(daemon), "it has its own session");

    kill_process(daemon, Signal::TERM).unwrap();
    eventually("the daemon ends", || !setup.path("pid").exists());
    eventually("its process is gone", || test_kill_process(daemon).is_err());
    assert!(!setup.path("alpha.sock").exists());
}

#[test]
fn a_daemon_that_cannot_start_fails_the_command() {
    let setup = Setup::new();
    setup.configure("alpha:\n  listen: nowhere\n");
    let said = setup.fails(&["-d"]);
    assert!(
        said.contains("nutcracker.yml:2: ") && said.contains("servers"),
        "{said}"
    );
    assert!(
        setup.log().contains("nutcracker.yml:2: "),
        "{}",
        setup.log()
    );
}

#[test]
fn a_daemon_without_a_log_file_warns() {
    let setup = Setup::new();
    let mut command = setup.spawn(&["-d", "-o", ""]);
    assert_eq!(command.wait().code(), Some(0));
    let daemon = setup.pid().expect("the pid file is there");
    let said = command.stderr();
    kill_process(daemon, Signal::TERM).unwrap();
    assert!(said.contains("a daemon without a log file"), "{said}");
    eventually("the daemon ends", || !setup.path("pid").exists());
}
