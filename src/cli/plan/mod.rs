//! `nuthatch plan`: what a changed configuration changes, above all which keys would live elsewhere.
//!
//! Reads two files and, if given, keys; compares, prints, and answers with an exit status that scripts can
//! ask. Nothing is connected to and all servers count as alive. `servers.rs` matches the servers of both
//! files, `movement.rs` measures or counts keys, `compare.rs` puts both together for a pool, `keys.rs`
//! reads keys, `text.rs` words it for people; the JSON is the report's own shape.

mod compare;
#[cfg(test)]
mod fixture;
mod keys;
mod movement;
mod servers;
mod settings;
mod text;

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::arguments::PROGRAM;
use super::commands::{Format, PlanArguments};
use super::locate::unknown_pool;
use super::print;
use crate::config::{self, Config, Loaded};
use crate::topology::{Pool, Topology};
use compare::{PoolReport, Verdict};
use movement::{Sides, Tally};

/// Keys move, may move, or belong to a pool that is gone.
const KEYS_MOVE: u8 = 3;

/// All that is found, as `--format json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    from: String,
    to: String,
    verdict: Verdict,
    /// In the order of the old file's pools, then those that are new.
    pools: Vec<PoolReport>,
}

pub fn run(arguments: &PlanArguments) -> ExitCode {
    match plan(arguments) {
        Ok(report) => {
            let printed = print(&match arguments.format {
                Format::Text => text::render(&report),
                Format::Json => json(&report),
            });
            match report.verdict {
                Verdict::Stays => printed,
                Verdict::Moves | Verdict::MayMove => ExitCode::from(KEYS_MOVE),
            }
        }
        Err(mistake) => {
            for line in mistake.lines() {
                eprintln!("{PROGRAM}: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("plain data");
    text.push('\n');
    text
}

fn plan(arguments: &PlanArguments) -> Result<Report, String> {
    let (old, new) = load(&arguments.from, &arguments.to)?;
    let wanted = arguments.pool.as_deref();
    let pools = matched(&old, &new, wanted)?;
    let reports = match &arguments.keys {
        None => pools.into_iter().map(Matched::estimated).collect(),
        Some(file) => vec![counted(pools, file)?],
    };
    let mut reports: Vec<PoolReport> = reports;
    compare::note_renamed_pools(&mut reports, &old, &new);
    let verdicts = reports.iter().map(|report| report.verdict);
    Ok(Report {
        from: arguments.from.display().to_string(),
        to: arguments.to.display().to_string(),
        verdict: verdicts.max().unwrap_or(Verdict::Stays),
        pools: reports,
    })
}

/// Prints the warnings of both.
fn load(from: &Path, to: &Path) -> Result<(Config, Config), String> {
    let usable = |loaded: Loaded| {
        for warning in &loaded.warnings {
            eprintln!("{PROGRAM}: {warning}");
        }
        loaded.config
    };
    match (config::load(from), config::load(to)) {
        (Ok(old), Ok(new)) => Ok((usable(old), usable(new))),
        (Err(old), Err(new)) => Err(format!("{old}\n{new}")),
        (Err(mistakes), Ok(_)) | (Ok(_), Err(mistakes)) => Err(mistakes.to_string()),
    }
}

/// A pool of one file, or the two of the same name.
enum Matched {
    Both(Sides),
    Removed(Arc<Pool>),
    Added(Arc<Pool>),
}

impl Matched {
    fn estimated(self) -> PoolReport {
        match self {
            Matched::Both(sides) => {
                let movement = (!sides.is_random()).then(|| sides.estimate(movement::SAMPLE));
                compare::kept(&sides, movement)
            }
            Matched::Removed(pool) => compare::removed(&pool.config),
            Matched::Added(pool) => compare::added(&pool.config),
        }
    }
}

/// The pool named `wanted`, or all.
fn matched(old: &Config, new: &Config, wanted: Option<&str>) -> Result<Vec<Matched>, String> {
    let (old, new) = (Topology::initial(old).pools, Topology::initial(new).pools);
    let find = |pools: &[Arc<Pool>], name: &str| {
        let found = pools.iter().find(|pool| pool.config.name == name);
        found.cloned()
    };
    let mut pools = Vec::new();
    for before in &old {
        pools.push(match find(&new, &before.config.name) {
            Some(after) => Matched::Both(Sides::new(Arc::clone(before), after)),
            None => Matched::Removed(Arc::clone(before)),
        });
    }
    let added = new
        .iter()
        .filter(|pool| find(&old, &pool.config.name).is_none());
    pools.extend(added.cloned().map(Matched::Added));
    let Some(wanted) = wanted else {
        return Ok(pools);
    };
    let names: Vec<String> = pools.iter().map(|pool| pool.name().to_owned()).collect();
    pools.retain(|pool| pool.name() == wanted);
    if pools.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(unknown_pool(wanted, &names));
    }
    Ok(pools)
}

impl Matched {
    fn name(&self) -> &str {
        match self {
            Matched::Both(sides) => &sides.old.config.name,
            Matched::Removed(pool) | Matched::Added(pool) => &pool.config.name,
        }
    }
}

/// The one pool whose keys are in `file`.
fn counted(pools: Vec<Matched>, file: &Path) -> Result<PoolReport, String> {
    let both = pools.into_iter().filter_map(|pool| match pool {
        Matched::Both(sides) => Some(sides),
        Matched::Removed(_) | Matched::Added(_) => None,
    });
    let mut both: Vec<Sides> = both.collect();
    let sides = match (both.pop(), both.is_empty()) {
        (Some(sides), true) => sides,
        (None, _) => return Err("keys cannot be counted: no pool is in both files".to_owned()),
        (Some(last), false) => {
            let names = both.iter().chain([&last]);
            let names: Vec<&str> = names.map(|sides| sides.old.config.name.as_str()).collect();
            let names = names.join(", ");
            return Err(format!(
                "--keys needs --pool, the files have several: {names}"
            ));
        }
    };
    let mut tally = Tally::new(&sides);
    let read = if file == Path::new("-") {
        keys::each(&mut io::stdin().lock(), |key| tally.add(key))
    } else {
        let opened = File::open(file);
        opened.and_then(|file| keys::each(&mut keys::buffered(file), |key| tally.add(key)))
    };
    let shown = file.display();
    match read {
        Ok(0) => Err(format!("there are no keys in '{shown}'")),
        Ok(_) => {
            let movement = (!sides.is_random()).then(|| tally.into_movement());
            Ok(compare::kept(&sides, movement))
        }
        Err(error) => Err(format!("cannot read the keys in '{shown}': {error}")),
    }
}
