//! Passwords and protocol versions: AUTH, HELLO, RESET, and clients of both versions side by side.

mod support;

use support::{RedisServer, Shards, Value, encode};

const PASSWORD: &str = "s3cret pass";

/// Two servers and a pool with the password.
fn guarded() -> Shards {
    let servers = (0..2)
        .map(|_| RedisServer::with_args(&["--requirepass", PASSWORD]))
        .collect();
    Shards::over(
        servers,
        |pool| pool.set("redis_auth", format!("\"{PASSWORD}\"")),
        &[],
    )
}

/// Pairs of a map, from a RESP3 map or its flat RESP2 form.
fn pairs(value: Value) -> Vec<(Value, Value)> {
    match value {
        Value::Map(pairs) => pairs,
        Value::Array(items) => items
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect(),
        other => panic!("not a map: {other:?}"),
    }
}

#[track_caller]
fn field(value: &Value, name: &str) -> Value {
    let found = pairs(value.clone())
        .into_iter()
        .find(|(key, _)| *key == Value::bulk(name));
    found.unwrap_or_else(|| panic!("no {name} in {value:?}")).1
}

#[test]
fn nothing_is_served_before_the_password() {
    let shards = guarded();
    let mut client = shards.client();
    let refusal = Value::Error("NOAUTH Authentication required".into());
    for request in [
        ["GET", "a"].as_slice(),
        &["MGET", "a", "b", "c", "d"],
        &["PING"],
        &["SELECT", "0"],
        &["CLIENT", "ID"],
        &["TIME"],
        &["FLUSHALL"],
        &["INFO"],
    ] {
        assert_eq!(client.cmd(request), refusal, "{request:?}");
    }
    for (request, expected) in [
        (["AUTH", "wrong"].as_slice(), "ERR invalid password"),
        (&["AUTH", ""], "ERR invalid password"),
        (
            &["AUTH", "default", "wrong"],
            "WRONGPASS invalid username-password pair or user is disabled.",
        ),
        (
            &["AUTH", "someone", PASSWORD],
            "WRONGPASS invalid username-password pair or user is disabled.",
        ),
        (
            &["HELLO", "3", "AUTH", "default", "wrong"],
            "WRONGPASS invalid username-password pair or user is disabled.",
        ),
        (
            &["AUTH"],
            "ERR wrong number of arguments for 'auth' command",
        ),
        (&["AUTH", "a", "b", "c"], "ERR syntax error"),
    ] {
        assert_eq!(client.cmd(request).error(), expected, "{request:?}");
        assert_eq!(client.cmd(&["GET", "a"]), refusal, "after {request:?}");
    }
    for request in [
        ["HELLO"].as_slice(),
        &["HELLO", "2"],
        &["HELLO", "3", "SETNAME", "me"],
    ] {
        assert!(
            client
                .cmd(request)
                .error()
                .starts_with("NOAUTH HELLO must be called"),
            "{request:?}"
        );
    }
    assert_eq!(
        client.cmd(&["HELLO", "4"]).error(),
        "NOPROTO unsupported protocol version"
    );
    let requests =
        |shards: &Shards| shards.server_stat(0, "requests") + shards.server_stat(1, "requests");
    assert_eq!(requests(&shards), 0, "nothing has left");
    assert_eq!(client.cmd(&["QUIT"]), Value::ok());
    client.expect_closed();
}

