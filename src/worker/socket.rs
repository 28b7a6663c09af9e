//! TCP and unix sockets behind one face, split so that reading and writing need no lock.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

pub(super) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

pub(super) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

pub(super) fn split_tcp(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
}

pub(super) fn split_unix(stream: UnixStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    (ReadHalf::Unix(read), WriteHalf::Unix(write))
}

impl AsyncRead for ReadHalf {
    // A short read clears tokio's readiness only on this path, which saves the read that would just learn
    // EAGAIN.
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(cx, buffer),
            ReadHalf::Unix(half) => Pin::new(half).poll_read(cx, buffer),
        }
    }
}

impl ReadHalf {
    /// Is there something to read, the end of the stream included? Asks the kernel, as the runtime may not
    /// have been told yet.
    pub fn has_unread(&self) -> bool {
        let socket = match self {
            ReadHalf::Tcp(half) => half.as_ref().as_fd(),
            ReadHalf::Unix(half) => half.as_ref().as_fd(),
        };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(socket, &mut [0; 1], flags);
        peeked.map(|_| ()) != Err(Errno::WOULDBLOCK)
    }
}

impl WriteHalf {
    /// Writes what the socket takes at once.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (WriteHalf::Tcp(half), [one]) => half.try_write(one),
            (WriteHalf::Tcp(half), many) => half.try_write_vectored(many),
            (WriteHalf::Unix(half), [one]) => half.try_write(one),
            (WriteHalf::Unix(half), many) => half.try_write_vectored(many),
        }
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            WriteHalf::Tcp(half) => half.as_ref().poll_write_ready(cx),
            WriteHalf::Unix(half) => half.as_ref().poll_write_ready(cx),
        }
    }

    /// Says "no more from this side"; what was written before still arrives.
    pub async fn shutdown(&mut self) {
        // The peer may be gone, which is what we are about to be.
        let _ = match self {
            WriteHalf::Tcp(half) => half.shutdown().await,
            WriteHalf::Unix(half) => half.shutdown().await,
        };
    }
}
