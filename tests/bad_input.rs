//! Input that is no request: the error Redis would give, behind the replies to all that was one, then the
//! end; and nobody else notices.

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use support::{Client, NoReply, RedisServer, Shards, Value, encode, eventually};

/// Redis' `PROTO_INLINE_MAX_SIZE`, and one more: too long without an end.
const TOO_LONG: usize = 64 * 1024 + 1;

fn pong() -> Value {
    Value::Simple("PONG".into())
}

/// What was understood before, then a line of as many `fill` as make it too long by one: what is left
/// unread when Redis closes could cost us its reply.
fn endless(before: &str, start: &str, fill: char) -> Vec<u8> {
    let mut line = start.to_owned();
    while line.len() < TOO_LONG {
        line.push(fill);
    }
    [before, &line].concat().into_bytes()
}

#[test]
fn malformed_input_ends_as_with_redis() {
    let shards = Shards::start(1);
    let mut cases: Vec<Vec<u8>> = [
        "*abc\r\n",
        "*\r\n",
        "*3x\r\n",
        "*03\r\n",
        "*--1\r\n",
        "*+1\r\n",
        "* 1\r\n",
        "*1.5\r\n",
        "*99999999999\r\n",
        "*99999999999999999999\r\n",
        "*1\r\nabc\r\n",
        "*1\r\n:5\r\n",
        "*1\r\n*1\r\n",
        "*1\r\n\r\n",
        "*1\r\n'\r\n",
        "*1\r\n\\\r\n",
        "*2\r\n$3\r\nGET\r\n+a\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$abc\r\n",
        "*1\r\n$+3\r\n",
        "*1\r\n$ 3\r\n",
        "*1\r\n$03\r\n",
        "*1\r\n$3 \r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$9223372036854775807\r\n",
        "*1\r\n$9223372036854775808\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$x\r\n",
        "GET \"a\r\n",
        "GET 'a\r\n",
        "GET \"a\"b\r\n",
        "GET 'a'b\n",
        "\"\r\n",
    ]
    .map(|case| case.as_bytes().to_vec())
    .into();
    cases.push(endless("", "GET ", 'a'));
    cases.push(endless("", "*", '1'));
    cases.push(endless("*1\r\n", "$", '1'));
    let requests = [
        encode(&["SET", "a", "1"]),
        b"PING\r\n".to_vec(),
        encode(&["GET", "a"]),
    ]
    .concat();
    for case in &cases {
        let shown = case[..case.len().min(60)].escape_ascii();
        let input = [&requests[..], case].concat();
        let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
        client.send(&input);
        redis.send(&input);
        let ours = client.read_to_end();
        let theirs = redis.read_to_end();
        assert_eq!(
            ours.escape_ascii().to_string(),
            theirs.escape_ascii().to_string(),
            "{shown}"
        );
        assert!(
            ours.windows(20).any(|text| text == b"-ERR Protocol error:"),
            "{shown}"
        );
    }
    for case in cases.iter().filter(|case| case.len() < 100) {
        let mut client = shards.client();
        client.send_slowly(case);
        assert!(client.read().error().starts_with("ERR Protocol error: "));
        client.expect_closed();
    }
    let short = cases.len() - 3;
    assert_eq!(shards.stat("protocol_errors"), (cases.len() + short) as u64);
    eventually("all are gone", || shards.stat("client_connections") == 0);
    assert_eq!(shards.stat("client_err"), 0);
}

#[test]
fn what_redis_lets_pass_but_others_would_suffer_from_is_refused() {
    let shards = Shards::start(1);
    let mut neighbour = shards.client();
    assert_eq!(neighbour.cmd(&["SET", "a", "1"]), Value::ok());
    for case in [
        "*1\r\n$4\r\nPINGxx",
        "*2\r\n$3\r\nGET\r\n$1\r\naXY*1\r\n",
        "*1\rx$4\r\nPING\r\n",
        "*1\r\n$4\rxPING\r\n",
    ] {
        let mut client = shards.client();
        client.send(case);
        assert!(
            client
                .read()
                .error()
                .starts_with("ERR Protocol error: expected CRLF"),
            "{case:?}"
        );
        client.expect_closed();
        assert_eq!(neighbour.cmd(&["GET", "a"]), Value::bulk("1"));
    }
    assert_eq!(shards.server_stat(0, "server_eof"), 0);
}

