//! Requests between two connections: what may be sent once more when a connection is lost or its server
//! moves, and in which order it goes on.

use std::collections::VecDeque;

use super::Again;
use super::connection::{Connection, InFlight};
use crate::buffer::BufferPool;

/// Requests without a connection, oldest first, and their bytes; `end` counts from the first of them.
#[derive(Debug, Default)]
pub(super) struct Stray {
    pub entries: VecDeque<InFlight>,
    pub bytes: Vec<u8>,
    /// How many of them had reached a server and are now repeated.
    pub repeats: u64,
}

impl Stray {
    pub fn push(&mut self, entry: InFlight, request: &[u8]) {
        self.bytes.extend_from_slice(request);
        self.entries.push_back(InFlight {
            end: self.bytes.len() as u64,
            ..entry
        });
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes those out that do not wait.
    pub fn split_off_hasty(&mut self) -> Vec<InFlight> {
        let is_hasty = |entry: &InFlight| entry.call.again == Again::Not;
        if !self.entries.iter().any(is_hasty) {
            return Vec::new();
        }
        let all = std::mem::take(self);
        self.repeats = all.repeats;
        let (mut start, mut hasty) = (0, Vec::new());
        for entry in all.entries {
            let request = &all.bytes[start as usize..entry.end as usize];
            start = entry.end;
            match is_hasty(&entry) {
                true => hasty.push(entry),
                false => self.push(entry, request),
            }
        }
        hasty
    }

    /// By the lane that is each client's own among `count`. A client keeps to one lane, so its requests stay
    /// in their order.
    pub fn spread(self, count: usize) -> Vec<Stray> {
        if count == 1 {
            return vec![self];
        }
        let mut lanes: Vec<Stray> = std::iter::repeat_with(Stray::default).take(count).collect();
        let mut start = 0;
        for entry in self.entries {
            let request = &self.bytes[start as usize..entry.end as usize];
            start = entry.end;
            lanes[entry.call.client as usize % count].push(entry, request);
        }
        lanes
    }
}

impl Connection {
    /// Takes the connection apart when it is lost: the requests that may be sent once more, and those whose
    /// fate is unknown. A request of which a byte is missing was not executed. A read that has no part of
    /// its reply handed on may be repeated, if `repeat_reads`.
    pub(super) fn dismantle(&mut self, repeat_reads: bool) -> (Stray, Vec<InFlight>) {
        let all = self.out.copy(0, self.out.retained());
        let (mut stray, mut lost) = (Stray::default(), Vec::new());
        let base = self.consumed;
        let mut start = base;
        let mut begun = self.begun;
        for entry in std::mem::take(&mut self.fifo) {
            let request = &all[(start - base) as usize..(entry.end - base) as usize];
            start = entry.end;
            let sent = entry.end <= self.written;
            let may_repeat = repeat_reads && !entry.call.write && entry.call.again == Again::May;
            if sent && (begun || !may_repeat) {
                lost.push(entry);
            } else {
                stray.repeats += u64::from(sent);
                let mut entry = entry;
                if sent {
                    entry.call.again = Again::Was;
                }
                stray.push(entry, request);
            }
            begun = false;
        }
        (stray, lost)
    }

    /// Splits off the requests of which no byte was written; the others stay.
    pub(super) fn take_unsent(&mut self) -> Stray {
        let mut stray = Stray::default();
        let base = self.consumed;
        let mut start = base;
        let first = self.fifo.iter().position(|entry| {
            let untouched = start >= self.written;
            if !untouched {
                start = entry.end;
            }
            untouched
        });
        if let Some(first) = first {
            let bytes = self
                .out
                .copy((start - base) as usize, (self.appended - start) as usize);
            let mut entry_start = start;
            for entry in self.fifo.split_off(first) {
                let request = &bytes[(entry_start - start) as usize..(entry.end - start) as usize];
                entry_start = entry.end;
                stray.push(entry, request);
            }
            self.out.truncate((start - base) as usize);
            self.appended = start;
        }
        stray
    }

    /// Takes requests in that are older than its own but for those that came back before; none of its own
    /// may be written yet.
    pub(super) fn adopt(&mut self, stray: Stray, buffers: &mut BufferPool) {
        debug_assert!(self.written == self.consumed);
        if stray.is_empty() {
            return;
        }
        let mine = self.out.copy(0, self.out.retained());
        let base = self.consumed;
        let split = match self.returned {
            0 => 0,
            n => (self.fifo[n - 1].end - base) as usize,
        };
        let later = self.fifo.split_off(self.returned);
        let (offset, shift) = (base + split as u64, stray.bytes.len() as u64);
        self.returned += stray.entries.len();
        self.fifo
            .extend(stray.entries.into_iter().map(|entry| InFlight {
                end: offset + entry.end,
                ..entry
            }));
        self.fifo.extend(later.into_iter().map(|entry| InFlight {
            end: entry.end + shift,
            ..entry
        }));
        self.out.clear(buffers);
        for bytes in [&mine[..split], &stray.bytes, &mine[split..]] {
            self.out.extend(bytes, buffers);
        }
        self.appended += shift;
        self.adopted = true;
    }

    /// As [`Connection::adopt`]; behind its own, if some of them are on their way already.
    pub(super) fn take_in(&mut self, stray: Stray, buffers: &mut BufferPool) {
        if self.written == self.consumed {
            return self.adopt(stray, buffers);
        }
        let base = self.appended;
        self.out.extend(&stray.bytes, buffers);
        self.appended += stray.bytes.len() as u64;
        self.fifo
            .extend(stray.entries.into_iter().map(|entry| InFlight {
                end: base + entry.end,
                ..entry
            }));
    }

    /// Restarts the clock of all its requests.
    pub(super) fn touch(&mut self, now: u32) {
        for entry in &mut self.fifo {
            entry.since = now;
        }
    }

    /// Takes the requests out at its front that are `is_expired`; none of its requests may be written yet.
    pub(super) fn take_expired(
        &mut self,
        is_expired: impl Fn(&InFlight) -> bool,
        buffers: &mut BufferPool,
    ) -> Vec<InFlight> {
        debug_assert!(self.written == self.consumed);
        let count = self
            .fifo
            .iter()
            .take_while(|entry| is_expired(entry))
            .count();
        let expired: Vec<InFlight> = self.fifo.drain(..count).collect();
        if let Some(last) = expired.last() {
            let keep_from = (last.end - self.consumed) as usize;
            let rest = self.out.copy(keep_from, self.out.retained() - keep_from);
            self.out.clear(buffers);
            self.out.extend(&rest, buffers);
            self.consumed = last.end;
            self.written = last.end;
            self.returned = self.returned.saturating_sub(count);
        }
        expired
    }
}
