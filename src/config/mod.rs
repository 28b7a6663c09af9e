//! The configuration as meant: checked, typed, in the order placement needs.
//!
//! [`load`] and [`parse`] are the way in. `file.rs` has the text as written (YAML with line numbers);
//! `resolve.rs` turns that into the types here and collects every mistake, with `options.rs` (the table of
//! keys), `settings.rs` (their values and defaults), `server.rs` (one entry of
//! `servers`), `sentinel.rs` (the lists and mappings about Sentinel), `commands.rs` (those about commands),
//! `groups.rs` (that about key groups) and `value.rs` (one value); `traps.rs` warns of what is correct but hardly meant; `error.rs` words it all;
//! `shown.rs` writes a configuration down again. `merge.rs` lays a file that was read again over the
//! configuration that runs, `changes.rs` says what that changes, `current.rs` is what everybody may know of
//! the configuration in use. Nothing here connects, listens or reads a clock; a name given to `listen` is
//! resolved.

mod changes;
mod commands;
mod current;
mod error;
mod file;
mod groups;
mod limits;
mod merge;
mod options;
#[cfg(test)]
mod options_tests;
mod resolve;
mod sentinel;
mod server;
mod settings;
mod shown;
mod slow;
mod traps;
mod value;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::distribution::Distribution;
use crate::hash::{Hash, HashTag};

pub use changes::{Change, takes_effect};
pub use commands::{CommandRules, Denial, Found, Rules};
pub use current::{Current, InUse, Outcome};
pub use error::{ConfigErrors, Problem, Severity};
pub use groups::KeyGroups;
pub use limits::Limits;
pub use merge::{MergeError, Merged, merge};
pub use options::{OPTIONS, OptionDoc};
pub use shown::{MASK, effective};
pub use slow::{SlowKey, SlowRequests};

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Traps found, in the order of the file. They are for the log and for `--test-conf`.
    pub warnings: Vec<Problem>,
}

/// Reads the configuration file `path`.
///
/// Blocks on the file and on the name service, if a `listen` has a host name.
///
/// # Errors
/// Every mistake in the file, or that it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let file = path.display().to_string();
    let fail = |line: Option<usize>, message: String| {
        let mut report = error::Report::new(&file);
        report.error(message).line = line;
        ConfigErrors(report.into_problems())
    };
    let bytes = std::fs::read(path)
        .map_err(|error| fail(None, format!("cannot read the configuration: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        fail(Some(line), "is not UTF-8 text".to_owned())
    })?;
    parse(&text, &file)
}

/// Reads a configuration from `text`; `file_name` is for messages only.
///
/// Blocks on the name service, if a `listen` has a host name.
///
/// # Errors
/// Every mistake in the text.
pub fn parse(text: &str, file_name: &str) -> Result<Loaded, ConfigErrors> {
    parse_with(text, file_name, &resolve_host)
}

fn parse_with(
    text: &str,
    file_name: &str,
    resolve_host: value::Resolve,
) -> Result<Loaded, ConfigErrors> {
    let mut report = error::Report::new(file_name);
    let mut config = Config { pools: Vec::new() };
    match file::read(text) {
        Ok(Some(root)) => {
            config = resolve::resolve(&root, file_name, resolve_host, &mut report);
        }
        Ok(None) => {
            report.error("must contain only 1 document; found 0 documents (the file is empty)");
        }
        Err(syntax) => {
            let problem = report.error(format!("is not valid YAML: {}", syntax.reason));
            (problem.line, problem.column) = (syntax.line, syntax.column);
        }
    }
    if report.has_errors() {
        return Err(ConfigErrors(report.into_problems()));
    }
    Ok(Loaded {
        config,
        warnings: report.into_problems(),
    })
}

