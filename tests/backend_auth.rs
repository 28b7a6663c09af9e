//! `redis_auth` and `redis_db` on the connections to servers: every key lands in the pool's database, and
//! a server that does not agree is named, with its reason, to whoever asks.

mod support;

use support::{
    Client, FakeServer, Pool, Proxy, RedisServer, Stats, Value, count, encode, eventually,
};

const PASSWORD: &str = "s3cret-of-the-pool";
const WITH_PASSWORD: &[&str] = &["--requirepass", PASSWORD];

fn protected_pool(server: &RedisServer, unix: bool) -> Pool {
    let pool = Pool::new("alpha").set("redis_auth", PASSWORD);
    if unix {
        pool.server(&format!("{}:1 server1", server.socket().display()))
    } else {
        pool.servers([server])
    }
}

/// A client of the proxy that has given the password, in RESP2 or RESP3.
#[track_caller]
fn authenticated(proxy: &Proxy, resp: u8) -> Client {
    let mut client = proxy.client();
    if resp == 3 {
        let reply = client.cmd(&["HELLO", "3", "AUTH", "default", PASSWORD]);
        assert!(matches!(reply, Value::Map(_)), "{reply:?}");
    } else {
        assert_eq!(client.cmd(&["AUTH", PASSWORD]), Value::ok());
    }
    client
}

/// A connection past the proxy that has given the password.
#[track_caller]
fn inside(server: &RedisServer) -> Client {
    let mut client = server.client();
    assert_eq!(client.cmd(&["AUTH", PASSWORD]), Value::ok());
    client
}

/// How often a line with all of `words` was logged at level WARN.
fn warnings(proxy: &Proxy, words: &[&str]) -> usize {
    let log = proxy.log();
    let lines = log.lines().filter(|line| line.contains("WARN"));
    lines
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

#[test]
fn keys_land_in_the_pools_database_over_every_kind_of_connection() {
    let server = RedisServer::with_args(WITH_PASSWORD);
    for unix in [false, true] {
        for preconnect in [false, true] {
            let pool = protected_pool(&server, unix)
                .set("redis_db", 3)
                .set("preconnect", preconnect);
            let proxy = Proxy::start(&[pool]);
            for resp in [2, 3] {
                let case = format!("unix {unix}, preconnect {preconnect}, RESP{resp}");
                assert_eq!(inside(&server).cmd(&["FLUSHALL"]), Value::ok());
                let mut client = authenticated(&proxy, resp);
                let replies = client.pipeline(&[&["SET", "k", &case], &["GET", "k"]]);
                assert_eq!(replies, [Value::ok(), Value::bulk(&case)], "{case}");
                let mut inside = inside(&server);
                assert_eq!(inside.cmd(&["DBSIZE"]), Value::Int(0), "{case}");
                assert_eq!(inside.cmd(&["SELECT", "3"]), Value::ok());
                assert_eq!(inside.cmd(&["GET", "k"]), Value::bulk(&case), "{case}");
            }
        }
    }
}

#[test]
fn reconnected_it_is_the_same_database_again() {
    let server = RedisServer::with_args(WITH_PASSWORD);
    let proxy = Proxy::start(&[protected_pool(&server, false).set("redis_db", 2)]);
    let mut client = authenticated(&proxy, 2);
    assert_eq!(client.cmd(&["SET", "k", "1"]), Value::ok());
    let mut inside = inside(&server);
    inside.cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    // The close may reach the proxy after the request does.
    eventually("a new connection", || {
        !client.cmd(&["SET", "k", "2"]).is_error()
    });
    assert_eq!(inside.cmd(&["DBSIZE"]), Value::Int(0));
    assert_eq!(inside.cmd(&["SELECT", "2"]), Value::ok());
    assert_eq!(inside.cmd(&["GET", "k"]), Value::bulk("2"));
}

#[test]
fn a_password_the_server_refuses_is_told_and_logged_once() {
    let server = RedisServer::with_args(&["--requirepass", "another"]);
    for resp in [2, 3] {
        let proxy = Proxy::start(&[protected_pool(&server, false).set("redis_db", 3)]);
        let mut client = authenticated(&proxy, resp);
        let expected = format!(
            "ERR Connection not usable (Authentication required, and AUTH failed: WRONGPASS invalid \
             username-password pair or user is disabled.): server {} (server1)",
            server.addr()
        );
        // Long enough for several attempts to connect.
        let mut attempts = 0;
        eventually("several refused connections", || {
            assert_eq!(client.cmd(&["SET", "k", "v"]).error(), expected);
            attempts = Stats::of(&proxy).server("alpha", "server1", "server_err");
            attempts >= 4
        });
        assert_eq!(
            warnings(&proxy, &["WRONGPASS"]),
            1,
            "of {attempts} attempts"
        );
        assert_eq!(
            count(&proxy.log(), PASSWORD),
            0,
            "the log is not for passwords"
        );

        let mut inside = server.client();
        assert_eq!(inside.cmd(&["AUTH", "another"]), Value::ok());
        let change = |client: &mut Client, password: &str| {
            let reply = client.cmd(&["CONFIG", "SET", "requirepass", password]);
            assert_eq!(reply, Value::ok());
        };
        change(&mut inside, PASSWORD);
        eventually("the right password works", || {
            client.cmd(&["SET", "k", "v"]) == Value::ok()
        });
        assert_eq!(client.cmd(&["GET", "k"]), Value::bulk("v"));
        change(&mut inside, "another");
    }
}

#[test]
fn a_server_that_wants_a_password_the_pool_does_not_have_is_named() {
    let server = RedisServer::with_args(WITH_PASSWORD);
    let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
    let expected = format!(
        "NOAUTH Authentication required, the pool has no redis_auth: server {} (server1)",
        server.addr()
    );
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.cmd(&["SET", "k", "v"]).error(), expected);
    }
    let replies = client.pipeline(&[&["GET", "k"], &["GET", "k"]]);
    assert!(replies.iter().all(|reply| reply.error() == expected));
    assert_eq!(warnings(&proxy, &["redis_auth", "server1"]), 1);
    let mut third = proxy.client();
    third.cmd(&["HELLO", "3"]);
    let error = third.cmd(&["GET", "k"]);
    assert!(error.error().contains("NOAUTH"), "{error:?}");
    assert!(error.error().contains("server1"), "{error:?}");
}

