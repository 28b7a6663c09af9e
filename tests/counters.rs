//! The counters against what was really done, and clients spread over workers.

mod support;

use std::collections::BTreeMap;

use support::{Client, Shards, Stats, Value, encode, eventually};

fn sum(shards: &Shards, name: &str) -> u64 {
    (0..shards.servers.len())
        .map(|server| shards.server_stat(server, name))
        .sum()
}

/// Server, request and reply of what is forwarded.
type Part<'a> = (usize, &'a [&'a str], &'a str);

#[test]
fn every_request_and_reply_is_counted_once() {
    let shards = Shards::start(2);
    let (a, b) = (shards.key(0, 0), shards.key(1, 0));
    let total = Stats::of(&shards.proxy).process("total_connections");
    let mut client = shards.client();
    // Per server: requests and their bytes, replies and their bytes.
    let mut expected = [[0usize; 4]; 2];
    let mut forwarded = |server: usize, request: &[&str], reply: &str| {
        let counts = [1, encode(request).len(), 1, reply.len()];
        expected[server]
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    };
    let steps: &[(&[&str], &[Part])] = &[
        (&["SET", a, "one"], &[(0, &["SET", a, "one"], "+OK\r\n")]),
        (&["get", b], &[(1, &["get", b], "$-1\r\n")]),
        (
            &["LPUSH", a, "x"],
            &[(
                0,
                &["LPUSH", a, "x"],
                "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
            )],
        ),
        (
            &["MGET", a, b, a],
            &[
                (0, &["MGET", a, a], "*2\r\n$3\r\none\r\n$3\r\none\r\n"),
                (1, &["MGET", b], "*1\r\n$-1\r\n"),
            ],
        ),
        (
            &["MSET", b, "2", a, "1"],
            &[
                (0, &["MSET", a, "1"], "+OK\r\n"),
                (1, &["MSET", b, "2"], "+OK\r\n"),
            ],
        ),
        (&["DEL", a, a], &[(0, &["DEL", a, a], ":1\r\n")]),
        (&["PING"], &[]),
        (&["ECHO", "e"], &[]),
        (&["NOPE"], &[]),
        (&["RENAME", a, b], &[]),
        (&["MSET", a], &[]),
        (&["SELECT", "7"], &[]),
    ];
    for (request, parts) in steps {
        client.cmd(request);
        parts
            .iter()
            .for_each(|(server, request, reply)| forwarded(*server, request, reply));
    }
    // An inline request is forwarded in its other form; what is none counts as none.
    client.send(format!("\r\n*0\r\n  \n*-1\r\nGET {b}\r\n"));
    assert_eq!(client.read(), Value::bulk("2"));
    forwarded(1, &["GET", b], "$1\r\n2\r\n");
    for (server, expected) in expected.iter().enumerate() {
        let names = ["requests", "request_bytes", "responses", "response_bytes"];
        let counted = names.map(|name| shards.server_stat(server, name) as usize);
        assert_eq!(&counted, expected, "server{}: {names:?}", server + 1);
        for (name, value) in [
            ("server_connections", 1),
            ("in_queue", 0),
            ("in_queue_bytes", 0),
            ("out_queue", 0),
            ("out_queue_bytes", 0),
            ("server_eof", 0),
            ("server_err", 0),
            ("server_timedout", 0),
        ] {
            assert_eq!(
                shards.server_stat(server, name),
                value,
                "server{} {name}",
                server + 1
            );
        }
    }
    assert_eq!(shards.stat("client_requests"), steps.len() as u64 + 1);
    assert_eq!(shards.stat("fragments"), 4);
    // NOPE, RENAME across servers, MSET without a value, another database.
    assert_eq!(shards.stat("forward_error"), 4);
    assert_eq!(shards.stat("client_connections"), 1);
    let stats = Stats::of(&shards.proxy);
    // The listener, the client, two servers.
    assert_eq!(stats.process("curr_connections"), 4);
    assert_eq!(stats.process("total_connections"), total + 3);
    drop(client);
    eventually("the client is gone", || {
        shards.stat("client_connections") == 0
    });
    assert_eq!(
        (shards.stat("client_eof"), shards.stat("client_err")),
        (1, 0)
    );
    assert_eq!(Stats::of(&shards.proxy).process("curr_connections"), 3);
}

