//! Keys of every pool that nutcracker does not have.

use super::super::commands;
use super::super::groups;
use super::super::slow;
use super::super::value::{boolean, number};
use super::{
    BOOLEAN, DATABASES, KEY, MILLISECONDS, NUMBER, NUMBER_NOT_ZERO, OptionDoc, Rule, SIZE,
};
use super::{bytes, from_0, from_1, milliseconds};

const DATABASES_MOST: u32 = 65535;

pub(super) const OWN: &[OptionDoc] = &[
    OptionDoc {
        name: "key_groups",
        absent: "none",
        accepted: groups::ACCEPTED,
        doc: "Keys that begin with a prefix of a group are all placed where a key with the group's name would \
              be, whatever hash tags they have; the longest prefix decides.",
        nutcracker: false,
        rule: Rule::Nested(|s, line, node| {
            groups::read(line, node).map(|groups| s.key_groups = groups)
        }),
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
        name: "databases",
        default: Some("0"),
        accepted: DATABASES,
        doc: "Clients may SELECT the databases below this number, besides redis_db, in which they begin; \
              the servers need as many.",
        nutcracker: false,
        rule: Rule::Value(|s, v| number(v, 0..=DATABASES_MOST).map(|n| s.databases = n as u16)),
        ..KEY
    },
    OptionDoc {
        name: "dedicated_connections",
        default: Some("1000"),
        unit: "connections",
        accepted: NUMBER,
        doc: "Most connections to each server, per worker, that belong to one client for a while: for \
              transactions, blocking commands and the like; 0 refuses those.",
        nutcracker: false,
        rule: Rule::Value(|s, v| from_0(v).map(|n| s.limits.dedicated_connections = n)),
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
        name: "learn_commands",
        default: Some("false"),
        accepted: BOOLEAN,
        doc: "Ask the servers at the start, and when the configuration is read again, which commands they \
              have that are not known here, such as modules'; those with keys at fixed places are served.",
        nutcracker: false,
        rule: Rule::Value(|s, v| boolean(v).map(|on| s.learn_commands = on)),
        ..KEY
    },
    OptionDoc {
        name: "allow_flush",
        default: Some("false"),
        accepted: BOOLEAN,
        doc: "Serve FLUSHALL and FLUSHDB, which empty every server of the pool.",
        nutcracker: false,
        rule: Rule::Value(|s, v| boolean(v).map(|on| s.allow_flush = on)),
        ..KEY
    },
    OptionDoc {
        name: "deny_commands",
        absent: "none",
        accepted: commands::LIST_ACCEPTED,
        doc: "Commands that clients may not use, as a list, even if allow_commands has them.",
        nutcracker: false,
        rule: Rule::Nested(|s, line, node| {
            commands::deny(line, node).map(|list| s.deny_commands = list)
        }),
        ..KEY
    },
    OptionDoc {
        name: "allow_commands",
        absent: "all",
        accepted: commands::LIST_ACCEPTED,
        doc: "The only commands that clients may use, as a list; AUTH, HELLO, QUIT and RESET need not \
              be named.",
        nutcracker: false,
        rule: Rule::Nested(|s, line, node| {
            commands::allow(line, node).map(|list| s.allow_commands = list)
        }),
        ..KEY
    },
    OptionDoc {
        name: "rename_commands",
        absent: "none",
        accepted: commands::RENAME_ACCEPTED,
        doc: "Other names under which clients use commands, which are then unknown by their own. \
              Servers get the own names.",
        nutcracker: false,
        rule: Rule::Nested(|s, line, node| {
            commands::rename(line, node).map(|names| s.rename_commands = names)
        }),
        ..KEY
    },
];
