//! Pools that come and go, and their listening sockets.

use std::net::TcpStream;

use crate::load::{Load, prepare};
use crate::scene::{reload, start, start_with, write_text};
use crate::support::{
    Client, FakeServer, Pool, RedisServer, Stats, Value, encode, eventually, free_port,
};

#[test]
fn pools_come_and_go_and_others_notice_nothing() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let mut direct: Vec<Client> = servers.iter().map(RedisServer::client).collect();
    direct.iter_mut().for_each(prepare);
    let alpha = Pool::new("alpha").servers(&servers);
    let (beta, gamma) = (
        Pool::new("beta").servers(&servers[..1]),
        Pool::new("gamma").servers(&servers[1..]),
    );
    let proxy = start(&[alpha.clone(), beta.clone()]);
    let load = Load::start("load", proxy.addr(), None);
    for _ in 0..3 {
        let mut left = Client::connect(beta.addr());
        assert_eq!(left.cmd(&["SET", "b", "1"]), Value::ok());
        reload(&proxy, &[alpha.clone(), gamma.clone()]);
        left.expect_closed();
        assert!(TcpStream::connect(beta.addr()).is_err());
        let mut new = Client::connect(gamma.addr());
        assert_eq!(new.cmd(&["SET", "g", "1"]), Value::ok());
        load.moment();
        let stats = Stats::of(&proxy);
        assert_eq!(stats.pool("gamma", "client_connections"), 1);
        reload(&proxy, &[alpha.clone(), beta.clone()]);
        new.expect_closed();
        assert_eq!(
            Client::connect(beta.addr()).cmd(&["GET", "b"]),
            Value::bulk("1")
        );
        load.moment();
    }
    load.finish(&mut direct);
    let log = proxy.log();
    let added = "configuration: added, 1 servers pool=\"gamma\"";
    assert!(log.contains(added), "{log}");
    let removed = "configuration: removed pool=\"beta\"";
    assert!(log.contains(removed), "{log}");
    let report = Client::connect(proxy.stats_addr()).read_to_end();
    let report = String::from_utf8(report).expect("JSON");
    assert!(!report.contains("gamma"), "{report}");
}

#[test]
fn clients_of_a_removed_pool_get_what_they_are_owed() {
    let mut server = FakeServer::start();
    let stays = Pool::new("stays").server(&server.line("server1"));
    let goes = Pool::new("goes").server(&server.line("server1"));
    let proxy = start(&[stays.clone(), goes.clone()]);
    let mut client = Client::connect(goes.addr());
    client.send(encode(&["GET", "k"]));
    let mut connection = server.accept();
    connection.expect(&["GET", "k"]);
    reload(&proxy, std::slice::from_ref(&stays));
    client.send(encode(&["GET", "too late"]));
    connection.reply("$1\r\nv\r\n");
    assert_eq!(client.read(), Value::bulk("v"));
    client.expect_closed();
    connection.expect_closed();
}

#[test]
fn clients_of_a_removed_pool_do_not_wait_for_ever() {
    let mut server = FakeServer::start();
    let stays = Pool::new("stays").server(&server.line("server1"));
    let goes = Pool::new("goes").server(&server.line("server1"));
    let arguments = ["--shutdown-timeout", "300"];
    let proxy = start_with(&[stays.clone(), goes.clone()], &arguments);
    let mut client = Client::connect(goes.addr());
    client.send(encode(&["GET", "k"]));
    let mut connection = server.accept();
    connection.expect(&["GET", "k"]);
    reload(&proxy, &[stays]);
    client.expect_closed();
    eventually("it is told", || proxy.log().contains("are cut off"));
}

#[test]
fn a_pool_that_listens_elsewhere_keeps_its_clients() {
    let servers = [RedisServer::start()];
    let pool = Pool::new("alpha").servers(&servers);
    let proxy = start(std::slice::from_ref(&pool));
    let mut early = proxy.client();
    assert_eq!(early.cmd(&["SET", "k", "1"]), Value::ok());
    let port = free_port();
    reload(&proxy, &[pool.clone().listen(&format!("127.0.0.1:{port}"))]);
    assert_eq!(early.cmd(&["INCR", "k"]), Value::Int(2));
    eventually("the old address is closed", || {
        TcpStream::connect(proxy.addr()).is_err()
    });
    let mut late = Client::connect(("127.0.0.1", port));
    assert_eq!(late.cmd(&["INCR", "k"]), Value::Int(3));

    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("proxy.sock");
    reload(
        &proxy,
        &[pool.clone().listen(&format!("{} 600", path.display()))],
    );
    assert!(path.exists());
    reload(&proxy, &[pool]);
    eventually("the path is removed", || !path.exists());
    assert_eq!(proxy.client().cmd(&["INCR", "k"]), Value::Int(4));
    assert_eq!(early.cmd(&["INCR", "k"]), Value::Int(5));
}

/// The socket goes to the new name: nobody who connects meanwhile is refused.
#[test]
fn a_pool_can_be_renamed_and_two_can_swap_their_addresses() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let alpha = Pool::new("alpha").servers(&servers[..1]);
    let beta = Pool::new("beta").servers(&servers[1..]);
    let proxy = start(&[alpha.clone(), beta.clone()]);
    assert_eq!(proxy.client().cmd(&["SET", "who", "alpha"]), Value::ok());
    let mut other = Client::connect(beta.addr());
    assert_eq!(other.cmd(&["SET", "who", "beta"]), Value::ok());

    let file = |first: &str, second: &str| {
        let text = alpha.yaml().replace("alpha:", &format!("{first}:"));
        text + &beta.yaml().replace("beta:", &format!("{second}:"))
    };
    let who = |address| Client::connect(address).cmd(&["GET", "who"]);
    write_text(&proxy, &file("omega", "beta"));
    assert!(crate::scene::hang_up(&proxy));
    assert_eq!(who(alpha.addr()), Value::bulk("alpha"));

    // Each name with the other's servers and address.
    write_text(&proxy, &file("beta", "omega"));
    assert!(crate::scene::hang_up(&proxy));
    assert_eq!(who(alpha.addr()), Value::bulk("alpha"));
    assert_eq!(who(beta.addr()), Value::bulk("beta"));
}

#[test]
fn limits_of_clients_change() {
    let servers = [RedisServer::start()];
    let pool = Pool::new("alpha").servers(&servers);
    let proxy = start(std::slice::from_ref(&pool));
    let mut first = proxy.client();
    assert_eq!(first.cmd(&["PING"]), Value::Simple("PONG".to_owned()));
    reload(&proxy, &[pool.clone().set("client_connections", 1)]);
    let refused = proxy.client().read();
    assert!(
        refused.error().contains("max number of clients"),
        "{refused:?}"
    );
    reload(&proxy, &[pool.set("max_arguments", 3)]);
    let mut second = proxy.client();
    assert_eq!(second.cmd(&["SET", "k", "v"]), Value::ok());
    assert!(second.cmd(&["DEL", "a", "b", "c"]).is_error());
}
