//! What is believed and what is not.

use super::super::output::{Ignored, Suspicion};
use super::super::snapshot::Phase;
use super::*;

#[test]
fn a_late_event_of_an_earlier_failover_is_ignored() {
    let mut bench = Bench::stable();
    bench.all_say("C", 7);
    bench.master("C");
    bench.run(1500);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 C 7 Poll"]);
    // The leader of A -> B was slow; B even still says that it is a master.
    bench.master("B");
    bench.switched(0, "A", "B");
    bench.run(5000);
    assert_eq!(bench.log.len(), 2);
    assert_eq!(bench.ignored(), [Ignored::Stale]);
}

#[test]
fn a_late_event_from_the_address_that_is_the_master_again_is_refuted_by_its_sentinel() {
    let mut bench = Bench::stable();
    bench.all_say("A", 7);
    bench.run(1500);
    bench.switched(0, "A", "B");
    bench.run(5000);
    assert_eq!(bench.decisions(), ["hold 0 1500", "release 0 Refuted"]);
    let refuted = Note::Refuted {
        shard: ShardId(0),
        sentinel: bench.id(0),
    };
    assert!(bench.notes.contains(&refuted));
    assert_eq!(
        (bench.shard().address, bench.shard().epoch),
        (Some(at("A")), Some(7))
    );
}

#[test]
fn an_event_of_a_sentinel_that_was_cut_off_is_not_taken_at_its_word() {
    let mut bench = Bench::stable();
    bench.sentinels[2].says("A", 3);
    // Its epoch fell: it was restored from an old backup, say.
    bench.run(1500);
    bench.master("B");
    bench.sentinels[2].says("B", 4);
    bench.switched(2, "A", "B");
    bench.run(5000);
    assert!(bench.log.is_empty(), "{:?}", bench.log);
    assert_eq!(bench.ignored(), [Ignored::Unproven]);
}

#[test]
fn an_event_of_a_sentinel_that_answers_nothing_does_not_even_hold() {
    let mut bench = Bench::stable();
    bench.sentinels[0].denies = true;
    bench.run(1500);
    bench.switched(0, "A", "B");
    assert!(bench.log.is_empty(), "{:?}", bench.log);
    assert_eq!(bench.ignored(), [Ignored::Unproven]);
}

#[test]
fn an_answer_that_was_asked_for_before_the_event_does_not_refute_it() {
    let mut bench = Bench::stable();
    let sentinel = bench.id(0);
    bench.sentinels[0].mute = true;
    let asked = |bench: &Bench| {
        let of_it = bench.asked.iter().filter(|(_, id, _)| *id == sentinel);
        of_it
            .flat_map(|(.., questions)| questions.clone())
            .collect::<Vec<_>>()
    };
    while asked(&bench).is_empty() {
        bench.run(10);
    }
    let before = asked(&bench);
    bench.run(10);
    bench.master("B");
    bench.switched(0, "A", "B");
    let after = asked(&bench).split_off(before.len());
    for question in &before {
        let answer = bench.sentinels[0].answer(question);
        bench
            .watcher
            .handle_answer(sentinel, question, &answer, bench.now);
    }
    bench.drive();
    assert_eq!(bench.decisions(), ["hold 0 1500"]);
    bench.sentinels[0].says("B", 6);
    for question in &after {
        let answer = bench.sentinels[0].answer(question);
        bench
            .watcher
            .handle_answer(sentinel, question, &answer, bench.now);
    }
    bench.drive();
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Switched"]);
}

#[test]
fn a_stale_sentinel_moves_nothing() {
    let mut bench = Bench::stable();
    bench.master("B");
    bench.sentinels[0].says("B", 6);
    bench.sentinels[1].says("B", 6);
    bench.run(60_000);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Poll"]);
    let agree = bench.shard().views.into_iter().map(|view| view.agrees);
    assert!(agree.eq([Some(true), Some(true), Some(false)]));
    // Not even if it is the only one left.
    bench.kill(0);
    bench.kill(1);
    bench.run(60_000);
    assert_eq!(bench.log.len(), 2);
    let disagreements = bench
        .notes
        .iter()
        .filter(|it| matches!(it, Note::Disagreement { .. }));
    assert_eq!(disagreements.count(), 1);
}

#[test]
fn one_epoch_with_two_addresses_needs_a_majority() {
    let mut bench = Bench::stable();
    bench.master("B");
    bench.sentinels[0].says("B", 5);
    bench.run(10_000);
    assert!(bench.log.is_empty());
    bench.sentinels[1].says("B", 5);
    bench.run(2000);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 5 Poll"]);
}

