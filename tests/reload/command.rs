//! `nuthatch reload`: what it prints and how it exits.

use std::process::{Command, Output};

use crate::scene::{command, start, write, write_text};
use crate::support::{Pool, Proxy, RedisServer, Stats, free_port};

fn run(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(Proxy::binary())
        .arg("reload")
        .args(arguments)
        .output()
        .expect("the program starts");
    parts(&output)
}

fn parts(output: &Output) -> (bool, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn changes_are_printed_and_a_bad_file_is_not_even_sent() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let pool = Pool::new("alpha").servers(&servers[..1]);
    let proxy = start(std::slice::from_ref(&pool));
    write(&proxy, &[pool.clone().servers(&servers[1..])]);
    let (good, out, err) = parts(&command(&proxy));
    assert!(good, "{err}");
    assert!(err.contains("syntax is ok"), "{err}");
    let address = servers[1].addr();
    let expected = format!(
        "pool 'alpha': server 'server2' added ({address}, weight 1)\nreloaded: 1 changes, generation 2\n"
    );
    assert_eq!(out, expected);

    write_text(&proxy, "alpha: {}\n");
    let (good, out, err) = parts(&command(&proxy));
    assert!(!good && out.is_empty(), "{out}");
    assert!(err.contains("listen: is missing"), "{err}");
    assert!(err.contains("not reloaded"), "{err}");
    let stats = Stats::of(&proxy);
    assert_eq!(stats.process("config_reload_failures"), 0);

    write(&proxy, &[pool]);
    let file = proxy.config_path();
    let (file, stats) = (
        file.to_str().expect("text"),
        proxy.stats_addr().1.to_string(),
    );
    let pid = proxy.pid().to_string();
    let (good, out, err) = run(&["-c", file, "--pid", &pid, "-s", &stats]);
    assert!(good && out.contains("removed"), "{out}{err}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let pool = Pool::new("alpha").servers(&[RedisServer::start()]);
    let proxy = start(&[pool]);
    let file = proxy.config_path();
    let file = file.to_str().expect("text");
    let nobody = free_port().to_string();
    let pid = proxy.pid().to_string();
    for (arguments, reason) in [
        (&["-c", file][..], "--pid"),
        (&["-c", file, "-p", "/nonexistent"], "reading pid file"),
        (&["-c", file, "-p", file], "has no process id"),
        (&["-c", file, "--pid", "0"], "is no process id"),
        (&["-c", file, "--pid", "999999999"], "sending SIGHUP"),
        (&["-c", "/nonexistent", "--pid", "1"], "cannot read"),
        (
            &["-c", file, "--pid", &pid, "-s", &nobody],
            "what came of it is not known",
        ),
    ] {
        let (good, _, err) = run(arguments);
        assert!(!good && err.contains(reason), "{arguments:?}: {err}");
    }
}
