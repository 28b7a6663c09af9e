//! What the proxy answered for a server, counted by reason. Each request ends as exactly one of the
//! server's `responses` and `failed`; one that was not queued is `rejected`.

use super::connection::{Bounced, InFlight};
use super::pool::Backends;
use super::{Call, Cause, Failure};
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
    pub(super) fn reject(&self, (pool, server): (u16, u16), failure: Failure) -> Failure {
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
        let took = us.wrapping_sub(*began);
        stats.latency.record(took, 1);
        let config = &self.pools[usize::from(pool)].config;
        if took >= config.slow_requests.from_us() {
            stats.slow_requests.add(1);
        }
    }
}
