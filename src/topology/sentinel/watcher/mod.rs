//! The machine over one set of sentinels: brings messages and answers to the shards they are about, and
//! asks what the shards want to know. `events.rs` and `answers.rs` say who is concerned by what.

mod answers;
mod events;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use redis_protocol::resp2::types::OwnedFrame;

use super::address::{Addresses, HostPort};
use super::answer::{Question, RoleAnswer};
use super::message::{self, CHANNELS};
use super::output::{Note, Output};
use super::peer::{Means, Peer};
use super::peers::{Change, Peers};
use super::search::Search;
use super::shard::{Context, Poll, Shard};
use super::snapshot::{SentinelSnapshot, Snapshot};
use super::timing::Timing;
use super::{Link, LinkDown, SentinelId, ShardId, ShardSpec, Symptom};

/// Most host names that are looked up: they come from messages.
const MAX_NAMES: usize = 256;

/// Follows one set of sentinels for all shards that it manages. See the module's head.
#[derive(Debug)]
pub struct Watcher {
    peers: Peers,
    shards: Vec<Shard>,
    addresses: Addresses,
    timing: Timing,
    random: fastrand::Rng,
    search: Search,
    /// Host names, with when each is looked up next.
    names: BTreeMap<String, Instant>,
    outputs: VecDeque<Output>,
    ready: bool,
    /// While no link is up: when that is noted (again).
    gone: Option<Instant>,
    gone_noted: bool,
}

impl Watcher {
    /// Opens links to all `sentinels` at `now`. `nat`: from the address that sentinels announce to the one
    /// that reaches it. `seed` spreads polls and retries, so that many proxies do not act in step.
    pub fn new(
        sentinels: Vec<HostPort>,
        shards: Vec<ShardSpec>,
        nat: impl IntoIterator<Item = (HostPort, HostPort)>,
        timing: Timing,
        seed: u64,
        now: Instant,
    ) -> Watcher {
        let shards = shards.into_iter().enumerate();
        let mut watcher = Watcher {
            peers: Peers::default(),
            shards: shards
                .map(|(id, spec)| Shard::new(ShardId(id), spec, &timing, now))
                .collect(),
            addresses: Addresses::new(nat),
            timing,
            random: fastrand::Rng::with_seed(seed),
            search: Search::default(),
            names: BTreeMap::new(),
            outputs: VecDeque::new(),
            ready: false,
            gone: Some(now + timing.startup_wait),
            gone_noted: false,
        };
        for address in sentinels {
            watcher.see(&address, now);
            let id = watcher.peers.add(address, true, &timing, now);
            watcher.change(Change::Added(id));
        }
        let initial = watcher
            .shards
            .iter()
            .map(|shard| shard.spec.initial.clone());
        for address in initial.collect::<Vec<_>>() {
            watcher.see(&address, now);
        }
        watcher.handle_timeout(now);
        watcher
    }

    /// Connected and authenticated.
    pub fn handle_link_up(&mut self, sentinel: SentinelId, link: Link, now: Instant) {
        self.with_peer(sentinel, now, |peer, means| {
            peer.handle_link_up(link, means)
        });
        if link == Link::Query && self.search.due.is_some() {
            self.ask(sentinel, vec![Question::Masters], now);
        }
        self.settle(now);
    }

    /// Not connected, or not any more.
    pub fn handle_link_down(
        &mut self,
        sentinel: SentinelId,
        link: Link,
        reason: LinkDown,
        now: Instant,
    ) {
        self.with_peer(sentinel, now, |peer, means| {
            peer.handle_link_down(link, reason, means);
        });
        self.settle(now);
    }

    /// All channels of the subscription are confirmed.
    pub fn handle_subscribed(&mut self, sentinel: SentinelId, now: Instant) {
        self.with_peer(sentinel, now, |peer, _| peer.handle_subscribed(now));
        self.settle(now);
    }

    /// The answer to [`Output::Ping`].
    pub fn handle_alive(&mut self, sentinel: SentinelId, now: Instant) {
        self.with_peer(sentinel, now, |peer, _| peer.heard(Link::Subscription, now));
    }

    /// A published message.
    pub fn handle_message(
        &mut self,
        sentinel: SentinelId,
        channel: &[u8],
        payload: &[u8],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(sentinel) else {
            return;
        };
        peer.heard(Link::Subscription, now);
        peer.last_event = Some(now);
        match message::event(channel, payload) {
            Ok(event) => {
                let known = CHANNELS.iter().find(|known| known.as_bytes() == channel);
                self.handle_event(sentinel, known.copied().unwrap_or_default(), event, now);
            }
            Err(error) => {
                peer.hasten_poll(self.timing.symptom_gap, now);
                self.note(Note::Malformed { sentinel, error });
            }
        }
        self.settle(now);
    }

