//! When much memory has become free, it is given back to the system. The allocator alone keeps what lies
//! below anything still in use: after a crowd of clients or a burst of large replies, nearly all of it.

use super::Front;

/// What a client without requests takes, its socket's task included.
const CLIENT: usize = 1300;
/// Less is not worth asking the allocator for.
const WORTH: usize = 256 * 1024;

/// The most that was held since it last fell to less than half.
#[derive(Debug, Default)]
pub(super) struct HighWater {
    high: usize,
    ebbed: bool,
}

impl HighWater {
    /// So much is held now.
    #[inline]
    fn note(&mut self, held: usize) {
        if held > self.high {
            self.high = held;
        } else if held < self.high / 2 && self.high - held >= WORTH {
            self.high = held;
            self.ebbed = true;
        }
    }
}

impl Front {
    /// Takes note of what clients and buffers take now.
    #[inline]
    pub(super) fn note_held(&mut self) {
        let buffers = self.clients.buffered + self.backends.retained();
        self.high_water
            .note(buffers + self.clients.table.len() * CLIENT);
    }

    /// Has so much become free that it should be given back soon?
    #[inline]
    pub fn has_ebbed(&self) -> bool {
        self.high_water.ebbed
    }

    /// Leaves what is kept for later to the allocator, that it can be given back.
    pub fn give_back(&mut self) {
        self.high_water.ebbed = false;
        self.buffers.clear();
        self.backends.shrink();
        self.clients.dirty.shrink_to_fit();
        self.clients.woken.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(levels: &[usize]) -> bool {
        let mut water = HighWater::default();
        for &level in levels {
            water.note(level);
        }
        water.ebbed
    }

    #[test]
    fn only_a_fall_to_less_than_half_of_much_counts() {
        assert!(!after(&[0, 10 * WORTH]));
        assert!(!after(&[10 * WORTH, 5 * WORTH]));
        assert!(after(&[10 * WORTH, 5 * WORTH, 5 * WORTH - 1]));
        assert!(!after(&[WORTH - 1, 0]));
        assert!(after(&[WORTH, 0]));
    }

    #[test]
    fn what_has_fallen_counts_once() {
        let mut water = HighWater::default();
        water.note(4 * WORTH);
        water.note(WORTH);
        assert!(std::mem::take(&mut water.ebbed));
        water.note(WORTH / 2);
        water.note(WORTH);
        water.note(0);
        assert!(
            water.ebbed,
            "the next fall counts from where the last ended"
        );
    }
}
