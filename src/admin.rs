//! The stats port: HTTP for who asks, nutcracker's plain JSON for who does not.
//!
//! nutcracker writes its JSON to whoever connects, without HTTP and without reading. Agents made for it
//! connect and wait, so a client that stays silent gets the same here: one line of JSON and the close.
//! Runs on the control thread and only reads counters; it changes nothing.

mod http;
mod memory;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::stats::Stats;
use crate::stats::report::{self, Origin};

/// Clients served at a time. More wait in the listen queue: an agent that is a little late is better
/// than one that sees the port closed.
const MAX_CONNECTIONS: usize = 64;
/// A client that has sent nothing for this long is one of nutcracker's and gets the plain JSON. HTTP
/// clients send with or right after the handshake's last packet, so it need not span a round trip.
const SILENCE: Duration = Duration::from_millis(100);
/// For the head of an HTTP request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything on one connection, so that nobody keeps a place for ever.
const LIFETIME: Duration = Duration::from_secs(10);
/// From our end of stream to the close. To close while unread bytes are there resets the connection,
/// which may take the reply from a client that has not read it yet.
const LINGER: Duration = Duration::from_secs(1);
/// Most of an HTTP request that is read ahead, bytes.
const READ_BUFFER: usize = 16 * 1024;
/// After a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The bound stats port.
#[derive(Debug)]
pub struct Admin {
    listener: StdTcpListener,
    local_addr: SocketAddr,
    hostname: String,
    started: Instant,
}

/// Makes the body of `/topology`, JSON, anew at each call.
pub type TopologyPage = Box<dyn Fn() -> String + Send + Sync>;

/// What a connection needs to answer.
struct State {
    stats: Stats,
    topology: TopologyPage,
    hostname: String,
    started: Instant,
}

impl Admin {
    /// Listens at once, so that a taken port is known before anything else starts; `uptime` counts from
    /// here. The address can be bound again right after a restart (std sets SO_REUSEADDR).
    ///
    /// # Errors
    /// What `bind` says.
    pub fn bind(address: SocketAddr) -> io::Result<Admin> {
        let listener = StdTcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Admin {
            local_addr: listener.local_addr()?,
            listener,
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            started: Instant::now(),
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers until `shutdown` resolves, then closes the port and every connection as they are.
    ///
    /// # Errors
    /// When the socket cannot be registered with the current runtime. A failed accept is logged and
    /// tried again.
    pub async fn serve(
        self,
        stats: Stats,
        topology: TopologyPage,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let state = Arc::new(State {
            stats,
            topology,
            hostname: self.hostname,
            started: self.started,
        });
        tokio::select! {
            () = accept_connections(&listener, &state) => {}
            () = shutdown => {}
        }
        Ok(())
    }
}

impl State {
    /// The values of this moment, as one line.
    fn report(&self) -> String {
        let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let origin = Origin {
            source: &self.hostname,
            uptime: self.started.elapsed(),
            timestamp: timestamp.unwrap_or_default(),
        };
        (self.stats.control.resident_bytes).set(memory::resident_bytes());
        let mut text = report::json(&self.stats, origin);
        text.push('\n');
        text
    }
}

/// Never returns; dropping it aborts its connections.
async fn accept_connections(listener: &TcpListener, state: &Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let state = Arc::clone(state);
                    connections.spawn(timeout(LIFETIME, serve_connection(stream, state)));
                }
                Err(error) => {
                    warn!(%error, "stats port: accept failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Errors are the client's business: it went away, or gets no more than it asked for.
async fn serve_connection(mut stream: TcpStream, state: Arc<State>) {
    let mut first = [0];
    match timeout(SILENCE, stream.peek(&mut first)).await {
        // Method names are upper case letters; what begins otherwise is not HTTP.
        Ok(Ok(1..)) if first[0].is_ascii_uppercase() => stream = serve_http(stream, state).await,
        Ok(Err(_)) => return,
        // Silence, a half-closed connection (`nc </dev/null`), or a word to a server that ignores it.
        _ => {
            if stream.write_all(state.report().as_bytes()).await.is_err() {
                return;
            }
        }
    }
    close(stream).await;
}

/// One request, one response; keep-alive would let idle scrapers hold the places of others.
async fn serve_http(stream: TcpStream, state: Arc<State>) -> TcpStream {
    let service = hyper::service::service_fn(move |request| {
        std::future::ready(Ok::<_, std::convert::Infallible>(http::respond(
            &state, &request,
        )))
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_BUFFER)
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    // An error here is a malformed or unfinished request; hyper has answered what can be answered.
    let _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    connection.into_parts().io.into_inner()
}

/// Ends our side, then waits for the client to end its own.
async fn close(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut discarded = [0; 4096];
    let _ = timeout(LINGER, async {
        while matches!(stream.read(&mut discarded).await, Ok(1..)) {}
    })
    .await;
}
