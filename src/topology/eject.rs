//! When a server leaves the ring and when it returns: `auto_eject_hosts`, decided once for all workers.
//!
//! A machine. It counts failed connections and says when to probe; it knows neither rings nor sockets.
//! As in twemproxy each closed server connection is one failure and any normal reply starts the count
//! anew, but a server returns only after a probe found it well: twemproxy puts it back unchecked and lets
//! `server_failure_limit` requests fail to find out.
//!
//! ```text
//!        Failed, below the limit            server_retry_timeout is over
//!          +--+                               +------------------+
//!          |  v                               |                  v
//!       +--------+  Failed, at the limit  +---------+         +---------+
//!       |  Live  |----------------------->| Ejected |         | Probing |
//!       +--------+      (Eject)           +---------+ (Probe) +---------+
//!          ^                                  ^                |     |
//!          |                                  +----------------+     |
//!          |                                       unwell            |
//!          +---------------------------------------------------------+
//!                              well (Return)
//! ```
//! Without `auto_eject_hosts` a server stays live and nothing is counted.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::configure::{Past, auto_ejects, past};
use super::{Event, ServerId};
use crate::config::Config;

/// Shortest wait before a probe, so that `server_retry_timeout: 0` is no busy loop.
const MIN_RETRY: Duration = Duration::from_millis(10);

/// The ejection machine over all pools. Feed it with `handle_*`; after each, and when
/// [`poll_timeout`](Ejection::poll_timeout) has come, take out what it wants with
/// [`poll_action`](Ejection::poll_action).
#[derive(Debug)]
pub struct Ejection {
    /// By slot.
    pools: Vec<PoolWatch>,
    /// When each ejected server is to be probed.
    due: BTreeSet<(Instant, ServerId)>,
    actions: VecDeque<Action>,
}

/// What the machine wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Whether the workers should report the next success of this server.
    Suspect(ServerId, bool),
    /// It leaves the ring.
    Eject(ServerId),
    /// See how it is; the answer goes to [`Ejection::handle_probe_result`].
    Probe(ServerId),
    /// It is in the ring again.
    Return(ServerId),
}

#[derive(Debug, Default)]
struct PoolWatch {
    policy: Policy,
    servers: Vec<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Policy {
    auto_eject: bool,
    failure_limit: u32,
    retry_timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the ring.
    Live { failures: u32 },
    /// Out of the ring, to be probed later.
    Ejected,
    /// Out of the ring, the probe is under way.
    Probing,
    /// No longer configured: nobody counts or asks.
    Removed,
}

impl Ejection {
    pub fn new(config: &Config) -> Ejection {
        let mut ejection = Ejection {
            pools: Vec::new(),
            due: BTreeSet::new(),
            actions: VecDeque::new(),
        };
        ejection.configure(&Config { pools: Vec::new() }, config);
        ejection
    }

    /// Goes on by `new`, merged from `old`. Forgets exactly what
    /// [`Publisher::configure`](super::publish::Publisher::configure) forgets; actions that were not taken
    /// out yet are lost.
    pub fn configure(&mut self, old: &Config, new: &Config) {
        self.actions.clear();
        for (slot, pool) in new.pools.iter().enumerate() {
            let before = old.pools.get(slot);
            if slot == self.pools.len() {
                self.pools.push(PoolWatch::default());
            }
            let watch = &mut self.pools[slot];
            watch.policy = Policy {
                auto_eject: auto_ejects(pool),
                failure_limit: pool.server_failure_limit,
                retry_timeout: pool.server_retry_timeout.max(MIN_RETRY),
            };
            let state = State::Live { failures: 0 };
            watch.servers.resize(pool.servers.len(), state);
            for (server, state) in watch.servers.iter_mut().enumerate() {
                let past = before.map_or(Past::Nothing, |old| past(old, pool, server));
                let stays = past == Past::All && watch.policy.auto_eject;
                if pool.servers[server].removed {
                    *state = State::Removed;
                } else if !stays {
                    *state = State::Live { failures: 0 };
                }
            }
        }
        let pools = &self.pools;
        let is_ejected = |id: &ServerId| {
            let state = &pools[usize::from(id.pool)].servers[usize::from(id.server)];
            matches!(state, State::Ejected)
        };
        self.due.retain(|(_, id)| is_ejected(id));
    }

