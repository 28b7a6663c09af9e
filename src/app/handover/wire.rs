//! The packets of a hand-over: short texts, one per packet of a `SOCK_SEQPACKET` connection, some with
//! file descriptors (`SCM_RIGHTS`, `unix(7)`).
//!
//! ```text
//! successor                           predecessor
//! nuthatch-handover 1 take        ->
//!                                 <-  nuthatch-handover 1 offer 3 4711
//!                                 <-  nuthatch-handover 1 sockets 101     and 3 descriptors
//!   ... starts ...
//! nuthatch-handover 1 ready       ->
//!                                     ... stops to accept ...
//!                                 <-  nuthatch-handover 1 released
//! ```
//! `offer` says how many sockets there are and the sender's process id, for the log: the credentials of
//! the connection name who listened first, which may be long gone. The digits of `sockets` say, in the order of the descriptors, whether the path of a unix socket is the
//! receiver's to remove. At most [`BATCH`] descriptors come in one packet, so `sockets` may repeat until
//! as many have come as were offered. Instead of `released`, `late` says that the successor took too
//! long and has been given up.
//!
//! Every packet begins with the version, so that two processes that do not understand each other say so.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

const NAME: &str = "nuthatch-handover";
const VERSION: u32 = 1;
/// Descriptors in one packet; the kernel takes 253 at most.
pub const BATCH: usize = 64;
/// More listening sockets than any configuration has pools.
pub const MAX_SOCKETS: usize = 4096;
/// Bytes of the longest packet, with room to spare.
const MAX_PACKET: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Take,
    /// How many sockets follow, and who sends them.
    Offer {
        sockets: usize,
        pid: u32,
    },
    /// For each descriptor of the packet: the path is the receiver's to remove.
    Sockets(Vec<bool>),
    Ready,
    Released,
    Late,
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the other side closed the connection")]
    Closed,
    #[error("the other side speaks version {0} of the hand-over, this one {VERSION}")]
    Version(u32),
    #[error("not a packet of a hand-over: {0}")]
    Malformed(String),
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME} {VERSION} ")?;
        match self {
            Packet::Take => f.write_str("take"),
            Packet::Offer { sockets, pid } => write!(f, "offer {sockets} {pid}"),
            Packet::Sockets(owned) => {
                f.write_str("sockets ")?;
                let digits = owned.iter().map(|&owned| u8::from(owned));
                digits
                    .into_iter()
                    .try_for_each(|digit| write!(f, "{digit}"))
            }
            Packet::Ready => f.write_str("ready"),
            Packet::Released => f.write_str("released"),
            Packet::Late => f.write_str("late"),
        }
    }
}

impl Packet {
    fn parse(bytes: &[u8]) -> Result<Packet, WireError> {
        let malformed = || WireError::Malformed(bytes.escape_ascii().to_string());
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        let mut words = text.split(' ');
        let version = match (words.next(), words.next()) {
            (Some(NAME), Some(version)) => version.parse().map_err(|_| malformed())?,
            _ => return Err(malformed()),
        };
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("take"), None, ..) => Ok(Packet::Take),
            (Some("ready"), None, ..) => Ok(Packet::Ready),
            (Some("released"), None, ..) => Ok(Packet::Released),
            (Some("late"), None, ..) => Ok(Packet::Late),
            (Some("offer"), Some(sockets), Some(pid), None) => {
                match (sockets.parse(), pid.parse()) {
                    (Ok(sockets), Ok(pid)) if sockets <= MAX_SOCKETS => {
                        Ok(Packet::Offer { sockets, pid })
                    }
                    _ => Err(malformed()),
                }
            }
            (Some("sockets"), Some(digits), None, _) if digits.len() <= BATCH => {
                let owned = digits.bytes().map(|digit| match digit {
                    b'0' => Ok(false),
                    b'1' => Ok(true),
                    _ => Err(malformed()),
                });
                owned.collect::<Result<_, _>>().map(Packet::Sockets)
            }
            _ => Err(malformed()),
        }
    }
}

