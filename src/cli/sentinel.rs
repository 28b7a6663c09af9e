//! `nuthatch sentinel`: what each sentinel, and the master itself, says about every server, side by side.
//!
//! Looks only; nothing of a running proxy is asked or changed.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use super::arguments::PROGRAM;
use super::commands::SentinelArguments;
use super::locate::unknown_pool;
use super::mistake::nearest;
use super::{print, runtime};
use crate::config::{self, Config, PoolConfig};
use crate::topology::sentinel::RoleAnswer;
use crate::topology::sentinel::answer::Flags;
use crate::topology::sentinel::task::ask::{
    self, Identity, Said, Silence, Subject, Survey, Verdict,
};

pub fn run(arguments: &SentinelArguments) -> ExitCode {
    match ask_all(arguments) {
        Ok(surveys) => {
            let blocks: Vec<String> = surveys.iter().map(block).collect();
            let printed = print(&blocks.join("\n"));
            if surveys.iter().all(is_sound) {
                printed
            } else {
                ExitCode::FAILURE
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

fn ask_all(arguments: &SentinelArguments) -> Result<Vec<Survey>, String> {
    let loaded = config::load(&arguments.conf_file).map_err(|mistakes| mistakes.to_string())?;
    let pools = choose(&loaded.config, arguments.pool.as_deref())?;
    let runtime = runtime().map_err(|error| format!("cannot ask: {error}"))?;
    let surveys = runtime.block_on(ask::all(pools.into_iter().map(ask::survey)));
    Ok(surveys.into_iter().flatten().collect())
}

/// The pools with sentinels; at least one.
fn choose(config: &Config, wanted: Option<&str>) -> Result<Vec<Arc<PoolConfig>>, String> {
    let pools = config.pools.iter();
    let named = |pool: &&Arc<PoolConfig>| wanted.is_none_or(|name| pool.name == name);
    let chosen: Vec<_> = pools.filter(named).cloned().collect();
    if let (true, Some(wanted)) = (chosen.is_empty(), wanted) {
        let names: Vec<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
        return Err(unknown_pool(wanted, &names));
    }
    let followed = chosen.into_iter().filter(|pool| pool.sentinel.is_some());
    let followed: Vec<_> = followed.collect();
    match (followed.is_empty(), wanted) {
        (false, _) => Ok(followed),
        (true, Some(wanted)) => Err(format!("pool '{wanted}' has no sentinels")),
        (true, None) => Err("no pool has sentinels".to_owned()),
    }
}

fn is_sound(survey: &Survey) -> bool {
    let mut verdicts = survey.servers.iter().map(Subject::verdict);
    verdicts.all(|verdict| verdict == Verdict::Agreed)
}

/// One pool: a line with its name, the table, then what does not fit into the table. Columns are two or
/// more spaces apart, and cells contain single ones only.
fn block(survey: &Survey) -> String {
    let fixed = ["state", "server", "master", "configured"];
    let mut header: Vec<String> = fixed.map(str::to_owned).into();
    header.extend(survey.sentinels.iter().map(|it| it.address.to_string()));
    header.push("node".to_owned());
    let mut rows = vec![header];
    rows.extend(survey.servers.iter().map(|subject| row(survey, subject)));
    let mut text = format!("pool {}\n", survey.pool.name);
    text += &aligned(&rows);
    for remark in remarks(survey) {
        writeln!(text, "  {remark}").expect("writing to a String");
    }
    text
}

fn row(survey: &Survey, subject: &Subject) -> Vec<String> {
    let state = match subject.verdict() {
        Verdict::Agreed => "ok",
        Verdict::Incomplete => "?",
        Verdict::Disagreed => "!",
    };
    let mut row = vec![
        state.to_owned(),
        one_word(&subject.name),
        subject.identity.master().unwrap_or("-").to_owned(),
        subject.configured.to_string(),
    ];
    let said = survey.sentinels.iter().zip(&subject.said);
    row.extend(said.map(|(witness, said)| match (&witness.monitors, said) {
        (Err(silence), _) => kind(silence).to_owned(),
        (Ok(_), said) => cell(said),
    }));
    let nodes = subject.nodes.iter();
    let nodes = nodes.map(|(address, role)| format!("{address} {}", role_name(role)));
    row.push(nodes.collect::<Vec<_>>().join(", "));
    row
}

fn cell(said: &Said) -> String {
    match said {
        Said::Master {
            address,
            epoch,
            flags,
        } => format!("{address} epoch {epoch}{}", flag_names(*flags)),
        Said::Unmonitored => "unmonitored".to_owned(),
        Said::Strange(_) => "strange".to_owned(),
        Said::Unasked | Said::Nothing => "-".to_owned(),
    }
}

/// As Sentinel writes them, with a space before.
fn flag_names(flags: Flags) -> String {
    let names = [
        (flags.subjectively_down, "s_down"),
        (flags.objectively_down, "o_down"),
        (flags.failover_in_progress, "failover_in_progress"),
    ];
    let set: Vec<&str> = names.iter().filter(|it| it.0).map(|it| it.1).collect();
    match set.as_slice() {
        [] => String::new(),
        set => format!(" {}", set.join(",")),
    }
}

/// Names come from the file, where they may have any spaces.
fn one_word(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kind(silence: &Silence) -> &'static str {
    match silence {
        Silence::Unreachable(_) => "unreachable",
        Silence::Denied(_) => "denied",
        Silence::Strange(_) => "strange",
    }
}

fn role_name(role: &RoleAnswer) -> &'static str {
    match role {
        RoleAnswer::Master => "master",
        RoleAnswer::Replica => "replica",
        RoleAnswer::NotReady(_) => "not-ready",
        RoleAnswer::Denied(_) => "denied",
        RoleAnswer::Unreachable(_) => "unreachable",
        RoleAnswer::Strange(_) => "strange",
    }
}

/// The reasons for what the table says in a word.
fn remarks(survey: &Survey) -> Vec<String> {
    let mut remarks = Vec::new();
    for witness in &survey.sentinels {
        if let Err(silence) = &witness.monitors {
            let (Silence::Unreachable(why) | Silence::Denied(why) | Silence::Strange(why)) =
                silence;
            remarks.push(format!(
                "sentinel {}: {}: {why}",
                witness.address,
                kind(silence)
            ));
        }
    }
    for subject in &survey.servers {
        let mut remark = |text: String| remarks.push(format!("server {}: {text}", subject.name));
        if let Some(problem) = identity_problem(survey, subject) {
            remark(problem);
        }
        for (witness, said) in survey.sentinels.iter().zip(&subject.said) {
            if let Said::Strange(why) = said {
                remark(format!("sentinel {} answers: {why}", witness.address));
            }
        }
        for (address, role) in &subject.nodes {
            match role {
                RoleAnswer::Master | RoleAnswer::Replica => {}
                RoleAnswer::NotReady(why)
                | RoleAnswer::Denied(why)
                | RoleAnswer::Unreachable(why)
                | RoleAnswer::Strange(why) => {
                    remark(format!("{address} is {}: {why}", role_name(role)));
                }
            }
        }
    }
    remarks
}

/// Why the sentinels that answered have no master for a server, if none has one.
pub(super) fn identity_problem(survey: &Survey, subject: &Subject) -> Option<String> {
    let answered = survey
        .sentinels
        .iter()
        .filter_map(|it| it.monitors.as_ref().ok());
    let mut monitored: Vec<&str> = answered.flatten().map(String::as_str).collect();
    monitored.sort_unstable();
    monitored.dedup();
    let known = match monitored.as_slice() {
        [] => "they monitor none".to_owned(),
        names => format!("they monitor: {}", names.join(", ")),
    };
    let configured = &subject.configured;
    match &subject.identity {
        Identity::Named(name) => {
            let unmonitored = subject.said.contains(&Said::Unmonitored);
            if !unmonitored || subject.said.iter().any(|said| said.address().is_some()) {
                return None;
            }
            let meant = match nearest(name, &monitored) {
                Some(meant) => format!("; did you mean '{meant}'?"),
                None => String::new(),
            };
            Some(format!("no sentinel monitors '{name}'{meant} ({known})"))
        }
        Identity::Absent => Some(format!(
            "no sentinel knows {configured} as a master or a replica ({known})"
        )),
        Identity::Ambiguous(names) => Some(format!(
            "{configured} belongs to several masters: {}",
            names.join(", ")
        )),
        Identity::Found(_) | Identity::Unknown => None,
    }
}

pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[path = "sentinel_tests.rs"]
mod tests;
