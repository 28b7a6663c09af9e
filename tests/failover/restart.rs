//! What a proxy does that starts: with old addresses, without sentinels, with a name they do not know.

use std::time::{Duration, Instant};

use crate::scene::{insist, load, moment, start, switches, watch};
use crate::sentinel::{Cluster, Target};
use crate::support::Value;

/// The configuration names the first master, which has come back and calls itself a master for some
/// seconds; the sentinels know better.
#[test]
fn old_addresses_in_the_configuration_do_no_harm() {
    let mut cluster = Cluster::build().start();
    let pool = cluster.pool();
    let proxy = start(pool.clone());
    let target = Target::proxy(&cluster, &proxy);
    let started = Instant::now();
    drop(proxy);
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    cluster.wait_switch(0, begin);
    cluster.settle(0);
    cluster.node(0, 0).restart();

    let proxy = start(pool.clone());
    let mut client = proxy.client();
    let keys: Vec<String> = (0..50).map(|n| target.key(0, &format!("new{n}"))).collect();
    for key in &keys {
        assert_eq!(
            client.cmd(&["SET", key, "1"]),
            Value::ok(),
            "{}",
            proxy.log()
        );
    }
    let exist: Vec<&str> = std::iter::once("EXISTS")
        .chain(keys.iter().map(String::as_str))
        .collect();
    let old = &cluster.nodes(0)[0];
    assert_eq!(old.cmd(&exist), Value::Int(0));
    assert!(
        old.is_master(),
        "demoted after {:?}: too late to show anything",
        started.elapsed()
    );
    assert_eq!(cluster.nodes(0)[1].cmd(&exist), Value::Int(50));
    drop(proxy);

    let begin = Instant::now();
    let proxy = start(pool);
    assert_eq!(proxy.client().cmd(&["GET", &keys[0]]), Value::bulk("1"));
    let took = begin.elapsed();
    assert!(
        took < Duration::from_secs(2),
        "the first reply took {took:?}"
    );
}

/// What is configured serves if it is a master, and nothing else does. Once sentinels answer, they decide.
#[test]
fn a_start_without_sentinels_uses_configured_masters() {
    let mut cluster = Cluster::build().start();
    for sentinel in 0..3 {
        cluster.sentinel(sentinel).kill();
    }
    let proxy = start(cluster.pool());
    let target = Target::proxy(&cluster, &proxy);
    let key = target.key(0, "early");
    let begin = Instant::now();
    insist(
        &mut proxy.client(),
        Duration::from_secs(6),
        &["SET", &key, "1"],
    );
    println!(
        "the first write without sentinels took {:?}",
        begin.elapsed()
    );
    // Configured with the replicas.
    let mistaken = start(cluster.pool_at(1));
    let reply = mistaken.client().cmd(&["SET", &key, "2"]);
    assert!(!reply.error().starts_with("READONLY"), "{reply:?}");

    cluster.restart_sentinels();
    cluster.make_hasty();
    cluster.wait_acquainted(0);
    insist(
        &mut mistaken.client(),
        Duration::from_secs(5),
        &["SET", &key, "3"],
    );
    assert_eq!(cluster.nodes(0)[0].cmd(&["GET", &key]), Value::bulk("3"));
    // A second for the proxy that was there first.
    std::thread::sleep(Duration::from_secs(2));
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
}

#[test]
fn a_name_no_sentinel_knows_concerns_its_shard_only() {
    let cluster = Cluster::build().start();
    for sentinel in cluster.sentinels() {
        let removed = sentinel.cmd(&["SENTINEL", "REMOVE", "shard1"]);
        assert_eq!(removed, Value::ok());
    }
    let proxy = start(cluster.pool());
    let target = Target::proxy(&cluster, &proxy);
    let (known, unknown) = (target.key(0, "k"), target.key(1, "k"));
    let mut client = proxy.client();
    insist(&mut client, Duration::from_secs(1), &["SET", &known, "1"]);
    let begin = Instant::now();
    let reply = client.cmd(&["SET", &unknown, "1"]);
    assert!(reply.error().contains("shard1"), "{reply:?}");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(client.cmd(&["GET", &known]), Value::bulk("1"));
    for sentinel in 0..3 {
        watch(&cluster, sentinel, 1, 0);
    }
    insist(&mut client, Duration::from_secs(5), &["SET", &unknown, "1"]);
    assert_eq!(
        cluster.nodes(1)[0].cmd(&["GET", &unknown]),
        Value::bulk("1")
    );
}
