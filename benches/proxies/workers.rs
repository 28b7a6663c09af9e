//! Two workers against one: do they share the clients evenly, and what does sharing them cost?
//!
//! How many clients a worker has is read from its epoll instance in /proc, since the statistics have the
//! sum of all workers only.

use serde_json::json;

use crate::Outcome;
use crate::backends::Backends;
use crate::children::Placement;
use crate::goals::{details, plan};
use crate::load::Load;
use crate::load::plan::{End, Kind, Order, Plan, Traffic};
use crate::measure::Watched;
use crate::peers::Peer;
use crate::report::Report;
use crate::runner::{Context, Live, Sample, compare};
use crate::scenarios::SCENARIOS;
use crate::table::{Table, against};

const WORKERS: usize = 2;
const CLIENTS: [usize; 3] = [4, 50, 500];
const LOADS: [&str; 5] = ["p1", "p16", "p64", "c500", "mget100"];
/// The most that a request may cost with two workers, in what it costs with one.
const COST: f64 = 1.25;

/// Answers with how many comparisons failed.
///
/// # Errors
/// If the servers do not come up.
pub fn run(context: &Context, report: &mut Report) -> Outcome<usize> {
    let placement = Placement::two_for_the_proxy()?;
    let one = Peer::nuthatch(context.options)?;
    let two = one.named("two workers").workers(WORKERS);
    let one = one.named("one worker");
    let start = |value| {
        let backend = context.options.backend;
        Backends::start(context.nursery, &placement.load, backend, 3, &[value])
    };
    report.say(format!("\n## workers: {}\n", placement.describe()));
    let mut spreads = Vec::new();
    let mut table = Table::new(&["clients", "of each of two workers", ""]);
    for clients in CLIENTS {
        let shares = spread(context, &placement, &two, &start(64)?, clients)?;
        let (least, most) = (shares.iter().min(), shares.iter().max());
        // Those with the fewest get the next one, so the counts differ by one at most.
        let even = shares.len() == WORKERS && most.zip(least).is_some_and(|(m, l)| m - l <= 1);
        let text: Vec<String> = shares.iter().map(usize::to_string).collect();
        let mark = if even { "even" } else { "UNEVEN" };
        table.row(vec![clients.to_string(), text.join(" + "), mark.to_owned()]);
        spreads.push(json!({"clients": clients, "of_each": shares}));
    }
    report.say(table.to_string());
    report.record("workers spread", &spreads)?;

    let mut costs = Table::new(&["load", "two workers' cost of a request (goal), in one's"]);
    let mut failures = 0;
    for scenario in SCENARIOS
        .iter()
        .filter(|scenario| LOADS.contains(&scenario.name))
    {
        let plan = plan(context.options, scenario);
        let peers = [one.clone(), two.clone()];
        let comparison = compare(context, &placement, &peers, &start(scenario.value)?, &plan);
        report.say(format!("\n{}, {}:\n", scenario.name, scenario.what));
        report.say(details(&comparison).to_string());
        report.record(&format!("workers {}", scenario.name), &comparison)?;
        let ratio = comparison.ratio(&two.name, &one.name, Sample::cpu_us);
        failures += usize::from(ratio.is_none());
        costs.row(vec![scenario.name.to_owned(), against(ratio, COST, true)]);
    }
    report.say(costs.to_string());
    Ok(failures)
}

/// How many clients each worker has, when so many have connected.
fn spread(
    context: &Context,
    placement: &Placement,
    peer: &Peer,
    backends: &Backends,
    clients: usize,
) -> Outcome<Vec<usize>> {
    let live = Live::start(context, placement, peer, backends)?;
    let pid = live.pid().ok_or("no proxy")?;
    let before = Watched::of(pid)?;
    let traffic = Traffic::new(Kind::Get, 64);
    let plan = Plan::uniform(
        live.port,
        clients,
        1,
        traffic,
        End::Requests(clients as u64),
    );
    let load = Load::start(context.nursery, &placement.load, &Order::Plan(plan))?;
    let after = Watched::of(pid)?;
    drop(load);
    Ok(after.new_since(&before))
}
