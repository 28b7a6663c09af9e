//! How long requests take: with nothing in the way, while one server is slow, and beside a client that
//! never stops asking.

use nuthatch::distribution::{Distribution, Member, Ring};
use nuthatch::hash::Hash;

use crate::Outcome;
use crate::backends::Backends;
use crate::children::Placement;
use crate::load::plan::{End, Group, GroupReport, Kind, Mode, Plan, Traffic, key, key_count};
use crate::peers::{self, NUTHATCH, Peer, server_name};
use crate::report::Report;
use crate::runner::{Comparison, Context, Sample, compare};
use crate::table::{Table, figure};

const SERVERS: usize = 3;
const VALUE: usize = 64;
/// The server that is slow, and how slow.
const SLOW: usize = 0;
const SLOW_MS: u64 = 50;
/// Clients of the slow server, and of the others.
const HALF: usize = 25;
const CLIENTS: usize = 50;
/// What the greedy client has unanswered at any time.
const GREED: usize = 10_000;

/// Measured time.
const FULL_MS: u64 = 4000;
const QUICK_MS: u64 = 1000;

/// Answers with in how many of the parts Nuthatch failed.
///
/// # Errors
/// If the servers do not come up.
pub fn run(context: &Context, peers: &[Peer], report: &mut Report) -> Outcome<usize> {
    let parts = [
        alone(context, peers, report)?,
        slow_shard(context, peers, report)?,
        greedy(context, peers, report)?,
    ];
    Ok(parts.into_iter().flatten().filter(failed).count())
}

fn failed(comparison: &Comparison) -> bool {
    let series = comparison.of(NUTHATCH);
    series.is_none_or(|series| series.failure.is_some())
}

fn alone(context: &Context, peers: &[Peer], report: &mut Report) -> Outcome<Vec<Comparison>> {
    let placement = Placement::new(context.options)?;
    let backend = context.options.backend;
    let backends = Backends::start(context.nursery, &placement.load, backend, SERVERS, &[VALUE])?;
    let peers = with_direct(peers);
    let plan = plan(context, vec![polite(CLIENTS)]);
    let comparison = compare(context, &placement, &peers, &backends, &plan);
    report.say(format!("\n## latency: {CLIENTS} clients, GET/SET 64 B\n"));
    let mut table = Table::new(&["proxy", "req/s", "p50 us", "p99 us", "p99.9 us", "max us"]);
    for series in &comparison.series {
        let rate = series.median(|sample| rate(sample, 0));
        let mut row = vec![series.name.clone(), figure(rate)];
        row.extend(times(&comparison, &series.name));
        row.push(figure(series.median(|sample| sample.report.groups[0].max)));
        table.row(row);
    }
    report.say(table.to_string());
    report.record("latency", &comparison)?;
    Ok(vec![comparison])
}

fn slow_shard(context: &Context, peers: &[Peer], report: &mut Report) -> Outcome<Vec<Comparison>> {
    let placement = Placement::new(context.options)?;
    let delays: Vec<u64> = (0..SERVERS)
        .map(|server| if server == SLOW { SLOW_MS } else { 0 })
        .collect();
    let backends = Backends::stub(context.nursery, &placement.load, &delays)?;
    // The others would look for these keys elsewhere.
    let alike = |peer: &&Peer| matches!(peer.kind, peers::Kind::Nuthatch | peers::Kind::Nutcracker);
    let peers: Vec<Peer> = peers.iter().filter(alike).cloned().collect();
    let others = |groups| plan(context, groups);
    let fast = Group {
        traffic: on(|server| server != SLOW),
        ..polite(HALF)
    };
    let slow = Group {
        traffic: on(|server| server == SLOW),
        ..polite(HALF)
    };
    let without = compare(
        context,
        &placement,
        &peers,
        &backends,
        &others(vec![fast.clone()]),
    );
    let with = compare(
        context,
        &placement,
        &peers,
        &backends,
        &others(vec![fast, slow]),
    );
    report.say(format!(
        "\n## slow shard: {HALF} clients of the other servers, without and with {HALF} of one that takes \
         {SLOW_MS} ms\n"
    ));
    report.say(before_and_after(&without, &with, "slow clients' req/s").to_string());
    report.record("slow shard, without", &without)?;
    report.record("slow shard, with", &with)?;
    Ok(vec![without, with])
}

