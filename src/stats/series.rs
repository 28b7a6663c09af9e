//! What a line of the table of metrics is called in Prometheus' world, and in which unit it is given there.

use super::metrics::Metric;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never falls but at a restart.
    Counter,
    Gauge,
    /// Microseconds since the Unix epoch, 0 for never; Prometheus is given seconds.
    Time,
}

/// Which of the three lists a line stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Process,
    Pool,
    Server,
}

impl<R> Metric<R> {
    /// The name of the Prometheus metric family: `nuthatch_`, the scope, the name, for times
    /// `_timestamp_seconds`. Samples of a counter have `_total` behind it.
    pub fn family(&self, scope: Scope) -> String {
        let (scope, stem) = match scope {
            Scope::Process => ("", self.series),
            Scope::Pool => ("pool_", self.series),
            // twemproxy says it in some names already.
            Scope::Server => (
                "server_",
                self.series.strip_prefix("server_").unwrap_or(self.series),
            ),
        };
        let unit = match self.kind {
            Kind::Time => "_timestamp_seconds",
            Kind::Counter | Kind::Gauge => "",
        };
        format!("nuthatch_{scope}{stem}{unit}")
    }

    /// The description as a sentence.
    pub fn help(&self) -> String {
        let text = match (self.kind, self.description.strip_prefix("# ")) {
            (_, Some(counted)) => format!("Number of {counted}"),
            (Kind::Time, None) => self.description.replace("usec", "seconds"),
            (_, None) => self.description.to_owned(),
        };
        let mut letters = text.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).chain(['.']).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::metrics::{POOL, PROCESS, SERVER};
    use super::*;

    /// Name, help and kind of every line.
    fn all() -> Vec<(String, String, Kind)> {
        fn of<R>(metrics: &[Metric<R>], scope: Scope) -> Vec<(String, String, Kind)> {
            let lines = metrics.iter();
            lines.map(|m| (m.family(scope), m.help(), m.kind)).collect()
        }
        let lists = [
            of(PROCESS, Scope::Process),
            of(POOL, Scope::Pool),
            of(SERVER, Scope::Server),
        ];
        lists.concat()
    }

    #[test]
    fn names_differ_and_keep_to_the_conventions() {
        let mut seen = BTreeSet::new();
        for (name, help, kind) in all() {
            assert!(seen.insert(name.clone()), "{name} is twice in the table");
            let stem = name.strip_prefix("nuthatch_").expect(&name);
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(stem.bytes().all(plain), "{name}");
            for end in ["_total", "_count", "_sum", "_bucket", "_info"] {
                assert!(!name.ends_with(end), "{name}");
            }
            assert_eq!(name.ends_with("_timestamp_seconds"), kind == Kind::Time);
            assert!(
                help.ends_with('.') && !help.starts_with('#'),
                "{name}: {help}"
            );
        }
    }

    #[test]
    fn names_and_helps_of_each_scope() {
        let all = all();
        for (name, help) in [
            (
                "nuthatch_connections",
                "Number of connections ever: clients, servers and listeners.",
            ),
            (
                "nuthatch_pool_client_requests",
                "Number of requests read from clients.",
            ),
            ("nuthatch_server_request_bytes", "Total request bytes."),
            (
                "nuthatch_server_connections",
                "Number of active server connections.",
            ),
            (
                "nuthatch_server_ejected_timestamp_seconds",
                "Timestamp when server was ejected in seconds since epoch.",
            ),
        ] {
            let found = all
                .iter()
                .any(|line| (line.0.as_str(), line.1.as_str()) == (name, help));
            assert!(found, "{name}: {help} is not in {all:#?}");
        }
    }
}
