//! The log: what is told once, what is cut off, and what is never said.

mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;

use support::{
    Client, FakeServer, PATIENCE, Pool, Proxy, RedisServer, Stats, count, encode, eventually,
    keys_on,
};

/// Every line of a JSON log, parsed.
#[track_caller]
fn objects(log: &str) -> Vec<Json> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    log.lines().map(parse).collect()
}

/// Lines that begin so, and lines dropped that did, as told.
fn told(objects: &[Json], message: &str) -> (usize, u64) {
    let text = |object: &Json| object["message"].as_str().unwrap_or_default().to_owned();
    let lines = objects.iter().filter(|o| text(o).starts_with(message));
    let similar = format!(" s: {message}");
    let dropped = objects.iter().filter(|o| text(o).contains(&similar));
    let dropped = dropped.map(|o| o["dropped"].as_u64().expect("a number"));
    (lines.count(), dropped.sum())
}

#[track_caller]
fn stop(proxy: &mut Proxy) -> String {
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.log()
}

/// The way of a crash loop: it answers once, then dies on the next request.
#[test]
fn a_failing_server_under_load_does_not_flood_the_log() {
    const ROUNDS: u64 = 300;
    let mut server = FakeServer::start();
    let pool = Pool::new("alpha").server(&server.line("server1"));
    let build = Proxy::build(&[pool]);
    let mut proxy = build.args(&["--log-format", "json"]).start();
    let mut client = proxy.client();
    for _ in 0..ROUNDS {
        let mut backend = server.accept_for(&mut client, &["GET", "k"]);
        backend.reply("$-1\r\n");
        client.read();
        client.send(encode(&["GET", "k"]));
        backend.expect(&["GET", "k"]);
        backend.close();
        assert!(client.read().is_error());
    }
    let failures = Stats::of(&proxy).server("alpha", "server1", "server_eof");
    assert_eq!(failures, ROUNDS);
    let log = objects(&stop(&mut proxy));
    let failed = told(&log, "server fails: Connection closed");
    assert_eq!(failed.0 as u64 + failed.1, ROUNDS, "{log:#?}");
    // The last recovery is not followed by another.
    let recovered = told(&log, "server answers again");
    assert_eq!(recovered.0 as u64 + recovered.1, ROUNDS - 1);
    assert!(failed.1 > ROUNDS / 2, "most are dropped: {log:#?}");
    assert!(log.len() < ROUNDS as usize / 3, "{} lines", log.len());
    let last = |back: usize| log[log.len() - back]["message"].as_str().unwrap();
    let total = failed.1 + recovered.1;
    assert_eq!(last(1), "stopped");
    assert_eq!(
        last(2),
        format!("{total} log lines were dropped since the start")
    );
    let failing = log
        .iter()
        .find(|o| o["address"].is_string() && o["level"] == "WARN");
    let failing = failing.expect("a failure");
    assert_eq!(
        (&failing["pool"], &failing["server"]),
        (&"alpha".into(), &"server1".into())
    );
    assert_eq!(failing["address"], server.addr());
}

#[test]
fn the_count_of_dropped_lines_is_told_though_the_flood_is_over() {
    const REFUSALS: u64 = 100;
    let server = RedisServer::start();
    let pool = Pool::new("alpha")
        .set("client_connections", 1)
        .servers([&server]);
    let build = Proxy::build(&[pool]);
    let proxy = build.args(&["--log-format", "json"]).start();
    let mut served = proxy.client();
    assert!(!served.cmd(&["PING"]).is_error());
    for _ in 0..REFUSALS {
        let mut refused = proxy.client();
        assert!(refused.read().is_error());
        refused.expect_closed();
    }
    let refused = Stats::of(&proxy).pool("alpha", "client_refused");
    assert_eq!(refused, REFUSALS);
    // A window, and a second for the clock that looks after it.
    let all_told = || {
        let (passed, dropped) = told(&objects(&proxy.log()), "client refused, client_connections");
        passed as u64 + dropped == refused && dropped > refused / 2
    };
    assert!(support::within(2 * PATIENCE, all_told), "{}", proxy.log());
    let log = objects(&proxy.log());
    let dropped = log.iter().filter_map(|line| line["dropped"].as_u64());
    assert_eq!(
        Stats::of(&proxy).process("log_lines_dropped"),
        dropped.sum::<u64>()
    );
    let line = log.iter().find(|o| o["dropped"].is_u64()).expect("told");
    assert_eq!(
        (&line["pool"], &line["level"]),
        (&"alpha".into(), &"WARN".into())
    );
}

