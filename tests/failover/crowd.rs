//! A failover with many clients: each waits, and none gets a connection of its own to the new master.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{MOMENT, moment, start, switches};
use crate::sentinel::{Cluster, Node, Target};
use crate::support::{Client, Proxy, Value, encode};

/// Of `scene::start`.
const WORKERS: usize = 2;

/// `server_connections`: most links of a worker to a server.
const LINKS: usize = 4;

const CLIENTS: usize = 200;

/// Threads that drive the clients.
const DRIVERS: usize = 4;

/// From the announcement of a failover to the new master's first requests, on a busy machine.
const FAILOVER: Duration = Duration::from_secs(20);

/// Ends the drivers, also when an assertion fails: their scope waits for them.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn many_clients_share_the_few_connections_to_a_new_master() {
    let cluster = Cluster::build().patient().hasty().start();
    let proxy = start(cluster.pool().set("server_connections", LINKS));
    let key = Target::proxy(&cluster, &proxy).key(0, "crowd");
    let stop = AtomicBool::new(false);
    let links = std::thread::scope(|scope| {
        let stopped = Stop(&stop);
        let drive = || drive(&proxy, &key, &stop);
        let drivers: Vec<_> = (0..DRIVERS).map(|_| scope.spawn(drive)).collect();
        moment();
        let links = watch_failover(&cluster, &proxy);
        drop(stopped);
        for driver in drivers {
            let rounds = driver.join().expect("every client is served");
            assert!(rounds > 3, "too little was tested: {rounds}");
        }
        links
    });
    let used = links.values().filter(|command| *command == "incr").count();
    assert!(used <= WORKERS * LINKS, "{used} carry requests: {links:?}");
    assert!(used >= WORKERS, "not all workers were seen: {links:?}");
    // The others asked for its role, before and at the switch.
    let others = links.len() - used;
    assert!(others <= WORKERS * LINKS, "{others} more: {links:?}");
}

/// Sends a request of each of its clients at a time; how often.
fn drive(proxy: &Proxy, key: &str, stop: &AtomicBool) -> usize {
    let mut clients: Vec<Client> = (0..CLIENTS / DRIVERS).map(|_| proxy.client()).collect();
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        for client in &mut clients {
            client.send(encode(&["INCR", key]));
        }
        for client in &mut clients {
            let reply = client.read();
            assert!(matches!(reply, Value::Int(_)), "{reply:?}");
        }
        rounds += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    rounds
}

/// Moves the first shard. All connections of the proxy to its new master until a moment after that: by
/// the numbers Redis gives them, with the last command each was seen with.
#[track_caller]
fn watch_failover(cluster: &Cluster, proxy: &Proxy) -> BTreeMap<u64, String> {
    cluster.failover(0);
    let begin = Instant::now();
    let mut links = BTreeMap::new();
    let mut switched: Option<Instant> = None;
    while switched.is_none_or(|switched| switched.elapsed() < MOMENT) {
        links.extend(connections(&cluster.nodes(0)[1]));
        if switched.is_none() && switches(proxy, "shard0") == 1 {
            switched = Some(Instant::now());
        }
        let took = begin.elapsed();
        assert!(took < FAILOVER, "no switch in {took:?}:\n{}", proxy.log());
        std::thread::sleep(Duration::from_millis(2));
    }
    links
}

/// Neither our own nor those of sentinels, which have names, nor those of replication.
fn connections(node: &Node) -> Vec<(u64, String)> {
    // A promotion ends all connections of clients, ours too.
    let Ok(Value::Bulk(list)) = node.ask(&["CLIENT", "LIST"]) else {
        return Vec::new();
    };
    let list = String::from_utf8_lossy(&list);
    let ours = list.lines().filter_map(|line| {
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
        let (id, command) = (field("id=")?, field("cmd=")?);
        let of_proxy = field("name=") == Some("")
            && field("flags=") == Some("N")
            && !command.starts_with("client");
        of_proxy.then(|| (id.parse().expect("a number"), command.to_owned()))
    });
    ours.collect()
}
