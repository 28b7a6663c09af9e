//! Clients that are slow, silent, greedy or speak nonsense: they get little and delay nobody.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{Port, json, parts, read_all};

/// Clients that are served at a time.
const PLACES: usize = 64;

/// Writes to the port until it has closed the connection; for how long that was.
fn closed_after(mut stream: TcpStream) -> Duration {
    let begin = Instant::now();
    while stream.write_all(b"x").is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(20), "still open");
        thread::sleep(Duration::from_millis(50));
    }
    begin.elapsed()
}

#[test]
fn malformed_http_is_refused() {
    let port = Port::start();
    let endless = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    for (request, status) in [
        ("GET\r\n\r\n", " 400 "),
        ("GET / HTTP/9.9\r\n\r\n", " 400 "),
        (endless.as_str(), " 431 "),
    ] {
        let reply = port.ask(request);
        assert!(reply.starts_with("HTTP/1.1"), "{reply:?}");
        assert!(reply.contains(status), "{reply:?}");
    }
}

#[test]
fn half_a_head_is_cut_off_and_delays_nobody() {
    let port = Port::start();
    let mut slow = port.connect();
    slow.write_all(b"GET /stats HTTP/1.1\r\nHost: pro")
        .expect("write");
    let begin = Instant::now();
    assert_eq!(json(&read_all(port.connect()).expect("read"))["workers"], 2);
    let elapsed = begin.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    // Neither JSON nor a success: the request was never finished.
    let reply = read_all(slow).expect("an orderly close");
    assert!(
        !reply.contains("200 OK") && !reply.contains("alpha"),
        "{reply:?}"
    );
    let elapsed = begin.elapsed();
    assert!(
        elapsed > Duration::from_secs(3) && elapsed < Duration::from_secs(9),
        "{elapsed:?}"
    );
}

#[test]
fn a_body_without_end_is_not_waited_for() {
    let port = Port::start();
    let mut trickle = port.connect();
    let head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
    trickle.write_all(head).expect("write");
    assert!(closed_after(trickle) < Duration::from_secs(5));
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    // More than the kernel takes off our hands.
    let pool = "x".repeat(24 << 20);
    let port = Port::start_with((Ipv4Addr::LOCALHOST, 0).into(), &pool);
    let mut stalled = port.connect();
    stalled.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("write");
    let elapsed = closed_after(stalled);
    assert!(elapsed > Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn hundreds_of_silent_clients_are_all_served() {
    let port = Port::start();
    let clients: Vec<TcpStream> = (0..3 * PLACES).map(|_| port.connect()).collect();
    for client in clients {
        assert_eq!(json(&read_all(client).expect("read"))["workers"], 2);
    }
}

#[test]
fn slow_and_silent_clients_keep_nobody_out() {
    let port = Port::start();
    let slow: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut client = port.connect();
            match n % 3 {
                0 => client.write_all(b"GET /stats HT").expect("write"),
                1 => client.write_all(b"G").expect("write"),
                _ => {}
            }
            client
        })
        .collect();
    for _ in 0..5 {
        let begin = Instant::now();
        let (_, _, body) = parts(&port.ask("GET /stats HTTP/1.1\r\nHost: proxy\r\n\r\n"));
        assert_eq!(json(&body)["workers"], 2);
        let elapsed = begin.elapsed();
        assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
    }
    drop(slow);
}

#[test]
fn only_the_first_of_several_requests_is_answered() {
    let port = Port::start();
    let request = "GET /health HTTP/1.1\r\nHost: proxy\r\n\r\n";
    let (status, _, body) = parts(&port.ask(&request.repeat(20)));
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(body, "ok\n");
}

#[test]
fn garbage_is_survived() {
    let port = Port::start();
    let headers = "X: y\r\n".repeat(1000);
    let many = format!("GET / HTTP/1.1\r\n{headers}\r\n");
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    for request in [
        many.as_str(),
        long_path.as_str(),
        "GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 300000\r\n\r\nhalf a body",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}",
        "A",
    ] {
        let mut stream = port.connect();
        stream.write_all(request.as_bytes()).expect("write");
        stream.shutdown(Shutdown::Write).expect("shutdown");
        let reply = read_all(stream).expect("a reply and an orderly close");
        assert!(reply.len() < 10_000, "{reply}");
    }
    assert_eq!(json(&read_all(port.connect()).expect("read"))["workers"], 2);
}
