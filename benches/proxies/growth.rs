//! What a unit of work costs as there is more of it: a cost that rises is one that grows faster than the
//! work. In front of stand-ins, since hundreds of real servers would be the machine's whole work.

use crate::Outcome;
use crate::backends::Backends;
use crate::children::Placement;
use crate::load::plan::{End, Kind, Plan, Traffic};
use crate::memory::possible_clients;
use crate::options::{Axis, Options};
use crate::peers::{NUTHATCH, Peer};
use crate::report::Report;
use crate::runner::{Comparison, Context, Sample, compare};
use crate::table::{Table, figure};

/// A unit may cost so much more than at the size before.
const TOLERANCE: f64 = 1.25;

const MB: f64 = 1024.0 * 1024.0;

/// One size.
struct Step {
    size: String,
    servers: usize,
    clients: usize,
    depth: usize,
    traffic: Traffic,
    requests: u64,
    /// In a request.
    units: f64,
}

struct Growth {
    /// Of the axis, in the table's head.
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    steps: Vec<Step>,
}

/// Answers with in how many steps Nuthatch failed.
///
/// # Errors
/// If the servers do not come up.
pub fn run(context: &Context, peers: &[Peer], report: &mut Report) -> Outcome<usize> {
    let mut failures = 0;
    for axis in &context.options.growth {
        for growth in growths(*axis) {
            failures += measure(context, peers, report, &growth)?;
        }
    }
    Ok(failures)
}

fn measure(
    context: &Context,
    peers: &[Peer],
    report: &mut Report,
    growth: &Growth,
) -> Outcome<usize> {
    let placement = Placement::new(context.options)?;
    report.say(format!("\n## growth: {}\n", growth.what));
    let mut head = vec![growth.name.to_owned()];
    head.extend(
        peers
            .iter()
            .map(|peer| format!("{}, us per {}", peer.name, growth.unit)),
    );
    let mut table = Table::new(&head);
    let mut before: Vec<Option<f64>> = vec![None; peers.len()];
    let mut failures = 0;
    for step in &growth.steps {
        let delays = vec![0; step.servers];
        let backends = Backends::stub(context.nursery, &placement.load, &delays)?;
        let plan = step.plan(context.options);
        let comparison = compare(context, &placement, peers, &backends, &plan);
        let mut row = vec![step.size.clone()];
        for (peer, before) in peers.iter().zip(&mut before) {
            let cost = cost(&comparison, &peer.name).map(|cost| cost / step.units);
            row.push(cell(cost, *before));
            failures += usize::from(cost.is_none() && peer.name == NUTHATCH);
            *before = cost.or(*before);
        }
        table.row(row);
        report.record(
            &format!("growth {} {}", growth.what, step.size),
            &comparison,
        )?;
        for series in &comparison.series {
            if let Some(why) = &series.failure {
                eprintln!("{}, {}: {why}", series.name, step.size);
            }
        }
    }
    report.say(table.to_string());
    Ok(failures)
}

/// Of a request; none if it failed in any round.
fn cost(comparison: &Comparison, name: &str) -> Option<f64> {
    let series = comparison.of(name)?;
    series
        .failure
        .is_none()
        .then(|| series.median(Sample::cpu_us))?
}

fn cell(cost: Option<f64>, before: Option<f64>) -> String {
    let Some(cost) = cost else {
        return "failed".to_owned();
    };
    let rise = before.map_or(1.0, |before| cost / before);
    if rise <= TOLERANCE {
        return figure(Some(cost));
    }
    format!("{} RISES {:.0} %", figure(Some(cost)), (rise - 1.0) * 100.0)
}

impl Step {
    fn plan(&self, options: &Options) -> Plan {
        let step = (self.clients * self.depth) as u64;
        let end = End::Requests(options.requests(self.requests, step));
        Plan::uniform(0, self.clients, self.depth, self.traffic.clone(), end)
    }
}

fn growths(axis: Axis) -> Vec<Growth> {
    match axis {
        Axis::Servers => vec![Growth {
            name: "servers",
            what: "servers, GET 64 B, 50 clients, pipeline 16",
            unit: "request",
            steps: [3, 10, 30, 100, 300].map(servers).into(),
        }],
        Axis::Clients => vec![Growth {
            name: "clients",
            what: "clients, GET 64 B, no pipeline",
            unit: "request",
            steps: [1, 10, 100, 1000, 5000, 20_000].map(clients).into(),
        }],
        Axis::Keys => vec![Growth {
            name: "keys",
            what: "keys of an MGET, 64 B, 10 clients",
            unit: "key",
            steps: [1, 10, 100, 1000, 10_000].map(keys).into(),
        }],
        Axis::Value => vec![
            values("value's size, GET, 4 clients", Kind::Get),
            values("value's size, SET, 4 clients", Kind::Set),
        ],
        Axis::Depth => vec![Growth {
            name: "depth",
            what: "pipeline depth, GET 64 B, 10 clients",
            unit: "request",
            steps: [1, 10, 100, 1000, 10_000].map(depth).into(),
        }],
    }
}

fn base() -> Step {
    Step {
        size: String::new(),
        servers: 3,
        clients: 10,
        depth: 1,
        traffic: Traffic::new(Kind::Get, 64),
        requests: 0,
        units: 1.0,
    }
}

fn servers(servers: usize) -> Step {
    Step {
        size: servers.to_string(),
        servers,
        clients: 50,
        depth: 16,
        requests: 500_000,
        ..base()
    }
}

fn clients(wanted: usize) -> Step {
    let clients = possible_clients(wanted);
    let size = if clients == wanted {
        wanted.to_string()
    } else {
        format!("{clients}, for open files are limited")
    };
    // One alone waits for every reply.
    let requests = if clients == 1 { 10_000 } else { 120_000 };
    Step {
        size,
        clients,
        requests,
        ..base()
    }
}

fn keys(keys: usize) -> Step {
    Step {
        size: keys.to_string(),
        traffic: Traffic::new(Kind::Mget(keys), 64),
        requests: (2_000_000 / keys as u64).clamp(200, 60_000),
        units: keys as f64,
        ..base()
    }
}

fn values(what: &'static str, kind: Kind) -> Growth {
    let step = |(size, value): (&str, usize)| Step {
        size: size.to_owned(),
        clients: 4,
        traffic: Traffic::new(kind, value),
        // 2 GB at most.
        requests: ((2 << 30) / value as u64).clamp(16, 60_000),
        units: value as f64 / MB,
        ..base()
    };
    let sizes = [
        ("1 B", 1),
        ("16 B", 16),
        ("256 B", 256),
        ("4 KB", 4 << 10),
        ("64 KB", 64 << 10),
        ("1 MB", 1 << 20),
        ("16 MB", 16 << 20),
        ("64 MB", 64 << 20),
    ];
    Growth {
        name: "size",
        what,
        unit: "MB",
        steps: sizes.map(step).into(),
    }
}

fn depth(depth: usize) -> Step {
    Step {
        size: depth.to_string(),
        depth,
        requests: if depth == 1 { 120_000 } else { 500_000 },
        ..base()
    }
}
