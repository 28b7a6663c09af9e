//! The socket of one client.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::shared::Shared;
use super::socket::{ReadHalf, WriteHalf};
use crate::client::{ClientId, Step};

/// Bytes taken in one turn before others get theirs.
const FAIR_SHARE: usize = 128 * 1024;
/// How long we go on reading from a client that was told goodbye: closing with unread input would make
/// the kernel throw away what it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sides have said all they had to say.
    Eof,
    /// We closed first.
    Goodbye,
    Broken,
}

/// Serves a client until it or we end the connection.
pub(super) async fn run(shared: Rc<Shared>, pool: u16, mut reader: ReadHalf, writer: WriteHalf) {
    let id = shared.open_client(pool, writer);
    let mut eof = false;
    let end = poll_fn(|cx| drive(&shared, id, &mut reader, &mut eof, cx)).await;
    let writer = shared.close_client(id, end != End::Broken);
    if end == End::Goodbye
        && let Some(mut writer) = writer
    {
        writer.shutdown().await;
        let drained = poll_fn(|cx| discard(&shared, &mut reader, cx));
        // Whether it has read all in time or not, we are done.
        let _ = tokio::time::timeout(LINGER, drained).await;
    }
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
            Poll::Pending => return Poll::Pending,
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
    let mut fresh = ReadBuf::new(&mut buffer[held..]);
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