#[test]
fn events_about_other_masters_and_nonsense_change_nothing() {
    let mut bench = Bench::stable();
    bench.publish(0, "+switch-master", "other A 6379 B 6379");
    bench.publish(0, "+switch-master", "S A 6379 B 6379");
    bench.publish(0, "+switch-master", "s A 6379 B");
    bench.publish(0, "+switch-master", "s A 6379 B 0");
    bench.publish(0, "+nonsense", "s A 6379 B 6379");
    bench.publish(0, "+switch-master", &"x".repeat(1 << 20));
    bench.run(1000);
    assert!(bench.log.is_empty());
    let count = |wanted: fn(&Note) -> bool| bench.notes.iter().filter(|it| wanted(it)).count();
    assert_eq!(count(|it| matches!(it, Note::Foreign { .. })), 2);
    assert_eq!(count(|it| matches!(it, Note::Malformed { .. })), 4);
    // The link is kept and the sentinel asked, but not once per message.
    assert!(bench.opened.is_empty());
    let sentinel = bench.id(0);
    let soon = bench
        .asked
        .iter()
        .filter(|(at, id, _)| *id == sentinel && *at < 2200 * MS);
    assert_eq!(soon.count(), 2);
}

#[test]
fn other_shards_never_notice() {
    let mut sentinels: Vec<Script> = (0..3).map(Script::new).collect();
    for sentinel in &mut sentinels {
        sentinel.masters.insert("t".to_string(), (at("T"), 2));
    }
    let mut bench = Bench::with(sentinels, vec![spec("s", "A"), spec("t", "T")], Vec::new());
    bench.master("T");
    bench.run(2000);
    bench.forget();
    bench.master("B");
    bench.stage(0, "+selected-slave", "B", "A");
    bench.aborted(0, "A");
    bench.stage(0, "+selected-slave", "B", "A");
    bench.switched(1, "A", "B");
    bench.all_say("B", 6);
    bench.run(5000);
    assert!(bench.log.len() >= 5);
    for line in bench.decisions() {
        assert_eq!(line.split(' ').nth(1), Some("0"), "{line}");
    }
}

#[test]
fn two_shards_of_one_master_both_follow() {
    let mut bench = Bench::new(vec![spec("s", "A"), spec("s", "A")]);
    bench.run(2000);
    bench.forget();
    bench.master("B");
    bench.all_say("B", 6);
    bench.switched(1, "A", "B");
    let expected = [
        "hold 0 1500",
        "hold 1 1500",
        "switch 0 B 6 Switched",
        "switch 1 B 6 Switched",
    ];
    assert_eq!(bench.decisions(), expected);
}

#[test]
fn reset_keeps_everything_and_asks() {
    let mut bench = Bench::stable();
    for index in 0..3 {
        bench.publish(index, "+reset-master", "master s A 6379");
    }
    assert_eq!(bench.asked.len(), 3);
    bench.run(5000);
    assert!(bench.log.is_empty());
}

#[test]
fn an_operator_who_monitors_another_address_is_followed_with_the_majority() {
    for with_events in [true, false] {
        let mut bench = Bench::stable();
        bench.master("X");
        for index in 0..3 {
            bench.sentinels[index].says("X", 0);
            if with_events {
                bench.publish(index, "-monitor", "master s A 6379");
                bench.publish(index, "+monitor", "master s X 6379 quorum 2");
            }
            bench.run(2000);
            let moved = bench.decisions().contains(&"switch 0 X 0 Poll");
            assert_eq!(moved, index >= 1, "{:?}", bench.log);
        }
        assert!(
            bench
                .notes
                .contains(&Note::EpochReset { shard: ShardId(0) })
        );
        // From here on epochs count again.
        bench.master("Y");
        bench.sentinels[2].says("Y", 1);
        bench.run(2000);
        assert_eq!(bench.decisions().last().unwrap(), &"switch 0 Y 1 Poll");
    }
}

#[test]
fn a_sentinel_left_behind_by_the_operator_is_outvoted_until_it_joins() {
    let mut bench = Bench::stable();
    bench.master("X");
    for index in 0..2 {
        bench.sentinels[index].says("X", 0);
    }
    bench.run(5000);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 X 0 Poll"]);
    bench.sentinels[2].says("A", 5);
    bench.run(60_000);
    assert_eq!(bench.log.len(), 2);
    bench.sentinels[2].says("X", 0);
    bench.run(2000);
    bench.master("Y");
    bench.sentinels[2].says("Y", 1);
    bench.run(2000);
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 Y 1 Poll");
}

#[test]
fn a_master_removed_from_sentinels_stays_where_it_is() {
    let mut bench = Bench::stable();
    for index in 0..3 {
        bench.sentinels[index].masters.clear();
        bench.publish(index, "-monitor", "master s A 6379");
        bench.run(10_000);
        let unknown = bench.shard().phase == Phase::Unknown;
        assert_eq!(unknown, index == 2);
    }
    bench.run(60_000);
    assert!(bench.log.is_empty());
    let notes = bench
        .notes
        .iter()
        .filter(|it| matches!(it, Note::UnknownMaster { .. }));
    assert_eq!(notes.count(), 3);
}

