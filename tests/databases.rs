//! SELECT: each client in a database of its own, over connections of that database.

mod support;

use support::{Shards, Value, encode, eventually};

fn shards() -> Shards {
    Shards::start_with(2, |pool| pool.set("databases", 4), &[])
}

#[test]
fn each_client_sees_its_database() {
    let shards = shards();
    let (mut a, mut b) = (shards.client(), shards.client());
    let keys = [shards.key(0, 0), shards.key(1, 0)];
    assert_eq!(b.cmd(&["SELECT", "3"]), Value::ok());
    for key in keys {
        assert_eq!(a.cmd(&["SET", key, "zero"]), Value::ok());
        assert_eq!(b.cmd(&["GET", key]), Value::Nil);
        assert_eq!(b.cmd(&["SET", key, "three"]), Value::ok());
        assert_eq!(a.cmd(&["GET", key]), Value::bulk("zero"));
    }
    for client in [&mut a, &mut b] {
        client.cmd(&["HELLO", "3"]);
    }
    assert_eq!(
        a.cmd(&["MGET", keys[0], keys[1]]),
        Value::bulks(&["zero", "zero"])
    );
    assert_eq!(
        b.cmd(&["MGET", keys[0], keys[1]]),
        Value::bulks(&["three", "three"])
    );
    assert_eq!(b.cmd(&["SELECT", "0"]), Value::ok());
    assert_eq!(b.cmd(&["GET", keys[0]]), Value::bulk("zero"));
    assert_eq!(b.cmd(&["SELECT", "3"]), Value::ok());
    let info = b.cmd(&["CLIENT", "INFO"]);
    assert!(format!("{info:?}").contains(" db=3 "), "{info:?}");
    // What the servers say.
    for (server, key) in shards.servers.iter().zip(keys) {
        let mut direct = server.client();
        assert_eq!(direct.cmd(&["SELECT", "3"]), Value::ok());
        assert_eq!(direct.cmd(&["GET", key]), Value::bulk("three"));
    }
}

/// A request in one database is executed before the next in another, also of the same keys.
#[test]
fn pipelines_keep_their_order_across_databases() {
    let shards = shards();
    let mut client = shards.client();
    let key = shards.key(1, 0);
    for n in 0..50 {
        let value = n.to_string();
        let all: [&[&str]; 8] = [
            &["SELECT", "0"],
            &["SET", key, &value],
            &["MOVE", key, "2"],
            &["SELECT", "2"],
            &["GETDEL", key],
            &["SELECT", "1"],
            &["GET", key],
            &["SELECT", "0"],
        ];
        let replies = client.pipeline(&all);
        assert_eq!(replies[2], Value::Int(1), "{replies:?}");
        assert_eq!(replies[4], Value::bulk(&value), "{replies:?}");
        assert_eq!(replies[6], Value::Nil);
    }
}

#[test]
fn what_cannot_be_selected() {
    let shards = shards();
    let mut client = shards.client();
    for (wanted, error) in [
        ("4", "ERR DB index is out of range"),
        ("-1", "ERR DB index is out of range"),
        ("99999999", "ERR DB index is out of range"),
        ("one", "ERR value is not an integer or out of range"),
    ] {
        let reply = client.cmd(&["SELECT", wanted]);
        assert_eq!(reply, Value::Error(error.to_owned()), "{wanted}");
    }
    let key = shards.key(0, 0);
    assert_eq!(client.cmd(&["WATCH", key]), Value::ok());
    let refused = client.cmd(&["SELECT", "1"]);
    assert!(
        refused.error().contains("while keys are watched"),
        "{refused:?}"
    );
    assert_eq!(client.cmd(&["UNWATCH"]), Value::ok());
    assert_eq!(client.cmd(&["SELECT", "1"]), Value::ok());
    assert_eq!(client.cmd(&["MULTI"]), Value::ok());
    assert!(client.cmd(&["SELECT", "2"]).is_error());
    assert!(client.cmd(&["EXEC"]).error().starts_with("EXECABORT"));
    // RESET leads back.
    assert_eq!(client.cmd(&["SET", key, "one"]), Value::ok());
    client.send(encode(&["RESET"]));
    client.read();
    assert_eq!(client.cmd(&["GET", key]), Value::Nil);
}

