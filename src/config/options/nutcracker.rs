//! nutcracker's keys, in the order of its documentation.

use std::num::NonZeroU32;

use super::super::error::Refusal;
use super::super::value::{boolean, hash_tag};
use super::super::{Secret, server};
use super::{BOOLEAN, KEY, MILLISECONDS, NUMBER, NUMBER_NOT_ZERO, OptionDoc, Rule};
use super::{from_0, from_1, milliseconds};
use crate::distribution::Distribution;
use crate::hash::Hash;

pub(super) const NUTCRACKER: &[OptionDoc] = &[
    OptionDoc {
        name: "listen",
        absent: "required",
        accepted: "\"hostname:port\" or \"/path/unix_socket [permission]\", the permission octal",
        doc: "Where clients connect. A host name is resolved at start and at a reload only; its first address counts.",
        rule: Rule::Listen,
        ..KEY
    },
    OptionDoc {
        name: "client_connections",
        default: Some("0"),
        unit: "connections",
        accepted: NUMBER,
        doc: "Most clients of the pool at a time; 0 is bounded by open files only.",
        rule: Rule::Value(|s, v| from_0(v).map(|n| s.client_connections = NonZeroU32::new(n))),
        ..KEY
    },
    OptionDoc {
        name: "hash",
        default: Some("fnv1a_64"),
        accepted: "one_at_a_time, md5, crc16, crc32, crc32a, fnv1_64, fnv1a_64, fnv1_32, fnv1a_32, \
                   hsieh, murmur, jenkins",
        doc: "The hash function for keys.",
        rule: Rule::Value(|s, v| {
            let hash = Hash::from_name(v).ok_or_else(|| {
                Refusal::new("is not a valid hash").near(v, Hash::ALL.map(Hash::name))
            })?;
            s.hash = hash;
            Ok(())
        }),
        ..KEY
    },
    OptionDoc {
        name: "hash_tag",
        absent: "the whole key is hashed",
        accepted: "two characters such as \"{}\" or \"$$\"",
        doc: "Only the part of a key between these two characters is hashed, if there is one.",
        rule: Rule::Value(|s, v| hash_tag(v).map(|tag| s.hash_tag = Some(tag))),
        ..KEY
    },
    OptionDoc {
        name: "distribution",
        default: Some("ketama"),
        accepted: "ketama, modula, random",
        doc: "How hashes are spread over the servers.",
        rule: Rule::Value(|s, v| {
            let distribution = Distribution::from_name(v).ok_or_else(|| {
                Refusal::new("is not a valid distribution")
                    .near(v, Distribution::ALL.map(Distribution::name))
            })?;
            s.distribution = distribution;
            Ok(())
        }),
        ..KEY
    },
    OptionDoc {
        name: "timeout",
        default: Some("0"),
        unit: "ms",
        accepted: MILLISECONDS,
        doc: "Longest time from queueing a request to its reply; 0 waits for ever.",
        rule: Rule::Value(|s, v| {
            milliseconds(v).map(|time| s.timeout = Some(time).filter(|time| !time.is_zero()))
        }),
        ..KEY
    },
    OptionDoc {
        name: "backlog",
        default: Some("512"),
        unit: "connections",
        accepted: NUMBER,
        doc: "Connections the kernel keeps waiting for accept(2).",
        rule: Rule::Value(|s, v| from_0(v).map(|n| s.backlog = n)),
        ..KEY
    },
    OptionDoc {
        name: "tcpkeepalive",
        default: Some("false"),
        accepted: BOOLEAN,
        doc: "TCP keepalive on client and on server connections.",
        rule: Rule::Value(|s, v| boolean(v).map(|on| s.tcpkeepalive = on)),
        ..KEY
    },
    OptionDoc {
        name: "reuseport",
        default: Some("false"),
        accepted: BOOLEAN,
        doc: "SO_REUSEPORT on the listening socket, so that several processes can share the address.",
        rule: Rule::Value(|s, v| boolean(v).map(|on| s.reuseport = on)),
        ..KEY
    },
    OptionDoc {
        name: "preconnect",
        default: Some("false"),
        accepted: BOOLEAN,
        doc: "Connect to every server at start instead of at the first request.",
        rule: Rule::Value(|s, v| boolean(v).map(|on| s.preconnect = on)),
        ..KEY
    },
    OptionDoc {
        name: "redis",
        absent: "required",
        accepted: "true; memcached pools (false, or no redis key) are not supported yet",
        doc: "The pool speaks Redis's protocol. Has to be true: memcached pools are refused for now.",
        rule: Rule::Value(|_, v| match boolean(v) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::new("makes this a memcached pool")),
            Err(refusal) => Err(Refusal {
                meant: refusal.meant.filter(|meant| meant == "true"),
                ..refusal
            }),
        }),
        ..KEY
    },
    OptionDoc {
        name: "redis_auth",
        absent: "no password",
        accepted: "a password",
        doc: "The password clients have to give and servers are given.",
        rule: Rule::Secret(|s, v| {
            s.redis_auth = Some(Secret(v.to_owned()));
            Ok(())
        }),
        ..KEY
    },
    OptionDoc {
        name: "redis_db",
        default: Some("0"),
        accepted: NUMBER,
        doc: "The database of the servers that holds the pool's keys.",
        rule: Rule::Value(|s, v| from_0(v).map(|n| s.redis_db = n)),
        ..KEY
    },
    OptionDoc {
        name: "server_connections",
        default: Some("1"),
        unit: "connections",
        accepted: NUMBER_NOT_ZERO,
        doc: "Most connections to each server, per worker.",
        rule: Rule::Value(|s, v| from_1(v).map(|n| s.server_connections = n)),
        ..KEY
    },
    OptionDoc {
        name: "auto_eject_hosts",
        default: Some("false"),
        accepted: BOOLEAN,
        doc: "Take a server that fails server_failure_limit times off the ring for a while.",
        rule: Rule::Value(|s, v| boolean(v).map(|on| s.auto_eject_hosts = on)),
        ..KEY
    },
    OptionDoc {
        name: "server_retry_timeout",
        default: Some("30000"),
        unit: "ms",
        accepted: MILLISECONDS,
        doc: "How long an ejected server stays off the ring.",
        rule: Rule::Value(|s, v| milliseconds(v).map(|time| s.server_retry_timeout = time)),
        ..KEY
    },
    OptionDoc {
        name: "server_failure_limit",
        default: Some("2"),
        unit: "failures",
        accepted: NUMBER,
        doc: "Failures in a row that eject a server; 0 is taken as 1.",
        rule: Rule::Value(|s, v| from_0(v).map(|n| s.server_failure_limit = n.max(1))),
        ..KEY
    },
    OptionDoc {
        name: "servers",
        absent: "required",
        accepted: server::ACCEPTED,
        doc: "The servers that share the keys.",
        rule: Rule::Servers,
        ..KEY
    },
];