#[test]
fn a_change_is_told_once_however_many_workers_see_it() {
    let mut server = RedisServer::start();
    let pool = Pool::new("alpha").servers([&server]);
    let proxy = Proxy::build(&[pool]).args(&["--workers", "4"]).start();
    let mut clients: Vec<Client> = (0..16).map(|_| proxy.client()).collect();
    let ask = |clients: &mut Vec<Client>| -> Vec<bool> {
        let ok = clients
            .iter_mut()
            .map(|c| !c.cmd(&["SET", "k", "v"]).is_error());
        ok.collect()
    };
    assert_eq!(ask(&mut clients), [true; 16]);
    server.kill();
    // Until every worker has met the refused connection, whatever it saw first.
    eventually("all fail", || ask(&mut clients) == [false; 16]);
    assert_eq!(ask(&mut clients), [false; 16]);
    assert_eq!(
        count(&proxy.log(), "fails: Connection refused"),
        1,
        "{}",
        proxy.log()
    );
    server.restart();
    eventually("all serve", || ask(&mut clients) == [true; 16]);
    assert_eq!(count(&proxy.log(), "answers again"), 1, "{}", proxy.log());
}

/// Words that no log may contain; each is sent to the proxy in some place.
const KEY: &str = "k3y-of-somebody";
const VALUE: &str = "v4lue-of-somebody";
const PASSWORD: &str = "p4ssword-of-somebody";

/// Everything that goes wrong with a client's words in it, against a pool with a password.
fn provoke_clients(proxy: &Proxy, elsewhere: &str) {
    let fails = |commands: &[&[&str]]| {
        let mut client = proxy.client();
        assert_eq!(client.cmd(&["AUTH", PASSWORD]), support::Value::ok());
        for command in commands {
            assert!(client.cmd(command).is_error(), "{command:?}");
        }
    };
    let big = format!("{VALUE}{}", "x".repeat(4096));
    fails(&[
        &["NONSENSE", KEY, VALUE],
        &[&format!("{KEY}-as-command"), VALUE],
        &["SET", KEY],
        &["SUNION", KEY, elsewhere],
        &["DEBUG", "OBJECT", KEY],
        &["SELECT", VALUE],
        &[
            "HELLO",
            "3",
            "AUTH",
            "default",
            &format!("{PASSWORD}-wrong"),
        ],
        &["AUTH", KEY, PASSWORD],
        &["AUTH", &format!("{PASSWORD}-wrong")],
        &["EVAL", VALUE, KEY],
    ]);
    fails(&[&["SET", KEY, &big]]);
    // Who cannot subscribe is closed.
    fails(&[&["SUBSCRIBE", KEY]]);
    let mut stranger = proxy.client();
    assert!(stranger.cmd(&["SET", KEY, VALUE]).is_error(), "no password");
    for malformed in [
        format!("*3\r\n$3\r\nSET\r\n${KEY}\r\n"),
        format!("*2\r\n$3\r\nGET\r\n:{KEY}\r\n"),
        format!("*{VALUE}\r\n"),
        format!("SET {KEY} \"{VALUE}\r\n"),
        format!("{KEY} {VALUE}\r\n"),
    ] {
        let mut client = proxy.client();
        assert_eq!(client.cmd(&["AUTH", PASSWORD]), support::Value::ok());
        client.send(malformed);
        assert!(client.read().is_error());
    }
    // Gone in the middle of a request, and with replies it never read.
    let mut leaving = proxy.client();
    leaving.send(encode(&["AUTH", PASSWORD]));
    leaving.send(format!("*3\r\n$3\r\nSET\r\n$100\r\n{KEY}"));
}

/// A pool over a server of the test's and a dead one, and a key of each.
fn exposed(fake: &FakeServer, dead: &FakeServer) -> (Pool, [String; 2]) {
    let pool = Pool::new("alpha")
        .set("redis_auth", PASSWORD)
        .set("max_request_bytes", "1kb")
        .set("hash_tag", "\"{}\"")
        .server(&fake.line("server1"))
        .server(&dead.line("server2"));
    let keys = [1, 2].map(|server| format!("{{{}}}{KEY}", keys_on(server, 2)[0]));
    (pool, keys)
}

