//! What operators, load balancers and Prometheus see on the statistics port of a proxy at work.

#[path = "operations/dashboard.rs"]
mod dashboard;
#[path = "operations/ready.rs"]
mod ready;
mod support;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value as Json;
use support::{
    Answer, Client, FakeServer, Metrics, PATIENCE, Pool, Proxy, RedisServer, Stats, Value,
    eventually, free_port, get, mortal, within,
};

#[track_caller]
fn json(answer: &Answer) -> Json {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// A proxy after some work, its servers and two clients.
struct Busy {
    proxy: Proxy,
    _servers: Vec<RedisServer>,
    _clients: [Client; 2],
}

/// Two pools; requests to one server and to several, a server that is down, an unusual name.
fn busy() -> Busy {
    let servers = vec![RedisServer::start(), RedisServer::start()];
    let down = FakeServer::refusing();
    let alpha = Pool::new("alpha").set("hash", "md5").servers(&servers);
    let beta = Pool::new("b_t-a").server(&format!("'{} a\"b\\c'", down.line("").trim_end()));
    let beta_addr = beta.addr();
    let proxy = Proxy::build(&[alpha, beta])
        .args(&["--workers", "2"])
        .start();
    let mut clients = [proxy.client(), proxy.client()];
    for n in 0..300 {
        let client = &mut clients[n % 2];
        let (key, other) = (format!("key:{n}"), format!("key:{}", n + 1));
        assert_eq!(client.cmd(&["SET", &key, "v"]), Value::ok());
        client.cmd(&["MGET", &key, &other]);
    }
    let reply = Client::connect(beta_addr).cmd(&["GET", "k"]);
    assert!(matches!(reply, Value::Error(_)), "{reply:?}");
    // Replies are there before they are counted.
    eventually(
        "all replies are counted and the client of beta is gone",
        || {
            let stats = Stats::of(&proxy);
            let is_counted = |server: &str| {
                let count = |name| stats.server("alpha", server, name);
                count("requests") == count("responses")
            };
            ["server1", "server2"].into_iter().all(is_counted)
                && stats.pool("b_t-a", "client_connections") == 0
        },
    );
    Busy {
        proxy,
        _servers: servers,
        _clients: clients,
    }
}

#[test]
fn metrics_are_the_values_of_the_statistics() {
    let busy = busy();
    let proxy = &busy.proxy;
    let (stats, metrics) = (Stats::of(proxy), Metrics::of(proxy));
    for (name, sample) in [
        ("client_requests", "nuthatch_pool_client_requests_total"),
        ("client_connections", "nuthatch_pool_client_connections"),
        ("fragments", "nuthatch_pool_fragments_total"),
    ] {
        let value = metrics.value(&format!("{sample}{{pool=\"alpha\"}}"));
        assert_eq!(value, stats.pool("alpha", name) as f64, "{name}");
        assert!(value > 0.0, "{name}");
    }
    let mut requests = 0.0;
    for server in ["server1", "server2"] {
        for (name, sample) in [
            ("requests", "requests_total"),
            ("request_bytes", "request_bytes_total"),
            ("responses", "responses_total"),
            ("server_connections", "connections"),
        ] {
            let labels = format!("{{pool=\"alpha\",server=\"{server}\"}}");
            let value = metrics.value(&format!("nuthatch_server_{sample}{labels}"));
            assert_eq!(value, stats.server("alpha", server, name) as f64, "{name}");
            assert!(value > 0.0, "{name}");
            requests += if name == "requests" { value } else { 0.0 };
        }
    }
    // A SET is one request to a server, an MGET as many as it has fragments, or one.
    let fragments = metrics.value("nuthatch_pool_fragments_total{pool=\"alpha\"}");
    assert_eq!(requests, 600.0 + fragments / 2.0, "{}", metrics.text);
}

#[test]
fn metrics_pass_promtool() {
    let busy = busy();
    let proxy = &busy.proxy;
    let Some(mut promtool) = tool("promtool", &["check", "metrics"]) else {
        return;
    };
    let metrics = Metrics::of(proxy);
    let input = promtool.stdin.take().expect("piped");
    std::io::Write::write_all(&mut { input }, metrics.text.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{said}\n{}",
        metrics.text
    );
}

/// Starts a program of Prometheus' with its input and output in our hands; `None`, and a remark, if it is not
/// installed.
fn tool(name: &str, arguments: &[&str]) -> Option<Child> {
    let path = format!("/usr/bin/{name}");
    if fs::metadata(&path).is_err() {
        eprintln!("skipped: {name} is not installed (Debian: prometheus)");
        return None;
    }
    let mut command = mortal(path.as_ref());
    let piped = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
    let [stdin, stdout, stderr] = piped;
    let command = command
        .args(arguments)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr);
    Some(command.spawn().expect("it starts"))
}

