//! Addresses as sentinels write them, and when two of them are the same node.
//!
//! Host and port stay apart: IPv6 comes bare in every message and reply, so nothing here joins or splits
//! at a colon. Names are compared by what the shell resolved them to; nothing is looked up here.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// Where something listens: an IP address (IPv6 without brackets) or a host name, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub fn new(host: impl Into<String>, port: u16) -> HostPort {
        let host = host.into();
        HostPort { host, port }
    }

    /// The two fields of a message or a reply. `None` for what nobody can connect to: Sentinel writes
    /// `?`, an empty host or port 0 for an address it does not know, and nodes behind a bad
    /// `announce-ip` call themselves `0.0.0.0` or `::`.
    pub fn from_fields(host: &str, port: &str) -> Option<HostPort> {
        let port = port.parse().ok().filter(|&port| port != 0)?;
        let unusable = match host.parse::<IpAddr>() {
            Ok(ip) => ip.is_unspecified(),
            Err(_) => host.is_empty() || host == "?" || host.contains(char::is_whitespace),
        };
        (!unusable).then(|| HostPort::new(host, port))
    }

    /// The host as something to look up; `None` for a literal address.
    pub(super) fn name(&self) -> Option<&str> {
        self.host.parse::<IpAddr>().is_err().then_some(&self.host)
    }
}

/// For people only: brackets around IPv6.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is known about addresses beyond their text: the operator's NAT map, and the resolved names.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    nat: Vec<(HostPort, HostPort)>,
    /// By name in lower case.
    resolved: HashMap<String, IpAddr>,
}

#[derive(PartialEq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Addresses {
    pub(super) fn new(nat: impl IntoIterator<Item = (HostPort, HostPort)>) -> Addresses {
        Addresses {
            nat: nat.into_iter().collect(),
            resolved: HashMap::new(),
        }
    }

    /// The address under which we reach what a sentinel calls `announced`.
    pub(super) fn translate(&self, announced: HostPort) -> HostPort {
        let inside = self
            .nat
            .iter()
            .find(|(inner, _)| self.same(inner, &announced));
        inside.map_or(announced, |(_, outer)| outer.clone())
    }

    /// Whether this changed what the name stands for.
    pub(super) fn resolve(&mut self, name: &str, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.resolved.insert(name.to_ascii_lowercase(), ip) != Some(ip)
    }

    pub(super) fn same(&self, a: &HostPort, b: &HostPort) -> bool {
        a.port == b.port && (a.host == b.host || self.host(&a.host) == self.host(&b.host))
    }

    fn host(&self, host: &str) -> Host {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Host::Ip(ip.to_canonical());
        }
        let name = host.to_ascii_lowercase();
        match self.resolved.get(&name) {
            Some(ip) => Host::Ip(*ip),
            None => Host::Name(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_nobody_can_connect_to_are_no_address() {
        for (host, port) in [
            ("127.0.0.1", "0"),
            ("127.0.0.1", "65536"),
            ("127.0.0.1", "-1"),
            ("127.0.0.1", ""),
            ("", "6379"),
            ("?", "6379"),
            ("0.0.0.0", "6379"),
            ("::", "6379"),
            ("a b", "6379"),
        ] {
            assert_eq!(HostPort::from_fields(host, port), None, "{host} {port}");
        }
        for (host, shown) in [
            ("10.0.0.1", "10.0.0.1:6379"),
            ("fe80::1", "[fe80::1]:6379"),
            ("redis-0.example", "redis-0.example:6379"),
        ] {
            let address = HostPort::from_fields(host, "6379").unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, 6379));
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn names_are_the_same_as_what_they_resolve_to() {
        let mut addresses = Addresses::default();
        let name = HostPort::new("Redis-0.example", 6379);
        let ip = HostPort::new("10.0.0.1", 6379);
        assert!(addresses.same(&name, &HostPort::new("redis-0.EXAMPLE", 6379)));
        assert!(!addresses.same(&name, &ip));
        assert!(addresses.resolve("redis-0.example", "10.0.0.1".parse().unwrap()));
        assert!(!addresses.resolve("REDIS-0.example", "::ffff:10.0.0.1".parse().unwrap()));
        assert!(addresses.same(&name, &ip));
        assert!(!addresses.same(&name, &HostPort::new("10.0.0.1", 6380)));
        assert!(addresses.same(&HostPort::new("::1", 1), &HostPort::new("0:0::1", 1)));
        assert!(addresses.same(&HostPort::new("::ffff:10.0.0.1", 6379), &ip));
    }

    #[test]
    fn the_nat_map_translates_what_sentinels_announce() {
        let outer = HostPort::new("10.0.0.1", 16379);
        let addresses = Addresses::new([(HostPort::new("172.17.0.2", 6379), outer.clone())]);
        assert_eq!(
            addresses.translate(HostPort::new("172.17.0.2", 6379)),
            outer
        );
        let other = HostPort::new("172.17.0.2", 6380);
        assert_eq!(addresses.translate(other.clone()), other);
    }
}
