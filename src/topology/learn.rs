//! Which servers are asked for their commands, and what a pool learns from the answers.
//!
//! A machine: asking is `task/learn.rs`'s. Every server of a pool with `learn_commands` is asked at the start
//! and whenever the configuration is read again, until it has answered; a pool has what any of its servers
//! has. What a server said before it was out of reach stays.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServerId;
use crate::config::Config;
use crate::protocol::redis::command::{Learned, Told, Vocabulary};

/// From an attempt that failed to the next; twice as long after each.
pub const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(8);

/// Servers that are asked at a time: their replies are in memory.
const MAX_ASKING: usize = 8;

/// The machine over all pools. Feed it with `handle_*`; after each, and when
/// [`poll_timeout`](Learning::poll_timeout) has come, take out what it wants with
/// [`poll_action`](Learning::poll_action).
#[derive(Debug, Default)]
pub struct Learning {
    /// By slot.
    pools: Vec<Pool>,
    words: Vocabulary,
    /// When each server is to be asked; one that is being asked waits for its answer first.
    due: BTreeSet<(Instant, ServerId)>,
    asking: usize,
    actions: VecDeque<Action>,
}

/// What the machine wants done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The answer goes to [`Learning::handle_answer`].
    Ask(ServerId),
    /// The pool in this slot has these commands.
    Publish(u16, Arc<Learned>),
    /// The first failure since the server was to be asked; for the log.
    Failing(ServerId, String),
}

#[derive(Debug, Default)]
struct Pool {
    servers: Vec<Server>,
    learned: Arc<Learned>,
}

#[derive(Debug, Default)]
struct Server {
    /// It is configured, and its pool learns.
    wanted: bool,
    asking: bool,
    /// What it waits after its next failure; zero: it has not failed yet.
    wait: Duration,
    told: Vec<Told>,
}

impl Learning {
    /// All servers are due at `now`.
    pub fn new(config: &Config, now: Instant) -> Learning {
        let mut learning = Learning::default();
        learning.configure(config, now);
        learning
    }

    /// Goes on by `config`, whose servers are asked once more: an answer that is under way may be from before.
    pub fn configure(&mut self, config: &Config, now: Instant) {
        self.due.clear();
        self.pools.resize_with(config.pools.len(), Pool::default);
        for (pool, config) in (0u16..).zip(&config.pools) {
            let learns = config.learn_commands && !config.removed;
            let servers = &mut self.pools[usize::from(pool)].servers;
            servers.resize_with(config.servers.len(), Server::default);
            for (server, config) in (0u16..).zip(&config.servers) {
                let state = &mut servers[usize::from(server)];
                state.wanted = learns && !config.removed;
                state.wait = Duration::ZERO;
                match state.wanted {
                    true => drop(self.due.insert((now, ServerId { pool, server }))),
                    false => state.told = Vec::new(),
                }
            }
            self.publish(pool);
        }
    }

    /// What the server told, or why it told nothing.
    pub fn handle_answer(&mut self, id: ServerId, answer: Result<Vec<Told>, String>, now: Instant) {
        let pool = &mut self.pools[usize::from(id.pool)];
        let server = &mut pool.servers[usize::from(id.server)];
        server.asking = false;
        self.asking -= 1;
        if !server.wanted {
            return;
        }
        match answer {
            Ok(told) => {
                server.told = told;
                self.publish(id.pool);
            }
            Err(reason) => {
                if server.wait.is_zero() {
                    self.actions.push_back(Action::Failing(id, reason));
                }
                server.wait = (server.wait * 2).clamp(RETRY, MAX_RETRY);
                if !self.due.iter().any(|(_, due)| *due == id) {
                    self.due.insert((now + server.wait, id));
                }
            }
        }
    }

