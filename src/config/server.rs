//! One entry of `servers:`, in nutcracker's form or as a mapping, and the name that places it on the ring.

use super::error::{Refusal, Report, near_miss, quoted};
use super::file::{Node, Value};
use super::resolve::{KEY_NOT_TEXT, NEEDS_SENTINELS};
use super::value::{self, NUMBER_MAX};
use super::{Address, ServerConfig};

/// What `servers` takes, for messages.
pub(super) const ACCEPTED: &str = "\"hostname:port:weight [name]\" or \"/path/unix_socket:weight [name]\", \
     or a mapping with addr, weight, name and master";

const ADDRESS_FORM: &str = "\"hostname:port\"";
const ADDRESS_ACCEPTED: &str = "\"hostname:port\" or \"/path/unix_socket\"";
const WEIGHT_ACCEPTED: &str = "1 to 2147483647";
const TCP_FORM: &str = "\"hostname:port:weight [name]\"";
const UNIX_FORM: &str = "\"/path/unix_socket:weight [name]\"";
const LONG_KEYS: [&str; 4] = ["addr", "weight", "name", "master"];
const MASTER_ACCEPTED: &str = "a name without spaces or control characters";

/// nutcracker leaves memcached's port out of the name, to place keys as libmemcached does.
const UNNAMED_PORT: u16 = 11211;

/// Where the entry stands, for its problems.
pub(super) struct Entry<'a> {
    pub pool: &'a str,
    pub node: &'a Node,
    /// Index in the list.
    pub position: usize,
    /// Is the server in a pool with sentinels?
    pub has_sentinels: bool,
}

impl Entry<'_> {
    /// `None` after at least one error is reported.
    pub(super) fn read(&self, report: &mut Report) -> Option<ServerConfig> {
        match &self.node.value {
            Value::Scalar(text) if text.is_empty() => {
                let message = format!("has no value; accepted: {ACCEPTED}");
                self.error(report, "servers", message);
                None
            }
            Value::Scalar(text) => match short_form(text, self.position) {
                Ok(server) => self.checked_for_sentinel(server, report),
                Err(refusal) => {
                    self.error(report, "servers", refusal.message(text, ACCEPTED));
                    None
                }
            },
            Value::Mapping(entries) => self.long_form(entries, report),
            Value::Sequence(_) => {
                let message = format!("a server cannot be a list; accepted: {ACCEPTED}");
                self.error(report, "servers", message);
                None
            }
        }
    }

    fn error(&self, report: &mut Report, key: &str, message: String) {
        report
            .error(message)
            .at(self.node.line)
            .pool(self.pool)
            .key(key);
    }

    /// `{addr: host:port, weight: 1, name: N}`: the ring identity apart from the address.
    fn long_form(&self, entries: &[(Node, Node)], report: &mut Report) -> Option<ServerConfig> {
        let mut found = LongForm::default();
        let mut correct = true;
        for (key, node) in entries {
            let (path, result) = match &key.value {
                Value::Scalar(key) if key == "master" && !self.has_sentinels => {
                    ("servers.master".to_owned(), Err(NEEDS_SENTINELS.to_owned()))
                }
                Value::Scalar(key) => (format!("servers.{key}"), found.take(key, node)),
                _ => ("servers".to_owned(), Err(KEY_NOT_TEXT.to_owned())),
            };
            if let Err(message) = result {
                correct = false;
                report
                    .error(message)
                    .at(key.line)
                    .pool(self.pool)
                    .key(&path);
            }
        }
        if !found.seen.contains(&"addr") {
            correct = false;
            let message = format!("is missing; accepted: {ADDRESS_ACCEPTED}");
            self.error(report, "servers.addr", message);
        }
        let (text, address) = found.address.filter(|_| correct)?;
        let server = ServerConfig {
            named: found.name.is_some(),
            name: found.name.unwrap_or_else(|| identity(text, &address)),
            master: found.master,
            address,
            weight: found.weight.unwrap_or(1),
            position: self.position,
            removed: false,
        };
        self.checked_for_sentinel(server, report)
    }

    /// `server`, if it can be in a pool with sentinels or is not.
    fn checked_for_sentinel(
        &self,
        server: ServerConfig,
        report: &mut Report,
    ) -> Option<ServerConfig> {
        if !self.has_sentinels {
            return Some(server);
        }
        if let Address::Unix(path) = &server.address {
            let message = format!(
                "{} is a unix socket, but Sentinel knows servers by host and port only; accepted in a \
                 pool with sentinels: {ADDRESS_FORM}",
                quoted(&path.display().to_string())
            );
            self.error(report, "servers", message);
            return None;
        }
        match server.master_name() {
            Some(name) if !is_master_name(name) => {
                let message = format!(
                    "{} cannot be a master's name in Sentinel; accepted: {MASTER_ACCEPTED}, or a master \
                     besides the name",
                    quoted(name)
                );
                self.error(report, "servers", message);
                None
            }
            _ => Some(server),
        }
    }
}

