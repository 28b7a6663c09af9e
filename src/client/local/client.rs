//! CLIENT: what clients are called and say of themselves. Replies and error texts are Redis'
//! (`networking.c`).

use super::ok;
use crate::client::context::{After, Context, shown};
use crate::protocol::redis::write;

pub(super) const BAD_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";
/// A name is for logs and lists; the bound keeps an idle client small.
const MAX_NAME: usize = 1024;

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

pub(super) fn set_name(context: &mut Context<'_>, name: &[u8]) -> bool {
    let good = is_printable(name) && name.len() <= MAX_NAME;
    if good {
        context.session.name = name.into();
    }
    good
}

pub(super) fn set_name_to(context: &mut Context<'_>, name: &[u8]) -> After {
    match set_name(context, name) {
        true => ok(context),
        false => context.error(BAD_NAME),
    }
}

pub(super) fn get_name(context: &mut Context<'_>) -> After {
    let (name, resp) = (context.session.name.clone(), context.session.resp);
    context.answer(|out| match name.len() {
        0 => write::null(out, resp),
        _ => write::bulk(out, &name),
    })
}

/// Checked as Redis does and then forgotten: nothing shows it yet.
pub(super) fn set_info(context: &mut Context<'_>, attribute: &[u8], value: &[u8]) -> After {
    let known = [&b"lib-name"[..], b"lib-ver"];
    if !known
        .iter()
        .any(|name| name.eq_ignore_ascii_case(attribute))
    {
        let attribute = shown(attribute);
        return context.error(&format!("ERR Unrecognized option '{attribute}'"));
    }
    if !is_printable(value) {
        let attribute = shown(attribute);
        return context.error(&format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        ));
    }
    ok(context)
}
