//! Publish/subscribe through the proxy, beside a Redis that is asked directly.

mod support;

use support::{Client, RedisServer, Shards, Value, encode, eventually};

/// One client's words, and how many frames answer each.
struct Line {
    words: Vec<String>,
    frames: usize,
}

fn line(text: &str) -> Line {
    let (words, frames) = text.rsplit_once(" => ").unwrap_or((text, "1"));
    Line {
        words: words.split(' ').map(str::to_owned).collect(),
        frames: frames.parse().expect("a number"),
    }
}

/// Whatever channels there are, and on which servers, the frames are those of Redis.
#[test]
fn frames_are_those_of_redis() {
    let shards = Shards::start(3);
    let redis = RedisServer::start();
    let scripts: &[&[&str]] = &[
        &["SUBSCRIBE a", "UNSUBSCRIBE a"],
        &[
            "SUBSCRIBE a b c d e f g h a b => 10",
            "UNSUBSCRIBE h g x a h => 5",
        ],
        &[
            "PSUBSCRIBE a* ?b => 2",
            "SUBSCRIBE a",
            "PUNSUBSCRIBE ?b x => 2",
            "UNSUBSCRIBE a",
            "PUNSUBSCRIBE a*",
        ],
        &[
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SUNSUBSCRIBE",
            "SUBSCRIBE a",
            "PUNSUBSCRIBE",
            "UNSUBSCRIBE",
        ],
        &["SUBSCRIBE a", "UNSUBSCRIBE", "UNSUBSCRIBE"],
        &["PSUBSCRIBE a", "PUNSUBSCRIBE"],
        &[
            "SSUBSCRIBE a b c => 3",
            "SUBSCRIBE a",
            "SUNSUBSCRIBE b",
            "SUNSUBSCRIBE x",
            "UNSUBSCRIBE a",
            "SUNSUBSCRIBE a c => 2",
        ],
        &["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"],
        &[
            "SUBSCRIBE a",
            "PING",
            "PING hello",
            "GET a",
            "CLIENT ID",
            "HELLO 3",
            "NOSUCH",
            "GET",
            "UNSUBSCRIBE a",
            "PING",
            "GET a",
        ],
        &[
            "PSUBSCRIBE a",
            "SET a 1",
            "PUNSUBSCRIBE a",
            "SET a 1",
            "GET a",
        ],
        &["SSUBSCRIBE a", "PING", "SET a 1", "SUNSUBSCRIBE", "SET a 1"],
        &[
            "SUBSCRIBE a",
            "RESET",
            "PING",
            "GET a",
            "SUBSCRIBE b",
            "UNSUBSCRIBE",
        ],
        &["SUBSCRIBE a", "QUIT"],
        &[
            "SUBSCRIBE a",
            "HELLO 2",
            "PING",
            "GET a",
            "UNSUBSCRIBE",
            "GET a",
        ],
        &[
            "CLIENT REPLY OFF => 0",
            "SUBSCRIBE a b => 2",
            "UNSUBSCRIBE a x => 2",
            "UNSUBSCRIBE x",
            "UNSUBSCRIBE b",
            "CLIENT REPLY ON",
            "GET a",
        ],
        &[
            "SET a 1",
            "SUBSCRIBE a a{x} b => 3",
            "PSUBSCRIBE *",
            "UNSUBSCRIBE a a{x} b => 3",
            "PUNSUBSCRIBE *",
            "GET a",
        ],
        &[
            "UNSUBSCRIBE a b => 2",
            "SUBSCRIBE a",
            "UNSUBSCRIBE a b => 2",
            "SUBSCRIBE b",
        ],
    ];
    for resp in ["2", "3"] {
        for script in scripts {
            for at_once in [false, true] {
                let (mut ours, mut theirs) = (shards.client(), redis.client());
                ours.cmd(&["HELLO", resp]);
                theirs.cmd(&["HELLO", resp]);
                let lines: Vec<Line> = script.iter().map(|text| line(text)).collect();
                if at_once {
                    let bytes: Vec<u8> = lines.iter().flat_map(|l| encode(&l.words)).collect();
                    ours.send(&bytes);
                    theirs.send(&bytes);
                }
                for Line { words, frames } in &lines {
                    if !at_once {
                        ours.send(encode(words));
                        theirs.send(encode(words));
                    }
                    for frame in 0..*frames {
                        let (ours, theirs) = (ours.read_raw(), theirs.read_raw());
                        // Replies that differ by nature.
                        if resp == "3" && ["CLIENT", "HELLO"].contains(&&words[0][..]) {
                            continue;
                        }
                        assert_eq!(
                            ours.escape_ascii().to_string(),
                            theirs.escape_ascii().to_string(),
                            "frame {frame} of {words:?} in {script:?}, RESP{resp}, at once: {at_once}"
                        );
                    }
                }
            }
        }
    }
}

