//! The shell around a [`Watcher`]: its links, `ROLE` questions, name look-ups and timers. What it decides
//! goes to the topology task as [`Update`]s; what requests met comes from there as [`Symptom`]s.

pub(crate) mod ask;
mod link;
mod log;
mod watchers;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::{
    HostPort, Link, NoMaster, Output, RoleAnswer, SentinelId, ShardId, ShardSpec, Symptom, Timing,
    Watcher,
};
use crate::config::{self, Config, PoolConfig, SentinelConfig};
use crate::topology::page::Watched;
use crate::topology::{Endpoint, ServerId, Update};
use link::{Command, LinkPlan, Report};
pub(crate) use watchers::{WatcherId, Watchers};

/// A master's address that is a host name is looked up this often: a pod that restarts keeps its name.
const LOOKUP: Duration = Duration::from_secs(5);

/// News is shown at most this late: a poll of many sentinels is many pieces of news.
const TELLING: Duration = Duration::from_millis(100);

/// What a watcher wants published, and what happened for the counters.
#[derive(Debug)]
pub(crate) enum Decision {
    Publish(Vec<Update>),
    Switched(ServerId),
    Held(ServerId),
    /// How many sentinels the pools have, and how many of them tell us what happens.
    Sentinels {
        pools: Vec<u16>,
        known: u64,
        up: u64,
    },
}

/// What a watcher is told by the topology task.
#[derive(Debug)]
enum Input {
    Symptom(ServerId, Symptom),
    /// The pools of a new configuration in which nothing that the watcher goes by has changed.
    Pools(Vec<Arc<PoolConfig>>),
}

fn host_port(address: &config::HostPort) -> HostPort {
    HostPort::new(address.host.clone(), address.port)
}

/// One open link; reports of an earlier one of the same sentinel carry another serial number.
struct OpenLink {
    serial: u64,
    commands: mpsc::UnboundedSender<Command>,
    task: AbortHandle,
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The master of a shard as the watcher last said.
#[derive(Clone, Default)]
struct Master {
    /// How often it said something else, so that what was asked before is known as outdated.
    changes: u64,
    /// The last one there was, whether it may be used or not.
    address: Option<HostPort>,
    usable: bool,
}

enum News {
    Link(SentinelId, Link, u64, Report),
    Role(ShardId, HostPort, RoleAnswer),
    Resolved(String, Option<IpAddr>),
    /// The socket address of a shard's master; the number tells which switch asked for it.
    Located(ShardId, u64, Option<SocketAddr>),
}

struct Driver {
    watcher: Watcher,
    /// Per shard of the watcher.
    servers: Vec<ServerId>,
    pools: Vec<Arc<PoolConfig>>,
    plan: LinkPlan,
    timing: Timing,
    links: HashMap<(SentinelId, Link), OpenLink>,
    names: HashMap<SentinelId, HostPort>,
    /// Per shard.
    masters: Vec<Master>,
    news: mpsc::UnboundedSender<News>,
    incoming: mpsc::UnboundedReceiver<News>,
    id: WatcherId,
    decisions: mpsc::UnboundedSender<(WatcherId, Decision)>,
    next_lookup: Instant,
    told: watch::Sender<Arc<Watched>>,
    /// When to tell what has changed; `None`: nothing has.
    tell_at: Option<Instant>,
    serial: u64,
    log: log::Log,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Driver {
    fn new(
        config: &Config,
        sentinel: &SentinelConfig,
        shards: Vec<(ServerId, ShardSpec)>,
        id: WatcherId,
        decisions: mpsc::UnboundedSender<(WatcherId, Decision)>,
    ) -> Driver {
        let (servers, specs): (Vec<ServerId>, _) = shards.into_iter().unzip();
        let timing = Timing {
            poll: sentinel.poll,
            connect: sentinel.connect_timeout,
            command: sentinel.command_timeout,
            startup_wait: sentinel.startup_wait,
            ..Timing::default()
        };
        let names = servers.iter().map(|&id| {
            let pool = &config.pools[usize::from(id.pool)];
            (
                pool.name.clone(),
                pool.servers[usize::from(id.server)].name.clone(),
            )
        });
        let nat = sentinel
            .nat
            .iter()
            .map(|(from, to)| (host_port(from), host_port(to)));
        let sentinels = sentinel.sentinels.iter().map(host_port).collect();
        let seed = u64::from(std::process::id()) ^ now().elapsed().as_nanos() as u64;
        let (news, incoming) = mpsc::unbounded_channel();
        let watcher = Watcher::new(sentinels, specs, nat, timing, seed, now());
        let watched = Watched {
            servers: servers.clone(),
            snapshot: watcher.snapshot(),
        };
        Driver {
            log: log::Log::new(names.collect()),
            watcher,
            told: watch::Sender::new(Arc::new(watched)),
            tell_at: Some(now()),
            masters: vec![Master::default(); servers.len()],
            servers,
            pools: config.pools.clone(),
            plan: LinkPlan {
                address: HostPort::new("", 0),
                auth: sentinel.auth.clone(),
                connect: timing.connect,
                command: timing.command,
            },
            timing,
            links: HashMap::new(),
            names: HashMap::new(),
            news,
            incoming,
            id,
            decisions,
            next_lookup: now() + LOOKUP,
            serial: 0,
        }
    }

    /// Ends when nobody is left who could send `inputs`.
    async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) {
        loop {
            while let Some(output) = self.watcher.poll_output() {
                self.do_output(output);
            }
            let deadline = [self.watcher.poll_timeout(), self.tell_at]
                .into_iter()
                .flatten()
                .fold(self.next_lookup, Instant::min);
            tokio::select! {
                Some(news) = self.incoming.recv() => {
                    self.take(news);
                    self.tell_soon();
                }
                input = inputs.recv() => match input {
                    Some(Input::Symptom(id, symptom)) => {
                        if let Some(shard) = self.servers.iter().position(|server| *server == id) {
                            self.watcher.handle_symptom(ShardId(shard), symptom, now());
                        }
                    }
                    Some(Input::Pools(pools)) => self.pools = pools,
                    None => return,
                },
                () = sleep_until(deadline.into()) => {
                    if now() >= self.next_lookup {
                        self.next_lookup = now() + LOOKUP;
                        (0..self.servers.len()).for_each(|shard| self.locate(ShardId(shard), true));
                    }
                    if self.tell_at.take_if(|at| *at <= now()).is_some() {
                        self.tell();
                    }
                    self.watcher.handle_timeout(now());
                }
            }
        }
    }

