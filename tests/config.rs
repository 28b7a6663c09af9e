//! Configuration files as a user writes them: the samples we ship, spellings that are accepted, and for
//! every kind of mistake the exact report (`tests/conf/invalid_X.yml`, expected in `invalid_X.txt`).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuthatch::config::{
    Address, Config, Listen, Loaded, OPTIONS, PoolConfig, ServerConfig, Severity, load, parse,
};
use nuthatch::distribution::Distribution;
use nuthatch::hash::{Hash, HashTag};

fn good(text: &str) -> Loaded {
    parse(text, "test.yml").unwrap_or_else(|errors| panic!("{errors}\n---\n{text}"))
}

fn pool(config: &Config, name: &str) -> Arc<PoolConfig> {
    let pool = config.pools.iter().find(|pool| pool.name == name);
    Arc::clone(pool.unwrap_or_else(|| panic!("no pool {name}")))
}

fn servers(pool: &PoolConfig) -> Vec<String> {
    let show = |s: &ServerConfig| format!("{} {} {} {}", s.name, s.address, s.weight, s.position);
    pool.servers.iter().map(show).collect()
}

/// A pool of `count` servers that are correct but for what `line` makes of their number.
fn many_servers(count: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = "alpha:\n  listen: 127.0.0.1:1\n  redis: true\n  servers:\n".to_owned();
    for index in 0..count {
        writeln!(text, "   - {}", line(index)).unwrap();
    }
    text
}

