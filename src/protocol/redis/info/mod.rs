//! INFO of several servers as one text: what Redis counts is added up, what it measures is taken from the
//! server that is worst off, what speaks of one process is left out. `rules.rs` has the fields, `number.rs`
//! the arithmetic, `request.rs` what the proxy has to say itself.

mod number;
mod request;
mod rules;

use std::collections::HashMap;
use std::fmt::Write as _;

pub use request::{Answer, InfoRequest};

use number::{fields, human, join_fields, lowest_version, ratio, same, total, total_fields};
use rules::{Rule, rule};

/// The texts of several servers as one, in the order of the first; what only others have comes behind.
/// `clients` is the number of the proxy's.
pub fn merge(texts: &[&str], clients: u64) -> String {
    let mut merged = Merged::default();
    for text in texts {
        merged.take(text);
    }
    let mut out = String::new();
    for section in &merged.sections {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        section.write(clients, &mut out);
    }
    out
}

#[derive(Debug, Default)]
struct Merged<'a> {
    sections: Vec<Section<'a>>,
    places: HashMap<&'a str, usize>,
}

/// Its fields in their order, each with the values of all servers that have it.
#[derive(Debug, Default)]
struct Section<'a> {
    name: &'a str,
    fields: Vec<(&'a str, Vec<&'a str>)>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Merged<'a> {
    fn take(&mut self, text: &'a str) {
        let mut at = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("# ") {
                at = Some(*self.places.entry(name).or_insert_with(|| {
                    self.sections.push(Section {
                        name,
                        ..Section::default()
                    });
                    self.sections.len() - 1
                }));
            } else if let (Some(at), Some((key, value))) = (at, line.split_once(':')) {
                self.sections[at].take(key, value);
            }
        }
    }
}

impl<'a> Section<'a> {
    fn take(&mut self, key: &'a str, value: &'a str) {
        let place = *self.places.entry(key).or_insert_with(|| {
            self.fields.push((key, Vec::new()));
            self.fields.len() - 1
        });
        self.fields[place].1.push(value);
    }

    fn write(&self, clients: u64, out: &mut String) {
        let _ = write!(out, "# {}\r\n", self.name);
        let fields = || {
            self.fields
                .iter()
                .map(|(key, values)| (*key, rule(self.name, key), values))
        };
        let merged: HashMap<&str, String> = fields()
            .filter_map(|(key, rule, values)| match rule {
                Rule::Clients => Some((key, clients.to_string())),
                _ => Some((key, merged(rule, values)?)),
            })
            .collect();
        for (key, rule, values) in fields() {
            if rule == Rule::Distinct {
                for (at, value) in values.iter().enumerate() {
                    if !values[..at].contains(value) {
                        let _ = write!(out, "{key}:{value}\r\n");
                    }
                }
            } else if let Some(value) = merged.get(key) {
                let _ = write!(out, "{key}:{value}\r\n");
            } else if let Some(value) = derived(key, rule, &merged) {
                let _ = write!(out, "{key}:{value}\r\n");
            }
        }
    }
}

/// The field's value, unless it is none or made of other fields.
fn merged(rule: Rule, values: &[&str]) -> Option<String> {
    let alike = || same(values).map(str::to_owned);
    match rule {
        Rule::Is(value) => Some(value.to_owned()),
        Rule::Same => alike(),
        Rule::Sum | Rule::Least | Rule::Most => total(rule, values)
            .or_else(|| total_fields(rule, values).map(|fields| join_fields(&fields)))
            .or_else(alike),
        Rule::Limit if values.contains(&"0") => Some("0".to_owned()),
        Rule::Limit => total(Rule::Sum, values),
        Rule::Version => lowest_version(values).map(str::to_owned),
        Rule::Status => {
            let bad = values.iter().find(|value| **value != "ok");
            bad.or(values.first()).map(|value| (*value).to_owned())
        }
        Rule::Calls => calls(values),
        Rule::Keys => keys(values),
        Rule::Drop
        | Rule::Clients
        | Rule::Distinct
        | Rule::Human
        | Rule::Ratio(..)
        | Rule::Percent(..)
        | Rule::Dataset => None,
    }
}

/// The value of a field that is made of others of its section.
fn derived(key: &str, rule: Rule, merged: &HashMap<&str, String>) -> Option<String> {
    let number = |key: &str| merged.get(key)?.parse::<f64>().ok();
    let percent = |a: f64, b: f64| ratio(100.0 * a, b) + "%";
    match rule {
        Rule::Human => human(merged.get(key.strip_suffix("_human")?)?),
        Rule::Ratio(a, b) => Some(ratio(number(a)?, number(b)?)),
        Rule::Percent(a, b) => Some(percent(number(a)?, number(b)?)),
        Rule::Dataset => {
            let used = number("used_memory")? - number("used_memory_startup")?;
            Some(percent(number("used_memory_dataset")?, used))
        }
        _ => None,
    }
}

