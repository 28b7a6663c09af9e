//! What the statistics port tells of failovers.

use std::net::SocketAddr;

use serde_json::{Value as Json, json};

use crate::scene::{MOMENT, stat};
use crate::sentinel::{FakeMaster, FakeSentinel, Mode, quoted, settings};
use crate::support::{Client, NoReply, PATIENCE, Proxy, RedisServer, Value, encode, within};

fn address(master: &RedisServer) -> SocketAddr {
    ([127, 0, 0, 1], master.port()).into()
}

#[track_caller]
fn page(proxy: &Proxy) -> Json {
    let mut client = Client::connect(proxy.stats_addr());
    client.send("GET /topology HTTP/1.0\r\n\r\n");
    let reply = String::from_utf8(client.read_to_end()).expect("text");
    let (_, body) = reply.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// A sentinel that knows the shard at the first master, and a proxy with one worker.
fn start(masters: &[RedisServer], mode: Mode) -> (FakeSentinel, Proxy) {
    let sentinel = FakeSentinel::start();
    sentinel.set_mode(mode);
    sentinel.set("shard0", FakeMaster::at(address(&masters[0]), 1));
    let pool = settings()
        .set("sentinels", quoted([sentinel.addr()]))
        .set("sentinel_startup_wait", "20000")
        .set("failover_hold", "8000")
        .server(&format!("{}:1 shard0", masters[0].addr()));
    let proxy = Proxy::build(&[pool]).args(&["--workers", "1"]).start();
    (sentinel, proxy)
}

/// The first request of all needs no connection before its server has a master.
#[test]
fn requests_that_wait_for_a_first_master_are_seen_and_sent() {
    let masters = [RedisServer::start()];
    let (sentinel, proxy) = start(&masters, Mode::Silence);
    let set = encode(&["SET", "k", "v"]);
    let mut client = proxy.client();
    client.send(&set);
    let seen = within(PATIENCE, || stat(&proxy, "shard0", "held") == 1);
    assert!(seen, "{}", page(&proxy));
    assert_eq!(stat(&proxy, "shard0", "held_bytes"), set.len() as u64);
    let told = page(&proxy);
    let server = &told["pools"][0]["servers"][0];
    assert_eq!(server["held_requests"], 1, "{told}");
    assert_eq!(server["held_bytes"], set.len(), "{told}");
    assert_eq!(server["phase"], "init", "{told}");
    assert_eq!(told["pools"][0]["sentinels"][0]["up"], false, "{told}");
    sentinel.set_mode(Mode::Truth);
    assert_eq!(client.read(), Value::ok());
    for gauge in ["held", "held_bytes", "in_queue"] {
        let empty = within(PATIENCE, || stat(&proxy, "shard0", gauge) == 0);
        assert!(empty, "{gauge}: {}", page(&proxy));
    }
    assert_eq!(stat(&proxy, "shard0", "resent"), 0);
}

/// A master that has become a replica refuses a write, which waits for the news of the new master.
#[test]
fn a_switch_is_told_with_its_sentinel_and_what_waited_for_it() {
    let masters = [RedisServer::start(), RedisServer::start()];
    let (sentinel, proxy) = start(&masters, Mode::Truth);
    sentinel.wait_subscribed();
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "k", "1"]), Value::ok());
    let (old, new) = (address(&masters[0]), address(&masters[1]));
    let demoted = ["REPLICAOF", "127.0.0.1", &new.port().to_string()];
    assert_eq!(masters[0].client().cmd(&demoted), Value::ok());
    client.send(encode(&["SET", "k", "2"]));
    let kept = within(PATIENCE, || stat(&proxy, "shard0", "bounced") == 1);
    assert!(kept, "{}", proxy.log());
    client.set_timeout(MOMENT);
    assert!(matches!(client.try_read(), Err(NoReply::Timeout)));
    client.set_timeout(PATIENCE);
    sentinel.set("shard0", FakeMaster::at(new, 2));
    assert_eq!(sentinel.publish_switch("shard0", old, new), 1);
    assert_eq!(client.read(), Value::ok());
    assert_eq!(masters[1].client().cmd(&["GET", "k"]), Value::bulk("2"));
    for (counter, value) in [("bounced", 1), ("resent", 1), ("switches", 1)] {
        assert_eq!(stat(&proxy, "shard0", counter), value, "{counter}");
    }

    let mut told = page(&proxy);
    let settled = within(PATIENCE, || {
        told = page(&proxy);
        let server = &told["pools"][0]["servers"][0];
        server["phase"] == "stable" && server["epoch"] == 2
    });
    assert!(settled, "{told}");
    let pool = &told["pools"][0];
    assert_eq!(pool["sentinels"][0]["address"], sentinel.addr().to_string());
    assert_eq!(pool["sentinels"][0]["up"], true, "{told}");
    let server = &pool["servers"][0];
    assert_eq!(server["name"], "shard0");
    assert_eq!(server["address"], masters[0].addr());
    assert_eq!(server["endpoint"], masters[1].addr());
    assert_eq!(server["views"][0]["address"], masters[1].addr(), "{told}");
    let history = server["history"].as_array().expect("a list");
    let last = history.last().expect("a switch");
    assert_eq!(
        [&last["from"], &last["to"], &last["via"], &last["sentinel"]],
        [
            &json!(old.to_string()),
            &json!(new.to_string()),
            &json!("+switch-master"),
            &json!(sentinel.addr().to_string()),
        ],
        "{told}"
    );
    let ago = told["timestamp_ms"].as_u64().zip(last["at_ms"].as_u64());
    let (now, then) = ago.expect("numbers");
    assert!(now >= then && now - then < 60_000, "{told}");
}
