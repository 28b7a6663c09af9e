//! CLIENT: what clients are called and say of themselves. Replies and error texts are Redis'
//! (`networking.c`).

use super::{SYNTAX, ok};
use crate::client::about::{MAX_ATTRIBUTE, is_printable};
use crate::client::context::{After, Context, shown};
use crate::client::pipeline::Mute;
use crate::protocol::redis::write;

pub(super) const BAD_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";

pub(super) fn set_name(context: &mut Context<'_>, name: &[u8]) -> bool {
    let good = is_printable(name) && name.len() <= MAX_ATTRIBUTE;
    if good && !(name.is_empty() && context.session.about.is_none()) {
        context.session.about().name = name.into();
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
    let (pipeline, buffers) = (&mut *context.pipeline, &mut *context.buffers);
    let resp = context.session.resp;
    let about = context.session.about.as_ref();
    pipeline.answer(buffers, |out| match about {
        Some(about) if !about.name.is_empty() => write::bulk(out, &about.name),
        _ => write::null(out, resp),
    });
    After::Continue
}

/// What ON or OFF says; `None`: it is neither.
fn switch(word: &[u8]) -> Option<bool> {
    let words = [(&b"on"[..], true), (b"off", false)];
    let mut words = words.into_iter();
    let found = words.find(|(known, _)| known.eq_ignore_ascii_case(word));
    found.map(|(_, on)| on)
}

/// Turns off what is never on. On it goes not, as `why` says.
fn only_off(context: &mut Context<'_>, name: &str, word: &[u8], why: &str) -> After {
    match switch(word) {
        Some(false) => ok(context),
        Some(true) => context.error(&format!("ERR unsupported option 'ON' of '{name}': {why}")),
        None => context.error(SYNTAX),
    }
}

pub(super) fn no_evict(context: &mut Context<'_>, word: &[u8]) -> After {
    let Some(on) = switch(word) else {
        return context.error(SYNTAX);
    };
    if on || context.session.about.is_some() {
        context.session.about().no_evict = on;
    }
    ok(context)
}

pub(super) fn no_touch(context: &mut Context<'_>, word: &[u8]) -> After {
    let why = "clients share connections to servers, which would no longer see anybody use a key";
    only_off(context, "client|no-touch", word, why)
}

pub(super) fn tracking(context: &mut Context<'_>, word: &[u8]) -> After {
    let why = "clients share connections to servers, which would not know whom to tell of a change";
    only_off(context, "client|tracking", word, why)
}

/// As of a client that does not track.
pub(super) fn tracking_info(context: &mut Context<'_>) -> After {
    let resp = context.session.resp;
    context.answer(|out| {
        write::map_header(out, resp, 3);
        write::bulk(out, b"flags");
        write::set_header(out, resp, 1);
        write::bulk(out, b"off");
        write::bulk(out, b"redirect");
        write::integer(out, -1);
        write::bulk(out, b"prefixes");
        write::array_header(out, 0);
    })
}

/// Valkey's: of a server that does not import.
pub(super) fn import_source(context: &mut Context<'_>, word: &[u8]) -> After {
    match switch(word) {
        Some(false) => ok(context),
        Some(true) => context.error("ERR Server is not in import mode"),
        None => context.error(SYNTAX),
    }
}

/// ON, OFF, SKIP: only ON has a reply.
pub(super) fn reply(context: &mut Context<'_>, mode: &[u8]) -> After {
    let mute = &mut context.pipeline.mute;
    if mode.eq_ignore_ascii_case(b"on") {
        *mute = Mute::None;
        return ok(context);
    } else if mode.eq_ignore_ascii_case(b"off") {
        *mute = Mute::All;
    } else if !mode.eq_ignore_ascii_case(b"skip") {
        return context.error(SYNTAX);
    } else if *mute != Mute::All {
        *mute = Mute::Next;
    }
    After::Continue
}

/// LIB-NAME and LIB-VER.
pub(super) fn set_info(context: &mut Context<'_>, attribute: &[u8], value: &[u8]) -> After {
    let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        let attribute = shown(attribute);
        return context.error(&format!("ERR Unrecognized option '{attribute}'"));
    }
    if !is_printable(value) {
        let attribute = shown(attribute);
        return context.error(&format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        ));
    }
    if value.len() > MAX_ATTRIBUTE {
        let attribute = shown(attribute);
        return context.error(&format!(
            "ERR {attribute} is longer than {MAX_ATTRIBUTE} bytes"
        ));
    }
    let about = context.session.about();
    match is_name {
        true => about.lib_name = value.into(),
        false => about.lib_ver = value.into(),
    }
    ok(context)
}
