//! Keys whose server is known without asking one: for fake servers.

use nuthatch::distribution::{Distribution, Member, Ring};
use nuthatch::hash::Hash;

/// Eight keys that live on `server1` (`server` = 1), `server2`, ... of a pool of `of` servers with these
/// names, weight 1 and the default hash and distribution. That those places are twemproxy's is tested
/// elsewhere.
#[track_caller]
pub fn keys_on(server: usize, of: usize) -> Vec<String> {
    let names: Vec<String> = (1..=of).map(|number| format!("server{number}")).collect();
    let all = (0u16..).zip(&names).map(|(index, name)| Member {
        name,
        weight: 1,
        index,
    });
    let members: Vec<Member> = all.collect();
    let ring = Ring::build(Distribution::Ketama, &members);
    let place = |key: &String| {
        let index = ring.pick(Hash::Fnv1a_64.hash(key.as_bytes()), || 0);
        index.map(|index| usize::from(index) + 1)
    };
    // Far apart, because this hash puts similar keys side by side.
    let candidates =
        (0u64..100_000).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let keys: Vec<String> = candidates
        .filter(|key| place(key) == Some(server))
        .take(8)
        .collect();
    assert_eq!(keys.len(), 8, "server{server} of {of} has no keys");
    keys
}
