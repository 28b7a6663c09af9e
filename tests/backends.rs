//! The life of connections to servers: when they are opened, how many there are, how a dead server is
//! treated and what becomes of the requests on a connection that ends.

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use support::{
    Client, FakeServer, Pool, Proxy, RedisServer, Stats, Value, count, encode, eventually, keys_on,
};

const IN_DOUBT: &str = "; the command may or may not have been applied";

fn over(fake: &FakeServer) -> Pool {
    Pool::new("alpha").server(&fake.line("server1"))
}

fn of_server(proxy: &Proxy, name: &str) -> u64 {
    Stats::of(proxy).server("alpha", "server1", name)
}

/// Connections of clients that Redis has, without the one that asks.
fn connections(client: &mut Client) -> usize {
    let Value::Bulk(list) = client.cmd(&["CLIENT", "LIST", "TYPE", "normal"]) else {
        panic!("CLIENT LIST answers with a string");
    };
    String::from_utf8_lossy(&list).lines().count() - 1
}

#[test]
fn nothing_is_opened_before_it_is_needed() {
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[over(&fake)]);
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
    assert_eq!(fake.connections(), 0);
    client.send(encode(&["GET", "k"]));
    fake.accept().answer(&["GET", "k"], "$-1\r\n");
    assert_eq!(client.read(), Value::Nil);
    assert_eq!(fake.connections(), 1);
}

#[test]
fn preconnect_opens_and_authenticates_before_the_first_request() {
    let mut fake = FakeServer::start();
    let pool = over(&fake)
        .set("preconnect", true)
        .set("redis_auth", "pw")
        .set("redis_db", 7);
    let proxy = Proxy::start(&[pool]);
    let mut backend = fake.accept();
    backend.expect(&["AUTH", "pw"]);
    backend.expect(&["SELECT", "7"]);
    backend.reply("+OK\r\n+OK\r\n");
    eventually("it is connected", || {
        of_server(&proxy, "server_connections") == 1
    });
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["AUTH", "pw"]), Value::ok());
    client.send(encode(&["GET", "k"]));
    backend.answer(&["GET", "k"], "$1\r\nv\r\n");
    assert_eq!(client.read(), Value::bulk("v"));
    assert_eq!(fake.connections(), 1);
}

#[test]
fn clients_spread_over_server_connections_and_each_keeps_to_one() {
    const CLIENTS: usize = 9;
    let server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha")
        .servers([&server])
        .set("server_connections", 3)]);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
    // All send before any reads, so that the connections are under load together.
    for round in 0..40 {
        for (number, client) in clients.iter_mut().enumerate() {
            let key = format!("k{number}");
            for step in 0..10 {
                let value = format!("{round}/{step}");
                client.send(encode(&["SET", &key, &value]));
                client.send(encode(&["GET", &key]));
            }
        }
        for client in &mut clients {
            for step in 0..10 {
                assert_eq!(client.read(), Value::ok());
                assert_eq!(client.read(), Value::bulk(format!("{round}/{step}")));
            }
        }
    }
    assert_eq!(connections(&mut server.client()), 3);
    assert_eq!(of_server(&proxy, "server_connections"), 3);
}

/// Attempts to connect in `time`, with pauses of at least 10, 20, 40, 80, 160, 250, 250, ... ms.
fn most_attempts(time: Duration) -> u64 {
    7 + time.as_millis() as u64 / 250
}

#[test]
fn a_dead_server_is_not_hammered_and_found_when_it_is_back() {
    let mut server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
    server.kill();
    let mut client = proxy.client();
    let expected = format!("ERR Connection refused: server {} (server1)", server.addr());
    let begin = Instant::now();
    let mut requests = 0;
    while begin.elapsed() < Duration::from_millis(400) {
        let replies = client.pipeline(&[&["SET", "k", "v"], &["GET", "k"]]);
        assert!(replies.iter().all(|reply| reply.error() == expected));
        requests += 2;
    }
    assert!(requests > 30, "failing takes too long: {requests} requests");
    let attempts = of_server(&proxy, "server_err");
    let most = most_attempts(begin.elapsed());
    assert!((2..=most).contains(&attempts), "{attempts} attempts");
    assert_eq!(count(&proxy.log(), "Connection refused"), 1);

    server.restart();
    eventually("it is found", || client.cmd(&["GET", "k"]) == Value::Nil);
    assert_eq!(count(&proxy.log(), "answers again"), 1);
}

