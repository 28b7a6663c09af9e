//! Files that are refused: whole, with reasons, and without a trace in what runs.

use std::net::TcpListener;

use crate::load::{Load, prepare};
use crate::scene::{check_places, command, hang_up, reload, start, topology, write_text};
use crate::support::{Client, Pool, RedisServer, Stats, Value};

#[test]
fn a_broken_file_is_refused_whole_and_its_reasons_are_told() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let mut direct: Vec<Client> = servers.iter().map(RedisServer::client).collect();
    direct.iter_mut().for_each(prepare);
    let pool = Pool::new("alpha").servers(&servers);
    let proxy = start(std::slice::from_ref(&pool));
    let good = pool.yaml();
    let load = Load::start("load", proxy.addr(), None);
    let broken = good.replace("redis: true", "redis: true\n  hsah: md5\n  timeout: soon");
    let others = [
        (broken.as_str(), "did you mean 'hash'?"),
        ("alpha: [", "is not valid YAML"),
        ("", "the file is empty"),
    ];
    for (number, (file, reason)) in (1..).zip(others) {
        write_text(&proxy, file);
        assert!(!hang_up(&proxy), "{file}");
        let stats = Stats::of(&proxy);
        assert_eq!(stats.process("config_reload_failures"), number);
        assert_eq!(stats.process("config_generation"), 1);
        let log = proxy.log();
        assert!(log.contains(reason), "{reason}\n{log}");
        assert!(log.contains("refused, the running one stays"), "{log}");
        let last = &topology(&proxy)["config"]["last_reload"];
        assert_eq!(last["applied"], false);
        let reasons = last["reasons"].to_string();
        assert!(reasons.contains(reason), "{reasons}");
        load.moment();
    }
    // Both mistakes of the first are there.
    assert!(proxy.log().contains("timeout: 'soon'"), "{}", proxy.log());
    std::fs::remove_file(proxy.config_path()).expect("it is the test's");
    assert!(!hang_up(&proxy));
    assert!(proxy.log().contains("cannot read the configuration"));
    write_text(&proxy, &good);
    assert!(hang_up(&proxy));
    let all: Vec<&RedisServer> = servers.iter().collect();
    check_places(&proxy, &mut proxy.client(), "alpha", "key", &all);
    load.finish(&mut direct);
}

/// One new pool could listen and one could not: neither does.
#[test]
fn an_address_that_is_taken_refuses_the_whole_file() {
    let servers = [RedisServer::start()];
    let pool = Pool::new("alpha").servers(&servers);
    let proxy = start(std::slice::from_ref(&pool));
    let taken = Pool::new("taken").servers(&servers);
    let free = Pool::new("free").servers(&servers);
    let other = TcpListener::bind(taken.addr()).expect("nobody listens there");
    let changed = pool.clone().set("client_connections", 1);
    let text: String = [&changed, &taken, &free].map(Pool::yaml).concat();
    write_text(&proxy, &text);
    let output = command(&proxy);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("pool 'taken': cannot listen on"), "{told}");
    assert!(told.contains("the running configuration stays"), "{told}");
    let _clients = [proxy.client(), proxy.client()].map(|mut client| {
        assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
        client
    });
    drop(TcpListener::bind(free.addr()).expect("it was let go again"));
    drop(other);
    reload(&proxy, &[changed, taken.clone(), free]);
    assert_eq!(
        Client::connect(taken.addr()).cmd(&["GET", "k"]),
        Value::bulk("v")
    );
}
