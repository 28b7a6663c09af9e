//! The page about servers, sentinels and failovers, for people and for scripts.
//!
//! Plain data out of a snapshot and of what the watchers said last; who serves it, and the clock, are
//! elsewhere. No passwords are in it, because none are in what it is made from.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::sentinel::snapshot::{Phase, ShardSnapshot, Snapshot, SwitchRecord, ViewSnapshot};
use super::sentinel::{HostPort, SentinelId, Via};
use super::{Pool, ServerId, Topology};
use crate::config::Address;
use crate::config::InUse;
use crate::stats::Stats;

/// What a watcher said last, and of whom.
#[derive(Clone, Debug)]
pub struct Watched {
    /// In the order of the snapshot's shards.
    pub servers: Vec<ServerId>,
    pub snapshot: Snapshot,
}

/// When the page is made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Instant,
    /// The same since the Unix epoch.
    pub unix: Duration,
}

/// Times are milliseconds since the Unix epoch, durations milliseconds.
#[derive(Debug, Serialize)]
pub struct Page {
    timestamp_ms: u64,
    topology_version: u64,
    config: ConfigPart,
    /// In the order of the file.
    pools: Vec<PoolPart>,
}

/// Which file is in use, and what became of the last attempt to replace it.
#[derive(Debug, Serialize)]
struct ConfigPart {
    file: String,
    generation: u64,
    loaded_at_ms: u64,
    /// Null before the first.
    last_reload: Option<ReloadPart>,
}