/// Reads until a message with this payload comes; what came before it.
fn read_until(client: &mut Client, payload: &str) -> Vec<Value> {
    let mut before = Vec::new();
    loop {
        let value = client.read();
        let (Value::Array(items) | Value::Push(items)) = &value else {
            before.push(value);
            continue;
        };
        if items.last() == Some(&Value::bulk(payload)) {
            return before;
        }
        before.push(value);
    }
}

fn array(words: &[&str]) -> Value {
    Value::bulks(words)
}

fn push(words: &[&str]) -> Value {
    Value::Push(words.iter().map(Value::bulk).collect())
}

#[test]
fn messages_come_once_from_whichever_server() {
    let shards = Shards::start(3);
    let (mut two, mut three, mut publisher) = (shards.client(), shards.client(), shards.client());
    three.cmd(&["HELLO", "3"]);
    let channels: Vec<String> = (0..60).map(|n| format!("channel:{n}")).collect();
    for client in [&mut two, &mut three] {
        let mut words = vec!["SUBSCRIBE".to_owned()];
        words.extend(channels.iter().cloned());
        client.send(encode(&words));
        client.read_n(channels.len());
        client.send(encode(&["PSUBSCRIBE", "channel:*1"]));
        client.read();
        client.send(encode(&["SSUBSCRIBE", "channel:0"]));
        client.read();
    }
    for channel in &channels {
        let one = channel.ends_with('1');
        let count = publisher.cmd(&["PUBLISH", channel, "hello"]);
        assert_eq!(count, Value::Int(if one { 4 } else { 2 }), "{channel}");
        let mut plain = vec!["message", channel, "hello"];
        let mut pattern = vec!["pmessage", "channel:*1", channel, "hello"];
        assert_eq!(two.read(), array(&plain));
        assert_eq!(three.read(), push(&plain));
        if one {
            assert_eq!(two.read(), array(&pattern));
            assert_eq!(three.read(), push(&pattern));
        }
        plain.clear();
        pattern.clear();
    }
    assert_eq!(
        publisher.cmd(&["SPUBLISH", "channel:0", "x"]),
        Value::Int(2)
    );
    assert_eq!(two.read(), array(&["smessage", "channel:0", "x"]));
    assert_eq!(three.read(), push(&["smessage", "channel:0", "x"]));
    // What is counted is what one Redis would count.
    let numsub = publisher.cmd(&["PUBSUB", "NUMSUB", "channel:0", "channel:1", "none"]);
    let expected = vec![
        Value::bulk("channel:0"),
        Value::Int(2),
        Value::bulk("channel:1"),
        Value::Int(2),
        Value::bulk("none"),
        Value::Int(0),
    ];
    assert_eq!(numsub, Value::Array(expected));
    assert_eq!(publisher.cmd(&["PUBSUB", "NUMPAT"]), Value::Int(1));
    drop(two);
    eventually("the subscriber that left is not counted", || {
        publisher.cmd(&["PUBLISH", "channel:0", "bye"]) == Value::Int(1)
    });
}

#[test]
fn a_subscriber_with_resp3_goes_on_with_requests() {
    let shards = Shards::start(3);
    let (mut client, mut publisher) = (shards.client(), shards.client());
    client.cmd(&["HELLO", "3"]);
    for server in 0..3 {
        client.send(encode(&["SUBSCRIBE", shards.key(server, 0)]));
        client.read();
    }
    let large = "x".repeat(300_000);
    client.cmd(&["SET", shards.key(0, 1), &large]);
    let (mut messages, mut replies) = (0, 0);
    for round in 0..40 {
        let mut bytes = Vec::new();
        for n in 0..10 {
            bytes.extend(encode(&[
                "PUBLISH",
                shards.key(n % 3, 0),
                &round.to_string(),
            ]));
        }
        publisher.send(bytes);
        client.send(encode(&["GET", shards.key(0, 1)]));
        client.send(encode(&["MGET", shards.key(0, 2), shards.key(1, 2)]));
        client.send(encode(&["INCR", shards.key(2, 1)]));
        publisher.read_n(10);
        let mut expected = vec![
            Value::bulk(&large),
            Value::Array(vec![Value::Nil, Value::Nil]),
            Value::Int(round + 1),
        ];
        expected.reverse();
        while replies < 3 * (round + 1) {
            match client.read() {
                Value::Push(_) => messages += 1,
                reply => {
                    assert_eq!(Some(reply), expected.pop());
                    replies += 1;
                }
            }
        }
    }
    while messages < 400 {
        assert!(matches!(client.read(), Value::Push(_)));
        messages += 1;
    }
}

