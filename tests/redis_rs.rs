//! redis-rs, a client library as applications use it, through the proxy.

mod support;

use redis::{Commands, Connection, RedisResult, Value};
use support::{Pool, Proxy, RedisServer};

const PASSWORD: &str = "a secret";
const MANY: usize = 10_000;
const LARGE: usize = 16 << 20;

struct Setup {
    proxy: Proxy,
    _servers: Vec<RedisServer>,
}

fn start() -> Setup {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let proxy = Proxy::start(&[Pool::new("plain").servers(&servers)]);
    Setup {
        proxy,
        _servers: servers,
    }
}

fn start_locked() -> Setup {
    let locked = ["--requirepass", PASSWORD];
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::with_args(&locked)).collect();
    let pool = Pool::new("locked")
        .set("redis_auth", format!("\"{PASSWORD}\""))
        .servers(&servers);
    let proxy = Proxy::start(&[pool]);
    Setup {
        proxy,
        _servers: servers,
    }
}

impl Setup {
    fn open(&self, user: &str, options: &str) -> RedisResult<Connection> {
        let (host, port) = self.proxy.addr();
        redis::Client::open(format!("redis://{user}{host}:{port}/{options}"))?.get_connection()
    }

    fn connect(&self) -> Connection {
        self.open("", "").expect("connects")
    }
}

#[test]
fn sets_and_gets() {
    let setup = start();
    for options in ["", "0", "?protocol=resp3"] {
        let mut client = setup.open("", options).expect("connects");
        assert_eq!(
            redis::cmd("PING").query::<String>(&mut client),
            Ok("PONG".into())
        );
        client.set::<_, _, ()>("a", 1).unwrap();
        assert_eq!(client.get("a"), Ok(1));
        assert_eq!(client.incr("a", 1), Ok(2));
        assert_eq!(client.get("none"), Ok(None::<String>));
        client.hset::<_, _, _, ()>("h", "f", "1").unwrap();
        assert_eq!(
            client.hgetall("h"),
            Ok(vec![("f".to_owned(), "1".to_owned())])
        );
    }
}

#[test]
fn spreads_many_keys_over_the_servers() {
    let setup = start();
    let mut client = setup.connect();
    let pairs: Vec<(String, usize)> = (0..300).map(|n| (format!("m:{n}"), n)).collect();
    let keys: Vec<&str> = pairs.iter().map(|pair| pair.0.as_str()).collect();
    client.mset::<_, _, ()>(&pairs).unwrap();
    let mut expected: Vec<Option<usize>> = (0..300).map(Some).collect();
    assert_eq!(client.mget(&keys), Ok(expected.clone()));
    expected.push(None);
    assert_eq!(client.mget([&keys[..], &["none"]].concat()), Ok(expected));
    assert_eq!(client.exists([&keys[..], &["none"]].concat()), Ok(300));
    assert_eq!(client.del(&keys[..100]), Ok(100));
    assert_eq!(client.unlink(&keys), Ok(200));
    assert_eq!(client.exists(&keys), Ok(0));
}

#[test]
fn pipelines_ten_thousand_commands() {
    let setup = start();
    let mut client = setup.connect();
    let mut pipeline = redis::pipe();
    for n in 0..MANY / 2 {
        pipeline
            .set(format!("p:{n}"), n)
            .ignore()
            .get(format!("p:{n}"));
    }
    assert_eq!(
        pipeline.query(&mut client),
        Ok((0..MANY / 2).collect::<Vec<usize>>())
    );
}

#[test]
fn takes_any_bytes_as_key_and_value() {
    let setup = start();
    let mut client = setup.connect();
    let every_byte: Vec<u8> = (0..=255).collect();
    for prefix in [b"\r\n".as_slice(), b"\0", b"\xff{"] {
        let key = [prefix, &every_byte].concat();
        client.set::<_, _, ()>(&key, &every_byte).unwrap();
        assert_eq!(client.get(&key), Ok(every_byte.clone()));
    }
}

#[test]
fn carries_large_values() {
    let setup = start();
    let mut client = setup.connect();
    let values: Vec<Vec<u8>> = (1..4).map(|n| vec![n; LARGE]).collect();
    for (n, value) in values.iter().enumerate() {
        client.set::<_, _, ()>(format!("l:{n}"), value).unwrap();
    }
    let got: Vec<Vec<u8>> = client.mget(&["l:0", "l:1", "l:2"]).unwrap();
    assert!(got == values, "the values differ");
}

#[test]
fn an_error_reply_keeps_the_connection() {
    let setup = start();
    let mut client = setup.connect();
    client.set::<_, _, ()>("s", "text").unwrap();
    let wrong = client.lpush::<_, _, Value>("s", "x").unwrap_err();
    assert_eq!(wrong.code(), Some("WRONGTYPE"));
    for command in ["NOSUCHCOMMAND", "GET"] {
        let refused = redis::cmd(command).query::<Value>(&mut client).unwrap_err();
        assert_eq!(refused.code(), Some("ERR"), "{refused}");
    }
    assert_eq!(client.get("s"), Ok("text".to_owned()));
}

#[test]
fn gives_the_pools_password() {
    let setup = start_locked();
    for options in ["", "?protocol=resp3"] {
        let mut client = setup.open(":a%20secret@", options).expect("connects");
        client
            .mset::<_, _, ()>(&[("a", 1), ("b", 2), ("c", 3)])
            .unwrap();
        assert_eq!(client.mget(&["c", "a"]), Ok(vec![3, 1]));
    }
}

#[test]
fn is_refused_without_the_pools_password() {
    let setup = start_locked();
    let wrong = setup
        .open(":wrong@", "")
        .and_then(|mut client| client.get::<_, Value>("a"));
    assert!(wrong.is_err(), "{wrong:?}");
    let none = setup
        .open("", "")
        .and_then(|mut client| client.get::<_, Value>("a"));
    assert_eq!(none.unwrap_err().code(), Some("NOAUTH"));
}
