//! How many lines of a kind may be logged: a machine, time is an argument.
//!
//! Of each kind [`BURST`] lines pass in [`WINDOW`], counted from the first; what comes on top is dropped
//! and counted. The count is due one window after the first drop, whether more lines come or not, so the
//! log grows by at most `BURST + 1` lines per kind and window. At most [`MAX_KINDS`] kinds are told apart:
//! beyond, lines of one place in the code count as one kind, whomever they are about.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lines of a kind in one window: enough to see what it is, and that it repeats.
pub const BURST: u32 = 5;
pub const WINDOW: Duration = Duration::from_secs(10);
/// Some megabytes of names at the worst.
pub const MAX_KINDS: usize = 4096;

/// Whom and what a line is about. Without any of them, all lines of one place in the code are one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Who {
    pub pool: Option<String>,
    pub server: Option<String>,
    pub sentinel: Option<String>,
    /// What a sentinel announced.
    pub event: Option<String>,
}

/// What makes lines similar. `C` is a place in the code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind<C> {
    pub place: C,
    pub who: Who,
}

/// Lines of one kind that were not logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped<C> {
    pub kind: Kind<C>,
    pub lines: u64,
    /// From the first of them until now.
    pub within: Duration,
    /// What the first of them said.
    pub example: String,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    passed: u32,
    held: Option<Held>,
}

/// Not told yet; outlives the window in which it began.
#[derive(Debug)]
struct Held {
    lines: u64,
    since: Instant,
    example: String,
}

#[derive(Debug)]
pub struct Limiter<C> {
    kinds: HashMap<Kind<C>, Window>,
}

impl<C: Clone + Eq + Hash> Limiter<C> {
    pub fn new() -> Limiter<C> {
        Limiter {
            kinds: HashMap::new(),
        }
    }

