//! Commands that are answered without a server: those about the client's own connection, and those to which
//! every pool has the same answer. INFO and CONFIG GET, for which servers are asked, are in `everywhere.rs`.

mod client;
mod clients;
mod login;
mod standalone;

use super::context::{After, Context};
use super::roster::USER;
use crate::protocol::redis::Resp;
use crate::protocol::redis::command::Local;
use crate::protocol::redis::scan::ArrayFrame;
use crate::protocol::redis::write;
use client::{
    get_name, import_source, no_evict, no_touch, reply, set_info, set_name_to, tracking,
    tracking_info,
};
use login::{auth, hello, reset};
use standalone::role;

/// The Redis release whose commands the table knows; clients ask for it to choose their features.
const REDIS_VERSION: &str = "7.0.0";

const SYNTAX: &str = "ERR syntax error";

const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with \
                            OPTIN or OPTOUT mode enabled";
const CLUSTER_DISABLED: &str = "ERR This instance has cluster support disabled";

pub(super) fn handle(
    context: &mut Context<'_>,
    local: Local,
    request: &[u8],
    frame: &ArrayFrame,
) -> After {
    // Bounded: the longest of these commands takes few arguments, the rest cannot matter.
    let args: Vec<&[u8]> = frame.args(request).take(16).map(|arg| arg.bytes).collect();
    // But for these, whose lists are as long as requests may be.
    let all = || -> Vec<&[u8]> { frame.args(request).map(|arg| arg.bytes).collect() };
    match local {
        Local::Ping => ping(context, &args),
        Local::Echo => context.answer(|out| write::bulk(out, args[1])),
        Local::Quit => {
            context.answer(|out| write::simple(out, "OK"));
            After::Close
        }
        Local::Auth => auth(context, &args),
        Local::Select => select(context, args[1]),
        Local::ClientCaching => context.error(NOT_TRACKING),
        Local::ClientGetRedir => integer(context, -1),
        Local::ClientImportSource => import_source(context, args[2]),
        Local::ClientInfo => clients::info(context),
        Local::ClientKill => clients::kill(context, &all()),
        Local::ClientList => clients::list(context, &all()),
        Local::ClientNoEvict => no_evict(context, args[2]),
        Local::ClientNoTouch => no_touch(context, args[2]),
        Local::ClientReply => reply(context, args[2]),
        Local::ClientTracking => tracking(context, args[2]),
        Local::ClientTrackingInfo => tracking_info(context),
        Local::ClientUnblock => clients::unblock(context, &args),
        Local::ClientGetName => get_name(context),
        Local::ClientId => integer(context, context.session.id as i64),
        Local::ClientSetInfo => set_info(context, args[2], args[3]),
        Local::ClientSetName => set_name_to(context, args[2]),
        Local::Hello => hello(context, &args),
        Local::Info => context.info(request, frame, REDIS_VERSION),
        Local::ConfigGet => context.config_get(request, frame),
        Local::Reset => reset(context),
        Local::Role => role(context),
        Local::WhoAmI => context.answer(|out| write::bulk(out, USER.as_bytes())),
        Local::ClusterDisabled => context.error(CLUSTER_DISABLED),
        Local::Ok => ok(context),
        Local::Zero => integer(context, 0),
        Local::NoElements => context.answer(|out| write::array_header(out, 0)),
        Local::NoPairs => {
            let resp = context.session.resp;
            context.answer(|out| write::map_header(out, resp, 0))
        }
    }
}

fn integer(context: &mut Context<'_>, n: i64) -> After {
    context.answer(|out| write::integer(out, n))
}

fn ok(context: &mut Context<'_>) -> After {
    context.answer(|out| write::simple(out, "OK"))
}

fn ping(context: &mut Context<'_>, args: &[&[u8]]) -> After {
    let subscriber = context.session.resp == Resp::V2 && context.is_subscriber();
    match args {
        [_] if subscriber => context.pong(b""),
        [_, message] if subscriber => context.pong(message),
        [_] => context.answer(|out| write::simple(out, "PONG")),
        [_, message] => context.answer(|out| write::bulk(out, message)),
        _ => context.error("ERR wrong number of arguments for 'ping' command"),
    }
}

/// Requests before it go to another database, over other connections, and must not be overtaken.
fn select(context: &mut Context<'_>, index: &[u8]) -> After {
    let wanted = std::str::from_utf8(index)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    let Some(wanted) = wanted else {
        return context.error("ERR value is not an integer or out of range");
    };
    let (own, most) = (context.config.redis_db, context.config.databases);
    let db = match u16::try_from(wanted) {
        _ if wanted == i64::from(own) => None,
        Ok(db) if db < most => Some(db),
        _ if most == 0 => {
            return context.error(&format!(
                "ERR DB index is out of range: this pool serves database {own} only"
            ));
        }
        _ => return context.error("ERR DB index is out of range"),
    };
    if db != context.session.db {
        if context.pipeline.pending() > 0 {
            return After::Drain;
        }
        if !context.untie() {
            return context.error("ERR SELECT cannot change the database while keys are watched");
        }
        context.session.db = db;
    }
    ok(context)
}
