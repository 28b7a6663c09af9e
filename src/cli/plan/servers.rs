//! The servers of a pool before and after: which is which, and where its data is.
//!
//! A server is known by its name, its place on the ring. Its data is where the new file says that the
//! name is; if the name is gone, the data is where it was.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{Address, PoolConfig, ServerConfig};

/// Everything about servers that differs, each list in the order of the file.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct ServerChanges {
    pub added: Vec<Shown>,
    pub removed: Vec<Shown>,
    /// Other names for the same address.
    pub renamed: Vec<Renamed>,
    pub reweighted: Vec<Changed<u32>>,
    pub readdressed: Vec<Changed<String>>,
    /// Other names in Sentinel.
    pub masters: Vec<Changed<Option<String>>>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Shown {
    pub name: String,
    pub address: String,
    pub weight: u32,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Renamed {
    pub old: String,
    pub new: String,
    pub address: String,
}

/// `name` is the one in the new file.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Changed<T> {
    pub name: String,
    pub old: T,
    pub new: T,
}

impl ServerChanges {
    pub(super) fn is_empty(&self) -> bool {
        *self == ServerChanges::default()
    }
}

/// Which servers are which.
pub(super) struct Matching<'c> {
    old: &'c PoolConfig,
    new: &'c PoolConfig,
    /// By name, else by address.
    same: Vec<(&'c ServerConfig, &'c ServerConfig)>,
    removed: Vec<&'c ServerConfig>,
    added: Vec<&'c ServerConfig>,
}