    /// The server is nowhere yet: its host name has no address, or Sentinel knows no master.
    pub fn handle_nowhere(&mut self, id: ServerId, now: Instant) {
        let server = &mut self.pools[usize::from(id.pool)].servers[usize::from(id.server)];
        server.asking = false;
        self.asking -= 1;
        self.due.insert((now + RETRY, id));
    }

    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if self.asking == MAX_ASKING {
            return None;
        }
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let next = due.copied().find(|(_, id)| !self.server(*id).asking)?;
        self.due.remove(&next);
        let (_, id) = next;
        self.pools[usize::from(id.pool)].servers[usize::from(id.server)].asking = true;
        self.asking += 1;
        Some(Action::Ask(id))
    }

    /// When [`Learning::poll_action`] may have something, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let free = self.asking < MAX_ASKING;
        let mut due = self.due.iter().filter(|(_, id)| !self.server(*id).asking);
        due.next().filter(|_| free).map(|(at, _)| *at)
    }

    fn server(&self, id: ServerId) -> &Server {
        &self.pools[usize::from(id.pool)].servers[usize::from(id.server)]
    }

    /// If the pool's commands are others than before.
    fn publish(&mut self, slot: u16) {
        let pool = &mut self.pools[usize::from(slot)];
        let told = pool.servers.iter().map(|server| &server.told[..]);
        let learned = self.words.join(told);
        if *pool.learned != learned {
            pool.learned = Arc::new(learned);
            let action = Action::Publish(slot, Arc::clone(&pool.learned));
            self.actions.push_back(action);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::config::PoolConfig;
    use crate::protocol::redis::command::{Access, Course};

    fn told(names: &[&str]) -> Vec<Told> {
        let one = |name: &&str| Told {
            name: name.to_string(),
            arity: -2,
            access: Access::Read,
            course: Course::Keys {
                first: 1,
                last: 1,
                step: 1,
            },
        };
        names.iter().map(one).collect()
    }

    fn pool(servers: usize, learn_commands: bool) -> PoolConfig {
        let servers: Vec<String> = (0..servers).map(|n| format!("127.0.0.1:{n}")).collect();
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        PoolConfig {
            learn_commands,
            ..fixture::pool(&servers)
        }
    }

    fn id(pool: u16, server: u16) -> ServerId {
        ServerId { pool, server }
    }

    /// All that it wants done: who is asked, what is published, who fails.
    fn actions(learning: &mut Learning, now: Instant) -> Vec<String> {
        let actions = std::iter::from_fn(|| learning.poll_action(now));
        let text = actions.map(|action| match action {
            Action::Ask(id) => format!("ask {}.{}", id.pool, id.server),
            Action::Publish(pool, learned) => {
                let names: Vec<_> = learned.every().map(|command| command.name).collect();
                format!("{pool} has {}", names.join(","))
            }
            Action::Failing(id, reason) => format!("{}.{} {reason}", id.pool, id.server),
        });
        text.collect()
    }

    #[test]
    fn servers_of_pools_that_learn_are_asked_until_they_answer() {
        let now = Instant::now();
        let config = fixture::config(vec![pool(1, false), pool(2, true)]);
        let mut learning = Learning::new(&config, now);
        assert_eq!(learning.poll_timeout(), Some(now));
        assert_eq!(actions(&mut learning, now), ["ask 1.0", "ask 1.1"]);
        assert_eq!(learning.poll_timeout(), None);
        learning.handle_answer(id(1, 0), Err("no".into()), now);
        learning.handle_answer(id(1, 1), Ok(told(&["x.get"])), now);
        assert_eq!(actions(&mut learning, now), ["1.0 no", "1 has x.get"]);
        assert_eq!(learning.poll_timeout(), Some(now + RETRY));
        assert!(actions(&mut learning, now + RETRY / 2).is_empty());
        assert_eq!(actions(&mut learning, now + RETRY), ["ask 1.0"]);
        learning.handle_answer(id(1, 0), Err("still no".into()), now + RETRY);
        let later = now + 3 * RETRY;
        assert_eq!(learning.poll_timeout(), Some(later));
        assert_eq!(actions(&mut learning, later), ["ask 1.0"]);
        learning.handle_answer(id(1, 0), Ok(told(&["x.get", "x.set"])), later);
        assert_eq!(actions(&mut learning, later), ["1 has x.get,x.set"]);
        assert_eq!(learning.poll_timeout(), None);
    }

    #[test]
    fn a_configuration_asks_once_more_and_old_answers_stay_until_then() {
        let now = Instant::now();
        let config = fixture::config(vec![pool(2, true)]);
        let mut learning = Learning::new(&config, now);
        assert_eq!(actions(&mut learning, now), ["ask 0.0", "ask 0.1"]);
        learning.handle_answer(id(0, 0), Ok(told(&["a.b"])), now);
        assert_eq!(actions(&mut learning, now), ["0 has a.b"]);
        learning.configure(&config, now);
        // The other is being asked still.
        assert_eq!(actions(&mut learning, now), ["ask 0.0"]);
        learning.handle_answer(id(0, 1), Ok(told(&["a.c"])), now);
        assert_eq!(actions(&mut learning, now), ["0 has a.b,a.c", "ask 0.1"]);
        learning.handle_answer(id(0, 0), Ok(told(&["a.b"])), now);
        learning.handle_answer(id(0, 1), Ok(told(&[])), now);
        assert_eq!(actions(&mut learning, now), ["0 has a.b"]);
    }

    #[test]
    fn a_pool_that_learns_no_more_forgets() {
        let now = Instant::now();
        let mut learning = Learning::new(&fixture::config(vec![pool(2, true)]), now);
        actions(&mut learning, now);
        learning.handle_answer(id(0, 0), Ok(told(&["a.b"])), now);
        actions(&mut learning, now);
        learning.configure(&fixture::config(vec![pool(2, false)]), now);
        assert_eq!(actions(&mut learning, now), ["0 has "]);
        learning.handle_answer(id(0, 1), Ok(told(&["late"])), now);
        assert!(actions(&mut learning, now).is_empty());
        assert_eq!(learning.poll_timeout(), None);
        learning.configure(&fixture::config(vec![pool(2, true)]), now);
        assert_eq!(actions(&mut learning, now), ["ask 0.0", "ask 0.1"]);
    }

    #[test]
    fn a_server_that_is_nowhere_is_no_failure() {
        let now = Instant::now();
        let mut learning = Learning::new(&fixture::config(vec![pool(1, true)]), now);
        for round in 0..5 {
            let now = now + round * RETRY;
            assert_eq!(actions(&mut learning, now), ["ask 0.0"]);
            learning.handle_nowhere(id(0, 0), now);
            assert!(actions(&mut learning, now).is_empty());
        }
    }

    #[test]
    fn few_are_asked_at_a_time() {
        let now = Instant::now();
        let mut learning = Learning::new(&fixture::config(vec![pool(20, true)]), now);
        let mut asked = actions(&mut learning, now).len();
        assert_eq!((asked, learning.poll_timeout()), (MAX_ASKING, None));
        for server in 0..20 {
            learning.handle_answer(id(0, server), Ok(told(&["a"])), now);
            asked += actions(&mut learning, now)
                .iter()
                .filter(|action| action.starts_with("ask"))
                .count();
        }
        assert_eq!((asked, learning.asking), (20, 0));
    }
}
