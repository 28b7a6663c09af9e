//! nutcracker's log levels, as `-v` gives them.

use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::log::NOTICE;

/// nutcracker's log level, 0 (emergencies) to 11 (everything). The start and the end of the process, why
/// it did not start, and answers to signals are shown at all of them.
///
/// | level | nutcracker | shown |
/// |---|---|---|
/// | 0 | emergency | nothing else |
/// | 1-3 | alert, critical, error | errors: what an operator has to mend |
/// | 4 | warning | and failures of servers, sentinels and clients |
/// | 5-6 | notice, information | and what recovers or changes |
/// | 7 | debug | and each connection, of clients and to servers; no line is dropped |
/// | 8-10 | verbose | and what changed nothing: every event and answer of sentinels |
/// | 11 | very verbose | and the libraries |
///
/// As in nutcracker errors begin at 1 and warnings at 4. Its lines about single clients are part of its
/// debug builds only, at 5; a busy proxy would log little else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    const MAX: u8 = 11;

    /// Higher numbers count as 11.
    pub fn clamped(number: u64) -> Level {
        Level(u8::try_from(number).map_or(Level::MAX, |level| level.min(Level::MAX)))
    }

    pub(super) fn up(self) -> Level {
        Level((self.0 + 1).min(Level::MAX))
    }

    pub(super) fn down(self) -> Level {
        Level(self.0.saturating_sub(1))
    }

    fn filter(self) -> LevelFilter {
        match self.0 {
            0 => LevelFilter::OFF,
            1..=3 => LevelFilter::ERROR,
            4 => LevelFilter::WARN,
            5 | 6 => LevelFilter::INFO,
            7 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

    /// Libraries are heard from level 11 on only, but for their warnings.
    pub(super) fn targets(self) -> Targets {
        let libraries = match self.0 {
            Level::MAX => LevelFilter::TRACE,
            _ => self.filter().min(LevelFilter::WARN),
        };
        Targets::new()
            .with_default(libraries)
            .with_target(env!("CARGO_PKG_NAME"), self.filter())
            .with_target(NOTICE, LevelFilter::INFO)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.filter().to_string();
        write!(f, "{} ({})", self.0, shown.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::CHANGE;

    #[test]
    fn levels_end_at_0_and_11() {
        assert_eq!(Level::clamped(0).down(), Level::clamped(0));
        assert_eq!(Level::clamped(12), Level::clamped(11));
        assert_eq!(Level::clamped(11).up(), Level::clamped(11));
        assert_eq!(Level::clamped(5).up(), Level::clamped(6));
    }

    #[test]
    fn each_level_shows_what_nutcracker_has_there() {
        use tracing::Level as Severity;
        // The first of our levels that shows a line of this severity.
        for (severity, first) in [
            (Severity::ERROR, 1),
            (Severity::WARN, 4),
            (Severity::INFO, 5),
            (Severity::DEBUG, 7),
            (Severity::TRACE, 8),
        ] {
            for number in 0..=11 {
                let targets = Level::clamped(number).targets();
                for target in ["nuthatch::topology::task", CHANGE] {
                    let shown = targets.would_enable(target, &severity);
                    assert_eq!(shown, number >= first, "{target} {severity} at {number}");
                }
            }
        }
    }

    #[test]
    fn levels_say_what_they_show() {
        let said: Vec<String> = (0..=11).map(|n| Level::clamped(n).to_string()).collect();
        assert_eq!(said[0], "0 (off)");
        assert_eq!(said[5..=7], ["5 (info)", "6 (info)", "7 (debug)"]);
        assert_eq!(said[11], "11 (trace)");
    }

    #[test]
    fn notices_show_at_every_level() {
        for number in 0..=11 {
            let targets = Level::clamped(number).targets();
            assert!(targets.would_enable(NOTICE, &tracing::Level::INFO));
        }
    }

    #[test]
    fn libraries_are_quiet_below_level_11() {
        for (number, heard) in [(10, false), (11, true)] {
            let targets = Level::clamped(number).targets();
            assert_eq!(targets.would_enable("hyper", &tracing::Level::DEBUG), heard);
        }
    }
}
