//! Links to sentinels, and who the sentinels are.

use super::*;

#[test]
fn a_missed_event_is_found_by_the_poll_after_the_link_returns() {
    let mut bench = Bench::stable();
    for index in 0..3 {
        bench.kill(index);
    }
    bench.master("B");
    bench.all_say("B", 6);
    bench.run(20_000);
    // Nothing is concluded from absence.
    assert!(bench.log.is_empty());
    for script in &mut bench.sentinels {
        script.alive = true;
    }
    bench.run(2000);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Poll"]);
    let gone = bench
        .notes
        .iter()
        .filter(|it| **it == Note::AllSentinelsGone);
    assert_eq!(gone.count(), 1);
}

#[test]
fn reconnects_back_off_to_two_seconds_and_never_end() {
    let mut bench = Bench::stable();
    bench.kill(2);
    bench.run(60_000);
    let id = bench.id(2);
    let opened = bench
        .opened
        .iter()
        .filter(|(_, it, link)| *it == id && *link == Link::Query);
    let times: Vec<Duration> = opened.map(|(at, ..)| *at).collect();
    let waits: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() >= 28, "{waits:?}");
    assert!(waits[0] <= 400 * MS);
    assert!(waits.iter().all(|wait| *wait <= 2000 * MS));
    let others = bench.opened.iter().filter(|(_, it, _)| *it != id);
    assert_eq!(others.count(), 0);
    // One note for each link that went down and one for the refusal, not one per attempt.
    let down = bench
        .notes
        .iter()
        .filter(|it| matches!(it, Note::LinkDown { .. }));
    assert_eq!(down.count(), 4);
}

#[test]
fn a_mute_sentinel_is_dropped_and_opened_again() {
    let mut bench = Bench::stable();
    bench.sentinels[0].mute = true;
    bench.run(10_000);
    let id = bench.id(0);
    let first = |link| {
        bench
            .opened
            .iter()
            .find(|(_, it, of)| *it == id && *of == link)
    };
    let silent = first(Link::Subscription).expect("opened again").0;
    assert!((4900 * MS..5300 * MS).contains(&silent), "{silent:?}");
    let unanswered = first(Link::Query).expect("opened again").0;
    assert!(unanswered <= 4000 * MS, "{unanswered:?}");
    // A planned failover is announced by another one meanwhile.
    bench.stage(1, "+selected-slave", "B", "A");
    assert_eq!(bench.decisions(), ["warm 0 B", "hold 0 1500"]);
    bench.sentinels[0].mute = false;
    bench.run(5000);
    assert!(bench.watcher.snapshot().sentinels[0].subscribed);
}

#[test]
fn an_attempt_that_neither_succeeds_nor_fails_is_given_up() {
    let now = Instant::now();
    let address = HostPort::new("10.0.0.1", 26379);
    let mut watcher = Watcher::new(vec![address], Vec::new(), [], Timing::default(), 1, now);
    let outputs =
        |watcher: &mut Watcher| std::iter::from_fn(|| watcher.poll_output()).collect::<Vec<_>>();
    let opens = outputs(&mut watcher);
    assert_eq!(
        opens
            .iter()
            .filter(|it| matches!(it, Output::OpenLink { .. }))
            .count(),
        2
    );
    watcher.handle_timeout(now + 799 * MS);
    assert!(outputs(&mut watcher).is_empty());
    watcher.handle_timeout(now + 800 * MS);
    let closes = outputs(&mut watcher);
    assert_eq!(
        closes
            .iter()
            .filter(|it| matches!(it, Output::CloseLink { .. }))
            .count(),
        2
    );
}

#[test]
fn a_confirmed_subscription_is_followed_by_a_poll() {
    let mut bench = Bench::stable();
    let sentinel = bench.id(0);
    let closed = LinkDown::Failed("closed".to_string());
    bench
        .watcher
        .handle_link_down(sentinel, Link::Subscription, closed, bench.now);
    bench.run(400);
    let (opened, ..) = bench.opened[0];
    assert!(
        bench
            .asked
            .iter()
            .any(|(at, id, _)| *at == opened && *id == sentinel)
    );
}

#[test]
fn refused_credentials_are_retried_slowly_and_noted_once() {
    let mut bench = Bench::stable();
    let sentinel = bench.id(0);
    for _ in 0..3 {
        let denied = LinkDown::Denied("WRONGPASS".to_string());
        bench
            .watcher
            .handle_link_down(sentinel, Link::Subscription, denied, bench.now);
        bench.drive();
    }
    let denied = bench
        .notes
        .iter()
        .filter(|it| matches!(it, Note::Denied { .. }));
    assert_eq!(denied.count(), 1);
    bench.run(4999);
    assert!(bench.opened.is_empty());
    assert_eq!(
        bench.watcher.snapshot().sentinels[0].problem.as_deref(),
        Some("WRONGPASS")
    );
    bench.run(1);
    assert_eq!(bench.opened.len(), 1);
}