/// It accepts, so nothing but the missing replies says that it is of no use.
#[test]
fn a_server_that_accepts_and_hangs_up_is_not_hammered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    // Ends with the process: nothing else waits for it.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Relaxed);
            drop(stream);
        }
    });
    let proxy = Proxy::start(&[Pool::new("alpha").server(&format!("{address}:1 server1"))]);
    let mut client = proxy.client();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(400) {
        let reply = client.cmd(&["GET", "k"]);
        assert!(reply.error().contains("(server1)"), "{reply:?}");
    }
    let accepted = accepted.load(Relaxed) as u64;
    // What was not sent on one connection is sent on another at once, but only once.
    let most = 2 * most_attempts(begin.elapsed());
    assert!((2..=most).contains(&accepted), "{accepted} connections");
    assert_eq!(count(&proxy.log(), "WARN"), 1);
}

#[test]
fn an_unreachable_server_is_named_with_the_systems_reason() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("absent.sock");
    let proxy = Proxy::start(&[Pool::new("alpha").server(&format!("{}:1", socket.display()))]);
    let expected = format!(
        "ERR Connection failed (No such file or directory (os error 2)): server {}",
        socket.display()
    );
    let mut client = proxy.client();
    for command in [&["GET", "k"][..], &["SET", "k", "v"]] {
        assert_eq!(client.cmd(command).error(), expected);
    }
}

#[test]
fn a_close_of_an_idle_connection_is_no_failure() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha")
        .servers([&server])
        .set("auto_eject_hosts", true)
        .set("server_failure_limit", 1)]);
    let mut client = proxy.client();
    let mut inside = server.client();
    for round in 0..10 {
        assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok(), "{round}");
        inside.cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        eventually("the close is seen", || {
            of_server(&proxy, "server_connections") == 0
        });
    }
    assert_eq!(inside.cmd(&["CONFIG", "SET", "timeout", "1"]), Value::ok());
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    eventually("Redis closes it", || {
        of_server(&proxy, "server_connections") == 0
    });
    assert_eq!(client.cmd(&["GET", "k"]), Value::bulk("v"));
    assert_eq!(of_server(&proxy, "server_eof"), 11);
    assert_eq!(Stats::of(&proxy).pool("alpha", "server_ejects"), 0);
    assert_eq!(count(&proxy.log(), "WARN"), 0);
}

/// Redis' way to say that it has no room: an error nobody asked for, then the close.
#[test]
fn an_error_in_place_of_a_welcome_is_passed_on() {
    let server = RedisServer::with_args(&["--maxclients", "1"]);
    let mut inside = server.client();
    eventually("the one place is ours", || {
        inside.send(encode(&["PING"]));
        let taken = matches!(inside.try_read(), Ok(Value::Simple(_)));
        if !taken {
            inside = server.client();
        }
        taken
    });
    for resp in [2, 3] {
        let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
        let mut client = proxy.client();
        if resp == 3 {
            client.cmd(&["HELLO", "3"]);
        }
        for _ in 0..5 {
            let reply = client.cmd(&["SET", "k", "v"]);
            let error = reply.error();
            assert!(
                error.contains("ERR max number of clients reached"),
                "{error}"
            );
        }
    }
    assert_eq!(inside.cmd(&["PING"]), Value::Simple("PONG".into()));
}

