//! The texts of scripts that clients have sent, so that a server that does not know a hash can be told: it may
//! have been started anew, have become master, or have been down when the script was loaded, and clients that
//! talk to one address cannot know which server that is.
//!
//! All workers share one store, with a lock. Only what is new to a worker goes there: a script that is run again
//! and again is recognized by its fingerprint.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha1::{Digest, Sha1};

/// Bytes of all texts, in the whole process.
const MOST_BYTES: usize = 16 << 20;
/// A longer one is not kept.
const LONGEST: usize = 1 << 20;
/// What an entry takes besides its text, roughly.
const OVERHEAD: usize = 256;
/// Fingerprints a worker keeps, a power of two; scripts beyond that many cost the lock now and then.
const SEEN: usize = 1024;

/// What SCRIPT LOAD answers, as bytes.
type Hash = [u8; 20];
/// A script of a pool, which knows nothing of the others' scripts.
type Key = (u16, Hash);

/// The store of the process.
#[derive(Debug, Default)]
pub struct Scripts {
    store: Mutex<Store>,
    /// How often texts were dropped: what a worker has seen may be gone.
    losses: AtomicU64,
}

#[derive(Debug, Default)]
struct Store {
    texts: HashMap<Key, Entry>,
    /// Oldest first; those that were loaded are kept longer than those that were only run, as in Redis.
    run: VecDeque<Key>,
    loaded: VecDeque<Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    text: Arc<[u8]>,
    loaded: bool,
}

