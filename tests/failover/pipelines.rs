//! Clients that do not wait for one reply before the next request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::scene::{moment, start, stat};
use crate::sentinel::{Cluster, Target};
use crate::support::{Client, Proxy, Value};

/// Requests of one batch.
const BATCH: usize = 64;

/// With those that pipeline, many more than connections to the servers.
const IDLERS: usize = 100;

/// Ends the clients also when the test fails: the scope waits for them.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends batches that alternate between the shards until `stop`: errors on the first shard, batches.
fn pipeline(proxy: &Proxy, target: &Target, id: usize, stop: &AtomicBool) -> (usize, usize) {
    let mut client = proxy.client();
    let (mut errors, mut batches) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let slots = (0..BATCH).map(|slot| {
            let shard = slot % 2;
            let value = format!("{id}-{batches}-{slot}");
            // Each reads back what the slot before the last wrote, so that a reply out of turn shows.
            let key = target.key(shard, &format!("p{id}-{}", slot / 4));
            let write = slot % 4 < 2;
            (shard, key, value, write)
        });
        let slots: Vec<_> = slots.collect();
        let requests: Vec<Vec<&str>> = slots
            .iter()
            .map(|(_, key, value, write)| match write {
                true => vec!["SET", key.as_str(), value.as_str(), "EX", "60"],
                false => vec!["GET", key.as_str()],
            })
            .collect();
        let requests: Vec<&[&str]> = requests.iter().map(Vec::as_slice).collect();
        let replies = client.pipeline(&requests);
        for (at, ((shard, key, value, write), reply)) in slots.iter().zip(&replies).enumerate() {
            match (reply, write) {
                (Value::Error(_), _) if *shard == 0 => errors += 1,
                (reply, true) => assert_eq!(*reply, Value::ok(), "{key} {value}"),
                // Its write failed, so that an older value is there, or none.
                (_, false) if replies[at - 2].is_error() => {}
                (reply, false) => assert_eq!(*reply, Value::bulk(&slots[at - 2].2), "{key}"),
            }
        }
        batches += 1;
    }
    (errors, batches)
}

#[test]
fn replies_stay_in_order_and_errors_with_their_shard() {
    let mut cluster = Cluster::build().hasty().start();
    let proxy = start(cluster.pool());
    let target = Target::proxy(&cluster, &proxy);
    let mut idlers: Vec<Client> = (0..IDLERS).map(|_| proxy.client()).collect();
    let stop = AtomicBool::new(false);
    let counts: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let (proxy, target, stop) = (&proxy, &target, &stop);
        let running = Stop(stop);
        let clients: Vec<_> = (0..4)
            .map(|id| scope.spawn(move || pipeline(proxy, target, id, stop)))
            .collect();
        moment();
        let begin = Instant::now();
        cluster.node(0, 0).kill();
        let key = target.key(0, "idle");
        for idler in &mut idlers {
            assert!(idler.cmd(&["GET", &key]).is_error());
        }
        cluster.wait_switch(0, begin);
        moment();
        for idler in &mut idlers {
            assert_eq!(idler.cmd(&["GET", &key]), Value::Nil);
        }
        drop(running);
        let ended = clients.into_iter().map(|client| client.join());
        ended
            .map(|counts| counts.expect("the replies fit"))
            .collect()
    });
    let batches: usize = counts.iter().map(|(_, batches)| batches).sum();
    let errors: usize = counts.iter().map(|(errors, _)| errors).sum();
    assert!(batches > 20 && errors > 0, "{counts:?}");
    assert!(
        stat(&proxy, "shard0", "server_connections") <= 2,
        "one per worker"
    );
}
