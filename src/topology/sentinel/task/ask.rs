//! Asks the sentinels of a pool and the nodes they name once, all at the same time, for a person who wants
//! to see what each says. Nothing is decided here: that is the watcher's, who listens for longer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis_protocol::resp2::types::OwnedFrame;
use tokio::time::timeout;

use super::super::address::Addresses;
use super::super::answer::{self, AnswerError, Flags, MasterEntry};
use super::super::search::{Found, Search};
use super::super::{HostPort, LinkDown, Question, RoleAnswer, SentinelId};
use super::host_port;
use super::link::{self, Conversation, LinkPlan};
use crate::config::{Address, PoolConfig, SentinelConfig, ServerConfig};

/// Longest part of somebody's error that is repeated, in characters.
const SHOWN_CHARS: usize = 200;

/// What was said about one pool.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub pool: Arc<PoolConfig>,
    /// In the order of the file.
    pub sentinels: Vec<Witness>,
    /// In the order of the file.
    pub servers: Vec<Subject>,
}

#[derive(Clone, Debug)]
pub(crate) struct Witness {
    pub address: HostPort,
    /// The names of the masters it monitors, or why nothing it said counts.
    pub monitors: Result<Vec<String>, Silence>,
}

/// Why a sentinel cannot say anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    Unreachable(String),
    /// It does not accept our credentials.
    Denied(String),
    /// It does not answer like a sentinel.
    Strange(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub name: String,
    pub configured: HostPort,
    pub identity: Identity,
    /// Per sentinel.
    pub said: Vec<Said>,
    /// Every node that a sentinel names, once; the configured one if none is named.
    pub nodes: Vec<(HostPort, RoleAnswer)>,
}

/// How Sentinel calls the master of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// As configured, whether there is such a master or not.
    Named(String),
    /// Found by its address.
    Found(String),
    /// Nobody who answered has the address.
    Absent,
    /// These masters have or had the address.
    Ambiguous(Vec<String>),
    /// No sentinel answered.
    Unknown,
}

/// What a sentinel said about one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Master {
        /// Where we would connect: the NAT map is applied.
        address: HostPort,
        epoch: u64,
        flags: Flags,
    },
    Unmonitored,
    Strange(String),
    /// It was not asked, as the master's name is not known.
    Unasked,
    /// See [`Witness::monitors`].
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All sentinels name one node, which says that it is a master.
    Agreed,
    /// So do those that answered, but not all did.
    Incomplete,
    Disagreed,
}

impl Identity {
    pub(crate) fn master(&self) -> Option<&str> {
        match self {
            Identity::Named(name) | Identity::Found(name) => Some(name),
            Identity::Absent | Identity::Ambiguous(_) | Identity::Unknown => None,
        }
    }
}

impl Subject {
    pub(crate) fn verdict(&self) -> Verdict {
        let one_master = matches!(&self.nodes[..], [(_, RoleAnswer::Master)]);
        let found = !matches!(self.identity, Identity::Absent | Identity::Ambiguous(_));
        let differs = |said: &Said| matches!(said, Said::Unmonitored | Said::Strange(_));
        if !one_master || !found || self.said.iter().any(differs) {
            Verdict::Disagreed
        } else if self
            .said
            .iter()
            .any(|it| !matches!(it, Said::Master { .. }))
        {
            Verdict::Incomplete
        } else {
            Verdict::Agreed
        }
    }
}

impl From<LinkDown> for Silence {
    fn from(down: LinkDown) -> Silence {
        match down {
            LinkDown::Failed(why) => Silence::Unreachable(clean(&why)),
            LinkDown::Denied(why) => Silence::Denied(clean(&why)),
        }
    }
}

impl From<AnswerError> for Silence {
    fn from(error: AnswerError) -> Silence {
        let text = clean(&error.to_string());
        match error {
            AnswerError::Denied(_) => Silence::Denied(text),
            AnswerError::Refused(_) | AnswerError::Malformed(_) => Silence::Strange(text),
        }
    }
}

