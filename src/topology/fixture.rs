//! Configurations for the tests of this stage.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{
    Address, CommandRules, Config, Limits, Listen, PoolConfig, ServerConfig, SlowRequests,
};
use crate::distribution::Distribution;
use crate::hash::Hash;

pub(crate) fn config(pools: Vec<PoolConfig>) -> Config {
    Config {
        pools: pools.into_iter().map(Arc::new).collect(),
    }
}

/// A pool that ejects after 2 failures for 30 s. `servers`: `host:port` without brackets, or a path.
pub(crate) fn pool(servers: &[&str]) -> PoolConfig {
    PoolConfig {
        name: "pool".to_string(),
        removed: false,
        listen: Listen::Tcp(([127, 0, 0, 1], 0).into()),
        // Spreads keys that differ in their last digits only; FNV leaves them side by side.
        hash: Hash::Md5,
        hash_tag: None,
        key_groups: None,
        distribution: Distribution::Ketama,
        timeout: None,
        backlog: 512,
        client_connections: None,
        tcpkeepalive: false,
        reuseport: false,
        redis_auth: None,
        redis_db: 0,
        databases: 0,
        preconnect: false,
        auto_eject_hosts: true,
        server_connections: NonZeroU32::MIN,
        server_retry_timeout: Duration::from_secs(30),
        server_failure_limit: 2,
        slow_requests: SlowRequests::default(),
        learn_commands: false,
        commands: CommandRules::default(),
        limits: Limits {
            max_request_bytes: 1 << 29,
            max_arguments: 1 << 20,
            client_pending_limit: 1 << 10,
            client_output_limit: 1 << 26,
            dedicated_connections: 4,
        },
        proxy_protocol: false,
        allow_flush: false,
        sentinel: None,
        servers: servers
            .iter()
            .enumerate()
            .map(|(i, s)| server(i, s))
            .collect(),
    }
}

fn server(position: usize, written: &str) -> ServerConfig {
    let address = match written.rsplit_once(':') {
        Some((host, port)) => Address::Tcp {
            host: host.to_string(),
            port: port.parse().unwrap(),
        },
        None => Address::Unix(written.into()),
    };
    ServerConfig {
        name: format!("server{position}"),
        named: true,
        master: None,
        address,
        weight: 1,
        position,
        removed: false,
    }
}