    fn tell_soon(&mut self) {
        self.tell_at.get_or_insert_with(|| now() + TELLING);
    }

    /// Shows what the watcher knows now.
    fn tell(&mut self) {
        let snapshot = self.watcher.snapshot();
        let mut pools: Vec<u16> = self.servers.iter().map(|id| id.pool).collect();
        pools.dedup();
        self.decide(Decision::Sentinels {
            pools,
            known: snapshot.sentinels.len() as u64,
            up: snapshot.sentinels.iter().filter(|s| s.is_up()).count() as u64,
        });
        let servers = self.servers.clone();
        self.told
            .send_replace(Arc::new(Watched { servers, snapshot }));
    }

    fn take(&mut self, news: News) {
        match news {
            News::Link(sentinel, link, serial, report) => {
                let current = self.links.get(&(sentinel, link));
                if current.is_some_and(|open| open.serial == serial) {
                    self.take_report(sentinel, link, report);
                }
            }
            News::Role(shard, address, answer) => {
                self.watcher.handle_role(shard, &address, &answer, now());
            }
            News::Resolved(name, ip) => self.watcher.handle_resolved(&name, ip, now()),
            News::Located(shard, number, found) => {
                if let (Some(address), true) = (found, self.masters[shard.0].changes == number) {
                    self.serve_at(shard, address);
                }
            }
        }
    }

    fn take_report(&mut self, sentinel: SentinelId, link: Link, report: Report) {
        let at = now();
        match report {
            Report::Up => self.watcher.handle_link_up(sentinel, link, at),
            Report::Down(reason) => {
                self.links.remove(&(sentinel, link));
                self.watcher.handle_link_down(sentinel, link, reason, at);
            }
            Report::Subscribed => self.watcher.handle_subscribed(sentinel, at),
            Report::Alive => self.watcher.handle_alive(sentinel, at),
            Report::Message(channel, payload) => {
                self.watcher
                    .handle_message(sentinel, &channel, &payload, at);
            }
            Report::Answer(question, frame) => {
                self.watcher.handle_answer(sentinel, &question, &frame, at);
            }
        }
    }

