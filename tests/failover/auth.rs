//! Passwords: of the data nodes and of the sentinels, and what follows when one is refused.

use std::time::{Duration, Instant};

use crate::scene::{insist, load, moment, start, switches};
use crate::sentinel::{Cluster, Node, Target};
use crate::support::{Client, Proxy, Value};

#[test]
fn a_sentinel_that_refuses_our_password_is_not_needed() {
    let mut cluster = Cluster::build()
        .hasty()
        .password("d4t4-pass")
        .sentinel_password("w4tch-pass")
        .start();
    // Not the first: that one leads, and only the leader announces a planned failover. Connections that
    // are open stay open, those among the sentinels among them.
    let changed = ["ACL", "SETUSER", "default", "resetpass", ">other"];
    assert_eq!(cluster.sentinels()[2].cmd(&changed), Value::ok());
    cluster.sentinel(2).use_password("other");
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_no_errors(0);
    report.assert_untouched(1);
    assert_eq!(report.lost(0), 0, "{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
    assert!(proxy.log().contains("WRONGPASS"), "{}", proxy.log());
    for password in ["d4t4-pass", "w4tch-pass"] {
        assert!(
            !proxy.log().contains(password),
            "a password in:\n{}",
            proxy.log()
        );
    }
}

/// The proxy has a password of its own, and the replica does not know it.
#[test]
fn a_promoted_replica_that_refuses_our_password_fails_its_shard_only() {
    let cluster = Cluster::build().patient().hasty().password("data").start();
    let node = |shard: usize, index: usize| &cluster.nodes(shard)[index];
    let set_user = |node: &Node, rule: &str| {
        let set = node.cmd(&["ACL", "SETUSER", "default", rule]);
        assert_eq!(set, Value::ok());
    };
    for shard in 0..2 {
        set_user(node(shard, 0), ">proxy");
    }
    let proxy = start(cluster.pool_with_password("proxy"));
    let target = Target::proxy(&cluster, &proxy);
    let (ours, other) = (target.key(0, "k"), target.key(1, "k"));
    let mut client = authenticated(&proxy, "proxy");
    assert_eq!(client.cmd(&["SET", &ours, "1"]), Value::ok());
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    moment();
    let asked = Instant::now();
    let refused = client.cmd(&["GET", &ours]);
    assert!(refused.is_error(), "{refused:?}");
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(client.cmd(&["SET", &other, "1"]), Value::ok());
    assert_eq!(client.cmd(&["GET", &other]), Value::bulk("1"));
    assert!(proxy.log().contains("WRONGPASS"), "{}", proxy.log());
    // The old master would still take it, and must not get anything.
    assert!(client.cmd(&["SET", &ours, "2"]).is_error());
    assert_ne!(node(0, 0).cmd(&["GET", &ours]), Value::bulk("2"));
    set_user(node(0, 1), ">proxy");
    insist(&mut client, Duration::from_secs(5), &["SET", &ours, "3"]);
    assert_eq!(node(0, 1).cmd(&["GET", &ours]), Value::bulk("3"));
}

#[track_caller]
fn authenticated(proxy: &Proxy, password: &str) -> Client {
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["AUTH", password]), Value::ok());
    client
}
