//! `learn_commands`: commands that only the servers know, here those of a module that `cc`, which links the
//! tests too, builds from tests/modules/words.c.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use nuthatch::protocol::redis::command::Told;
use rustix::process::Signal;
use support::{
    Client, FakeServer, Pool, Proxy, RedisServer, Shards, Value, encode, eventually, parse,
};
use tempfile::TempDir;

/// A built module.
struct Module(TempDir);

impl Module {
    fn build() -> Module {
        let dir = TempDir::new().expect("a temporary directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/modules/words.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(dir.path().join("words.so"))
            .arg(source)
            .status()
            .expect("cc runs");
        assert!(built.success());
        Module(dir)
    }

    fn path(&self) -> String {
        let path: &Path = &self.0.path().join("words.so");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn server(&self) -> RedisServer {
        RedisServer::with_args(&["--loadmodule", &self.path()])
    }

    fn shards(&self, shape: impl Fn(Pool) -> Pool) -> Shards {
        let servers = vec![self.server(), self.server(), self.server()];
        Shards::over(servers, |pool| shape(pool.set("learn_commands", true)), &[])
    }
}

/// Waits until the proxy knows the command.
#[track_caller]
fn knows(client: &mut Client, request: &[&str]) {
    eventually("the command is learned", || {
        let reply = client.cmd(request);
        !reply.is_error() || !reply.error().starts_with("ERR unknown command")
    });
}

fn unsupported(name: &str, reason: &str) -> String {
    format!("ERR unsupported command '{name}': {reason}")
}

#[test]
fn commands_of_a_module_go_to_the_servers_of_their_keys() {
    let module = Module::build();
    let shards = module.shards(|pool| pool);
    let mut client = shards.client();
    knows(&mut client, &["words.get", "x"]);
    for server in 0..3 {
        let (key, other) = (shards.key(server, 0), shards.key(server, 1));
        let mut redis = shards.servers[server].client();
        assert_eq!(client.cmd(&["WORDS.put", "four", key]), Value::ok());
        assert_eq!(redis.cmd(&["GET", key]), Value::bulk("four"));
        assert_eq!(client.cmd(&["words.GET", key]), Value::bulk("four"));
        assert_eq!(client.cmd(&["words.get", other]), Value::Nil);
        assert_eq!(client.cmd(&["words.copy", key, other]), Value::Int(1));
        assert_eq!(redis.cmd(&["GET", other]), Value::bulk("four"));
        assert_eq!(client.cmd(&["words.of", "Length", key]), Value::Int(4));
    }
    let (a, b) = (shards.key(0, 0), shards.key(1, 2));
    assert_eq!(
        client.cmd(&["words.copy", a, b]).error(),
        format!(
            "CROSSSLOT keys of 'words.copy' live on different servers: '{a}' on server1, '{b}' on server2"
        )
    );
    let arity = |name: &str| format!("ERR wrong number of arguments for '{name}' command");
    assert_eq!(client.cmd(&["words.get"]).error(), arity("words.get"));
    assert_eq!(client.cmd(&["words.copy", a]).error(), arity("words.copy"));
    // The module's own judgement.
    assert_eq!(client.cmd(&["words.get", a, b]).error(), arity("words.get"));
    assert!(shards.stat("commands_learned") >= 3 * 5);
    let log = shards.proxy.log();
    let line = "learned 4 commands from the servers: words.copy, words.get, words.of|length, words.put; 2 that \
                are refused: words.count, words.move";
    assert!(log.contains(line), "{log}");
}

#[test]
fn what_has_no_server_is_refused_with_its_reason() {
    let module = Module::build();
    let shards = module.shards(|pool| pool.set("deny_commands", "[words.put]"));
    let mut client = shards.client();
    knows(&mut client, &["words.get", "x"]);
    for (request, error) in [
        (
            ["words.count"].as_slice(),
            unsupported(
                "words.count",
                "it has no key by which a server could be chosen",
            ),
        ),
        (
            &["WORDS.MOVE", "a"],
            unsupported("words.move", "its keys are at no fixed places"),
        ),
        (
            &["words.of", "nothing", "a"],
            "ERR unknown subcommand 'nothing'. Try WORDS.OF HELP.".to_owned(),
        ),
        (
            &["words.put", "v", "a"],
            "NOPERM this pool does not allow the 'words.put' command, see deny_commands".to_owned(),
        ),
    ] {
        let replies = client.pipeline(&[&["SET", "a", "1"], request, &["GET", "a"]]);
        assert_eq!(
            (&replies[0], replies[1].error(), &replies[2]),
            (&Value::ok(), &error[..], &Value::bulk("1")),
            "{request:?}"
        );
    }
}

#[test]
fn nothing_is_learned_unless_it_is_wanted() {
    let module = Module::build();
    let servers = [module.server()];
    let pool = Pool::new("alpha").servers(&servers);
    let proxy = Proxy::start(std::slice::from_ref(&pool));
    let mut client = proxy.client();
    let request = ["words.get", "x"];
    let unknown = "ERR unknown command 'words.get', with args beginning with: 'x' ";
    assert_eq!(client.cmd(&request).error(), unknown);
    let learn = |on: bool| {
        let pool = pool.clone().set("learn_commands", on);
        std::fs::write(proxy.config_path(), pool.yaml()).expect("the file is ours");
        proxy.signal(Signal::HUP);
    };
    learn(true);
    knows(&mut client, &request);
    assert_eq!(client.cmd(&request), Value::Nil);
    learn(false);
    eventually("it is forgotten", || client.cmd(&request).is_error());
    assert_eq!(client.cmd(&request).error(), unknown);
}

#[test]
fn a_server_is_asked_when_it_can_be_reached_and_when_the_file_is_read_again() {
    let module = Module::build();
    let mut server = RedisServer::with_args(&["--enable-module-command", "yes"]);
    server.kill();
    let pool = Pool::new("alpha").set("learn_commands", true);
    let proxy = Proxy::start(&[pool.servers([&server])]);
    let mut client = proxy.client();
    eventually("it is told that the server says nothing", || {
        proxy
            .log()
            .contains("the server does not tell its commands")
    });
    server.restart();
    let mut redis = server.client();
    eventually("the server was asked", || {
        let stats = redis.cmd(&["INFO", "commandstats"]);
        matches!(stats, Value::Bulk(text) if String::from_utf8_lossy(&text).contains("cmdstat_command:"))
    });
    assert!(client.cmd(&["words.get", "x"]).is_error());
    assert_eq!(redis.cmd(&["MODULE", "LOAD", &module.path()]), Value::ok());
    proxy.signal(Signal::HUP);
    knows(&mut client, &["words.get", "x"]);
    assert_eq!(client.cmd(&["words.get", "x"]), Value::Nil);
    // What was learned stays while the server is away.
    server.kill();
    let away = client.cmd(&["words.get", "x"]);
    assert!(
        away.is_error() && !away.error().contains("unknown command"),
        "{away:?}"
    );
}

#[test]
fn a_server_that_tells_nonsense_is_left_alone() {
    let mut fake = FakeServer::start();
    let pool = Pool::new("alpha").set("learn_commands", true);
    let proxy = Proxy::start(&[pool.server(&fake.line("one"))]);
    for nonsense in [
        b"-NOPERM this user has no permissions\r\n".to_vec(),
        b"*1000000\r\n".repeat(200),
        [b"$5000000\r\n".as_slice(), &vec![b'x'; 5_000_000]].concat(),
    ] {
        let mut connection = fake.accept();
        connection.expect(&["PING"]);
        connection.reply("+PONG\r\n");
        connection.expect(&["COMMAND"]);
        connection.reply(nonsense);
        connection.expect_closed();
    }
    let log = proxy.log();
    let told = log.matches("the server does not tell its commands");
    assert_eq!(told.count(), 1, "{log}");
    let reason = "COMMAND failed: NOPERM this user has no permissions";
    assert!(log.contains(reason), "{log}");
    let mut client = proxy.client();
    client.send(encode(&["PING"]));
    assert_eq!(client.read(), Value::Simple("PONG".into()));
}

#[test]
fn a_redis_of_the_tables_version_teaches_nothing() {
    let server = RedisServer::start();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    stream.write_all(&encode(&["COMMAND"])).expect("it reads");
    let mut reply = Vec::new();
    let commands = loop {
        let mut some = [0; 65536];
        let n = stream.read(&mut some).expect("it answers");
        assert!(n > 0, "closed");
        reply.extend_from_slice(&some[..n]);
        match parse(&reply) {
            Ok(Some((Value::Array(commands), _))) => break commands,
            Ok(None) => {}
            other => panic!("no list: {other:?}"),
        }
    };
    let told = Told::read(&reply).expect("a list of commands");
    let names: Vec<_> = told.iter().map(|told| &told.name[..]).collect();
    assert!(commands.len() > 200, "only {} commands", commands.len());
    let info = server.client().cmd(&["INFO", "server"]);
    let known = matches!(info, Value::Bulk(text) if String::from_utf8_lossy(&text).contains("redis_version:7.0."));
    assert!(names.is_empty() || !known, "{names:?}");
}
