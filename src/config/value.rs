//! How one value of the file is read: numbers, booleans, sizes, hash tags, addresses, lists.
//!
//! Accepts what nutcracker accepts. Knows neither keys nor pools: a refusal says what is wrong with the
//! text, the caller adds where it stands.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::error::{Refusal, near_miss, quoted};
use super::file::{Node, Value};
use super::{Address, HostPort, Listen};
use crate::hash::HashTag;

/// nutcracker keeps numbers in an `int`; it lets larger ones wrap round, we refuse them.
pub(super) const NUMBER_MAX: u32 = i32::MAX as u32;

/// A path has to fit into `sockaddr_un` with its closing NUL.
const UNIX_PATH_MAX: usize = 107;

const LISTEN_FORM: &str = "\"hostname:port\"";

/// Looks a host name up. A parameter so that tests need no name service.
pub(super) type Resolve<'r> = &'r dyn Fn(&str, u16) -> io::Result<SocketAddr>;

/// The entries of a list that must not be empty; `what` is the word for one. An error is the message's
/// first half.
pub(super) fn list<'n>(node: &'n Node, what: &str) -> Result<&'n [Node], String> {
    match &node.value {
        Value::Sequence(entries) if !entries.is_empty() => Ok(entries),
        Value::Sequence(_) => Err("has no value".to_owned()),
        Value::Scalar(text) if text.is_empty() => Err("has no value".to_owned()),
        Value::Scalar(text) => Err(format!(
            "{} is not a list; put each {what} after '- '",
            quoted(text)
        )),
        Value::Mapping(_) => Err(format!(
            "must be a list, not a mapping; put each {what} after '- '"
        )),
    }
}

/// Decimal digits only, as in nutcracker: no sign, no unit, no other base.
pub(super) fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, Refusal> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::new("is not a number"));
    }
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| Refusal::new("is out of range"))
}

pub(super) fn boolean(text: &str) -> Result<bool, Refusal> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let refusal = Refusal::new("is not \"true\" or \"false\"");
            Err(match text.to_lowercase().as_str() {
                "yes" | "on" | "1" | "y" | "t" => refusal.meant("true"),
                "no" | "off" | "0" | "n" | "f" => refusal.meant("false"),
                other => match near_miss(other, ["true", "false"]) {
                    Some(word) => refusal.meant(word),
                    None => refusal,
                },
            })
        }
    }
}

/// Bytes, with the units of redis.conf: `k` is 1000, `kb` 1024, and so on, in either case.
pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Result<u64, Refusal> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(Refusal::new("is not a size in bytes")),
    };
    if number.is_empty() {
        return Err(Refusal::new("is not a size in bytes"));
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| Refusal::new("is out of range"))
}

/// Exactly two bytes, which may be one two-byte character, as in nutcracker.
pub(super) fn hash_tag(text: &str) -> Result<HashTag, Refusal> {
    match *text.as_bytes() {
        [open, close] => Ok(HashTag { open, close }),
        _ => Err(Refusal::new(
            "is not a valid hash tag string with two characters",
        )),
    }
}

/// A TCP port, 1 to 65535.
fn port(text: &str) -> Option<u16> {
    number(text, 1..=u32::from(u16::MAX))
        .ok()
        .and_then(|port| u16::try_from(port).ok())
}

/// The host of an address as written: a name, an IPv4 or an IPv6 literal, the last perhaps in brackets
/// or with a zone (`fe80::1%eth0`). The answer has no brackets.
fn host(text: &str) -> Option<&str> {
    let is_ipv6 = |literal: &str| {
        let address = literal.split_once('%').map_or(literal, |(a, _zone)| a);
        address.parse::<Ipv6Addr>().is_ok()
    };
    if let Some(rest) = text.strip_prefix('[') {
        return rest.strip_suffix(']').filter(|literal| is_ipv6(literal));
    }
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']' | '/' | '*');
    if text.is_empty() || text.contains(bad) || (text.contains(':') && !is_ipv6(text)) {
        return None;
    }
    Some(text)
}

/// A server's `host:port` or `/path`, without weight or name. `form` is the quoted format that messages
/// name.
pub(super) fn address(text: &str, form: &str) -> Result<Address, Refusal> {
    if text.starts_with('/') {
        return unix_path(text).map(Address::Unix);
    }
    let HostPort { host, port } = host_port(text, form)?;
    Ok(Address::Tcp { host, port })
}

