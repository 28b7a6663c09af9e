//! The README says what the program does: its tables are compared with their sources.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use nuthatch::config::OPTIONS;
use nuthatch::stats::metrics::{LATENCY, Metric, POOL, PROCESS, SERVER};

fn readme() -> &'static str {
    include_str!("../README.md")
}

/// The text of one chapter.
fn chapter(title: &str) -> &'static str {
    let (_, rest) = readme()
        .split_once(&format!("\n## {title}\n"))
        .expect("the chapter is there");
    rest.split("\n## ")
        .next()
        .expect("split gives at least one part")
}

#[test]
fn the_table_of_keys_is_complete_and_right() {
    let mut table =
        String::from("| key | default | unit | accepted | meaning |\n|---|---|---|---|---|\n");
    for option in OPTIONS {
        let default = option
            .default
            .map_or_else(|| option.absent.to_owned(), |d| format!("`{d}`"));
        let new = match (option.nutcracker, option.needs_sentinels) {
            (true, _) => "",
            (false, false) => " Not in twemproxy.",
            (false, true) => " Only with `sentinels`.",
        };
        writeln!(
            table,
            "| `{}` | {default} | {} | {} | {}{new} |",
            option.name,
            option.unit,
            // A column would end there.
            option.accepted.replace('|', "\\|"),
            option.doc
        )
        .expect("writing to a String");
    }
    assert!(
        chapter("Configuration").contains(&table),
        "the table should be:\n{table}"
    );
}

#[test]
fn the_page_of_commands_follows_from_their_table() {
    let written = include_str!("../docs/commands.md");
    let page = nuthatch::protocol::redis::command::page();
    let mut lines = page.lines().zip(written.lines());
    let differs = lines.find(|(ours, written)| ours != written);
    assert!(
        page == written,
        "docs/commands.md is old, write it again: cargo run -- generate commands > docs/commands.md\n\
         first difference: {differs:?}"
    );
}

#[test]
fn the_table_of_options_names_those_the_program_takes() {
    let output = Command::new(support::Proxy::binary())
        .arg("--help")
        .output()
        .expect("the program runs");
    let help = String::from_utf8(output.stdout).expect("the help is text");
    let taken: BTreeSet<&str> = help
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        // Two spaces end the option; what it means may name others.
        .filter_map(|line| line.split("  ").next())
        .flat_map(|option| option.split([' ', ',']))
        .filter(|word| word.starts_with("--"))
        .collect();
    let documented: BTreeSet<&str> = chapter("Command line")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
        .flat_map(|cell| cell.split('`'))
        .filter(|word| word.starts_with("--"))
        .collect();
    assert!(taken.contains("--conf-file"), "not the help: {help}");
    assert_eq!(documented, taken);
}

/// A table's rows. `#` is nutcracker's sign for a number of something.
fn rows<R>(metrics: &[Metric<R>]) -> String {
    let row = |metric: &Metric<R>| {
        let text = metric.description.trim_start_matches("# ");
        format!("| `{}` | {text} |\n", metric.name)
    };
    metrics.iter().map(row).collect()
}

#[test]
fn the_tables_of_values_are_complete_and_right() {
    let head = |title: &str| format!("| {title} | |\n|---|---|\n");
    let tables = [
        head("header") + &rows(PROCESS),
        head("pool") + &rows(POOL),
        head("server") + &rows(SERVER),
        head("pool and server") + &rows(LATENCY),
    ]
    .join("\n");
    assert!(
        chapter("Statistics").contains(&tables),
        "the tables should be:\n{tables}"
    );
}
