//! Stand-ins for Redis that answer every GET with their own number, so that a reply tells where it came from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use bytes::{Buf, BytesMut};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

const TCP: usize = 24;
const UNIX: usize = 4;
const IPV6: usize = 2;
/// The port that a server's derived name leaves out.
const MEMCACHED: usize = 2;
const DEAD: usize = 6;

/// A backend's number is its position in the lists.
pub struct Backends {
    pub live: Vec<Address>,
    /// Refuse every connection. Numbered apart.
    pub dead: Vec<Address>,
    /// Bound but not listening: keeps the ports of `dead` from everybody else.
    _reserved: Vec<Socket>,
}

/// Displayed as a `servers:` item has it.
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{}:{}", address.ip(), address.port()),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Any address of 127/8 is this machine. Random ones make names differ in length, and ports in use elsewhere
/// do no harm.
pub fn random_loopback(rng: &mut fastrand::Rng) -> IpAddr {
    Ipv4Addr::new(127, rng.u8(..), rng.u8(..), rng.u8(1..255)).into()
}

impl Backends {
    /// Answers for as long as the runtime lives. Sockets of the unix kind are made in `directory`.
    pub async fn start(rng: &mut fastrand::Rng, directory: &Path) -> Backends {
        let mut wanted: Vec<SocketAddr> = Vec::new();
        for port in [0; TCP].into_iter().chain([11211; MEMCACHED]) {
            wanted.push((random_loopback(rng), port).into());
        }
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            wanted.extend([SocketAddr::from((Ipv6Addr::LOCALHOST, 0)); IPV6]);
        }

        let mut live = Vec::new();
        for address in wanted {
            let listener = TcpListener::bind(address)
                .await
                .expect("a free loopback port");
            let number = live.len();
            live.push(Address::Tcp(listener.local_addr().unwrap()));
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(answer(socket, number));
                }
            });
        }
        for _ in 0..UNIX {
            let number = live.len();
            let path = directory.join(format!("{}{number}", "s".repeat(rng.usize(1..12))));
            let listener = UnixListener::bind(&path).expect("a unix socket");
            live.push(Address::Unix(path));
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(answer(socket, number));
                }
            });
        }

        let reserved: Vec<Socket> = (0..DEAD).map(|_| reserve(random_loopback(rng))).collect();
        let dead = reserved
            .iter()
            .map(|socket| Address::Tcp(socket.local_addr().unwrap().as_socket().unwrap()))
            .collect();
        Backends {
            live,
            dead,
            _reserved: reserved,
        }
    }
}

fn reserve(host: IpAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let address = SocketAddr::from((host, 0));
    socket.bind(&address.into()).expect("a free loopback port");
    socket
}

async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, number: usize) {
    let reply = format!(":{number}\r\n");
    let mut input = BytesMut::new();
    while let Ok(1..) = socket.read_buf(&mut input).await {
        let mut replies = String::new();
        while take_get(&mut input) {
            replies.push_str(&reply);
        }
        if socket.write_all(replies.as_bytes()).await.is_err() {
            break;
        }
    }
}

/// Takes one GET off the front of `input` if it has arrived whole.
fn take_get(input: &mut BytesMut) -> bool {
    const HEAD: &[u8] = b"*2\r\n$3\r\nGET\r\n$";

    let seen = input.len().min(HEAD.len());
    assert_eq!(input[..seen], HEAD[..seen], "nothing but GET is sent");
    let rest = &input[seen..];
    let Some(digits) = rest.iter().position(|&byte| byte == b'\r') else {
        return false;
    };
    let length: usize = std::str::from_utf8(&rest[..digits])
        .unwrap()
        .parse()
        .unwrap();
    let whole = HEAD.len() + digits + 2 + length + 2;
    if input.len() < whole {
        return false;
    }
    input.advance(whole);
    true
}
