//! Publish/subscribe: what is asked of servers, what they push on RESP3 connections, and what clients of
//! either version are told (`pubsub.c`).

use super::Resp;
use super::element::{Elements, is_null, string};
use super::write;

/// What a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Channel,
    Pattern,
    /// A channel of SSUBSCRIBE, which SPUBLISH publishes to.
    Shard,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

    /// The command, and the first word of its confirmation.
    pub fn subscribe(self) -> &'static str {
        match self {
            Kind::Channel => "subscribe",
            Kind::Pattern => "psubscribe",
            Kind::Shard => "ssubscribe",
        }
    }

    /// As [`Kind::subscribe`].
    pub fn unsubscribe(self) -> &'static str {
        match self {
            Kind::Channel => "unsubscribe",
            Kind::Pattern => "punsubscribe",
            Kind::Shard => "sunsubscribe",
        }
    }
}

/// What a push is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push<'a> {
    /// For those who subscribed to `name`.
    Message { kind: Kind, name: &'a [u8] },
    /// The server has ended a subscription to this shard channel, or confirms that it did as it was told.
    Unsubscribed(&'a [u8]),
    /// Confirms what was asked for, or has nothing to do with subscriptions.
    Other,
}

/// Reads a complete push.
pub fn read(frame: &[u8]) -> Push<'_> {
    let mut elements = match Elements::of(frame) {
        Some(elements) if frame[0] == b'>' => elements,
        _ => return Push::Other,
    };
    let len = elements.len();
    let word = elements.next().and_then(string);
    let name = elements.next().and_then(string);
    match (word, name, len) {
        (Some(b"message"), Some(name), 3) => message(Kind::Channel, name),
        (Some(b"pmessage"), Some(name), 4) => message(Kind::Pattern, name),
        (Some(b"smessage"), Some(name), 3) => message(Kind::Shard, name),
        (Some(b"sunsubscribe"), Some(name), 3) => Push::Unsubscribed(name),
        _ => Push::Other,
    }
}

fn message(kind: Kind, name: &[u8]) -> Push<'_> {
    Push::Message { kind, name }
}

/// Appends a push that [`read`] knows as a message in the client's version of the protocol.
pub fn write_message(out: &mut Vec<u8>, resp: Resp, frame: &[u8]) {
    match (resp, Elements::of(frame)) {
        (Resp::V2, Some(elements)) => {
            write::array_header(out, elements.len());
            for element in elements {
                match is_null(element) {
                    true => write::null(out, resp),
                    false => out.extend_from_slice(element),
                }
            }
        }
        _ => out.extend_from_slice(frame),
    }
}

/// Appends the confirmation of one subscription or of its end; `word` as of [`Kind`]. Without a `name` there
/// was nothing to end. `count`: subscriptions that the client has now.
pub fn confirm(out: &mut Vec<u8>, resp: Resp, word: &str, name: Option<&[u8]>, count: usize) {
    match resp {
        Resp::V2 => write::array_header(out, 3),
        Resp::V3 => write::push_header(out, 3),
    }
    write::bulk(out, word.as_bytes());
    match name {
        Some(name) => write::bulk(out, name),
        None => write::null(out, resp),
    }
    write::integer(out, count as i64);
}

/// Follows a request that servers confirm with pushes only, one for each name: the reply to it says that it
/// was executed. Servers answer it in whatever state they are in, also while they load their data, and to
/// every user; and they know it under this name, as connections with RESP3 begin with it.
pub const FENCE: &[u8] = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";

/// Appends a request to (un)subscribe, as `word` says, and the [`FENCE`].
pub fn request<'a>(out: &mut Vec<u8>, word: &str, names: impl ExactSizeIterator<Item = &'a [u8]>) {
    write::array_header(out, 1 + names.len());
    write::bulk(out, word.as_bytes());
    names.for_each(|name| write::bulk(out, name));
    out.extend_from_slice(FENCE);
}

/// Where messages to a channel come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The server of this key.
    Key(&'a [u8]),
    Everywhere,
}

/// Channels of the servers' own notifications (`notify.c`) are published where the key is that they are about.
pub fn source(channel: &[u8]) -> Source<'_> {
    if let Some(key) = behind_database(channel, b"__keyspace@") {
        return Source::Key(key);
    }
    match behind_database(channel, b"__keyevent@") {
        Some(_) => Source::Everywhere,
        None => Source::Key(channel),
    }
}

fn behind_database<'a>(channel: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let rest = channel.strip_prefix(prefix)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].strip_prefix(b"__:").filter(|_| digits > 0)
}

#[cfg(test)]
mod tests {
    use super::super::reply::ReplyScanner;
    use super::*;
    use proptest::prelude::*;
    use redis_protocol::resp2::decode::decode as decode2;
    use redis_protocol::resp2::types::{OwnedFrame as Frame2, Resp2Frame};
    use redis_protocol::resp3::decode::complete::decode as decode3;
    use redis_protocol::resp3::types::{OwnedFrame as Frame3, Resp3Frame};

    fn push(elements: &[&[u8]]) -> Vec<u8> {
        let mut frame = Vec::new();
        write::push_header(&mut frame, elements.len());
        elements.iter().for_each(|e| write::bulk(&mut frame, e));
        frame
    }

