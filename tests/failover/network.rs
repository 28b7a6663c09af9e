//! Failovers where addresses are more than an IPv4 address and a port.

use std::net::SocketAddr;
use std::time::Instant;

use crate::scene::{load, moment, start, switches};
use crate::sentinel::{Cluster, Node, Relay, Target, quoted, settings};
use crate::support::{Pool, Proxy, Value};

/// Moves the first shard under load, which nobody may notice by more than a pause.
#[track_caller]
fn fail_over(cluster: &Cluster, pool: Pool) -> Proxy {
    let proxy = start(pool);
    let writers = load(cluster, &proxy);
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    moment();
    let report = writers.finish(cluster);
    report.assert_sound();
    report.assert_no_errors(0);
    report.assert_untouched(1);
    assert_eq!(report.lost(0), 0, "{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
    proxy
}

#[test]
fn sentinels_and_masters_have_ipv6_addresses() {
    let cluster = Cluster::build().patient().hasty().ipv6().start();
    fail_over(&cluster, cluster.pool());
}

#[test]
fn sentinels_announce_host_names() {
    let cluster = Cluster::build().patient().hasty().host_names().start();
    fail_over(&cluster, cluster.pool());
}

/// What the sentinels announce cannot be reached, as in containers; relays stand for what can.
#[test]
fn announced_addresses_are_translated() {
    let cluster = Cluster::build().patient().hasty().start();
    let relay = |node: &Node| (node.announced(), Relay::start(node.addr()));
    let sentinels: Vec<(SocketAddr, Relay)> = cluster.sentinels().iter().map(relay).collect();
    let nodes: Vec<Vec<(SocketAddr, Relay)>> = (0..2)
        .map(|shard| cluster.nodes(shard).iter().map(relay).collect())
        .collect();
    let translated = sentinels.iter().chain(nodes.iter().flatten());
    let map: Vec<String> = translated
        .map(|(announced, relay)| format!("'{announced}': '{}'", relay.addr()))
        .collect();
    let mut pool = settings()
        .set(
            "sentinels",
            quoted(sentinels.iter().map(|(_, relay)| relay.addr())),
        )
        .set("sentinel_nat", format!("{{{}}}", map.join(", ")));
    for (shard, nodes) in nodes.iter().enumerate() {
        pool = pool.server(&format!("{}:1 shard{shard}", nodes[0].1.addr()));
    }
    let proxy = fail_over(&cluster, pool);
    let key = Target::proxy(&cluster, &proxy).key(0, "k");
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", &key, "1"]), Value::ok());
    nodes[0][1].1.stall("127.");
    let reply = client.cmd(&["SET", &key, "2"]);
    assert!(reply.is_error(), "it went past the relay: {reply:?}");
}
