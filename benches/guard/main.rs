//! Guards what a request costs by counting, not by timing: instructions of `benches/micro/cases` under
//! valgrind, system calls of the running proxy under strace, both against `values.txt`. `run.sh` is the
//! way to call it.

#[path = "../micro/cases/mod.rs"]
mod cases;
mod instructions;
mod record;
#[path = "../../tests/support/mod.rs"]
mod support;
mod syscalls;

use std::process::ExitCode;

use record::{Figure, Record};

const USAGE: &str = "usage: guard [--record] [--only PART]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().map(String::as_str).peekable();
    let (mut recording, mut benching, mut only) = (false, false, "");
    while let Some(word) = words.next() {
        match (word, words.peek()) {
            ("--bench", _) => benching = true,
            ("--record", _) => recording = true,
            (instructions::MEASURE, Some(name)) => return instructions::measure(name),
            ("--only", Some(part)) => {
                only = part;
                words.next();
            }
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if !benching {
        // `cargo test --benches`: do they all work?
        cases::all().iter().for_each(|case| case.prepare()());
        return ExitCode::SUCCESS;
    }
    match (guard(only), recording && only.is_empty()) {
        (Ok(figures), true) => save(figures),
        (Ok(_), false) if recording => {
            eprintln!("a part cannot be recorded by itself");
            ExitCode::from(2)
        }
        (Ok(figures), false) => check(&figures, only),
        (Err(why), _) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Counts everything whose name contains `only`.
fn guard(only: &str) -> Result<Vec<Figure>, String> {
    let mut figures = instructions::count(only)?;
    figures.extend(syscalls::count(only)?);
    Ok(figures)
}

fn save(figures: Vec<Figure>) -> ExitCode {
    let before = Record::load().unwrap_or_default();
    let record = Record::of(figures)
        .inspect(|record| print!("{}", before.compare(&record.figures, "").text))
        .and_then(|record| record.save());
    match record {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn check(figures: &[Figure], only: &str) -> ExitCode {
    let record = match Record::load() {
        Ok(record) => record,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let comparison = record.compare(figures, only);
    print!("{}", comparison.text);
    if comparison.deviations.is_empty() {
        println!("\nAll {} figures are as recorded.", figures.len());
        return ExitCode::SUCCESS;
    }
    println!("\n{}", comparison.deviations.join("\n"));
    for difference in record.other_tools() {
        println!("{difference}");
    }
    println!(
        "Callgrind's output is in {}: callgrind_annotate FILE. What is meant to be: \
         benches/guard/run.sh --record.",
        instructions::folder().display()
    );
    ExitCode::FAILURE
}
