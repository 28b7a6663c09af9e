//! Subscriptions follow the servers of the file.

use crate::scene::{reload, start};
use crate::support::{Client, Pool, RedisServer, Value, encode, eventually};

fn with(servers: &[RedisServer], which: &[usize]) -> Pool {
    which.iter().fold(Pool::new("alpha"), |pool, index| {
        pool.server(&format!("{}:1 shard{index}", servers[*index].addr()))
    })
}

/// The channels and patterns that each server has subscribers of.
fn subscribed(servers: &[RedisServer]) -> Vec<(usize, i64)> {
    let of = |server: &RedisServer| {
        let mut client = server.client();
        let Value::Array(channels) = client.cmd(&["PUBSUB", "CHANNELS"]) else {
            panic!("no list")
        };
        let Value::Int(patterns) = client.cmd(&["PUBSUB", "NUMPAT"]) else {
            panic!("no number")
        };
        (channels.len(), patterns)
    };
    servers.iter().map(of).collect()
}

#[test]
fn channels_move_and_patterns_spread() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let proxy = start(&[with(&servers, &[0, 1])]);
    let channels: Vec<String> = (0u64..60)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let mut client = proxy.client();
    let mut words = vec!["SUBSCRIBE".to_owned()];
    words.extend(channels.iter().cloned());
    client.send(encode(&words));
    client.read_n(channels.len());
    client.send(encode(&["PSUBSCRIBE", "*"]));
    client.read();
    let mut publisher: Client = proxy.client();
    for which in [&[0, 1, 2][..], &[2, 1], &[0, 2], &[1], &[0, 1, 2]] {
        reload(&proxy, &[with(&servers, which)]);
        eventually("every server has what it is to have, and no other", || {
            let subscribed = subscribed(&servers);
            let total: usize = subscribed.iter().map(|(channels, _)| channels).sum();
            total == channels.len()
                && (0..3).all(|server| match which.contains(&server) {
                    true => subscribed[server].0 > 0 && subscribed[server].1 == 1,
                    false => subscribed[server] == (0, 0),
                })
        });
        for channel in &channels {
            assert_eq!(publisher.cmd(&["PUBLISH", channel, "x"]), Value::Int(2));
            // Both come on one connection or on two.
            let both = client.read_n(2);
            let message = Value::bulks(&["message", channel, "x"]);
            assert!(both.contains(&message), "{both:?}");
            let message = Value::bulks(&["pmessage", "*", channel, "x"]);
            assert!(both.contains(&message), "{both:?}");
        }
    }
}
