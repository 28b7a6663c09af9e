//! Clients: who is let in, where they are served, and how they end with the process.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::setup::Setup;
use crate::support::{Client, Pool, Proxy, RedisServer, Value, encode, eventually};

#[test]
fn few_clients_spread_over_the_workers() {
    let setup = Setup::new();
    let running = setup.spawn(&["--workers", "2", "-v", "7"]).started();
    let connect = || UnixStream::connect(setup.path("alpha.sock")).unwrap();
    let _clients: Vec<UnixStream> = (0..4).map(|_| connect()).collect();
    running.says("client accepted");
    let on = |worker: &str| setup.log().matches(worker).count();
    eventually("two clients on each", || {
        on("worker=0") == 2 && on("worker=1") == 2
    });
}

#[test]
fn running_out_of_open_files_is_survived() {
    let setup = Setup::new();
    let limited = "ulimit -n 28 && exec \"$0\" \"$@\"";
    let program = Proxy::binary();
    let mut shell = Command::new("sh");
    shell.args(["-c", limited]).arg(program);
    let running = setup.spawn_with(shell, &["--workers", "1"]).started();
    let connect = || UnixStream::connect(setup.path("alpha.sock")).unwrap();
    let clients: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
    running.says("accepting a client failed: Too many open files");
    drop(clients);
    eventually("a client is served", || {
        let mut client = connect();
        let mut answer = [0; 7];
        client.write_all(b"PING\r\n").is_ok()
            && client.read_exact(&mut answer).is_ok()
            && &answer == b"+PONG\r\n"
    });
    let lines = setup.log().matches("accepting a client failed").count();
    assert!(lines <= 6, "{}", setup.log());
}

#[test]
fn clients_beyond_client_connections_are_told_and_closed() {
    let server = RedisServer::start();
    let pool = Pool::new("alpha")
        .set("client_connections", 2)
        .servers([&server]);
    let proxy = Proxy::build(&[pool]).args(&["--workers", "2"]).start();
    let mut first = client_that_is_served(&proxy);
    let second = client_that_is_served(&proxy);
    let mut third = proxy.client();
    assert_eq!(third.read().error(), "ERR max number of clients reached");
    third.expect_closed();
    assert_eq!(first.cmd(&["GET", "a"]), Value::Nil, "the others go on");
    eventually("the refusal is logged", || {
        proxy.log().contains("client_connections is 2")
    });
    drop(second);
    client_that_is_served(&proxy);
}

/// The places of clients that are closed become free a moment later.
#[track_caller]
fn client_that_is_served(proxy: &Proxy) -> Client {
    let mut served = None;
    eventually("a client is served", || {
        let mut client = proxy.client();
        client.send(encode(&["PING"]));
        let answer = client.read();
        served = (!answer.is_error()).then_some(client);
        served.is_some()
    });
    served.expect("it is served")
}

/// A server that takes a request and does not answer.
fn silent_pool() -> (TcpListener, Pool) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("it is bound");
    let pool = Pool::new("alpha").server(&format!("{address}:1 silent"));
    (server, pool)
}

/// Does a server owe the answer to one request?
fn in_flight(proxy: &Proxy) -> bool {
    let mut stats = TcpStream::connect(proxy.stats_addr()).expect("the statistics port listens");
    stats
        .write_all(b"GET /stats HTTP/1.0\r\n\r\n")
        .expect("it reads");
    let report = std::io::read_to_string(stats).expect("it answers");
    report.contains("\"out_queue\":1")
}

#[test]
fn what_is_in_flight_is_answered_before_the_end() {
    let server = RedisServer::start();
    let pool = Pool::new("alpha").servers([&server]);
    let mut proxy = Proxy::start(&[pool]);
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "a", "1"]), Value::ok());
    server.pause();
    client.send(encode(&["GET", "a"]));
    eventually("the request is in flight", || in_flight(&proxy));
    proxy.signal(Signal::TERM);
    let listening = || TcpStream::connect(proxy.addr()).is_ok();
    eventually("it stops to listen", || !listening());
    server.resume();
    assert_eq!(client.read(), Value::bulk("1"));
    client.expect_closed();
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn the_wait_for_what_is_in_flight_is_bounded() {
    let (_server, pool) = silent_pool();
    let mut proxy = Proxy::build(&[pool])
        .args(&["--shutdown-timeout", "300"])
        .start();
    let mut client = proxy.client();
    client.send(encode(&["GET", "a"]));
    eventually("the request is in flight", || in_flight(&proxy));
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(300), "it waited");
    assert!(proxy.log().contains("after 300 ms"), "{}", proxy.log());
    assert!(!proxy.pid_path().exists());
}

#[test]
fn a_second_signal_ends_the_wait() {
    let (_server, pool) = silent_pool();
    let mut proxy = Proxy::build(&[pool])
        .args(&["--shutdown-timeout", "600000"])
        .start();
    let mut client = proxy.client();
    client.send(encode(&["GET", "a"]));
    eventually("the request is in flight", || in_flight(&proxy));
    proxy.signal(Signal::TERM);
    eventually("the first is logged", || proxy.log().contains("SIGTERM"));
    assert!(proxy.is_running(), "a client still waits");
    proxy.signal(Signal::INT);
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(!proxy.pid_path().exists());
}
