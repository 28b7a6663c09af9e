//! The stats port: HTTP for who asks, nutcracker's plain JSON for who does not.
//!
//! nutcracker writes its JSON to whoever connects, without HTTP and without reading. Agents made for it
//! connect and wait, so a client that stays silent gets the same here: one line of JSON and the close.
//! Only reads counters; it changes nothing. Sockets are the control thread's; answers, which may be large, are
//! made one at a time on another, so that neither many nor large ones delay what the control thread has to
//! do at a failover.
//!
//! `seats.rs` bounds who is served at a time, `http.rs` knows the paths, `metrics.rs`, `process.rs` and
//! `latency.rs` speak to Prometheus, `ready.rs` to load balancers, `ui.rs` to people.

mod http;
pub mod latency;
mod metrics;
mod process;
mod ready;
mod seats;
mod ui;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::config::Current;
use crate::stats::Stats;
use crate::stats::report::{self, Origin, Place};
use crate::topology::Topology;
use crate::topology::health::{PoolHealth, health};
use seats::{Progress, Seats};

pub use ready::Readiness;

/// The commit this was built from, if the builder said so.
const COMMIT: Option<&str> = option_env!("NUTHATCH_COMMIT");

/// A client that has sent nothing for this long is one of nutcracker's and gets the plain JSON. HTTP
/// clients send with or right after the handshake's last packet, so it need not span a round trip, but
/// on a busy machine they may be held up in between, and JSON without HTTP is an error to them. Agents made
/// for nutcracker lose nothing by the wait: they ask once in seconds and read until the close.
const SILENCE: Duration = Duration::from_millis(300);
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

/// Whose state is shown.
pub struct Sources {
    pub stats: Stats,
    /// Of the same configuration as `stats`.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// The same as one has read it.
    pub config: Current,
    pub page: TopologyPage,
    pub readiness: Readiness,
}

/// What a connection needs to answer.
struct State {
    sources: Sources,
    hostname: String,
    started: Instant,
    /// The same in seconds since the Unix epoch.
    started_unix: f64,
    /// Held while an answer is made.
    producing: Arc<Semaphore>,
}

impl Admin {
    /// Listens at once, so that a taken port is known before anything else starts; `uptime` counts from
    /// here. The address can be bound again right after a restart (std sets SO_REUSEADDR).
    ///
    /// # Errors
    /// What `bind` says.
    pub fn bind(address: SocketAddr) -> io::Result<Admin> {
        Admin::over(StdTcpListener::bind(address)?)
    }

    /// As [`Admin::bind`], with a socket that listens already.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn over(listener: StdTcpListener) -> io::Result<Admin> {
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

    /// A second handle of the socket, for another process to go on with.
    ///
    /// # Errors
    /// If there is no file descriptor left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Answers until `shutdown` resolves, then closes the port and finishes what is being answered.
    ///
    /// # Errors
    /// When the socket cannot be registered with the current runtime. A failed accept is logged and
    /// tried again.
    pub async fn serve(
        self,
        sources: Sources,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let started_unix = unix_time().saturating_sub(self.started.elapsed());
        let state = Arc::new(State {
            sources,
            hostname: self.hostname,
            started: self.started,
            started_unix: started_unix.as_secs_f64(),
            producing: Arc::new(Semaphore::new(1)),
        });
        let mut seats = Seats::default();
        tokio::select! {
            () = accept_connections(&listener, &state, &mut seats) => {}
            () = shutdown => {}
        }
        drop(listener);
        seats.emptied().await;
        Ok(())
    }
}

impl State {
    /// The values of this moment, as one line.
    fn report(&self) -> String {
        let pools = self.health();
        let places: Vec<Place> = pools.iter().flat_map(places).collect();
        let origin = Origin {
            source: &self.hostname,
            uptime: self.started.elapsed(),
            timestamp: unix_time(),
            places: &places,
        };
        self.measure_memory();
        let mut text = report::json(&self.sources.stats, origin);
        text.push('\n');
        text
    }

    /// To be called before the values of the process are read.
    fn measure_memory(&self) {
        (self.sources.stats.control.resident_bytes).set(process::resident_bytes());
    }

    fn health(&self) -> Vec<PoolHealth> {
        let topology = Arc::clone(&self.sources.topology.borrow());
        health(&topology, &self.sources.stats)
    }

    /// Makes an answer on another thread, when it is its turn.
    async fn produce<T: Send + 'static>(
        self: &Arc<State>,
        make: impl FnOnce(&State) -> T + Send + 'static,
    ) -> T {
        let turn = Arc::clone(&self.producing).acquire_owned();
        let (state, turn) = (Arc::clone(self), turn.await);
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            make(&state)
        });
        made.await
            .expect("making an answer does not panic, and nobody polls us after the runtime's end")
    }
}

fn places(pool: &PoolHealth) -> impl Iterator<Item = Place> {
    pool.servers.iter().map(|server| Place {
        pool: pool.name.clone(),
        server: server.name.clone(),
        address: server.endpoint.to_string(),
        role_source: server.role_source(),
    })
}

fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Never returns.
async fn accept_connections(listener: &TcpListener, state: &Arc<State>, seats: &mut Seats) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                seats.vacancy().await;
                let state = Arc::clone(state);
                seats.take(|progress| async move {
                    // Who is not done by then has had time enough.
                    let _ = timeout(LIFETIME, serve_connection(stream, state, progress)).await;
                });
            }
            Err(error) => {
                warn!("accepting a client of the statistics port failed: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors are the client's business: it went away, or gets no more than it asked for.
async fn serve_connection(mut stream: TcpStream, state: Arc<State>, progress: Progress) {
    let mut first = [0];
    match timeout(SILENCE, stream.peek(&mut first)).await {
        // Method names are upper case letters; what begins otherwise is not HTTP.
        Ok(Ok(1..)) if first[0].is_ascii_uppercase() => {
            stream = serve_http(stream, state, progress.clone()).await;
        }
        Ok(Err(_)) => return,
        // Silence, a half-closed connection (`nc </dev/null`), or a word to a server that ignores it.
        _ => {
            progress.answering();
            let report = state.produce(State::report).await;
            if stream.write_all(report.as_bytes()).await.is_err() {
                return;
            }
        }
    }
    progress.leaving();
    close(stream).await;
}

/// One request, one response; keep-alive would let idle scrapers hold the places of others.
async fn serve_http(stream: TcpStream, state: Arc<State>, progress: Progress) -> TcpStream {
    let service = hyper::service::service_fn(move |request| {
        progress.answering();
        Box::pin(http::respond(Arc::clone(&state), request))
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