/// Asks everybody about `pool`; `None` if it has no sentinels.
pub(crate) async fn survey(pool: Arc<PoolConfig>) -> Option<Survey> {
    let config = pool.sentinel.as_ref()?;
    let mut servers: Vec<&ServerConfig> = pool.servers.iter().collect();
    servers.sort_by_key(|server| server.position);
    let plans: Vec<LinkPlan> = config.sentinels.iter().map(|it| plan(config, it)).collect();
    let by_address = servers.iter().any(|it| it.master_name().is_none());
    let listed = plans
        .iter()
        .map(|plan| list_masters(plan.clone(), by_address));
    let listed = all(listed).await;

    let nat = config.nat.iter();
    let nat = nat.map(|(from, to)| (host_port(from), host_port(to)));
    let mut addresses = Addresses::new(nat.clone());
    let mut known: Vec<HostPort> = nat.flat_map(|(from, to)| [from, to]).collect();
    known.extend(servers.iter().map(|server| configured(server)));
    known.extend(
        listed
            .iter()
            .flatten()
            .flat_map(Listing::addresses)
            .cloned(),
    );
    learn_names(&mut addresses, &known, config.connect_timeout).await;

    let search = search(&listed, &addresses);
    let identities: Vec<Identity> = servers
        .iter()
        .map(|server| identity(server, &search, &addresses))
        .collect();
    let names = identities.iter().map(|it| it.master().map(str::to_string));
    let names: Vec<Option<String>> = names.collect();
    let told = plans.iter().zip(listed).map(|(plan, listed)| {
        let (plan, names) = (plan.clone(), names.clone());
        async move { tell_masters(listed?, names, plan).await }
    });
    let told = all(told).await;

    let announced = told.iter().flatten().flat_map(|(_, said)| said);
    let announced: Vec<HostPort> = announced.filter_map(Said::address).cloned().collect();
    learn_names(&mut addresses, &announced, config.connect_timeout).await;
    let patience = config.connect_timeout + config.command_timeout;
    let subjects = servers.iter().zip(identities).enumerate();
    let subjects = subjects.map(|(index, (server, identity))| {
        let said = told.iter().map(|told| match told {
            Ok((_, said)) => said[index].translated(&addresses),
            Err(_) => Said::Nothing,
        });
        let subject = Subject {
            name: server.name.clone(),
            configured: configured(server),
            identity,
            said: said.collect(),
            nodes: Vec::new(),
        };
        let nodes = subject.named_nodes(&addresses);
        ask_nodes(subject, nodes, pool.clone(), patience)
    });
    let servers = all(subjects).await;
    let sentinels = plans.into_iter().zip(told).map(|(plan, told)| Witness {
        address: plan.address,
        monitors: told.map(|(monitors, _)| monitors),
    });
    let sentinels = sentinels.collect();
    Some(Survey {
        pool,
        sentinels,
        servers,
    })
}

/// Runs `jobs` at the same time; answers in their order.
pub(crate) async fn all<T: Send + 'static>(
    jobs: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let running: Vec<_> = jobs.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(running.len());
    for job in running {
        results.push(job.await.expect("asking neither panics nor is aborted"));
    }
    results
}

fn plan(config: &SentinelConfig, sentinel: &crate::config::HostPort) -> LinkPlan {
    LinkPlan {
        address: host_port(sentinel),
        auth: config.auth.clone(),
        connect: config.connect_timeout,
        command: config.command_timeout,
    }
}

fn configured(server: &ServerConfig) -> HostPort {
    match &server.address {
        Address::Tcp { host, port } => HostPort::new(host.clone(), *port),
        // The configuration allows none together with sentinels.
        Address::Unix(path) => HostPort::new(path.display().to_string(), 0),
    }
}

/// A sentinel that answered, and the masters it monitors with their replicas.
struct Listing {
    conversation: Conversation,
    masters: Vec<MasterEntry>,
    /// By the master's name; empty if nobody is searched for.
    replicas: Vec<(String, Vec<HostPort>)>,
}

impl Listing {
    fn addresses(&self) -> impl Iterator<Item = &HostPort> {
        let masters = self.masters.iter().filter_map(|it| it.address.as_ref());
        masters.chain(self.replicas.iter().flat_map(|(_, replicas)| replicas))
    }

    fn names(&self) -> Vec<String> {
        self.masters.iter().map(|it| it.name.clone()).collect()
    }
}

async fn list_masters(plan: LinkPlan, with_replicas: bool) -> Result<Listing, Silence> {
    let mut conversation = link::open(&plan).await?;
    let frames = exchange(&mut conversation, vec![Question::Masters], &plan).await?;
    let mut listing = Listing {
        conversation,
        masters: answer::masters(&frames[0])?,
        replicas: Vec::new(),
    };
    if with_replicas {
        let names = listing.names();
        let questions = names.iter().cloned().map(Question::Replicas).collect();
        let frames = exchange(&mut listing.conversation, questions, &plan).await?;
        let replicas = frames.iter().map(|frame| {
            // A master that vanished meanwhile has none.
            answer::replicas(frame).unwrap_or_default()
        });
        listing.replicas = names.into_iter().zip(replicas).collect();
    }
    Ok(listing)
}

/// The names of all masters that the sentinel monitors, and what it says of those called `names`.
async fn tell_masters(
    mut listing: Listing,
    names: Vec<Option<String>>,
    plan: LinkPlan,
) -> Result<(Vec<String>, Vec<Said>), Silence> {
    let known = names.iter().flatten();
    let questions = known.flat_map(|name| {
        // In this order: see `Question::Address`.
        [
            Question::Master(name.clone()),
            Question::Address(name.clone()),
        ]
    });
    let frames = exchange(&mut listing.conversation, questions.collect(), &plan).await?;
    let mut pairs = frames.chunks_exact(2);
    let said = names
        .iter()
        .map(|name| match name.as_ref().and_then(|_| pairs.next()) {
            Some([master, address]) => judge(master, address),
            _ => Ok(Said::Unasked),
        });
    let said = said.collect::<Result<_, _>>()?;
    Ok((listing.names(), said))
}

