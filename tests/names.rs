//! Where servers and pools may be: host names, also such that change or have no address, IPv6, unix sockets.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use support::{
    Client, FakeServer, PATIENCE, Pool, Proxy, RedisServer, Value, can_replace_hosts, count,
    encode, eventually, free_port, keys_on, parse,
};

#[test]
fn localhost_is_a_server() {
    let mut server = RedisServer::with_args(&["--bind", "127.0.0.1", "-::1"]);
    let line = format!("localhost:{}:1", server.port());
    let named = Pool::new("beta").server(&format!("{line} server1"));
    let named_addr = named.addr();
    let proxy = Proxy::start(&[Pool::new("alpha").server(&line), named]);
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    let mut other = Client::connect(named_addr);
    assert_eq!(other.cmd(&["GET", "k"]), Value::bulk("v"));
    server.kill();
    // As it was written, for the operator to find it.
    for (client, name) in [(&mut client, ""), (&mut other, " (server1)")] {
        let end = format!(": server localhost:{}{name}", server.port());
        let reply = client.cmd(&["GET", "k"]);
        assert!(reply.error().ends_with(&end), "{reply:?}");
    }
}

#[test]
fn servers_and_pools_on_ipv6() {
    let server = RedisServer::with_args(&["--bind", "127.0.0.1", "::1"]);
    let port = free_port();
    let proxy = Proxy::start(&[Pool::new("plain")
        .listen(&format!("::1:{port}"))
        .server(&format!("'[::1]:{}:1'", server.port()))]);
    let mut client = Client::connect(("::1", port));
    assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok());
    assert_eq!(server.client().cmd(&["GET", "k"]), Value::bulk("v"));
    drop(proxy);

    let brackets = format!("[::1]:{port}");
    let server_line = format!("::1:{}:1 server1", server.port());
    let pool = Pool::new("brackets").listen(&brackets).server(&server_line);
    let _proxy = Proxy::start(&[pool]);
    let mut client = Client::connect(("::1", port));
    assert_eq!(client.cmd(&["GET", "k"]), Value::bulk("v"));
}

#[test]
fn servers_and_pools_on_unix_sockets() {
    let mut server = RedisServer::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    for mode in [0o600, 0o666] {
        let pool = Pool::new("alpha")
            .listen(&format!("{} {mode:o}", path.display()))
            .server(&format!("{}:1", server.socket().display()));
        let _proxy = Proxy::start(&[pool]);
        let metadata = fs::metadata(&path).expect("the socket");
        assert_eq!(metadata.permissions().mode() & 0o777, mode);
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let value = format!("{mode:o}");
        assert_eq!(ask(&mut client, &["SET", "k", &value]), Value::ok());
        assert_eq!(server.client().cmd(&["GET", "k"]), Value::bulk(&value));
        server.restart();
        eventually("it is found again", || {
            ask(&mut client, &["GET", "k"]) == Value::Nil
        });
    }
}

fn ask(stream: &mut UnixStream, arguments: &[&str]) -> Value {
    stream
        .write_all(&encode(arguments))
        .expect("the proxy reads");
    let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut chunk).expect("a reply in time");
        assert_ne!(n, 0, "closed instead of a reply");
        received.extend_from_slice(&chunk[..n]);
        if let Some((value, length)) = parse(&received).expect("RESP") {
            assert_eq!(length, received.len());
            return value;
        }
    }
}

/// A hosts file that the proxy sees as `/etc/hosts`.
struct Hosts {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Hosts {
    /// `None` where this is not allowed.
    fn new(text: &str) -> Option<Hosts> {
        if !can_replace_hosts() {
            println!("skipped: giving the proxy its own /etc/hosts needs root and unshare");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, text).unwrap();
        Some(Hosts {
            path,
            _directory: directory,
        })
    }

    /// In place, because the mount is of the file and not of its name.
    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }
}