#[derive(Debug, Serialize)]
struct ReloadPart {
    at_ms: u64,
    applied: bool,
    changes: Vec<String>,
    /// Why not.
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PoolPart {
    name: String,
    /// The address clients connect to.
    listen: String,
    /// Absent for a pool without sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentinels: Option<Vec<SentinelPart>>,
    servers: Vec<ServerPart>,
}

#[derive(Debug, Serialize)]
struct SentinelPart {
    address: String,
    run_id: Option<String>,
    /// From the configuration, not learned from other sentinels.
    configured: bool,
    /// Both links are up, as the next two say.
    up: bool,
    subscribed: bool,
    queried: bool,
    tilt: bool,
    last_event_ms: Option<u64>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct ServerPart {
    name: String,
    /// As written in the configuration.
    address: String,
    /// Where requests go now, or why nowhere.
    endpoint: String,
    /// Who says so: `configuration`, `name service`, or what the last switch came by; null while nobody
    /// has.
    role_source: Option<&'static str>,
    ejected: bool,
    /// Absent for a pool without sentinels.
    #[serde(flatten)]
    failover: Option<FailoverPart>,
}

#[derive(Debug, Serialize)]
struct FailoverPart {
    /// Its name in Sentinel; null while it is not known.
    master: Option<String>,
    since_ms: Option<u64>,
    epoch: Option<u64>,
    phase: &'static str,
    /// The address that is announced or being verified.
    candidate: Option<String>,
    hold_ends_in_ms: Option<u64>,
    held_requests: u64,
    held_bytes: u64,
    switches: u64,
    views: Vec<ViewPart>,
    /// Oldest first.
    history: Vec<SwitchPart>,
}

/// What one sentinel says of the master.
#[derive(Debug, Serialize)]
struct ViewPart {
    sentinel: String,
    /// Else the rest is its last word.
    reachable: bool,
    address: Option<String>,
    /// Is that where the server is? Another way to write it counts as the same; null without either.
    agrees: Option<bool>,
    epoch: Option<u64>,
    down: bool,
    failover_in_progress: bool,
}

#[derive(Debug, Serialize)]
struct SwitchPart {
    from: Option<String>,
    to: String,
    epoch: Option<u64>,
    via: &'static str,
    sentinel: Option<String>,
    /// When the address began to serve.
    at_ms: u64,
    /// From the leader's announcement to the belief; null if none was heard.
    announced_to_decided_ms: Option<u64>,
    /// From the belief to the node's own word that it is a master.
    decided_to_verified_ms: u64,
    held_ms: u64,
}

/// `watched`: of every watcher; `stats`: with every slot of `in_use`.
pub fn page(
    topology: &Topology,
    in_use: &InUse,
    watched: &[Arc<Watched>],
    stats: &Stats,
    at: Moment,
) -> Page {
    let config = &in_use.config;
    let pools = config.live().into_iter();
    // A reload may be under way.
    let known = pools.filter_map(|(slot, _)| Some((slot, topology.pools.get(usize::from(slot))?)));
    Page {
        timestamp_ms: millis(at.unix),
        topology_version: topology.version,
        config: config_part(in_use),
        pools: known
            .map(|(slot, pool)| pool_part(slot, pool, watched, stats, at))
            .collect(),
    }
}

fn config_part(in_use: &InUse) -> ConfigPart {
    ConfigPart {
        file: in_use.file.display().to_string(),
        generation: in_use.generation,
        loaded_at_ms: millis(in_use.loaded_at),
        last_reload: in_use.last_reload.as_ref().map(|last| ReloadPart {
            at_ms: millis(last.at),
            applied: last.result.is_ok(),
            changes: last.result.clone().unwrap_or_default(),
            reasons: last.result.clone().err().unwrap_or_default(),
        }),
    }
}

fn pool_part(
    index: u16,
    pool: &Pool,
    watched: &[Arc<Watched>],
    stats: &Stats,
    at: Moment,
) -> PoolPart {
    let watcher = watched
        .iter()
        .find(|watched| watched.servers.iter().any(|id| id.pool == index));
    let live = pool.config.live().into_iter();
    let servers = live.map(|(slot, config)| {
        let id = ServerId {
            pool: index,
            server: slot,
        };
        let shard = watcher.and_then(|watched| {
            let shard = watched.servers.iter().position(|known| *known == id)?;
            Some((&watched.snapshot.shards[shard], &watched.snapshot))
        });
        let switch = shard.map(|(shard, _)| shard.history.last());
        let fixed = switch.is_none().then(|| fixed_source(&config.address));
        let state = &pool.servers[usize::from(slot)];
        ServerPart {
            name: config.name.clone(),
            address: config.address.to_string(),
            endpoint: state.endpoint.to_string(),
            role_source: fixed.or_else(|| switch.flatten().map(|record| via_name(record.via))),
            ejected: state.ejected,
            failover: shard.map(|(shard, snapshot)| {
                let held = stats.held(usize::from(index), usize::from(slot));
                failover_part(shard, snapshot, held, at)
            }),
        }
    });
    PoolPart {
        name: pool.config.name.clone(),
        listen: pool.config.listen.to_string(),
        servers: servers.collect(),
        sentinels: watcher.map(|watched| sentinel_parts(&watched.snapshot, at)),
    }
}

fn sentinel_parts(snapshot: &Snapshot, at: Moment) -> Vec<SentinelPart> {
    let parts = snapshot.sentinels.iter().map(|sentinel| SentinelPart {
        address: sentinel.address.to_string(),
        run_id: sentinel.run_id.clone(),
        configured: sentinel.configured,
        up: sentinel.is_up(),
        subscribed: sentinel.subscribed,
        queried: sentinel.queried,
        tilt: sentinel.tilt,
        last_event_ms: sentinel.last_event.map(|event| at.unix_ms(event)),
        problem: sentinel.problem.clone(),
    });
    parts.collect()
}

fn failover_part(
    shard: &ShardSnapshot,
    snapshot: &Snapshot,
    (held_requests, held_bytes): (u64, u64),
    at: Moment,
) -> FailoverPart {
    let (phase, candidate, until) = match &shard.phase {
        Phase::Init => ("init", None, None),
        Phase::Held { candidate, until } => ("held", candidate.as_ref(), Some(*until)),
        Phase::Verifying { address } => ("verifying", Some(address), None),
        Phase::Unknown => ("unknown", None, None),
        Phase::Suspect => ("suspect", None, None),
        Phase::Stable => ("stable", None, None),
    };
    FailoverPart {
        master: shard.master.clone(),
        since_ms: shard.since.map(|since| at.unix_ms(since)),
        epoch: shard.epoch,
        phase,
        candidate: candidate.map(HostPort::to_string),
        hold_ends_in_ms: until.map(|until| millis(until.saturating_duration_since(at.now))),
        held_requests,
        held_bytes,
        switches: shard.switches,
        views: shard.views.iter().map(|v| view_part(v, snapshot)).collect(),
        history: (shard.history.iter())
            .map(|record| switch_part(record, snapshot, at))
            .collect(),
    }
}

fn view_part(view: &ViewSnapshot, snapshot: &Snapshot) -> ViewPart {
    ViewPart {
        sentinel: name(view.sentinel, snapshot),
        reachable: view.reachable,
        address: view.says.as_ref().map(|(address, _)| address.to_string()),
        agrees: view.agrees,
        epoch: view.says.as_ref().map(|(_, epoch)| *epoch),
        down: view.down,
        failover_in_progress: view.failover_in_progress,
    }
}

fn switch_part(record: &SwitchRecord, snapshot: &Snapshot, at: Moment) -> SwitchPart {
    let between = |from: Instant, to: Instant| millis(to.saturating_duration_since(from));
    SwitchPart {
        from: record.from.as_ref().map(HostPort::to_string),
        to: record.to.to_string(),
        epoch: record.epoch,
        via: via_name(record.via),
        sentinel: record.source.map(|id| name(id, snapshot)),
        at_ms: at.unix_ms(record.verified),
        announced_to_decided_ms: record.announced.map(|from| between(from, record.decided)),
        decided_to_verified_ms: between(record.decided, record.verified),
        held_ms: millis(record.held),
    }
}

/// Who says where a server is that no sentinel moves.
fn fixed_source(address: &Address) -> &'static str {
    match address {
        Address::Tcp { host, .. } if host.parse::<IpAddr>().is_err() => "name service",
        Address::Tcp { .. } | Address::Unix(_) => "configuration",
    }
}

fn via_name(via: Via) -> &'static str {
    match via {
        Via::Configuration => "configuration",
        Via::Poll => "poll",
        Via::Promoted => "+promoted-slave",
        Via::Switched => "+switch-master",
        Via::Candidate => "candidate",
        Via::Overruled => "overruled",
        Via::Restored => "restored",
    }
}

/// A sentinel's address; history outlives sentinels.
fn name(id: SentinelId, snapshot: &Snapshot) -> String {
    let known = snapshot.sentinels.iter().find(|known| known.id == id);
    known.map_or_else(
        || "forgotten".to_string(),
        |known| known.address.to_string(),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Moment {
    /// Of a time that is past.
    fn unix_ms(&self, time: Instant) -> u64 {
        let ago = self.now.saturating_duration_since(time);
        millis(self.unix.saturating_sub(ago))
    }
}
