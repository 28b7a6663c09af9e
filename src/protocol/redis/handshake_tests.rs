//! The opening of a connection, step by step and at any split.

use proptest::prelude::*;

use super::*;

const HELLO: &str = "%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n\
                     *1\r\n%2\r\n$4\r\nname\r\n$2\r\nbf\r\n$3\r\nver\r\n:20612\r\n";
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn sent(handshake: &Handshake) -> String {
    String::from_utf8(handshake.request()).unwrap()
}

fn after(mut handshake: Handshake, replies: &str) -> Result<Progress, HandshakeError> {
    handshake.handle_bytes(replies.as_bytes())
}

#[test]
fn commands_are_pipelined_in_the_order_redis_needs() {
    let ping = "*1\r\n$4\r\nPING\r\n";
    let select = "*2\r\n$6\r\nSELECT\r\n$2\r\n15\r\n";
    let auth = "*2\r\n$4\r\nAUTH\r\n$5\r\ns e\"c\r\n";
    let hello_auth = "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$2\r\npw\r\n";
    for (handshake, expected) in [
        (Handshake::new(None, 0, Resp::V2, false), String::new()),
        (
            Handshake::new(Some("s e\"c"), 15, Resp::V2, true),
            format!("{auth}{select}{ping}"),
        ),
        (
            Handshake::new(None, 15, Resp::V2, false),
            select.to_string(),
        ),
        (
            Handshake::new(None, 0, Resp::V3, true),
            format!("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n{ping}"),
        ),
        (
            Handshake::new(Some("pw"), 15, Resp::V3, false),
            format!("{hello_auth}{select}"),
        ),
    ] {
        assert_eq!(sent(&handshake), expected);
    }
}

#[test]
fn without_steps_it_is_done_at_once() {
    let mut handshake = Handshake::new(None, 0, Resp::V2, false);
    assert!(handshake.is_done());
    assert_eq!(handshake.handle_bytes(b""), Ok(Progress::Done));
    let error = handshake.handle_bytes(b"+").unwrap_err();
    assert_eq!(error, HandshakeError::TrailingBytes);
}

#[test]
fn good_replies_open_the_connection() {
    let full_v2 = Handshake::new(Some("pw"), 3, Resp::V2, true);
    assert_eq!(
        after(full_v2, "+OK\r\n+OK\r\n+PONG\r\n"),
        Ok(Progress::Done)
    );
    let full_v3 = Handshake::new(Some("pw"), 3, Resp::V3, true);
    let replies = format!("{HELLO}+OK\r\n+PONG\r\n");
    assert_eq!(after(full_v3, &replies), Ok(Progress::Done));
}

#[test]
fn a_server_without_password_does_not_mind_ours() {
    for error in NO_PASSWORD_NEEDED {
        let handshake = Handshake::new(Some("pw"), 3, Resp::V2, false);
        let replies = format!("-{error} for the default user.\r\n+OK\r\n");
        assert_eq!(after(handshake, &replies), Ok(Progress::Done));
    }
}

