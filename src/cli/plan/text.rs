//! A plan for people: one block for each pool.

use std::fmt::Write as _;

use super::super::locate::escaped;
use super::super::sentinel::aligned;
use super::Report;
use super::compare::{PoolReport, Presence, Verdict};
use super::movement::{Basis, Movement};
use super::servers::ServerChanges;

/// Two pools of a hundred servers each would fill ten thousand lines.
const STREAMS: usize = 40;

pub(super) fn render(report: &Report) -> String {
    let blocks: Vec<String> = report.pools.iter().map(block).collect();
    blocks.join("\n")
}

fn block(report: &PoolReport) -> String {
    let of_presence = match report.presence {
        Presence::Both => "",
        Presence::OnlyOld => ": removed",
        Presence::OnlyNew => ": added",
    };
    let mut text = format!("pool {}{of_presence}\n", shown(&report.pool));
    for setting in &report.settings {
        let change = if setting.old == setting.new {
            "another value (hidden)".to_owned()
        } else {
            format!("{} -> {}", shown(&setting.old), shown(&setting.new))
        };
        let when = setting.takes_effect;
        let when = when.map_or(String::new(), |when| format!(" (at a reload: {when})"));
        line(&mut text, &format!("{}: {change}{when}", setting.key));
    }
    servers(&mut text, &report.servers);
    if report.presence == Presence::Both {
        if report.settings.is_empty() && report.servers.is_empty() {
            line(&mut text, "nothing changes");
        }
        match &report.movement {
            Some(movement) => keys(&mut text, movement),
            None if report.verdict == Verdict::Stays => line(&mut text, "no key moves"),
            None => line(&mut text, "keys may move"),
        }
    }
    if !report.notes.is_empty() && report.verdict == Verdict::Moves {
        text.push('\n');
    }
    for note in &report.notes {
        // Lines of YAML among them are there to be copied, backslashes and all.
        let note = match note.contains(char::is_control) {
            true => &shown(note),
            false => note,
        };
        line(&mut text, &format!("note: {note}"));
    }
    text
}

fn servers(text: &mut String, changes: &ServerChanges) {
    let listed = [("added", &changes.added), ("removed", &changes.removed)];
    for (what, servers) in listed {
        for server in servers {
            let (name, address) = (shown(&server.name), shown(&server.address));
            line(
                text,
                &format!("server {name}: {what}, {address}, weight {}", server.weight),
            );
        }
    }
    for server in &changes.renamed {
        let (old, new) = (shown(&server.old), shown(&server.new));
        line(
            text,
            &format!(
                "server {new}: was {old}, still at {}",
                shown(&server.address)
            ),
        );
    }
    for server in &changes.reweighted {
        let (name, old, new) = (shown(&server.name), server.old, server.new);
        line(text, &format!("server {name}: weight {old} -> {new}"));
    }
    for server in &changes.readdressed {
        let (name, old, new) = (shown(&server.name), shown(&server.old), shown(&server.new));
        line(
            text,
            &format!("server {name}: address {old} -> {new}; its place stays, this moves no key"),
        );
    }
    for server in &changes.masters {
        let name = |name: &Option<String>| name.as_deref().map_or("-".to_owned(), shown);
        let (old, new) = (name(&server.old), name(&server.new));
        let server = shown(&server.name);
        line(
            text,
            &format!("server {server}: name in Sentinel {old} -> {new}"),
        );
    }
}

fn keys(text: &mut String, movement: &Movement) {
    line(text, &headline(movement));
    if let Some(others) = others(movement) {
        line(text, &others);
    }
    if movement.moved == 0 {
        return;
    }
    line(text, "these keys will be misses at their new place");
    let counted = movement.basis == Basis::Keys;
    let column = if counted { "keys" } else { "" };
    let mut rows = vec![["from", "to", "share", column].map(str::to_owned).to_vec()];
    for stream in movement.streams.iter().take(STREAMS) {
        let count = match counted {
            true => stream.count.to_string(),
            false => String::new(),
        };
        let (from, to) = (cell(&stream.from), cell(&stream.to));
        rows.push(vec![from, to, percent(stream.share), count]);
    }
    table(text, &rows);
    if let Some(more @ 1..) = movement.streams.len().checked_sub(STREAMS) {
        let what = format!("    ... and {more} smaller ones, which --format json prints");
        writeln!(text, "{what}").expect("writing to a String");
    }
    let mut rows = vec![["server", "before", "after"].map(str::to_owned).to_vec()];
    for balance in &movement.balance {
        let share = |share: Option<f64>| share.map_or("-".to_owned(), percent);
        let server = cell(&balance.server);
        rows.push(vec![server, share(balance.before), share(balance.after)]);
    }
    table(text, &rows);
}

/// What a sample of one kind of keys does not say of the others.
fn others(movement: &Movement) -> Option<String> {
    let [untagged, ungrouped] =
        [movement.untagged_share, movement.ungrouped_share].map(|share| share.map(percent));
    let stay = "of keys that stay in their group, or in none";
    Some(match (ungrouped, untagged) {
        (None, None) => return None,
        (None, Some(share)) => {
            format!("of keys without a hash tag: {share}; the rest is about keys that have one")
        }
        (Some(share), None) => format!("{stay}: {share}; the rest is about the others"),
        (Some(tagged), Some(untagged)) => format!(
            "{stay}: {tagged} with a hash tag, {untagged} without; the rest is about the others"
        ),
    })
}

fn headline(movement: &Movement) -> String {
    let share = percent(movement.share);
    let (moved, total) = (movement.moved, movement.total);
    let none = moved == 0;
    match movement.basis {
        Basis::HashSpace if none => "no key moves".to_owned(),
        Basis::HashSpace => {
            format!("{share} of the keys move (exact for the hash space; --keys counts yours)")
        }
        Basis::Keys if none => format!("no key moves, of {total}"),
        Basis::Keys => format!("{share} of the keys move: {moved} of {total}"),
        Basis::HashSample | Basis::KeySample | Basis::TaggedKeySample | Basis::GroupedKeySample => {
            let what = match movement.basis {
                Basis::HashSample => "hash values",
                Basis::TaggedKeySample => "made-up keys with hash tags",
                Basis::GroupedKeySample => "made-up keys that change their group",
                _ => "made-up keys",
            };
            let margin = movement.margin.unwrap_or_default() * 100.0;
            let error = format!(
                "estimate from {total} {what}, at most {margin:.2} percentage points off at 95 % \
                 confidence; --keys counts yours"
            );
            match none {
                true => format!("few keys move, if any ({error})"),
                false => format!("{share} of the keys move ({error})"),
            }
        }
    }
}

/// No share that is more than nothing is shown as nothing, none that is less than all as all.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.01 {
        "<0.01 %".to_owned()
    } else if percent < 100.0 && percent > 99.99 {
        ">99.99 %".to_owned()
    } else {
        format!("{percent:.2} %")
    }
}

fn line(text: &mut String, what: &str) {
    writeln!(text, "  {what}").expect("writing to a String");
}

fn table(text: &mut String, rows: &[Vec<String>]) {
    text.push('\n');
    for row in aligned(rows).lines() {
        writeln!(text, "    {row}").expect("writing to a String");
    }
}

/// Names and values come from files, where they may have any characters.
fn shown(text: &str) -> String {
    escaped(text.as_bytes())
}

/// Columns are two or more spaces apart.
fn cell(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    shown(&words.join(" "))
}
