//! Pools that deny, allow and rename commands, over real servers; and Redis' categories against Redis.

mod support;

use std::collections::BTreeSet;
use std::fs;

use nuthatch::protocol::redis::command::{self, Category, Policy};
use rustix::process::Signal;
use support::{Pool, RedisServer, Shards, Value, eventually};

fn denied(name: &str, option: &str) -> String {
    format!("NOPERM this pool does not allow the '{name}' command, see {option}")
}

#[test]
fn what_is_denied_is_refused_and_disturbs_nothing_around_it() {
    let deny = |pool: Pool| {
        pool.set(
            "deny_commands",
            r#"[mget, object|freq, "@bitmap", client|id]"#,
        )
    };
    let shards = Shards::start_with(2, deny, &[]);
    let mut client = shards.client();
    for (request, name) in [
        (["MGET", "a", "b"].as_slice(), "mget"),
        (&["object", "FREQ", "a"], "object|freq"),
        (&["SETBIT", "a", "1", "1"], "setbit"),
        (&["client", "id"], "client|id"),
    ] {
        let replies = client.pipeline(&[&["SET", "a", "1"], request, &["GET", "a"]]);
        assert_eq!(replies[1].error(), denied(name, "deny_commands"));
        assert_eq!(
            (&replies[0], &replies[2]),
            (&Value::ok(), &Value::bulk("1"))
        );
    }
    assert_eq!(shards.stat("requests_denied"), 4);
    // What is wrong is told first, as in Redis, and what is near is served.
    let mut redis = shards.servers[0].client();
    for request in [
        ["MGET"].as_slice(),
        &["OBJECT", "nope"],
        &["CLIENT", "ID", "x"],
    ] {
        assert_eq!(client.cmd(request), redis.cmd(request), "{request:?}");
    }
    assert_eq!(client.cmd(&["OBJECT", "ENCODING", "a"]), Value::bulk("int"));
    assert_eq!(client.cmd(&["CLIENT", "GETNAME"]), Value::Nil);
    client.send("mget a b\r\n");
    assert_eq!(client.read().error(), denied("mget", "deny_commands"));
    assert_eq!(shards.stat("requests_denied"), 5);
}

