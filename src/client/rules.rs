//! What becomes of a request in a pool that has rules about commands: the name may be another than Redis',
//! the command may not be allowed. Pools without rules do not come here.

use bytes::Bytes;

use super::context::{After, Context, Request};
use super::source::rescan;
use crate::buffer::SHARE_FROM;
use crate::config::{Denial, Found, Rules};
use crate::protocol::redis::command::Command;
use crate::protocol::redis::scan::ArrayFrame;
use crate::protocol::redis::write;

impl Context<'_> {
    /// As [`Context::handle`].
    #[inline(never)]
    pub(super) fn handle_by_rules(
        &mut self,
        rules: &Rules,
        request: Request<'_>,
        frame: &ArrayFrame,
    ) -> After {
        let bytes = request.bytes();
        let (command, renamed) = match rules.find(frame.arg(bytes, 0)) {
            Found::Unknown => match self.learned(frame.arg(bytes, 0)) {
                Some(command) => (command, false),
                None => return self.unknown(bytes, frame),
            },
            Found::Known(command) => (command, false),
            Found::Renamed(command) => (command, true),
        };
        if let Some(denial) = self.denial(rules, command, bytes, frame) {
            return denial;
        }
        if !renamed {
            return self.handle_as(command, request, frame);
        }
        let whole = rename(command.name, bytes, frame);
        match rescan(&whole) {
            Some(frame) if whole.len() >= SHARE_FROM => {
                self.handle_as(command, Request::Owned(Bytes::from(whole)), &frame)
            }
            Some(frame) => self.handle_as(command, Request::Borrowed(&whole), &frame),
            None => self.error("ERR Protocol error: the request cannot be renamed"),
        }
    }

    /// The answer to a request whose command is not allowed. As in Redis, one that is wrong is told that
    /// first, and a client that has not authenticated learns no rules.
    fn denial(
        &mut self,
        rules: &Rules,
        command: &'static Command,
        bytes: &[u8],
        frame: &ArrayFrame,
    ) -> Option<After> {
        let word = (frame.argc > 1).then(|| frame.arg(bytes, 1));
        let command = command.resolve(word)?;
        let denial = rules.denial(command)?;
        if !self.session.authenticated || !command.arity_ok(frame.argc) {
            return None;
        }
        let option = match denial {
            Denial::Denied => "deny_commands",
            Denial::NotAllowed => "allow_commands",
        };
        self.class = command.class;
        self.timing.stats(self.pool).requests_denied.add(1);
        let name = command.name;
        Some(self.error(&format!(
            "NOPERM this pool does not allow the '{name}' command, see {option}"
        )))
    }
}

/// The request with its command's own name.
fn rename(name: &str, bytes: &[u8], frame: &ArrayFrame) -> Vec<u8> {
    let given = frame.args(bytes).next();
    let rest = &bytes[given.map_or(bytes.len(), |given| given.outer.end)..];
    let mut whole = Vec::with_capacity(rest.len() + 64);
    write::array_header(&mut whole, frame.argc);
    write::bulk(&mut whole, name.as_bytes());
    whole.extend_from_slice(rest);
    whole
}
