//! The clients of a pool on all workers: listed, killed, and those that want no replies.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use support::{Client, Pool, Proxy, RedisServer, Shards, Value, encode, eventually};

const TWO_WORKERS: &[&str] = &["--workers", "2"];

/// The clients of a list, each as the fields in their order.
#[track_caller]
fn lines(list: Value) -> Vec<Vec<(String, String)>> {
    let Value::Bulk(text) = list else {
        panic!("no list: {list:?}")
    };
    let text = String::from_utf8(text).expect("text");
    let field = |word: &str| {
        let (name, value) = word.split_once('=').expect(word);
        (name.to_owned(), value.to_owned())
    };
    let line = |line: &str| line.split(' ').map(field).collect();
    text.lines().map(line).collect()
}

#[track_caller]
fn list(client: &mut Client, options: &[&str]) -> Vec<BTreeMap<String, String>> {
    let request = [&["CLIENT", "LIST"], options].concat();
    let lines = lines(client.cmd(&request));
    lines.into_iter().map(BTreeMap::from_iter).collect()
}

fn names(list: &[BTreeMap<String, String>]) -> BTreeSet<&str> {
    list.iter().map(|line| line["name"].as_str()).collect()
}

#[track_caller]
fn id(client: &mut Client) -> i64 {
    let Value::Int(id) = client.cmd(&["CLIENT", "ID"]) else {
        panic!("no id")
    };
    id
}

/// Clients called `client0`, `client1`, ..., some at each worker.
#[track_caller]
fn crowd(shards: &Shards) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..8).map(|_| shards.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let name = format!("client{n}");
        assert_eq!(client.cmd(&["CLIENT", "SETNAME", &name]), Value::ok());
    }
    let workers: BTreeSet<i64> = clients.iter_mut().map(|client| id(client) >> 48).collect();
    assert_eq!(workers, BTreeSet::from([0, 1]));
    clients
}

#[test]
fn a_list_has_every_client_of_the_pool_and_no_other() {
    let servers = [RedisServer::start()];
    let pools = ["alpha", "beta"].map(|name| Pool::new(name).servers(&servers));
    let (here, there) = (pools[0].addr(), pools[1].addr());
    let _proxy = Proxy::build(&pools).args(TWO_WORKERS).start();
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(here)).collect();
    let mut strangers: Vec<Client> = (0..6).map(|_| Client::connect(there)).collect();
    let mut ids = BTreeSet::new();
    for (n, client) in clients.iter_mut().enumerate() {
        let name = format!("c{n}");
        assert_eq!(client.cmd(&["CLIENT", "SETNAME", &name]), Value::ok());
        ids.insert(id(client).to_string());
    }
    for (asker, pool) in [(&mut clients[5], here), (&mut strangers[0], there)] {
        let found = list(asker, &[]);
        assert_eq!(found.len(), 6, "{found:?}");
        let laddr = format!("127.0.0.1:{}", pool.1);
        assert!(found.iter().all(|line| line["laddr"] == laddr), "{found:?}");
    }
    let found = list(&mut clients[0], &[]);
    assert_eq!(
        found
            .iter()
            .map(|line| line["id"].clone())
            .collect::<BTreeSet<_>>(),
        ids
    );
    assert_eq!(
        names(&found),
        BTreeSet::from(["c0", "c1", "c2", "c3", "c4", "c5"])
    );
    let address = |client: &Client| {
        client
            .stream()
            .local_addr()
            .expect("an address")
            .to_string()
    };
    for (n, client) in clients.iter().enumerate() {
        let line = found
            .iter()
            .find(|line| line["name"] == format!("c{n}"))
            .expect("its line");
        assert_eq!(line["addr"], address(client));
        let command = if n == 0 { "client|list" } else { "client|id" };
        assert_eq!(line["cmd"], if n == 5 { "client|list" } else { command });
    }
    clients.truncate(2);
    let asker = &mut clients[0];
    eventually("those who left are off the list", || {
        list(asker, &[]).len() == 2
    });
}

