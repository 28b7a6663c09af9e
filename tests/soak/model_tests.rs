//! The model finds what is wrong, and only that.

use super::*;
use crate::world::Loss;

fn world() -> World {
    World::new((0..TAGS).map(|tag| tag % 3).collect())
}

fn settle(model: &mut Model, op: Op, reply: Value) -> Result<Verdict, String> {
    let request = model.request(op);
    model.settle(&request, &reply)
}

const OLD: Content = Content::Text { seq: 1, len: 50 };
const NEW: Content = Content::Text { seq: 2, len: 50 };

/// A model whose key 0 holds `OLD`.
fn written(world: &World) -> Model<'_> {
    let mut model = Model::new(1, 0, world);
    assert_eq!(
        settle(&mut model, Op::Set(0, OLD), Value::ok()),
        Ok(Verdict::Answered)
    );
    model
}

#[test]
fn a_read_gives_what_was_written_and_nothing_else() {
    let world = world();
    let mut model = written(&world);
    let (old, new) = (Value::Bulk(model.bytes(OLD)), Value::Bulk(model.bytes(NEW)));
    assert!(settle(&mut model, Op::Get(0), old.clone()).is_ok());
    assert!(
        settle(&mut model, Op::Get(0), new.clone()).is_err(),
        "a value never written"
    );
    assert!(
        settle(&mut model, Op::Get(0), Value::Nil).is_err(),
        "a lost write"
    );
    assert!(
        settle(&mut model, Op::Get(1), old.clone()).is_err(),
        "another key's value"
    );
    assert!(settle(&mut model, Op::Set(0, NEW), Value::ok()).is_ok());
    assert!(
        settle(&mut model, Op::Get(0), old).is_err(),
        "a stale value"
    );
    assert!(settle(&mut model, Op::Get(0), new).is_ok());
}

#[test]
fn another_clients_value_is_noticed() {
    let world = world();
    let mut model = written(&world);
    let theirs = Value::Bulk(Model::new(2, 0, &world).bytes(OLD));
    assert!(settle(&mut model, Op::Get(0), theirs).is_err());
}

#[test]
fn replies_of_other_requests_are_noticed() {
    let world = world();
    let mut model = written(&world);
    assert!(settle(&mut model, Op::Get(0), Value::ok()).is_err());
    assert!(settle(&mut model, Op::Ping, Value::ok()).is_err());
    assert!(settle(&mut model, Op::Echo(b"a".to_vec()), Value::bulk("b")).is_err());
    assert!(settle(&mut model, Op::Refused(Vec::new()), Value::ok()).is_err());
    let old = Value::Bulk(model.bytes(OLD));
    assert!(
        settle(
            &mut model,
            Op::Mget(vec![0, 1]),
            Value::Array(vec![Value::Nil, old.clone()])
        )
        .is_err()
    );
    assert!(
        settle(
            &mut model,
            Op::Mget(vec![0, 1]),
            Value::Array(vec![old.clone()])
        )
        .is_err()
    );
    assert!(
        settle(
            &mut model,
            Op::Mget(vec![0, 1]),
            Value::Array(vec![old, Value::Nil])
        )
        .is_ok()
    );
    assert!(settle(&mut model, Op::Exists(vec![0, 1]), Value::Int(2)).is_err());
    assert!(settle(&mut model, Op::Del(vec![0, 1]), Value::Int(1)).is_ok());
    assert!(
        settle(&mut model, Op::Exists(vec![0]), Value::Int(1)).is_err(),
        "deleted"
    );
}

#[test]
fn a_repeated_increment_is_noticed() {
    let world = world();
    let mut model = Model::new(1, 0, &world);
    assert!(settle(&mut model, Op::Incr(TEXT_KEYS), Value::Int(1)).is_ok());
    assert!(settle(&mut model, Op::Incr(TEXT_KEYS), Value::Int(3)).is_err());
    assert!(settle(&mut model, Op::Incr(TEXT_KEYS), Value::Int(2)).is_ok());
}

