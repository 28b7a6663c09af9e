//! Who a client is and how it is talked to: AUTH, HELLO, RESET. Replies and error texts are Redis'
//! (`acl.c`, `networking.c`), save AUTH's to one argument, which are twemproxy's.

use super::client::{BAD_NAME, set_name};
use super::{REDIS_VERSION, SYNTAX, ok};
use crate::backend::Kind;
use crate::client::context::{After, Context, shown};
use crate::client::pipeline::Mute;
use crate::client::roster::USER;
use crate::protocol::redis::Resp;
use crate::protocol::redis::write;

const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR Client sent AUTH, but no password is set";

/// Compares in a time that depends on the lengths only.
fn same_secret(given: &[u8], wanted: &[u8]) -> bool {
    let differences = given
        .iter()
        .zip(wanted)
        .fold(0u8, |all, (a, b)| all | (a ^ b));
    given.len() == wanted.len() && differences == 0
}

/// A pool has one password and so one user. Without a password any will do, as for a user of Redis that is
/// `nopass`.
fn credentials_fit(context: &Context<'_>, user: &[u8], password: &[u8]) -> bool {
    let secret = context.config.redis_auth.as_ref();
    user == USER.as_bytes()
        && secret.is_none_or(|secret| same_secret(password, secret.0.as_bytes()))
}

pub(super) fn auth(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    if args.len() > 3 {
        return context.error(SYNTAX);
    }
    let (user, password) = match args {
        [_, user, password] => (*user, *password),
        _ if context.config.redis_auth.is_none() => return context.error(NO_PASSWORD),
        _ => (USER.as_bytes(), args[1]),
    };
    let fits = credentials_fit(context, user, password);
    context.session.authenticated = fits || context.config.redis_auth.is_none();
    match (fits, args.len()) {
        (true, _) => ok(context),
        (false, 2) => context.error("ERR invalid password"),
        (false, _) => context.error(WRONG_PASS),
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(super) fn hello(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    let resp = match args.get(1) {
        None => context.session.resp,
        Some(&b"2") => Resp::V2,
        Some(&b"3") => Resp::V3,
        Some(text) if text.iter().all(u8::is_ascii_digit) => {
            return context.error("NOPROTO unsupported protocol version");
        }
        Some(_) => {
            return context.error("ERR Protocol version is not an integer or out of range");
        }
    };
    // Requests before this one are on connections of the old version; those behind it must not overtake.
    if resp != context.session.resp && context.pipeline.pending() > 0 {
        return After::Drain;
    }
    if resp != context.session.resp && !context.untie() {
        return context.error("ERR HELLO cannot change the protocol while keys are watched");
    }
    let (mut login, mut name) = (None, None);
    let mut rest = args.get(2..).unwrap_or(&[]);
    loop {
        rest = match rest {
            [] => break,
            [word, user, password, rest @ ..] if word.eq_ignore_ascii_case(b"auth") => {
                login = Some((*user, *password));
                rest
            }
            [word, given, rest @ ..] if word.eq_ignore_ascii_case(b"setname") => {
                name = Some(*given);
                rest
            }
            [word, ..] => {
                let word = shown(word);
                return context.error(&format!("ERR Syntax error in HELLO option '{word}'"));
            }
        };
    }
    if let Some((user, password)) = login {
        if !credentials_fit(context, user, password) {
            return context.error(WRONG_PASS);
        }
        context.session.authenticated = true;
    }
    if !context.session.authenticated {
        return context.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        );
    }
    if name.is_some_and(|name| !set_name(context, name)) {
        return context.error(BAD_NAME);
    }
    context.session.resp = resp;
    greet(context, resp)
}

fn greet(context: &mut Context<'_>, resp: Resp) -> After {
    let id = context.session.id as i64;
    context.answer(|out| {
        write::map_header(out, resp, 7);
        let mut text = |key: &str, value: &str| {
            write::bulk(out, key.as_bytes());
            write::bulk(out, value.as_bytes());
        };
        text("server", "redis");
        text("version", REDIS_VERSION);
        write::bulk(out, b"proto");
        write::integer(out, if resp == Resp::V3 { 3 } else { 2 });
        write::bulk(out, b"id");
        write::integer(out, id);
        let mut text = |key: &str, value: &str| {
            write::bulk(out, key.as_bytes());
            write::bulk(out, value.as_bytes());
        };
        text("mode", "standalone");
        text("role", "master");
        write::bulk(out, b"modules");
        write::array_header(out, 0);
    })
}

/// Back to the state of a new connection (`networking.c`, `resetCommand`).
pub(super) fn reset(context: &mut Context<'_>) -> After {
    let plain = Kind::of(Resp::V2);
    let alone = context.session.kind() == plain && context.session.special.is_none();
    if !alone && context.pipeline.pending() > 0 {
        return After::Drain;
    }
    context.drop_transaction();
    context.untie();
    context.end_subscriptions();
    // The reply to this request alone stays skipped.
    if context.pipeline.mute == Mute::All {
        context.pipeline.mute = Mute::None;
    }
    context.session.resp = Resp::V2;
    context.session.db = None;
    if let Some(about) = &mut context.session.about {
        about.name = Box::default();
        about.no_evict = false;
    }
    context.session.authenticated = context.config.redis_auth.is_none();
    context.answer(|out| write::simple(out, "RESET"))
}
