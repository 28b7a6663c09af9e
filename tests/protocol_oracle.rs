//! What a real redis-server makes of the bytes a client sends, and what our scanner makes of them: the
//! same requests, the same refusals, in the same words. Where ours is stricter, this says so.

use std::net::Shutdown;

use nuthatch::protocol::redis::inline;
use nuthatch::protocol::redis::scan::{
    Body, MAX_BULK, ProtocolError, RequestScanner, Scan, ScanLimits,
};

mod support;
use support::{Client, RedisServer, Value, parse};

const LIMITS: ScanLimits = ScanLimits {
    request: 1 << 40,
    arguments: i32::MAX as u32,
    bulk: MAX_BULK,
    unauthenticated: false,
};

/// How a connection ends whose client sends `input` and no more.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    /// Requests that get a reply.
    requests: usize,
    refusal: Option<String>,
}

fn our_reading(mut input: &[u8], limits: &ScanLimits) -> Result<Reading, ProtocolError> {
    let mut requests = 0;
    let refused = |requests, error: ProtocolError| match error {
        ProtocolError::MissingEnd => Err(error),
        _ => Ok(Reading {
            requests,
            refusal: Some(error.to_string()),
        }),
    };
    loop {
        let frame = match RequestScanner::default().scan(input, limits) {
            Ok(Scan::Complete(frame)) => frame,
            Ok(Scan::Incomplete(need)) => {
                assert!(need > input.len(), "{}", input.escape_ascii());
                break;
            }
            Err(error) => return refused(requests, error),
        };
        requests += match frame.body {
            Body::Array(_) => 1,
            Body::Nothing => 0,
            Body::Inline(span) => {
                match inline::encode(&input[span.start..span.end], &mut Vec::new()) {
                    Ok(arguments) => usize::from(arguments > 0),
                    Err(error) => return refused(requests, error),
                }
            }
        };
        input = &input[frame.len..];
    }
    Ok(Reading {
        requests,
        refusal: None,
    })
}

fn redis_reading(server: &RedisServer, input: &[u8]) -> Reading {
    let mut client = server.client();
    // A server that has refused the beginning need not take the rest.
    let _ = std::io::Write::write_all(&mut client.stream(), input);
    let _ = client.stream().shutdown(Shutdown::Write);
    let replies = client.read_to_end();
    let mut rest = &replies[..];
    let mut reading = Reading {
        requests: 0,
        refusal: None,
    };
    while let Some((value, len)) = parse(rest).expect("redis speaks RESP") {
        rest = &rest[len..];
        assert_eq!(reading.refusal, None, "a refusal is the last reply");
        match value {
            Value::Error(text) if text.starts_with("ERR Protocol error: ") => {
                let reason = &text["ERR Protocol error: ".len()..];
                // Redis repeats control characters and bytes that are no ASCII; we put a space.
                let printable = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
                reading.refusal = Some(reason.chars().map(printable).collect());
            }
            _ => reading.requests += 1,
        }
    }
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    reading
}

/// Mostly valid input with something odd in it. Without NUL, at which Redis stops to look for the end of
/// a line, so that it waits for more where we answer.
fn odd_input(random: &mut fastrand::Rng) -> Vec<u8> {
    const PIECES: &[&[u8]] = &[
        b"*", b"$", b"-", b"+", b"0", b"1", b"2", b"04", b"12", b"\r\n", b"\r\n", b"\r\n", b"\n",
        b"\r", b" ", b"\"", b"'", b"\\", b"PING", b"ECHO x", b"\x0b", b"\xff",
    ];
    const REQUESTS: &[&[u8]] = &[
        b"*1\r\n$4\r\nPING\r\n",
        b"*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n",
        b"*2\r\n$0\r\n\r\n$0\r\n\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"ping\r\n",
        b"ping \"a b\" \n",
        b"\r\n",
    ];
    let mut input = Vec::new();
    for _ in 0..random.usize(1..6) {
        if random.u8(..3) > 0 {
            input.extend_from_slice(REQUESTS[random.usize(..REQUESTS.len())]);
        } else {
            for _ in 0..random.usize(1..5) {
                input.extend_from_slice(PIECES[random.usize(..PIECES.len())]);
            }
        }
        if random.u8(..4) == 0 {
            let at = random.usize(..input.len());
            match random.bool() {
                true => input.insert(at, b"*$\r\n-12\"a"[random.usize(..9)]),
                false => drop(input.remove(at)),
            }
            if input.is_empty() {
                break;
            }
        }
    }
    // Redis looks at a line when its end is there, we refuse what cannot become one: same in the end.
    input.extend_from_slice(b"\r\n");
    input
}

