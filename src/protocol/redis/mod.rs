//! RESP, the Redis protocol, versions 2 and 3.

pub mod command;
pub mod config_get;
pub mod cursor;
mod element;
pub mod fragment;
mod glob;
pub mod handshake;
pub mod info;
pub mod inline;
mod number;
pub mod pubsub;
pub mod reply;
#[cfg(test)]
mod reply_tests;
pub mod scan;
#[cfg(test)]
mod scan_tests;
pub mod write;

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Resp {
    #[default]
    V2,
    V3,
}
