//! Clients that wait for a blocking command while the master changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{insist, moment, start};
use crate::sentinel::{Cluster, Target, text};
use crate::support::{Client, Proxy, Value, encode, eventually};

/// Clients that wait at a node.
fn blocked(cluster: &Cluster, node: usize) -> usize {
    let info = text(&cluster.nodes(0)[node].cmd(&["INFO", "clients"])).expect("text");
    let mut lines = info.lines();
    let line = lines.find_map(|line| line.strip_prefix("blocked_clients:"));
    line.expect("blocked_clients").parse().expect("a number")
}

#[track_caller]
fn wait_blocked(cluster: &Cluster, node: usize, count: usize) {
    eventually("as many wait", || blocked(cluster, node) == count);
}

#[track_caller]
fn waiting(proxy: &Proxy, request: &[&str]) -> Client {
    let mut client = proxy.client();
    client.send(encode(request));
    client
}

fn popped(reply: Value) -> String {
    match reply {
        Value::Array(pair) if pair.len() == 2 => text(&pair[1]).expect("text"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_waits_does_not_notice_a_planned_failover() {
    let cluster = Cluster::build().patient().start();
    let proxy = start(cluster.pool());
    let target = Target::proxy(&cluster, &proxy);
    let keys = ["list", "other", "stream"].map(|key| target.key(0, key));
    let [list, other, stream] = keys.each_ref().map(String::as_str);
    let mut pops = vec![
        waiting(&proxy, &["BLPOP", list, "0"]),
        waiting(&proxy, &["BRPOP", list, other, "90"]),
        waiting(&proxy, &["BLMPOP", "90.5", "1", list, "LEFT"]),
    ];
    let mut reads = waiting(&proxy, &["XREAD", "BLOCK", "0", "STREAMS", stream, "0"]);
    // What it waits for depends on when it begins to.
    let mut now = waiting(&proxy, &["XREAD", "BLOCK", "0", "STREAMS", stream, "$"]);
    wait_blocked(&cluster, 0, 5);
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    wait_blocked(&cluster, 1, 4);
    let ended = now.read();
    assert!(ended.error().starts_with("UNBLOCKED "), "{ended:?}");
    wait_blocked(&cluster, 0, 0);
    // One that comes now, and the elements: to each his own.
    pops.push(waiting(&proxy, &["BLPOP", list, "0"]));
    wait_blocked(&cluster, 1, 5);
    let mut client = proxy.client();
    for element in ["a", "b", "c", "d"] {
        let pushed = client.cmd(&["RPUSH", list, element]);
        assert!(!pushed.is_error(), "{pushed:?}");
    }
    let third = pops.remove(2).read();
    let mut got: Vec<String> = pops
        .iter_mut()
        .map(|client| popped(client.read()))
        .collect();
    let Value::Array(third) = third else {
        panic!("{third:?}")
    };
    let Value::Array(elements) = &third[1] else {
        panic!("{third:?}")
    };
    got.push(text(&elements[0]).expect("text"));
    got.sort();
    assert_eq!(got, ["a", "b", "c", "d"]);
    assert_eq!(client.cmd(&["LLEN", list]), Value::Int(0));
    client.cmd(&["XADD", stream, "1-1", "f", "v"]);
    assert!(!reads.read().is_error());
    assert_eq!(cluster.master_of(0), 1);
}

/// Ends the clients also when the test fails: the scope waits for them.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A queue with workers: every job that was taken on is done once.
#[test]
fn every_job_is_done_once() {
    let cluster = Cluster::build().patient().start();
    let proxy = start(cluster.pool());
    let key = Target::proxy(&cluster, &proxy).key(0, "jobs");
    let (key, stop, over) = (key.as_str(), AtomicBool::new(false), AtomicBool::new(false));
    let (mut pushed, mut done) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let (proxy, stop, over) = (&proxy, &stop, &over);
        let (ends, overs) = (Stop(stop), Stop(over));
        let producers: Vec<_> = (0..2)
            .map(|id| {
                scope.spawn(move || {
                    let (mut client, mut jobs) = (proxy.client(), Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let job = format!("{id}-{}", jobs.len());
                        let reply = client.cmd(&["RPUSH", key, &job]);
                        assert!(!reply.is_error(), "{reply:?}");
                        jobs.push(job);
                    }
                    jobs
                })
            })
            .collect();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let (mut client, mut jobs) = (proxy.client(), Vec::new());
                    loop {
                        match client.cmd(&["BLPOP", key, "0.2"]) {
                            Value::Nil if over.load(Ordering::Relaxed) => return jobs,
                            Value::Nil => {}
                            reply => jobs.push(popped(reply)),
                        }
                    }
                })
            })
            .collect();
        // Promoted before it has what was written, it would lose that.
        cluster.wait_replica(0, 1);
        moment();
        let begin = Instant::now();
        cluster.failover(0);
        cluster.wait_switch(0, begin);
        moment();
        drop(ends);
        pushed.extend(
            producers
                .into_iter()
                .flat_map(|p| p.join().expect("no panic")),
        );
        drop(overs);
        done.extend(
            workers
                .into_iter()
                .flat_map(|w| w.join().expect("no panic")),
        );
    });
    assert!(!pushed.is_empty());
    pushed.sort();
    done.sort();
    assert!(
        pushed == done,
        "{} pushed, {} done",
        pushed.len(),
        done.len()
    );
}

/// A pop may have been executed, a read may be repeated.
#[test]
fn a_crash_leaves_pops_in_doubt_and_reads_waiting() {
    let mut cluster = Cluster::build().hasty().start();
    let proxy = start(cluster.pool().set("outage_hold", 15_000));
    let target = Target::proxy(&cluster, &proxy);
    let (list, stream) = (target.key(0, "list"), target.key(0, "stream"));
    let mut pops = waiting(&proxy, &["BLPOP", &list, "0"]);
    let mut reads = waiting(&proxy, &["XREAD", "BLOCK", "0", "STREAMS", &stream, "0"]);
    wait_blocked(&cluster, 0, 2);
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    let lost = pops.read();
    assert!(lost.error().contains("may or may not"), "{lost:?}");
    cluster.wait_switch(0, begin);
    wait_blocked(&cluster, 1, 1);
    let mut client = proxy.client();
    let add = ["XADD", stream.as_str(), "1-1", "f", "v"];
    insist(&mut client, Duration::from_secs(5), &add);
    assert!(matches!(reads.read(), Value::Array(_)));
    pops.send(encode(&["BLPOP", &list, "0"]));
    wait_blocked(&cluster, 1, 1);
    assert_eq!(client.cmd(&["RPUSH", &list, "x"]), Value::Int(1));
    assert_eq!(popped(pops.read()), "x");
}