#[test]
fn odd_input_is_read_and_refused_as_by_redis() {
    let server = RedisServer::start();
    let (mut refused, mut accepted) = (0, 0);
    for seed in 0..4000 {
        let input = odd_input(&mut fastrand::Rng::with_seed(seed));
        let Ok(ours) = our_reading(&input, &LIMITS) else {
            // See `we_insist_on_line_ends_where_redis_does_not_look`.
            continue;
        };
        let shown = input.escape_ascii();
        assert_eq!(ours, redis_reading(&server, &input), "seed {seed}: {shown}");
        match ours.refusal {
            Some(_) => refused += 1,
            None => accepted += 1,
        }
    }
    assert!(refused > 200 && accepted > 200, "{refused} and {accepted}");
}

#[test]
fn limits_are_those_of_redis_and_said_in_its_words() {
    let open = RedisServer::start();
    let locked = RedisServer::with_args(&["--requirepass", "secret"]);
    let unauthenticated = ScanLimits {
        arguments: 10,
        bulk: 16 * 1024,
        unauthenticated: true,
        ..LIMITS
    };
    let zeros = "0".repeat(70_000);
    let ping = b"*1\r\n$4\r\nPING\r\n";
    let cases: [(String, &str); 16] = [
        ("*2147483648\r\n".into(), "invalid multibulk length"),
        ("*11\r\n".into(), ""),
        ("*10\r\n".into(), ""),
        ("*-5\r\n".into(), ""),
        ("*-0\r\n".into(), "invalid multibulk length"),
        ("*+1\r\n".into(), "invalid multibulk length"),
        ("*01\r\n".into(), "invalid multibulk length"),
        ("*\r\n".into(), "invalid multibulk length"),
        ("*1\r\n$536870912\r\n".into(), ""),
        ("*1\r\n$536870913\r\n".into(), "invalid bulk length"),
        ("*1\r\n$16384\r\n".into(), ""),
        ("*1\r\n$-1\r\n".into(), "invalid bulk length"),
        ("*1\r\n:1\r\n".into(), "expected '$', got ':'"),
        (format!("*{zeros}"), "too big mbulk count string"),
        (format!("*1\r\n${zeros}"), "too big bulk count string"),
        (zeros, "too big inline request"),
    ];
    for (case, refusal) in &cases {
        let input = [&ping[..], case.as_bytes()].concat();
        let ours = our_reading(&input, &LIMITS).unwrap();
        assert_eq!(
            ours.refusal.as_deref().unwrap_or(""),
            *refusal,
            "{case:.40}"
        );
        assert_eq!(ours, redis_reading(&open, &input), "{case:.40}");
        let ours = our_reading(&input, &unauthenticated).unwrap();
        assert_eq!(ours, redis_reading(&locked, &input), "{case:.40}");
    }
}

/// Redis takes whatever two bytes follow a bulk string, or one byte a header's CR, for the line's end.
/// A request is forwarded as it came, so what reads it in another way than we do must not get through.
#[test]
fn we_insist_on_line_ends_where_redis_does_not_look() {
    let server = RedisServer::start();
    for input in [
        &b"*1\r\n$4\r\nPINGxx"[..],
        b"*1\rx$4\r\nPING\r\n",
        b"*1\r\n$4\rxPING\r\n",
    ] {
        let shown = input.escape_ascii();
        assert_eq!(our_reading(input, &LIMITS), Err(ProtocolError::MissingEnd));
        let accepted = Reading {
            requests: 1,
            refusal: None,
        };
        assert_eq!(redis_reading(&server, input), accepted, "{shown}");
    }
}

#[test]
fn inline_requests_are_split_into_arguments_as_by_redis() {
    const PIECES: &[&str] = &[
        "\"", "\"", "'", "'", "\\", "\\x", "\\x4", "\\x41", "\\n", "\\\"", "\\'", " ", " ", "\t",
        "\x0b", "\x0c", "\r", "a", "b", "4", "é", "*", "$",
    ];
    let server = RedisServer::start();
    let mut client: Option<Client> = None;
    let (mut split, mut refused) = (0, 0);
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(..9);
        let words: String = (0..count)
            .map(|_| PIECES[random.usize(..PIECES.len())])
            .collect();
        let line = format!("EVAL 'return ARGV' 0 {words}");
        let mut encoded = Vec::new();
        let ours = inline::encode(line.as_bytes(), &mut encoded);
        let connection = client.get_or_insert_with(|| server.client());
        connection.send(format!("{line}\n"));
        let theirs = connection.read();
        match ours {
            Ok(_) => {
                let Some((Value::Array(arguments), len)) = parse(&encoded).unwrap() else {
                    panic!("{}", encoded.escape_ascii())
                };
                assert_eq!(len, encoded.len());
                let arguments = Value::Array(arguments[3..].to_vec());
                assert_eq!(arguments, theirs, "seed {seed}: {line:?}");
                split += 1;
            }
            Err(error) => {
                let text = format!("ERR Protocol error: {error}");
                assert_eq!(theirs, Value::Error(text), "seed {seed}: {line:?}");
                connection.expect_closed();
                client = None;
                refused += 1;
            }
        }
    }
    assert!(split > 500 && refused > 500, "{split} and {refused}");
}