    fn do_output(&mut self, output: Output) {
        self.tell_soon();
        match output {
            Output::OpenLink {
                sentinel,
                address,
                link,
            } => self.open_link(sentinel, address, link),
            Output::CloseLink { sentinel, link } => {
                self.links.remove(&(sentinel, link));
            }
            Output::Subscribe(sentinel) => {
                self.command(sentinel, Link::Subscription, Command::Subscribe)
            }
            Output::Ping(sentinel) => self.command(sentinel, Link::Subscription, Command::Ping),
            Output::Ask(sentinel, questions) => {
                self.command(sentinel, Link::Query, Command::Ask(questions));
            }
            Output::Resolve(name) => self.job(async move {
                let found = link::resolve(&HostPort::new(name.clone(), 0)).await;
                News::Resolved(name, found.ok().map(|address| address.ip()))
            }),
            Output::CheckRole { shard, address } => {
                let config = self.pools[usize::from(self.servers[shard.0].pool)].clone();
                let patience = self.timing.connect + self.timing.command;
                self.job(async move {
                    let answer = link::role(address.clone(), &config, patience).await;
                    News::Role(shard, address, answer)
                });
            }
            Output::Warm { .. } => {}
            Output::Hold { shard, .. } => {
                let id = self.servers[shard.0];
                self.decide(Decision::Publish(vec![Update::Hold(id)]));
                self.decide(Decision::Held(id));
                self.log.held(shard, now());
            }
            Output::Release { shard, why } => {
                self.decide(Decision::Publish(vec![Update::Release(
                    self.servers[shard.0],
                )]));
                self.log.released(shard, &format!("{why:?}"), now());
            }
            Output::NoMaster { shard, why } => self.has_none(shard, &why),
            Output::Switch(switch) => {
                let source = switch.source.and_then(|id| self.names.get(&id));
                self.log.decided(&switch, source, now());
                let shard = switch.shard;
                let master = &mut self.masters[shard.0];
                let before = master.address.replace(switch.address.clone());
                let moved = before.is_some_and(|before| before != switch.address);
                master.changes += 1;
                master.usable = true;
                if moved {
                    self.decide(Decision::Switched(self.servers[shard.0]));
                }
                self.locate(shard, false);
            }
            Output::Ready { without_master } => self.log.ready(&without_master),
            Output::Note(note) => self.log.note(&note, &self.names, now()),
        }
    }

    fn has_none(&mut self, shard: ShardId, why: &NoMaster) {
        let id = self.servers[shard.0];
        self.masters[shard.0].changes += 1;
        self.masters[shard.0].usable = false;
        let reason = self.log.without_master(shard, why);
        self.decide(Decision::Publish(vec![
            Update::Endpoint(id, Endpoint::NoMaster(reason.into())),
            Update::Release(id),
        ]));
    }

    /// Looks up where a shard's master is; `again`: only if it is a host name.
    fn locate(&mut self, shard: ShardId, again: bool) {
        let Master {
            changes: number,
            address: Some(address),
            usable: true,
        } = self.masters[shard.0].clone()
        else {
            return;
        };
        match address.host.parse::<IpAddr>() {
            Ok(_) if again => {}
            Ok(ip) => self.serve_at(shard, SocketAddr::new(ip, address.port)),
            Err(_) => {
                self.job(
                    async move { News::Located(shard, number, link::resolve(&address).await.ok()) },
                )
            }
        }
    }

    fn serve_at(&mut self, shard: ShardId, address: SocketAddr) {
        let id = self.servers[shard.0];
        self.decide(Decision::Publish(vec![
            Update::Endpoint(id, Endpoint::Tcp(address)),
            Update::Release(id),
        ]));
        self.log.published(shard, address, now());
    }

    fn open_link(&mut self, sentinel: SentinelId, address: HostPort, link: Link) {
        self.serial += 1;
        let serial = self.serial;
        self.names.insert(sentinel, address.clone());
        let plan = LinkPlan {
            address,
            ..self.plan.clone()
        };
        let news = self.news.clone();
        let report = move |report| {
            // The driver ends with its process only.
            let _ = news.send(News::Link(sentinel, link, serial, report));
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(link::run(plan, receiver, report)).abort_handle();
        let open = OpenLink {
            serial,
            commands,
            task,
        };
        self.links.insert((sentinel, link), open);
    }

    fn command(&mut self, sentinel: SentinelId, link: Link, command: Command) {
        if let Some(open) = self.links.get(&(sentinel, link)) {
            // A link that is lost meanwhile reports that.
            let _ = open.commands.send(command);
        }
    }

    fn job(&self, job: impl Future<Output = News> + Send + 'static) {
        let news = self.news.clone();
        tokio::spawn(async move {
            let _ = news.send(job.await);
        });
    }

    fn decide(&self, decision: Decision) {
        // Without a topology task there is nothing to decide.
        let _ = self.decisions.send((self.id, decision));
    }
}
