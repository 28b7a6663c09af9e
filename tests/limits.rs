//! Clients that ask for more than they take, send more than fits, or are too many: bounded, counted, and
//! without effect on others.

mod support;

use std::io::Write;

use support::{Client, NoReply, Shards, Stats, Value, encode, eventually};

const MEGABYTE: usize = 1 << 20;

/// Bytes in the proxy's buffers, by its own count.
fn buffered(shards: &Shards) -> usize {
    Stats::of(&shards.proxy).process("buffered_bytes") as usize
}

/// The most memory the proxy ever had, in bytes.
fn peak_memory(shards: &Shards) -> usize {
    memory(shards, "VmHWM:")
}

fn memory(shards: &Shards, what: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", shards.proxy.pid()))
        .expect("the proxy runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(what))
        .expect(what);
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect(line);
    kilobytes << 10
}

/// Puts a value of a megabyte on the first server; answers it.
fn put_megabyte(shards: &Shards) -> Vec<u8> {
    let value: Vec<u8> = (0..MEGABYTE).map(|n| (n * 7 / 3) as u8).collect();
    let request = [b"SET".as_slice(), shards.key(0, 0).as_bytes(), &value];
    assert_eq!(shards.client().cmd(&request), Value::ok());
    value
}

/// Reads until the connection ends; answers how many replies came before.
fn count_replies(client: &mut Client) -> usize {
    let mut count = 0;
    loop {
        match client.try_read() {
            Ok(_) => count += 1,
            Err(NoReply::Closed) => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_then_gets_all() {
    let shards = Shards::start_with(1, |pool| pool.set("client_output_limit", "16mb"), &[]);
    let value = put_megabyte(&shards);
    let mut client = shards.slow_client();
    let mut neighbour = shards.client();
    let get = encode(&["GET", shards.key(0, 0)]);
    let before = shards.stat("client_requests");
    let mut sent = 0;
    // One by one, until no more are taken.
    while shards.stat("client_paused") == 0 {
        assert!(sent < 60, "60 MB and no pause");
        client.send(&get);
        sent += 1;
        eventually("it is answered, or not read", || {
            shards.server_stat(0, "responses") == 1 + sent || shards.stat("client_paused") == 1
        });
    }
    // As many more as fit below the limit when it is read from again.
    client.send(get.repeat(6));
    let asked = sent + 6;
    let length = Value::Int(value.len() as i64);
    assert_eq!(neighbour.cmd(&["STRLEN", shards.key(0, 0)]), length);
    assert!(shards.stat("client_requests") < before + asked);
    let held = buffered(&shards);
    assert!((8 * MEGABYTE..16 * MEGABYTE).contains(&held), "{held}");
    for n in 0..asked {
        assert!(client.read() == Value::bulk(&value), "reply {n}");
    }
    assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
    eventually("nothing is kept", || buffered(&shards) == 0);
    assert_eq!(shards.stat("output_limit_closed"), 0);
    assert!(
        peak_memory(&shards) < 48 * MEGABYTE,
        "{}",
        peak_memory(&shards)
    );
}

#[test]
fn a_client_that_leaves_too_much_unread_is_closed_and_nobody_else() {
    let shards = Shards::start_with(2, |pool| pool.set("client_output_limit", "8mb"), &[]);
    let value = put_megabyte(&shards);
    let (key, other) = (shards.key(0, 0), shards.key(1, 0));
    let mut neighbour = shards.client();
    let get = encode(&["GET", key]);
    // All asked for before the first answer, in turn and out of turn.
    for first in [&get, &encode(&["GET", other])] {
        let closed = shards.stat("output_limit_closed");
        shards.servers[1].pause();
        let mut client = shards.slow_client();
        client.send([&first[..], &get.repeat(150)].concat());
        for _ in 0..20 {
            assert!(neighbour.cmd(&["GET", key]) == Value::bulk(&value));
        }
        eventually("it is closed", || {
            shards.stat("output_limit_closed") == closed + 1
        });
        shards.servers[1].resume();
        assert!(
            count_replies(&mut client) < 20,
            "what was in the socket only"
        );
        assert_eq!(neighbour.cmd(&["GET", other]), Value::Nil);
        eventually("it is gone", || shards.stat("client_connections") == 1);
    }
    eventually("nothing is kept", || buffered(&shards) == 0);
    assert!(
        peak_memory(&shards) < 48 * MEGABYTE,
        "{}",
        peak_memory(&shards)
    );
    assert_eq!(
        shards.server_stat(0, "server_eof") + shards.server_stat(0, "server_err"),
        0
    );
    assert!(
        shards
            .proxy
            .log()
            .contains("closed: unread replies exceed client_output_limit")
    );
}

#[test]
fn local_replies_count_as_unread_too() {
    let shards = Shards::start_with(1, |pool| pool.set("client_output_limit", "1mb"), &[]);
    let mut client = shards.slow_client();
    let echo = encode(&["ECHO", &"x".repeat(100_000)]);
    let mut sender = client.stream().try_clone().expect("a second handle");
    let all = echo.repeat(200);
    let sending = std::thread::spawn(move || sender.write_all(&all));
    eventually("the client is paused", || shards.stat("client_paused") > 0);
    assert!(buffered(&shards) < 2 * MEGABYTE, "{}", buffered(&shards));
    for _ in 0..200 {
        assert_eq!(client.read(), Value::bulk("x".repeat(100_000)));
    }
    sending
        .join()
        .expect("no panic")
        .expect("the proxy takes all");
}

#[test]
fn only_so_many_requests_of_a_client_wait() {
    let shards = Shards::start_with(2, |pool| pool.set("client_pending_limit", 100), &[]);
    let (mut client, mut neighbour) = (shards.client(), shards.client());
    shards.servers[0].pause();
    let before = shards.stat("client_requests");
    let mut bytes = Vec::new();
    for n in 0..5000 {
        bytes.extend(encode(&["INCR", shards.key(n % 2, 0)]));
    }
    client.send(&bytes);
    eventually("a hundred are taken", || {
        shards.stat("client_requests") == before + 100
    });
    for _ in 0..10 {
        assert!(!neighbour.cmd(&["INCR", shards.key(1, 1)]).is_error());
    }
    assert_eq!(shards.stat("client_requests"), before + 110);
    assert_eq!(shards.stat("client_paused"), 1);
    shards.servers[0].resume();
    for n in 0..5000 {
        assert_eq!(client.read(), Value::Int(n / 2 + 1));
    }
}

#[test]
fn only_so_many_clients_are_let_in() {
    let shards = Shards::start_with(
        1,
        |pool| pool.set("client_connections", 3),
        &["--workers", "2"],
    );
    let mut clients: Vec<Client> = (0..3).map(|_| shards.client()).collect();
    for client in &mut clients {
        assert!(!client.cmd(&["INCR", "n"]).is_error());
    }
    for refused in 1..=3 {
        let mut late = shards.client();
        assert_eq!(late.read().error(), "ERR max number of clients reached");
        late.expect_closed();
        assert_eq!(shards.stat("client_refused"), refused);
    }
    for client in &mut clients {
        assert!(!client.cmd(&["INCR", "n"]).is_error());
    }
    assert_eq!(shards.stat("client_connections"), 3);
    drop(clients.pop());
    eventually("a place is free", || {
        let mut client = shards.client();
        client.send(encode(&["INCR", "n"]));
        let let_in = matches!(client.try_read(), Ok(Value::Int(_)));
        clients.push(client);
        let_in
    });
}

#[test]
fn when_memory_is_short_the_client_that_holds_most_goes() {
    let shards = Shards::start_with(1, |pool| pool, &["--max-memory", "48M", "--workers", "1"]);
    let value = put_megabyte(&shards);
    let get = encode(&["GET", shards.key(0, 0)]);
    let mut small = shards.slow_client();
    small.send(get.repeat(15));
    eventually("its replies are there", || {
        shards.server_stat(0, "responses") == 16
    });
    let kept = buffered(&shards);
    assert!(kept > 8 * MEGABYTE, "{kept}");
    let mut large = shards.slow_client();
    large.send(get.repeat(200));
    eventually("the larger one is closed", || {
        shards.stat("output_limit_closed") == 1
    });
    assert!(
        count_replies(&mut large) < 20,
        "what was in the socket only"
    );
    assert_eq!(
        shards.client().cmd(&["EXISTS", shards.key(0, 0)]),
        Value::Int(1)
    );
    for _ in 0..15 {
        assert!(small.read() == Value::bulk(&value));
    }
    eventually("nothing is kept", || buffered(&shards) == 0);
    assert_eq!(shards.stat("output_limit_closed"), 1);
    assert!(
        peak_memory(&shards) < 96 * MEGABYTE,
        "{}",
        peak_memory(&shards)
    );
    assert!(
        shards
            .proxy
            .log()
            .contains("closed: it held most when the memory limit was reached")
    );
}

#[test]
fn a_request_that_does_not_fit_into_memory_is_not_taken_in() {
    let shards = Shards::start_with(1, |pool| pool, &["--max-memory", "32M", "--workers", "1"]);
    let mut neighbour = shards.client();
    let mut client = shards.client();
    client.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n");
    let piece = vec![b'x'; MEGABYTE];
    let taken = (0..512).find(|_| client.stream().write_all(&piece).is_err());
    assert!(taken.is_some(), "all of it was taken");
    client.expect_closed();
    assert_eq!(shards.stat("output_limit_closed"), 1);
    assert_eq!(neighbour.cmd(&["EXISTS", "k"]), Value::Int(0));
    assert!(
        peak_memory(&shards) < 96 * MEGABYTE,
        "{}",
        peak_memory(&shards)
    );
}

#[test]
fn requests_for_a_server_that_takes_none_are_bounded() {
    let shards = Shards::start_with(2, |pool| pool, &["--max-memory", "32M", "--workers", "1"]);
    let mut client = shards.client();
    let mut neighbour = shards.client();
    assert_eq!(client.cmd(&["SET", shards.key(0, 0), "v"]), Value::ok());
    shards.servers[0].pause();
    let value = "v".repeat(MEGABYTE);
    let mut sender = client.stream().try_clone().expect("a second handle");
    let mut requests = Vec::new();
    let count: usize = 80;
    for n in 0..count {
        // The tag keeps them on the server.
        let key = format!("{{{}}}{n}", shards.key(0, 0));
        requests.extend(encode(&["SET", &key, &value]));
    }
    let before = shards.stat("client_requests");
    let sending = std::thread::spawn(move || sender.write_all(&requests));
    eventually("all are taken", || {
        shards.stat("client_requests") == before + count as u64
    });
    sending
        .join()
        .expect("no panic")
        .expect("the proxy takes all");
    // Half of the limit is for requests to servers, and no server gets more than it leaves to the others.
    assert!(buffered(&shards) < 20 * MEGABYTE, "{}", buffered(&shards));
    assert_eq!(neighbour.cmd(&["PING"]), Value::Simple("PONG".into()));
    let elsewhere = shards.key(1, 0);
    assert_eq!(neighbour.cmd(&["SET", elsewhere, "v"]), Value::ok());
    shards.servers[0].resume();
    let replies = client.read_n(count);
    let stored = replies
        .iter()
        .take_while(|reply| **reply == Value::ok())
        .count();
    assert!((7..12).contains(&stored), "{stored}");
    for reply in &replies[stored..] {
        let expected = format!(
            "ERR Out of memory: too much is waiting to be sent: server {} (server1)",
            shards.servers[0].addr()
        );
        assert_eq!(reply.error(), expected);
    }
    let held = shards.servers[0].client().cmd(&["DBSIZE"]);
    assert_eq!(held, Value::Int(1 + stored as i64));
    assert_eq!(shards.stat("forward_error"), (count - stored) as u64);
    assert!(
        peak_memory(&shards) < 96 * MEGABYTE,
        "{}",
        peak_memory(&shards)
    );
}

#[test]
fn memory_goes_back_when_what_needed_it_has_gone() {
    const COUNT: usize = 60;
    let shards = Shards::start(1);
    let value = put_megabyte(&shards);
    let start = memory(&shards, "VmRSS:");
    let mut client = shards.client();
    for _ in 0..COUNT {
        client.send(encode(&["GET", shards.key(0, 0)]));
    }
    // It does not read yet.
    eventually("replies wait", || {
        memory(&shards, "VmRSS:") > start + COUNT / 2 * MEGABYTE
    });
    for _ in 0..COUNT {
        assert!(client.read() == Value::bulk(&value));
    }
    eventually("it goes back", || {
        memory(&shards, "VmRSS:") < start + 8 * MEGABYTE
    });
}

/// What the allocator keeps beyond what is in use comes and goes with every round, by up to a few megabytes;
/// what clients hold is there after each of them. The least of some rounds is mostly the latter.
const ROUNDS: usize = 5;

#[test]
fn idle_clients_hold_little_whatever_they_did() {
    let shards = Shards::start(1);
    let value = "v".repeat(100_000);
    let busy = |client: &mut Client| {
        assert_eq!(client.cmd(&["SET", "k", &value]), Value::ok());
        let replies =
            client.pipeline(&[["GET", "k"].as_slice(), &["PING"], &["MGET", "k", "none"]]);
        assert_eq!(replies[0], Value::bulk(&value));
    };
    // With all of them idle again.
    let least_memory = |clients: &mut [Client]| {
        let rounds = (0..ROUNDS).map(|_| {
            clients.iter_mut().for_each(busy);
            eventually("nothing is kept", || buffered(&shards) == 0);
            memory(&shards, "VmRSS:")
        });
        rounds.min().expect("there are rounds")
    };
    let mut clients: Vec<Client> = (0..50).map(|_| shards.client()).collect();
    // Also brings the memory that all clients share to its size.
    let before = least_memory(&mut clients);
    clients.extend((0..400).map(|_| shards.client()));
    let grown = least_memory(&mut clients).saturating_sub(before);
    assert!(grown < 400 * 8 * 1024, "{grown} bytes for 400 more");
}
