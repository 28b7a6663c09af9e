use super::*;

fn request(words: &[&str]) -> Vec<u8> {
    let names: Vec<&[u8]> = words[1..].iter().map(|word| word.as_bytes()).collect();
    super::request(words[0], &names)
}

fn message(kind: Kind, name: &str) -> Vec<u8> {
    let words: &[&str] = match kind {
        Kind::Channel => &["message", name, "x"],
        Kind::Pattern => &["pmessage", name, "channel", "x"],
        Kind::Shard => &["smessage", name, "x"],
    };
    push(words)
}

fn push(words: &[&str]) -> Vec<u8> {
    let mut frame = Vec::new();
    crate::protocol::redis::write::push_header(&mut frame, words.len());
    for word in words {
        crate::protocol::redis::write::bulk(&mut frame, word.as_bytes());
    }
    frame
}

fn on_three_servers() -> Subscriptions {
    Subscriptions::new(vec![0, 1, 2])
}

#[test]
fn counts_are_those_of_redis() {
    let mut all = on_three_servers();
    assert!(all.add(Kind::Channel, b"a", Place::One(0), 7));
    assert!(!all.add(Kind::Channel, b"a", Place::One(0), 8));
    assert!(all.add(Kind::Pattern, b"a", Place::Every, 8));
    assert!(all.add(Kind::Shard, b"a", Place::One(1), 8));
    let counts = |all: &Subscriptions| Kind::ALL.map(|kind| all.count(kind));
    assert_eq!((counts(&all), all.total()), ([2, 2, 1], 3));
    assert_eq!(all.leave(Kind::Pattern, b"a"), Some(vec![0, 1, 2]));
    assert_eq!(all.leave(Kind::Pattern, b"a"), None);
    assert_eq!(all.leave(Kind::Channel, b"b"), None);
    assert_eq!(all.leave(Kind::Shard, b"a"), Some(vec![1]));
    assert_eq!((counts(&all), all.total()), ([1, 1, 0], 1));
    assert!(all.has(Kind::Channel, b"a") && !all.has(Kind::Shard, b"a"));
    assert_eq!(all.names(Kind::Channel), [b"a".to_vec().into()]);
    assert_eq!(all.names(Kind::Pattern), []);
}

#[test]
fn messages_are_for_what_is_subscribed_to() {
    let mut all = on_three_servers();
    all.add(Kind::Channel, b"a", Place::One(0), 7);
    all.add(Kind::Pattern, b"b", Place::Every, 8);
    for (kind, name, expected) in [
        (Kind::Channel, "a", Verdict::Message { behind: 7 }),
        (Kind::Pattern, "a", Verdict::Nothing),
        (Kind::Pattern, "b", Verdict::Message { behind: 8 }),
        (Kind::Channel, "b", Verdict::Nothing),
        (Kind::Shard, "a", Verdict::Nothing),
    ] {
        assert_eq!(all.judge(&message(kind, name)), expected, "{kind:?} {name}");
    }
    assert_eq!(all.judge(&push(&["subscribe", "a", "1"])), Verdict::Nothing);
    assert_eq!(all.judge(b"-NOPERM no\r\n"), Verdict::Refused);
    // Until its end is confirmed there may be more.
    all.leave(Kind::Channel, b"a");
    let verdict = all.judge(&message(Kind::Channel, "a"));
    assert_eq!(verdict, Verdict::Message { behind: 7 });
    all.forget_left();
    let verdict = all.judge(&message(Kind::Channel, "a"));
    assert_eq!(verdict, Verdict::Nothing);
}

#[test]
fn a_server_may_end_subscriptions_to_shard_channels() {
    let mut all = on_three_servers();
    let ended = push(&["sunsubscribe", "a", "0"]);
    assert_eq!(all.judge(&ended), Verdict::Nothing);
    all.add(Kind::Shard, b"a", Place::One(0), 0);
    assert_eq!(all.judge(&ended), Verdict::Ended(b"a".to_vec()));
    assert_eq!((all.total(), all.judge(&ended)), (0, Verdict::Nothing));
    // What the client has asked for is confirmed otherwise.
    all.add(Kind::Shard, b"a", Place::One(0), 0);
    all.leave(Kind::Shard, b"a");
    assert_eq!(all.judge(&ended), Verdict::Nothing);
}

