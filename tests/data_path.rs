//! Bytes from clients to servers and back: every form of request, any size, any pace, in order.

mod support;

use std::io::Read;
use std::time::Duration;

use support::{Client, Shards, Stats, Value, encode, eventually};

/// Bytes without a pattern that a shift by any amount could hide.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// Closes a connection so that the peer sees a reset.
fn reset(client: Client) {
    socket2::SockRef::from(client.stream())
        .set_linger(Some(Duration::ZERO))
        .expect("SO_LINGER");
}

/// Answers that are checked in the order of their requests.
#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
    replies: Vec<Value>,
}

impl Script {
    fn add<A: AsRef<[u8]>>(&mut self, request: &[A], reply: Value) {
        self.bytes.extend(encode(request));
        self.replies.push(reply);
    }

    #[track_caller]
    fn check(&self, client: &mut Client) {
        for (at, expected) in self.replies.iter().enumerate() {
            assert_eq!(&client.read(), expected, "reply {at}");
        }
    }
}

#[test]
fn requests_in_every_form_mean_the_same() {
    let shards = Shards::start(2);
    let forms: &[(&[u8], Value)] = &[
        (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", Value::ok()),
        (b"SET b 2\r\n", Value::ok()),
        (b"set  c\t'3 3' \n", Value::ok()),
        (b"SET \"d\\x20\\n\" \"4\\\"\"\r\n", Value::ok()),
        (b"\r\n\n  \r\n*0\r\n*-1\r\nGET a\r\n", Value::bulk("1")),
        (b"GET b\n", Value::bulk("2")),
        (b"*2\r\n$3\r\ngEt\r\n$1\r\nc\r\n", Value::bulk("3 3")),
        (b"*2\r\n$3\r\nGET\r\n$3\r\nd \n\r\n", Value::bulk("4\"")),
        (
            b"MGET a b nothing\r\n",
            Value::Array(vec![Value::bulk("1"), Value::bulk("2"), Value::Nil]),
        ),
        (b"PING\r\n", Value::Simple("PONG".into())),
        (b"PING \"\"\r\n", Value::bulk("")),
    ];
    let mut at_once = shards.client();
    let mut slow = shards.client();
    let all: Vec<u8> = forms.iter().flat_map(|form| form.0.to_vec()).collect();
    at_once.send(&all);
    slow.send_slowly(&all);
    for (bytes, expected) in forms {
        for client in [&mut at_once, &mut slow] {
            assert_eq!(&client.read(), expected, "{}", bytes.escape_ascii());
        }
    }
    // A NUL ends an inline request, as in Redis.
    at_once.send(b"GET a\0nonsense\r\n");
    assert_eq!(at_once.read(), Value::bulk("1"));
    assert_eq!(shards.stat("protocol_errors"), 0);
}

#[test]
fn ten_thousand_requests_for_all_servers_are_answered_in_order() {
    let shards = Shards::start(3);
    let mut script = Script::default();
    for n in 0..2500 {
        let (key, text) = (format!("key:{n}"), n.to_string());
        script.add(&["SET", &key, &text], Value::ok());
        script.add(&["GET", &key], Value::bulk(&text));
        match n % 4 {
            0 => script.add(&["PING", &text], Value::bulk(&text)),
            1 => script.add(&["INCR", &key], Value::Int(n + 1)),
            2 => script.add(
                &["MGET", &key, "key:0", "nothing"],
                Value::Array(vec![Value::bulk(&text), Value::bulk("0"), Value::Nil]),
            ),
            _ => script.add(
                &["LPUSH", &key, "x"],
                Value::Error(
                    "WRONGTYPE Operation against a key holding the wrong kind of value".into(),
                ),
            ),
        }
        script.add(&["EXISTS", &key, "key:0", &key], Value::Int(3));
    }
    let mut client = shards.client();
    client.send(&script.bytes);
    script.check(&mut client);
    assert!(!client.has_unread());
    for server in 0..3 {
        assert!(
            shards.server_stat(server, "requests") > 500,
            "server {server}"
        );
    }
}

#[test]
fn a_client_that_sends_no_more_gets_every_reply() {
    // The small limit makes the proxy stop reading while requests are left.
    let shards = Shards::start_with(2, |pool| pool.set("client_pending_limit", 4), &[]);
    let mut script = Script::default();
    for n in 0..2000 {
        script.add(&["SET", &format!("k{n}"), "v"], Value::ok());
        script.add(&["STRLEN", &format!("k{n}")], Value::Int(1));
    }
    let ended = shards.stat("client_eof");
    let mut client = shards.client();
    client.send(&script.bytes);
    // The beginning of one more, which nobody will ever complete.
    client.send(b"*2\r\n$3\r\nGET\r\n$100\r\nhalf");
    client.half_close();
    script.check(&mut client);
    client.expect_closed();
    assert!(shards.stat("client_paused") > 0, "the limit was not met");
    eventually("the client is gone", || {
        shards.stat("client_connections") == 0
    });
    assert_eq!(shards.stat("client_eof"), ended + 1);
    assert_eq!(shards.stat("client_err"), 0);
}

#[test]
fn a_half_closed_client_that_reads_slowly_gets_a_large_reply() {
    let shards = Shards::start(1);
    let value = noise(5 << 20, 1);
    assert_eq!(
        shards.client().cmd(&[b"SET", b"k".as_slice(), &value]),
        Value::ok()
    );
    let mut client = shards.slow_client();
    client.send(encode(&["GET", "k"]));
    client.half_close();
    eventually("the reply is there", || {
        shards.server_stat(0, "responses") == 2
    });
    assert!(client.read() == Value::Bulk(value));
    client.expect_closed();
}

#[test]
fn clients_that_leave_do_not_disturb_those_that_stay() {
    let shards = Shards::start(1);
    let mut stays = shards.client();
    let large = noise(8 << 20, 2);
    assert_eq!(
        stays.cmd(&[b"SET", b"large".as_slice(), &large]),
        Value::ok()
    );
    assert_eq!(stays.cmd(&["SET", "small", "s"]), Value::ok());
    for hard in [false, true] {
        let leave = |client: Client| match hard {
            true => reset(client),
            false => drop(client),
        };
        let connections = shards.server_stat(0, "server_connections");
        // In the middle of a request.
        let mut mid_request = shards.client();
        mid_request.send(b"*3\r\n$3\r\nSET\r\n$5\r\nsmall\r\n$1000\r\nhalf of it");
        // In the middle of a pipeline that waits for the server, requests of others around it.
        shards.servers[0].pause();
        let before = shards.stat("client_requests");
        let mut mid_pipeline = shards.client();
        stays.send(encode(&["GET", "small"]));
        for n in 0..300 {
            mid_pipeline.send(encode(&["GET", "large"]));
            mid_pipeline.send(encode(&["MGET", "small", "large"]));
            if n % 100 == 0 {
                stays.send(encode(&["ECHO", &n.to_string()]));
                stays.send(encode(&["MGET", "small", "none"]));
            }
            if n == 3 {
                // Enough large replies; the rest is for order.
                break;
            }
        }
        mid_pipeline.send(encode(&["INCR", "counter"]));
        eventually("all requests are read", || {
            shards.stat("client_requests") == before + 12
        });
        let clients = shards.stat("client_connections");
        leave(mid_request);
        leave(mid_pipeline);
        // One that closed in order may still read, and is owed its replies.
        let gone = if hard { 2 } else { 1 };
        eventually("they are gone", || {
            shards.stat("client_connections") == clients - gone
        });
        stays.send(encode(&["STRLEN", "large"]));
        shards.servers[0].resume();
        assert_eq!(stays.read(), Value::bulk("s"));
        assert_eq!(stays.read(), Value::bulk("0"));
        assert_eq!(
            stays.read(),
            Value::Array(vec![Value::bulk("s"), Value::Nil])
        );
        assert_eq!(stays.read(), Value::Int(large.len() as i64));
        // What had left for the server was executed, and the connection was kept.
        assert_eq!(
            stays.cmd(&["GET", "counter"]),
            Value::bulk(if hard { "2" } else { "1" })
        );
        assert_eq!(shards.server_stat(0, "server_connections"), connections);
        eventually("only one stays", || shards.stat("client_connections") == 1);
    }
    assert_eq!(
        shards.server_stat(0, "server_err") + shards.server_stat(0, "server_eof"),
        0
    );
}

#[test]
fn a_client_that_leaves_within_a_large_reply_does_not_disturb_others() {
    let shards = Shards::start(1);
    let mut stays = shards.client();
    let large = noise(16 << 20, 3);
    assert_eq!(
        stays.cmd(&[b"SET", b"large".as_slice(), &large]),
        Value::ok()
    );
    for hard in [false, true] {
        let mut leaves = shards.slow_client();
        leaves.send(encode(&["GET", "large"]));
        let mut some = [0; 1000];
        (&mut leaves.stream())
            .read_exact(&mut some)
            .expect("the reply begins");
        leaves.send(encode(&["GET", "large"]));
        match hard {
            true => reset(leaves),
            false => drop(leaves),
        }
        assert_eq!(
            stays.cmd(&["STRLEN", "large"]),
            Value::Int(large.len() as i64)
        );
        eventually("it is gone", || shards.stat("client_connections") == 1);
    }
    assert!(stays.cmd(&["GET", "large"]) == Value::Bulk(large));
    assert_eq!(
        shards.server_stat(0, "server_err") + shards.server_stat(0, "server_eof"),
        0
    );
}

#[test]
fn values_around_every_buffer_size_pass_byte_exact() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let sizes = [
        4 << 10,
        8 << 10,
        16 << 10,
        32 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
    ];
    let values: Vec<Vec<u8>> = (sizes
        .iter()
        .flat_map(|&size| [size - 40, size - 1, size, size + 1]))
    .enumerate()
    .map(|(n, size)| noise(size, n as u64))
    .collect();
    let mut script = Script::default();
    for (n, value) in values.iter().enumerate() {
        let key = format!("key:{n}");
        script.add(&[b"SET", key.as_bytes(), value], Value::ok());
        script.add(&["GET", &key], Value::bulk(value));
    }
    // As one pipeline, while another thread reads: 20 MB fit into no socket.
    let mut sender = client.stream().try_clone().expect("a second handle");
    let bytes = script.bytes.clone();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &bytes));
    script.check(&mut client);
    sending
        .join()
        .expect("no panic")
        .expect("the proxy takes all");

    // All at once to one who does not read before everything is there.
    let mut slow = shards.slow_client();
    let responses = || shards.server_stat(0, "responses") + shards.server_stat(1, "responses");
    let before = responses();
    let keys: Vec<String> = (0..values.len()).map(|n| format!("key:{n}")).collect();
    for key in &keys {
        slow.send(encode(&["GET", key]));
    }
    eventually("all replies are there", || {
        responses() == before + keys.len() as u64
    });
    for value in &values {
        assert!(slow.read() == Value::bulk(value), "{} bytes", value.len());
    }
    // And as one joined reply.
    let request: Vec<&str> = ["MGET"]
        .into_iter()
        .chain(keys.iter().map(String::as_str))
        .collect();
    slow.send(encode(&request));
    assert!(slow.read() == Value::bulks(&values));
}

