//! How long blocking commands wait.

use super::keys::value_of_block;
use crate::protocol::redis::scan::{
    Arg, ArrayFrame, Body, MAX_BULK, RequestScanner, Scan, ScanLimits,
};
use crate::protocol::redis::write;

/// Where a blocking command says how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Seconds, in this argument.
    At(u8),
    /// Seconds, in the last argument.
    Last,
    /// Milliseconds, in the last argument.
    LastMilliseconds,
    /// Milliseconds, behind the word BLOCK; without that it does not block.
    Block,
}

/// How long a request may take by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Forever,
    Milliseconds(u32),
}

/// Longer is for ever: clocks of milliseconds wrap.
const LONGEST: f64 = (1u32 << 31) as f64;

impl Wait {
    /// `text` in units of `unit` milliseconds. What is no time makes the server answer at once.
    fn parse(text: &[u8], unit: f64) -> Wait {
        let number = std::str::from_utf8(text).ok().map(str::parse::<f64>);
        match number {
            Some(Ok(number)) if number > 0.0 && number * unit < LONGEST => {
                Wait::Milliseconds((number * unit).ceil() as u32)
            }
            _ => Wait::Forever,
        }
    }

    /// What is left of it after so many milliseconds: never nothing, which would be for ever.
    pub fn after(self, elapsed: u32) -> Wait {
        match self {
            Wait::Forever => Wait::Forever,
            Wait::Milliseconds(ms) => Wait::Milliseconds(ms.saturating_sub(elapsed).max(1)),
        }
    }
}

impl Timeout {
    fn find<'a>(self, request: &'a [u8], frame: &ArrayFrame) -> Option<Arg<'a>> {
        let at = match self {
            Timeout::At(at) => usize::from(at),
            Timeout::Last | Timeout::LastMilliseconds => frame.argc - 1,
            Timeout::Block => {
                let mut args = frame.args(request).skip(1).map(|arg| arg.bytes);
                value_of_block(&mut args)?
            }
        };
        frame.args(request).nth(at)
    }

    fn unit(self) -> f64 {
        match self {
            Timeout::At(_) | Timeout::Last => 1000.0,
            Timeout::LastMilliseconds | Timeout::Block => 1.0,
        }
    }

    /// How long the request waits; `None` if it does not block.
    pub fn of(self, request: &[u8], frame: &ArrayFrame) -> Option<Wait> {
        let found = self.find(request, frame)?;
        Some(Wait::parse(found.bytes, self.unit()))
    }

    /// The request with another time, which is given in the unit and as exactly as it was: old servers want
    /// whole seconds.
    pub fn put(self, request: &[u8], wait: Wait) -> Option<Vec<u8>> {
        let Wait::Milliseconds(ms) = wait else {
            return None;
        };
        let limits = ScanLimits {
            request: u64::MAX,
            arguments: u32::MAX,
            bulk: MAX_BULK,
            unauthenticated: false,
        };
        let Ok(Scan::Complete(frame)) = RequestScanner::default().scan(request, &limits) else {
            return None;
        };
        let Body::Array(array) = frame.body else {
            return None;
        };
        let found = self.find(request, &array)?;
        let text = match self {
            Timeout::LastMilliseconds | Timeout::Block => ms.to_string(),
            _ if found.bytes.iter().all(u8::is_ascii_digit) => ms.div_ceil(1000).to_string(),
            _ => format!("{}.{:03}", ms / 1000, ms % 1000),
        };
        let mut changed = Vec::with_capacity(request.len() + 16);
        changed.extend_from_slice(&request[..found.outer.start]);
        write::bulk(&mut changed, text.as_bytes());
        changed.extend_from_slice(&request[found.outer.end..]);
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::redis::command::{Policy, lookup};

    fn encode(request: &str) -> Vec<u8> {
        let words: Vec<&str> = request.split(' ').collect();
        let mut out = Vec::new();
        write::array_header(&mut out, words.len());
        words
            .iter()
            .for_each(|word| write::bulk(&mut out, word.as_bytes()));
        out
    }

    fn timeout(request: &str) -> Timeout {
        let name = request.split(' ').next().unwrap();
        match lookup(name.as_bytes()).unwrap().policy {
            Policy::Blocking(timeout) => timeout,
            other => panic!("{other:?}"),
        }
    }

    fn wait(request: &str) -> Option<Wait> {
        let bytes = encode(request);
        let limits = ScanLimits {
            request: u64::MAX,
            arguments: u32::MAX,
            bulk: MAX_BULK,
            unauthenticated: false,
        };
        let scanned = RequestScanner::default().scan(&bytes, &limits);
        let Ok(Scan::Complete(frame)) = scanned else {
            panic!("{scanned:?}")
        };
        let Body::Array(array) = frame.body else {
            panic!("no array")
        };
        timeout(request).of(&bytes, &array)
    }

    #[test]
    fn every_command_has_its_time() {
        for (request, expected) in [
            ("blpop a b 1.5", Some(Wait::Milliseconds(1500))),
            ("brpop a 0", Some(Wait::Forever)),
            ("brpoplpush a b 2", Some(Wait::Milliseconds(2000))),
            ("blmove a b left right 0.0001", Some(Wait::Milliseconds(1))),
            (
                "blmovem a b left right 7 count 3 bulk",
                Some(Wait::Milliseconds(7000)),
            ),
            ("blmpop 3 1 a left", Some(Wait::Milliseconds(3000))),
            ("bzmpop 0 1 a min", Some(Wait::Forever)),
            ("bzpopmin a 1e3", Some(Wait::Milliseconds(1_000_000))),
            ("bzpopmax a nonsense", Some(Wait::Forever)),
            ("blpop a -1", Some(Wait::Forever)),
            ("blpop a 99999999", Some(Wait::Forever)),
            ("xread block 250 streams a 0", Some(Wait::Milliseconds(250))),
            ("xread count 2 BLOCK 0 streams a 0", Some(Wait::Forever)),
            ("xread streams block 0", None),
            (
                "xreadgroup group block c noack block 9 streams a >",
                Some(Wait::Milliseconds(9)),
            ),
            ("xreadgroup group g block streams a >", None),
        ] {
            assert_eq!(wait(request), expected, "{request}");
        }
    }

    #[test]
    fn the_rest_of_a_time_is_put_in_its_place() {
        let rest = Wait::Milliseconds(1500).after(250);
        assert_eq!(rest, Wait::Milliseconds(1250));
        for (request, expected) in [
            ("blpop a 1.5", "blpop a 1.250"),
            ("blpop a b 5", "blpop a b 2"),
            ("blmpop 2.0 1 a left", "blmpop 1.250 1 a left"),
            (
                "xread block 1500 streams a 0",
                "xread block 1250 streams a 0",
            ),
        ] {
            let put = timeout(request).put(&encode(request), rest);
            assert_eq!(put, Some(encode(expected)), "{request}");
        }
        let forever = timeout("blpop a 0").put(&encode("blpop a 0"), Wait::Forever);
        assert_eq!(forever, None);
        assert_eq!(
            Wait::Milliseconds(5).after(9),
            Wait::Milliseconds(1),
            "0 would be for ever"
        );
    }
}
