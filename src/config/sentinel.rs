//! The keys about Sentinel that are lists or mappings: `sentinels`, `sentinel_auth`, `sentinel_nat`.
//!
//! Each reader answers with the value or with every mistake in it. What other keys have to do with it
//! (which need sentinels, which servers Sentinel can manage) is checked where those are read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::error::{Refusal, near_miss, quoted};
use super::file::{Node, Value};
use super::resolve::KEY_NOT_TEXT;
use super::value::{self, NUMBER_MAX};
use super::{HostPort, Secret, SentinelAuth};

/// What `sentinels` takes as an entry, for messages.
pub(super) const SENTINEL_ACCEPTED: &str = "\"hostname:port\"; a \":weight\" behind it is ignored";
pub(super) const AUTH_ACCEPTED: &str = "a password, or a mapping with username and password";
pub(super) const NAT_ACCEPTED: &str = "a mapping from \"hostname:port\" to \"hostname:port\"";

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const AUTH_KEYS: [&str; 2] = [USERNAME, PASSWORD];
const FORM: &str = "\"hostname:port\"";

/// One mistake below a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub line: usize,
    /// The key below the key, if it is about one.
    pub below: Option<&'static str>,
    pub message: String,
}

impl Mistake {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Mistake {
        Mistake {
            line,
            below: None,
            message: message.into(),
        }
    }
}

/// `value`, if there are no mistakes.
fn unless<T>(mistakes: Vec<Mistake>, value: T) -> Result<T, Vec<Mistake>> {
    if mistakes.is_empty() {
        Ok(value)
    } else {
        Err(mistakes)
    }
}

/// A list of addresses. `line` is the key's, here and below.
pub(super) fn sentinels(line: usize, node: &Node) -> Result<Vec<HostPort>, Vec<Mistake>> {
    let entries = value::list(node, "sentinel").map_err(|wrong| {
        let message = format!("{wrong}; accepted: a list of {SENTINEL_ACCEPTED}");
        vec![Mistake::new(line, message)]
    })?;
    let mut found = Vec::with_capacity(entries.len());
    let mut seen = Seen::default();
    let mut mistakes = Vec::new();
    for entry in entries {
        let text = match &entry.value {
            Value::Scalar(text) if !text.is_empty() => text,
            Value::Scalar(_) => {
                let message = format!("has no value; accepted: {SENTINEL_ACCEPTED}");
                mistakes.push(Mistake::new(entry.line, message));
                continue;
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                let message = format!("must be a single value; accepted: {SENTINEL_ACCEPTED}");
                mistakes.push(Mistake::new(entry.line, message));
                continue;
            }
        };
        match sentinel(text) {
            Ok(address) => {
                mistakes.extend(seen.add(&address, entry.line));
                found.push(address);
            }
            Err(refusal) => {
                let message = refusal.message(text, SENTINEL_ACCEPTED);
                mistakes.push(Mistake::new(entry.line, message));
            }
        }
    }
    unless(mistakes, found)
}

/// `host:port` or `host:port:weight`. An IPv6 address without brackets can be both; then it is neither.
fn sentinel(text: &str) -> Result<HostPort, Refusal> {
    let weighted = text
        .rsplit_once(':')
        .filter(|(_, weight)| value::number(weight, 0..=NUMBER_MAX).is_ok())
        .and_then(|(address, _)| value::host_port(address, FORM).ok());
    match (value::host_port(text, FORM), weighted) {
        (Ok(plain), Some(weighted)) => Err(Refusal::new(format!(
            "can be read as {plain} and, with a weight, as {weighted}; put the IPv6 address in brackets"
        ))),
        (Ok(address), None) | (Err(_), Some(address)) => Ok(canonical(address)),
        (Err(refusal), None) => Err(refusal),
    }
}

/// IP literals as Sentinel prints them.
fn canonical(address: HostPort) -> HostPort {
    match address.host.parse::<IpAddr>() {
        Ok(ip) => HostPort {
            host: ip.to_string(),
            ..address
        },
        Err(_) => address,
    }
}

/// Addresses met, with their lines; names of hosts count without case.
#[derive(Default)]
struct Seen(BTreeMap<(String, u16), usize>);

impl Seen {
    /// The mistake, if it is a duplicate.
    fn add(&mut self, address: &HostPort, line: usize) -> Option<Mistake> {
        let key = (address.host.to_ascii_lowercase(), address.port);
        let Some(first) = self.0.get(&key) else {
            self.0.insert(key, line);
            return None;
        };
        let address = quoted(&address.to_string());
        let message = format!("{address} is a duplicate; the first is on line {first}");
        Some(Mistake::new(line, message))
    }
}

/// A password, or `{username: U, password: P}`. No message shows anything of it, wrong keys neither: they
/// may be a password between braces.
pub(super) fn auth(line: usize, node: &Node) -> Result<SentinelAuth, Vec<Mistake>> {
    let refused = |wrong: &str| {
        let message = format!("{wrong}; accepted: {AUTH_ACCEPTED}");
        Err(vec![Mistake::new(line, message)])
    };
    match &node.value {
        Value::Scalar(text) if text.is_empty() => refused("has no value"),
        Value::Scalar(text) => Ok(SentinelAuth {
            username: None,
            password: Secret(text.clone()),
        }),
        Value::Sequence(_) => refused("must not be a list"),
        Value::Mapping(entries) => auth_mapping(line, entries),
    }
}