/// A transaction is executed in the client's database, and its connection is not lent to one of another.
#[test]
fn transactions_are_in_the_clients_database() {
    let shards = shards();
    let key = shards.key(0, 0);
    let all: [&[&str]; 3] = [&["MULTI"], &["INCR", key], &["EXEC"]];
    for round in 1..=3 {
        for db in ["0", "1", "2"] {
            let mut client = shards.client();
            client.cmd(&["SELECT", db]);
            let replies = client.pipeline(&all);
            assert_eq!(replies[2], Value::Array(vec![Value::Int(round)]), "{db}");
        }
    }
}

/// Some clients select their database in every transaction.
#[test]
fn a_transaction_may_select_its_own_database() {
    let shards = shards();
    let key = shards.key(0, 0);
    for (db, other) in [("0", "2"), ("2", "0")] {
        let mut client = shards.client();
        client.cmd(&["SELECT", db]);
        for before in [true, false] {
            let (select, incr) = (["SELECT", db], ["INCR", key]);
            let [first, second] = match before {
                true => [&select, &incr],
                false => [&incr, &select],
            };
            let replies = client.pipeline(&[&["MULTI"][..], first, second, &["EXEC"]]);
            let queued = Value::Simple("QUEUED".to_owned());
            assert_eq!(replies[1..3], [queued.clone(), queued]);
            let count = Value::Int(if before { 1 } else { 2 });
            let executed = match before {
                true => vec![Value::ok(), count],
                false => vec![count, Value::ok()],
            };
            assert_eq!(replies[3], Value::Array(executed));
        }
        for refused in [other, "one", "+0", ""] {
            let replies = client.pipeline(&[
                &["MULTI"],
                &["SELECT", refused],
                &["INCR", key],
                &["EXEC"],
                &["GET", key],
            ]);
            assert!(replies[1].is_error(), "{replies:?}");
            assert!(replies[3].error().starts_with("EXECABORT"), "{replies:?}");
            assert_eq!(replies[4], Value::bulk("2"));
        }
    }
}

#[test]
fn a_server_with_fewer_databases_says_so() {
    let shards = Shards::start_with(1, |pool| pool.set("databases", 100), &[]);
    let mut client = shards.client();
    assert_eq!(client.cmd(&["SELECT", "50"]), Value::ok());
    let refused = client.cmd(&["SET", "a", "1"]);
    assert!(refused.error().contains("SELECT 50 failed"), "{refused:?}");
    assert_eq!(client.cmd(&["SELECT", "0"]), Value::ok());
    eventually("database 0 is served", || {
        client.cmd(&["SET", "a", "1"]) == Value::ok()
    });
}

#[test]
fn databases_survive_a_restart_of_the_server() {
    let mut shards = shards();
    let key = shards.key(0, 0).to_owned();
    let mut client = shards.client();
    assert_eq!(client.cmd(&["SELECT", "2"]), Value::ok());
    assert_eq!(client.cmd(&["SET", &key, "1"]), Value::ok());
    shards.servers[0].kill();
    eventually("it fails", || client.cmd(&["GET", &key]).is_error());
    shards.servers[0].restart();
    eventually("it works", || {
        client.cmd(&["SET", &key, "again"]) == Value::ok()
    });
    let mut direct = shards.servers[0].client();
    assert_eq!(direct.cmd(&["GET", &key]), Value::Nil);
    direct.cmd(&["SELECT", "2"]);
    assert_eq!(direct.cmd(&["GET", &key]), Value::bulk("again"));
}
