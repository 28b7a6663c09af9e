//! What the sentinels publish, with the time it came.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{QUESTION, text};
use crate::support::{Client, NoReply, Value, encode, within};

/// From a broken link to the next attempt, and how long an end of the test may be noticed late.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct Event {
    pub at: Instant,
    /// Index of the sentinel.
    pub sentinel: usize,
    pub channel: String,
    pub payload: String,
}

impl Event {
    /// Is it about the master `name`? Its name is the first or second word, or follows `@`.
    pub fn concerns(&self, name: &str) -> bool {
        let words: Vec<&str> = self.payload.split(' ').collect();
        match self.channel.as_str() {
            "+switch-master" => words.first() == Some(&name),
            _ => match words.iter().position(|&word| word == "@") {
                Some(at) => words.get(at + 1) == Some(&name),
                None => words.get(1) == Some(&name),
            },
        }
    }
}

/// Subscribed to everything every sentinel says, from the start to the drop. A sentinel that is down is
/// asked again until it is back; what it said meanwhile is not known.
#[derive(Debug)]
pub struct Events {
    log: Arc<Mutex<Vec<Event>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Events {
    /// Listens to the sentinels with these addresses and passwords.
    pub fn listen(sentinels: Vec<(SocketAddr, Option<String>)>) -> Events {
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = sentinels
            .into_iter()
            .enumerate()
            .map(|(sentinel, (address, password))| {
                let (log, stop) = (Arc::clone(&log), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        follow(sentinel, address, password.as_deref(), &log, &stop);
                        std::thread::sleep(PAUSE);
                    }
                })
            })
            .collect();
        Events { log, stop, threads }
    }

    /// The first event after `since` that `wanted` accepts, waited for at most `limit`.
    pub fn wait(
        &self,
        limit: Duration,
        since: Instant,
        wanted: impl Fn(&Event) -> bool,
    ) -> Option<Event> {
        let mut found = None;
        within(limit, || {
            let log = self.log.lock().expect("no holder panics");
            found = log.iter().find(|e| e.at >= since && wanted(e)).cloned();
            found.is_some()
        });
        found
    }

    /// All so far, one per line, for messages.
    pub fn describe(&self, since: Instant) -> String {
        let log = self.log.lock().expect("no holder panics");
        log.iter()
            .filter(|event| event.at >= since)
            .map(|event| {
                let after = (event.at - since).as_millis();
                let Event {
                    sentinel,
                    channel,
                    payload,
                    ..
                } = event;
                format!("{after:>6} ms, sentinel {sentinel}: {channel} {payload}\n")
            })
            .collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of the thread was printed; the test fails by what is missing from the log.
            let _ = thread.join();
        }
    }
}

/// Until the link ends or `stop` is set.
fn follow(
    sentinel: usize,
    address: SocketAddr,
    password: Option<&str>,
    log: &Mutex<Vec<Event>>,
    stop: &AtomicBool,
) {
    let Ok(stream) = TcpStream::connect_timeout(&address, QUESTION) else {
        return;
    };
    let mut client = Client::over(stream);
    client.set_timeout(PAUSE);
    let greeting = match password {
        Some(password) => [encode(&["AUTH", password]), encode(&["PSUBSCRIBE", "*"])].concat(),
        None => encode(&["PSUBSCRIBE", "*"]),
    };
    if client.stream().write_all(&greeting).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        let message = match client.try_read() {
            Ok(Value::Array(message)) => message,
            Ok(_) | Err(NoReply::Timeout) => continue,
            Err(_) => return,
        };
        let words: Vec<String> = message.iter().filter_map(text).collect();
        if let [kind, _, channel, payload] = words.as_slice()
            && kind == "pmessage"
        {
            log.lock().expect("no holder panics").push(Event {
                at: Instant::now(),
                sentinel,
                channel: channel.clone(),
                payload: payload.clone(),
            });
        }
    }
}
