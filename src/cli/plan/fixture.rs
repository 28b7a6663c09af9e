//! Pools for the tests of plans.

use std::sync::Arc;

use super::movement::Sides;
use crate::config;
use crate::topology::{Pool, Topology};

/// A pool with these lines and these entries of `servers`.
pub(super) fn pool(lines: &str, servers: &[impl AsRef<str>]) -> Arc<Pool> {
    let mut text = "alpha:\n  listen: 127.0.0.1:22121\n  redis: true\n".to_owned();
    for line in lines.split(';').filter(|line| !line.is_empty()) {
        text += &format!("  {line}\n");
    }
    text += "  servers:\n";
    for server in servers {
        text += &format!("    - {}\n", server.as_ref());
    }
    let loaded = config::parse(&text, "pool.yml");
    let config = loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    Arc::clone(&Topology::initial(&config.config).pools[0])
}

pub(super) fn sides(old: &Arc<Pool>, new: &Arc<Pool>) -> Sides {
    Sides::new(Arc::clone(old), Arc::clone(new))
}

/// `count` named servers of weight 1.
pub(super) fn named(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("127.0.0.1:{}:1 server{number}", 6379 + number))
        .collect()
}
