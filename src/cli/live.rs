//! `nuthatch -t --live`: a configuration that is correct in itself, against what runs.
//!
//! Opens connections as the data path would and closes them again; no key is read or written.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::arguments::PROGRAM;
use super::runtime;
use super::sentinel::identity_problem;
use crate::config::{Address, Config, PoolConfig};
use crate::protocol::redis::Resp;
use crate::protocol::redis::handshake::{Handshake, HandshakeError, Progress};
use crate::topology::sentinel::RoleAnswer;
use crate::topology::sentinel::task::ask::{
    self, Identity, Said, Silence, Subject, Survey, Witness,
};

/// For connecting to a server and its answers. Apart from the pool's `timeout`, which may be none.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn run(file: &Path, config: &Config) -> ExitCode {
    let shown = file.display();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{PROGRAM}: cannot ask sentinels and servers: {error}");
            return ExitCode::FAILURE;
        }
    };
    let checks = config.pools.iter().map(|pool| check(Arc::clone(pool)));
    let problems: Vec<String> = runtime.block_on(ask::all(checks)).concat();
    for problem in &problems {
        eprintln!("{PROGRAM}: {problem}");
    }
    if problems.is_empty() {
        eprintln!("{PROGRAM}: sentinels and servers of '{shown}' are ok");
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "{PROGRAM}: sentinels and servers of '{shown}' are not ok, problems: {}",
        problems.len()
    );
    ExitCode::FAILURE
}

/// A line for each problem of a pool.
async fn check(pool: Arc<PoolConfig>) -> Vec<String> {
    let (mut problems, servers) = match ask::survey(Arc::clone(&pool)).await {
        Some(survey) => (problems(&survey), masters(&survey)),
        None => (Vec::new(), fixed(&pool)),
    };
    let opened = servers.into_iter().map(|(name, address)| {
        let pool = Arc::clone(&pool);
        async move { (name, open(&address, &pool).await, address) }
    });
    for (name, opened, address) in ask::all(opened).await {
        if let Err(refusal) = opened {
            let problem = refusal.problem(&address);
            problems.push(line(&pool, "server", &name, &problem));
        }
    }
    problems
}

fn line(pool: &PoolConfig, kind: &str, name: &str, problem: &str) -> String {
    format!("pool '{}': {kind} '{name}': {problem}", pool.name)
}

/// The masters that are worth opening a connection to: what is wrong with others is known.
fn masters(survey: &Survey) -> Vec<(String, Address)> {
    let masters = survey.servers.iter().filter_map(|subject| {
        let [(address, RoleAnswer::Master)] = &subject.nodes[..] else {
            return None;
        };
        let (host, port) = (address.host.clone(), address.port);
        Some((subject.name.clone(), Address::Tcp { host, port }))
    });
    masters.collect()
}

fn fixed(pool: &PoolConfig) -> Vec<(String, Address)> {
    let mut servers: Vec<_> = pool.servers.iter().collect();
    servers.sort_by_key(|server| server.position);
    let servers = servers.into_iter();
    servers
        .map(|server| (server.name.clone(), server.address.clone()))
        .collect()
}

/// Why a server cannot be used.
#[derive(Debug)]
enum Refusal {
    Unreachable(String),
    Handshake(HandshakeError),
}

