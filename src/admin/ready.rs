//! Should this instance be given clients? What `/ready` says.
//!
//! The rule about pools and servers is [`crate::topology::health`]'s; here it meets the life of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use serde::Serialize;

use crate::topology::health::{PoolHealth, Problem};

const STARTING: u8 = 0;
const STARTED: u8 = 1;
const SERVING: u8 = 2;
const DRAINING: u8 = 3;

/// Where the process is in its life. Clones are handles to the same.
///
/// ```text
/// starting --set_started--> started --every master was heard of once--> serving
///     +------------------------+----------------set_draining--------------+---> draining
/// ```
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Clients are accepted. Masters that Sentinel has not named yet are still waited for, but only once:
    /// a server that is added later makes no instance unready.
    pub fn set_started(&self) {
        self.advance(STARTING, STARTED);
    }

    /// The process is about to end: no new clients, please.
    pub fn set_draining(&self) {
        self.0.store(DRAINING, Relaxed);
    }

    fn advance(&self, from: u8, to: u8) {
        // Fails if it is further already.
        let _ = self.0.compare_exchange(from, to, Relaxed, Relaxed);
    }

    /// What to tell a load balancer. `strict`: every server has to be up.
    pub(super) fn verdict(&self, pools: &[PoolHealth], strict: bool) -> Verdict {
        let mut unheard = Vec::new();
        let mut unready = Vec::new();
        let mut degraded = Vec::new();
        for pool in pools {
            let name = &pool.name;
            for server in &pool.servers {
                let Some(problem) = &server.problem else {
                    continue;
                };
                let line = format!("server {} of pool {name}: {problem}", server.name);
                match problem {
                    Problem::Starting => unheard.push(line),
                    _ => degraded.push(line),
                }
            }
            if !pool.listening {
                unready.push(format!("pool {name} does not listen"));
            } else if !pool.is_ready() && !pool.is_starting() {
                unready.push(format!("pool {name} has no server that is up"));
            }
        }
        if unheard.is_empty() {
            self.advance(STARTED, SERVING);
        }
        let state = match self.0.load(Relaxed) {
            STARTING => State::Starting,
            STARTED => State::Starting,
            SERVING => State::Serving,
            _ => State::Draining,
        };
        let mut reasons = Vec::new();
        match state {
            State::Starting if unheard.is_empty() => reasons.push("starting".to_owned()),
            State::Starting => reasons.append(&mut unheard),
            State::Draining => reasons.push("draining".to_owned()),
            State::Serving => degraded.append(&mut unheard),
        }
        reasons.append(&mut unready);
        if strict {
            reasons.extend(degraded.iter().cloned());
        }
        Verdict {
            ready: reasons.is_empty(),
            state,
            reasons,
            degraded,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Starting,
    Serving,
    Draining,
}

#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub ready: bool,
    state: State,
    /// Why not; empty if it is ready.
    reasons: Vec<String>,
    /// Servers that are not up.
    degraded: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Endpoint;
    use crate::topology::health::ServerHealth;

    fn server(name: &str, problem: Option<Problem>) -> ServerHealth {
        ServerHealth {
            slot: 0,
            name: name.to_owned(),
            endpoint: Endpoint::Unix("/tmp/s".into()),
            by_sentinel: false,
            ejected: false,
            held: false,
            problem,
        }
    }

    fn pool(problems: [Option<Problem>; 2]) -> PoolHealth {
        let [a, b] = problems;
        PoolHealth {
            slot: 0,
            name: "alpha".to_owned(),
            listening: true,
            servers: vec![server("a", a), server("b", b)],
        }
    }

    /// State, readiness, reasons.
    fn asked(readiness: &Readiness, pool: PoolHealth) -> (State, bool, Vec<String>) {
        let verdict = readiness.verdict(&[pool], false);
        (verdict.state, verdict.ready, verdict.reasons)
    }

    #[test]
    fn ready_from_the_start_to_the_drain() {
        let readiness = Readiness::default();
        let well = || pool([None, None]);
        let reasons = |text: &str| vec![text.to_owned()];
        assert_eq!(
            asked(&readiness, well()),
            (State::Starting, false, reasons("starting"))
        );
        readiness.set_started();
        assert_eq!(asked(&readiness, well()), (State::Serving, true, vec![]));
        readiness.set_draining();
        readiness.set_started();
        assert_eq!(
            asked(&readiness, well()),
            (State::Draining, false, reasons("draining"))
        );
    }

    #[test]
    fn masters_are_waited_for_once() {
        let readiness = Readiness::default();
        readiness.set_started();
        let half = || pool([None, Some(Problem::Starting)]);
        let (state, ready, reasons) = asked(&readiness, half());
        assert_eq!((state, ready), (State::Starting, false));
        let why = "server b of pool alpha: the sentinels have not been heard yet";
        assert_eq!(reasons, [why]);
        assert!(asked(&readiness, pool([None, None])).1);
        // Added by a reload.
        let verdict = readiness.verdict(&[half()], false);
        assert!(verdict.ready);
        assert_eq!(verdict.degraded, [why]);
        let down = Some(Problem::OutOfReach);
        let added = [pool([None, None]), pool([down, Some(Problem::Starting)])];
        assert!(readiness.verdict(&added, false).ready);
    }

    #[test]
    fn one_server_is_enough_unless_all_are_asked_for() {
        let readiness = Readiness::default();
        readiness.set_started();
        let down = || Some(Problem::OutOfReach);
        let one = [pool([down(), None])];
        let verdict = readiness.verdict(&one, false);
        assert!(verdict.ready);
        assert_eq!(
            verdict.degraded,
            ["server a of pool alpha: cannot be reached"]
        );
        let strict = readiness.verdict(&one, true);
        assert!(!strict.ready);
        assert_eq!(strict.reasons, verdict.degraded);
        let none = readiness.verdict(&[pool([down(), down()])], false);
        assert!(!none.ready);
        assert_eq!(none.reasons, ["pool alpha has no server that is up"]);
    }

    #[test]
    fn a_pool_without_a_listener_is_not_ready() {
        let readiness = Readiness::default();
        readiness.set_started();
        let closed = PoolHealth {
            listening: false,
            ..pool([None, None])
        };
        let verdict = readiness.verdict(&[pool([None, None]), closed], false);
        assert_eq!(verdict.reasons, ["pool alpha does not listen"]);
    }
}
