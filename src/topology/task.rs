//! The only writer of the topology: feeds the machines, probes, looks names up, publishes.
//!
//! It decides nothing: who leaves and returns is `eject.rs`'s, which address serves `resolve.rs`'s.
//! `task/reload.rs` takes another configuration in, `task/probe.rs` asks servers how they are,
//! `task/recovery.rs` those that fail.

mod learn;
mod probe;
mod recovery;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::lookup_host;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::eject::{self, Ejection};
use super::learn::{self as learning, Learning};
use super::page::{self, Moment, Page, Watched};
use super::publish::{Publisher, Update};
use super::resolve::{self, Resolver};
use super::sentinel::task::{Decision, WatcherId, Watchers};
use super::{Endpoint, Event, ServerId, Topology, sentinel};
use crate::config::{Config, Current, PoolConfig, ServerConfig};
use crate::log::CHANGE;
use crate::protocol::redis::command::Told;
use crate::stats::{ControlStats, Stats};
use learn::LearnError;
use probe::{ProbeError, probe};
use reload::Reload;

/// Most events handled before their outcome is published.
const EVENT_BATCH: usize = 256;

pub use recovery::watch_recovery;

/// The ends of the topology task that others hold.
pub struct TopologyHandle {
    /// Closed when the task has ended; the last snapshot stays readable.
    pub snapshots: watch::Receiver<Arc<Topology>>,
    pub events: mpsc::UnboundedSender<Event>,
    attempted: watch::Receiver<bool>,
    watched: watch::Receiver<Vec<watch::Receiver<Arc<Watched>>>>,
    reloads: mpsc::UnboundedSender<Reload>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl TopologyHandle {
    /// Waits until every host name was looked up once, for `within` at most. Says whether that is so;
    /// names that could not be resolved count. What was found is in `snapshots` then.
    pub async fn first_resolution(&mut self, within: Duration) -> bool {
        let attempted = self.attempted.wait_for(|attempted| *attempted);
        matches!(timeout(within, attempted).await, Ok(Ok(_)))
    }

    /// Makes the page about servers and sentinels, as they are when it is called. `stats`: whose control
    /// part the task was spawned with; `current`: the configuration it goes by.
    pub fn pages(&self, stats: Stats, current: Current) -> impl Fn() -> Page + Send + Sync + use<> {
        let (snapshots, watched) = (self.snapshots.clone(), self.watched.clone());
        move || {
            let watched = watched.borrow();
            let watched: Vec<_> = watched.iter().map(|w| Arc::clone(&w.borrow())).collect();
            let at = Moment {
                now: now(),
                unix: SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default(),
            };
            page::page(&snapshots.borrow(), &current.get(), &watched, &stats, at)
        }
    }

    /// Ends the task, with its probes, whoever still holds a sender; resolves when it has ended. A
    /// lookup that the system's resolver is busy with goes on in its thread, unheard.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Starts the task on the current (control) runtime. It ends when all event senders are gone, that of
/// the handle included, or by [`TopologyHandle::shutdown`].
pub fn spawn(config: &Config, stats: Arc<ControlStats>) -> TopologyHandle {
    let publisher = Publisher::new(Topology::initial(config));
    stats.topology_version.set(publisher.current().version);
    let (snapshots_sender, snapshots) = watch::channel(Arc::clone(publisher.current()));
    let (attempted_sender, attempted) = watch::channel(false);
    let (events, events_receiver) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let (decisions, decided) = mpsc::unbounded_channel();
    let (reloads, reloads_receiver) = mpsc::unbounded_channel();
    let mut watchers = Watchers::new(decisions);
    watchers.configure(config, publisher.current());
    let watched = watchers.told();
    let task = TopologyTask {
        publisher,
        config: config.clone(),
        reloads: reloads_receiver,
        ejection: Ejection::new(config),
        resolver: Resolver::new(config, now()),
        learning: Learning::new(config, now()),
        jobs: JoinSet::new(),
        watchers,
        decided,
        stats,
        snapshots: snapshots_sender,
        attempted: attempted_sender,
    };
    task.gauge(task.publisher.current());
    TopologyHandle {
        snapshots,
        events,
        attempted,
        watched,
        reloads,
        stop: stop.clone(),
        task: tokio::spawn(task.run(events_receiver, stop)),
    }
}

/// The runtime's clock, so that a test can stop it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

struct TopologyTask {
    publisher: Publisher,
    /// What the machines go by.
    config: Config,
    reloads: mpsc::UnboundedReceiver<Reload>,
    ejection: Ejection,
    resolver: Resolver,
    learning: Learning,
    /// At most one probe and one question per server and one lookup per name; aborted with the task.
    jobs: JoinSet<Outcome>,
    /// End with the task.
    watchers: Watchers,
    decided: mpsc::UnboundedReceiver<(WatcherId, Decision)>,
    stats: Arc<ControlStats>,
    snapshots: watch::Sender<Arc<Topology>>,
    attempted: watch::Sender<bool>,
}

/// What a job came to.
enum Outcome {
    Probed(ServerId, Result<(), ProbeError>),
    Asked(ServerId, Result<Vec<Told>, LearnError>),
    LookedUp(Arc<str>, io::Result<Vec<SocketAddr>>),
}

impl TopologyTask {
    async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            self.drive_machines();
            let timeouts = [
                self.ejection.poll_timeout(),
                self.resolver.poll_timeout(),
                self.learning.poll_timeout(),
            ];
            let deadline = timeouts.into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => return,
                received = events.recv_many(&mut batch, EVENT_BATCH) => {
                    if received == 0 {
                        return;
                    }
                    for event in batch.drain(..) {
                        self.report_symptom(&event);
                        self.ejection.handle_event(&event, now());
                        self.resolver.handle_event(&event, now());
                    }
                }
                Some(outcome) = self.jobs.join_next() => {
                    self.handle_outcome(outcome.expect("jobs do not panic and only our end aborts them"));
                }
                Some((watcher, decision)) = self.decided.recv() => {
                    if self.watchers.is_running(watcher) {
                        self.obey(decision);
                    }
                }
                Some(reload) = self.reloads.recv() => self.reconfigure(reload),
                () = until(deadline) => {}
            }
        }
    }

    fn report_symptom(&self, event: &Event) {
        let symptom = match event {
            Event::Failed { .. } => sentinel::Symptom::ConnectionLost,
            Event::NotMaster { .. } => sentinel::Symptom::ReadOnly,
            Event::Answered { .. } => return,
        };
        self.watchers.report(event.server_id(), symptom);
    }

    fn obey(&mut self, decision: Decision) {
        let server =
            |id: ServerId| &self.stats.pools[usize::from(id.pool)].servers[usize::from(id.server)];
        match decision {
            Decision::Publish(updates) => self.publish(updates),
            Decision::Switched(id) => server(id).switches.add(1),
            Decision::Held(id) => server(id).holds.add(1),
            Decision::Sentinels { pools, known, up } => {
                for pool in pools {
                    let stats = &self.stats.pools[usize::from(pool)];
                    stats.sentinels_known.set(known);
                    stats.sentinels_up.set(up);
                }
            }
        }
    }

    fn handle_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::LookedUp(host, answer) => {
                let answer = answer.map_err(|error| error.to_string());
                self.resolver.handle_answer(&host, answer, now());
            }
            Outcome::Asked(id, answer) => {
                let answer = answer.map_err(|error| error.to_string());
                self.learning.handle_answer(id, answer, now());
            }
            Outcome::Probed(id, result) => {
                if let Err(error) = &result {
                    let (pool, server) = self.configured(id);
                    debug!(pool = pool.name, server = server.name, %error, "server is still unwell");
                }
                self.ejection.handle_probe_result(id, result.is_ok(), now());
            }
        }
    }

    /// Does all that the machines want done, as one publication.
    fn drive_machines(&mut self) {
        let (updates, probes) = self.take_actions();
        self.publish(updates);
        for id in probes {
            self.start_probe(id);
        }
        self.drive_learning();
        if self.resolver.all_attempted() {
            self.attempted
                .send_if_modified(|attempted| !std::mem::replace(attempted, true));
        }
    }

    fn drive_learning(&mut self) {
        while let Some(action) = self.learning.poll_action(now()) {
            match action {
                learning::Action::Ask(id) if !self.is_somewhere(id) => {
                    self.learning.handle_nowhere(id, now());
                }
                learning::Action::Ask(id) => {
                    self.start_job(id, |id, endpoint, config| async move {
                        Outcome::Asked(id, learn::ask(&endpoint, &config).await)
                    })
                }
                learning::Action::Publish(pool, learned) => {
                    if let Some(topology) = self.publisher.learn(pool, &learned) {
                        learn::tell(&topology.pools[usize::from(pool)].config, &learned);
                        self.tell(topology);
                    }
                }
                learning::Action::Failing(id, reason) => {
                    let (pool, server) = self.configured(id);
                    learn::tell_failure(pool, server, &reason);
                }
            }
        }
    }

    /// Does what the machines want done but for publishing and probing: that is answered.
    fn take_actions(&mut self) -> (Vec<Update>, Vec<ServerId>) {
        let mut updates = Vec::new();
        let mut probes = Vec::new();
        while let Some(action) = self.resolver.poll_action(now()) {
            match action {
                resolve::Action::Lookup(host) => {
                    self.jobs.spawn(look_up(host));
                }
                resolve::Action::Publish(update) => updates.push(update),
                resolve::Action::Failing { host, reason } => {
                    warn!(target: CHANGE, %host, reason, "host name cannot be resolved");
                }
                resolve::Action::Recovered(host) => {
                    info!(target: CHANGE, %host, "host name is resolved again");
                }
            }
        }
        while let Some(action) = self.ejection.poll_action(now()) {
            match action {
                eject::Action::Suspect(id, suspect) => {
                    if let Some(server) = self.publisher.current().server(id) {
                        server.suspect.store(suspect, Relaxed);
                    }
                }
                eject::Action::Eject(id) => updates.push(Update::Eject(id)),
                eject::Action::Return(id) => updates.push(Update::Return(id)),
                eject::Action::Probe(id) => probes.push(id),
            }
        }
        (updates, probes)
    }

    fn publish(&mut self, updates: Vec<Update>) {
        for update in &updates {
            self.record(update);
        }
        if let Some(topology) = self.publisher.apply(updates) {
            self.tell(topology);
        }
    }

    fn tell(&self, topology: Arc<Topology>) {
        self.stats.topology_version.set(topology.version);
        self.gauge(&topology);
        self.snapshots.send_replace(topology);
    }

    /// Shows the servers' state to the statistics.
    fn gauge(&self, topology: &Topology) {
        for (pool, stats) in topology.pools.iter().zip(self.stats.pools.iter()) {
            let managed = u64::from(pool.config.sentinel.is_some());
            for (server, stats) in pool.servers.iter().zip(stats.servers.iter()) {
                stats.ejected.set(server.ejected.into());
                stats.held_now.set(server.held.into());
                stats.sentinel_managed.set(managed);
            }
        }
    }

    /// Counts and logs an update that is about to be applied.
    fn record(&self, update: &Update) {
        let id = update.server_id();
        let (pool, server) = self.configured(id);
        let (pool_name, server_name) = (&pool.name, &server.name);
        let pool_stats = &self.stats.pools[usize::from(id.pool)];
        let server_stats = &pool_stats.servers[usize::from(id.server)];
        let endpoint = self.publisher.current().server(id).map(|s| &s.endpoint);
        let address = endpoint.map(tracing::field::display);
        match update {
            Update::Eject(_) => {
                pool_stats.server_ejects.add(1);
                server_stats.ejects.add(1);
                server_stats.server_ejected_at.set(unix_micros());
                warn!(
                    target: CHANGE,
                    pool = pool_name,
                    server = server_name,
                    address,
                    failures = pool.server_failure_limit,
                    retry_ms = pool.server_retry_timeout.as_millis() as u64,
                    "server ejected"
                );
            }
            Update::Return(_) => {
                pool_stats.server_returns.add(1);
                server_stats.returns.add(1);
                info!(target: CHANGE, pool = pool_name, server = server_name, address, "server returned");
            }
            Update::Endpoint(_, to) if pool.sentinel.is_none() => {
                info!(
                    target: CHANGE,
                    pool = pool_name,
                    server = server_name,
                    address = %to,
                    before = address,
                    "server has a new address"
                );
            }
            // Their watcher tells more.
            Update::Endpoint(..) | Update::Hold(_) | Update::Release(_) => {}
        }
    }

    fn is_somewhere(&self, id: ServerId) -> bool {
        let server = self.publisher.current().server(id);
        server.is_some_and(|server| matches!(server.endpoint, Endpoint::Tcp(_) | Endpoint::Unix(_)))
    }

    fn start_probe(&mut self, id: ServerId) {
        self.start_job(id, |id, endpoint, config| async move {
            Outcome::Probed(id, probe(&endpoint, &config).await)
        });
    }

    fn start_job<F>(
        &mut self,
        id: ServerId,
        job: impl FnOnce(ServerId, Endpoint, Arc<PoolConfig>) -> F,
    ) where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let topology = self.publisher.current();
        if let Some(server) = topology.server(id) {
            let config = &topology.pools[usize::from(id.pool)].config;
            self.jobs
                .spawn(job(id, server.endpoint.clone(), Arc::clone(config)));
        }
    }

    /// `id` comes from a machine, so it is one of the configuration.
    fn configured(&self, id: ServerId) -> (&PoolConfig, &ServerConfig) {
        let pool = &self.publisher.current().pools[usize::from(id.pool)].config;
        (pool, &pool.servers[usize::from(id.server)])
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

async fn look_up(host: Arc<str>) -> Outcome {
    let answer = lookup_host((host.as_ref(), 0)).await;
    let answer = answer.map(Iterator::collect);
    Outcome::LookedUp(host, answer)
}