#[test]
fn a_name_without_an_address_is_told_and_used_when_it_has_one() {
    let Some(hosts) = Hosts::new("127.0.0.1 localhost\n") else {
        return;
    };
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let name = "redis.nuthatch.invalid";
    let pool = Pool::new("alpha")
        .server(&format!("{name}:{}:1 server1", server.port()))
        .server(&format!("{}:1 server2", other.addr()));
    let proxy = Proxy::build(&[pool]).hosts(&hosts.path).start();
    let (here, there) = (&keys_on(1, 2)[0], &keys_on(2, 2)[0]);
    let mut client = proxy.client();
    let expected = format!(
        "ERR Host is down (its name has no address): server {name}:{} (server1)",
        server.port()
    );
    for _ in 0..20 {
        assert_eq!(client.cmd(&["SET", here, "v"]).error(), expected);
        assert_eq!(client.cmd(&["SET", there, "v"]), Value::ok());
    }
    eventually("it is logged", || {
        proxy.log().contains("host name cannot be resolved")
    });
    hosts.write(&format!("127.0.0.1 localhost\n127.0.0.1 {name}\n"));
    eventually("it has an address", || {
        client.cmd(&["SET", here, "v"]) == Value::ok()
    });
    assert_eq!(server.client().cmd(&["GET", here]), Value::bulk("v"));
    assert_eq!(count(&proxy.log(), "host name cannot be resolved"), 1);
    assert_eq!(count(&proxy.log(), "host name is resolved again"), 1);
}

/// Two servers on one port, and the name of where to find them.
fn moving() -> Option<(Hosts, FakeServer, FakeServer, Proxy)> {
    let hosts = Hosts::new("127.0.0.1 moving.nuthatch.invalid\n")?;
    let old = FakeServer::start();
    let new = FakeServer::at(SocketAddr::from(([127, 0, 0, 2], old.port())));
    let line = format!("moving.nuthatch.invalid:{}:1 server1", old.port());
    let pool = Pool::new("alpha").server(&line);
    let proxy = Proxy::build(&[pool]).hosts(&hosts.path).start();
    Some((hosts, old, new, proxy))
}

const MOVED: &str = "127.0.0.2 moving.nuthatch.invalid\n";

#[test]
fn a_changed_address_is_followed_when_the_old_one_fails() {
    let Some((hosts, mut old, mut new, proxy)) = moving() else {
        return;
    };
    let mut client = proxy.client();
    client.send(encode(&["GET", "k"]));
    let mut backend = old.accept();
    backend.answer(&["GET", "k"], "$3\r\nold\r\n");
    assert_eq!(client.read(), Value::bulk("old"));
    hosts.write(MOVED);
    old.refuse();
    backend.reset();
    let mut backend = new.accept_for(&mut client, &["GET", "k"]);
    backend.reply("$3\r\nnew\r\n");
    assert_eq!(client.read(), Value::bulk("new"));
}

#[test]
fn a_changed_address_is_followed_while_the_old_one_works() {
    let Some((hosts, mut old, mut new, proxy)) = moving() else {
        return;
    };
    let mut client = proxy.client();
    client.send(encode(&["GET", "1"]));
    let mut before = old.accept();
    before.expect(&["GET", "1"]);
    hosts.write(MOVED);
    eventually("the change is seen", || {
        proxy.log().contains("address=127.0.0.2:")
    });
    // The old server still owes a reply and is waited for; what is new goes to the new one.
    client.expect_silence(Duration::from_millis(50));
    client.send(encode(&["GET", "2"]));
    let mut after = new.accept();
    after.answer(&["GET", "2"], "$1\r\n2\r\n");
    client.expect_silence(Duration::from_millis(50));
    before.reply("$1\r\n1\r\n");
    assert_eq!(client.read_n(2), [Value::bulk("1"), Value::bulk("2")]);
    before.expect_closed();
    assert_eq!((old.connections(), new.connections()), (1, 1));
}
