//! Reloads of the configuration before, during and after a hand-over.

use rustix::process::Signal;

use crate::failing::FakeSuccessor;
use crate::site::{Address, Connection, Process, Site, eventually_refused};
use crate::support::{Pool, count, eventually};

/// How often the process has taken a file over.
fn reloads(process: &Process) -> usize {
    count(&process.log(), "' reloaded: ")
}

#[track_caller]
fn reload(process: &Process) {
    let before = reloads(process);
    process.signal(Signal::HUP);
    eventually("the file is taken over", || reloads(process) > before);
}

fn unix_pool(site: &Site, name: &str) -> (Address, String) {
    let path = site.path(name);
    let pool = Pool::new(name).listen(&path.display().to_string());
    (Address::Unix(path), pool.servers([&site.redis]).yaml())
}

#[test]
fn sockets_that_a_reload_opened_are_passed_on_and_those_it_closed_are_not() {
    let site = Site::new();
    let (goes, goes_yaml) = unix_pool(&site, "goes");
    let (comes, comes_yaml) = unix_pool(&site, "comes");
    let added = Pool::new("added").servers([&site.redis]);
    let added_address = Address::Tcp(added.addr().1);
    site.configure(&goes_yaml);
    let mut old = site.start(&[]);
    Connection::new(&goes).ping();
    site.configure(&(added.yaml() + &comes_yaml));
    reload(&old);
    eventually_refused(&goes);

    // They could not be bound a second time.
    let mut new = site.start(&[]);
    // Four pools, the statistics and the path for hand-overs.
    old.says("takes 6 sockets");
    old.ends();
    for address in [&site.tcp(), &site.unix(), &added_address, &comes] {
        Connection::new(address).ping();
    }

    // What was taken over can be changed and closed.
    let mut stays = Connection::new(&added_address);
    site.configure(&added.yaml());
    reload(&new);
    stays.ping();
    eventually_refused(&comes);
    assert!(!site.path("comes").exists(), "it was taken over");
    let mut last = site.start(&[]);
    new.says("takes 5 sockets");
    drop(stays);
    new.ends();
    last.signal(Signal::TERM);
    last.ends();
    assert!(!site.path("unix.sock").exists());
}

#[test]
fn a_soft_stop_after_reloads_serves_who_waits() {
    let site = Site::new();
    let mut process = site.start(&[]);
    let (comes, yaml) = unix_pool(&site, "comes");
    for more in [yaml.as_str(), "", yaml.as_str()] {
        site.configure(more);
        reload(&process);
    }
    let mut client = Connection::new(&comes);
    process.signal(Signal::USR1);
    process.says("serving 1 clients until they leave");
    client.ping();
    process.signal(Signal::HUP);
    process.says("the configuration is not read again, this is the end");
    drop(client);
    process.ends();
}

#[test]
fn a_reload_waits_for_a_hand_over_that_is_under_way() {
    let site = Site::new();
    let process = site.start(&[]);
    let heir = FakeSuccessor::connect(&site);
    heir.take(process.pid());
    let (comes, yaml) = unix_pool(&site, "comes");
    site.configure(&yaml);
    process.signal(Signal::HUP);
    process.says("SIGHUP");
    // Signals are followed meanwhile.
    process.signal(Signal::TTIN);
    process.says("SIGTTIN");
    assert_eq!(reloads(&process), 0, "the successor would be lost");
    drop(heir);
    process.says("it ended before it was ready; this process goes on");
    eventually("the file is taken over", || reloads(&process) == 1);
    Connection::new(&comes).ping();
}
