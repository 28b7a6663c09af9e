//! RESP, the Redis protocol, versions 2 and 3.

pub mod command;
pub mod fragment;
pub mod handshake;
pub mod inline;
pub mod reply;
pub mod scan;
pub mod write;

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Resp {
    #[default]
    V2,
    V3,
}
