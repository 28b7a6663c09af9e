//! Failovers that an operator asks for while the master is well.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::scene::{load, moment, start, switches};
use crate::sentinel::{Cluster, Report, Target};
use crate::support::{Value, encode, within};

/// How long requests may be held: `failover_hold`'s default.
const HOLD: Duration = Duration::from_millis(1500);

/// What a busy machine adds to it.
const SLACK: Duration = Duration::from_millis(600);

#[track_caller]
fn assert_clean(report: &Report) {
    report.assert_sound();
    report.assert_no_errors(0);
    report.assert_untouched(1);
    assert!(report.errors_of_all().is_empty(), "{report}");
    assert_eq!(report.lost(0), 0, "{report}");
    assert_eq!(report.stale_reads(), 0, "{report}");
}

/// The old master takes writes for ten seconds more: whoever still sends them there loses them.
#[test]
fn clients_notice_a_planned_failover_by_a_pause_only() {
    let cluster = Cluster::build().patient().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    moment();
    let report = writers.finish(&cluster);
    assert_clean(&report);
    let pause = report.longest_gap(0);
    assert!(pause < HOLD + SLACK, "{pause:?}\n{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
    assert_eq!(cluster.master_of(0), 1);
    drop(proxy);

    // With an eager commit the pause lasts until the replica says that it is the master, not until the
    // sentinels have seen it: that takes them about a second with their usual timing.
    cluster.make_hasty();
    cluster.wait_replica(0, 0);
    cluster.wait_acquainted(0);
    cluster.make_usual();
    let proxy = start(cluster.pool().set("commit", "eager"));
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    moment();
    let report = writers.finish(&cluster);
    assert_clean(&report);
    let pause = report.longest_gap(0);
    assert!(pause < Duration::from_millis(700), "{pause:?}\n{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}

/// The replica is chosen and then says nothing: requests go on to the old master when the hold ends, and
/// stay there when the sentinels give up and the replica, which does as it was told, becomes a master.
#[test]
fn an_aborted_failover_leaves_the_shard_where_it_was() {
    let cluster = Cluster::build()
        .hasty()
        .down_after(4000)
        .failover_timeout(2500)
        .start();
    let mut proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.nodes(0)[1].pause();
    cluster.failover(0);
    cluster.wait_event("+selected-slave", 0, begin);
    cluster.wait_event("-failover-abort-slave-timeout", 0, begin);
    moment();
    cluster.nodes(0)[1].resume();
    cluster.wait_acquainted(0);
    moment();
    let report = writers.finish(&cluster);
    assert_clean(&report);
    let pause = report.longest_gap(0);
    assert!(
        pause > HOLD / 2 && pause < HOLD + SLACK,
        "{pause:?}\n{report}"
    );
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());
    assert_eq!(cluster.settle(0), 0);

    // To end while requests are held: each gets a reply or at least the close, and nothing hangs.
    let key = Target::proxy(&cluster, &proxy).key(0, "held");
    let mut client = proxy.client();
    let begin = Instant::now();
    cluster.nodes(0)[1].pause();
    cluster.failover(0);
    cluster.wait_event("+selected-slave", 0, begin);
    std::thread::sleep(Duration::from_millis(100));
    client.send(encode(&["SET", &key, "1"]));
    client.expect_silence(Duration::from_millis(100));
    let asked = Instant::now();
    proxy.signal(Signal::TERM);
    let reply = client.try_read();
    assert!(
        matches!(reply, Ok(Value::Simple(_) | Value::Error(_))),
        "{reply:?}"
    );
    let ended = within(Duration::from_secs(5), || !proxy.is_running());
    assert!(
        ended,
        "still there after {:?}:\n{}",
        asked.elapsed(),
        proxy.log()
    );
    assert_eq!(proxy.wait().code(), Some(0), "{}", proxy.log());
    if reply.is_ok_and(|reply| reply == Value::ok()) {
        let stored = cluster.nodes(0)[0].cmd(&["GET", &key]);
        assert_eq!(stored, Value::bulk("1"), "it was acknowledged");
    }
    cluster.nodes(0)[1].resume();
}

/// An operator moves a shard without a failover: the sentinels forget it and are told where it is now.
/// They count its epochs from the start again.
#[test]
fn a_master_that_is_moved_by_hand_is_followed() {
    let cluster = Cluster::build().patient().hasty().start();
    // So that there is an epoch to fall back from.
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    cluster.wait_replica(0, 0);
    let proxy = start(cluster.pool());
    let key = Target::proxy(&cluster, &proxy).key(0, "moved");
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", &key, "1"]), Value::ok());
    let writers = load(&cluster, &proxy);

    for sentinel in cluster.sentinels() {
        let removed = sentinel.cmd(&["SENTINEL", "REMOVE", "shard0"]);
        assert_eq!(removed, Value::ok());
    }
    let (old, new) = (&cluster.nodes(0)[1], &cluster.nodes(0)[0]);
    assert_eq!(new.cmd(&["REPLICAOF", "NO", "ONE"]), Value::ok());
    let new_port = new.addr().port().to_string();
    let demoted = old.cmd(&["REPLICAOF", "127.0.0.1", &new_port]);
    assert_eq!(demoted, Value::ok());
    for sentinel in 0..3 {
        crate::scene::watch(&cluster, sentinel, 0, 0);
    }
    let told = Instant::now();
    crate::scene::insist(&mut client, Duration::from_secs(5), &["SET", &key, "2"]);
    assert_eq!(new.cmd(&["GET", &key]), Value::bulk("2"));
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.lost_since(0, told), 0, "{report}");
}
