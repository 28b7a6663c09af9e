//! The slow-request log: a line for each request whose server took `slow_request_time` or longer.

use std::fmt;

use super::{Client, Front};
use crate::backend::{Call, SlowRequest};
use crate::config::{PoolConfig, SlowKey};
use crate::log::SLOW;
use crate::protocol::redis::command::{self, Command};
use crate::topology::Pool;

/// Most bytes of a key that a line shows.
const SHOWN_BYTES: usize = 64;

/// From which time in microseconds on a request of the pool is slow.
pub(super) fn slow_from(config: &PoolConfig) -> u32 {
    config.slow_requests.from_us()
}

impl Front {
    /// Settles what a turn leaves behind for counters and log.
    #[inline]
    pub(super) fn end_turn(&mut self) {
        self.clients.timing.flush();
        if self.backends.has_changes() {
            self.follow_changes();
        }
        if self.backends.has_slow() {
            self.log_slow();
        }
    }

    #[cold]
    fn log_slow(&mut self) {
        for slow in self.backends.take_slow() {
            let pool = &self.backends.topology().pools[usize::from(slow.pool)];
            let server = &pool.config.servers[usize::from(slow.server)].name;
            let what = Described {
                pool,
                request: &slow.request,
            };
            let SlowRequest { us, endpoint, .. } = &slow;
            let client = self.client_of(slow.call);
            let more = match slow.dropped {
                0 => String::new(),
                n => format!("; {n} more were not logged"),
            };
            let pool = &pool.config.name;
            tracing::info!(
                target: SLOW, pool, server, address = %endpoint, us,
                client = client.map(|client| display(client.session.peer)),
                client_id = client.map(|client| client.session.id),
                "slow request: {what}{more}"
            );
        }
    }

    /// Unless it has left.
    fn client_of(&self, call: Call) -> Option<&Client> {
        let client = self.clients.table.get(call.client as usize)?;
        Some(client.as_ref()).filter(|client| client.generation == call.generation)
    }
}

/// Names a request's command and first key, as much as the pool lets the log show.
struct Described<'a> {
    pool: &'a Pool,
    /// As it was sent, perhaps without its end.
    request: &'a [u8],
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (argc, args) = arguments(self.request);
        // Not `lookup`: it is made part of whoever calls it.
        let name = args.first().copied().unwrap_or_default();
        let is_meant = |command: &&Command| command.name.as_bytes().eq_ignore_ascii_case(name);
        let listed = command::all().iter().find(is_meant);
        let named = listed.or_else(|| self.pool.learned.find(name));
        let found = named.and_then(|command| command.resolve(args.get(1).copied()));
        // Only known commands are sent to servers; what was learned may be forgotten since.
        let Some(command) = found else {
            return f.write_str("unknown command");
        };
        f.write_str(command.name)?;
        let argument = |index: usize| args.get(index).copied().unwrap_or_default();
        let positions = command.keys(argc, argument).ok();
        let first = positions.and_then(|positions| positions.first());
        let Some(key) = first.and_then(|index| args.get(index)) else {
            return Ok(());
        };
        match self.pool.config.slow_requests.key {
            SlowKey::None => Ok(()),
            SlowKey::Hash => write!(f, " key hash {:#010x}", self.pool.hash_of(key)),
            SlowKey::Key => {
                let cut = &key[..key.len().min(SHOWN_BYTES)];
                let end = if cut.len() < key.len() { "..." } else { "" };
                write!(f, " key '{}'{end}", cut.escape_ascii())
            }
        }
    }
}

/// How many arguments a request has, and those that are there whole.
fn arguments(request: &[u8]) -> (usize, Vec<&[u8]>) {
    let mut rest = request;
    let header = |rest: &mut &[u8]| -> Option<usize> {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let number = std::str::from_utf8(rest.get(1..end)?).ok()?.parse().ok();
        *rest = &rest[end + 2..];
        number
    };
    let argc = header(&mut rest).unwrap_or(0);
    let mut args = Vec::new();
    while let Some(len) = header(&mut rest)
        && let Some(arg) = rest.get(..len)
    {
        args.push(arg);
        rest = rest.get(len + 2..).unwrap_or_default();
    }
    (argc, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    fn pool(slow_request_key: &str) -> std::sync::Arc<Pool> {
        let text = format!(
            "p:\n  listen: 127.0.0.1:1\n  redis: true\n  hash: md5\n  hash_tag: \"{{}}\"\n  \
             slow_request_key: {slow_request_key}\n  servers:\n    - 127.0.0.1:2:1\n"
        );
        let config = crate::config::parse(&text, "test").unwrap().config;
        Topology::initial(&config).pools[0].clone()
    }

    fn described(slow_request_key: &str, request: &[u8]) -> String {
        let pool = pool(slow_request_key);
        let what = Described {
            pool: &pool,
            request,
        };
        what.to_string()
    }

    fn request(args: &[&str]) -> Vec<u8> {
        let args = args
            .iter()
            .map(|arg| format!("${}\r\n{arg}\r\n", arg.len()));
        let args: Vec<String> = args.collect();
        format!("*{}\r\n{}", args.len(), args.concat()).into_bytes()
    }

    #[test]
    fn a_key_is_shown_as_the_pool_says() {
        let hash = pool("hash").hash_of(b"{tag}one");
        let get = request(&["GeT", "{tag}one"]);
        assert_eq!(
            described("hash", &get),
            format!("get key hash {hash:#010x}")
        );
        assert_eq!(described("key", &get), "get key '{tag}one'");
        assert_eq!(described("none", &get), "get");
        let other = request(&["GET", "{tag}other"]);
        assert_eq!(described("hash", &other), described("hash", &get));
    }

    #[test]
    fn a_key_cannot_write_into_the_log() {
        let get = request(&["GET", "a\r\nb'\u{7f}"]);
        assert_eq!(described("key", &get), "get key 'a\\r\\nb\\'\\x7f'");
        let long = request(&["GET", &"x".repeat(1000)]);
        let shown = format!("get key '{}'...", "x".repeat(64));
        assert_eq!(described("key", &long), shown);
    }

    #[test]
    fn the_first_key_is_found_wherever_it_is() {
        for (args, key) in [
            (&["EVAL", "return 1", "1", "k"][..], " key 'k'"),
            (&["ZUNION", "2", "k", "l"], " key 'k'"),
            (&["MSET", "k", "v", "l", "w"], " key 'k'"),
            (&["EVAL", "return 1", "0"], ""),
            (&["TIME"], ""),
        ] {
            let name = args[0].to_ascii_lowercase();
            assert_eq!(described("key", &request(args)), format!("{name}{key}"));
        }
    }

    #[test]
    fn a_request_that_is_cut_off_shows_what_is_there() {
        let set = request(&["SET", "key", "value"]);
        for (len, shown) in [
            (set.len() - 3, "set key 'key'"),
            (set.len() - 15, "set"),
            (9, "unknown command"),
            (0, "unknown command"),
        ] {
            assert_eq!(described("key", &set[..len]), shown, "{len}");
        }
    }
}
