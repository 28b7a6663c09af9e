//! Lines as they reach the file, through the layers a process has.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tracing::subscriber::with_default;

use super::limit::BURST;
use super::*;
use crate::log::{CHANGE, NOTICE};

/// A log of its own, in place of the process's.
struct Bench {
    folder: TempDir,
    sink: Sink,
    flood: Arc<Flood>,
}

impl Bench {
    fn new() -> Bench {
        let folder = TempDir::new().expect("a temporary directory");
        let file = open(&folder.path().join("log")).expect("the directory is ours");
        Bench {
            folder,
            sink: Sink(Arc::new(Mutex::new(Output::File(file)))),
            flood: Arc::new(Flood::new()),
        }
    }

    /// What is written while `log` runs.
    fn lines(&self, level: u64, format: LogFormat, log: impl FnOnce()) -> Vec<String> {
        let subscriber = Registry::default()
            .with(Level::clamped(level).targets())
            .with(Gate(Arc::clone(&self.flood)))
            .with(super::lines(format, self.sink.clone()));
        with_default(subscriber, log);
        let written = fs::read_to_string(self.folder.path().join("log")).expect("text");
        written.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_json_line_is_one_object_whatever_it_says() {
    let nasty = "a\"b\\c\n\r\t\u{0}\u{1b}[31m\u{2028}é\u{1f600}";
    let lines = Bench::new().lines(5, LogFormat::Json, || {
        let bytes = String::from_utf8_lossy(b"\xff\xfe{}");
        tracing::warn!(target: CHANGE, pool = nasty, server = %nasty, error = ?nasty, "{nasty}{bytes}");
        tracing::info!(number = 7_u64, float = f64::NAN, yes = true, none = None::<&str>, "more");
    });
    let objects: Vec<Value> = (lines.iter())
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(objects.len(), 2, "a line for each: {lines:?}");
    assert_eq!(objects[0]["pool"], nasty);
    assert_eq!(objects[0]["server"], nasty);
    assert_eq!(objects[0]["error"], format!("{nasty:?}"));
    assert_eq!(
        objects[0]["message"],
        format!("{nasty}\u{fffd}\u{fffd}{{}}")
    );
    assert_eq!(objects[0]["level"], "WARN");
    assert_eq!(objects[0]["target"], CHANGE);
    let time = objects[0]["timestamp"].as_str().expect("a text");
    assert!(
        time.len() == 27 && time.ends_with('Z') && &time[10..11] == "T",
        "{time}"
    );
    assert_eq!(
        (&objects[1]["number"], &objects[1]["yes"]),
        (&Value::from(7), &Value::from(true))
    );
    assert_eq!(objects[1].get("none"), None);
    assert_eq!(objects[1]["target"], "nuthatch::app::logging::tests");
}

#[test]
fn human_lines_carry_the_fields_behind_the_message() {
    let lines = Bench::new().lines(5, LogFormat::Human, || {
        tracing::warn!(pool = "alpha", server = "s1", "server ejected");
    });
    assert_eq!(lines.len(), 1);
    let end = " WARN server ejected pool=\"alpha\" server=\"s1\"";
    assert!(lines[0].ends_with(end), "{lines:?}");
}

fn refuse(pool: &str, times: u32) {
    for n in 0..times {
        tracing::warn!(pool, "client {n} refused");
    }
}

#[test]
fn a_flood_is_cut_off_for_each_pool_and_told_at_the_end() {
    let bench = Bench::new();
    let lines = bench.lines(5, LogFormat::Json, || {
        refuse("alpha", 1000);
        refuse("beta", BURST);
        refuse("gamma", BURST + 1);
        bench.flood.tell_all();
        bench.flood.tell_all();
    });
    let objects: Vec<Value> = (lines.iter())
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(objects.len(), 3 * BURST as usize + 2, "{lines:#?}");
    let told = |pool: &str| -> Vec<&Value> {
        let of_pool = objects.iter().filter(|o| o["pool"] == pool);
        of_pool.filter(|o| o.get("dropped").is_some()).collect()
    };
    let [alpha] = told("alpha")[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!(
        (&alpha["dropped"], &alpha["level"]),
        (&Value::from(995), &Value::from("WARN"))
    );
    let message = "995 similar lines dropped in the last 1 s: client 5 refused";
    assert_eq!(alpha["message"], message);
    assert_eq!(told("beta").len(), 0);
    assert_eq!(told("gamma")[0]["dropped"], 1);
    assert_eq!(
        bench
            .flood
            .dropped()
            .load(std::sync::atomic::Ordering::Relaxed),
        996
    );
}

#[test]
fn events_of_sentinels_are_kinds_of_their_own() {
    let bench = Bench::new();
    let event = |sentinel: &str, event: &'static str| {
        let sentinel = sentinel.to_owned();
        tracing::info!(pool = "alpha", server = "s1", sentinel, event, "event");
    };
    let lines = bench.lines(5, LogFormat::Human, || {
        for _ in 0..BURST {
            for sentinel in ["a", "b"] {
                event(sentinel, "+sdown");
                event(sentinel, "-sdown");
            }
        }
        event("a", "+sdown");
        bench.flood.tell_all();
    });
    assert_eq!(lines.len(), 4 * BURST as usize + 1);
    let told = lines.last().expect("lines");
    assert!(told.contains("event=\"+sdown\" dropped=1"), "{told}");
}

#[test]
fn changes_notices_and_debug_lines_are_never_dropped() {
    let bench = Bench::new();
    let lines = bench.lines(7, LogFormat::Human, || {
        for n in 0..100 {
            tracing::warn!(target: CHANGE, pool = "alpha", "server ejected {n}");
            tracing::info!(target: NOTICE, "signal {n}");
            tracing::debug!(pool = "alpha", "client accepted {n}");
        }
        bench.flood.tell_all();
    });
    assert_eq!(lines.len(), 300);
}

#[test]
fn what_is_not_shown_is_not_counted() {
    let bench = Bench::new();
    let lines = bench.lines(3, LogFormat::Human, || {
        refuse("alpha", 1000);
        bench.flood.tell_all();
    });
    assert_eq!(lines, [""; 0]);
}

#[test]
fn a_long_example_is_cut() {
    let bench = Bench::new();
    let lines = bench.lines(5, LogFormat::Human, || {
        for _ in 0..=BURST {
            tracing::error!("{}", "é".repeat(5000));
        }
        bench.flood.tell_all();
    });
    let told = lines.last().expect("lines");
    assert!(told.contains(&format!("s: {}…", "é".repeat(200))), "{told}");
}