/// The keys of a server's mapping as far as read.
#[derive(Default)]
struct LongForm<'v> {
    /// As written and as meant.
    address: Option<(&'v str, Address)>,
    weight: Option<u32>,
    name: Option<String>,
    master: Option<String>,
    /// Keys met, also those with a wrong value.
    seen: Vec<&'v str>,
}

impl<'v> LongForm<'v> {
    fn take(&mut self, key: &'v str, node: &'v Node) -> Result<(), String> {
        if !LONG_KEYS.contains(&key) {
            let mut message = format!("is unknown; accepted: {}", LONG_KEYS.join(", "));
            if let Some(meant) = near_miss(key, LONG_KEYS) {
                message += &format!("; did you mean {}?", quoted(meant));
            }
            return Err(message);
        }
        if self.seen.contains(&key) {
            return Err("is a duplicate".to_owned());
        }
        self.seen.push(key);
        let Value::Scalar(text) = &node.value else {
            return Err("must be a single value".to_owned());
        };
        if text.is_empty() {
            return Err("has no value".to_owned());
        }
        match key {
            "addr" => {
                let address = value::address(text, ADDRESS_FORM)
                    .map_err(|refusal| refusal.message(text, ADDRESS_ACCEPTED))?;
                self.address = Some((text, address));
            }
            "weight" => {
                let weight = value::number(text, 1..=NUMBER_MAX)
                    .map_err(|refusal| refusal.message(text, WEIGHT_ACCEPTED))?;
                self.weight = Some(weight);
            }
            "master" if !is_master_name(text) => {
                let refusal = Refusal::new("cannot be a master's name in Sentinel");
                return Err(refusal.message(text, MASTER_ACCEPTED));
            }
            "master" => self.master = Some(text.clone()),
            _ => self.name = Some(text.clone()),
        }
        Ok(())
    }
}

/// Sentinel separates the words of its events, names among them, with spaces.
fn is_master_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The name nutcracker hashes for an unnamed server: the address as written, for a socket with the colon
/// that separated the weight.
fn identity(text: &str, address: &Address) -> String {
    match address {
        Address::Unix(_) => format!("{text}:"),
        Address::Tcp { port, .. } if *port == UNNAMED_PORT => text
            .rsplit_once(':')
            .map_or(text, |(host, _)| host)
            .to_owned(),
        Address::Tcp { .. } => text.to_owned(),
    }
}

/// `host:port:weight [name]` or `/path:weight [name]`, taken apart from the right as nutcracker does: the
/// name after the last space, then the weight, then the port.
fn short_form(text: &str, position: usize) -> Result<ServerConfig, Refusal> {
    let unix = text.starts_with('/');
    let form = if unix { UNIX_FORM } else { TCP_FORM };
    let (place, name) = match text.rsplit_once(' ') {
        Some((place, name)) => (place, Some(name)),
        None => (text, None),
    };
    if name == Some("") {
        return Err(Refusal::new(format!(
            "has an empty name in {form} format string"
        )));
    }
    let invalid = || {
        Refusal::new(format!(
            "has an invalid {TCP_FORM} or {UNIX_FORM} format string"
        ))
    };
    let parts = place
        .rsplit_once(':')
        .filter(|(address, _)| unix || address.contains(':'));
    let Some((address_text, weight_text)) = parts else {
        return Err(if value::address(place, form).is_ok() {
            let name = name.map_or(String::new(), |name| format!(" {name}"));
            invalid().meant(format!("{place}:1{name}"))
        } else {
            invalid()
        });
    };
    if unix && address_text.contains(':') {
        let mut refusal = invalid();
        refusal.why += " (a path with a colon can be given as addr in a mapping)";
        return Err(refusal);
    }
    let weight = weight(weight_text, form)?;
    let address = value::address(address_text, form)?;
    Ok(ServerConfig {
        name: name.map_or_else(|| identity(address_text, &address), str::to_owned),
        named: name.is_some(),
        master: None,
        address,
        weight,
        position,
        removed: false,
    })
}

