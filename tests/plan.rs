//! `nuthatch plan` as scripts and people call it: what it prints, and how it ends.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nuthatch::config;
use serde_json::{Value, json};
use support::Proxy;
use tempfile::TempDir;

const POOL: &str = "\
alpha:
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  distribution: ketama
  redis: true
  redis_auth: hunter2
  servers:
    - 127.0.0.1:6380:1 server1
    - 127.0.0.1:6381:1 server2
    - 127.0.0.1:6382:1 server3
    - 127.0.0.1:6383:1 server4
";

const BETA: &str = "\
beta:
  listen: 127.0.0.1:22122
  redis: true
  servers:
    - 127.0.0.1:6380:1
    - 127.0.0.1:6381:1
";

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The report of the only pool.
    fn pool(&self) -> Value {
        let report = self.json();
        let pools = report["pools"].as_array().expect("a list");
        assert_eq!(pools.len(), 1, "{report}");
        pools[0].clone()
    }
}

/// Runs the program in a folder with old.yml and new.yml.
fn run(old: &str, new: &str, arguments: &[&str], input: &[u8]) -> Ended {
    let folder = TempDir::new().expect("a temporary directory");
    for (file, text) in [("old.yml", old), ("new.yml", new)] {
        fs::write(folder.path().join(file), text).expect("the directory is ours");
    }
    fs::write(folder.path().join("keys"), input).expect("the directory is ours");
    let mut child = Command::new(Proxy::binary())
        .arg("plan")
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    if arguments.contains(&"-") {
        stdin.write_all(input).expect("the program reads");
    }
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("the child is ours");
    Ended {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
    }
}

const FILES: [&str; 4] = ["--from", "old.yml", "--to", "new.yml"];

fn plan(old: &str, new: &str) -> Ended {
    run(old, new, &FILES, b"")
}

fn plan_json(old: &str, new: &str) -> Ended {
    run(old, new, &[&FILES[..], &["--format", "json"]].concat(), b"")
}

#[test]
fn the_same_file_moves_no_key() {
    let ended = plan(POOL, POOL);
    let text = "pool alpha\n  nothing changes\n  no key moves\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), text));
    assert_eq!(ended.stderr, "");
}

#[test]
fn following_sentinel_from_now_on_moves_no_key() {
    let new = POOL.replace(
        "  servers:",
        "  sentinels:\n    - 127.0.0.1:26379\n    - 127.0.0.1:26380\n  servers:",
    );
    let ended = plan(POOL, &new);
    let text =
        "pool alpha\n  sentinels: none -> 127.0.0.1:26379, 127.0.0.1:26380\n  no key moves\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), text));
}

#[test]
fn settings_and_other_addresses_of_names_move_no_key_and_passwords_are_hidden() {
    let new = POOL
        .replace("hunter2", "hunter3\n  timeout: 400")
        .replace("6381:1 server2", "7381:1 server2");
    let ended = plan(POOL, &new);
    let text = "\
pool alpha
  timeout: 0 -> 400
  redis_auth: another value (hidden) (at a reload: clients that are in stay in)
  server server2: address 127.0.0.1:6381 -> 127.0.0.1:7381; its place stays, this moves no key
  no key moves
  note: the data of servers with another address has to be there first, or their keys are misses
";
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), text));
    let json = plan_json(POOL, &new);
    assert!(!json.stdout.contains("hunter"), "{}", json.stdout);
}

#[test]
fn a_removed_server_loses_its_share_only() {
    let new = POOL.replace("    - 127.0.0.1:6383:1 server4\n", "");
    let ended = plan(POOL, &new);
    assert_eq!(ended.code, Some(3));
    let headline = "  23.96 % of the keys move (exact for the hash space; --keys counts yours)";
    assert!(ended.stdout.lines().any(|line| line == headline));
    assert!(
        include_str!("../README.md").contains(&ended.stdout),
        "the README's example should be:\n{}",
        ended.stdout
    );

    let pool = plan_json(POOL, &new).pool();
    let movement = &pool["movement"];
    assert_eq!(pool["verdict"], "moves");
    assert_eq!(
        (&movement["basis"], &movement["total"]),
        (&json!("hash_space"), &json!(1_u64 << 32))
    );
    let streams = movement["streams"].as_array().expect("a list");
    let moved: u64 = streams.iter().map(|it| it["count"].as_u64().unwrap()).sum();
    assert_eq!(movement["moved"], moved);
}

