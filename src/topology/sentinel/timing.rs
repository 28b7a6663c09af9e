//! Every time constant of the watcher, with its reason.

use std::time::Duration;

/// Waits and intervals. The defaults are meant for all; tests and odd networks change them.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two rounds of questions to a sentinel, give or take a fifth. Events are the fast way, this
    /// bounds what a lost one costs: pub/sub has no replay.
    pub poll: Duration,
    /// Between two `PING`s on a subscription, which sentinels never ping themselves.
    pub ping: Duration,
    /// A subscription without a byte for this long is dead, whatever TCP says.
    pub silence: Duration,
    /// To establish a connection, to a sentinel or for a `ROLE`: they are near, and the others answer.
    pub connect: Duration,
    /// For an answer of a sentinel; it has nothing slow to do.
    pub command: Duration,
    /// First wait before a link is opened again.
    pub reconnect_min: Duration,
    /// Longest such wait: what a sentinel that returns may cost.
    pub reconnect_max: Duration,
    /// The wait after refused credentials: a person has to repair them.
    pub denied_retry: Duration,
    /// Between two questions for other sentinels, and two lookups of a host name.
    pub rediscover: Duration,
    /// Between two searches for the master of an unnamed server that was not found.
    pub search: Duration,
    /// How long the first round may wait for slower sentinels when less than a majority answered.
    pub startup_round: Duration,
    /// How long a start waits for any sentinel before the configured address is tried.
    pub startup_wait: Duration,
    /// Between two `ROLE`s of the candidate of an announced failover (`commit: eager`).
    pub eager_check: Duration,
    /// How long a candidate is asked, and announcements are taken for the same failover.
    pub announcement: Duration,
    /// Between two `ROLE`s of a new master that does not yet say it is one.
    pub role_retry: Duration,
    /// The same once it has been so for 40 times, and for a node that refuses our credentials.
    pub role_retry_slow: Duration,
    /// Between two polls for symptoms: they come as fast as requests do.
    pub symptom_gap: Duration,
    /// An eager switch that no sentinel confirmed, and a majority denies, is examined after this: three
    /// of the leader's `INFO` periods.
    pub overrule_unconfirmed: Duration,
    /// The same for a switch that a sentinel vouched for: longer than sentinels need to turn a rogue
    /// master into a replica (8-12 s).
    pub overrule: Duration,
    /// Without symptom or opinion of a sentinel, a suspicion ends after this.
    pub suspicion: Duration,
    /// A disagreement of sentinels this old is no failover in progress but worth a note.
    pub disagreement: Duration,
    /// A learned sentinel that nobody lists and that cannot be reached is dropped after this.
    pub forget: Duration,
    /// Between two notes that all sentinels are gone, or a master is unknown to all.
    pub reminder: Duration,
}

/// A promoted replica says so within a second or two, or something is wrong.
pub(super) const ROLE_RETRIES: u32 = 40;

impl Default for Timing {
    fn default() -> Timing {
        let ms = Duration::from_millis;
        Timing {
            poll: ms(1000),
            ping: ms(1000),
            silence: ms(3000),
            connect: ms(300),
            command: ms(500),
            reconnect_min: ms(100),
            reconnect_max: ms(2000),
            denied_retry: ms(5000),
            rediscover: ms(30_000),
            search: ms(5000),
            startup_round: ms(1000),
            startup_wait: ms(3000),
            eager_check: ms(20),
            announcement: ms(10_000),
            role_retry: ms(50),
            role_retry_slow: ms(1000),
            symptom_gap: ms(100),
            overrule_unconfirmed: ms(3000),
            overrule: ms(15_000),
            suspicion: ms(3000),
            disagreement: ms(3000),
            forget: ms(300_000),
            reminder: ms(30_000),
        }
    }
}

impl Timing {
    /// When a `ROLE` that was not answered counts as failed: connect, authenticate, ask.
    pub(super) fn role_patience(&self) -> Duration {
        self.connect + 2 * self.command
    }

    /// When an attempt to open a link counts as failed: connect and authenticate.
    pub(super) fn open_patience(&self) -> Duration {
        self.connect + self.command
    }
}
