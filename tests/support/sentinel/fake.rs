//! A sentinel that says what the test wants.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::text;
use crate::support::{Client, NoReply, Value, encode, eventually, free_port};

/// How late a link notices the end of the test.
const PAUSE: Duration = Duration::from_millis(10);

/// What is known of one master. Changed at any time by [`FakeSentinel::change`].
#[derive(Clone, Debug)]
pub struct FakeMaster {
    /// What `get-master-addr-by-name` answers: host and port as text, so that it can be nonsense.
    pub address: (String, String),
    /// What `SENTINEL MASTER` says, if it differs: a leader names the old one while it reconfigures.
    pub stale_address: Option<(String, String)>,
    pub epoch: u64,
    pub flags: String,
    pub replicas: Vec<SocketAddr>,
}

impl FakeMaster {
    pub fn at(address: SocketAddr, epoch: u64) -> FakeMaster {
        FakeMaster {
            address: words(address),
            stale_address: None,
            epoch,
            flags: "master".into(),
            replicas: Vec::new(),
        }
    }
}

/// How questions are answered. PING, AUTH and subscriptions are, in every mode but the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Truth,
    /// An error reply, without the `-`.
    Error(String),
    /// These bytes, whatever was asked.
    Bytes(Vec<u8>),
    /// Nothing at all, on any link.
    Silence,
}

/// Listens on a loopback port until it is dropped.
#[derive(Debug)]
pub struct FakeSentinel {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    id: String,
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    masters: BTreeMap<String, FakeMaster>,
    /// The other sentinels it knows.
    others: Vec<SocketAddr>,
    mode: Mode,
    links: Vec<Arc<Link>>,
    commands: Vec<Vec<String>>,
}

/// One connection. Written to by its own thread and by those who publish.
#[derive(Debug)]
struct Link {
    stream: Mutex<TcpStream>,
    channels: Mutex<Vec<String>>,
}

