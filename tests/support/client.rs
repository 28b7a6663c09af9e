//! One raw connection that speaks RESP.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::PATIENCE;
use super::resp::{Value, encode, parse};

const CHUNK: usize = 256 * 1024;

/// A connection to the proxy or to a server. Reads and writes panic after [`PATIENCE`]
/// (or [`Client::set_timeout`]).
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Received; from `start` on not yet read by the test.
    buffer: Vec<u8>,
    start: usize,
    /// What one read from the socket may fill.
    chunk: Box<[u8]>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: impl ToSocketAddrs) -> Client {
        Client::over(TcpStream::connect(address).expect("connects"))
    }

    /// Over a connection that is there already, for tests that prepare the socket themselves.
    pub fn over(stream: TcpStream) -> Client {
        stream
            .set_nodelay(true)
            .expect("a TCP socket takes TCP_NODELAY");
        let client = Client {
            stream,
            buffer: Vec::new(),
            start: 0,
            chunk: vec![0; CHUNK].into(),
        };
        client.set_timeout(PATIENCE);
        client
    }

    pub fn set_timeout(&self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("the limit is not zero");
        self.stream
            .set_write_timeout(Some(limit))
            .expect("the limit is not zero");
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the peer takes our bytes");
    }

    /// Sends bytes one by one, each in a segment of its own.
    #[track_caller]
    pub fn send_slowly(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
    }

    /// One command and its reply.
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Value {
        self.send(encode(arguments));
        self.read()
    }

    /// Several commands in one write, then all their replies.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) -> Vec<Value> {
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|command| encode(command))
            .collect();
        self.send(bytes);
        self.read_n(commands.len())
    }

    /// The next reply.
    #[track_caller]
    pub fn read(&mut self) -> Value {
        self.next_frame().0
    }

    /// The next reply exactly as it came.
    #[track_caller]
    pub fn read_raw(&mut self) -> Vec<u8> {
        self.next_frame().1
    }

    #[track_caller]
    pub fn read_n(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.read()).collect()
    }

    /// Reads to the end of the stream and gives what came before it; a reset counts as an end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => panic!("waiting for the close: {error}; unread: {}", self.unread()),
            }
        }
        let rest = self.buffer.split_off(self.start);
        self.buffer.clear();
        self.start = 0;
        rest
    }

    /// The peer closes and sends nothing before it does.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(
            rest.is_empty(),
            "expected a close, got: {}",
            rest.escape_ascii()
        );
    }

    /// No byte arrives during `time`, and the connection stays open.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        assert_eq!(self.buffer.len(), self.start, "unread: {}", self.unread());
        self.stream
            .set_read_timeout(Some(time))
            .expect("the limit is not zero");
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Err(error) if is_timeout(&error) => {}
            Ok(0) => panic!("expected silence, the connection was closed"),
            Ok(_) => panic!("expected silence, got: {}", byte.escape_ascii()),
            Err(error) => panic!("expected silence, got {error}"),
        }
        self.set_timeout(PATIENCE);
    }

    /// Says that we send no more; replies can still be read.
    pub fn half_close(&mut self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
    }

    #[track_caller]
    fn next_frame(&mut self) -> (Value, Vec<u8>) {
        match self.try_frame() {
            Ok((value, length)) => {
                let end = self.start + length;
                let raw = self.buffer[self.start..end].to_vec();
                self.start = end;
                (value, raw)
            }
            Err(error) => panic!("{error}; unread: {}", self.unread()),
        }
    }

    /// Were bytes received that no read has taken yet? Does not look at the socket.
    pub fn has_unread(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The next reply, or why there is none. For tests that expect the connection to end.
    ///
    /// # Errors
    /// [`NoReply`]; what was received stays unread.
    pub fn try_read(&mut self) -> Result<Value, NoReply> {
        let (value, length) = self.try_frame()?;
        self.start += length;
        Ok(value)
    }

    /// Waits until the buffer starts with a whole reply: the reply and its length.
    fn try_frame(&mut self) -> Result<(Value, usize), NoReply> {
        loop {
            match parse(&self.buffer[self.start..]) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => return Err(NoReply::Malformed(error)),
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            if self.receive()? == 0 {
                return Err(NoReply::Closed);
            }
        }
    }

    /// Appends what the socket has to the buffer; 0 at the end of the stream, a reset included.
    fn receive(&mut self) -> Result<usize, NoReply> {
        let read = loop {
            match self.stream.read(&mut self.chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match read {
            Ok(n) => {
                self.buffer.extend_from_slice(&self.chunk[..n]);
                Ok(n)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            Err(error) if is_timeout(&error) => Err(NoReply::Timeout),
            Err(error) => Err(NoReply::Io(error)),
        }
    }

    fn unread(&self) -> String {
        let rest = &self.buffer[self.start..];
        format!(
            "{} ({} bytes)",
            rest[..rest.len().min(200)].escape_ascii(),
            rest.len()
        )
    }
}

/// Why there is no reply to read.
#[derive(Debug)]
pub enum NoReply {
    /// The peer ended the stream.
    Closed,
    Timeout,
    /// Bytes that cannot be a reply.
    Malformed(String),
    Io(std::io::Error),
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoReply::Closed => f.write_str("closed instead of a reply"),
            NoReply::Timeout => f.write_str("no reply in time"),
            NoReply::Malformed(what) => write!(f, "malformed reply: {what}"),
            NoReply::Io(error) => write!(f, "reading failed: {error}"),
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    // Linux reports a passed SO_RCVTIMEO as EAGAIN, other systems as a timeout.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
