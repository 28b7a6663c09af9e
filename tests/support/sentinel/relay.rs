//! A TCP relay: a cable that can be cut, by the address that comes in.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::support::free_port;

/// How often a stalled connection looks whether it may go on, and how late the end is noticed.
const PAUSE: Duration = Duration::from_millis(5);

/// Listens on a port of 127.0.0.1 and passes all bytes on to one target. Dropped: all its connections
/// are reset.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    /// Connections from addresses with one of these prefixes pass nothing on and stay open.
    stalled: Mutex<Vec<String>>,
    cables: Mutex<Vec<Weak<Cable>>>,
    accepted: AtomicUsize,
    stop: AtomicBool,
}

/// One connection and its other half. The sockets close when the last of the two pumps ends.
#[derive(Debug)]
struct Cable {
    source: String,
    near: TcpStream,
    far: TcpStream,
    reset: AtomicBool,
}

impl Relay {
    pub fn start(target: SocketAddr) -> Relay {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a TCP listener");
        let shared = Arc::new(Shared {
            target,
            stalled: Mutex::default(),
            cables: Mutex::default(),
            accepted: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            while !accepting.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((near, source)) => accepting.connect(near, source),
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        });
        Relay {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// From now on nothing passes for connections from addresses that begin with `prefix`, old and new.
    pub fn stall(&self, prefix: &str) {
        self.shared.rules().push(prefix.to_owned());
    }

    /// Everything passes again, also what was sent meanwhile.
    pub fn open(&self) {
        self.shared.rules().clear();
    }

    /// Resets all connections from addresses that begin with `prefix`, on both sides: how many.
    pub fn reset(&self, prefix: &str) -> usize {
        let mut cables = self.shared.cables.lock().expect("no holder panics");
        cables.retain(|cable| cable.strong_count() > 0);
        let cut = cables
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|cable| cable.source.starts_with(prefix))
            .map(|cable| cable.reset());
        cut.count()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            // It has nothing that panics.
            let _ = acceptor.join();
        }
        self.reset("");
    }
}

impl Shared {
    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.stalled.lock().expect("no holder panics")
    }

    fn is_stalled(&self, source: &str) -> bool {
        self.rules().iter().any(|prefix| source.starts_with(prefix))
    }

    fn connect(self: &Arc<Self>, near: TcpStream, source: SocketAddr) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        // Refused beyond us: the client sees its connection closed, as through a real relay.
        let Ok(far) = TcpStream::connect(self.target) else {
            return;
        };
        for stream in [&near, &far] {
            stream.set_nonblocking(false).expect("a TCP socket");
            stream.set_nodelay(true).expect("a TCP socket");
        }
        let cable = Arc::new(Cable {
            source: source.ip().to_string(),
            near,
            far,
            reset: AtomicBool::new(false),
        });
        self.cables
            .lock()
            .expect("no holder panics")
            .push(Arc::downgrade(&cable));
        for near_to_far in [true, false] {
            let (shared, cable) = (Arc::clone(self), Arc::clone(&cable));
            std::thread::spawn(move || cable.pump(near_to_far, &shared));
        }
    }
}

impl Cable {
    /// Both pumps see an end of stream and let go; the close that follows sends RST.
    fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
        for stream in [&self.near, &self.far] {
            // Each fails only for a connection that has ended already.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    fn pump(&self, near_to_far: bool, shared: &Shared) {
        let (mut from, mut to) = match near_to_far {
            true => (&self.near, &self.far),
            false => (&self.far, &self.near),
        };
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut chunk).unwrap_or(0);
            while shared.is_stalled(&self.source) && !self.ended(shared) {
                std::thread::sleep(PAUSE);
            }
            if self.ended(shared) {
                return;
            }
            if read == 0 || to.write_all(&chunk[..read]).is_err() {
                // Fails only for a connection that has ended already.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    fn ended(&self, shared: &Shared) -> bool {
        self.reset.load(Ordering::Relaxed) || shared.stop.load(Ordering::Relaxed)
    }
}