/// As in twemproxy, an address without a name is the place on the ring.
#[test]
fn another_address_of_an_unnamed_server_moves_keys_unless_the_old_one_stays_as_its_name() {
    let new = BETA.replace("127.0.0.1:6381:1", "127.0.0.2:6381:1");
    let ended = plan(BETA, &new);
    assert_eq!(ended.code, Some(3));
    let (_, hint) = ended
        .stdout
        .split_once("\n  note: if the data of '127.0.0.1:6381' is at 127.0.0.2:6381 from now on, ")
        .expect("a hint");
    let (_, entry) = hint.trim_end().split_once(": - ").expect("an entry");
    assert_eq!(entry, "127.0.0.2:6381:1 127.0.0.1:6381");
    let named = new.replace("127.0.0.2:6381:1", entry);
    let ended = plan(BETA, &named);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(ended.stdout.contains("\n  no key moves\n"));
}

#[test]
fn pools_come_and_go_and_change_their_names() {
    let both = format!("{POOL}{BETA}");
    let ended = plan(POOL, &both);
    let text = "pool alpha\n  nothing changes\n  no key moves\n\npool beta: added\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), text));

    let ended = plan(&both, POOL);
    let text = "pool beta: removed\n\n  note: its keys stay on their servers, and no pool of this name \
                leads to them\n\npool alpha\n  nothing changes\n  no key moves\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), text));
    let only = [&FILES[..], &["--pool", "alpha"]].concat();
    let ended = run(&both, POOL, &only, b"");
    assert_eq!(ended.code, Some(0));

    let ended = plan(BETA, &BETA.replace("beta", "gamma"));
    assert_eq!(ended.code, Some(3));
    assert!(
        ended
            .stdout
            .contains("note: pool 'gamma' listens in its place"),
        "{}",
        ended.stdout
    );
}

#[test]
fn another_hash_is_estimated() {
    let pool = plan_json(
        BETA,
        &BETA.replace("redis: true", "redis: true\n  hash: md5"),
    )
    .pool();
    let movement = &pool["movement"];
    assert_eq!(
        (&movement["basis"], &movement["total"]),
        (&json!("key_sample"), &json!(1_000_000))
    );
    let share = movement["share"].as_f64().expect("a number");
    assert!((share - 0.5).abs() < 0.02, "{share}");
    let change = json!({"key": "hash", "old": "fnv1a_64", "new": "md5", "takes_effect": null});
    assert_eq!(pool["settings"], json!([change]));
}

#[test]
fn random_pools_cannot_be_counted() {
    let random = BETA.replace("redis: true", "redis: true\n  distribution: random");
    let ended = plan(&random, &random);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("\n  no key moves\n"));
    let more = format!("{random}    - 127.0.0.1:6382:1\n");
    let ended = plan(&random, &more);
    assert_eq!(ended.code, Some(3));
    assert!(ended.stdout.contains("\n  keys may move\n"));
    let pool = plan_json(BETA, &random).pool();
    assert_eq!(
        (&pool["verdict"], &pool["movement"]),
        (&json!("may_move"), &Value::Null)
    );
}

