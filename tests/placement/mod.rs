//! A pool that does nothing but place keys, set up from `servers:` items as a configuration has them.

use nuthatch::distribution::{Distribution, Member, Ring};
use nuthatch::hash::{Hash, HashTag};

pub struct Pool {
    hash: Hash,
    tag: Option<HashTag>,
    ring: Ring,
    /// A pool of one sends every key there, unhashed.
    single: bool,
}

impl Pool {
    /// `ejected` holds positions in `lines`.
    pub fn new(
        lines: &[String],
        hash: Hash,
        distribution: Distribution,
        tag: Option<&str>,
        ejected: &[usize],
    ) -> Pool {
        let mut servers: Vec<(usize, String, u32)> = lines
            .iter()
            .map(|line| name_and_weight(line))
            .enumerate()
            .map(|(position, (name, weight))| (position, name, weight))
            .collect();
        servers.sort_by(|(_, a, _), (_, b, _)| (a.len(), a).cmp(&(b.len(), b)));
        let live: Vec<Member> = servers
            .iter()
            .filter(|(position, ..)| !ejected.contains(position))
            .map(|&(position, ref name, weight)| Member {
                name,
                weight,
                index: position as u16,
            })
            .collect();
        Pool {
            hash,
            tag: tag.map(|tag| match *tag.as_bytes() {
                [open, close] => HashTag { open, close },
                _ => panic!("{tag:?} is not a hash tag"),
            }),
            ring: Ring::build(distribution, &live),
            single: lines.len() == 1,
        }
    }

    /// The position of `key`'s server in the list of lines.
    pub fn place(&self, key: &[u8]) -> usize {
        if self.single {
            return 0;
        }
        let part = self.tag.map_or(key, |tag| tag.part(key));
        let hash = if part.is_empty() {
            0
        } else {
            self.hash.hash(part)
        };
        let index = self.ring.pick(hash, || unreachable!("nothing is random"));
        index.expect("a live server").into()
    }
}

/// `HOST:PORT:WEIGHT [NAME]` or `/PATH:WEIGHT [NAME]`, read from the right.
fn name_and_weight(line: &str) -> (String, u32) {
    let (server, name) = match line.rsplit_once(' ') {
        Some((server, name)) => (server, Some(name)),
        None => (line, None),
    };
    let (address, weight) = server.rsplit_once(':').expect("a weight");
    let name = match (name, address.strip_suffix(":11211")) {
        (Some(name), _) => name.to_string(),
        (None, _) if address.starts_with('/') => format!("{address}:"),
        (None, Some(host)) => host.to_string(),
        (None, None) => address.to_string(),
    };
    (name, weight.parse().expect("a number"))
}