impl<'c> Matching<'c> {
    pub(super) fn new(old: &'c PoolConfig, new: &'c PoolConfig) -> Matching<'c> {
        let by_name = by_name(new);
        let old_names = self::by_name(old);
        let mut added: Vec<&ServerConfig> = in_file_order(new)
            .into_iter()
            .filter(|server| !old_names.contains_key(server.name.as_str()))
            .collect();
        let mut same = Vec::new();
        let mut removed = Vec::new();
        for before in in_file_order(old) {
            let renamed = || added.iter().position(|it| it.address == before.address);
            if let Some(&after) = by_name.get(before.name.as_str()) {
                same.push((before, after));
            } else if let Some(at) = renamed() {
                same.push((before, added.remove(at)));
            } else {
                removed.push(before);
            }
        }
        Matching {
            old,
            new,
            same,
            removed,
            added,
        }
    }

    pub(super) fn changes(&self) -> ServerChanges {
        let mut changes = ServerChanges {
            added: self.added.iter().map(|server| shown(server)).collect(),
            removed: self.removed.iter().map(|server| shown(server)).collect(),
            ..ServerChanges::default()
        };
        for (before, after) in &self.same {
            if before.name != after.name {
                changes.renamed.push(Renamed {
                    old: before.name.clone(),
                    new: after.name.clone(),
                    address: after.address.to_string(),
                });
            }
            let (old, new) = (before.weight, after.weight);
            changes.reweighted.extend(changed(after, old, new));
            let (old, new) = (before.address.to_string(), after.address.to_string());
            changes.readdressed.extend(changed(after, old, new));
            if self.old.sentinel.is_some() && self.new.sentinel.is_some() {
                let name = |server: &ServerConfig| server.master_name().map(str::to_owned);
                let change = changed(after, name(before), name(after));
                changes.masters.extend(change);
            }
        }
        changes
    }

    /// What would keep keys in place that move because names did: for people, one remark each.
    pub(super) fn hints(&self) -> Vec<String> {
        let renamed = self.same.iter().filter(|(old, new)| old.name != new.name);
        let mut hints: Vec<String> = renamed
            .map(|(before, after)| {
                format!(
                    "a server's name is its place on the ring, and '{}' was '{}' before; with that name \
                     its keys stay where they are: {}",
                    after.name,
                    before.name,
                    self.line(after, &before.name)
                )
            })
            .collect();
        for before in &self.removed {
            let stands_for = |after: &&&ServerConfig| {
                let alone = self.removed.len() == 1 && self.added.len() == 1;
                alone || after.position == before.position
            };
            if let Some(after) = self.added.iter().find(stands_for) {
                hints.push(format!(
                    "if the data of '{}' is at {} from now on, keep the old name, and its keys stay \
                     where they are: {}",
                    before.name,
                    after.address,
                    self.line(after, &before.name)
                ));
            }
        }
        hints
    }

    /// What has to be true of the data of servers with other addresses: for people, one remark each.
    pub(super) fn conditions(&self) -> Vec<String> {
        let readdressed = self.same.iter().filter(|(a, b)| a.address != b.address);
        let moved: Vec<&ServerConfig> = readdressed.map(|&(_, after)| after).collect();
        // Sentinel knows where the data is, whatever the file says.
        if self.new.sentinel.is_some() || moved.is_empty() {
            return Vec::new();
        }
        let condition = "the data of servers with another address has to be there first, or their keys \
                         are misses";
        let mut conditions = vec![condition.to_owned()];
        conditions.extend(moved.into_iter().filter_map(|after| {
            let mut others = self.old.servers.iter();
            let other = others.find(|it| it.address == after.address && it.name != after.name)?;
            let (address, name) = (&after.address, &after.name);
            Some(format!(
                "{address} was the address of '{}' and is that of '{name}' now: is that meant?",
                other.name
            ))
        }));
        conditions
    }

    /// The entry of `servers` that puts `server` in the place of `name`, as one line of YAML.
    fn line(&self, server: &ServerConfig, name: &str) -> String {
        let ServerConfig {
            address, weight, ..
        } = server;
        if self.new.sentinel.is_some() {
            let master = server.master_name().unwrap_or("NAME IN SENTINEL");
            let (address, name) = (quoted(&address.to_string()), quoted(name));
            let master = quoted(master);
            return format!(
                "- {{addr: {address}, weight: {weight}, name: {name}, master: {master}}}"
            );
        }
        let short = format!("{address}:{weight} {name}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " .:/_-".contains(c);
        let fits = match address {
            Address::Unix(path) => !path.display().to_string().contains([' ', ':']),
            Address::Tcp { .. } => true,
        };
        if !fits || name.contains(' ') {
            let (address, name) = (quoted(&address.to_string()), quoted(name));
            format!("- {{addr: {address}, weight: {weight}, name: {name}}}")
        } else if short.chars().all(is_plain) && !name.ends_with(':') && !name.starts_with('-') {
            format!("- {short}")
        } else {
            format!("- {}", quoted(&short))
        }
    }
}

/// Where the data of every server of `old` is when `new` is in use, in the order of `old.servers`.
pub(super) fn data_addresses(old: &PoolConfig, new: &PoolConfig) -> Vec<Address> {
    let by_name = by_name(new);
    let servers = old.servers.iter();
    let addresses = servers.map(|server| {
        let now = by_name.get(server.name.as_str()).unwrap_or(&server);
        now.address.clone()
    });
    addresses.collect()
}

pub(super) fn in_file_order(pool: &PoolConfig) -> Vec<&ServerConfig> {
    let mut servers: Vec<&ServerConfig> = pool.servers.iter().collect();
    servers.sort_by_key(|server| server.position);
    servers
}

fn by_name(pool: &PoolConfig) -> BTreeMap<&str, &ServerConfig> {
    let servers = pool.servers.iter();
    servers
        .map(|server| (server.name.as_str(), server))
        .collect()
}

fn shown(server: &ServerConfig) -> Shown {
    Shown {
        name: server.name.clone(),
        address: server.address.to_string(),
        weight: server.weight,
    }
}

fn changed<T: PartialEq>(server: &ServerConfig, old: T, new: T) -> Option<Changed<T>> {
    let name = server.name.clone();
    (old != new).then_some(Changed { name, old, new })
}

/// A text in YAML.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