async fn exchange(
    conversation: &mut Conversation,
    questions: Vec<Question>,
    plan: &LinkPlan,
) -> Result<Vec<OwnedFrame>, LinkDown> {
    let mut frames = Vec::with_capacity(questions.len());
    link::ask(conversation, questions, plan, |_, frame| frames.push(frame)).await?;
    Ok(frames)
}

/// # Errors
/// If the sentinel refuses our credentials, which concerns all it says.
fn judge(master: &OwnedFrame, address: &OwnedFrame) -> Result<Said, Silence> {
    match (answer::master(master), answer::address(address)) {
        (Err(denied @ AnswerError::Denied(_)), _) | (_, Err(denied @ AnswerError::Denied(_))) => {
            Err(denied.into())
        }
        (Err(error), _) | (_, Err(error)) => Ok(Said::Strange(clean(&error.to_string()))),
        (Ok(Some(entry)), Ok(Some(address))) => Ok(Said::Master {
            address,
            epoch: entry.epoch,
            flags: entry.flags,
        }),
        (Ok(None), Ok(_)) | (Ok(_), Ok(None)) => Ok(Said::Unmonitored),
    }
}

impl Said {
    pub(crate) fn address(&self) -> Option<&HostPort> {
        match self {
            Said::Master { address, .. } => Some(address),
            _ => None,
        }
    }

    fn translated(&self, addresses: &Addresses) -> Said {
        let mut said = self.clone();
        if let Said::Master { address, .. } = &mut said {
            *address = addresses.translate(address.clone());
        }
        said
    }
}

impl Subject {
    fn named_nodes(&self, addresses: &Addresses) -> Vec<HostPort> {
        let mut nodes: Vec<HostPort> = Vec::new();
        for address in self.said.iter().filter_map(Said::address) {
            if !nodes.iter().any(|known| addresses.same(known, address)) {
                nodes.push(address.clone());
            }
        }
        if nodes.is_empty() {
            nodes.push(self.configured.clone());
        }
        nodes
    }
}

async fn ask_nodes(
    subject: Subject,
    nodes: Vec<HostPort>,
    pool: Arc<PoolConfig>,
    patience: Duration,
) -> Subject {
    let asked = nodes.into_iter().map(|address| {
        let pool = pool.clone();
        async move {
            let role = link::role(address.clone(), &pool, patience).await;
            (address, cleaned(role))
        }
    });
    Subject {
        nodes: all(asked).await,
        ..subject
    }
}

/// Looks up the host names among `found`, so that they can be compared with addresses.
async fn learn_names(addresses: &mut Addresses, found: &[HostPort], patience: Duration) {
    let names: BTreeSet<&str> = found.iter().filter_map(HostPort::name).collect();
    let looked_up = names.into_iter().map(|name| {
        let name = name.to_string();
        async move {
            let wanted = HostPort::new(name.clone(), 0);
            let found = timeout(patience, link::resolve(&wanted)).await;
            (name, found)
        }
    });
    for (name, found) in all(looked_up).await {
        // A name that means nothing here is equal to itself only.
        if let Ok(Ok(address)) = found {
            addresses.resolve(&name, address.ip());
        }
    }
}

fn search(listed: &[Result<Listing, Silence>], addresses: &Addresses) -> Search {
    let mut search = Search::default();
    for (id, listing) in (0..).map(SentinelId).zip(listed) {
        if let Ok(listing) = listing {
            search.handle_masters(id, listing.masters.clone(), addresses);
            for (name, replicas) in &listing.replicas {
                search.handle_replicas(id, name, replicas.clone(), addresses);
            }
        }
    }
    search
}

fn identity(server: &ServerConfig, search: &Search, addresses: &Addresses) -> Identity {
    if let Some(name) = server.master_name() {
        return Identity::Named(name.to_string());
    }
    match search.find(&[&configured(server)], addresses) {
        Found::Nothing => Identity::Unknown,
        Found::Absent => Identity::Absent,
        Found::One(name) => Identity::Found(name),
        Found::Several(names) => Identity::Ambiguous(names),
    }
}

fn cleaned(role: RoleAnswer) -> RoleAnswer {
    match role {
        RoleAnswer::Master | RoleAnswer::Replica => role,
        RoleAnswer::NotReady(text) => RoleAnswer::NotReady(clean(&text)),
        RoleAnswer::Denied(text) => RoleAnswer::Denied(clean(&text)),
        RoleAnswer::Unreachable(text) => RoleAnswer::Unreachable(clean(&text)),
        RoleAnswer::Strange(text) => RoleAnswer::Strange(clean(&text)),
    }
}

/// One short line; without the arguments, passwords perhaps, that a server quotes of commands that it
/// does not know.
fn clean(text: &str) -> String {
    let text = text.split(", with args").next().unwrap_or_default();
    let shown = text.chars().take(SHOWN_CHARS);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
