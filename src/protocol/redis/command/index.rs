//! Finds a command by name in any ASCII case: a hash table laid out at compile time.
//!
//! A name is folded to lower case eight bytes at a time and compared as two words; only names longer
//! than the two words are compared bytewise as well.

use super::{Command, class, table::GROUPS};

/// Four times the commands there are, so that nearly all lie in their home slot.
const SLOTS: usize = 2048;

/// Odd constants with evenly spread bits (the golden ratio's and xxHash64's second prime).
const SPREAD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];

pub(super) static INDEX: Index = Index::build(&TABLE);

/// A static of its own, so that each command has one address.
pub(super) static TABLE: [Command; class::count(GROUPS)] = class::concat(GROUPS);

pub(super) struct Index {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy)]
struct Slot {
    packed: Packed,
    command: Option<&'static Command>,
}

/// The first and the last eight bytes of a name in lower case; they overlap below 16 bytes. Together
/// with the length they determine a name of up to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    head: u64,
    tail: u64,
}

impl Index {
    const fn build(table: &'static [Command]) -> Self {
        assert!(
            table.len() * 2 <= SLOTS,
            "a full table would make searches long, then endless"
        );
        let empty = Slot {
            packed: Packed { head: 0, tail: 0 },
            command: None,
        };
        let mut slots = [empty; SLOTS];
        let mut next = 0;
        while next < table.len() {
            let packed = Packed::new(table[next].name.as_bytes());
            let mut at = packed.home();
            while slots[at].command.is_some() {
                at = (at + 1) % SLOTS;
            }
            slots[at] = Slot {
                packed,
                command: Some(&table[next]),
            };
            next += 1;
        }
        Self { slots }
    }

    #[inline(always)]
    pub(super) fn find(&self, name: &[u8]) -> Option<&'static Command> {
        let packed = Packed::new(name);
        let mut at = packed.home();
        loop {
            let slot = &self.slots[at];
            let command = slot.command?;
            if slot.packed == packed
                && command.name.len() == name.len()
                && (name.len() <= 16 || command.name.as_bytes().eq_ignore_ascii_case(name))
            {
                return Some(command);
            }
            at = (at + 1) % SLOTS;
        }
    }
}

impl Packed {
    #[inline]
    const fn new(name: &[u8]) -> Self {
        if let (Some(head), Some(tail)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            return Self {
                head: to_lower(u64::from_le_bytes(*head)),
                tail: to_lower(u64::from_le_bytes(*tail)),
            };
        }
        let word = match (name.first_chunk::<4>(), name.last_chunk::<4>(), name) {
            (Some(head), Some(tail), _) => {
                u32::from_le_bytes(*head) as u64 | (u32::from_le_bytes(*tail) as u64) << 32
            }
            (_, _, [a, b, c]) => u32::from_le_bytes([*a, *b, *c, 0]) as u64,
            (_, _, [a, b]) => u16::from_le_bytes([*a, *b]) as u64,
            (_, _, [a]) => *a as u64,
            _ => 0,
        };
        Self {
            head: to_lower(word),
            tail: 0,
        }
    }

    /// The slot where the search for this name begins.
    #[inline]
    const fn home(self) -> usize {
        let spread = self.head.wrapping_mul(SPREAD[0]) ^ self.tail.wrapping_mul(SPREAD[1]);
        (spread >> (64 - SLOTS.trailing_zeros())) as usize
    }
}

/// Folds eight ASCII bytes to lower case; any other byte stays. The sums cannot carry into the next
/// byte because the top bits are cleared first.
#[inline]
const fn to_lower(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const TOPS: u64 = 0x80 * ONES;
    let low = word & !TOPS;
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let above_z = low + (0x7f - b'Z' as u64) * ONES;
    let upper = from_a & !above_z & !word & TOPS;
    word | (upper >> 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::redis::command::{all, lookup};

    #[test]
    fn every_name_is_found_in_any_case() {
        for command in all() {
            let name = command.name;
            let mixed: String = name
                .char_indices()
                .map(|(i, c)| {
                    if i % 2 == 0 {
                        c.to_ascii_uppercase()
                    } else {
                        c
                    }
                })
                .collect();
            assert_eq!(name, name.to_ascii_lowercase());
            for spelling in [name, &name.to_ascii_uppercase(), &mixed] {
                let found = lookup(spelling.as_bytes()).unwrap_or_else(|| panic!("{spelling}"));
                assert!(
                    std::ptr::eq(found, command),
                    "{spelling} found {}",
                    found.name
                );
            }
        }
    }

    #[test]
    fn near_misses_are_not_found() {
        for name in [
            "",
            "g",
            "ge",
            "gett",
            "get ",
            "get\0",
            "zremrangebyscorf",
            "georadiusbymembes",
            "georadiusXymember",
            "georadiusbymember_rp",
            "georadiusbymembeR_ROx",
            "geosearchstoregeosearchstoregeosearchstore",
        ] {
            assert_eq!(lookup(name.as_bytes()), None, "{name:?}");
        }
        // Bytes that differ from the right one only in the case bit, but are no letters.
        assert_eq!(lookup(b"sort\x7fro"), None);
        assert_eq!(lookup(b"restore\rasking"), None);
        assert_eq!(lookup(&[b'g' | 0x80, b'e', b't']), None);
    }

    #[test]
    fn names_stay_near_their_home_slot() {
        let away = |command: &Command| {
            let home = Packed::new(command.name.as_bytes()).home();
            let here = |at: &usize| {
                INDEX.slots[*at]
                    .command
                    .is_some_and(|c| c.name == command.name)
            };
            (0..SLOTS)
                .find(|step| here(&((home + step) % SLOTS)))
                .unwrap()
        };
        let steps: Vec<_> = all().iter().map(away).collect();
        assert!(steps.iter().all(|&steps| steps <= 8), "{steps:?}");
        assert!(steps.iter().sum::<usize>() < all().len() / 4, "{steps:?}");
    }

    proptest! {
        #[test]
        fn folding_a_word_equals_folding_its_bytes(bytes: [u8; 8]) {
            let folded = to_lower(u64::from_le_bytes(bytes)).to_le_bytes();
            prop_assert_eq!(folded, bytes.map(|byte| byte.to_ascii_lowercase()));
        }

        #[test]
        fn a_name_changed_in_one_byte_is_found_only_if_it_is_another_name(
            which in 0..all().len(), at: usize, byte: u8,
        ) {
            let mut name = all()[which].name.as_bytes().to_vec();
            let at = at % name.len();
            name[at] = byte;
            let expected = all().iter().find(|c| c.name.as_bytes().eq_ignore_ascii_case(&name));
            prop_assert_eq!(lookup(&name), expected);
        }

        #[test]
        fn any_bytes_are_found_as_a_linear_search_finds_them(name in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = all().iter().find(|c| c.name.as_bytes().eq_ignore_ascii_case(&name));
            prop_assert_eq!(lookup(&name), expected);
        }
    }
}