#[test]
fn connections_without_names_are_given_back() {
    let mut all = on_three_servers();
    all.add(Kind::Channel, b"a", Place::One(0), 0);
    all.add(Kind::Channel, b"b", Place::One(1), 0);
    all.add(Kind::Pattern, b"c", Place::Every, 0);
    for server in 0..3 {
        all.link(server).connection = Some(10 + u32::from(server));
    }
    all.leave(Kind::Pattern, b"c");
    assert_eq!(all.connections().count(), 3);
    assert_eq!(all.forget_left(), [12]);
    all.leave(Kind::Channel, b"a");
    all.leave(Kind::Channel, b"b");
    assert_eq!(all.forget_left(), [10, 11]);
    assert_eq!(all.memory(), 0);
}

#[test]
fn what_is_lost_is_asked_for_again() {
    let mut all = on_three_servers();
    all.add(Kind::Channel, b"a", Place::One(1), 0);
    all.add(Kind::Channel, b"b", Place::One(2), 0);
    all.add(Kind::Pattern, b"c", Place::Every, 0);
    all.add(Kind::Shard, b"d", Place::One(1), 0);
    all.add(Kind::Shard, b"e", Place::One(1), 0);
    all.leave(Kind::Shard, b"e");
    all.link(1).connection = Some(9);
    assert_eq!(
        all.lost(),
        [1, 2, 0]
            .into_iter()
            .filter(|s| *s != 1)
            .collect::<Vec<_>>()
    );
    assert!(!all.follow(8, None));
    assert!(all.follow(9, Some(8)) && all.follow(8, None));
    assert_eq!(all.lost().len(), 3);
    let expected = [
        request(&["subscribe", "a"]),
        request(&["psubscribe", "c"]),
        request(&["ssubscribe", "d"]),
    ];
    assert_eq!(all.requests(1), expected);
    assert_eq!(all.requests(0), [request(&["psubscribe", "c"])]);
}

#[test]
fn names_follow_their_places() {
    let mut all = on_three_servers();
    all.add(Kind::Channel, b"a", Place::One(0), 0);
    all.add(Kind::Channel, b"b", Place::One(1), 0);
    all.add(Kind::Pattern, b"c", Place::Every, 0);
    // Server 0 goes, 3 comes.
    let place = |kind, name: &[u8]| match (kind, name) {
        (Kind::Pattern, _) => Some(Place::Every),
        (_, b"a") => Some(Place::One(3)),
        _ => None,
    };
    let orders = all.relocate(vec![1, 2, 3], place);
    let expected = [
        (0, request(&["unsubscribe", "a"])),
        (0, request(&["punsubscribe", "c"])),
        (3, request(&["subscribe", "a"])),
        (3, request(&["psubscribe", "c"])),
    ];
    assert_eq!(orders, expected);
    assert_eq!(all.relocate(vec![1, 2, 3], place), []);
    let mut lost = all.lost();
    lost.sort_unstable();
    assert_eq!(lost, [1, 2, 3]);
    assert_eq!(all.leave(Kind::Channel, b"a"), Some(vec![3]));
}

#[test]
fn pushes_are_put_together_within_bounds() {
    let mut all = on_three_servers();
    let whole = all.assemble(0, b"abc", true, 3).unwrap();
    assert_eq!(whole.as_deref(), Some(&b"abc"[..]));
    assert_eq!(all.assemble(0, b"ab", false, 3), Ok(None));
    assert_eq!(all.assemble(1, b"xy", false, 3), Ok(None));
    assert!(all.memory() >= 4);
    let whole = all.assemble(0, b"c", true, 3).unwrap();
    assert_eq!(whole.as_deref(), Some(&b"abc"[..]));
    assert_eq!(all.assemble(1, b"zz", true, 3), Err(TooLarge));
    // A connection that ended leaves no half of a push to the next.
    all.link(1).connection = Some(9);
    all.follow(9, Some(8));
    let whole = all.assemble(1, b"abc", true, 3).unwrap();
    assert_eq!(whole.as_deref(), Some(&b"abc"[..]));
}
