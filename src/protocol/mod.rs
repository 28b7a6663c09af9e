//! Wire protocols. Pure: bytes in, verdicts out.

pub mod redis;
