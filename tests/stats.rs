//! The stats port as its clients see it: HTTP, nutcracker's agents that only read, and rude ones.

#[path = "stats/hostile.rs"]
mod hostile;
#[path = "stats/paths.rs"]
mod paths;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nuthatch::admin::{Admin, Readiness, Sources};
use nuthatch::config::{self, Current};
use nuthatch::stats::{PoolNames, Stats};
use nuthatch::topology::Topology;
use serde_json::Value;
use tokio::sync::{oneshot, watch};

/// A stats port on a thread of its own, stopped on drop.
struct Port {
    address: SocketAddr,
    stats: Stats,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    fn start() -> Port {
        Port::start_with((Ipv4Addr::LOCALHOST, 0).into(), "alpha")
    }

    fn start_with(address: SocketAddr, pool: &str) -> Port {
        let pool = PoolNames::numbered(0, pool, &["server1", "127.0.0.1:6379"]);
        let stats = Stats::new(vec![pool], 2);
        let admin = Admin::bind(address).expect("bind");
        let address = admin.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let yaml = "alpha: {listen: '127.0.0.1:1', redis: true, redis_auth: sesame, \
                    servers: ['127.0.0.1:2:1 server1', '127.0.0.1:6379:1']}";
        let config = config::parse(yaml, "test").expect("a configuration").config;
        let (_, topology) = watch::channel(Topology::initial(&config).into());
        let sources = Sources {
            stats: stats.clone(),
            topology,
            config: Current::new(Arc::new(config), "test".into(), Duration::ZERO),
            page: Box::new(counted()),
            readiness: Readiness::default(),
        };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            let stopped = async move { drop(stopped.await) };
            runtime
                .block_on(admin.serve(sources, stopped))
                .expect("serve");
        });
        Port {
            address,
            stats,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("read timeout");
        stream
    }

    /// What comes back for `request` until the port closes.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("write");
        read_all(stream).expect("a reply and an orderly close")
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the port's thread");
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A page that says how often it was asked for.
fn counted() -> impl Fn() -> String + Send + Sync {
    let calls = AtomicUsize::new(0);
    move || format!("{{\"calls\":{}}}\n", calls.fetch_add(1, Relaxed) + 1)
}

fn read_all(mut stream: TcpStream) -> io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// Status line, lower-case header lines, body.
fn parts(reply: &str) -> (String, Vec<String>, String) {
    let (head, body) = reply.split_once("\r\n\r\n").expect(reply);
    let mut lines = head.lines();
    let status = lines.next().expect("a status line").to_string();
    let headers = lines.map(str::to_ascii_lowercase).collect();
    (status, headers, body.to_string())
}

#[test]
fn a_silent_client_gets_one_line_of_json_and_the_close() {
    let port = Port::start();
    port.stats.workers[0].pools[0].client_eof.add(3);
    port.stats.workers[1].pools[0].client_eof.add(4);
    port.stats.workers[1].pools[0].servers[1].requests.add(5);
    let begin = Instant::now();
    let text = read_all(port.connect()).expect("read");
    let elapsed = begin.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert_eq!(text.find('\n'), Some(text.len() - 1), "{text:?}");
    let report = json(&text);
    assert_eq!(report["service"], "nuthatch");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["alpha"]["client_eof"], 7);
    assert_eq!(report["alpha"]["127.0.0.1:6379"]["requests"], 5);
    assert_eq!(report["alpha"]["server1"]["requests"], 0);
    let place = &report["server_addresses"][1];
    assert_eq!(place["server"], "127.0.0.1:6379");
    assert_eq!(place["address"], "127.0.0.1:6379");
    assert_eq!(place["role_source"], "configuration");
}

#[test]
fn the_header_says_who_and_when() {
    let port = Port::start();
    let report = json(&read_all(port.connect()).expect("read"));
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    assert_eq!(report["source"], hostname.trim_end());
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let timestamp = report["timestamp"].as_u64().expect("a number");
    assert!(now - timestamp <= 2, "{timestamp} at {now}");
    assert!(report["uptime"].as_u64().expect("a number") <= 2);
    thread::sleep(Duration::from_millis(1100));
    let report = json(&read_all(port.connect()).expect("read"));
    assert!(report["uptime"].as_u64().expect("a number") >= 1);
}

#[test]
fn a_client_that_closes_its_side_without_a_word_gets_the_plain_json() {
    let port = Port::start();
    let stream = port.connect();
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let report = json(&read_all(stream).expect("read"));
    assert_eq!(report["workers"], 2);
}

#[test]
fn words_that_are_not_http_get_the_plain_json() {
    let port = Port::start();
    for words in ["stats\r\n", "\n", "\u{1}\u{0}"] {
        assert_eq!(json(&port.ask(words))["workers"], 2, "{words:?}");
    }
}

