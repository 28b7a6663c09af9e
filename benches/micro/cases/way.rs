//! The whole way of a request without the sockets, and the turnover of reply slots on it.

use super::world::{Answers, Inputs, World, on_one_server};
use super::{Case, get, mget, mset, set};

/// Requests of a round, so that not always the same keys are asked for.
const REQUESTS: usize = 256;
const CLIENTS: usize = 500;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, request) in [("get", get as fn(usize) -> Vec<u8>), ("set", set)] {
        for (depth, at_once) in [("serial", 1), ("16", 16), ("64", 64)] {
            let name = format!("way/{name}/{depth}");
            cases.push(Case::new(name, (REQUESTS, "request"), move || {
                let all: Vec<_> = (0..REQUESTS).map(request).collect();
                run(3, pipelined(&all, at_once), Answers::Forward)
            }));
        }
    }
    for (name, request) in [
        ("mget", mget as fn(usize, usize) -> Vec<u8>),
        ("mset", mset),
    ] {
        for (keys, servers) in [(10, 3), (100, 3), (10, 48), (100, 48)] {
            let name = format!("way/{name}_{keys}/{servers}");
            let requests = 800 / keys;
            cases.push(Case::new(name, (requests * keys, "key"), move || {
                let all: Vec<_> = (0..requests).map(|n| request(n * keys, keys)).collect();
                run(servers, pipelined(&all, 1), Answers::Forward)
            }));
        }
    }
    cases.push(Case::new("way/clients_500", (CLIENTS, "request"), || {
        let inputs = (0..CLIENTS).map(|client| (client, get(client))).collect();
        run(3, vec![inputs], Answers::Forward)
    }));
    cases.extend([1, 16, 64, 1000].map(slots_in_order));
    cases.extend([16, 64, 1000].map(slots_out_of_order));
    cases
}

/// Every reply is the next one that its client wants.
fn slots_in_order(depth: usize) -> Case {
    let name = format!("slots/in_order/{depth}");
    Case::new(name, (depth, "request"), move || {
        let all: Vec<_> = on_one_server(3).take(depth).map(get).collect();
        run(3, pipelined(&all, depth), Answers::Forward)
    })
}

/// Two thirds of the replies have to wait for others.
fn slots_out_of_order(depth: usize) -> Case {
    let name = format!("slots/out_of_order/{depth}");
    Case::new(name, (depth, "request"), move || {
        let all: Vec<_> = (0..depth).map(get).collect();
        run(3, pipelined(&all, depth), Answers::Backward)
    })
}

/// One client that sends so many requests at once.
fn pipelined(requests: &[Vec<u8>], at_once: usize) -> Vec<Inputs> {
    let turns = requests.chunks(at_once);
    turns.map(|turn| vec![(0, turn.concat())]).collect()
}

fn run(servers: usize, turns: Vec<Inputs>, answers: Answers) -> impl FnMut() {
    let mut world = World::new(servers, turns, answers);
    move || world.round()
}
