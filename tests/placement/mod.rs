//! A pool that does nothing but place keys: the whole way from the text of a configuration through the
//! topology, as the proxy itself goes it.

use std::sync::Arc;

use nuthatch::config;
use nuthatch::distribution::Distribution;
use nuthatch::hash::Hash;
use nuthatch::topology::publish::Publisher;
use nuthatch::topology::{self, ServerId, Topology, Update};

pub struct Pool {
    pool: Arc<topology::Pool>,
}

impl Pool {
    /// `ejected` holds positions in `lines`.
    pub fn new(
        lines: &[String],
        hash: Hash,
        distribution: Distribution,
        tag: Option<&str>,
        ejected: &[usize],
    ) -> Pool {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let tag = tag.map_or(String::new(), |tag| {
            format!("  hash_tag: {}\n", quoted(tag))
        });
        let servers: String = lines
            .iter()
            .map(|l| format!("   - {}\n", quoted(l)))
            .collect();
        let yaml = format!(
            "pool:\n  listen: 127.0.0.1:1\n  redis: true\n  hash: {}\n  distribution: {}\n{tag}  \
             servers:\n{servers}",
            hash.name(),
            distribution.name(),
        );
        let config = config::parse(&yaml, "layout.yml")
            .expect("a valid layout")
            .config;
        let mut publisher = Publisher::new(Topology::initial(&config));
        let gone = config.pools[0].servers.iter().enumerate();
        let gone = gone
            .filter(|(_, server)| ejected.contains(&server.position))
            .map(|(index, _)| {
                Update::Eject(ServerId {
                    pool: 0,
                    server: index as u16,
                })
            });
        publisher.apply(gone);
        Pool {
            pool: publisher.current().pools[0].clone(),
        }
    }

    /// The position of `key`'s server in the list of lines.
    pub fn place(&self, key: &[u8]) -> usize {
        let server = self.pool.route(key, || unreachable!("nothing is random"));
        let server = usize::from(server.expect("a live server"));
        self.pool.config.servers[server].position
    }
}