    #[test]
    fn pushes_are_told_apart() {
        let message = |kind, name| Push::Message { kind, name };
        for (elements, expected) in [
            (
                &[&b"message"[..], b"a", b"x"][..],
                message(Kind::Channel, &b"a"[..]),
            ),
            (
                &[b"pmessage", b"a*", b"ab", b"x"],
                message(Kind::Pattern, b"a*"),
            ),
            (&[b"smessage", b"a", b"x"], message(Kind::Shard, b"a")),
            (&[b"subscribe", b"a", b"x"], Push::Other),
            (&[b"invalidate", b"a"], Push::Other),
            (&[b"message", b"a"], Push::Other),
            (&[b"sunsubscribe", b"a", b"1"], Push::Unsubscribed(b"a")),
        ] {
            let frame = push(elements);
            assert_eq!(read(&frame), expected);
        }
        for other in [
            &b""[..],
            b"-ERR\r\n",
            b">0\r\n",
            b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n",
        ] {
            assert_eq!(read(other), Push::Other);
        }
    }

    #[test]
    fn confirmations_are_redis_own() {
        for (resp, name, expected) in [
            (
                Resp::V2,
                Some(&b"a"[..]),
                "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:7\r\n",
            ),
            (Resp::V2, None, "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:7\r\n"),
            (
                Resp::V3,
                Some(b"a"),
                ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:7\r\n",
            ),
            (Resp::V3, None, ">3\r\n$9\r\nsubscribe\r\n_\r\n:7\r\n"),
        ] {
            let mut out = Vec::new();
            confirm(&mut out, resp, Kind::Channel.subscribe(), name, 7);
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn a_request_ends_with_the_fence() {
        let mut out = Vec::new();
        let names = [&b"a"[..], b""];
        request(&mut out, Kind::Shard.unsubscribe(), names.into_iter());
        let expected =
            "*3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n$0\r\n\r\n*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
        assert_eq!(out, expected.as_bytes());
    }

    #[test]
    fn notifications_come_from_their_keys_server() {
        for (channel, expected) in [
            ("news", Source::Key(&b"news"[..])),
            ("__keyspace@0__:foo", Source::Key(b"foo")),
            ("__keyspace@15__:", Source::Key(b"")),
            (
                "__keyspace@0__:__keyspace@0__:foo",
                Source::Key(b"__keyspace@0__:foo"),
            ),
            ("__keyspace@__:foo", Source::Key(b"__keyspace@__:foo")),
            ("__keyspace@0_:foo", Source::Key(b"__keyspace@0_:foo")),
            ("__keyevent@0__:del", Source::Everywhere),
            ("__keyevent@x__:del", Source::Key(b"__keyevent@x__:del")),
        ] {
            assert_eq!(source(channel.as_bytes()), expected, "{channel}");
        }
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            proptest::collection::vec(proptest::sample::select(b"\r\n$*>_:3".to_vec()), 0..20),
        ]
    }

    proptest! {
        /// Both versions say the same, and an independent decoder agrees.
        #[test]
        fn messages_keep_their_elements(kind in 0..3usize, parts in proptest::collection::vec(bytes(), 3)) {
            let word = [&b"message"[..], b"pmessage", b"smessage"][kind];
            let mut elements = vec![word];
            elements.extend(parts.iter().map(|part| &part[..]).skip(usize::from(kind != 1)));
            let frame = push(&elements);
            let expected = Push::Message { kind: Kind::ALL[kind], name: elements[1] };
            prop_assert_eq!(read(&frame), expected);
            let piece = ReplyScanner::default().scan(&frame).unwrap();
            prop_assert_eq!((piece.len, piece.end), (frame.len(), true));

            let mut three = Vec::new();
            write_message(&mut three, Resp::V3, &frame);
            let (decoded, len) = decode3(&three).unwrap().unwrap();
            prop_assert_eq!(len, three.len());
            let Frame3::Push { data, .. } = decoded else { panic!("a push") };
            let got: Vec<Vec<u8>> = data.iter().map(|e| e.as_bytes().unwrap().to_vec()).collect();
            prop_assert_eq!(&got, &elements);

            let mut two = Vec::new();
            write_message(&mut two, Resp::V2, &frame);
            let (decoded, len) = decode2(&two).unwrap().unwrap();
            prop_assert_eq!(len, two.len());
            let Frame2::Array(data) = decoded else { panic!("an array") };
            let got: Vec<Vec<u8>> = data.iter().map(|e| e.as_bytes().unwrap().to_vec()).collect();
            prop_assert_eq!(&got, &elements);
        }

        #[test]
        fn nothing_makes_it_stumble(frame in bytes()) {
            let frame = [b">".as_slice(), &frame].concat();
            read(&frame);
            write_message(&mut Vec::new(), Resp::V2, &frame);
        }
    }

    #[test]
    fn nulls_are_those_of_the_version() {
        let mut out = Vec::new();
        write_message(&mut out, Resp::V2, b">2\r\n_\r\n:1\r\n");
        assert_eq!(out, b"*2\r\n$-1\r\n:1\r\n");
    }
}