#[test]
fn only_what_is_allowed_is_served() {
    let rules = |pool: Pool| {
        let pool = pool.set("allow_commands", r#"["@read", set, "@connection"]"#);
        pool.set("deny_commands", "[ping, hgetall]")
            .set("redis_auth", "sesame")
    };
    let servers = vec![RedisServer::with_args(&["--requirepass", "sesame"])];
    let shards = Shards::over(servers, rules, &[]);
    let mut client = shards.client();
    // Whoever has not logged in learns no rules.
    let no_auth = Value::Error("NOAUTH Authentication required".into());
    assert_eq!(client.cmd(&["DEL", "a"]), no_auth);
    assert_eq!(client.cmd(&["AUTH", "sesame"]), Value::ok());
    assert_eq!(client.cmd(&["SET", "a", "1"]), Value::ok());
    assert_eq!(client.cmd(&["GET", "a"]), Value::bulk("1"));
    assert_eq!(client.cmd(&["ECHO", "x"]), Value::bulk("x"));
    let answers = client.pipeline(&[
        ["DEL", "a"].as_slice(),
        &["PING"],
        &["HGETALL", "a"],
        &["EVAL", "1", "1", "a"],
    ]);
    let expected = [
        ("del", "allow_commands"),
        ("ping", "deny_commands"),
        ("hgetall", "deny_commands"),
        ("eval", "allow_commands"),
    ];
    for (answer, (name, option)) in answers.iter().zip(expected) {
        assert_eq!(answer.error(), denied(name, option));
    }
    assert_eq!(client.cmd(&["GET", "a"]), Value::bulk("1"));
    // As Redis' ACL, which lets nobody be locked out.
    assert!(!client.cmd(&["HELLO", "2"]).is_error());
    assert_eq!(client.cmd(&["RESET"]), Value::Simple("RESET".into()));
    assert_eq!(client.cmd(&["AUTH", "sesame"]), Value::ok());
    assert_eq!(client.cmd(&["QUIT"]), Value::ok());
}

#[test]
fn renamed_commands_reach_servers_by_their_own_names() {
    let names = "{set: Put, get: fetch, mget: fetch-all, del: \"\", object: look, client: whoami}";
    let shards = Shards::start_with(2, |pool| pool.set("rename_commands", names), &[]);
    let mut client = shards.client();
    let mut redis = shards.servers[0].client();
    let (here, there) = (shards.key(0, 0), shards.key(1, 0));
    // One that is copied, one that is passed on whole.
    let (small, large) = (b"1".to_vec(), vec![b'x'; 300_000]);
    for value in [&small, &large] {
        assert_eq!(client.cmd(&[b"PUT", here.as_bytes(), value]), Value::ok());
        assert!(client.cmd(&["fetch", here]) == Value::bulk(value));
        assert!(redis.cmd(&["GET", here]) == Value::bulk(value));
    }
    let replies = client.pipeline(&[
        ["put", here, "1"].as_slice(),
        &["put", there, "2"],
        &["Fetch-All", here, there, "none"],
        &["look", "encoding", here],
        &["whoami", "getname"],
        &["exists", here, there],
    ]);
    let both = Value::Array(vec![Value::bulk("1"), Value::bulk("2"), Value::Nil]);
    assert_eq!(
        replies,
        [
            Value::ok(),
            Value::ok(),
            both,
            Value::bulk("int"),
            Value::Nil,
            Value::Int(2)
        ]
    );
    client.send(format!("FETCH {there}\r\n"));
    assert_eq!(client.read(), Value::bulk("2"));
    // Arguments that are wrong are so by the own name, as in Redis.
    assert_eq!(client.cmd(&["fetch"]), redis.cmd(&["GET"]));
    for request in [
        ["set", "a", "1"].as_slice(),
        &["GET", here],
        &["Mget", here, there],
        &["DEL", here],
        &["OBJECT", "encoding", here],
    ] {
        let shown: String = request[1..].iter().map(|arg| format!("'{arg}' ")).collect();
        let name = request[0];
        let unknown = format!("ERR unknown command '{name}', with args beginning with: {shown}");
        assert_eq!(client.cmd(request).error(), unknown);
    }
    assert_eq!(redis.cmd(&["EXISTS", here]), Value::Int(1));
}

#[test]
fn rules_change_for_clients_that_are_connected() {
    let servers = [RedisServer::start()];
    let pool = Pool::new("alpha").servers(&servers);
    let proxy = support::Proxy::start(std::slice::from_ref(&pool));
    let mut client = proxy.client();
    assert_eq!(client.cmd(&["SET", "a", "1"]), Value::ok());
    let reload = |pool: &Pool| {
        fs::write(proxy.config_path(), pool.yaml()).expect("the file is ours");
        proxy.signal(Signal::HUP);
    };
    reload(
        &pool
            .clone()
            .set("deny_commands", "[set]")
            .set("rename_commands", "{get: sesame}"),
    );
    eventually("set is denied", || {
        // Another key: the rule may come only after a few.
        client.cmd(&["SET", "b", "2"]).is_error()
    });
    assert_eq!(
        client.cmd(&["SET", "a", "2"]).error(),
        denied("set", "deny_commands")
    );
    assert_eq!(client.cmd(&["sesame", "a"]), Value::bulk("1"));
    reload(&pool);
    eventually("set is allowed", || {
        client.cmd(&["SET", "a", "3"]) == Value::ok()
    });
    assert!(client.cmd(&["sesame", "a"]).is_error());
    assert_eq!(client.cmd(&["GET", "a"]), Value::bulk("3"));
    let log = proxy.log();
    assert!(log.contains("deny_commands none -> [set]"), "{log}");
    assert!(
        log.contains("rename_commands set") && !log.contains("sesame"),
        "{log}"
    );
}

#[test]
fn categories_are_those_of_redis() {
    let server = RedisServer::start();
    let mut redis = server.client();
    let mut words = |request: &[&str]| -> BTreeSet<String> {
        let Value::Array(words) = redis.cmd(request) else {
            panic!("{request:?}")
        };
        let text = |word| match word {
            Value::Bulk(text) => String::from_utf8(text).expect("text"),
            Value::Simple(text) => text,
            other => panic!("{other:?}"),
        };
        words.into_iter().map(text).collect()
    };
    let categories = words(&["ACL", "CAT"]);
    let newer = categories_without_old_commands();
    let ours: BTreeSet<String> = Category::NAMES
        .iter()
        .map(|&name| name.to_owned())
        .filter(|name| !newer.contains(name))
        .collect();
    let all = BTreeSet::from(["all".to_owned()]);
    assert_eq!(ours, &categories | &all);
    let known = words(&["COMMAND", "LIST"]);
    for name in categories {
        let category = Category::from_name(&name).expect("compared above");
        let theirs = words(&["ACL", "CAT", &name]);
        // A container is in the categories of none of its sub-commands there.
        let compared = command::every().filter(|command| {
            known.contains(command.name) && !matches!(command.policy, Policy::Container(_))
        });
        let mut count = 0;
        for command in compared {
            let (we, they) = (category.holds(command), theirs.contains(command.name));
            assert_eq!(we, they, "{} in {name}", command.name);
            count += usize::from(they);
        }
        assert!(count > 3, "{name} has {count} commands");
    }
}

/// The categories that none of Redis 7.0's commands has.
fn categories_without_old_commands() -> BTreeSet<String> {
    let names = Category::NAMES.into_iter();
    let newer = names.filter(|name| {
        let category = Category::from_name(name).expect("it is listed");
        let mut old = command::every().filter(|command| command.since.starts_with(OLD));
        !old.any(|command| category.holds(command))
    });
    newer.map(str::to_owned).collect()
}

/// Of Redis up to 7.
const OLD: [char; 7] = ['1', '2', '3', '4', '5', '6', '7'];
