//! From the configuration as written to the configuration as meant, collecting every mistake on the way.
//!
//! A wrong value leaves its default in place and is reported, so that the rest is still checked; what
//! comes out of a file with errors is therefore not to be used.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Report, near_miss, quoted};
use super::file::{Node, Value};
use super::options::{OPTIONS, OptionDoc, Rule};
use super::server::Entry;
use super::settings::Settings;
use super::traps;
use super::value::{self, Resolve};
use super::{Config, Listen, PoolConfig, ServerConfig};

/// A ring names its members with 16 bits.
const SERVERS_MAX: usize = u16::MAX as usize;

/// For YAML's compound keys.
pub(super) const KEY_NOT_TEXT: &str = "a key must be plain text, not a list or a mapping";

/// For what only pools with sentinels may say.
pub(super) const NEEDS_SENTINELS: &str =
    "has no effect without 'sentinels': add the pool's sentinels, or remove this";

/// Where a pool's parts stand in the file.
pub(super) struct Lines {
    pub pool: usize,
    pub keys: BTreeMap<&'static str, usize>,
    /// By [`ServerConfig::position`].
    pub servers: Vec<usize>,
}

impl Lines {
    /// The key's line, for an absent key the pool's.
    pub(super) fn key(&self, key: &str) -> usize {
        self.keys.get(key).copied().unwrap_or(self.pool)
    }
}

/// `root` is the file's only document. The answer is meant only if `report` has no errors.
pub(super) fn resolve(
    root: &Node,
    file: &str,
    resolve_host: Resolve,
    report: &mut Report,
) -> Config {
    let no_pools = "has no pools; accepted: pool names, each with its keys indented below it";
    let Value::Mapping(entries) = &root.value else {
        report.error(no_pools).at(root.line);
        return Config { pools: Vec::new() };
    };
    if entries.is_empty() {
        report.error(no_pools).at(root.line);
    }
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut listens = Vec::new();
    let mut pools = Vec::new();
    for (key, value) in entries {
        let name = match &key.value {
            Value::Scalar(name) if !name.is_empty() => name.as_str(),
            _ => {
                report
                    .error("a pool's name must be plain text and not empty")
                    .at(key.line);
                continue;
            }
        };
        if let Some(first) = names.get(name) {
            let (file, quoted_name) = (quoted(file), quoted(name));
            report
                .error(format!(
                    "{file} has pools with same name {quoted_name}; the first is on line {first}"
                ))
                .at(key.line)
                .pool(name);
        }
        names.entry(name).or_insert(key.line);
        let reader = PoolReader {
            name,
            resolve_host,
            report,
            settings: Settings::default(),
            listen: None,
            has_sentinels: false,
            servers: None,
            lines: Lines {
                pool: key.line,
                keys: BTreeMap::new(),
                servers: Vec::new(),
            },
        };
        let pool = reader.read(value);
        if let Some(address) = &pool.listen {
            listens.push((name, address.to_string(), pool.lines.key("listen")));
        }
        if let Some(config) = pool.config {
            traps::warn(&config, &pool.lines, report);
            pools.push(Arc::new(config));
        }
    }
    refuse_shared_listen_addresses(&listens, report);
    pools.sort_by(|a, b| internal_order(&a.name, &b.name));
    Config { pools }
}

/// nutcracker's order of pools and of a pool's servers: shorter names first, then bytewise.
pub(super) fn internal_order(a: &str, b: &str) -> std::cmp::Ordering {
    (a.len(), a).cmp(&(b.len(), b))
}

/// `listens`: pool, address, line.
fn refuse_shared_listen_addresses(listens: &[(&str, String, usize)], report: &mut Report) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (pool, address, line) in listens {
        if let Some(other) = taken.get(address.as_str()) {
            let (other, this, address) = (quoted(other), quoted(pool), quoted(address));
            report
                .error(format!(
                    "pools {other} and {this} have the same listen address {address}"
                ))
                .at(*line)
                .pool(pool)
                .key("listen");
        }
        taken.entry(address).or_insert(pool);
    }
}

/// What could be read of a pool.
struct PoolRead {
    /// `None` after at least one error is reported.
    config: Option<PoolConfig>,
    listen: Option<Listen>,
    lines: Lines,
}

