//! What the statistics port shows after a reload: what is configured now, and nothing that is no longer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crate::scene::{hang_up, reload, start, write_text};
use crate::support::{Client, Metrics, Pool, Proxy, RedisServer, eventually, get};

/// `/config`: the head of the answer, in lower case, and the pools.
#[track_caller]
fn config(proxy: &Proxy) -> (String, serde_json::Value) {
    let mut client = Client::connect(proxy.stats_addr());
    client.send("GET /config HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(client.read_to_end()).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    let pools = serde_json::from_str(body).expect("JSON");
    (head.to_ascii_lowercase(), pools)
}

/// The servers of `alpha` in it.
#[track_caller]
fn configured(pools: &serde_json::Value) -> Vec<&str> {
    let servers = pools["alpha"]["servers"].as_array().expect("a list");
    let names = servers.iter().map(|server| server["name"].as_str());
    names.map(|name| name.expect("a name")).collect()
}

fn sample(server: &str) -> String {
    format!("nuthatch_server_up{{pool=\"alpha\",server=\"{server}\"}}")
}

fn line(name: &str, server: &RedisServer) -> String {
    format!("{}:1 {name}", server.addr())
}

/// Requests until `/ready?strict` finds a server that is not up.
#[track_caller]
fn until_degraded(proxy: &Proxy, client: &mut Client) -> String {
    eventually("a server is out of reach", || {
        for n in 0..40_u64 {
            let key = format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            client.cmd(&["GET", &key]);
        }
        get(proxy, "/ready?strict").status == 503
    });
    get(proxy, "/ready").body
}

#[test]
fn an_added_server_is_shown_and_a_removed_one_is_not() {
    let [mut gone, stays, mut comes] = [(); 3].map(|()| RedisServer::start());
    let alpha = Pool::new("alpha").server(&line("stays", &stays));
    let proxy = start(&[alpha.clone().server(&line("gone", &gone))]);
    let mut client = proxy.client();
    gone.kill();
    let ready = until_degraded(&proxy, &mut client);
    assert!(ready.contains("server gone of pool alpha"), "{ready}");
    let (head, pools) = config(&proxy);
    assert_eq!(configured(&pools), ["stays", "gone"]);
    assert!(head.contains("nuthatch-config-generation: 1\r"), "{head}");
    assert!(head.contains("nuthatch-last-reload: none"), "{head}");

    let beta = Pool::new("beta").servers([&stays]);
    let beta = beta.set("redis_auth", "sesame").set("preconnect", false);
    reload(
        &proxy,
        &[alpha.server(&line("comes", &comes)), beta.clone()],
    );
    let (head, pools) = config(&proxy);
    assert_eq!(configured(&pools), ["stays", "comes"]);
    assert_eq!(pools["beta"]["redis_auth"], "********");
    assert!(head.contains("nuthatch-config-generation: 2\r"), "{head}");
    assert!(head.contains("nuthatch-last-reload: taken"), "{head}");
    let metrics = Metrics::of(&proxy);
    assert_eq!(metrics.value(&sample("comes")), 1.0);
    assert_eq!(metrics.value("nuthatch_pool_ready{pool=\"beta\"}"), 1.0);
    assert_eq!(metrics.value("nuthatch_config_generation"), 2.0);
    assert!(!metrics.text.contains("gone"), "{}", metrics.text);
    let ready = get(&proxy, "/ready?strict");
    assert_eq!(ready.status, 200, "{}", ready.body);

    // Servers that came by a reload are probed like others.
    comes.kill();
    let ready = until_degraded(&proxy, &mut client);
    assert!(ready.contains("server comes of pool alpha"), "{ready}");
    comes.restart();
    eventually("it is found again, though nobody asks it", || {
        get(&proxy, "/ready?strict").status == 200
    });

    write_text(&proxy, "alpha: {}\n");
    assert!(!hang_up(&proxy));
    let (head, same) = config(&proxy);
    assert_eq!(same, pools);
    assert!(head.contains("nuthatch-config-generation: 2\r"), "{head}");
    assert!(head.contains("nuthatch-last-reload: refused"), "{head}");
}

#[test]
fn no_reload_makes_the_instance_unready() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let alpha = Pool::new("alpha").servers(&servers[..1]);
    let moved = Pool::new("alpha").servers(&servers);
    let beta = Pool::new("beta").servers(&servers[1..]);
    let files = [
        vec![alpha.clone(), beta.clone()],
        vec![alpha.clone().set("backlog", 99)],
        vec![moved, beta.set("tcpkeepalive", true)],
    ];
    let proxy = start(&[alpha]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Relaxed) {
                let ready = get(&proxy, "/ready?strict");
                assert_eq!(ready.status, 200, "{}", ready.body);
                asked += 1;
            }
            asked
        });
        for file in files.iter().cycle().take(12) {
            reload(&proxy, file);
        }
        done.store(true, Relaxed);
        assert!(asking.join().expect("always ready") > 0);
    });
}
