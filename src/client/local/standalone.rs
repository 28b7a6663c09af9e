//! What a single Redis says of itself to clients that ask, mostly before they start.

use super::REDIS_VERSION;
use crate::client::context::{After, Context};
use crate::protocol::redis::write;

/// As HELLO says: a master, and no replica that a client could see.
pub(super) fn role(context: &mut Context<'_>) -> After {
    context.answer(|out| {
        write::array_header(out, 3);
        write::bulk(out, b"master");
        write::integer(out, 0);
        write::array_header(out, 0);
    })
}

/// What clients look at before they start (ioredis waits for `loading:0`); says what it speaks for.
pub(super) fn info(context: &mut Context<'_>) -> After {
    let text = format!(
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\n\
         nuthatch_version:{}\r\n\r\n# Persistence\r\nloading:0\r\n\r\n\
         # Replication\r\nrole:master\r\n\r\n\
         # Nuthatch\r\npool:{}\r\nservers:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        context.config.name,
        context.config.live_count(),
    );
    context.answer(|out| write::bulk(out, text.as_bytes()))
}
