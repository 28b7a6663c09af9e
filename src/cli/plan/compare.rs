//! What a plan says about one pool: its settings, its servers, its keys, and the verdict.

use serde::Serialize;

use super::movement::{Basis, Movement, Sides};
use super::servers::{Matching, ServerChanges};
use super::settings::{self, ChangedSetting};
use crate::config::{Config, PoolConfig};

/// The worse, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Every key is looked for where it is.
    Stays,
    /// Chance decides, or a sample cannot rule it out.
    MayMove,
    /// Some keys are misses.
    Moves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Presence {
    Both,
    OnlyOld,
    OnlyNew,
}

#[derive(Debug, Serialize)]
pub(super) struct PoolReport {
    pub pool: String,
    #[serde(rename = "in")]
    pub presence: Presence,
    pub verdict: Verdict,
    pub settings: Vec<ChangedSetting>,
    pub servers: ServerChanges,
    /// `None` if keys have no places of their own, or none on one of the sides.
    pub movement: Option<Movement>,
    /// Sentences for people.
    pub notes: Vec<String>,
}

/// `movement`: `None` if the pool is random on one of the sides.
pub(super) fn kept(sides: &Sides, movement: Option<Movement>) -> PoolReport {
    let (old, new) = (&*sides.old.config, &*sides.new.config);
    let matching = Matching::new(old, new);
    let verdict = verdict(sides, movement.as_ref());
    let mut notes = Vec::new();
    if old.redis_db != new.redis_db {
        notes.push(format!(
            "every key is a miss: it is in database {} and will be looked for in database {}",
            old.redis_db, new.redis_db
        ));
    }
    if sides.is_random() {
        notes.push(random_note(verdict).to_owned());
    }
    notes.extend(matching.conditions());
    if verdict == Verdict::Moves && old.redis_db == new.redis_db {
        notes.extend(matching.hints());
    }
    PoolReport {
        pool: old.name.clone(),
        presence: Presence::Both,
        verdict,
        settings: settings::changed(old, new),
        servers: matching.changes(),
        movement,
        notes,
    }
}

pub(super) fn removed(pool: &PoolConfig) -> PoolReport {
    let note = "its keys stay on their servers, and no pool of this name leads to them";
    alone(pool, Presence::OnlyOld, Verdict::Moves, Some(note))
}

pub(super) fn added(pool: &PoolConfig) -> PoolReport {
    alone(pool, Presence::OnlyNew, Verdict::Stays, None)
}

fn alone(
    pool: &PoolConfig,
    presence: Presence,
    verdict: Verdict,
    note: Option<&str>,
) -> PoolReport {
    PoolReport {
        pool: pool.name.clone(),
        presence,
        verdict,
        settings: Vec::new(),
        servers: ServerChanges::default(),
        movement: None,
        notes: note.into_iter().map(str::to_owned).collect(),
    }
}

/// A pool that is gone and one that is new may be the same to clients.
pub(super) fn note_renamed_pools(reports: &mut [PoolReport], old: &Config, new: &Config) {
    let gone = reports.iter_mut();
    for report in gone.filter(|report| report.presence == Presence::OnlyOld) {
        let before = old.pools.iter().find(|pool| pool.name == report.pool);
        let after = new.pools.iter().find(|after| {
            let is_new = old.pools.iter().all(|pool| pool.name != after.name);
            is_new && before.is_some_and(|before| before.listen == after.listen)
        });
        if let Some(after) = after {
            report.notes.push(format!(
                "pool '{}' listens in its place; pools are compared by name: to compare these two, give \
                 them one name in a copy of a file",
                after.name
            ));
        }
    }
}

fn verdict(sides: &Sides, movement: Option<&Movement>) -> Verdict {
    match movement {
        Some(movement) if movement.moved > 0 => Verdict::Moves,
        // The sample has none of these keys.
        Some(movement) if movement.ungrouped_share > Some(0.0) => Verdict::Moves,
        Some(movement) => match movement.basis {
            Basis::HashSpace | Basis::Keys => Verdict::Stays,
            Basis::HashSample
            | Basis::KeySample
            | Basis::TaggedKeySample
            | Basis::GroupedKeySample => Verdict::MayMove,
        },
        None if sides.draws_alike() => Verdict::Stays,
        None => Verdict::MayMove,
    }
}

fn random_note(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Stays => {
            "distribution: random gives a key no place: any server is asked, as before"
        }
        Verdict::Moves | Verdict::MayMove => {
            "distribution: random gives a key no place: any server is asked for it, so which keys will \
             be misses is up to chance and cannot be counted"
        }
    }
}
