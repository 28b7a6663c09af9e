//! The command line of the real program: what it prints where, and how it ends.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::Proxy;
use tempfile::TempDir;

const ONE_POOL: &str = "\
alpha:
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  hash_tag: \"{}\"
  distribution: ketama
  redis: true
  servers:
    - 127.0.0.1:6380:1 server1
    - 127.0.0.1:6381:1 server2
    - 127.0.0.1:6382:1 server3
    - 127.0.0.1:6383:1 server4
";

const TWO_POOLS: &str = "\
alpha:
  listen: 127.0.0.1:22121
  redis: true
  servers:
    - 127.0.0.1:6380:1
beta:
  listen: 127.0.0.1:22122
  redis: true
  distribution: random
  servers:
    - 127.0.0.1:6380:1
    - 127.0.0.1:6381:1
";

struct Folder(TempDir);

impl Folder {
    fn with(yaml: &str) -> Folder {
        let folder = TempDir::new().expect("a temporary directory");
        fs::write(folder.path().join("nutcracker.yml"), yaml).expect("the directory is ours");
        Folder(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs the program in the folder.
    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with_input(arguments, b"")
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut child = Command::new(Proxy::binary())
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin
            .write_all(input)
            .expect("the program reads, or input is empty");
        drop(stdin);
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().expect("the child is ours");
        Ended {
            code: status.code(),
            stdout: String::from_utf8(stdout).expect("text"),
            stderr: String::from_utf8(stderr).expect("text"),
        }
    }
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str]) -> Ended {
    Folder::with(ONE_POOL).run(arguments)
}

