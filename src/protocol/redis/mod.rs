//! RESP, the Redis protocol, versions 2 and 3.

pub mod handshake;
pub mod inline;
pub mod reply;
pub mod scan;
pub mod write;
pub mod command;

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Resp {
    #[default]
    V2,
    V3,
}
