//! What a single Redis says of itself to clients that ask, mostly before they start.

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