#[test]
fn the_nutcracker_sample() {
    let loaded = load(Path::new("conf/nutcracker.yml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let names: Vec<_> = loaded.config.pools.iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["beta", "alpha", "delta", "gamma"]);

    let alpha = pool(&loaded.config, "alpha");
    assert_eq!(
        alpha.listen,
        Listen::Tcp("127.0.0.1:22121".parse().unwrap())
    );
    assert!(alpha.auto_eject_hosts);
    assert_eq!(alpha.server_retry_timeout, Duration::from_secs(2));
    assert_eq!(alpha.server_failure_limit, 1);
    assert_eq!(alpha.timeout, None);
    assert_eq!(servers(&alpha), ["127.0.0.1:6379 127.0.0.1:6379 1 0"]);

    let beta = pool(&loaded.config, "beta");
    let tag = HashTag {
        open: b'{',
        close: b'}',
    };
    assert_eq!(beta.hash_tag, Some(tag));
    assert_eq!(beta.timeout, Some(Duration::from_millis(400)));
    assert!(beta.servers.iter().all(|server| server.named));

    let gamma = pool(&loaded.config, "gamma");
    assert_eq!(gamma.hash, Hash::Murmur);
    assert_eq!(gamma.distribution, Distribution::Modula);
    assert_eq!(gamma.backlog, 1024);
    assert!(gamma.preconnect);
    assert_eq!(gamma.redis_auth.as_ref().unwrap().0, "foobared");
    assert_eq!(gamma.redis_db, 1);
    assert_eq!(gamma.server_connections.get(), 2);
    assert_eq!(gamma.servers[1].weight, 2);

    let delta = pool(&loaded.config, "delta");
    let listen = Listen::Unix {
        path: PathBuf::from("/tmp/nutcracker.delta.sock"),
        mode: Some(0o666),
    };
    assert_eq!(delta.listen, listen);
    assert!(delta.tcpkeepalive);
    assert_eq!(
        servers(&delta),
        [
            "server2 /tmp/redis.sock2 1 1",
            "/tmp/redis.sock1: /tmp/redis.sock1 1 0"
        ]
    );
}

#[test]
fn the_nuthatch_sample_has_every_key_with_its_default() {
    let path = Path::new("conf/nuthatch.yml");
    let loaded = load(path).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(
        servers(&loaded.config.pools[0]),
        [
            "one 127.0.0.1:6379 1 0",
            "two /tmp/redis.sock 1 1",
            "four [::1]:6381 1 3",
            "three 127.0.0.1:6380 1 2"
        ]
    );
    let text = fs::read_to_string(path).unwrap();
    for option in OPTIONS {
        let line = match option.default {
            Some(default) => format!("\n  {}: {default}\n", option.name),
            None => format!("\n  {}:", option.name),
        };
        assert!(text.contains(&line), "{path:?} lacks{line}");
    }
}

#[test]
fn absent_keys_have_their_defaults() {
    let loaded = good("p:\n  listen: 127.0.0.1:1\n  redis: true\n  servers: [h:11211:1]\n");
    let pool = &loaded.config.pools[0];
    assert_eq!(pool.hash, Hash::Fnv1a_64);
    assert_eq!(pool.hash_tag, None);
    assert_eq!(pool.distribution, Distribution::Ketama);
    assert_eq!(pool.timeout, None);
    assert_eq!(pool.backlog, 512);
    assert_eq!(pool.client_connections, None);
    assert_eq!(pool.redis_auth, None);
    assert_eq!(pool.redis_db, 0);
    assert_eq!(pool.server_connections.get(), 1);
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(30));
    assert_eq!(pool.server_failure_limit, 2);
    assert_eq!(pool.limits.max_request_bytes, 1 << 30);
    assert_eq!(pool.limits.max_argument_bytes(), 512 << 20);
    assert_eq!(pool.limits.max_arguments, 1 << 20);
    assert_eq!(pool.limits.client_pending_limit, 1 << 16);
    assert_eq!(pool.limits.client_output_limit, 1 << 30);
    let switches = [
        pool.tcpkeepalive,
        pool.reuseport,
        pool.preconnect,
        pool.auto_eject_hosts,
    ];
    assert_eq!(switches, [false; 4]);
    assert_eq!(pool.servers[0].name, "h");
    assert!(!pool.servers[0].named);
}

#[test]
fn values_reach_their_keys() {
    let text = "p: {listen: '[::1]:1', redis: true, client_connections: 7, reuseport: true, timeout: 0,\n\
                server_failure_limit: 0, max_request_bytes: 1mb, servers: [{addr: '/tmp/a:b'}]}";
    let loaded = good(text);
    let pool = &loaded.config.pools[0];
    assert_eq!(pool.listen.to_string(), "[::1]:1");
    assert_eq!(pool.client_connections.unwrap().get(), 7);
    assert!(pool.reuseport);
    assert_eq!(pool.timeout, None);
    assert_eq!(pool.server_failure_limit, 1);
    assert_eq!(pool.limits.max_argument_bytes(), 1 << 20);
    let address = Address::Unix(PathBuf::from("/tmp/a:b"));
    assert_eq!(pool.servers[0].address, address);
    assert_eq!(pool.servers[0].name, "/tmp/a:b:");
}

#[test]
fn one_configuration_in_many_spellings() {
    let plain = "alpha:\n  listen: ::1:22121\n  redis: true\n  hash_tag: \"{}\"\n  timeout: 400\n  servers:\n   \
                 - ::1:6379:1 one\n   - 10.0.0.1:6379:2\n";
    let expected = format!("{:?}", good(plain).config);
    let spellings = [
        plain.replace('\n', "\r\n"),
        plain.replace('\n', " # comment\n"),
        format!("\u{feff}%YAML 1.1\n--- # one document\n{plain}...\n"),
        plain.replace("::1:22121", "'[::1]:22121'"),
        plain.replace("true", "'true'").replace("400", "\"0400\""),
        plain
            .replace("alpha", "'alpha'")
            .replace("timeout:", "\"timeout\" :"),
        plain.replace("   - ::1:6379:1 one", "   -\n     '::1:6379:1 one'"),
        plain.replace("::1:6379:1 one", "{name: one, addr: '::1:6379'}"),
        plain.replace(
            "::1:6379:1 one",
            "{name: one, addr: '[::1]:6379', weight: 1}",
        ),
        plain.replace("10.0.0.1:6379:2", "weight: 2\n     addr: 10.0.0.1:6379"),
        "{alpha: {listen: '::1:22121', redis: true, hash_tag: '{}', timeout: 400, servers: \
         ['::1:6379:1 one', 10.0.0.1:6379:2]}}"
            .to_owned(),
        plain.replace("400", "&time 400\n  server_retry_timeout: 30000"),
    ];
    for text in spellings {
        assert_eq!(format!("{:?}", good(&text).config), expected, "{text}");
    }
}

#[test]
fn servers_and_pools_are_in_internal_order() {
    let loaded = good(
        "bb: &pool\n  listen: 127.0.0.1:1\n  redis: true\n  servers: [h:1:1 zz, h:2:1 b, h:3:1 aaa, h:4:1 a]\n\
         c: {listen: 127.0.0.1:2, redis: true, servers: [h:1:1]}\n\
         aa: {listen: 127.0.0.1:3, redis: true, servers: [h:1:1]}\n",
    );
    let names: Vec<_> = loaded.config.pools.iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["c", "aa", "bb"]);
    assert_eq!(
        servers(&loaded.config.pools[2]),
        ["a h:4 1 3", "b h:2 1 1", "zz h:1 1 0", "aaa h:3 1 2"]
    );
}

#[test]
fn every_kind_of_mistake_has_its_report() {
    let mut count = 0;
    for entry in fs::read_dir("tests/conf").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        let errors = load(&path).expect_err(&path.display().to_string());
        assert_eq!(format!("{errors}\n"), expected, "{}", path.display());
        count += 1;
    }
    assert!(count > 30, "only {count} files");
}