#[test]
fn a_killed_server_costs_each_request_in_flight_one_error() {
    let mut fake = FakeServer::start();
    let mut other = FakeServer::start();
    let proxy = Proxy::start(&[over(&fake).server(&other.line("server2"))]);
    let (keys, others) = (keys_on(1, 2), keys_on(2, 2));
    let mut client = proxy.client();
    for (key, elsewhere) in keys.iter().zip(&others) {
        client.send(encode(&["SET", key, "v"]));
        client.send(encode(&["GET", key]));
        client.send(encode(&["GET", elsewhere]));
    }
    let mut backend = fake.accept();
    for key in &keys {
        backend.expect(&["SET", key, "v"]);
        backend.expect(&["GET", key]);
    }
    backend.reply("+OK\r\n");
    assert_eq!(client.read(), Value::ok());
    backend.reset();
    let mut elsewhere = other.accept();
    for key in &others {
        elsewhere.answer(&["GET", key], "$1\r\no\r\n");
    }
    let expected = format!(
        "ERR Connection reset by peer (os error 104): server {} (server1)",
        fake.addr()
    );
    for number in 0..keys.len() {
        if number > 0 {
            assert_eq!(client.read().error(), format!("{expected}{IN_DOUBT}"));
        }
        assert_eq!(client.read().error(), expected, "a read is harmless");
        assert_eq!(client.read(), Value::bulk("o"), "the other server is well");
    }
    client.send(encode(&["GET", &keys[0]]));
    fake.accept().answer(&["GET", &keys[0]], "$1\r\nn\r\n");
    assert_eq!(client.read(), Value::bulk("n"), "on a new connection");
}

#[test]
fn a_killed_and_restarted_redis_serves_the_same_clients() {
    let mut server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for _ in 0..2 {
        for client in &mut clients {
            assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
        }
        server.pause();
        for client in &mut clients {
            client.send(encode(&["SET", "k", "w"]));
            client.send(encode(&["GET", "k"]));
        }
        eventually("all is in flight", || of_server(&proxy, "out_queue") == 8);
        server.kill();
        for client in &mut clients {
            let (write, read) = (client.read(), client.read());
            assert!(write.error().ends_with(IN_DOUBT), "{write:?}");
            assert!(!read.error().contains("applied"), "{read:?}");
            assert!(read.error().ends_with("(server1)"), "{read:?}");
        }
        server.restart();
        for client in &mut clients {
            eventually("it works again", || client.cmd(&["GET", "k"]) == Value::Nil);
        }
    }
}

/// More than the socket takes while the server reads nothing: the rest is provably not executed.
#[test]
fn unsent_requests_go_to_a_new_connection() {
    const REQUESTS: usize = 64;
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[over(&fake)]);
    let value = vec![b'x'; 512 * 1024];
    let key = |number: usize| format!("k{number}");
    let mut client = proxy.client();
    let mut sender = Client::over(client.stream().try_clone().unwrap());
    let requests: Vec<u8> = (0..REQUESTS)
        .flat_map(|number| encode(&[b"SET", key(number).as_bytes(), &value]))
        .collect();
    let upload = std::thread::spawn(move || sender.send(requests));
    let first = fake.accept();
    upload.join().unwrap();
    eventually("the proxy has all", || {
        let stats = Stats::of(&proxy);
        let queued = |name| stats.server("alpha", "server1", name);
        queued("in_queue") + queued("out_queue") == REQUESTS as u64 && queued("in_queue") > 1
    });
    first.reset();
    let mut second = fake.accept();
    let doubtful = {
        let mut doubtful = 0;
        let request = second.request();
        while request != Value::bulks(&[b"SET", key(doubtful).as_bytes(), &value[..]]) {
            doubtful += 1;
            assert!(doubtful < REQUESTS, "no request of ours: {request:?}");
        }
        doubtful
    };
    assert!(doubtful > 0, "the first was sent for certain");
    second.reply("+0\r\n");
    for number in doubtful + 1..REQUESTS {
        second.answer(&[b"SET", key(number).as_bytes(), &value], "+0\r\n");
    }
    for _ in 0..doubtful {
        assert!(client.read().error().ends_with(IN_DOUBT));
    }
    for _ in doubtful..REQUESTS {
        assert_eq!(client.read(), Value::Simple("0".into()));
    }
}