    /// What a worker saw. Late news of a server that is out of the ring changes nothing: the probe
    /// decides. Ids of no server are ignored.
    pub fn handle_event(&mut self, event: &Event, now: Instant) {
        let id = event.server_id();
        let Some((policy, state)) = find(&mut self.pools, id) else {
            return;
        };
        let State::Live { failures } = *state else {
            return;
        };
        if !policy.auto_eject {
            return;
        }
        let counted = match event {
            Event::Failed { .. } => failures.saturating_add(1),
            Event::Answered { .. } => 0,
            Event::NotMaster { .. } => return,
        };
        let eject = counted > 0 && counted >= policy.failure_limit;
        let suspect = counted > 0 && !eject;
        if suspect != (failures > 0) {
            self.actions.push_back(Action::Suspect(id, suspect));
        }
        if eject {
            *state = State::Ejected;
            self.actions.push_back(Action::Eject(id));
            schedule_probe(&mut self.due, id, now, policy);
        } else {
            *state = State::Live { failures: counted };
        }
    }

    /// The outcome of the probe that [`Action::Probe`] asked for; any other is ignored.
    pub fn handle_probe_result(&mut self, id: ServerId, well: bool, now: Instant) {
        let Some((policy, state @ State::Probing)) = find(&mut self.pools, id) else {
            return;
        };
        if well {
            *state = State::Live { failures: 0 };
            self.actions.push_back(Action::Return(id));
        } else {
            *state = State::Ejected;
            schedule_probe(&mut self.due, id, now, policy);
        }
    }

    /// The next thing to do, `None` when there is nothing more at `now`.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        let &(at, id) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let (_, state) = find(&mut self.pools, id)?;
        *state = State::Probing;
        Some(Action::Probe(id))
    }

    /// When [`poll_action`](Ejection::poll_action) has something to say without further input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }
}

fn find(pools: &mut [PoolWatch], id: ServerId) -> Option<(Policy, &mut State)> {
    let pool = pools.get_mut(usize::from(id.pool))?;
    let state = pool.servers.get_mut(usize::from(id.server))?;
    Some((pool.policy, state))
}

