//! CONFIG GET: the parameters a client may see, and the values of servers as one reply.
//!
//! Only parameters of the list are asked for, each by its name: a server is never sent a pattern, which
//! might match a password or a path, and servers before Redis 7.0 take one parameter at a time.

use super::Resp;
use super::element::{Elements, string};
use super::glob;
use super::write;

/// Parameters that tell what a server does with data and memory; nothing of addresses, paths, secrets.
const SHOWN: &[&str] = &[
    "active-expire-effort",
    "activedefrag",
    "activerehashing",
    "aof-use-rdb-preamble",
    "appendfsync",
    "appendonly",
    "auto-aof-rewrite-min-size",
    "auto-aof-rewrite-percentage",
    "busy-reply-threshold",
    "client-output-buffer-limit",
    "client-query-buffer-limit",
    "cluster-enabled",
    "databases",
    "dynamic-hz",
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "hash-max-ziplist-entries",
    "hash-max-ziplist-value",
    "hll-sparse-max-bytes",
    "hz",
    "latency-monitor-threshold",
    "latency-tracking",
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "lazyfree-lazy-server-del",
    "lazyfree-lazy-user-del",
    "lazyfree-lazy-user-flush",
    "lfu-decay-time",
    "lfu-log-factor",
    "list-compress-depth",
    "list-max-listpack-size",
    "list-max-ziplist-size",
    "lua-time-limit",
    MAXMEMORY,
    "maxmemory-clients",
    "maxmemory-eviction-tenacity",
    "maxmemory-policy",
    "maxmemory-samples",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "no-appendfsync-on-rewrite",
    "notify-keyspace-events",
    "proto-max-bulk-len",
    "rdbcompression",
    "save",
    "set-max-intset-entries",
    "set-max-listpack-entries",
    "set-max-listpack-value",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "stop-writes-on-bgsave-error",
    "stream-node-max-bytes",
    "stream-node-max-entries",
    "tcp-keepalive",
    "timeout",
    "tracking-table-max-keys",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
    "zset-max-ziplist-entries",
    "zset-max-ziplist-value",
];

/// What every server has of its own: the pool has the sum.
pub const MAXMEMORY: &str = "maxmemory";

/// The parameters that a client may see of those it asks for, each once.
pub fn shown<'a>(patterns: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<&'static str> {
    let wanted = |name: &&&str| {
        let mut patterns = patterns.clone();
        patterns.any(|pattern| glob::matches_any_case(pattern, name.as_bytes()))
    };
    SHOWN.iter().filter(wanted).copied().collect()
}

/// What has to be known to answer.
#[derive(Debug)]
pub struct ConfigRequest {
    pub resp: Resp,
    /// What the proxy says itself.
    pub own: Vec<(&'static str, String)>,
}

impl ConfigRequest {
    /// Appends the reply, given those of servers to one parameter each; `None` if they are none to CONFIG GET.
    /// The sum of limits where a parameter is there several times; 0 is no limit.
    pub fn write(&self, replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
        let own = self.own.iter();
        let mut all: Vec<(&[u8], Vec<u8>)> = own
            .map(|(name, value)| (name.as_bytes(), value.clone().into()))
            .collect();
        for reply in replies {
            let mut elements = Elements::of(reply)?;
            while elements.len() > 0 {
                let name = string(elements.next()?)?;
                let value = string(elements.next()?)?;
                match all.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, sum)) => *sum = limits(sum, value)?,
                    None => all.push((name, value.to_vec())),
                }
            }
        }
        write::map_header(out, self.resp, all.len());
        for (name, value) in &all {
            write::bulk(out, name);
            write::bulk(out, value);
        }
        Some(())
    }
}

fn limits(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let number = |text| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    let (a, b) = (number(a)?, number(b)?);
    let sum = if a == 0 || b == 0 {
        0
    } else {
        a.saturating_add(b)
    };
    Some(sum.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_what_may_be_shown_and_nothing_else() {
        let shown = |patterns: &[&str]| shown(patterns.iter().map(|pattern| pattern.as_bytes()));
        assert_eq!(
            shown(&["SAVE", "s?ve", "maxmemory-p*"]),
            ["maxmemory-policy", "save"]
        );
        assert_eq!(shown(&["*"]), SHOWN);
        for secret in [
            "requirepass",
            "masterauth",
            "*pass*",
            "*auth*",
            "tls-*",
            "dir",
            "*file*",
            "bind",
            "*port*",
        ] {
            assert!(shown(&[secret]).is_empty(), "{secret}");
        }
        assert!(SHOWN.is_sorted());
    }

    fn joined(resp: Resp, own: &[(&'static str, &str)], replies: &[&[u8]]) -> Option<String> {
        let own = own.iter().map(|(name, value)| (*name, value.to_string()));
        let mut out = Vec::new();
        let request = ConfigRequest {
            resp,
            own: own.collect(),
        };
        request.write(replies, &mut out)?;
        Some(out.escape_ascii().to_string())
    }

    #[test]
    fn parameters_of_several_replies_are_one() {
        let save = b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n";
        assert_eq!(
            joined(Resp::V2, &[("databases", "1")], &[save, b"*0\r\n"]).unwrap(),
            r"*4\r\n$9\r\ndatabases\r\n$1\r\n1\r\n$4\r\nsave\r\n$0\r\n\r\n"
        );
        let map = b"%1\r\n$4\r\nsave\r\n$0\r\n\r\n";
        assert_eq!(
            joined(Resp::V3, &[], &[map]).unwrap(),
            r"%1\r\n$4\r\nsave\r\n$0\r\n\r\n"
        );
        assert_eq!(joined(Resp::V3, &[], &[b"%0\r\n"]).unwrap(), r"%0\r\n");
    }

    #[test]
    fn limits_are_added_up_unless_there_is_none() {
        let limit = |n: u32| format!("*2\r\n$9\r\nmaxmemory\r\n$1\r\n{n}\r\n");
        let sum =
            |a, b| joined(Resp::V2, &[], &[limit(a).as_bytes(), limit(b).as_bytes()]).unwrap();
        assert!(sum(2, 3).ends_with(r"$1\r\n5\r\n"));
        assert!(sum(2, 0).ends_with(r"$1\r\n0\r\n"));
    }

    #[test]
    fn other_replies_are_not_taken_for_parameters() {
        for reply in [
            &b"+OK\r\n"[..],
            b"*1\r\n+save\r\n",
            b"*2\r\n:1\r\n:1\r\n",
            b"*-1\r\n",
        ] {
            assert_eq!(
                joined(Resp::V2, &[], &[reply]),
                None,
                "{}",
                reply.escape_ascii()
            );
        }
    }
}
