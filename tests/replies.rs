//! What servers answer: any RESP passes unchanged, whatever makes no sense ends the connection it came on
//! and is told to those, and only those, who waited on it.

mod support;

use support::{
    Client, FakeConnection, FakeServer, Pool, Proxy, Shards, Stats, Value, encode, eventually,
    keys_on,
};

const IN_DOUBT: &str = "; the command may or may not have been applied";

fn over(fake: &FakeServer) -> Proxy {
    Proxy::start(&[Pool::new("alpha").server(&fake.line("server1"))])
}

/// A client that speaks RESP3, and its connection to the server.
fn resp3(proxy: &Proxy, fake: &mut FakeServer) -> (Client, FakeConnection) {
    let mut client = proxy.client();
    client.cmd(&["HELLO", "3"]);
    client.send(encode(&["GET", "k"]));
    let mut backend = fake.accept();
    backend.answer(&["HELLO", "3"], "%1\r\n$5\r\nproto\r\n:3\r\n");
    backend.answer(&["GET", "k"], "_\r\n");
    assert_eq!(client.read(), Value::Nil);
    (client, backend)
}

fn resp2(proxy: &Proxy, fake: &mut FakeServer) -> (Client, FakeConnection) {
    let mut client = proxy.client();
    client.send(encode(&["GET", "k"]));
    let mut backend = fake.accept();
    backend.answer(&["GET", "k"], "$-1\r\n");
    assert_eq!(client.read(), Value::Nil);
    (client, backend)
}

/// Reads exactly `expected`, which the test's own parser may not understand.
#[track_caller]
fn expect_bytes(client: &mut Client, expected: &[u8]) {
    use std::io::Read;
    assert!(!client.has_unread());
    let mut received = vec![0; expected.len()];
    client
        .stream()
        .read_exact(&mut received)
        .expect("the reply");
    let same = received == expected;
    assert!(
        same,
        "{} instead of {}",
        received.escape_ascii(),
        expected.escape_ascii()
    );
}

const RESP2: &[&str] = &[
    "+OK\r\n",
    "+\r\n",
    "-ERR no\r\n",
    "-\r\n",
    "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    "-MOVED 3999 127.0.0.1:6381\r\n",
    "-NOAUTHOR is no NOAUTH\r\n",
    ":0\r\n",
    ":-9223372036854775808\r\n",
    "$0\r\n\r\n",
    "$-1\r\n",
    "$4\r\n\r\n\r\n\r\n",
    "$5\r\n-OOM \r\n",
    "*0\r\n",
    "*-1\r\n",
    "*3\r\n*-1\r\n$-1\r\n*2\r\n*0\r\n*1\r\n-ERR inner\r\n",
];

const RESP3: &[&str] = &[
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",1.5\r\n",
    ",-inf\r\n",
    ",nan\r\n",
    "(3492890328409238509324850943850943825024385\r\n",
    "!21\r\nSYNTAX invalid syntax\r\n",
    "=15\r\ntxt:Some string\r\n",
    "%0\r\n",
    "%2\r\n+a\r\n%1\r\n:1\r\n~2\r\n_\r\n#t\r\n$1\r\nb\r\n*0\r\n",
    "~0\r\n",
    "~3\r\n+orange\r\n:7\r\n*1\r\n,2\r\n",
    // An attribute, at the top and within.
    "|1\r\n+key-popularity\r\n%1\r\n$1\r\na\r\n,0.1923\r\n*2\r\n:2039123\r\n:9543892\r\n",
    "*3\r\n:1\r\n|1\r\n+ttl\r\n:3600\r\n:2\r\n:3\r\n",
    "|0\r\n+OK\r\n",
];

/// Nobody has subscribed to anything, so these are for nobody.
const PUSHES: &[&str] = &[
    ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
    ">0\r\n",
    ">3\r\n+a\r\n%1\r\n+b\r\n~1\r\n:1\r\n_\r\n",
];

