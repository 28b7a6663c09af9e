use std::sync::Arc;

use super::super::fixture::{named, pool, sides};
use super::*;
use crate::topology::Pool;

fn changes(old: &Arc<Pool>, new: &Arc<Pool>) -> ServerChanges {
    Matching::new(&old.config, &new.config).changes()
}

fn hints(old: &Arc<Pool>, new: &Arc<Pool>) -> Vec<String> {
    Matching::new(&old.config, &new.config).hints()
}

fn moved(old: &Arc<Pool>, new: &Arc<Pool>) -> f64 {
    sides(old, new).estimate(1000).share
}

#[test]
fn servers_are_known_by_name_then_by_address() {
    let old = pool("", &["h:1:1 a", "h:2:1 b", "h:3:1 c", "h:4:1", "h:5:1 e"]);
    let new = pool("", &["h:1:2 a", "h:9:1 b", "h:4:3 d", "h:6:1 f", "h:5:1 e"]);
    let shown = |name: &str, address: &str, weight| Shown {
        name: name.to_owned(),
        address: address.to_owned(),
        weight,
    };
    let expected = ServerChanges {
        added: vec![shown("f", "h:6", 1)],
        removed: vec![shown("c", "h:3", 1)],
        renamed: vec![Renamed {
            old: "h:4".to_owned(),
            new: "d".to_owned(),
            address: "h:4".to_owned(),
        }],
        reweighted: vec![
            Changed {
                name: "a".to_owned(),
                old: 1,
                new: 2,
            },
            Changed {
                name: "d".to_owned(),
                old: 1,
                new: 3,
            },
        ],
        readdressed: vec![Changed {
            name: "b".to_owned(),
            old: "h:2".to_owned(),
            new: "h:9".to_owned(),
        }],
        masters: Vec::new(),
    };
    assert_eq!(changes(&old, &new), expected);
    assert!(changes(&old, &old).is_empty());
}

#[test]
fn another_name_in_sentinel_is_a_change_between_pools_that_follow_sentinel() {
    let lines = "sentinels: ['h:26379']";
    let old = pool(lines, &["h:1:1 a", "h:2:1"]);
    let new = pool(
        lines,
        &["{addr: 'h:1', name: a, master: m}", "{addr: 'h:2'}"],
    );
    let expected = Changed {
        name: "a".to_owned(),
        old: Some("a".to_owned()),
        new: Some("m".to_owned()),
    };
    assert_eq!(changes(&old, &new).masters, [expected]);
    let without = pool("", &["h:1:1 a", "h:2:1"]);
    assert!(changes(&without, &old).is_empty());
}

#[test]
fn a_new_address_of_a_name_takes_the_data_along() {
    let old = pool("", &["h:1:1 a", "h:2:1 b"]);
    let new = pool("", &["h:9:1 a", "h:2:1 b"]);
    assert_eq!(moved(&old, &new), 0.0);
    let conditions = Matching::new(&old.config, &new.config).conditions();
    assert_eq!(
        conditions,
        [
            "the data of servers with another address has to be there first, or their keys are misses"
        ]
    );
    let sentinels = pool("sentinels: ['h:26379']", &["h:9:1 a", "h:2:1 b"]);
    let followed = Matching::new(&old.config, &sentinels.config).conditions();
    assert_eq!(followed, [""; 0]);
}

#[test]
fn names_that_swap_addresses_are_asked_about() {
    let old = pool("", &["h:1:1 a", "h:2:1 b"]);
    let new = pool("", &["h:2:1 a", "h:1:1 b"]);
    assert_eq!(moved(&old, &new), 0.0);
    let conditions = Matching::new(&old.config, &new.config).conditions();
    assert_eq!(
        conditions[1..],
        [
            "h:2 was the address of 'b' and is that of 'a' now: is that meant?",
            "h:1 was the address of 'a' and is that of 'b' now: is that meant?"
        ]
    );
}

/// Puts the entries that the hints name in the place of those they are about, by address.
fn followed(lines: &str, servers: &[&str], hints: &[String]) -> Arc<Pool> {
    let mut servers: Vec<String> = servers.iter().map(|server| server.to_string()).collect();
    for hint in hints {
        let (_, entry) = hint.split_once(": - ").expect("an entry of servers");
        let entry = entry.replace("NAME IN SENTINEL", "master");
        let address = &pool(lines, &[&entry]).config.servers[0].address;
        let named = servers
            .iter_mut()
            .find(|server| pool(lines, &[server]).config.servers[0].address == *address);
        *named.expect("the entry is for one of the servers") = entry;
    }
    pool(lines, &servers)
}

#[test]
fn whoever_follows_the_hints_moves_no_key() {
    for (lines, old, new) in [
        // Another address of a server without a name.
        (
            "",
            &["10.0.0.1:6379:1", "10.0.0.2:6379:1"][..],
            &["10.0.0.3:6379:1", "10.0.0.2:6379:1"][..],
        ),
        // The order of the file does not matter if only one is new.
        (
            "",
            &["10.0.0.1:6379:1", "10.0.0.2:6379:1"],
            &["10.0.0.2:6379:1", "10.0.0.3:6379:1"],
        ),
        // Names for servers that had none.
        (
            "",
            &["10.0.0.1:6379:1", "10.0.0.2:6379:3"],
            &["10.0.0.1:6379:1 one", "10.0.0.2:6379:3 two"],
        ),
        (
            "",
            &["/tmp/a:1", "'[::1]:6379:1'"],
            &["/tmp/b:1", "'[::2]:6379:1'"],
        ),
        (
            "",
            &["10.0.0.1:1:1 it's", "10.0.0.2:1:1 #b"],
            &["10.0.0.1:1:1 x", "10.0.0.2:1:1 y"],
        ),
        (
            "",
            &["{addr: 'h:1', name: 'a b'}", "{addr: '/tmp/c:d'}"],
            &["h:1:1 x", "{addr: '/tmp/e f'}"],
        ),
        (
            "sentinels: ['h:26379']",
            &["10.0.0.1:6379:1", "10.0.0.2:6379:1"],
            &["10.0.0.1:6379:1 one", "10.0.0.3:6379:1"],
        ),
    ] {
        let (before, after) = (pool(lines, old), pool(lines, new));
        assert!(moved(&before, &after) > 0.0, "{new:?}");
        let hints = hints(&before, &after);
        let after = followed(lines, new, &hints);
        assert_eq!(moved(&before, &after), 0.0, "{hints:?}");
    }
}

#[test]
fn there_is_no_hint_for_servers_that_only_come_or_go() {
    let (three, four) = (pool("", &named(3)), pool("", &named(4)));
    assert_eq!(hints(&three, &four), [""; 0]);
    assert_eq!(hints(&four, &three), [""; 0]);
}
