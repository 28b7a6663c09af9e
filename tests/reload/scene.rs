//! What reloads have in common: writing the file, telling the process, looking where keys are.

use std::fs;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::support::{Client, Pool, Proxy, RedisServer, Stats, Value, eventually};

/// A proxy with two workers.
#[track_caller]
pub fn start(pools: &[Pool]) -> Proxy {
    start_with(pools, &["--workers", "2"])
}

/// Returns when signals are followed, which is after the sockets are bound.
#[track_caller]
pub fn start_with(pools: &[Pool], arguments: &[&str]) -> Proxy {
    let proxy = Proxy::build(pools).args(arguments).start();
    eventually("the proxy has started", || {
        proxy.log().contains("started, pid")
    });
    proxy
}

pub fn write(proxy: &Proxy, pools: &[Pool]) {
    let text: String = pools.iter().map(Pool::yaml).collect();
    write_text(proxy, &text);
}

pub fn write_text(proxy: &Proxy, text: &str) {
    fs::write(proxy.config_path(), text).expect("the directory is the test's");
}

/// `nuthatch reload` for the process.
pub fn command(proxy: &Proxy) -> Output {
    Command::new(Proxy::binary())
        .args(["reload", "-c"])
        .arg(proxy.config_path())
        .arg("-p")
        .arg(proxy.pid_path())
        .args(["-s", &proxy.stats_addr().1.to_string()])
        .output()
        .expect("the program starts")
}

/// Puts the file in place and reloads; what was printed.
#[track_caller]
pub fn reload(proxy: &Proxy, pools: &[Pool]) -> String {
    write(proxy, pools);
    let output = command(proxy);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}\n{}", proxy.log());
    out
}

/// SIGHUP, and waits until the process has done with it; says whether the file is in use.
#[track_caller]
pub fn hang_up(proxy: &Proxy) -> bool {
    let counts = || {
        let stats = Stats::of(proxy);
        ["config_reloads", "config_reload_failures"].map(|name| stats.process(name))
    };
    let before = counts();
    proxy.signal(Signal::HUP);
    let mut after = before;
    eventually("the file is read", || {
        after = counts();
        after != before
    });
    after[0] > before[0]
}

/// New keys lie where `nuthatch locate` says for the file, and nowhere else.
#[track_caller]
pub fn check_places(
    proxy: &Proxy,
    client: &mut Client,
    pool: &str,
    tag: &str,
    all: &[&RedisServer],
) {
    let keys: Vec<String> = (0u64..40)
        .map(|n| format!("{tag}:{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let located = Command::new(Proxy::binary())
        .args(["locate", "--no-header", "--pool", pool, "-c"])
        .arg(proxy.config_path())
        .args(&keys)
        .output()
        .expect("the program starts");
    let located = String::from_utf8(located.stdout).expect("text");
    let addresses = located
        .lines()
        .map(|line| line.split('\t').nth(5).expect("an address"));
    let mut direct: Vec<(String, Client)> = all
        .iter()
        .map(|server| (server.addr(), server.client()))
        .collect();
    let mut checked = 0;
    for (key, address) in keys.iter().zip(addresses) {
        assert_eq!(client.cmd(&["SET", key, "here"]), Value::ok());
        for (other, server) in &mut direct {
            let expected = Value::Int(i64::from(other == address));
            assert_eq!(
                server.cmd(&["EXISTS", key]),
                expected,
                "{key} on {other}, not {address}"
            );
        }
        checked += 1;
    }
    assert_eq!(checked, keys.len());
}

/// `/topology`.
#[track_caller]
pub fn topology(proxy: &Proxy) -> serde_json::Value {
    let mut page = String::new();
    eventually("the page is there", || {
        let mut client = Client::connect(proxy.stats_addr());
        client.send("GET /topology HTTP/1.0\r\n\r\n");
        page = String::from_utf8(client.read_to_end()).expect("text");
        // A request that is late is not taken for one.
        page.starts_with("HTTP/")
    });
    let (_, body) = page.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}