#[test]
fn every_type_passes_unchanged_at_any_split() {
    let mut fake = FakeServer::start();
    let proxy = over(&fake);
    let third = [RESP2, RESP3].concat();
    for (resp, replies) in [(2, RESP2), (3, &third)] {
        let (mut client, mut backend) = match resp {
            2 => resp2(&proxy, &mut fake),
            _ => resp3(&proxy, &mut fake),
        };
        for (number, reply) in replies.iter().enumerate() {
            let push = match resp {
                2 => "",
                _ => PUSHES[number % PUSHES.len()],
            };
            let bytes = [push, reply].concat();
            for cut in 0..bytes.len() {
                client.send(encode(&["GET", "k"]));
                backend.expect(&["GET", "k"]);
                let (head, tail) = bytes.as_bytes().split_at(cut);
                backend.reply(head);
                if cut % 3 == 1 {
                    // Alone in a read of the proxy, most likely; then again not.
                    std::thread::yield_now();
                }
                backend.reply(tail);
                expect_bytes(&mut client, reply.as_bytes());
            }
        }
        // All at once, and byte by byte.
        let all = [
            replies.concat().as_str(),
            if resp == 2 { "" } else { PUSHES[0] },
        ]
        .concat();
        for slowly in [false, true] {
            for _ in replies {
                client.send(encode(&["GET", "k"]));
            }
            for _ in replies {
                backend.expect(&["GET", "k"]);
            }
            match slowly {
                false => backend.reply(&all),
                true => all
                    .as_bytes()
                    .iter()
                    .for_each(|byte| backend.reply([*byte])),
            }
            expect_bytes(&mut client, replies.concat().as_bytes());
        }
        drop(backend);
    }
    assert_eq!(fake.connections(), 2);
}

/// A script's reply can nest as deep as Lua's stack.
#[test]
fn a_reply_nested_as_deep_as_redis_can_is_nobodys_harm() {
    let shards = Shards::start(2);
    let [mut deep, mut other] = [(); 2].map(|()| shards.client());
    let key = shards.key(0, 0);
    assert_eq!(other.cmd(&["SET", key, "v"]), Value::ok());
    let script = "local t = {} for _ = 1, ARGV[1] do t = {t} end return t";
    for depth in [100, 1000, 7990] {
        deep.send(encode(&["EVAL", script, "1", key, &depth.to_string()]));
        other.send(encode(&["GET", key]));
        let expected = format!("{}*0\r\n", "*1\r\n".repeat(depth));
        expect_bytes(&mut deep, expected.as_bytes());
        assert_eq!(other.read(), Value::bulk("v"));
    }
    assert_eq!(shards.server_stat(0, "server_err"), 0);
}

#[test]
fn large_and_deep_replies_pass_unchanged() {
    let mut fake = FakeServer::start();
    let proxy = over(&fake);
    let (mut client, mut backend) = resp3(&proxy, &mut fake);
    let deep = format!("{}:1\r\n", "*1\r\n".repeat(100));
    let bulk = format!(
        "${}\r\n{}\r\n",
        3 << 20,
        "-OOM ".repeat((3 << 20) / 5 + 1).split_at(3 << 20).0
    );
    let entry = "%1\r\n$3\r\nkey\r\n~2\r\n:1\r\n$-1\r\n";
    let wide = format!("*20000\r\n{}", entry.repeat(20_000));
    let line = format!("-ERR {}\r\n", "x".repeat(500_000));
    for reply in [&deep, &bulk, &wide, &line] {
        for _ in 0..2 {
            client.send(encode(&["GET", "k"]));
            backend.expect(&["GET", "k"]);
        }
        // The server's writes and the client's reads depend on each other.
        std::thread::scope(|scope| {
            scope.spawn(|| backend.reply([reply.as_str(), reply].concat()));
            expect_bytes(&mut client, [reply.as_str(), reply].concat().as_bytes());
        });
    }
    assert_eq!(
        Stats::of(&proxy).server("alpha", "server1", "server_err"),
        0
    );
}

