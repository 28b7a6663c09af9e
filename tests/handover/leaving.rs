//! Soft stop: how the clients of a process leave that accepts no more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::{Connection, Site, eventually_refused};
use crate::support::{Value, encode, eventually};

#[test]
fn clients_stay_until_they_leave() {
    let site = Site::new();
    let mut old = site.start(&["--drain-idle", "0"]);
    let mut stays = Connection::new(&site.tcp());
    assert_eq!(stays.cmd(&["SET", "a", "1"]), Value::ok());
    let _new = site.start(&[]);
    old.says("serving 1 clients until they leave");
    old.signal(Signal::USR1);
    old.says("clients are leaving already");
    assert_eq!(
        stays.cmd(&["GET", "a"]),
        Value::bulk("1"),
        "it is served as ever"
    );
    assert!(old.is_running());
    drop(stays);
    old.ends();
}

#[test]
fn sigusr1_serves_who_has_connected_and_refuses_others() {
    let site = Site::new();
    let mut process = site.start(&["--drain-idle", "0"]);
    let mut stays = Connection::new(&site.unix());
    assert_eq!(stays.cmd(&["SET", "a", "1"]), Value::ok());
    // What comes while it is stopped waits in the queues, also when the signal is dealt with.
    process.signal(Signal::STOP);
    let mut waiting: Vec<_> = (0..40)
        .map(|number| Connection::new(&[site.tcp(), site.unix()][number % 2]))
        .collect();
    for client in &mut waiting {
        client.send(&encode(&["GET", "a"]));
    }
    process.signal(Signal::USR1);
    process.signal(Signal::CONT);
    for client in &mut waiting {
        assert_eq!(client.read(), Value::bulk("1"));
    }
    eventually_refused(&site.tcp());
    eventually_refused(&site.unix());
    assert!(!site.path("handover").exists());
    assert_eq!(stays.cmd(&["GET", "a"]), Value::bulk("1"));
    drop(waiting);
    assert_eq!(stays.cmd(&["GET", "a"]), Value::bulk("1"));
    drop(stays);
    process.ends();
}

#[test]
fn idle_clients_are_closed_and_others_are_not() {
    let site = Site::new();
    let mut process = site.start(&["--drain-idle", "1000"]);
    let mut idle = Connection::new(&site.tcp());
    let mut busy = Connection::new(&site.tcp());
    assert_eq!(idle.cmd(&["SET", "a", "1"]), Value::ok());
    assert_eq!(busy.cmd(&["GET", "a"]), Value::bulk("1"));
    // A reply that takes long is no idleness.
    let mut waits = Connection::new(&site.unix());
    assert_eq!(waits.cmd(&["GET", "a"]), Value::bulk("1"));
    let begin = Instant::now();
    process.signal(Signal::USR1);
    let closed = std::thread::spawn(move || {
        idle.expect_closed();
        begin.elapsed()
    });
    while !closed.is_finished() {
        assert_eq!(busy.cmd(&["GET", "a"]), Value::bulk("1"));
        assert_eq!(waits.cmd(&["GET", "a"]), Value::bulk("1"));
    }
    let after = closed.join().expect("it was closed");
    assert!(after >= Duration::from_secs(1), "after {after:?} already");
    site.redis.pause();
    waits.send(&encode(&["GET", "a"]));
    busy.expect_closed();
    site.redis.resume();
    assert_eq!(waits.read(), Value::bulk("1"));
    waits.expect_closed();
    process.ends();
}

/// Sends one request after the other until the proxy closes, and answers how many were replied to. A
/// request that meets the close must not have been done.
fn count_to_the_end(mut client: Connection, key: &str, batch: usize, told: &AtomicU64) -> u64 {
    let requests = encode(&["INCR", key]).repeat(batch);
    let mut count = 0;
    while client.try_send(&requests) {
        for _ in 0..batch {
            // A reset is a close here: the last requests were not read.
            let Ok(Some(reply)) = client.try_read() else {
                return count;
            };
            count += 1;
            assert_eq!(reply, Value::Int(count as i64), "{key}");
        }
        told.fetch_add(1, Relaxed);
    }
    count
}

#[test]
fn who_has_not_left_in_time_is_closed_and_owed_nothing() {
    let site = Site::new();
    let mut old = site.start(&["--drain-timeout", "400", "--drain-idle", "0"]);
    let told = AtomicU64::new(0);
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let address = [site.tcp(), site.unix()][number % 2].clone();
            (
                Connection::new(&address),
                format!("key{number}"),
                [1, 16, 1][number / 2],
            )
        })
        .collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|(client, key, batch)| {
                let told = &told;
                scope.spawn(move || (count_to_the_end(client, &key, batch, told), key))
            })
            .collect();
        eventually("all are at work", || told.load(Relaxed) > 100);
        let _new = site.start(&[]);
        for thread in threads {
            let (count, key) = thread.join().expect("the client saw what it should");
            assert_eq!(site.value(&key), Value::bulk(count.to_string()), "{key}");
        }
        old.ends();
    });
}

#[test]
fn a_signal_to_stop_ends_a_soft_stop() {
    let site = Site::new();
    let mut process = site.start(&["--drain-idle", "0"]);
    let mut client = Connection::new(&site.tcp());
    client.ping();
    process.signal(Signal::USR1);
    process.says("serving 1 clients until they leave");
    process.signal(Signal::TERM);
    client.expect_closed();
    process.ends();
    process.says("signal 15 (SIGTERM) received, finishing what is in flight");
}
