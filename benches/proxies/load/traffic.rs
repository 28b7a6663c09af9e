//! Requests written in advance, and the replies they must get.

use super::plan::{Kind, Traffic, key};

/// Memory for the requests of a group; two fit, however large they are.
const POOL: usize = 8 << 20;
const MOST_REQUESTS: usize = 2048;

/// Longer pieces of replies are compared at their edges only: looking at every byte of large values would
/// make the load generator the slowest part.
const COMPARED_IN_FULL: usize = 16 << 10;
const EDGE: usize = 512;

/// A cycle of requests, a whole number of batches.
#[derive(Debug)]
pub struct Prepared {
    bytes: Vec<u8>,
    /// Where each request begins, and the end.
    offsets: Vec<usize>,
    /// What a batch that begins with an even request must be answered, and one that begins with an odd
    /// one.
    replies: [Vec<u8>; 2],
}

impl Prepared {
    /// For batches of `depth` requests.
    pub fn new(traffic: &Traffic, depth: usize) -> Prepared {
        let mut random = fastrand::Rng::with_seed(1);
        let mut longest = Vec::new();
        append(&mut longest, traffic, 1, &mut random);
        let room = (POOL / longest.len()).clamp(2, MOST_REQUESTS);
        // Two batches at least, so that GET and SET alternate also at a depth of one.
        let count = room.max(2 * depth).next_multiple_of(2 * depth);
        let (mut bytes, mut offsets) = (Vec::new(), vec![0]);
        for index in 0..count {
            append(&mut bytes, traffic, index, &mut random);
            offsets.push(bytes.len());
        }
        let replies = [0, 1].map(|first| {
            let mut replies = Vec::new();
            for index in first..first + depth {
                append_reply(&mut replies, traffic, index);
            }
            replies
        });
        Prepared {
            bytes,
            offsets,
            replies,
        }
    }

    /// How many requests the cycle has.
    pub fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Where the bytes of these requests begin and end.
    pub fn span(&self, first: usize, count: usize) -> (usize, usize) {
        (self.offsets[first], self.offsets[first + count])
    }

    pub fn bytes(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[from..to]
    }

    /// What the batch that begins with request `first` must be answered.
    pub fn replies(&self, first: usize) -> &[u8] {
        &self.replies[first % 2]
    }
}

/// Is `got` the same as `expected`, of the same length?
pub fn same(expected: &[u8], got: &[u8]) -> bool {
    if got.len() <= COMPARED_IN_FULL {
        return expected == got;
    }
    let end = got.len() - EDGE;
    expected[..EDGE] == got[..EDGE] && expected[end..] == got[end..]
}

/// The command at this place of a cycle: its name, and whether it gives values.
fn command(kind: Kind, index: usize) -> (&'static str, bool) {
    match kind {
        Kind::Get => ("GET", false),
        Kind::Set => ("SET", true),
        Kind::Mix if index.is_multiple_of(2) => ("GET", false),
        Kind::Mix => ("SET", true),
        Kind::Mget(_) => ("MGET", false),
        Kind::Mset(_) => ("MSET", true),
    }
}

fn append(out: &mut Vec<u8>, traffic: &Traffic, index: usize, random: &mut fastrand::Rng) {
    let (name, values) = command(traffic.kind, index);
    let keys = traffic.kind.keys();
    let words = 1 + if values { 2 * keys } else { keys };
    out.extend_from_slice(format!("*{words}\r\n").as_bytes());
    append_bulk(out, name.as_bytes());
    for _ in 0..keys {
        let number = traffic.keys[random.usize(..traffic.keys.len())];
        append_bulk(out, key(traffic.value, number).as_bytes());
        if values {
            append_value(out, traffic.value);
        }
    }
}

fn append_reply(out: &mut Vec<u8>, traffic: &Traffic, index: usize) {
    let (_, values) = command(traffic.kind, index);
    if values {
        out.extend_from_slice(b"+OK\r\n");
        return;
    }
    if let Kind::Mget(keys) = traffic.kind {
        out.extend_from_slice(format!("*{keys}\r\n").as_bytes());
    }
    for _ in 0..traffic.kind.keys() {
        append_value(out, traffic.value);
    }
}

fn append_bulk(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// A value as a bulk string: so many times the same letter.
pub fn append_value(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(format!("${value}\r\n").as_bytes());
    out.resize(out.len() + value, b'x');
    out.extend_from_slice(b"\r\n");
}
