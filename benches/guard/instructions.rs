//! Instructions per unit of each case, counted by callgrind in a process of its own, so that no case has
//! an influence on another.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{fs, thread};

use crate::cases::{self, Case, Round};
use crate::record::{Figure, Kind};

/// The argument with which this program calls itself.
pub const MEASURE: &str = "--measure";
/// Enough that what happens once in many requests (a buffer that grows) is spread over them.
const UNITS: u64 = 4000;
/// Rounds before, after which nothing happens for the first time.
const WARM_UP: usize = 3;

fn rounds(case: &Case) -> u64 {
    UNITS.div_ceil(case.units)
}

/// The part of the name by which callgrind is told when to count.
const COUNTED: &str = "*nuthatch_guard_counted*";

#[inline(never)]
fn nuthatch_guard_counted(round: &mut Round, rounds: u64) {
    (0..rounds).for_each(|_| round());
}

/// What runs under callgrind.
pub fn measure(name: &str) -> ExitCode {
    let Some(case) = cases::all().into_iter().find(|case| case.name == name) else {
        eprintln!("no case is called {name}");
        return ExitCode::from(2);
    };
    let mut round = case.prepare();
    (0..WARM_UP).for_each(|_| round());
    nuthatch_guard_counted(&mut round, rounds(&case));
    ExitCode::SUCCESS
}

/// Where callgrind's output is kept.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guard")
}

/// Counts the cases whose names contain `only`, as many at a time as there are cores.
pub fn count(only: &str) -> Result<Vec<Figure>, String> {
    fs::create_dir_all(folder()).map_err(|error| format!("{}: {error}", folder().display()))?;
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| case.name.contains(only))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Relaxed);
            let Some(case) = cases.get(at) else {
                return Ok(done);
            };
            done.push((at, count_case(case)?));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut figures = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut figures = Vec::new();
        for thread in threads {
            let done: Result<Vec<_>, String> = thread.join().expect("it returns its errors");
            figures.extend(done?);
        }
        Ok::<_, String>(figures)
    })?;
    figures.sort_by_key(|(at, _)| *at);
    Ok(figures.into_iter().map(|(_, figure)| figure).collect())
}

fn count_case(case: &Case) -> Result<Figure, String> {
    let out = folder().join(format!("{}.callgrind", case.name.replace('/', "-")));
    let program = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args([MEASURE, &case.name])
        // The environment lies on the stack and would decide how what follows it is aligned.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{} under valgrind: {}\n{said}",
            case.name, output.status
        ));
    }
    let text = fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let total = total(&text).ok_or_else(|| format!("{}: nothing was counted", case.name))?;
    Ok(Figure {
        kind: Kind::Instructions,
        name: case.name.clone(),
        value: total as f64 / (rounds(case) * case.units) as f64,
        unit: case.unit.to_owned(),
    })
}

/// The sum in a file that callgrind wrote.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok().filter(|total| *total > 0)
}
