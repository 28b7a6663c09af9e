//! The table of goals.

use crate::Outcome;
use crate::backends::Backends;
use crate::children::Placement;
use crate::load::plan::{End, Plan, Traffic};
use crate::options::{BackendKind, Options};
use crate::peers::{DIRECT, NUTHATCH, OTHER, Peer};
use crate::report::Report;
use crate::runner::{Comparison, Context, Sample, compare};
use crate::scenarios::{Metric, RIVALS, SCENARIOS, Scenario};
use crate::table::{Table, against, figure};

const SERVERS: usize = 3;

/// Measures the scenarios that are wanted, prints each and then all of them. Answers with how many
/// Nuthatch failed in.
///
/// # Errors
/// If the servers do not come up.
pub fn run(context: &Context, peers: &[Peer], report: &mut Report) -> Outcome<usize> {
    let wanted = SCENARIOS
        .iter()
        .filter(|scenario| context.options.wants(scenario.name));
    let mut done = Vec::new();
    for scenario in wanted {
        let comparison = measure(context, peers, scenario)?;
        report.say(format!("\n## {}: {}\n", scenario.name, scenario.what));
        report.say(details(&comparison).to_string());
        report.record(scenario.name, &comparison)?;
        done.push((scenario, comparison));
    }
    if done.is_empty() {
        return Ok(0);
    }
    let judged = context.options.backend == BackendKind::Stub;
    report.say("\n## Goals\n");
    report.say(summary(peers, &done, judged).to_string());
    report.say(
        "Processor time of the proxy in microseconds per request, for serial the microseconds it adds to the \
         median latency; then the median of the rounds' ratios, with the most it should be in brackets.",
    );
    if !judged {
        report.say(
            "The goals are for --backend stub: beside real servers the proxies have time to spare, each a \
             different amount, and what a request costs depends on that.",
        );
    }
    let failed = done.iter().filter(|(_, comparison)| {
        let series = comparison.of(NUTHATCH);
        series.is_none_or(|series| series.failure.is_some())
    });
    Ok(failed.count())
}

fn measure(context: &Context, peers: &[Peer], scenario: &Scenario) -> Outcome<Comparison> {
    let options = context.options;
    let mut placement = Placement::new(options)?;
    let mut peers = peers.to_vec();
    if scenario.metric == Metric::AddedLatency {
        placement = placement.one_cpu()?;
        peers.push(Peer::direct());
    }
    let backends = Backends::start(
        context.nursery,
        &placement.load,
        options.backend,
        SERVERS,
        &[scenario.value],
    )?;
    Ok(compare(
        context,
        &placement,
        &peers,
        &backends,
        &plan(options, scenario),
    ))
}

/// The load of a scenario; whoever uses it fills in the port.
pub fn plan(options: &Options, scenario: &Scenario) -> Plan {
    let step = (scenario.clients * scenario.depth) as u64;
    let end = End::Requests(options.requests(scenario.requests, step));
    let traffic = Traffic::new(scenario.kind, scenario.value);
    Plan::uniform(0, scenario.clients, scenario.depth, traffic, end)
}

/// Everything about every proxy.
pub fn details(comparison: &Comparison) -> Table {
    let mut table = Table::new(&[
        "proxy",
        "CPU us/req",
        "min",
        "max",
        "user %",
        "busy %",
        "req/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "RSS KB at start",
        "after",
    ]);
    for series in &comparison.series {
        let mut row = vec![series.name.clone()];
        if let Some(why) = &series.failure {
            row.push(format!("failed: {}", why.replace('|', "/")));
            table.row(row);
            continue;
        }
        let proxied = series.start_kb > 0;
        let of = |value: &dyn Fn(&Sample) -> f64| series.median(value);
        let own = |value: &dyn Fn(&Sample) -> f64| of(value).filter(|_| proxied);
        let costs = || {
            series
                .samples
                .iter()
                .map(Sample::cpu_us)
                .filter(|_| proxied)
        };
        row.extend([
            figure(own(&Sample::cpu_us)),
            figure(costs().reduce(f64::min)),
            figure(costs().reduce(f64::max)),
            figure(own(&|sample| sample.used.user_share * 100.0)),
            figure(own(&|sample| sample.busy() * 100.0)),
            figure(of(&|sample| {
                sample.requests() as f64 / sample.report.seconds
            })),
            figure(of(&|sample| sample.report.groups[0].p50)),
            figure(of(&|sample| sample.report.groups[0].p99)),
            figure(of(&|sample| sample.report.groups[0].p999)),
        ]);
        row.push(series.start_kb.to_string());
        row.push(
            own(&|sample| sample.resident_kb as f64)
                .map_or("-".to_owned(), |kb| format!("{kb:.0}")),
        );
        table.row(row);
    }
    table
}

fn summary(peers: &[Peer], done: &[(&Scenario, Comparison)], judged: bool) -> Table {
    let mut head = vec!["scenario".to_owned(), "what".to_owned()];
    head.extend(peers.iter().map(|peer| peer.name.clone()));
    head.extend(RIVALS.map(|rival| format!("to {rival}")));
    let other = peers.iter().any(|peer| peer.name == OTHER);
    if other {
        head.push("to the other build".to_owned());
    }
    let mut table = Table::new(&head);
    for (scenario, comparison) in done {
        let mut row = vec![scenario.name.to_owned(), scenario.what.to_owned()];
        row.extend(
            peers
                .iter()
                .map(|peer| figure(value(scenario, comparison, &peer.name))),
        );
        for (rival, goal) in RIVALS.iter().zip(scenario.goals) {
            row.push(against(ratio(scenario, comparison, rival), goal, judged));
        }
        if other {
            row.push(figure(ratio(scenario, comparison, OTHER)));
        }
        table.row(row);
    }
    table
}

fn value(scenario: &Scenario, comparison: &Comparison, name: &str) -> Option<f64> {
    match scenario.metric {
        Metric::Cpu => comparison.of(name)?.median(Sample::cpu_us),
        Metric::AddedLatency => crate::measure::median(added(comparison, name)?),
    }
}

fn ratio(scenario: &Scenario, comparison: &Comparison, rival: &str) -> Option<f64> {
    match scenario.metric {
        Metric::Cpu => comparison.ratio(NUTHATCH, rival, Sample::cpu_us),
        Metric::AddedLatency => {
            let (ours, theirs) = (added(comparison, NUTHATCH)?, added(comparison, rival)?);
            let rounds = ours.into_iter().zip(theirs);
            crate::measure::median(rounds.map(|(ours, theirs)| ours / theirs))
        }
    }
}

/// Per round, what the proxy adds to the median latency.
fn added(comparison: &Comparison, name: &str) -> Option<Vec<f64>> {
    let rounds = comparison
        .of(name)?
        .samples
        .iter()
        .zip(&comparison.of(DIRECT)?.samples);
    let p50 = |sample: &Sample| sample.report.groups[0].p50;
    Some(
        rounds
            .map(|(proxied, direct)| p50(proxied) - p50(direct))
            .collect(),
    )
}
