//! Clients behind a load balancer that says who they are, over real sockets: whose name the log shows, what
//! happens without a header. The parser's own tests are beside it.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Client, Pool, Proxy, RedisServer, Stats, Value, count, encode, eventually};

/// How long a header may take to come.
const LIMIT: Duration = Duration::from_secs(5);

/// A client was named by somebody else.
const BY_BALANCER: &str = "client connects through a balancer";

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 6379\r\n";

struct Scene {
    proxy: Proxy,
    _server: RedisServer,
}

impl Scene {
    #[track_caller]
    fn start(arguments: &[&str]) -> Scene {
        let server = RedisServer::start();
        let pool = Pool::new("alpha").set("proxy_protocol", true);
        let proxy = Proxy::build(&[pool.servers([&server])])
            .args(arguments)
            .start();
        Scene {
            proxy,
            _server: server,
        }
    }

    /// Waits until the log has the line.
    #[track_caller]
    fn says(&self, line: &str) {
        eventually(line, || self.proxy.log().contains(line));
    }

    /// Waits for a line that says so and ends with these fields; answers it.
    #[track_caller]
    fn line(&self, message: &str, fields: &str) -> String {
        let mut found = None;
        eventually(&format!("{message} … {fields}"), || {
            let log = self.proxy.log();
            let line = log
                .lines()
                .find(|line| line.contains(message) && line.ends_with(fields));
            found = line.map(str::to_owned);
            found.is_some()
        });
        found.expect("set when it was found")
    }

    fn errors(&self) -> u64 {
        Stats::of(&self.proxy).pool("alpha", "proxy_protocol_errors")
    }
}

fn name(client: &Client) -> SocketAddr {
    let address = client.stream().local_addr();
    address.expect("it is connected")
}

/// A header of version 2, with so many bytes behind the addresses.
fn v2(command: u8, family: u8, addresses: &[u8], rest: usize) -> Vec<u8> {
    let length = u16::try_from(addresses.len() + rest).expect("16 bits are enough");
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family << 4 | 1]);
    header.extend(length.to_be_bytes());
    header.extend_from_slice(addresses);
    header.resize(header.len() + rest, 0x04);
    header
}

/// From 203.0.113.9:4000.
fn v2_inet(rest: usize) -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 198, 51, 100, 2, 0x0f, 0xa0, 0x18, 0xeb];
    v2(1, 1, &addresses, rest)
}

/// From 2001:db8::7, port 4000.
fn v2_inet6() -> Vec<u8> {
    let mut addresses = [0; 36];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[15] = 7;
    addresses[32..34].copy_from_slice(&[0x0f, 0xa0]);
    v2(1, 2, &addresses, 0)
}

#[test]
fn the_log_names_clients_as_their_header_does() {
    let scene = Scene::start(&["-v", "7"]);
    let headers = [
        (V1.to_vec(), "192.0.2.1:56324"),
        (
            b"PROXY TCP6 2001:db8::1 ::1 4000 6379\r\n".to_vec(),
            "[2001:db8::1]:4000",
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4000 6379\r\n".to_vec(),
            "192.0.2.7:4000",
        ),
        (v2_inet(0), "203.0.113.9:4000"),
        (v2_inet6(), "[2001:db8::7]:4000"),
        (v2(1, 3, &[0; 216], 9), "unix"),
    ];
    for (header, shown) in headers {
        let mut client = scene.proxy.client();
        let sender = name(&client);
        client.send(header);
        assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
        let accepted = scene.line("client accepted", &format!("client={sender}"));
        assert!(accepted.contains("DEBUG") && accepted.contains("pool=\"alpha\" worker="));
        let named = format!("pool=\"alpha\" client={shown}");
        scene.line(BY_BALANCER, &format!("{named} by={sender}"));
        drop(client);
        scene.line("client closed: by the client", &named);
    }
    assert_eq!(scene.errors(), 0);
}

/// So do health checks of the load balancer itself.
#[test]
fn headers_without_an_address_leave_the_sockets() {
    let scene = Scene::start(&["-v", "7"]);
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0, 0, &[], 0),
        v2(0, 1, &[127; 12], 3),
        v2(1, 0, &[], 0),
    ] {
        let mut client = scene.proxy.client();
        let sender = name(&client);
        client.send(header);
        assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
        drop(client);
        let named = format!("pool=\"alpha\" client={sender}");
        scene.line("client closed: by the client", &named);
    }
    assert_eq!(count(&scene.proxy.log(), BY_BALANCER), 0);
}

#[test]
fn requests_may_come_with_the_header_or_in_the_middle_of_it() {
    let scene = Scene::start(&[]);
    let large = "v".repeat(300_000);
    for (round, header) in [V1.to_vec(), v2_inet(0), v2_inet(60_000)]
        .into_iter()
        .enumerate()
    {
        let (key, other) = (format!("key{round}"), format!("other{round}"));
        let requests = [
            encode(&["SET", &key, &large]),
            encode(&["GET", &key]),
            b"PING\r\n".to_vec(),
            encode(&["INCR", &other]),
        ];
        let replies = [
            Value::ok(),
            Value::bulk(&large),
            Value::Simple("PONG".into()),
            Value::Int(1),
        ];
        let mut client = scene.proxy.client();
        client.send([header.clone(), requests.concat()].concat());
        assert_eq!(client.read_n(4), replies);

        let all = [header.clone(), encode(&["INCR", &other])].concat();
        let start = all.len().saturating_sub(100);
        let mut slow = scene.proxy.client();
        slow.send(&all[..start]);
        slow.send_slowly(&all[start..]);
        assert_eq!(slow.read(), Value::Int(2));

        // The header with half of a request; the other half alone.
        let mut halves = scene.proxy.client();
        let (one, two) = requests[0].split_at(150_000);
        halves.send([&header, one].concat());
        halves.send(two);
        assert_eq!(halves.read(), Value::ok());
    }
    assert_eq!(scene.errors(), 0);
}

