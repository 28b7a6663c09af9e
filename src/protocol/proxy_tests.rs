//! Headers in one piece, in any pieces, and what is none.

use proptest::prelude::*;

use super::*;

/// A header of version 2 for a stream, with so many bytes behind its addresses.
fn binary(command: u8, family: u8, addresses: &[u8], rest: usize) -> Vec<u8> {
    let mut header = BINARY.to_vec();
    let length = u16::try_from(addresses.len() + rest).expect("the field has 16 bits");
    header.extend([0x20 | command, family << 4 | 1]);
    header.extend(length.to_be_bytes());
    header.extend_from_slice(addresses);
    header.extend(std::iter::repeat_n(0xee, rest));
    header
}

fn v4() -> Vec<u8> {
    vec![192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x18, 0xeb]
}

fn v6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let mut addresses = source.octets().to_vec();
    addresses.extend([0; 16]);
    addresses.extend([0xdc, 0x04, 0x18, 0xeb]);
    addresses
}

fn ip(text: &str) -> Source {
    Source::Ip(text.parse().unwrap())
}

fn good() -> Vec<(Vec<u8>, Source)> {
    let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), KEPT);
    let lines = [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 6379\r\n",
            ip("192.0.2.1:56324"),
        ),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            ip("0.0.0.0:0"),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",
            ip("[2001:db8::1]:56324"),
        ),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
            ip("[::ffff:192.0.2.1]:1"),
        ),
        ("PROXY UNKNOWN\r\n", Source::Sender),
        ("PROXY UNKNOWN \r whatever\0\r\n", Source::Sender),
        (longest, Source::Sender),
    ];
    let mut all = lines.map(|(line, source)| (line.into(), source)).to_vec();
    for rest in [0, 1, 7, 300, 60_000] {
        all.extend([
            (binary(PROXY, INET, &v4(), rest), ip("192.0.2.1:56324")),
            (binary(PROXY, INET6, &v6(), rest), ip("[2001:db8::1]:56324")),
            (binary(PROXY, UNIX, &[b'/'; 216], rest), Source::Unix),
            (binary(PROXY, UNSPECIFIED, &[], rest), Source::Sender),
            (binary(LOCAL, UNSPECIFIED, &[], rest), Source::Sender),
            (binary(LOCAL, INET, &v4(), rest), Source::Sender),
            // Of LOCAL nothing else counts, not even whether it can be.
            (binary(LOCAL, INET6, &v4(), rest), Source::Sender),
            (binary(LOCAL, 9, &[], rest), Source::Sender),
        ]);
    }
    all
}

