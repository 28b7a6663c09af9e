//! Clients that ask for much and do not read: what is on its way to them has to wait somewhere.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::plan::{Burst, GroupReport, Kind, Report, Traffic};
use super::traffic::{Prepared, same};
use super::{Gate, connect};
use crate::Outcome;

/// Takes the replies in turn, so that all clients are slow ones.
const READ: usize = 64 << 10;

/// Sends, says that it is ready, and reads when told to. Answers with the report and what has to stay
/// open.
pub fn run(burst: &Burst, gate: &mut Gate) -> Outcome<(Report, Box<dyn std::any::Any>)> {
    let prepared = Prepared::new(&Traffic::new(Kind::Get, burst.value), burst.requests);
    let (_, end) = prepared.span(0, burst.requests);
    let requests = prepared.bytes(0, end);
    let connected: Outcome<Vec<TcpStream>> =
        (0..burst.clients).map(|_| connect(burst.port)).collect();
    let sockets = connected?;
    for socket in &sockets {
        // A few hundred short requests always fit the socket's buffer.
        if send(socket, requests, SendFlags::NOSIGNAL)? != requests.len() {
            return Err("the requests of a burst did not fit".into());
        }
    }
    gate.wait()?;
    let start = Instant::now();
    let patience = Duration::from_secs(burst.patience_s);
    let expected = prepared.replies(0);
    let mut received = vec![0; sockets.len()];
    let mut buffer = vec![0; READ];
    while received.iter().any(|received| *received < expected.len()) {
        let mut idle = true;
        for (socket, received) in sockets.iter().zip(&mut received) {
            match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) if *received < expected.len() => {
                    return Err(format!("closed after {received} bytes").into());
                }
                Ok((length, _)) => {
                    let part = expected.get(*received..*received + length);
                    if !part.is_some_and(|part| same(part, &buffer[..length])) {
                        return Err("a wrong reply in a burst".into());
                    }
                    *received += length;
                    idle = false;
                }
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(format!("receiving: {error}").into()),
            }
        }
        if start.elapsed() > patience {
            return Err("a burst did not end in time".into());
        }
        if idle {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let requests = (burst.clients * burst.requests) as u64;
    let group = GroupReport {
        requests,
        ..GroupReport::default()
    };
    let (seconds, groups) = (start.elapsed().as_secs_f64(), vec![group]);
    Ok((Report { seconds, groups }, Box::new(sockets)))
}
