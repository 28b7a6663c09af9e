//! Checks of the cluster, the scripted sentinel, the relay and the writers themselves, without a proxy
//! that fails over: a harness that sees nothing would make every other test pass.

use std::time::{Duration, Instant};

use crate::sentinel::{Cluster, FakeMaster, FakeSentinel, Mode, Relay, Target, Writers};
use crate::support::{Client, NoReply, Proxy, RedisServer, Value, encode, within};

#[test]
fn writers_find_nothing_wrong_with_a_healthy_cluster() {
    let cluster = Cluster::build().start();
    let pool = cluster.pool_without_sentinels();
    let proxy = Proxy::start(&[pool]);
    let writers = Writers::start(&cluster, &Target::proxy(&cluster, &proxy));
    std::thread::sleep(Duration::from_millis(1500));
    let report = writers.finish(&cluster);
    report.assert_sound();
    for shard in 0..cluster.shards() {
        report.assert_untouched(shard);
    }
    assert_eq!(report.errors_of_all().len(), 0, "{report}");
    assert_eq!(report.stale_reads(), 0, "{report}");
}

/// Clients that do not follow a failover write to a master that is demoted later.
#[test]
fn writers_find_what_a_planned_failover_takes_from_those_who_stay() {
    let cluster = Cluster::build().hasty().start();
    let writers = Writers::start(&cluster, &Target::direct(&cluster, 0));
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    cluster.failover(0);
    let switched = cluster.wait_switch(0, begin);
    cluster.wait_replica(0, 0);
    std::thread::sleep(Duration::from_millis(200));
    let report = writers.finish(&cluster);
    assert!(report.lost(0) > 10, "{report}");
    assert!(report.lost_since(0, switched) > 0, "{report}");
    assert!(report.lost_since(0, Instant::now()) == 0, "{report}");
    // The connections were closed by the demotion; after it writes are refused.
    assert!(report.dropped() > 0, "{report}");
    assert!(
        report
            .errors(0)
            .iter()
            .any(|error| error.starts_with("READONLY")),
        "{report}"
    );
    report.assert_untouched(1);
    assert_eq!(cluster.master_of(0), 1);
    assert_eq!(cluster.master_of(1), 0);
}

#[test]
fn writers_find_a_deleted_a_repeated_and_a_misplaced_write() {
    let cluster = Cluster::build().replicas(0).start();
    let target = Target::direct(&cluster, 0);
    let writers = Writers::start(&cluster, &target);
    let mut clients = [0, 1].map(|shard| cluster.nodes(shard)[0].client());
    // There are three clients per shard, numbered from 0, and the first of them writes.
    let (list, other) = (writers.list(0), writers.list(3));
    let counter = writers.counter(0);
    let filled = within(Duration::from_secs(5), || {
        let length = |client: &mut Client, key: &str| client.cmd(&["LLEN", key]);
        matches!(length(&mut clients[0], &list), Value::Int(20..))
            && matches!(length(&mut clients[1], &other), Value::Int(20..))
    });
    assert!(filled, "the writers do not write");
    let [first, second] = &mut clients;
    let Value::Bulk(token) = first.cmd(&["LPOP", &list]) else {
        panic!("the list has a token");
    };
    let Value::Bulk(again) = first.cmd(&["LINDEX", &list, "0"]) else {
        panic!("the list has a token");
    };
    assert_ne!(token, again);
    first.cmd(&[b"RPUSH".as_slice(), list.as_bytes(), &again]);
    first.cmd(&["INCRBY", &counter, "5"]);
    first.cmd(&["RPUSH", &other, "stray"]);
    second.cmd(&["SET", &target.key(1, "constant"), "another"]);
    let stale = Instant::now();
    let register = target.key(1, "register");
    while stale.elapsed() < Duration::from_millis(200) {
        // The writer overwrites it between two looks of the reader.
        second.cmd(&["SET", &register, "-1"]);
    }
    let report = writers.finish(&cluster);
    assert_eq!(report.lost(0), 1, "{report}");
    assert_eq!(report.lost_since(0, stale), 0, "{report}");
    assert_eq!(report.repeated(0), 1 + 5, "{report}");
    assert_eq!(report.strays(), 1, "{report}");
    assert!(!report.wrong_reads().is_empty(), "{report}");
    assert!(report.stale_reads() > 0, "{report}");
    assert_eq!((report.lost(1), report.repeated(1)), (0, 0), "{report}");
    report.assert_no_errors(0);
}

#[test]
fn a_killed_master_comes_back_as_a_replica() {
    let mut cluster = Cluster::build().shards(1).hasty().start();
    let begin = Instant::now();
    cluster.node(0, 0).kill();
    let switch = cluster.wait_event("+switch-master", 0, begin);
    assert!(switch.concerns("shard0") && !switch.concerns("shard"));
    assert_eq!(cluster.settle(0), 1);
    assert!(cluster.nodes(0)[1].is_master());
    cluster.node(0, 0).restart();
    cluster.wait_replica(0, 0);
    assert!(!cluster.nodes(0)[0].is_master());
    cluster.wait_acquainted(0);
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    assert_eq!(cluster.settle(0), 0);
}