#[track_caller]
fn says_nothing_of_clients(log: &str) {
    for word in ["k3y-of", "v4lue-of", "p4ssword-of"] {
        assert!(!log.contains(word), "{word} in:\n{log}");
    }
}

#[test]
fn what_clients_send_is_not_logged() {
    for (level, format) in [("5", "human"), ("5", "json"), ("11", "human")] {
        let (fake, dead) = (FakeServer::start(), FakeServer::refusing());
        let (pool, [here, there]) = exposed(&fake, &dead);
        let arguments = ["-v", level, "--log-format", format];
        let mut proxy = Proxy::build(&[pool]).args(&arguments).start();
        let mut client = proxy.client();
        assert_eq!(client.cmd(&["AUTH", PASSWORD]), support::Value::ok());
        let crossed = client.cmd(&["SUNION", &here, &there]);
        assert!(crossed.error().starts_with("CROSSSLOT"), "{crossed:?}");
        let refused = client.cmd(&["SET", &there, VALUE]);
        assert!(
            refused.error().contains("Connection refused"),
            "{refused:?}"
        );
        provoke_clients(&proxy, &there);
        drop(client);
        let log = stop(&mut proxy);
        assert!(log.contains("server fails: Connection refused"), "{log}");
        says_nothing_of_clients(&log);
        if format == "json" {
            objects(&log);
        }
    }
}

/// Servers that throw our own words back at us, to AUTH, to a request, and behind its reply. Each has a
/// proxy of its own, so that no line is dropped.
#[test]
fn what_servers_say_of_clients_is_not_logged() {
    let echo = format!(
        "-ERR unknown command 'AUTH', with args beginning with: '{PASSWORD}' '{KEY}' '{VALUE}' \r\n"
    );
    let ok = "+OK\r\n";
    let error = format!("-ERR {KEY}\r\n");
    let scripts = [
        [echo.as_str(), "", ""],
        [&format!("-{PASSWORD}\r\n"), "", ""],
        [&format!("-WRONGPASS {PASSWORD}\r\n"), "", ""],
        [&format!("+{PASSWORD}\r\n"), "", ""],
        [ok, &format!("${VALUE}\r\n"), ""],
        [ok, &format!("{VALUE}\r\n"), ""],
        [ok, &error, &echo],
        [ok, &error, &format!("+{VALUE}\r\n")],
        [ok, &error, &format!("{VALUE}\r\n")],
    ];
    for [to_auth, to_get, behind] in scripts {
        let (mut fake, dead) = (FakeServer::start(), FakeServer::refusing());
        let (pool, [here, _]) = exposed(&fake, &dead);
        let mut proxy = Proxy::build(&[pool]).args(&["-v", "11"]).start();
        let mut client = proxy.client();
        assert_eq!(client.cmd(&["AUTH", PASSWORD]), support::Value::ok());
        client.send(encode(&["GET", &here]));
        let mut backend = fake.accept();
        backend.answer(&["AUTH", PASSWORD], to_auth);
        if to_auth == ok {
            backend.answer(&["GET", &here], to_get);
        }
        assert!(client.read().is_error());
        backend.reply_late(behind);
        backend.expect_closed();
        eventually("it is logged", || proxy.log().contains("server fails: "));
        drop(client);
        says_nothing_of_clients(&stop(&mut proxy));
    }
}

/// A sentinel that is older than its AUTH repeats the password, once for each link to it.
#[test]
fn what_sentinels_say_of_passwords_is_not_logged() {
    let mut sentinel = FakeServer::start();
    let pool = Pool::new("alpha")
        .set("sentinels", format!("['{}']", sentinel.addr()))
        .set("sentinel_auth", PASSWORD)
        .server("127.0.0.1:1:1 server1");
    let mut proxy = Proxy::build(&[pool]).args(&["-v", "11"]).start();
    for _ in 0..2 {
        let mut link = sentinel.accept();
        link.answer(
            &["AUTH", PASSWORD],
            format!("-ERR unknown command `AUTH`, with args beginning with: `{PASSWORD}`, \r\n"),
        );
    }
    let refusal = "sentinel refuses us: ERR unknown command `AUTH`";
    eventually("it is logged", || proxy.log().contains(refusal));
    says_nothing_of_clients(&stop(&mut proxy));
}

