//! The topology task against real Redis servers: who is ejected, what a probe accepts, how names
//! become addresses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use nuthatch::config::{
    Address, CommandRules, Config, Limits, Listen, PoolConfig, Secret, ServerConfig, SlowRequests,
};
use nuthatch::distribution::Distribution;
use nuthatch::hash::Hash;
use nuthatch::stats::{ControlStats, PoolNames, Stats};
use nuthatch::topology::task::{TopologyHandle, spawn};
use nuthatch::topology::{Endpoint, Event, Topology};
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

/// From an ejection to its probe, and from one probe to the next.
const RETRY: Duration = Duration::from_millis(60);

/// Long enough for several probes.
const SEVERAL_PROBES: Duration = Duration::from_millis(400);

/// Most that anything here should take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server without persistence, killed when dropped.
struct Redis {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

/// A port of ours where nothing listens: connections are refused until a server that sets SO_REUSEADDR,
/// as Redis does, takes it.
struct Port {
    socket: Socket,
    number: u16,
}

impl Port {
    fn reserve() -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        // Only now, so that the kernel chose a port of nobody else's.
        socket.set_reuse_address(true).unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Port { socket, number }
    }
}

impl Redis {
    fn start(port: Port, options: &[&str]) -> Redis {
        let Port {
            socket: _reserved,
            number: port,
        } = port;
        let directory = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--databases", "4"])
            .arg("--dir")
            .arg(directory.path())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Redis {
            process,
            port,
            _directory: directory,
        };
        let give_up = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    /// Runs one inline command and checks that it succeeds.
    fn command(&self, line: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+OK\r\n", "{line}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A pool that ejects after 2 failures and probes every [`RETRY`].
fn pool(servers: &[(&str, u16)]) -> PoolConfig {
    PoolConfig {
        name: "pool".to_string(),
        removed: false,
        listen: Listen::Tcp(([127, 0, 0, 1], 0).into()),
        hash: Hash::Md5,
        hash_tag: None,
        key_groups: None,
        distribution: Distribution::Ketama,
        timeout: None,
        backlog: 512,
        client_connections: None,
        tcpkeepalive: false,
        reuseport: false,
        redis_auth: None,
        redis_db: 0,
        databases: 0,
        preconnect: false,
        auto_eject_hosts: true,
        server_connections: NonZeroU32::MIN,
        server_retry_timeout: RETRY,
        server_failure_limit: 2,
        slow_requests: SlowRequests::default(),
        learn_commands: false,
        commands: CommandRules::default(),
        limits: Limits {
            max_request_bytes: 1 << 29,
            max_arguments: 1 << 20,
            client_pending_limit: 1 << 10,
            client_output_limit: 1 << 26,
            dedicated_connections: 4,
        },
        proxy_protocol: false,
        allow_flush: false,
        sentinel: None,
        servers: (0..)
            .zip(servers)
            .map(|(position, &(host, port))| ServerConfig {
                name: format!("server{position}"),
                named: true,
                master: None,
                address: Address::Tcp {
                    host: host.to_string(),
                    port,
                },
                weight: 1,
                position,
                removed: false,
            })
            .collect(),
    }
}

struct Running {
    handle: TopologyHandle,
    stats: Arc<ControlStats>,
}

impl Running {
    fn start(pool: PoolConfig) -> Running {
        Running::start_all(vec![pool])
    }

    fn start_all(pools: Vec<PoolConfig>) -> Running {
        let names = pools.iter().enumerate().map(|(slot, pool)| {
            let servers: Vec<&str> = pool.servers.iter().map(|s| s.name.as_str()).collect();
            PoolNames::numbered(slot, &pool.name, &servers)
        });
        let stats = Stats::new(names.collect(), 0).control;
        let config = Config {
            pools: pools.into_iter().map(Arc::new).collect(),
        };
        let handle = spawn(&config, Arc::clone(&stats));
        Running { handle, stats }
    }

    fn current(&self) -> Arc<Topology> {
        Arc::clone(&self.handle.snapshots.borrow())
    }

    fn failed(&self, server: u16) {
        let event = Event::Failed { pool: 0, server };
        self.handle.events.send(event).unwrap();
    }

    fn answered(&self, server: u16) {
        let event = Event::Answered { pool: 0, server };
        self.handle.events.send(event).unwrap();
    }

    fn suspect(&self, server: usize) -> bool {
        self.current().pools[0].servers[server]
            .suspect
            .load(Relaxed)
    }

    /// Waits for a snapshot in which `condition` holds.
    async fn wait_for(&mut self, what: &str, condition: impl Fn(&Topology) -> bool) {
        let found = self.handle.snapshots.wait_for(|t| condition(t));
        let found = tokio::time::timeout(PATIENCE, found).await;
        found
            .unwrap_or_else(|_| panic!("not in time: {what}"))
            .unwrap();
    }

    async fn wait_for_ejected(&mut self, server: usize, ejected: bool) {
        let what = format!("server {server} ejected: {ejected}");
        self.wait_for(&what, |t| t.pools[0].servers[server].ejected == ejected)
            .await;
    }

    /// Ejects server 0, so that the next probes judge it.
    async fn eject_first(&mut self) {
        self.failed(0);
        self.failed(0);
        self.wait_for_ejected(0, true).await;
    }

    /// Lets several probes pass and checks that none brought server 0 back.
    async fn stays_ejected(&self, why: &str) {
        tokio::time::sleep(SEVERAL_PROBES).await;
        assert!(self.current().pools[0].servers[0].ejected, "{why}");
        assert_eq!(self.stats.pools[0].server_returns.get(), 0, "{why}");
    }
}

fn servers_of_keys(topology: &Topology) -> Vec<Option<u16>> {
    let keys = (0..100).map(|n| format!("key:{n}"));
    keys.map(|key| topology.pools[0].route(key.as_bytes(), || 0))
        .collect()
}

fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

#[tokio::test]
async fn the_limit_ejects_and_a_good_probe_returns() {
    let port = Port::reserve();
    let config = pool(&[("127.0.0.1", port.number), ("127.0.0.1", 1)]);
    let mut running = Running::start(config);
    let whole = servers_of_keys(&running.current());
    assert!(whole.contains(&Some(0)) && whole.contains(&Some(1)));
    let before = unix_micros();

    running.eject_first().await;
    let ejected = running.current();
    assert_eq!(ejected.version, 2);
    assert!(servers_of_keys(&ejected).iter().all(|s| *s == Some(1)));
    let stats = &running.stats.pools[0];
    assert_eq!(running.stats.topology_version.get(), 2);
    assert_eq!(
        (stats.server_ejects.get(), stats.servers[0].ejects.get()),
        (1, 1)
    );
    let at = stats.servers[0].server_ejected_at.get();
    assert!((before..=unix_micros()).contains(&at), "{at}");

    running.stays_ejected("nothing listens there").await;
    let _redis = Redis::start(port, &[]);
    running.wait_for_ejected(0, false).await;
    let returned = running.current();
    assert_eq!(servers_of_keys(&returned), whole);
    assert_eq!(returned.version, 3);
    let stats = &running.stats.pools[0];
    assert_eq!(
        (stats.server_returns.get(), stats.servers[0].returns.get()),
        (1, 1)
    );
    assert_eq!(
        stats.servers[0].server_ejected_at.get(),
        at,
        "never cleared"
    );
    assert_eq!(stats.servers[1].ejects.get(), 0);
    assert_eq!(running.stats.topology_version.get(), 3);
}

#[tokio::test]
async fn an_answer_clears_the_suspicion() {
    let mut running = Running::start(pool(&[("127.0.0.1", 1), ("127.0.0.1", 2)]));
    let until = async |running: &Running, suspect| {
        let give_up = Instant::now() + PATIENCE;
        while running.suspect(0) != suspect {
            assert!(Instant::now() < give_up, "suspect is not {suspect}");
            tokio::task::yield_now().await;
        }
    };
    running.failed(0);
    until(&running, true).await;
    running.answered(0);
    until(&running, false).await;
    running.failed(0);
    until(&running, true).await;
    assert!(!running.suspect(1));
    assert_eq!(running.current().version, 1, "suspicion moves nothing");
    running.failed(0);
    running.wait_for_ejected(0, true).await;
    assert!(!running.suspect(0));
}

#[tokio::test]
async fn without_auto_eject_hosts_nobody_leaves() {
    let lasting = PoolConfig {
        auto_eject_hosts: false,
        ..pool(&[("127.0.0.1", 1), ("127.0.0.1", 2)])
    };
    let ejecting = pool(&[("127.0.0.1", 1), ("127.0.0.1", 2)]);
    let mut running = Running::start_all(vec![lasting, ejecting]);
    for _ in 0..10 {
        running.failed(0);
    }
    // Events are handled in order: when these show, those above were.
    for _ in 0..2 {
        let event = Event::Failed { pool: 1, server: 1 };
        running.handle.events.send(event).unwrap();
    }
    running
        .wait_for("pool 1 to eject", |t| t.pools[1].servers[1].ejected)
        .await;
    let topology = running.current();
    assert!(topology.pools[0].servers.iter().all(|s| !s.ejected));
    assert!(!running.suspect(0));
}

#[tokio::test]
async fn a_server_that_accepts_but_does_not_answer_stays_out() {
    let redis = Redis::start(Port::reserve(), &[]);
    let config = PoolConfig {
        timeout: Some(Duration::from_millis(50)),
        ..pool(&[("127.0.0.1", redis.port)])
    };
    let mut running = Running::start(config);
    redis.signal(Signal::STOP);
    running.eject_first().await;
    assert_eq!(running.current().pools[0].route(b"key", || 0), None);
    running.stays_ejected("it is stopped").await;
    redis.signal(Signal::CONT);
    running.wait_for_ejected(0, false).await;
    assert_eq!(running.current().pools[0].route(b"key", || 0), Some(0));
}

#[tokio::test]
async fn a_server_that_refuses_the_password_stays_out() {
    let redis = Redis::start(Port::reserve(), &["--requirepass", "other"]);
    let config = PoolConfig {
        redis_auth: Some(Secret("right".to_string())),
        redis_db: 3,
        ..pool(&[("127.0.0.1", redis.port)])
    };
    let mut running = Running::start(config);
    running.eject_first().await;
    running.stays_ejected("the password is wrong").await;
    redis.command("AUTH other\r\nCONFIG SET requirepass right");
    running.wait_for_ejected(0, false).await;
}

#[tokio::test]
async fn a_server_without_our_database_stays_out() {
    let redis = Redis::start(Port::reserve(), &[]);
    let config = PoolConfig {
        redis_db: 4,
        ..pool(&[("127.0.0.1", redis.port)])
    };
    let mut running = Running::start(config);
    running.eject_first().await;
    running.stays_ejected("it has databases 0 to 3").await;
}

#[tokio::test]
async fn a_server_that_loads_its_data_stays_out() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut running = Running::start(pool(&[("127.0.0.1", port)]));
    running.eject_first().await;
    let (told, probes) = std::sync::mpsc::channel();
    let fake = std::thread::spawn(move || {
        let loading = "-LOADING Redis is loading the dataset in memory\r\n";
        for reply in [loading, loading, "+PONG\r\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 14];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"*1\r\n$4\r\nPING\r\n");
            told.send(reply).unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    running.wait_for_ejected(0, false).await;
    assert_eq!(probes.try_iter().count(), 3);
    fake.join().unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_probed_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.sock");
    let _redis = Redis::start(Port::reserve(), &["--unixsocket", path.to_str().unwrap()]);
    let mut config = pool(&[("127.0.0.1", 1)]);
    config.servers[0].address = Address::Unix(path);
    let mut running = Running::start(config);
    running.eject_first().await;
    running.wait_for_ejected(0, false).await;
}

#[tokio::test]
async fn names_get_an_address_and_hopeless_ones_hold_nobody_up() {
    // A label longer than DNS allows fails without asking anybody.
    let hopeless = "x".repeat(80);
    let mut running = Running::start(pool(&[("localhost", 7001), (&hopeless, 7002)]));
    let unresolved = Endpoint::Unresolved(hopeless.as_str().into());
    assert_eq!(running.current().pools[0].servers[1].endpoint, unresolved);
    assert!(running.handle.first_resolution(PATIENCE).await);
    let topology = running.current();
    let Endpoint::Tcp(address) = topology.pools[0].servers[0].endpoint else {
        panic!("localhost has no address");
    };
    assert!(address.ip().is_loopback());
    assert_eq!(address.port(), 7001);
    assert_eq!(topology.pools[0].servers[1].endpoint, unresolved);
    assert_eq!(running.stats.topology_version.get(), topology.version);
}

#[test]
fn the_first_resolution_is_waited_for_no_longer_than_asked() {
    // Lookups need the one thread for blocking work, which is taken.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        tokio::task::spawn_blocking(move || released.recv());
        let mut named = Running::start(pool(&[("localhost", 7001)]));
        let within = Duration::from_millis(30);
        assert!(!named.handle.first_resolution(within).await);
        let mut literal = Running::start(pool(&[("127.0.0.1", 7001)]));
        assert!(literal.handle.first_resolution(PATIENCE).await);
        drop(release);
        assert!(named.handle.first_resolution(PATIENCE).await);
    });
}

#[tokio::test]
async fn the_task_ends_with_its_last_sender() {
    let running = Running::start(pool(&[("127.0.0.1", 1)]));
    let mut snapshots = running.handle.snapshots.clone();
    let worker = running.handle.events.clone();
    drop(running.handle);
    worker.send(Event::Failed { pool: 0, server: 0 }).unwrap();
    worker.send(Event::Failed { pool: 0, server: 0 }).unwrap();
    let ejected = snapshots.wait_for(|t| t.pools[0].servers[0].ejected);
    let ejected = tokio::time::timeout(PATIENCE, ejected).await;
    ejected.expect("in time").expect("the task lives");
    drop(worker);
    let end = tokio::time::timeout(PATIENCE, snapshots.wait_for(|_| false)).await;
    assert!(end.expect("in time").is_err());
}

#[tokio::test]
async fn shutdown_ends_the_task_whoever_holds_a_sender() {
    let running = Running::start(pool(&[("localhost", 1)]));
    let worker = running.handle.events.clone();
    let shutdown = tokio::time::timeout(PATIENCE, running.handle.shutdown()).await;
    shutdown.expect("in time");
    assert!(worker.is_closed());
}