impl Refusal {
    fn problem(&self, address: &Address) -> String {
        let (what, todo) = match self {
            Refusal::Unreachable(why) => (
                format!("cannot be asked: {why}"),
                "start it or correct its address",
            ),
            Refusal::Handshake(error) => {
                let todo = match error {
                    HandshakeError::AuthRejected(_) => "correct redis_auth",
                    HandshakeError::SelectRejected { text, .. }
                    | HandshakeError::PingRejected(text)
                        if text.starts_with("NOAUTH") =>
                    {
                        "set redis_auth to its password"
                    }
                    HandshakeError::SelectRejected { .. } => "correct redis_db",
                    HandshakeError::PingRejected(_) => "wait until it is ready, or see its log",
                    HandshakeError::NotMaster(_) => "wait for the failover to end",
                    _ => "check that a Redis listens there",
                };
                (error.to_string(), todo)
            }
        };
        format!("{address}: {what}; {todo}")
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Unreachable(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// Password, database and PING, as on a connection for requests.
async fn open(address: &Address, pool: &PoolConfig) -> Result<(), Refusal> {
    let conversation = async {
        match address {
            Address::Tcp { host, port } => {
                greet(TcpStream::connect((host.as_str(), *port)).await?, pool).await
            }
            Address::Unix(path) => greet(UnixStream::connect(path).await?, pool).await,
        }
    };
    let late = |_| Refusal::Unreachable("no answer in time".to_owned());
    timeout(PATIENCE, conversation).await.map_err(late)?
}

async fn greet<S>(mut stream: S, pool: &PoolConfig) -> Result<(), Refusal>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let auth = pool.redis_auth.as_ref().map(|secret| secret.0.as_str());
    let mut handshake = Handshake::new(auth, pool.redis_db, Resp::V2, true);
    if pool.sentinel.is_some() {
        handshake = handshake.require_master();
    }
    stream.write_all(&handshake.request()).await?;
    let mut buffer = [0; 512];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match handshake.handle_bytes(&buffer[..n]) {
            Ok(Progress::Done) => return Ok(()),
            Ok(Progress::Incomplete) => {}
            Err(error) => return Err(Refusal::Handshake(error)),
        }
    }
}

/// What a survey shows to be wrong, with what to do about it.
fn problems(survey: &Survey) -> Vec<String> {
    let pool = &survey.pool;
    let mut problems = Vec::new();
    for witness in &survey.sentinels {
        if let Some(problem) = witness_problem(pool, witness) {
            let address = witness.address.to_string();
            problems.push(line(pool, "sentinel", &address, &problem));
        }
    }
    for subject in &survey.servers {
        let mut found = Vec::new();
        if let Some(problem) = identity_problem(survey, subject) {
            let todo = match subject.identity {
                Identity::Named(_) => "correct the name, or set the server's master",
                _ => "name its master in the file",
            };
            found.push(format!("{problem}; {todo}"));
        } else {
            found.extend(disagreements(survey, subject));
        }
        let roles = subject.nodes.iter();
        found.extend(roles.filter_map(|(address, role)| {
            let (what, todo) = role_problem(pool, role)?;
            Some(format!("{address} {what}; {todo}"))
        }));
        let found = found.iter();
        problems.extend(found.map(|problem| line(pool, "server", &subject.name, problem)));
    }
    problems
}

fn witness_problem(pool: &PoolConfig, witness: &Witness) -> Option<String> {
    let has_auth = pool.sentinel.as_ref().is_some_and(|it| it.auth.is_some());
    let problem = match witness.monitors.as_ref().err()? {
        Silence::Unreachable(why) => {
            format!("cannot be asked: {why}; start it, or correct its address in sentinels")
        }
        Silence::Denied(why) => {
            let todo = match has_auth {
                true if is_without_password(why) => "remove sentinel_auth",
                true => "correct sentinel_auth",
                false => "set sentinel_auth to its password",
            };
            format!("refuses us: {why}; {todo}")
        }
        Silence::Strange(why) => {
            format!("does not answer as a sentinel: {why}; check its address in sentinels")
        }
    };
    Some(problem)
}

/// Redis to an AUTH that it does not need, before version 6 and since.
fn is_without_password(error: &str) -> bool {
    error.contains("no password is set") || error.contains("without any password configured")
}

/// What keeps the sentinels from naming the same node.
fn disagreements(survey: &Survey, subject: &Subject) -> Vec<String> {
    let mut found = Vec::new();
    let mut views = Vec::new();
    for (witness, said) in survey.sentinels.iter().zip(&subject.said) {
        let sentinel = &witness.address;
        match said {
            Said::Master { address, epoch, .. } => {
                views.push(format!("{sentinel} says {address} (epoch {epoch})"));
            }
            Said::Unmonitored => {
                let name = subject.identity.master().unwrap_or(&subject.name);
                found.push(format!(
                    "sentinel {sentinel} does not monitor '{name}'; add it there with SENTINEL MONITOR"
                ));
            }
            Said::Strange(why) => {
                found.push(format!("sentinel {sentinel} answers: {why}; see its log"));
            }
            Said::Unasked | Said::Nothing => {}
        }
    }
    if subject.nodes.len() > 1 {
        found.push(format!(
            "the sentinels disagree: {}; check again when the failover has ended",
            views.join(", ")
        ));
    }
    found
}

/// What is wrong with what a node says, and what to do about it.
fn role_problem(pool: &PoolConfig, role: &RoleAnswer) -> Option<(String, &'static str)> {
    match role {
        RoleAnswer::Master => None,
        RoleAnswer::Replica => Some((
            "is a replica, not a master".to_owned(),
            "check again when the failover has ended",
        )),
        RoleAnswer::NotReady(why) => Some((format!("is not ready: {why}"), "wait until it is")),
        RoleAnswer::Denied(why) => Some((
            format!("refuses us: {why}"),
            match &pool.redis_auth {
                Some(_) => "correct redis_auth",
                None => "set redis_auth to its password",
            },
        )),
        RoleAnswer::Unreachable(why) => Some((
            format!("cannot be asked: {why}"),
            "start it; if it runs elsewhere for us, set sentinel_nat",
        )),
        RoleAnswer::Strange(why) => Some((
            format!("does not say that it is a master: {why}"),
            "check that a Redis listens there",
        )),
    }
}
