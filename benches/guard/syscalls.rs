//! System calls per request of the running proxy with one worker, counted by strace from after the warm-up
//! on. Only what is the same in every run: one client that waits for its replies.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::record::{Figure, Kind};
use crate::support::{Client, Shards, encode};

const WARM_UP: usize = 200;
/// So many that the few calls of the control thread do not count.
const BATCHES: usize = 1000;
/// The cheapest counts: where others compute too, servers answer apart from each other more often.
const ATTEMPTS: usize = 3;

struct Scenario {
    name: &'static str,
    servers: usize,
    /// Requests in one write.
    requests: usize,
    /// Keys of a request; they are on all servers.
    keys: usize,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "serial_get",
        servers: 3,
        requests: 1,
        keys: 1,
    },
    // One server, because the replies of several come together or one after the other as it happens.
    Scenario {
        name: "pipeline_64",
        servers: 1,
        requests: 64,
        keys: 1,
    },
    Scenario {
        name: "mget_10",
        servers: 3,
        requests: 1,
        keys: 10,
    },
];

/// Counts the scenarios whose names contain `only`.
pub fn count(only: &str) -> Result<Vec<Figure>, String> {
    let wanted = SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(only));
    wanted.map(count_scenario).collect()
}

fn count_scenario(scenario: &Scenario) -> Result<Figure, String> {
    let shards = Shards::start_with(scenario.servers, |pool| pool, &["--workers", "1"]);
    let mut client = shards.client();
    // Round the servers, so that MGET asks them all.
    let places = (0..scenario.keys).map(|n| (n % scenario.servers, n / scenario.servers));
    let keys: Vec<&str> = places.map(|(server, n)| shards.key(server, n)).collect();
    for key in &keys {
        client.cmd(&["SET", key, &"x".repeat(64)]);
    }
    let mut request = vec![if scenario.keys == 1 { "GET" } else { "MGET" }];
    request.extend(keys);
    let batch = encode(&request).repeat(scenario.requests);
    let reply = client.cmd(&request);
    assert!(!reply.is_error(), "{reply:?}");
    run(&mut client, &batch, scenario.requests, WARM_UP);
    let mut least = u64::MAX;
    for _ in 0..ATTEMPTS {
        let trace = Trace::attach(shards.proxy.pid(), scenario.name)?;
        run(&mut client, &batch, scenario.requests, BATCHES);
        least = least.min(trace.end()?);
    }
    Ok(Figure {
        kind: Kind::Syscalls,
        name: scenario.name.to_owned(),
        value: least as f64 / (BATCHES * scenario.requests) as f64,
        unit: "request".to_owned(),
    })
}

fn run(client: &mut Client, batch: &[u8], requests: usize, times: usize) {
    for _ in 0..times {
        client.send(batch);
        client.read_n(requests);
    }
}

/// An strace that counts.
struct Trace {
    child: Child,
    messages: BufReader<std::process::ChildStderr>,
    out: std::path::PathBuf,
}

impl Trace {
    /// Counts from now on.
    fn attach(pid: u32, name: &str) -> Result<Trace, String> {
        let folder = crate::instructions::folder();
        let out = folder.join(format!("{name}.strace"));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut child = Command::new("strace")
            .args(["-f", "-c", "-p", &pid.to_string(), "-o"])
            .arg(&out)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace does not start: {error}"))?;
        let mut messages = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        let read = messages.read_line(&mut said);
        read.map_err(|error| format!("strace: {error}"))?;
        if !said.contains("attached") {
            return Err(format!(
                "strace may not follow the proxy (as root it may, or with kernel.yama.ptrace_scope=0): {said}"
            ));
        }
        Ok(Trace {
            child,
            messages,
            out,
        })
    }

    /// How many calls there were.
    fn end(mut self) -> Result<u64, String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).map_err(|error| format!("strace: {error}"))?;
        let mut said = String::new();
        let _ = self.messages.read_to_string(&mut said);
        self.child
            .wait()
            .map_err(|error| format!("strace: {error}"))?;
        let text = fs::read_to_string(&self.out);
        let text = text.map_err(|error| format!("{}: {error}", self.out.display()))?;
        calls(&text).ok_or_else(|| format!("strace counted nothing: {said}\n{text}"))
    }
}

/// Of a table of `strace -c`: % time, seconds, usecs/call, calls, errors (or nothing), name.
fn calls(table: &str) -> Option<u64> {
    let total = table.lines().find(|line| line.ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}
