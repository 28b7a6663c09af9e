//! Subscribers across failovers: they keep their connections, hear what is published after the switch, and
//! nothing twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{moment, start, stat};
use crate::sentinel::{Cluster, Target};
use crate::support::{Client, NoReply, Proxy, Value, encode};

/// What is published at the end, until all have heard it.
const LAST: &str = "last";

/// Publishes numbers to each channel until `stop`, and then the end until `done`.
fn publish(proxy: &Proxy, channels: &[String], stop: &AtomicBool, done: &AtomicBool) {
    let mut client = proxy.client();
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        let payload = match stop.load(Ordering::Relaxed) {
            true => LAST.to_owned(),
            false => number.to_string(),
        };
        for channel in channels {
            client.cmd(&["PUBLISH", channel, &payload]);
        }
        number += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reads until the end was heard on every channel; how many messages came. None may come twice.
fn listen(mut client: Client, channels: usize) -> usize {
    client.set_timeout(Duration::from_secs(30));
    let (mut seen, mut ended) = (HashSet::new(), HashSet::new());
    loop {
        let items = match client.try_read() {
            Ok(Value::Array(items) | Value::Push(items)) => items,
            other => panic!("{other:?}"),
        };
        let last = items.last() == Some(&Value::bulk(LAST));
        let message = format!("{items:?}");
        if last {
            ended.insert(message);
            if ended.len() == channels {
                return seen.len();
            }
        } else {
            assert!(seen.insert(message.clone()), "twice: {message}");
        }
    }
}

fn subscribe(proxy: &Proxy, resp: &str, word: &str, names: &[String]) -> Client {
    let mut client = proxy.client();
    client.cmd(&["HELLO", resp]);
    let mut words = vec![word.to_owned()];
    words.extend(names.iter().cloned());
    client.send(encode(&words));
    client.read_n(names.len());
    client
}

fn across(cluster: &mut Cluster, change: impl FnOnce(&mut Cluster)) {
    let proxy = start(cluster.pool());
    let target = Target::proxy(cluster, &proxy);
    let channels = [0, 1].map(|shard| target.key(shard, "news"));
    let pattern = ["*news".to_owned()];
    let mut subscribers = Vec::new();
    for resp in ["2", "3"] {
        for _ in 0..3 {
            subscribers.push(subscribe(&proxy, resp, "SUBSCRIBE", &channels));
            subscribers.push(subscribe(&proxy, resp, "PSUBSCRIBE", &pattern));
        }
    }
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&proxy, &channels, &stop, &done));
        let listening: Vec<_> = subscribers
            .into_iter()
            .map(|client| scope.spawn(|| listen(client, channels.len())))
            .collect();
        moment();
        change(cluster);
        moment();
        stop.store(true, Ordering::Relaxed);
        let heard: Vec<_> = listening.into_iter().map(|l| l.join()).collect();
        done.store(true, Ordering::Relaxed);
        for messages in heard {
            assert!(messages.expect("each hears the end") > 20);
        }
    });
    assert!(stat(&proxy, "shard0", "switches") > 0, "{}", proxy.log());
    // All that were on the shard, and no other.
    assert!(stat(&proxy, "shard0", "resubscribed") >= 12);
    assert_eq!(stat(&proxy, "shard1", "resubscribed"), 0);
    // Late subscribers are as well served as early ones.
    let mut late = subscribe(&proxy, "2", "SUBSCRIBE", &channels);
    let mut publisher = proxy.client();
    for channel in &channels {
        assert_eq!(publisher.cmd(&["PUBLISH", channel, "late"]), Value::Int(1));
        assert_eq!(late.read(), Value::bulks(&["message", channel, "late"]));
    }
    assert!(matches!(proxy_silence(&mut late), NoReply::Timeout));
}

/// Nothing more comes.
fn proxy_silence(client: &mut Client) -> NoReply {
    client.set_timeout(Duration::from_millis(50));
    client.try_read().expect_err("nothing is published")
}

#[test]
fn subscribers_hear_the_new_master_after_a_planned_failover() {
    let mut cluster = Cluster::build().hasty().start();
    across(&mut cluster, |cluster| {
        let begin = Instant::now();
        cluster.failover(0);
        cluster.wait_switch(0, begin);
    });
}

/// The old master says nothing of its demotion and goes on for a while, as a replica of the new one at last:
/// what is published is replicated to it, and must not come twice.
#[test]
fn an_old_master_that_stays_is_not_heard() {
    let mut cluster = Cluster::build().patient().hasty().start();
    across(&mut cluster, |cluster| {
        let begin = Instant::now();
        cluster.failover(0);
        cluster.wait_switch(0, begin);
        cluster.wait_replica(0, 0);
    });
}

#[test]
fn subscribers_hear_the_new_master_after_a_crash() {
    let mut cluster = Cluster::build().hasty().start();
    across(&mut cluster, |cluster| {
        let begin = Instant::now();
        cluster.node(0, 0).kill();
        cluster.wait_switch(0, begin);
    });
}
