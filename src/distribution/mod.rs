//! From a hash to a server: twemproxy's ketama, modula and random. Pure.

/// How a pool spreads hashes over its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    Ketama,
    Modula,
    Random,
}

impl Distribution {
    pub const ALL: [Distribution; 3] = [
        Distribution::Ketama,
        Distribution::Modula,
        Distribution::Random,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Distribution::Ketama => "ketama",
            Distribution::Modula => "modula",
            Distribution::Random => "random",
        }
    }

    pub fn from_name(name: &str) -> Option<Distribution> {
        Distribution::ALL.into_iter().find(|d| d.name() == name)
    }
}

/// A live server as the ring sees it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Ring identity, see `config::ServerConfig::name`.
    pub name: &'a str,
    pub weight: u32,
    /// What [`Ring::pick`] answers for this server.
    pub index: u16,
}

/// The finished lookup structure over the live servers of a pool.
#[derive(Clone, Debug)]
pub struct Ring {}

impl Ring {
    /// `live` in the pool's internal order (shorter names first, then bytewise).
    pub fn build(_distribution: Distribution, _live: &[Member]) -> Ring {
        Ring {}
    }

    /// The server for `hash`, `None` if no server is live. `draw` yields a random number and is called
    /// only by [`Distribution::Random`].
    pub fn pick(&self, _hash: u32, _draw: impl FnOnce() -> u32) -> Option<u16> {
        None
    }

    /// Ring points (ketama) or slots (modula) that lead to the server `index`; 0 means it gets no key.
    pub fn points(&self, _index: u16) -> usize {
        0
    }
}
