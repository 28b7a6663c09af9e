//! Every key of a pool in one table: name, default, unit, accepted values, description, rule.
//!
//! To add a key, add a field to [`Settings`] with its default and an entry to [`OPTIONS`]; parsing,
//! messages and the documentation's table follow from the entry.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Refusal;
use super::file::Node;
use super::sentinel::{self, Mistake};
use super::server;
use super::settings::Settings;
use super::slow;
use super::value::{NUMBER_MAX, boolean, hash_tag, number, size};
use super::{Commit, Secret};
use crate::distribution::Distribution;
use crate::hash::Hash;

/// A key of a pool.
#[derive(Debug)]
pub struct OptionDoc {
    pub name: &'static str,
    /// As one would write it in the file; `None`: see `absent`.
    pub default: Option<&'static str>,
    /// What it means that a key without default is absent; empty for keys with one.
    pub absent: &'static str,
    /// Empty if the value has none.
    pub unit: &'static str,
    /// The values the key takes, also for messages.
    pub accepted: &'static str,
    pub doc: &'static str,
    /// Is it a key of nutcracker's?
    pub nutcracker: bool,
    /// A pool without `sentinels` that has the key is refused.
    pub needs_sentinels: bool,
    pub(super) rule: Rule,
}

impl OptionDoc {
    /// A pool without the key is refused.
    pub fn is_required(&self) -> bool {
        self.absent == "required"
    }
}

/// How the value is read.
#[derive(Debug)]
pub(super) enum Rule {
    Listen,
    Servers,
    /// A single value.
    Value(fn(&mut Settings, &str) -> Result<(), Refusal>),
    /// A single value that no message shows.
    Secret(fn(&mut Settings, &str) -> Result<(), Refusal>),
    /// A list or a mapping; the number is the key's line.
    Nested(fn(&mut Settings, usize, &Node) -> Result<(), Vec<Mistake>>),
}

const BOOLEAN: &str = "true, false";
pub(super) const NUMBER: &str = "0 to 2147483647";
pub(super) const MILLISECONDS: &str = "0 to 2147483647; milliseconds, without a unit";
pub(super) const NUMBER_NOT_ZERO: &str = "1 to 2147483647";
/// Between polls of a sentinel.
pub(super) const POLL: &str = "100 to 60000; milliseconds, without a unit";
/// For a sentinel to connect or to answer.
pub(super) const TIMEOUT: &str = "1 to 60000; milliseconds, without a unit";
pub(super) const SIZE: &str = "1kb to 1024gb; units b, k, kb, m, mb, g, gb as in redis.conf";
const SIZE_MIN: u64 = 1 << 10;
const SIZE_MAX: u64 = 1 << 40;

/// A value from 0.
fn from_0(text: &str) -> Result<u32, Refusal> {
    number(text, 0..=NUMBER_MAX)
}

/// A value from 1.
fn from_1(text: &str) -> Result<NonZeroU32, Refusal> {
    let number = number(text, 0..=NUMBER_MAX)?;
    NonZeroU32::new(number).ok_or_else(|| Refusal::new("cannot be 0"))
}

fn milliseconds(text: &str) -> Result<Duration, Refusal> {
    milliseconds_in(text, 0..=NUMBER_MAX)
}

fn milliseconds_in(text: &str, range: RangeInclusive<u32>) -> Result<Duration, Refusal> {
    number(text, range).map(|ms| Duration::from_millis(ms.into()))
}

fn bytes(text: &str) -> Result<u64, Refusal> {
    size(text, SIZE_MIN..=SIZE_MAX)
}

/// What most keys have in common.
const KEY: OptionDoc = OptionDoc {
    name: "",
    default: None,
    absent: "",
    unit: "",
    accepted: "",
    doc: "",
    nutcracker: true,
    needs_sentinels: false,
    rule: Rule::Listen,
};

/// What the keys about Sentinel have in common.
const SENTINEL_KEY: OptionDoc = OptionDoc {
    nutcracker: false,
    needs_sentinels: true,
    ..KEY
};

