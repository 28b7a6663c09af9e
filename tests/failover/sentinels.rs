//! Sentinels that stop or crash in the middle of a failover, and masters that refuse for a while without
//! one: none of it is for the proxy to decide.

use std::time::{Duration, Instant};

use crate::scene::{LAG, UNDER_WAY, insist, load, moment, start, stat, switches};
use crate::sentinel::{Cluster, Node, Report, Target};
use crate::support::{PATIENCE, Pool, Stats, Value, encode, within};

/// How long a sentinel must stand still to distrust its own clock: two seconds.
const STANDSTILL: Duration = Duration::from_secs(3);

#[track_caller]
fn info(node: &Node, section: &str) -> String {
    match node.cmd(&["INFO", section]) {
        Value::Bulk(text) => String::from_utf8(text).expect("text"),
        other => panic!("INFO {section} answers {other:?}"),
    }
}

#[track_caller]
fn configure(node: &Node, name: &str, value: &str) {
    assert_eq!(node.cmd(&["CONFIG", "SET", name, value]), Value::ok());
}

/// Is the sentinel in the state in which it still answers and takes part in nothing?
fn is_tilted(sentinel: &Node) -> bool {
    info(sentinel, "sentinel").contains("sentinel_tilt:1")
}

/// The sentinel listed first stands still and then watches without acting, for half a minute.
#[test]
fn a_sentinel_in_tilt_is_not_needed() {
    let mut cluster = Cluster::build().hasty().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    cluster.sentinels()[0].pause();
    std::thread::sleep(STANDSTILL);
    cluster.sentinels()[0].resume();
    let tilted = within(PATIENCE, || is_tilted(&cluster.sentinels()[0]));
    assert!(tilted, "{}", info(&cluster.sentinels()[0], "sentinel"));
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(0);
    report.assert_untouched(1);
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());

    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    let gone = Instant::now();
    let switched = cluster.wait_switch(0, begin);
    moment();
    assert!(is_tilted(&cluster.sentinels()[0]), "too late to show it");
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_followed(&report, gone, switched);
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}

/// The new master of the first shard took over as soon as it was known, and keeps what it is given.
#[track_caller]
fn assert_followed(report: &Report, gone: Instant, switched: Instant) {
    let first = report.first_write_since(0, gone);
    let lag = first.map(|first| first.saturating_duration_since(switched));
    assert!(lag.is_some_and(|lag| lag < LAG), "{lag:?}\n{report}");
    assert_eq!(report.lost_since(0, gone), 0, "{report}");
    assert!(report.lost(0) <= UNDER_WAY, "{report}");
}

