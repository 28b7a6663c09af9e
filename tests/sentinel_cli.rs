//! `nuthatch sentinel` and `nuthatch -t --live`: what runs, as the real program sees and tells it.

#[allow(dead_code, unused_imports)]
#[path = "support/sentinel/mod.rs"]
mod sentinel;
mod support;

use std::fs;
use std::process::Command;
use std::time::Instant;

use sentinel::{Cluster, FakeMaster, FakeSentinel, Mode, quoted, settings};
use support::{FakeServer, Pool, Proxy, RedisServer, Value};
use tempfile::TempDir;

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// The cells of the row of a server.
    #[track_caller]
    fn row(&self, server: &str) -> Vec<&str> {
        let rows = self.stdout.lines().map(cells);
        let mut found = rows.filter(|row| row.get(1) == Some(&server));
        let row = found.next();
        row.unwrap_or_else(|| panic!("no row of {server}: {self:?}"))
    }

    /// Is there a line of standard error with all these words?
    #[track_caller]
    fn assert_problem(&self, words: &[&str]) {
        let mut lines = self.stderr.lines();
        let found = lines.any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line with {words:?}:\n{}", self.stderr);
        assert_eq!(self.code, Some(1), "{self:?}");
    }
}

fn cells(line: &str) -> Vec<&str> {
    let cells = line.split("  ").map(str::trim);
    cells.filter(|cell| !cell.is_empty()).collect()
}

fn run(pools: &[&Pool], arguments: &[&str]) -> Ended {
    let folder = TempDir::new().expect("a temporary directory");
    let file = folder.path().join("nutcracker.yml");
    let yaml: String = pools.iter().map(|pool| pool.yaml()).collect();
    fs::write(&file, yaml).expect("the directory is ours");
    let output = Command::new(Proxy::binary())
        .args(arguments)
        .arg("-c")
        .arg(&file)
        .output()
        .expect("the program runs");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

fn ask(pool: &Pool) -> Ended {
    run(&[pool], &["sentinel"])
}

fn live(pool: &Pool) -> Ended {
    run(&[pool], &["-t", "--live"])
}

#[track_caller]
fn assert_ok(pool: &Pool) {
    let asked = ask(pool);
    assert_eq!(
        (asked.code, asked.stderr.as_str()),
        (Some(0), ""),
        "{asked:?}"
    );
    let checked = live(pool);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.ends_with(" are ok\n"), "{checked:?}");
}

/// Servers without names at the nodes with this index; no passwords.
fn unnamed(cluster: &Cluster, index: usize) -> Pool {
    let sentinels = cluster.sentinels().iter().map(|it| it.addr());
    (0..cluster.shards()).fold(
        settings().set("sentinels", quoted(sentinels)),
        |pool, shard| pool.server(&format!("'{}:1'", cluster.nodes(shard)[index].addr())),
    )
}

#[test]
fn a_sound_cluster_is_shown_and_passes_before_and_after_a_failover() {
    let mut cluster = Cluster::build().hasty().start();
    assert_ok(&cluster.pool());
    assert_ok(&unnamed(&cluster, 0));
    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    let master = cluster.settle(0);
    assert_ne!(master, 0);
    assert_ok(&cluster.pool());
    assert_ok(&unnamed(&cluster, 0));
    let asked = ask(&cluster.pool());
    let row = asked.row("shard0");
    let (was, is) = (cluster.nodes(0)[0].addr(), cluster.nodes(0)[master].addr());
    assert_eq!(row[..4], ["ok", "shard0", "shard0", &was.to_string()]);
    let answers = &row[4..7];
    assert!(answers.iter().all(|it| *it == answers[0]), "{row:?}");
    assert!(answers[0].starts_with(&format!("{is} epoch ")), "{row:?}");
    assert_eq!(row[7..], [format!("{is} master")]);

    cluster.sentinel(2).kill();
    let gone = cluster.sentinels()[2].addr().to_string();
    let asked = ask(&cluster.pool());
    assert_eq!(asked.code, Some(1));
    assert_eq!(asked.row("shard1")[0], "?");
    assert_eq!(asked.row("shard1")[6], "unreachable");
    assert!(
        asked
            .stdout
            .contains(&format!("sentinel {gone}: unreachable: ")),
        "{asked:?}"
    );
    live(&cluster.pool()).assert_problem(&[&gone, "cannot be asked", "start it"]);
}