/// `host:port`, literals as written. `form` is the quoted format that messages name.
pub(super) fn host_port(text: &str, form: &str) -> Result<HostPort, Refusal> {
    let (host_text, port) = host_and_port(text, form)?;
    let host = host(host_text).ok_or_else(|| invalid_host(host_text, form))?;
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

fn host_and_port<'t>(text: &'t str, form: &str) -> Result<(&'t str, u16), Refusal> {
    let Some((host_text, port_text)) = text.rsplit_once(':') else {
        return Err(Refusal::new(format!("has an invalid {form} format string")));
    };
    match port(port_text) {
        Some(port) => Ok((host_text, port)),
        None => Err(Refusal::new(format!(
            "has an invalid port in {form} format string: {} is not 1 to 65535",
            quoted(port_text)
        ))),
    }
}

fn invalid_host(host: &str, form: &str) -> Refusal {
    Refusal::new(format!(
        "has an invalid host in {form} format string: {}",
        quoted(host)
    ))
}

fn unix_path(text: &str) -> Result<PathBuf, Refusal> {
    if text.len() > UNIX_PATH_MAX {
        return Err(Refusal::new(format!(
            "has an invalid value: a socket's path has at most {UNIX_PATH_MAX} bytes, this one {}",
            text.len()
        )));
    }
    if text.contains('\0') {
        return Err(Refusal::new("has an invalid value: a path has no NUL"));
    }
    Ok(PathBuf::from(text))
}

/// `listen`'s value, and a warning if part of it has no effect.
pub(super) fn listen(text: &str, resolve: Resolve) -> Result<(Listen, Option<String>), Refusal> {
    if text.starts_with('/') {
        return listen_unix(text);
    }
    let (host_text, port) = host_and_port(text, LISTEN_FORM)?;
    let refused = || invalid_host(host_text, LISTEN_FORM);
    if matches!(host_text, "" | "*") {
        return Err(refused().meant(format!("0.0.0.0:{port}")));
    }
    let host = host(host_text).ok_or_else(refused)?;
    match host.parse::<IpAddr>() {
        Ok(literal) => Ok((Listen::Tcp(SocketAddr::new(literal, port)), None)),
        Err(_) => match resolve(host, port) {
            Ok(address) => Ok((Listen::Tcp(address), None)),
            Err(error) => Err(Refusal::new(format!(
                "has an invalid value: the host cannot be resolved ({error})"
            ))),
        },
    }
}

