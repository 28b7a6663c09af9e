//! Pools under Sentinel: links and places outlive a reload, and failovers are followed after it.

use std::time::Instant;

use crate::scene::{hang_up, reload, start, topology, write_text};
use crate::sentinel::{Cluster, Target, Writers};
use crate::support::{Proxy, RedisServer, Value, count, eventually};

#[track_caller]
fn wait_stable(proxy: &Proxy, shards: usize) {
    eventually("all servers are stable and all sentinels up", || {
        let page = topology(proxy);
        let pool = &page["pools"][0];
        let servers = pool["servers"].as_array();
        let sentinels = pool["sentinels"].as_array();
        servers.is_some_and(|s| s.len() == shards && s.iter().all(|s| s["phase"] == "stable"))
            && sentinels.is_some_and(|s| s.iter().all(|s| s["up"] == true))
    });
}

/// A failover that the proxy has to follow, under load.
#[track_caller]
fn fail_over(cluster: &Cluster, shard: usize) {
    let begin = Instant::now();
    cluster.failover(shard);
    cluster.wait_switch(shard, begin);
    cluster.settle(shard);
}

#[test]
fn a_reload_keeps_links_and_failovers_are_followed_after_it() {
    let cluster = Cluster::build().hasty().start();
    let pool = cluster.pool();
    let proxy = start(std::slice::from_ref(&pool));
    wait_stable(&proxy, cluster.shards());
    let links = |sentinel: usize| {
        let list = cluster.sentinels()[sentinel].cmd(&["CLIENT", "LIST"]);
        let Value::Bulk(list) = list else {
            panic!("a list");
        };
        let list = String::from_utf8(list).expect("text");
        // The ids of our two links; the test's own connection is new each time.
        let ours = list
            .lines()
            .filter(|line| line.contains("cmd=subscribe") || line.contains("cmd=sentinel"));
        let ids = ours.filter_map(|line| line.split(' ').next().map(str::to_owned));
        ids.collect::<std::collections::BTreeSet<String>>()
    };
    let target = Target::proxy(&cluster, &proxy);
    let writers = Writers::start(&cluster, &target);
    let before = links(0);
    let told = reload(&proxy, &[pool.clone().set("client_connections", 1000)]);
    assert!(told.contains("1 changes"), "{told}");
    let after = links(0);
    assert!(
        !before.is_empty() && before.is_subset(&after),
        "{before:?} {after:?}"
    );
    assert_eq!(
        count(&proxy.log(), "the masters of all servers are known"),
        1
    );
    fail_over(&cluster, 0);

    // Another watcher, with fewer sentinels and more patience, begins where the servers are now.
    let settings = pool.clone().set("sentinel_poll", 500).yaml();
    write_text(&proxy, &settings);
    assert!(hang_up(&proxy));
    wait_stable(&proxy, cluster.shards());
    assert_eq!(
        count(&proxy.log(), "the masters of all servers are known"),
        2
    );
    fail_over(&cluster, 1);
    let report = writers.finish(&cluster);
    report.assert_sound();
    for shard in 0..cluster.shards() {
        report.assert_no_errors(shard);
        assert_eq!(
            (report.lost(shard), report.repeated(shard)),
            (0, 0),
            "{report}"
        );
    }
}

#[test]
fn sentinels_can_be_added_and_removed_under_load() {
    let cluster = Cluster::build().hasty().start();
    let plain = cluster.pool_without_sentinels();
    let proxy = start(std::slice::from_ref(&plain));
    let target = Target::proxy(&cluster, &proxy);
    let writers = Writers::start(&cluster, &target);
    // The listen address is the first pool's.
    let sentinels = cluster.pool().yaml();
    let sentinels = sentinels
        .lines()
        .find(|line| line.trim_start().starts_with("sentinels:"))
        .expect("the pool has sentinels");
    let managed = plain
        .yaml()
        .replace("redis: true", &format!("redis: true\n{sentinels}"));
    for _ in 0..2 {
        write_text(&proxy, &managed);
        assert!(hang_up(&proxy), "{}", proxy.log());
        wait_stable(&proxy, cluster.shards());
        write_text(&proxy, &plain.yaml());
        assert!(hang_up(&proxy));
        assert!(topology(&proxy)["pools"][0]["sentinels"].is_null());
    }
    write_text(&proxy, &managed);
    assert!(hang_up(&proxy));
    wait_stable(&proxy, cluster.shards());
    fail_over(&cluster, 0);
    let report = writers.finish(&cluster);
    report.assert_sound();
    for shard in 0..cluster.shards() {
        report.assert_no_errors(shard);
        assert_eq!(
            (report.lost(shard), report.repeated(shard)),
            (0, 0),
            "{report}"
        );
    }
}

/// Requests go on where they went, before and after the wait for a first sentinel is over.
#[test]
fn sentinels_nobody_answers_at_do_not_stop_a_pool() {
    let server = RedisServer::start();
    let pool = crate::support::Pool::new("alpha").servers([&server]);
    let proxy = start(std::slice::from_ref(&pool));
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "k", "1"]), Value::ok());
    let nobody = crate::support::free_port();
    let managed = pool
        .set("sentinels", format!("['127.0.0.1:{nobody}']"))
        .set("sentinel_startup_wait", 200);
    reload(&proxy, &[managed]);
    eventually("the address in the file is taken for the master's", || {
        assert!(!client.cmd(&["INCR", "k"]).is_error());
        topology(&proxy)["pools"][0]["servers"][0]["phase"] == "stable"
    });
}
