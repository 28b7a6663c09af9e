//! The dashboard and the alerts ask for nothing that is not there.

use std::fs;

use serde_json::Value as Json;

use super::busy;
use super::support::Metrics;

/// Metric names and labels that an expression of PromQL uses.
fn names_and_labels(expression: &str) -> (Vec<&str>, Vec<&str>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c: char| !is_word(c));
    let names = words.filter(|word| {
        ["nuthatch_", "process_"]
            .iter()
            .any(|p| word.starts_with(p))
    });
    // In matchers before an operator; in `by`, `on` and `group_left` between parentheses.
    let mut labels = Vec::new();
    for part in expression.split('{').skip(1) {
        let matchers = part
            .split('}')
            .next()
            .expect("split gives one at least")
            .split(',');
        let sides = matchers.filter_map(|matcher| matcher.split(['=', '!']).next());
        labels.extend(sides.map(str::trim));
    }
    for word in ["by", "on", "group_left"] {
        for part in expression.split(&format!("{word} (")).skip(1) {
            let list = part.split(')').next().expect("split gives one at least");
            labels.extend(list.split(',').map(str::trim));
        }
    }
    labels.retain(|label| !label.is_empty());
    (names.collect(), labels)
}

/// Every value below a key of this name.
fn values_of<'j>(json: &'j Json, key: &str, found: &mut Vec<&'j str>) {
    match json {
        Json::Object(map) => {
            for (name, value) in map {
                match value.as_str().filter(|_| name == key) {
                    Some(text) => found.push(text),
                    None => values_of(value, key, found),
                }
            }
        }
        Json::Array(values) => values.iter().for_each(|value| values_of(value, key, found)),
        _ => {}
    }
}

#[test]
fn dashboard_and_alerts_use_metrics_and_labels_that_exist() {
    let busy = busy();
    let proxy = &busy.proxy;
    let metrics = Metrics::of(proxy);
    let known: Vec<&str> = metrics.names().collect();
    let has_label = |label: &str| {
        // The first two are the scraper's, the last that of histograms.
        ["instance", "job", "le"].contains(&label) || metrics.text.contains(&format!("{label}=\""))
    };
    let read = |path: &str| fs::read_to_string(path).expect(path);
    let dashboard: Json =
        serde_json::from_str(&read("deploy/grafana-dashboard.json")).expect("JSON");
    let alerts: Json = serde_yaml::from_str(&read("deploy/alerts.yml")).expect("YAML");
    let mut expressions = Vec::new();
    values_of(&dashboard, "expr", &mut expressions);
    let panels = expressions.len();
    values_of(&dashboard, "query", &mut expressions);
    values_of(&alerts, "expr", &mut expressions);
    assert!(
        panels > 15 && expressions.len() > panels + 5,
        "{expressions:#?}"
    );
    for expression in &expressions {
        let (names, labels) = names_and_labels(expression);
        for name in names {
            assert!(
                known.contains(&name),
                "{name}, in {expression}, is not exported"
            );
        }
        for label in labels {
            assert!(
                has_label(label),
                "label {label}, in {expression}, does not exist"
            );
        }
    }
    let mut legends = Vec::new();
    values_of(&dashboard, "legendFormat", &mut legends);
    for legend in legends {
        for part in legend.split("{{").skip(1) {
            let label = part.split("}}").next().expect("split gives one at least");
            assert!(
                has_label(label),
                "label {label}, in {legend}, does not exist"
            );
        }
    }
}

#[test]
fn expressions_are_taken_apart() {
    let expression = "sum by (le, pool) (rate(nuthatch_a_total{pool=~\"x\",job!=\"y\"}[5m])) \
                      / on (instance) process_b";
    let (names, labels) = names_and_labels(expression);
    assert_eq!(names, ["nuthatch_a_total", "process_b"]);
    assert_eq!(labels, ["pool", "job", "le", "pool", "instance"]);
}
