//! A client's unanswered requests in their order, and the replies on their way to it.
//!
//! ```text
//!   out (to the socket)  <-  slots: [head][....][....]
//! ```
//! The reply whose slot is the head goes straight to `out`; others wait in their slot until it is their
//! turn. So replies leave in the order of the requests, whichever server is first. An incomplete reply
//! leaves only when it is large: of a small one that breaks off, the client has seen nothing yet and can be
//! given an error.
//!
//! What servers push is no reply. It leaves between two replies, at once unless it must follow a certain one.

mod pushes;

use std::collections::VecDeque;

use super::time::Timing;
use crate::backend::UNTIMED;
use crate::buffer::{BufferPool, OutBuf, SHARE_FROM};
use crate::protocol::redis::fragment::Gather;
use pushes::Pushes;

/// Replies up to this size that come before their turn are kept side by side in one buffer.
const STASH_SMALL: usize = 4 * 1024;
/// Beyond this the stash takes no more and each reply has its own memory: places in it are 32 bits.
const STASH_MOST: usize = 16 * 1024 * 1024;
/// Room the stash may waste on replies that have left already before it is tidied up.
const STASH_WASTE: usize = 64 * 1024;

/// `began`: when the request was read, or [`UNTIMED`].
#[derive(Debug)]
enum Slot {
    /// No byte of the reply is here, or all that came went to `out` (`head_begun`).
    Waiting {
        began: u32,
    },
    /// Complete, `stash[at..at + len]`.
    Stashed {
        began: u32,
        at: u32,
        len: u32,
    },
    /// Too large for the stash, or still growing.
    Held {
        began: u32,
        held: Box<Held>,
    },
    Gather {
        began: u32,
        gather: Box<Gather>,
    },
    /// Nobody wants the reply; so many of its parts are still to come.
    Mute {
        began: u32,
        left: u32,
    },
}

// Clients with long pipelines have one for every request.
const _: () = assert!(std::mem::size_of::<Slot>() == 16);

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    done: bool,
}

/// The reply can no longer be delivered: part of it has left already. The client must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Which replies a client does without (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mute {
    #[default]
    None,
    /// Those to all requests that follow.
    All,
    /// That to the request behind the one that is being handled.
    Next,
    /// That to the request that is being handled.
    This,
}

#[derive(Debug, Default)]
pub struct Pipeline {
    slots: VecDeque<Slot>,
    /// Number of the slot at the front; wraps.
    head: u32,
    /// Part of the head's reply is in `out`.
    head_begun: bool,
    /// A reply has left after which the client must be closed.
    is_over: bool,
    pub mute: Mute,
    stash: Vec<u8>,
    /// Bytes of `stash` that are still wanted.
    stashed: usize,
    /// Bytes in `Held` and `Gather` slots, and in `pushes`.
    held: usize,
    pushes: Option<Box<Pushes>>,
    pub out: OutBuf,
}

