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

/// C's isspace. It ends a quoted argument; in a plain one vertical tab and form feed mean themselves.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    // Redis works on C strings: a NUL byte ends the line.
    let end = memchr::memchr(0, line).unwrap_or(line.len());
    let line = &line[..end];
    let mut args = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        if at == line.len() {
            return Ok(args);
        }
        let mut arg = Vec::new();
        loop {
            match line.get(at) {
                None | Some(b' ' | b'\n' | b'\r' | b'\t') => break,
                Some(b'"') => {
                    at = double_quoted(line, at + 1, &mut arg)?;
                    break;
                }
                Some(b'\'') => {
                    at = single_quoted(line, at + 1, &mut arg)?;
                    break;
                }
                Some(&plain) => {
                    arg.push(plain);
                    at += 1;
                }
            }
        }
        args.push(arg);
    }
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
            None => return Err(ProtocolError::UnbalancedQuotes),
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
            None => return Err(ProtocolError::UnbalancedQuotes),
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
        let blanks = "a\x0bb \x0b\x0c\"c\"\x0bd\t";
        assert_eq!(args(blanks).unwrap(), [r"a\x0bb", "c", "d"]);
        assert_eq!(args("a \0b").unwrap(), ["a"]);
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
