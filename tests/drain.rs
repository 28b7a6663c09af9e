//! SIGTERM while clients are busy: what was taken is answered, and the process ends.

mod support;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use rustix::process::Signal;
use support::{Client, NoReply, Pool, Proxy, RedisServer, Value, encode, eventually, keys_on};

const CLIENTS: usize = 8;
const BATCH: usize = 32;

/// Counts `key` up until the proxy closes; answers how often it was told so.
fn count_up(mut client: Client, key: &str, told: &AtomicU64) -> u64 {
    let batch = encode(&["INCR", key]).repeat(BATCH);
    let mut count = 0;
    loop {
        // The proxy may have closed its side already.
        use std::io::Write;
        let sent = client.stream().write_all(&batch).is_ok();
        for _ in 0..BATCH {
            match client.try_read() {
                Ok(Value::Int(n)) => {
                    count += 1;
                    assert_eq!(n, count, "replies are in order and none is missing");
                }
                Ok(other) => panic!("{other:?}"),
                Err(NoReply::Closed) => return count as u64,
                Err(NoReply::Io(_)) if !sent => return count as u64,
                Err(error) => panic!("after {count} replies: {error}"),
            }
        }
        told.fetch_add(BATCH as u64, Relaxed);
    }
}

#[test]
fn what_was_taken_is_answered_and_nothing_else_is_done() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let pool = Pool::new("alpha")
        .servers(&servers)
        .set("server_connections", 2);
    let mut proxy = Proxy::build(&[pool]).args(&["--workers", "2"]).start();
    let keys: Vec<(usize, String)> = (0..CLIENTS)
        .map(|number| (number % 2, keys_on(number % 2 + 1, 2)[number / 2].clone()))
        .collect();
    let told = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = keys
            .iter()
            .map(|(_, key)| {
                let (client, told) = (proxy.client(), &told);
                scope.spawn(move || count_up(client, key, told))
            })
            .collect();
        eventually("all are at work", || {
            told.load(Relaxed) > (CLIENTS * BATCH * 10) as u64
        });
        let begin = Instant::now();
        proxy.signal(Signal::TERM);
        let counts: Vec<u64> = threads
            .into_iter()
            .map(|thread| thread.join().expect("the client saw what it should"))
            .collect();
        assert!(proxy.wait().success(), "{}", proxy.log());
        assert!(begin.elapsed() < support::PATIENCE);
        for ((server, key), count) in keys.iter().zip(counts) {
            let applied = servers[*server].client().cmd(&["GET", key]);
            assert_eq!(applied, Value::bulk(count.to_string()), "{key}");
        }
    });
}