#[test]
fn large_replies_wait_for_their_turn() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let (first, second) = (shards.key(0, 0), shards.key(1, 0));
    let large = noise(3 << 20, 4);
    for key in [first, second] {
        assert_eq!(client.cmd(&[b"SET", key.as_bytes(), &large]), Value::ok());
    }
    shards.servers[0].pause();
    for _ in 0..3 {
        client.send(encode(&["STRLEN", first]));
        client.send(encode(&["GET", second]));
        client.send(encode(&["STRLEN", second]));
    }
    client.send(encode(&["GET", first]));
    eventually("the other server has answered", || {
        shards.server_stat(1, "responses") == 1 + 6
    });
    let buffered = Stats::of(&shards.proxy).process("buffered_bytes");
    assert!(buffered > 9 << 20, "{buffered}");
    shards.servers[0].resume();
    let length = Value::Int(large.len() as i64);
    for _ in 0..3 {
        assert_eq!(client.read(), length);
        assert!(client.read() == Value::bulk(&large));
        assert_eq!(client.read(), length);
    }
    assert!(client.read() == Value::bulk(&large));
    eventually("nothing is kept", || {
        Stats::of(&shards.proxy).process("buffered_bytes") == 0
    });
}

#[test]
fn very_large_values_pass_both_ways() {
    let shards = Shards::start(2);
    for size in [16 << 20, 100 << 20] {
        let mut client = shards.client();
        let value = noise(size, size as u64);
        let mut neighbour = shards.client();
        // Half of a request must not hold up the server for others.
        let request = encode(&[b"SET", shards.key(0, 0).as_bytes(), &value]);
        let (half, rest) = request.split_at(request.len() / 2);
        client.send(half);
        assert_eq!(neighbour.cmd(&["SET", shards.key(0, 1), "v"]), Value::ok());
        client.send(rest);
        assert_eq!(client.read(), Value::ok());
        assert!(client.cmd(&["GET", shards.key(0, 0)]) == Value::Bulk(value));
        assert_eq!(neighbour.cmd(&["GET", shards.key(0, 1)]), Value::bulk("v"));
    }
}