#[test]
fn without_the_database_nothing_is_written_anywhere() {
    let locked = RedisServer::with_args(WITH_PASSWORD);
    let small = RedisServer::with_args(&["--databases", "4"]);
    for (server, db, reason) in [
        (
            &locked,
            3,
            "SELECT 3 failed: NOAUTH Authentication required.",
        ),
        (&small, 4, "SELECT 4 failed: ERR DB index is out of range"),
    ] {
        for resp in [2, 3] {
            let proxy = Proxy::start(&[Pool::new("alpha").set("redis_db", db).servers([server])]);
            let mut client = proxy.client();
            if resp == 3 {
                client.cmd(&["HELLO", "3"]);
            }
            let reply = client.cmd(&["SET", "k", "v"]);
            let error = reply.error();
            assert!(error.starts_with("ERR Connection not usable ("), "{error}");
            assert!(error.contains(&server.addr()), "{error}");
            // HELLO comes first and wants the password, too.
            let reason = if resp == 3 && reason.contains("NOAUTH") {
                "NOAUTH"
            } else {
                reason
            };
            assert!(error.contains(reason), "{error}");
        }
    }
    assert_eq!(inside(&locked).cmd(&["DBSIZE"]), Value::Int(0));
    assert_eq!(small.client().cmd(&["DBSIZE"]), Value::Int(0));
}

#[test]
fn a_password_for_clients_only_is_no_error() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&[protected_pool(&server, false).set("redis_db", 1)]);
    for resp in [2, 3] {
        let mut client = authenticated(&proxy, resp);
        assert_eq!(client.cmd(&["SET", "k", "v"]), Value::ok(), "RESP{resp}");
    }
    let mut inside = server.client();
    inside.cmd(&["SELECT", "1"]);
    assert_eq!(inside.cmd(&["GET", "k"]), Value::bulk("v"));
}

/// A request that waits for the opening of its connection gets the reason when the opening fails.
#[test]
fn a_server_that_closes_during_the_opening_is_named() {
    let mut fake = FakeServer::start();
    let pool = Pool::new("alpha").set("redis_db", 5);
    let proxy = Proxy::start(&[pool.server(&fake.line("server1"))]);
    let mut client = proxy.client();
    client.send(encode(&["SET", "k", "v"]));
    let mut backend = fake.accept();
    backend.expect(&["SELECT", "5"]);
    backend.close();
    assert_eq!(
        client.read().error(),
        format!(
            "ERR Connection closed by the server: server {} (server1)",
            fake.addr()
        )
    );
}

/// A Redis before 6 does not know HELLO: that is the RESP3 clients' trouble and no fault of the server.
#[test]
fn a_server_without_resp3_serves_resp2_and_is_not_ejected() {
    let mut fake = FakeServer::start();
    let pool = Pool::new("alpha")
        .set("auto_eject_hosts", true)
        .set("server_failure_limit", 1);
    let proxy = Proxy::start(&[pool.server(&fake.line("server1"))]);
    let mut third = proxy.client();
    third.cmd(&["HELLO", "3"]);
    let mut second = proxy.client();
    third.send(encode(&["GET", "k"]));
    let mut backend = fake.accept();
    backend.expect(&["HELLO", "3"]);
    backend.reply("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n");
    let error = third.read();
    assert!(
        error
            .error()
            .contains("HELLO 3 failed: ERR unknown command"),
        "{error:?}"
    );
    // At once, while RESP3 connections are being paused.
    second.send(encode(&["GET", "k"]));
    fake.accept().answer(&["GET", "k"], "$1\r\nv\r\n");
    assert_eq!(second.read(), Value::bulk("v"));
    assert_eq!(Stats::of(&proxy).pool("alpha", "server_ejects"), 0);
}
