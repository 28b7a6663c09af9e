//! The request scanner: any split, any bytes, any limits; valid requests as `redis-protocol` reads them.

use proptest::prelude::*;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use super::scan::*;
use super::write;

const LIMITS: ScanLimits = ScanLimits {
    request: 1 << 40,
    arguments: i32::MAX as u32,
    bulk: MAX_BULK,
    unauthenticated: false,
};

/// What a stream of requests means: their arguments (a line as one), and the error that ends it.
type Meaning = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

fn arguments(request: &[u8], frame: &Frame) -> Vec<Vec<u8>> {
    match frame.body {
        Body::Nothing => Vec::new(),
        Body::Inline(span) => vec![request[span.start..span.end].to_vec()],
        Body::Array(array) => {
            let args: Vec<_> = array.args(request).map(|arg| arg.bytes.to_vec()).collect();
            assert_eq!(args.len(), array.argc);
            for (index, arg) in args.iter().enumerate() {
                assert_eq!(array.arg(request, index), arg);
            }
            assert_eq!(array.arg(request, array.argc), b"");
            let outer = array.args(request).map(|arg| arg.outer);
            let end = outer.fold(array.first, |at, span| {
                assert_eq!(span.start, at, "arguments lie side by side");
                span.end
            });
            assert_eq!(end, frame.len);
            args
        }
    }
}

/// Reads `input` as it comes in pieces of `sizes`, over and over.
fn meaning(input: &[u8], sizes: &[usize], limits: &ScanLimits) -> Meaning {
    let mut scanner = RequestScanner::default();
    let mut requests = Vec::new();
    let (mut start, mut end) = (0, 0);
    // What Incomplete said of the request at `start`.
    let mut most_claimed = 0;
    let mut sizes = sizes.iter().cycle();
    loop {
        let buffer = &input[start..end];
        match scanner.scan(buffer, limits) {
            Ok(Scan::Complete(frame)) => {
                assert!(frame.len > 0 && frame.len <= buffer.len());
                assert!(most_claimed <= frame.len, "claimed more than there was");
                requests.push(arguments(&buffer[..frame.len], &frame));
                start += frame.len;
                most_claimed = 0;
            }
            Ok(Scan::Incomplete(need)) => {
                assert!(need > buffer.len(), "claimed what is here already");
                most_claimed = most_claimed.max(need);
                if end == input.len() {
                    return (requests, None);
                }
                let size = sizes.next().copied().unwrap_or(usize::MAX);
                end = input.len().min(end.saturating_add(size));
            }
            Err(error) => return (requests, Some(error)),
        }
    }
}

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    write::array_header(&mut out, args.len());
    args.iter().for_each(|arg| write::bulk(&mut out, arg));
    out
}

fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let argument = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 90..120),
    ];
    prop::collection::vec(argument, 1..8)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..20, 1..6)
}

/// Bytes that come near to requests.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        4 => prop::sample::select(vec![
            "*", "$", "-", "0", "1", "2", "3", "\r\n", "\r\n", "\r", "\n", "x", " ", "\"", "'", "\\x4",
            "*1\r\n", "*2\r\n", "$1\r\n", "$3\r\nGET\r\n", "*1\r\n$4\r\nPING\r\n", "*-1\r\n", "ping\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(fragment, 0..16).prop_map(|fragments| fragments.concat())
}

/// What the limits say of a well-formed request, argument by argument as they arrive.
fn verdict(args: &[Vec<u8>], limits: &ScanLimits) -> Option<ProtocolError> {
    if args.len() as u64 > u64::from(limits.arguments) {
        return Some(match limits.unauthenticated {
            true => ProtocolError::UnauthenticatedCount,
            false => ProtocolError::TooManyArguments,
        });
    }
    let mut len = format!("*{}\r\n", args.len()).len() as u64;
    for arg in args {
        if arg.len() as u64 > limits.bulk {
            return Some(match limits.unauthenticated {
                true => ProtocolError::UnauthenticatedLength,
                false => ProtocolError::ArgumentTooLarge,
            });
        }
        len += (format!("${}\r\n", arg.len()).len() + arg.len() + 2) as u64;
        if len > limits.request {
            return Some(ProtocolError::RequestTooLarge);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_read_as_redis_protocol_reads_them_at_any_split(
        requests in prop::collection::vec(request(), 1..5), sizes in sizes(),
    ) {
        let input: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
        let mut rest = &input[..];
        for request in &requests {
            let (frame, len) = decode(rest).unwrap().expect("a whole request");
            let bulks = request.iter().cloned().map(OwnedFrame::BulkString).collect();
            prop_assert_eq!(frame, OwnedFrame::Array(bulks));
            rest = &rest[len..];
        }
        prop_assert_eq!(meaning(&input, &sizes, &LIMITS), (requests, None));
    }

    #[test]
    fn any_bytes_mean_the_same_at_any_split(input in almost(), sizes in sizes()) {
        let whole = meaning(&input, &[usize::MAX], &LIMITS);
        prop_assert_eq!(&meaning(&input, &sizes, &LIMITS), &whole);
        prop_assert_eq!(&meaning(&input, &[1], &LIMITS), &whole);
    }

    #[test]
    fn limits_hold_at_any_split(
        args in request(), sizes in sizes(),
        arguments in 1u32..9, bulk in 0u64..130, request in 10u64..400, unauthenticated in any::<bool>(),
    ) {
        let limits = ScanLimits { request, arguments, bulk, unauthenticated };
        let input = encode(&args);
        let wanted = match verdict(&args, &limits) {
            Some(error) => (Vec::new(), Some(error)),
            None => (vec![args], None),
        };
        prop_assert_eq!(meaning(&input, &sizes, &limits), wanted);
    }
}

#[test]
fn a_claimed_argument_is_known_to_be_needed_at_once() {
    let need = |input: &[u8]| match RequestScanner::default().scan(input, &LIMITS) {
        Ok(Scan::Incomplete(need)) => need,
        other => panic!("{other:?}"),
    };
    assert_eq!(need(b"*1\r\n$1000000\r\n"), 14 + 1_000_000 + 2);
    // Two further arguments take at least "$0\r\n\r\n" each.
    assert_eq!(need(b"*3\r\n$3\r\nS"), 4 + 9 + 12);
    assert_eq!(need(b"*3\r\n$3\r\nSET\r\n"), 4 + 9 + 12);
}

#[test]
fn lines_without_an_end_are_refused_at_64_kilobytes_at_any_split() {
    const MOST: usize = 64 * 1024;
    type Case = (&'static [u8], u8, ProtocolError);
    let cases: [Case; 3] = [
        (b"", b'x', ProtocolError::InlineTooLong),
        (b"*", b'1', ProtocolError::CountTooLong),
        (b"*1\r\n$", b'1', ProtocolError::LengthTooLong),
    ];
    for (front, fill, error) in cases {
        let mut input = front.to_vec();
        input.resize(front.len() + MOST - 1, fill);
        for sizes in [&[usize::MAX][..], &[16 * 1024], &[5, 30_000]] {
            assert_eq!(meaning(&input, sizes, &LIMITS), (Vec::new(), None));
            let longer = [&input[..], &[fill, fill]].concat();
            assert_eq!(meaning(&longer, sizes, &LIMITS).1, Some(error));
        }
    }
    let mut line = vec![b'x'; MOST - 1];
    line.push(b'\n');
    let (requests, error) = meaning(&line, &[4096], &LIMITS);
    assert_eq!((requests[0][0].len(), error), (MOST - 1, None));
}
