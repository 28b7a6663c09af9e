//! The house rules of `src/` that no compiler checks: which module may name which (the table in
//! `src/lib.rs`), how long a file may be, and where sockets, clocks and tasks may be named. The rest of
//! this file shows that the checks in `layers/rules.rs` find what they should and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use rules::{MAX_LINES, Offence, check, layers};

#[path = "layers/rules.rs"]
mod rules;

#[test]
fn sources_keep_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = fs::read_to_string(root.join("lib.rs")).expect("src/lib.rs");
    let layers = layers(&lib);
    let files = rust_files(&root);
    assert!(files.len() > 10, "found only {files:?}");
    let mut offences = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&root).expect("below src");
        let path = path.to_str().expect("UTF-8");
        let source = fs::read_to_string(file).expect(path);
        // The compiler denies it as well, but a line above would be enough to have it anywhere.
        if path != "allocator.rs" && source.contains("unsafe {") {
            offences.push(format!("src/{path}: unsafe code belongs into allocator.rs"));
        }
        for Offence { line, what } in check(path, &source, &layers) {
            offences.push(format!("src/{path}:{line}: {what}"));
        }
    }
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

const LIB: &str = "//! | layer | modules |
//! |---|---|
//! | 0 | [`stats`], [`hash`] |
//! | 1 | [`config`] |
//! | 2 | [`topology`] |
//! | 3 | [`worker`], [`admin`] |
pub mod stats; mod hash; pub mod config;
pub mod topology; pub mod worker; pub mod admin;
";

/// `expected`: the lines with an offence.
#[track_caller]
fn assert_lines(path: &str, source: &str, expected: &[usize]) {
    let offences = check(path, source, &layers(LIB));
    let lines: Vec<usize> = offences.iter().map(|offence| offence.line).collect();
    assert_eq!(lines, expected, "src/{path}: {source}\n{offences:?}");
}

#[test]
fn the_table_is_read_from_the_map() {
    let layers = layers(LIB);
    assert_eq!(layers.len(), 6);
    assert_eq!(layers["hash"], 0);
    assert_eq!(layers["topology"], 2);
    assert_eq!(layers["admin"], 3);
}

#[test]
fn the_table_and_the_modules_agree() {
    assert_lines("lib.rs", LIB, &[]);
    assert_lines("lib.rs", &format!("{LIB}mod extra;"), &[9]);
    assert_lines("lib.rs", &LIB.replace("pub mod topology;", ""), &[1]);
    assert_lines("lib.rs", &format!("{LIB}#[cfg(test)] mod support;"), &[]);
}

#[test]
fn a_module_names_lower_layers_only() {
    for (source, expected) in [
        ("use crate::stats::Counter;", &[][..]),
        ("use crate::hash;\nuse crate::stats;", &[]),
        ("use crate::config::Config;", &[]),
        ("\nuse crate::topology::Pool;", &[2]),
        ("fn f() {\n crate::worker::run(); }", &[2]),
        ("pub(crate) fn f(x: crate::admin::Admin) {}", &[1]),
        (
            "use crate::{stats::Stats,\n topology::{self, Pool},\n hash};",
            &[2],
        ),
        ("use crate::nowhere::X;", &[1]),
        ("use crate::*;", &[1]),
        ("use crate as all;", &[1]),
        ("use super::topology::Pool;", &[1]),
        ("use super::stats::Stats;", &[]),
        (
            "mod inner { use super::super::topology::Pool;\n use super::Config; }",
            &[1],
        ),
        ("macro_rules! m { () => {\n $crate::worker::run() } }", &[2]),
        (
            "// use crate::worker;\n/// [`crate::worker`]\nfn f() { g(\"crate::worker\") }",
            &[],
        ),
    ] {
        assert_lines("config/mod.rs", source, expected);
    }
}

#[test]
fn super_is_counted_from_the_files_place() {
    assert_lines("config/file.rs", "use super::topology::X;", &[]);
    assert_lines("config/file.rs", "use super::super::topology::X;", &[1]);
    assert_lines("config.rs", "use super::topology::X;", &[1]);
    assert_lines(
        "topology/sentinel/mod.rs",
        "use super::super::worker::X;",
        &[1],
    );
}

