//! Inline requests: a line typed into telnet becomes a RESP array. Quoting as in Redis (`sdssplitargs`).

use super::scan::ProtocolError;
use super::write;

/// Appends the RESP array for `line` to `out`; answers the number of arguments, 0 for a blank line (then
/// nothing is appended).
pub fn encode(line: &[u8], out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    let args = split(line)?;
    if !args.is_empty() {
        write::array_header(out, args.len());
        for arg in &args {
            write::bulk(out, arg);
        }
    }
    Ok(args.len())
}

fn is_space(byte: u8) -> bool {
    // C's isspace.
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut args = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Ok(args);
        }
        let mut arg = Vec::new();
        while at < line.len() && !is_space(line[at]) {
            at = match line[at] {
                b'"' => double_quoted(line, at + 1, &mut arg)?,
                b'\'' => single_quoted(line, at + 1, &mut arg)?,
                0 => return Ok(finish(args, arg)),
                plain => {
                    arg.push(plain);
                    at + 1
                }
            };
        }
        args.push(arg);
    }
}

/// A NUL byte ends the line, as it does for Redis.
fn finish(mut args: Vec<Vec<u8>>, arg: Vec<u8>) -> Vec<Vec<u8>> {
    args.push(arg);
    args
}

/// From behind the opening quote to behind the closing one, which a space or the end must follow.
fn closed(line: &[u8], after: usize) -> Result<usize, ProtocolError> {
    match line.get(after) {
        Some(&next) if !is_space(next) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(after),
    }
}

fn double_quoted(line: &[u8], mut at: usize, arg: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line.get(at) {
            None | Some(0) => return Err(ProtocolError::UnbalancedQuotes),
            Some(b'"') => return closed(line, at + 1),
            Some(b'\\') => at = escape(line, at, arg),
            Some(&plain) => {
                arg.push(plain);
                at += 1;
            }
        }
    }
}

/// One escape sequence that starts at the backslash `at`.
fn escape(line: &[u8], at: usize, arg: &mut Vec<u8>) -> usize {
    let hex = |i: usize| line.get(i).and_then(|&b| char::from(b).to_digit(16));
    match line.get(at + 1) {
        Some(b'x') => {
            if let (Some(high), Some(low)) = (hex(at + 2), hex(at + 3)) {
                arg.push((high * 16 + low) as u8);
                return at + 4;
            }
            arg.push(b'x');
        }
        Some(b'n') => arg.push(b'\n'),
        Some(b'r') => arg.push(b'\r'),
        Some(b't') => arg.push(b'\t'),
        Some(b'b') => arg.push(0x08),
        Some(b'a') => arg.push(0x07),
        Some(&other) => arg.push(other),
        None => {
            arg.push(b'\\');
            return at + 1;
        }
    }
    at + 2
}

fn single_quoted(line: &[u8], mut at: usize, arg: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line.get(at) {
            None | Some(0) => return Err(ProtocolError::UnbalancedQuotes),
            Some(b'\'') => return closed(line, at + 1),
            Some(b'\\') if line.get(at + 1) == Some(&b'\'') => {
                arg.push(b'\'');
                at += 2;
            }
            Some(&plain) => {
                arg.push(plain);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Vec<String>, ProtocolError> {
        let args = split(line.as_bytes())?;
        Ok(args.iter().map(|a| a.escape_ascii().to_string()).collect())
    }

    #[test]
    fn splits_like_redis() {
        assert_eq!(args("").unwrap(), Vec::<String>::new());
        assert_eq!(args("  \t ").unwrap(), Vec::<String>::new());
        assert_eq!(args(" SET  a b ").unwrap(), ["SET", "a", "b"]);
        assert_eq!(args(r#"set "a b" 'c d'"#).unwrap(), ["set", "a b", "c d"]);
        assert_eq!(args(r#"x "\x41\n\t\q\"" "#).unwrap(), ["x", r#"A\n\tq\""#]);
        assert_eq!(args(r"x 'it\'s' '\n'").unwrap(), ["x", r"it\'s", r"\\n"]);
        assert_eq!(args(r#"x """#).unwrap(), ["x", ""]);
        assert_eq!(args(r#"pre"quoted""#).unwrap(), ["prequoted"]);
    }

    #[test]
    fn refuses_unbalanced_quotes() {
        for line in [
            r#"a "b"#,
            "a 'b",
            r#"a "b"c"#,
            "a 'b'c",
            r#"a "b\"#,
            r#"""""#,
        ] {
            assert_eq!(args(line), Err(ProtocolError::UnbalancedQuotes), "{line}");
        }
    }

    #[test]
    fn encodes_as_a_resp_array() {
        let mut out = Vec::new();
        assert_eq!(encode(b"GET \"a b\"", &mut out), Ok(2));
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n");
        assert_eq!(encode(b"  ", &mut out), Ok(0));
    }
}
