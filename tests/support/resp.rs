//! RESP2 and RESP3 as data: building requests and reading replies.
//!
//! Written apart from the proxy's own scanner on purpose, so that the two cannot share a mistake. It is
//! not fast.

use std::fmt;

/// One reply. RESP2's null bulk string and null array and RESP3's null are all [`Value::Nil`].
#[derive(Clone, PartialEq)]
pub enum Value {
    Simple(String),
    /// Without the leading `-`.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Bool(bool),
    /// As on the wire: `,1.5` is `Double("1.5")`.
    Double(String),
    BigNumber(String),
    /// With its three-letter kind: `txt:...`.
    Verbatim(Vec<u8>),
}

impl Value {
    pub fn ok() -> Value {
        Value::Simple("OK".into())
    }

    pub fn bulk(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bulk(bytes.as_ref().to_vec())
    }

    /// An array of bulk strings.
    pub fn bulks<B: AsRef<[u8]>>(items: &[B]) -> Value {
        Value::Array(items.iter().map(Value::bulk).collect())
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// The message of an error reply; panics for any other.
    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Value::Error(message) => message,
            other => panic!("not an error reply: {other:?}"),
        }
    }
}

impl fmt::Debug for Value {
    /// Like redis-cli; long strings are cut so that a failed assertion stays readable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn bytes(f: &mut fmt::Formatter<'_>, b: &[u8]) -> fmt::Result {
            if b.len() <= 120 {
                write!(f, "\"{}\"", b.escape_ascii())
            } else {
                write!(f, "\"{}\"... ({} bytes)", b[..100].escape_ascii(), b.len())
            }
        }
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Int(n) => write!(f, ":{n}"),
            Value::Bulk(b) => bytes(f, b),
            Value::Nil => f.write_str("nil"),
            Value::Array(items) => f.debug_list().entries(items).finish(),
            Value::Map(pairs) => f
                .debug_map()
                .entries(pairs.iter().map(|(k, v)| (k, v)))
                .finish(),
            Value::Set(items) => f
                .write_str("~")
                .and_then(|()| f.debug_list().entries(items).finish()),
            Value::Push(items) => f
                .write_str(">")
                .and_then(|()| f.debug_list().entries(items).finish()),
            Value::Bool(b) => write!(f, "#{b}"),
            Value::Double(text) => write!(f, ",{text}"),
            Value::BigNumber(text) => write!(f, "({text}"),
            Value::Verbatim(b) => f.write_str("=").and_then(|()| bytes(f, b)),
        }
    }
}

/// A request as clients send it: an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Reads one reply from the front of `input`: its value and its length in bytes, `None` when more bytes
/// are needed.
///
/// # Errors
/// What is wrong when no continuation of `input` can be a reply.
pub fn parse(input: &[u8]) -> Result<Option<(Value, usize)>, String> {
    let mut at = 0;
    Ok(value(input, &mut at)?.map(|value| (value, at)))
}

fn value(input: &[u8], at: &mut usize) -> Result<Option<Value>, String> {
    let Some(line) = line(input, at)? else {
        return Ok(None);
    };
    let Some((kind, rest)) = line.split_first() else {
        return Err("an empty line".into());
    };
    let text = || String::from_utf8_lossy(rest).into_owned();
    Ok(Some(match kind {
        b'+' => Value::Simple(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Int(number(rest)?),
        b'_' => Value::Nil,
        b'#' => Value::Bool(rest == b"t"),
        b',' => Value::Double(text()),
        b'(' => Value::BigNumber(text()),
        b'$' | b'=' => {
            let length = number(rest)?;
            if length < 0 {
                return Ok(Some(Value::Nil));
            }
            let Some(body) = body(input, at, count(length)?)? else {
                return Ok(None);
            };
            if *kind == b'$' {
                Value::Bulk(body)
            } else {
                Value::Verbatim(body)
            }
        }
        b'*' | b'~' | b'>' => {
            let length = number(rest)?;
            if length < 0 {
                return Ok(Some(Value::Nil));
            }
            let Some(items) = items(input, at, count(length)?)? else {
                return Ok(None);
            };
            match kind {
                b'*' => Value::Array(items),
                b'~' => Value::Set(items),
                _ => Value::Push(items),
            }
        }
        b'%' => {
            let Some(items) = items(input, at, 2 * count(number(rest)?)?)? else {
                return Ok(None);
            };
            let mut items = items.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Value::Map(pairs)
        }
        _ => return Err(format!("not a reply: {}", line.escape_ascii())),
    }))
}

fn items(input: &[u8], at: &mut usize, count: usize) -> Result<Option<Vec<Value>>, String> {
    let mut items = Vec::new();
    for _ in 0..count {
        let Some(item) = value(input, at)? else {
            return Ok(None);
        };
        items.push(item);
    }
    Ok(Some(items))
}

fn line<'a>(input: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, String> {
    let rest = &input[*at..];
    let Some(end) = rest.iter().position(|&b| b == b'\n') else {
        return Ok(None);
    };
    let Some(line) = rest[..end].strip_suffix(b"\r") else {
        return Err(format!(
            "a line that does not end in CRLF: {}",
            rest[..end].escape_ascii()
        ));
    };
    *at += end + 1;
    Ok(Some(line))
}

fn body(input: &[u8], at: &mut usize, length: usize) -> Result<Option<Vec<u8>>, String> {
    let rest = &input[*at..];
    if rest.len() < length + 2 {
        return Ok(None);
    }
    if &rest[length..length + 2] != b"\r\n" {
        return Err(format!("no CRLF after a string of {length} bytes"));
    }
    *at += length + 2;
    Ok(Some(rest[..length].to_vec()))
}

fn number(text: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("not a number: {}", text.escape_ascii()))
}

fn count(number: i64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| format!("not a length: {number}"))
}
