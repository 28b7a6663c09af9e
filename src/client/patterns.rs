//! Options with patterns of keys (SORT's BY and GET): the server makes names of them and looks those up, which
//! it does where the names do not live, too.

use super::context::Context;
use crate::protocol::redis::command::{Command, Keys};
use crate::protocol::redis::scan::ArrayFrame;

impl Context<'_> {
    /// The error for a request with a pattern whose keys need not all live on `server`.
    #[cold]
    pub(super) fn stray_pattern(
        &mut self,
        bytes: &[u8],
        frame: &ArrayFrame,
        command: &Command,
        server: u16,
    ) -> Option<String> {
        let Keys::Store(options) = command.keys else {
            return None;
        };
        let arguments = frame.args(bytes).map(|arg| arg.bytes);
        for (option, pattern) in options.patterns_in(arguments) {
            if !self.stays_on(server, pattern) {
                // Redis' words in a cluster (`sort.c`, `sortCommandGeneric`).
                return Some(format!(
                    "CROSSSLOT {} option of {} denied when keys formed by the pattern may be on different servers",
                    option.to_ascii_uppercase(),
                    command.name.to_ascii_uppercase(),
                ));
            }
        }
        None
    }

    /// Do all keys of the pattern live on `server`? What takes the place of the `*` may have a hash tag in it,
    /// so only what is before that is sure to place the key.
    fn stays_on(&mut self, server: u16, pattern: &[u8]) -> bool {
        // Nothing is looked up (`sort.c`, `lookupKeyByPattern`).
        let Some(star) = memchr::memchr(b'*', pattern) else {
            return true;
        };
        let pool = &self.backends.topology().pools[usize::from(self.pool)];
        if pool.is_single() {
            return true;
        }
        let before = &pattern[..star];
        pool.places_all(before) && self.backends.route(self.pool, before).ok() == Some(server)
    }
}
