//! Latencies and the log of slow requests, with servers that take as long as the test says.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{
    FakeServer, Pool, Proxy, RedisServer, Stats, Value, count, encode, eventually, keys_on,
};

/// The slow server's answer takes at least this long.
const SLOW: Duration = Duration::from_millis(60);
/// And that is slow.
const LIMIT_MS: u32 = 50;

fn pool(fake: &FakeServer) -> Pool {
    let pool = Pool::new("alpha").set("slow_request_time", LIMIT_MS);
    pool.server(&fake.line("server1"))
}

/// Lets time pass that is to be measured.
fn take_long() {
    std::thread::sleep(SLOW);
}

fn of_server(proxy: &Proxy, name: &str) -> u64 {
    Stats::of(proxy).server("alpha", "server1", name)
}

fn of_pool(proxy: &Proxy, name: &str) -> u64 {
    Stats::of(proxy).pool("alpha", name)
}

/// The log's lines about slow requests.
fn slow_lines(proxy: &Proxy) -> Vec<String> {
    let log = proxy.log();
    let lines = log.lines().filter(|line| line.contains("slow request"));
    lines.map(str::to_owned).collect()
}

/// The hash of a key, as `nuthatch locate` prints it.
fn located(proxy: &Proxy, key: &str) -> String {
    let output = Command::new(Proxy::binary())
        .args(["locate", "--no-header", "-c"])
        .args([proxy.config_path().as_os_str(), key.as_ref()])
        .output()
        .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split('\t').nth(3).expect(&text).to_owned()
}

#[test]
fn a_slow_reply_is_measured_and_logged_and_a_fast_one_leaves_no_line() {
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[pool(&fake).set("hash_tag", "\"{}\"")]);
    let mut client = proxy.client();
    let key = "{user}:secret";
    let mut server = fake.accept_for(&mut client, &["GET", key]);
    let begin = Instant::now();
    take_long();
    server.reply("$1\r\nv\r\n");
    assert_eq!(client.read(), Value::bulk("v"));
    let whole = begin.elapsed().as_micros() as u64;
    let slow = SLOW.as_micros() as u64;
    for of in [of_server, of_pool] {
        assert_eq!(of(&proxy, "latency_count"), 1);
        let exact = of(&proxy, "latency_sum_us");
        assert!(slow <= exact, "{exact}");
        // It went out before the test saw it.
        assert!(exact < whole + 5_000_000, "{exact}");
        for percentile in ["p50", "p99", "p999"] {
            let value = of(&proxy, &format!("latency_{percentile}_us"));
            assert!(
                value.abs_diff(exact) <= exact / 32 + 1,
                "{value} for {exact}"
            );
        }
        let most = of(&proxy, "latency_max_us");
        assert!(
            (exact..=exact + exact / 16 + 1).contains(&most),
            "{most} for {exact}"
        );
        assert_eq!(of(&proxy, "slow_requests"), 1);
    }
    let lines = slow_lines(&proxy);
    let [line] = &lines[..] else {
        panic!("one line, not {lines:?}")
    };
    let exact = of_server(&proxy, "latency_sum_us");
    let hash = located(&proxy, key);
    let expected = format!(
        "slow request: get key hash {hash} pool=\"alpha\" server=\"server1\" address={} us={exact} client=127.0.0.1:",
        fake.addr(),
    );
    assert!(line.contains(&expected), "{line}\n{expected}");
    assert!(!line.contains("secret") && !line.contains("user"), "{line}");
    client.send(encode(&["GET", key]));
    server.answer(&["GET", key], "$-1\r\n");
    assert_eq!(client.read(), Value::Nil);
    assert_eq!(of_server(&proxy, "latency_count"), 2);
    assert_eq!(of_server(&proxy, "slow_requests"), 1);
    assert_eq!(slow_lines(&proxy).len(), 1);
    // Nothing the proxy answers itself is measured.
    client.cmd(&["PING"]);
    assert_eq!(of_pool(&proxy, "latency_count"), 2);
}

