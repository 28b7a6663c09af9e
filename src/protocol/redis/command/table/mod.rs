//! The table itself, one line per command, in Redis' groups. Names, arities, flags and the version that
//! introduced a command are those `COMMAND` and `COMMAND DOCS` tell; `tests/commands.rs` compares them with a
//! running server.

mod arrays;
mod collections;
mod connection;
mod generic;
mod make;
mod modules;
mod server;
mod streams;
mod strings;

use super::Command;

pub(super) const GROUPS: &[&[Command]] = &[
    generic::KEYS,
    strings::STRINGS,
    strings::BITMAPS,
    collections::HASHES,
    collections::LISTS,
    collections::SETS,
    collections::SORTED_SETS,
    strings::HYPERLOGLOGS,
    collections::GEOSPATIAL,
    streams::STREAMS,
    arrays::ARRAYS,
    arrays::VECTOR_SETS,
    modules::JSON,
    modules::SKETCHES,
    modules::SEARCH,
    modules::TIME_SERIES,
    generic::SCRIPTS,
    connection::CONNECTION,
    server::SERVER,
];
