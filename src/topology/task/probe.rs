//! Asks a server that is ejected or failed how it is.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{PoolConfig, Secret};
use crate::protocol::redis::Resp;
use crate::protocol::redis::handshake::{Handshake, HandshakeError, Progress};
use crate::topology::Endpoint;

/// Longest a probe waits for connection and answers; less if the pool's `timeout` is less, as a server
/// that slow cannot serve the pool.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// Why it is not well.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("its host name has no address")]
    Unresolved,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Opens a connection as requests would, and asks for a sign of life.
pub(super) async fn probe(endpoint: &Endpoint, config: &PoolConfig) -> Result<(), ProbeError> {
    let patience = config.timeout.unwrap_or(PROBE_PATIENCE).min(PROBE_PATIENCE);
    let conversation = async {
        match endpoint {
            Endpoint::Tcp(address) => greet(&mut TcpStream::connect(address).await?, config).await,
            Endpoint::Unix(path) => greet(&mut UnixStream::connect(path).await?, config).await,
            Endpoint::Unresolved(_) | Endpoint::NoMaster(_) => Err(ProbeError::Unresolved),
        }
    };
    match timeout(patience, conversation).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::TimedOut(patience)),
    }
}

/// Begins a connection as requests would.
pub(super) async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    config: &PoolConfig,
) -> Result<(), ProbeError> {
    let password = config.redis_auth.as_ref().map(|Secret(text)| text.as_str());
    let mut handshake = Handshake::new(password, config.redis_db, Resp::V2, true);
    if config.sentinel.is_some() {
        handshake = handshake.require_master();
    }
    stream.write_all(&handshake.request()).await?;
    let mut buffer = [0; 1024];
    loop {
        let received = match stream.read(&mut buffer).await? {
            0 => return Err(ProbeError::Closed),
            n => &buffer[..n],
        };
        if handshake.handle_bytes(received)? == Progress::Done {
            return Ok(());
        }
    }
}
