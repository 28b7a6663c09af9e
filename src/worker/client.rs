//! The socket of one client.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::header;
use super::shared::Shared;
use super::socket::{ReadHalf, WriteHalf};
use crate::client::{ClientId, Step};

/// Bytes taken in one turn before others get theirs.
const FAIR_SHARE: usize = 128 * 1024;
/// How long we go on reading from a client that was told goodbye: closing with unread input would make
/// the kernel throw away what it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// How a client's connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said all they had to say.
    Eof,
    /// We closed first.
    Goodbye,
    Broken,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Eof => "by the client",
            End::Goodbye => "by us, in order",
            End::Broken => "the connection broke or was cut off",
        })
    }
}

/// Serves a client until it or we end the connection. `proxied`: a PROXY protocol header comes first.
pub(super) async fn run(shared: Rc<Shared>, id: ClientId, proxied: bool, mut reader: ReadHalf) {
    let header = match proxied {
        // In memory of its own, that a client does not keep.
        true => Box::pin(header::read(&shared, id, &mut reader)).await,
        false => Ok(()),
    };
    let mut eof = false;
    let end = match header {
        Ok(()) => poll_fn(|cx| drive(&shared, id, &mut reader, &mut eof, cx)).await,
        Err(end) => end,
    };
    shared.front.borrow().log_closed(id, &end);
    let writer = shared.close_client(id, end != End::Broken);
    if end == End::Goodbye
        && let Some(writer) = writer
    {
        // As above.
        Box::pin(say_goodbye(&shared, reader, writer)).await;
    }
}

async fn say_goodbye(shared: &Shared, mut reader: ReadHalf, mut writer: WriteHalf) {
    writer.shutdown().await;
    let drained = poll_fn(|cx| discard(shared, &mut reader, cx));
    // Whether it has read all in time or not, we are done.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

fn drive(
    shared: &Shared,
    id: ClientId,
    reader: &mut ReadHalf,
    eof: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<End> {
    if shared.poll_client(id, cx).is_err() {
        return Poll::Ready(End::Broken);
    }
    let mut taken = 0;
    while taken < FAIR_SHARE {
        let step = shared.front.borrow_mut().step(id, &|| shared.now());
        let read = match step {
            Step::Finish if *eof => return Poll::Ready(End::Eof),
            Step::Finish => return Poll::Ready(End::Goodbye),
            Step::Abort => return Poll::Ready(End::Broken),
            Step::Wait => {
                shared.kick();
                return Poll::Pending;
            }
            Step::Read => read_shared(shared, id, reader, cx),
            Step::ReadOwn => read_own(shared, id, reader, cx),
        };
        shared.kick();
        match read {
            Poll::Pending => {
                let mut front = shared.front.borrow_mut();
                front.release_input(id);
                if !front.should_leave(id) || reader.has_unread() {
                    return Poll::Pending;
                }
                front.leave(id);
            }
            Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
            Poll::Ready(Ok(0)) => {
                *eof = true;
                shared.front.borrow_mut().handle_eof(id);
            }
            Poll::Ready(Ok(n)) => taken += n,
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn read_shared(
    shared: &Shared,
    id: ClientId,
    reader: &mut ReadHalf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = shared.read_buffer.borrow_mut();
    let mut front = shared.front.borrow_mut();
    let held = front.copy_input(id, &mut buffer);
    // Of a larger request, what comes now must be moved to memory of its own.
    let most = (held + FAIR_SHARE).min(buffer.len());
    let mut fresh = ReadBuf::new(&mut buffer[held..most]);
    std::task::ready!(Pin::new(reader).poll_read(cx, &mut fresh))?;
    let n = fresh.filled().len();
    if n > 0 {
        front.handle_input(id, &buffer[..held + n], shared.now());
    }
    Poll::Ready(Ok(n))
}

fn read_own(
    shared: &Shared,
    id: ClientId,
    reader: &mut ReadHalf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut front = shared.front.borrow_mut();
    let n = std::task::ready!(poll_read_buf(Pin::new(reader), cx, front.own_input(id)))?;
    if n > 0 {
        front.handle_own_input(id, shared.now());
    }
    Poll::Ready(Ok(n))
}

/// Reads and forgets until the client closes its side.
fn discard(shared: &Shared, reader: &mut ReadHalf, cx: &mut Context<'_>) -> Poll<()> {
    let mut taken = 0;
    while taken < FAIR_SHARE {
        let mut buffer = shared.read_buffer.borrow_mut();
        let mut fresh = ReadBuf::new(&mut buffer);
        match std::task::ready!(Pin::new(&mut *reader).poll_read(cx, &mut fresh)) {
            Ok(()) if !fresh.filled().is_empty() => taken += fresh.filled().len(),
            _ => return Poll::Ready(()),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