/// In one Redis each of these is executed before the next.
#[test]
fn requests_around_a_subscription_keep_their_order() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    client.cmd(&["HELLO", "3"]);
    for n in 0..50 {
        let channel = format!("c{n}");
        let text = |word: &str| -> Vec<u8> { encode(&["PUBLISH", &channel, word]) };
        let mut bytes = text("early");
        bytes.extend(encode(&["SUBSCRIBE", &channel]));
        bytes.extend(text("now"));
        bytes.extend(encode(&["UNSUBSCRIBE", &channel]));
        bytes.extend(text("late"));
        client.send(bytes);
        let confirmed = |word: &str, count| {
            Value::Push(vec![
                Value::bulk(word),
                Value::bulk(&channel),
                Value::Int(count),
            ])
        };
        assert_eq!(client.read(), Value::Int(0));
        assert_eq!(client.read(), confirmed("subscribe", 1));
        // The message and the reply to PUBLISH come by different connections.
        let mut pair = client.read_n(2);
        if pair[0] == Value::Int(1) {
            pair.reverse();
        }
        assert_eq!(pair, [push(&["message", &channel, "now"]), Value::Int(1)]);
        assert_eq!(client.read(), confirmed("unsubscribe", 0));
        assert_eq!(client.read(), Value::Int(0));
    }
}

