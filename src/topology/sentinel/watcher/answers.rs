//! What sentinels answered: to the shards, to the list of sentinels, to the search for masters.

use std::time::Instant;

use redis_protocol::resp2::types::OwnedFrame;

use super::super::SentinelId;
use super::super::answer::{self, AnswerError, Question};
use super::super::output::{NoMaster, Note};
use super::super::peer::Means;
use super::super::peers::Peers;
use super::super::search::Found;
use super::super::shard::Shard;
use super::Watcher;

impl Watcher {
    pub(super) fn take_answer(
        &mut self,
        sentinel: SentinelId,
        question: &Question,
        frame: &OwnedFrame,
        asked: Instant,
        now: Instant,
    ) -> Result<(), AnswerError> {
        match question {
            Question::MyId => {
                let run_id = answer::my_id(frame)?;
                let identify =
                    |peers: &mut Peers, means: &mut Means| peers.identify(sentinel, run_id, means);
                for change in self.with_peers(now, identify) {
                    self.change(change);
                }
            }
            Question::Master(name) => {
                let entry = answer::master(frame)?;
                self.each_of(name, now, |shard, _| {
                    shard.handle_master(sentinel, entry.clone())
                });
            }
            Question::Address(name) => {
                let address = answer::address(frame)?;
                let address = address.map(|address| self.meet(address, now));
                self.each_of(name, now, |shard, ctx| {
                    shard.handle_address(sentinel, address.clone(), asked, ctx);
                });
            }
            Question::Sentinels(_) => {
                let entries = answer::sentinels(frame)?;
                for change in self.with_peers(now, |peers, means| peers.learn(entries, means)) {
                    self.change(change);
                }
            }
            Question::Masters => {
                let masters = answer::masters(frame)?;
                let names = self
                    .search
                    .handle_masters(sentinel, masters, &self.addresses);
                let questions = names.into_iter().map(Question::Replicas);
                self.ask(sentinel, questions.collect(), now);
                self.check_search(now);
            }
            Question::Replicas(name) => {
                let replicas = answer::replicas(frame).unwrap_or_default();
                self.search
                    .handle_replicas(sentinel, name, replicas, &self.addresses);
                self.check_search(now);
            }
        }
        Ok(())
    }

    /// Old sentinels do not know `MYID`: no reason to complain. Others that do not answer have no view.
    pub(super) fn judge_answer(
        &mut self,
        sentinel: SentinelId,
        question: &Question,
        result: Result<(), AnswerError>,
    ) {
        let Some(peer) = self.peers.get_mut(sentinel) else {
            return;
        };
        match (question, result) {
            (Question::MyId, Err(AnswerError::Refused(_))) => {}
            (Question::Address(_), Ok(())) => peer.content(),
            (_, Ok(())) => {}
            (_, Err(error)) => {
                let news = peer.complain(&error);
                if let Question::Master(name) | Question::Address(name) = question {
                    let name = Some(name.as_str());
                    let shards = self.shards.iter_mut();
                    for shard in shards.filter(|shard| shard.name.as_deref() == name) {
                        shard.views.handle_refusal(sentinel);
                    }
                }
                if news {
                    self.note(match error {
                        AnswerError::Denied(reason) => Note::Denied { sentinel, reason },
                        error => Note::BadAnswer { sentinel, error },
                    });
                }
            }
        }
    }

    fn check_search(&mut self, now: Instant) {
        if self.search.is_complete(self.peers.iter().count()) {
            self.conclude_search(now);
        }
    }

    pub(super) fn conclude_search(&mut self, now: Instant) {
        self.search.ends = None;
        for shard in &mut self.shards {
            if !shard.is_searching() {
                continue;
            }
            match self.search.find(&shard.search_addresses(), &self.addresses) {
                Found::One(name) => shard.bind(&name),
                Found::Absent => shard.handle_not_found(NoMaster::Unknown),
                Found::Several(names) => shard.handle_not_found(NoMaster::Ambiguous(names)),
                Found::Nothing => {}
            }
        }
        self.settle(now);
    }

    pub(super) fn continue_search(&mut self, now: Instant) {
        if !self.shards.iter().any(Shard::is_searching) {
            return self.search.stop();
        }
        if self.search.due.is_some_and(|due| due > now) {
            return;
        }
        let ends = now + self.timing.startup_round;
        self.search.begin(now + self.timing.search, ends);
        for sentinel in self.peers.iter().map(|peer| peer.id).collect::<Vec<_>>() {
            self.ask(sentinel, vec![Question::Masters], now);
        }
    }

    /// A master that was not monitored before may be one that is searched.
    pub(super) fn hasten_search(&mut self, now: Instant) {
        if let Some(due) = &mut self.search.due {
            *due = now;
        }
    }
}
