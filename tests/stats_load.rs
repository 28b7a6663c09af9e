//! The counters add up: after known loads to the last request, with one worker and with several, against
//! what the servers themselves counted; after kills of servers and clients every gauge is back at zero.

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use support::{Client, RedisServer, Shards, Stats, Value, encode, eventually};

const GAUGES: [&str; 6] = [
    "in_queue",
    "in_queue_bytes",
    "out_queue",
    "out_queue_bytes",
    "held",
    "held_bytes",
];

/// How many commands of clients a server executed, by its own count. What the proxy's connections begin
/// with, and what this test asks, is left out.
fn executed(server: &RedisServer) -> u64 {
    let Value::Bulk(info) = server.client().cmd(&["INFO", "commandstats"]) else {
        panic!("no INFO");
    };
    let info = String::from_utf8(info).expect("text");
    let mut calls = 0;
    for line in info.lines().filter_map(|l| l.strip_prefix("cmdstat_")) {
        let (name, fields) = line.split_once(':').expect(line);
        if ["info", "hello", "ping", "config"].contains(&name) {
            continue;
        }
        let field = |name: &str| -> u64 {
            let found = fields.split(',').find_map(|f| f.strip_prefix(name));
            found.expect(line).parse().expect(line)
        };
        calls += field("calls=") + field("rejected_calls=");
    }
    calls
}

/// What one client did.
#[derive(Clone, Copy, Default)]
struct Sent {
    requests: u64,
    /// Of these, went to servers, and in how many parts if they were split.
    forwarded: u64,
    split: u64,
    parts: u64,
    errors: u64,
}

impl Sent {
    fn forwarded(&mut self, requests: u64) {
        self.requests += requests;
        self.forwarded += requests;
    }

    fn split(&mut self, parts: usize) {
        self.forwarded(1);
        self.split += 1;
        self.parts += parts as u64;
    }

    fn answered_here(&mut self, errors: u64) {
        self.requests += 1;
        self.errors += errors;
    }

    /// Requests that servers get, parts counted one by one.
    fn at_servers(&self) -> u64 {
        self.forwarded - self.split + self.parts
    }
}

/// Every kind of load there is; `n` makes clients differ.
fn load(shards: &Shards, n: usize) -> Sent {
    let mut client = shards.client();
    let mut sent = Sent::default();
    let servers = shards.servers.len();
    let keys: Vec<&str> = (0..servers).map(|server| shards.key(server, n)).collect();
    if n % 2 == 1 {
        assert!(!client.cmd(&["HELLO", "3"]).is_error());
        sent.answered_here(0);
    }
    for key in &keys {
        assert_eq!(client.cmd(&["SET", key, "1"]), Value::ok());
        assert!(client.cmd(&["LPUSH", key, "x"]).is_error());
        sent.forwarded(2);
    }
    let pipeline: Vec<u8> = (0..300)
        .flat_map(|at| encode(&["INCR", keys[at % servers]]))
        .collect();
    client.send(pipeline);
    client.read_n(300);
    sent.forwarded(300);
    for _ in 0..20 {
        let pairs = keys.iter().flat_map(|key| [*key, "v"]);
        let mset: Vec<&str> = ["MSET"].into_iter().chain(pairs).collect();
        assert_eq!(client.cmd(&mset), Value::ok());
        sent.split(servers);
        for name in ["MGET", "EXISTS", "TOUCH", "DEL"] {
            let request: Vec<&str> = [name].into_iter().chain(keys.iter().copied()).collect();
            assert!(!client.cmd(&request).is_error());
            sent.split(servers);
        }
        // One server's keys are no split.
        client.cmd(&["MGET", keys[0], keys[0]]);
        sent.forwarded(1);
    }
    client.send(format!("GET {}\r\nSTRLEN {}\r\n", keys[0], keys[1]));
    client.read_n(2);
    sent.forwarded(2);
    client.cmd(&["TIME"]);
    sent.forwarded(1);
    for (request, errors) in [
        (&["PING"][..], 0),
        (&["ECHO", "e"], 0),
        (&["SELECT", "0"], 0),
        (&["SELECT", "9"], 1),
        (&["NOPE", "x"], 1),
        (&["DEBUG", "JMAP"], 1),
        (&["GET"], 1),
        (&["RENAME", keys[0], keys[1]], 1),
    ] {
        assert_eq!(client.cmd(request).is_error(), errors == 1, "{request:?}");
        sent.answered_here(errors);
    }
    sent
}

fn commands(stats: &Stats) -> u64 {
    let classes = nuthatch::stats::metrics::POOL.iter().map(|m| m.name);
    let classes = classes.filter(|name| name.starts_with("commands_"));
    classes.map(|name| stats.pool("alpha", name)).sum()
}

