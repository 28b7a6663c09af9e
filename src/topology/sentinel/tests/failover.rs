//! Failovers as sentinels publish them.

use super::super::output::Ignored;
use super::super::snapshot::Phase;
use super::*;

const SELECTED: &str = "+selected-slave";
const PROMOTING: &str = "+failover-state-wait-promotion";
const PROMOTED: &str = "+promoted-slave";

#[test]
fn a_planned_failover_holds_from_the_announcement_to_the_promotion() {
    let mut bench = Bench::stable();
    bench.publish(0, "+try-failover", "master s A 6379");
    assert!(bench.log.is_empty());
    bench.stage(0, SELECTED, "B", "A");
    bench.run(90);
    bench.stage(0, PROMOTING, "B", "A");
    bench.master("B");
    let Phase::Held { candidate, .. } = bench.shard().phase else {
        panic!("{:?}", bench.shard().phase);
    };
    assert_eq!(candidate, Some(at("B")));
    bench.run(910);
    bench.sentinels[0].says("B", 6);
    bench.stage(0, PROMOTED, "B", "A");
    let expected = [
        "2000: warm 0 B",
        "2000: hold 0 1500",
        "3000: switch 0 B 6 Promoted",
    ];
    assert_eq!(bench.log, expected);
    // The leader was asked and stands by it.
    assert!(bench.notes.contains(&Note::Confirmed {
        shard: ShardId(0),
        epoch: 6
    }));
    assert_eq!(bench.shard().epoch, Some(6));
    let record = bench.shard().history.pop().unwrap();
    assert_eq!(record.held, 1000 * MS);
    assert_eq!(record.announced, Some(bench.now - 1000 * MS));
    assert_eq!((record.from, record.to), (Some(at("A")), at("B")));
}

#[test]
fn three_sentinels_saying_the_same_make_one_switch() {
    let mut bench = Bench::stable();
    bench.master("B");
    bench.all_say("B", 6);
    bench.stage(0, PROMOTED, "B", "A");
    for index in [1, 2, 0] {
        bench.switched(index, "A", "B");
    }
    bench.run(5000);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Promoted"]);
    assert_eq!(bench.ignored(), [Ignored::Duplicate; 3]);
    assert_eq!(bench.shard().switches, 2);
}

#[test]
fn an_unmonitored_observer_is_as_good_as_the_leader() {
    let mut bench = Bench::stable();
    bench.master("B");
    bench.sentinels[2].says("B", 6);
    bench.switched(2, "A", "B");
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Switched"]);
}

#[test]
fn an_aborted_failover_releases_to_the_old_master() {
    let mut bench = Bench::stable();
    bench.stage(0, SELECTED, "B", "A");
    bench.run(300);
    // Another sentinel lost its own election: no matter.
    bench.publish(1, "-failover-abort-not-elected", "master s A 6379");
    assert_eq!(bench.decisions(), ["warm 0 B", "hold 0 1500"]);
    assert_eq!(bench.ignored(), [Ignored::NotLeader]);
    bench.aborted(0, "A");
    assert_eq!(bench.log.last().unwrap(), "2300: release 0 Aborted");
    bench.run(5000);
    assert_eq!(bench.log.len(), 3);
    // The next attempt holds again, for the same candidate too.
    bench.stage(0, PROMOTING, "B", "A");
    assert_eq!(bench.log.last().unwrap(), "7300: hold 0 1500");
}

#[test]
fn a_hold_ends_in_time_and_is_not_prolonged_by_later_stages() {
    let mut bench = Bench::stable();
    bench.stage(0, SELECTED, "B", "A");
    bench.run(1000);
    bench.stage(0, PROMOTING, "B", "A");
    bench.run(1000);
    bench.publish(0, "+failover-state-reconf-slaves", "master s A 6379");
    bench.stage(0, PROMOTING, "B", "A");
    let expected = [
        "2000: warm 0 B",
        "2000: hold 0 1500",
        "3500: release 0 Expired",
    ];
    assert_eq!(bench.log, expected);
    // The switch is followed all the same, and another attempt held for.
    bench.publish(0, "+try-failover", "master s A 6379");
    bench.stage(0, PROMOTING, "B", "A");
    assert_eq!(bench.log.last().unwrap(), "4000: hold 0 1500");
    bench.master("B");
    bench.sentinels[1].says("B", 6);
    bench.switched(1, "A", "B");
    assert_eq!(bench.log.last().unwrap(), "4000: switch 0 B 6 Switched");
}

