//! What the proxy answered for a server, counted by reason. Each request ends as exactly one of the
//! server's `responses` and `failed`; one that was not queued is `rejected`.

use super::connection::{Bounced, Connection, InFlight, State};
use super::pool::Backends;
use super::{Call, Cause, Failure, UNTIMED};
use crate::stats::{ErrorKind, ServerStats};

impl Cause {
    /// Under which heading an error with this cause is counted.
    fn kind(&self) -> ErrorKind {
        match self {
            Cause::TimedOut(_) | Cause::ConnectTimeout => ErrorKind::Timeout,
            Cause::Refused
            | Cause::Unreachable(_)
            | Cause::Handshake(_)
            | Cause::NoResp3(_)
            | Cause::NoPassword => ErrorKind::Connect,
            Cause::Dismissed(_)
            | Cause::Closed
            | Cause::Reset(_)
            | Cause::BadReply(_)
            | Cause::Unasked
            | Cause::Abandoned
            | Cause::Moved => ErrorKind::Lost,
            Cause::Unresolved | Cause::NoMaster(_) | Cause::AllEjected | Cause::Removed => {
                ErrorKind::NoMaster
            }
            Cause::Overloaded | Cause::HoldFull | Cause::Crowded(_) => ErrorKind::Limit,
        }
    }
}

fn count_errors(stats: &ServerStats, failure: &Failure, requests: usize) {
    stats.errors[failure.cause.kind() as usize].add(requests as u64);
}

impl Backends {
    /// So many queued requests are about to get `failure` for an answer.
    pub(super) fn count_failed(
        &self,
        (pool, server): (u16, u16),
        failure: &Failure,
        requests: usize,
    ) {
        let stats = self.server_stats(pool, server);
        stats.failed.add(requests as u64);
        count_errors(stats, failure, requests);
    }

    /// A request is answered with `failure` instead of being queued.
    #[cold]
    pub fn reject(&self, (pool, server): (u16, u16), failure: Failure) -> Failure {
        let stats = self.server_stats(pool, server);
        stats.rejected.add(1);
        count_errors(stats, &failure, 1);
        if failure.cause == Cause::Overloaded {
            self.stats.pools[usize::from(pool)].max_memory_hit.add(1);
        }
        failure
    }

    /// A refusal that was kept back goes to its client after all. `us`: the turn's microseconds.
    pub(super) fn count_refusal(&self, (pool, server): (u16, u16), bounced: &Bounced, us: u32) {
        let Bounced {
            entry:
                InFlight {
                    call: Call { began, .. },
                    ..
                },
            reply,
            ..
        } = bounced;
        let stats = self.server_stats(pool, server);
        stats.responses.add(1);
        stats.response_bytes.add(reply.len() as u64);
        if *began == UNTIMED {
            return;
        }
        let took = us.wrapping_sub(*began);
        stats.latency.record(took, 1);
        let config = &self.pools[usize::from(pool)].config;
        if took >= config.slow_requests.from_us() {
            stats.slow_requests.add(1);
        }
    }
}

impl Connection {
    /// Brings the server's request counters and queue gauges up to date: once per batch, not per request.
    pub(super) fn report(&mut self, stats: &ServerStats) {
        let [requests, bytes] = std::mem::take(&mut self.fresh);
        stats.requests.add(requests);
        stats.request_bytes.add(bytes);
        let sent = self.fifo.partition_point(|entry| entry.end <= self.written);
        let waits = u64::from(self.state == State::Waiting);
        let now = if self.state == State::Dead {
            [0; 6]
        } else {
            [
                (self.fifo.len() - sent) as u64,
                self.out.len() as u64,
                sent as u64,
                self.written.saturating_sub(self.consumed),
                waits * self.fifo.len() as u64,
                waits * self.out.len() as u64,
            ]
        };
        let gauges = [
            &stats.in_queue,
            &stats.in_queue_bytes,
            &stats.out_queue,
            &stats.out_queue_bytes,
            &stats.held,
            &stats.held_bytes,
        ];
        for ((gauge, now), before) in gauges.into_iter().zip(now).zip(&mut self.reported) {
            if now != *before {
                gauge.add(now.wrapping_sub(*before));
                *before = now;
            }
        }
    }
}
