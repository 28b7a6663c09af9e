//! Checks of the test helpers themselves, against a plain Redis: a helper that sees nothing would make
//! every other test pass.

mod support;

use support::{Client, NoReply, RedisServer, Value, encode, parse};

#[test]
fn reads_every_kind_of_reply_whole_or_not_at_all() {
    let cases: &[(&[u8], Value)] = &[
        (b"+OK\r\n", Value::ok()),
        (b"-ERR no\r\n", Value::Error("ERR no".into())),
        (b":-7\r\n", Value::Int(-7)),
        (b"$3\r\na\r\n\r\n", Value::bulk("a\r\n")),
        (b"$-1\r\n", Value::Nil),
        (b"*-1\r\n", Value::Nil),
        (b"_\r\n", Value::Nil),
        (
            b"*2\r\n$0\r\n\r\n*1\r\n:1\r\n",
            Value::Array(vec![Value::bulk(""), Value::Array(vec![Value::Int(1)])]),
        ),
        (
            b"%1\r\n+a\r\n#t\r\n",
            Value::Map(vec![(Value::Simple("a".into()), Value::Bool(true))]),
        ),
        (
            b"~1\r\n,1.5\r\n",
            Value::Set(vec![Value::Double("1.5".into())]),
        ),
        (
            b">1\r\n(12\r\n",
            Value::Push(vec![Value::BigNumber("12".into())]),
        ),
        (b"=5\r\ntxt:a\r\n", Value::Verbatim(b"txt:a".to_vec())),
    ];
    for (bytes, expected) in cases {
        let input = [bytes, b"+next\r\n".as_slice()].concat();
        assert_eq!(
            parse(&input),
            Ok(Some((expected.clone(), bytes.len()))),
            "{}",
            bytes.escape_ascii()
        );
        for cut in 0..bytes.len() {
            assert_eq!(
                parse(&bytes[..cut]),
                Ok(None),
                "{}",
                bytes[..cut].escape_ascii()
            );
        }
    }
}

#[test]
fn refuses_what_is_no_reply() {
    for bytes in [
        b"hello\r\n".as_slice(),
        b"+OK\n",
        b"$1\r\nabcd",
        b":x\r\n",
        b"$x\r\n",
    ] {
        assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_restarted_server_is_empty_and_has_its_port() {
    let mut server = RedisServer::start();
    let port = server.port();
    let mut client = server.client();
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    assert_eq!(client.cmd(&["GET", "k"]), Value::bulk("v"));
    server.restart();
    client.expect_closed();
    assert_eq!(server.port(), port);
    assert_eq!(server.client().cmd(&["GET", "k"]), Value::Nil);
}

#[test]
fn a_killed_server_refuses_and_a_paused_one_is_silent() {
    let mut server = RedisServer::start();
    let mut client = server.client();
    server.pause();
    client.send(encode(&["PING"]));
    client.expect_silence(std::time::Duration::from_millis(50));
    server.resume();
    assert_eq!(client.read(), Value::Simple("PONG".into()));
    server.kill();
    assert!(matches!(client.try_read(), Err(NoReply::Closed)));
    assert!(std::net::TcpStream::connect(server.addr()).is_err());
}

#[test]
fn reads_pipelines_and_large_values() {
    let server = RedisServer::start();
    let mut client = Client::connect(server.addr());
    let large = vec![b'x'; 3 << 20];
    let replies = client.pipeline(&[
        &[b"SET".as_slice(), b"k", &large],
        &[b"GET", b"k"],
        &[b"NOPE"],
    ]);
    assert_eq!(replies[..2], [Value::ok(), Value::bulk(&large)]);
    assert!(replies[2].error().starts_with("ERR unknown command"));
    assert_eq!(client.cmd(&["QUIT"]), Value::ok());
    client.expect_closed();
}