#[test]
fn known_loads_add_up_with_one_worker_and_with_three() {
    for workers in ["1", "3"] {
        let shards = Shards::start_with(3, |pool| pool, &["--workers", workers]);
        let all: Vec<Sent> = thread::scope(|scope| {
            let shards = &shards;
            let clients = (0..7).map(|n| scope.spawn(move || load(shards, n)));
            let clients: Vec<_> = clients.collect();
            let sent = clients
                .into_iter()
                .map(|client| client.join().expect("no panic"));
            sent.collect()
        });
        eventually("all clients are gone", || {
            shards.stat("client_connections") == 0
        });
        let stats = Stats::of(&shards.proxy);
        let sum = |part: fn(&Sent) -> u64| all.iter().map(part).sum::<u64>();
        for (name, expected) in [
            ("client_requests", sum(|sent| sent.requests)),
            ("fragments", sum(|sent| sent.parts)),
            ("forward_error", sum(|sent| sent.errors)),
            ("latency_count", sum(|sent| sent.forwarded)),
            ("protocol_errors", 0),
            ("slow_requests", 0),
        ] {
            assert_eq!(
                stats.pool("alpha", name),
                expected,
                "{name}, {workers} workers"
            );
        }
        assert_eq!(commands(&stats), sum(|sent| sent.requests));
        for (class, per_client) in [("unknown", 1), ("refused", 1), ("list", 3)] {
            let name = format!("commands_{class}");
            assert_eq!(stats.pool("alpha", &name), 7 * per_client, "{name}");
        }
        let mut total = 0;
        for (index, server) in shards.servers.iter().enumerate() {
            let name = format!("server{}", index + 1);
            let of = |metric: &str| stats.server("alpha", &name, metric);
            let requests = of("requests");
            for metric in ["responses", "latency_count"] {
                assert_eq!(of(metric), requests, "{name} {metric}");
            }
            assert_eq!(executed(server), requests, "{name} by its own count");
            for metric in ["failed", "rejected", "resent", "server_err"] {
                assert_eq!(of(metric), 0, "{name} {metric}");
            }
            assert!(of("latency_p50_us") <= of("latency_p99_us"));
            assert!(of("latency_p99_us") <= of("latency_p999_us"));
            assert!(of("latency_p999_us") <= of("latency_max_us"));
            assert!(of("latency_max_us") > 0 && of("latency_sum_us") > 0);
            total += requests;
        }
        assert_eq!(total, sum(Sent::at_servers), "{workers} workers");
        all_gauges_are_zero(&shards);
    }
}

#[track_caller]
fn all_gauges_are_zero(shards: &Shards) {
    for server in 0..shards.servers.len() {
        for gauge in GAUGES {
            eventually(gauge, || shards.server_stat(server, gauge) == 0);
        }
    }
    eventually("nothing is buffered", || {
        Stats::of(&shards.proxy).process("buffered_bytes") == 0
    });
}

/// Sends without end, now and then leaves without reading, and does not mind errors.
fn trouble(shards: &Shards, n: usize, over: &AtomicBool) {
    let mut round = 0;
    while !over.load(Relaxed) {
        round += 1;
        let mut client = shards.client();
        let mut bytes = Vec::new();
        for at in 0..200 {
            let (a, b) = (shards.key(at % 3, n), shards.key((at + 1) % 3, n));
            bytes.extend(match at % 4 {
                0 => encode(&["MGET", a, b]),
                1 => encode(&["SET", a, &"x".repeat(500)]),
                2 => encode(&["PING"]),
                _ => encode(&["GET", a]),
            });
        }
        client.send(bytes);
        if !(round + n).is_multiple_of(3) {
            client.read_n(200);
        }
    }
}

/// SIGKILL while others look at the server; restarting it buries it.
fn kill(server: &RedisServer) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), Signal::KILL).expect("the child is ours");
}

