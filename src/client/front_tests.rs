//! Every split of every stream, every interleaving, must give each client the replies a single Redis would
//! have given.

use super::world_tests::{NOW, Store, World, execute, request};
use crate::backend::Cause;
use crate::client::Step;

fn random_command(random: &mut fastrand::Rng, client: usize) -> Vec<Vec<u8>> {
    let key = |random: &mut fastrand::Rng| format!("c{client}:{}", random.u8(..12)).into_bytes();
    let value = |random: &mut fastrand::Rng| {
        let len = match random.u8(..20) {
            0 => random.usize(..90_000),
            1 => random.usize(..9_000),
            _ => random.usize(..30),
        };
        std::iter::repeat_with(|| random.u8(..))
            .take(len)
            .collect::<Vec<u8>>()
    };
    let word = |text: &str| text.as_bytes().to_vec();
    let n = random.usize(1..8);
    match random.u8(..14) {
        0..3 => vec![word("SET"), key(random), value(random)],
        3..5 => vec![word("get"), key(random)],
        5 => [vec![word("MGET")], (0..n).map(|_| key(random)).collect()].concat(),
        6 => {
            let pairs = (0..n).flat_map(|_| [key(random), value(random)]).collect();
            [vec![word("mset")], pairs].concat()
        }
        7 => [vec![word("DEL")], (0..n).map(|_| key(random)).collect()].concat(),
        8 => [vec![word("exists")], (0..n).map(|_| key(random)).collect()].concat(),
        9 => vec![word("echo"), value(random)],
        10 => vec![word("PING")],
        11 => {
            let keys = (0..n).map(|_| key(random)).collect();
            [vec![word("JSON.mget")], keys, vec![value(random)]].concat()
        }
        12 => {
            let samples = (0..n).flat_map(|_| [key(random), value(random), value(random)]);
            [vec![word("TS.MADD")], samples.collect()].concat()
        }
        _ => match random.bool() {
            true => vec![word("lpush"), key(random), word("x")],
            false => vec![word("nonsense"), word("x")],
        },
    }
}

#[test]
fn every_client_sees_the_replies_of_one_redis_in_order() {
    for seed in 0..150 {
        let extra = match seed % 3 {
            0 => "",
            1 => "  server_connections: 3\n",
            _ => "  client_pending_limit: 5\n",
        };
        let mut world = World::new(extra, seed);
        let mut expected = Vec::new();
        let mut inputs = Vec::new();
        for client in 0..3 {
            let (mut store, mut input, mut output) = (Store::new(), Vec::new(), Vec::new());
            for _ in 0..world.random.usize(1..60) {
                let command = random_command(&mut world.random, client);
                input.extend(request(&command));
                execute(&mut store, &command, &mut output);
            }
            inputs.push((world.open(), input, 0));
            expected.push(output);
        }
        while inputs.iter().any(|(_, input, at)| at < &input.len()) {
            let which = world.random.usize(..3);
            let (id, input, at) = &mut inputs[which];
            let rest = &input[*at..];
            let n = match world.random.u8(..4) {
                0 => rest.len().min(1),
                1 => rest.len(),
                _ => world.random.usize(..=rest.len().min(300)),
            };
            *at += n;
            world.feed(*id, &rest[..n]);
            if world.random.bool() {
                world.turn();
            }
        }
        world.settle();
        for ((id, ..), want) in inputs.iter().zip(&expected) {
            // Ends with a pause that is over: the machine may still hold requests.
            loop {
                let step = world.front.step(*id, &|| NOW);
                if !world.turn() {
                    let reads = matches!(step, Step::Read | Step::ReadOwn);
                    assert!(reads, "seed {seed}: stuck");
                    break;
                }
            }
            assert!(
                world.received[id] == *want,
                "seed {seed}: client {id} differs"
            );
            assert_eq!(
                world.front.clients.table[*id as usize].pipeline.pending(),
                0
            );
        }
        world.front.enforce_memory();
        assert_eq!(world.front.clients.buffered, 0, "seed {seed}");
        assert_eq!(world.front.backends().retained(), 0, "seed {seed}");
    }
}

#[test]
fn malformed_input_is_answered_after_the_replies_before_it_at_any_split() {
    let cases: [(&[u8], &str); 9] = [
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF after a bulk string"),
        (b"set \"a\r\n", "unbalanced quotes in request"),
        (b"*1\rx", "expected CRLF after a bulk string"),
    ];
    for (bad, reason) in cases {
        let input = [
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nping\r\n",
            bad,
            b"*1\r\n$4\r\nPING\r\n",
        ]
        .concat();
        for first in 0..input.len() {
            let mut world = World::new("", first as u64);
            let id = world.open();
            world.feed(id, &input[..first]);
            world.feed(id, &input[first..]);
            world.settle();
            let want = format!(r"$-1\r\n+PONG\r\n-ERR Protocol error: {reason}\r\n");
            let want = want.replace('\'', r"\'").replace('"', "\\\"");
            assert_eq!(world.text(id), want, "split at {first}");
            assert_eq!(world.front.step(id, &|| NOW), Step::Finish);
        }
    }
}