/// A wait beyond what the clock can express never ends.
fn schedule_probe(
    due: &mut BTreeSet<(Instant, ServerId)>,
    id: ServerId,
    now: Instant,
    policy: Policy,
) {
    if let Some(at) = now.checked_add(policy.retry_timeout) {
        due.insert((at, id));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;

    const A: ServerId = ServerId { pool: 0, server: 0 };
    const B: ServerId = ServerId { pool: 0, server: 1 };
    const RETRY: Duration = Duration::from_secs(30);

    fn machine(auto_eject_hosts: bool, limit: u32) -> Ejection {
        let pool = crate::config::PoolConfig {
            auto_eject_hosts,
            server_failure_limit: limit,
            server_retry_timeout: RETRY,
            ..fixture::pool(&["127.0.0.1:1", "127.0.0.1:2"])
        };
        Ejection::new(&fixture::config(vec![pool]))
    }

    fn failed(id: ServerId) -> Event {
        let ServerId { pool, server } = id;
        Event::Failed { pool, server }
    }

    fn answered(id: ServerId) -> Event {
        let ServerId { pool, server } = id;
        Event::Answered { pool, server }
    }

    fn actions(machine: &mut Ejection, now: Instant) -> Vec<Action> {
        std::iter::from_fn(|| machine.poll_action(now)).collect()
    }

    #[test]
    fn the_limit_ejects_and_counts_connections_of_one_server_only() {
        let (mut machine, now) = (machine(true, 3), Instant::now());
        for id in [A, B, A] {
            machine.handle_event(&failed(id), now);
        }
        assert_eq!(
            actions(&mut machine, now),
            [Action::Suspect(A, true), Action::Suspect(B, true)]
        );
        machine.handle_event(&failed(A), now);
        assert_eq!(
            actions(&mut machine, now),
            [Action::Suspect(A, false), Action::Eject(A)]
        );
        assert_eq!(machine.poll_timeout(), Some(now + RETRY));
    }

    #[test]
    fn an_answer_starts_the_count_anew() {
        let (mut machine, now) = (machine(true, 2), Instant::now());
        for event in [failed(A), answered(A), answered(A), failed(A)] {
            machine.handle_event(&event, now);
        }
        let expected = [
            Action::Suspect(A, true),
            Action::Suspect(A, false),
            Action::Suspect(A, true),
        ];
        assert_eq!(actions(&mut machine, now), expected);
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn limits_zero_and_one_eject_at_the_first_failure() {
        for limit in [0, 1] {
            let (mut machine, now) = (machine(true, limit), Instant::now());
            machine.handle_event(&answered(A), now);
            machine.handle_event(&failed(A), now);
            assert_eq!(actions(&mut machine, now), [Action::Eject(A)]);
        }
    }

    #[test]
    fn a_new_configuration_keeps_what_is_still_true() {
        let pool = |a: &str, retry| crate::config::PoolConfig {
            server_failure_limit: 1,
            server_retry_timeout: retry,
            ..fixture::pool(&[a, "127.0.0.1:2"])
        };
        let first = fixture::config(vec![pool("127.0.0.1:1", RETRY)]);
        let (mut machine, now) = (Ejection::new(&first), Instant::now());
        for id in [A, B] {
            machine.handle_event(&failed(id), now);
        }
        actions(&mut machine, now);
        // A has moved, B has not.
        let moved = fixture::config(vec![pool("127.0.0.1:9", RETRY / 2)]);
        machine.configure(&first, &moved);
        assert_eq!(actions(&mut machine, now + RETRY), [Action::Probe(B)]);
        machine.handle_event(&failed(A), now);
        assert_eq!(actions(&mut machine, now), [Action::Eject(A)]);
        assert_eq!(machine.poll_timeout(), Some(now + RETRY / 2));

        let mut patient = moved.clone();
        std::sync::Arc::make_mut(&mut patient.pools[0]).auto_eject_hosts = false;
        machine.configure(&moved, &patient);
        assert_eq!(machine.poll_timeout(), None);
        machine.handle_probe_result(B, false, now);
        machine.handle_event(&failed(A), now);
        assert_eq!(actions(&mut machine, now), []);
    }

    #[test]
    fn a_removed_server_is_not_counted_or_asked() {
        let mut pool = fixture::pool(&["127.0.0.1:1", "127.0.0.1:2"]);
        pool.server_failure_limit = 1;
        let both = fixture::config(vec![pool.clone()]);
        pool.servers[0].removed = true;
        let one = fixture::config(vec![pool]);
        let (mut machine, now) = (Ejection::new(&both), Instant::now());
        machine.handle_event(&failed(A), now);
        actions(&mut machine, now);
        machine.configure(&both, &one);
        machine.handle_event(&failed(A), now);
        assert_eq!(actions(&mut machine, now + 2 * RETRY), []);
        machine.configure(&one, &both);
        machine.handle_event(&failed(A), now);
        assert_eq!(actions(&mut machine, now), [Action::Eject(A)]);
    }

    #[test]
    fn without_auto_eject_hosts_nothing_happens() {
        let (mut machine, now) = (machine(false, 1), Instant::now());
        for _ in 0..5 {
            machine.handle_event(&failed(A), now);
        }
        assert_eq!(actions(&mut machine, now), []);
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn a_server_returns_only_after_a_good_probe() {
        let (mut machine, start) = (machine(true, 1), Instant::now());
        machine.handle_event(&failed(A), start);
        assert_eq!(actions(&mut machine, start), [Action::Eject(A)]);

        let early = start + RETRY - Duration::from_nanos(1);
        assert_eq!(actions(&mut machine, early), []);
        let due = start + RETRY;
        assert_eq!(actions(&mut machine, due), [Action::Probe(A)]);
        assert_eq!(machine.poll_timeout(), None, "one probe at a time");

        let unwell = due + Duration::from_secs(1);
        machine.handle_probe_result(A, false, unwell);
        assert_eq!(machine.poll_timeout(), Some(unwell + RETRY));
        assert_eq!(actions(&mut machine, unwell + RETRY), [Action::Probe(A)]);

        machine.handle_probe_result(A, true, unwell + RETRY);
        assert_eq!(actions(&mut machine, unwell + RETRY), [Action::Return(A)]);
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn late_news_of_an_ejected_server_changes_nothing() {
        let (mut machine, start) = (machine(true, 1), Instant::now());
        machine.handle_event(&failed(A), start);
        actions(&mut machine, start);
        for event in [failed(A), answered(A)] {
            machine.handle_event(&event, start + RETRY / 2);
        }
        machine.handle_probe_result(A, true, start + RETRY / 2);
        assert_eq!(actions(&mut machine, start + RETRY / 2), []);
        assert_eq!(machine.poll_timeout(), Some(start + RETRY));
    }

    #[test]
    fn no_retry_timeout_is_no_busy_loop() {
        let pool = crate::config::PoolConfig {
            server_failure_limit: 1,
            server_retry_timeout: Duration::ZERO,
            ..fixture::pool(&["127.0.0.1:1"])
        };
        let mut machine = Ejection::new(&fixture::config(vec![pool]));
        let now = Instant::now();
        machine.handle_event(&failed(A), now);
        assert_eq!(actions(&mut machine, now), [Action::Eject(A)]);
        assert_eq!(machine.poll_timeout(), Some(now + MIN_RETRY));
    }

    #[test]
    fn unknown_servers_are_ignored() {
        let (mut machine, now) = (machine(true, 1), Instant::now());
        for (pool, server) in [(0, 2), (1, 0)] {
            machine.handle_event(&failed(ServerId { pool, server }), now);
            machine.handle_probe_result(ServerId { pool, server }, true, now);
        }
        assert_eq!(actions(&mut machine, now), []);
    }

    /// What an observer of the actions believes of one server.
    #[derive(Default)]
    struct Model {
        ejected_at: Option<Instant>,
        probing: bool,
        suspect: bool,
        failures: u32,
    }

    proptest! {
        /// Whatever happens in whatever order: ejections and returns alternate, an ejection takes
        /// `limit` failures in a row, a return takes a good probe, no probe comes before its time.
        #[test]
        fn actions_are_consistent(
            limit in 1u32..5,
            steps in prop::collection::vec((0u8..5, 0u16..2, 0u64..40), 1..200),
        ) {
            let mut machine = machine(true, limit);
            let mut models = [Model::default(), Model::default()];
            let mut now = Instant::now();
            for (what, server, seconds) in steps {
                let id = ServerId { pool: 0, server };
                let model = &mut models[usize::from(server)];
                let was_probing = model.probing;
                match what {
                    0 | 1 => {
                        machine.handle_event(&failed(id), now);
                        model.failures += u32::from(model.ejected_at.is_none());
                    }
                    2 => {
                        machine.handle_event(&answered(id), now);
                        model.failures = 0;
                    }
                    3 => {
                        machine.handle_probe_result(id, seconds % 2 == 0, now);
                        model.probing = false;
                        if was_probing && seconds % 2 == 1 {
                            model.ejected_at = Some(now);
                        }
                    }
                    _ => now += Duration::from_secs(seconds),
                }
                for action in actions(&mut machine, now) {
                    match action {
                        Action::Suspect(id, suspect) => {
                            let model = &mut models[usize::from(id.server)];
                            prop_assert_ne!(model.suspect, suspect);
                            model.suspect = suspect;
                        }
                        Action::Eject(id) => {
                            let model = &mut models[usize::from(id.server)];
                            prop_assert!(model.ejected_at.is_none());
                            prop_assert_eq!(model.failures, limit);
                            *model = Model { ejected_at: Some(now), ..Model::default() };
                        }
                        Action::Probe(id) => {
                            let model = &mut models[usize::from(id.server)];
                            let since = model.ejected_at.expect("probed while live");
                            prop_assert!(!model.probing && now >= since + RETRY);
                            model.probing = true;
                        }
                        Action::Return(returned) => {
                            prop_assert!(returned == id && what == 3 && was_probing);
                            models[usize::from(server)] = Model::default();
                        }
                    }
                }
                for (model, state) in models.iter().zip(&machine.pools[0].servers) {
                    prop_assert_eq!(model.ejected_at.is_none(), matches!(state, State::Live { .. }));
                    prop_assert_eq!(model.suspect, model.failures > 0);
                }
            }
        }
    }
}
