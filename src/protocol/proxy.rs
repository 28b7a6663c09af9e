//! The PROXY protocol, versions 1 and 2: the header by which a load balancer tells for whom it connects
//! (<https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>).
//!
//! Takes the header in pieces of any size, keeps at most [`KEPT`] bytes of it and skips the rest: what
//! version 2 adds behind the addresses (TLVs, among them its checksum) is not looked at. Says nothing of
//! whether the sender may be believed, and sends no headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, with its end. Of version 2 less is needed.
const KEPT: usize = 107;

const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 2: signature, version and command, family and transport, length of what follows.
const FIXED: usize = 16;

/// Commands.
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
/// Families.
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
const INET6: u8 = 2;
const UNIX: u8 = 3;
/// Unspecified, stream and datagram.
const MAX_TRANSPORT: u8 = 2;

/// For whom the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody else is named: the sender itself (a health check), or someone it knows no address of.
    Sender,
    Ip(SocketAddr),
    Unix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were taken, more are needed.
    Incomplete,
    /// `used`: how many of the last bytes were the header's; the others follow it.
    Complete { source: Source, used: usize },
}

/// Why it is no header. Shows nothing of what was sent, which may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the connection does not begin with one")]
    Missing,
    #[error("the line is malformed")]
    Line,
    #[error("the line is longer than {KEPT} bytes")]
    TooLong,
    #[error("version {0} is unknown")]
    Version(u8),
    #[error("command {0} is unknown")]
    Command(u8),
    #[error("address family {0} is unknown")]
    Family(u8),
    #[error("transport {0} is unknown")]
    Transport(u8),
    #[error("it is too short for its addresses")]
    TooShort,
}

/// A header as far as it has come. Not to be used any more once it is complete or malformed.
#[derive(Debug)]
pub struct Header {
    kept: [u8; KEPT],
    len: usize,
    /// Of version 2: where the addresses end; not known before the fixed part has come.
    end: Option<usize>,
    /// Bytes behind `end` that are still to come and that nobody needs.
    skip: usize,
}

impl Default for Header {
    fn default() -> Header {
        Header {
            kept: [0; KEPT],
            len: 0,
            end: None,
            skip: 0,
        }
    }
}

impl Header {
    /// Has nothing come yet?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes what came next.
    ///
    /// # Errors
    /// At the first byte that shows it.
    pub fn read(&mut self, input: &[u8]) -> Result<Progress, Malformed> {
        let mut used = 0;
        while used < input.len() {
            if self.end == Some(self.len) {
                let skipped = self.skip.min(input.len() - used);
                self.skip -= skipped;
                used += skipped;
            } else {
                // There is room: a line ends at its limit, and so do addresses.
                self.kept[self.len] = input[used];
                self.len += 1;
                used += 1;
            }
            if let Some(source) = self.source()? {
                return Ok(Progress::Complete { source, used });
            }
        }
        Ok(Progress::Incomplete)
    }

    /// For whom the connection is, once all has come.
    fn source(&mut self) -> Result<Option<Source>, Malformed> {
        let kept = &self.kept[..self.len];
        if begin_alike(kept, TEXT) {
            return match kept {
                [.., b'\n'] => line(kept).map(Some).ok_or(Malformed::Line),
                _ if kept.len() == KEPT => Err(Malformed::TooLong),
                _ => Ok(None),
            };
        }
        if !begin_alike(kept, BINARY) {
            return Err(Malformed::Missing);
        }
        if self.len == FIXED && self.end.is_none() {
            let (addresses, rest) = lengths(kept)?;
            (self.end, self.skip) = (Some(FIXED + addresses), rest);
        }
        if self.end == Some(self.len) && self.skip == 0 {
            return Ok(Some(addressed(kept)));
        }
        Ok(None)
    }
}

/// Are they the same as far as both go?
fn begin_alike(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(a, b)| a == b)
}

/// Version 1: `PROXY TCP4 source destination source-port destination-port`, or `PROXY UNKNOWN` and
/// whatever follows.
fn line(line: &[u8]) -> Option<Source> {
    let line = str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Source::Sender);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _destination) = (address()?, address()?);
    let (port, _) = (port(words.next()?)?, port(words.next()?)?);
    match words.next() {
        None => Some(Source::Ip(SocketAddr::new(source, port))),
        Some(_) => None,
    }
}

/// Digits only; `parse` alone takes a sign too.
fn port(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| digits)
}

/// Version 2: how many bytes of addresses we need, and how many follow that we do not.
fn lengths(fixed: &[u8]) -> Result<(usize, usize), Malformed> {
    let (version, command) = (fixed[12] >> 4, fixed[12] & 15);
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 15);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version != 2 {
        return Err(Malformed::Version(version));
    }
    match command {
        // Whatever it says of addresses is to be ignored.
        LOCAL => return Ok((0, length)),
        PROXY => {}
        _ => return Err(Malformed::Command(command)),
    }
    if transport > MAX_TRANSPORT {
        return Err(Malformed::Transport(transport));
    }
    let (least, needed) = match family {
        UNSPECIFIED => (0, 0),
        INET => (12, 12),
        INET6 => (36, 36),
        // Of clients of unix sockets we show no path.
        UNIX => (216, 0),
        _ => return Err(Malformed::Family(family)),
    };
    match length.checked_sub(needed) {
        Some(rest) if length >= least => Ok((needed, rest)),
        _ => Err(Malformed::TooShort),
    }
}

/// `kept`: what [`lengths`] has accepted, with the addresses.
fn addressed(kept: &[u8]) -> Source {
    let (fixed, addresses) = kept.split_at(FIXED);
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    match (fixed[12] & 15, fixed[13] >> 4) {
        (PROXY, INET) => {
            let ip: [u8; 4] = addresses[..4].try_into().expect("4 bytes");
            Source::Ip(SocketAddr::new(ip.into(), port(8)))
        }
        (PROXY, INET6) => {
            let ip: [u8; 16] = addresses[..16].try_into().expect("16 bytes");
            Source::Ip(SocketAddr::new(ip.into(), port(32)))
        }
        (PROXY, UNIX) => Source::Unix,
        _ => Source::Sender,
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
