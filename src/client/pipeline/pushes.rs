//! Pushes on their way between replies.

use std::collections::VecDeque;

use super::Pipeline;
use crate::buffer::BufferPool;

/// Pushes that wait for the end of replies, in their order; with the slot whose reply each follows.
#[derive(Debug, Default)]
pub(super) struct Pushes(VecDeque<(u32, Vec<u8>)>);

impl Pipeline {
    /// The number that the next slot gets.
    pub fn next_number(&self) -> u32 {
        self.head.wrapping_add(self.slots.len() as u32)
    }

    /// Is the reply that belongs to this slot not complete in `out` yet?
    pub fn is_open(&self, number: u32) -> bool {
        (number.wrapping_sub(self.head) as usize) < self.slots.len()
    }

    /// Sends what `write` appends between two replies, behind the one of slot `behind`, and behind all
    /// earlier pushes.
    pub fn deliver(
        &mut self,
        behind: Option<u32>,
        buffers: &mut BufferPool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let behind = behind.filter(|slot| self.is_open(*slot));
        let last = self.pushes.as_ref().and_then(|pushes| pushes.0.back());
        let place = |slot: u32| slot.wrapping_sub(self.head);
        let begun = self.head_begun.then_some(self.head);
        let slots = [behind, last.map(|(slot, _)| *slot), begun];
        let Some(slot) = slots.into_iter().flatten().max_by_key(|slot| place(*slot)) else {
            return self.out.extend_with(buffers, write);
        };
        let mut push = Vec::new();
        write(&mut push);
        self.held += push.len();
        let pushes = self.pushes.get_or_insert_default();
        pushes.0.push_back((slot, push));
    }

    /// A slot is no more: so much for those that waited for it.
    #[cold]
    pub(super) fn release_pushes(&mut self, buffers: &mut BufferPool) {
        let Some(mut pushes) = self.pushes.take() else {
            return;
        };
        while let Some((slot, push)) = pushes.0.front_mut()
            && !self.is_open(*slot)
        {
            let push = std::mem::take(push);
            pushes.0.pop_front();
            self.held -= push.len();
            self.out.push(push.into(), buffers);
        }
        if !pushes.0.is_empty() {
            self.pushes = Some(pushes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::time::Timing;
    use crate::protocol::redis::fragment::Gather;
    use crate::stats::WorkerStats;

    struct Fixture {
        pipeline: Pipeline,
        timing: Timing,
        buffers: BufferPool,
    }

    impl Fixture {
        fn new() -> Fixture {
            Fixture {
                pipeline: Pipeline::default(),
                timing: Timing::new(Arc::new(WorkerStats::new(&[0])), vec![u32::MAX]),
                buffers: BufferPool::default(),
            }
        }

        fn push(&mut self, behind: Option<u32>, text: &str) {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
            self.pipeline.deliver(behind, &mut self.buffers, write);
        }

        fn reply(&mut self, slot: u32, text: &str, end: bool) {
            let (pipeline, timing) = (&mut self.pipeline, &mut self.timing);
            pipeline.handle_reply(slot, 0, text.as_bytes(), end, timing, &mut self.buffers);
        }

        #[track_caller]
        fn assert_out(&mut self, expected: &str) {
            let out = &mut self.pipeline.out;
            let text = out.copy(0, out.retained());
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    #[test]
    fn pushes_pass_replies_that_have_not_begun() {
        let mut fixture = Fixture::new();
        fixture.push(None, "1");
        fixture.pipeline.open(0);
        fixture.push(None, "2");
        fixture.reply(0, "a", true);
        fixture.push(None, "3");
        fixture.assert_out("12a3");
        assert_eq!(fixture.pipeline.buffered(), 4);
    }

    #[test]
    fn pushes_never_split_a_reply() {
        let mut fixture = Fixture::new();
        let begin = "a".repeat(crate::buffer::SHARE_FROM);
        fixture.pipeline.open(0);
        fixture.pipeline.open(0);
        fixture.reply(0, &begin, false);
        fixture.push(None, "1");
        fixture.push(None, "2");
        fixture.reply(1, "c", true);
        fixture.reply(0, "b", true);
        fixture.push(None, "3");
        fixture.assert_out(&format!("{begin}b12c3"));
    }

    #[test]
    fn pushes_wait_for_the_slot_they_follow_and_keep_their_order() {
        let mut fixture = Fixture::new();
        fixture.pipeline.open(0);
        let text = b"confirmed".to_vec();
        let slot = fixture.pipeline.next_number();
        fixture
            .pipeline
            .open_gather(Gather::confirm(text, false, 1), 0);
        fixture.pipeline.open(0);
        fixture.push(None, "0");
        fixture.push(Some(slot), "1");
        fixture.push(None, "2");
        fixture.reply(2, "c", true);
        fixture.reply(0, "a", true);
        fixture.assert_out("0a");
        assert_eq!(fixture.pipeline.buffered(), 2 + 9 + 2 + 1);
        fixture.reply(1, "any", true);
        fixture.assert_out("0aconfirmed12c");
        assert_eq!(fixture.pipeline.buffered(), 14);
        // It is no more, so nothing waits for it.
        fixture.push(Some(slot), "3");
        fixture.assert_out("0aconfirmed12c3");
        assert!(!fixture.pipeline.is_over());
    }

    #[test]
    fn an_error_in_place_of_confirmations_is_the_end() {
        for (regardless, expected) in [(false, "-ERR gone\r\n"), (true, "confirmed")] {
            let mut fixture = Fixture::new();
            let gather = Gather::confirm(b"confirmed".to_vec(), regardless, 2);
            fixture.pipeline.open_gather(gather, 0);
            fixture.reply(0, "x", true);
            let (pipeline, timing) = (&mut fixture.pipeline, &mut fixture.timing);
            pipeline
                .handle_failure(0, 1, b"-ERR gone\r\n", timing, &mut fixture.buffers)
                .unwrap();
            fixture.assert_out(expected);
            assert_eq!(fixture.pipeline.is_over(), !regardless);
            assert_eq!(fixture.pipeline.buffered(), expected.len());
        }
    }
}
