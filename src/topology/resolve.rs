//! When a host name is looked up, and which of its addresses serves.
//!
//! A machine: the lookups themselves are `task.rs`'s. twemproxy resolves in its event loop each time it
//! connects; here a name is looked up off the data path, at the start, every few seconds, and sooner when
//! a connection to its server failed, and workers only ever see the outcome.
//!
//! The address in use stays as long as it is among those of the name, so that a resolver that turns its
//! answers round causes no reconnects, and it stays while the name cannot be resolved.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Endpoint, Event, ServerId, Update};
use crate::config::{Address, Config};

/// From an answer to the next lookup: how long an idle pool may miss a changed address.
pub const REFRESH: Duration = Duration::from_secs(5);

/// From a lookup that failed to the next: the name may have no address at all yet.
pub const RETRY: Duration = Duration::from_secs(1);

/// Between the starts of two lookups of a name, however many connections fail.
pub const MIN_INTERVAL: Duration = Duration::from_millis(200);

/// The machine over all names of a configuration. Feed it with `handle_*`; after each, and when
/// [`poll_timeout`](Resolver::poll_timeout) has come, take out what it wants with
/// [`poll_action`](Resolver::poll_action).
#[derive(Debug)]
pub struct Resolver {
    hosts: BTreeMap<Arc<str>, Host>,
    by_server: HashMap<ServerId, Arc<str>>,
    actions: VecDeque<Action>,
}

/// What the machine wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look this name up; the answer goes to [`Resolver::handle_answer`].
    Lookup(Arc<str>),
    Publish(Update),
    /// The first failed lookup after a good one or at the start; for the log.
    Failing {
        host: Arc<str>,
        reason: String,
    },
    /// The first good lookup after failed ones; for the log.
    Recovered(Arc<str>),
}

#[derive(Debug)]
struct Host {
    /// The servers on this host, with their ports.
    servers: Vec<(ServerId, u16)>,
    /// Port 0: the port is each server's own.
    current: Option<SocketAddr>,
    /// When the next lookup starts; `None` while one is under way.
    next: Option<Instant>,
    last_start: Option<Instant>,
    /// A connection failed while a lookup was under way, whose answer may be from before.
    again: bool,
    /// Whether there ever was an answer, good or bad.
    attempted: bool,
    failing: bool,
}

impl Resolver {
    /// All names are due at `now`. Several servers on one host are one lookup.
    pub fn new(config: &Config, now: Instant) -> Resolver {
        let mut resolver = Resolver {
            hosts: BTreeMap::new(),
            by_server: HashMap::new(),
            actions: VecDeque::new(),
        };
        resolver.configure(config, now);
        resolver
    }

    /// Goes on by `config`. What is known of a name stays, and every server on a known one gets its address
    /// once more.
    pub fn configure(&mut self, config: &Config, now: Instant) {
        self.by_server.clear();
        for host in self.hosts.values_mut() {
            host.servers.clear();
        }
        for (id, host, port) in names(config) {
            self.add(id, host, port, now);
        }
        self.hosts.retain(|_, host| !host.servers.is_empty());
        self.actions.retain(|action| match action {
            Action::Publish(update) => self.by_server.contains_key(&update.server_id()),
            _ => true,
        });
        for host in self.hosts.values() {
            host.publish(&mut self.actions);
        }
    }

    fn add(&mut self, id: ServerId, name: &str, port: u16, now: Instant) {
        let key: Arc<str> = name.into();
        self.by_server.insert(id, Arc::clone(&key));
        let host = self.hosts.entry(key).or_insert(Host {
            servers: Vec::new(),
            current: None,
            next: Some(now),
            last_start: None,
            again: false,
            attempted: false,
            failing: false,
        });
        host.servers.push((id, port));
    }

    /// What a worker saw: a failed connection makes the name of its server due soon.
    pub fn handle_event(&mut self, event: &Event, now: Instant) {
        let Event::Failed { .. } = event else { return };
        let host = self.by_server.get(&event.server_id());
        if let Some(host) = host.and_then(|host| self.hosts.get_mut(host)) {
            match host.next {
                Some(next) => host.next = Some(next.min(host.soonest(now))),
                None => host.again = true,
            }
        }
    }

