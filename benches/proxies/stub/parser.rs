//! Finds the requests in a stream of bytes without keeping it: of a value only its length matters.

/// Longest prefix of an argument that is looked at: a command's name, or a key's beginning.
const HEAD: usize = 24;
/// Longer lines are no request's.
const MAX_LINE: usize = 32;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A request of so many arguments, its name included, begins.
    Request(usize),
    /// The beginning of the argument with this number; 0 is the name.
    Argument(usize, &'a [u8]),
    /// The request is complete.
    End,
}

#[derive(Debug, Default)]
pub struct Parser {
    /// A line that has not ended yet.
    line: Vec<u8>,
    /// Arguments of the request, and how many have begun.
    arguments: usize,
    begun: usize,
    /// Bytes of the current argument that are still to come, its line end included.
    left: usize,
    head: Vec<u8>,
}

impl Parser {
    /// Calls `found` for all that `input` completes.
    ///
    /// # Errors
    /// If it is no request.
    pub fn feed(&mut self, mut input: &[u8], mut found: impl FnMut(Found)) -> Result<(), String> {
        while !input.is_empty() {
            if self.left > 0 {
                input = self.body(input, &mut found);
            } else if self.line.is_empty()
                && let Some((kind, number, rest)) = complete_line(input)
            {
                self.begin(kind, number, &mut found)?;
                input = rest;
            } else {
                input = self.partial(input, &mut found)?;
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        kind: u8,
        number: usize,
        found: &mut impl FnMut(Found),
    ) -> Result<(), String> {
        match kind {
            b'*' if self.begun == self.arguments && number > 0 => {
                (self.arguments, self.begun) = (number, 0);
                found(Found::Request(number));
            }
            b'$' if self.begun < self.arguments => {
                self.begun += 1;
                self.left = number + 2;
                self.head.clear();
            }
            _ => return Err(format!("{:?} {number} is out of place", char::from(kind))),
        }
        Ok(())
    }

    fn body<'a>(&mut self, input: &'a [u8], found: &mut impl FnMut(Found)) -> &'a [u8] {
        let (part, rest) = input.split_at(self.left.min(input.len()));
        let whole = part.len() == self.left && self.head.is_empty();
        if whole {
            // The usual case, without a copy. A head is empty only if nothing has come of the argument.
            let end = (part.len() - 2).min(HEAD);
            self.left = 0;
            found(Found::Argument(self.begun - 1, &part[..end]));
        } else {
            let room = (HEAD - self.head.len()).min(part.len());
            self.head.extend_from_slice(&part[..room]);
            self.left -= part.len();
            if self.left == 0 {
                // A short argument's line end may be in it.
                let text = self.head.strip_suffix(b"\r\n").unwrap_or(&self.head);
                found(Found::Argument(self.begun - 1, text));
            }
        }
        if self.left == 0 && self.begun == self.arguments {
            found(Found::End);
        }
        rest
    }

    /// A line that begins in one piece of input and ends in another.
    fn partial<'a>(
        &mut self,
        input: &'a [u8],
        found: &mut impl FnMut(Found),
    ) -> Result<&'a [u8], String> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(input.len(), |end| end + 1);
        self.line.extend_from_slice(&input[..taken]);
        if self.line.len() > MAX_LINE {
            return Err("a line is too long".to_owned());
        }
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            let (kind, number, _) = complete_line(&line).ok_or("a line is no number")?;
            self.begin(kind, number, found)?;
        }
        Ok(&input[taken..])
    }
}

/// The kind and number of the line at the beginning of `input`, and what is behind it.
fn complete_line(input: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (kind, mut rest) = input.split_first()?;
    let mut number = 0usize;
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'0'..=b'9' => number = number.wrapping_mul(10) + usize::from(byte - b'0'),
            b'\r' => return Some((*kind, number, rest.strip_prefix(b"\n")?)),
            _ => return None,
        }
    }
}
