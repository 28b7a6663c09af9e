//! The socket of one backend connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::shared::Shared;
use super::socket::{ReadHalf, WriteHalf, split_tcp, split_unix};
use crate::backend::{Cause, ConnectionId, Plan, Target};
use crate::protocol::redis::handshake::{Handshake, HandshakeError, Progress};

/// Reads in one turn before others get theirs.
const READS_PER_TURN: usize = 4;

/// A server that is gone without a word is missed after a minute, however long nothing is asked of it.
const SIGNS_OF_LIFE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Opens the connection and serves it until it ends.
pub(super) async fn run(shared: Rc<Shared>, id: ConnectionId) {
    let plan = shared.front.borrow_mut().backends().plan(id);
    let plan = match plan {
        Ok(plan) => plan,
        Err(cause) => {
            let now = shared.now();
            (shared.front.borrow_mut()).handle_backend_closed(id, cause, now);
            return shared.kick();
        }
    };
    let cause = match tokio::time::timeout(plan.timeout, open(&plan)).await {
        Ok(Ok((mut reader, writer))) => {
            shared.open_backend(id, writer);
            poll_fn(|cx| drive(&shared, id, &mut reader, cx)).await
        }
        Ok(Err(cause)) => Some(cause),
        Err(_) => Some(Cause::ConnectTimeout),
    };
    if let Some(cause) = cause {
        let now = shared.now();
        shared
            .front
            .borrow_mut()
            .handle_backend_closed(id, cause, now);
    }
    shared.kick();
}

async fn open(plan: &Plan) -> Result<(ReadHalf, WriteHalf), Cause> {
    match &plan.target {
        Target::Tcp(address) => {
            let mut stream = TcpStream::connect(address).await.map_err(not_reached)?;
            stream.set_nodelay(true).map_err(not_reached)?;
            let socket = SockRef::from(&stream);
            if plan.silent {
                socket.set_tcp_keepalive(&SIGNS_OF_LIFE)
            } else {
                socket.set_keepalive(plan.config.tcpkeepalive)
            }
            .map_err(not_reached)?;
            greet(&mut stream, plan).await?;
            Ok(split_tcp(stream))
        }
        Target::Unix(path) => {
            let mut stream = UnixStream::connect(path).await.map_err(not_reached)?;
            greet(&mut stream, plan).await?;
            Ok(split_unix(stream))
        }
    }
}

fn not_reached(error: io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::TimedOut => Cause::ConnectTimeout,
        _ => Cause::Unreachable(error.to_string()),
    }
}

/// Password, database and protocol version; no request is sent before the server has agreed to them.
async fn greet<S>(stream: &mut S, plan: &Plan) -> Result<(), Cause>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let config = &plan.config;
    let auth = config.redis_auth.as_ref().map(|secret| secret.0.as_str());
    let db = match plan.kind.db {
        _ if plan.aside => 0,
        Some(db) => u32::from(db),
        None => config.redis_db,
    };
    let mut handshake = Handshake::new(auth, db, plan.kind.resp, false);
    if config.sentinel.is_some() && !plan.aside {
        handshake = handshake.require_master();
    }
    if handshake.is_done() {
        return Ok(());
    }
    let request = handshake.request();
    stream
        .write_all(&request)
        .await
        .map_err(|error| Cause::Reset(error.to_string()))?;
    let mut buffer = [0; 512];
    loop {
        let n = match stream.read(&mut buffer).await {
            Ok(0) => return Err(Cause::Closed),
            Ok(n) => n,
            Err(error) => return Err(Cause::Reset(error.to_string())),
        };
        match handshake.handle_bytes(&buffer[..n]) {
            Ok(Progress::Done) => return Ok(()),
            Ok(Progress::Incomplete) => {}
            Err(error) => return Err(refused(&error)),
        }
    }
}

fn refused(error: &HandshakeError) -> Cause {
    match error {
        // Wanting a password first is no lack of RESP3.
        HandshakeError::HelloRejected(text) if !text.starts_with("NOAUTH") => {
            Cause::NoResp3(error.to_string())
        }
        _ => Cause::Handshake(error.to_string()),
    }
}

/// `Some` when the socket ended the connection, `None` when the machine has.
fn drive(
    shared: &Shared,
    id: ConnectionId,
    reader: &mut ReadHalf,
    cx: &mut Context<'_>,
) -> Poll<Option<Cause>> {
    if let Err(error) = shared.poll_backend(id, cx) {
        return Poll::Ready(Some(Cause::Reset(error.to_string())));
    }
    for _ in 0..READS_PER_TURN {
        let read = read(shared, id, reader, cx);
        shared.kick();
        match std::task::ready!(read) {
            Ok((0, _)) => return Poll::Ready(Some(Cause::Closed)),
            Ok((_, true)) => {}
            Ok((_, false)) => return Poll::Ready(None),
            Err(error) => return Poll::Ready(Some(Cause::Reset(error.to_string()))),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// One read: its length, and whether the connection goes on.
fn read(
    shared: &Shared,
    id: ConnectionId,
    reader: &mut ReadHalf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(usize, bool)>> {
    let mut buffer = shared.read_buffer.borrow_mut();
    let mut front = shared.front.borrow_mut();
    let partial = front.backends().partial(id);
    let held = partial.len();
    buffer[..held].copy_from_slice(partial);
    let mut fresh = ReadBuf::new(&mut buffer[held..]);
    std::task::ready!(Pin::new(reader).poll_read(cx, &mut fresh))?;
    let n = fresh.filled().len();
    let goes_on = n > 0 && front.handle_backend_bytes(id, &buffer[..held + n], shared.now());
    Poll::Ready(Ok((n, goes_on)))
}