    /// The reply to a question, in the order of the questions.
    pub fn handle_answer(
        &mut self,
        sentinel: SentinelId,
        question: &Question,
        answer: &OwnedFrame,
        now: Instant,
    ) {
        let asked = self.with_peer(sentinel, now, |peer, means| {
            peer.handle_answer(question, means)
        });
        if let Some(asked) = asked.flatten() {
            let result = self.take_answer(sentinel, question, answer, asked, now);
            self.judge_answer(sentinel, question, result);
        }
        self.settle(now);
    }

    /// What came of [`Output::CheckRole`].
    pub fn handle_role(
        &mut self,
        shard: ShardId,
        address: &HostPort,
        answer: &RoleAnswer,
        now: Instant,
    ) {
        self.with_shard(shard, now, |shard, ctx| {
            shard.handle_role(address, answer, ctx)
        });
        self.settle(now);
    }

    /// Requests met something odd at the shard's master.
    pub fn handle_symptom(&mut self, shard: ShardId, symptom: Symptom, now: Instant) {
        self.with_shard(shard, now, |shard, ctx| shard.handle_symptom(symptom, ctx));
        self.settle(now);
    }

    /// What came of [`Output::Resolve`]; `None`: no address, the last one stays.
    pub fn handle_resolved(&mut self, name: &str, ip: Option<IpAddr>, now: Instant) {
        if ip.is_none()
            && let Some(next) = self.names.get_mut(name)
        {
            *next = now + self.timing.poll;
        }
        if ip.is_some_and(|ip| self.addresses.resolve(name, ip)) {
            self.each_shard(now, Shard::reconsider);
        }
        self.settle(now);
    }