fn weight(text: &str, form: &str) -> Result<u32, Refusal> {
    value::number(text, 0..=NUMBER_MAX)
        .map_err(|refusal| {
            let hint = if text.contains(' ') {
                " (one space goes before the name, none into it)"
            } else {
                ""
            };
            Refusal::new(format!(
                "has an invalid weight in {form} format string: {} {}{hint}",
                quoted(text),
                refusal.why
            ))
        })
        .and_then(|weight| match weight {
            0 => Err(Refusal::new(format!(
                "has a zero weight in {form} format string"
            ))),
            weight => Ok(weight),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> String {
        match short_form(text, 0) {
            Ok(s) => format!("{} {} {} {}", s.address, s.weight, s.name, s.named),
            Err(refusal) => match refusal.meant {
                Some(meant) => format!("{} | {meant}", refusal.why),
                None => refusal.why,
            },
        }
    }

    #[test]
    fn the_short_form_and_its_ring_identity() {
        for (text, read) in [
            ("h:6379:1", "h:6379 1 h:6379 false"),
            ("h:6379:2 n", "h:6379 2 n true"),
            ("h:11211:1", "h:11211 1 h false"),
            ("h:06379:01", "h:6379 1 h:06379 false"),
            ("h:6379:1 n:1/x", "h:6379 1 n:1/x true"),
            ("::1:6379:1", "[::1]:6379 1 ::1:6379 false"),
            ("[::1]:6379:1", "[::1]:6379 1 [::1]:6379 false"),
            ("[::1]:11211:1", "[::1]:11211 1 [::1] false"),
            ("fe80::1%eth0:6379:1 n", "[fe80::1%eth0]:6379 1 n true"),
            ("/tmp/s:1", "/tmp/s 1 /tmp/s: false"),
            ("/tmp/a b:3 n", "/tmp/a b 3 n true"),
        ] {
            assert_eq!(server(text), read, "{text}");
        }
    }

    #[test]
    fn refusals_of_the_short_form() {
        let format = format!("has an invalid {TCP_FORM} or {UNIX_FORM} format string");
        let in_tcp = "in \"hostname:port:weight [name]\" format string";
        for (text, why) in [
            ("h", format.clone()),
            ("h:6379", format!("{format} | h:6379:1")),
            ("h:6379 n", format!("{format} | h:6379:1 n")),
            ("/tmp/s", format!("{format} | /tmp/s:1")),
            (
                "/tmp/s:6379:1",
                format!("{format} (a path with a colon can be given as addr in a mapping)"),
            ),
            ("h:6379:0", format!("has a zero weight {in_tcp}")),
            (
                "h:6379:x",
                format!("has an invalid weight {in_tcp}: 'x' is not a number"),
            ),
            (
                "h:6379:1  n",
                format!(
                    "has an invalid weight {in_tcp}: '1 ' is not a number \
                     (one space goes before the name, none into it)"
                ),
            ),
            (
                "h:6379:2147483648",
                format!("has an invalid weight {in_tcp}: '2147483648' is out of range"),
            ),
            (
                "h:0:1",
                format!("has an invalid port {in_tcp}: '0' is not 1 to 65535"),
            ),
            ("h:1:2:1", format!("has an invalid host {in_tcp}: 'h:1'")),
            (":6379:1", format!("has an invalid host {in_tcp}: ''")),
            ("[h]:6379:1", format!("has an invalid host {in_tcp}: '[h]'")),
            ("h:6379:1 ", format!("has an empty name {in_tcp}")),
        ] {
            assert_eq!(server(text), why, "{text}");
        }
    }
}
