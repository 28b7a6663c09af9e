//! Clients of every habit go on while one process takes over from another: none may notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::process::Signal;

use crate::site::{Address, Connection, Site};
use crate::support::{PATIENCE, Value, encode, eventually};

const BATCH: usize = 32;

#[derive(Clone, Copy, Debug)]
enum Habit {
    /// A connection for each request.
    Short,
    /// Pipelines, on a new connection now and then.
    Changes,
    /// Pipelines, on one connection to the end.
    Stays,
}

/// Counts its own key up and sees that no reply is missing, doubled or wrong.
struct Counter {
    key: String,
    address: Address,
    habit: Habit,
    count: AtomicU64,
}

impl Counter {
    fn run(&self, stop: &AtomicBool) {
        while !stop.load(Relaxed) {
            let mut connection = Connection::new(&self.address);
            match self.habit {
                Habit::Short => {
                    self.batch(&mut connection, 1);
                    // The proxy closes, so that ports are not used up on this side.
                    assert_eq!(connection.cmd(&["QUIT"]), Value::ok());
                    connection.expect_closed();
                }
                Habit::Changes => (0..20).for_each(|_| self.batch(&mut connection, BATCH)),
                Habit::Stays => {
                    while !stop.load(Relaxed) {
                        self.batch(&mut connection, BATCH);
                    }
                }
            }
        }
    }

    fn batch(&self, connection: &mut Connection, size: usize) {
        connection.send(&encode(&["INCR", &self.key]).repeat(size));
        for _ in 0..size {
            let count = self.count.fetch_add(1, Relaxed) + 1;
            let reply = connection.read();
            assert_eq!(reply, Value::Int(count as i64), "{}", self.key);
        }
    }
}

/// Asks for statistics all the time, as a scraper that is in a hurry.
fn scrape(port: u16, stop: &AtomicBool, count: &AtomicU64) {
    while !stop.load(Relaxed) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let request = b"GET /stats HTTP/1.0\r\n\r\n";
        stream.write_all(request).expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is answered");
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert!(answer.trim_end().ends_with('}'), "cut off: {answer}");
        count.fetch_add(1, Relaxed);
    }
}

#[test]
fn two_hand_overs_under_load_drop_nothing() {
    let site = Site::new();
    let mut counters = Vec::new();
    for (name, address) in [("tcp", site.tcp()), ("unix", site.unix())] {
        for habit in [Habit::Short, Habit::Changes, Habit::Stays] {
            counters.push(Counter {
                key: format!("{name}-{habit:?}"),
                address: address.clone(),
                habit,
                count: AtomicU64::new(0),
            });
        }
    }
    let (scrapes, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut processes = vec![site.start(&["--drain-idle", "0"])];
    std::thread::scope(|scope| {
        let _stopped_by_panics_too = StopOnDrop(&stop);
        let stop = &stop;
        for counter in &counters {
            scope.spawn(move || counter.run(stop));
        }
        scope.spawn(|| scrape(site.stats_port, stop, &scrapes));
        let all_go_on = || {
            let counts = || counters.iter().map(|c| &c.count).chain([&scrapes]);
            let before: Vec<u64> = counts().map(|count| count.load(Relaxed)).collect();
            eventually("all go on", || {
                counts()
                    .zip(&before)
                    .all(|(count, before)| count.load(Relaxed) > before + 20)
            });
        };
        for _ in 0..2 {
            all_go_on();
            let next = site.start(&["--drain-idle", "0"]);
            let last = processes.last().expect("one runs");
            next.says(&format!("taking over from process {}", last.pid()));
            last.says(&format!("process {} has taken over", next.pid()));
            assert_eq!(site.pid(), Some(next.pid()));
            processes.push(next);
            all_go_on();
        }
    });
    let mut newest = processes.pop().expect("three were started");
    for old in &mut processes {
        old.ends();
        assert!(!old.log().contains("have not left"), "{}", old.log());
    }
    for counter in &counters {
        let count = counter.count.load(Relaxed);
        assert_eq!(site.value(&counter.key), Value::bulk(count.to_string()));
    }
    assert_eq!(site.pid(), Some(newest.pid()), "the old ones left it alone");
    Connection::new(&site.unix()).ping();
    newest.signal(Signal::TERM);
    newest.ends();
    for name in ["pid", "unix.sock", "handover"] {
        assert!(!site.path(name).exists(), "{name} is left");
    }
}

/// Ends the clients also when the test fails, which waits for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