#[test]
fn the_password_opens_in_every_form() {
    let shards = guarded();
    for request in [
        ["AUTH", PASSWORD].as_slice(),
        &["auth", "default", PASSWORD],
        &["HELLO", "2", "AUTH", "default", PASSWORD],
        &["hello", "3", "setname", "me", "auth", "default", PASSWORD],
    ] {
        let mut client = shards.client();
        // In one write with what needs it.
        let replies = client.pipeline(&[
            &["GET", "a"],
            request,
            &["SET", "a", "1"],
            &["MGET", "a", "b"],
        ]);
        assert!(
            replies[0].is_error() && !replies[1].is_error(),
            "{replies:?}"
        );
        assert_eq!(replies[2], Value::ok());
        assert_eq!(replies[3], Value::Array(vec![Value::bulk("1"), Value::Nil]));
        // Each client for itself.
        assert!(
            shards
                .client()
                .cmd(&["GET", "a"])
                .error()
                .starts_with("NOAUTH")
        );
        assert_eq!(client.cmd(&["RESET"]), Value::Simple("RESET".into()));
        assert!(
            client.cmd(&["GET", "a"]).error().starts_with("NOAUTH"),
            "{request:?}"
        );
    }
    let mut client = shards.client();
    assert_eq!(client.cmd(&["AUTH", PASSWORD]), Value::ok());
    assert_eq!(
        client.cmd(&["AUTH", "wrong"]).error(),
        "ERR invalid password"
    );
    assert!(
        client.cmd(&["GET", "a"]).error().starts_with("NOAUTH"),
        "a wrong password takes the right away"
    );
}

#[test]
fn a_pool_without_password_says_so() {
    let shards = Shards::start(1);
    let mut client = shards.client();
    assert_eq!(
        client.cmd(&["AUTH", "x"]).error(),
        "ERR Client sent AUTH, but no password is set"
    );
    // As in Redis, whose user `default` then takes any password; and whoever fails stays who he was.
    let mut redis = shards.servers[0].client();
    for request in [
        ["AUTH", "default", "x"].as_slice(),
        &["AUTH", "default", ""],
        &["AUTH", "someone", "x"],
        &["HELLO", "2", "AUTH", "someone", "x"],
    ] {
        assert_eq!(client.cmd(request), redis.cmd(request), "{request:?}");
        assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
    }
    let hello = client.cmd(&["HELLO", "3", "AUTH", "default", "x", "SETNAME", "me"]);
    assert_eq!(field(&hello, "proto"), Value::Int(3));
    assert_eq!(client.cmd(&["CLIENT", "GETNAME"]), Value::bulk("me"));
    assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()));
}