    /// May this line be logged? If not, it is counted; `text` is asked for what the first one says.
    pub fn admit(
        &mut self,
        mut kind: Kind<C>,
        now: Instant,
        text: impl FnOnce() -> String,
    ) -> bool {
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&kind) {
            self.forget_idle(now);
            if self.kinds.len() >= MAX_KINDS {
                kind.who = Who::default();
            }
        }
        let window = self.kinds.entry(kind).or_insert(Window {
            start: now,
            passed: 0,
            held: None,
        });
        if now.saturating_duration_since(window.start) >= WINDOW {
            window.start = now;
            window.passed = 0;
        }
        if window.passed < BURST {
            window.passed += 1;
            return true;
        }
        let held = window.held.get_or_insert_with(|| Held {
            lines: 0,
            since: now,
            example: text(),
        });
        held.lines += 1;
        false
    }

    /// What has to be told now: counts that are a window old.
    pub fn take_due(&mut self, now: Instant) -> Vec<Dropped<C>> {
        let due = self.take(now, |held| {
            now.saturating_duration_since(held.since) >= WINDOW
        });
        self.forget_idle(now);
        due
    }

    /// Everything that was not told yet, for the end.
    pub fn take_all(&mut self, now: Instant) -> Vec<Dropped<C>> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Instant, is_due: impl Fn(&Held) -> bool) -> Vec<Dropped<C>> {
        let kinds = self.kinds.iter_mut();
        let due = kinds.filter_map(|(kind, window)| {
            let held = window.held.take_if(|held| is_due(held))?;
            Some(Dropped {
                kind: kind.clone(),
                lines: held.lines,
                within: now.saturating_duration_since(held.since),
                example: held.example,
            })
        });
        due.collect()
    }

    /// A kind whose window is over and told is as good as new.
    fn forget_idle(&mut self, now: Instant) {
        self.kinds.retain(|_, window| {
            window.held.is_some() || now.saturating_duration_since(window.start) < WINDOW
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn kind(place: u32, server: &str) -> Kind<u32> {
        let server = (!server.is_empty()).then(|| server.to_string());
        Kind {
            place,
            who: Who {
                server,
                ..Who::default()
            },
        }
    }

    /// How many of `lines` pass that come at once.
    fn flood(limiter: &mut Limiter<u32>, kind: &Kind<u32>, lines: u32, now: Instant) -> u32 {
        let admitted =
            (0..lines).map(|n| u32::from(limiter.admit(kind.clone(), now, || format!("line {n}"))));
        admitted.sum()
    }

    #[test]
    fn a_burst_passes_and_the_rest_is_counted_with_the_first_as_example() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        assert_eq!(flood(&mut limiter, &kind(1, "a"), 1000, start), BURST);
        assert_eq!(limiter.take_due(start + WINDOW - MS), []);
        let told = limiter.take_due(start + WINDOW);
        let [dropped] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(dropped.lines, 1000 - u64::from(BURST));
        assert_eq!((&dropped.kind, dropped.within), (&kind(1, "a"), WINDOW));
        assert_eq!(dropped.example, format!("line {BURST}"));
        assert_eq!(limiter.take_due(start + 2 * WINDOW), [], "told once");
    }

    #[test]
    fn few_lines_are_never_dropped() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        for hour in 0..48 {
            let now = start + hour * Duration::from_secs(3600);
            assert_eq!(flood(&mut limiter, &kind(1, ""), BURST, now), BURST);
        }
        assert_eq!(limiter.take_all(start), []);
    }

    #[test]
    fn places_and_servers_are_limited_apart() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        for kind in [kind(1, "a"), kind(1, "b"), kind(2, "a"), kind(1, "")] {
            assert_eq!(flood(&mut limiter, &kind, 100, start), BURST);
        }
        assert_eq!(limiter.take_all(start).len(), 4);
    }

    #[test]
    fn a_lasting_flood_is_bounded_and_every_line_accounted_for() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        let (mut passed, mut dropped, mut told) = (0, 0, 0);
        let minute = 60_000;
        for ms in 0..minute {
            let now = start + ms * MS;
            passed += u64::from(flood(&mut limiter, &kind(1, "a"), 1, now));
            if ms % 1000 == 0 {
                let due = limiter.take_due(now);
                told += due.len();
                dropped += due.iter().map(|d| d.lines).sum::<u64>();
            }
        }
        let rest = limiter.take_all(start + minute * MS);
        dropped += rest.iter().map(|d| d.lines).sum::<u64>();
        assert_eq!(passed, 6 * u64::from(BURST));
        assert_eq!(passed + dropped, u64::from(minute));
        assert!((4..=6).contains(&told), "{told}");
    }

    #[test]
    fn lines_pass_again_in_the_next_window_though_the_last_is_not_told() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        flood(&mut limiter, &kind(1, "a"), 10, start);
        assert_eq!(
            flood(&mut limiter, &kind(1, "a"), 10, start + WINDOW),
            BURST
        );
        let told = limiter.take_due(start + WINDOW);
        assert_eq!(told[0].lines, 2 * (10 - u64::from(BURST)));
    }

    #[test]
    fn kinds_are_bounded_and_idle_ones_forgotten() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        for n in 0..2 * MAX_KINDS {
            limiter.admit(kind(1, &n.to_string()), start, String::new);
        }
        // The one more is the kind that the others share.
        assert_eq!(limiter.kinds.len(), MAX_KINDS + 1);
        let told = limiter.take_all(start);
        assert_eq!(told[0].kind, kind(1, ""));
        assert_eq!(told[0].lines, MAX_KINDS as u64 - u64::from(BURST));
        limiter.take_due(start + WINDOW);
        assert_eq!(limiter.kinds.len(), 0);
    }

    #[test]
    fn a_clock_that_stands_or_steps_back_is_survived() {
        let (mut limiter, start) = (Limiter::new(), Instant::now() + WINDOW);
        assert_eq!(flood(&mut limiter, &kind(1, "a"), 10, start), BURST);
        assert_eq!(flood(&mut limiter, &kind(1, "a"), 10, start - MS), 0);
        assert_eq!(limiter.take_due(start - MS), []);
    }
}