#[test]
fn empty_and_binary_keys_and_values() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    let every_byte: Vec<u8> = (0..=255).collect();
    let strings: Vec<&[u8]> = vec![
        b"",
        b"\r\n",
        b"\0",
        b"$5\r\nhello\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"-ERR no\r\n",
        b"\xff\xfe\xc3\x28",
        b"{}",
        b"}{",
        &every_byte,
    ];
    for key in &strings {
        for value in &strings {
            assert_eq!(client.cmd(&[b"SET".as_slice(), key, value]), Value::ok());
            assert_eq!(client.cmd(&[b"GET".as_slice(), key]), Value::bulk(value));
            assert_eq!(client.cmd(&[b"ECHO".as_slice(), value]), Value::bulk(value));
        }
    }
    let with = |name: &'static [u8]| -> Vec<&[u8]> {
        [name].into_iter().chain(strings.iter().copied()).collect()
    };
    assert_eq!(
        client.cmd(&with(b"EXISTS")),
        Value::Int(strings.len() as i64)
    );
    let values = vec![Value::bulk(&every_byte); strings.len()];
    assert_eq!(client.cmd(&with(b"MGET")), Value::Array(values));
    let pairs: Vec<&[u8]> = [b"MSET".as_slice()]
        .into_iter()
        .chain(strings.iter().flat_map(|&key| [key, key]))
        .collect();
    assert_eq!(client.cmd(&pairs), Value::ok());
    assert_eq!(client.cmd(&with(b"MGET")), Value::bulks(&strings));
    assert_eq!(client.cmd(&with(b"DEL")), Value::Int(strings.len() as i64));
}
