//! What everything costs that can be switched on: Nuthatch with all of it against Nuthatch with none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::backends::{Backends, wait_for};
use crate::children::{Child, Placement, free_port};
use crate::goals::{details, plan};
use crate::peers::{Peer, server_name};
use crate::report::Report;
use crate::runner::{Context, Sample, compare};
use crate::scenarios::{Metric, SCENARIOS, Scenario};
use crate::table::{Table, against, figure};

const SERVERS: usize = 3;
const SENTINELS: usize = 3;
const COST: f64 = 1.03;

/// How often the statistics are read.
const POLL: Duration = Duration::from_secs(1);

/// Answers with how many comparisons failed.
///
/// # Errors
/// If the servers or sentinels do not come up.
pub fn run(context: &Context, report: &mut Report) -> Outcome<usize> {
    report.say("\n## features: everything on, against the leanest configuration\n");
    let mut table = Table::new(&["scenario", "what", "lean", "everything on", "ratio (goal)"]);
    let mut failures = 0;
    let wanted = SCENARIOS
        .iter()
        .filter(|scenario| context.options.wants(scenario.name));
    for scenario in wanted.filter(|scenario| scenario.metric == Metric::Cpu) {
        let [lean, ratio, full] = measure(context, scenario, report)?;
        failures += usize::from(ratio.is_none());
        table.row(vec![
            scenario.name.to_owned(),
            scenario.what.to_owned(),
            figure(lean),
            figure(full),
            against(ratio, COST, true),
        ]);
    }
    report.say(table.to_string());
    report.say(
        "Processor time in microseconds per request. Everything on: servers found through three sentinels, \
         statistics and metrics read once a second, a slow log threshold, timeouts, ejection, limits, \
         keepalive, --watch and --handover.",
    );
    Ok(failures)
}

/// The cost of a request in the leanest configuration, the ratio, the cost with everything on.
fn measure(
    context: &Context,
    scenario: &Scenario,
    report: &mut Report,
) -> Outcome<[Option<f64>; 3]> {
    let options = context.options;
    let placement = Placement::new(options)?;
    let backends = Backends::start(
        context.nursery,
        &placement.load,
        options.backend,
        SERVERS,
        &[scenario.value],
    )?;
    let (ports, _sentinels) = sentinels(context, &placement, &backends)?;
    let statistics = free_port()?;
    let lean = Peer::nuthatch(options)?.named("lean");
    let socket = context.nursery.dir().join(format!("{statistics}.handover"));
    let full = lean.named("everything on").with(
        &everything(&ports),
        &[
            "-s",
            &statistics.to_string(),
            "--watch",
            "--handover",
            &socket.to_string_lossy(),
        ],
    );
    let reader = Reader::start(statistics);
    let plan = plan(options, scenario);
    let peers = [lean.clone(), full.clone()];
    let comparison = compare(context, &placement, &peers, &backends, &plan);
    if reader.most_sentinels()? < SENTINELS as u64 {
        return Err("the sentinels were not followed".into());
    }
    report.say(format!("{}, {}:\n", scenario.name, scenario.what));
    report.say(details(&comparison).to_string());
    report.record(&format!("features {}", scenario.name), &comparison)?;
    let cost = |peer: &Peer| comparison.of(&peer.name)?.median(Sample::cpu_us);
    let ratio = comparison.ratio(&full.name, &lean.name, Sample::cpu_us);
    Ok([cost(&lean), ratio, cost(&full)])
}

/// Keys of a pool that has everything.
fn everything(sentinels: &[u16]) -> Vec<String> {
    let mut keys: Vec<String> = [
        "timeout: 5000",
        "auto_eject_hosts: true",
        "server_failure_limit: 3",
        "server_retry_timeout: 30000",
        "tcpkeepalive: true",
        "slow_request_time: 1000",
        "client_connections: 15000",
        "client_pending_limit: 20000",
        "client_output_limit: 256mb",
        "max_request_bytes: 64mb",
        "max_arguments: 100000",
        "failover_hold: 1000",
        "outage_hold: 100",
        "sentinels:",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.extend(sentinels.iter().map(|port| format!(" - 127.0.0.1:{port}")));
    keys
}

/// Sentinels that watch all servers; they do not know of each other if the servers are stand-ins.
fn sentinels(
    context: &Context,
    placement: &Placement,
    backends: &Backends,
) -> Outcome<(Vec<u16>, Vec<Child>)> {
    let mut running = (Vec::new(), Vec::new());
    for _ in 0..SENTINELS {
        let port = free_port()?;
        let mut text = format!("port {port}\nbind 127.0.0.1\n");
        for (index, server) in backends.ports.iter().enumerate() {
            let name = server_name(index);
            text += &format!("sentinel monitor {name} 127.0.0.1 {server} 2\n");
            // A busy processor is no failure.
            text += &format!("sentinel down-after-milliseconds {name} 60000\n");
        }
        let config = context
            .nursery
            .file(&format!("{port}.sentinel.conf"), &text)?;
        let program = Path::new("redis-sentinel");
        let mut command = context.nursery.command(program, &placement.load);
        command.arg(config);
        let mut child = context
            .nursery
            .start(&format!("{port}.sentinel"), command)?;
        wait_for(port, &mut child)?;
        running.0.push(port);
        running.1.push(child);
    }
    Ok(running)
}

/// A monitoring system: reads the statistics and the metrics once a second until dropped.
struct Reader {
    end: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Reader {
    fn start(port: u16) -> Reader {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let (mut next, mut most) = (Instant::now(), 0);
            while !ended.load(Relaxed) {
                if Instant::now() < next {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
                next += POLL;
                // It may not be there yet, or no more.
                most = most.max(sentinels_up(port).unwrap_or(0));
                let _ = read(port, "/metrics");
            }
            most
        });
        Reader { end, thread }
    }

    /// Ends, and says how many sentinels were up at most: was what is measured switched on?
    fn most_sentinels(self) -> Outcome<u64> {
        self.end.store(true, Relaxed);
        Ok(self
            .thread
            .join()
            .map_err(|_| "reading the statistics failed")?)
    }
}

fn sentinels_up(port: u16) -> Outcome<u64> {
    let answer = read(port, "/stats")?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    let statistics: Value = serde_json::from_str(body)?;
    let up = statistics["bench"]["sentinels_up"].as_u64();
    Ok(up.ok_or("no sentinels_up")?)
}

fn read(port: u16, path: &str) -> Outcome<String> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(POLL))?;
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