#[test]
fn gauges_survive_the_death_of_servers_and_clients() {
    let mut shards = Shards::start_with(3, |pool| pool.set("timeout", 2000), &["--workers", "3"]);
    let over = AtomicBool::new(false);
    for victim in 0..3 {
        over.store(false, Relaxed);
        thread::scope(|scope| {
            for n in 0..6 {
                let (shards, over) = (&shards, &over);
                scope.spawn(move || trouble(shards, n, over));
            }
            let before = shards.stat("client_requests");
            eventually("there is load", || {
                shards.stat("client_requests") > before + 2000
            });
            kill(&shards.servers[victim]);
            eventually("its loss is noticed", || {
                shards.server_stat(victim, "failed") > 0
            });
            let stats = Stats::of(&shards.proxy);
            for gauge in GAUGES {
                let value = stats.server("alpha", &format!("server{}", victim + 1), gauge);
                assert!(value < 1 << 40, "{gauge} went below zero: {value}");
            }
            over.store(true, Relaxed);
        });
        shards.servers[victim].restart();
    }
    eventually("all clients are gone", || {
        shards.stat("client_connections") == 0
    });
    all_gauges_are_zero(&shards);
    let stats = Stats::of(&shards.proxy);
    assert_eq!(commands(&stats), stats.pool("alpha", "client_requests"));
    for number in 1..=3 {
        let of = |metric: &str| stats.server("alpha", &format!("server{number}"), metric);
        assert_eq!(
            of("requests"),
            of("responses") + of("failed"),
            "server{number}"
        );
        assert_eq!(of("latency_count"), of("responses"), "server{number}");
        let kinds = ["timeout", "connect", "lost", "no_master", "limit"];
        let errors = kinds.map(|kind| of(&format!("errors_{kind}")));
        assert_eq!(errors.iter().sum::<u64>(), of("failed") + of("rejected"));
        assert!(of("failed") > 0, "server{number}: {errors:?}");
    }
}

#[test]
fn limits_are_counted_by_name_and_shown() {
    let shards = Shards::start_with(
        1,
        |pool| {
            let pool = pool
                .set("max_arguments", 10)
                .set("max_request_bytes", "2kb");
            pool.set("client_pending_limit", 4)
                .set("client_connections", 3)
        },
        &["--max-memory", "64M"],
    );
    let mut keeper = shards.client();
    assert_eq!(keeper.cmd(&["PING"]), Value::Simple("PONG".into()));
    for (request, limit) in [
        ("*11\r\n".to_owned(), "max_arguments_hit"),
        (
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000\r\n".to_owned(),
            "max_request_bytes_hit",
        ),
        (
            format!(
                "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000\r\n{}\r\n*2\r\n$1000\r\n{}\r\n$2000\r\n",
                "x".repeat(2000),
                "y".repeat(1000)
            ),
            "max_request_bytes_hit",
        ),
    ] {
        let before = shards.stat(limit);
        let mut client = shards.client();
        client.send(request);
        client.read_to_end();
        assert_eq!(shards.stat(limit), before + 1, "{limit}");
    }
    assert_eq!(shards.stat("protocol_errors"), 3);
    // What is malformed went beyond no limit.
    let mut client = shards.client();
    client.send("*1\r\nx");
    client.read_to_end();
    assert_eq!(shards.stat("protocol_errors"), 4);
    assert_eq!(
        shards.stat("max_arguments_hit") + shards.stat("max_request_bytes_hit"),
        3
    );

    shards.servers[0].pause();
    keeper.send(encode(&["GET", "k"]).repeat(10));
    eventually("it is paused", || {
        shards.stat("client_pending_limit_hit") > 0
    });
    assert_eq!(
        shards.stat("client_pending_limit_hit"),
        shards.stat("client_paused")
    );
    shards.servers[0].resume();
    keeper.read_n(10);

    eventually("the others are gone", || {
        shards.stat("client_connections") == 1
    });
    let mut clients = Vec::new();
    eventually("one is refused", || {
        let mut client = shards.client();
        client.send(encode(&["PING"]));
        let refused = client.read().is_error();
        clients.push(client);
        refused
    });
    assert_eq!(shards.stat("client_connections_hit"), 1);
    assert_eq!(
        (shards.stat("client_refused"), shards.stat("open_files_hit")),
        (1, 0)
    );

    let stats = Stats::of(&shards.proxy);
    assert_eq!(stats.process("memory_limit_bytes"), 64 << 20);
    assert!(stats.process("resident_bytes") > 1 << 20);
    assert!(stats.process("open_files_limit") >= 256);
}

/// `tests/stats/agents.py` reads the port the way the agents do that were made for nutcracker.
#[test]
fn agents_made_for_nutcracker_read_it() {
    let shards = Shards::start(2);
    let mut client: Client = shards.client();
    for _ in 0..5 {
        assert_eq!(client.cmd(&["SET", shards.key(1, 0), "v"]), Value::ok());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stats/agents.py");
    let (host, port) = shards.proxy.stats_addr();
    let output = Command::new("python3")
        .args([script, host, &port.to_string()])
        .output()
        .expect("python3 starts; tests/run.sh installs it");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{complaint}");
    for line in [
        "alpha.server2.requests 5",
        "alpha.server2.responses 5",
        "alpha.server1.requests 0",
        "alpha.client_connections 1",
        "alpha.commands_string 5",
        "alpha.server2.latency_count 5",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in\n{text}"
        );
    }
}
