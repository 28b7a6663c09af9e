//! The first address.

use super::super::snapshot::Phase;
use super::*;

#[test]
fn the_configured_address_is_overridden_by_the_sentinels() {
    let mut bench = Bench::new(vec![spec("s", "OLD")]);
    // It came back as a master, and nobody asks it.
    bench.master("OLD");
    bench.run(10_000);
    assert_eq!(bench.log, ["0: switch 0 A 5 Poll", "0: ready []"]);
    assert!(bench.checks.iter().all(|(_, address)| *address == at("A")));
}

#[test]
fn a_majority_is_enough_and_fewer_after_a_round() {
    for (alive, expected) in [(2, 0), (1, 1000)] {
        let mut bench = Bench::new(vec![spec("s", "OLD")]);
        for script in &mut bench.sentinels[alive..] {
            script.alive = false;
        }
        bench.run(5000);
        let switch = format!("{expected}: switch 0 A 5 Poll");
        assert_eq!(bench.log, [switch, format!("{expected}: ready []")]);
    }
}

#[test]
fn during_a_failover_the_leaders_address_counts() {
    let mut bench = Bench::new(vec![spec("s", "A")]);
    bench.sentinels[1].says("B", 6);
    bench.replica("A");
    bench.run(100);
    // The promoted one is not a master yet, nor is the old one any more.
    assert!(bench.log.is_empty());
    bench.master("B");
    bench.run(100);
    assert_eq!(bench.decisions(), ["switch 0 B 6 Poll", "ready []"]);
}

#[test]
fn without_any_sentinel_the_configured_address_serves_if_it_is_a_master() {
    let mut bench = Bench::new(vec![spec("s", "A")]);
    for script in &mut bench.sentinels {
        script.alive = false;
    }
    bench.run(2999);
    assert!(bench.log.is_empty());
    assert_eq!(bench.shard().phase, Phase::Init);
    bench.run(10_000);
    assert_eq!(
        bench.log,
        ["3000: switch 0 A ? Configuration", "3000: ready []"]
    );
    assert!(bench.notes.contains(&Note::AllSentinelsGone));
    // Sentinels that come later are followed, whatever their epoch.
    bench.all_say("B", 0);
    bench.master("B");
    for script in &mut bench.sentinels {
        script.alive = true;
    }
    bench.run(3000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 B 0 Poll");
    assert!(bench.notes.contains(&Note::SentinelsBack));
}

#[test]
fn a_configured_address_that_is_no_master_is_not_used() {
    let mut bench = Bench::new(vec![spec("s", "R")]);
    for script in &mut bench.sentinels {
        script.denies = true;
    }
    bench.run(10_000);
    assert_eq!(
        bench.log,
        ["3000: no master 0 NotMaster R", "3000: ready [0]"]
    );
    bench.master("R");
    bench.run(2000);
    assert_eq!(
        bench.decisions().last().unwrap(),
        &"switch 0 R ? Configuration"
    );
}

#[test]
fn a_master_that_does_not_say_so_at_the_start_is_waited_for() {
    let mut bench = Bench::new(vec![spec("s", "A")]);
    bench
        .roles
        .insert(at("A"), RoleAnswer::NotReady("LOADING".to_string()));
    bench.run(10_000);
    assert_eq!(
        bench.log,
        ["3000: no master 0 NotMaster A", "3000: ready [0]"]
    );
    bench.master("A");
    bench.run(2000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 A 5 Poll");
}

#[test]
fn a_master_unknown_to_all_has_no_address_while_others_serve() {
    let mut bench = Bench::new(vec![spec("s", "A"), spec("unknown", "A")]);
    bench.run(10_000);
    let expected = [
        "0: no master 1 Unknown",
        "0: switch 0 A 5 Poll",
        "0: ready [1]",
    ];
    assert_eq!(bench.log, expected);
    for script in &mut bench.sentinels {
        script.masters.insert("unknown".to_string(), (at("U"), 0));
    }
    bench.master("U");
    bench.run(1500);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 1 U 0 Poll");
}

#[test]
fn sentinels_that_disagree_from_the_start_give_no_master() {
    let mut bench = Bench::new(vec![spec("s", "OLD")]);
    for (index, host) in ["X", "Y", "Z"].into_iter().enumerate() {
        bench.sentinels[index].says(host, 1);
        bench.master(host);
    }
    bench.run(10_000);
    assert_eq!(
        bench.log,
        ["3000: no master 0 Disagreement", "3000: ready [0]"]
    );
    bench.sentinels[1].says("X", 1);
    bench.run(1500);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 X 1 Poll");
}

#[test]
fn nothing_to_watch_is_ready_at_once() {
    let mut bench = Bench::new(Vec::new());
    bench.run(0);
    assert_eq!(bench.log, ["0: ready []"]);
}
