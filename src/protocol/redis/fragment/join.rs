//! How replies become one, for each [`Join`].

use std::collections::HashSet;

use super::super::Resp;
use super::super::command::Join;
use super::super::element::{Elements, integer, is_null, string};
use super::super::reply::ReplyScanner;
use super::super::write;
use super::{Part, is_error};

const OK: &[u8] = b"+OK\r\n";

/// Appends what the replies of all parts make; `None` if they are not what servers answer to such a
/// request. None of them is an error, unless the join bears that. `order`: see [`super::Gather`].
pub(super) fn write(join: Join, order: &[u16], parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    match join {
        Join::Array => array(order, parts, out),
        Join::Sum => sum(parts, out),
        Join::AllOk => all_same(parts)
            .filter(|reply| *reply == OK)
            .map(|ok| out.extend_from_slice(ok)),
        Join::AnyOk => any_ok(parts, out),
        Join::Same => all_same(parts).map(|reply| out.extend_from_slice(reply)),
        Join::Least => extreme(parts, Ord::min, out),
        Join::Greatest => extreme(parts, Ord::max, out),
        Join::OneOf => one_of(order, parts, out),
        Join::Concat => concat(parts, out),
        Join::Union => union(parts, out),
        Join::EachLeast => each_least(parts, out),
        Join::Text => text(parts, out),
        Join::SumOfEach => sum_of_each(parts, out),
    }
}

fn held(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.reply.len()).sum()
}

/// `None` if a part's reply is not an array with an element for each of its keys.
fn array(order: &[u16], parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let mut expected = vec![0usize; parts.len()];
    for &part in order {
        expected[usize::from(part)] += 1;
    }
    let mut cursors = Vec::with_capacity(parts.len());
    for (part, keys) in parts.iter().zip(expected) {
        cursors.push(array_body(&part.reply, keys)?);
    }
    out.reserve(held(parts));
    write::array_header(out, order.len());
    let mut scanner = ReplyScanner::default();
    for &part in order {
        let rest = &mut cursors[usize::from(part)];
        let piece = scanner.scan(rest).ok().filter(|piece| piece.end)?;
        let (element, behind) = rest.split_at(piece.len);
        out.extend_from_slice(element);
        *rest = behind;
    }
    cursors.iter().all(|rest| rest.is_empty()).then_some(())
}

/// What follows the header of an array of `elements` elements.
fn array_body(reply: &[u8], elements: usize) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', reply)? + 1;
    let mut header = Vec::with_capacity(16);
    write::array_header(&mut header, elements);
    (reply[..end] == header[..]).then(|| &reply[end..])
}

fn sum(parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let mut sum = 0i64;
    for part in parts {
        sum = sum.checked_add(integer(&part.reply)?)?;
    }
    write::integer(out, sum);
    Some(())
}

fn extreme(parts: &[Part], better: fn(i64, i64) -> i64, out: &mut Vec<u8>) -> Option<()> {
    let mut best = integer(&parts.first()?.reply)?;
    for part in parts {
        best = better(best, integer(&part.reply)?);
    }
    write::integer(out, best);
    Some(())
}

fn all_same(parts: &[Part]) -> Option<&[u8]> {
    let (first, rest) = parts.split_first()?;
    let same = rest.iter().all(|part| part.reply == first.reply);
    same.then_some(&first.reply)
}

fn any_ok(parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    if parts.iter().any(|part| part.reply == OK) {
        out.extend_from_slice(OK);
        return Some(());
    }
    if !parts.iter().all(|part| is_error(&part.reply)) {
        return None;
    }
    let nothing_runs = |part: &&Part| part.reply.starts_with(b"-NOTBUSY ");
    let error = parts.iter().find(|part| !nothing_runs(part));
    out.extend_from_slice(&error.or(parts.first())?.reply);
    Some(())
}

fn one_of(order: &[u16], parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let preferred = order.iter().map(|part| &parts[usize::from(*part)]);
    let found = preferred.into_iter().find(|part| !is_null(&part.reply));
    out.extend_from_slice(&found.or(parts.first())?.reply);
    Some(())
}

fn text(parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let mut whole = String::with_capacity(held(parts));
    for part in parts {
        whole.push_str(std::str::from_utf8(string(&part.reply)?).ok()?);
    }
    let resp = match parts.first()?.reply.first()? {
        b'=' => Resp::V3,
        _ => Resp::V2,
    };
    write::text(out, resp, &whole);
    Some(())
}

fn concat(parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let mut count = 0usize;
    let mut bodies = Vec::with_capacity(parts.len());
    for part in parts {
        let elements = Elements::of(&part.reply)?;
        count = count.checked_add(elements.len())?;
        bodies.push(elements.rest());
    }
    out.reserve(held(parts));
    write::array_header(out, count);
    bodies.iter().for_each(|body| out.extend_from_slice(body));
    Some(())
}

fn union(parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for part in parts {
        let elements = Elements::of(&part.reply)?;
        let len = elements.len();
        let before = all.len();
        all.extend(elements);
        if all.len() - before != len {
            return None;
        }
    }
    all.retain(|element| seen.insert(*element));
    write::array_header(out, all.len());
    all.iter()
        .for_each(|element| out.extend_from_slice(element));
    Some(())
}

/// The integers of one reply that is an array of them.
fn integers(reply: &[u8]) -> Option<Vec<i64>> {
    let elements = Elements::of(reply)?;
    let len = elements.len();
    let integers: Vec<i64> = elements.map(integer).collect::<Option<_>>()?;
    (integers.len() == len).then_some(integers)
}

fn each_least(parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let (first, rest) = parts.split_first()?;
    let mut least = integers(&first.reply)?;
    for part in rest {
        let others = integers(&part.reply)?;
        if others.len() != least.len() {
            return None;
        }
        for (least, other) in least.iter_mut().zip(others) {
            *least = other.min(*least);
        }
    }
    write::array_header(out, least.len());
    least.iter().for_each(|&n| write::integer(out, n));
    Some(())
}

/// The names of one reply and their numbers.
fn counts(reply: &[u8]) -> Option<Vec<(&[u8], i64)>> {
    let mut elements = Elements::of(reply)?;
    let len = elements.len();
    let mut counts = Vec::with_capacity(len / 2);
    while let Some(name) = elements.next() {
        counts.push((string(name)?, integer(elements.next()?)?));
    }
    (2 * counts.len() == len).then_some(counts)
}

fn sum_of_each(parts: &[Part], out: &mut Vec<u8>) -> Option<()> {
    let (first, rest) = parts.split_first()?;
    let mut sums = counts(&first.reply)?;
    for part in rest {
        let others = counts(&part.reply)?;
        if others.len() != sums.len() {
            return None;
        }
        for (sum, (name, n)) in sums.iter_mut().zip(others) {
            if name != sum.0 {
                return None;
            }
            sum.1 = sum.1.checked_add(n)?;
        }
    }
    write::array_header(out, 2 * sums.len());
    for (name, n) in sums {
        write::bulk(out, name);
        write::integer(out, n);
    }
    Some(())
}
