//! Every hash value and every placement recorded from a real nutcracker (`tests/vectors`) comes out the same.

mod placement;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nuthatch::distribution::Distribution;
use nuthatch::hash::Hash;
use placement::Pool;
use serde_json::Value;

/// What was compared, and where it differed.
#[derive(Default)]
struct Tally {
    cases: usize,
    values: usize,
    mismatches: Vec<String>,
}

impl Tally {
    fn compare(&mut self, place: impl Fn() -> String, ours: u64, recorded: &Value) {
        self.values += 1;
        if recorded.as_u64() != Some(ours) {
            let place = place();
            self.mismatches
                .push(format!("{place}: {ours}, not {recorded}"));
        }
    }

    fn check(&self, cases: usize, values: usize) {
        let first = &self.mismatches[..self.mismatches.len().min(20)];
        assert!(
            first.is_empty(),
            "{} of {} differ:\n{}",
            self.mismatches.len(),
            self.values,
            first.join("\n")
        );
        assert_eq!((self.cases, self.values), (cases, values));
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn load(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("a list of strings")
}

fn keys(value: &Value) -> Vec<Vec<u8>> {
    strings(value)
        .into_iter()
        .map(|key| match key.strip_prefix("b64:") {
            Some(encoded) => BASE64_STANDARD.decode(encoded).expect("base64"),
            None => key.into_bytes(),
        })
        .collect()
}

fn hash(name: &str) -> Hash {
    Hash::from_name(name).unwrap_or_else(|| panic!("no hash {name}"))
}

/// Compares every case of the files whose name starts with `prefix`.
fn replay(prefix: &str) -> Tally {
    let common_keys = keys(&load(&vectors().join("keys.json")));
    let mut tally = Tally::default();
    for entry in fs::read_dir(vectors()).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy();
        if !file.starts_with(prefix) {
            continue;
        }
        let recording = load(&path);
        let own_keys = recording.get("keys").map(keys);
        let keys = own_keys.as_ref().unwrap_or(&common_keys);
        for case in recording["cases"].as_array().unwrap() {
            replay_case(&file, &recording, case, keys, &mut tally);
        }
    }
    tally
}

fn replay_case(file: &str, recording: &Value, case: &Value, keys: &[Vec<u8>], tally: &mut Tally) {
    let distribution = case["distribution"].as_str().unwrap();
    let ejected: Vec<usize> = case
        .get("ejected")
        .map(|positions| serde_json::from_value(positions.clone()).unwrap())
        .unwrap_or_default();
    let pool = Pool::new(
        &strings(&recording["servers"]),
        hash(case["hash"].as_str().unwrap()),
        Distribution::from_name(distribution).unwrap(),
        recording["hash_tag"].as_str(),
        &ejected,
    );
    let placement = case["placement"].as_array().unwrap();
    assert_eq!(placement.len(), keys.len(), "{file}");
    tally.cases += 1;
    for (key, recorded) in keys.iter().zip(placement) {
        let place = || {
            let hash = &case["hash"];
            format!(
                "{file} {hash} {distribution} {ejected:?} {}",
                key.escape_ascii()
            )
        };
        tally.compare(place, pool.place(key) as u64, recorded);
    }
}

#[test]
fn hashes_are_those_of_twemproxy() {
    let recording = load(&vectors().join("hash-vectors.json"));
    let keys = keys(&recording["keys"]);
    let mut tally = Tally::default();
    for (name, values) in recording["hashes"].as_object().unwrap() {
        let values = values.as_array().unwrap();
        assert_eq!(values.len(), keys.len(), "{name}");
        tally.cases += 1;
        for (key, recorded) in keys.iter().zip(values) {
            let place = || format!("{name} {}", key.escape_ascii());
            tally.compare(place, hash(name).hash(key).into(), recorded);
        }
    }
    tally.check(Hash::ALL.len(), 8_664);
}

#[test]
fn keys_go_where_nutcracker_sent_them() {
    replay("placement-").check(436, 125_376);
}

#[test]
fn keys_go_where_nutcracker_sent_them_after_ejection() {
    replay("ejection-").check(163, 47_270);
}
