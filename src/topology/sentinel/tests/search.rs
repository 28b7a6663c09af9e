//! Masters of unnamed servers.

use super::*;

fn unnamed(host: &str) -> ShardSpec {
    ShardSpec {
        master: MasterRef::ByAddress(at(host)),
        ..spec("", host)
    }
}

fn found(name: &str) -> Note {
    Note::Found {
        shard: ShardId(0),
        name: name.to_string(),
    }
}

#[test]
fn a_master_is_found_by_its_address() {
    let mut bench = Bench::new(vec![unnamed("A")]);
    bench.run(5000);
    assert_eq!(bench.log, ["0: switch 0 A 5 Poll", "0: ready []"]);
    assert_eq!(bench.shard().master.as_deref(), Some("s"));
    assert!(bench.notes.contains(&found("s")));
}

#[test]
fn a_master_is_found_by_an_address_it_once_had() {
    let mut bench = Bench::new(vec![unnamed("OLD")]);
    for script in &mut bench.sentinels {
        script.masters.insert("t".to_string(), (at("T"), 1));
        script
            .replicas
            .insert("s".to_string(), vec![at("B"), at("OLD")]);
    }
    bench.run(5000);
    assert_eq!(bench.log, ["0: switch 0 A 5 Poll", "0: ready []"]);
}

#[test]
fn who_is_master_there_now_goes_before_who_remembers_it() {
    let mut bench = Bench::new(vec![unnamed("A")]);
    for script in &mut bench.sentinels {
        script.masters.insert("a".to_string(), (at("T"), 1));
        script.replicas.insert("a".to_string(), vec![at("A")]);
    }
    bench.run(5000);
    assert_eq!(bench.shard().master.as_deref(), Some("s"));
}

#[test]
fn an_ambiguous_address_is_reported_and_not_guessed() {
    let mut bench = Bench::new(vec![unnamed("A")]);
    for script in &mut bench.sentinels {
        script.masters.insert("a".to_string(), (at("A"), 1));
    }
    bench.run(5000);
    let expected = ["0: no master 0 Ambiguous([\"a\", \"s\"])", "0: ready [0]"];
    assert_eq!(bench.log, expected);
    for script in &mut bench.sentinels {
        script.masters.remove("a");
    }
    bench.run(6000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 A 5 Poll");
}

#[test]
fn an_address_nobody_knows_is_searched_on() {
    let mut bench = Bench::new(vec![unnamed("U")]);
    bench.run(4000);
    assert_eq!(bench.log, ["0: no master 0 Unknown", "0: ready [0]"]);
    bench.master("U");
    for script in &mut bench.sentinels {
        script.masters.insert("u".to_string(), (at("U"), 0));
    }
    bench.publish(0, "+monitor", "master u U 6379 quorum 2");
    bench.run(1000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 U 0 Poll");
}

#[test]
fn a_silent_sentinel_does_not_stop_the_search() {
    let mut bench = Bench::new(vec![unnamed("A")]);
    bench.sentinels[0].mute = true;
    bench.sentinels[1].alive = false;
    bench.run(5000);
    assert_eq!(bench.decisions(), ["switch 0 A 5 Poll", "ready []"]);
}

#[test]
fn without_sentinels_the_configured_address_serves_and_is_found_later() {
    let mut bench = Bench::new(vec![unnamed("A")]);
    for script in &mut bench.sentinels {
        script.alive = false;
    }
    bench.run(5000);
    assert_eq!(
        bench.decisions(),
        ["switch 0 A ? Configuration", "ready []"]
    );
    for script in &mut bench.sentinels {
        script.alive = true;
    }
    bench.run(10_000);
    assert_eq!(bench.shard().epoch, Some(5));
    assert_eq!(bench.log.len(), 2);
}

#[test]
fn a_renamed_master_is_found_by_the_address_it_has_now() {
    let mut bench = Bench::new(vec![unnamed("A")]);
    bench.run(1000);
    bench.all_say("B", 6);
    bench.master("B");
    bench.run(2000);
    for script in &mut bench.sentinels {
        script.masters = BTreeMap::from([("new".to_string(), (at("B"), 0))]);
    }
    bench.run(15_000);
    assert_eq!(bench.shard().master.as_deref(), Some("new"));
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 B 6 Poll");
    bench.master("C");
    for script in &mut bench.sentinels {
        script.masters = BTreeMap::from([("new".to_string(), (at("C"), 1))]);
    }
    bench.run(2000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 C 1 Poll");
}
