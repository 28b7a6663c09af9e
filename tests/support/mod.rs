//! What the integration tests share: real Redis servers, the proxy under test and a RESP client.
//!
//! ```ignore
//! mod support;
//! use support::{Pool, Proxy, RedisServer, Value};
//!
//! let servers = [RedisServer::start(), RedisServer::start()];
//! let proxy = Proxy::start(&[Pool::new("alpha").servers(&servers)]);
//! let mut client = proxy.client();
//! assert_eq!(client.cmd(&["SET", "a", "b"]), Value::ok());
//! ```
//!
//! Everything waits on a condition with a deadline and panics when that passes; nothing sleeps for a
//! guessed time and nothing can hang. Each process is killed by its own id when its value is dropped, and
//! by the kernel when the thread that started it ends: start servers on the thread that outlives them.
//!
//! It is not a Redis client library: no reconnecting, no knowledge of commands.

// Each test binary compiles its own copy and uses a part of it.
#![allow(dead_code, unused_imports)]

mod client;
mod fake_server;
mod http;
mod keys;
mod proxy;
mod redis_server;
mod resp;
mod shards;
mod stats;

pub use client::{Client, NoReply};
pub use fake_server::{FakeConnection, FakeServer};
pub use http::{Answer, Metrics, get};
pub use keys::keys_on;
pub use proxy::{Pool, Proxy, ProxyBuilder, can_replace_hosts};
pub use redis_server::RedisServer;
pub use resp::{Value, encode, parse};
pub use shards::Shards;
pub use stats::Stats;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How often `text` occurs in `log`.
pub fn count(log: &str, text: &str) -> usize {
    log.matches(text).count()
}

/// A loopback TCP port nobody listens on.
///
/// It lies below the range from which the kernel takes the ports of outgoing connections, so that a
/// stopped server finds its port free when it is started again.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Test binaries that run at the same time start far apart.
        let offset = std::process::id().wrapping_mul(7919).wrapping_add(step) % COUNT;
        let port = u16::try_from(FIRST + offset).expect("FIRST + COUNT is below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Calls `condition` until it holds; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        within(PATIENCE, condition),
        "not within {PATIENCE:?}: {what}"
    );
}

/// Calls `condition` until it holds or `limit` has passed, and says which.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A command that the kernel kills when this thread ends, also when the test run itself is killed and
/// no destructor runs. `setpriv` replaces itself by `program`, so the process id is the program's own.
pub fn mortal(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
