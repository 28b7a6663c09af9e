//! Where a client's requests are parsed from, and what bounds them.

use bytes::{Buf, BytesMut};

use super::Client;
use super::State;
use super::context::{After, Context, Request};
use crate::buffer::{BufferPool, SHARE_FROM};
use crate::config::{Limits, PoolConfig};
use crate::protocol::redis::inline;
use crate::protocol::redis::scan::{
    ArrayFrame, Body, Frame, MAX_BULK, ProtocolError, RequestScanner, Scan, ScanLimits,
};
use crate::protocol::redis::write;
use crate::stats::PoolStats;

/// As Redis (`networking.c`): a client that has not authenticated needs no more.
const UNAUTHENTICATED_ARGUMENTS: u32 = 10;
const UNAUTHENTICATED_BULK: u64 = 16 * 1024;

/// Where requests are parsed from.
pub(super) enum Source<'a> {
    Shared { input: &'a [u8], at: usize },
    Own { input: BytesMut, at: usize },
}

impl Source<'_> {
    pub fn rest(&self) -> &[u8] {
        match self {
            Source::Shared { input, at } => &input[*at..],
            Source::Own { input, at } => &input[*at..],
        }
    }

    pub fn advance(&mut self, len: usize) {
        let (Source::Shared { at, .. } | Source::Own { at, .. }) = self;
        *at += len;
    }

    /// Hands the next `len` bytes to `handle` and advances, unless they must be looked at again.
    #[inline]
    pub fn hand(&mut self, len: usize, handle: impl FnOnce(Request<'_>) -> After) -> After {
        match self {
            Source::Own { input, at } if len >= SHARE_FROM => {
                input.advance(*at);
                *at = 0;
                let request = input.split_to(len).freeze();
                let after = handle(Request::Owned(request.clone()));
                if after == After::Drain {
                    let mut whole = BytesMut::from(&request[..]);
                    whole.extend_from_slice(input);
                    *input = whole;
                }
                after
            }
            _ => {
                let after = handle(Request::Borrowed(&self.rest()[..len]));
                if after != After::Drain {
                    self.advance(len);
                }
                after
            }
        }
    }
}

pub(super) fn scan_limits(authenticated: bool, limits: &Limits) -> ScanLimits {
    let whole = ScanLimits {
        request: limits.max_request_bytes,
        arguments: limits.max_arguments,
        bulk: limits.max_argument_bytes(),
        unauthenticated: !authenticated,
    };
    if authenticated {
        return whole;
    }
    ScanLimits {
        arguments: whole.arguments.min(UNAUTHENTICATED_ARGUMENTS),
        bulk: UNAUTHENTICATED_BULK,
        ..whole
    }
}

/// Counts a client's input that cannot be followed, and the limit it went beyond, if any.
pub(super) fn count_refusal(stats: &PoolStats, error: ProtocolError) {
    stats.protocol_errors.add(1);
    match error {
        ProtocolError::TooManyArguments => stats.max_arguments_hit.add(1),
        ProtocolError::RequestTooLarge | ProtocolError::ArgumentTooLarge => {
            stats.max_request_bytes_hit.add(1);
        }
        _ => {}
    }
}

/// Answers what can no longer be understood, behind the replies to all that could.
pub(super) fn refuse_input(
    client: &mut Client,
    error: ProtocolError,
    config: &PoolConfig,
    buffers: &mut BufferPool,
) {
    client.log_protocol_error(config, &error);
    client.session.errors += 1;
    client.state = State::Closing;
    let text = format!("ERR Protocol error: {error}");
    client
        .pipeline
        .answer(buffers, |out| write::error(out, &text));
}

/// Gives an inline request its RESP form and handles that.
pub(super) fn handle_inline(
    context: &mut Context<'_>,
    line: &[u8],
    form: &mut Vec<u8>,
) -> Result<After, ProtocolError> {
    form.clear();
    if inline::encode(line, form)? == 0 {
        return Ok(After::Skip);
    }
    Ok(match rescan(form) {
        Some(array) => context.handle(Request::Borrowed(form), &array),
        None => After::Skip,
    })
}

/// The frame of a request that was made here, of what was within the limits.
pub(super) fn rescan(form: &[u8]) -> Option<ArrayFrame> {
    let limits = ScanLimits {
        request: u64::MAX,
        arguments: u32::MAX,
        bulk: MAX_BULK,
        unauthenticated: false,
    };
    match RequestScanner::default().scan(form, &limits) {
        Ok(Scan::Complete(Frame {
            body: Body::Array(array),
            ..
        })) => Some(array),
        _ => None,
    }
}