impl Store {
    /// True if others had to go.
    fn insert(&mut self, key: Key, text: &[u8], loaded: bool) -> bool {
        if let Some(known) = self.texts.get_mut(&key) {
            if loaded && !known.loaded {
                known.loaded = true;
                self.run.retain(|other| *other != key);
                self.loaded.push_back(key);
            }
            return false;
        }
        self.bytes += text.len() + OVERHEAD;
        let text = text.into();
        self.texts.insert(key, Entry { text, loaded });
        match loaded {
            true => self.loaded.push_back(key),
            false => self.run.push_back(key),
        }
        let before = self.texts.len();
        while self.bytes > MOST_BYTES {
            let Some(oldest) = self.run.pop_front().or_else(|| self.loaded.pop_front()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.texts.len() < before
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.texts.remove(key) {
            self.bytes -= entry.text.len() + OVERHEAD;
        }
    }

    fn forget(&mut self, pool: u16) {
        let of_pool = |key: &Key| key.0 == pool;
        let gone: Vec<Key> = self.texts.keys().copied().filter(of_pool).collect();
        gone.iter().for_each(|key| self.remove(key));
        self.run.retain(|key| !of_pool(key));
        self.loaded.retain(|key| !of_pool(key));
    }
}

/// A worker's way to the store.
#[derive(Debug)]
pub struct ScriptMemory {
    shared: Arc<Scripts>,
    /// Fingerprints of what is in the store; empty before the first script.
    seen: Vec<u64>,
    /// [`Scripts::losses`] when the first of them was put there.
    losses: u64,
    hasher: RandomState,
}

impl ScriptMemory {
    pub(super) fn new(shared: Arc<Scripts>) -> ScriptMemory {
        ScriptMemory {
            shared,
            seen: Vec::new(),
            losses: 0,
            hasher: RandomState::new(),
        }
    }

    /// A client of `pool` runs this text.
    pub fn note_run(&mut self, pool: u16, text: &[u8]) {
        self.note(pool, text, false);
    }

    /// A client of `pool` loads this text.
    pub fn note_load(&mut self, pool: u16, text: &[u8]) {
        self.note(pool, text, true);
    }

    fn note(&mut self, pool: u16, text: &[u8], loaded: bool) {
        if text.len() > LONGEST {
            return;
        }
        let losses = self.shared.losses.load(Relaxed);
        if self.seen.is_empty() || losses != self.losses {
            self.seen.clear();
            self.seen.resize(SEEN, 0);
            self.losses = losses;
        }
        let print = self.hasher.hash_one((pool, loaded, text));
        let place = print as usize % SEEN;
        if self.seen[place] == print {
            return;
        }
        let key = (pool, Sha1::digest(text).into());
        if self.store().insert(key, text, loaded) {
            self.shared.losses.fetch_add(1, Relaxed);
        }
        self.seen[place] = print;
    }

    /// The scripts of `pool` are to be unknown from now on.
    pub fn forget(&mut self, pool: u16) {
        self.store().forget(pool);
        self.shared.losses.fetch_add(1, Relaxed);
    }

    /// The text whose hash is `hex`.
    pub(super) fn text(&self, pool: u16, hex: &[u8]) -> Option<Arc<[u8]>> {
        let entry = self.store();
        let entry = entry.texts.get(&(pool, from_hex(hex)?))?;
        Some(Arc::clone(&entry.text))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // Nothing panics under the lock; were it otherwise, a store that lacks a script is still a store.
        let store = self.shared.store.lock();
        store.unwrap_or_else(PoisonError::into_inner)
    }
}

fn from_hex(hex: &[u8]) -> Option<Hash> {
    let mut hash = Hash::default();
    if hex.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `return 1`
    const ONE: &[u8] = b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

    fn text(memory: &ScriptMemory, pool: u16, hex: &[u8]) -> Option<Vec<u8>> {
        memory.text(pool, hex).map(|text| text.to_vec())
    }

    #[test]
    fn a_text_is_found_by_its_hash_in_any_case_and_in_its_pool() {
        let shared = Arc::new(Scripts::default());
        let [mut here, there] = [0, 1].map(|_| ScriptMemory::new(shared.clone()));
        here.note_run(0, b"return 1");
        assert_eq!(text(&there, 0, ONE).unwrap(), b"return 1");
        assert_eq!(
            text(&there, 0, &ONE.to_ascii_uppercase()).unwrap(),
            b"return 1"
        );
        assert_eq!(text(&there, 1, ONE), None);
        for other in [&ONE[1..], b"", &[b'g'; 40], &[b'0'; 40]] {
            assert_eq!(text(&there, 0, other), None);
        }
    }

    #[test]
    fn what_was_forgotten_is_known_again_when_it_is_run_again() {
        let shared = Arc::new(Scripts::default());
        let [mut here, mut there] = [0, 1].map(|_| ScriptMemory::new(shared.clone()));
        here.note_run(0, b"return 1");
        here.note_run(1, b"return 1");
        there.forget(0);
        assert_eq!(text(&here, 0, ONE), None);
        assert_eq!(text(&here, 1, ONE).unwrap(), b"return 1");
        here.note_run(0, b"return 1");
        assert_eq!(text(&here, 0, ONE).unwrap(), b"return 1");
    }

    #[test]
    fn the_bytes_are_bounded_and_what_was_loaded_goes_last() {
        let shared = Arc::new(Scripts::default());
        let mut memory = ScriptMemory::new(shared.clone());
        memory.note_run(0, b"return 1");
        memory.note_load(0, b"return 1");
        for n in 0..100u32 {
            let mut large = vec![b' '; LONGEST / 2];
            large.extend_from_slice(&n.to_le_bytes());
            memory.note_run(0, &large);
            let store = shared.store.lock().unwrap();
            assert!(store.bytes <= MOST_BYTES);
            assert_eq!(store.texts.len(), store.run.len() + store.loaded.len());
        }
        assert!(shared.store.lock().unwrap().texts.len() > 20);
        assert_eq!(text(&memory, 0, ONE).unwrap(), b"return 1");
        for n in 0..100u32 {
            let mut large = vec![b'-'; LONGEST / 2];
            large.extend_from_slice(&n.to_le_bytes());
            memory.note_load(0, &large);
        }
        assert_eq!(text(&memory, 0, ONE), None);
        memory.note_load(0, b"return 1");
        assert_eq!(text(&memory, 0, ONE).unwrap(), b"return 1");
        memory.note_run(0, &vec![b' '; LONGEST + 1]);
        assert!(shared.store.lock().unwrap().bytes <= MOST_BYTES);
    }
}
