//! Real Redis Sentinel clusters, scripted sentinels and traffic that notices what a failover loses.
//!
//! ```ignore
//! let mut cluster = Cluster::build().start();
//! let proxy = Proxy::start(&[cluster.pool()]);
//! let writers = Writers::start(&Target::proxy(&cluster, &proxy));
//! let begin = Instant::now();
//! cluster.node(0, 0).kill();
//! cluster.wait_switch(0, begin);
//! let report = writers.finish(&cluster);
//! assert_eq!(report.lost(0), 0, "{report}");
//! ```
//!
//! Every process is a child of the test, in a folder of its own, and is killed by its id. At most
//! [`permit::CLUSTERS`] clusters run at a time: sentinels on a machine that is too busy see failures of
//! their own making. It is no model of Sentinel: what these processes decide is what Redis decides.

mod builder;
mod cluster;
mod events;
mod fake;
mod node;
mod permit;
mod relay;
mod report;
mod writers;

pub use cluster::{Cluster, quoted, settings};
pub use fake::{FakeMaster, FakeSentinel, Mode};
pub use node::Node;
pub use relay::Relay;
pub use report::Report;
pub use writers::{Target, Writers};

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Client, Value, encode};

/// Most a single question to a node takes; one that is stopped answers nothing.
const QUESTION: Duration = Duration::from_millis(1000);

/// One command on a connection of its own.
///
/// # Errors
/// Why there is no reply. An error reply is a reply.
pub fn ask(address: SocketAddr, password: Option<&str>, command: &[&str]) -> Result<Value, String> {
    let stream = TcpStream::connect_timeout(&address, QUESTION).map_err(|e| e.to_string())?;
    let mut client = Client::over(stream);
    client.set_timeout(QUESTION);
    if let Some(password) = password
        && let Value::Error(refused) = exchange(&mut client, &["AUTH", password])?
    {
        return Err(refused);
    }
    exchange(&mut client, command)
}

/// One command and its reply on a connection that may end at any time.
///
/// # Errors
/// Why there is no reply.
fn exchange(client: &mut Client, command: &[&str]) -> Result<Value, String> {
    client
        .stream()
        .write_all(&encode(command))
        .map_err(|error| format!("sending failed: {error}"))?;
    client.try_read().map_err(|error| error.to_string())
}

/// A reply as text: `None` for anything but a string.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Simple(text) => Some(text.clone()),
        Value::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// A field of Sentinel's `name value name value ...` replies.
pub fn field(reply: &Value, name: &str) -> Option<String> {
    let Value::Array(items) = reply else {
        return None;
    };
    items
        .chunks(2)
        .find(|pair| text(&pair[0]).as_deref() == Some(name))
        .and_then(|pair| text(pair.get(1)?))
}