#[test]
fn replies_that_are_owed_come_before_the_error() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    assert_eq!(client.cmd(&["MSET", a, "1", b, "2"]), Value::ok());
    shards.servers[0].pause();
    for request in [
        ["GET", b].as_slice(),
        &["GET", a],
        &["MGET", a, b],
        &["GET", b],
    ] {
        client.send(encode(request));
    }
    client.send("*1\r\n:1\r\n");
    // Nothing behind the mistake is looked at, however much it is.
    client.send(encode(&["SET", b, "never"]));
    client.send(vec![b'x'; 256 << 10]);
    assert_eq!(client.read(), Value::bulk("2"));
    client.expect_silence(Duration::from_millis(50));
    shards.servers[0].resume();
    assert_eq!(client.read(), Value::bulk("1"));
    assert_eq!(client.read(), Value::bulks(&["1", "2"]));
    assert_eq!(client.read(), Value::bulk("2"));
    assert_eq!(
        client.read().error(),
        "ERR Protocol error: expected '$', got ':'"
    );
    client.expect_closed();
    assert_eq!(shards.client().cmd(&["GET", b]), Value::bulk("2"));
}

#[test]
fn unauthenticated_clients_may_send_little() {
    let guarded = || RedisServer::with_args(&["--requirepass", "secret"]);
    let shards = Shards::over(
        vec![guarded()],
        |pool| pool.set("redis_auth", "secret"),
        &[],
    );
    for case in [
        "*11\r\n",
        "*1\r\n$16385\r\n",
        "*1000000\r\n",
        "*2\r\n$4\r\nAUTH\r\n$536870912\r\n",
    ] {
        let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
        client.send(case);
        redis.send(case);
        let (ours, theirs) = (client.read_to_end(), redis.read_to_end());
        assert_eq!(
            ours.escape_ascii().to_string(),
            theirs.escape_ascii().to_string(),
            "{case:?}"
        );
        assert!(!ours.is_empty());
    }
    // As much as that is let in, and more once the password is given, in the same pipeline too.
    let mut client = shards.client();
    let largest = "x".repeat(16 * 1024);
    assert_eq!(
        client.cmd(&["AUTH", &largest]).error(),
        "ERR invalid password"
    );
    let many: Vec<String> = ["MGET".to_owned()]
        .into_iter()
        .chain((0..5000).map(|n| n.to_string()))
        .collect();
    let large = "y".repeat(1 << 20);
    client.send(
        [
            encode(&["AUTH", "secret"]),
            encode(&many),
            encode(&["ECHO", &large]),
        ]
        .concat(),
    );
    assert_eq!(client.read(), Value::ok());
    assert_eq!(client.read(), Value::Array(vec![Value::Nil; 5000]));
    assert!(client.read() == Value::bulk(&large));
}

#[test]
fn http_is_recognized_and_ended() {
    let shards = Shards::start(1);
    for (request, replies) in [
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\nSET evil 1\r\n",
            1,
        ),
        // The first line is a GET with too many arguments.
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\nSET evil 1\r\n", 2),
    ] {
        let mut client = shards.client();
        client.send(request);
        let replies = client.read_n(replies);
        let last = replies.last().expect("one at least").error();
        assert_eq!(
            last,
            "ERR this is a Redis port and the request looks like HTTP"
        );
        client.expect_closed();
    }
    assert_eq!(shards.client().cmd(&["EXISTS", "evil"]), Value::Int(0));
}

#[test]
fn requests_up_to_the_limits_pass_and_larger_ones_do_not() {
    let shards = Shards::start_with(
        2,
        |pool| {
            pool.set("max_arguments", 100)
                .set("max_request_bytes", "64kb")
        },
        &[],
    );
    let keys = |count: usize| (0..count).map(|n| format!("k{n}"));
    let mget = |count| {
        encode(
            &["MGET".to_owned()]
                .into_iter()
                .chain(keys(count))
                .collect::<Vec<_>>(),
        )
    };
    let mut client = shards.client();
    client.send(mget(99));
    assert_eq!(client.read(), Value::Array(vec![Value::Nil; 99]));
    client.send(mget(100));
    assert_eq!(
        client.read().error(),
        "ERR Protocol error: invalid multibulk length"
    );
    client.expect_closed();

    let frame = |value: usize| encode(&["SET".to_owned(), "k".to_owned(), "v".repeat(value)]);
    let overhead = frame(60_000).len() - 60_000;
    let fits = 64 * 1024 - overhead;
    let mut client = shards.client();
    client.send(frame(fits));
    assert_eq!(client.read(), Value::ok());
    client.send(frame(fits + 1));
    assert_eq!(
        client.read().error(),
        "ERR Protocol error: request is larger than max_request_bytes"
    );
    client.expect_closed();
    // One argument alone is too large: known by its header.
    let mut client = shards.client();
    client.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$65537\r\n");
    assert_eq!(
        client.read().error(),
        "ERR Protocol error: invalid bulk length"
    );
    client.expect_closed();
    // Many small ones that are too much together.
    let mut client = shards.client();
    let eighty: Vec<String> = (0..80).map(|_| "x".repeat(1000)).collect();
    client.send(encode(&eighty));
    assert_eq!(
        client.read().error(),
        "ERR Protocol error: request is larger than max_request_bytes"
    );
    client.expect_closed();
    assert_eq!(
        shards.client().cmd(&["STRLEN", "k"]),
        Value::Int(fits as i64)
    );
}