#[test]
fn arbitrary_bytes_are_survived_and_mean_the_same_at_any_split() {
    let alphabet: &[&[u8]] = &[
        b"*",
        b"$",
        b"1",
        b"2",
        b"3",
        b"\r\n",
        b"\n",
        b"GET",
        b"ping",
        b" ",
        b"\"",
        b"x",
        b"\0",
        b"-",
        b"*1\r\n$4\r\nPING\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    ];
    for seed in 0..600 {
        let mut random = fastrand::Rng::with_seed(seed);
        let input: Vec<u8> = (0..random.usize(1..30))
            .flat_map(|_| alphabet[random.usize(..alphabet.len())].to_vec())
            .collect();
        let mut whole = World::new("", seed);
        let id = whole.open();
        whole.feed(id, &input);
        whole.settle();
        let mut split = World::new("", seed);
        let id = split.open();
        input.iter().for_each(|byte| split.feed(id, &[*byte]));
        split.settle();
        assert_eq!(whole.text(id), split.text(id), "{}", input.escape_ascii());
    }
}

#[test]
fn a_lost_connection_fails_what_was_sent_and_resends_the_rest() {
    let mut world = World::new("", 1);
    let id = world.open();
    let key = |n: u8| format!("key{n}").into_bytes();
    world.feed(id, &request(&[b"set".to_vec(), key(1), b"v".to_vec()]));
    world.settle();
    // Two more to the same server: one is written, one is not.
    let set = request(&[b"set".to_vec(), key(1), b"w".to_vec()]);
    let get = request(&[b"get".to_vec(), key(1)]);
    world.feed(id, &set);
    let (connection, _) = world
        .wires
        .iter()
        .next()
        .map(|(id, wire)| (*id, wire.port))
        .unwrap();
    world
        .front
        .flush_backend(connection, |slices| Ok(slices[0].len()))
        .unwrap();
    world.feed(id, &get);
    world
        .front
        .handle_backend_closed(connection, Cause::Closed, NOW);
    world.settle();
    assert_eq!(
        world.text(id),
        r"+OK\r\n-ERR Connection closed by the server: server 127.0.0.1:7002; the command may or may not have been applied\r\n$1\r\nv\r\n"
            .replace("7002", &world.wires.values().next().unwrap().port.to_string())
    );
}

#[test]
fn only_a_large_reply_that_breaks_off_closes_the_client() {
    // From 8 KB on a reply leaves as it comes.
    for (pieces, next) in [
        (vec![&b"$"[..]], Step::Read),
        (vec![b"$100000\r\nabc"], Step::Read),
        (vec![b"$100000\r\n", &[b'v'; 8000]], Step::Read),
        (vec![b"$100000\r\n", &[b'v'; 8 * 1024]], Step::Abort),
        (
            vec![b"$100000\r\n", &[b'v'; 8000], &[b'v'; 200]],
            Step::Abort,
        ),
        (vec![&[b'+'; 8 * 1024 - 1]], Step::Read),
        (vec![&[b'+'; 8 * 1024 - 1], b"x"], Step::Abort),
    ] {
        let mut world = World::new("", 1);
        let id = world.open();
        world.feed(id, &request(&[b"get".to_vec(), b"k".to_vec()]));
        for id in world.front.backends().take_opening() {
            world.front.backends().handle_connected(id);
            world
                .front
                .flush_backend(id, |slices| Ok(slices[0].len()))
                .unwrap();
            for piece in &pieces {
                let read = [world.front.backends().partial(id), piece].concat();
                assert!(world.front.handle_backend_bytes(id, &read, NOW));
            }
            world.front.handle_backend_closed(id, Cause::Closed, NOW);
        }
        assert_eq!(world.front.step(id, &|| NOW), next, "{pieces:?}");
        if next == Step::Read {
            world.settle();
            let text = world.text(id);
            assert!(
                text.starts_with("-ERR Connection closed by the server: server 127.0.0.1:"),
                "{text}"
            );
        }
    }
}

#[test]
fn half_a_header_is_no_begun_reply() {
    let mut world = World::new("", 1);
    let id = world.open();
    world.feed(id, &request(&[b"get".to_vec(), b"k".to_vec()]));
    for id in world.front.backends().take_opening() {
        world.front.backends().handle_connected(id);
        world
            .front
            .flush_backend(id, |slices| Ok(slices[0].len()))
            .unwrap();
        assert!(world.front.handle_backend_bytes(id, b"$1", NOW));
        world.front.handle_backend_closed(id, Cause::Closed, NOW);
    }
    world.settle();
    assert!(world.text(id).starts_with("-ERR Connection closed"));
    assert_eq!(world.front.step(id, &|| NOW), Step::Read);
}

#[test]
fn a_client_that_does_not_read_is_paused_and_then_closed() {
    let mut world = World::new("  client_output_limit: 100k\n", 1);
    let id = world.open();
    let set = request(&[b"set".to_vec(), b"k".to_vec(), vec![b'v'; 40_000]]);
    let get = request(&[b"get".to_vec(), b"k".to_vec()]);
    world.feed(
        id,
        &[set, get.clone(), get.clone(), get.clone(), get].concat(),
    );
    let mut connections = Vec::new();
    for id in world.front.backends().take_opening() {
        world.front.backends().handle_connected(id);
        connections.push(id);
    }
    let reply = [&b"$40000\r\n"[..], &[b'v'; 40_000], b"\r\n"].concat();
    let connection = connections[0];
    world
        .front
        .flush_backend(connection, |s| Ok(s.iter().map(|s| s.len()).sum()))
        .unwrap();
    assert!(
        world
            .front
            .handle_backend_bytes(connection, b"+OK\r\n", NOW)
    );
    assert!(world.front.handle_backend_bytes(connection, &reply, NOW));
    assert!(world.front.handle_backend_bytes(connection, &reply, NOW));
    world.feed(id, b"PING\r\n");
    assert_eq!(
        world.front.step(id, &|| NOW),
        Step::Wait,
        "80 KB of 100 KB wait"
    );
    assert!(world.front.handle_backend_bytes(connection, &reply, NOW));
    assert_eq!(world.front.step(id, &|| NOW), Step::Abort, "120 KB wait");
}

#[test]
fn hello_waits_for_the_replies_of_the_old_protocol() {
    let mut world = World::new("", 3);
    let id = world.open();
    let input = [
        request(&[b"get".to_vec(), b"a".to_vec()]),
        request(&[b"hello".to_vec(), b"3".to_vec()]),
        request(&[b"get".to_vec(), b"a".to_vec()]),
    ]
    .concat();
    world.feed(id, &input);
    assert_eq!(world.front.step(id, &|| NOW), Step::Wait);
    world.settle();
    assert_eq!(world.front.step(id, &|| NOW), Step::Read);
    world.settle();
    let text = world.text(id);
    assert!(text.starts_with(r"$-1\r\n%7\r\n$6\r\nserver\r\n"), "{text}");
    assert!(text.ends_with(r"*0\r\n$-1\r\n"), "{text}");
    let versions: Vec<_> = (world.wires.keys())
        .map(|id| world.front.backends.plan(*id).unwrap().kind.resp as u8)
        .collect();
    assert_eq!(versions.len(), 2, "one connection per protocol version");
    assert_ne!(versions[0], versions[1]);
}

/// A world in which client `n` of three holds `n` times 10 KB of unfinished requests.
fn holding_world(limit: usize) -> (World, Vec<crate::client::ClientId>) {
    let mut world = World::with_memory("", 1, limit);
    let ids: Vec<_> = (0..3).map(|_| world.open()).collect();
    for (id, n) in ids.iter().zip(1..) {
        let begun = format!("*2\r\n$3\r\nGET\r\n$100000\r\n{}", "x".repeat(n * 10_000));
        world.feed(*id, begun.as_bytes());
    }
    (world, ids)
}

#[test]
fn no_more_clients_than_needed_are_closed_for_memory() {
    let (mut world, ids) = holding_world(50_000);
    for _ in 0..3 {
        // The tasks of those chosen may take a while to close them.
        world.front.enforce_memory();
    }
    let steps = ids.iter().map(|id| world.front.step(*id, &|| NOW));
    let alive: Vec<_> = steps.map(|step| step != Step::Abort).collect();
    assert_eq!(alive, [true, true, false]);
    world.front.close(ids[2], false);
    world.front.enforce_memory();
    assert_ne!(world.front.step(ids[1], &|| NOW), Step::Abort);
}

#[test]
fn who_asked_not_to_be_evicted_goes_last() {
    let (mut world, ids) = holding_world(55_000);
    for id in &ids[1..] {
        let session = &mut world.front.clients.table[*id as usize].session;
        session.about().no_evict = true;
    }
    world.front.enforce_memory();
    let mut alive = |ids: &[crate::client::ClientId]| -> Vec<bool> {
        let steps = ids.iter().map(|id| world.front.step(*id, &|| NOW));
        steps.map(|step| step != Step::Abort).collect()
    };
    assert_eq!(alive(&ids), [false, true, true]);
    world.front.close(ids[0], false);
    // The limit holds for all the same.
    let begun = format!("*2\r\n$3\r\nGET\r\n$100000\r\n{}", "x".repeat(20_000));
    let fourth = world.open();
    world.front.clients.table[fourth as usize]
        .session
        .about()
        .no_evict = true;
    world.feed(fourth, begun.as_bytes());
    world.front.enforce_memory();
    let steps = [ids[1], ids[2], fourth].map(|id| world.front.step(id, &|| NOW));
    assert_eq!(steps[1], Step::Abort);
    assert_ne!((&steps[0], &steps[2]), (&Step::Abort, &Step::Abort));
}

#[test]
fn what_a_client_did_counts_though_it_leaves_before_its_replies() {
    let mut world = World::new("", 1);
    let id = world.open();
    world.feed(id, &request(&[b"get".to_vec(), b"k".to_vec()]));
    for connection in world.front.backends().take_opening() {
        world
            .front
            .handle_backend_closed(connection, Cause::Refused, NOW);
    }
    world.front.close(id, false);
    assert_eq!(world.stats.pools[0].forward_error.get(), 1);
}

#[test]
fn a_small_remainder_does_not_keep_a_large_requests_memory() {
    let mut world = World::new("", 1);
    let id = world.open();
    let set = request(&[b"set".to_vec(), b"k".to_vec(), vec![b'v'; 200_000]]);
    world.feed(id, &set[..100_000]);
    assert_eq!(world.front.step(id, &|| NOW), Step::ReadOwn);
    let own = world.front.own_input(id);
    own.extend_from_slice(&set[100_000..]);
    own.extend_from_slice(b"*2\r\n$3\r\n");
    world.front.handle_own_input(id, NOW);
    world.settle();
    assert_eq!(world.text(id), r"+OK\r\n");
    let input = &mut world.front.clients.table[id as usize].input;
    assert_eq!(input.len(), 8);
    assert!(
        !input.try_reclaim(100_000),
        "it still has the request's memory"
    );
}

#[test]
fn who_sends_large_requests_reads_into_its_own_memory_and_keeps_none() {
    let mut world = World::new("", 1);
    let id = world.open();
    let large = request(&[b"set".to_vec(), b"k".to_vec(), vec![b'v'; 100_000]]);
    world.feed(id, &large);
    world.settle();
    assert_eq!(world.front.step(id, &|| NOW), Step::ReadOwn);
    assert!(world.front.own_input(id).capacity() >= large.len());
    // Nothing came.
    world.front.release_input(id);
    let input = |world: &World| world.front.clients.table[id as usize].input.capacity();
    assert_eq!(input(&world), 0);
    assert_eq!(world.front.step(id, &|| NOW), Step::ReadOwn);
    world
        .front
        .own_input(id)
        .extend_from_slice(b"*2\r\n$3\r\nget\r\n$1\r\nx\r\n");
    world.front.handle_own_input(id, NOW);
    world.settle();
    assert_eq!(world.text(id), r"+OK\r\n$-1\r\n");
    assert_eq!(world.front.step(id, &|| NOW), Step::Read);
    assert_eq!(input(&world), 0);
}

#[test]
fn a_server_that_hangs_leaves_memory_for_the_others() {
    // Requests to servers may take 100 KB.
    let mut world = World::with_memory("", 1, 200_000);
    let ids = [world.open(), world.open()];
    let key_of = |world: &mut World, server: u16| {
        let keys = (0..).map(|n| format!("key{n}").into_bytes());
        let mut there = keys.filter(|key| world.front.backends.route(0, key).ok() == Some(server));
        there.next().unwrap()
    };
    let (hung, well) = (key_of(&mut world, 0), key_of(&mut world, 1));
    let set = |key: &[u8]| request(&[b"set".to_vec(), key.to_vec(), vec![b'v'; 1_000]]);
    // No turn: nothing is answered.
    for _ in 0..90 {
        world.feed(ids[0], &set(&hung));
    }
    let refused = world.stats.pools[0].servers[0].rejected.get();
    assert!((35..=45).contains(&refused), "{refused} of 90 were refused");
    for _ in 0..20 {
        world.feed(ids[1], &set(&well));
    }
    assert_eq!(world.stats.pools[0].servers[1].rejected.get(), 0);
}

#[test]
fn what_was_scanned_of_a_request_is_not_scanned_again() {
    let mut world = World::new("", 1);
    let id = world.open();
    let scanner = |world: &World| world.front.clients.table[id as usize].scanner.is_some();
    world.feed(id, b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1");
    assert!(scanner(&world), "where it stands is kept");
    world.feed(id, b"\r\nv\r\n");
    assert!(!scanner(&world), "nothing is kept between requests");
    world.settle();
    assert_eq!(world.text(id), r"+OK\r\n");
}
