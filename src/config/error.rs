//! What is wrong with a configuration, and how it is worded: one line per problem, with its place.

use std::fmt;

/// Longest part of a wrong value that a message repeats, in characters.
const SHOWN_CHARS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what is meant.
    Warning,
}

/// One mistake or trap in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// As given to [`load`](super::load) or [`parse`](super::parse).
    pub file: String,
    /// From 1; `None` for a problem of the whole file.
    pub line: Option<usize>,
    /// From 1; only for what is not YAML at all.
    pub column: Option<usize>,
    pub pool: Option<String>,
    pub key: Option<String>,
    /// One line: what was given, what is accepted, what was perhaps meant. Passwords are never shown.
    pub message: String,
}

/// `FILE:LINE: pool 'P': key: message`, as far as known; a warning says so after the place.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if let Some(pool) = &self.pool {
            write!(f, "pool {}: ", quoted(pool))?;
        }
        if let Some(key) = &self.key {
            write!(f, "{}: ", printable(key))?;
        }
        f.write_str(&self.message)
    }
}

/// Why a configuration was refused: every mistake and also the warnings found, in the order of the file.
/// At least one of them is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

/// One line for each problem, without a line feed after the last.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects the problems of a file.
pub(super) struct Report {
    file: String,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: &str) -> Report {
        Report {
            file: file.to_owned(),
            problems: Vec::new(),
        }
    }

    /// The problem is the caller's to complete: [`Problem`] fields it does not set stay `None`.
    fn add(&mut self, severity: Severity, message: String) -> &mut Problem {
        self.problems.push(Problem {
            severity,
            file: self.file.clone(),
            line: None,
            column: None,
            pool: None,
            key: None,
            message,
        });
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    pub(super) fn error(&mut self, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Error, message.into())
    }

    pub(super) fn warning(&mut self, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Warning, message.into())
    }

    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|p| p.severity == Severity::Error)
    }

    /// In the order of the file; what has no line comes first.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }
}

impl Problem {
    pub(super) fn at(&mut self, line: usize) -> &mut Problem {
        self.line = Some(line);
        self
    }

    pub(super) fn pool(&mut self, pool: &str) -> &mut Problem {
        self.pool = Some(pool.to_owned());
        self
    }

    pub(super) fn key(&mut self, key: &str) -> &mut Problem {
        self.key = Some(key.to_owned());
        self
    }
}

/// Why one value was not taken; who knows the key adds it, the value and what is accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Follows the value in a sentence, nutcracker's words where it has some: `is not a valid hash`.
    pub why: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl Refusal {
    pub(super) fn new(why: impl Into<String>) -> Refusal {
        Refusal {
            why: why.into(),
            meant: None,
        }
    }

    pub(super) fn meant(self, meant: impl Into<String>) -> Refusal {
        Refusal {
            meant: Some(meant.into()),
            ..self
        }
    }

    /// Adds the word of `known` that was probably meant by `given`, if there is one.
    pub(super) fn near<'k>(self, given: &str, known: impl IntoIterator<Item = &'k str>) -> Refusal {
        match near_miss(given, known) {
            Some(word) => self.meant(word),
            None => self,
        }
    }

    /// `'VALUE' WHY; accepted: ...; did you mean '...'?`
    pub(super) fn message(&self, value: &str, accepted: &str) -> String {
        let mut message = format!("{} {}; accepted: {accepted}", quoted(value), self.why);
        if let Some(meant) = &self.meant {
            message += &format!("; did you mean {}?", quoted(meant));
        }
        message
    }
}

/// The word of `known` that `given` is a slip of the pen away from.
pub(super) fn near_miss<'k>(
    given: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let given: String = given.trim().to_lowercase().chars().take(64).collect();
    let given = given.replace('-', "_");
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&given, word), word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

/// `text` between single quotes, cut when long, on one line whatever it contains.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", printable(text))
}

fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_CHARS {
            shown.push('…');
            break;
        }
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        let known = ["hash", "hash_tag", "listen", "timeout", "redis_db"];
        for (given, meant) in [
            ("hsah", Some("hash")),
            ("Hash", Some("hash")),
            ("hash-tag", Some("hash_tag")),
            ("lisen", Some("listen")),
            ("time_out", Some("timeout")),
            ("redisdb", Some("redis_db")),
            ("weights", None),
            ("", None),
        ] {
            assert_eq!(near_miss(given, known), meant, "{given}");
        }
    }

    #[test]
    fn a_message_is_one_line_and_short() {
        let message = Refusal::new("is bad")
            .meant("good")
            .message(&format!("a\nb\u{1b}{}", "x".repeat(500)), "good");
        assert!(message.starts_with("'a\\nb\\u{1b}xxx"), "{message}");
        assert!(message.ends_with("x…' is bad; accepted: good; did you mean 'good'?"));
        assert!(message.len() < 200);
    }

    #[test]
    fn display_names_what_is_known() {
        let mut report = Report::new("f.yml");
        report.error("second").at(3).pool("p").key("hash");
        report.warning("third").at(4);
        report.error("first");
        assert!(report.has_errors());
        assert_eq!(
            ConfigErrors(report.into_problems()).to_string(),
            "f.yml: first\nf.yml:3: pool 'p': hash: second\nf.yml:4: warning: third"
        );
    }
}