/// Something between a request and noise.
fn mutated(random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "GET",
        "SET",
        "MGET",
        "MSET",
        "DEL",
        "EXISTS",
        "PING",
        "ECHO",
        "HELLO",
        "3",
        "2",
        "AUTH",
        "CLIENT",
        "SETNAME",
        "RESET",
        "QUIT",
        "SORT",
        "STORE",
        "EVAL",
        "return 1",
        "ZUNION",
        "XREAD",
        "STREAMS",
        "OBJECT",
        "COMMAND",
        "COUNT",
        "INFO",
        "a",
        "b",
        "{a}",
        "",
        "-1",
        "0",
        "1",
        "99999999999",
        "\r\n",
        "*1\r\n",
        "$1\r\n",
        "\"",
        "'",
        "\0",
        "\u{ff}",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..20) {
        let words: Vec<&str> = (0..random.usize(0..6))
            .map(|_| WORDS[random.usize(..WORDS.len())])
            .collect();
        match random.u8(..4) {
            0 => bytes.extend(format!("{}\r\n", words.join(" ")).bytes()),
            _ => bytes.extend(encode(&words)),
        }
    }
    match random.u8(..4) {
        0 => {}
        1 => (0..random.usize(1..4)).for_each(|_| {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }),
        2 => {
            let from = random.usize(..bytes.len());
            bytes.drain(from..bytes.len().min(from + random.usize(1..10)));
        }
        _ => {
            let at = random.usize(..bytes.len());
            let noise: Vec<u8> = (0..random.usize(1..2000)).map(|_| random.u8(..)).collect();
            bytes.splice(at..at, noise);
        }
    }
    bytes
}

#[test]
fn noise_never_breaks_anything() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut shards = Shards::start_with(2, |pool| pool, &["--workers", "2"]);
    let mut neighbour = shards.client();
    for round in 0..600 {
        let before = round.to_string();
        let noise = mutated(&mut random);
        let mut client: Client = shards.client();
        let input = [
            encode(&["ECHO", &before]),
            encode(&["SET", "k", &before]),
            noise.clone(),
        ]
        .concat();
        for part in input.chunks(random.usize(1..=input.len())) {
            // It may have ended the connection.
            if client.stream().write_all(part).is_err() {
                break;
            }
        }
        let _ = client.stream().shutdown(Shutdown::Write);
        assert_eq!(
            client.read(),
            Value::bulk(&before),
            "{}",
            noise.escape_ascii()
        );
        assert_eq!(client.read(), Value::ok(), "{}", noise.escape_ascii());
        loop {
            match client.try_read() {
                Ok(_) => {}
                Err(NoReply::Closed) => break,
                Err(error) => panic!("{error} after {}", noise.escape_ascii()),
            }
        }
        if round % 20 == 0 {
            let got = neighbour.cmd(&["MGET", "none", "never"]);
            assert_eq!(got, Value::Array(vec![Value::Nil, Value::Nil]));
        }
    }
    assert!(shards.proxy.is_running());
    assert_eq!(neighbour.cmd(&["PING"]), pong());
    eventually("all others are gone", || {
        shards.stat("client_connections") == 1
    });
    for server in 0..2 {
        // What was forwarded made sense to the servers.
        assert_eq!(shards.server_stat(server, "server_eof"), 0);
        assert_eq!(shards.server_stat(server, "server_err"), 0);
        assert_eq!(
            shards.server_stat(server, "requests"),
            shards.server_stat(server, "responses")
        );
    }
}
