//! Two hundred reloads.

use std::fs;

use crate::load::{Load, prepare};
use crate::scene::{hang_up, start, write};
use crate::support::{Client, Pool, Proxy, RedisServer, Stats};

const RELOADS: usize = 200;

/// In KB.
fn resident(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).expect("a number")
}

fn files(proxy: &Proxy) -> usize {
    let folder = fs::read_dir(format!("/proc/{}/fd", proxy.pid()));
    folder.expect("it runs").count()
}

#[test]
fn memory_and_files_do_not_grow() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let mut direct: Vec<Client> = servers.iter().map(RedisServer::client).collect();
    direct.iter_mut().for_each(prepare);
    let many = |from: usize| {
        let pool = Pool::new("many").set("preconnect", false);
        (from..from + 100).fold(pool, |pool, n| {
            pool.server(&format!("{}:1 name{n}", servers[n % 3].addr()))
        })
    };
    let alpha = |count: usize| Pool::new("alpha").servers(&servers[..count]);
    let first = alpha(2);
    let odd = [first.clone(), many(0), Pool::new("odd").servers(&servers)];
    let even = [first.servers(&servers[2..]), many(50)];
    let proxy = start(&odd);
    let load = Load::start("load", proxy.addr(), None);
    let mut after_warm_up = (0, 0);
    for number in 0..RELOADS {
        write(&proxy, if number % 2 == 0 { &even } else { &odd });
        assert!(hang_up(&proxy));
        if number == RELOADS / 5 - 1 {
            after_warm_up = (resident(&proxy), files(&proxy));
        }
    }
    load.finish(&mut direct);
    let (memory, files) = (resident(&proxy), files(&proxy));
    let (memory_before, files_before) = after_warm_up;
    assert!(
        memory < memory_before + 6 * 1024,
        "{memory_before} KB, then {memory} KB"
    );
    assert!(
        files <= files_before + 8,
        "{files_before} files, then {files}"
    );
    assert_eq!(
        Stats::of(&proxy).process("config_generation"),
        RELOADS as u64 + 1
    );
}
