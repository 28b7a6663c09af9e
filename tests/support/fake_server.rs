//! A server that does as the test says, reply by reply: what a real Redis cannot be made to do.
//!
//! ```ignore
//! let mut fake = FakeServer::start();
//! let proxy = Proxy::start(&[Pool::new("alpha").server(&fake.line("server1"))]);
//! let mut client = proxy.client();
//! client.send(encode(&["GET", "k"]));
//! let mut backend = fake.accept();
//! backend.expect(&["GET", "k"]);
//! backend.reply("$1\r\nv\r\n");
//! ```
//!
//! The kernel completes connections by itself, so no thread is needed: the test's own thread plays all
//! parts, and nothing happens that its text does not say.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::{Client, PATIENCE, Value, encode, free_port, within};

#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    /// `None` while connections are refused.
    listener: Option<TcpListener>,
    /// Connections taken from the kernel that the test has not asked for yet.
    waiting: VecDeque<TcpStream>,
    taken: usize,
}

impl FakeServer {
    /// Listens on a free loopback port.
    #[track_caller]
    pub fn start() -> FakeServer {
        FakeServer::at(([127, 0, 0, 1], free_port()).into())
    }

    /// Listens on an address of the test's choice.
    #[track_caller]
    pub fn at(address: SocketAddr) -> FakeServer {
        let mut fake = FakeServer {
            address,
            listener: None,
            waiting: VecDeque::new(),
            taken: 0,
        };
        fake.listen();
        fake
    }

    /// A port that refuses connections until [`FakeServer::listen`].
    pub fn refusing() -> FakeServer {
        let mut fake = FakeServer::start();
        fake.refuse();
        fake
    }

    pub fn addr(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its line in the list of servers.
    pub fn line(&self, name: &str) -> String {
        format!("{}:1 {name}", self.addr())
    }

    /// Listens again, on the same port.
    #[track_caller]
    pub fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).expect("the port is ours");
        listener
            .set_nonblocking(true)
            .expect("a listener can be polled");
        self.listener = Some(listener);
    }

    /// From now on connections are refused; those that nobody has accepted yet are reset.
    pub fn refuse(&mut self) {
        self.listener = None;
        self.waiting.clear();
    }

    /// The next connection, in the order in which they were made.
    #[track_caller]
    pub fn accept(&mut self) -> FakeConnection {
        let found = within(PATIENCE, || {
            self.collect();
            !self.waiting.is_empty()
        });
        assert!(found, "nobody connected to the fake server");
        let stream = self.waiting.pop_front().expect("just seen");
        FakeConnection {
            peer: Client::over(stream),
        }
    }

    /// Sends `command` until the proxy opens a connection for it, which this accepts. After failures the
    /// proxy answers by itself for a while; those errors are read.
    #[track_caller]
    pub fn accept_for<A: AsRef<[u8]>>(
        &mut self,
        client: &mut Client,
        command: &[A],
    ) -> FakeConnection {
        let before = self.connections();
        client.send(encode(command));
        client.set_timeout(Duration::from_millis(2));
        let opened = within(PATIENCE, || {
            if self.connections() > before {
                return true;
            }
            if let Ok(reply) = client.try_read() {
                assert!(reply.is_error(), "{reply:?}");
                client.send(encode(command));
            }
            false
        });
        client.set_timeout(PATIENCE);
        assert!(opened, "the proxy did not connect again");
        let mut connection = self.accept();
        connection.expect(command);
        connection
    }

    /// How many connections there were so far, accepted by the test or not.
    #[track_caller]
    pub fn connections(&mut self) -> usize {
        self.collect();
        self.taken
    }

    fn collect(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream
                        .set_nonblocking(false)
                        .expect("a connection can block");
                    self.waiting.push_back(stream);
                    self.taken += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("accepting: {error}"),
            }
        }
    }
}

/// A connection of the proxy's, seen from the server. Dropped: closed in order.
#[derive(Debug)]
pub struct FakeConnection {
    peer: Client,
}

impl FakeConnection {
    /// The next request is exactly this.
    #[track_caller]
    pub fn expect<A: AsRef<[u8]>>(&mut self, arguments: &[A]) {
        assert_eq!(self.peer.read(), Value::bulks(arguments));
    }

    /// The next request, whatever it is.
    #[track_caller]
    pub fn request(&mut self) -> Value {
        self.peer.read()
    }

    /// No byte comes during `time`, and the proxy keeps the connection.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        self.peer.expect_silence(time);
    }

    /// The proxy closes, and sends nothing more before it does.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        self.peer.expect_closed();
    }

    #[track_caller]
    pub fn reply(&mut self, bytes: impl AsRef<[u8]>) {
        self.peer.send(bytes);
    }

    /// Bytes to a connection that the proxy may have closed already.
    pub fn reply_late(&mut self, bytes: impl AsRef<[u8]>) {
        use std::io::Write;
        // That nobody takes them is what such a test expects.
        let _ = self.peer.stream().write_all(bytes.as_ref());
    }

    /// The next request and its reply.
    #[track_caller]
    pub fn answer<A: AsRef<[u8]>>(&mut self, arguments: &[A], reply: impl AsRef<[u8]>) {
        self.expect(arguments);
        self.reply(reply);
    }

    /// FIN, after all replies.
    pub fn close(self) {}

    /// RST.
    pub fn reset(self) {
        SockRef::from(self.peer.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("a TCP socket lingers");
    }
}
