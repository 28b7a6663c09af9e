//! Pools without Sentinel: servers, weights, time-outs, passwords.

use std::time::Duration;

use crate::load::{Load, prepare};
use crate::scene::{check_places, hang_up, reload, start, write};
use crate::support::{Client, FakeServer, Pool, RedisServer, Stats, Value, eventually};

fn servers(count: usize) -> (Vec<RedisServer>, Vec<Client>) {
    let servers: Vec<RedisServer> = (0..count).map(|_| RedisServer::start()).collect();
    let mut clients: Vec<Client> = servers.iter().map(RedisServer::client).collect();
    clients.iter_mut().for_each(prepare);
    (servers, clients)
}

/// `pool` with these of the servers: index, weight.
fn with(pool: &Pool, servers: &[RedisServer], which: &[(usize, u32)]) -> Pool {
    which.iter().fold(pool.clone(), |pool, (index, weight)| {
        pool.server(&format!("{}:{weight} shard{index}", servers[*index].addr()))
    })
}

#[test]
fn servers_come_go_and_weigh_more_under_load() {
    let (servers, mut direct) = servers(4);
    let all: Vec<&RedisServer> = servers.iter().collect();
    let base = Pool::new("alpha").set("timeout", 5000);
    let proxy = start(&[with(&base, &servers, &[(1, 1), (2, 1)])]);
    let load = Load::start("load", proxy.addr(), None);
    let mut client = proxy.client();
    let files: [&[(usize, u32)]; 10] = [
        &[(1, 1), (2, 1), (3, 1)],
        &[(0, 1), (1, 1), (2, 1), (3, 1)],
        &[(0, 1), (1, 3), (2, 1), (3, 1)],
        &[(0, 1), (2, 1), (3, 1)],
        &[(3, 1)],
        &[(0, 2), (3, 1)],
        &[(1, 1), (2, 5)],
        &[(0, 1)],
        &[(3, 1), (2, 1), (1, 1), (0, 1)],
        &[(1, 1), (2, 1)],
    ];
    for (number, file) in files.into_iter().enumerate() {
        let pool = with(&base, &servers, file);
        let told = reload(&proxy, &[pool]);
        let generation = number + 2;
        assert!(told.contains(&format!("generation {generation}")), "{told}");
        check_places(&proxy, &mut client, "alpha", &format!("key{number}"), &all);
        load.moment();
    }
    load.finish(&mut direct);
    let log = proxy.log();
    for line in [
        "configuration: server 'shard3' added",
        "configuration: server 'shard1': weight 1 -> 3 (moves keys) pool=\"alpha\"",
        "configuration: server 'shard1' removed pool=\"alpha\"",
        "reloaded: 1 changes, generation 2",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    let stats = Stats::of(&proxy);
    assert_eq!(stats.process("config_reloads"), 10);
    assert_eq!(stats.process("config_reload_failures"), 0);
    assert_eq!(stats.process("config_generation"), 11);
    assert_eq!(stats.pool("alpha", "client_err"), 0);
    assert_eq!(stats.pool("alpha", "forward_error"), 0);
    // No connection is kept to who was removed.
    for removed in [0, 3] {
        let server = &mut direct[removed];
        eventually("only the test is connected", || {
            let list = server.cmd(&["CLIENT", "LIST"]);
            let Value::Bulk(list) = list else {
                return false;
            };
            list.iter().filter(|byte| **byte == b'\n').count() == 1
        });
    }
}

#[test]
fn every_distribution_places_keys_by_the_last_file() {
    let (servers, _direct) = servers(3);
    let all: Vec<&RedisServer> = servers.iter().collect();
    let base = Pool::new("alpha");
    let proxy = start(&[with(&base, &servers, &[(2, 1)])]);
    let mut client = proxy.client();
    for (number, distribution) in ["modula", "ketama"].iter().cycle().take(4).enumerate() {
        let base = base.clone().set("distribution", distribution);
        let file: &[_] = match number {
            0 => &[(2, 1), (0, 1)],
            1 => &[(1, 2), (2, 1)],
            2 => &[(0, 1), (1, 3), (2, 2)],
            _ => &[(1, 1), (0, 1)],
        };
        reload(&proxy, &[with(&base, &servers, file)]);
        check_places(&proxy, &mut client, "alpha", &format!("key{number}"), &all);
    }
}

#[test]
fn settings_of_connections_change_under_load() {
    let (servers, mut direct) = servers(2);
    let which = [(0, 1), (1, 1)];
    let base = Pool::new("alpha");
    let proxy = start(&[with(&base, &servers, &which)]);
    let load = Load::start("load", proxy.addr(), None);
    let mut early = proxy.client();
    assert_eq!(early.cmd(&["SET", "early", "1"]), Value::ok());
    let files = [
        base.clone().set("server_connections", 3),
        base.clone()
            .set("server_connections", 2)
            .set("timeout", 4000),
        base.clone()
            .set("tcpkeepalive", true)
            .set("preconnect", true),
        base.clone()
            .set("client_pending_limit", 30)
            .set("backlog", 64),
    ];
    for file in files {
        reload(&proxy, &[with(&file, &servers, &which)]);
        load.moment();
    }
    for server in &mut direct {
        assert_eq!(
            server.cmd(&["CONFIG", "SET", "requirepass", "geheim"]),
            Value::ok()
        );
    }
    let locked = base.clone().set("redis_auth", "geheim");
    reload(&proxy, &[with(&locked, &servers, &which)]);
    load.moment();
    assert_eq!(early.cmd(&["GET", "early"]), Value::bulk("1"));
    let mut late = proxy.client();
    assert!(late.cmd(&["GET", "early"]).error().starts_with("NOAUTH"));
    assert_eq!(late.cmd(&["AUTH", "geheim"]), Value::ok());
    assert_eq!(late.cmd(&["GET", "early"]), Value::bulk("1"));
    load.finish(&mut direct);
    let log = proxy.log();
    assert!(log.contains("redis_auth set"), "{log}");
    assert!(!log.contains("geheim"), "a password is in the log");

    let other_db = locked.set("redis_db", 1);
    reload(&proxy, &[with(&other_db, &servers, &which)]);
    assert_eq!(early.cmd(&["GET", "early"]), Value::Nil);
}

#[test]
fn a_timeout_that_comes_counts_for_requests_under_way() {
    let mut server = FakeServer::start();
    let base = Pool::new("alpha").server(&server.line("server1"));
    let proxy = start(std::slice::from_ref(&base));
    let mut client = proxy.client();
    client.send(crate::support::encode(&["GET", "k"]));
    let mut connection = server.accept();
    connection.expect(&["GET", "k"]);
    client.expect_silence(Duration::from_millis(200));
    reload(&proxy, &[base.set("timeout", 100)]);
    let reply = client.read();
    assert!(
        reply.error().contains("timed out after 100 ms"),
        "{reply:?}"
    );
}

/// The old server answers what it has, and what it was not sent goes to the new address.
#[test]
fn a_server_that_moves_by_the_file_answers_what_it_has() {
    let (mut old, mut new) = (FakeServer::start(), FakeServer::start());
    let pool = |server: &FakeServer| Pool::new("alpha").server(&server.line("server1"));
    let before = pool(&old);
    let after = before.yaml().replace(&old.addr(), &new.addr());
    let proxy = start(&[before]);
    let mut client = proxy.client();
    client.send(crate::support::encode(&["GET", "a"]));
    let mut connection = old.accept();
    connection.expect(&["GET", "a"]);
    crate::scene::write_text(&proxy, &after);
    assert!(hang_up(&proxy));
    client.send(crate::support::encode(&["GET", "b"]));
    let mut other = new.accept();
    other.answer(&["GET", "b"], "$1\r\n2\r\n");
    // Longer than an old master is waited for after a failover.
    client.expect_silence(Duration::from_millis(900));
    connection.reply("$1\r\n1\r\n");
    assert_eq!(client.read_n(2), [Value::bulk("1"), Value::bulk("2")]);
    connection.expect_closed();
}

#[test]
fn an_unchanged_file_changes_nothing() {
    let (servers, _direct) = servers(1);
    let pool = with(&Pool::new("alpha"), &servers, &[(0, 1)]);
    let proxy = start(std::slice::from_ref(&pool));
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    let before = Stats::of(&proxy).process("topology_version");
    let told = reload(&proxy, std::slice::from_ref(&pool));
    assert!(told.contains("nothing changed, generation 1"), "{told}");
    write(&proxy, &[pool]);
    assert!(hang_up(&proxy));
    let stats = Stats::of(&proxy);
    assert_eq!(stats.process("topology_version"), before);
    assert_eq!(stats.process("config_generation"), 1);
    assert_eq!(stats.process("config_reloads"), 2);
    assert_eq!(stats.server("alpha", "shard0", "server_eof"), 0);
}

/// The name is looked up before the first request can need it.
#[test]
fn servers_with_new_names_are_found_in_time() {
    let servers = [0, 1].map(|_| RedisServer::with_args(&["--bind", "127.0.0.1", "-::1"]));
    let mut direct: Vec<Client> = servers.iter().map(RedisServer::client).collect();
    direct.iter_mut().for_each(prepare);
    let line = |n: usize| format!("localhost:{}:1 shard{n}", servers[n].port());
    let base = Pool::new("alpha");
    let plain = with(&base, &servers, &[(0, 1)]);
    let proxy = start(std::slice::from_ref(&plain));
    let load = Load::start("load", proxy.addr(), None);
    let named = base.clone().server(&line(0)).server(&line(1));
    for file in [&named, &plain, &base.clone().server(&line(1)), &named] {
        reload(&proxy, std::slice::from_ref(file));
        load.moment();
    }
    load.finish(&mut direct);
    assert_eq!(Stats::of(&proxy).pool("alpha", "forward_error"), 0);
}

#[test]
fn what_is_slow_is_another_question_at_once() {
    /// Tens of milliseconds.
    const LONG: &str = "local i = 0 while i < 5000000 do i = i + 1 end return 1";
    let server = RedisServer::start();
    let pool = Pool::new("alpha").servers([&server]);
    let proxy = start(std::slice::from_ref(&pool));
    let mut client = proxy.client();
    for (limit, counted) in [("2", 1), ("60000", 1), ("3", 2)] {
        reload(&proxy, &[pool.clone().set("slow_request_time", limit)]);
        assert_eq!(client.cmd(&["EVAL", LONG, "1", "k"]), Value::Int(1));
        let stats = Stats::of(&proxy);
        assert_eq!(stats.pool("alpha", "slow_requests"), counted, "{limit} ms");
        assert_eq!(stats.server("alpha", "server1", "slow_requests"), counted);
    }
}
