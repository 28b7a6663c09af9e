//! Sockets that systemd has bound for us (`LISTEN_FDS`, `sd_listen_fds(3)`), for instance by
//! `deploy/nuthatch.socket`.
//!
//! They stay systemd's: it holds them open while no process of ours runs, so that clients wait instead of
//! being refused, and their paths are not ours to remove.

use std::io;

use listenfd::ListenFd;
use socket2::Socket;

use super::passed::{Origin, PassedSocket};
use crate::log::CHANGE;

/// Takes the sockets that were passed to this process; none without systemd. What cannot be listened on is
/// logged and left out. Only the first call finds any, which has to come before the first thread.
pub fn take() -> Vec<PassedSocket> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        match take_one(&mut passed, index) {
            Ok(Some(socket)) => sockets.push(socket),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(target: CHANGE, "socket {index} passed by systemd is not used: {error}")
            }
        }
    }
    sockets
}

fn take_one(passed: &mut ListenFd, index: usize) -> io::Result<Option<PassedSocket>> {
    let tcp = passed.take_tcp_listener(index);
    let socket = match tcp {
        Ok(listener) => listener.map(Socket::from),
        // Not TCP, and still in its place.
        Err(_) => passed.take_unix_listener(index)?.map(Socket::from),
    };
    socket
        .map(|socket| PassedSocket::new(socket, Origin::Systemd))
        .transpose()
}