#[test]
fn tilt_is_noted_and_the_others_are_followed() {
    let mut bench = Bench::stable();
    bench.publish(0, "+tilt", "#tilt mode entered");
    assert!(bench.watcher.snapshot().sentinels[0].tilt);
    bench.master("B");
    bench.sentinels[1].says("B", 6);
    bench.switched(1, "A", "B");
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Switched"]);
    bench.publish(0, "-tilt", "#tilt mode exited");
    assert!(!bench.watcher.snapshot().sentinels[0].tilt);
}

#[test]
fn symptoms_ask_all_sentinels_at_once_but_not_at_every_request_and_move_nothing() {
    let mut bench = Bench::stable();
    bench.master("B");
    for _ in 0..1000 {
        bench
            .watcher
            .handle_symptom(ShardId(0), Symptom::ReadOnly, bench.now);
        bench.drive();
    }
    let of_now = bench.asked.iter().filter(|(at, ..)| *at == 2000 * MS);
    assert_eq!(of_now.count(), 3);
    bench.run(200);
    let later = bench.asked.iter().filter(|(at, ..)| *at == 2100 * MS);
    assert_eq!(later.count(), 3);
    assert!(bench.log.is_empty());
    assert_eq!(bench.shard().phase, Phase::Suspect);
    let suspects = bench
        .notes
        .iter()
        .filter(|it| matches!(it, Note::Suspect { .. }));
    assert_eq!(suspects.count(), 1);
    bench.run(5000);
    assert_eq!(bench.shard().phase, Phase::Stable);
    // What the sentinels then say is followed.
    bench.all_say("B", 6);
    bench
        .watcher
        .handle_symptom(ShardId(0), Symptom::NoReplicas, bench.now);
    bench.drive();
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 B 6 Poll");
}

#[test]
fn opinions_make_a_suspect_and_nothing_more() {
    let mut bench = Bench::stable();
    let shard = ShardId(0);
    bench.publish(0, "+sdown", "slave B:6379 B 6379 @ s A 6379");
    bench.publish(0, "+sdown", "master s X 6379");
    assert_eq!(bench.shard().phase, Phase::Stable);
    bench.publish(0, "+sdown", "master s A 6379");
    bench.publish(0, "+odown", "master s A 6379 #quorum 2/2");
    assert_eq!(bench.shard().phase, Phase::Suspect);
    let why = Suspicion::ObjectivelyDown;
    assert!(bench.notes.contains(&Note::Suspect { shard, why }));
    bench.publish(0, "-odown", "master s A 6379");
    assert_eq!(bench.shard().phase, Phase::Stable);
    assert!(bench.notes.contains(&Note::SuspicionEnded { shard }));
    bench.run(5000);
    assert!(bench.log.is_empty());
}

#[test]
fn names_and_addresses_of_one_node_are_one() {
    let mut bench = Bench::stable();
    bench
        .names
        .insert("A".to_string(), "10.1.0.1".parse().unwrap());
    bench
        .names
        .insert("B".to_string(), "10.1.0.2".parse().unwrap());
    bench.run(31_000);
    bench.master("B");
    bench.all_say("B", 6);
    bench.switched(1, "A", "B");
    // The observer writes old addresses in its own way, new ones in another's.
    bench.switched(2, "10.1.0.1", "10.1.0.2");
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Switched"]);
    assert_eq!(bench.ignored(), [Ignored::Duplicate]);
    bench.all_say("10.1.0.2", 6);
    bench.run(5000);
    assert_eq!(bench.log.len(), 2);
}

#[test]
fn the_nat_map_applies_to_all_that_sentinels_write() {
    let outer = |host: &str| {
        (
            at(host),
            HostPort::new("192.0.2.1", u16::from(host.as_bytes()[0])),
        )
    };
    let nat = vec![outer("A"), outer("B")];
    let sentinels = (0..3).map(Script::new).collect();
    let mut bench = Bench::with(sentinels, vec![spec("s", "A")], nat);
    let (a, b) = (outer("A").1, outer("B").1);
    bench.roles.insert(a.clone(), RoleAnswer::Master);
    bench.run(2000);
    assert_eq!(bench.shard().address, Some(a));
    let mut views = bench.shard().views.into_iter();
    assert!(views.all(|view| view.agrees == Some(true)));
    bench.roles.insert(b.clone(), RoleAnswer::Master);
    bench.all_say("B", 6);
    bench.switched(1, "A", "B");
    assert_eq!(bench.shard().address, Some(b));
}

#[test]
fn history_keeps_the_last_sixteen() {
    let mut bench = Bench::stable();
    bench.master("B");
    for epoch in 6..40 {
        bench.all_say(["A", "B"][epoch as usize % 2], epoch);
        bench.run(2000);
    }
    let shard = bench.shard();
    assert_eq!((shard.switches, shard.history.len()), (34, 16));
    let epochs = shard.history.iter().map(|record| record.epoch.unwrap());
    assert!(epochs.eq(24..40));
}
