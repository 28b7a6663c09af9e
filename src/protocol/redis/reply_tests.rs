//! The reply scanner: generated replies as `redis-protocol` reads them, at any split; any bytes at all.
//!
//! Also where the tests of this stage get replies from.

use proptest::prelude::*;
use redis_protocol::{resp2, resp3};

use super::reply::{MAX_DEPTH, ReplyError, ReplyScanner};

fn bulk(kind: char, bytes: &[u8]) -> Vec<u8> {
    [
        format!("{kind}{}\r\n", bytes.len()).as_bytes(),
        bytes,
        b"\r\n",
    ]
    .concat()
}

/// `divisor`: elements that count as one.
fn aggregate(kind: char, elements: &[Vec<u8>], divisor: usize) -> Vec<u8> {
    let header = format!("{kind}{}\r\n", elements.len() / divisor);
    [header.into_bytes(), elements.concat()].concat()
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 90..200),
        1 => Just(b"$3\r\nfoo\r\n-ERR\r\n".to_vec()),
    ]
}

/// A reply without elements, of a kind that both protocol versions have.
fn common() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        "[ -~]{0,12}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        "[ -~]{0,12}".prop_map(|text| format!("-{text}\r\n").into_bytes()),
        any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
        value().prop_map(|bytes| bulk('$', &bytes)),
    ]
    .boxed()
}

fn resp3_leaf() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        common(),
        value().prop_map(|bytes| bulk('!', &bytes)),
        value().prop_map(|bytes| bulk('=', &[b"txt:", &bytes[..]].concat())),
        any::<bool>().prop_map(|b| if b { b"#t\r\n" } else { b"#f\r\n" }.to_vec()),
        any::<f64>().prop_map(|n| format!(",{n}\r\n").into_bytes()),
        "-?[1-9][0-9]{0,40}".prop_map(|n| format!("({n}\r\n").into_bytes()),
    ]
    .boxed()
}

/// A reply of a connection that speaks RESP2.
pub(super) fn resp2() -> BoxedStrategy<Vec<u8>> {
    let null = prop_oneof![Just(b"$-1\r\n".to_vec()), Just(b"*-1\r\n".to_vec())];
    prop_oneof![4 => common(), 1 => null]
        .prop_recursive(4, 24, 5, |inner| {
            prop::collection::vec(inner, 0..5).prop_map(|elements| aggregate('*', &elements, 1))
        })
        .boxed()
}

/// A reply of a connection that speaks RESP3, save for RESP2's nulls, which `redis-protocol` refuses then.
pub(super) fn resp3() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![6 => resp3_leaf(), 1 => Just(b"_\r\n".to_vec())]
        .prop_recursive(4, 24, 6, |inner| {
            // The decoder takes only leaves for keys and for members of sets.
            let pairs = prop::collection::vec((resp3_leaf(), inner.clone()), 0..4);
            let pairs = pairs.prop_map(|pairs| {
                let both = pairs.into_iter().flat_map(|(key, value)| [key, value]);
                both.collect::<Vec<_>>()
            });
            prop_oneof![
                prop::collection::vec(inner, 0..5)
                    .prop_map(|elements| aggregate('*', &elements, 1)),
                prop::collection::vec(resp3_leaf(), 0..5)
                    .prop_map(|elements| aggregate('~', &elements, 1)),
                pairs.clone().prop_map(|pairs| aggregate('%', &pairs, 2)),
                (pairs, resp3_leaf())
                    .prop_map(|(pairs, of)| [aggregate('|', &pairs, 2), of].concat()),
            ]
        })
        .boxed()
}

/// The lengths of the replies in `input` as it comes in pieces of `sizes`, over and over.
fn lengths(input: &[u8], sizes: &[usize]) -> (Vec<usize>, Option<ReplyError>) {
    let mut scanner = ReplyScanner::default();
    let (mut found, mut current) = (Vec::new(), 0);
    let (mut at, mut end) = (0, 0);
    let mut sizes = sizes.iter().cycle();
    loop {
        let piece = match scanner.scan(&input[at..end]) {
            Ok(piece) => piece,
            Err(error) => return (found, Some(error)),
        };
        at += piece.len;
        current += piece.len;
        if piece.end {
            found.push(std::mem::take(&mut current));
            assert!(!scanner.in_reply());
        } else {
            assert!(end - at < 32, "at most a header is left for later");
            if end == input.len() {
                return (found, None);
            }
            let size = sizes.next().copied().unwrap_or(usize::MAX);
            end = input.len().min(end.saturating_add(size));
        }
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..30, 1..6)
}

/// Bytes that come near to replies.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        6 => prop::sample::select(vec![
            "+", "-", ":", "$", "*", "%", "~", "|", ">", "=", "!", "_", "#t", ",1", "(", "0", "1", "2",
            "-1", "\r\n", "\r\n", "\r\n", "\r", "\n", "x", "*1\r\n", "$3\r\nabc\r\n", "+OK\r\n", "%1\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(fragment, 0..16).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn resp2_replies_are_as_long_as_redis_protocol_finds_them(
        replies in prop::collection::vec(resp2(), 1..5), sizes in sizes(),
    ) {
        for reply in &replies {
            let decoded = resp2::decode::decode_range(reply).unwrap();
            prop_assert_eq!(decoded.map(|(_, len)| len), Some(reply.len()));
        }
        let wanted: Vec<_> = replies.iter().map(Vec::len).collect();
        prop_assert_eq!(lengths(&replies.concat(), &sizes), (wanted, None));
    }

    #[test]
    fn resp3_replies_are_as_long_as_redis_protocol_finds_them(
        replies in prop::collection::vec(resp3(), 1..5), sizes in sizes(),
    ) {
        for reply in &replies {
            let decoded = resp3::decode::complete::decode_range(reply).unwrap();
            prop_assert_eq!(decoded.map(|(_, len)| len), Some(reply.len()));
        }
        let wanted: Vec<_> = replies.iter().map(Vec::len).collect();
        prop_assert_eq!(lengths(&replies.concat(), &sizes), (wanted, None));
    }

    #[test]
    fn a_reply_cut_short_is_no_reply(reply in resp3(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(reply.len());
        prop_assert_eq!(lengths(&reply[..cut], &[usize::MAX]), (Vec::new(), None));
    }

    #[test]
    fn any_bytes_mean_the_same_at_any_split(input in almost(), sizes in sizes()) {
        let whole = lengths(&input, &[usize::MAX]);
        prop_assert_eq!(&lengths(&input, &sizes), &whole);
        prop_assert_eq!(&lengths(&input, &[1]), &whole);
    }

    #[test]
    fn nesting_is_followed_to_its_bound(
        depth in prop_oneof![0..200usize, MAX_DEPTH - 2..MAX_DEPTH + 3],
        size in 1usize..9,
    ) {
        let input = [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        let wanted = match depth > MAX_DEPTH {
            true => (Vec::new(), Some(ReplyError::TooDeep)),
            false => (vec![input.len()], None),
        };
        prop_assert_eq!(lengths(&input, &[size]), wanted);
    }
}
