//! A proxy over a few servers, with keys whose server is known.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use super::{Client, Pool, Proxy, RedisServer, Stats};

/// The pool is `alpha`, its servers `server1`, `server2`, ...; hash tags are `{}`.
#[derive(Debug)]
pub struct Shards {
    pub proxy: Proxy,
    pub servers: Vec<RedisServer>,
    /// Per server, keys that live there.
    keys: Vec<Vec<String>>,
}

impl Shards {
    #[track_caller]
    pub fn start(count: usize) -> Shards {
        Shards::start_with(count, |pool| pool, &[])
    }

    /// `shape` adds keys to the pool, `arguments` go to the command line.
    #[track_caller]
    pub fn start_with(count: usize, shape: impl Fn(Pool) -> Pool, arguments: &[&str]) -> Shards {
        let servers = (0..count).map(|_| RedisServer::start()).collect();
        Shards::over(servers, shape, arguments)
    }

    /// Over servers that run already.
    #[track_caller]
    pub fn over(
        servers: Vec<RedisServer>,
        shape: impl Fn(Pool) -> Pool,
        arguments: &[&str],
    ) -> Shards {
        // The default hash puts short, similar keys on one server.
        let pool = Pool::new("alpha")
            .set("hash", "md5")
            .set("hash_tag", "\"{}\"");
        let proxy = Proxy::build(&[shape(pool).servers(&servers)])
            .args(arguments)
            .start();
        let keys = locate(&proxy, servers.len());
        Shards {
            proxy,
            servers,
            keys,
        }
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        self.proxy.client()
    }

    /// A client whose kernel takes few bytes that the test does not read.
    #[track_caller]
    pub fn slow_client(&self) -> Client {
        // More than a loopback segment of 64 KB: below that both ends wait for timers.
        const BUFFER: usize = 128 * 1024;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(BUFFER).expect("SO_RCVBUF");
        let address = SocketAddr::from(([127, 0, 0, 1], self.proxy.addr().1));
        socket.connect(&address.into()).expect("connects");
        Client::over(TcpStream::from(socket))
    }

    /// A key of the server with this index, another one for each `n` below 8.
    #[track_caller]
    pub fn key(&self, server: usize, n: usize) -> &str {
        &self.keys[server][n]
    }

    /// A value of the pool.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        Stats::of(&self.proxy).pool("alpha", name)
    }

    /// A value of the server with this index.
    #[track_caller]
    pub fn server_stat(&self, server: usize, name: &str) -> u64 {
        let server = format!("server{}", server + 1);
        Stats::of(&self.proxy).server("alpha", &server, name)
    }
}

/// Keys per server, as the program itself places them.
#[track_caller]
fn locate(proxy: &Proxy, servers: usize) -> Vec<Vec<String>> {
    let candidates = (0..servers * 24).map(|n| format!("key:{n}"));
    let output = Command::new(Proxy::binary())
        .args(["locate", "--no-header", "-c"])
        .arg(proxy.config_path())
        .args(candidates)
        .output()
        .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut keys = vec![Vec::new(); servers];
    for line in text.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let number: usize = columns[4]
            .strip_prefix("server")
            .and_then(|number| number.parse().ok())
            .expect(line);
        keys[number - 1].push(columns[0].to_owned());
    }
    keys
}
