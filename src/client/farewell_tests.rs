use super::world_tests::{NOW, World};
use crate::client::{ClientId, Step};

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";

/// A world with a client that has been served.
fn served() -> (World, ClientId) {
    let mut world = World::new("", 1);
    let id = world.open();
    world.feed(id, GET);
    world.settle();
    world.woken.clear();
    (world, id)
}

#[test]
fn a_client_may_leave_after_a_whole_interval_without_work() {
    let (mut world, id) = served();
    world.front.sweep();
    assert!(!world.front.should_leave(id), "it has just been served");
    world.front.sweep();
    world.settle();
    assert!(world.front.should_leave(id));
    assert_eq!(world.woken, [id]);
    world.front.leave(id);
    assert_eq!(world.front.step(id, &|| NOW), Step::Finish);
}

#[test]
fn a_request_between_two_sweeps_keeps_the_client() {
    let (mut world, id) = served();
    for _ in 0..5 {
        world.front.sweep();
        world.feed(id, GET);
        world.settle();
        assert!(!world.front.should_leave(id));
    }
    world.front.sweep();
    world.front.sweep();
    // It was chosen, but begins a request before its task looks.
    world.feed(id, &GET[..5]);
    assert!(!world.front.should_leave(id));
}

#[test]
fn a_client_that_waits_for_a_reply_or_has_begun_a_request_is_no_idle_one() {
    for input in [GET, &GET[..9]] {
        let (mut world, id) = served();
        world.feed(id, input);
        world.front.sweep();
        world.front.sweep();
        assert!(!world.front.should_leave(id));
        world.front.see_off(NOW);
        assert!(!world.front.should_leave(id));
    }
}

#[test]
fn the_reply_to_a_slow_request_begins_a_new_interval() {
    let (mut world, id) = served();
    world.feed(id, GET);
    world.front.sweep();
    world.front.sweep();
    world.settle();
    world.front.sweep();
    assert!(!world.front.should_leave(id));
    world.front.sweep();
    assert!(world.front.should_leave(id));
}

#[test]
fn clients_are_seen_off_right_behind_their_last_reply() {
    let (mut world, id) = served();
    world.feed(id, GET);
    world.front.see_off(NOW);
    assert!(!world.front.should_leave(id));
    world.settle();
    assert_eq!(world.woken, [id], "its task looks when the reply has left");
    assert!(world.front.should_leave(id));
    assert_eq!(
        world.front.step(id, &|| NOW),
        Step::Read,
        "what it still says counts"
    );
}

#[test]
fn to_be_seen_off_does_not_undo_a_drain() {
    let (mut world, id) = served();
    world.front.drain(NOW);
    world.front.see_off(NOW);
    assert_eq!(world.front.step(id, &|| NOW), Step::Finish);
    let late = world.open();
    assert_eq!(world.front.step(late, &|| NOW), Step::Finish);
}

/// What is published to it counts as something to do, and else it is as idle as others.
#[test]
fn a_subscriber_may_leave_when_nothing_is_published() {
    let mut world = World::new("", 1);
    let (id, other) = (world.open(), world.open());
    world.feed(id, b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n");
    world.settle();
    for _ in 0..5 {
        world.front.sweep();
        world.feed(other, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nx\r\n");
        world.settle();
        assert!(!world.front.should_leave(id));
    }
    assert!(world.text(id).contains("message"));
    world.front.sweep();
    world.front.sweep();
    assert!(world.front.should_leave(id));
    // What comes before it has left does not keep it.
    world.front.leave(id);
    world.feed(other, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nx\r\n");
    world.settle();
    assert_eq!(world.front.step(id, &|| NOW), Step::Finish);
}

#[test]
fn subscribers_are_seen_off_at_once() {
    let mut world = World::new("", 1);
    let id = world.open();
    world.feed(id, b"*2\r\n$10\r\nPSUBSCRIBE\r\n$1\r\n*\r\n");
    world.front.see_off(NOW);
    assert!(!world.front.should_leave(id), "the confirmation is owed");
    world.settle();
    assert!(world.front.should_leave(id));
    world.front.drain(NOW);
    assert_eq!(world.front.step(id, &|| NOW), Step::Finish);
    world.front.close(id, true);
    world.settle();
    assert!(world.wires.is_empty(), "its connections are closed");
}