#[test]
fn version_is_printed() {
    for flag in ["-V", "--version"] {
        let ended = run(&[flag]);
        let expected = format!("This is nuthatch-{}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(ended.stdout, expected);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn help_names_every_option_of_nutcracker() {
    let ended = run(&["-h"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for option in [
        "-h, --help",
        "-V, --version",
        "-t, --test-conf",
        "-d, --daemonize",
        "-D, --describe-stats",
        "-v, --verbose",
        "-o, --output",
        "-c, --conf-file",
        "-s, --stats-port",
        "-a, --stats-addr",
        "-i, --stats-interval",
        "-p, --pid-file",
        "-m, --mbuf-size",
    ] {
        assert!(ended.stdout.contains(option), "{option}: {}", ended.stdout);
    }
}

#[test]
fn counters_are_described() {
    let ended = run(&["-D"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.starts_with("This is nuthatch-"));
    for line in [
        "pool stats:",
        "  client_eof          \"# eof on client connections\"",
        "server stats:",
        "  server_eof          \"# eof on server connections\"",
    ] {
        assert!(
            ended.stdout.lines().any(|l| l == line),
            "{line}: {}",
            ended.stdout
        );
    }
}

#[test]
fn information_wins_over_the_test_of_the_configuration() {
    for flag in ["-h", "-V", "-D"] {
        let ended = run(&["-t", flag, "-c", "missing.yml"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{flag}");
        assert!(ended.stdout.starts_with("This is nuthatch-"), "{flag}");
    }
}

#[test]
fn mistakes_win_over_information() {
    let ended = run(&["-h", "-s", "0"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(
        ended
            .stderr
            .starts_with("nuthatch: option -s value 0 is not a valid port\nUsage: ")
    );
}

#[test]
fn mistakes_are_followed_by_the_usage() {
    for (arguments, mistake) in [
        (&["-v", "x"][..], "option -v requires a number"),
        (&["-c"], "option -c requires a file name"),
        (
            &["-m", "1"],
            "mbuf chunk size must be between 512 and 16777216 bytes",
        ),
        (&["-z"], "invalid option -- 'z'"),
        (
            &["--max-memory", "lots"],
            "option --max-memory value 'lots' is not a size",
        ),
        (
            &["--workers=0"],
            "option --workers value 0 is not between 1 and 1024",
        ),
        (&["start"], "unexpected argument 'start'"),
    ] {
        let ended = run(arguments);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{arguments:?}"
        );
        let first = format!("nuthatch: {mistake}");
        assert!(
            ended.stderr.starts_with(&first),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("\nUsage: nuthatch "),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_good_configuration_passes_the_test() {
    let folder = Folder::with(ONE_POOL);
    let ended = folder.run(&["--test-conf", "--conf-file=nutcracker.yml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    let ok = "nuthatch: configuration file 'nutcracker.yml' syntax is ok\n";
    assert_eq!(ended.stderr, ok);
}

#[test]
fn the_default_configuration_file_is_nutcrackers() {
    let ended = run(&["-t"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("conf/nutcracker.yml"),
        "{}",
        ended.stderr
    );
}

#[test]
fn warnings_do_not_fail_the_test() {
    // Nearly every crc32 is below 2^15, where a single ring point stands.
    let folder = Folder::with(&ONE_POOL.replace("fnv1a_64", "crc32"));
    let ended = folder.run(&["-t", "-c", "nutcracker.yml"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("crc32"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("syntax is ok\n"), "{}", ended.stderr);
}

#[test]
fn every_mistake_of_a_configuration_is_named() {
    let yaml = ONE_POOL
        .replace("fnv1a_64", "fnv1a_46")
        .replace("ketama", "ketchup");
    let ended = Folder::with(&yaml).run(&["-t", "-c", "nutcracker.yml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.stderr);
    assert!(lines[0].contains("nutcracker.yml:3: ") && lines[0].contains("fnv1a_46"));
    assert!(lines[1].contains("nutcracker.yml:5: ") && lines[1].contains("ketchup"));
    assert_eq!(
        lines[2],
        "nuthatch: configuration file 'nutcracker.yml' syntax is invalid"
    );
}

#[test]
fn a_bad_configuration_does_not_run() {
    let ended = Folder::with("alpha:\n  listen: nowhere\n").run(&["-c", "nutcracker.yml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    for said in ["nutcracker.yml:2: ", "listen", "servers"] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

/// Hashes and servers as a nutcracker with this configuration has them.
#[test]
fn keys_are_located() {
    let folder = Folder::with(ONE_POOL);
    let ended = folder.run(&[
        "locate",
        "-c",
        "nutcracker.yml",
        "apple",
        "user:{42}:name",
        "{42}",
    ]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .map(|l| l.split('\t').collect())
        .collect();
    let columns = ["key", "hashed", "hash", "hash_hex", "server", "address"];
    assert_eq!(rows[0], columns);
    assert_eq!(rows[1][..4], ["apple", "apple", "1488911807", "0x58befdbf"]);
    assert_eq!(rows[2][..2], ["user:{42}:name", "42"]);
    // The braces alone are no key's tag part but its own.
    assert_eq!(rows[3][..2], ["{42}", "42"]);
    assert_eq!(rows[2][2..], rows[3][2..]);
    for row in &rows[1..] {
        let number: u16 = row[4].strip_prefix("server").unwrap().parse().unwrap();
        assert_eq!(row[5], format!("127.0.0.1:{}", 6379 + number));
    }
    assert_eq!(rows.len(), 4);
}

#[test]
fn keys_of_a_group_are_located_by_its_name() {
    let groups = "redis: true\n  key_groups: {rq: ['rq:']}";
    let folder = Folder::with(&ONE_POOL.replace("redis: true", groups));
    let keys = ["rq", "rq:1", "rq:{42}"];
    let ended = folder.run(
        &[
            &["locate", "--no-header", "-c", "nutcracker.yml"],
            &keys[..],
        ]
        .concat(),
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let rows = ended
        .stdout
        .lines()
        .map(|line| line.split_once('\t').expect(line));
    let (shown, places): (Vec<&str>, Vec<&str>) = rows.unzip();
    assert_eq!(shown, keys);
    assert!(places[0].starts_with("rq\t"), "{places:?}");
    assert_eq!(places, [places[0]; 3]);
}

#[test]
fn keys_are_read_from_standard_input() {
    let folder = Folder::with(ONE_POOL);
    let input = b"one\n\xff\x00\ttwo\r\n\nlast";
    let expected = ["one", r"\xff\x00\ttwo\r", "", "last"];
    for more in [&[][..], &["-"]] {
        let arguments = [&["locate", "--no-header", "-c", "nutcracker.yml"], more].concat();
        let ended = folder.run_with_input(&arguments, input);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let keys: Vec<&str> = ended
            .stdout
            .lines()
            .map(|line| line.split('\t').next().unwrap())
            .collect();
        assert_eq!(keys, expected);
        // An empty key has the hash 0.
        assert!(
            ended
                .stdout
                .lines()
                .nth(2)
                .unwrap()
                .starts_with("\t\t0\t0x00000000\t")
        );
    }
}

#[test]
fn a_pool_must_be_named_if_there_are_several() {
    let folder = Folder::with(TWO_POOLS);
    let locate = |more: &[&str]| folder.run(&[&["locate", "-c", "nutcracker.yml"], more].concat());
    let ended = locate(&["key"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("--pool is needed") && ended.stderr.contains("beta, alpha"));
    let ended = locate(&["--pool", "alhpa", "key"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("no pool 'alhpa', did you mean 'alpha'? (pools: beta, alpha)"),
        "{}",
        ended.stderr
    );
    let ended = locate(&["--pool", "alpha", "key"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.ends_with("\t127.0.0.1:6380\t127.0.0.1:6380\n"));
}

#[test]
fn random_pools_are_said_to_be_random() {
    let folder = Folder::with(TWO_POOLS);
    let ended = folder.run(&["locate", "-c", "nutcracker.yml", "--pool", "beta", "key"]);
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("distribution: random"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stdout.ends_with("\t(random)\t-\n"),
        "{}",
        ended.stdout
    );
}

#[test]
fn locate_names_every_mistake_of_a_configuration() {
    let folder = Folder::with("alpha:\n  listen: nowhere\n");
    let ended = folder.run(&["locate", "-c", "nutcracker.yml", "key"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("listen") && ended.stderr.contains("servers"));
}

#[test]
fn locate_has_its_own_help() {
    for flag in ["-h", "--help"] {
        let ended = run(&["locate", flag]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(
            ended.stdout.contains("Usage: nuthatch locate"),
            "{}",
            ended.stdout
        );
    }
}
