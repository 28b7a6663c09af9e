//! What every request meets besides.

use std::hint::black_box;

use nuthatch::protocol::redis::command;
use nuthatch::stats::histogram::Histogram;

use super::Case;

const TIMES: usize = 64;

pub(super) fn cases() -> Vec<Case> {
    let names: [&[u8]; 8] = [
        b"GET", b"SET", b"get", b"MGET", b"hset", b"EXPIRE", b"ZADD", b"lpush",
    ];
    let unknown: [&[u8]; 2] = [b"NONSENSE", b"x"];
    vec![
        Case::new("lookup/known", (names.len(), "name"), move || {
            move || names.iter().for_each(|name| assert!(look_up(name)))
        }),
        Case::new("lookup/unknown", (unknown.len(), "name"), move || {
            move || unknown.iter().for_each(|name| assert!(!look_up(name)))
        }),
        Case::new("histogram/record", (TIMES, "time"), record),
    ]
}

fn look_up(name: &[u8]) -> bool {
    black_box(command::lookup(black_box(name))).is_some()
}

/// Times of all magnitudes.
fn record() -> impl FnMut() {
    let histogram = Histogram::default();
    let times: Vec<u32> = (0..TIMES as u32).map(|n| (n * n * 37) >> (n % 7)).collect();
    move || {
        for &us in &times {
            black_box(&histogram).record(black_box(us), 1);
        }
    }
}
