//! One sentinel: its two links, what it was asked, and how long it may take.
//!
//! ```text
//!            OpenLink                 handle_link_up
//!  +------+ ----------> +---------+ ------------------> +----+
//!  | Down |             | Opening |                     | Up |
//!  +------+ <---------- +---------+                     +----+
//!      ^      failed, or took too long (CloseLink)         |
//!      +---------------------------------------------------+
//!                lost, silent, or an answer overdue
//! ```
//! Each link comes back by itself, for ever; a sentinel that is gone costs its own backoff only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::address::{Addresses, HostPort};
use super::answer::{AnswerError, Question};
use super::output::{Note, Output};
use super::timing::Timing;
use super::{Link, LinkDown, SentinelId};
use crate::backoff::Backoff;

/// Most answers that may be outstanding when something urgent is asked: events that come faster than
/// answers are not worth a question each.
const MAX_AWAITING: usize = 1000;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: SentinelId,
    pub(super) address: HostPort,
    /// Its identity, whatever its address.
    pub(super) run_id: Option<String>,
    pub(super) configured: bool,
    pub(super) tilt: bool,
    pub(super) subscribed: bool,
    pub(super) last_event: Option<Instant>,
    /// When a link was last up or another sentinel last listed it.
    pub(super) last_sign: Instant,
    subscription: Line,
    query: Line,
    next_ping: Instant,
    next_poll: Instant,
    last_poll: Option<Instant>,
    next_discovery: Instant,
    /// In the order of the questions, with when they were asked.
    awaiting: VecDeque<(Question, Instant)>,
    /// The last complaint about an answer, so that each is noted once.
    complaint: Option<AnswerError>,
}

#[derive(Debug)]
struct Line {
    state: State,
    backoff: Backoff,
    /// Why it is down.
    problem: Option<LinkDown>,
}

#[derive(Debug)]
enum State {
    Down { retry: Instant },
    Opening { until: Instant },
    Up { heard: Instant },
}

/// What a peer is given with every input.
pub(super) struct Means<'a> {
    pub(super) now: Instant,
    pub(super) timing: &'a Timing,
    pub(super) random: &'a mut fastrand::Rng,
    pub(super) addresses: &'a Addresses,
    pub(super) outputs: &'a mut VecDeque<Output>,
}

impl Peer {
    pub(super) fn new(
        id: SentinelId,
        address: HostPort,
        configured: bool,
        timing: &Timing,
        now: Instant,
    ) -> Peer {
        let line = || Line {
            state: State::Down { retry: now },
            backoff: Backoff::new(timing.reconnect_min, timing.reconnect_max),
            problem: None,
        };
        Peer {
            id,
            address,
            run_id: None,
            configured,
            tilt: false,
            subscribed: false,
            last_event: None,
            last_sign: now,
            subscription: line(),
            query: line(),
            next_ping: now,
            next_poll: now,
            last_poll: None,
            next_discovery: now,
            awaiting: VecDeque::new(),
            complaint: None,
        }
    }

    pub(super) fn handle_link_up(&mut self, link: Link, means: &mut Means) {
        let now = means.now;
        let line = self.line_mut(link);
        line.state = State::Up { heard: now };
        line.problem = None;
        self.last_sign = now;
        let sentinel = self.id;
        match link {
            Link::Subscription => {
                self.subscribed = false;
                self.next_ping = now + means.timing.ping;
                means.outputs.push_back(Output::Subscribe(sentinel));
            }
            Link::Query => {
                self.next_poll = now;
                self.next_discovery = now;
            }
        }
        let note = Note::LinkUp { sentinel, link };
        means.outputs.push_back(Output::Note(note));
    }

    /// The link is gone; it is opened again after a while.
    pub(super) fn handle_link_down(&mut self, link: Link, reason: LinkDown, means: &mut Means) {
        let random = means.random.u32(..);
        let line = self.line_mut(link);
        let wait = match reason {
            LinkDown::Failed(_) => line.backoff.next(random),
            LinkDown::Denied(_) => means.timing.denied_retry,
        };
        let news = matches!(line.state, State::Up { .. }) || line.problem.as_ref() != Some(&reason);
        let retry = means.now + wait;
        line.state = State::Down { retry };
        line.problem = Some(reason.clone());
        match link {
            Link::Subscription => self.subscribed = false,
            Link::Query => self.awaiting.clear(),
        }
        let sentinel = self.id;
        let note = match reason {
            LinkDown::Failed(reason) => Note::LinkDown {
                sentinel,
                link,
                reason,
            },
            LinkDown::Denied(reason) => Note::Denied { sentinel, reason },
        };
        if news {
            means.outputs.push_back(Output::Note(note));
        }
    }

    /// All channels are confirmed: from here on no event is missed, so what was missed is asked for.
    pub(super) fn handle_subscribed(&mut self, now: Instant) {
        if let State::Up { .. } = self.subscription.state {
            self.subscribed = true;
            self.subscription.backoff.reset();
            self.heard(Link::Subscription, now);
            self.next_poll = now;
        }
    }

    /// Anything came in on this link.
    pub(super) fn heard(&mut self, link: Link, now: Instant) {
        if let State::Up { heard } = &mut self.line_mut(link).state {
            *heard = now;
            self.last_sign = now;
        }
    }

    /// An answer came: when its question was asked. `None` if it is not the one that is due; then the
    /// link cannot be trusted any more and is closed.
    pub(super) fn handle_answer(
        &mut self,
        question: &Question,
        means: &mut Means,
    ) -> Option<Instant> {
        if !self.is_up(Link::Query) {
            return None;
        }
        match self.awaiting.pop_front() {
            Some((due, asked)) if due == *question => {
                self.heard(Link::Query, means.now);
                self.query.backoff.reset();
                Some(asked)
            }
            _ => {
                self.give_up(Link::Query, "an answer to another question", means);
                None
            }
        }
    }

