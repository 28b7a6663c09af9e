//! Asks a server which commands it has.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tracing::{info, warn};

use super::probe::{ProbeError, greet};
use crate::config::{PoolConfig, Secret, ServerConfig};
use crate::log::CHANGE;
use crate::protocol::redis::command::{Command, Learned, Policy, Told, ToldError};
use crate::protocol::redis::handshake::repeatable;
use crate::protocol::redis::reply::{ReplyError, ReplyScanner};
use crate::topology::Endpoint;

/// Longest it takes, from connecting to the whole reply.
const PATIENCE: Duration = Duration::from_secs(10);
/// Redis 8 with its modules has a tenth of it.
const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// So many names are in a line of the log.
const NAMES_SHOWN: usize = 50;

/// Why it told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LearnError {
    #[error(transparent)]
    Opening(#[from] ProbeError),
    #[error(transparent)]
    Told(ToldError),
    #[error("the reply to COMMAND cannot be understood: {0}")]
    Reply(#[from] ReplyError),
    #[error("the reply to COMMAND has more than {MAX_REPLY_BYTES} bytes")]
    TooLong,
}

/// The commands it has and the table has not.
pub(super) async fn ask(endpoint: &Endpoint, config: &PoolConfig) -> Result<Vec<Told>, LearnError> {
    let conversation = async {
        match endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                converse(stream.map_err(ProbeError::from)?, config).await
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                converse(stream.map_err(ProbeError::from)?, config).await
            }
            Endpoint::Unresolved(_) | Endpoint::NoMaster(_) => Err(ProbeError::Unresolved.into()),
        }
    };
    match timeout(PATIENCE, conversation).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::TimedOut(PATIENCE).into()),
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    config: &PoolConfig,
) -> Result<Vec<Told>, LearnError> {
    greet(&mut stream, config).await?;
    let wrote = stream.write_all(b"*1\r\n$7\r\nCOMMAND\r\n").await;
    wrote.map_err(ProbeError::from)?;
    let mut reply = Vec::new();
    let (mut scanner, mut scanned) = (ReplyScanner::default(), 0);
    loop {
        let piece = scanner.scan(&reply[scanned..])?;
        scanned += piece.len;
        if piece.end {
            break;
        }
        if reply.len() > MAX_REPLY_BYTES {
            return Err(LearnError::TooLong);
        }
        let received = stream.read_buf(&mut reply).await;
        if received.map_err(ProbeError::from)? == 0 {
            return Err(ProbeError::Closed.into());
        }
    }
    let password = config.redis_auth.as_ref().map(|Secret(text)| text.as_str());
    Told::read(&reply[..scanned]).map_err(|error| {
        LearnError::Told(match error {
            ToldError::Refused(text) => ToldError::Refused(repeatable(&text, password)),
            error => error,
        })
    })
}

/// For the log: what the pool has learned now.
pub(super) fn tell(pool: &PoolConfig, learned: &Learned) {
    let refused = |command: &Command| matches!(command.policy, Policy::Refused(_));
    let own = |command: &&Command| !matches!(command.policy, Policy::Container(_));
    let (refused, served): (Vec<_>, Vec<_>) = learned.every().filter(own).partition(|c| refused(c));
    info!(
        target: CHANGE,
        pool = pool.name,
        "learned {} commands from the servers: {}; {} that are refused: {}",
        served.len(),
        names(&served),
        refused.len(),
        names(&refused),
    );
    if learned.left_out > 0 {
        warn!(
            target: CHANGE,
            pool = pool.name,
            "{} more commands of the servers are not learned, they are too many",
            learned.left_out
        );
    }
}

fn names(commands: &[&Command]) -> String {
    let shown = commands
        .iter()
        .take(NAMES_SHOWN)
        .map(|command| command.name);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    match commands.len() {
        0 => text.push_str("none"),
        count if count > NAMES_SHOWN => text.push_str(", ..."),
        _ => {}
    }
    text
}

/// For the log: a server that should tell its commands does not.
pub(super) fn tell_failure(pool: &PoolConfig, server: &ServerConfig, reason: &str) {
    warn!(
        target: CHANGE,
        pool = pool.name,
        server = server.name,
        reason,
        "the server does not tell its commands"
    );
}
