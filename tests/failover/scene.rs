//! What the scenes of a failover have in common.

use std::time::Duration;

use serde_json::Value as Json;

use crate::sentinel::{Cluster, Target, Writers};
use crate::support::{Client, Pool, Proxy, Value, within};

/// From the news of a new master to the first write it acknowledges. A few milliseconds, but for a
/// debug build on two cores with the clusters of two tests.
pub const LAG: Duration = Duration::from_millis(600);

/// Writes that can be under way to a shard at once: two clients of its own and one of all shards. As
/// many can be acknowledged and not yet replicated when a master dies.
pub const UNDER_WAY: usize = 3;

/// Long enough for every client of a load to have done something.
pub const MOMENT: Duration = Duration::from_millis(400);

pub fn moment() {
    std::thread::sleep(MOMENT);
}

/// A proxy with two workers.
#[track_caller]
pub fn start(pool: Pool) -> Proxy {
    Proxy::build(&[pool]).args(&["--workers", "2"]).start()
}

/// Starts clients of the proxy and gives them a moment without failures.
#[track_caller]
pub fn load(cluster: &Cluster, proxy: &Proxy) -> Writers {
    let writers = Writers::start(cluster, &Target::proxy(cluster, proxy));
    moment();
    writers
}

/// A value of the statistics of one server.
#[track_caller]
pub fn stat(proxy: &Proxy, server: &str, name: &str) -> u64 {
    let text = Client::connect(proxy.stats_addr()).read_to_end();
    let report: Json = serde_json::from_slice(&text).expect("the statistics are JSON");
    report["failover"][server][name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} of {server} in {report}"))
}

/// How often the proxy went from one master of the server to another.
#[track_caller]
pub fn switches(proxy: &Proxy, server: &str) -> u64 {
    stat(proxy, server, "switches")
}

/// Sends the command until it succeeds.
#[track_caller]
pub fn insist(client: &mut Client, limit: Duration, command: &[&str]) -> Value {
    let mut reply = Value::Nil;
    let succeeded = within(limit, || {
        reply = client.cmd(command);
        !reply.is_error()
    });
    assert!(succeeded, "{command:?} for {limit:?}: {reply:?}");
    reply
}

/// Tells a sentinel to watch the shard with this node as its master and the settings of the start.
#[track_caller]
pub fn watch(cluster: &Cluster, sentinel: usize, shard: usize, node: usize) {
    let address = cluster.nodes(shard)[node].announced();
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let (sentinel, name) = (&cluster.sentinels()[sentinel], cluster.name(shard));
    let monitored = sentinel.cmd(&["SENTINEL", "MONITOR", name, &ip, &port, "2"]);
    assert_eq!(monitored, Value::ok());
    let set = [
        "SENTINEL",
        "SET",
        name,
        "down-after-milliseconds",
        "1000",
        "failover-timeout",
        "6000",
    ];
    assert_eq!(sentinel.cmd(&set), Value::ok());
}
