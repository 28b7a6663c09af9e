//! Wire protocols. Pure: bytes in, verdicts out.

pub mod proxy;
pub mod redis;
