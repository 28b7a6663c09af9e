//! Servers that stall: who waits, for how long, and what happens to replies that come too late.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::{
    Client, FakeServer, Pool, Proxy, RedisServer, Stats, Value, count, encode, eventually, keys_on,
};

/// The pool's `timeout`.
const TIMEOUT: Duration = Duration::from_millis(200);
/// Nothing takes so long but on a machine that stands still.
const LONG: Duration = Duration::from_secs(5);

const IN_DOUBT: &str = "; the command may or may not have been applied";

fn pool() -> Pool {
    Pool::new("alpha").set("timeout", TIMEOUT.as_millis())
}

fn of_server(proxy: &Proxy, name: &str) -> u64 {
    Stats::of(proxy).server("alpha", "server1", name)
}

/// What the reply to a request that has just been sent is, which must be due at the pool's timeout.
#[track_caller]
fn late_error(client: &mut Client, sent: Instant) -> String {
    let reply = client.read();
    let waited = sent.elapsed();
    assert!(TIMEOUT <= waited && waited < LONG, "after {waited:?}");
    reply.error().to_owned()
}

#[test]
fn a_stalled_server_costs_an_error_and_nobody_else_anything() {
    let stalled = RedisServer::start();
    let well = RedisServer::start();
    let proxy = Proxy::start(&[pool().servers([&stalled, &well])]);
    let (here, there) = (&keys_on(1, 2)[0], &keys_on(2, 2)[0]);
    let mut client = proxy.client();
    let mut other = proxy.client();
    assert_eq!(client.cmd(&["SET", here, "1"]), Value::ok());
    assert_eq!(other.cmd(&["SET", there, "2"]), Value::ok());
    stalled.pause();
    let expected = format!(
        "ERR Connection timed out after 200 ms without a reply: server {} (server1)",
        stalled.addr()
    );
    for _ in 0..2 {
        let sent = Instant::now();
        client.send(encode(&["GET", here]));
        client.send(encode(&["SET", here, "x"]));
        client.send(encode(&["GET", there]));
        while sent.elapsed() < TIMEOUT / 2 {
            assert_eq!(other.cmd(&["GET", there]), Value::bulk("2"));
        }
        assert_eq!(late_error(&mut client, sent), expected);
        assert_eq!(client.read().error(), format!("{expected}{IN_DOUBT}"));
        assert_eq!(client.read(), Value::bulk("2"), "the client is served on");
    }
    assert_eq!(of_server(&proxy, "server_timedout"), 2);
    assert_eq!(count(&proxy.log(), "timed out"), 1);
    stalled.resume();
    eventually("it serves again", || !client.cmd(&["GET", here]).is_error());
    assert_eq!(count(&proxy.log(), "answers again"), 1);
}

#[test]
fn a_late_reply_reaches_no_other_request() {
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[pool().server(&fake.line("server1"))]);
    let mut client = proxy.client();
    let mut late = Vec::new();
    for round in 0..3 {
        let key = format!("k{round}");
        client.send(encode(&["GET", &key]));
        let mut backend = fake.accept();
        backend.expect(&["GET", &key]);
        assert!(client.read().error().contains("timed out"));
        backend.reply_late("$4\r\nlate\r\n");
        late.push(backend);

        let mut backend = fake.accept_for(&mut client, &["GET", "next"]);
        late[round].reply_late("$4\r\nlate\r\n");
        backend.reply("$5\r\nright\r\n");
        assert_eq!(client.read(), Value::bulk("right"));
        backend.close();
        eventually("the close is seen", || {
            of_server(&proxy, "server_connections") == 0
        });
    }
    for mut backend in late {
        backend.expect_closed();
    }
}

/// Half of the reply is here, and its rest takes too long.
#[test]
fn a_reply_that_stops_half_way_times_out() {
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[pool().server(&fake.line("server1"))]);
    let mut client = proxy.client();
    for (half, client_lives) in [
        (b"*2\r\n$1\r\na\r\n$100\r\nb".to_vec(), true),
        ([&b"$100000\r\n"[..], &[b'v'; 50_000]].concat(), false),
    ] {
        let mut backend = fake.accept_for(&mut client, &["GET", "k"]);
        backend.reply(half);
        if client_lives {
            assert!(client.read().error().contains("timed out after 200 ms"));
        } else {
            assert_eq!(client.read_to_end().len(), 50_009);
        }
        backend.expect_closed();
    }
}

/// The opening of a connection counts, too.
#[test]
fn a_handshake_without_an_answer_times_out() {
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[pool().set("redis_db", 2).server(&fake.line("server1"))]);
    let mut client = proxy.client();
    let sent = Instant::now();
    client.send(encode(&["SET", "k", "v"]));
    let mut backend = fake.accept();
    backend.expect(&["SELECT", "2"]);
    let expected = format!(
        "ERR Connection timed out while connecting: server {} (server1)",
        fake.addr()
    );
    assert_eq!(late_error(&mut client, sent), expected);
    backend.expect_closed();
}

/// A listener whose queue is full: the kernel drops what would be the next connection.
struct FullQueue {
    address: SocketAddr,
    _listener: Socket,
    _connections: Vec<Socket>,
}

impl FullQueue {
    fn new() -> Option<FullQueue> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut connections = Vec::new();
        for _ in 0..64 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let made = socket.connect_timeout(&address.into(), Duration::from_millis(100));
            connections.push(socket);
            if made.is_err() {
                return Some(FullQueue {
                    address,
                    _listener: listener,
                    _connections: connections,
                });
            }
        }
        None
    }
}

#[test]
fn connecting_takes_no_longer_than_the_timeout() {
    let Some(full) = FullQueue::new() else {
        println!("skipped: this system's queues of connections are never full");
        return;
    };
    let proxy = Proxy::start(&[pool().server(&format!("{}:1 server1", full.address))]);
    let mut client = proxy.client();
    let expected = format!(
        "ERR Connection timed out while connecting: server {} (server1)",
        full.address
    );
    let sent = Instant::now();
    client.send(encode(&["SET", "k", "v"]));
    client.send(encode(&["GET", "k"]));
    assert_eq!(late_error(&mut client, sent), expected, "nothing was sent");
    assert_eq!(client.read().error(), expected);
    assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
    assert_eq!(of_server(&proxy, "server_timedout"), 1);
}

/// Without `timeout` a request waits for as long as the server needs.
#[test]
fn without_timeout_a_paused_server_is_waited_for() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    server.pause();
    client.send(encode(&["GET", "k"]));
    client.expect_silence(2 * TIMEOUT);
    server.resume();
    assert_eq!(client.read(), Value::bulk("v"));
    assert!(TcpStream::connect(server.addr()).is_ok());
}
