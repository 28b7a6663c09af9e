//! Warnings: configurations that are correct but probably do not do what is meant.

use std::net::{IpAddr, Ipv4Addr};

use super::error::{Report, quoted};
use super::resolve::Lines;
use super::{Listen, PoolConfig};
use crate::distribution::{Distribution, Member, Ring};
use crate::hash::Hash;

/// The prime factors of 435, by which twemproxy's fnv1a_64 multiplies at each byte: what a short key
/// leaves over when divided by one of them is mostly the same.
const FNV1A_64_FACTORS: [u64; 3] = [3, 5, 29];

pub(super) fn warn(pool: &PoolConfig, lines: &Lines, report: &mut Report) {
    let mut warn = |line: usize, key: &str, message: String| {
        report.warning(message).at(line).pool(&pool.name).key(key);
    };
    if let Listen::Tcp(address) = pool.listen
        && pool.redis_auth.is_none()
        && is_public(address.ip())
    {
        let message = format!(
            "{} is a public address, and without redis_auth anyone who reaches it can read and write",
            quoted(&address.to_string())
        );
        warn(lines.key("listen"), "listen", message);
    }
    if pool.sentinel.is_some() && pool.auto_eject_hosts {
        let message = "does not apply to servers that Sentinel manages: it gives them a new master, \
                       where ejecting would move their keys to other servers";
        warn(
            lines.key("auto_eject_hosts"),
            "auto_eject_hosts",
            message.to_owned(),
        );
    }
    if pool.servers.len() < 2 {
        return;
    }
    match (pool.hash, pool.distribution) {
        (Hash::Crc32, Distribution::Ketama) => warn(
            lines.key("hash"),
            "hash",
            "crc32 with ketama sends nearly every key to one server: its values stay below 2^15 of \
             the ring's 2^32; a new pool should take crc32a"
                .to_owned(),
        ),
        (Hash::Fnv1a_64, Distribution::Modula) => {
            let slots: u64 = pool.servers.iter().map(|s| u64::from(s.weight)).sum();
            if let Some(factor) = FNV1A_64_FACTORS.iter().find(|f| slots.is_multiple_of(**f)) {
                let message = format!(
                    "fnv1a_64 with modula over {slots} slots (the sum of the weights) spreads similar \
                     short keys badly, because {slots} is divisible by {factor}; a new pool should take fnv1a_32"
                );
                warn(lines.key("distribution"), "distribution", message);
            }
        }
        _ => {}
    }
    if pool.distribution == Distribution::Ketama {
        for (position, name) in without_points(pool) {
            let message = format!(
                "server {} gets no key: its weight is too small beside the others for a point on the \
                 ring",
                quoted(name)
            );
            warn(lines.servers[position], "servers", message);
        }
    }
}

/// Position in the file and name of the servers no key is sent to.
fn without_points(pool: &PoolConfig) -> impl Iterator<Item = (usize, &str)> {
    let members: Vec<Member> = (0..)
        .zip(&pool.servers)
        .map(|(index, server)| Member {
            name: &server.name,
            weight: server.weight,
            index,
        })
        .collect();
    let ring = Ring::build(pool.distribution, &members);
    (0..)
        .zip(&pool.servers)
        .filter(move |(index, _)| ring.points(*index) == 0)
        .map(|(_, server)| (server.position, server.name.as_str()))
}

/// Can it be reached from outside the operator's own networks? The unspecified address listens on every
/// interface and so counts as public.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared(ip))
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

/// 100.64.0.0/10, RFC 6598.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && b & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        for (ip, public) in [
            ("0.0.0.0", true),
            ("::", true),
            ("8.8.8.8", true),
            ("::ffff:8.8.8.8", true),
            ("2001:4860::1", true),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("192.168.1.1", false),
            ("169.254.0.1", false),
            ("100.64.0.1", false),
            ("fd00::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }
}
