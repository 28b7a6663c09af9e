//! Signals, as one stream of what they ask for.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Finish what is in flight and end.
    Stop,
    /// Open the log file anew, then read the configuration again.
    Reload,
    RaiseLevel,
    LowerLevel,
    /// Accept no more clients, serve those that are there until they leave, and end.
    Retire,
    /// Nothing but a line in the log.
    Nothing,
}

/// A signal that arrived. Its `Display` starts as nutcracker's log line does: `signal 1 (SIGHUP)`.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    number: i32,
    name: &'static str,
    pub request: Request,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {} ({})", self.number, self.name)
    }
}

pub struct Signals(Vec<(Signal, Stream)>);

impl Signals {
    /// Takes the signals over from their default actions, for the life of the process. Needs a runtime
    /// with IO around it.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn register() -> io::Result<Signals> {
        let table = [
            (SignalKind::terminate(), "SIGTERM", Request::Stop),
            (SignalKind::interrupt(), "SIGINT", Request::Stop),
            (SignalKind::hangup(), "SIGHUP", Request::Reload),
            (
                SignalKind::from_raw(rustix::process::Signal::TTIN.as_raw()),
                "SIGTTIN",
                Request::RaiseLevel,
            ),
            (
                SignalKind::from_raw(rustix::process::Signal::TTOU.as_raw()),
                "SIGTTOU",
                Request::LowerLevel,
            ),
            (SignalKind::user_defined1(), "SIGUSR1", Request::Retire),
            (SignalKind::user_defined2(), "SIGUSR2", Request::Nothing),
        ];
        let streams = table.into_iter().map(|(kind, name, request)| {
            let number = kind.as_raw_value();
            Ok((
                Signal {
                    number,
                    name,
                    request,
                },
                signal(kind)?,
            ))
        });
        streams.collect::<io::Result<_>>().map(Signals)
    }

    /// The next signal. Those that arrive together come in the order of the table above.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}