#[test]
fn a_sentinel_that_denies_answers_does_not_count() {
    let mut bench = Bench::stable();
    bench.sentinels[0].denies = true;
    bench.run(10_000);
    let denied = bench
        .notes
        .iter()
        .filter(|it| matches!(it, Note::Denied { .. }));
    assert_eq!(denied.count(), 1);
    bench.master("B");
    bench.sentinels[1].says("B", 6);
    bench.run(1500);
    assert_eq!(bench.decisions(), ["hold 0 1500", "switch 0 B 6 Poll"]);
}

#[test]
fn an_answer_out_of_order_closes_the_link() {
    let mut bench = Bench::stable();
    let sentinel = bench.id(0);
    let question = Question::Address("s".to_string());
    bench
        .watcher
        .handle_answer(sentinel, &question, &address_reply(&at("B")), bench.now);
    bench.run(1000);
    assert!(bench.log.is_empty());
    assert_eq!(bench.opened.len(), 1);
}

fn fourth() -> Script {
    Script::new(3)
}

#[test]
fn sentinels_named_by_others_are_learned_and_followed() {
    let mut bench = Bench::stable();
    bench.sentinels.push(fourth());
    bench.sentinels[0].others = vec![("id3".to_string(), fourth().address)];
    bench.publish(0, "+sentinel", "sentinel id3 10.0.0.4 26379 @ s A 6379");
    bench.run(1000);
    let snapshot = bench.watcher.snapshot();
    let learned = &snapshot.sentinels[3];
    assert_eq!(
        (learned.configured, learned.subscribed, learned.queried),
        (false, true, true)
    );
    bench.master("B");
    bench.sentinels[3].says("B", 6);
    bench.switched(3, "A", "B");
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 B 6 Switched");
}

#[test]
fn a_learned_sentinel_that_moved_is_replaced_and_one_that_vanished_forgotten() {
    let mut bench = Bench::stable();
    bench.sentinels.push(fourth());
    bench.sentinels[0].others = vec![("id3".to_string(), fourth().address)];
    bench.run(31_000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 4);
    let elsewhere = HostPort::new("10.0.0.9", 26379);
    bench.kill(3);
    bench.sentinels[3].address = elsewhere.clone();
    bench.sentinels[3].alive = true;
    bench.sentinels[0].others = vec![("id3".to_string(), elsewhere.clone())];
    bench.run(31_000);
    let snapshot = bench.watcher.snapshot();
    assert_eq!(snapshot.sentinels.len(), 4);
    assert_eq!(
        (
            &snapshot.sentinels[3].address,
            snapshot.sentinels[3].queried
        ),
        (&elsewhere, true)
    );
    // Unlisted but alive it stays; unlisted and gone it is dropped.
    bench.sentinels[0].others.clear();
    bench.run(400_000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 4);
    bench.kill(3);
    bench.kill(2);
    bench.run(299_000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 4);
    bench.run(2000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 3);
}

#[test]
fn a_configured_sentinel_under_another_address_is_not_counted_twice() {
    let mut bench = Bench::stable();
    // The others know it by an address that we do not.
    let mut inner = Script::new(0);
    inner.address = HostPort::new("172.17.0.2", 26379);
    bench.sentinels.push(inner.clone());
    bench.sentinels[1].others = vec![("id0".to_string(), inner.address.clone())];
    bench.run(31_000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 3);
    // Learned before it was identified.
    let mut bench = Bench::new(vec![spec("s", "A")]);
    bench.sentinels[0].alive = false;
    bench.sentinels.push(inner.clone());
    bench.sentinels[1].others = vec![("id0".to_string(), inner.address)];
    bench.run(1000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 4);
    bench.sentinels[0].alive = true;
    bench.run(5000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 3);
}

#[test]
fn the_list_of_sentinels_is_bounded() {
    let mut bench = Bench::stable();
    let entry = |n: usize| (format!("x{n}"), HostPort::new(format!("10.9.0.{n}"), 26379));
    bench.sentinels[0].others = (1..100).map(entry).collect();
    bench.run(31_000);
    assert_eq!(bench.watcher.snapshot().sentinels.len(), 16);
}

#[test]
fn another_process_at_a_sentinels_address_knows_nothing_of_the_former() {
    let mut bench = Bench::stable();
    bench.master("X");
    for index in 0..2 {
        bench.kill(index);
        bench.sentinels[index].run_id = Some(format!("new{index}"));
        bench.sentinels[index].says("X", 5);
        bench.sentinels[index].alive = true;
    }
    bench.run(3000);
    assert!(
        bench
            .notes
            .contains(&Note::EpochReset { shard: ShardId(0) })
    );
    assert_eq!(bench.decisions().last().unwrap(), &"switch 0 X 5 Poll");
}

#[test]
fn sentinels_without_myid_are_not_complained_about() {
    let mut bench = Bench::new(vec![spec("s", "A")]);
    for script in &mut bench.sentinels {
        script.run_id = None;
    }
    bench.run(2000);
    assert_eq!(bench.decisions(), ["switch 0 A 5 Poll", "ready []"]);
    assert!(
        !bench
            .notes
            .iter()
            .any(|it| matches!(it, Note::BadAnswer { .. }))
    );
}
