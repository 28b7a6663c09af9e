//! Writing RESP. Appends to a buffer, never fails.

use super::Resp;

/// Decimal digits without going through `fmt`.
pub fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn header(out: &mut Vec<u8>, kind: u8, n: u64) {
    out.push(kind);
    number(out, n);
    out.extend_from_slice(b"\r\n");
}

pub fn array_header(out: &mut Vec<u8>, n: usize) {
    header(out, b'*', n as u64);
}

/// RESP3 only.
pub fn push_header(out: &mut Vec<u8>, n: usize) {
    header(out, b'>', n as u64);
}

/// A map of `pairs` pairs; RESP2 knows only the flat array.
pub fn map_header(out: &mut Vec<u8>, resp: Resp, pairs: usize) {
    match resp {
        Resp::V2 => header(out, b'*', 2 * pairs as u64),
        Resp::V3 => header(out, b'%', pairs as u64),
    }
}

/// A set of `n` elements; RESP2 knows only the array.
pub fn set_header(out: &mut Vec<u8>, resp: Resp, n: usize) {
    header(out, if resp == Resp::V3 { b'~' } else { b'*' }, n as u64);
}

pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A bulk string that is a number.
pub fn bulk_number(out: &mut Vec<u8>, n: u64) {
    let mut digits = Vec::with_capacity(20);
    number(&mut digits, n);
    bulk(out, &digits);
}

/// Text for people: verbatim, where the protocol has that.
pub fn text(out: &mut Vec<u8>, resp: Resp, text: &str) {
    match resp {
        Resp::V2 => bulk(out, text.as_bytes()),
        Resp::V3 => {
            header(out, b'=', "txt:".len() as u64 + text.len() as u64);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

pub fn integer(out: &mut Vec<u8>, n: i64) {
    out.push(b':');
    if n < 0 {
        out.push(b'-');
    }
    number(out, n.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

pub fn null(out: &mut Vec<u8>, resp: Resp) {
    out.extend_from_slice(match resp {
        Resp::V2 => b"$-1\r\n",
        Resp::V3 => b"_\r\n",
    });
}

pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// `text` starts with the error's code word, e.g. `ERR` or `CROSSSLOT`.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

/// CR and LF would end the reply early and shift all that follow: they become spaces, as in Redis.
fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(
        text.bytes()
            .map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b }),
    );
    out.extend_from_slice(b"\r\n");
}
