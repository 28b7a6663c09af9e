//! Masters and sentinels that die, stop or come back.

use std::time::{Duration, Instant};

use crate::scene::{LAG, UNDER_WAY, insist, load, moment, start, switches, watch};
use crate::sentinel::{Cluster, Report, Target};
use crate::support::Value;

/// The new master took over as soon as it was known, and nothing of what was sent from then on is gone.
#[track_caller]
fn assert_taken_over(report: &Report, shard: usize, gone: Instant, switched: Instant) {
    let first = report.first_write_since(shard, gone);
    let lag = first.map(|first| first.saturating_duration_since(switched));
    assert!(
        lag.is_some_and(|lag| lag < LAG),
        "shard {shard}: {lag:?}\n{report}"
    );
    assert_eq!(report.lost_since(shard, gone), 0, "shard {shard}\n{report}");
    assert!(report.lost(shard) <= UNDER_WAY, "shard {shard}\n{report}");
}

/// Three sentinels and their leader announce one switch; a stale master that calls itself one for
/// seconds gets nothing; the next failover is followed like the first.
#[test]
fn a_killed_master_is_replaced_and_its_return_changes_nothing() {
    let mut cluster = Cluster::build().replicas(2).start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    let gone = Instant::now();
    let switched = cluster.wait_switch(0, begin);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_taken_over(&report, 0, gone, switched);
    assert!(
        !report.errors_of_all().is_empty(),
        "MGET with a dead shard\n{report}"
    );
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
    let new = cluster.master_of(0);

    cluster.make_patient();
    cluster.make_hasty();
    let writers = load(&cluster, &proxy);
    cluster.node(0, 0).restart();
    assert!(cluster.nodes(0)[0].is_master(), "not yet demoted");
    cluster.wait_replica(0, 0);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(0);
    report.assert_untouched(1);
    assert_eq!((switches(&proxy, "shard0"), cluster.master_of(0)), (1, new));

    cluster.wait_acquainted(0);
    let writers = load(&cluster, &proxy);
    let again = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, again);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_no_errors(0);
    assert_eq!(report.lost(0), 0, "{report}");
    assert_eq!(switches(&proxy, "shard0"), 2, "{}", proxy.log());
    assert_eq!(switches(&proxy, "shard1"), 0, "{}", proxy.log());
}

#[test]
fn masters_that_die_together_are_replaced_independently() {
    let mut cluster = Cluster::build().hasty().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    cluster.node(1, 0).kill();
    let gone = Instant::now();
    let switched = [0, 1].map(|shard| cluster.wait_switch(shard, begin));
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    for shard in [0, 1] {
        assert_taken_over(&report, shard, gone, switched[shard]);
        assert_eq!(switches(&proxy, cluster.name(shard)), 1);
    }
}

/// The sentinel listed first, which may be on the machine of the master, is not needed; nor is one of
/// three that no longer watches the master; nor do sentinels matter that are told to forget and look again.
#[test]
fn one_sentinel_less_makes_no_difference() {
    let mut cluster = Cluster::build().hasty().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    for sentinel in cluster.sentinels() {
        sentinel.cmd(&["SENTINEL", "RESET", "*"]);
    }
    moment();
    let removed = cluster.sentinels()[1].cmd(&["SENTINEL", "REMOVE", "shard0"]);
    assert_eq!(removed, Value::ok());
    moment();
    watch(&cluster, 1, 0, 0);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(0);
    report.assert_untouched(1);
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());

    cluster.wait_acquainted(0);
    let writers = load(&cluster, &proxy);
    cluster.sentinel(0).kill();
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    let gone = Instant::now();
    let switched = cluster.wait_switch(0, begin);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_taken_over(&report, 0, gone, switched);
}

#[test]
fn without_sentinels_the_known_masters_serve_until_one_dies() {
    let mut cluster = Cluster::build().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    for sentinel in 0..3 {
        cluster.sentinel(sentinel).kill();
    }
    std::thread::sleep(Duration::from_millis(1500));
    cluster.restart_sentinels();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(0);
    report.assert_untouched(1);

    let target = Target::proxy(&cluster, &proxy);
    let writers = load(&cluster, &proxy);
    for sentinel in 0..3 {
        cluster.sentinel(sentinel).kill();
    }
    cluster.node(0, 0).kill();
    let gone = Instant::now();
    let mut client = proxy.client();
    for _ in 0..20 {
        let asked = Instant::now();
        let reply = client.cmd(&["GET", &target.key(0, "constant")]);
        assert!(reply.is_error(), "{reply:?} although nobody has it");
        let took = asked.elapsed();
        assert!(
            took < LAG,
            "no failover is announced, so fail fast: {took:?}"
        );
    }
    let begin = Instant::now();
    cluster.restart_sentinels();
    let switched = cluster.wait_switch(0, begin);
    // The proxy may be waiting to try the sentinels again.
    insist(
        &mut client,
        Duration::from_secs(3),
        &["GET", &target.key(0, "constant")],
    );
    let took = switched.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.lost_since(0, gone), 0, "{report}");
}

#[test]
fn broken_connections_and_a_quick_restart_are_no_failover() {
    let mut cluster = Cluster::build().relays().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let mut resets = 0;
    for _ in 0..30 {
        resets += cluster.relay(0, 0).reset("127.0.0.1");
        std::thread::sleep(Duration::from_millis(40));
    }
    let healed = Instant::now();
    assert!(resets > 10, "{resets} connections reset");
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.lost(0), 0, "{report}");
    let first = report.first_write_since(0, healed).expect("writes go on");
    assert!(first - healed < LAG, "{:?}\n{report}", first - healed);

    let writers = load(&cluster, &proxy);
    cluster.node(0, 0).kill();
    cluster.node(0, 0).restart();
    let back = Instant::now();
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.lost(0), 0, "{report}");
    let first = report.first_write_since(0, back).expect("writes go on");
    assert!(first - back < LAG, "{:?}\n{report}", first - back);
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());
    assert_eq!(cluster.master_of(0), 0);
}

/// Its connections stay open and say nothing; when it goes on it calls itself a master.
#[test]
fn a_stopped_master_is_left_and_not_used_when_it_goes_on() {
    let cluster = Cluster::build().hasty().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.nodes(0)[0].pause();
    let gone = Instant::now();
    let switched = cluster.wait_switch(0, begin);
    moment();
    cluster.nodes(0)[0].resume();
    cluster.wait_replica(0, 0);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_taken_over(&report, 0, gone, switched);
    assert_eq!(report.lost(0), 0, "{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}