#[test]
fn a_flood_of_slow_requests_is_cut_and_counted() {
    let mut fake = FakeServer::start();
    let proxy = Proxy::start(&[pool(&fake).set("slow_request_key", "key")]);
    let mut client = proxy.client();
    let mut server = fake.accept_for(&mut client, &["INCR", "k\n1"]);
    client.send(encode(&["INCR", "k\n1"]).repeat(199));
    (1..200).for_each(|_| server.expect(&["INCR", "k\n1"]));
    take_long();
    server.reply(":1\r\n".repeat(200));
    client.read_n(200);
    assert_eq!(of_server(&proxy, "slow_requests"), 200);
    assert_eq!(of_pool(&proxy, "slow_requests"), 200);
    // A reply in pieces may fall into two seconds.
    let logged = slow_lines(&proxy).len();
    assert!((10..=20).contains(&logged), "{logged}");
    // In another second the next one tells of those.
    let mut told = false;
    eventually("a line tells how many were left out", || {
        client.send(encode(&["INCR", "k\n1"]));
        server.expect(&["INCR", "k\n1"]);
        take_long();
        server.reply(":1\r\n");
        client.read();
        told |= slow_lines(&proxy)
            .iter()
            .any(|line| line.contains(" more were not logged"));
        told
    });
    assert_eq!(
        count(&proxy.log(), "slow request: incr key 'k\\n1'"),
        slow_lines(&proxy).len()
    );
}

#[test]
fn the_part_that_was_slow_is_logged_and_the_request_counts_once() {
    let mut fake = FakeServer::start();
    let well = RedisServer::start();
    let pool = pool(&fake).server(&format!("{}:1 server2", well.addr()));
    let proxy = Proxy::start(&[pool.set("slow_request_key", "none")]);
    let (here, there) = (&keys_on(1, 2)[0], &keys_on(2, 2)[0]);
    let mut client = proxy.client();
    client.send(encode(&["MGET", there, here]));
    client.send(encode(&["GET", there]));
    let mut server = fake.accept();
    server.expect(&["MGET", here]);
    eventually("the other server has answered", || {
        Stats::of(&proxy).server("alpha", "server2", "responses") == 2
    });
    assert_eq!(of_pool(&proxy, "latency_count"), 0, "not its turn yet");
    take_long();
    server.reply("*1\r\n$1\r\n1\r\n");
    client.read_n(2);
    let stats = Stats::of(&proxy);
    assert_eq!(stats.server("alpha", "server1", "slow_requests"), 1);
    assert_eq!(stats.server("alpha", "server2", "slow_requests"), 0);
    // The second one had to wait for the first.
    assert_eq!(stats.pool("alpha", "slow_requests"), 2);
    assert_eq!(stats.pool("alpha", "latency_count"), 2);
    let lines = slow_lines(&proxy);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("slow request: mget "), "{lines:?}");
}

#[test]
fn errors_are_counted_by_reason() {
    let mut fake = FakeServer::refusing();
    // Long enough for a busy machine to answer in time where it should.
    let pool = Pool::new("alpha").set("timeout", 1000);
    let proxy = Proxy::start(&[pool.server(&fake.line("server1"))]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert!(client.cmd(&["GET", "k"]).is_error());
    }
    assert_eq!(of_server(&proxy, "errors_connect"), 3);
    fake.listen();
    let mut server = fake.accept_for(&mut client, &["GET", "k"]);
    server.reply("$-1\r\n");
    assert_eq!(client.read(), Value::Nil);
    let refused = of_server(&proxy, "errors_connect");
    client.send(encode(&["GET", "k"]));
    server.expect(&["GET", "k"]);
    assert!(client.read().is_error(), "no reply in time");
    let mut server = fake.accept_for(&mut client, &["GET", "k"]);
    server.reply("$-1\r\n");
    assert_eq!(client.read(), Value::Nil);
    client.send(encode(&["SET", "k", "v"]));
    server.expect(&["SET", "k", "v"]);
    server.close();
    assert!(client.read().is_error(), "the connection is lost");
    let found = ["timeout", "lost", "no_master", "limit"]
        .map(|kind| of_server(&proxy, &format!("errors_{kind}")));
    // While the proxy waits before it connects again, requests fail for the reason of the last failure.
    assert!(found[0] >= 1, "{found:?}");
    assert_eq!(found[1..], [1, 0, 0]);
    let all = refused + found.iter().sum::<u64>();
    assert_eq!(
        all,
        of_server(&proxy, "failed") + of_server(&proxy, "rejected")
    );
    assert_eq!(all, of_pool(&proxy, "forward_error"));
    let answered = of_server(&proxy, "responses") + of_server(&proxy, "failed");
    assert_eq!(of_server(&proxy, "requests"), answered);
}