/// Sends one packet, with descriptors, at most [`BATCH`].
///
/// # Errors
/// As `sendmsg(2)`.
pub fn send(to: impl AsFd, packet: &Packet, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = packet.to_string();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(fits, "more than BATCH descriptors");
    }
    let text = [IoSlice::new(text.as_bytes())];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(to.as_fd(), &text, &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one packet with its descriptors, which are closed on exec.
///
/// # Errors
/// If the connection ended or the packet is not one of a hand-over; else as `recvmsg(2)`.
pub fn receive(from: impl AsFd) -> Result<(Packet, Vec<OwnedFd>), WireError> {
    let mut bytes = [0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut into = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        rustix::net::recvmsg(from.as_fd(), &mut into, &mut control, flags)
    })
    .map_err(io::Error::from)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received.bytes == 0 {
        return Err(WireError::Closed);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(WireError::Malformed("it is too long".to_owned()));
    }
    let packet = Packet::parse(&bytes[..received.bytes])?;
    let announced = match &packet {
        Packet::Sockets(owned) => owned.len(),
        _ => 0,
    };
    if descriptors.len() != announced {
        let what = format!(
            "{announced} descriptors are announced, {} came",
            descriptors.len()
        );
        return Err(WireError::Malformed(what));
    }
    Ok((packet, descriptors))
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    fn pair() -> (Socket, Socket) {
        Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap()
    }

    #[test]
    fn packets_arrive_as_they_were_sent() {
        let (one, other) = pair();
        for packet in [
            Packet::Take,
            Packet::Offer {
                sockets: MAX_SOCKETS,
                pid: u32::MAX,
            },
            Packet::Ready,
            Packet::Released,
            Packet::Late,
        ] {
            send(&one, &packet, &[]).unwrap();
            assert_eq!(receive(&other).unwrap().0, packet);
        }
    }

    #[test]
    fn a_full_batch_of_descriptors_arrives() {
        let (one, other) = pair();
        let owned: Vec<bool> = (0..BATCH).map(|number| number % 3 == 0).collect();
        let packet = Packet::Sockets(owned);
        send(&one, &packet, &[other.as_fd(); BATCH]).unwrap();
        let (received, descriptors) = receive(&other).unwrap();
        assert_eq!(received, packet);
        assert_eq!(descriptors.len(), BATCH);
    }

    #[test]
    fn descriptors_that_were_not_announced_are_refused() {
        let (one, other) = pair();
        for (packet, count) in [(Packet::Ready, 1), (Packet::Sockets(vec![true]), 2)] {
            send(&one, &packet, &vec![other.as_fd(); count]).unwrap();
            let error = receive(&other).unwrap_err();
            assert!(matches!(error, WireError::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn other_versions_are_named() {
        let (one, other) = pair();
        one.send(b"nuthatch-handover 7 whatever it is").unwrap();
        assert!(matches!(receive(&other), Err(WireError::Version(7))));
    }

    #[test]
    fn a_close_is_told_from_a_packet() {
        let (one, other) = pair();
        drop(one);
        assert!(matches!(receive(&other), Err(WireError::Closed)));
    }

    #[test]
    fn nonsense_is_refused() {
        let long = "x".repeat(MAX_PACKET + 1);
        let digits = format!("nuthatch-handover 1 sockets {}", "1".repeat(BATCH + 1));
        for nonsense in [
            "nuthatch-handover",
            "nuthatch-handover 1",
            "nuthatch-handover x take",
            "nuthatch-handover 1 take it",
            "nuthatch-handover 1 offer",
            "nuthatch-handover 1 offer 1",
            "nuthatch-handover 1 offer -1 1",
            "nuthatch-handover 1 offer 4097 1",
            "nuthatch-handover 1 offer 1 1 1",
            "nuthatch-handover 1 sockets 012",
            "nuthatch-handover 1 sockets 01 1",
            "GET / HTTP/1.1",
            &digits,
            &long,
        ] {
            let (one, other) = pair();
            one.send(nonsense.as_bytes()).unwrap();
            let error = receive(&other).unwrap_err();
            assert!(
                matches!(error, WireError::Malformed(_)),
                "{nonsense}: {error}"
            );
        }
    }
}
