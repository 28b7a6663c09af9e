//! A real HAProxy with the configuration we ship, in front of two instances: what clients notice when an
//! instance dies, and when a Redis master does.

mod balancer;
mod load;
#[allow(dead_code, unused_imports)]
#[path = "../support/sentinel/mod.rs"]
mod sentinel;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use balancer::{Balancer, Check};
use load::{CLIENTS, DEPTH, Load};
use sentinel::{Cluster, Target, Writers};
use support::{Pool, Proxy, RedisServer, eventually};

/// The same pool twice, as HAProxy wants it.
#[track_caller]
fn instances(pool: impl Fn() -> Pool) -> [Proxy; 2] {
    [(); 2].map(|()| {
        Proxy::build(&[pool().set("proxy_protocol", true)])
            .args(&["--workers", "2", "-v", "7"])
            .start()
    })
}

/// By then the kernel has closed all sockets of a process that was killed.
const CLOSED: Duration = Duration::from_millis(500);

#[test]
fn a_killed_instance_costs_what_it_had_in_flight_and_nothing_else() {
    kill_an_instance(Check::Ready);
}

#[test]
fn a_killed_instance_costs_no_more_where_it_is_sent_a_ping() {
    kill_an_instance(Check::Ping);
}

#[track_caller]
fn kill_an_instance(check: Check) {
    let servers = [RedisServer::start(), RedisServer::start()];
    let [mut first, second] = instances(|| Pool::new("alpha").servers(&servers));
    let balancer = Balancer::start([&first, &second], check);
    let load = Load::start(balancer.address());
    load.await_rounds(50);
    let before = balancer.sessions();
    assert_eq!(before.iter().sum::<usize>(), CLIENTS);
    assert!(before.iter().all(|&n| n > 0), "{before:?}");
    for client in load.names() {
        let line = format!("through a balancer pool=\"alpha\" client={client} by=");
        let logs = [first.log(), second.log()];
        assert!(logs.iter().any(|log| log.contains(&line)), "{line}");
    }

    first.signal(Signal::KILL);
    let killed = Instant::now();
    first.wait();
    load.await_rounds(50);
    let resumed = killed.elapsed();
    eventually("it is out", || balancer.state(0) == "DOWN");
    load.await_rounds(10);
    assert_eq!(balancer.sessions(), [0, CLIENTS]);
    let tally = load.finish();
    println!(
        "instance killed, checked by {check:?}: {} of {CLIENTS} clients were on it; {tally}; every client had 50 more rounds \
         after {resumed:?}",
        before[0]
    );
    assert_eq!(tally.wrong, [""; 0]);
    assert_eq!(tally.errors, [""; 0]);
    // Those on the other instance lost nothing. Who connected again may have found the dead one's port still
    // open, while the kernel was closing what it had, but nobody did once it was closed.
    assert_eq!(tally.broken, before[0]);
    assert!(tally.lost <= (before[0] + tally.refused) * DEPTH, "{tally}");
    let last = tally.last_broken.expect("some broke") - killed;
    assert!(last < CLOSED, "a connection broke after {last:?}");
}

/// As many list writes and counts can be acknowledged and not yet replicated when a master dies.
const UNDER_WAY: usize = 3;

#[test]
fn a_killed_master_costs_no_connection_and_no_write_after_it() {
    kill_a_master(Check::Ready);
}

#[test]
fn a_killed_master_costs_no_more_where_instances_are_sent_a_ping() {
    kill_a_master(Check::Ping);
}

#[track_caller]
fn kill_a_master(check: Check) {
    let mut cluster = Cluster::build().start();
    let [first, second] = instances(|| cluster.pool());
    let balancer = Balancer::start([&first, &second], check);
    let target = Target::proxy(&cluster, &first).via(balancer.address());
    let writers = Writers::start(&cluster, &target);
    eventually("all clients are connected", || {
        balancer.sessions().iter().sum::<usize>() == writers.clients()
    });
    std::thread::sleep(Duration::from_millis(400));
    let before = balancer.sessions();
    assert!(before.iter().all(|&n| n > 0), "{before:?}");

    let begin = Instant::now();
    cluster.node(0, 0).kill();
    let gone = Instant::now();
    let switched = cluster.wait_switch(0, begin);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(balancer.sessions(), before);
    let report = writers.finish(&cluster);
    println!(
        "master killed, checked by {check:?}: {} errors of its shard in {:?} until the switch, {} of all shards at once, \
         {} writes lost, {} connections",
        report.errors(0).len(),
        switched - gone,
        report.errors_of_all().len(),
        report.lost(0),
        report.dropped()
    );
    report.assert_sound();
    report.assert_untouched(1);
    assert_eq!(report.stale_reads(), 0, "{report}");
    assert_eq!(report.lost_since(0, gone), 0, "{report}");
    assert!(report.lost(0) <= UNDER_WAY, "{report}");
    let first_write = report.first_write_since(0, gone);
    let first_write = first_write.expect("the shard is written to again");
    assert!(first_write - switched < Duration::from_secs(1), "{report}");
    assert_eq!(balancer.times_down(), [0, 0]);
}

#[test]
fn the_shipped_file_is_one_haproxy_accepts() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy.cfg");
    let checked = Command::new(balancer::program())
        .args(["-c", "-V", "-f", file])
        .output()
        .expect("haproxy starts");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
}
