//! Sentinels that say what no healthy one would: scripted ones in front of real masters.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::scene::{LAG, insist, moment, switches};
use crate::sentinel::{FakeMaster, FakeSentinel, Mode, quoted, settings};
use crate::support::{Client, Proxy, RedisServer, Value, eventually, within};

/// More than one poll.
const POLLS: Duration = Duration::from_millis(2500);

/// Three sentinels, a proxy with one shard, and masters for it; the first is where the shard is.
struct Scene {
    sentinels: Vec<FakeSentinel>,
    proxy: Proxy,
    masters: Vec<RedisServer>,
}

impl Scene {
    #[track_caller]
    fn start(masters: Vec<RedisServer>) -> Scene {
        Scene::with(masters, &[])
    }

    /// `options`: further keys of the pool.
    #[track_caller]
    fn with(masters: Vec<RedisServer>, options: &[(&str, &str)]) -> Scene {
        let sentinels: Vec<FakeSentinel> = (0..3).map(|_| FakeSentinel::start()).collect();
        let addresses: Vec<SocketAddr> = sentinels.iter().map(FakeSentinel::addr).collect();
        for sentinel in &sentinels {
            sentinel.set("shard0", FakeMaster::at(address(&masters[0]), 1));
            let own = sentinel.addr();
            let others = addresses.iter().copied().filter(|&other| other != own);
            sentinel.set_others(&others.collect::<Vec<_>>());
        }
        let mut pool = settings()
            .set("sentinels", quoted(addresses))
            .server(&format!("{}:1 shard0", masters[0].addr()));
        for (key, value) in options {
            pool = pool.set(key, value);
        }
        let proxy = Proxy::start(&[pool]);
        sentinels.iter().for_each(FakeSentinel::wait_subscribed);
        eventually("the start is over", || {
            let log = proxy.log();
            ["the masters of all servers are known", "have no master yet"]
                .iter()
                .any(|said| log.contains(said))
        });
        Scene {
            sentinels,
            proxy,
            masters,
        }
    }

    fn address(&self, master: usize) -> SocketAddr {
        address(&self.masters[master])
    }

    /// What all sentinels answer from now on; they publish nothing.
    fn set_all(&self, master: usize, epoch: u64) {
        for sentinel in &self.sentinels {
            sentinel.set("shard0", FakeMaster::at(self.address(master), epoch));
        }
    }

    /// As after a failover: all know, and all say it.
    fn switch(&self, from: usize, to: usize, epoch: u64) {
        self.set_all(to, epoch);
        for sentinel in &self.sentinels {
            sentinel.publish_switch("shard0", self.address(from), self.address(to));
        }
    }

    /// A write through the proxy and where it went.
    #[track_caller]
    fn serving(&self) -> usize {
        let key = format!("k{}", fastrand::u64(..));
        insist(&mut self.proxy.client(), LAG, &["SET", &key, "1"]);
        let holds = |server: &RedisServer| server.client().cmd(&["GET", &key]) != Value::Nil;
        let found = self.masters.iter().position(holds);
        found.expect("it was acknowledged")
    }

    #[track_caller]
    fn wait_serving(&self, master: usize, limit: Duration) {
        let serves = within(limit, || self.serving() == master);
        assert!(serves, "not from server {master}:\n{}", self.proxy.log());
    }
}

fn address(server: &RedisServer) -> SocketAddr {
    server.addr().parse().expect("an address")
}

fn masters(count: usize) -> Vec<RedisServer> {
    (0..count).map(|_| RedisServer::start()).collect()
}

#[test]
fn news_of_other_masters_is_not_ours() {
    let scene = Scene::start(masters(2));
    assert_eq!(scene.serving(), 0);
    let (ours, other) = (scene.address(0), scene.address(1));
    for sentinel in &scene.sentinels {
        for name in ["other", "shard", "shard00", "SHARD0", "*"] {
            sentinel.set(name, FakeMaster::at(other, 9));
            assert!(sentinel.publish_switch(name, ours, other) > 0);
        }
    }
    moment();
    assert_eq!(scene.serving(), 0);
    assert_eq!(switches(&scene.proxy, "shard0"), 0, "{}", scene.proxy.log());
    scene.switch(0, 1, 2);
    scene.wait_serving(1, LAG);
    assert_eq!(switches(&scene.proxy, "shard0"), 1, "{}", scene.proxy.log());
}

