//! The result of looking for a request's keys: where they are, or why that cannot be told.

/// The argument indexes that are keys: evenly spaced ones and at most one more, a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPositions {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) step: usize,
    pub(super) extra: Option<usize>,
    /// The options may hold patterns of further keys, see [`Store::patterns_in`](super::Store::patterns_in).
    pub(super) patterns: bool,
}

impl KeyPositions {
    pub(super) const NONE: Self = Self::adjacent(0, 0);

    /// `count` keys from argument `first` on.
    pub(super) const fn adjacent(first: usize, count: usize) -> Self {
        Self {
            first,
            count,
            step: 1,
            extra: None,
            patterns: false,
        }
    }

    /// The number of keys.
    #[inline]
    pub fn len(&self) -> usize {
        self.count + usize::from(self.extra.is_some())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position of the foremost key, the one twemproxy routes by.
    #[inline]
    pub fn first(&self) -> Option<usize> {
        let range = (self.count > 0).then_some(self.first);
        match self.extra {
            Some(extra) => Some(range.map_or(extra, |first| first.min(extra))),
            None => range,
        }
    }

    /// Is there a second key, or may there be, so that not all need be on the first one's server?
    #[inline]
    pub fn may_stray(&self) -> bool {
        self.len() > 1 || self.patterns
    }

    /// From one key to the next: 1, or more where each key is followed by values that belong to it.
    #[inline]
    pub fn step(&self) -> usize {
        self.step
    }

    /// The positions in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let Self {
            first,
            count,
            step,
            extra,
            patterns: _,
        } = *self;
        let before = extra.filter(|&extra| extra < first);
        let after = extra.filter(|&extra| extra >= first);
        let range = (0..count).map(move |i| first + i * step);
        before.into_iter().chain(range).chain(after)
    }
}

/// Why the keys of a request cannot be told. The text is the whole error reply, in Redis's words where
/// Redis has the same error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR numkeys should be greater than 0")]
    NoKeys,
    #[error("ERR at least 1 input key is needed for '{0}' command")]
    NoInput(&'static str),
    #[error("ERR Number of keys can't be negative")]
    Negative,
    #[error("ERR Bad number of keys provided")]
    BadNumber,
    #[error("ERR Number of keys can't be greater than number of args")]
    TooManyKeys,
    #[error("ERR syntax error")]
    Syntax,
    /// XREADGROUP's, too.
    #[error(
        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
    )]
    UnbalancedStreams,
}