#[test]
fn what_does_not_begin_with_a_header_is_closed_and_counted() {
    let mut version = v2_inet(0);
    version[12] = 0x31;
    let half = &V1[..20];
    let cases: [(&[u8], &str); 7] = [
        (
            b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n",
            "the connection does not begin with one",
        ),
        (b"PING\r\n", "the connection does not begin with one"),
        (
            b"PROXY TCP4 192.0.2.1 secret 1 2\r\n*1\r\n$4\r\nPING\r\n",
            "the line is malformed",
        ),
        (
            &[b"PROXY TCP4 ", [b'1'; 200].as_slice()].concat(),
            "the line is longer than",
        ),
        (&version, "version 3 is unknown"),
        (&v2(1, 2, &[1; 12], 0), "it is too short for its addresses"),
        (half, "the connection ends within it"),
    ];
    // Of a pool only so many lines of a kind are logged.
    let (few, more) = cases.split_at(4);
    for cases in [few, more] {
        are_closed_and_counted(cases);
    }
}

/// Each sends what is no header, and why it is none.
#[track_caller]
fn are_closed_and_counted(cases: &[(&[u8], &str)]) {
    let scene = Scene::start(&[]);
    for (number, (sent, why)) in (1..).zip(cases) {
        let mut client = scene.proxy.client();
        let sender = name(&client);
        client.send(sent);
        client.half_close();
        client.expect_closed();
        let line = format!("WARN client closed: PROXY protocol header: {why}");
        scene.line(&line, &format!("pool=\"alpha\" client={sender}"));
        assert_eq!(scene.errors(), number, "{}", sent.escape_ascii());
    }
    let log = scene.proxy.log();
    assert!(!log.contains("secret"), "{log}");
    // Nobody was served, and others still are.
    assert_eq!(Stats::of(&scene.proxy).pool("alpha", "client_requests"), 0);
    let mut client = scene.proxy.client();
    client.send(V1);
    assert_eq!(client.cmd(&["SET", "a", "b"]), Value::ok());
}

/// As load balancers do that only look whether somebody listens.
#[test]
fn connecting_and_leaving_without_a_byte_is_no_mistake() {
    let scene = Scene::start(&[]);
    for _ in 0..3 {
        drop(scene.proxy.client());
    }
    eventually("they are gone", || {
        Stats::of(&scene.proxy).pool("alpha", "client_eof") == 3
    });
    assert_eq!(scene.errors(), 0);
    let log = scene.proxy.log();
    assert!(!log.contains("WARN"), "{log}");
}

/// Neither by saying nothing nor by saying little at a time does one stay for long.
#[test]
fn a_header_has_to_come_in_time() {
    let scene = Scene::start(&[]);
    let begin = Instant::now();
    let mut silent = scene.proxy.client();
    let mut slow = scene.proxy.client();
    slow.send(&V1[..V1.len() / 2]);
    let mut served = scene.proxy.client();
    served.send(V1);
    silent.expect_silence(LIMIT / 2);
    slow.send(&V1[V1.len() / 2..V1.len() - 2]);
    silent.expect_closed();
    slow.expect_closed();
    let took = begin.elapsed();
    assert!(took > LIMIT * 9 / 10 && took < LIMIT * 2, "{took:?}");
    scene.says("closed: PROXY protocol header: none within 5 s");
    assert_eq!(scene.errors(), 2);
    // Once it has come, there is no hurry.
    assert_eq!(served.cmd(&["PING"]), Value::Simple("PONG".into()));
}

#[test]
fn those_who_have_not_said_who_they_are_do_not_hold_up_the_end() {
    let mut scene = Scene::start(&[]);
    let mut silent = scene.proxy.client();
    let mut begun = scene.proxy.client();
    begun.send(&V1[..20]);
    let mut served = scene.proxy.client();
    served.send([V1, b"PING\r\n"].concat());
    served.read();
    eventually("all are accepted", || {
        Stats::of(&scene.proxy).pool("alpha", "client_connections") == 3
    });
    let begin = Instant::now();
    scene.proxy.signal(Signal::TERM);
    silent.expect_closed();
    begun.expect_closed();
    served.expect_closed();
    drop((silent, begun, served));
    assert!(scene.proxy.wait().success());
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
}

/// At the default level: with the header's address, not the load balancer's.
#[test]
fn a_protocol_error_is_logged_with_its_client() {
    let scene = Scene::start(&[]);
    let mut client = scene.proxy.client();
    client.send(V1);
    client.send("*1\r\n:5\r\n");
    assert!(client.read().is_error());
    client.expect_closed();
    scene.says("INFO client closed: protocol error: expected '$'");
    scene.says("pool=\"alpha\" client=192.0.2.1:56324\n");
}

/// Not everybody may name themselves.
#[test]
fn pools_without_the_key_take_no_header() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
    let mut client = proxy.client();
    client.send(V1);
    assert!(client.read().is_error());
    assert_eq!(Stats::of(&proxy).pool("alpha", "proxy_protocol_errors"), 0);
}
