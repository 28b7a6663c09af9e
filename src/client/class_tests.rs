//! The counters of commands by class are those that the statistics call so, and leave no request out.

use super::Step;
use super::world_tests::{NOW, World, request};
use crate::protocol::redis::command::Class;
use crate::stats::metrics::POOL;
use crate::stats::{COMMAND_CLASSES, ControlPoolStats, PoolStats};

#[test]
fn each_class_is_counted_under_its_name() {
    assert_eq!(Class::ALL.len(), COMMAND_CLASSES);
    for class in Class::ALL {
        let pool = PoolStats::default();
        pool.commands[class as usize].add(7);
        let name = format!("commands_{}", class.name());
        let metric = POOL.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("no metric {name}"));
        let value = metric.value([&pool], &ControlPoolStats::default());
        assert_eq!(value, 7, "{name}");
    }
}

#[test]
fn classes_add_up_to_the_requests() {
    let mut world = World::new("", 1);
    let id = world.open();
    let words = |text: &str| -> Vec<Vec<u8>> { text.split(' ').map(Vec::from).collect() };
    // HELLO 3 waits until the requests before it are answered, and is handled again.
    let requests = [
        "SET a 1",
        "GET a",
        "DEL a b c",
        "HELLO 3",
        "PING",
        "GET",
        "NOPE x",
        "BGSAVE",
        "RESET",
    ];
    for text in requests {
        world.feed(id, &request(&words(text)));
    }
    world.feed(id, b"*0\r\n\r\nPING\r\n");
    world.settle();
    assert_eq!(world.front.step(id, &|| NOW), Step::Read);
    world.settle();
    let stats = &world.front.stats.pools[0];
    let counted = |class: Class| stats.commands[class as usize].get();
    let all: u64 = Class::ALL.into_iter().map(counted).sum();
    assert_eq!(stats.client_requests.get(), requests.len() as u64 + 1);
    assert_eq!(all, stats.client_requests.get());
    assert_eq!(counted(Class::String), 3);
    assert_eq!(counted(Class::Generic), 1);
    assert_eq!(counted(Class::Connection), 4);
    assert_eq!((counted(Class::Unknown), counted(Class::Refused)), (1, 1));
}
