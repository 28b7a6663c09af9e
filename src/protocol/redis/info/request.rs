//! A client's INFO: which sections it wants, and the answer, in which the proxy has a section of its own.

use std::fmt::Write as _;

use super::super::Resp;
use super::super::write;
use super::merge;

/// The name of the proxy's own section.
const OWN: &str = "nuthatch";

/// What came of asking one server.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    Text(&'a str),
    /// It refused; the error line.
    Error(&'a [u8]),
    /// It cannot be reached.
    None,
}

/// What has to be known to answer.
#[derive(Debug)]
pub struct InfoRequest {
    pub resp: Resp,
    /// The sections asked for, lower case; none: the default ones.
    pub sections: Vec<String>,
    /// The names of the servers asked, in the order of their answers.
    pub asked: Vec<String>,
    /// The names of servers that are not worth asking now.
    pub skipped: Vec<String>,
    /// How many clients the pool has.
    pub clients: u64,
    /// The fields of the proxy's own section.
    pub own: String,
    /// The version of Redis to speak of if no server says one.
    pub version: &'static str,
}

impl InfoRequest {
    /// Is this argument of INFO for the proxy, and no server's?
    pub fn is_own(section: &[u8]) -> bool {
        section.eq_ignore_ascii_case(OWN.as_bytes())
    }

    /// Does it take servers to answer?
    pub fn needs_servers(&self) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|section| section != OWN)
    }

    fn wants(&self, section: &str) -> bool {
        let asked = |name: &str| self.sections.iter().any(|section| section == name);
        let several = ["default", "all", "everything"];
        self.sections.is_empty() || asked(section) || several.into_iter().any(asked)
    }

    /// Appends the reply. An error only if servers refused and none answered: a server that is lost leaves
    /// out what it counts and is named.
    pub fn write(&self, answers: &[Answer<'_>], out: &mut Vec<u8>) {
        let texts: Vec<&str> = (answers.iter())
            .filter_map(|answer| match answer {
                Answer::Text(text) => Some(*text),
                _ => None,
            })
            .collect();
        let refusal = answers.iter().find_map(|answer| match answer {
            Answer::Error(error) => Some(*error),
            _ => None,
        });
        if let (true, Some(refusal)) = (texts.is_empty(), refusal) {
            return out.extend_from_slice(refusal);
        }
        let mut text = match texts.is_empty() {
            true => self.alone(),
            false => merge(&texts, self.clients),
        };
        let silent = answers.iter().zip(&self.asked);
        let silent = silent.filter(|(answer, _)| !matches!(answer, Answer::Text(_)));
        let silent: Vec<&str> = silent
            .map(|(_, name)| &name[..])
            .chain(self.skipped.iter().map(|name| &name[..]))
            .collect();
        if self.wants(OWN) || !silent.is_empty() {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            let _ = write!(text, "{gap}# Nuthatch\r\n{}", self.own);
            if !silent.is_empty() {
                let _ = write!(text, "unreachable:{}\r\n", silent.join(","));
            }
        }
        write::text(out, self.resp, &text);
    }

    /// What clients wait for before they start, without a server that could say it.
    fn alone(&self) -> String {
        let version = format!(
            "redis_version:{}\r\nredis_mode:standalone\r\n",
            self.version
        );
        let sections = [
            ("Server", &version[..]),
            ("Persistence", "loading:0\r\n"),
            ("Replication", "role:master\r\nconnected_slaves:0\r\n"),
        ];
        let wanted = sections
            .into_iter()
            .filter(|(name, _)| self.wants(&name.to_ascii_lowercase()));
        let texts: Vec<String> = wanted
            .map(|(name, fields)| format!("# {name}\r\n{fields}"))
            .collect();
        texts.join("\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sections: &[&str]) -> InfoRequest {
        InfoRequest {
            resp: Resp::V2,
            sections: sections.iter().map(|section| section.to_string()).collect(),
            asked: vec!["a".into(), "b".into()],
            skipped: Vec::new(),
            clients: 1,
            own: "pool:p\r\n".into(),
            version: "7.0.0",
        }
    }

    fn answer(request: &InfoRequest, answers: &[Answer<'_>]) -> String {
        let mut out = Vec::new();
        request.write(answers, &mut out);
        let text = String::from_utf8(out).unwrap();
        match text.split_once("\r\n") {
            Some((header, rest)) if header.starts_with('$') => {
                assert_eq!(header, format!("${}", rest.len() - 2));
                rest[..rest.len() - 2].to_owned()
            }
            _ => text,
        }
    }

    const STATS: Answer<'_> = Answer::Text("# Stats\r\nkeyspace_hits:2\r\n");
    const STATS_OF_BOTH: &str = "# Stats\r\nkeyspace_hits:4\r\n";
    const OWN_SECTION: &str = "# Nuthatch\r\npool:p\r\n";

    #[test]
    fn the_own_section_comes_last_where_it_is_wanted() {
        for sections in [
            &[][..],
            &["all"],
            &["default"],
            &["everything"],
            &["stats", "nuthatch"],
        ] {
            let text = answer(&request(sections), &[STATS, STATS]);
            assert_eq!(
                text,
                format!("{STATS_OF_BOTH}\r\n{OWN_SECTION}"),
                "{sections:?}"
            );
        }
        assert_eq!(answer(&request(&["stats"]), &[STATS, STATS]), STATS_OF_BOTH);
        let own = request(&["nuthatch"]);
        assert!(!own.needs_servers() && request(&[]).needs_servers());
        assert!(request(&["nuthatch", "stats"]).needs_servers());
        assert_eq!(answer(&own, &[]), OWN_SECTION);
    }

    #[test]
    fn a_server_that_is_lost_is_named_even_where_nobody_asked_for_it() {
        let one = "# Stats\r\nkeyspace_hits:2\r\n";
        let text = answer(&request(&["stats"]), &[STATS, Answer::None]);
        assert_eq!(text, format!("{one}\r\n{OWN_SECTION}unreachable:b\r\n"));
        let mut skipping = request(&["stats"]);
        skipping.asked = vec!["a".into()];
        skipping.skipped = vec!["c".into(), "d".into()];
        let text = answer(&skipping, &[STATS]);
        assert_eq!(text, format!("{one}\r\n{OWN_SECTION}unreachable:c,d\r\n"));
        let refused = answer(&request(&[]), &[Answer::Error(b"-BUSY x\r\n"), STATS]);
        assert_eq!(refused, format!("{one}\r\n{OWN_SECTION}unreachable:a\r\n"));
    }

    #[test]
    fn without_a_server_clients_learn_what_they_wait_for() {
        let lost = [Answer::None, Answer::None];
        let all = "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n\r\n\
                   # Persistence\r\nloading:0\r\n\r\n\
                   # Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n\
                   # Nuthatch\r\npool:p\r\nunreachable:a,b\r\n";
        assert_eq!(answer(&request(&[]), &lost), all);
        assert_eq!(
            answer(&request(&["persistence"]), &lost),
            format!("# Persistence\r\nloading:0\r\n\r\n{OWN_SECTION}unreachable:a,b\r\n")
        );
        assert_eq!(
            answer(&request(&["memory"]), &lost),
            format!("{OWN_SECTION}unreachable:a,b\r\n")
        );
    }

    #[test]
    fn what_all_servers_refuse_is_refused() {
        let refused = [Answer::Error(b"-ERR syntax error\r\n"), Answer::None];
        assert_eq!(
            answer(&request(&["a", "b"]), &refused),
            "-ERR syntax error\r\n"
        );
    }
}
