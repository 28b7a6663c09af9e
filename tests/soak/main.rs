//! Mixed load through the proxy while its servers fail: every request gets exactly one reply, in order,
//! to the right client, and no write is lost, repeated or applied late.
//!
//! Each client thread has keys of its own and a model of them (`model.rs`) against which it checks every
//! reply at once; `traffic.rs` makes the requests and `session.rs` the ways to come, talk and leave.
//! Meanwhile the main thread kills and restarts servers, cuts their connections and stops them for a
//! while. An error reply is accepted only for a request whose server failed while it was under way.
//!
//! `NUTHATCH_SOAK_SECONDS` (20), `NUTHATCH_SOAK_CLIENTS` (16) and `NUTHATCH_SOAK_SEED` (random, printed)
//! shape the run. The seed repeats the requests and the failures, not their timing.

mod listen;
mod model;
mod session;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use session::{Counts, Worker};
use support::{Client, Pool, Proxy, RedisServer, Value};
use world::{TAGS, World};

const SERVERS: usize = 3;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn every_request_gets_its_own_reply_while_servers_fail() {
    let seconds = setting("NUTHATCH_SOAK_SECONDS", 20);
    let clients = setting("NUTHATCH_SOAK_CLIENTS", 16);
    let seed = setting("NUTHATCH_SOAK_SEED", fastrand::u64(..));
    println!("soak: NUTHATCH_SOAK_SEED={seed} seconds={seconds} clients={clients}");

    let mut servers: Vec<RedisServer> = (0..SERVERS).map(|_| RedisServer::start()).collect();
    // The default hash puts all these similar tags on one server.
    let pool = Pool::new("soak")
        .set("hash", "md5")
        .set("hash_tag", "\"{}\"")
        .servers(&servers);
    let mut proxy = Proxy::build(&[pool]).args(&["--workers", "2"]).start();
    let world = World::new(owners(&proxy, &servers));
    let stop = AtomicBool::new(false);
    let violations = Mutex::new(Vec::new());
    let mut chaos = Chaos::new(seed);

    let counts = std::thread::scope(|scope| {
        let (world, stop, violations, address) = (&world, &stop, &violations, proxy.addr());
        let workers: Vec<_> = (0..clients)
            .map(|id| {
                scope.spawn(move || {
                    let mut worker = Worker::new(id, seed, address, world);
                    if let Err(violation) = worker.run(stop) {
                        violations
                            .lock()
                            .expect("no holder panics")
                            .push(format!("client {id}: {violation}"));
                        stop.store(true, Ordering::Relaxed);
                    }
                    worker.into_counts()
                })
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < deadline && !stop.load(Ordering::Relaxed) && proxy.is_running() {
            chaos.strike(&mut servers, world);
        }
        stop.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .fold(Counts::default(), |mut sum, counts| {
                sum.add(&counts);
                sum
            })
    });

    println!("soak: {counts}\nsoak: {chaos}");
    assert!(proxy.is_running(), "the proxy ended");
    let violations = violations.into_inner().expect("no holder panics");
    assert!(
        violations.is_empty(),
        "seed {seed}:\n{}",
        violations.join("\n")
    );
    for (index, server) in servers.iter().enumerate() {
        check_placement(server, index, &world);
    }
    assert!(
        counts.replies > clients * seconds * 10,
        "too little was tested: {counts}"
    );
}

/// Which server has the keys of each tag, found by looking at the servers themselves.
fn owners(proxy: &Proxy, servers: &[RedisServer]) -> Vec<usize> {
    let mut client = proxy.client();
    let mut direct: Vec<Client> = servers.iter().map(RedisServer::client).collect();
    let owners: Vec<usize> = (0..TAGS)
        .map(|tag| {
            let key = format!("{{t{tag}}}probe");
            assert_eq!(client.cmd(&["SET", &key, "x"]), Value::ok());
            let found: Vec<usize> = (0..servers.len())
                .filter(|&index| direct[index].cmd(&["EXISTS", &key]) == Value::Int(1))
                .collect();
            assert_eq!(found.len(), 1, "{key} is on servers {found:?}");
            found[0]
        })
        .collect();
    for index in 0..servers.len() {
        assert!(owners.contains(&index), "no tag is on server {index}");
    }
    owners
}

/// No key strayed to a server that does not own it.
fn check_placement(server: &RedisServer, index: usize, world: &World) {
    let Value::Array(keys) = server.client().cmd(&["KEYS", "*"]) else {
        panic!("KEYS answers an array")
    };
    for key in keys {
        let Value::Bulk(key) = &key else {
            panic!("a key is a string: {key:?}")
        };
        let key = String::from_utf8_lossy(key);
        let tag = key
            .strip_prefix("{t")
            .and_then(|rest| rest.split('}').next())
            .and_then(|t| t.parse().ok());
        let owner = tag.map(|tag: usize| world.owner(tag));
        assert_eq!(owner, Some(index), "{key} is on server {index}");
    }
}

/// Lets one server after the other fail.
#[derive(Debug)]
struct Chaos {
    random: fastrand::Rng,
    kills: u32,
    cuts: u32,
    pauses: u32,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        Chaos {
            random: fastrand::Rng::with_seed(!seed),
            kills: 0,
            cuts: 0,
            pauses: 0,
        }
    }

    /// Waits, lets a server fail in one of three ways and waits until it is back.
    fn strike(&mut self, servers: &mut [RedisServer], world: &World) {
        self.pause_for(200..1200);
        let index = self.random.usize(..servers.len());
        match self.random.u32(..4) {
            0 | 1 => {
                self.kills += 1;
                world.fail(index, world::Loss::Data);
                servers[index].kill();
                self.pause_for(0..600);
                servers[index].restart();
                world.recover(index);
            }
            2 => {
                self.cuts += 1;
                world.fail(index, world::Loss::Connections);
                let reply = servers[index]
                    .client()
                    .cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                assert!(matches!(reply, Value::Int(_)), "{reply:?}");
                world.recover(index);
            }
            _ => {
                // Slow is not down: no error is accepted for it.
                self.pauses += 1;
                servers[index].pause();
                self.pause_for(20..300);
                servers[index].resume();
            }
        }
    }

    fn pause_for(&mut self, milliseconds: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.random.u64(milliseconds)));
    }
}

impl std::fmt::Display for Chaos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Chaos {
            kills,
            cuts,
            pauses,
            ..
        } = self;
        write!(
            f,
            "servers killed {kills}, cut off {cuts}, stopped for a while {pauses}"
        )
    }
}