/// `calls=2,usec=6,usec_per_call=3.00,rejected_calls=0,failed_calls=0`
fn calls(values: &[&str]) -> Option<String> {
    let mut all = total_fields(Rule::Sum, values)?;
    let number = |name: &str| {
        let field = all.iter().find(|(other, _)| other == name)?;
        field.1.parse::<f64>().ok()
    };
    let mean = number("usec").zip(number("calls"));
    for (name, value) in &mut all {
        if let ("usec_per_call", Some((usec, calls))) = (&name[..], mean) {
            *value = ratio(usec, calls);
        }
    }
    Some(join_fields(&all))
}

/// `keys=2,expires=1,avg_ttl=5000`
fn keys(values: &[&str]) -> Option<String> {
    let mut all = total_fields(Rule::Sum, values)?;
    let (mut weight, mut weighted) = (0.0, 0.0);
    for value in values {
        let fields = fields(value)?;
        let number = |name: &str| {
            let field = fields.iter().find(|(other, _)| *other == name)?;
            field.1.parse::<f64>().ok()
        };
        if let Some((expires, ttl)) = number("expires").zip(number("avg_ttl")) {
            weight += expires;
            weighted += expires * ttl;
        }
    }
    for (name, value) in &mut all {
        if name == "avg_ttl" {
            *value = format!("{:.0}", if weight > 0.0 { weighted / weight } else { 0.0 });
        }
    }
    Some(join_fields(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The merged text's fields.
    fn fields_of(texts: &[&str]) -> Vec<String> {
        let merged = merge(
            &texts
                .iter()
                .map(|text| text.replace('\n', "\r\n"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            7,
        );
        assert!(merged.is_empty() || merged.ends_with("\r\n"));
        merged
            .split("\r\n")
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_process_is_left_out_and_the_lowest_version_named() {
        assert_eq!(
            fields_of(&[
                "# Server\nredis_version:7.0.15\nrun_id:a\ntcp_port:1\nos:Linux\nuptime_in_seconds:9\nhz:10\nnew:1\n",
                "# Server\nredis_version:7.0.9\nrun_id:b\ntcp_port:2\nos:Linux\nuptime_in_seconds:5\nhz:20\nnew:2\n",
            ]),
            [
                "# Server",
                "redis_version:7.0.9",
                "os:Linux",
                "uptime_in_seconds:5",
                "hz:20"
            ]
        );
    }

    #[test]
    fn memory_is_added_up_and_what_depends_on_it_computed_anew() {
        assert_eq!(
            fields_of(&[
                "# Memory\nused_memory:1000000\nused_memory_human:976.56K\nused_memory_rss:3000000\n\
                 used_memory_peak:2000000\nused_memory_peak_perc:50.00%\nused_memory_startup:500000\n\
                 used_memory_dataset:250000\nused_memory_dataset_perc:50.00%\nmaxmemory:1\n\
                 maxmemory_policy:noeviction\nmem_fragmentation_ratio:3.00\nnumber_of_libraries:2\n",
                "# Memory\nused_memory:1000000\nused_memory_human:976.56K\nused_memory_rss:1000000\n\
                 used_memory_peak:2000000\nused_memory_peak_perc:50.00%\nused_memory_startup:500000\n\
                 used_memory_dataset:500000\nused_memory_dataset_perc:100.00%\nmaxmemory:2\n\
                 maxmemory_policy:allkeys-lru\nmem_fragmentation_ratio:1.00\nnumber_of_libraries:2\n",
            ]),
            [
                "# Memory",
                "used_memory:2000000",
                "used_memory_human:1.91M",
                "used_memory_rss:4000000",
                "used_memory_peak:4000000",
                "used_memory_peak_perc:50.00%",
                "used_memory_startup:1000000",
                "used_memory_dataset:750000",
                "used_memory_dataset_perc:75.00%",
                "maxmemory:3",
                "mem_fragmentation_ratio:2.00",
                "number_of_libraries:2",
            ]
        );
        let unlimited = fields_of(&["# Memory\nmaxmemory:0\n", "# Memory\nmaxmemory:7\n"]);
        assert_eq!(unlimited, ["# Memory", "maxmemory:0"]);
    }

    #[test]
    fn loading_goes_on_until_all_have_loaded_and_one_bad_save_is_bad() {
        assert_eq!(
            fields_of(&[
                "# Persistence\nloading:0\nrdb_last_bgsave_status:ok\nrdb_last_save_time:7\nrdb_last_bgsave_time_sec:-1\n",
                "# Persistence\nloading:1\nrdb_last_bgsave_status:err\nrdb_last_save_time:5\nrdb_last_bgsave_time_sec:2\n",
            ]),
            [
                "# Persistence",
                "loading:1",
                "rdb_last_bgsave_status:err",
                "rdb_last_save_time:5",
                "rdb_last_bgsave_time_sec:2",
            ]
        );
    }

    #[test]
    fn statistics_are_added_up_field_by_field() {
        assert_eq!(
            fields_of(&[
                "# Stats\ntotal_commands_processed:3\ninstantaneous_input_kbps:0.02\npubsub_patterns:2\n\n\
                 # CPU\nused_cpu_sys:0.500001\n\n# Modules\nmodule:name=a\n\n\
                 # Commandstats\ncmdstat_get:calls=1,usec=5,usec_per_call=5.00,failed_calls=1\n\n\
                 # Errorstats\nerrorstat_ERR:count=1\n\n\
                 # Latencystats\nlatency_percentiles_usec_get:p50=1.003,p99.9=9.0\n\n\
                 # Keyspace\ndb0:keys=10,expires=1,avg_ttl=1000\n",
                "# Stats\ntotal_commands_processed:4\ninstantaneous_input_kbps:1.10\npubsub_patterns:2\n\n\
                 # CPU\nused_cpu_sys:1.000000\n\n# Modules\nmodule:name=a\nmodule:name=b\n\n\
                 # Commandstats\ncmdstat_get:calls=3,usec=6,usec_per_call=2.00,failed_calls=0\n\
                 cmdstat_client|list:calls=1,usec=1,usec_per_call=1.00,failed_calls=0\n\n\
                 # Errorstats\nerrorstat_OOM:count=1\nerrorstat_ERR:count=2\n\n\
                 # Latencystats\nlatency_percentiles_usec_get:p50=2.003,p99.9=3.0\n\n\
                 # Keyspace\ndb0:keys=5,expires=3,avg_ttl=2000\ndb1:keys=1,expires=0,avg_ttl=0\n",
            ]),
            [
                "# Stats",
                "total_commands_processed:7",
                "instantaneous_input_kbps:1.12",
                "pubsub_patterns:2",
                "# CPU",
                "used_cpu_sys:1.500001",
                "# Modules",
                "module:name=a",
                "module:name=b",
                "# Commandstats",
                "cmdstat_get:calls=4,usec=11,usec_per_call=2.75,failed_calls=1",
                "cmdstat_client|list:calls=1,usec=1,usec_per_call=1.00,failed_calls=0",
                "# Errorstats",
                "errorstat_ERR:count=3",
                "errorstat_OOM:count=1",
                "# Latencystats",
                "latency_percentiles_usec_get:p50=2.003,p99.9=9.0",
                "# Keyspace",
                "db0:keys=15,expires=4,avg_ttl=1750",
                "db1:keys=1,expires=0,avg_ttl=0",
            ]
        );
    }

    #[test]
    fn a_pool_is_a_master_whatever_its_servers_are() {
        assert_eq!(
            fields_of(&[
                "# Replication\nrole:master\nconnected_slaves:1\nslave0:ip=::1\nmaster_replid:a\n# Cluster\ncluster_enabled:0\n",
                "# Replication\nrole:slave\nmaster_host:::1\nconnected_slaves:2\n# Cluster\ncluster_enabled:1\n",
            ]),
            [
                "# Replication",
                "role:master",
                "connected_slaves:3",
                "# Cluster",
                "cluster_enabled:0"
            ]
        );
    }

    #[test]
    fn clients_are_the_proxys() {
        assert_eq!(
            fields_of(&[
                "# Clients\nconnected_clients:1\nblocked_clients:1\n",
                "# Clients\nconnected_clients:20\nblocked_clients:2\n",
            ]),
            ["# Clients", "connected_clients:7", "blocked_clients:3"]
        );
    }

    #[test]
    fn any_text_makes_a_text() {
        assert_eq!(merge(&[], 1), "");
        assert_eq!(merge(&["no section\r\nkey:1\r\n"], 1), "");
        assert_eq!(
            fields_of(&[
                "# Stats\na:x=1,y\nb:-\nc:99999999999999999999\n",
                "# Stats\na:x=1,y\nb:1\nc:1\n"
            ]),
            ["# Stats", "a:x=1,y", "c:100000000000000000000"]
        );
    }
}
