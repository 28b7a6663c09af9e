//! What comes before a client's requests where a pool has `proxy_protocol`: a header that says whose they
//! are. Requests behind it, in the same segment, are not lost.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::client::End;
use super::shared::Shared;
use super::socket::ReadHalf;
use crate::client::{ClientId, Peer, Step};
use crate::protocol::proxy::{Header, Progress, Source};

/// The protocol wants 3 s at least, so that a segment may be lost and sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the header of a new client.
///
/// # Errors
/// The connection is to be ended, thus: there is no header, it did not come in time, or it is not wanted any
/// more.
pub(super) async fn read(shared: &Shared, id: ClientId, reader: &mut ReadHalf) -> Result<(), End> {
    let mut header = Header::default();
    let come = poll_fn(|cx| drive(shared, id, reader, &mut header, cx));
    match tokio::time::timeout(PATIENCE, come).await {
        Ok(result) => result,
        Err(_) => {
            let why = format!("none within {} s", PATIENCE.as_secs());
            shared.front.borrow().refuse_header(id, &why);
            Err(End::Broken)
        }
    }
}

fn drive(
    shared: &Shared,
    id: ClientId,
    reader: &mut ReadHalf,
    header: &mut Header,
    cx: &mut Context<'_>,
) -> Poll<Result<(), End>> {
    if shared.poll_client(id, cx).is_err() {
        return Poll::Ready(Err(End::Broken));
    }
    loop {
        let step = shared.front.borrow_mut().step(id, &|| shared.now());
        match step {
            // The worker is being drained, and nothing is owed.
            Step::Finish => return Poll::Ready(Err(End::Goodbye)),
            Step::Abort => return Poll::Ready(Err(End::Broken)),
            Step::Wait => return Poll::Pending,
            Step::Read | Step::ReadOwn => {}
        }
        let mut buffer = shared.read_buffer.borrow_mut();
        let mut fresh = ReadBuf::new(&mut buffer);
        if std::task::ready!(Pin::new(&mut *reader).poll_read(cx, &mut fresh)).is_err() {
            return Poll::Ready(Err(End::Broken));
        }
        let input = fresh.filled();
        let mut front = shared.front.borrow_mut();
        if input.is_empty() {
            // Whoever only looks whether somebody listens sends nothing.
            if header.is_empty() {
                return Poll::Ready(Err(End::Eof));
            }
            front.refuse_header(id, &"the connection ends within it");
            return Poll::Ready(Err(End::Broken));
        }
        match header.read(input) {
            Ok(Progress::Incomplete) => {}
            Ok(Progress::Complete { source, used }) => {
                match source {
                    Source::Sender => {}
                    Source::Ip(address) => front.set_peer(id, address.into()),
                    Source::Unix => front.set_peer(id, Peer::Unix),
                }
                if used < input.len() {
                    front.handle_input(id, &input[used..], shared.now());
                }
                drop(front);
                shared.kick();
                return Poll::Ready(Ok(()));
            }
            Err(why) => {
                front.refuse_header(id, &why);
                return Poll::Ready(Err(End::Broken));
            }
        }
    }
}