/// The first address of `host`, as nutcracker takes it.
fn resolve_host(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("it has no address"))
}

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// As read from a file in nutcracker's internal order: shorter names first, then bytewise. After
    /// [`merge`] an index is a slot instead, see [`Config::live`].
    pub pools: Vec<Arc<PoolConfig>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    pub name: String,
    /// Only a place holder: a file that was read later no longer has the pool.
    pub removed: bool,
    pub listen: Listen,
    pub hash: Hash,
    pub hash_tag: Option<HashTag>,
    /// Boxed: few pools have them.
    pub key_groups: Option<Box<KeyGroups>>,
    pub distribution: Distribution,
    /// From the moment a request is queued to its reply; `None` waits for ever.
    pub timeout: Option<Duration>,
    pub backlog: u32,
    /// Most clients of this pool at a time, over all workers; `None` is bounded by open files only.
    pub client_connections: Option<NonZeroU32>,
    /// SO_KEEPALIVE on client and on server sockets.
    pub tcpkeepalive: bool,
    pub reuseport: bool,
    pub redis_auth: Option<Secret>,
    pub redis_db: u32,
    /// Clients may select databases below this one, besides `redis_db`.
    pub databases: u16,
    pub preconnect: bool,
    pub auto_eject_hosts: bool,
    /// Per worker, server and protocol version (RESP2, RESP3).
    pub server_connections: NonZeroU32,
    pub server_retry_timeout: Duration,
    /// At least 1.
    pub server_failure_limit: u32,
    pub limits: Limits,
    /// Every connection has to begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// FLUSHALL and FLUSHDB are served.
    pub allow_flush: bool,
    pub slow_requests: SlowRequests,
    /// Ask the servers which commands they have besides those of the table.
    pub learn_commands: bool,
    pub commands: CommandRules,
    /// How the servers' masters are followed; `None`: all servers stay at their addresses.
    pub sentinel: Option<SentinelConfig>,
    /// Ordered as [`Config::pools`], see [`PoolConfig::live`]. At least one.
    pub servers: Vec<ServerConfig>,
}

/// A pool's sentinels, and what happens to its requests while Sentinel replaces a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelConfig {
    /// In the order of the file, at least one, none twice.
    pub sentinels: Vec<HostPort>,
    /// `None` sends no AUTH: the servers' password is never given to a sentinel.
    pub auth: Option<SentinelAuth>,
    /// How long a server's requests may be held while its failover is announced; zero holds none. Time
    /// held does not count for [`PoolConfig::timeout`], which begins when the request goes on.
    pub failover_hold: Duration,
    /// How long a request may be held while its server's master is gone and no failover is announced;
    /// zero fails it at once. As above, this time does not count for the timeout.
    pub outage_hold: Duration,
    pub commit: Commit,
    /// Requests held, per server and worker; those beyond fail.
    pub hold_requests: u32,
    /// Bytes of requests held, per server and worker; requests beyond fail.
    pub hold_bytes: u64,
    /// Between two rounds of questions to a sentinel; its events come besides.
    pub poll: Duration,
    pub connect_timeout: Duration,
    /// Longest time to a sentinel's answer.
    pub command_timeout: Duration,
    /// How long the start waits for a first sentinel to answer before the addresses in the file count.
    pub startup_wait: Duration,
    /// From addresses as Sentinel announces them to those we reach them at, in the order of the file.
    pub nat: Vec<(HostPort, HostPort)>,
}

impl SentinelConfig {
    /// What a pool has that gives only the key `sentinels`.
    pub fn new(sentinels: Vec<HostPort>) -> SentinelConfig {
        SentinelConfig {
            sentinels,
            auth: None,
            failover_hold: Duration::from_millis(1500),
            outage_hold: Duration::ZERO,
            commit: Commit::Confirmed,
            hold_requests: 1024,
            hold_bytes: 4 << 20,
            poll: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(300),
            command_timeout: Duration::from_millis(500),
            startup_wait: Duration::from_secs(3),
            nat: Vec::new(),
        }
    }
}

/// A TCP address whose host need not be resolved yet.
///
/// `host` is a name, an IPv4 or an IPv6 literal without brackets. Literals from a configuration are in
/// their canonical spelling (`::1`, not `0::1`), which is also the one Sentinel prints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// What sentinels are told to let us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelAuth {
    /// `None`: the user `default`, with AUTH's older form.
    pub username: Option<String>,
    pub password: Secret,
}

/// When a failover counts as done, so that requests go to the new master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// When it cannot be undone any more: a sentinel reports the promotion, or the majority the new address.
    Confirmed,
    /// When the announced candidate says that it is a master: about a second earlier, but what is written
    /// until the confirmation is lost if the leading sentinel dies in between.
    Eager,
}

