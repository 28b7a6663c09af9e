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

use super::Group;

pub(super) const GROUPS: &[Group] = &[
    Group::new("Keys of any type", generic::KEYS),
    Group::new("Strings", strings::STRINGS),
    Group::new("Bitmaps", strings::BITMAPS),
    Group::new("Hashes", collections::HASHES),
    Group::new("Lists", collections::LISTS),
    Group::new("Sets", collections::SETS),
    Group::new("Sorted sets", collections::SORTED_SETS),
    Group::new("HyperLogLogs", strings::HYPERLOGLOGS),
    Group::new("Geospatial data", collections::GEOSPATIAL),
    Group::new("Streams", streams::STREAMS),
    Group::new("Arrays", arrays::ARRAYS),
    Group::new("Vector sets", arrays::VECTOR_SETS),
    Group::new("JSON", modules::JSON),
    Group::new("Filters and sketches", modules::SKETCHES),
    Group::new("Search", modules::SEARCH),
    Group::new("Time series", modules::TIME_SERIES),
    Group::new("Scripts and functions", generic::SCRIPTS),
    Group::new("Connections", connection::CONNECTION),
    Group::new("Transactions", connection::TRANSACTION),
    Group::new("Publish/subscribe", connection::PUBLISHING),
    Group::new("Cluster", connection::CLUSTERING),
    Group::new("Servers", server::SERVER),
];