#[test]
fn a_stage_without_candidate_holds_too() {
    let mut bench = Bench::stable();
    bench.publish(0, "+failover-state-reconf-slaves", "master s A 6379");
    assert_eq!(bench.decisions(), ["hold 0 1500"]);
    bench.stage(0, PROMOTING, "B", "A");
    assert_eq!(bench.decisions(), ["hold 0 1500", "warm 0 B"]);
}

#[test]
fn without_hold_requests_fail_rather_than_reach_the_old_master_after_the_decision() {
    let mut bench = Bench::stable_with(ShardSpec {
        failover_hold: Duration::ZERO,
        ..spec("s", "A")
    });
    bench.stage(0, SELECTED, "B", "A");
    assert_eq!(bench.decisions(), ["warm 0 B"]);
    bench.sentinels[0].says("B", 6);
    bench.stage(0, PROMOTED, "B", "A");
    bench.run(100);
    bench.master("B");
    bench.run(100);
    let expected = [
        "warm 0 B",
        "no master 0 NotMaster B",
        "switch 0 B 6 Promoted",
    ];
    let mut decisions = bench.decisions();
    decisions.dedup();
    assert_eq!(decisions, expected);
}

#[test]
fn nothing_is_switched_before_the_node_says_it_is_a_master() {
    let mut bench = Bench::stable();
    bench.all_say("B", 6);
    bench.switched(1, "A", "B");
    bench.run(200);
    assert_eq!(bench.log, ["2000: hold 0 1500"]);
    let times: Vec<u128> = bench.checks.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(times, [2000, 2050, 2100, 2150, 2200]);
    bench.master("B");
    bench.run(100);
    assert_eq!(bench.log.last().unwrap(), "2250: switch 0 B 6 Switched");
}

