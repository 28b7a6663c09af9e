//! Random pools, and keys that reach into their corners.

use nuthatch::distribution::Distribution;

use super::backends::{Address, Backends};

const KEYS: usize = 200;
/// Every pool of a layout connects to every server of it; this keeps them below the usual 1024 open files.
const MAX_SERVERS: usize = 28;

#[derive(Debug)]
pub struct Layout {
    /// The items of the `servers:` list.
    pub lines: Vec<String>,
    /// The number of the backend behind each line, `None` if it is dead.
    pub backends: Vec<Option<usize>>,
    pub hash_tag: Option<String>,
    pub distributions: &'static [Distribution],
}

impl Layout {
    /// Everybody lives.
    pub fn random(rng: &mut fastrand::Rng, backends: &Backends) -> Layout {
        let most = if rng.u8(..4) == 0 { MAX_SERVERS } else { 8 };
        let count = rng.usize(1..=most);
        let chosen = choose(rng, &backends.live, count);
        Layout::of(
            rng,
            chosen
                .map(|(number, address)| (Some(number), address))
                .collect(),
        )
    }

    /// Some are dead, not all.
    pub fn with_dead(rng: &mut fastrand::Rng, backends: &Backends) -> Layout {
        let (live, dead) = (rng.usize(1..=5), rng.usize(1..=3));
        let live =
            choose(rng, &backends.live, live).map(|(number, address)| (Some(number), address));
        let dead = choose(rng, &backends.dead, dead).map(|(_, address)| (None, address));
        let mut chosen: Vec<_> = live.chain(dead).collect();
        rng.shuffle(&mut chosen);
        Layout::of(rng, chosen)
    }

    fn of(rng: &mut fastrand::Rng, servers: Vec<(Option<usize>, &Address)>) -> Layout {
        // nutcracker has a table entry for every unit of weight under modula, so not for the huge ones. Their
        // sum stays below 2^32, where it would wrap.
        let huge = (u32::MAX / servers.len() as u32).min(i32::MAX as u32);
        let (weights, distributions) = match rng.u8(..8) {
            0..2 => (1..=1, BOTH),
            2..4 => (1..=9, BOTH),
            4..6 => (1..=5000, BOTH),
            6 => (1..=huge, KETAMA),
            // Differ by less than a float can tell, and get 160 points or 156 by the luck of rounding.
            _ => (huge - 255..=huge, KETAMA),
        };
        let named_in_ten = *rng.choice(&[0, 5, 10]).unwrap();
        let mut names: Vec<String> = Vec::new();
        let mut lines = Vec::new();
        for (_, address) in &servers {
            let weight = rng.u32(weights.clone());
            if rng.u8(..10) < named_in_ten {
                let name = std::iter::repeat_with(|| name(rng))
                    .find(|name| !names.contains(name))
                    .unwrap();
                lines.push(format!("{address}:{weight} {name}"));
                names.push(name);
            } else {
                lines.push(format!("{address}:{weight}"));
            }
        }
        let tagged = rng.bool();
        Layout {
            lines,
            backends: servers.iter().map(|&(number, _)| number).collect(),
            hash_tag: tagged.then(|| [printable(rng), printable(rng)].iter().collect()),
            distributions,
        }
    }

    pub fn keys(&self, rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = (0..KEYS).map(|_| self.key(rng)).collect();
        keys[0].clear();
        keys
    }

    fn key(&self, rng: &mut fastrand::Rng) -> Vec<u8> {
        let length = match rng.u8(..20) {
            0 => rng.usize(..2000),
            1..10 => rng.usize(1..14),
            _ => rng.usize(1..80),
        };
        match rng.u8(..10) {
            // The text of a ring point: with md5 this key's hash is a point.
            0 => {
                let line = rng.choice(&self.lines).unwrap();
                let name = line.rsplit(' ').next().unwrap();
                format!("{name}-{}", rng.u8(..40)).into_bytes()
            }
            1..3 => (0..length).map(|_| rng.u8(0x80..)).collect(),
            3..5 => format!("user:{}:profile", rng.u16(..)).into_bytes(),
            5..8 => self.with_tag_bytes(rng, length),
            _ => (0..length).map(|_| rng.u8(..)).collect(),
        }
    }

    /// One byte in four is one of the tag's.
    fn with_tag_bytes(&self, rng: &mut fastrand::Rng, length: usize) -> Vec<u8> {
        let tag = self.hash_tag.as_deref().unwrap_or("{}").as_bytes();
        (0..length)
            .map(|_| match rng.usize(..8) {
                i @ 0..2 => tag[i],
                _ => rng.u8(..),
            })
            .collect()
    }
}

const BOTH: &[Distribution] = &[Distribution::Ketama, Distribution::Modula];
const KETAMA: &[Distribution] = &[Distribution::Ketama];

/// `count` different ones with their numbers.
fn choose<'a>(
    rng: &mut fastrand::Rng,
    from: &'a [Address],
    count: usize,
) -> impl Iterator<Item = (usize, &'a Address)> + use<'a> {
    rng.choose_multiple(from.iter().enumerate(), count)
        .into_iter()
}

fn name(rng: &mut fastrand::Rng) -> String {
    match rng.u8(..10) {
        0..4 => format!("server{}", rng.u8(..)),
        // Around the length at which the text of a ring point is cut.
        4 => (0..rng.usize(265..280))
            .map(|_| rng.alphanumeric())
            .collect(),
        5..7 => (0..rng.usize(1..6))
            .map(|_| *rng.choice(&['a', 'é', 'ÿ', '日', '🦅']).unwrap())
            .collect(),
        _ => (0..rng.usize(1..20)).map(|_| printable(rng)).collect(),
    }
}

/// Visible ASCII: no space, which ends a server's address.
fn printable(rng: &mut fastrand::Rng) -> char {
    rng.char('!'..='~')
}