#[test]
fn a_cluster_is_put_up_as_asked() {
    let cluster = Cluster::build()
        .shards(1)
        .password("data")
        .sentinel_password("watch")
        .ipv6()
        .start();
    let address = cluster.nodes(0)[0].announced();
    assert!(address.is_ipv6());
    let answer = cluster.sentinels()[0].cmd(&["SENTINEL", "get-master-addr-by-name", "shard0"]);
    assert_eq!(answer, Value::bulks(&["::1", &address.port().to_string()]));
    let mut client = Client::connect(address);
    assert!(client.cmd(&["PING"]).error().starts_with("NOAUTH"));
    let mut client = Client::connect(cluster.sentinels()[0].addr());
    assert!(client.cmd(&["PING"]).error().starts_with("NOAUTH"));
    drop(cluster);

    let cluster = Cluster::build().shards(1).host_names().start();
    let port = cluster.nodes(0)[0].announced().port().to_string();
    let answer = cluster.sentinels()[0].cmd(&["SENTINEL", "get-master-addr-by-name", "shard0"]);
    assert_eq!(answer, Value::bulks(&["localhost", &port]));
}

#[test]
fn a_relay_passes_stalls_and_resets() {
    let server = RedisServer::start();
    let relay = Relay::start(server.addr().parse().expect("an address"));
    let mut client = Client::connect(relay.addr());
    let large = vec![b'x'; 1 << 20];
    assert_eq!(client.cmd(&[b"SET".as_slice(), b"k", &large]), Value::ok());
    assert_eq!(client.cmd(&["GET", "k"]), Value::bulk(&large));
    relay.stall("127.0.0.2");
    assert_eq!(client.cmd(&["GET", "k"]), Value::bulk(&large));
    relay.stall("127.0.0.1");
    client.send(encode(&["PING"]));
    client.expect_silence(Duration::from_millis(100));
    relay.open();
    assert_eq!(client.read(), Value::Simple("PONG".into()));
    assert_eq!((relay.reset("127.0.0.2"), relay.accepted()), (0, 1));
    client.send(encode(&["BLPOP", "nothing", "0"]));
    assert_eq!(relay.reset("127.0.0.1"), 1);
    let error = std::io::Read::read(&mut client.stream(), &mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(relay.reset(""), 0);
}

#[test]
fn a_cluster_behind_relays_can_be_cut_off_from_its_sentinels() {
    let cluster = Cluster::build().shards(1).relays().hasty().start();
    assert_eq!(cluster.settle(0), 0);
    let begin = Instant::now();
    cluster.relay(0, 0).stall("127.0.1.");
    cluster.wait_switch(0, begin);
    let client = &mut Client::connect(cluster.relay(0, 0).addr());
    let Value::Array(role) = client.cmd(&["ROLE"]) else {
        panic!("ROLE answers an array");
    };
    assert_eq!(role[0], Value::bulk("master"), "clients still reach it");
    assert_eq!(cluster.master_of(0), 1);
}

#[test]
fn the_scripted_sentinel_says_what_it_is_told() {
    let fake = FakeSentinel::start();
    let mut client = Client::connect(fake.addr());
    let name = ["SENTINEL", "get-master-addr-by-name", "m"];
    assert_eq!(client.cmd(&name), Value::Nil);
    assert!(
        client
            .cmd(&["SENTINEL", "MASTER", "m"])
            .error()
            .contains("No such")
    );
    let address = "127.0.0.1:7".parse().expect("an address");
    fake.set("m", FakeMaster::at(address, 3));
    assert_eq!(client.cmd(&name), Value::bulks(&["127.0.0.1", "7"]));
    let master = client.cmd(&["SENTINEL", "MASTER", "m"]);
    let epoch = crate::sentinel::field(&master, "config-epoch");
    assert_eq!(epoch.as_deref(), Some("3"));
    fake.set_mode(Mode::Error("NOPERM no".into()));
    assert_eq!(client.cmd(&name).error(), "NOPERM no");
    fake.set_mode(Mode::Silence);
    client.send(encode(&["PING"]));
    client.expect_silence(Duration::from_millis(50));
    fake.set_mode(Mode::Truth);

    let mut subscriber = Client::connect(fake.addr());
    let confirmed = subscriber.cmd(&["SUBSCRIBE", "+switch-master"]);
    let expected = [
        Value::bulk("subscribe"),
        Value::bulk("+switch-master"),
        Value::Int(1),
    ];
    assert_eq!(confirmed, Value::Array(expected.to_vec()));
    fake.wait_subscribed();
    assert_eq!(fake.publish("+sdown", "x"), 0);
    assert_eq!(fake.publish_switch("m", address, address), 1);
    let payload = "m 127.0.0.1 7 127.0.0.1 7";
    let message = Value::bulks(&["message", "+switch-master", payload]);
    assert_eq!(subscriber.read(), message);
    assert_eq!(subscriber.cmd(&["PING"]), Value::bulks(&["pong", ""]));
    assert!(subscriber.cmd(&name).is_error());
    fake.cut();
    assert!(matches!(client.try_read(), Err(NoReply::Closed)));
    assert!(matches!(subscriber.try_read(), Err(NoReply::Closed)));
    assert!(fake.commands().contains(&vec!["ping".to_owned()]));
}
