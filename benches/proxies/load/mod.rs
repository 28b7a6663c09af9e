//! The load generator: a process of its own, so that neither its threads nor its open files are the
//! harness's.
//!
//! It reads an [`Order`] from its standard input, connects, warms up, says `ready`, waits for a line,
//! does the measured part, answers with a [`Report`], and keeps its connections until its input ends.

mod burst;
mod engine;
pub mod plan;
pub mod traffic;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use plan::{Order, Report};

use crate::Outcome;
use crate::children::{Cpus, Nursery};

const READY: &str = "ready";

/// A load generator that is connected and has warmed up. Dropping it closes its connections.
#[derive(Debug)]
pub struct Load {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Load {
    /// # Errors
    /// What went wrong in connecting or warming up.
    pub fn start(nursery: &Nursery, cpus: &Cpus, order: &Order) -> Outcome<Load> {
        let mut command = nursery.role(plan::ROLE, cpus);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the load generator has no pipes".into());
        };
        let output = BufReader::new(output);
        let mut load = Load {
            process,
            input,
            output,
        };
        let order = serde_json::to_string(order)?;
        // If it has died, what it said says why.
        let _ = writeln!(load.input, "{order}");
        let line = load.line()?;
        if line == READY {
            Ok(load)
        } else {
            Err(line.into())
        }
    }

    /// The measured part.
    ///
    /// # Errors
    /// A wrong reply, a lost connection, or no end in time.
    pub fn run(&mut self) -> Outcome<Report> {
        writeln!(self.input, "go")?;
        let line = self.line()?;
        Ok(serde_json::from_str(&line)?)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if !line.is_empty() {
            return Ok(line.trim_end().to_owned());
        }
        let mut why = String::new();
        if let Some(errors) = &mut self.process.stderr {
            errors.read_to_string(&mut why)?;
        }
        Err(format!("load generator: {}", why.trim()).into())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the load generator's process does.
///
/// # Errors
/// As [`Load::start`] and [`Load::run`].
pub fn serve() -> Outcome<()> {
    let mut lines = io::stdin().lines();
    let order = lines.next().ok_or("no order")??;
    let mut gate = Gate { lines };
    let report = match serde_json::from_str(&order)? {
        Order::Plan(plan) => engine::run(&plan, &mut gate)?,
        Order::Burst(burst) => burst::run(&burst, &mut gate)?,
    };
    let (report, _connections) = report;
    println!("{}", serde_json::to_string(&report)?);
    // Until the harness has looked at what the open connections cost.
    gate.lines.next();
    Ok(())
}

/// Between warming up and the measured part.
struct Gate {
    lines: io::Lines<io::StdinLock<'static>>,
}

impl Gate {
    fn wait(&mut self) -> Outcome<()> {
        println!("{READY}");
        self.lines.next().ok_or("the harness has gone")??;
        Ok(())
    }
}

fn connect(port: u16) -> Outcome<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(10))
        .map_err(|error| format!("connecting to port {port}: {error}"))?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
