//! What proxies keep in memory: per idle client, after a deep pipeline, and after many clients or large
//! replies have come and gone.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::Outcome;
use crate::backends::Backends;
use crate::children::Placement;
use crate::load::Load;
use crate::load::plan::{Burst, End, Kind, Order, Plan, Traffic};
use crate::measure::{resident_kb, settled_kb};
use crate::peers::{NUTHATCH, Peer};
use crate::report::Report;
use crate::runner::{Context, Live, sample};
use crate::table::{Table, against, figure};

const CLIENTS: usize = 10_000;
/// Files that a proxy or the load generator has besides its clients' sockets.
const OTHER_FILES: usize = 500;
/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_secs(10);
/// Real servers take a second to make many large replies.
const SLOWEST: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);

const IDLE_BYTES: f64 = 1536.0;
const PIPELINE_KB: f64 = 6.0 * 1024.0;
const RETURN: f64 = 1.2;

const VALUE: usize = 64;
/// 1 GB in all.
const BURST_CLIENTS: usize = 16;
const BURST_REQUESTS: usize = 64;
const BURST_VALUE: usize = 1 << 20;

/// Resident memory in KB at the start, at most, and when the reason has gone.
#[derive(Clone, Copy, Debug, Serialize)]
struct Swing {
    start: u64,
    most: u64,
    after: u64,
}

impl Swing {
    fn returned(self) -> f64 {
        self.after as f64 / self.start as f64
    }
}

#[derive(Clone, Debug, Serialize)]
struct Memory {
    name: String,
    clients: usize,
    idle: Swing,
    bytes_per_client: f64,
    pipeline: Swing,
    active: Swing,
    burst: Swing,
}

/// As many clients as open files allow, up to `wanted`.
pub fn possible_clients(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    wanted.min(limit.saturating_sub(OTHER_FILES))
}

/// Answers with how many goals could not be measured.
///
/// # Errors
/// If the servers do not come up.
pub fn run(context: &Context, peers: &[Peer], report: &mut Report) -> Outcome<usize> {
    let placement = Placement::new(context.options)?;
    let backend = context.options.backend;
    let backends = Backends::start(
        context.nursery,
        &placement.load,
        backend,
        3,
        &[VALUE, BURST_VALUE],
    )?;
    let clients = possible_clients(CLIENTS);
    report.say(format!("\n## memory: resident KB, {clients} clients\n"));
    let mut table = Table::new(&[
        "proxy",
        "start",
        "idle clients",
        "bytes per idle client",
        "after pipeline 64",
        "active clients",
        "when they left",
        "1 GB of replies",
        "when read",
    ]);
    let (mut all, mut failures) = (Vec::new(), 0);
    for peer in peers {
        match measure(context, &placement, peer, &backends, clients) {
            Ok(memory) => {
                table.row(row(&memory));
                all.push(memory);
            }
            Err(error) => {
                table.row(vec![peer.name.clone(), format!("failed: {error}")]);
                failures += usize::from(peer.name == NUTHATCH);
            }
        }
    }
    report.say(table.to_string());
    if let Some(memory) = all.iter().find(|memory| memory.name == NUTHATCH) {
        report.say(goals(memory).to_string());
    }
    report.record("memory", &all)?;
    Ok(failures)
}

fn row(memory: &Memory) -> Vec<String> {
    let kb = |kb: u64| kb.to_string();
    vec![
        memory.name.clone(),
        kb(memory.idle.start),
        kb(memory.idle.most),
        figure(Some(memory.bytes_per_client)),
        kb(memory.pipeline.most),
        kb(memory.active.most),
        kb(memory.active.after),
        kb(memory.burst.most),
        kb(memory.burst.after),
    ]
}

fn goals(memory: &Memory) -> Table {
    let mut table = Table::new(&["Nuthatch's memory", "figure (goal)"]);
    for (what, value, goal) in [
        ("bytes per idle client", memory.bytes_per_client, IDLE_BYTES),
        (
            "KB after pipeline 64",
            memory.pipeline.most as f64,
            PIPELINE_KB,
        ),
        (
            "after active clients left, of the start",
            memory.active.returned(),
            RETURN,
        ),
        (
            "after 1 GB of replies, of the start",
            memory.burst.returned(),
            RETURN,
        ),
    ] {
        table.row(vec![what.to_owned(), against(Some(value), goal, true)]);
    }
    table
}

fn measure(
    context: &Context,
    placement: &Placement,
    peer: &Peer,
    backends: &Backends,
    clients: usize,
) -> Outcome<Memory> {
    let start = || Live::start(context, placement, peer, backends);
    let mixed = |clients, depth, requests| {
        let end = End::Requests(requests);
        Plan::uniform(0, clients, depth, Traffic::new(Kind::Mix, VALUE), end)
    };
    let loaded = |clients: usize, depth: usize, requests| {
        let live = start()?;
        let requests = context.options.requests(requests, (clients * depth) as u64);
        let most = sample(context, placement, &live, &mixed(clients, depth, requests))?.resident_kb;
        ended(&live, most)
    };
    let idle = idle(
        context,
        placement,
        &start()?,
        &mixed(clients, 1, clients as u64),
    )?;
    let grown = idle.most.saturating_sub(idle.start) * 1024;
    Ok(Memory {
        name: peer.name.clone(),
        clients,
        idle,
        bytes_per_client: grown as f64 / clients as f64,
        pipeline: loaded(50, 64, 2_000_000)?,
        active: loaded(clients, 1, 10 * clients as u64)?,
        burst: burst(context, placement, &start()?)?,
    })
}

/// What is left when the load has gone.
fn ended(live: &Live, most: u64) -> Outcome<Swing> {
    let pid = live.pid().ok_or("no proxy")?;
    let start = live.start_kb;
    let goal = (start as f64 * RETURN) as u64;
    let after = settled_kb(pid, goal, SETTLE)?;
    Ok(Swing { start, most, after })
}

/// Clients that have each asked once.
fn idle(context: &Context, placement: &Placement, live: &Live, plan: &Plan) -> Outcome<Swing> {
    let order = Order::Plan(Plan {
        port: live.port,
        ..plan.clone()
    });
    let load = Load::start(context.nursery, &placement.load, &order)?;
    let most = steady_kb(live, Duration::from_secs(1))?;
    drop(load);
    ended(live, most)
}

fn burst(context: &Context, placement: &Placement, live: &Live) -> Outcome<Swing> {
    let order = Order::Burst(Burst {
        port: live.port,
        clients: BURST_CLIENTS,
        requests: BURST_REQUESTS,
        value: BURST_VALUE,
        patience_s: 120,
    });
    let mut load = Load::start(context.nursery, &placement.load, &order)?;
    let most = steady_kb(live, SLOWEST)?;
    load.run()?;
    drop(load);
    ended(live, most)
}

/// The most that was resident until it has not grown for so long.
fn steady_kb(live: &Live, quiet: Duration) -> Outcome<u64> {
    let pid = live.pid().ok_or("no proxy")?;
    let (start, mut grown, mut most) = (Instant::now(), Instant::now(), 0);
    while grown.elapsed() < quiet && start.elapsed() < PATIENCE {
        let now = resident_kb(pid)?;
        if now > most {
            (most, grown) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(most)
}
