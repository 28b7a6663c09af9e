//! Random requests and how they go out.

use crate::model::{Content, KEYS, Model, Op, TEXT_KEYS};
use crate::support::encode;

/// Makes one client's requests.
#[derive(Debug)]
pub struct Traffic {
    pub random: fastrand::Rng,
    seq: u64,
}

impl Traffic {
    pub fn new(seed: u64) -> Traffic {
        Traffic {
            random: fastrand::Rng::with_seed(seed),
            seq: 0,
        }
    }

    /// How many requests go out before their replies are read.
    pub fn depth(&mut self) -> usize {
        match self.random.u32(..100) {
            0..30 => 1,
            30..70 => self.random.usize(2..16),
            70..96 => self.random.usize(16..128),
            _ => self.random.usize(128..600),
        }
    }

    pub fn op(&mut self) -> Op {
        match self.random.u32(..100) {
            0..28 => Op::Get(self.random.usize(..KEYS)),
            28..50 => Op::Set(self.text_key(), self.text()),
            50..60 => {
                let count = self.random.usize(1..20);
                Op::Mget((0..count).map(|_| self.random.usize(..KEYS)).collect())
            }
            60..68 => {
                let count = self.random.usize(1..12);
                Op::Mset((0..count).map(|_| (self.text_key(), self.text())).collect())
            }
            68..72 => Op::Del(self.distinct_keys()),
            72..76 => {
                let count = self.random.usize(1..10);
                Op::Exists((0..count).map(|_| self.random.usize(..KEYS)).collect())
            }
            76..88 => Op::Incr(self.random.usize(TEXT_KEYS..KEYS)),
            88..92 => Op::Echo(self.payload()),
            92..95 => Op::Ping,
            95..97 => Op::PingWith(self.payload()),
            _ => Op::Refused(self.refused()),
        }
    }

    /// Some requests; `blocking` ones may be among them.
    pub fn ops(&mut self, count: usize, model: &Model, blocking: bool) -> Vec<Op> {
        let mut ops = Vec::new();
        while ops.len() < count {
            match self.random.u32(..100) {
                0..4 => self.transaction(model, &mut ops),
                4..6 if blocking => {
                    let key = self.random.usize(..KEYS);
                    self.seq += 1;
                    ops.extend([Op::Push(key, self.seq), Op::Pop(key, self.seq)]);
                }
                _ => ops.push(self.op()),
            }
        }
        ops
    }

    fn transaction(&mut self, model: &Model, ops: &mut Vec<Op>) {
        let keys = model.neighbours(self.random.usize(..KEYS));
        let count = self.random.usize(1..8);
        let parts: Vec<Op> = (0..count)
            .map(|_| match keys[self.random.usize(..keys.len())] {
                key if key >= TEXT_KEYS => Op::Incr(key),
                key if self.random.bool() => Op::Get(key),
                key => Op::Set(key, self.text()),
            })
            .collect();
        ops.push(Op::Multi);
        ops.extend(parts.iter().cloned().map(|op| Op::Queued(Box::new(op))));
        ops.push(Op::Exec(parts));
    }

    pub fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// A read of many large values, for a client that does not take its replies.
    pub fn heavy_read(&mut self) -> Op {
        Op::Mget((0..TEXT_KEYS).collect())
    }

    fn text_key(&mut self) -> usize {
        self.random.usize(..TEXT_KEYS)
    }

    fn distinct_keys(&mut self) -> Vec<usize> {
        let mut keys: Vec<usize> = (0..KEYS).collect();
        self.random.shuffle(&mut keys);
        keys.truncate(self.random.usize(1..8));
        keys
    }

    fn text(&mut self) -> Content {
        self.seq += 1;
        let len = match self.random.u32(..1000) {
            0..6 => 300_000,
            6..30 => self.random.usize(3_000..20_000),
            30..200 => self.random.usize(100..3_000),
            _ => self.random.usize(..100),
        };
        Content::Text { seq: self.seq, len }
    }

    fn payload(&mut self) -> Vec<u8> {
        self.seq += 1;
        let noise = self.random.usize(..40);
        let mut payload = format!("{}\r\n", self.seq).into_bytes();
        payload.extend((0..noise).map(|_| self.random.u8(..)));
        payload
    }

    fn refused(&mut self) -> Vec<Vec<u8>> {
        let requests: [&[&str]; 5] = [
            &["NOSUCHCOMMAND", "a", "b"],
            &["GET"],
            &["SET", "k"],
            &["MSET", "a", "1", "b"],
            &["INCR", "a", "b"],
        ];
        let request = requests[self.random.usize(..requests.len())];
        request
            .iter()
            .map(|argument| argument.as_bytes().to_vec())
            .collect()
    }
}

/// A request as it goes over the wire.
pub fn wire(op: &Op, model: &Model) -> Vec<u8> {
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    let mut add = |argument: &[u8]| arguments.push(argument.to_vec());
    match op {
        Op::Get(key) => {
            add(b"GET");
            add(&model.key_name(*key));
        }
        Op::Set(key, content) => {
            add(b"SET");
            add(&model.key_name(*key));
            add(&model.bytes(*content));
        }
        Op::Mget(keys) | Op::Del(keys) | Op::Exists(keys) => {
            add(match op {
                Op::Mget(_) => b"MGET".as_slice(),
                Op::Del(_) => b"del",
                _ => b"Exists",
            });
            keys.iter().for_each(|&key| add(&model.key_name(key)));
        }
        Op::Mset(pairs) => {
            add(b"MSET");
            for &(key, content) in pairs {
                add(&model.key_name(key));
                add(&model.bytes(content));
            }
        }
        Op::Incr(key) => {
            add(b"incr");
            add(&model.key_name(*key));
        }
        Op::Echo(payload) => {
            add(b"ECHO");
            add(payload);
        }
        Op::Ping => add(b"PING"),
        Op::PingWith(payload) => {
            add(b"PING");
            add(payload);
        }
        Op::Multi => add(b"MULTI"),
        Op::Queued(op) => return wire(op, model),
        Op::Exec(_) => add(b"EXEC"),
        Op::Push(key, seq) => {
            add(b"RPUSH");
            add(&model.list_name(*key, *seq));
            add(&model.element(*seq));
        }
        Op::Pop(key, seq) => {
            add(b"BLPOP");
            add(&model.list_name(*key, *seq));
            add(b"1");
        }
        Op::Refused(request) => request.iter().for_each(|argument| add(argument)),
    }
    encode(&arguments)
}