/// The first sentinel finds the master down before the others, needs nobody's agreement to that, and so
/// leads; it crashes at the given point, and the others do it all again.
#[track_caller]
fn follow_the_second_election(crash: &str) {
    let mut cluster = Cluster::build()
        .replicas(2)
        .hasty()
        .failover_timeout(2000)
        .start();
    let [first, others @ ..] = cluster.sentinels() else {
        panic!("there are three");
    };
    assert_eq!(
        first.cmd(&["SENTINEL", "SIMULATE-FAILURE", crash]),
        Value::ok()
    );
    let set = |sentinel: &Node, name: &str, value: &str| {
        let set = sentinel.cmd(&["SENTINEL", "SET", "shard0", name, value]);
        assert_eq!(set, Value::ok());
    };
    set(first, "quorum", "1");
    for other in others {
        set(other, "down-after-milliseconds", "2500");
    }
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    let gone = Instant::now();
    let crashed = within(PATIENCE, || cluster.sentinels()[0].ask(&["PING"]).is_err());
    assert!(crashed, "{}", cluster.describe_events(begin));
    let promoted = (1..3).any(|node| cluster.nodes(0)[node].is_master());
    assert_eq!(
        promoted,
        crash == "crash-after-promotion",
        "{}",
        cluster.describe_events(begin)
    );
    cluster.sentinel(0).kill();
    let switched = cluster.wait_switch(0, begin);
    let wait = switched.saturating_duration_since(begin);
    assert!(wait > Duration::from_secs(3), "one election only: {wait:?}");
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_followed(&report, gone, switched);
    let first = report.first_write_since(0, gone).expect("it was followed");
    let early = switched.saturating_duration_since(first);
    assert!(early < LAG, "written {early:?} too early\n{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}

/// There is a new master that nobody announces, and it may not stay one.
#[test]
fn a_leader_that_crashes_after_the_promotion_is_replaced() {
    follow_the_second_election("crash-after-promotion");
}

#[test]
fn a_leader_that_crashes_after_its_election_is_replaced() {
    follow_the_second_election("crash-after-election");
}

/// A pool that would not see past one failure, if what Sentinel manages could be ejected.
fn impatient(cluster: &Cluster) -> Pool {
    let pool = cluster.pool().set("auto_eject_hosts", true);
    pool.set("server_failure_limit", 1)
}

/// A master is back before the sentinels miss it and reads its data for longer than requests are held.
#[test]
fn a_master_that_is_loading_says_so_and_is_kept() {
    const KEYS: usize = 30_000;
    const LOADING: &str = "LOADING Redis is loading the dataset in memory";
    /// `failover_hold`'s default.
    const HOLD: Duration = Duration::from_millis(1500);
    let mut cluster = Cluster::build().down_after(20_000).start();
    let master = &cluster.nodes(0)[0];
    // A server that loads answers between keys only.
    let proxy = start(impatient(&cluster).set("timeout", 3000));
    let target = Target::proxy(&cluster, &proxy);
    let mut client = master.client();
    for number in 0..KEYS {
        let key = target.key(0, &format!("fill{number}"));
        client.send(encode(&["SET", &key, "1"]));
    }
    for _ in 0..KEYS {
        assert_eq!(client.read(), Value::ok());
    }
    // Microseconds per command.
    configure(master, "key-load-delay", "50");
    // So that it answers in between, within `timeout` on a busy machine too.
    configure(master, "loading-process-events-interval-bytes", "1024");
    assert_eq!(master.cmd(&["CONFIG", "REWRITE"]), Value::ok());
    let writers = load(&cluster, &proxy);
    cluster.node(0, 0).restart();
    let back = Instant::now();
    let master = &cluster.nodes(0)[0];
    let mut client = proxy.client();
    let key = target.key(0, "loaded");
    // Until the proxy tries again to connect, it answers for the server.
    let mut reply = Value::Nil;
    let said = within(LAG, || {
        reply = client.cmd(&["SET", &key, "1"]);
        reply == Value::Error(LOADING.into())
    });
    assert!(said, "{reply:?}");
    while info(master, "persistence").contains("\nloading:1") {
        reply = client.cmd(&["SET", &key, "1"]);
        let loaded = reply == Value::ok();
        assert!(loaded || reply.error() == LOADING, "{reply:?}");
    }
    let loaded = Instant::now();
    let took = loaded - back;
    assert!(took > HOLD, "loaded within {took:?}");
    insist(&mut client, LAG, &["SET", &key, "2"]);
    assert_eq!(master.cmd(&["GET", &key]), Value::bulk("2"));
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.lost(0), 0, "{report}");
    let first = report.first_write_since(0, loaded).expect("writes go on");
    assert!(first - loaded < LAG, "{:?}\n{report}", first - loaded);
    assert_eq!(stat(&proxy, "shard0", "server_ejects"), 0);
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());
}

/// Its clients are told in its own words, and it stays where and what it is.
#[test]
fn a_master_without_enough_replicas_refuses_writes_and_is_kept() {
    const REFUSAL: &str = "NOREPLICAS Not enough good replicas to write.";
    let cluster = Cluster::build().start();
    let [master, replica] = cluster.nodes(0) else {
        panic!("there are two");
    };
    configure(master, "min-replicas-max-lag", "2");
    configure(master, "min-replicas-to-write", "1");
    let proxy = start(impatient(&cluster));
    let key = Target::proxy(&cluster, &proxy).key(0, "k");
    let mut client = proxy.client();
    insist(&mut client, PATIENCE, &["SET", &key, "1"]);
    let writers = load(&cluster, &proxy);
    replica.pause();
    let refused = within(PATIENCE, || client.cmd(&["SET", &key, "2"]).is_error());
    assert!(refused, "{}", info(master, "replication"));
    // Longer than requests are held and than the sentinels need to call the replica down.
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        let asked = Instant::now();
        assert_eq!(client.cmd(&["SET", &key, "3"]).error(), REFUSAL);
        assert_eq!(client.cmd(&["GET", &key]), master.cmd(&["GET", &key]));
        assert!(asked.elapsed() < LAG, "{:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    replica.resume();
    insist(&mut client, PATIENCE, &["SET", &key, "4"]);
    assert_eq!(master.cmd(&["GET", &key]), Value::bulk("4"));
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert!(report.errors_of_all().is_empty(), "{report}");
    assert_eq!((report.lost(0), report.stale_reads()), (0, 0), "{report}");
    let errors = report.errors(0);
    assert!(!errors.is_empty(), "{report}");
    assert!(errors.iter().all(|error| *error == REFUSAL), "{report}");
    assert!(report.longest_gap(0) < LAG, "reads go on\n{report}");
    let stats = Stats::of(&proxy);
    for counter in [
        "switches",
        "holds",
        "bounced",
        "resent",
        "server_ejects",
        "server_err",
        "server_eof",
        "server_timedout",
    ] {
        let counted = stats.server("failover", "shard0", counter);
        assert_eq!(counted, 0, "{counter}\n{}", proxy.log());
    }
    assert_eq!(cluster.master_of(0), 0);
}
