//! `nuthatch reload`: the file is checked, the process told, its answer printed.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::arguments::PROGRAM;
use super::commands::ReloadArguments;
use super::test_configuration;

/// For the process to take the file over: it may look up names and reach new servers meanwhile.
const PATIENCE: Duration = Duration::from_secs(15);
/// For one question to the statistics port.
const QUESTION: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(50);

pub fn run(arguments: &ReloadArguments) -> ExitCode {
    if test_configuration(&arguments.conf_file, false) == ExitCode::FAILURE {
        eprintln!("{PROGRAM}: not reloaded, the process goes on as it is");
        return ExitCode::FAILURE;
    }
    match reload(arguments) {
        Ok(Outcome::Applied {
            changes,
            generation,
        }) => {
            for change in &changes {
                println!("{change}");
            }
            match changes.len() {
                0 => println!("read again, nothing changed, generation {generation}"),
                n => println!("reloaded: {n} changes, generation {generation}"),
            }
            ExitCode::SUCCESS
        }
        Ok(Outcome::Refused(reasons)) => {
            for reason in reasons {
                eprintln!("{PROGRAM}: {reason}");
            }
            eprintln!("{PROGRAM}: refused, the running configuration stays");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the process made of the file.
enum Outcome {
    Applied {
        changes: Vec<String>,
        generation: u64,
    },
    Refused(Vec<String>),
}

fn reload(arguments: &ReloadArguments) -> Result<Outcome, String> {
    let pid = pid(arguments)?;
    let process = Process {
        host: &arguments.stats_addr,
        port: arguments.stats_port,
    };
    let before = process.reloads();
    kill_process(pid, Signal::HUP)
        .map_err(|error| format!("sending SIGHUP to process {pid} failed: {error}"))?;
    let unknown = |error: String| {
        format!(
            "SIGHUP was sent to process {pid}, but what came of it is not known: {error}; see its log"
        )
    };
    let before = before.map_err(unknown)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if process.reloads().map_err(unknown)? != before {
            return process.outcome().map_err(unknown);
        }
        if Instant::now() >= deadline {
            let (host, port) = (process.host, process.port);
            return Err(unknown(format!(
                "the process with statistics on {host}:{port} has not reloaded in {PATIENCE:?}"
            )));
        }
        sleep(PAUSE);
    }
}

fn pid(arguments: &ReloadArguments) -> Result<Pid, String> {
    let number = match (&arguments.pid, &arguments.pid_file) {
        (Some(number), _) => *number,
        (None, Some(file)) => {
            let shown = file.display();
            let text = fs::read_to_string(file)
                .map_err(|error| format!("reading pid file '{shown}' failed: {error}"))?;
            let text = text.trim();
            text.parse()
                .map_err(|_| format!("pid file '{shown}' has no process id"))?
        }
        (None, None) => return Err("a pid file (-p) or a process id (--pid) is needed".to_owned()),
    };
    // Zero and below are groups of processes.
    let pid = (number > 0).then(|| Pid::from_raw(number)).flatten();
    pid.ok_or_else(|| format!("{number} is no process id"))
}

/// The statistics port of the process.
struct Process<'a> {
    host: &'a str,
    port: u16,
}

impl Process<'_> {
    /// How often it has reloaded, with success and without.
    fn reloads(&self) -> Result<(u64, u64), String> {
        let stats = self.get("/stats")?;
        let count = |name: &str| {
            let value = stats[name].as_u64();
            value.ok_or_else(|| format!("its statistics have no {name}"))
        };
        Ok((count("config_reloads")?, count("config_reload_failures")?))
    }

    fn outcome(&self) -> Result<Outcome, String> {
        let config = self.get("/topology")?["config"].take();
        let last = &config["last_reload"];
        let lines = |name: &str| -> Vec<String> {
            let lines = last[name].as_array().into_iter().flatten();
            lines.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        match last["applied"].as_bool() {
            Some(true) => Ok(Outcome::Applied {
                changes: lines("changes"),
                generation: config["generation"].as_u64().unwrap_or_default(),
            }),
            Some(false) => Ok(Outcome::Refused(lines("reasons"))),
            None => Err("its statistics do not tell".to_owned()),
        }
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let (host, port) = (self.host, self.port);
        let asked =
            |error: io::Error| format!("asking its statistics on {host}:{port} failed: {error}");
        let mut reply = String::new();
        for _ in 0..ATTEMPTS {
            reply = self.exchange(path).map_err(asked)?;
            // Who is late with the question is taken for an agent of nutcracker's, and gets something else.
            if reply.starts_with("HTTP/") {
                break;
            }
        }
        let (_, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
        serde_json::from_str(body)
            .map_err(|_| format!("what answers on {host}:{port} is not {PROGRAM}'s statistics"))
    }

    /// The whole reply, head included.
    fn exchange(&self, path: &str) -> io::Result<String> {
        let mut addresses = (self.host, self.port).to_socket_addrs()?;
        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, QUESTION)?;
        stream.set_read_timeout(Some(QUESTION))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    }
}