    /// The time that [`Watcher::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.with_peers(now, |peers, means| {
            for peer in peers.iter_mut() {
                peer.handle_timeout(means);
            }
        });
        for change in self.with_peers(now, Peers::forget) {
            self.change(change);
        }
        self.each_shard(now, Shard::handle_timeout);
        if self.search.ends.is_some_and(|ends| ends <= now) {
            self.conclude_search(now);
        }
        self.settle(now);
    }

    /// The next thing to do, `None` when there is nothing more for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Watcher::handle_timeout`] is to be called, if nothing comes in before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timing = &self.timing;
        let peers = self
            .peers
            .iter()
            .filter_map(|peer| peer.poll_timeout(timing));
        let shards = self
            .shards
            .iter()
            .filter_map(|shard| shard.poll_timeout(timing));
        let names = self.names.values().copied();
        let own = [
            self.peers.next_forget(timing),
            self.search.due,
            self.search.ends,
            self.gone,
        ];
        let all = peers.chain(shards).chain(names);
        all.chain(own.into_iter().flatten()).min()
    }

    /// The state as plain data.
    pub fn snapshot(&self) -> Snapshot {
        let sentinels = self.peers.iter().map(|peer| SentinelSnapshot {
            id: peer.id,
            address: peer.address.clone(),
            run_id: peer.run_id.clone(),
            configured: peer.configured,
            subscribed: peer.subscribed,
            queried: peer.is_up(Link::Query),
            tilt: peer.tilt,
            last_event: peer.last_event,
            problem: peer.problem(),
        });
        Snapshot {
            sentinels: sentinels.collect(),
            shards: (self.shards.iter())
                .map(|shard| shard.snapshot(&self.addresses))
                .collect(),
        }
    }

    /// Does all that follows from an input.
    fn settle(&mut self, now: Instant) {
        self.note_lost(now);
        self.continue_search(now);
        self.poll_peers(now);
        let mut wanted: BTreeMap<SentinelId, BTreeSet<String>> = BTreeMap::new();
        for shard in &mut self.shards {
            self.outputs.extend(shard.outputs.drain(..));
            for poll in shard.polls.drain(..) {
                let Some(name) = &shard.name else { continue };
                for peer in self.peers.iter() {
                    if poll == Poll::All || poll == Poll::One(peer.id) {
                        wanted.entry(peer.id).or_default().insert(name.clone());
                    }
                }
            }
        }
        for (sentinel, names) in wanted {
            let questions = names.iter().flat_map(|name| pair(name));
            self.ask(sentinel, questions.collect(), now);
        }
        self.resolve_names(now);
        if !self.ready && self.shards.iter().all(|shard| shard.settled) {
            self.ready = true;
            let without = self.shards.iter().filter(|shard| !shard.is_serving());
            let without_master = without.map(|shard| shard.id).collect();
            self.outputs.push_back(Output::Ready { without_master });
        }
    }

    /// What links that went down mean to the shards, and whether any is left.
    fn note_lost(&mut self, now: Instant) {
        for peer in self.peers.iter() {
            if !peer.is_up(Link::Query) {
                self.search.handle_lost(peer.id);
                for shard in &mut self.shards {
                    shard.views.lose(peer.id);
                }
            }
        }
        if self.peers.any_up() {
            self.gone = None;
            if std::mem::take(&mut self.gone_noted) {
                self.note(Note::SentinelsBack);
            }
        } else if *self.gone.get_or_insert(now) <= now {
            self.gone = Some(now + self.timing.reminder);
            self.gone_noted = true;
            self.note(Note::AllSentinelsGone);
        }
    }

    fn poll_peers(&mut self, now: Instant) {
        let due = self.with_peers(now, |peers, means| {
            let polls = peers
                .iter_mut()
                .filter_map(|peer| Some((peer.id, peer.take_poll(means)?)));
            polls.collect::<Vec<_>>()
        });
        for (sentinel, discover) in due {
            let names = self.shards.iter().filter_map(|shard| shard.name.as_ref());
            let names: BTreeSet<&String> = names.collect();
            let mut questions: Vec<Question> = names.iter().flat_map(|name| pair(name)).collect();
            if discover {
                questions.push(Question::MyId);
                questions.extend(names.into_iter().cloned().map(Question::Sentinels));
            }
            self.ask(sentinel, questions, now);
        }
    }

    fn resolve_names(&mut self, now: Instant) {
        for (name, next) in &mut self.names {
            if *next <= now {
                *next = now + self.timing.rediscover;
                self.outputs.push_back(Output::Resolve(name.clone()));
            }
        }
    }

    /// An address as a sentinel wrote it becomes one of ours.
    fn meet(&mut self, announced: HostPort, now: Instant) -> HostPort {
        let address = self.addresses.translate(announced);
        self.see(&address, now);
        address
    }

    fn see(&mut self, address: &HostPort, now: Instant) {
        if let Some(name) = address.name()
            && self.names.len() < MAX_NAMES
        {
            self.names.entry(name.to_string()).or_insert(now);
        }
    }

    fn change(&mut self, change: Change) {
        for shard in &mut self.shards {
            match change {
                Change::Added(id) => shard.views.add(id),
                Change::Removed(id) => shard.views.remove(id),
                Change::Replaced(id) => shard.views.handle_anew(id),
            }
        }
    }

    fn ask(&mut self, sentinel: SentinelId, questions: Vec<Question>, now: Instant) {
        self.with_peer(sentinel, now, |peer, means| peer.ask(questions, means));
    }

    fn note(&mut self, note: Note) {
        self.outputs.push_back(Output::Note(note));
    }

    fn with_peer<T>(
        &mut self,
        sentinel: SentinelId,
        now: Instant,
        act: impl FnOnce(&mut Peer, &mut Means) -> T,
    ) -> Option<T> {
        self.with_peers(now, |peers, means| {
            Some(act(peers.get_mut(sentinel)?, means))
        })
    }

    fn with_peers<T>(&mut self, now: Instant, act: impl FnOnce(&mut Peers, &mut Means) -> T) -> T {
        let mut means = Means {
            now,
            timing: &self.timing,
            random: &mut self.random,
            addresses: &self.addresses,
            outputs: &mut self.outputs,
        };
        act(&mut self.peers, &mut means)
    }

    fn each_shard(&mut self, now: Instant, mut act: impl FnMut(&mut Shard, Context)) {
        let ctx = Context {
            now,
            timing: &self.timing,
            addresses: &self.addresses,
        };
        for shard in &mut self.shards {
            act(shard, ctx);
        }
    }

    /// All shards of this master, in several pools maybe. Says whether there are any.
    fn each_of(
        &mut self,
        name: &str,
        now: Instant,
        mut act: impl FnMut(&mut Shard, Context),
    ) -> bool {
        let mut any = false;
        self.each_shard(now, |shard, ctx| {
            if shard.name.as_deref() == Some(name) {
                any = true;
                act(shard, ctx);
            }
        });
        any
    }

    fn with_shard(&mut self, id: ShardId, now: Instant, act: impl FnOnce(&mut Shard, Context)) {
        let ctx = Context {
            now,
            timing: &self.timing,
            addresses: &self.addresses,
        };
        if let Some(shard) = self.shards.get_mut(id.0) {
            act(shard, ctx);
        }
    }
}

/// Epoch and address, in the order that is safe, see [`Question::Address`].
fn pair(name: &str) -> [Question; 2] {
    let name = name.to_string();
    [Question::Master(name.clone()), Question::Address(name)]
}
