//! Keys of pools whose masters Sentinel names.

use super::super::error::Refusal;
use super::super::{Commit, sentinel};
use super::{MILLISECONDS, NUMBER_NOT_ZERO, OptionDoc, POLL, Rule, SENTINEL_KEY, SIZE, TIMEOUT};
use super::{bytes, from_1, milliseconds, milliseconds_in};

pub(super) const SENTINEL: &[OptionDoc] = &[
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