#[test]
fn every_mistake_of_both_files_is_named_and_warnings_are_shown() {
    let bad = "alpha:\n  listen: nowhere\n";
    let ended = plan(bad, &POOL.replace("ketama", "ketchup"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    for said in ["old.yml:2: ", "servers", "new.yml:4: ", "ketchup"] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let warned = POOL.replace("fnv1a_64", "crc32");
    let ended = plan(&warned, &warned);
    assert_eq!(ended.code, Some(0));
    for file in [
        "nuthatch: old.yml:3: warning: ",
        "nuthatch: new.yml:3: warning: ",
    ] {
        assert!(ended.stderr.contains(file), "{}", ended.stderr);
    }
}

#[test]
fn mistakes_in_the_command_line_and_keys_end_with_1() {
    let both = format!("{POOL}{BETA}");
    for (more, said) in [
        (&["--pool", "alhpa"][..], "did you mean 'alpha'?"),
        (
            &["--keys", "keys"],
            "--keys needs --pool, the files have several: beta, alpha",
        ),
        (
            &["--keys", "missing", "--pool", "beta"],
            "cannot read the keys in 'missing'",
        ),
        (
            &["--keys", "keys", "--pool", "beta"],
            "there are no keys in 'keys'",
        ),
        (
            &["--format", "xml"],
            "option --format value 'xml' is neither text nor json",
        ),
    ] {
        let ended = run(&both, &both, &[&FILES[..], more].concat(), b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let ended = run(POOL, POOL, &["--from", "old.yml"], b"");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .starts_with("nuthatch: --to <FILE> is missing\n")
    );
    let ended = run(
        POOL,
        BETA,
        &[&FILES[..], &["--keys", "keys"]].concat(),
        b"k",
    );
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no pool is in both files"));
}

#[test]
fn keys_are_counted_from_a_file_or_standard_input() {
    let new = POOL.replace("    - 127.0.0.1:6383:1 server4\n", "");
    let keys: String = (0..1000)
        .map(|n| format!("user:{n}:{}\r\n", n * n))
        .collect();
    let from = |keys_from| {
        let arguments = [&FILES[..], &["--keys", keys_from, "--format", "json"]].concat();
        run(POOL, &new, &arguments, keys.as_bytes())
    };
    let (file, pipe) = (from("keys"), from("-"));
    assert_eq!((file.code, pipe.code), (Some(3), Some(3)));
    assert_eq!(file.stdout, pipe.stdout);
    assert_eq!(file.pool()["movement"]["total"], 1000);

    // Of keys that live elsewhere none moves.
    let locate = ["locate", "--no-header", "-c", "old.yml"];
    let folder = TempDir::new().expect("a temporary directory");
    fs::write(folder.path().join("old.yml"), POOL).expect("the directory is ours");
    let words = keys.split_whitespace();
    let located = Command::new(Proxy::binary())
        .args(locate)
        .args(words)
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    let located = String::from_utf8(located.stdout).expect("text");
    let rows = located.lines().map(|row| row.split('\t').collect());
    let rows: Vec<Vec<&str>> = rows.collect();
    let on_server4 = rows.iter().filter(|row| row[4] == "server4").count();
    assert_eq!(file.pool()["movement"]["moved"], on_server4);
    let others = rows.iter().filter(|row| row[4] != "server4");
    let others: String = others.map(|row| format!("{}\n", row[0])).collect();
    let arguments = [&FILES[..], &["--keys", "-"]].concat();
    let ended = run(POOL, &new, &arguments, others.as_bytes());
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    let line = format!("\n  no key moves, of {}\n", 1000 - on_server4);
    assert!(ended.stdout.contains(&line), "{}", ended.stdout);
}

#[test]
fn of_many_streams_the_largest_are_shown() {
    let servers = |count: u16| -> String {
        let servers = (1..=count).map(|n| format!("    - 127.0.0.1:{n}:1\n"));
        let lines =
            "  listen: 127.0.0.1:22121\n  redis: true\n  distribution: modula\n  servers:\n";
        format!("alpha:\n{lines}{}", servers.collect::<String>())
    };
    let ended = plan(&servers(7), &servers(8));
    // Each of 56 residues has its pair; in 7 of them the server stays.
    assert!(
        ended
            .stdout
            .contains("\n    ... and 9 smaller ones, which --format json prints\n\n"),
        "{}",
        ended.stdout
    );
    let pool = plan_json(&servers(7), &servers(8)).pool();
    let streams = pool["movement"]["streams"].as_array().expect("a list");
    assert_eq!(streams.len(), 49);
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("a list of strings")
}

fn load(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn decoded(key: String) -> Vec<u8> {
    match key.strip_prefix("b64:") {
        Some(encoded) => BASE64_STANDARD.decode(encoded).expect("base64"),
        None => key.into_bytes(),
    }
}

/// The configuration of a recorded case.
fn recorded(recording: &Value, case: &Value) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let tag = recording["hash_tag"].as_str();
    let tag = tag.map_or(String::new(), |tag| {
        format!("  hash_tag: {}\n", quoted(tag))
    });
    let servers: String = strings(&recording["servers"])
        .iter()
        .map(|line| format!("    - {}\n", quoted(line)))
        .collect();
    let (hash, distribution) = (&case["hash"], &case["distribution"]);
    format!(
        "pool:\n  listen: 127.0.0.1:1\n  redis: true\n  hash: {hash}\n  distribution: \
         {distribution}\n{tag}  servers:\n{servers}"
    )
}

/// Between any two cases of a layout, keys move as a real nutcracker placed them in each.
#[test]
fn keys_are_counted_as_nutcracker_places_them() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let common = load(&vectors.join("keys.json"));
    let mut compared = 0;
    for layout in ["eq3", "w125", "named4", "unix3", "tag3-braces", "single"] {
        let recording = load(&vectors.join(format!("placement-{layout}.json")));
        let keys = strings(recording.get("keys").unwrap_or(&common));
        let keys: Vec<Vec<u8>> = keys.into_iter().map(decoded).collect();
        // What a line can hold.
        let fits = |key: &[u8]| !key.contains(&b'\n') && !key.ends_with(b"\r");
        let cases = recording["cases"].as_array().expect("a list");
        for pair in cases.windows(2).step_by(5) {
            let (old, new) = (
                recorded(&recording, &pair[0]),
                recorded(&recording, &pair[1]),
            );
            let mut names = BTreeMap::new();
            for server in &config::parse(&old, "f").expect(layout).config.pools[0].servers {
                names.insert(server.position as u64, server.name.clone());
            }
            let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
            let mut input = Vec::new();
            for (at, key) in keys.iter().enumerate().filter(|(_, key)| fits(key)) {
                input.extend_from_slice(key);
                input.push(b'\n');
                let place = |case: &Value| names[&case["placement"][at].as_u64().unwrap()].clone();
                let (from, to) = (place(&pair[0]), place(&pair[1]));
                if from != to {
                    *expected.entry((from, to)).or_default() += 1;
                }
            }
            let arguments = [&FILES[..], &["--keys", "-", "--format", "json"]].concat();
            let ended = run(&old, &new, &arguments, &input);
            let found = ended.pool()["movement"]["streams"].clone();
            let found: BTreeMap<(String, String), u64> = found
                .as_array()
                .expect("a list")
                .iter()
                .map(|it| {
                    let name = |key: &str| it[key].as_str().unwrap().to_owned();
                    ((name("from"), name("to")), it["count"].as_u64().unwrap())
                })
                .collect();
            assert_eq!(found, expected, "{layout}:\n{old}\n{new}");
            let code = if expected.is_empty() { 0 } else { 3 };
            assert_eq!(ended.code, Some(code));
            compared += expected.values().sum::<u64>();
        }
    }
    assert!(compared > 1000, "hardly any key moved: {compared}");
}

#[test]
fn other_key_groups_move_their_keys_only() {
    let grouped = POOL.replace("redis: true", "redis: true\n  key_groups: {rq: ['rq:']}");
    let ended = plan(POOL, &grouped);
    assert_eq!(ended.code, Some(3));
    for text in [
        "key_groups: none -> rq: [\"rq:\"]",
        "made-up keys that change their group",
        "of keys that stay in their group, or in none: 0.00 %; the rest is about the others",
    ] {
        assert!(ended.stdout.contains(text), "{}", ended.stdout);
    }
    let count = [&FILES[..], &["--keys", "keys"]].concat();
    let ended = run(POOL, &grouped, &count, b"rq\na\nb\nc\nrq\n");
    assert!(ended.stdout.contains("no key moves, of 5"), "{ended:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