#[test]
fn hello_greets_like_redis() {
    let shards = Shards::start(1);
    let (mut client, mut redis) = (shards.client(), shards.servers[0].client());
    for request in [
        ["HELLO"].as_slice(),
        &["HELLO", "2"],
        &["HELLO", "3"],
        &["HELLO"],
        &["HELLO", "2"],
    ] {
        let (ours, theirs) = (client.cmd(request), redis.cmd(request));
        let names = |value: Value| {
            pairs(value)
                .into_iter()
                .map(|pair| pair.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(ours.clone()), names(theirs.clone()), "{request:?}");
        for name in ["server", "proto", "mode", "role", "modules"] {
            assert_eq!(field(&ours, name), field(&theirs, name), "{request:?}");
        }
        assert_eq!(
            matches!(ours, Value::Map(_)),
            matches!(theirs, Value::Map(_)),
            "{request:?}"
        );
        assert!(matches!(field(&ours, "id"), Value::Int(1..)));
    }
    for request in [
        ["HELLO", "1"].as_slice(),
        &["HELLO", "4"],
        &["HELLO", "x"],
        &["HELLO", "3", "NONSENSE"],
        &["HELLO", "3", "SETNAME"],
        &["HELLO", "3", "AUTH", "default"],
        &["HELLO", "3", "SETNAME", "a b"],
    ] {
        assert_eq!(client.cmd(request), redis.cmd(request), "{request:?}");
    }
    // A refused HELLO changes nothing.
    assert_eq!(field(&client.cmd(&["HELLO"]), "proto"), Value::Int(2));
}

#[test]
fn the_protocol_changes_behind_what_was_asked_before() {
    let shards = Shards::start(2);
    let mut client = shards.client();
    let key = shards.key(1, 0);
    assert_eq!(client.cmd(&["HSET", key, "f", "v"]), Value::Int(1));
    let flat = Value::bulks(&["f", "v"]);
    let map = Value::Map(vec![(Value::bulk("f"), Value::bulk("v"))]);
    for _ in 0..50 {
        let replies = client.pipeline(&[
            &["HGETALL", key],
            &["HELLO", "3"],
            &["HGETALL", key],
            &["HELLO", "2"],
            &["HGETALL", key],
            &["HELLO", "3", "SETNAME", "me"],
            &["CLIENT", "GETNAME"],
            &["HGETALL", key],
            &["RESET"],
            &["HGETALL", key],
            &["CLIENT", "GETNAME"],
        ]);
        assert_eq!(replies[0], flat);
        assert_eq!(replies[2], map);
        assert_eq!(replies[4], flat);
        assert_eq!(replies[6], Value::bulk("me"));
        assert_eq!(replies[7], map);
        assert_eq!(replies[9], flat);
        assert_eq!(replies[10], Value::Nil);
    }
    // What waits for its turn is not lost when the client says that it sends no more.
    client.send(
        [
            encode(&["HGETALL", key]),
            encode(&["HELLO", "3"]),
            encode(&["HGETALL", key]),
        ]
        .concat(),
    );
    client.half_close();
    assert_eq!(client.read(), flat);
    assert!(matches!(client.read(), Value::Map(_)));
    assert_eq!(client.read(), map);
    client.expect_closed();
}

#[test]
fn resp3_and_resp2_clients_at_once_get_what_the_server_says() {
    let shards = Shards::start(2);
    let key = |n| shards.key(0, n);
    let mut direct = [shards.servers[0].client(), shards.servers[0].client()];
    let mut clients = [shards.client(), shards.client()];
    for three in [&mut direct[1], &mut clients[1]] {
        assert!(!three.cmd(&["HELLO", "3"]).is_error());
    }
    for setup in [
        ["HSET", key(0), "a", "1", "b", "2"].as_slice(),
        &["SADD", key(1), "only"],
        &["ZADD", key(2), "1.5", "x", "inf", "y"],
        &["RPUSH", key(3), "l"],
        &["SET", key(4), "3.5"],
        &["XADD", key(5), "1-1", "f", "v"],
    ] {
        assert!(!clients[0].cmd(setup).is_error());
    }
    let requests: &[&[&str]] = &[
        &["HGETALL", key(0)],
        &["SMEMBERS", key(1)],
        &["ZSCORE", key(2), "x"],
        &["ZSCORE", key(2), "y"],
        &["ZSCORE", key(2), "none"],
        &["ZRANGE", key(2), "0", "-1", "WITHSCORES"],
        &["GET", "none"],
        &["HGET", key(0), "none"],
        &["LPOP", "none", "2"],
        &["HRANDFIELD", key(0), "2", "WITHVALUES"],
        &["INCRBYFLOAT", key(4), "0"],
        &["EVAL", "redis.setresp(3) return {double=1.5}", "1", key(4)],
        &[
            "EVAL",
            "redis.setresp(3) return {map={a=true}}",
            "1",
            key(4),
        ],
        &[
            "EVAL",
            "redis.setresp(3) return {big_number='123456789012345678901234567890'}",
            "1",
            key(4),
        ],
        &[
            "EVAL",
            "redis.setresp(3) return {verbatim_string={format='txt', string='text'}}",
            "1",
            key(4),
        ],
        &[
            "EVAL",
            "redis.setresp(3) return {false, true, 1, {set={x=true}}}",
            "1",
            key(4),
        ],
        &["EVAL", "return redis.error_reply('MY own')", "1", key(4)],
        &["XREAD", "STREAMS", key(5), "0"],
        &["GEOPOS", key(2), "none"],
        &["OBJECT", "ENCODING", key(3)],
        &["LRANGE", key(0), "0", "1"],
        &["MGET", key(4), "none"],
        &["COMMAND", "INFO", "get", "nonsense"],
        &["COMMAND", "COUNT"],
        &["COMMAND", "DOCS", "get"],
    ];
    // All requests of both clients at once; the server serves both kinds at the same time.
    for request in requests {
        for client in &mut clients {
            client.send(encode(request));
        }
    }
    for request in requests {
        for (client, redis) in clients.iter_mut().zip(&mut direct) {
            redis.send(encode(request));
            let (ours, theirs) = (client.read_raw(), redis.read_raw());
            assert_eq!(
                ours.escape_ascii().to_string(),
                theirs.escape_ascii().to_string(),
                "{request:?}"
            );
        }
    }
}