#[test]
fn queues_are_gauged_while_a_server_is_silent_and_its_loss_is_counted() {
    let mut shards = Shards::start(2);
    let mut client = shards.client();
    assert_eq!(client.cmd(&["SET", shards.key(0, 0), "v"]), Value::ok());
    shards.servers[0].pause();
    let get = encode(&["GET", shards.key(0, 0)]);
    client.send(get.repeat(20));
    eventually("they are on their way", || {
        shards.server_stat(0, "out_queue") == 20
    });
    assert_eq!(
        shards.server_stat(0, "out_queue_bytes"),
        20 * get.len() as u64
    );
    assert_eq!(
        (
            shards.server_stat(0, "in_queue"),
            shards.server_stat(1, "out_queue")
        ),
        (0, 0)
    );
    shards.servers[0].kill();
    for reply in client.read_n(20) {
        assert!(reply.error().starts_with("ERR Connection "), "{reply:?}");
    }
    eventually("nothing is queued", || {
        sum(&shards, "out_queue") + sum(&shards, "in_queue") == 0
    });
    assert_eq!(
        sum(&shards, "out_queue_bytes") + sum(&shards, "in_queue_bytes"),
        0
    );
    assert_eq!(shards.stat("forward_error"), 20);
    assert_eq!(sum(&shards, "server_eof") + sum(&shards, "server_err"), 1);
    assert_eq!(shards.server_stat(0, "requests"), 21);
    assert_eq!(shards.server_stat(0, "responses"), 1);
    assert_eq!(shards.stat("client_requests"), 21);
}

/// How many of the clients talk to the server over each of its connections, as the server itself sees it.
fn spread(shards: &Shards, clients: &mut [Client]) -> Vec<usize> {
    let mut monitor = shards.servers[0].client();
    assert_eq!(monitor.cmd(&["MONITOR"]), Value::ok());
    let mut by_address = BTreeMap::<String, usize>::new();
    for client in clients {
        client.cmd(&["INCR", "spread"]);
        let Value::Simple(line) = monitor.read() else {
            panic!("no line")
        };
        let address = line.split(['[', ']']).nth(1).expect("[db address]");
        *by_address.entry(address.to_owned()).or_default() += 1;
    }
    by_address.into_values().collect()
}

#[test]
fn few_clients_are_spread_evenly_over_workers() {
    let shards = Shards::start_with(1, |pool| pool, &["--workers", "2"]);
    assert_eq!(Stats::of(&shards.proxy).process("workers"), 2);
    let mut clients: Vec<Client> = (0..4).map(|_| shards.client()).collect();
    assert_eq!(spread(&shards, &mut clients), [2, 2]);
    assert_eq!(shards.server_stat(0, "server_connections"), 2);
    // Whoever leaves, those who come fill the gap.
    for leaving in [[0, 1], [1, 3], [2, 3]] {
        for (n, at) in leaving.into_iter().enumerate() {
            clients.remove(at - n);
        }
        eventually("they are gone", || shards.stat("client_connections") == 2);
        while clients.len() < 4 {
            clients.push(shards.client());
            // Taken in before the next one comes.
            assert!(
                !clients
                    .last_mut()
                    .expect("just pushed")
                    .cmd(&["PING"])
                    .is_error()
            );
        }
        assert_eq!(
            spread(&shards, &mut clients),
            [2, 2],
            "after {leaving:?} left"
        );
    }
}

#[test]
fn order_is_kept_for_every_client_of_every_worker() {
    let shards = Shards::start_with(
        3,
        |pool| pool.set("server_connections", 2),
        &["--workers", "2"],
    );
    let requests = 3000;
    std::thread::scope(|scope| {
        for id in 0..8 {
            let mut client = shards.client();
            scope.spawn(move || {
                let mut bytes = Vec::new();
                for n in 0..requests {
                    let key = format!("{id}:{}", n % 50);
                    bytes.extend(match n % 3 {
                        0 => encode(&["APPEND", &key, "x"]),
                        1 => encode(&["STRLEN", &key]),
                        _ => encode(&["EXISTS", &key, &format!("{id}:0"), "none"]),
                    });
                }
                client.send(bytes);
                let mut lengths = [0; 50];
                for n in 0..requests {
                    let key = n % 50;
                    let expected = match n % 3 {
                        0 => {
                            lengths[key] += 1;
                            lengths[key]
                        }
                        1 => lengths[key],
                        _ => 1 + i64::from(lengths[key] > 0),
                    };
                    assert_eq!(
                        client.read(),
                        Value::Int(expected),
                        "client {id}, request {n}"
                    );
                }
            });
        }
    });
    eventually("all are gone", || shards.stat("client_connections") == 0);
    assert_eq!(shards.stat("client_requests"), 8 * requests as u64);
    assert_eq!(sum(&shards, "requests"), sum(&shards, "responses"));
    // Two lanes of two workers.
    assert_eq!(sum(&shards, "server_connections"), 3 * 2 * 2);
}
