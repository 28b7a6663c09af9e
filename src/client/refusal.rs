//! Requests that are answered with an error, and why: no such command, not so many arguments, not offered.

use super::context::{After, Context, SHOWN_BYTES, shown};
use crate::protocol::redis::command::{Class, Command, Policy, Transaction};
use crate::protocol::redis::scan::ArrayFrame;

impl Context<'_> {
    #[cold]
    pub(super) fn refuse(&mut self, command: &Command, reason: &str) -> After {
        let name = command.name;
        self.error(&format!("ERR unsupported command '{name}': {reason}"))
    }

    #[cold]
    pub(super) fn wrong_arity(&mut self, command: &Command) -> After {
        if command.policy == Policy::Transaction(Transaction::Exec) {
            // It ends the transaction all the same (`server.c`, `rejectCommand`).
            self.drop_transaction();
            return self.error(
                "EXECABORT Transaction discarded because of: \
                 wrong number of arguments for 'exec' command",
            );
        }
        let name = command.name;
        self.error(&format!(
            "ERR wrong number of arguments for '{name}' command"
        ))
    }

    /// Redis' words (`server.c`, `commandCheckExistence`).
    #[cold]
    pub(super) fn unknown_subcommand(
        &mut self,
        container: &Command,
        bytes: &[u8],
        frame: &ArrayFrame,
    ) -> After {
        self.class = Class::Unknown;
        let word = shown(frame.arg(bytes, 1));
        let container = container.name.to_ascii_uppercase();
        self.error(&format!(
            "ERR unknown subcommand '{word}'. Try {container} HELP."
        ))
    }

    /// Redis' words (`server.c`, `rejectCommandFormat`); HTTP ends the connection as there.
    #[cold]
    pub(super) fn unknown(&mut self, bytes: &[u8], frame: &ArrayFrame) -> After {
        let name = frame.arg(bytes, 0);
        if [&b"post"[..], b"host:"]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(name))
        {
            self.error("ERR this is a Redis port and the request looks like HTTP");
            return After::Close;
        }
        let mut shown_args = String::new();
        for arg in frame.args(bytes).skip(1) {
            let Some(room @ 1..) = SHOWN_BYTES.checked_sub(shown_args.len()) else {
                break;
            };
            let cut = &arg.bytes[..arg.bytes.len().min(room)];
            shown_args.push_str(&format!("'{}' ", shown(cut)));
        }
        let name = shown(name);
        self.error(&format!(
            "ERR unknown command '{name}', with args beginning with: {shown_args}"
        ))
    }
}
