//! The values of a pool while its keys are read: first every default, then what the file says.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{
    CommandRules, KeyGroups, Limits, Listen, PoolConfig, Secret, SentinelConfig, ServerConfig,
    SlowRequests,
};
use crate::distribution::Distribution;
use crate::hash::{Hash, HashTag};

/// The values of a pool that have a default.
#[derive(Debug)]
pub(super) struct Settings {
    pub hash: Hash,
    pub hash_tag: Option<HashTag>,
    pub key_groups: Option<Box<KeyGroups>>,
    pub distribution: Distribution,
    pub timeout: Option<Duration>,
    pub backlog: u32,
    pub client_connections: Option<NonZeroU32>,
    pub tcpkeepalive: bool,
    pub reuseport: bool,
    pub redis_auth: Option<Secret>,
    pub redis_db: u32,
    pub databases: u16,
    pub preconnect: bool,
    pub auto_eject_hosts: bool,
    pub server_connections: NonZeroU32,
    pub server_retry_timeout: Duration,
    pub server_failure_limit: u32,
    pub limits: Limits,
    pub proxy_protocol: bool,
    pub allow_flush: bool,
    pub slow_requests: SlowRequests,
    pub learn_commands: bool,
    pub deny_commands: Vec<String>,
    pub allow_commands: Vec<String>,
    pub rename_commands: Vec<(String, Option<Secret>)>,
    /// Without sentinels if there are none.
    pub sentinel: SentinelConfig,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hash: Hash::Fnv1a_64,
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
            auto_eject_hosts: false,
            server_connections: NonZeroU32::MIN,
            server_retry_timeout: Duration::from_secs(30),
            server_failure_limit: 2,
            limits: Limits::default(),
            proxy_protocol: false,
            allow_flush: false,
            slow_requests: SlowRequests::default(),
            learn_commands: false,
            deny_commands: Vec::new(),
            allow_commands: Vec::new(),
            rename_commands: Vec::new(),
            sentinel: SentinelConfig::new(Vec::new()),
        }
    }
}

impl Settings {
    /// The pool, with the parts that have no default.
    pub(super) fn into_pool(
        self,
        name: &str,
        listen: Listen,
        servers: Vec<ServerConfig>,
    ) -> PoolConfig {
        PoolConfig {
            name: name.to_owned(),
            removed: false,
            listen,
            hash: self.hash,
            hash_tag: self.hash_tag,
            key_groups: self.key_groups,
            distribution: self.distribution,
            timeout: self.timeout,
            backlog: self.backlog,
            client_connections: self.client_connections,
            tcpkeepalive: self.tcpkeepalive,
            reuseport: self.reuseport,
            redis_auth: self.redis_auth,
            redis_db: self.redis_db,
            databases: self.databases,
            preconnect: self.preconnect,
            auto_eject_hosts: self.auto_eject_hosts,
            server_connections: self.server_connections,
            server_retry_timeout: self.server_retry_timeout,
            server_failure_limit: self.server_failure_limit,
            limits: self.limits,
            proxy_protocol: self.proxy_protocol,
            allow_flush: self.allow_flush,
            slow_requests: self.slow_requests,
            learn_commands: self.learn_commands,
            commands: CommandRules::new(
                self.deny_commands,
                self.allow_commands,
                self.rename_commands,
            ),
            sentinel: Some(self.sentinel).filter(|sentinel| !sentinel.sentinels.is_empty()),
            servers,
        }
    }
}