fn auth_mapping(line: usize, entries: &[(Node, Node)]) -> Result<SentinelAuth, Vec<Mistake>> {
    let mut found: Vec<(&str, &str)> = Vec::with_capacity(AUTH_KEYS.len());
    let mut mistakes = Vec::new();
    for (key, node) in entries {
        let known = AUTH_KEYS
            .into_iter()
            .find(|known| matches!(&key.value, Value::Scalar(name) if known == name));
        let Some(below) = known else {
            mistakes.push(Mistake::new(key.line, unknown_auth_key(key)));
            continue;
        };
        let (text, wrong) = match &node.value {
            _ if found.iter().any(|(other, _)| *other == below) => ("", Some("is a duplicate")),
            Value::Scalar(text) if text.is_empty() => ("", Some("has no value")),
            Value::Scalar(text) if below == USERNAME && text.contains(char::is_whitespace) => {
                ("", Some("has a space; the name of a Redis user has none"))
            }
            Value::Scalar(text) => (text.as_str(), None),
            Value::Sequence(_) | Value::Mapping(_) => ("", Some("must be a single value")),
        };
        found.push((below, text));
        mistakes.extend(wrong.map(|message| Mistake {
            below: Some(below),
            ..Mistake::new(key.line, message)
        }));
    }
    let value = |key: &str| {
        let (_, text) = found.iter().find(|(other, _)| *other == key)?;
        Some((*text).to_owned())
    };
    let password = value(PASSWORD);
    if password.is_none() {
        mistakes.push(Mistake {
            below: Some(PASSWORD),
            ..Mistake::new(line, "is missing")
        });
    }
    let auth = SentinelAuth {
        username: value(USERNAME),
        password: Secret(password.unwrap_or_default()),
    };
    unless(mistakes, auth)
}

fn unknown_auth_key(key: &Node) -> String {
    let Value::Scalar(name) = &key.value else {
        return KEY_NOT_TEXT.to_owned();
    };
    let mut message = "has an unknown key; accepted: username, password".to_owned();
    if let Some(meant) = near_miss(name, AUTH_KEYS) {
        message += &format!("; did you mean {}?", quoted(meant));
    }
    message
}

/// A mapping from announced to reachable addresses; `{}` maps none.
pub(super) fn nat(line: usize, node: &Node) -> Result<Vec<(HostPort, HostPort)>, Vec<Mistake>> {
    let Value::Mapping(entries) = &node.value else {
        let wrong = match &node.value {
            Value::Scalar(text) if text.is_empty() => "has no value",
            _ => "must be a mapping",
        };
        let message = format!("{wrong}; accepted: {NAT_ACCEPTED}");
        return Err(vec![Mistake::new(line, message)]);
    };
    let mut found = Vec::with_capacity(entries.len());
    let mut seen = Seen::default();
    let mut mistakes = Vec::new();
    for (key, node) in entries {
        let (announced, reachable) = match (nat_address(key), nat_address(node)) {
            (Ok(announced), Ok(reachable)) => (announced, reachable),
            (announced, reachable) => {
                mistakes.extend([announced, reachable].into_iter().filter_map(Result::err));
                continue;
            }
        };
        mistakes.extend(seen.add(&announced, key.line));
        found.push((announced, reachable));
    }
    unless(mistakes, found)
}

fn nat_address(node: &Node) -> Result<HostPort, Mistake> {
    match &node.value {
        Value::Scalar(text) if !text.is_empty() => value::host_port(text, FORM)
            .map(canonical)
            .map_err(|refusal| Mistake::new(node.line, refusal.message(text, NAT_ACCEPTED))),
        Value::Scalar(_) => {
            let message = format!("has an address without a value; accepted: {NAT_ACCEPTED}");
            Err(Mistake::new(node.line, message))
        }
        Value::Sequence(_) | Value::Mapping(_) => {
            let message = format!("has an address that is no text; accepted: {NAT_ACCEPTED}");
            Err(Mistake::new(node.line, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match sentinel(text) {
            Ok(address) => address.to_string(),
            Err(refusal) => refusal.why,
        }
    }

    #[test]
    fn a_sentinel_is_an_address_with_or_without_a_weight() {
        for (text, address) in [
            ("h:26379", "h:26379"),
            ("h:26379:1", "h:26379"),
            ("h:026379:0", "h:26379"),
            ("192.168.16.22:26379", "192.168.16.22:26379"),
            ("[::1]:26379", "[::1]:26379"),
            ("[::1]:26379:1", "[::1]:26379"),
            ("::1:26379", "[::1]:26379"),
            ("::1:26379:1", "[::1]:26379"),
            ("[2001:DB8:0::1]:26379", "[2001:db8::1]:26379"),
            ("2001:db8::1:26379", "[2001:db8::1]:26379"),
            ("[fe80::1%eth0]:26379", "[fe80::1%eth0]:26379"),
            ("Sentinel-1.example:26379", "Sentinel-1.example:26379"),
        ] {
            assert_eq!(read(text), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_sentinel() {
        for (text, why) in [
            ("h", "has an invalid \"hostname:port\" format string"),
            (
                "h:0",
                "has an invalid port in \"hostname:port\" format string: '0' is not 1 to 65535",
            ),
            (
                "h:26379:x",
                "has an invalid port in \"hostname:port\" format string: 'x' is not 1 to 65535",
            ),
            (
                "h:26379:1 name",
                "has an invalid port in \"hostname:port\" format string: '1 name' is not 1 to 65535",
            ),
            (
                "/tmp/sentinel:26379",
                "has an invalid host in \"hostname:port\" format string: '/tmp/sentinel'",
            ),
            (
                "2001:db8::2:5:1",
                "can be read as [2001:db8::2:5]:1 and, with a weight, as [2001:db8::2]:5; put the IPv6 \
                 address in brackets",
            ),
        ] {
            assert_eq!(read(text), why, "{text}");
        }
    }
}
