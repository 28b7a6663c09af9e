//! From the start to the end: reloads, who asks for the end, and how the clients leave.
//!
//! ```text
//! SIGTERM, SIGINT ------------------------------------------------> drain -> end
//! SIGUSR1: take in who waits, stop to accept -----> soft stop ----^
//! hand-over: stop to accept, the successor does --> soft stop ----^
//! ```
//! A reload waits for the end of a hand-over that is under way, and is not needed if that succeeds: the
//! process after this one reads the file when it starts.
//!
//! In a soft stop everything goes on for the clients that are there, failovers included, until all have
//! left or `--drain-timeout` has passed; a signal to stop cuts it short. The drain lets no client send
//! another request and closes each when it has what it is owed.

use std::fmt;
use std::future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep, sleep_until};

use super::handover::{Port, Successor};
use super::logging::Logging;
use super::notify;
use super::reload::Reloader;
use super::running::Running;
use super::signals::{Request, Signal, Signals};
use super::{Options, SERVING, obey};
use crate::log::NOTICE;

/// How often clients are counted while they leave.
const COUNT_PERIOD: Duration = Duration::from_millis(50);

/// The last part of a soft stop, in which clients are closed right behind a reply. Few clients take longer
/// than this from one request to the next and still count as busy.
const SEE_OFF: Duration = Duration::from_secs(1);

/// How long the clients of a soft stop may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the begin of the soft stop to the drain.
    pub total: Duration,
    /// With a client that has nothing to do; `None` is as long as with the others.
    pub idle: Option<Duration>,
}

/// Why the process ends.
enum Reason {
    Signal(Signal),
    Successor(Successor),
}

/// Serves until something asks for the end, then until the last client has left.
///
/// # Errors
/// If the system refuses to watch the socket for hand-overs.
pub async fn run(
    mut running: Running,
    reloader: Reloader,
    port: Option<Port>,
    options: &Options,
    signals: &mut Signals,
    logging: &mut Logging,
) -> io::Result<()> {
    let reason = serve(&mut running, reloader, port.as_ref(), signals, logging).await?;
    notify::stopping("finishing what is in flight");
    if port.as_ref().is_some_and(Port::is_offered) {
        // Whoever has our sockets, ready or not, finds them at their paths.
        running.leave_paths();
        port.iter().for_each(Port::leave_path);
    }
    drop(port);
    let stop = match reason {
        Reason::Signal(signal) if signal.request == Request::Stop => Some(signal),
        Reason::Signal(signal) => {
            running.close().await;
            say(
                &running,
                format_args!("{signal} received"),
                options.patience,
            );
            soft_stop(&running, options.patience, signals, logging).await
        }
        Reason::Successor(successor) => {
            running.pass_on().await;
            let pid = successor.pid();
            successor.release().await;
            say(
                &running,
                format_args!("process {pid} has taken over"),
                options.patience,
            );
            soft_stop(&running, options.patience, signals, logging).await
        }
    };
    if let Some(stop) = stop {
        tracing::info!(target: NOTICE, "{stop} received, finishing what is in flight");
    }
    drain(running, options.shutdown_timeout, signals, logging).await;
    Ok(())
}

/// Reloads when asked to; answers what asks for the end.
async fn serve(
    running: &mut Running,
    mut reloader: Reloader,
    port: Option<&Port>,
    signals: &mut Signals,
    logging: &mut Logging,
) -> io::Result<Reason> {
    loop {
        if let Some(reason) = serve_as_is(running, &mut reloader, port, signals, logging).await? {
            return Ok(reason);
        }
        notify::reloading();
        reloader.reload(running).await;
        notify::ready(SERVING);
    }
}

/// Answers `None` when it is time for a reload.
async fn serve_as_is(
    running: &Running,
    reloader: &mut Reloader,
    port: Option<&Port>,
    signals: &mut Signals,
    logging: &mut Logging,
) -> io::Result<Option<Reason>> {
    let mut successor = pin!(successor(port, running));
    let mut due = false;
    loop {
        tokio::select! {
            signal = obey(signals, logging) => match signal.request {
                Request::Reload => due = true,
                _ => return Ok(Some(Reason::Signal(signal))),
            },
            () = reloader.file_changed(), if !due => {
                tracing::info!(target: NOTICE, "the configuration file has changed");
                due = true;
            }
            found = &mut successor => return Ok(Some(Reason::Successor(found?))),
            // A process that is taking over must not lose us half way; it reads the file by itself.
            () = no_hand_over(port), if due => return Ok(None),
        }
    }
}

async fn no_hand_over(port: Option<&Port>) {
    if let Some(port) = port {
        port.idle().await;
    }
}

fn say(running: &Running, why: fmt::Arguments, patience: Patience) {
    let (clients, limit) = (running.clients(), patience.total.as_millis());
    tracing::info!(
        target: NOTICE,
        "{why}, serving {clients} clients until they leave, at most {limit} ms"
    );
    notify::status(&format!(
        "accepting no more, {clients} clients are left to leave"
    ));
}

/// The process that takes over; never without a socket for it.
async fn successor(port: Option<&Port>, running: &Running) -> io::Result<Successor> {
    match port {
        Some(port) => port.successor(|| running.share()).await,
        None => future::pending().await,
    }
}

/// Returns when all clients have left or had their time, or with the signal that cut it short.
async fn soft_stop(
    running: &Running,
    patience: Patience,
    signals: &mut Signals,
    logging: &mut Logging,
) -> Option<Signal> {
    if let Some(idle) = patience.idle {
        running.close_idle(idle);
    }
    let end = Instant::now() + patience.total;
    let see_off = end - SEE_OFF.min(patience.total / 4);
    let leaving = async {
        tokio::select! {
            () = all_left(running) => return,
            () = sleep_until(see_off) => running.see_off(),
        }
        tokio::select! {
            () = all_left(running) => {}
            () = sleep_until(end) => {
                let clients = running.clients();
                tracing::info!(target: NOTICE, "{clients} clients have not left and are closed");
            }
        }
    };
    tokio::select! {
        () = leaving => None,
        stop = another_stop(signals, logging) => Some(stop),
    }
}

async fn all_left(running: &Running) {
    let mut counts = interval(COUNT_PERIOD);
    while running.clients() > 0 {
        counts.tick().await;
    }
}

/// Ends every client when it has what it is owed; after `limit`, or at another signal, at once.
async fn drain(running: Running, limit: Duration, signals: &mut Signals, logging: &mut Logging) {
    tokio::select! {
        () = running.drain() => {}
        () = sleep(limit) => {
            let limit = limit.as_millis();
            tracing::warn!(target: NOTICE, "clients were still waiting after {limit} ms and are cut off");
        }
        again = another_stop(signals, logging) => {
            tracing::warn!(target: NOTICE, "{again} received, clients that still wait are cut off");
        }
    }
}

/// The next signal that asks for more than a soft stop.
async fn another_stop(signals: &mut Signals, logging: &mut Logging) -> Signal {
    loop {
        let signal = obey(signals, logging).await;
        if signal.request == Request::Stop {
            return signal;
        }
        match signal.request {
            Request::Reload => tracing::info!(
                target: NOTICE,
                "{signal}: the configuration is not read again, this is the end"
            ),
            _ => tracing::info!(target: NOTICE, "{signal} received, clients are leaving already"),
        }
    }
}