#[test]
fn files_for_prometheus_are_valid() {
    for (what, file) in [
        ("rules", "deploy/alerts.yml"),
        ("config", "deploy/prometheus.yml"),
    ] {
        let Some(promtool) = tool("promtool", &["check", what, file]) else {
            return;
        };
        let output = promtool.wait_with_output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{file}: {said}");
    }
}

/// Dropped: killed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_scrapes() {
    let busy = busy();
    let proxy = &busy.proxy;
    let dir = tempfile::tempdir().expect("a directory");
    let (host, port) = proxy.stats_addr();
    let config = dir.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
         scrape_configs: [{{job_name: nuthatch, static_configs: [{{targets: ['{host}:{port}']}}]}}]\n"
    );
    fs::write(&config, text).expect("the directory is ours");
    let listen = free_port();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.path().join("data").display()),
        format!("--web.listen-address=127.0.0.1:{listen}"),
        "--log.level=error".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(prometheus) = tool("prometheus", &arguments).map(Killed) else {
        return;
    };
    let mut found = Json::Null;
    let scraped = within(3 * PATIENCE, || {
        found = query(listen, "nuthatch_server_requests_total");
        found["data"]["result"]
            .as_array()
            .is_some_and(|r| r.len() == 3)
    });
    assert!(scraped, "{found}");
    let metrics = Metrics::of(proxy);
    for sample in found["data"]["result"].as_array().expect("a list") {
        let label = |name: &str| sample["metric"][name].to_string();
        // JSON escapes what is in these names as Prometheus does.
        let (pool, server) = (label("pool"), label("server"));
        let name = format!("nuthatch_server_requests_total{{pool={pool},server={server}}}");
        let value: f64 = sample["value"][1]
            .as_str()
            .expect("text")
            .parse()
            .expect("a number");
        assert_eq!(value, metrics.value(&name));
    }
    drop(prometheus);
}

/// `Null` while it does not answer.
fn query(port: u16, expression: &str) -> Json {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET /api/v1/query?query={expression} HTTP/1.0\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    };
    let reply = ask().unwrap_or_default();
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_default()
}

#[test]
fn no_secret_is_shown_anywhere() {
    let server = RedisServer::with_args(&["--requirepass", "sesame-servers"]);
    let silent = FakeServer::start();
    let plain = Pool::new("alpha")
        .set("redis_auth", "sesame-servers")
        .servers([&server]);
    let watched = Pool::new("beta")
        .set("redis_auth", "sesame-others")
        .server("127.0.0.1:1:1 server1")
        .set("sentinels", format!("['{}']", silent.addr()))
        .set(
            "sentinel_auth",
            "{username: watcher, password: sesame-sentinels}",
        );
    let proxy = Proxy::start(&[plain, watched]);
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["AUTH", "sesame-servers"]), Value::ok());
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    let paths = [
        "/",
        "/stats",
        "/metrics",
        "/health",
        "/ready",
        "/topology",
        "/config",
        "/version",
        "/other",
    ];
    for path in paths {
        let answer = get(&proxy, path);
        assert!(!answer.body.contains("sesame"), "{path}: {answer:?}");
    }
    let config = json(&get(&proxy, "/config"));
    assert_eq!(config["alpha"]["redis_auth"], "********");
    assert_eq!(config["alpha"]["timeout"], 0);
    let watcher = serde_json::json!({"username": "watcher", "password": "********"});
    assert_eq!(config["beta"]["sentinel_auth"], watcher);
    let mut raw = String::new();
    let mut stream = TcpStream::connect(proxy.stats_addr()).expect("the stats port");
    stream.read_to_string(&mut raw).expect("the plain JSON");
    assert!(raw.contains("alpha") && !raw.contains("sesame"), "{raw}");
}