#[test]
fn passwords_are_used_and_never_shown() {
    let mut cluster = Cluster::build()
        .shards(1)
        .password("d4t4-s3cr3t")
        .sentinel_password("w4tch-s3cr3t")
        .start();
    assert_ok(&cluster.pool());
    let wrong = live(&cluster.pool_with_password("wr0ng-s3cr3t"));
    wrong.assert_problem(&[
        "pool 'failover'",
        "'shard0'",
        "WRONGPASS",
        "correct redis_auth",
    ]);
    assert!(!wrong.stderr.contains("-s3cr3t"), "{wrong:?}");
    let none = live(&unnamed(&cluster, 0));
    none.assert_problem(&["NOAUTH", "set sentinel_auth"]);

    let changed = ["ACL", "SETUSER", "default", "resetpass", ">other"];
    assert_eq!(cluster.sentinels()[0].cmd(&changed), Value::ok());
    cluster.sentinel(0).use_password("other");
    let asked = ask(&cluster.pool());
    assert_eq!(asked.code, Some(1));
    assert_eq!(asked.row("shard0")[4], "denied");
    let checked = live(&cluster.pool());
    let refusing = cluster.sentinels()[0].addr().to_string();
    checked.assert_problem(&[&refusing, "WRONGPASS", "correct sentinel_auth"]);
    for text in [asked.stdout, asked.stderr, checked.stderr] {
        assert!(!text.contains("-s3cr3t"), "{text}");
    }
}

struct Fakes {
    sentinels: [FakeSentinel; 2],
    servers: [RedisServer; 2],
}

impl Fakes {
    fn start() -> Fakes {
        Fakes {
            sentinels: [FakeSentinel::start(), FakeSentinel::start()],
            servers: [RedisServer::start(), RedisServer::start()],
        }
    }

    /// Both sentinels say that this server is the master.
    fn agree(&self, name: &str, server: usize) {
        for sentinel in &self.sentinels {
            sentinel.set(name, self.master(server, 1));
        }
    }

    fn master(&self, server: usize, epoch: u64) -> FakeMaster {
        let address = self.servers[server].addr();
        FakeMaster::at(address.parse().expect("an address"), epoch)
    }

    /// One server, the first, with `suffix` behind its weight.
    fn pool(&self, suffix: &str) -> Pool {
        settings()
            .set(
                "sentinels",
                quoted(self.sentinels.iter().map(FakeSentinel::addr)),
            )
            .server(&format!("'{}:1{suffix}'", self.servers[0].addr()))
    }
}

#[test]
fn disagreement_is_marked() {
    let fakes = Fakes::start();
    fakes.agree("one", 0);
    assert_ok(&fakes.pool(" one"));
    fakes.sentinels[1].set("one", fakes.master(1, 7));
    let pool = fakes.pool(" one");
    let asked = ask(&pool);
    let [first, second] = &fakes.servers;
    assert_eq!(asked.code, Some(1));
    assert_eq!(
        asked.row("one"),
        [
            "!",
            "one",
            "one",
            &first.addr(),
            &format!("{} epoch 1", first.addr()),
            &format!("{} epoch 7", second.addr()),
            &format!("{} master, {} master", first.addr(), second.addr()),
        ]
    );
    live(&pool).assert_problem(&["server 'one'", "disagree", &second.addr(), "failover"]);

    fakes.sentinels[1].forget("one");
    assert_eq!(ask(&pool).row("one")[5], "unmonitored");
    live(&pool).assert_problem(&["does not monitor 'one'", "SENTINEL MONITOR"]);

    fakes.sentinels[1].set_mode(Mode::Error("ERR unknown command 'SENTINEL'".to_owned()));
    assert_eq!(ask(&pool).row("one")[5], "strange");
    live(&pool).assert_problem(&["does not answer as a sentinel", "unknown command"]);
    fakes.sentinels[1].set_mode(Mode::Silence);
    assert_eq!(ask(&pool).row("one")[5], "unreachable");
}

/// One sentinel announces the address inside, the other the one that we use.
#[test]
fn addresses_are_those_we_would_connect_to() {
    let fakes = Fakes::start();
    fakes.agree("one", 0);
    let inside = FakeMaster::at(([10, 9, 8, 7], 6379).into(), 1);
    fakes.sentinels[1].set("one", inside);
    let outside = fakes.servers[0].addr();
    let nat = format!("{{'10.9.8.7:6379': '{outside}'}}");
    let pool = |suffix| fakes.pool(suffix).set("sentinel_nat", &nat);
    assert_ok(&pool(" one"));
    assert_ok(&pool(""));
    let asked = ask(&pool(" one"));
    assert_eq!(asked.row("one")[5], format!("{outside} epoch 1"));
}

