//! The table of goals: what is measured, and how Nuthatch should compare.

use crate::load::plan::Kind;
use crate::peers::{NUTCRACKER, PREDIXY};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The proxy's processor time per request.
    Cpu,
    /// What the proxy adds to the median latency of a client that asks the server itself.
    AddedLatency,
}

#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub clients: usize,
    /// Of the pipeline.
    pub depth: usize,
    pub kind: Kind,
    /// Bytes of each value.
    pub value: usize,
    /// Per round.
    pub requests: u64,
    pub metric: Metric,
    /// The most that the ratio to nutcracker and to predixy should be.
    pub goals: [f64; 2],
}

/// The proxies that [`Scenario::goals`] are about.
pub const RIVALS: [&str; 2] = [NUTCRACKER, PREDIXY];

const KB: usize = 1024;
const MB: usize = 1024 * KB;

pub const SCENARIOS: [Scenario; 14] = [
    mixed(
        "p1",
        "GET/SET 64 B, 50 clients",
        50,
        1,
        120_000,
        [0.85, 1.02],
    ),
    mixed(
        "p16",
        "GET/SET 64 B, pipeline 16",
        50,
        16,
        1_000_000,
        [0.45, 0.57],
    ),
    mixed(
        "p64",
        "GET/SET 64 B, pipeline 64",
        50,
        64,
        2_000_000,
        [0.17, 0.42],
    ),
    mixed(
        "c500",
        "GET/SET 64 B, 500 clients",
        500,
        1,
        120_000,
        [0.76, 0.90],
    ),
    mixed(
        "c5000",
        "GET/SET 64 B, 5,000 clients",
        5000,
        1,
        120_000,
        [0.68, 0.90],
    ),
    keys(
        "mget10",
        "MGET of 10 keys",
        Kind::Mget(10),
        60_000,
        [0.70, 0.70],
    ),
    keys(
        "mget100",
        "MGET of 100 keys",
        Kind::Mget(100),
        20_000,
        [0.52, 0.27],
    ),
    keys(
        "mset10",
        "MSET of 10 keys",
        Kind::Mset(10),
        60_000,
        [0.75, 0.80],
    ),
    keys(
        "mset100",
        "MSET of 100 keys",
        Kind::Mset(100),
        20_000,
        [0.55, 0.30],
    ),
    large(
        "get64k",
        "GET 64 KB, 50 clients",
        Kind::Get,
        64 * KB,
        [0.82, 0.70],
    ),
    large(
        "set64k",
        "SET 64 KB, 50 clients",
        Kind::Set,
        64 * KB,
        [0.95, 0.76],
    ),
    large("get1m", "GET 1 MB, 10 clients", Kind::Get, MB, [0.76, 0.42]),
    large("set1m", "SET 1 MB, 10 clients", Kind::Set, MB, [0.82, 0.48]),
    Scenario {
        metric: Metric::AddedLatency,
        ..mixed(
            "serial",
            "latency added for one client, one processor",
            1,
            1,
            20_000,
            [0.85, 0.90],
        )
    },
];

/// Other parts of the table; modules of their own.
pub const WORKERS: &str = "workers";
pub const MEMORY: &str = "memory";

pub fn names() -> Vec<&'static str> {
    let scenarios = SCENARIOS.iter().map(|scenario| scenario.name);
    scenarios.chain([WORKERS, MEMORY]).collect()
}

const fn mixed(
    name: &'static str,
    what: &'static str,
    clients: usize,
    depth: usize,
    requests: u64,
    goals: [f64; 2],
) -> Scenario {
    Scenario {
        name,
        what,
        clients,
        depth,
        kind: Kind::Mix,
        value: 64,
        requests,
        metric: Metric::Cpu,
        goals,
    }
}

const fn keys(
    name: &'static str,
    what: &'static str,
    kind: Kind,
    requests: u64,
    goals: [f64; 2],
) -> Scenario {
    let base = mixed(name, what, 50, 1, requests, goals);
    Scenario { kind, ..base }
}

const fn large(
    name: &'static str,
    what: &'static str,
    kind: Kind,
    value: usize,
    goals: [f64; 2],
) -> Scenario {
    let (clients, requests) = if value < MB { (50, 15_000) } else { (10, 1000) };
    let base = mixed(name, what, clients, 1, requests, goals);
    Scenario {
        kind,
        value,
        ..base
    }
}