#[test]
fn malformed_news_changes_nothing() {
    let scene = Scene::start(masters(2));
    let (ours, other) = (scene.address(0), scene.address(1));
    let old = format!("shard0 {} {}", ours.ip(), ours.port());
    let mut payloads: Vec<Vec<u8>> = [
        "".into(),
        " ".into(),
        "shard0".into(),
        old.clone(),
        format!("{old} 127.0.0.1"),
        format!("{old} 127.0.0.1 "),
        format!("{old} 127.0.0.1 0"),
        format!("{old} 127.0.0.1 -1"),
        format!("{old} 127.0.0.1 65536"),
        format!("{old} 127.0.0.1 99999999999999999999"),
        format!("{old} ? {}", other.port()),
        format!("{old}  {}", other.port()),
        format!("{old} 0.0.0.0 {}", other.port()),
        format!("master {old}"),
        "slave x x x @ shard0".into(),
        "slave @ @ @ @ @ @ @".into(),
    ]
    .map(String::into_bytes)
    .into();
    payloads.push(b"\xff\xfe\0\r\n$5\r\n".to_vec());
    payloads.push(vec![b'x'; 1 << 20]);
    payloads.push([b"shard0 ".as_slice(), &vec![b' '; 1 << 20]].concat());
    let sentinel = &scene.sentinels[0];
    for channel in [
        "+switch-master",
        "+promoted-slave",
        "+selected-slave",
        "+sdown",
        "+odown",
        "+sentinel",
        "-failover-abort-no-good-slave",
        "+reset-master",
        "+monitor",
        "-monitor",
        "+tilt",
    ] {
        for payload in &payloads {
            sentinel.publish(channel, payload);
        }
    }
    sentinel.send_bytes(b"*3\r\n$7\r\nmessage\r\n$4\r\nnone\r\n$1\r\nx\r\n");
    sentinel.send_bytes(b"*0\r\n*-1\r\n:1\r\n+OK\r\n-ERR what\r\n$-1\r\n");
    moment();
    assert_eq!(scene.serving(), 0);
    // Bytes that are no reply at all, and one that never ends.
    for bytes in [
        b"hello\r\n".as_slice(),
        b"*99999999999\r\n",
        b"$1000000000\r\nx",
        b"*1\r\n",
    ] {
        sentinel.wait_subscribed();
        sentinel.send_bytes(bytes);
        moment();
        assert_eq!(scene.serving(), 0);
        sentinel.cut();
    }
    for bytes in [
        b"*0\r\n".as_slice(),
        b"+OK\r\n",
        b"*2\r\n$1\r\n?\r\n$1\r\n0\r\n",
        b"*1\r\n:1\r\n",
    ] {
        sentinel.set_mode(Mode::Bytes(bytes.to_vec()));
        sentinel.cut();
        moment();
        assert_eq!(scene.serving(), 0);
    }
    assert_eq!(switches(&scene.proxy, "shard0"), 0, "{}", scene.proxy.log());
    sentinel.set_mode(Mode::Truth);
    scene.set_all(1, 2);
    scene.wait_serving(1, POLLS);
    assert_eq!(switches(&scene.proxy, "shard0"), 1, "{}", scene.proxy.log());
}

