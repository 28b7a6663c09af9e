//! Subscribers and publishers in a simulated world: whatever is split, lost or late, messages come between
//! replies, to those who have subscribed, once, and nothing is forgotten.

use std::collections::{HashMap, HashSet};

use super::world_tests::{NOW, World};
use super::{ClientId, Now, State};
use crate::backend::Cause;
use crate::protocol::redis::reply::ReplyScanner;
use crate::protocol::redis::write;

const CHANNELS: u8 = 6;
/// They match channels that end so.
const PATTERNS: [&str; 3] = ["*", "*1", "?2"];

fn encode(words: &[&str]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    super::world_tests::request(&words)
}

fn matches(pattern: &str, channel: &str) -> bool {
    channel.ends_with(&pattern[1..])
}

/// A client, what it has asked for and what it is to get.
struct Peer {
    id: ClientId,
    three: bool,
    /// Subscribed to by all that was sent.
    names: HashSet<(bool, String)>,
    /// Frames that are no messages, in order; `None` is any integer.
    expected: Vec<Option<Vec<u8>>>,
}

impl Peer {
    fn new(world: &mut World) -> Peer {
        let id = world.open();
        let three = world.random.bool();
        if three {
            world.feed(id, &encode(&["HELLO", "3"]));
            world.settle();
            world.received.get_mut(&id).unwrap().clear();
        }
        Peer {
            id,
            three,
            names: HashSet::new(),
            expected: Vec::new(),
        }
    }

    fn confirm(&mut self, word: &str, name: Option<&str>) {
        let mut frame = match self.three {
            true => b">3\r\n".to_vec(),
            false => b"*3\r\n".to_vec(),
        };
        write::bulk(&mut frame, word.as_bytes());
        match (name, self.three) {
            (Some(name), _) => write::bulk(&mut frame, name.as_bytes()),
            (None, true) => frame.extend(b"_\r\n"),
            (None, false) => frame.extend(b"$-1\r\n"),
        }
        write::integer(&mut frame, self.names.len() as i64);
        self.expected.push(Some(frame));
    }

    fn subscribe(&mut self, pattern: bool, names: &[String]) -> Vec<u8> {
        let word = if pattern { "psubscribe" } else { "subscribe" };
        let mut words = vec![word];
        for name in names {
            words.push(name);
            self.names.insert((pattern, name.clone()));
            self.confirm(word, Some(name));
        }
        encode(&words)
    }

    fn unsubscribe(&mut self, pattern: bool, names: &[String]) -> Vec<u8> {
        let word = ["unsubscribe", "punsubscribe"][usize::from(pattern)];
        let mut words = vec![word];
        for name in names {
            words.push(name);
            self.names.remove(&(pattern, name.clone()));
            self.confirm(word, Some(name));
        }
        encode(&words)
    }

    /// The next request.
    fn request(&mut self, random: &mut fastrand::Rng, payload: &str) -> Vec<u8> {
        let channel = |random: &mut fastrand::Rng| format!("c{}", random.u8(..CHANNELS));
        let pattern = random.u8(..4) == 0;
        let names: Vec<String> = (0..random.usize(1..4))
            .map(|_| match pattern {
                true => PATTERNS[random.usize(..3)].to_owned(),
                false => channel(random),
            })
            .collect();
        match random.u8(..10) {
            0..3 => self.subscribe(pattern, &names),
            3..5 => self.unsubscribe(pattern, &names),
            _ if !self.three && !self.names.is_empty() => {
                self.expected
                    .push(Some(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec()));
                encode(&["PING"])
            }
            5..8 => {
                self.expected.push(None);
                encode(&["PUBLISH", &channel(random), payload])
            }
            8 => {
                self.expected.push(Some(b"$-1\r\n".to_vec()));
                encode(&["GET", &format!("k{}", random.u8(..))])
            }
            _ => {
                self.expected.push(Some(b"*2\r\n$-1\r\n$-1\r\n".to_vec()));
                encode(&["MGET", "k1", &format!("k{}", random.u8(2..))])
            }
        }
    }

