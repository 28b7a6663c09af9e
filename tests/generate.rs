//! What `nuthatch generate` writes, given to those who read it.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::Proxy;

fn generate(arguments: &[&str]) -> Output {
    let mut command = Command::new(Proxy::binary());
    command.arg("generate").args(arguments);
    command.output().expect("the program runs")
}

/// What bash offers after these words, the last of them unfinished.
#[track_caller]
fn offers(completions: &Path, words: &[&str]) -> Vec<String> {
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  _nuthatch nuthatch \"${@: -1}\" \"${@: -2:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .arg(completions)
        .arg("nuthatch")
        .args(words)
        .output()
        .expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[test]
fn bash_completes_options_and_sub_commands() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("nuthatch");
    let output = generate(&["completions", "bash"]);
    assert!(output.status.success());
    fs::write(&file, output.stdout).expect("the directory is ours");
    assert_eq!(offers(&file, &["--conf"]), ["--conf-file"]);
    assert_eq!(offers(&file, &["sent"]), ["sentinel"]);
    assert_eq!(
        offers(&file, &["locate", "--"]),
        ["--conf-file", "--pool", "--no-header", "--help"]
    );
    assert_eq!(offers(&file, &["generate", "completions", "ba"]), ["bash"]);
    assert!(offers(&file, &["--detach"]).is_empty());
}

#[test]
fn the_commands_are_printed() {
    let output = generate(&["commands"]);
    assert!(output.status.success());
    let page = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(page.starts_with("# Commands\n"), "{page}");
    assert!(
        page.contains("\n| `OBJECT ENCODING` | sent to its server | 2.2.3 | 0.1.0 |\n"),
        "{page}"
    );
}

#[test]
fn pages_are_written_where_they_are_wanted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = directory.path().to_str().expect("UTF-8");
    assert!(generate(&["man", "--out", out]).status.success());
    let page = fs::read_to_string(directory.path().join("nuthatch.1")).expect("the page");
    assert!(page.contains(".TH nuthatch 1"), "{page}");
    assert!(directory.path().join("nuthatch-locate.1").exists());

    let nowhere = format!("{out}/none");
    let refused = generate(&["man", "--out", &nowhere]);
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains(&nowhere), "{error}");
}
