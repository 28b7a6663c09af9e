//! Networks that lose what is sent, for all or for some, while every process is well.

use std::time::{Duration, Instant};

use crate::scene::{LAG, insist, load, moment, start, stat, switches};
use crate::sentinel::{Cluster, Node, Relay, Report, Target, quoted};
use crate::support::{Pool, Value, encode, within};

/// `timeout` of the pools here.
const TIMEOUT: Duration = Duration::from_millis(400);

/// `failover_hold`'s default.
const HOLD: Duration = Duration::from_millis(1500);

/// From the end of a partition until the proxy has noticed.
const RECOVERY: Duration = Duration::from_millis(2000);

const NO_REPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";

/// Where the proxy's connections to relays come from.
const PROXY: &str = "127.0.0.1";

/// Cuts the first shard's first master off from sentinels and replicas, in both directions. The proxy
/// still reaches all.
fn isolate(cluster: &Cluster) {
    let master = cluster.relay(0, 0);
    master.stall("127.0.1.");
    master.stall("127.0.2.");
    // Its own source address is the first of its shard.
    cluster.relay(0, 1).stall("127.0.2.1");
}

fn reunite(cluster: &Cluster) {
    cluster.relay(0, 0).open();
    cluster.relay(0, 1).open();
}

/// The first write that the shard acknowledged after `since` came within `limit`.
#[track_caller]
fn assert_served(report: &Report, since: Instant, limit: Duration) {
    let first = report.first_write_since(0, since);
    let took = first.map(|first| first - since);
    assert!(took.is_some_and(|took| took < limit), "{took:?}\n{report}");
}

/// No FIN and no RST tells that the master is gone, to nobody.
#[test]
fn a_master_behind_a_dead_cable_is_left() {
    let cluster = Cluster::build().hasty().relays().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    cluster.relay(0, 0).stall("127.");
    let switched = cluster.wait_switch(0, begin);
    moment();
    cluster.relay(0, 0).open();
    cluster.wait_replica(0, 0);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_served(&report, switched, LAG);
    assert_eq!(report.lost_since(0, switched), 0, "{report}");
    assert!(!report.errors(0).is_empty(), "no time-out at all\n{report}");
    let slowest = report.slowest(0);
    assert!(slowest < HOLD + TIMEOUT + LAG, "{slowest:?}\n{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}

/// The sentinels see a healthy master, so there is no other to go to.
#[test]
fn a_master_that_only_the_proxy_cannot_reach_is_waited_for() {
    let cluster = Cluster::build().hasty().relays().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    cluster.relay(0, 0).stall(PROXY);
    let cut = Instant::now();
    std::thread::sleep(Duration::from_millis(4000));
    let healed = Instant::now();
    cluster.relay(0, 0).open();
    std::thread::sleep(RECOVERY);
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.lost(0), 0, "{report}");
    let errors = report.errors(0);
    assert!(!errors.is_empty(), "the cut was not noticed\n{report}");
    let slowest = report.slowest(0);
    assert!(slowest < TIMEOUT + LAG, "{slowest:?}\n{report}");
    let first = report.first_write_since(0, cut).expect("writes go on");
    assert!(first >= healed, "it went past the relay\n{report}");
    assert_served(&report, healed, RECOVERY);
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());
    assert_eq!(cluster.master_of(0), 0);
}

/// The old master acknowledges writes that nobody will ever see. Those before the failover is announced
/// cannot be saved by a proxy.
#[test]
fn a_split_brain_loses_nothing_after_the_switch() {
    let cluster = Cluster::build().hasty().relays().start();
    let proxy = start(cluster.pool());
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    isolate(&cluster);
    let switched = cluster.wait_switch(0, begin);
    moment();
    assert!(cluster.nodes(0)[0].is_master(), "there are two masters");
    reunite(&cluster);
    cluster.wait_replica(0, 0);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert!(report.lost(0) > 0, "the master was not isolated\n{report}");
    assert_eq!(report.lost_since(0, switched), 0, "{report}");
    assert_served(&report, switched, LAG);
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}

/// What Redis offers against a split brain: a master without replicas refuses writes. The clients are
/// told so in its words, until there is a new master.
#[test]
fn a_split_brain_loses_nothing_once_the_old_master_refuses_writes() {
    let cluster = Cluster::build().hasty().relays().down_after(5000).start();
    let proxy = start(cluster.pool());
    let key = Target::proxy(&cluster, &proxy).key(0, "refused");
    let writers = load(&cluster, &proxy);
    require_replica(&cluster.nodes(0)[0]);
    let begin = Instant::now();
    isolate(&cluster);
    let mut client = proxy.client();
    let mut reply = Value::ok();
    let refused = within(Duration::from_secs(5), || {
        reply = client.cmd(&["SET", &key, "1"]);
        reply != Value::ok()
    });
    assert!(refused, "the master goes on without its replica");
    assert_eq!(reply, Value::Error(NO_REPLICAS.into()));
    let refused = Instant::now();
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());
    let switched = cluster.wait_switch(0, begin);
    insist(&mut client, LAG, &["SET", &key, "2"]);
    moment();
    reunite(&cluster);
    cluster.wait_replica(0, 0);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.lost_since(0, refused), 0, "{report}");
    assert_served(&report, switched, LAG);
    let others = report.errors(0).into_iter().filter(|e| *e != NO_REPLICAS);
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new(), "{report}");
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}

