//! Joining the replies to the parts of a split request. The splitting is in `way.rs`.

use std::hint::black_box;

use nuthatch::protocol::redis::command::Join;
use nuthatch::protocol::redis::fragment::Gather;
use nuthatch::protocol::redis::write;

use super::{Case, key, value};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for servers in [3, 48] {
        for keys in [10, 100] {
            let mget = format!("join/mget_{keys}/{servers}");
            cases.push(Case::new(mget, (keys, "key"), move || array(keys, servers)));
            let mset = format!("join/mset_{keys}/{servers}");
            cases.push(Case::new(mset, (keys, "key"), move || {
                oks(keys.min(servers))
            }));
        }
    }
    cases
}

/// Neighbouring keys are in different parts.
fn array(keys: usize, servers: usize) -> impl FnMut() {
    let count = keys.min(servers);
    let order: Vec<u16> = (0..keys).map(|n| (n % count) as u16).collect();
    let reply = |part: usize| {
        let mine: Vec<_> = (part..keys).step_by(count).map(key).collect();
        let mut reply = Vec::new();
        write::array_header(&mut reply, mine.len());
        mine.iter()
            .for_each(|key| write::bulk(&mut reply, &value(key)));
        reply
    };
    join(Join::Array, order, (0..count).map(reply).collect())
}

fn oks(parts: usize) -> impl FnMut() {
    join(Join::AllOk, Vec::new(), vec![b"+OK\r\n".to_vec(); parts])
}

fn join(join: Join, order: Vec<u16>, replies: Vec<Vec<u8>>) -> impl FnMut() {
    let mut out = Vec::new();
    move || {
        let mut gather = Gather::new(join, order.clone(), replies.len());
        for (part, reply) in replies.iter().enumerate() {
            gather.handle_piece(part as u16, black_box(reply), true);
        }
        out.clear();
        let failed = gather.write(&mut out);
        assert!(!failed);
        black_box(&out);
    }
}