/// `/path [PERM]`, split at the last space. Like `strtol`, nutcracker reads PERM up to the first character
/// that is not octal, and chmods only when the result is not 0.
fn listen_unix(text: &str) -> Result<(Listen, Option<String>), Refusal> {
    let (path, permission) = match text.rsplit_once(' ') {
        Some((path, permission)) => (path, Some(permission)),
        None => (text, None),
    };
    let path = unix_path(path)?;
    let Some(permission) = permission else {
        return Ok((Listen::Unix { path, mode: None }, None));
    };
    let digits = permission
        .bytes()
        .take_while(|b| matches!(b, b'0'..=b'7'))
        .count();
    let mode = match &permission[..digits] {
        "" => 0,
        octal => u32::from_str_radix(octal, 8).unwrap_or(u32::MAX),
    };
    if mode > 0o777 || permission.starts_with('-') {
        return Err(Refusal::new(
            "has an invalid file permission in \"socket_path permission\" format string",
        ));
    }
    let mode = Some(mode).filter(|mode| *mode != 0);
    let warning = (digits < permission.len()).then(|| {
        let read_as = mode.map_or("no permission at all".to_owned(), |m| format!("{m:04o}"));
        format!("the file permission '{permission}' is not octal and is read as {read_as}")
    });
    Ok((Listen::Unix { path, mode }, warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (String, Option<String>) {
        let refusal = result.unwrap_err();
        (refusal.why, refusal.meant)
    }

    fn refused(why: &str, meant: &str) -> (String, Option<String>) {
        let meant = Some(meant.to_owned()).filter(|meant| !meant.is_empty());
        (why.to_owned(), meant)
    }

    #[test]
    fn numbers_are_decimal_digits() {
        assert_eq!(number("007", 0..=NUMBER_MAX), Ok(7));
        assert_eq!(number("2147483647", 0..=NUMBER_MAX), Ok(NUMBER_MAX));
        for text in ["", "-1", "+1", "0x10", "1_000", "30s", "1e3", "\u{664}"] {
            let expected = refused("is not a number", "");
            assert_eq!(why(number(text, 0..=NUMBER_MAX)), expected, "{text}");
        }
        for text in ["2147483648", "99999999999", "99999999999999999999999"] {
            let expected = refused("is out of range", "");
            assert_eq!(why(number(text, 0..=NUMBER_MAX)), expected, "{text}");
        }
    }

    #[test]
    fn booleans_are_two_words() {
        assert_eq!(boolean("true"), Ok(true));
        assert_eq!(boolean("false"), Ok(false));
        for (text, meant) in [
            ("True", "true"),
            ("yes", "true"),
            ("1", "true"),
            ("off", "false"),
            ("fasle", "false"),
            ("maybe", ""),
        ] {
            let expected = refused("is not \"true\" or \"false\"", meant);
            assert_eq!(why(boolean(text)), expected, "{text}");
        }
    }

    #[test]
    fn sizes_have_the_units_of_redis_conf() {
        for (text, bytes) in [
            ("5", 5),
            ("5b", 5),
            ("5k", 5000),
            ("5kb", 5120),
            ("5M", 5_000_000),
            ("5mB", 5 << 20),
            ("5g", 5_000_000_000),
            ("5GB", 5 << 30),
        ] {
            assert_eq!(size(text, 0..=u64::MAX), Ok(bytes), "{text}");
        }
        for text in ["", "kb", "1tb", "1 kb", "-1", "1.5gb"] {
            let expected = refused("is not a size in bytes", "");
            assert_eq!(why(size(text, 0..=u64::MAX)), expected, "{text}");
        }
        for text in ["99999999999999999999", "18446744073709551615kb"] {
            let expected = refused("is out of range", "");
            assert_eq!(why(size(text, 0..=u64::MAX)), expected, "{text}");
        }
    }

    #[test]
    fn a_hash_tag_is_two_bytes() {
        let tag = |open, close| Ok(HashTag { open, close });
        assert_eq!(hash_tag("{}"), tag(b'{', b'}'));
        assert_eq!(hash_tag("$$"), tag(b'$', b'$'));
        assert_eq!(hash_tag("é"), tag(0xc3, 0xa9));
        assert!(hash_tag("{").is_err());
        assert!(hash_tag("{{}}").is_err());
    }

    /// Knows one name only.
    fn names(host: &str, port: u16) -> io::Result<SocketAddr> {
        match host {
            "known" => Ok(SocketAddr::new([10, 0, 0, 1].into(), port)),
            _ => Err(io::Error::other("no such host")),
        }
    }

    #[test]
    fn listen_addresses() {
        for (text, address) in [
            ("127.0.0.1:22121", "127.0.0.1:22121"),
            ("known:022121", "10.0.0.1:22121"),
            ("::1:22121", "[::1]:22121"),
            ("[::1]:22121", "[::1]:22121"),
            ("[::]:1", "[::]:1"),
        ] {
            let (listen, warning) = listen(text, &names).unwrap();
            assert_eq!((listen.to_string().as_str(), warning), (address, None));
        }
        let invalid = "has an invalid host in \"hostname:port\" format string";
        for (text, expected) in [
            (
                "22121",
                refused("has an invalid \"hostname:port\" format string", ""),
            ),
            (
                "*:22121",
                refused(&format!("{invalid}: '*'"), "0.0.0.0:22121"),
            ),
            (
                ":22121",
                refused(&format!("{invalid}: ''"), "0.0.0.0:22121"),
            ),
            ("[x]:22121", refused(&format!("{invalid}: '[x]'"), "")),
            ("[::1:22121", refused(&format!("{invalid}: '[::1'"), "")),
            (
                "h:65536",
                refused(
                    "has an invalid port in \"hostname:port\" format string: '65536' is not 1 to 65535",
                    "",
                ),
            ),
            (
                "unknown:1",
                refused(
                    "has an invalid value: the host cannot be resolved (no such host)",
                    "",
                ),
            ),
        ] {
            assert_eq!(why(listen(text, &names)), expected, "{text}");
        }
    }

    #[test]
    fn listen_sockets_and_their_permission() {
        for (text, path, mode, warns) in [
            ("/tmp/s", "/tmp/s", None, false),
            ("/tmp/s 0640", "/tmp/s", Some(0o640), false),
            ("/tmp/s 777", "/tmp/s", Some(0o777), false),
            ("/tmp/s 0", "/tmp/s", None, false),
            ("/tmp/s rw", "/tmp/s", None, true),
            ("/tmp/s 0640x", "/tmp/s", Some(0o640), true),
            ("/tmp/a b 0600", "/tmp/a b", Some(0o600), false),
        ] {
            let (found, warning) = listen(text, &names).unwrap();
            let path = PathBuf::from(path);
            assert_eq!(found, Listen::Unix { path, mode }, "{text}");
            assert_eq!(warning.is_some(), warns, "{text}");
        }
        for text in ["/tmp/s 1777", "/tmp/s 77777777777777777777", "/tmp/s -1"] {
            let expected =
                "has an invalid file permission in \"socket_path permission\" format string";
            assert_eq!(why(listen(text, &names)), refused(expected, ""), "{text}");
        }
        let long = format!("/{}", "x".repeat(UNIX_PATH_MAX));
        assert!(listen(&long[..UNIX_PATH_MAX], &names).is_ok());
        assert!(listen(&long, &names).is_err());
    }
}