/// nutcracker's keys in the order of its documentation, then ours.
pub const OPTIONS: &[OptionDoc] = &[
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
    OptionDoc {
        name: "max_request_bytes",
        default: Some("1gb"),
        unit: "bytes",
        accepted: SIZE,
        doc: "Largest request; a single argument is limited to 512mb besides, as in Redis.",
        nutcracker: false,
        rule: Rule::Value(|s, v| bytes(v).map(|n| s.limits.max_request_bytes = n)),
        ..KEY
    },
    OptionDoc {
        name: "max_arguments",
        default: Some("1048576"),
        unit: "arguments",
        accepted: NUMBER_NOT_ZERO,
        doc: "Most arguments of a request, the command's name included.",
        nutcracker: false,
        rule: Rule::Value(|s, v| from_1(v).map(|n| s.limits.max_arguments = n.get())),
        ..KEY
    },
    OptionDoc {
        name: "client_pending_limit",
        default: Some("65536"),
        unit: "requests",
        accepted: NUMBER_NOT_ZERO,
        doc: "Unanswered requests of a client; at this many it is not read from until some are answered.",
        nutcracker: false,
        rule: Rule::Value(|s, v| from_1(v).map(|n| s.limits.client_pending_limit = n.get())),
        ..KEY
    },
    OptionDoc {
        name: "client_output_limit",
        default: Some("1gb"),
        unit: "bytes",
        accepted: SIZE,
        doc: "Replies waiting for a client that does not read; above half of it the client's requests \
              are not read, above it the client is closed.",
        nutcracker: false,
        rule: Rule::Value(|s, v| bytes(v).map(|n| s.limits.client_output_limit = n)),
        ..KEY
    },
    OptionDoc {
        name: "proxy_protocol",
        default: Some("false"),
        accepted: BOOLEAN,
        doc: "Each connection begins with a PROXY protocol header, version 1 or 2, and logs show the \
              address in it. One without a header within 5 s is closed.",
        nutcracker: false,
        rule: Rule::Value(|s, v| boolean(v).map(|on| s.proxy_protocol = on)),
        ..KEY
    },
    OptionDoc {
        name: "slow_request_time",
        default: Some("0"),
        unit: "ms",
        accepted: MILLISECONDS,
        doc: "Log requests whose server took this long or longer; 0 logs none.",
        nutcracker: false,
        rule: Rule::Value(|s, v| {
            milliseconds(v)
                .map(|time| s.slow_requests.time = Some(time).filter(|time| !time.is_zero()))
        }),
        ..KEY
    },
    OptionDoc {
        name: "slow_request_key",
        default: Some("hash"),
        accepted: "hash, key, none",
        doc: "What that log shows of a request's first key: the hash of the part that is hashed, the \
              key, or nothing.",
        nutcracker: false,
        rule: Rule::Value(slow::set_key),
        ..KEY
    },
    OptionDoc {
        name: "sentinels",
        absent: "servers stay at their addresses",
        accepted: sentinel::SENTINEL_ACCEPTED,
        doc: "The sentinels, as a list: each server's requests go to the master they name.",
        needs_sentinels: false,
        rule: Rule::Nested(|s, line, node| {
            sentinel::sentinels(line, node).map(|list| s.sentinel.sentinels = list)
        }),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "sentinel_auth",
        absent: "no password",
        accepted: sentinel::AUTH_ACCEPTED,
        doc: "What the sentinels are given; redis_auth is for the servers only.",
        rule: Rule::Nested(|s, line, node| {
            sentinel::auth(line, node).map(|auth| s.sentinel.auth = Some(auth))
        }),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "failover_hold",
        default: Some("1500"),
        unit: "ms",
        accepted: MILLISECONDS,
        doc: "How long a server's requests wait while its failover is announced, instead of failing or \
              being lost; 0: not at all. The timeout of a request begins after its wait.",
        rule: Rule::Value(|s, v| milliseconds(v).map(|time| s.sentinel.failover_hold = time)),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "outage_hold",
        default: Some("0"),
        unit: "ms",
        accepted: MILLISECONDS,
        doc: "How long a request waits while its master is gone and no failover is announced; 0: it \
              fails at once. The timeout of a request begins after its wait.",
        rule: Rule::Value(|s, v| milliseconds(v).map(|time| s.sentinel.outage_hold = time)),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "commit",
        default: Some("confirmed"),
        accepted: "confirmed, eager",
        doc: "Use a new master when its promotion is confirmed, or as soon as it says it is one: a \
              second earlier, but its writes are lost if Sentinel gives up just then.",
        rule: Rule::Value(|s, v| {
            let commit = Commit::ALL.into_iter().find(|commit| commit.name() == v);
            s.sentinel.commit = commit.ok_or_else(|| {
                Refusal::new("is not a valid commit").near(v, Commit::ALL.map(Commit::name))
            })?;
            Ok(())
        }),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "hold_requests",
        default: Some("1024"),
        unit: "requests",
        accepted: NUMBER_NOT_ZERO,
        doc: "Most requests that wait for a server, per worker; more fail.",
        rule: Rule::Value(|s, v| from_1(v).map(|n| s.sentinel.hold_requests = n.get())),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "hold_bytes",
        default: Some("4mb"),
        unit: "bytes",
        accepted: SIZE,
        doc: "Most bytes of requests that wait for a server, per worker; more fail.",
        rule: Rule::Value(|s, v| bytes(v).map(|n| s.sentinel.hold_bytes = n)),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "sentinel_poll",
        default: Some("1000"),
        unit: "ms",
        accepted: POLL,
        doc: "How often each sentinel is asked for the masters, besides listening to its events.",
        rule: Rule::Value(|s, v| {
            milliseconds_in(v, 100..=60_000).map(|time| s.sentinel.poll = time)
        }),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "sentinel_connect_timeout",
        default: Some("300"),
        unit: "ms",
        accepted: TIMEOUT,
        doc: "Longest time to connect to a sentinel.",
        rule: Rule::Value(|s, v| {
            milliseconds_in(v, 1..=60_000).map(|time| s.sentinel.connect_timeout = time)
        }),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "sentinel_command_timeout",
        default: Some("500"),
        unit: "ms",
        accepted: TIMEOUT,
        doc: "Longest time to a sentinel's answer.",
        rule: Rule::Value(|s, v| {
            milliseconds_in(v, 1..=60_000).map(|time| s.sentinel.command_timeout = time)
        }),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "sentinel_startup_wait",
        default: Some("3000"),
        unit: "ms",
        accepted: MILLISECONDS,
        doc: "How long to wait at start for a first sentinel, before the addresses of servers count.",
        rule: Rule::Value(|s, v| milliseconds(v).map(|time| s.sentinel.startup_wait = time)),
        ..SENTINEL_KEY
    },
    OptionDoc {
        name: "sentinel_nat",
        absent: "addresses as announced",
        accepted: sentinel::NAT_ACCEPTED,
        doc: "Where to reach masters and sentinels whose announced addresses cannot be reached.",
        rule: Rule::Nested(|s, line, node| {
            sentinel::nat(line, node).map(|nat| s.sentinel.nat = nat)
        }),
        ..SENTINEL_KEY
    },
];
