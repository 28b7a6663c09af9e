//! Every configuration of Redis pools that a real `nutcracker -t` accepts is accepted here too.
//!
//! Needs nutcracker (`apt-get install nutcracker`); without it the test fails, unless
//! `NUTHATCH_SKIP_NUTCRACKER=1` says that its absence is known.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use nuthatch::config;

const SERVER: &str = "127.0.0.1:6379:1";

/// A file with one pool of these keys.
fn pool(keys: &str) -> String {
    format!("alpha:\n{keys}")
}

fn with_listen(listen: &str) -> String {
    pool(&format!(
        "  listen: {listen}\n  redis: true\n  servers:\n   - {SERVER}\n"
    ))
}

fn with_key(key: &str) -> String {
    pool(&format!(
        "  listen: 127.0.0.1:22121\n  redis: true\n  {key}\n  servers:\n   - {SERVER}\n"
    ))
}

fn with_servers(servers: &[&str]) -> String {
    let list: String = servers.iter().map(|s| format!("   - {s}\n")).collect();
    pool(&format!(
        "  listen: 127.0.0.1:22121\n  redis: true\n  servers:\n{list}"
    ))
}

/// Accepted or not, each of these is tried with both programs.
fn corpus() -> Vec<String> {
    let mut files = Vec::new();
    let listens = "127.0.0.1:22121|'127.0.0.1:22121'|127.0.0.1:022121|0.0.0.0:1|0:22121|127.1:22121|\
                   localhost:65535|::1:22121|:::22121|127.0.0.1:0|127.0.0.1:65536|127.0.0.1|*:22121|\
                   /tmp/s|/tmp/s 0666|/tmp/s 777|/tmp/s 0|/tmp/s 1777|/tmp/s rw|/tmp/s 0640x|/tmp/a b 0600|~";
    files.extend(listens.split('|').map(with_listen));
    for number in [
        "0",
        "1",
        "007",
        "'30'",
        "2147483647",
        "-1",
        "1k",
        "1.0",
        "0x10",
        "~",
        "true",
    ] {
        for key in [
            "timeout",
            "backlog",
            "client_connections",
            "redis_db",
            "server_connections",
            "server_retry_timeout",
            "server_failure_limit",
        ] {
            files.push(with_key(&format!("{key}: {number}")));
        }
    }
    for boolean in ["true", "false", "'true'", "True", "yes", "1"] {
        for key in ["tcpkeepalive", "preconnect", "auto_eject_hosts"] {
            files.push(with_key(&format!("{key}: {boolean}")));
        }
    }
    for hash in [
        "one_at_a_time",
        "md5",
        "crc16",
        "crc32",
        "crc32a",
        "fnv1_64",
        "fnv1a_64",
        "fnv1_32",
        "fnv1a_32",
        "hsieh",
        "murmur",
        "jenkins",
        "MD5",
        "sha1",
        "'md5'",
    ] {
        files.push(with_key(&format!("hash: {hash}")));
    }
    for distribution in ["ketama", "modula", "random", "Ketama", "rendezvous"] {
        files.push(with_key(&format!("distribution: {distribution}")));
    }
    for tag in [
        "\"{}\"",
        "'$$'",
        "ab",
        "é",
        "\"{\"",
        "abc",
        "12",
        "~~",
        "!!",
        "\"\\\"\\\"\"",
    ] {
        files.push(with_key(&format!("hash_tag: {tag}")));
    }
    for auth in [
        "secret",
        "'a b'",
        "12345",
        "true",
        "~",
        "\"\\x41\"",
        "é",
        "''",
        "a#b",
        "a:b",
    ] {
        files.push(with_key(&format!("redis_auth: {auth}")));
    }
    for server in [
        "127.0.0.1:6379:1",
        "127.0.0.1:06379:01",
        "localhost:11211:1",
        "h.example.org:6379:100 shard-1",
        "h:1:1 n:2",
        "h:1:1 'n'",
        "'h:1:1 n'",
        "::1:6379:1",
        "'::1:6379:1 six'",
        "'[::1]:6379:1'",
        "fe80::1%lo:6379:1",
        "/tmp/redis.sock:1",
        "/tmp/redis.sock:2 name",
        "/tmp/a b:1 name",
        "h:1:2147483647",
        "h:1:0",
        "h:1",
        "h",
        "h:0:1",
        "h:65536:1",
        "h:1:x",
        "h:1:-1",
        "h:1:1  n",
        "/tmp/s",
        "/tmp/s:1:1",
        "''",
    ] {
        files.push(with_servers(&[server]));
    }
    files.push(with_servers(&["h:1:1", "h:2:2 b", "/tmp/s:1", "h:1:1 c"]));
    files.push(with_servers(&["h:1:1", "h:1:2"]));
    files.push(with_servers(&["h:1:1 a", "h:2:1 a"]));
    files.push(with_servers(&["h:11211:1", "h:1:1 h"]));
    files.extend(layouts());
    files
}

/// Other ways to write one file, good and bad.
fn layouts() -> Vec<String> {
    let good = with_servers(&["h:1:1 a", "h:2:1 b"]);
    let other = with_listen("127.0.0.1:22122").replace("alpha", "beta");
    vec![
        good.replace('\n', "\r\n"),
        good.replace('\n', " # comment\n"),
        format!("# head\n\n\n{good}\n\n# tail"),
        good.replace("alpha", "\"alpha\"")
            .replace("redis:", "'redis':"),
        good.replace("   - ", "  - "),
        good.replace("  ", "        "),
        good.replace("alpha", "a pool, with: colons"),
        good.replace("redis: true", "redis:\n    true"),
        good.replace("h:1:1 a", ">-\n     h:1:1\n     a"),
        good.replace("h:1:1 a", "|-\n     h:1:1 a"),
        format!("\u{feff}{good}"),
        format!("{good}{other}"),
        format!("{good}{good}"),
        format!("{good}{}", good.replace("alpha", "beta")),
        format!("---\n{good}"),
        String::new(),
    ]
}

/// What `nutcracker -t` says of the file; `None` without nutcracker.
fn nutcracker_accepts(path: &Path) -> Option<bool> {
    let status = Command::new("/usr/sbin/nutcracker")
        .arg("-t")
        .arg("-c")
        .arg(path)
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) => Some(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_nutcracker_accepts_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nutcracker.yml");
    let mut files = corpus();
    files.push(fs::read_to_string("conf/nutcracker.yml").unwrap());
    let (mut accepted, mut refused) = (0, 0);
    for text in &files {
        fs::write(&path, text).unwrap();
        let Some(theirs) = nutcracker_accepts(&path) else {
            let skip = env::var("NUTHATCH_SKIP_NUTCRACKER").is_ok_and(|value| value == "1");
            assert!(
                skip,
                "no /usr/sbin/nutcracker: install it or set NUTHATCH_SKIP_NUTCRACKER=1"
            );
            return;
        };
        if theirs {
            accepted += 1;
            if let Err(errors) = config::load(&path) {
                panic!("nutcracker accepts this, but {errors}\n---\n{text}");
            }
        } else {
            refused += 1;
        }
    }
    assert!(accepted > 100, "nutcracker accepted only {accepted}");
    assert!(
        refused > 50,
        "nutcracker refused only {refused}: is it nutcracker?"
    );
}