impl Pipeline {
    /// Requests without a complete reply in `out`.
    pub fn pending(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of replies in memory.
    pub fn buffered(&self) -> usize {
        self.out.len() + self.stash.len() + self.held
    }

    /// The memory this takes, what is spare in buffers included.
    pub fn memory(&self) -> usize {
        self.out.memory() + self.stash.capacity() + self.held
    }

    /// Would a reply to this slot be the next bytes on the socket?
    pub fn is_next(&self, number: u32) -> bool {
        number == self.head && matches!(self.slots[0], Slot::Waiting { .. }) && self.out.is_empty()
    }

    /// Has a reply left after which the client must be closed?
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes of the reply to the head have left past `out`.
    pub fn begin(&mut self) {
        self.head_begun = true;
    }

    /// Opens the slot of a forwarded request that was read at `began`; answers its number.
    #[inline]
    pub fn open(&mut self, began: u32) -> u32 {
        self.push(Slot::Waiting { began })
    }

    /// Opens the slot of a split request.
    pub fn open_gather(&mut self, gather: Gather, began: u32) -> u32 {
        let gather = Box::new(gather);
        self.held += gather.held();
        self.push(Slot::Gather { began, gather })
    }

    #[inline]
    fn push(&mut self, slot: Slot) -> u32 {
        let number = self.head.wrapping_add(self.slots.len() as u32);
        self.slots.push_back(slot);
        if self.mute != Mute::None {
            self.mute_last();
        }
        number
    }

    /// The client may not want the reply in the last slot, which was opened just now.
    #[cold]
    fn mute_last(&mut self) {
        let last = self.slots.back_mut().filter(|_| self.mute != Mute::Next);
        let Some(slot) = last else {
            return;
        };
        let (began, left) = match slot {
            Slot::Waiting { began } => (*began, 1),
            // They are pushes.
            Slot::Gather { gather, .. } if gather.is_confirmation() => return,
            Slot::Gather { began, gather } => (*began, gather.open()),
            _ => return,
        };
        *slot = Slot::Mute { began, left };
    }

    /// A request has been handled: whatever was said about the reply to it and the next one moves on.
    #[inline]
    pub fn end_request(&mut self) {
        if self.mute != Mute::None {
            self.mute = match self.mute {
                Mute::All => Mute::All,
                Mute::Next => Mute::This,
                Mute::This | Mute::None => Mute::None,
            };
        }
    }

    /// Opens a slot that is answered already, by what `write` appends.
    pub fn answer(&mut self, buffers: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        if matches!(self.mute, Mute::All | Mute::This) {
            return;
        }
        if self.slots.is_empty() {
            return self.out.extend_with(buffers, write);
        }
        let slot = self.push(Slot::Waiting { began: UNTIMED });
        let mut reply = buffers.take(0);
        write(&mut reply);
        let index = slot.wrapping_sub(self.head) as usize;
        self.keep(index, &reply, true, buffers);
        buffers.give(reply);
    }

    /// A run of bytes of a reply.
    #[inline]
    pub fn handle_reply(
        &mut self,
        number: u32,
        part: u16,
        piece: &[u8],
        end: bool,
        timing: &mut Timing,
        buffers: &mut BufferPool,
    ) {
        let index = number.wrapping_sub(self.head) as usize;
        if let Slot::Waiting { began } = self.slots[index]
            && index == 0
        {
            if !end && !self.head_begun && piece.len() < SHARE_FROM {
                return self.keep(index, piece, end, buffers);
            }
            self.out.extend(piece, buffers);
            self.head_begun = !end;
            if end {
                self.pop(buffers);
                timing.end(began);
                self.advance(timing, buffers);
            }
            return;
        }
        match &mut self.slots[index] {
            Slot::Gather { gather, .. } => {
                let before = gather.held();
                let complete = gather.handle_piece(part, piece, end);
                self.held = self.held + gather.held() - before;
                if complete && index == 0 {
                    self.advance(timing, buffers);
                }
            }
            Slot::Mute { left, .. } => {
                *left -= u32::from(end);
                if *left == 0 && index == 0 {
                    self.advance(timing, buffers);
                }
            }
            _ => {
                self.keep(index, piece, end, buffers);
                if index == 0 {
                    self.advance(timing, buffers);
                }
            }
        }
    }

    /// There will be no (more) reply; `error` is a complete RESP error line.
    ///
    /// # Errors
    /// The reply has begun to leave.
    pub fn handle_failure(
        &mut self,
        number: u32,
        part: u16,
        error: &[u8],
        timing: &mut Timing,
        buffers: &mut BufferPool,
    ) -> Result<(), Broken> {
        let index = number.wrapping_sub(self.head) as usize;
        match &mut self.slots[index] {
            Slot::Waiting { .. } if index == 0 && self.head_begun => return Err(Broken),
            Slot::Held { began, held } => {
                self.held -= held.bytes.len();
                self.slots[index] = Slot::Waiting { began: *began };
            }
            Slot::Gather { gather, .. } => {
                let before = gather.held();
                let complete = gather.handle_failure(part, error.to_vec());
                self.held = self.held + gather.held() - before;
                if complete && index == 0 {
                    self.advance(timing, buffers);
                }
                return Ok(());
            }
            _ => {}
        }
        self.handle_reply(number, part, error, true, timing, buffers);
        Ok(())
    }

    /// Keeps a piece of a reply whose turn has not come.
    fn keep(&mut self, index: usize, piece: &[u8], end: bool, buffers: &mut BufferPool) {
        if self.stash.len() > STASH_WASTE && self.stashed < self.stash.len() / 2 {
            self.tidy();
        }
        let stash_takes = end && piece.len() <= STASH_SMALL && self.stash.len() < STASH_MOST;
        let slot = &mut self.slots[index];
        match slot {
            &mut Slot::Waiting { began } if stash_takes => {
                if self.stash.capacity() == 0 {
                    self.stash = buffers.take(0);
                }
                *slot = Slot::Stashed {
                    began,
                    at: self.stash.len() as u32,
                    len: piece.len() as u32,
                };
                self.stash.extend_from_slice(piece);
                self.stashed += piece.len();
            }
            &mut Slot::Waiting { began } => {
                let held = Box::new(Held {
                    bytes: piece.to_vec(),
                    done: end,
                });
                *slot = Slot::Held { began, held };
                self.held += piece.len();
            }
            Slot::Held { held, .. } => {
                held.bytes.extend_from_slice(piece);
                held.done = end;
                self.held += piece.len();
            }
            Slot::Stashed { .. } | Slot::Gather { .. } | Slot::Mute { .. } => {
                debug_assert!(false, "a complete reply grows no more");
            }
        }
    }

    /// Moves what is wanted to the front of a new stash.
    fn tidy(&mut self) {
        let old = std::mem::take(&mut self.stash);
        self.stash.reserve(2 * self.stashed);
        for slot in &mut self.slots {
            if let Slot::Stashed { at, len, .. } = slot {
                let from = *at as usize;
                *at = self.stash.len() as u32;
                self.stash
                    .extend_from_slice(&old[from..from + *len as usize]);
            }
        }
    }

    /// No reply will come to any of the slots, nor is one wanted.
    pub fn forget(&mut self) {
        self.head = self.head.wrapping_add(self.slots.len() as u32);
        self.slots.clear();
        (self.head_begun, self.stashed, self.held) = (false, 0, 0);
        self.stash = Vec::new();
    }

    #[inline]
    fn pop(&mut self, buffers: &mut BufferPool) {
        self.slots.pop_front();
        self.head = self.head.wrapping_add(1);
        self.head_begun = false;
        if self.pushes.is_some() {
            self.release_pushes(buffers);
        }
    }

    /// Moves the finished replies at the front to `out`.
    #[inline]
    fn advance(&mut self, timing: &mut Timing, buffers: &mut BufferPool) {
        while let Some(slot) = self.slots.front_mut() {
            let began = match slot {
                Slot::Waiting { .. } => break,
                Slot::Stashed { began, at, len } => {
                    let (at, len) = (*at as usize, *len as usize);
                    self.out.extend(&self.stash[at..at + len], buffers);
                    self.stashed -= len;
                    *began
                }
                Slot::Held { began, held } => {
                    let done = held.done;
                    if !done && held.bytes.len() < SHARE_FROM {
                        break;
                    }
                    let bytes = std::mem::take(&mut held.bytes);
                    self.held -= bytes.len();
                    self.out.push(bytes.into(), buffers);
                    if !done {
                        // The rest of the reply goes straight to `out`.
                        *slot = Slot::Waiting { began: *began };
                        self.head_begun = true;
                        break;
                    }
                    *began
                }
                Slot::Gather { began, gather } => {
                    if !gather.is_complete() {
                        break;
                    }
                    self.held -= gather.held();
                    let mut failed = false;
                    self.out
                        .extend_with(buffers, |out| failed = gather.write(out));
                    self.is_over |= failed && gather.is_confirmation();
                    *began
                }
                Slot::Mute { left: 1.., .. } => break,
                Slot::Mute { began, .. } => *began,
            };
            self.pop(buffers);
            timing.end(began);
        }
        if self.stashed == 0 && !self.stash.is_empty() {
            buffers.give(std::mem::take(&mut self.stash));
        }
        if self.slots.is_empty() && self.slots.capacity() > 64 {
            self.slots = VecDeque::new();
        }
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
