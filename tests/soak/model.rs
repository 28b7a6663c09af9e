//! What one client's keys may hold, and the verdict on each reply. No sockets, no clock.
//!
//! Only this client writes its keys, so after a reply a key's value is known exactly; it becomes a set of
//! possible values when a write was answered with an error (applied or not) and when its server lost its
//! data (then nil is possible as well).

use std::collections::HashMap;

use crate::support::Value;
use crate::world::{TAGS, World};

/// Keys of one client that hold text, and after them those that hold counters.
pub const TEXT_KEYS: usize = 24;
pub const KEYS: usize = 32;

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Nil,
    /// The text a client wrote: `seq` says when, so that no two texts of a client are alike.
    Text {
        seq: u64,
        len: usize,
    },
    Count(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Get(usize),
    Set(usize, Content),
    Mget(Vec<usize>),
    Mset(Vec<(usize, Content)>),
    /// Keys are distinct.
    Del(Vec<usize>),
    Exists(Vec<usize>),
    Incr(usize),
    Echo(Vec<u8>),
    Ping,
    PingWith(Vec<u8>),
    Multi,
    /// Within a transaction.
    Queued(Box<Op>),
    /// What was queued before, all for one server.
    Exec(Vec<Op>),
    /// One element for a list of its own, on the server of this key.
    Push(usize, u64),
    /// Takes it out again, and waits for it if it is not there yet.
    Pop(usize, u64),
    /// Must be answered with an error and leave the connection usable.
    Refused(Vec<Vec<u8>>),
}

impl Op {
    pub fn keys(&self) -> Vec<usize> {
        match self {
            Op::Get(key) | Op::Set(key, _) | Op::Incr(key) => vec![*key],
            Op::Mget(keys) | Op::Del(keys) | Op::Exists(keys) => keys.clone(),
            Op::Mset(pairs) => pairs.iter().map(|pair| pair.0).collect(),
            Op::Push(key, _) | Op::Pop(key, _) => vec![*key],
            Op::Queued(op) => op.keys(),
            Op::Exec(ops) => ops.iter().flat_map(Op::keys).collect(),
            Op::Echo(_) | Op::Ping | Op::PingWith(_) | Op::Multi | Op::Refused(_) => Vec::new(),
        }
    }
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    pub op: Op,
    /// On the world's clock.
    sent: u64,
    /// For each key of the request how often its server had lost its data when it was sent.
    losses: Vec<u64>,
}

/// An accepted reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Answered,
    /// An error because a server failed.
    Failed,
}

#[derive(Clone, Debug)]
struct Key {
    possible: Vec<Content>,
    /// The server's losses when `possible` was last known to be all there is.
    losses: u64,
}

#[derive(Debug)]
pub struct Model<'w> {
    client: u64,
    /// Part of the key names: a client that left requests behind starts over with new keys, because
    /// those requests may be executed any time later.
    generation: u64,
    keys: Vec<Key>,
    /// Elements that are in their lists, and how often the server had lost its data by then.
    pushed: HashMap<u64, u64>,
    world: &'w World,
}