#[test]
fn errors_count_only_for_servers_that_failed() {
    let world = world();
    let mut model = written(&world);
    let down = || Value::Error("ERR Connection refused".into());
    assert!(settle(&mut model, Op::Get(0), down()).is_err());
    let owner = world.owner(tag(1, 0));
    world.fail(owner, Loss::Connections);
    assert_eq!(
        settle(&mut model, Op::Set(0, NEW), down()),
        Ok(Verdict::Failed)
    );
    let elsewhere = (0..KEYS)
        .find(|&key| world.owner(tag(1, key)) != owner)
        .expect("three servers");
    assert!(settle(&mut model, Op::Get(elsewhere), down()).is_err());
    assert!(
        settle(&mut model, Op::Get(0), Value::Nil).is_err(),
        "no data was lost"
    );
    let new = Value::Bulk(model.bytes(NEW));
    assert!(
        settle(&mut model, Op::Get(0), new).is_ok(),
        "the failed write was applied"
    );
    let old = Value::Bulk(model.bytes(OLD));
    assert!(
        settle(&mut model, Op::Get(0), old).is_err(),
        "and stays applied"
    );
}

#[test]
fn lost_data_may_read_as_nil_once_and_stays_lost() {
    let world = world();
    let mut model = written(&world);
    world.fail(world.owner(tag(1, 0)), Loss::Data);
    assert!(settle(&mut model, Op::Get(0), Value::Nil).is_ok());
    let old = Value::Bulk(model.bytes(OLD));
    assert!(settle(&mut model, Op::Get(0), old).is_err());
}

fn key_pair(model: &Model) -> (usize, usize) {
    let text = (0..TEXT_KEYS).find(|&key| {
        let neighbours = model.neighbours(key);
        neighbours.iter().any(|&other| other >= TEXT_KEYS)
    });
    let text = text.expect("three servers have 32 keys");
    let counters = model.neighbours(text).into_iter();
    (
        text,
        counters.filter(|&key| key >= TEXT_KEYS).min().unwrap(),
    )
}

#[test]
fn a_transaction_is_judged_by_its_parts() {
    let world = world();
    let mut model = Model::new(1, 0, &world);
    let (text, counter) = key_pair(&model);
    let ops = vec![Op::Set(text, OLD), Op::Incr(counter)];
    let exec = || Op::Exec(ops.clone());
    assert!(settle(&mut model, Op::Multi, Value::ok()).is_ok());
    let queued = Value::Simple("QUEUED".into());
    assert!(settle(&mut model, Op::Queued(Box::new(ops[0].clone())), queued).is_ok());
    let whole = |n| Value::Array(vec![Value::ok(), Value::Int(n)]);
    assert!(settle(&mut model, exec(), whole(1)).is_ok());
    assert!(settle(&mut model, exec(), whole(3)).is_err(), "another's");
    assert!(
        settle(&mut model, exec(), Value::Nil).is_err(),
        "nothing is watched"
    );
    assert!(
        settle(&mut model, exec(), Value::Array(vec![Value::ok()])).is_err(),
        "half"
    );
    let aborted = || Value::Error("EXECABORT Transaction discarded".into());
    assert!(
        settle(&mut model, exec(), aborted()).is_err(),
        "no server failed"
    );
    world.fail(world.owner(tag(1, text)), Loss::Connections);
    assert_eq!(settle(&mut model, exec(), aborted()), Ok(Verdict::Failed));
    assert!(
        settle(&mut model, Op::Incr(counter), Value::Int(3)).is_err(),
        "it said that nothing was executed"
    );
    let doubt = Value::Error("ERR it may or may not have been applied".into());
    assert_eq!(settle(&mut model, exec(), doubt), Ok(Verdict::Failed));
    assert!(settle(&mut model, Op::Incr(counter), Value::Int(3)).is_ok());
}

#[test]
fn an_element_is_popped_once_and_not_lost() {
    let world = world();
    let mut model = Model::new(1, 0, &world);
    let popped = |model: &Model, seq| {
        Value::Array(vec![
            Value::Bulk(model.list_name(0, seq)),
            Value::Bulk(model.element(seq)),
        ])
    };
    assert!(settle(&mut model, Op::Push(0, 1), Value::Int(1)).is_ok());
    let other = popped(&model, 2);
    assert!(settle(&mut model, Op::Pop(0, 1), other).is_err());
    let own = popped(&model, 1);
    assert!(settle(&mut model, Op::Pop(0, 1), own).is_ok());
    assert!(settle(&mut model, Op::Push(0, 3), Value::Int(1)).is_ok());
    assert!(
        settle(&mut model, Op::Pop(0, 3), Value::Nil).is_err(),
        "lost"
    );
    assert!(settle(&mut model, Op::Push(0, 4), Value::Int(1)).is_ok());
    world.fail(world.owner(tag(1, 0)), Loss::Data);
    assert!(settle(&mut model, Op::Pop(0, 4), Value::Nil).is_ok());
}