#[test]
fn the_first_refusal_is_the_error() {
    for (version, db, replies, expected) in [
        (
            Resp::V2,
            3,
            format!("-{WRONGPASS}\r\n-NOAUTH x\r\n-NOAUTH x\r\n"),
            format!("Authentication required, and AUTH failed: {WRONGPASS}"),
        ),
        (
            Resp::V3,
            0,
            format!("-{WRONGPASS}\r\n"),
            format!("Authentication required, and AUTH failed: {WRONGPASS}"),
        ),
        (
            Resp::V3,
            0,
            "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'def\r\n".into(),
            "HELLO 3 failed: ERR unknown command 'HELLO'".into(),
        ),
        (
            Resp::V2,
            99,
            "+OK\r\n-ERR DB index is out of range\r\n".into(),
            "SELECT 99 failed: ERR DB index is out of range".into(),
        ),
        (
            Resp::V2,
            0,
            "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n".into(),
            "PING failed: LOADING Redis is loading the dataset in memory".into(),
        ),
        (
            Resp::V2,
            0,
            "+OK\r\n+OK\r\n".into(),
            "unexpected reply to PING".into(),
        ),
        (
            Resp::V2,
            0,
            "HTTP/1.1 400 Bad Request\r\n".into(),
            "unexpected reply to AUTH".into(),
        ),
        (
            Resp::V3,
            0,
            "*2\r\n$5\r\nproto\r\n:2\r\n".into(),
            "unexpected reply to HELLO".into(),
        ),
        (
            Resp::V2,
            0,
            "+OK\r\n+PONG\r\n:".into(),
            HandshakeError::TrailingBytes.to_string(),
        ),
    ] {
        let handshake = Handshake::new(Some("secret-pw"), db, version, true);
        let error = after(handshake, &replies).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn no_error_text_repeats_the_password() {
    for reply in [
        "-ERR unknown command `AUTH`, with args beginning with: `hunter2`, \r\n",
        "-ERR proxy: bad password hunter2\r\n",
        "-hunter2\r\n",
    ] {
        let handshake = Handshake::new(Some("hunter2"), 0, Resp::V2, false);
        let error = after(handshake, reply).unwrap_err();
        assert!(matches!(error, HandshakeError::AuthRejected(_)));
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn error_texts_are_one_short_line() {
    let handshake = Handshake::new(None, 0, Resp::V2, true);
    let reply = format!("-ERR a\nb\tc{}\r\n", "x".repeat(5000));
    let text = after(handshake, &reply).unwrap_err().to_string();
    assert!(text.starts_with("PING failed: ERR a b cxxx"), "{text}");
    assert!(text.chars().count() < 300, "{}", text.len());
}

#[test]
fn long_and_deep_replies_are_refused() {
    let endless = "+".to_string() + &"x".repeat(MAX_REPLY_BYTES);
    let error = after(Handshake::new(None, 0, Resp::V2, true), &endless).unwrap_err();
    assert_eq!(error, HandshakeError::ReplyTooLong { command: "PING" });

    let deep = "%1\r\n$1\r\na\r\n".to_string() + &"*1\r\n".repeat(10_000);
    let error = after(Handshake::new(None, 0, Resp::V3, false), &deep).unwrap_err();
    assert_eq!(error, HandshakeError::ReplyTooLong { command: "HELLO" });

    let huge = "%99999999999\r\n";
    let progress = after(Handshake::new(None, 0, Resp::V3, false), huge);
    assert_eq!(progress, Ok(Progress::Incomplete));
}

/// Feeds `bytes` in pieces of the given sizes, the rest at once.
fn fed(
    mut handshake: Handshake,
    bytes: &[u8],
    sizes: &[usize],
) -> Result<Progress, HandshakeError> {
    let mut rest = bytes;
    for &size in sizes {
        let (piece, tail) = rest.split_at(size.min(rest.len()));
        handshake.handle_bytes(piece)?;
        rest = tail;
    }
    handshake.handle_bytes(rest)
}

proptest! {
    #[test]
    fn any_split_of_the_replies_gives_the_same_verdict(
        case in 0usize..6, sizes in prop::collection::vec(0usize..9, 0..60),
    ) {
        let endings = [
            "+OK\r\n+PONG\r\n", "+OK\r\n+PON\r\n", "+OK\r\n", "-ERR no\r\n", "+OK\r\n+PONG\r\n:1\r\n", "x",
        ];
        let replies = format!("{HELLO}{}", endings[case]);
        let new = || Handshake::new(Some("pw"), 3, Resp::V3, true);
        prop_assert_eq!(fed(new(), replies.as_bytes(), &sizes), after(new(), &replies));
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(prop::sample::select(b"%*+-$:>|~_#,!=(H?;.019\r\naOK".to_vec()), 0..300),
        hello: bool,
    ) {
        let version = if hello { Resp::V3 } else { Resp::V2 };
        let bytes = if hello { [b"%2\r\n", bytes.as_slice()].concat() } else { bytes };
        let verdict = Handshake::new(None, 1, version, false).handle_bytes(&bytes);
        prop_assert!(verdict != Ok(Progress::Done) || bytes.ends_with(b"+OK\r\n"));
    }
}

#[test]
fn only_a_master_passes_where_one_is_required() {
    let handshake = || Handshake::new(Some("pw"), 0, Resp::V2, false).require_master();
    assert!(handshake().request().ends_with(b"*1\r\n$4\r\nROLE\r\n"));
    let master =
        b"+OK\r\n*3\r\n$6\r\nmaster\r\n:42\r\n*1\r\n*3\r\n$1\r\nh\r\n$1\r\n1\r\n$1\r\n5\r\n";
    for first in 0..master.len() {
        let mut split = handshake();
        assert_eq!(
            split.handle_bytes(&master[..first]),
            Ok(Progress::Incomplete)
        );
        assert_eq!(
            split.handle_bytes(&master[first..]),
            Ok(Progress::Done),
            "{first}"
        );
    }
    let replica = b"+OK\r\n*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:7\r\n";
    let error = HandshakeError::NotMaster("slave".to_string());
    assert_eq!(handshake().handle_bytes(replica), Err(error));
    let loading = handshake().handle_bytes(b"+OK\r\n-LOADING not yet\r\n");
    let error = HandshakeError::NotMaster("LOADING not yet".to_string());
    assert_eq!(loading, Err(error));
}