#[test]
fn passwords_are_never_shown() {
    let errors = parse(
        "p:\n  redis_auth: [hunter2]\n  hash: x\nq:\n  redis_auth: hunter2\n  redis_auth: hunter2\n",
        "f",
    );
    let errors = errors.unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains("hunter2"));
    let loaded =
        good("p: {listen: 127.0.0.1:1, redis: true, redis_auth: hunter2, servers: [h:1:1]}");
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn files_that_cannot_be_read() {
    let errors = load(Path::new("conf/absent.yml")).unwrap_err();
    let message = errors.to_string();
    assert!(
        message.starts_with("conf/absent.yml: cannot read the configuration: No such file"),
        "{message}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("latin1.yml");
    fs::write(&path, b"alpha:\n  listen: \xe4\n").unwrap();
    let errors = load(&path).unwrap_err();
    assert_eq!(
        errors.to_string(),
        format!("{}:2: is not UTF-8 text", path.display())
    );
}

/// The warnings of a pool with `keys` and servers of the given weights, without file and pool.
fn warnings(keys: &str, weights: &[u32]) -> Vec<String> {
    let mut text = format!("p:\n  redis: true\n{keys}  servers:\n");
    for (index, weight) in weights.iter().enumerate() {
        writeln!(text, "   - h:{}:{weight}", index + 1).unwrap();
    }
    let warnings = good(&text).warnings;
    assert!(warnings.iter().all(|w| w.severity == Severity::Warning));
    let start = "test.yml:";
    let show = |w: &String| w.strip_prefix(start).unwrap_or(w).to_owned();
    warnings
        .iter()
        .map(ToString::to_string)
        .map(|w| show(&w))
        .collect()
}

#[test]
fn traps_are_warned_of() {
    let local = "  listen: 127.0.0.1:1\n";
    let crc32 = format!("{local}  hash: crc32\n");
    assert_eq!(
        warnings(&crc32, &[1, 1]),
        [
            "4: warning: pool 'p': hash: crc32 with ketama sends nearly every key to one server: its \
             values stay below 2^15 of the ring's 2^32; a new pool should take crc32a"
        ]
    );
    let crc32_modula = format!("{crc32}  distribution: modula\n");
    assert_eq!(warnings(&crc32_modula, &[1, 1]), [""; 0]);
    assert_eq!(warnings(&crc32, &[1]), [""; 0]);

    let modula = format!("{local}  distribution: modula\n");
    assert_eq!(
        warnings(&modula, &[1, 1, 1]),
        [
            "4: warning: pool 'p': distribution: fnv1a_64 with modula over 3 slots (the sum of the \
             weights) spreads similar short keys badly, because 3 is divisible by 3; a new pool should \
             take fnv1a_32"
        ]
    );
    assert_eq!(warnings(&modula, &[1; 10]).len(), 1);
    assert_eq!(warnings(&modula, &[2, 4]).len(), 1);
    assert_eq!(warnings(&modula, &[1; 4]), [""; 0]);
    assert_eq!(warnings(&modula, &[3]), [""; 0]);
    let fnv1a_32 = format!("{modula}  hash: fnv1a_32\n");
    assert_eq!(warnings(&fnv1a_32, &[1, 1, 1]), [""; 0]);

    assert_eq!(
        warnings(local, &[1, 1000, 1000]),
        [
            "5: warning: pool 'p': servers: server 'h:1' gets no key: its weight is too small beside \
             the others for a point on the ring"
        ]
    );
    assert_eq!(warnings(local, &[1, 10]), [""; 0]);
    assert_eq!(warnings(&fnv1a_32, &[1, 1000, 1000]), [""; 0]);

    assert_eq!(
        warnings("  listen: 0.0.0.0:1\n", &[1]),
        [
            "3: warning: pool 'p': listen: '0.0.0.0:1' is a public address, and without redis_auth \
             anyone who reaches it can read and write"
        ]
    );
    assert_eq!(
        warnings("  listen: 0.0.0.0:1\n  redis_auth: x\n", &[1]),
        [""; 0]
    );
    assert_eq!(
        warnings("  listen: /tmp/s rw\n", &[1]),
        [
            "3: warning: pool 'p': listen: the file permission 'rw' is not octal and is read as no \
             permission at all"
        ]
    );
}

#[test]
fn large_files_are_read_quickly() {
    let start = Instant::now();
    let loaded = good(&many_servers(300, |index| {
        format!("10.0.0.1:{}:1 s{index}", index + 1)
    }));
    assert_eq!(loaded.config.pools[0].servers.len(), 300);
    let text = many_servers(2000, |index| format!("{{adr: 10.0.0.1:{}}}", index + 1));
    let errors = parse(&text, "f").unwrap_err();
    assert_eq!(
        errors.0.len(),
        4000,
        "an unknown key and a missing one for each server"
    );
    assert_eq!(errors.0[3999].line, Some(2004));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );

    let text = many_servers(65_536, |index| format!("10.0.0.1:1:1 s{index}"));
    let errors = parse(&text, "f").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "f:4: pool 'alpha': servers: has 65536 entries; accepted: at most 65535"
    );
}