#[test]
fn no_password_of_the_configuration_is_logged() {
    let folder = TempDir::new().expect("a temporary directory");
    let file = folder.path().join("nutcracker.yml");
    for line in [
        format!("redis_auth: {PASSWORD}\n  redis_auth: {PASSWORD}"),
        format!("redis_auth: [{PASSWORD}]"),
        format!("redis_auth: {{a: {PASSWORD}}}"),
        format!("redis_auth: \"{PASSWORD}"),
        format!("redis_auth {PASSWORD}"),
        format!("redis_auth:{PASSWORD}"),
        format!("redis_auht: {PASSWORD}"),
        format!("redis_auth: *{PASSWORD}"),
        format!("redis_auth: !{PASSWORD} x"),
        format!("redis_auth: @{PASSWORD}"),
        format!("redis_auth: {PASSWORD}: x"),
        format!("sentinel_auth: {PASSWORD}"),
        format!("sentinels: ['127.0.0.1:1']\n  sentinel_auth: {{pasword: {PASSWORD}}}"),
        format!("sentinels: ['127.0.0.1:1']\n  sentinel_auth: {{password: [{PASSWORD}]}}"),
    ] {
        let yaml = format!(
            "alpha:\n  listen: 127.0.0.1:1\n  redis: true\n  {line}\n  servers:\n    - 127.0.0.1:1:1\n"
        );
        fs::write(&file, &yaml).expect("the directory is ours");
        for mode in [&["-t"][..], &[], &["--log-format", "json"]] {
            let mut command = Command::new(Proxy::binary());
            let output = command.args(mode).arg("-c").arg(&file).output();
            let output = output.expect("the program runs");
            assert_eq!(output.status.code(), Some(1), "{yaml}");
            let said = String::from_utf8(output.stderr).expect("text");
            assert!(said.contains("nutcracker.yml"), "{said}");
            assert!(!said.contains("p4ssword"), "{yaml}{said}");
            if mode.len() == 2 {
                assert_eq!(objects(&said).last().unwrap()["message"], "not started");
            }
        }
    }
}

#[test]
fn why_it_did_not_start_is_said_at_every_level() {
    let output = Command::new(Proxy::binary())
        .args(["-v", "0", "-c", "/nonexistent/file.yml"])
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("ERROR") && said.contains("/nonexistent/file.yml"),
        "{said}"
    );
}

#[test]
fn a_json_log_is_reopened_and_follows_the_level() {
    let server = RedisServer::start();
    let pool = Pool::new("alpha").servers([&server]);
    let mut proxy = Proxy::build(&[pool])
        .args(&["--log-format", "json"])
        .start();
    let old = proxy.log_path().with_extension("1");
    fs::rename(proxy.log_path(), &old).expect("it is there");
    proxy.signal(Signal::HUP);
    eventually("it is reopened", || {
        proxy.log().contains("log file reopened")
    });
    for level in ["6 (info)", "7 (debug)"] {
        proxy.signal(Signal::TTIN);
        eventually("the level is raised", || proxy.log().contains(level));
    }
    let mut client = proxy.client();
    let from = client
        .stream()
        .local_addr()
        .expect("it is connected")
        .to_string();
    assert_eq!(client.cmd(&["SET", "k", "v"]), support::Value::ok());
    drop(client);
    eventually("the end is told", || {
        count(&proxy.log(), "client closed: by the client") > 0
    });
    let mut broken = proxy.client();
    broken
        .stream()
        .write_all(b"*x\r\n")
        .expect("it is connected");
    assert!(broken.read().is_error());
    drop(broken);
    let log = objects(&stop(&mut proxy));
    let old = objects(&fs::read_to_string(old).expect("it is there"));
    assert_eq!(old[0]["level"], "INFO");
    assert!(
        old.iter().any(|o| o["target"] == "nuthatch::notice"),
        "{old:#?}"
    );
    let of_client = |message: &str| -> Vec<&Json> {
        let lines = log.iter().filter(|o| o["client"] == from.as_str());
        let lines = lines.filter(|o| o["message"].as_str().unwrap().starts_with(message));
        lines
            .filter(|o| o["pool"] == "alpha" && o["level"] == "DEBUG")
            .collect()
    };
    assert_eq!(of_client("client accepted").len(), 1, "{log:#?}");
    assert_eq!(
        of_client("client closed: by the client").len(),
        1,
        "{log:#?}"
    );
    let connected = log
        .iter()
        .find(|o| o["message"] == "connected")
        .expect("a server");
    assert_eq!(connected["address"], server.addr().to_string());
}
