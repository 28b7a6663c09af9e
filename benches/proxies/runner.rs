//! Runs proxies in turn under the same load.

use serde::Serialize;

use crate::Outcome;
use crate::backends::{Backends, wait_for_reply};
use crate::children::{Child, Nursery, Placement, free_port};
use crate::load::Load;
use crate::load::plan::{End, Order, Plan, Report};
use crate::measure::{Usage, Used, median, resident_kb};
use crate::options::Options;
use crate::peers::{Kind, Peer};

/// What everything here needs.
#[derive(Debug)]
pub struct Context<'a> {
    pub options: &'a Options,
    pub nursery: &'a Nursery,
}

/// A proxy that runs, or the server itself. Stopped when dropped.
#[derive(Debug)]
pub struct Live {
    pub port: u16,
    child: Option<Child>,
    /// Resident memory when it had answered one request.
    pub start_kb: u64,
}

impl Live {
    /// # Errors
    /// If it does not come up.
    pub fn start(
        context: &Context,
        placement: &Placement,
        peer: &Peer,
        backends: &Backends,
    ) -> Outcome<Live> {
        if peer.kind == Kind::Direct {
            let port = backends.ports[0];
            return Ok(Live {
                port,
                child: None,
                start_kb: 0,
            });
        }
        let (nursery, port) = (context.nursery, free_port()?);
        let command = peer.command(nursery, &placement.proxy, port, &backends.ports)?;
        let mut child = nursery.start(&format!("{port}.proxy"), command)?;
        wait_for_reply(port, &mut child)?;
        let start_kb = resident_kb(child.pid())?;
        Ok(Live {
            port,
            child: Some(child),
            start_kb,
        })
    }

    /// None for a server itself.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(Child::pid)
    }
}

/// One measured part.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub report: Report,
    /// Of the proxy.
    pub used: Used,
    pub resident_kb: u64,
}

impl Sample {
    pub fn requests(&self) -> u64 {
        self.report.groups.iter().map(|group| group.requests).sum()
    }

    /// Processor time of the proxy per request in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.used.cpu_ns as f64 / 1000.0 / self.requests().max(1) as f64
    }

    /// How many processors the proxy used: near 1 for one thread that has no more to give.
    pub fn busy(&self) -> f64 {
        self.used.cpu_ns as f64 / 1e9 / self.report.seconds
    }
}

/// Loads a proxy and says what that took.
///
/// # Errors
/// A wrong reply, or anything else that makes the figures worthless.
pub fn sample(
    context: &Context,
    placement: &Placement,
    live: &Live,
    plan: &Plan,
) -> Outcome<Sample> {
    let order = Order::Plan(Plan {
        port: live.port,
        ..plan.clone()
    });
    let mut load = Load::start(context.nursery, &placement.load, &order)?;
    let usage = |live: &Live| live.pid().map(Usage::of).transpose();
    let before = usage(live)?;
    let report = load.run()?;
    let after = usage(live)?;
    let used = match (before, after) {
        (Some(before), Some(after)) => after.since(&before),
        _ => Used::default(),
    };
    let resident_kb = live.pid().map_or(Ok(0), resident_kb)?;
    Ok(Sample {
        report,
        used,
        resident_kb,
    })
}

/// All rounds of a proxy.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub name: String,
    pub start_kb: u64,
    pub samples: Vec<Sample>,
    /// Why it was left out of further rounds.
    pub failure: Option<String>,
}

impl Series {
    pub fn median(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.iter().map(of))
    }
}

/// What proxies did in the same rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    pub series: Vec<Series>,
}

impl Comparison {
    pub fn of(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// The median of the rounds' ratios of `value`, `name`'s to `base`'s.
    pub fn ratio(&self, name: &str, base: &str, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        let rounds = self.of(name)?.samples.iter().zip(&self.of(base)?.samples);
        median(rounds.map(|(one, other)| value(one) / value(other)))
    }
}

/// Runs every peer once per round, in turn, after a shorter round that warms up. A peer that fails is left
/// out from then on.
///
/// # Errors
/// If the servers do not come up.
pub fn compare(
    context: &Context,
    placement: &Placement,
    peers: &[Peer],
    backends: &Backends,
    plan: &Plan,
) -> Comparison {
    let mut comparison = Comparison::default();
    let mut lives = Vec::new();
    for peer in peers {
        let live = Live::start(context, placement, peer, backends);
        comparison.series.push(Series {
            name: peer.name.clone(),
            start_kb: live.as_ref().map_or(0, |live| live.start_kb),
            samples: Vec::new(),
            failure: live.as_ref().err().map(ToString::to_string),
        });
        lives.push(live.ok());
    }
    let rounds = context.options.rounds();
    for round in 0..=rounds {
        let plan = if round == 0 {
            warm_up(plan)
        } else {
            plan.clone()
        };
        for (series, live) in comparison.series.iter_mut().zip(&mut lives) {
            let Some(running) = live else { continue };
            match sample(context, placement, running, &plan) {
                Ok(sample) if round > 0 => series.samples.push(sample),
                Ok(_) => {}
                Err(error) => {
                    series.failure = Some(error.to_string());
                    *live = None;
                }
            }
        }
    }
    comparison
}

fn warm_up(plan: &Plan) -> Plan {
    let step: usize = plan
        .groups
        .iter()
        .map(|group| group.clients * group.depth)
        .sum();
    let end = match plan.end {
        End::Requests(requests) => {
            let step = step as u64;
            End::Requests((requests / 4 / step).max(1) * step)
        }
        End::Milliseconds(time) => End::Milliseconds(time / 4),
    };
    Plan {
        end,
        ..plan.clone()
    }
}