fn bad() -> Vec<(Vec<u8>, Malformed)> {
    let text = |line: &str| line.as_bytes().to_vec();
    let mut datagram = binary(PROXY, INET, &v4(), 0);
    datagram[13] = INET << 4 | 3;
    let mut version = binary(PROXY, INET, &v4(), 0);
    version[12] = 0x11;
    let mut all = vec![
        (text("*1\r\n$4\r\nPING\r\n"), Malformed::Missing),
        (text("PING\r\n"), Malformed::Missing),
        (text("\r\n\r\n\0\r\nQUIT\r\n"), Malformed::Missing),
        (
            text("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
            Malformed::Missing,
        ),
        (
            text(&format!("PROXY {}", "x".repeat(101))),
            Malformed::TooLong,
        ),
        (datagram, Malformed::Transport(3)),
        (version, Malformed::Version(1)),
        (binary(2, INET, &v4(), 0), Malformed::Command(2)),
        (binary(PROXY, 4, &v4(), 0), Malformed::Family(4)),
        (binary(PROXY, INET, &v4()[..11], 0), Malformed::TooShort),
        (binary(PROXY, INET6, &v4(), 23), Malformed::TooShort),
        (binary(PROXY, UNIX, &v4(), 203), Malformed::TooShort),
    ];
    for line in [
        "PROXY \r\n",
        "PROXY UNKNOWN\n",
        "PROXY unknown\r\n",
        "PROXY TCP4\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.400 1 2\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    ] {
        all.push((text(line), Malformed::Line));
    }
    all
}

#[test]
fn headers_name_their_source() {
    for (bytes, source) in good() {
        let used = bytes.len();
        let told = Header::default().read(&bytes);
        assert_eq!(
            told,
            Ok(Progress::Complete { source, used }),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn what_is_no_header_is_refused() {
    for (bytes, why) in bad() {
        let told = Header::default().read(&bytes);
        assert_eq!(told, Err(why), "{}", bytes.escape_ascii());
    }
}

/// Reads in pieces; answers what came of it and how many bytes it took.
fn in_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Result<Option<Source>, Malformed>, usize) {
    let mut header = Header::default();
    let mut taken = 0;
    for piece in pieces {
        match header.read(piece) {
            Ok(Progress::Incomplete) => taken += piece.len(),
            Ok(Progress::Complete { source, used }) => return (Ok(Some(source)), taken + used),
            Err(error) => return (Err(error), taken),
        }
    }
    (Ok(None), taken)
}

#[test]
fn a_header_may_be_split_anywhere_and_is_never_complete_too_early() {
    for (header, source) in good() {
        let mut bytes = header.clone();
        bytes.extend_from_slice(b"PING\r\n");
        let byte_by_byte = in_pieces(bytes.chunks(1));
        assert_eq!(byte_by_byte, (Ok(Some(source)), header.len()));
        for at in (0..bytes.len()).filter(|at| *at < 300 || at % 997 == 0) {
            let (one, two) = bytes.split_at(at);
            assert_eq!(
                in_pieces([one, two]),
                (Ok(Some(source)), header.len()),
                "{at}"
            );
        }
        for end in (0..header.len()).filter(|end| *end < 300 || end % 997 == 0) {
            let partial = &header[..end];
            assert_eq!(
                in_pieces([partial]),
                (Ok(None), end),
                "{}",
                partial.escape_ascii()
            );
        }
    }
}

#[test]
fn nothing_is_empty_and_one_byte_is_not() {
    let mut header = Header::default();
    assert_eq!(header.read(b""), Ok(Progress::Incomplete));
    assert!(header.is_empty());
    assert_eq!(header.read(b"P"), Ok(Progress::Incomplete));
    assert!(!header.is_empty());
}

/// Bytes that are a header, nearly one, or nothing of the kind.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> = good().into_iter().map(|(bytes, _)| bytes).collect();
    let known = prop::sample::select(known);
    let damaged = (known.clone(), any::<prop::sample::Index>(), any::<u8>());
    let damaged = damaged.prop_map(|(mut bytes, at, byte)| {
        // Where it matters: the rest is skipped.
        let at = at.index(bytes.len().min(KEPT));
        bytes[at] = byte;
        bytes
    });
    let line = prop::collection::vec("[A-Z0-9.: ]{0,12}|TCP4|TCP6|::1|1.2.3.4|65535", 0..8);
    let line = line.prop_map(|words| format!("PROXY {}\r\n", words.join(" ")).into_bytes());
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![known, damaged, line, noise]
}

proptest! {
    /// And never a panic.
    #[test]
    fn pieces_make_no_difference(
        input in input(),
        behind in prop::collection::vec(any::<u8>(), 0..20),
        sizes in prop::collection::vec(1_usize..40, 1..8),
    ) {
        let bytes = [input, behind].concat();
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = sizes.next().expect("endless");
            let (piece, others) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = others;
        }
        let (whole, used) = in_pieces([&bytes[..]]);
        let (told, taken) = in_pieces(pieces);
        prop_assert_eq!(told, whole);
        if whole.is_ok() {
            prop_assert_eq!(taken, used);
        }
    }

    #[test]
    fn every_address_arrives(source: SocketAddr, destination: SocketAddr) {
        // Flow and scope are not on the wire.
        let source = SocketAddr::new(source.ip(), source.port());
        let (to, port) = match source {
            SocketAddr::V4(_) => (IpAddr::V4(Ipv4Addr::LOCALHOST), destination.port()),
            SocketAddr::V6(_) => (IpAddr::V6(Ipv6Addr::LOCALHOST), destination.port()),
        };
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, from_port) = (source.ip(), source.port());
        let text = format!("PROXY {family} {from} {to} {from_port} {port}\r\n").into_bytes();
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let ports = [from_port.to_be_bytes(), port.to_be_bytes()].concat();
        let addresses = [octets(from), octets(to), ports].concat();
        let family = if source.is_ipv4() { INET } else { INET6 };
        for header in [text, binary(PROXY, family, &addresses, 5)] {
            let used = header.len();
            let told = Header::default().read(&header);
            prop_assert_eq!(told, Ok(Progress::Complete { source: Source::Ip(source), used }));
        }
    }
}
