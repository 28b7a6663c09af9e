//! What may happen to connections, at random.

use proptest::prelude::*;

use super::Kind;
use super::model_tests::{SERVERS, TIMEOUT};
use crate::protocol::redis::Resp;

/// How a request reaches [`Backends`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Whole,
    Owned,
    Parts,
}

/// Numbers choose among what there is at the time.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Queue {
        client: u32,
        server: u16,
        kind: Kind,
        padding: usize,
        way: Way,
    },
    /// The shell's duties: sockets removed, connections begun.
    Shell,
    Accept(usize),
    Refuse(usize),
    Write(usize, usize),
    Execute(usize, usize),
    Read(usize, usize),
    /// Bytes that no request asked for.
    Babble(usize, &'static [u8]),
    Close(usize),
    Pass(u32),
    Move(u16, u16),
    Hold(u16, bool),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let way = prop_oneof![Just(Way::Whole), Just(Way::Owned), Just(Way::Parts)];
    let resp = prop_oneof![7 => Just(Resp::V2), 1 => Just(Resp::V3)];
    let db = prop_oneof![5 => Just(None), 1 => Just(Some(1))];
    let kind = (resp, db).prop_map(|(resp, db)| Kind { resp, db });
    let padding = prop_oneof![9 => 0usize..40, 1 => 8_000usize..20_000];
    let babble = prop_oneof![Just(&b"+x\r\n"[..]), Just(&b"x"[..]), Just(&b"$4"[..]),];
    prop_oneof![
        12 => (0u32..3, 0..SERVERS, kind, padding, way).prop_map(
            |(client, server, kind, padding, way)| Step::Queue { client, server, kind, padding, way }
        ),
        4 => Just(Step::Shell),
        4 => any::<usize>().prop_map(Step::Accept),
        1 => any::<usize>().prop_map(Step::Refuse),
        6 => (any::<usize>(), 1usize..100).prop_map(|(i, n)| Step::Write(i, n)),
        2 => (any::<usize>(), 1usize..30_000).prop_map(|(i, n)| Step::Write(i, n)),
        6 => (any::<usize>(), 1usize..9).prop_map(|(i, n)| Step::Execute(i, n)),
        6 => (any::<usize>(), 1usize..60).prop_map(|(i, n)| Step::Read(i, n)),
        1 => (any::<usize>(), babble).prop_map(|(i, b)| Step::Babble(i, b)),
        1 => any::<usize>().prop_map(Step::Close),
        1 => (0u32..TIMEOUT).prop_map(Step::Pass),
        2 => (0..SERVERS, 1u16..4).prop_map(|(s, p)| Step::Move(s, p)),
        3 => (0..SERVERS, any::<bool>()).prop_map(|(s, held)| Step::Hold(s, held)),
    ]
}
