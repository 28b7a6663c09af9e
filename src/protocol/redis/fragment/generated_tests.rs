//! Joining: replies of any kind find the places of their keys, however their bytes come in.

use proptest::prelude::*;

use super::Gather;
use crate::protocol::redis::command::Join;
use crate::protocol::redis::reply::ReplyScanner;
use crate::protocol::redis::reply_tests::{resp2, resp3};
use crate::protocol::redis::write;

/// Hands in the parts' replies a few bytes at a time, whichever part is next; answers the joined reply.
fn join(mut gather: Gather, replies: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut rests: Vec<_> = replies.iter().map(|reply| &reply[..]).enumerate().collect();
    let mut held = 0;
    while !rests.is_empty() {
        assert!(!gather.is_complete());
        let which = random.usize(..rests.len());
        let (part, rest) = &mut rests[which];
        let n = random.usize(1..=rest.len().min(40));
        let end = n == rest.len();
        let complete = gather.handle_piece(*part as u16, &rest[..n], end);
        *rest = &rest[n..];
        held += n;
        if end {
            rests.swap_remove(which);
        }
        assert_eq!(complete, rests.is_empty());
    }
    assert_eq!(gather.held(), held);
    let mut out = b"before".to_vec();
    assert!(!gather.write(&mut out), "not an error");
    out.split_off(b"before".len())
}

/// Each key's part and element, as a server's reply to MGET has it.
fn keys(parts: u16) -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    prop::collection::vec((0..parts, prop_oneof![resp2(), resp3()]), 1..12)
}

const JOINS: [Join; 13] = [
    Join::Array,
    Join::Sum,
    Join::AllOk,
    Join::AnyOk,
    Join::Same,
    Join::Least,
    Join::Greatest,
    Join::OneOf,
    Join::Concat,
    Join::Union,
    Join::EachLeast,
    Join::Text,
    Join::SumOfEach,
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_element_returns_to_the_place_of_its_key(keys in keys(4), seed in any::<u64>()) {
        // Parts exist for keys only, in the order of their first ones.
        let mut parts: Vec<u16> = Vec::new();
        for (part, _) in &keys {
            if !parts.contains(part) {
                parts.push(*part);
            }
        }
        let order = keys.iter().map(|(part, _)| {
            parts.iter().position(|known| known == part).unwrap() as u16
        });
        let replies: Vec<Vec<u8>> = parts.iter().map(|part| {
            let elements: Vec<_> = keys.iter().filter(|(of, _)| of == part).collect();
            let mut reply = Vec::new();
            write::array_header(&mut reply, elements.len());
            elements.iter().for_each(|(_, element)| reply.extend_from_slice(element));
            reply
        }).collect();
        let gather = Gather::new(Join::Array, order.collect(), replies.len());
        let mut wanted = Vec::new();
        write::array_header(&mut wanted, keys.len());
        keys.iter().for_each(|(_, element)| wanted.extend_from_slice(element));
        prop_assert_eq!(join(gather, &replies, seed), wanted);
    }

    #[test]
    fn integers_are_added(numbers in prop::collection::vec(any::<i32>(), 1..6), seed in any::<u64>()) {
        let replies: Vec<_> = numbers.iter().map(|n| format!(":{n}\r\n").into_bytes()).collect();
        let sum: i64 = numbers.iter().copied().map(i64::from).sum();
        let gather = Gather::new(Join::Sum, Vec::new(), replies.len());
        prop_assert_eq!(join(gather, &replies, seed), format!(":{sum}\r\n").into_bytes());
    }

    /// A server that answers with anything: the client gets exactly one reply, never a panic.
    #[test]
    fn whatever_the_parts_answer_the_join_is_one_reply(
        join in prop::sample::select(JOINS.to_vec()),
        replies in prop::collection::vec(prop_oneof![resp2(), resp3()], 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        fails in any::<bool>(),
    ) {
        let order = order.iter().map(|index| index.index(replies.len()) as u16).collect();
        let mut gather = Gather::new(join, order, replies.len());
        for (part, reply) in replies.iter().enumerate() {
            gather.handle_piece(part as u16, &reply[..1], false);
            match fails && part == 0 {
                true => gather.handle_failure(0, b"-ERR gone\r\n".to_vec()),
                false => gather.handle_piece(part as u16, &reply[1..], true),
            };
        }
        let mut out = Vec::new();
        let is_error = gather.write(&mut out);
        let mut scanner = ReplyScanner::default();
        let piece = scanner.scan(&out).unwrap();
        prop_assert!(piece.end && piece.len == out.len());
        prop_assert_eq!(is_error, matches!(out[0], b'-' | b'!'));
        prop_assert!(!fails || out == b"-ERR gone\r\n" || join.bears_errors());
    }
}