#[test]
fn a_new_master_that_never_says_so_leaves_no_master_rather_than_the_old_one() {
    let mut bench = Bench::stable();
    let denied = RoleAnswer::Denied("WRONGPASS".to_string());
    bench.roles.insert(at("B"), denied.clone());
    bench.all_say("B", 6);
    bench.switched(1, "A", "B");
    bench.run(10_000);
    assert_eq!(
        bench.log,
        ["2000: hold 0 1500", "3500: no master 0 NotMaster B"]
    );
    assert_eq!(bench.shard().phase, Phase::Verifying { address: at("B") });
    let mismatches = bench
        .notes
        .iter()
        .filter(|note| matches!(note, Note::RoleMismatch { .. }));
    assert_eq!(mismatches.count(), 1);
    bench.master("B");
    bench.run(1000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 B 6 Switched");
}

#[test]
fn an_eager_shard_switches_as_soon_as_the_candidate_is_a_master() {
    let mut bench = Bench::stable_with(ShardSpec {
        commit: Commit::Eager,
        ..spec("s", "A")
    });
    bench.stage(0, SELECTED, "B", "A");
    bench.run(70);
    bench.master("B");
    bench.run(30);
    let expected = [
        "2000: warm 0 B",
        "2000: hold 0 1500",
        "2080: switch 0 B ? Candidate",
    ];
    assert_eq!(bench.log, expected);
    // Promotion and observers then tell nothing new.
    bench.sentinels[0].says("B", 6);
    bench.stage(0, PROMOTED, "B", "A");
    bench.switched(1, "A", "B");
    bench.all_say("B", 6);
    bench.run(20_000);
    assert_eq!(bench.log.len(), 3);
    assert_eq!(bench.ignored(), [Ignored::Duplicate; 2]);
    assert_eq!(bench.shard().epoch, Some(6));
}

/// The leader of a failover makes B a master and has told nobody yet.
fn promote_candidate(bench: &mut Bench) {
    bench.stage(0, SELECTED, "B", "A");
    bench.run(70);
    bench.master("B");
    bench.run(30);
}

#[test]
fn a_candidate_that_was_a_master_all_the_time_is_no_candidate() {
    let mut bench = Bench::stable_with(ShardSpec {
        commit: Commit::Eager,
        ..spec("s", "A")
    });
    // The announcement of a failover that is over: B was the master for a while.
    bench.master("B");
    bench.stage(0, SELECTED, "B", "A");
    bench.run(20_000);
    assert_eq!(
        bench.decisions(),
        ["warm 0 B", "hold 0 1500", "release 0 Expired"]
    );
}

#[test]
fn an_event_that_no_sentinel_answers_for_moves_nothing() {
    let mut bench = Bench::stable();
    bench.master("B");
    // Its author dies with it; the others know of nothing.
    bench.sentinels[0].mute = true;
    bench.switched(0, "A", "B");
    bench.run(20_000);
    assert_eq!(bench.log, ["2000: hold 0 1500", "3500: release 0 Expired"]);
    assert_eq!(bench.shard().phase, Phase::Stable);
}

#[test]
fn an_eager_switch_is_taken_back_when_the_leader_gives_up() {
    let mut bench = Bench::stable_with(ShardSpec {
        commit: Commit::Eager,
        ..spec("s", "A")
    });
    promote_candidate(&mut bench);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 B ? Candidate");
    bench.aborted(0, "A");
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 A 5 Overruled");
    bench.run(20_000);
    assert_eq!(bench.log.len(), 4);
}

#[test]
fn an_eager_switch_is_taken_back_when_the_leader_died_before_it_told_anybody() {
    let mut bench = Bench::stable_with(ShardSpec {
        commit: Commit::Eager,
        ..spec("s", "A")
    });
    promote_candidate(&mut bench);
    bench.kill(0);
    bench.run(10_000);
    assert_eq!(
        bench.decisions()[2..],
        ["switch 0 B ? Candidate", "switch 0 A 5 Overruled"]
    );
    // Not while the old master is down: the candidate is all there is.
    let mut bench = Bench::stable_with(ShardSpec {
        commit: Commit::Eager,
        ..spec("s", "A")
    });
    let refused = RoleAnswer::Unreachable("refused".to_string());
    bench.roles.insert(at("A"), refused);
    promote_candidate(&mut bench);
    bench.kill(0);
    bench.run(30_000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 B ? Candidate");
}

#[test]
fn a_promotion_only_its_dead_leader_knew_is_overruled_once_the_node_is_a_replica_again() {
    let mut bench = Bench::stable();
    bench.master("B");
    bench.sentinels[0].says("B", 6);
    bench.stage(0, PROMOTED, "B", "A");
    assert_eq!(bench.shard().epoch, Some(6));
    bench.kill(0);
    bench.run(60_000);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Promoted"]);
    bench.replica("B");
    bench.run(2000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 A 5 Overruled");
    let overruled = Note::Overruled {
        shard: ShardId(0),
        address: at("A"),
    };
    assert!(bench.notes.contains(&overruled));
}

#[test]
fn two_failovers_in_succession_are_both_followed() {
    let mut bench = Bench::stable();
    bench.master("B");
    bench.stage(0, PROMOTED, "B", "A");
    // The second one's leader was not asked since: it is asked first.
    bench.master("C");
    bench.sentinels[1].says("C", 7);
    bench.stage(1, SELECTED, "C", "B");
    bench.stage(1, PROMOTED, "C", "B");
    bench.run(100);
    let decisions = bench.decisions();
    assert_eq!(decisions.first().unwrap(), &"hold 0 1500");
    assert_eq!(decisions.last().unwrap(), &"switch 0 C 7 Poll");
}
