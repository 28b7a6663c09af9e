//! `--watch`: nobody has to tell the process.

use std::fs;
use std::os::unix::fs::symlink;

use crate::scene::{start_with, write};
use crate::support::{Pool, RedisServer, Stats, Value, eventually};

#[test]
fn every_way_to_replace_the_file_is_seen() {
    let servers = [RedisServer::start()];
    let pool = |limit: u32| {
        Pool::new("alpha")
            .servers(&servers)
            .set("client_pending_limit", limit)
    };
    let first = pool(100);
    let mut proxy = start_with(std::slice::from_ref(&first), &["--watch"]);
    let path = proxy.config_path();
    let folder = path.parent().expect("a directory").to_owned();
    let text = |limit: u32| first.yaml().replace("100", &limit.to_string());
    let comes = |generation: u64| {
        eventually("the file is in use", || {
            Stats::of(&proxy).process("config_generation") == generation
        });
    };
    fs::write(&path, text(200)).expect("written");
    comes(2);
    let new = folder.join("new");
    fs::write(&new, text(300)).expect("written");
    fs::rename(&new, &path).expect("renamed");
    comes(3);
    // As Kubernetes mounts a ConfigMap.
    for (generation, name) in [(4, "..data1"), (5, "..data2")] {
        fs::write(folder.join(name), text(generation * 100)).expect("written");
        symlink(folder.join(name), folder.join("link")).expect("linked");
        fs::rename(folder.join("link"), &path).expect("renamed");
        comes(generation.into());
    }
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "broken").expect("written");
    eventually("it is refused", || {
        Stats::of(&proxy).process("config_reload_failures") == 1
    });
    write(&proxy, std::slice::from_ref(&first));
    comes(6);
    assert_eq!(proxy.client().cmd(&["SET", "k", "v"]), Value::ok());
    let stats = Stats::of(&proxy);
    assert_eq!(stats.process("config_reloads"), 5);
    assert_eq!(stats.process("config_reload_failures"), 1);
    assert!(proxy.is_running());
}
