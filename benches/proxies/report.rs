//! What is printed and written: tables for people, all figures for programs.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::options::Options;
use crate::peers::Peer;

/// Above this something else runs on the machine.
const QUIET: f64 = 0.7;

#[derive(Debug, Default)]
pub struct Report {
    text: String,
    data: Map<String, Value>,
}

impl Report {
    /// Prints it, and keeps it for the Markdown file.
    pub fn say(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        println!("{text}");
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// For the JSON file.
    ///
    /// # Errors
    /// Never, for what is here.
    pub fn record(&mut self, name: &str, data: &impl Serialize) -> Outcome<()> {
        self.data
            .insert(name.to_owned(), serde_json::to_value(data)?);
        Ok(())
    }

    /// Says on what machine, how and with what this is measured.
    ///
    /// # Errors
    /// Never, for what is here.
    pub fn head(&mut self, options: &Options, peers: &[Peer]) -> Outcome<()> {
        let date = said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]);
        let machine = machine();
        let versions: Vec<String> = versions(peers);
        let load = first_word("/proc/loadavg");
        self.say(format!("# Nuthatch and other proxies, {date}\n"));
        self.say(format!("- machine: {machine}"));
        self.say(format!(
            "- command: `cargo bench --bench proxies -- {}`",
            arguments()
        ));
        self.say(format!("- versions: {}", versions.join("; ")));
        self.say(format!(
            "- servers: {:?}; rounds: {}; TCP congestion control: {}; load average at the start: {load}",
            options.backend,
            options.rounds(),
            first_word("/proc/sys/net/ipv4/tcp_congestion_control"),
        ));
        if load.parse().is_ok_and(|load: f64| load > QUIET) {
            self.say("\n**Something else is running on this machine: do not trust the figures.**");
        }
        self.record(
            "head",
            &json!({"date": date, "machine": machine, "versions": versions, "load": load}),
        )
    }

    /// Writes the files that were asked for.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, options: &Options) -> Outcome<()> {
        if let Some(path) = &options.markdown {
            fs::write(path, &self.text)?;
        }
        if let Some(path) = &options.json {
            fs::write(path, serde_json::to_vec_pretty(&self.data)?)?;
        }
        Ok(())
    }
}

/// This command's, with paths reduced to their last part: where somebody keeps things is of no interest
/// to others.
fn arguments() -> String {
    let short = |argument: String| match argument.split_once('=') {
        Some((option, value)) if value.contains('/') => format!("{option}={}", last(value)),
        _ if argument.contains('/') => last(&argument),
        _ => argument,
    };
    let all = env::args().skip(1).filter(|argument| argument != "--bench");
    all.map(short).collect::<Vec<String>>().join(" ")
}

fn last(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn versions(peers: &[Peer]) -> Vec<String> {
    let commit = said(
        "git",
        &[
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
        ],
    );
    let peers = peers.iter().filter_map(|peer| {
        let version = peer.version()?;
        Some(format!("{}: {version}", peer.name))
    });
    let commit = format!("these sources: {commit}");
    let redis = said("redis-server", &["--version"]);
    let redis = redis.split(" sha=").next().unwrap_or_default().to_owned();
    peers
        .chain([commit, redis])
        .filter(|text| !text.is_empty())
        .collect()
}

fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |line| {
        line.trim_start_matches([' ', '\t', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse::<f64>().ok());
    let gb = kb.unwrap_or_default() / 1024.0 / 1024.0;
    let kernel = first_word("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} processors, {gb:.0} GB, Linux {kernel}")
}

fn first_word(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// The first line of what a program prints; empty if it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().trim().to_owned()
}
