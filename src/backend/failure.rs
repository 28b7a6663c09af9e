//! Why a request got no reply, and how that is said to the client.

use std::fmt;
use std::hash::Hasher as _;
use std::sync::Arc;

use fnv::FnvHasher;

use crate::protocol::redis::reply::ReplyError;
use crate::protocol::redis::write;

/// Had the request left for the server when things went wrong?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    NotSent,
    Sent,
}

/// What went wrong, with whom.
#[derive(Clone, Debug)]
pub struct Failure {
    /// For messages: `server 10.0.0.1:6379 (shard2)` or `pool alpha`.
    pub who: Arc<str>,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    Refused,
    /// Connecting failed otherwise; the system's reason.
    Unreachable(String),
    ConnectTimeout,
    /// The server did not accept our AUTH, SELECT or HELLO; its reason.
    Handshake(String),
    /// The server does not speak RESP3; its reason. Clients with RESP2 are served.
    NoResp3(String),
    /// The server wants a password and the pool has none.
    NoPassword,
    /// The server sent an error that answers no request, as Redis does before it closes a connection it
    /// has no room for.
    Dismissed(String),
    /// No reply within the pool's `timeout`, in milliseconds.
    TimedOut(u64),
    /// The server closed the connection in order.
    Closed,
    /// The connection broke; the system's reason.
    Reset(String),
    BadReply(ReplyError),
    /// A reply that no request asked for.
    Unasked,
    /// The server's host name has no address.
    Unresolved,
    /// Sentinel has no master for the server; why.
    NoMaster(Arc<str>),
    /// No server of the pool is in the ring.
    AllEjected,
    /// Too many bytes wait for servers already.
    Overloaded,
    /// The server is switching masters and enough requests wait for that already.
    HoldFull,
    /// As many clients as the pool allows have a connection of their own to the server.
    Crowded(u32),
    /// The client that a dedicated connection belonged to is gone.
    Abandoned,
    /// A reload of the configuration removed the server while the request waited for it.
    Removed,
    /// The server has moved and its old address did not answer in time.
    Moved,
}

impl Cause {
    /// The same for two causes if a log line about one says nothing new after one about the other; never
    /// 0.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = FnvHasher::default();
        match self {
            // Which of the two it is depends on who was faster.
            Cause::Closed | Cause::Reset(_) => {}
            other => hasher.write(other.to_string().as_bytes()),
        }
        hasher.finish().max(1)
    }
}

/// The leading words are twemproxy's (its `strerror` texts) where it has the case: monitoring looks for
/// them.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Refused => f.write_str("Connection refused"),
            Cause::Unreachable(reason) => write!(f, "Connection failed ({reason})"),
            Cause::ConnectTimeout => f.write_str("Connection timed out while connecting"),
            Cause::Handshake(reason) | Cause::NoResp3(reason) => {
                write!(f, "Connection not usable ({reason})")
            }
            Cause::NoPassword => f.write_str("Authentication required, the pool has no redis_auth"),
            Cause::Dismissed(reason) => write!(f, "Connection refused with an error ({reason})"),
            Cause::TimedOut(ms) => write!(f, "Connection timed out after {ms} ms without a reply"),
            Cause::Closed => f.write_str("Connection closed by the server"),
            Cause::Reset(reason) if reason.starts_with("Connection") => f.write_str(reason),
            Cause::Reset(reason) => write!(f, "Connection lost ({reason})"),
            Cause::BadReply(reason) => write!(f, "Invalid argument in a reply ({reason})"),
            Cause::Unasked => f.write_str("Invalid argument: a reply that nothing asked for"),
            Cause::Unresolved => f.write_str("Host is down (its name has no address)"),
            Cause::NoMaster(why) => write!(f, "No master ({why})"),
            Cause::AllEjected => f.write_str("Connection refused: all servers are ejected"),
            Cause::HoldFull => f.write_str("Switching masters, too many requests wait: try again"),
            Cause::Crowded(most) => write!(
                f,
                "Too many clients with a connection of their own (dedicated_connections: {most})"
            ),
            Cause::Abandoned => f.write_str("The client left"),
            Cause::Removed => f.write_str("Removed from the configuration while requests waited"),
            Cause::Moved => f.write_str("Connection given up after a switch of masters"),
            Cause::Overloaded => f.write_str("Out of memory: too much is waiting to be sent"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.who)
    }
}

impl Failure {
    /// Appends the error reply for a request that ended so.
    pub fn write(&self, out: &mut Vec<u8>, write: bool, fate: Fate) {
        let doubt = match (write, fate) {
            (true, Fate::Sent) => "; the command may or may not have been applied",
            _ => "",
        };
        let code = match self.cause {
            // The code of the server's own error, by which clients know it.
            Cause::NoPassword => "NOAUTH",
            _ => "ERR",
        };
        write::error(out, &format!("{code} {self}{doubt}"));
    }

    /// Does it speak against the server (and so count towards its ejection)?
    pub fn blames_server(&self) -> bool {
        !matches!(
            self.cause,
            Cause::Unresolved
                | Cause::NoMaster(_)
                | Cause::AllEjected
                | Cause::Overloaded
                | Cause::HoldFull
                | Cause::Crowded(_)
                | Cause::Abandoned
                | Cause::Removed
                | Cause::Moved
                | Cause::NoResp3(_)
        )
    }
}