struct PoolReader<'a> {
    name: &'a str,
    resolve_host: Resolve<'a>,
    report: &'a mut Report,
    settings: Settings,
    listen: Option<Listen>,
    /// Is the key there, right or wrong?
    has_sentinels: bool,
    /// `None` also if any of them is wrong.
    servers: Option<Vec<ServerConfig>>,
    lines: Lines,
}

impl PoolReader<'_> {
    fn read(mut self, node: &Node) -> PoolRead {
        let correct = match &node.value {
            Value::Mapping(entries) => self.entries(entries),
            Value::Scalar(_) | Value::Sequence(_) => {
                let message = if OPTIONS.iter().any(|option| option.name == self.name) {
                    format!(
                        "{} is a key of a pool: indent it below the pool's name",
                        quoted(self.name)
                    )
                } else {
                    "must be a mapping of keys such as 'listen' and 'servers'".to_owned()
                };
                self.report
                    .error(message)
                    .at(self.lines.pool)
                    .pool(self.name);
                false
            }
        };
        let config = match (&self.listen, self.servers) {
            (Some(listen), Some(servers)) if correct => {
                Some(self.settings.into_pool(self.name, listen.clone(), servers))
            }
            _ => None,
        };
        PoolRead {
            config,
            listen: self.listen,
            lines: self.lines,
        }
    }

    /// Reads all keys; were they correct?
    fn entries(&mut self, entries: &[(Node, Node)]) -> bool {
        let mut correct = true;
        // Before all else: what other keys may say depends on it, and they may stand before it.
        self.has_sentinels = entries
            .iter()
            .any(|(key, _)| matches!(&key.value, Value::Scalar(name) if name == "sentinels"));
        for (key, value) in entries {
            correct &= self.entry(key, value);
        }
        for required in OPTIONS.iter().filter(|option| option.is_required()) {
            if !self.lines.keys.contains_key(required.name) {
                let message = format!("is missing; accepted: {}", required.accepted);
                self.error(self.lines.pool, required.name, message);
                correct = false;
            }
        }
        correct
    }

    fn error(&mut self, line: usize, key: &str, message: impl Into<String>) {
        self.report.error(message).at(line).pool(self.name).key(key);
    }

    /// Reads one key; was it correct?
    fn entry(&mut self, key: &Node, node: &Node) -> bool {
        let Value::Scalar(name) = &key.value else {
            self.report.error(KEY_NOT_TEXT).at(key.line).pool(self.name);
            return false;
        };
        let Some(option) = OPTIONS.iter().find(|option| option.name == name) else {
            self.error(key.line, name, unknown(name));
            return false;
        };
        if let Some(first) = self.lines.keys.get(option.name) {
            let message = format!("is a duplicate; the first is on line {first}");
            self.error(key.line, name, message);
            return false;
        }
        self.lines.keys.insert(option.name, key.line);
        if option.needs_sentinels && !self.has_sentinels {
            self.error(key.line, name, NEEDS_SENTINELS);
            return false;
        }
        match option.rule {
            Rule::Listen => self.listen(option, key.line, node),
            Rule::Servers => self.servers(option, key.line, node),
            Rule::Value(set) | Rule::Secret(set) => {
                let Some(text) = self.text(option, key.line, node) else {
                    return false;
                };
                let Err(refusal) = set(&mut self.settings, text) else {
                    return true;
                };
                let message = match option.rule {
                    Rule::Secret(_) => format!("{}; accepted: {}", refusal.why, option.accepted),
                    _ => refusal.message(text, option.accepted),
                };
                self.error(key.line, option.name, message);
                false
            }
            Rule::Nested(set) => {
                let result = set(&mut self.settings, key.line, node);
                let correct = result.is_ok();
                for mistake in result.err().into_iter().flatten() {
                    let path = match mistake.below {
                        Some(below) => format!("{}.{below}", option.name),
                        None => option.name.to_owned(),
                    };
                    self.error(mistake.line, &path, mistake.message);
                }
                correct
            }
        }
    }

    /// The text of a single value, else `None` after an error.
    fn text<'n>(&mut self, option: &OptionDoc, line: usize, node: &'n Node) -> Option<&'n str> {
        let wrong = match &node.value {
            Value::Scalar(text) if !text.is_empty() => return Some(text),
            Value::Scalar(_) => "has no value",
            Value::Mapping(entries) if entries.is_empty() => {
                "must be a single value; put braces between quotes, \"{}\""
            }
            Value::Mapping(_) => "must be a single value, not a mapping",
            Value::Sequence(_) => "must be a single value, not a list",
        };
        let message = format!("{wrong}; accepted: {}", option.accepted);
        self.error(line, option.name, message);
        None
    }

    fn listen(&mut self, option: &OptionDoc, line: usize, node: &Node) -> bool {
        let Some(text) = self.text(option, line, node) else {
            return false;
        };
        match value::listen(text, self.resolve_host) {
            Ok((listen, warning)) => {
                if let Some(warning) = warning {
                    self.report
                        .warning(warning)
                        .at(line)
                        .pool(self.name)
                        .key(option.name);
                }
                self.listen = Some(listen);
                true
            }
            Err(refusal) => {
                let message = refusal.message(text, option.accepted);
                self.error(line, option.name, message);
                false
            }
        }
    }

    fn servers(&mut self, option: &OptionDoc, line: usize, node: &Node) -> bool {
        let entries = match value::list(node, "server") {
            Ok(entries) => entries,
            Err(wrong) => {
                let message = format!("{wrong}; accepted: a list of {}", option.accepted);
                self.error(line, option.name, message);
                return false;
            }
        };
        if entries.len() > SERVERS_MAX {
            let message = format!(
                "has {} entries; accepted: at most {SERVERS_MAX}",
                entries.len()
            );
            self.error(line, option.name, message);
            return false;
        }
        let mut servers: Vec<ServerConfig> = Vec::with_capacity(entries.len());
        for (position, node) in entries.iter().enumerate() {
            self.lines.servers.push(node.line);
            let entry = Entry {
                pool: self.name,
                node,
                position,
                has_sentinels: self.has_sentinels,
            };
            servers.extend(entry.read(self.report));
        }
        let mut correct = servers.len() == entries.len();
        correct &= self.have_different_names(&servers);
        correct &= self.have_different_masters(&servers);
        correct &= self.can_add_weights(option, line, &servers);
        servers.sort_by(|a, b| internal_order(&a.name, &b.name));
        self.servers = Some(servers);
        correct
    }

    fn have_different_names(&mut self, servers: &[ServerConfig]) -> bool {
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        let mut correct = true;
        for server in servers {
            let line = self.lines.servers[server.position];
            match taken.get(server.name.as_str()) {
                Some(first) => {
                    let name = quoted(&server.name);
                    self.report
                        .error(format!(
                            "has servers with same name {name}; the first is on line {first}"
                        ))
                        .at(line)
                        .pool(self.name);
                    correct = false;
                }
                None => {
                    taken.insert(&server.name, line);
                }
            }
        }
        correct
    }

    fn have_different_masters(&mut self, servers: &[ServerConfig]) -> bool {
        if !self.has_sentinels {
            return true;
        }
        let mut taken: BTreeMap<&str, &ServerConfig> = BTreeMap::new();
        let mut correct = true;
        for server in servers {
            let Some(master) = server.master_name() else {
                continue;
            };
            let first = *taken.entry(master).or_insert(server);
            // Of the same names there is a report already.
            if first.name != server.name {
                let (master, place) = (quoted(master), self.lines.servers[first.position]);
                self.report
                    .error(format!(
                        "has servers with same master {master}; the first is on line {place}"
                    ))
                    .at(self.lines.servers[server.position])
                    .pool(self.name);
                correct = false;
            }
        }
        correct
    }

    /// nutcracker adds weights in 32 bits and lets them wrap round.
    fn can_add_weights(
        &mut self,
        option: &OptionDoc,
        line: usize,
        servers: &[ServerConfig],
    ) -> bool {
        let total: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
        if total <= u64::from(u32::MAX) {
            return true;
        }
        let message = format!(
            "has weights that add up to {total}; accepted: at most {}",
            u32::MAX
        );
        self.error(line, option.name, message);
        false
    }
}

fn unknown(key: &str) -> String {
    let names = || OPTIONS.iter().map(|option| option.name);
    if key == "<<" {
        return "is unknown: YAML merge keys are not supported".to_owned();
    }
    let accepted = names().collect::<Vec<_>>().join(", ");
    let mut message = format!("is unknown; accepted: {accepted}");
    if let Some(meant) = near_miss(key, names()) {
        message += &format!("; did you mean {}?", quoted(meant));
    }
    message
}