/// Fails everything on the connection and nothing else, then serves on.
#[test]
fn garbage_ends_its_connection_only() {
    let mut fake = FakeServer::start();
    let mut other = FakeServer::start();
    let pool = Pool::new("alpha")
        .server(&fake.line("server1"))
        .server(&other.line("server2"));
    let proxy = Proxy::start(&[pool]);
    let (here, there) = (&keys_on(1, 2)[0], &keys_on(2, 2)[0]);
    let mut client = proxy.client();
    let mut bystander = proxy.client();
    let mut well = other.accept_for(&mut bystander, &["GET", there]);
    well.reply("$1\r\nw\r\n");
    assert_eq!(bystander.read(), Value::bulk("w"));
    let wrong = "Invalid argument in a reply";
    for (garbage, reason) in [
        (
            "@what\r\n",
            format!("{wrong} (unexpected byte '@' where a reply should start)"),
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            format!("{wrong} (unexpected byte 'H' where a reply should start)"),
        ),
        (
            "\r\n",
            format!("{wrong} (unexpected byte '\\r' where a reply should start)"),
        ),
        ("$1x\r\n", format!("{wrong} (malformed length)")),
        ("$-2\r\n", format!("{wrong} (malformed length)")),
        (
            "*99999999999999999999\r\n",
            format!("{wrong} (malformed length)"),
        ),
        ("$?\r\n", format!("{wrong} (malformed length)")),
        ("$1\r\nabc\r\n", format!("{wrong} (missing CRLF)")),
        ("+OK\n", format!("{wrong} (missing CRLF)")),
        (
            "*2\r\n:1\r\n?",
            format!("{wrong} (unexpected byte '?' where a reply should start)"),
        ),
        // Nothing wrong so far, but there is no more.
        ("$", "Connection closed by the server".into()),
        ("$100\r\nhalf", "Connection closed by the server".into()),
        ("+hal", "Connection closed by the server".into()),
        ("*2\r\n:1\r\n", "Connection closed by the server".into()),
    ] {
        let mut backend = fake.accept_for(&mut client, &["GET", here]);
        client.send(encode(&["SET", here, "v"]));
        client.send(encode(&["GET", there]));
        backend.expect(&["SET", here, "v"]);
        well.expect(&["GET", there]);
        backend.reply(garbage);
        backend.close();
        let expected = format!("ERR {reason}: server {} (server1)", fake.addr());
        assert_eq!(client.read().error(), expected, "{garbage:?}");
        assert_eq!(
            client.read().error(),
            format!("{expected}{IN_DOUBT}"),
            "{garbage:?}"
        );
        well.reply("$1\r\no\r\n");
        assert_eq!(client.read(), Value::bulk("o"), "{garbage:?}");
    }
    assert_eq!(other.connections(), 1);
}

#[test]
fn replies_before_garbage_are_delivered() {
    let mut fake = FakeServer::start();
    let proxy = over(&fake);
    let mut client = proxy.client();
    client.send(encode(&["GET", "1"]));
    client.send(encode(&["GET", "2"]));
    client.send(encode(&["GET", "3"]));
    let mut backend = fake.accept();
    for key in ["1", "2", "3"] {
        backend.expect(&["GET", key]);
    }
    backend.reply("$1\r\na\r\n:2\r\n?");
    assert_eq!(client.read(), Value::bulk("a"));
    assert_eq!(client.read(), Value::Int(2));
    assert!(client.read().error().contains("unexpected byte '?'"));
    backend.expect_closed();
}

#[test]
fn a_reply_nobody_asked_for_is_kept_from_everybody() {
    let mut fake = FakeServer::start();
    let proxy = over(&fake);
    let mut client = proxy.client();
    for unasked in ["+OK\r\n", "$3\r\nabc\r\n", "?"] {
        let mut backend = fake.accept_for(&mut client, &["GET", "k"]);
        backend.reply("$1\r\nv\r\n");
        assert_eq!(client.read(), Value::bulk("v"));
        backend.reply(unasked);
        backend.expect_closed();
    }
    let mut backend = fake.accept_for(&mut client, &["GET", "k"]);
    backend.reply("$1\r\nw\r\n");
    assert_eq!(client.read(), Value::bulk("w"));
    assert!(proxy.log().contains("a reply that nothing asked for"));
}