#[test]
fn http_serves_the_same_text() {
    let port = Port::start();
    port.stats.control.pools[0].server_ejects.set(9);
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET /stats HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: proxy\r\n\r\n",
        "GET /stats HTTP/1.1\r\nHost: proxy\r\nConnection: keep-alive\r\n\r\n",
        "GET /stats?pretty=1 HTTP/1.1\r\nHost: proxy\r\n\r\n",
        "GET http://proxy/stats HTTP/1.1\r\nHost: proxy\r\n\r\n",
    ] {
        let (status, headers, body) = parts(&port.ask(request));
        assert!(status.ends_with(" 200 OK"), "{request:?}: {status}");
        let has = |line: &str| headers.iter().any(|header| header == line);
        assert!(has("content-type: application/json"), "{headers:?}");
        assert!(has("cache-control: no-store"), "{headers:?}");
        assert!(
            has(&format!("content-length: {}", body.len())),
            "{headers:?}"
        );
        assert!(body.ends_with("}\n"), "{body:?}");
        assert_eq!(json(&body)["alpha"]["server_ejects"], 9);
    }
}

#[test]
fn the_topology_is_made_anew_at_each_request() {
    let port = Port::start();
    for calls in 1..=2 {
        let (status, headers, body) = parts(&port.ask("GET /topology HTTP/1.0\r\n\r\n"));
        assert!(status.ends_with(" 200 OK"), "{status}");
        let json_type = "content-type: application/json".to_string();
        assert!(headers.contains(&json_type), "{headers:?}");
        assert_eq!(json(&body)["calls"], calls);
    }
}

#[test]
fn http_1_1_says_that_it_closes() {
    let port = Port::start();
    let (_, headers, _) = parts(&port.ask("GET / HTTP/1.1\r\nHost: proxy\r\n\r\n"));
    let close = headers.iter().any(|header| header == "connection: close");
    assert!(close, "{headers:?}");
}

#[test]
fn http_after_the_clients_end_of_stream_is_answered() {
    // Large enough that the reply is still being written when the end of stream is seen.
    let pool = "x".repeat(16 << 20);
    let port = Port::start_with((Ipv4Addr::LOCALHOST, 0).into(), &pool);
    let mut stream = port.connect();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("write");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    thread::sleep(Duration::from_millis(300));
    let (_, _, body) = parts(&read_all(stream).expect("read"));
    assert_eq!(json(&body)["workers"], 2);
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let port = Port::start();
    let mut stream = port.connect();
    for piece in [
        "G",
        "ET /ver",
        "sion HTTP/1.1\r\nHost",
        ": proxy\r\n\r",
        "\n",
    ] {
        stream.write_all(piece.as_bytes()).expect("write");
        thread::sleep(Duration::from_millis(60));
    }
    let (status, _, body) = parts(&read_all(stream).expect("read"));
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(json(&body)["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn head_has_the_headers_and_no_body() {
    let port = Port::start();
    let (status, headers, body) = parts(&port.ask("HEAD /stats HTTP/1.1\r\nHost: proxy\r\n\r\n"));
    assert_eq!(status, "HTTP/1.1 200 OK");
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    assert!(length > 100, "{length}");
    assert_eq!(body, "");
}

#[test]
fn values_are_those_of_the_moment_of_the_request() {
    let port = Port::start();
    let requests = &port.stats.workers[0].pools[0].servers[0].requests;
    // The connection is older than the value.
    let mut stream = port.connect();
    stream.write_all(b"GET /stats HTTP/1.1\r\n").expect("write");
    for expected in 1..=20 {
        requests.add(1);
        let (_, _, body) = parts(&port.ask("GET / HTTP/1.0\r\n\r\n"));
        assert_eq!(json(&body)["alpha"]["server1"]["requests"], expected);
    }
    stream.write_all(b"Host: proxy\r\n\r\n").expect("write");
    let (_, _, body) = parts(&read_all(stream).expect("read"));
    assert_eq!(json(&body)["alpha"]["server1"]["requests"], 20);
}

#[test]
fn shutdown_closes_the_port_and_it_can_be_bound_again_at_once() {
    let mut port = Port::start();
    let address = port.address;
    // Closed by the port first: leaves a TIME_WAIT on its side.
    json(&read_all(port.connect()).expect("read"));
    let mut held = port.connect();
    held.write_all(b"GET / HT").expect("write");
    json(&read_all(port.connect()).expect("read"));
    port.stop();
    assert!(TcpStream::connect(address).is_err(), "still listening");
    assert!(!matches!(held.read(&mut [0]), Ok(1..)), "no reply is owed");
    let again = Port::start_with(address, "alpha");
    json(&read_all(again.connect()).expect("read"));
}

#[test]
fn a_taken_port_is_an_error_of_bind() {
    let port = Port::start();
    let error = Admin::bind(port.address).expect_err("taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
