//! What is measured, by time in `benches/micro` and by instructions in `benches/guard`.
//!
//! Everything is the same in every run: no clock, no random number that is not seeded, no hash map.

mod gather;
mod route;
mod scan;
mod small;
mod way;
mod world;

use nuthatch::protocol::redis::write;

/// Does a round of units once more.
pub type Round = Box<dyn FnMut()>;

/// One thing to be measured.
pub struct Case {
    pub name: String,
    /// What is repeated.
    pub unit: &'static str,
    /// Units in a round.
    pub units: u64,
    prepare: Box<dyn Fn() -> Round + Sync>,
}

impl Case {
    /// `prepare` builds what a round works on, apart from what is measured.
    fn new<R: FnMut() + 'static>(
        name: impl Into<String>,
        (units, unit): (usize, &'static str),
        prepare: impl Fn() -> R + Sync + 'static,
    ) -> Case {
        Case {
            name: name.into(),
            unit,
            units: units as u64,
            prepare: Box::new(move || Box::new(prepare())),
        }
    }

    pub fn prepare(&self) -> Round {
        (self.prepare)()
    }
}

/// All there are.
pub fn all() -> Vec<Case> {
    [
        scan::cases(),
        route::cases(),
        gather::cases(),
        small::cases(),
        way::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const VALUE: usize = 64;

/// A key of 13 bytes; neighbours have nothing in common, as FNV keeps similar keys close together.
fn key(number: usize) -> Vec<u8> {
    format!("user:{:08x}", (number as u32).wrapping_mul(0x9e37_79b9)).into_bytes()
}

/// What the servers hold under a key.
fn value(key: &[u8]) -> Vec<u8> {
    key.iter().copied().cycle().take(VALUE).collect()
}

fn request(arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    write::array_header(&mut out, arguments.len());
    arguments
        .iter()
        .for_each(|bytes| write::bulk(&mut out, bytes));
    out
}

fn get(number: usize) -> Vec<u8> {
    request(&[b"GET", &key(number)])
}

fn set(number: usize) -> Vec<u8> {
    let key = key(number);
    request(&[b"SET", &key, &value(&key)])
}

/// For the keys from `first` on.
fn mget(first: usize, keys: usize) -> Vec<u8> {
    let keys: Vec<_> = (first..first + keys).map(key).collect();
    let mut arguments: Vec<&[u8]> = vec![b"MGET"];
    arguments.extend(keys.iter().map(Vec::as_slice));
    request(&arguments)
}

fn mset(first: usize, keys: usize) -> Vec<u8> {
    let pairs = (first..first + keys).map(key);
    let pairs: Vec<_> = pairs
        .flat_map(|key| [value(&key), key].into_iter().rev())
        .collect();
    let mut arguments: Vec<&[u8]> = vec![b"MSET"];
    arguments.extend(pairs.iter().map(Vec::as_slice));
    request(&arguments)
}
