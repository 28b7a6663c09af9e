//! Every key of a pool in one table: name, default, unit, accepted values, description, rule.
//!
//! To add a key, add a field to [`Settings`] with its default and an entry to [`OPTIONS`]; parsing,
//! messages and the documentation's table follow from the entry.

mod nutcracker;
mod own;
mod sentinel;

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Refusal;
use super::file::Node;
use super::sentinel::Mistake;
use super::settings::Settings;
use super::value::{NUMBER_MAX, number, size};
use nutcracker::NUTCRACKER;
use own::OWN;
use sentinel::SENTINEL;

/// A key of a pool.
#[derive(Clone, Copy, Debug)]
pub struct OptionDoc {
    pub name: &'static str,
    /// As one would write it in the file; `None`: see `absent`.
    pub default: Option<&'static str>,
    /// What it means that a key without default is absent; empty for keys with one.
    pub absent: &'static str,
    /// Empty if the value has none.
    pub unit: &'static str,
    /// The values the key takes, also for messages.
    pub accepted: &'static str,
    pub doc: &'static str,
    /// Is it a key of nutcracker's?
    pub nutcracker: bool,
    /// A pool without `sentinels` that has the key is refused.
    pub needs_sentinels: bool,
    pub(super) rule: Rule,
}

impl OptionDoc {
    /// A pool without the key is refused.
    pub fn is_required(&self) -> bool {
        self.absent == "required"
    }
}

/// How the value is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Listen,
    Servers,
    /// A single value.
    Value(fn(&mut Settings, &str) -> Result<(), Refusal>),
    /// A single value that no message shows.
    Secret(fn(&mut Settings, &str) -> Result<(), Refusal>),
    /// A list or a mapping; the number is the key's line.
    Nested(fn(&mut Settings, usize, &Node) -> Result<(), Vec<Mistake>>),
}

const BOOLEAN: &str = "true, false";
pub(super) const NUMBER: &str = "0 to 2147483647";
pub(super) const MILLISECONDS: &str = "0 to 2147483647; milliseconds, without a unit";
pub(super) const NUMBER_NOT_ZERO: &str = "1 to 2147483647";
pub(super) const DATABASES: &str = "0 to 65535";
/// Between polls of a sentinel.
pub(super) const POLL: &str = "100 to 60000; milliseconds, without a unit";
/// For a sentinel to connect or to answer.
pub(super) const TIMEOUT: &str = "1 to 60000; milliseconds, without a unit";
pub(super) const SIZE: &str = "1kb to 1024gb; units b, k, kb, m, mb, g, gb as in redis.conf";
const SIZE_MIN: u64 = 1 << 10;
const SIZE_MAX: u64 = 1 << 40;

/// A value from 0.
fn from_0(text: &str) -> Result<u32, Refusal> {
    number(text, 0..=NUMBER_MAX)
}

/// A value from 1.
fn from_1(text: &str) -> Result<NonZeroU32, Refusal> {
    let number = number(text, 0..=NUMBER_MAX)?;
    NonZeroU32::new(number).ok_or_else(|| Refusal::new("cannot be 0"))
}

fn milliseconds(text: &str) -> Result<Duration, Refusal> {
    milliseconds_in(text, 0..=NUMBER_MAX)
}

fn milliseconds_in(text: &str, range: RangeInclusive<u32>) -> Result<Duration, Refusal> {
    number(text, range).map(|ms| Duration::from_millis(ms.into()))
}

fn bytes(text: &str) -> Result<u64, Refusal> {
    size(text, SIZE_MIN..=SIZE_MAX)
}

/// What most keys have in common.
const KEY: OptionDoc = OptionDoc {
    name: "",
    default: None,
    absent: "",
    unit: "",
    accepted: "",
    doc: "",
    nutcracker: true,
    needs_sentinels: false,
    rule: Rule::Listen,
};

/// What the keys about Sentinel have in common.
const SENTINEL_KEY: OptionDoc = OptionDoc {
    nutcracker: false,
    needs_sentinels: true,
    ..KEY
};

/// nutcracker's keys in the order of its documentation, then ours.
pub const OPTIONS: &[OptionDoc] = &concat::<COUNT>([NUTCRACKER, OWN, SENTINEL]);
const COUNT: usize = NUTCRACKER.len() + OWN.len() + SENTINEL.len();

const fn concat<const N: usize>(lists: [&[OptionDoc]; 3]) -> [OptionDoc; N] {
    let mut all = [KEY; N];
    let (mut list, mut at) = (0, 0);
    while list < lists.len() {
        let mut member = 0;
        while member < lists[list].len() {
            all[at] = lists[list][member];
            (member, at) = (member + 1, at + 1);
        }
        list += 1;
    }
    all
}