impl<'w> Model<'w> {
    pub fn new(client: u64, generation: u64, world: &'w World) -> Model<'w> {
        let fresh = |key| Key {
            possible: vec![Content::Nil],
            losses: world.losses(tag(client, key)),
        };
        Model {
            client,
            generation,
            keys: (0..KEYS).map(fresh).collect(),
            pushed: HashMap::new(),
            world,
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn key_name(&self, key: usize) -> Vec<u8> {
        format!(
            "{{t{}}}c{}.g{}.k{key}",
            tag(self.client, key),
            self.client,
            self.generation
        )
        .into_bytes()
    }

    /// `None`: that is not known.
    pub fn is_there(&self, key: usize) -> Option<bool> {
        match self.candidates(key)[..] {
            [Content::Nil] => Some(false),
            [_] => Some(true),
            _ => None,
        }
    }

    /// The keys on the server of `key`.
    pub fn neighbours(&self, key: usize) -> Vec<usize> {
        let owner = |key| self.world.owner(tag(self.client, key));
        (0..KEYS)
            .filter(|&other| owner(other) == owner(key))
            .collect()
    }

    pub fn list_name(&self, key: usize, seq: u64) -> Vec<u8> {
        let mut name = self.key_name(key);
        name.extend(format!(".list{seq}").bytes());
        name
    }

    pub fn element(&self, seq: u64) -> Vec<u8> {
        format!("e:{}:{seq}", self.client).into_bytes()
    }

    /// To be called before the request's first byte is sent.
    pub fn request(&self, op: Op) -> Request {
        let losses = op
            .keys()
            .iter()
            .map(|&key| self.world.losses(tag(self.client, key)))
            .collect();
        Request {
            op,
            sent: self.world.now(),
            losses,
        }
    }

    /// The bytes a content is sent as.
    pub fn bytes(&self, content: Content) -> Vec<u8> {
        match content {
            Content::Nil => Vec::new(),
            Content::Count(n) => n.to_string().into_bytes(),
            Content::Text { seq, len } => text(self.client, seq, len),
        }
    }

    /// Judges the reply to the oldest unanswered request and remembers what it tells.
    ///
    /// # Errors
    /// What is wrong with the reply.
    pub fn settle(&mut self, request: &Request, reply: &Value) -> Result<Verdict, String> {
        self.judge(request, reply).map_err(|why| {
            let names: Vec<_> = request
                .op
                .keys()
                .iter()
                .map(|&k| String::from_utf8_lossy(&self.key_name(k)).into_owned())
                .collect();
            format!(
                "{why}\n  request {:?} {names:?}\n  reply {reply:?}",
                request.op
            )
        })
    }

    fn judge(&mut self, request: &Request, reply: &Value) -> Result<Verdict, String> {
        if let Op::Refused(_) = request.op {
            return if reply.is_error() {
                Ok(Verdict::Answered)
            } else {
                Err("not refused".into())
            };
        }
        if reply.is_error() {
            return self.judge_error(request, reply.error());
        }
        match (&request.op, reply) {
            (Op::Get(key), _) => self.read(*key, request.losses[0], reply)?,
            (Op::Set(key, content), _) if *reply == Value::ok() => {
                self.know(*key, *content, request.losses[0]);
            }
            (Op::Mget(keys), Value::Array(items)) if items.len() == keys.len() => {
                for ((&key, item), &losses) in keys.iter().zip(items).zip(&request.losses) {
                    self.read(key, losses, item)?;
                }
            }
            (Op::Mset(pairs), _) if *reply == Value::ok() => {
                for (&(key, content), &losses) in pairs.iter().zip(&request.losses) {
                    self.know(key, content, losses);
                }
            }
            (Op::Del(keys), Value::Int(n)) => {
                self.count(keys, *n)?;
                for (&key, &losses) in keys.iter().zip(&request.losses) {
                    self.know(key, Content::Nil, losses);
                }
            }
            (Op::Exists(keys), Value::Int(n)) => self.count(keys, *n)?,
            (Op::Incr(key), Value::Int(n)) => {
                let before = |content: &Content| match content {
                    Content::Nil => *n == 1,
                    Content::Count(old) => old + 1 == *n,
                    Content::Text { .. } => false,
                };
                let candidates = self.candidates(*key);
                if !candidates.iter().any(before) {
                    return Err(format!("a counter out of step with {candidates:?}"));
                }
                self.know(*key, Content::Count(*n), request.losses[0]);
            }
            (Op::Echo(payload) | Op::PingWith(payload), Value::Bulk(body)) if body == payload => {}
            (Op::Ping, Value::Simple(text)) if text == "PONG" => {}
            (Op::Multi, _) if *reply == Value::ok() => {}
            (Op::Queued(_), Value::Simple(text)) if text == "QUEUED" => {}
            (Op::Exec(ops), Value::Array(replies)) if ops.len() == replies.len() => {
                let mut losses = request.losses.iter().copied();
                for (op, reply) in ops.iter().zip(replies) {
                    let inner = Request {
                        losses: losses.by_ref().take(op.keys().len()).collect(),
                        op: op.clone(),
                        sent: request.sent,
                    };
                    self.judge(&inner, reply)?;
                }
            }
            (Op::Push(_, seq), Value::Int(1)) => {
                self.pushed.insert(*seq, request.losses[0]);
            }
            (Op::Pop(key, seq), Value::Array(found)) => {
                let expected = [self.list_name(*key, *seq), self.element(*seq)];
                if *found != expected.map(Value::Bulk) {
                    return Err("another list's element".into());
                }
                self.pushed.remove(seq);
            }
            (Op::Pop(key, seq), Value::Nil) => {
                let lost = self.world.losses(tag(self.client, *key));
                if self.pushed.remove(seq).is_some_and(|losses| losses == lost) {
                    return Err("an element is lost".into());
                }
            }
            _ => return Err("not the reply of this request".into()),
        }
        Ok(Verdict::Answered)
    }

    fn judge_error(&mut self, request: &Request, error: &str) -> Result<Verdict, String> {
        let keys = request.op.keys();
        if !keys
            .iter()
            .any(|&key| self.world.may_fail(tag(self.client, key), request.sent))
        {
            return Err("an error though no server of it failed".into());
        }
        match &request.op {
            // It says that nothing was executed.
            Op::Exec(_) if error.starts_with("EXECABORT ") => {}
            op => self.doubt(op),
        }
        Ok(Verdict::Failed)
    }

    /// It may have been executed, or not.
    fn doubt(&mut self, op: &Op) {
        match op {
            Op::Exec(ops) => ops.iter().for_each(|op| self.doubt(op)),
            Op::Set(key, content) => self.maybe(*key, *content),
            Op::Mset(pairs) => pairs
                .iter()
                .for_each(|&(key, content)| self.maybe(key, content)),
            Op::Del(keys) => keys.iter().for_each(|&key| self.maybe(key, Content::Nil)),
            Op::Incr(key) => {
                for content in self.candidates(*key) {
                    match content {
                        Content::Nil => self.maybe(*key, Content::Count(1)),
                        Content::Count(n) => self.maybe(*key, Content::Count(n + 1)),
                        Content::Text { .. } => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Everything a key may hold by now.
    fn candidates(&self, key: usize) -> Vec<Content> {
        let Key { possible, losses } = &self.keys[key];
        let mut candidates = possible.clone();
        if *losses != self.world.losses(tag(self.client, key))
            && !candidates.contains(&Content::Nil)
        {
            candidates.push(Content::Nil);
        }
        candidates
    }

    fn read(&mut self, key: usize, losses: u64, reply: &Value) -> Result<(), String> {
        let candidates = self.candidates(key);
        let found = candidates.iter().find(|&&content| match (content, reply) {
            (Content::Nil, Value::Nil) => true,
            (Content::Nil, _) | (_, Value::Nil) => false,
            (_, Value::Bulk(body)) => *body == self.bytes(content),
            _ => false,
        });
        match found {
            Some(&content) => {
                self.know(key, content, losses);
                Ok(())
            }
            None => Err(format!("key {key} holds one of {candidates:?}")),
        }
    }

    fn count(&self, keys: &[usize], reply: i64) -> Result<(), String> {
        let (mut least, mut most) = (0, 0);
        for &key in keys {
            let candidates = self.candidates(key);
            least += i64::from(!candidates.contains(&Content::Nil));
            most += i64::from(candidates.iter().any(|content| *content != Content::Nil));
        }
        if (least..=most).contains(&reply) {
            Ok(())
        } else {
            Err(format!("between {least} and {most} of the keys exist"))
        }
    }

    fn know(&mut self, key: usize, content: Content, losses: u64) {
        self.keys[key] = Key {
            possible: vec![content],
            losses,
        };
    }

    fn maybe(&mut self, key: usize, content: Content) {
        let possible = &mut self.keys[key].possible;
        if !possible.contains(&content) {
            possible.push(content);
        }
    }
}

/// Clients' keys are spread over all tags, differently for each client.
fn tag(client: u64, key: usize) -> usize {
    let client = usize::try_from(client % TAGS as u64).expect("less than TAGS");
    (client * 7 + key * 5) % TAGS
}

/// Bytes that say whose they are and when they were written, then noise that includes line ends and
/// everything else a careless parser trips over.
fn text(client: u64, seq: u64, len: usize) -> Vec<u8> {
    let mut bytes = format!("v:{client}:{seq}:{len}:").into_bytes();
    let mut random = fastrand::Rng::with_seed(client << 40 ^ seq);
    let start = bytes.len();
    // One block of noise again and again: the tests run unoptimized.
    let noise: [u8; 251] = std::array::from_fn(|_| random.u8(..));
    while bytes.len() < start + len {
        let missing = start + len - bytes.len();
        bytes.extend_from_slice(&noise[..missing.min(noise.len())]);
    }
    if len > 40 {
        bytes[start..start + 12].copy_from_slice(b"\r\n+OK\r\n$-1\r\n");
    }
    bytes
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
