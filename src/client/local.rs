//! Commands about the client's own connection, answered without a server. Replies and error texts are
//! Redis' (`networking.c`, `acl.c`), save AUTH's to one argument, which are twemproxy's.

use super::context::{After, Context, shown};
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::Local;
use crate::protocol::redis::scan::ArrayFrame;
use crate::protocol::redis::write;

/// The Redis release whose commands the table knows; clients ask for it to choose their features.
const REDIS_VERSION: &str = "7.0.0";

const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR Client sent AUTH, but no password is set";

pub(super) fn handle(
    context: &mut Context<'_>,
    local: Local,
    request: &[u8],
    frame: &ArrayFrame,
) -> After {
    // Bounded: the longest of these commands takes few arguments, the rest cannot matter.
    let args: Vec<&[u8]> = frame.args(request).take(16).map(|arg| arg.bytes).collect();
    match local {
        Local::Ping => ping(context, &args),
        Local::Echo => context.answer(|out| write::bulk(out, args[1])),
        Local::Quit => {
            context.answer(|out| write::simple(out, "OK"));
            After::Close
        }
        Local::Auth => auth(context, &args),
        Local::Select => select(context, args[1]),
        Local::ClientGetName => {
            let (name, resp) = (context.session.name.clone(), context.session.resp);
            context.answer(|out| match name.len() {
                0 => write::null(out, resp),
                _ => write::bulk(out, &name),
            })
        }
        Local::ClientId => {
            let id = context.session.id as i64;
            context.answer(|out| write::integer(out, id))
        }
        Local::ClientSetInfo => set_info(context, args[2], args[3]),
        Local::ClientSetName => match set_name(context, args[2]) {
            true => ok(context),
            false => context.error(BAD_NAME),
        },
        Local::Hello => hello(context, &args),
        Local::Info => info(context),
        Local::Reset => reset(context),
    }
}

fn ok(context: &mut Context<'_>) -> After {
    context.answer(|out| write::simple(out, "OK"))
}

fn ping(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    match args {
        [_] => context.answer(|out| write::simple(out, "PONG")),
        [_, message] => context.answer(|out| write::bulk(out, message)),
        _ => context.error("ERR wrong number of arguments for 'ping' command"),
    }
}

/// Compares in a time that depends on the lengths only.
fn same_secret(given: &[u8], wanted: &[u8]) -> bool {
    let differences = given
        .iter()
        .zip(wanted)
        .fold(0u8, |all, (a, b)| all | (a ^ b));
    given.len() == wanted.len() && differences == 0
}

/// A pool has one password and so one user, `default`.
fn credentials_fit(context: &Context<'_>, user: &[u8], password: &[u8]) -> bool {
    let secret = context.config.redis_auth.as_ref();
    secret.is_some_and(|secret| user == b"default" && same_secret(password, secret.0.as_bytes()))
}

fn auth(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    if args.len() > 3 {
        return context.error("ERR syntax error");
    }
    if context.config.redis_auth.is_none() {
        return context.error(NO_PASSWORD);
    }
    let (user, password) = match args {
        [_, user, password] => (*user, *password),
        _ => (&b"default"[..], args[1]),
    };
    let fits = credentials_fit(context, user, password);
    context.session.authenticated = fits;
    match (fits, args.len()) {
        (true, _) => ok(context),
        (false, 2) => context.error("ERR invalid password"),
        (false, _) => context.error(WRONG_PASS),
    }
}

fn select(context: &mut Context<'_>, index: &[u8]) -> After {
    let wanted = std::str::from_utf8(index)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    let only = context.config.redis_db;
    match wanted {
        Some(wanted) if wanted == i64::from(only) => ok(context),
        Some(_) => context.error(&format!(
            "ERR DB index is out of range: this pool serves database {only} only"
        )),
        None => context.error("ERR value is not an integer or out of range"),
    }
}

const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
/// A name is for logs and lists; the bound keeps an idle client small.
const MAX_NAME: usize = 1024;

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn set_name(context: &mut Context<'_>, name: &[u8]) -> bool {
    let good = is_printable(name) && name.len() <= MAX_NAME;
    if good {
        context.session.name = name.into();
    }
    good
}

/// Checked as Redis does and then forgotten: nothing shows it yet.
fn set_info(context: &mut Context<'_>, attribute: &[u8], value: &[u8]) -> After {
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

/// `HELLO [version [AUTH user password] [SETNAME name]]`
fn hello(context: &mut Context<'_>, args: &[&[u8]]) -> After {
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
        if context.config.redis_auth.is_none() {
            return context.error(NO_PASSWORD);
        }
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

/// What clients look at before they start (ioredis waits for `loading:0`); says what it speaks for.
fn info(context: &mut Context<'_>) -> After {
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

/// Back to the state of a new connection (`networking.c`, `resetCommand`).
fn reset(context: &mut Context<'_>) -> After {
    if context.session.resp != Resp::V2 && context.pipeline.pending() > 0 {
        return After::Drain;
    }
    context.session.resp = Resp::V2;
    context.session.name = Box::default();
    context.session.authenticated = context.config.redis_auth.is_none();
    context.answer(|out| write::simple(out, "RESET"))
}