#[track_caller]
fn require_replica(master: &Node) {
    let settings = ["min-replicas-to-write", "1", "min-replicas-max-lag", "1"];
    let set = ["CONFIG", "SET"].iter().chain(&settings).copied();
    assert_eq!(master.cmd(&set.collect::<Vec<_>>()), Value::ok());
}

/// Refused writes are no failures of the server: its reads are served and it is never ejected.
#[test]
fn a_master_without_replicas_is_no_failure() {
    let mut cluster = Cluster::build().hasty().start();
    let proxy = start(cluster.pool());
    let key = Target::proxy(&cluster, &proxy).key(0, "refused");
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", &key, "1"]), Value::ok());
    let connections = stat(&proxy, "shard0", "server_connections");
    require_replica(&cluster.nodes(0)[0]);
    cluster.node(0, 1).kill();
    let asked = Instant::now();
    let noticed = within(LAG, || client.cmd(&["SET", &key, "2"]) != Value::ok());
    assert!(noticed, "the master goes on without its replica");
    let mut refused = 0;
    while asked.elapsed() < Duration::from_secs(2) {
        client.send(encode(&["SET", &key, "3"]));
        let reply = client.read_raw();
        assert_eq!(reply, format!("-{NO_REPLICAS}\r\n").into_bytes());
        let read = client.cmd(&["GET", &key]);
        assert_ne!(read, Value::bulk("3"), "it was refused");
        assert!(!read.is_error(), "{read:?}");
        refused += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(refused > 10, "too little was tested: {refused}");
    for failures in ["server_err", "server_timedout", "server_eof", "switches"] {
        assert_eq!(stat(&proxy, "shard0", failures), 0, "{failures}");
    }
    assert_eq!(stat(&proxy, "shard0", "server_connections"), connections);
}

/// Without sentinels the proxy cannot know that the master it still reaches has been replaced. It learns
/// so by asking when it reaches them again, for what was published meanwhile is gone.
#[test]
fn a_failover_that_no_sentinel_could_tell_is_followed_when_they_are_back() {
    let cluster = Cluster::build().hasty().relays().start();
    let (relays, pool) = sentinels_behind_relays(&cluster);
    let proxy = start(pool);
    let writers = load(&cluster, &proxy);
    let begin = Instant::now();
    for relay in &relays {
        relay.stall(PROXY);
    }
    isolate(&cluster);
    cluster.wait_switch(0, begin);
    moment();
    assert_eq!(switches(&proxy, "shard0"), 0, "{}", proxy.log());
    let healed = Instant::now();
    for relay in &relays {
        relay.open();
    }
    let followed = within(RECOVERY, || switches(&proxy, "shard0") == 1);
    assert!(followed, "{}", proxy.log());
    let followed = Instant::now();
    moment();
    reunite(&cluster);
    cluster.wait_replica(0, 0);
    moment();
    let report = writers.finish(&cluster);
    report.assert_sound();
    report.assert_untouched(1);
    report.assert_no_errors(0);
    assert!(report.lost(0) > 0, "the master was not isolated\n{report}");
    assert_eq!(report.lost_since(0, followed), 0, "{report}");
    assert_served(&report, healed, RECOVERY);
    assert_eq!(switches(&proxy, "shard0"), 1, "{}", proxy.log());
}

/// The pool's sentinels, learned ones too, are behind relays that nobody else uses.
fn sentinels_behind_relays(cluster: &Cluster) -> (Vec<Relay>, Pool) {
    let relays = cluster.sentinels().iter().map(|s| Relay::start(s.addr()));
    let relays: Vec<Relay> = relays.collect();
    let translated = cluster.sentinels().iter().zip(&relays);
    let map: Vec<String> = translated
        .map(|(sentinel, relay)| format!("'{}': '{}'", sentinel.announced(), relay.addr()))
        .collect();
    let pool = cluster
        .pool_without_sentinels()
        .set("sentinels", quoted(relays.iter().map(Relay::addr)))
        .set("sentinel_nat", format!("{{{}}}", map.join(", ")));
    (relays, pool)
}