#[test]
fn a_large_reply_that_breaks_off_costs_its_client_and_no_other() {
    let mut fake = FakeServer::start();
    let proxy = over(&fake);
    let mut victim = proxy.client();
    let mut other = proxy.client();
    victim.send(encode(&["GET", "large"]));
    let mut backend = fake.accept();
    backend.expect(&["GET", "large"]);
    other.send(encode(&["GET", "small"]));
    other.send(encode(&["SET", "small", "v"]));
    backend.expect(&["GET", "small"]);
    backend.expect(&["SET", "small", "v"]);
    let half = [&b"$1048576\r\n"[..], &vec![b'v'; 512 * 1024]].concat();
    backend.reply(&half);
    // It streams: the client has what the server has sent.
    expect_bytes(&mut victim, &half);
    backend.close();
    victim.expect_closed();
    let expected = format!(
        "ERR Connection closed by the server: server {} (server1)",
        fake.addr()
    );
    assert_eq!(other.read().error(), expected);
    assert_eq!(other.read().error(), format!("{expected}{IN_DOUBT}"));
    let mut backend = fake.accept_for(&mut other, &["GET", "small"]);
    backend.reply("$1\r\nv\r\n");
    assert_eq!(other.read(), Value::bulk("v"));
}

/// The reply is not yet its client's next, so nothing of it has left.
#[test]
fn a_large_reply_that_breaks_off_before_its_turn_is_an_error() {
    let mut fakes = [FakeServer::start(), FakeServer::start()];
    let pool = Pool::new("alpha")
        .server(&fakes[0].line("server1"))
        .server(&fakes[1].line("server2"));
    let proxy = Proxy::start(&[pool]);
    let (first, second) = (&keys_on(1, 2)[0], &keys_on(2, 2)[0]);
    let mut client = proxy.client();
    client.send(encode(&["GET", first]));
    client.send(encode(&["GET", second]));
    let mut before = fakes[0].accept();
    before.expect(&["GET", first]);
    let mut large = fakes[1].accept();
    large.expect(&["GET", second]);
    large.reply([&b"$1048576\r\n"[..], &vec![b'v'; 512 * 1024]].concat());
    large.close();
    let ended = |proxy: &Proxy| Stats::of(proxy).server("alpha", "server2", "server_eof");
    eventually("the close is seen", || ended(&proxy) == 1);
    before.reply("$1\r\nv\r\n");
    assert_eq!(client.read(), Value::bulk("v"));
    assert!(client.read().error().contains("(server2)"));
    assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
}

#[test]
fn errors_of_overload_pass_unchanged_and_count_as_failures() {
    let mut fake = FakeServer::start();
    let pool = Pool::new("alpha")
        .server(&fake.line("server1"))
        .set("auto_eject_hosts", true)
        .set("server_failure_limit", 3);
    let proxy = Proxy::start(&[pool]);
    let (mut client, mut backend) = resp2(&proxy, &mut fake);
    let overloads = [
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
    ];
    // With a normal reply in between they do not add up; nor do errors of other kinds, or lookalikes.
    let harmless = [
        "-OOMPH no\r\n",
        "-ERR -OOM no\r\n",
        "+-OOM no\r\n",
        "$5\r\n-OOM \r\n",
    ];
    let rounds = [&overloads[..], &harmless].concat();
    for reply in rounds.iter().flat_map(|reply| [reply, &"+OK\r\n"]) {
        client.send(encode(&["SET", "k", "v"]));
        backend.expect(&["SET", "k", "v"]);
        backend.reply(reply);
        expect_bytes(&mut client, reply.as_bytes());
    }
    assert_eq!(Stats::of(&proxy).pool("alpha", "server_ejects"), 0);
    for reply in overloads {
        client.send(encode(&["SET", "k", "v"]));
        backend.expect(&["SET", "k", "v"]);
        // The code is not all in one read.
        backend.reply(&reply[..3]);
        backend.expect_silence(std::time::Duration::from_millis(20));
        backend.reply(&reply[3..]);
        expect_bytes(&mut client, reply.as_bytes());
    }
    eventually("three in a row eject it", || {
        Stats::of(&proxy).pool("alpha", "server_ejects") == 1
    });
    assert_eq!(
        Stats::of(&proxy).server("alpha", "server1", "server_err"),
        0
    );
}