#[test]
fn the_sub_command_has_its_own_help_and_takes_a_pool() {
    let pools = [Pool::new("alpha").server("127.0.0.1:1:1 one")];
    for flag in ["-h", "--help"] {
        let ended = run(&pools.each_ref(), &["sentinel", flag]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let usage = "Usage: nuthatch sentinel [OPTIONS]";
        assert!(ended.stdout.contains(usage), "{ended:?}");
    }
    for (pool, mistake) in [
        ("alhpa", "there is no pool 'alhpa', did you mean 'alpha'?"),
        ("alpha", "pool 'alpha' has no sentinels"),
    ] {
        run(&pools.each_ref(), &["sentinel", "--pool", pool]).assert_problem(&[mistake]);
    }
}

#[test]
fn a_node_that_is_no_master_is_marked() {
    let fakes = Fakes::start();
    fakes.agree("one", 0);
    let port = fakes.servers[1].port().to_string();
    let replicate = ["REPLICAOF", "127.0.0.1", &port];
    assert_eq!(fakes.servers[0].client().cmd(&replicate), Value::ok());
    let pool = fakes.pool(" one");
    let asked = ask(&pool);
    assert_eq!(asked.code, Some(1));
    assert_eq!(asked.row("one")[0], "!");
    assert_eq!(
        asked.row("one")[6],
        format!("{} replica", fakes.servers[0].addr())
    );
    live(&pool).assert_problem(&["server 'one'", "is a replica, not a master"]);
}

#[test]
fn names_that_no_sentinel_knows_are_met_with_the_known_ones() {
    let fakes = Fakes::start();
    fakes.agree("users", 0);
    fakes.agree("orders", 1);
    let pool = fakes.pool(" usesr");
    let asked = ask(&pool);
    assert_eq!(asked.code, Some(1));
    assert_eq!(asked.row("usesr")[4..6], ["unmonitored", "unmonitored"]);
    let words = [
        "no sentinel monitors 'usesr'",
        "mean 'users'?",
        "orders, users",
    ];
    for word in words {
        assert!(asked.stdout.contains(word), "{word}: {}", asked.stdout);
    }
    live(&pool).assert_problem(&words);
}

#[test]
fn unnamed_servers_are_found_unless_absent_or_ambiguous() {
    let fakes = Fakes::start();
    let pool = fakes.pool("");
    let name = fakes.servers[0].addr();
    live(&pool).assert_problem(&["no sentinel knows", &name, "name its master"]);
    fakes.agree("one", 0);
    assert_eq!(ask(&pool).row(&name)[2], "one");
    assert_ok(&pool);
    fakes.agree("two", 0);
    let asked = ask(&pool);
    assert_eq!(asked.row(&name)[2], "-");
    assert!(
        asked
            .stdout
            .contains("belongs to several masters: one, two"),
        "{asked:?}"
    );
    live(&pool).assert_problem(&["several masters: one, two", "name its master"]);
}

#[test]
fn servers_without_sentinels_are_asked_as_requests_would_be() {
    let locked = RedisServer::with_args(&["--requirepass", "s3cret-s3cr3t"]);
    let open = RedisServer::start();
    let good = Pool::new("good").set("redis_auth", "s3cret-s3cr3t");
    let good = good.set("redis_db", 3).servers([&locked]);
    let socket = Pool::new("socket").server(&format!("{}:1 s", open.socket().display()));
    let checked = run(&[&good, &socket], &["-t", "--live"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");

    let gone = FakeServer::refusing();
    let bad = [
        Pool::new("wrong")
            .set("redis_auth", "wr0ng-s3cr3t")
            .servers([&locked]),
        Pool::new("none").servers([&locked]),
        Pool::new("db").set("redis_db", 99).servers([&open]),
        Pool::new("gone").server(&gone.line("server1")),
    ];
    let checked = run(&bad.each_ref(), &["-t", "--live"]);
    for (pool, todo) in [
        ("wrong", "correct redis_auth"),
        ("none", "set redis_auth"),
        ("db", "correct redis_db"),
        ("gone", "start it"),
    ] {
        checked.assert_problem(&[&format!("pool '{pool}': server 'server1': "), todo]);
    }
    assert!(
        checked.stderr.ends_with("are not ok, problems: 4\n"),
        "{checked:?}"
    );
    assert!(!checked.stderr.contains("-s3cr3t"), "{checked:?}");

    let asked = run(&[&good], &["sentinel"]);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), ""));
    assert_eq!(asked.stderr, "nuthatch: no pool has sentinels\n");
}
