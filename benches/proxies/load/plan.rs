//! What the load generator is to do, and what it reports: what passes between the two processes.

use serde::{Deserialize, Serialize};

/// The role of the load generator's process.
pub const ROLE: &str = "load";

/// Different keys of a value's size; large values have fewer, for the memory of real servers.
pub fn key_count(value: usize) -> u32 {
    match value {
        0..=1024 => 1000,
        1025..=100_000 => 64,
        100_001..=4_000_000 => 8,
        _ => 2,
    }
}

/// The stand-in server reads the value's size off the key.
pub fn key(value: usize, index: u32) -> String {
    let head = format!("v{value}:");
    // As long as redis-benchmark's keys, unless the size is.
    let width = 16usize.saturating_sub(head.len()).max(6);
    format!("{head}{index:0width$}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Get,
    Set,
    /// GET and SET in turn.
    Mix,
    /// With so many keys.
    Mget(usize),
    Mset(usize),
}

impl Kind {
    pub fn keys(self) -> usize {
        match self {
            Kind::Mget(keys) | Kind::Mset(keys) => keys,
            Kind::Get | Kind::Set | Kind::Mix => 1,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Traffic {
    pub kind: Kind,
    /// Bytes.
    pub value: usize,
    /// The keys' numbers.
    pub keys: Vec<u32>,
}

impl Traffic {
    /// About all keys of that size.
    pub fn new(kind: Kind, value: usize) -> Traffic {
        let keys = (0..key_count(value)).collect();
        Traffic { kind, value, keys }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Sends as many requests as its pipeline is deep, waits for all replies, and so on.
    Batch,
    /// Has that many unanswered requests at any time.
    Window,
}

/// Clients that do the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub clients: usize,
    pub traffic: Traffic,
    /// Pipeline depth.
    pub depth: usize,
    pub mode: Mode,
}

/// When the measured part is over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum End {
    /// After exactly so many replies of all groups; a whole number of batches.
    Requests(u64),
    Milliseconds(u64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub port: u16,
    pub groups: Vec<Group>,
    pub end: End,
    /// Gives up when a part takes longer.
    pub patience_s: u64,
}

impl Plan {
    /// Of one group, in batches.
    pub fn uniform(port: u16, clients: usize, depth: usize, traffic: Traffic, end: End) -> Plan {
        let mode = Mode::Batch;
        let group = Group {
            clients,
            traffic,
            depth,
            mode,
        };
        Plan {
            port,
            groups: vec![group],
            end,
            patience_s: 60,
        }
    }
}

/// Requests of clients that do not read their replies until they are told to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Burst {
    pub port: u16,
    pub clients: usize,
    /// Of each client.
    pub requests: usize,
    pub value: usize,
    pub patience_s: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    Plan(Plan),
    Burst(Burst),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub seconds: f64,
    /// In the order of the plan.
    pub groups: Vec<GroupReport>,
}

/// Microseconds from sending to the last reply of a batch.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct GroupReport {
    pub requests: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}