    /// Says whether this complaint is new.
    pub(super) fn complain(&mut self, error: &AnswerError) -> bool {
        self.complaint.replace(error.clone()).as_ref() != Some(error)
    }

    pub(super) fn content(&mut self) {
        self.complaint = None;
    }

    pub(super) fn handle_timeout(&mut self, means: &mut Means) {
        for link in [Link::Subscription, Link::Query] {
            match self.line(link).state {
                State::Down { retry } if retry <= means.now => self.open(link, means),
                State::Opening { until } if until <= means.now => {
                    self.give_up(link, "no connection in time", means);
                }
                _ => {}
            }
        }
        if let State::Up { heard } = self.subscription.state {
            if heard + means.timing.silence <= means.now {
                self.give_up(Link::Subscription, "silent", means);
            } else if self.next_ping <= means.now {
                self.next_ping = means.now + means.timing.ping;
                means.outputs.push_back(Output::Ping(self.id));
            }
        }
        let overdue = self.awaiting.front();
        if overdue.is_some_and(|(_, asked)| *asked + means.timing.command <= means.now) {
            self.give_up(Link::Query, "no answer in time", means);
        }
    }

    /// When [`Peer::handle_timeout`] or a poll is due.
    pub(super) fn poll_timeout(&self, timing: &Timing) -> Option<Instant> {
        let of_line = |line: &Line| match line.state {
            State::Down { retry: at } | State::Opening { until: at } => Some(at),
            State::Up { .. } => None,
        };
        let silent = match self.subscription.state {
            State::Up { heard } => Some(self.next_ping.min(heard + timing.silence)),
            _ => None,
        };
        let overdue = self
            .awaiting
            .front()
            .map(|(_, asked)| *asked + timing.command);
        let poll = self.is_up(Link::Query).then_some(self.next_poll);
        let lines = [of_line(&self.subscription), of_line(&self.query)];
        lines
            .into_iter()
            .chain([silent, overdue, poll])
            .flatten()
            .min()
    }

    /// Whether it is to be polled now, and if so, whether for other sentinels too.
    pub(super) fn take_poll(&mut self, means: &mut Means) -> Option<bool> {
        if !self.is_up(Link::Query) || self.next_poll > means.now {
            return None;
        }
        let jitter = 0.8 + 0.4 * means.random.f64();
        self.next_poll = means.now + means.timing.poll.mul_f64(jitter);
        self.last_poll = Some(means.now);
        let discover = self.next_discovery <= means.now;
        if discover {
            self.next_discovery = means.now + means.timing.rediscover;
        }
        Some(discover)
    }

    /// Something was odd: the next poll comes soon, but no faster than `gap` after the last.
    pub(super) fn hasten_poll(&mut self, gap: Duration, now: Instant) {
        let soonest = self.last_poll.map_or(now, |last| now.max(last + gap));
        self.next_poll = self.next_poll.min(soonest);
    }

    pub(super) fn ask(&mut self, questions: Vec<Question>, means: &mut Means) {
        if questions.is_empty() || !self.is_up(Link::Query) || self.awaiting.len() > MAX_AWAITING {
            return;
        }
        let asked = questions
            .iter()
            .map(|question| (question.clone(), means.now));
        self.awaiting.extend(asked);
        means.outputs.push_back(Output::Ask(self.id, questions));
    }

    /// Both links go to another address.
    pub(super) fn relocate(&mut self, address: HostPort, means: &mut Means) {
        self.close(means.outputs);
        self.address = address;
        for link in [Link::Subscription, Link::Query] {
            self.line_mut(link).state = State::Down { retry: means.now };
        }
        self.subscribed = false;
        self.awaiting.clear();
    }

    pub(super) fn close(&self, outputs: &mut VecDeque<Output>) {
        let sentinel = self.id;
        for link in [Link::Subscription, Link::Query] {
            outputs.push_back(Output::CloseLink { sentinel, link });
        }
    }

    pub(super) fn is_up(&self, link: Link) -> bool {
        matches!(self.line(link).state, State::Up { .. })
    }

    pub(super) fn problem(&self) -> Option<String> {
        let lines = [&self.query, &self.subscription];
        let down = lines.into_iter().find_map(|line| line.problem.as_ref());
        let down = down.map(|(LinkDown::Failed(text) | LinkDown::Denied(text))| text.clone());
        down.or_else(|| self.complaint.as_ref().map(ToString::to_string))
    }

    fn open(&mut self, link: Link, means: &mut Means) {
        let until = means.now + means.timing.open_patience();
        self.line_mut(link).state = State::Opening { until };
        means.outputs.push_back(Output::OpenLink {
            sentinel: self.id,
            address: self.address.clone(),
            link,
        });
    }

    fn give_up(&mut self, link: Link, why: &str, means: &mut Means) {
        let sentinel = self.id;
        means
            .outputs
            .push_back(Output::CloseLink { sentinel, link });
        self.handle_link_down(link, LinkDown::Failed(why.to_string()), means);
    }

    fn line(&self, link: Link) -> &Line {
        match link {
            Link::Subscription => &self.subscription,
            Link::Query => &self.query,
        }
    }

    fn line_mut(&mut self, link: Link) -> &mut Line {
        match link {
            Link::Subscription => &mut self.subscription,
            Link::Query => &mut self.query,
        }
    }
}