fn greedy(context: &Context, peers: &[Peer], report: &mut Report) -> Outcome<Vec<Comparison>> {
    let placement = Placement::new(context.options)?;
    let backend = context.options.backend;
    let backends = Backends::start(context.nursery, &placement.load, backend, SERVERS, &[VALUE])?;
    let peers = with_direct(peers);
    let polite = polite(CLIENTS - 1);
    let greedy = Group {
        clients: 1,
        depth: GREED,
        traffic: Traffic::new(Kind::Get, VALUE),
        mode: Mode::Window,
    };
    let without = plan(context, vec![polite.clone()]);
    let with = plan(context, vec![polite, greedy]);
    let without = compare(context, &placement, &peers, &backends, &without);
    let with = compare(context, &placement, &peers, &backends, &with);
    report.say(format!(
        "\n## fairness: {} polite clients, without and with one that has {GREED} requests unanswered\n",
        CLIENTS - 1
    ));
    report.say(before_and_after(&without, &with, "greedy client's req/s").to_string());
    report.say("\"direct\" shows what the load generator and a server themselves add.");
    report.record("fairness, without", &without)?;
    report.record("fairness, with", &with)?;
    Ok(vec![without, with])
}

/// The first group's figures in both, and the second group's rate.
fn before_and_after(without: &Comparison, with: &Comparison, second: &str) -> Table {
    let mut table = Table::new(&[
        "proxy",
        "",
        "req/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        second,
        "first group's share of requests %",
    ]);
    for series in &with.series {
        for (what, comparison) in [("without", without), ("with", with)] {
            let name = &series.name;
            let rate = |group| {
                comparison
                    .of(name)
                    .and_then(|s| s.median(|sample| rate(sample, group)))
            };
            let mut row = vec![name.clone(), what.to_owned(), figure(rate(0))];
            row.extend(times(comparison, name));
            let share = comparison.of(name).and_then(|s| s.median(share));
            row.extend([figure(rate(1)), figure(share.map(|share| share * 100.0))]);
            if let Some(why) = comparison
                .of(name)
                .and_then(|series| series.failure.clone())
            {
                row.push(format!("failed: {why}"));
            }
            table.row(row);
        }
    }
    table
}

/// The first group's.
fn times(comparison: &Comparison, name: &str) -> [String; 3] {
    let time = |of: fn(&GroupReport) -> f64| {
        let series = comparison.of(name)?;
        series.median(|sample| of(&sample.report.groups[0]))
    };
    [
        figure(time(|group| group.p50)),
        figure(time(|group| group.p99)),
        figure(time(|group| group.p999)),
    ]
}

/// Requests per second of a group; 0 if there is none.
fn rate(sample: &Sample, group: usize) -> f64 {
    let group = sample.report.groups.get(group).copied().unwrap_or_default();
    group.requests as f64 / sample.report.seconds
}

fn share(sample: &Sample) -> f64 {
    sample.report.groups[0].requests as f64 / sample.requests().max(1) as f64
}

fn polite(clients: usize) -> Group {
    Group {
        clients,
        depth: 1,
        traffic: Traffic::new(Kind::Mix, VALUE),
        mode: Mode::Batch,
    }
}

fn plan(context: &Context, groups: Vec<Group>) -> Plan {
    let time = if context.options.quick {
        QUICK_MS
    } else {
        FULL_MS
    };
    Plan {
        port: 0,
        groups,
        end: End::Milliseconds(time),
        patience_s: 60,
    }
}

fn with_direct(peers: &[Peer]) -> Vec<Peer> {
    let mut peers = peers.to_vec();
    peers.push(Peer::direct());
    peers
}

/// About the keys of those servers that `wanted` picks.
fn on(wanted: impl Fn(usize) -> bool) -> Traffic {
    let names: Vec<String> = (0..SERVERS).map(server_name).collect();
    let members = (0u16..).zip(&names).map(|(index, name)| Member {
        name,
        weight: 1,
        index,
    });
    let ring = Ring::build(Distribution::Ketama, &members.collect::<Vec<Member>>());
    let keys = (0..key_count(VALUE)).filter(|index| {
        let hash = Hash::Fnv1a_64.hash(key(VALUE, *index).as_bytes());
        ring.pick(hash, || 0)
            .is_some_and(|server| wanted(usize::from(server)))
    });
    Traffic {
        kind: Kind::Mix,
        value: VALUE,
        keys: keys.collect(),
    }
}