    /// The answer to [`Action::Lookup`]: the addresses, with any port, or why there are none.
    pub fn handle_answer(
        &mut self,
        name: &Arc<str>,
        answer: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        let answer = match answer {
            Ok(addresses) if addresses.is_empty() => Err("it has no address".to_string()),
            other => other,
        };
        let failed = answer.is_err();
        match answer {
            Ok(addresses) => {
                if host.failing {
                    self.actions.push_back(Action::Recovered(Arc::clone(name)));
                }
                host.take(&addresses, &mut self.actions);
            }
            Err(reason) if !host.failing => self.actions.push_back(Action::Failing {
                host: Arc::clone(name),
                reason,
            }),
            Err(_) => {}
        }
        host.attempted = true;
        host.failing = failed;
        let regular = now + if failed { RETRY } else { REFRESH };
        host.next = Some(if std::mem::take(&mut host.again) {
            regular.min(host.soonest(now))
        } else {
            regular
        });
    }

    /// The next thing to do, `None` when there is nothing more at `now`.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        let is_due = |host: &Host| host.next.is_some_and(|next| next <= now);
        let (name, host) = self.hosts.iter_mut().find(|(_, host)| is_due(host))?;
        host.next = None;
        host.last_start = Some(now);
        Some(Action::Lookup(Arc::clone(name)))
    }

    /// When [`poll_action`](Resolver::poll_action) has something to say without further input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.hosts.values().filter_map(|host| host.next).min()
    }

    /// Each name was looked up at least once, with whatever outcome.
    pub fn all_attempted(&self) -> bool {
        self.hosts.values().all(|host| host.attempted)
    }
}

impl Host {
    fn soonest(&self, now: Instant) -> Instant {
        match self.last_start {
            Some(start) => now.max(start + MIN_INTERVAL),
            None => now,
        }
    }

    /// Moves to the first of `addresses` unless the current one is among them.
    fn take(&mut self, addresses: &[SocketAddr], actions: &mut VecDeque<Action>) {
        let mut portless = addresses.iter().map(|&address| with_port(address, 0));
        let Some(first) = portless.clone().next() else {
            return;
        };
        if portless.any(|address| Some(address) == self.current) {
            return;
        }
        self.current = Some(first);
        self.publish(actions);
    }

    /// Sends every server to the current address, if there is one.
    fn publish(&self, actions: &mut VecDeque<Action>) {
        let Some(current) = self.current else { return };
        for &(id, port) in &self.servers {
            let endpoint = Endpoint::Tcp(with_port(current, port));
            actions.push_back(Action::Publish(Update::Endpoint(id, endpoint)));
        }
    }
}

/// The servers of `config` whose host has to be looked up, with its name and their port.
pub(super) fn names(config: &Config) -> impl Iterator<Item = (ServerId, &str, u16)> {
    let pools = (0u16..).zip(&config.pools);
    // The addresses of others come from the sentinels.
    let plain = pools.filter(|(_, config)| config.sentinel.is_none());
    plain.flat_map(|(pool, config)| {
        config
            .live()
            .into_iter()
            .filter_map(move |(server, config)| {
                let (host, port) = name(&config.address)?;
                Some((ServerId { pool, server }, host, port))
            })
    })
}