#[test]
fn modules_of_one_layer_do_not_name_each_other() {
    assert_lines("worker.rs", "use crate::admin::Admin;", &[1]);
    assert_lines("admin/http.rs", "use crate::worker::Worker;", &[1]);
    assert_lines("worker.rs", "use crate::worker::Worker;", &[]);
}

#[test]
fn test_code_is_exempt() {
    for source in [
        "#[cfg(test)]\nmod tests { use crate::worker::X; use tokio::net::TcpStream; }",
        "#[cfg(test)]\nmod tests;",
        "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;",
        "#[cfg(test)]\nuse crate::worker::X;",
        "#![cfg(test)]\nuse crate::worker::X;",
        "impl X { #[cfg(test)] fn now(&self) -> [u8; 3] { Instant::now() } }",
    ] {
        assert_lines("config/mod.rs", source, &[]);
    }
    assert_lines("config/tests.rs", "use tokio::net::TcpStream;", &[]);
    assert_lines("config/file_tests.rs", "use crate::worker::X;", &[]);
    assert_lines("config/tests/a.rs", "use crate::worker::X;", &[]);
}

#[test]
fn what_follows_test_code_is_not_exempt() {
    for source in [
        "#[cfg(test)]\nmod tests {}\nuse crate::worker::X;",
        "#[cfg(test)]\nmod tests;\nuse crate::worker::X;",
        "#[cfg(test)]\nuse crate::a;\nuse tokio::x;",
        "#[cfg(unix)]\n\nuse tokio::x;",
        "#[cfg(not(test))]\n\nuse tokio::x;",
        "\n\nmod tests;",
        "mod a {\n\nmod file_tests; }",
    ] {
        assert_lines("config/mod.rs", source, &[3]);
    }
}

#[test]
fn only_shells_name_sockets_clocks_and_tasks() {
    let impure = [
        "use tokio::sync::watch;",
        "use std::net::{SocketAddr, TcpStream};",
        "use tokio_util::codec::Decoder;",
        "fn f() { let now = Instant::now(); }",
        "fn f() { g(SystemTime::now) }",
        "fn f() { std::net::TcpListener::bind(a); }",
        "fn f() { since.elapsed() }",
        "fn f() { std::thread::sleep(d) }",
        "fn f() { x! { tokio::select! {} } }",
    ];
    for source in impure {
        for path in [
            "config/file.rs",
            "lib.rs",
            "topology/mod.rs",
            "stats/admin.rs",
        ] {
            let offences = check(path, &format!("{LIB}{source}"), &layers(LIB));
            let lines: Vec<usize> = offences.iter().map(|offence| offence.line).collect();
            assert_eq!(lines, [9], "{path}: {source}: {offences:?}");
        }
        for path in [
            "main.rs",
            "cli.rs",
            "app/signals.rs",
            "admin/http.rs",
            "worker/mod.rs",
            "topology/task.rs",
            "topology/sentinel/task.rs",
            "topology/task/dns.rs",
        ] {
            assert_lines(path, source, &[]);
        }
    }
    for source in [
        "use std::net::SocketAddr;\nuse std::time::{Duration, Instant};",
        "fn handle(now: Instant) -> Duration { now.duration_since(then) }",
        "// tokio\n/* TcpStream */\n//! Instant::now()\nconst X: &str = \"tokio\";",
        "fn f() { self.elapsed(now) }",
        "fn tokiology() {}",
    ] {
        assert_lines("config/file.rs", source, &[]);
    }
}

#[test]
fn files_are_short() {
    assert_lines("config/file.rs", &"\n".repeat(MAX_LINES), &[]);
    assert_lines(
        "config/file.rs",
        &"\n".repeat(MAX_LINES + 1),
        &[MAX_LINES + 1],
    );
    assert_lines(
        "config/tests.rs",
        &"\n".repeat(MAX_LINES + 1),
        &[MAX_LINES + 1],
    );
}