impl FakeSentinel {
    /// Knows of no master yet.
    pub fn start() -> FakeSentinel {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a TCP listener");
        let shared = Arc::new(Shared {
            id: format!("{:040x}", address.port()),
            state: Mutex::new(State {
                masters: BTreeMap::new(),
                others: Vec::new(),
                mode: Mode::Truth,
                links: Vec::new(),
                commands: Vec::new(),
            }),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            while !accepting.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => accepting.serve(stream),
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        });
        FakeSentinel {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What it says of `name` from now on.
    pub fn set(&self, name: &str, master: FakeMaster) {
        self.shared.state().masters.insert(name.to_owned(), master);
    }

    /// Answers that there is no such master from now on.
    pub fn forget(&self, name: &str) {
        self.shared.state().masters.remove(name);
    }

    pub fn set_others(&self, others: &[SocketAddr]) {
        self.shared.state().others = others.to_vec();
    }

    pub fn set_mode(&self, mode: Mode) {
        self.shared.state().mode = mode;
    }

    /// To all links subscribed to the channel: how many those are.
    pub fn publish(&self, channel: &str, payload: impl AsRef<[u8]>) -> usize {
        let message = encode(&[b"message", channel.as_bytes(), payload.as_ref()]);
        let links = self.shared.state().subscribed(channel);
        for link in &links {
            link.send(&message);
        }
        links.len()
    }

    /// `+switch-master` of `name`.
    pub fn publish_switch(&self, name: &str, from: SocketAddr, to: SocketAddr) -> usize {
        let ((from_host, from_port), (host, port)) = (words(from), words(to));
        let payload = format!("{name} {from_host} {from_port} {host} {port}");
        self.publish("+switch-master", payload)
    }

    /// Bytes as they are, to all links subscribed to `+switch-master`: how many those are.
    pub fn send_bytes(&self, bytes: &[u8]) -> usize {
        let links = self.shared.state().subscribed("+switch-master");
        for link in &links {
            link.send(bytes);
        }
        links.len()
    }

    /// Ends all links; new ones are taken.
    pub fn cut(&self) {
        for link in self.shared.state().links.drain(..) {
            link.close();
        }
    }

    /// Waits until somebody is subscribed to `+switch-master`.
    #[track_caller]
    pub fn wait_subscribed(&self) {
        eventually("a subscription to +switch-master", || {
            !self.shared.state().subscribed("+switch-master").is_empty()
        });
    }

    /// Everything it was asked so far, in lower case.
    pub fn commands(&self) -> Vec<Vec<String>> {
        self.shared.state().commands.clone()
    }
}

impl Drop for FakeSentinel {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.cut();
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of the thread was printed; the test fails by what is missing.
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn subscribed(&self, channel: &str) -> Vec<Arc<Link>> {
        let subscribed = |link: &&Arc<Link>| {
            let channels = link.channels.lock().expect("no holder panics");
            channels.iter().any(|c| c == channel || c == "*")
        };
        self.links.iter().filter(subscribed).cloned().collect()
    }
}

impl Link {
    /// A peer that is gone gets nothing.
    fn send(&self, bytes: &[u8]) {
        let _ = self
            .stream
            .lock()
            .expect("no holder panics")
            .write_all(bytes);
    }

    fn close(&self) {
        // Fails only for a connection that has ended already.
        let _ = self
            .stream
            .lock()
            .expect("no holder panics")
            .shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn serve(self: &Arc<Self>, stream: TcpStream) {
        stream.set_nonblocking(false).expect("a TCP socket");
        let link = Arc::new(Link {
            stream: Mutex::new(stream.try_clone().expect("a second handle")),
            channels: Mutex::default(),
        });
        self.state().links.push(Arc::clone(&link));
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let mut requests = Client::over(stream);
            requests.set_timeout(PAUSE);
            while !shared.stop.load(Ordering::Relaxed) {
                match requests.try_read() {
                    Ok(request) => shared.answer(&link, &request),
                    Err(NoReply::Timeout) => {}
                    Err(_) => break,
                }
            }
            link.close();
            shared
                .state()
                .links
                .retain(|other| !Arc::ptr_eq(other, &link));
        });
    }

    fn answer(&self, link: &Link, request: &Value) {
        let Value::Array(words) = request else {
            return;
        };
        let words: Vec<String> = words.iter().filter_map(text).collect();
        let command: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let mode = {
            let mut state = self.state();
            state.commands.push(command.clone());
            state.mode.clone()
        };
        let subscribed = !link.channels.lock().expect("no holder panics").is_empty();
        match (mode, command[0].as_str()) {
            (Mode::Silence, _) => {}
            (_, "ping") if subscribed => link.send(&encode(&["pong", ""])),
            (_, "ping") => link.send(b"+PONG\r\n"),
            (_, "auth" | "client") => link.send(b"+OK\r\n"),
            (_, "subscribe" | "psubscribe") => link.subscribe(&words),
            (_, _) if subscribed => link.send(b"-ERR only (P|S)SUBSCRIBE / PING allowed\r\n"),
            (Mode::Error(error), _) => link.send(format!("-{error}\r\n").as_bytes()),
            (Mode::Bytes(bytes), _) => link.send(&bytes),
            (Mode::Truth, "sentinel") => {
                let reply = self.sentinel(&command[1..], words.get(2).map(String::as_str));
                link.send(&reply);
            }
            (Mode::Truth, other) => {
                link.send(format!("-ERR unknown command '{other}'\r\n").as_bytes());
            }
        }
    }

    fn sentinel(&self, command: &[String], name: Option<&str>) -> Vec<u8> {
        let state = self.state();
        let what = command.first().map_or("", String::as_str);
        let all = || {
            state
                .masters
                .iter()
                .map(|(name, m)| self.master(&state, name, m))
        };
        if what == "myid" {
            return bulk(&self.id);
        }
        if what == "masters" {
            return list(all());
        }
        let known = name.and_then(|name| Some((name, state.masters.get(name)?)));
        let Some((name, master)) = known else {
            return match what {
                "get-master-addr-by-name" => b"*-1\r\n".to_vec(),
                _ => b"-ERR No such master with that name\r\n".to_vec(),
            };
        };
        match what {
            "get-master-addr-by-name" => {
                let (host, port) = &master.address;
                encode(&[host, port])
            }
            "master" => self.master(&state, name, master),
            "replicas" | "slaves" => list(master.replicas.iter().map(|&replica| {
                let (host, port) = words(replica);
                let name = replica.to_string();
                encode(&["name", &name, "ip", &host, "port", &port, "flags", "slave"])
            })),
            "sentinels" => list(state.others.iter().map(|&other| {
                let (host, port) = words(other);
                let id = format!("{:040x}", other.port());
                encode(&[
                    "name", &id, "ip", &host, "port", &port, "runid", &id, "flags", "sentinel",
                ])
            })),
            _ => b"-ERR Unknown sentinel subcommand\r\n".to_vec(),
        }
    }

    fn master(&self, state: &State, name: &str, master: &FakeMaster) -> Vec<u8> {
        let (host, port) = master.stale_address.as_ref().unwrap_or(&master.address);
        encode(&[
            "name",
            name,
            "ip",
            host,
            "port",
            port,
            "runid",
            &self.id,
            "flags",
            &master.flags,
            "config-epoch",
            &master.epoch.to_string(),
            "num-slaves",
            &master.replicas.len().to_string(),
            "num-other-sentinels",
            &state.others.len().to_string(),
            "quorum",
            "2",
        ])
    }
}

impl Link {
    /// Confirms one channel after the other, as Sentinel does.
    fn subscribe(&self, words: &[String]) {
        let mut channels = self.channels.lock().expect("no holder panics");
        for channel in &words[1..] {
            channels.push(channel.clone());
            let head = encode(&[words[0].to_lowercase().as_str(), channel]);
            // The same array with a third element, the number of subscriptions.
            let head = [b"*3".as_slice(), &head[2..]].concat();
            let count = format!(":{}\r\n", channels.len());
            self.send(&[head.as_slice(), count.as_bytes()].concat());
        }
    }
}

/// Host without brackets and port, as Sentinel writes them.
fn words(address: SocketAddr) -> (String, String) {
    (address.ip().to_string(), address.port().to_string())
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn list(items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<Vec<u8>> = items.collect();
    let mut reply = format!("*{}\r\n", items.len()).into_bytes();
    reply.extend(items.concat());
    reply
}
