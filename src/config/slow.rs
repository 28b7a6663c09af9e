//! Which requests are slow, and what the log may show of them.

use std::time::Duration;

use super::error::Refusal;
use super::settings::Settings;

/// `Copy`, because the data path asks once per read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowRequests {
    /// From which time on a request is slow; `None`: none is.
    pub time: Option<Duration>,
    pub key: SlowKey,
}

/// What the log shows of a slow request's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowKey {
    /// The hash that decides on its server, as `nuthatch locate` prints it.
    #[default]
    Hash,
    Key,
    None,
}

impl SlowRequests {
    /// The time in microseconds; more than any request takes if none is slow.
    #[inline]
    pub fn from_us(self) -> u32 {
        let us = self.time.map(|time| u32::try_from(time.as_micros()));
        us.and_then(Result::ok).unwrap_or(u32::MAX)
    }
}

impl SlowKey {
    pub const ALL: [SlowKey; 3] = [SlowKey::Hash, SlowKey::Key, SlowKey::None];

    /// As written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            SlowKey::Hash => "hash",
            SlowKey::Key => "key",
            SlowKey::None => "none",
        }
    }
}

pub(super) fn set_key(settings: &mut Settings, text: &str) -> Result<(), Refusal> {
    let key = SlowKey::ALL.into_iter().find(|key| key.name() == text);
    settings.slow_requests.key = key.ok_or_else(|| {
        Refusal::new("is not a valid slow_request_key").near(text, SlowKey::ALL.map(SlowKey::name))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_and_a_time_beyond_the_clock_are_never_reached() {
        let from = |ms| SlowRequests {
            time: Some(Duration::from_millis(ms)),
            key: SlowKey::Hash,
        };
        assert_eq!(SlowRequests::default().from_us(), u32::MAX);
        assert_eq!(from(20).from_us(), 20_000);
        assert_eq!(from(4_294_968).from_us(), u32::MAX);
    }
}