/// The leader of a failover says so last, and may be later than the next failover; a sentinel that was
/// cut off says the old address for ever; a leader names the old address beside the new epoch.
#[test]
fn late_and_outdated_news_is_ignored() {
    let scene = Scene::start(masters(3));
    scene.switch(0, 1, 2);
    scene.wait_serving(1, LAG);
    scene.switch(1, 2, 3);
    scene.wait_serving(2, LAG);
    scene.sentinels[0].publish_switch("shard0", scene.address(0), scene.address(1));
    scene.sentinels[1].set("shard0", FakeMaster::at(scene.address(0), 1));
    let split = |address: SocketAddr| (address.ip().to_string(), address.port().to_string());
    let mut leader = FakeMaster::at(scene.address(2), 3);
    leader.stale_address = Some(split(scene.address(0)));
    leader.flags = "master,failover_in_progress".into();
    scene.sentinels[2].set("shard0", leader);
    let begin = Instant::now();
    while begin.elapsed() < POLLS {
        assert_eq!(scene.serving(), 2, "{}", scene.proxy.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(switches(&scene.proxy, "shard0"), 2, "{}", scene.proxy.log());
}

/// A replica that is announced too early answers READONLY; clients must not see that.
#[test]
fn an_announced_master_is_used_once_it_says_that_it_is_one() {
    let old = RedisServer::start();
    let port = old.port().to_string();
    let new = RedisServer::with_args(&["--replicaof", "127.0.0.1", &port]);
    let scene = Scene::start(vec![old, new]);
    let mut client = scene.proxy.client();
    insist(&mut client, LAG, &["SET", "before", "1"]);
    let mut new = scene.masters[1].client();
    scene.switch(0, 1, 2);
    let begin = Instant::now();
    let mut errors = 0;
    while begin.elapsed() < Duration::from_millis(700) {
        match client.cmd(&["SET", "during", "1"]) {
            Value::Error(error) => {
                assert!(!error.starts_with("READONLY"), "{error}");
                errors += 1;
            }
            done => assert_eq!(done, Value::ok()),
        }
    }
    println!("{errors} errors while the replica was none yet");
    assert_eq!(new.cmd(&["REPLICAOF", "NO", "ONE"]), Value::ok());
    insist(&mut client, LAG, &["SET", "after", "1"]);
    assert_eq!(new.cmd(&["GET", "after"]), Value::bulk("1"));
    assert_eq!(scene.masters[0].client().cmd(&["GET", "after"]), Value::Nil);
}

/// Nothing is published: the refusal of a write makes the proxy ask.
#[test]
fn a_master_demoted_by_hand_is_noticed_by_its_refusals() {
    let scene = Scene::with(masters(2), &[("sentinel_poll", "60000")]);
    assert_eq!(scene.serving(), 0);
    let new = scene.masters[1].port().to_string();
    scene.set_all(1, 2);
    let demoted = scene.masters[0]
        .client()
        .cmd(&["REPLICAOF", "127.0.0.1", &new]);
    assert_eq!(demoted, Value::ok());
    insist(&mut scene.proxy.client(), POLLS, &["SET", "k", "1"]);
    assert_eq!(
        scene.masters[1].client().cmd(&["GET", "k"]),
        Value::bulk("1")
    );
    assert_eq!(switches(&scene.proxy, "shard0"), 1, "{}", scene.proxy.log());
}

#[test]
fn a_missed_event_is_made_up_for_by_asking() {
    let scene = Scene::start(masters(3));
    scene.set_all(1, 2);
    scene.wait_serving(1, POLLS);
    // Links that stay open and carry nothing any more, as behind a broken router.
    for sentinel in &scene.sentinels {
        sentinel.set_mode(Mode::Silence);
    }
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(scene.serving(), 1);
    scene.set_all(2, 3);
    for sentinel in &scene.sentinels {
        sentinel.set_mode(Mode::Truth);
    }
    scene.wait_serving(2, Duration::from_secs(6));
    // And links that end, again and again.
    for _ in 0..10 {
        scene.sentinels.iter().for_each(FakeSentinel::cut);
        std::thread::sleep(Duration::from_millis(50));
    }
    scene
        .sentinels
        .iter()
        .for_each(FakeSentinel::wait_subscribed);
    scene.switch(2, 0, 4);
    scene.wait_serving(0, LAG);
    assert_eq!(switches(&scene.proxy, "shard0"), 3, "{}", scene.proxy.log());
}

/// Errors and ignorance move no shard.
#[test]
fn what_sentinels_do_not_know_changes_nothing() {
    let scene = Scene::start(masters(2));
    assert_eq!(scene.serving(), 0);
    for error in [
        "NOPERM no",
        "NOAUTH no",
        "LOADING no",
        "IDONTKNOW",
        "ERR no",
    ] {
        for sentinel in &scene.sentinels {
            sentinel.set_mode(Mode::Error(error.into()));
        }
        std::thread::sleep(POLLS / 4);
        assert_eq!(scene.serving(), 0, "{error}");
    }
    for sentinel in &scene.sentinels {
        sentinel.set_mode(Mode::Truth);
        sentinel.forget("shard0");
    }
    std::thread::sleep(POLLS);
    assert_eq!(scene.serving(), 0, "{}", scene.proxy.log());
    assert_eq!(switches(&scene.proxy, "shard0"), 0, "{}", scene.proxy.log());
    scene.switch(0, 1, 2);
    scene.wait_serving(1, POLLS);
}

#[test]
fn sentinels_are_not_given_the_servers_password() {
    let server = RedisServer::with_args(&["--requirepass", "secret"]);
    let scene = Scene::with(vec![server], &[("redis_auth", "secret")]);
    let mut client = Client::connect(scene.proxy.addr());
    assert_eq!(client.cmd(&["AUTH", "secret"]), Value::ok());
    insist(&mut client, LAG, &["SET", "k", "1"]);
    for sentinel in &scene.sentinels {
        let commands = sentinel.commands();
        assert!(!commands.is_empty());
        let told = commands
            .iter()
            .flatten()
            .any(|word| word.contains("secret"));
        assert!(!told, "{commands:?}");
    }
}
