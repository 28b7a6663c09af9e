//! Starts that fail, what they say, and what they leave alone.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::Pid;

use crate::setup::{Setup, pool};
use crate::support::free_port;

#[test]
fn every_pool_that_cannot_listen_is_named() {
    let setup = Setup::new();
    let taken: Vec<TcpListener> = (0..2)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let address = |index: usize| taken[index].local_addr().unwrap().to_string();
    let pools = [("beta", address(0)), ("gamma", address(1))];
    let unix = pool("alpha", &setup.path("alpha.sock").display().to_string());
    let more = pools.each_ref().map(|(name, address)| pool(name, address));
    setup.configure(&(unix + &more.concat()));
    let said = setup.fails(&[]);
    for (name, address) in &pools {
        let line = format!("pool '{name}': cannot listen on {address}: Address already in use");
        assert!(said.contains(&line), "{line}: {said}");
        assert!(setup.log().contains(&line), "{line}: {}", setup.log());
    }
    assert!(
        !setup.path("alpha.sock").exists(),
        "a failed start undoes itself"
    );
}

#[test]
fn a_taken_statistics_port_is_named() {
    let setup = Setup::new();
    let _taken = TcpListener::bind(("127.0.0.1", setup.stats_port)).unwrap();
    let said = setup.fails(&[]);
    let address = format!("127.0.0.1:{}", setup.stats_port);
    assert!(
        said.contains(&format!("statistics: cannot listen on {address}: ")),
        "{said}"
    );
}

#[test]
fn statistics_listen_where_they_are_told() {
    let setup = Setup::new();
    let _running = setup.spawn(&["-a", "127.0.0.2"]).started();
    assert!(TcpStream::connect(("127.0.0.2", setup.stats_port)).is_ok());
    assert!(TcpStream::connect(("127.0.0.1", setup.stats_port)).is_err());
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_the_start() {
    let setup = Setup::new();
    let said = setup.fails(&["-p", "no/such/folder/pid"]);
    assert!(
        said.contains("writing pid file 'no/such/folder/pid' failed: "),
        "{said}"
    );
    assert!(
        !setup.path("alpha.sock").exists(),
        "a failed start undoes itself"
    );
}

#[test]
fn a_failed_start_leaves_the_pid_file_of_the_running_process() {
    let setup = Setup::new();
    let running = setup.spawn(&[]).started();
    let mut second = setup.spawn(&["-s", &free_port().to_string()]);
    assert_eq!(second.wait().code(), Some(1));
    assert_eq!(setup.pid(), Some(Pid::from_child(&running.child)));
}

#[test]
fn a_log_that_cannot_be_opened_fails_the_start() {
    let setup = Setup::new();
    let said = setup.fails(&["-o", "no/such/folder/log"]);
    assert!(
        said.contains("opening log file 'no/such/folder/log' failed: "),
        "{said}"
    );
}

#[test]
fn a_socket_that_nobody_answers_on_is_replaced() {
    let setup = Setup::new();
    drop(UnixListener::bind(setup.path("alpha.sock")).unwrap());
    assert!(setup.path("alpha.sock").exists(), "std leaves the path");
    let _running = setup.spawn(&[]).started();
    assert!(UnixStream::connect(setup.path("alpha.sock")).is_ok());
}

#[test]
fn a_socket_that_is_in_use_is_left_alone() {
    let setup = Setup::new();
    let other = UnixListener::bind(setup.path("alpha.sock")).unwrap();
    let said = setup.fails(&[]);
    assert!(
        said.contains("pool 'alpha'") && said.contains("another process listens there"),
        "{said}"
    );
    other.set_nonblocking(true).unwrap();
    other.accept().expect("the socket was only probed");
    assert!(UnixStream::connect(setup.path("alpha.sock")).is_ok());
}

#[test]
fn a_file_in_the_place_of_a_socket_is_left_alone() {
    let setup = Setup::new();
    fs::write(setup.path("alpha.sock"), "precious").unwrap();
    let said = setup.fails(&[]);
    assert!(said.contains("exists and is not a socket"), "{said}");
    assert_eq!(
        fs::read_to_string(setup.path("alpha.sock")).unwrap(),
        "precious"
    );
}
