//! Keeps a flood out of the log: the [`Limiter`] in the way of `tracing`'s events.
//!
//! Errors, warnings and informations are limited, each kind for itself; a kind is a place in the code
//! together with the fields `pool`, `server`, `sentinel` and `event`. Never dropped are lines with a target of
//! [`crate::log`], and debug lines: who asks for them wants them all. What was dropped is told by
//! [`Flood::tell`], which has to be called now and then and at the end, in a line of the same level.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::limit::{Dropped, Kind, Limiter, Who};
use crate::log::{CHANGE, NOTICE, SLOW};

/// Target of the lines that tell of others.
const DROPPED: &str = "nuthatch::dropped";

/// Longest part of a dropped line that is repeated, characters.
const EXAMPLE_CHARS: usize = 200;

/// How often what is due is told.
const STEP: Duration = Duration::from_secs(1);

/// A place in the code, and the level of its lines.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    callsite: Identifier,
    level: Level,
}

pub struct Flood {
    limiter: Mutex<Limiter<Place>>,
    /// Since the start.
    dropped: Arc<AtomicU64>,
}

impl Flood {
    pub fn new() -> Flood {
        Flood {
            limiter: Mutex::new(Limiter::new()),
            dropped: Arc::default(),
        }
    }

    /// Lines dropped since the start; goes on counting.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Tells what is due, for ever.
    pub async fn tell_for_ever(&self) {
        loop {
            tokio::time::sleep(STEP).await;
            let due = self.lock().take_due(Instant::now());
            due.into_iter().for_each(tell);
        }
    }

    /// Tells all that was not told yet.
    pub fn tell_all(&self) {
        let rest = self.lock().take_all(Instant::now());
        rest.into_iter().for_each(tell);
    }

    fn lock(&self) -> MutexGuard<'_, Limiter<Place>> {
        // Counts only: nothing in it can be half changed in a way that matters.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if !is_limited(metadata) {
            return true;
        }
        let mut about = About::default();
        event.record(&mut about);
        let kind = Kind {
            place: Place {
                callsite: metadata.callsite(),
                level: *metadata.level(),
            },
            who: about.0,
        };
        let admitted = self.lock().admit(kind, Instant::now(), || example(event));
        if !admitted {
            self.dropped.fetch_add(1, Relaxed);
        }
        admitted
    }
}

fn is_limited(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO
        && ![NOTICE, CHANGE, SLOW, DROPPED].contains(&metadata.target())
}

fn tell(dropped: Dropped<Place>) {
    let Dropped {
        kind,
        lines,
        within,
        example,
    } = dropped;
    let Who {
        pool,
        server,
        sentinel,
        event,
    } = &kind.who;
    let seconds = within.as_secs().max(1);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: DROPPED,
                pool,
                server,
                sentinel,
                event,
                dropped = lines,
                "{lines} similar lines dropped in the last {seconds} s: {example}"
            )
        };
    }
    // A level has to be known when the program is compiled.
    match kind.place.level {
        Level::ERROR => line!(error),
        Level::WARN => line!(warn),
        _ => line!(info),
    }
}

/// The layer that lets events through, or not.
pub struct Gate(pub Arc<Flood>);

impl<S: Subscriber> Layer<S> for Gate {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admit(event)
    }
}

#[derive(Default)]
struct About(Who);

impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        let place = match field.name() {
            "pool" => &mut self.0.pool,
            "server" => &mut self.0.server,
            "sentinel" => &mut self.0.sentinel,
            "event" => &mut self.0.event,
            _ => return,
        };
        *place = Some(value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Display values (`%address`) come as this, too.
        if matches!(field.name(), "pool" | "server" | "sentinel" | "event") {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

#[derive(Default)]
struct Example(String);

fn example(event: &Event<'_>) -> String {
    let mut example = Example::default();
    event.record(&mut example);
    match example.0.char_indices().nth(EXAMPLE_CHARS) {
        Some((end, _)) => format!("{}…", &example.0[..end]),
        None => example.0,
    }
}

impl Visit for Example {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