#[test]
fn lines_have_the_fields_of_redis() {
    let shards = Shards::start_with(1, |pool| pool.set("redis_db", 2), TWO_WORKERS);
    let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
    for request in [
        ["CLIENT", "SETNAME", "me"].as_slice(),
        &["CLIENT", "SETINFO", "LIB-NAME", "redis-rs"],
        &["CLIENT", "SETINFO", "lib-ver", "1.2.3"],
        &["CLIENT", "NO-EVICT", "on"],
    ] {
        assert_eq!(client.cmd(request), Value::ok());
    }
    let fields = |value: Value| -> Vec<String> {
        let lines = lines(value);
        lines[0].iter().map(|(name, _)| name.clone()).collect()
    };
    let ours = fields(client.cmd(&["CLIENT", "LIST"]));
    let theirs = fields(redis.cmd(&["CLIENT", "LIST"]));
    // The last two are of 7.2.
    assert_eq!(ours[..theirs.len()], theirs);
    assert_eq!(ours[theirs.len()..], ["lib-name", "lib-ver"]);
    let line = &list(&mut client, &[])[0];
    for (field, value) in [
        ("name", "me"),
        ("flags", "e"),
        ("db", "2"),
        ("user", "default"),
        ("resp", "2"),
        ("lib-name", "redis-rs"),
        ("lib-ver", "1.2.3"),
        ("multi", "-1"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert!(!client.cmd(&["HELLO", "3"]).is_error());
    client.send(encode(&["CLIENT", "INFO"]));
    redis.cmd(&["HELLO", "3"]);
    redis.send(encode(&["CLIENT", "INFO"]));
    // Text in both, with a line end.
    for reply in [client.read_raw(), redis.read_raw()] {
        let reply = String::from_utf8(reply).expect("text");
        assert!(
            reply.starts_with('=') && reply.contains("\r\ntxt:id="),
            "{reply}"
        );
        assert!(
            reply.contains(" resp=3") && reply.ends_with("\n\r\n"),
            "{reply}"
        );
    }
    assert_eq!(client.cmd(&["RESET"]), Value::Simple("RESET".into()));
    let line = &list(&mut client, &[])[0];
    assert_eq!(
        (&*line["name"], &*line["flags"], &*line["resp"]),
        ("", "N", "2")
    );
    assert_eq!(
        line["lib-name"], "redis-rs",
        "as in Redis, whom RESET does not make forget that"
    );
}

#[test]
fn a_unix_socket_has_its_path_for_an_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pool.sock");
    let servers = [RedisServer::start()];
    let pool = Pool::new("alpha")
        .listen(path.to_str().expect("text"))
        .servers(&servers);
    let _proxy = Proxy::start(&[pool]);
    let mut stream = UnixStream::connect(&path).expect("connects");
    stream.write_all(b"CLIENT LIST\r\n").expect("takes it");
    let mut reply = [0; 4096];
    let n = stream.read(&mut reply).expect("a reply");
    let reply = String::from_utf8_lossy(&reply[..n]);
    let path = path.display();
    assert!(
        reply.contains(&format!(" addr={path}:0 laddr={path}:0 ")),
        "{reply}"
    );
    assert!(reply.contains(" flags=U "), "{reply}");
}

#[test]
fn clients_are_killed_wherever_they_are() {
    let shards = Shards::start_with(1, |pool| pool, TWO_WORKERS);
    let mut clients = crowd(&shards);
    let mut killer = shards.client();
    let before = list(&mut killer, &[]).len();
    assert_eq!(before, 9);
    // By id, one at each worker.
    for worker in 0..2 {
        let at = clients
            .iter_mut()
            .position(|client| id(client) >> 48 == worker);
        let mut victim = clients.swap_remove(at.expect("one at each worker"));
        let number = id(&mut victim).to_string();
        assert_eq!(
            killer.cmd(&["CLIENT", "KILL", "ID", &number]),
            Value::Int(1)
        );
        victim.expect_closed();
        assert_eq!(
            killer.cmd(&["CLIENT", "KILL", "ID", &number]),
            Value::Int(0)
        );
    }
    // By address, in both forms.
    for form in [["CLIENT", "KILL"].as_slice(), &["CLIENT", "KILL", "ADDR"]] {
        let mut victim = clients.pop().expect("some are left");
        let address = victim
            .stream()
            .local_addr()
            .expect("an address")
            .to_string();
        let reply = killer.cmd(&[form, &[&address]].concat());
        assert_eq!(
            reply,
            if form.len() == 2 {
                Value::ok()
            } else {
                Value::Int(1)
            }
        );
        victim.expect_closed();
        let again = killer.cmd(&["CLIENT", "KILL", &address]);
        assert_eq!(again.error(), "ERR No such client");
    }
    assert_eq!(list(&mut killer, &["TYPE", "normal"]).len(), 5);
    assert_eq!(
        killer.cmd(&["CLIENT", "KILL", "TYPE", "pubsub"]),
        Value::Int(0)
    );
    assert_eq!(
        killer.cmd(&["CLIENT", "KILL", "MAXAGE", "100000"]),
        Value::Int(0)
    );
    // The others, then himself.
    assert_eq!(
        killer.cmd(&["CLIENT", "KILL", "USER", "default"]),
        Value::Int(4)
    );
    for client in &mut clients {
        client.expect_closed();
    }
    let last = [
        encode(&["SET", "a", "1"]),
        encode(&["CLIENT", "KILL", "SKIPME", "no"]),
        encode(&["SET", "a", "2"]),
    ];
    killer.send(last.concat());
    assert_eq!((killer.read(), killer.read()), (Value::ok(), Value::Int(1)));
    killer.expect_closed();
    assert_eq!(shards.client().cmd(&["GET", "a"]), Value::bulk("1"));
    assert!(shards.proxy.log().contains("client closed: CLIENT KILL"));
}

#[test]
fn mistakes_are_told_in_the_words_of_redis() {
    let shards = Shards::start_with(1, |pool| pool, TWO_WORKERS);
    let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
    for version in ["2", "3"] {
        for request in [
            "HELLO",
            "CLIENT LIST x",
            "CLIENT LIST TYPE",
            "CLIENT LIST TYPE x",
            "CLIENT LIST TYPE pubsub",
            "CLIENT LIST TYPE replica",
            "CLIENT LIST ID",
            "CLIENT LIST ID x",
            "CLIENT LIST ID 7777 -1",
            "CLIENT INFO x",
            "CLIENT KILL",
            "CLIENT KILL 1.2.3.4:5",
            "CLIENT KILL ID",
            "CLIENT KILL ID x",
            "CLIENT KILL ID 0",
            "CLIENT KILL ID 7777",
            "CLIENT KILL ID 7777 ADDR",
            "CLIENT KILL TYPE x",
            "CLIENT KILL USER nobody",
            "CLIENT KILL SKIPME x",
            "CLIENT KILL NONSENSE x",
            "CLIENT KILL ADDR x LADDR y TYPE pubsub",
            "CLIENT NO-EVICT x",
            "CLIENT NO-EVICT on",
            "CLIENT TRACKING OFF",
            "CLIENT TRACKING x",
            "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR",
            "CLIENT CACHING yes",
            "CLIENT UNBLOCK 7777",
            "CLIENT UNBLOCK 7777 error",
            "CLIENT UNBLOCK x",
            "CLIENT UNBLOCK 1 x",
            "CLIENT REPLY x",
            "CLIENT HELP",
        ] {
            let request = match request {
                "HELLO" => vec!["HELLO", version],
                request => request.split(' ').collect(),
            };
            for client in [&mut client, &mut redis] {
                client.send(encode(&request));
            }
            let (ours, theirs) = (client.read_raw(), redis.read_raw());
            if request[0] != "HELLO" {
                let [ours, theirs] = [ours, theirs].map(|reply| reply.escape_ascii().to_string());
                assert_eq!(ours, theirs, "{request:?}");
            }
        }
    }
    for (request, reason) in [
        (
            "TRACKING ON",
            "ERR unsupported option 'ON' of 'client|tracking': clients share connections to servers, which \
             would not know whom to tell of a change",
        ),
        (
            "NO-TOUCH ON",
            "ERR unsupported option 'ON' of 'client|no-touch': clients share connections to servers, which \
             would no longer see anybody use a key",
        ),
        (
            "PAUSE 1",
            "ERR unsupported command 'client|pause': servers have other clients, which would go on",
        ),
        ("IMPORT-SOURCE ON", "ERR Server is not in import mode"),
    ] {
        let request = format!("CLIENT {request}");
        let request: Vec<&str> = request.split(' ').collect();
        assert_eq!(client.cmd(&request).error(), reason);
    }
    for request in ["NO-TOUCH OFF", "IMPORT-SOURCE OFF", "CAPA redirect"] {
        let request = format!("CLIENT {request}");
        let request: Vec<&str> = request.split(' ').collect();
        assert_eq!(client.cmd(&request), Value::ok());
    }
}

#[test]
fn who_wants_no_replies_gets_none_and_all_is_done() {
    let shards = Shards::start(2);
    let (here, there) = (shards.key(0, 0), shards.key(1, 0));
    let steps: &[&[&str]] = &[
        &["SET", here, "1"],
        &["CLIENT", "REPLY", "SKIP"],
        &["INCR", here],
        &["INCR", here],
        // One behind the other, as in Redis.
        &["CLIENT", "REPLY", "SKIP"],
        &["CLIENT", "REPLY", "SKIP"],
        &["MSET", here, "5", there, "6"],
        &["MGET", here, there],
        &["CLIENT", "REPLY", "OFF"],
        &["INCR", here],
        &["NONSENSE"],
        &["LPUSH", here, "x"],
        &["DEL", there, "none"],
        &["MGET", here, there],
        &["PING"],
        &["CLIENT", "REPLY", "SKIP"],
        &["CLIENT", "LIST"],
        &["CLIENT", "REPLY", "ON"],
        &["MGET", here, there],
        &["CLIENT", "REPLY", "SKIP"],
        &["MULTI"],
        &["INCR", here],
        &["EXEC"],
        &["CLIENT", "REPLY", "OFF"],
        &["MULTI"],
        &["INCR", here],
        &["INCR", here],
        &["EXEC"],
        &["DBSIZE"],
        &["CLIENT", "REPLY", "ON"],
        &["GET", here],
        &["CLIENT", "REPLY", "OFF"],
        &["SET", there, "7"],
        &["RESET"],
        &["GET", there],
        &["CLIENT", "REPLY", "SKIP"],
        &["RESET"],
        &["GET", there],
        &["ECHO", "end"],
    ];
    let bytes: Vec<u8> = steps.iter().flat_map(|step| encode(step)).collect();
    let expected = {
        let mut redis = shards.servers[0].client();
        // One server in place of both.
        redis.send(&bytes);
        all_until_end(&mut redis)
    };
    for server in &shards.servers {
        assert_eq!(server.client().cmd(&["FLUSHALL"]), Value::ok());
    }
    let mut client = shards.client();
    client.send(&bytes);
    assert_eq!(all_until_end(&mut client), expected);
    // Request by request, too.
    assert_eq!(client.cmd(&["DEL", here, there]), Value::Int(2));
    let mut slow = shards.client();
    for byte in bytes.chunks(7) {
        slow.send(byte);
    }
    assert_eq!(all_until_end(&mut slow), expected);
    let mut client = shards.client();
    client.send(
        [
            encode(&["CLIENT", "REPLY", "OFF"]),
            encode(&["GET", here]),
            encode(&["QUIT"]),
        ]
        .concat(),
    );
    client.expect_closed();
}

fn all_until_end(client: &mut Client) -> Vec<Value> {
    let mut replies = Vec::new();
    while replies.last() != Some(&Value::bulk("end")) {
        replies.push(client.read());
    }
    replies
}

#[test]
fn lists_are_whole_while_clients_come_and_go() {
    let shards = Shards::start_with(2, |pool| pool, TWO_WORKERS);
    let address = shards.proxy.addr();
    std::thread::scope(|scope| {
        let asks = |_| {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..100 {
                    let request: &[&[&str]] = &[
                        &["GET", "a"],
                        &["CLIENT", "LIST"],
                        &["ECHO", "x"],
                        &["CLIENT", "KILL", "ID", "999999"],
                        &["CLIENT", "LIST", "ID", "999999"],
                    ];
                    let mut replies = client.pipeline(request).into_iter();
                    assert_eq!(replies.next(), Some(Value::Nil));
                    let lines = lines(replies.next().expect("a list"));
                    assert!(
                        lines.iter().all(|line| line.len() == 30),
                        "{} lines",
                        lines.len()
                    );
                    let rest: Vec<Value> = replies.collect();
                    let none = Value::Bulk(Vec::new());
                    assert_eq!(rest, [Value::bulk("x"), Value::Int(0), none], "{round}");
                }
            })
        };
        let asking: Vec<_> = (0..4).map(asks).collect();
        // Who leaves in the middle of a question is not answered, and nobody else is in his place.
        for _ in 0..200 {
            let mut gone = TcpStream::connect(address).expect("connects");
            gone.write_all(b"CLIENT LIST\r\nCLIENT LIST\r\n")
                .expect("takes it");
        }
        for thread in asking {
            thread.join().expect("all replies in their places");
        }
    });
}