    /// Looks through what it has got: replies as expected, messages of what it had confirmation of, no
    /// message twice. Answers how often each payload came.
    fn check(&self, world: &World, seed: u64) -> HashMap<String, usize> {
        let mut rest = &world.received[&self.id][..];
        let mut expected = self.expected.iter();
        let mut names: HashSet<(bool, String)> = HashSet::new();
        let mut seen = HashSet::new();
        let mut counts = HashMap::new();
        let mut scanner = ReplyScanner::default();
        while !rest.is_empty() {
            let piece = scanner.scan(rest).expect("a stream of frames");
            let whole = rest[..piece.len].escape_ascii().to_string();
            assert!(piece.end, "seed {seed}: half a frame: {whole}");
            let words = strings(&rest[..piece.len]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let frame = &rest[..piece.len];
            rest = &rest[piece.len..];
            match words[..] {
                ["message", channel, payload] => {
                    let name = (false, channel.to_owned());
                    assert!(
                        names.contains(&name),
                        "seed {seed}: not subscribed: {whole}"
                    );
                    assert!(seen.insert(whole.clone()), "seed {seed}: twice: {whole}");
                    *counts.entry(payload.to_owned()).or_default() += 1;
                }
                ["pmessage", pattern, channel, payload] => {
                    let name = (true, pattern.to_owned());
                    assert!(
                        names.contains(&name),
                        "seed {seed}: not subscribed: {whole}"
                    );
                    assert!(matches(pattern, channel), "seed {seed}: {whole}");
                    assert!(seen.insert(whole.clone()), "seed {seed}: twice: {whole}");
                    *counts.entry(payload.to_owned()).or_default() += 1;
                }
                _ => {
                    match words[..] {
                        ["subscribe", name] => drop(names.insert((false, name.to_owned()))),
                        ["psubscribe", name] => drop(names.insert((true, name.to_owned()))),
                        ["unsubscribe", name] => drop(names.remove(&(false, name.to_owned()))),
                        ["punsubscribe", name] => drop(names.remove(&(true, name.to_owned()))),
                        _ => {}
                    }
                    let Some(wanted) = expected.next() else {
                        panic!("seed {seed}: nothing more is due: {whole}");
                    };
                    match wanted {
                        Some(wanted) => {
                            let wanted = wanted.escape_ascii().to_string();
                            let null = wanted.replace("$-1", "_");
                            assert!(
                                whole == wanted || whole == null,
                                "seed {seed}: {whole}, not {wanted}"
                            );
                        }
                        None => assert_eq!(frame[0], b':', "seed {seed}: {whole}"),
                    }
                }
            }
        }
        assert_eq!(expected.next(), None, "seed {seed}: not answered");
        counts
    }
}

/// The bulk strings of a frame without nesting.
fn strings(frame: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    let mut lines = frame.split(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        if line.starts_with(b"$") && line != b"$-1\r" {
            let text = lines.next().expect("its bytes");
            strings.push(String::from_utf8_lossy(text).trim_end().to_owned());
        }
    }
    strings
}

/// Messages sent when all is quiet come to all who have subscribed, once for each way they did.
fn probe(world: &mut World, peers: &[Peer], seed: u64) {
    let publisher = world.open();
    for channel in 0..CHANNELS {
        let channel = format!("c{channel}");
        let payload = format!("probe-{channel}");
        world.feed(publisher, &encode(&["PUBLISH", &channel, &payload]));
    }
    world.settle();
    let mut audience = 0;
    for peer in peers {
        let counts = peer.check(world, seed);
        for channel in 0..CHANNELS {
            let channel = format!("c{channel}");
            let hears = |(pattern, name): &&(bool, String)| match pattern {
                true => matches(name, &channel),
                false => *name == channel,
            };
            let wanted = peer.names.iter().filter(hears).count();
            let got = counts.get(&format!("probe-{channel}")).copied();
            assert_eq!(got.unwrap_or(0), wanted, "seed {seed}: {channel}");
            audience += wanted;
        }
    }
    let replies = String::from_utf8_lossy(&world.received[&publisher]).into_owned();
    let counted = replies.split_whitespace().map(|n| n[1..].parse::<usize>());
    assert_eq!(
        counted.map(Result::unwrap).sum::<usize>(),
        audience,
        "seed {seed}"
    );
}

#[test]
fn messages_come_between_replies_to_those_who_subscribed() {
    for seed in 0..120 {
        let mut world = World::new("", seed);
        let mut peers: Vec<Peer> = (0..4).map(|_| Peer::new(&mut world)).collect();
        for n in 0..60 {
            let peer = world.random.usize(..peers.len());
            let peer = &mut peers[peer];
            let large = "x".repeat([0, 0, 0, 9_000, 40_000][world.random.usize(..5)]);
            let request = peer.request(&mut world.random, &format!("{n}{large}"));
            world.feed(peer.id, &request);
            for _ in 0..world.random.usize(..6) {
                world.turn();
            }
        }
        // What waits behind a pause goes on.
        loop {
            world.settle();
            for peer in &peers {
                world.front.step(peer.id, &|| NOW);
            }
            let table = &world.front.clients.table;
            if (peers.iter()).all(|peer| table[peer.id as usize].input.is_empty()) {
                break;
            }
        }
        world.settle();
        probe(&mut world, &peers, seed);
        for peer in peers {
            world.front.close(peer.id, true);
        }
        world.settle();
        assert!(world.front.is_idle());
    }
}

#[test]
fn subscriptions_outlive_connections() {
    for seed in 0..120 {
        let mut world = World::new("", seed);
        let mut peers: Vec<Peer> = (0..3).map(|_| Peer::new(&mut world)).collect();
        let mut publisher = Peer::new(&mut world);
        for n in 0..12 {
            let peer = world.random.usize(..peers.len());
            let peer = &mut peers[peer];
            let names = [format!("c{}", world.random.u8(..CHANNELS))];
            let patterns = [PATTERNS[world.random.usize(..3)].to_owned()];
            let request = match n % 4 {
                0 => peer.subscribe(true, &patterns),
                3 => peer.unsubscribe(false, &names),
                _ => peer.subscribe(false, &names),
            };
            world.feed(peer.id, &request);
            world.settle();
        }
        // Far from the time at which everything else happens here.
        let mut clock = 10_000_000;
        for n in 0..200 {
            clock += 30_000;
            if world.random.u8(..4) == 0 {
                let mut ids: Vec<_> = world.wires.keys().copied().collect();
                ids.sort_unstable();
                if !ids.is_empty() {
                    let id = ids[world.random.usize(..ids.len())];
                    world.wires.remove(&id);
                    (world.front).handle_backend_closed(id, Cause::Closed, Now::new(clock));
                }
            }
            let channel = format!("c{}", world.random.u8(..CHANNELS));
            publisher.expected.push(None);
            let publish = encode(&["PUBLISH", &channel, &n.to_string()]);
            world.feed(publisher.id, &publish);
            for _ in 0..world.random.usize(..5) {
                world.turn();
            }
            world.front.tick(Now::new(clock));
        }
        for _ in 0..100 {
            clock += 30_000;
            world.settle();
            world.front.tick(Now::new(clock));
        }
        world.settle();
        for peer in &peers {
            let state = world.front.clients.table[peer.id as usize].state;
            assert_eq!(state, State::Open, "seed {seed}");
        }
        probe(&mut world, &peers, seed);
    }
}