#[test]
fn keyspace_notifications_come_from_where_the_key_is() {
    let shards = Shards::start(3);
    for server in &shards.servers {
        let set = server
            .client()
            .cmd(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
        assert_eq!(set, Value::ok());
    }
    let (mut client, mut writer) = (shards.client(), shards.client());
    let keys: Vec<&str> = (0..3).map(|server| shards.key(server, 0)).collect();
    let channels = keys.iter().map(|key| format!("__keyspace@0__:{key}"));
    let channels: Vec<String> = channels.collect();
    let mut subscribe = vec!["SUBSCRIBE".to_owned(), "__keyevent@0__:del".to_owned()];
    subscribe.extend(channels.iter().cloned());
    client.send(encode(&subscribe));
    client.read_n(4);
    client.send(encode(&["PSUBSCRIBE", "__keyevent*:incrby"]));
    client.read();
    for (key, channel) in keys.iter().zip(&channels) {
        writer.cmd(&["SET", key, "1"]);
        assert_eq!(client.read(), array(&["message", channel, "set"]));
        writer.cmd(&["INCR", key]);
        assert_eq!(client.read(), array(&["message", channel, "incrby"]));
        let event = "__keyevent@0__:incrby";
        let expected = array(&["pmessage", "__keyevent*:incrby", event, key]);
        assert_eq!(client.read(), expected);
        writer.cmd(&["DEL", key]);
        assert_eq!(client.read(), array(&["message", channel, "del"]));
        assert_eq!(
            client.read(),
            array(&["message", "__keyevent@0__:del", key])
        );
    }
}

#[test]
fn large_messages_come_whole() {
    let shards = Shards::start(2);
    let (mut two, mut three, mut publisher) = (shards.client(), shards.client(), shards.client());
    three.cmd(&["HELLO", "3"]);
    for client in [&mut two, &mut three] {
        client.send(encode(&["SUBSCRIBE", "a"]));
        client.read();
    }
    for len in [10, 20_000, 300_000, 3_000_000] {
        let payload = "x".repeat(len);
        assert_eq!(publisher.cmd(&["PUBLISH", "a", &payload]), Value::Int(2));
        assert_eq!(two.read(), array(&["message", "a", &payload]));
        assert_eq!(three.read(), push(&["message", "a", &payload]));
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_at_the_limit() {
    let limit = |pool: support::Pool| pool.set("client_output_limit", "2mb");
    let shards = Shards::start_with(2, limit, &[]);
    let (mut slow, mut good, mut publisher) =
        (shards.slow_client(), shards.client(), shards.client());
    for client in [&mut slow, &mut good] {
        client.send(encode(&["SUBSCRIBE", "a"]));
        client.read();
    }
    let payload = "x".repeat(100_000);
    let mut sent = 0;
    eventually("the slow one is closed", || {
        publisher.cmd(&["PUBLISH", "a", &payload]);
        assert_eq!(good.read(), array(&["message", "a", &payload]));
        sent += 1;
        shards.stat("client_output_limit_hit") == 1
    });
    assert!(sent > 20, "{sent}");
    eventually("it is not counted any more", || {
        let count = publisher.cmd(&["PUBLISH", "a", "x"]);
        assert_eq!(good.read(), array(&["message", "a", "x"]));
        count == Value::Int(1)
    });
    // A single message beyond the limit.
    let payload = "x".repeat(3_000_000);
    publisher.cmd(&["PUBLISH", "a", &payload]);
    good.expect_closed();
    assert_eq!(shards.stat("client_output_limit_hit"), 2);
}

#[test]
fn subscriptions_come_back_with_the_server() {
    let mut shards = Shards::start(3);
    let (mut client, mut publisher) = (shards.client(), shards.client());
    let channel = shards.key(1, 0).to_owned();
    let all: [&[&str]; 3] = [
        &["SUBSCRIBE", &channel],
        &["PSUBSCRIBE", "*"],
        &["SSUBSCRIBE", &channel],
    ];
    for words in all {
        client.send(encode(words));
        client.read();
    }
    for round in 0..3 {
        shards.servers[1].kill();
        if round == 1 {
            // The other servers' messages come meanwhile.
            publisher.cmd(&["PUBLISH", shards.key(0, 0), "other"]);
            assert_eq!(
                client.read(),
                array(&["pmessage", "*", shards.key(0, 0), "other"])
            );
        }
        shards.servers[1].restart();
        eventually("it is subscribed again", || {
            publisher.cmd(&["PUBLISH", &channel, "again"]) == Value::Int(2)
                && publisher.cmd(&["SPUBLISH", &channel, "again"]) == Value::Int(1)
        });
        publisher.cmd(&["PUBLISH", shards.key(2, 0), "end"]);
        let got = read_until(&mut client, "end");
        let message = array(&["message", &channel, "again"]);
        assert!(got.contains(&message), "{got:?}");
        let again = |value: &&Value| matches!(value, Value::Array(items) if items.last() == Some(&Value::bulk("again")));
        assert_eq!(got.iter().filter(again).count(), got.len(), "{got:?}");
    }
    assert!(shards.server_stat(1, "resubscribed") >= 3);
    assert_eq!(shards.server_stat(0, "resubscribed"), 0);
    // The client is as good as ever.
    client.send(encode(&["UNSUBSCRIBE"]));
    let counted = |word: &str, n| {
        Value::Array(vec![
            Value::bulk(word),
            Value::bulk(&channel),
            Value::Int(n),
        ])
    };
    assert_eq!(client.read(), counted("unsubscribe", 1));
}

#[test]
fn a_part_that_fails_is_the_reply_and_the_last() {
    let mut shards = Shards::start(3);
    let (mut client, mut other) = (shards.client(), shards.client());
    let key = |server: usize| shards.key(server, 0).to_owned();
    let (a, b) = (key(0), key(1));
    shards.servers[1].kill();
    client.send(encode(&["SUBSCRIBE", &a, &b]));
    let refused = client.read();
    assert!(
        refused.error().contains("Connection refused"),
        "{refused:?}"
    );
    client.expect_closed();
    // Who does not need that server does not miss it.
    other.send(encode(&["SUBSCRIBE", &a]));
    other.read();
    let mut publisher = shards.client();
    eventually("the one that was closed is not counted", || {
        publisher.cmd(&["PUBLISH", &a, "x"]) == Value::Int(1)
    });
}

#[test]
fn as_many_as_allowed_have_a_connection() {
    let few = |pool: support::Pool| pool.set("dedicated_connections", 2);
    let shards = Shards::start_with(1, few, &[]);
    let mut clients: Vec<Client> = (0..3).map(|_| shards.client()).collect();
    for client in &mut clients[..2] {
        client.send(encode(&["SUBSCRIBE", "a"]));
        client.read();
    }
    let refused = clients[2].cmd(&["SUBSCRIBE", "a"]);
    assert!(
        refused.error().contains("dedicated_connections: 2"),
        "{refused:?}"
    );
    clients[2].expect_closed();
    // A connection that nobody subscribes on any more can be another's.
    clients[0].cmd(&["UNSUBSCRIBE", "a"]);
    let mut next = shards.client();
    assert_eq!(next.cmd(&["WATCH", "a"]), Value::ok());
}

#[test]
fn what_the_server_refuses_is_the_reply() {
    let server = RedisServer::start();
    let deny = server
        .client()
        .cmd(&["ACL", "SETUSER", "default", "resetchannels", "&good"]);
    assert_eq!(deny, Value::ok());
    let shards = Shards::over(vec![server], |pool| pool, &[]);
    let (mut client, mut other) = (shards.client(), shards.client());
    other.send(encode(&["SUBSCRIBE", "good"]));
    other.read();
    let refused = client.cmd(&["SUBSCRIBE", "bad"]);
    assert!(refused.error().starts_with("NOPERM "), "{refused:?}");
    client.expect_closed();
    // Nobody else is concerned.
    assert_eq!(other.cmd(&["PING"]), array(&["pong", ""]));
    assert_eq!(shards.server_stat(0, "server_err"), 0);
    // A right that is lost: the server drops its subscribers, who cannot come back.
    let taken = shards.servers[0]
        .client()
        .cmd(&["ACL", "SETUSER", "default", "resetchannels"]);
    assert_eq!(taken, Value::ok());
    other.expect_closed();
}

#[test]
fn transactions_and_subscriptions_do_not_mix() {
    let shards = Shards::start(3);
    let mut client = shards.client();
    client.cmd(&["HELLO", "3"]);
    client.send(encode(&["SUBSCRIBE", "a"]));
    client.read();
    assert_eq!(client.cmd(&["MULTI"]), Value::ok());
    let refused = client.cmd(&["SUBSCRIBE", "b"]);
    assert!(
        refused.error().contains("cannot be part of a transaction"),
        "{refused:?}"
    );
    assert!(client.cmd(&["EXEC"]).error().starts_with("EXECABORT"));
    let key = shards.key(0, 0);
    let all: [&[&str]; 3] = [&["MULTI"], &["INCR", key], &["EXEC"]];
    assert_eq!(client.pipeline(&all)[2], Value::Array(vec![Value::Int(1)]));
    client.send(encode(&["PUBLISH", "a", "x"]));
    let both = client.read_n(2);
    assert!(both.contains(&push(&["message", "a", "x"])), "{both:?}");
    assert!(both.contains(&Value::Int(1)), "{both:?}");
}

/// The server that `names` of this kind are subscribed on, by its own account.
fn subscribed(server: &RedisServer) -> usize {
    match server.client().cmd(&["PUBSUB", "CHANNELS"]) {
        Value::Array(channels) => channels.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_left_behind() {
    let shards = Shards::start(3);
    for leave in ["close", "RESET", "UNSUBSCRIBE"] {
        let mut client = shards.client();
        let words = [
            "SUBSCRIBE",
            shards.key(0, 0),
            shards.key(1, 0),
            shards.key(2, 0),
        ];
        client.send(encode(&words));
        client.read_n(3);
        assert!(shards.servers.iter().all(|server| subscribed(server) == 1));
        match leave {
            "close" => drop(client),
            word => drop(client.cmd(&[word])),
        }
        eventually(leave, || {
            shards.servers.iter().all(|server| subscribed(server) == 0)
        });
    }
}

/// With `random` any server may be published on, so all are subscribed to.
#[test]
fn nothing_is_missed_where_keys_have_no_place() {
    let random = |pool: support::Pool| pool.set("distribution", "random");
    let servers = (0..3).map(|_| RedisServer::start()).collect::<Vec<_>>();
    let proxy = support::Proxy::start(&[random(support::Pool::new("alpha")).servers(&servers)]);
    let (mut client, mut publisher) = (proxy.client(), proxy.client());
    client.send(encode(&["SUBSCRIBE", "a", "b"]));
    client.read_n(2);
    client.send(encode(&["SSUBSCRIBE", "a"]));
    client.read();
    for n in 0..50 {
        let payload = n.to_string();
        assert_eq!(publisher.cmd(&["PUBLISH", "b", &payload]), Value::Int(1));
        assert_eq!(client.read(), array(&["message", "b", &payload]));
        assert_eq!(publisher.cmd(&["SPUBLISH", "a", &payload]), Value::Int(1));
        assert_eq!(client.read(), array(&["smessage", "a", &payload]));
    }
}

#[test]
fn channels_of_an_ejected_server_go_elsewhere() {
    let eject = |pool: support::Pool| {
        pool.set("auto_eject_hosts", true)
            .set("server_failure_limit", 1)
            .set("server_retry_timeout", 60_000)
    };
    let mut shards = Shards::start_with(2, eject, &[]);
    let (mut client, mut publisher) = (shards.client(), shards.client());
    let channel = shards.key(0, 0).to_owned();
    client.send(encode(&["SUBSCRIBE", &channel]));
    client.read();
    client.send(encode(&["PSUBSCRIBE", "*"]));
    client.read();
    shards.servers[0].kill();
    eventually("the channel is on the other server", || {
        publisher.cmd(&["PUBLISH", &channel, "x"]) == Value::Int(2)
    });
    let both = client.read_n(2);
    assert!(
        both.contains(&array(&["message", &channel, "x"])),
        "{both:?}"
    );
    assert!(
        both.contains(&array(&["pmessage", "*", &channel, "x"])),
        "{both:?}"
    );
}

#[test]
fn a_server_that_hangs_fails_the_request_in_time() {
    let shards = Shards::start_with(2, |pool| pool.set("timeout", 300), &[]);
    let (mut client, mut old) = (shards.client(), shards.client());
    let channel = shards.key(0, 0);
    old.send(encode(&["SUBSCRIBE", channel]));
    old.read();
    shards.servers[0].pause();
    let refused = client.cmd(&["SUBSCRIBE", channel]);
    assert!(refused.error().contains("timed out"), "{refused:?}");
    client.expect_closed();
    shards.servers[0].resume();
    // Who waited for nothing has not noticed, or is subscribed again.
    let mut publisher = shards.client();
    eventually("messages come", || {
        publisher.cmd(&["PUBLISH", channel, "x"]) == Value::Int(1)
    });
    assert_eq!(old.read(), array(&["message", channel, "x"]));
}

#[test]
fn subscribers_are_listed_as_such() {
    let shards = Shards::start(2);
    let (mut client, mut other) = (shards.client(), shards.client());
    other.cmd(&["HELLO", "3"]);
    client.send(encode(&["SUBSCRIBE", "a", "b"]));
    client.read_n(2);
    client.send(encode(&["PSUBSCRIBE", "*"]));
    client.read();
    let Value::Verbatim(list) = other.cmd(&["CLIENT", "LIST", "TYPE", "pubsub"]) else {
        panic!("no list")
    };
    let list = String::from_utf8_lossy(&list).into_owned();
    assert_eq!(list.matches("id=").count(), 1, "{list}");
    assert!(
        list.contains(" flags=P ") && list.contains(" sub=2 psub=1 ssub=0 "),
        "{list}"
    );
    assert_eq!(
        other.cmd(&["CLIENT", "KILL", "TYPE", "pubsub"]),
        Value::Int(1)
    );
    client.expect_closed();
}

#[test]
fn the_end_of_the_process_does_not_wait_for_subscribers() {
    let mut shards = Shards::start(2);
    let mut client = shards.client();
    client.send(encode(&["SUBSCRIBE", "a"]));
    client.read();
    shards.proxy.signal(rustix::process::Signal::TERM);
    client.expect_closed();
    assert_eq!(shards.proxy.wait().code(), Some(0));
}

/// Before Redis 6 there is no RESP3.
#[test]
fn a_server_without_resp3_is_named_as_the_reason() {
    let mut fake = support::FakeServer::start();
    let pool = support::Pool::new("alpha").server(&fake.line("old"));
    let proxy = support::Proxy::start(&[pool]);
    let mut client = proxy.client();
    client.send(encode(&["SUBSCRIBE", "a"]));
    fake.accept()
        .answer(&["HELLO", "3"], "-ERR unknown command `HELLO`\r\n");
    let refused = client.read();
    assert!(refused.error().contains("HELLO 3 failed"), "{refused:?}");
    client.expect_closed();
}