impl Commit {
    pub const ALL: [Commit; 2] = [Commit::Confirmed, Commit::Eager];

    /// As written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Commit::Confirmed => "confirmed",
            Commit::Eager => "eager",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Ring identity, unique in the pool: the given name, else derived from the address as written.
    /// Never derived from the endpoint of the moment.
    pub name: String,
    /// Was `name` written in the file?
    pub named: bool,
    /// Sentinel's name of the server where it differs from `name`; only in pools with sentinels.
    pub master: Option<String>,
    /// In pools with sentinels TCP, and where the server was when the file was written.
    pub address: Address,
    pub weight: u32,
    /// Position in the file's `servers:` list, from 0.
    pub position: usize,
    /// As [`PoolConfig::removed`].
    pub removed: bool,
}

impl ServerConfig {
    /// The master's name in Sentinel: `master`, else the name if one was written. `None`: to be found by
    /// asking the sentinels which master has, or had, `address`.
    pub fn master_name(&self) -> Option<&str> {
        self.master
            .as_deref()
            .or_else(|| self.named.then_some(self.name.as_str()))
    }
}

/// A server's address as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host` is a name, an IPv4 or an IPv6 literal without brackets.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    /// `mode`: chmod after bind, `None` leaves the umask's.
    Unix {
        path: PathBuf,
        mode: Option<u32>,
    },
}

/// A password. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn write_host_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') {
        write!(f, "[{host}]:{port}")
    } else {
        write!(f, "{host}:{port}")
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_port(f, &self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } => write_host_port(f, host, *port),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that make configurations and YAML's corners likely.
    const PIECES: [&str; 44] = [
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        "\n  - ",
        " ",
        ": ",
        ":",
        "- ",
        "# c\n",
        "alpha:",
        "listen: ",
        "servers:",
        "sentinels:",
        "sentinel_nat: ",
        "sentinel_auth: ",
        "::1:1:1",
        "127.0.0.1:1",
        "h:1:1 n",
        "/tmp/s:1",
        "[::1]:1",
        "hash_tag: ",
        "hash: md5",
        "redis: true",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "<<: ",
        "!x ",
        "!!int ",
        "? ",
        "| ",
        "> ",
        "\"",
        "'",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "\t",
        "\r\n",
    ];

    const GOOD: &str = "alpha: &a\n  listen: '[::1]:22121'\n  redis: true\n  timeout: 400\n  \
         servers: # list\n   - 127.0.0.1:6379:1 one\n   - {addr: /tmp/s, weight: 2}\n";

    fn offline(_: &str, _: u16) -> io::Result<SocketAddr> {
        Err(io::Error::other("offline"))
    }

    /// Each problem is one line, has a place if any line is to blame, and errors come with an error.
    fn check(text: &str) -> Result<(), TestCaseError> {
        match parse_with(text, "f", &offline) {
            Ok(loaded) => prop_assert!(!loaded.config.pools.is_empty()),
            Err(errors) => {
                prop_assert!(errors.0.iter().any(|p| p.severity == Severity::Error));
                prop_assert_eq!(errors.to_string().lines().count(), errors.0.len());
                let lines = text
                    .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
                    .count();
                let places = errors.0.iter().filter_map(|problem| problem.line);
                prop_assert!(
                    places.clone().all(|line| (1..=lines + 1).contains(&line)),
                    "{errors}"
                );
                prop_assert!(places.is_sorted());
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}") {
            check(&text)?;
        }

        #[test]
        fn no_pieces_panic(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
            check(&pieces.concat())?;
        }

        #[test]
        fn no_slip_panics(
            at in 0..GOOD.len(),
            cut in 0usize..3,
            piece in prop::sample::select(&PIECES[..]),
        ) {
            let end = (at + cut).min(GOOD.len());
            check(&format!("{}{piece}{}", &GOOD[..at], &GOOD[end..]))?;
        }
    }

    #[test]
    fn the_text_the_slips_start_from_is_good() {
        let loaded = parse_with(GOOD, "f", &offline).unwrap();
        assert_eq!(loaded.config.pools[0].servers.len(), 2);
    }
}
