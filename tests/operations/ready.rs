//! `/ready`: should this instance be given clients?

use rustix::process::Signal;
use serde_json::Value as Json;

use super::json;
use super::support::{
    Answer, FakeServer, Metrics, Pool, Proxy, RedisServer, Shards, Value, encode, eventually, get,
};

/// The values of a list of strings.
#[track_caller]
fn list(answer: &Answer, key: &str) -> Vec<String> {
    serde_json::from_value(json(answer)[key].clone()).expect(key)
}

#[test]
fn an_instance_without_servers_is_not_ready_until_one_is_back_though_nobody_asks() {
    let mut server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
    assert_eq!(get(&proxy, "/ready").status, 200, "nobody needed it yet");
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    assert_eq!(get(&proxy, "/ready").status, 200);
    server.kill();
    eventually("the instance is not ready", || {
        client.cmd(&["GET", "k"]);
        get(&proxy, "/ready").status == 503
    });
    let answer = get(&proxy, "/ready");
    assert_eq!(
        list(&answer, "reasons"),
        ["pool alpha has no server that is up"]
    );
    assert_eq!(
        list(&answer, "degraded"),
        ["server server1 of pool alpha: cannot be reached"]
    );
    let up = "nuthatch_server_up{pool=\"alpha\",server=\"server1\"}";
    let metrics = Metrics::of(&proxy);
    let values = [up, "nuthatch_ready", "nuthatch_pool_ready{pool=\"alpha\"}"];
    assert_eq!(values.map(|sample| metrics.value(sample)), [0.0; 3]);
    assert_eq!(get(&proxy, "/health").status, 200);

    // Not a request from here on.
    server.restart();
    eventually("the instance is ready again", || {
        get(&proxy, "/ready").status == 200
    });
    assert_eq!(Metrics::of(&proxy).value(up), 1.0);
    assert_eq!(list(&get(&proxy, "/ready"), "degraded"), [""; 0]);
}

#[test]
fn one_dead_server_of_several_degrades_and_only_strictness_minds() {
    let mut shards = Shards::start(2);
    let key = shards.key(0, 0).to_owned();
    let mut client = shards.client();
    shards.servers[0].kill();
    eventually("the server is known to be dead", || {
        client.cmd(&["GET", &key]);
        get(&shards.proxy, "/ready?strict").status == 503
    });
    let answer = get(&shards.proxy, "/ready");
    assert_eq!(answer.status, 200, "{answer:?}");
    let degraded = ["server server1 of pool alpha: cannot be reached"];
    assert_eq!(list(&answer, "degraded"), degraded);
    for (query, status) in [
        ("?all", 503),
        ("?strict=1", 503),
        ("?strict=0", 200),
        ("?x", 200),
    ] {
        assert_eq!(
            get(&shards.proxy, &format!("/ready{query}")).status,
            status,
            "{query}"
        );
    }
    shards.servers[0].restart();
    eventually("a request finds it well", || {
        client.cmd(&["GET", &key]);
        get(&shards.proxy, "/ready?strict").status == 200
    });
}

#[test]
fn a_draining_instance_answers_and_is_not_ready() {
    let mut fake = FakeServer::start();
    let pool = Pool::new("alpha").server(&fake.line("server1"));
    let mut proxy = Proxy::build(&[pool])
        .args(&["--shutdown-timeout", "60000"])
        .start();
    let mut client = proxy.client();
    client.send(encode(&["GET", "k"]));
    let mut backend = fake.accept();
    backend.expect(&["GET", "k"]);
    assert_eq!(get(&proxy, "/ready").status, 200);
    proxy.signal(Signal::TERM);
    eventually("the instance is not ready", || {
        get(&proxy, "/ready").status == 503
    });
    let answer = get(&proxy, "/ready");
    assert_eq!(json(&answer)["state"], "draining");
    assert_eq!(list(&answer, "reasons")[0], "draining");
    assert_eq!(get(&proxy, "/health").status, 200);
    backend.reply("$1\r\nv\r\n");
    assert_eq!(client.read(), Value::bulk("v"));
    assert!(proxy.wait().success());
}

#[test]
fn an_instance_that_has_not_heard_its_sentinels_is_starting() {
    // Takes connections and never says a word.
    let silent = FakeServer::start();
    let pool = Pool::new("alpha")
        .server("127.0.0.1:1:1 server1")
        .set("sentinels", format!("['{}']", silent.addr()))
        .set("sentinel_startup_wait", 60_000);
    let proxy = Proxy::start(&[pool]);
    let answer = get(&proxy, "/ready");
    assert_eq!(
        (answer.status, &json(&answer)["state"]),
        (503, &Json::from("starting"))
    );
    let why = "server server1 of pool alpha: the sentinels have not been heard yet";
    assert_eq!(list(&answer, "reasons")[0], why);
}