/// The host name and port of an address that has to be looked up.
fn name(address: &Address) -> Option<(&str, u16)> {
    match address {
        Address::Tcp { host, port } if host.parse::<IpAddr>().is_err() => Some((host, *port)),
        Address::Tcp { .. } | Address::Unix(_) => None,
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    const ON_A: ServerId = ServerId { pool: 0, server: 0 };
    const ON_B: ServerId = ServerId { pool: 0, server: 2 };
    const ALSO_ON_A: ServerId = ServerId { pool: 1, server: 1 };

    fn machine(now: Instant) -> Resolver {
        let first = fixture::pool(&["a.example:1", "127.0.0.1:2", "b.example:3"]);
        let second = fixture::pool(&["/run/redis.sock", "a.example:4"]);
        Resolver::new(&fixture::config(vec![first, second]), now)
    }

    fn failed(id: ServerId) -> Event {
        let ServerId { pool, server } = id;
        Event::Failed { pool, server }
    }

    fn lookup(name: &str) -> Action {
        Action::Lookup(name.into())
    }

    fn endpoint(id: ServerId, address: &str) -> Action {
        let endpoint = Endpoint::Tcp(address.parse().unwrap());
        Action::Publish(Update::Endpoint(id, endpoint))
    }

    fn addresses(list: &[&str]) -> Result<Vec<SocketAddr>, String> {
        let ips = list.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
        Ok(ips.map(|ip| SocketAddr::new(ip, 0)).collect())
    }

    fn actions(machine: &mut Resolver, now: Instant) -> Vec<Action> {
        std::iter::from_fn(|| machine.poll_action(now)).collect()
    }

    /// Lets `a.example` answer `answer` at `now`, with its lookup under way.
    fn answered(
        machine: &mut Resolver,
        answer: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) -> Vec<Action> {
        machine.handle_answer(&"a.example".into(), answer, now);
        actions(machine, now)
    }

    /// A machine whose two names are known, and the moment of the answers.
    fn resolved() -> (Resolver, Instant) {
        let now = Instant::now();
        let mut machine = machine(now);
        assert_eq!(
            actions(&mut machine, now),
            [lookup("a.example"), lookup("b.example")]
        );
        let moves = answered(&mut machine, addresses(&["10.0.0.1", "10.0.0.2"]), now);
        let expected = [
            endpoint(ON_A, "10.0.0.1:1"),
            endpoint(ALSO_ON_A, "10.0.0.1:4"),
        ];
        assert_eq!(moves, expected);
        assert!(!machine.all_attempted());
        machine.handle_answer(&"b.example".into(), addresses(&["fd00::1"]), now);
        assert_eq!(actions(&mut machine, now), [endpoint(ON_B, "[fd00::1]:3")]);
        assert!(machine.all_attempted());
        (machine, now)
    }

    #[test]
    fn names_are_looked_up_at_once_and_then_every_refresh() {
        let (mut machine, now) = resolved();
        assert_eq!(machine.poll_timeout(), Some(now + REFRESH));
        assert_eq!(
            actions(&mut machine, now + REFRESH - Duration::from_nanos(1)),
            []
        );
        let due = actions(&mut machine, now + REFRESH);
        assert_eq!(due, [lookup("a.example"), lookup("b.example")]);
        assert_eq!(machine.poll_timeout(), None, "one lookup at a time");
    }

    #[test]
    fn without_names_there_is_nothing_to_do() {
        let now = Instant::now();
        let config = fixture::config(vec![fixture::pool(&["127.0.0.1:1", "/tmp/redis.sock"])]);
        let mut machine = Resolver::new(&config, now);
        assert!(machine.all_attempted());
        assert_eq!(actions(&mut machine, now), []);
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn the_address_in_use_stays_while_it_is_among_the_answers() {
        let (mut machine, now) = resolved();
        let turned = addresses(&["10.0.0.2", "10.0.0.1"]);
        assert_eq!(answered(&mut machine, turned, now), []);
        let moved = addresses(&["10.0.0.3", "10.0.0.2"]);
        let expected = [
            endpoint(ON_A, "10.0.0.3:1"),
            endpoint(ALSO_ON_A, "10.0.0.3:4"),
        ];
        assert_eq!(answered(&mut machine, moved, now), expected);
    }

    #[test]
    fn a_failing_name_keeps_its_address_and_is_told_once() {
        let (mut machine, now) = resolved();
        let nothing = || Err("no such host".to_string());
        let told = answered(&mut machine, nothing(), now);
        let failing = Action::Failing {
            host: "a.example".into(),
            reason: "no such host".to_string(),
        };
        assert_eq!(told, [failing]);
        assert_eq!(machine.poll_timeout(), Some(now + RETRY));
        assert_eq!(answered(&mut machine, nothing(), now), []);
        assert_eq!(answered(&mut machine, addresses(&[]), now), []);
        let back = answered(&mut machine, addresses(&["10.0.0.1"]), now);
        assert_eq!(back, [Action::Recovered("a.example".into())]);
        assert_eq!(machine.poll_timeout(), Some(now + REFRESH));
    }

    #[test]
    fn a_name_without_address_at_the_start_counts_as_attempted() {
        let now = Instant::now();
        let mut machine = machine(now);
        actions(&mut machine, now);
        for host in ["a.example", "b.example"] {
            assert!(!machine.all_attempted());
            machine.handle_answer(&host.into(), Err("nothing".to_string()), now);
        }
        assert!(machine.all_attempted());
        let told = actions(&mut machine, now);
        assert!(matches!(
            told[..],
            [Action::Failing { .. }, Action::Failing { .. }]
        ));
    }

    #[test]
    fn failed_connections_hasten_the_lookup_but_not_without_bound() {
        let (mut machine, now) = resolved();
        machine.handle_event(&failed(ON_B), now);
        assert_eq!(actions(&mut machine, now), []);
        let soon = now + MIN_INTERVAL;
        assert_eq!(machine.poll_timeout(), Some(soon));
        assert_eq!(actions(&mut machine, soon), [lookup("b.example")]);

        let (pool, server) = (ALSO_ON_A.pool, ALSO_ON_A.server);
        machine.handle_event(&Event::Answered { pool, server }, soon);
        assert_eq!(machine.poll_timeout(), Some(now + REFRESH));
        let later = now + Duration::from_secs(2);
        machine.handle_event(&failed(ALSO_ON_A), later);
        assert_eq!(actions(&mut machine, later), [lookup("a.example")]);
    }

    #[test]
    fn a_failure_during_a_lookup_asks_again_after_it() {
        let (mut machine, now) = resolved();
        let start = now + REFRESH;
        actions(&mut machine, start);
        machine.handle_event(&failed(ON_A), start);
        assert_eq!(actions(&mut machine, start), []);
        answered(&mut machine, addresses(&["10.0.0.1"]), start);
        assert_eq!(machine.poll_timeout(), Some(start + MIN_INTERVAL));
        let again = start + MIN_INTERVAL;
        assert_eq!(actions(&mut machine, again), [lookup("a.example")]);
        answered(&mut machine, addresses(&["10.0.0.1"]), again);
        assert_eq!(machine.poll_timeout(), Some(again + REFRESH));
    }

    #[test]
    fn a_new_configuration_keeps_what_is_known_of_names() {
        let (mut machine, now) = resolved();
        let mut first = fixture::pool(&["a.example:1", "127.0.0.1:2", "b.example:3"]);
        first.servers[2].removed = true;
        let second = fixture::pool(&["a.example:9", "a.example:4", "c.example:5"]);
        machine.configure(&fixture::config(vec![first, second]), now);
        let moved = ServerId { pool: 1, server: 0 };
        let expected = [
            endpoint(ON_A, "10.0.0.1:1"),
            endpoint(moved, "10.0.0.1:9"),
            endpoint(ALSO_ON_A, "10.0.0.1:4"),
            lookup("c.example"),
        ];
        assert_eq!(actions(&mut machine, now), expected);
        machine.handle_event(&failed(ON_B), now);
        machine.handle_answer(&"b.example".into(), addresses(&["10.0.0.7"]), now);
        assert_eq!(actions(&mut machine, now), []);
        let new = ServerId { pool: 1, server: 2 };
        machine.handle_answer(&"c.example".into(), addresses(&["10.0.0.8"]), now);
        assert_eq!(actions(&mut machine, now), [endpoint(new, "10.0.0.8:5")]);
    }

    #[test]
    fn servers_without_name_and_unknown_ones_are_ignored() {
        let (mut machine, now) = resolved();
        for (pool, server) in [(0, 1), (1, 0), (7, 7)] {
            machine.handle_event(&failed(ServerId { pool, server }), now);
        }
        machine.handle_answer(&"c.example".into(), addresses(&["10.0.0.9"]), now);
        assert_eq!(actions(&mut machine, now), []);
        assert_eq!(machine.poll_timeout(), Some(now + REFRESH));
    }
}
