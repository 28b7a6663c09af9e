//! The ends of requests and of replies.

use std::hint::black_box;

use nuthatch::protocol::redis::inline;
use nuthatch::protocol::redis::reply::ReplyScanner;
use nuthatch::protocol::redis::scan::{Body, RequestScanner, Scan, ScanLimits};
use nuthatch::protocol::redis::write;

use super::{Case, VALUE, get, mget, set};

const REQUESTS: usize = 64;
const LARGE: usize = 64 * 1024;
/// As much of a large request as comes with one read.
const PIECE: usize = 16 * 1024;

pub(super) const LIMITS: ScanLimits = ScanLimits {
    request: 1 << 30,
    arguments: 1 << 20,
    bulk: 512 << 20,
    unauthenticated: false,
};

pub(super) fn cases() -> Vec<Case> {
    let many = (REQUESTS, "request");
    vec![
        Case::new("scan/get", many, || {
            scan((0..REQUESTS).flat_map(get).collect())
        }),
        Case::new("scan/set_64", many, || {
            scan((0..REQUESTS).flat_map(set).collect())
        }),
        Case::new("scan/mget_100", (100, "key"), || scan(mget(0, 100))),
        Case::new("scan/set_64k_in_pieces", (1, "request"), scan_pieces),
        Case::new("scan/inline", many, scan_inline),
        Case::new("reply/ok", (64, "reply"), || {
            scan_replies(b"+OK\r\n".repeat(64))
        }),
        Case::new("reply/bulk_64", (64, "reply"), || scan_replies(bulks(64))),
        Case::new("reply/array_100", (100, "element"), || {
            let mut array = b"*100\r\n".to_vec();
            array.extend(bulks(100));
            scan_replies(array)
        }),
        Case::new("reply/map_50", (50, "pair"), || {
            let mut map = b"%50\r\n".to_vec();
            for number in 0..50 {
                write::simple(&mut map, "field");
                write::integer(&mut map, number);
            }
            scan_replies(map)
        }),
    ]
}

fn bulks(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    (0..count).for_each(|_| write::bulk(&mut out, &[b'x'; VALUE]));
    out
}

/// Finds all requests in `input`.
fn scan(input: Vec<u8>) -> impl FnMut() {
    let mut scanner = RequestScanner::default();
    move || {
        let mut rest = &input[..];
        while !rest.is_empty() {
            let Ok(Scan::Complete(frame)) = scanner.scan(black_box(rest), &LIMITS) else {
                panic!("the input is complete");
            };
            rest = &rest[black_box(&frame).len..];
        }
    }
}

fn scan_pieces() -> impl FnMut() {
    let input = super::request(&[b"SET", b"key", &[b'x'; LARGE]]);
    let mut scanner = RequestScanner::default();
    move || {
        let mut here = 0;
        loop {
            here = input.len().min(here + PIECE);
            match scanner.scan(black_box(&input[..here]), &LIMITS) {
                Ok(Scan::Complete(frame)) => break assert_eq!(black_box(frame).len, input.len()),
                Ok(Scan::Incomplete(_)) => assert!(here < input.len()),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// With the RESP form that is sent on.
fn scan_inline() -> impl FnMut() {
    let lines = (0..REQUESTS).map(|n| [b"GET ", &super::key(n)[..], b"\r\n"].concat());
    let input: Vec<u8> = lines.flatten().collect();
    let mut scanner = RequestScanner::default();
    let mut form = Vec::new();
    move || {
        let mut rest = &input[..];
        while !rest.is_empty() {
            let Ok(Scan::Complete(frame)) = scanner.scan(black_box(rest), &LIMITS) else {
                panic!("the input is complete");
            };
            let Body::Inline(line) = frame.body else {
                panic!("the input is text");
            };
            form.clear();
            let arguments = inline::encode(&rest[line.start..line.end], &mut form);
            assert_eq!(arguments, Ok(2));
            black_box(&form);
            rest = &rest[frame.len..];
        }
    }
}

fn scan_replies(input: Vec<u8>) -> impl FnMut() {
    let mut scanner = ReplyScanner::default();
    move || {
        let mut rest = &input[..];
        while !rest.is_empty() {
            let piece = scanner.scan(black_box(rest)).expect("well-formed");
            assert!(piece.end);
            rest = &rest[black_box(piece).len..];
        }
    }
}
