//! What concerns all servers, and scripts, while a master is replaced.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{moment, start, switches};
use crate::sentinel::{Cluster, Target};
use crate::support::{Value, encode, eventually, within};

const SCRIPT: &str = "return redis.call('INCR', KEYS[1])";

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("no text: {other:?}"),
    }
}

/// Requests to all servers wait for the new master as those with keys do, and it is told the script, which
/// masters do not pass on.
#[test]
fn clients_of_the_whole_pool_and_of_scripts_notice_a_pause_only() {
    let cluster = Cluster::build().patient().start();
    let proxy = start(cluster.pool());
    let target = Target::proxy(&cluster, &proxy);
    let (counter, other) = (target.key(0, "counter"), target.key(1, "other"));
    let mut client = proxy.client();
    let hash = text(&client.cmd(&["SCRIPT", "LOAD", SCRIPT]));
    assert_eq!(client.cmd(&["SET", &other, "x"]), Value::ok());
    let stop = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let rounds = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                rounds += 1;
                let counted = client.cmd(&["EVALSHA", &hash, "1", &counter]);
                assert_eq!(counted, Value::Int(rounds), "{}", proxy.log());
                assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(2));
                let replies = client.pipeline(&[&["KEYS", "*"], &["SCAN", "0"]]);
                let both = matches!(&replies[0], Value::Array(keys) if keys.len() == 2);
                assert!(both && !replies[1].is_error(), "{replies:?}");
                assert!(!client.cmd(&["INFO"]).is_error());
            }
            rounds
        });
        // Promoted before it has what was written, it would lose that.
        cluster.wait_replica(0, 1);
        moment();
        let begin = Instant::now();
        cluster.failover(0);
        cluster.wait_switch(0, begin);
        moment();
        stop.store(true, Ordering::Relaxed);
        rounds.join().expect("no failure")
    });
    assert!(rounds > 1);
    assert_eq!(switches(&proxy, "shard0"), 1);
    let known = cluster.nodes(0)[1].cmd(&["SCRIPT", "EXISTS", &hash]);
    assert_eq!(known, Value::Array(vec![Value::Int(1)]));
}

/// A client that connects now is not kept from starting by one shard.
#[test]
fn info_waits_for_no_master() {
    let mut cluster = Cluster::build().start();
    let proxy = start(cluster.pool().set("outage_hold", "60000"));
    let target = Target::proxy(&cluster, &proxy);
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["DBSIZE"]), Value::Int(0));
    for node in 0..cluster.nodes(0).len() {
        cluster.node(0, node).kill();
    }
    // This one waits for the shard.
    let mut waits = proxy.client();
    waits.send(encode(&["GET", &target.key(0, "a")]));
    let name = cluster.name(0).to_owned();
    eventually("the outage is seen", || {
        let info = text(&client.cmd(&["INFO"]));
        info.contains(&format!("unreachable:{name}\r\n")) && info.contains("loading:0\r\n")
    });
    let waited = within(Duration::from_millis(100), || waits.has_unread());
    assert!(!waited);
}
