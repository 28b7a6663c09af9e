//! Keys from a file or a pipe, one per line, in constant memory however many there are.

use std::io::{self, BufRead, BufReader, Read};

/// What Redis takes for a key.
const LONGEST: usize = 512 << 20;

/// Large enough that the system calls do not count.
const BUFFER: usize = 1 << 20;

pub(super) fn buffered(input: impl Read) -> impl BufRead {
    BufReader::with_capacity(BUFFER, input)
}

/// Calls `take` with each line, of any bytes, without its end: LF or CR LF. The last line's end may be
/// missing; an empty line is the empty key. Answers how many there were.
///
/// # Errors
/// Those of `input`, and a line that is longer than any key.
pub(super) fn each(input: &mut impl BufRead, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut count = 0;
    let mut begun = Vec::new();
    loop {
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            filled => filled?,
        };
        if bytes.is_empty() {
            break;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            if begun.is_empty() {
                take(without_return(line));
            } else {
                begun.extend_from_slice(line);
                take(without_return(&begun));
                begun.clear();
            }
            count += 1;
            start = end + 1;
        }
        begun.extend_from_slice(&bytes[start..]);
        if begun.len() > LONGEST {
            let number = count + 1;
            let what = format!("line {number} is longer than any key");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let used = bytes.len();
        input.consume(used);
    }
    if !begun.is_empty() {
        take(&begun);
        count += 1;
    }
    Ok(count)
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(input: impl Read, buffer: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let count = each(&mut BufReader::with_capacity(buffer, input), |key| {
            keys.push(key.to_vec());
        });
        assert_eq!(count.expect("memory can be read"), keys.len() as u64);
        keys
    }

    #[test]
    fn lines_are_keys_whatever_ends_them() {
        let text = b"one\ntwo\r\n\n\xff\x00\tthree\r\r\nlast\r";
        let keys: [&[u8]; 5] = [b"one", b"two", b"", b"\xff\x00\tthree\r", b"last\r"];
        assert_eq!(read(&text[..], 4096), keys);
        assert_eq!(read(&b""[..], 4096).len(), 0);
        assert_eq!(read(&b"\n"[..], 4096), [b""]);
    }

    #[test]
    fn a_line_that_is_no_key_is_refused_before_it_fills_the_memory() {
        let endless = io::repeat(b'x');
        let error = each(&mut buffered(endless), |_| {}).expect_err("never ends");
        assert_eq!(error.to_string(), "line 1 is longer than any key");
    }

    proptest! {
        #[test]
        fn the_buffer_does_not_matter(
            text in prop::collection::vec(prop::sample::select(&b"ab\r\n"[..]), 0..60), buffer in 1usize..9
        ) {
            prop_assert_eq!(read(&text[..], buffer), read(&text[..], 4096));
        }
    }
}
