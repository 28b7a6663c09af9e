//! What is behind the proxies: real servers, or the stand-in.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::children::{Child, Cpus, Nursery, free_port};
use crate::load::plan::{key, key_count};
use crate::options::BackendKind;
use crate::stub;

const PATIENCE: Duration = Duration::from_secs(10);

/// Running servers; stopped when dropped.
#[derive(Debug)]
pub struct Backends {
    pub ports: Vec<u16>,
    children: Vec<Child>,
}

impl Backends {
    /// So many servers, holding values of these sizes in bytes.
    ///
    /// # Errors
    /// If they do not come up.
    pub fn start(
        nursery: &Nursery,
        cpus: &Cpus,
        kind: BackendKind,
        count: usize,
        values: &[usize],
    ) -> Outcome<Backends> {
        let backends = match kind {
            BackendKind::Stub => return Backends::stub(nursery, cpus, &vec![0; count]),
            BackendKind::Redis => Backends::redis(nursery, cpus, count)?,
        };
        for port in &backends.ports {
            for value in values {
                fill(*port, *value)?;
            }
        }
        Ok(backends)
    }

    /// Stand-ins that take so many milliseconds for each reply.
    ///
    /// # Errors
    /// If they do not come up.
    pub fn stub(nursery: &Nursery, cpus: &Cpus, delays: &[u64]) -> Outcome<Backends> {
        let ports: Outcome<Vec<u16>> = delays.iter().map(|_| free_port()).collect();
        let ports = ports?;
        let mut command = nursery.role(stub::ROLE, cpus);
        for (port, delay) in ports.iter().zip(delays) {
            command.arg(format!("{port}:{delay}"));
        }
        let mut child = nursery.start("stub", command)?;
        for port in &ports {
            wait_for(*port, &mut child)?;
        }
        Ok(Backends {
            ports,
            children: vec![child],
        })
    }

    fn redis(nursery: &Nursery, cpus: &Cpus, count: usize) -> Outcome<Backends> {
        let mut backends = Backends {
            ports: Vec::new(),
            children: Vec::new(),
        };
        for _ in 0..count {
            let port = free_port()?;
            let mut command = nursery.command(Path::new("redis-server"), cpus);
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
            command.args(["--save", "", "--appendonly", "no", "--maxclients", "12000"]);
            let mut child = nursery.start(&format!("{port}.redis"), command)?;
            wait_for(port, &mut child)?;
            backends.ports.push(port);
            backends.children.push(child);
        }
        Ok(backends)
    }
}

/// Waits until somebody accepts connections there.
///
/// # Errors
/// If `child` ends or takes too long.
pub fn wait_for(port: u16, child: &mut Child) -> Outcome<()> {
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(why) = child.ended() {
            return Err(why.into());
        }
        if Instant::now() > end {
            return Err(format!("nobody listens on port {port}").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until a GET is answered with a value, or with that there is none.
///
/// # Errors
/// If `child` ends or takes too long.
pub fn wait_for_reply(port: u16, child: &mut Child) -> Outcome<()> {
    wait_for(port, child)?;
    let end = Instant::now() + PATIENCE;
    loop {
        let said = ask(port, &request(&[b"GET", key(64, 0).as_bytes()]));
        match said {
            Ok(b'$') => return Ok(()),
            _ if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
            _ => return Err(format!("no reply on port {port}").into()),
        }
    }
}

/// The first byte of the reply.
fn ask(port: u16, request: &[u8]) -> Outcome<u8> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(request)?;
    let mut byte = [0];
    socket.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// Every server gets every key: it does not matter then where a proxy looks for one.
fn fill(port: u16, value: usize) -> Outcome<()> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let value_bytes = vec![b'x'; value];
    for index in 0..key_count(value) {
        socket.write_all(&request(&[
            b"SET",
            key(value, index).as_bytes(),
            &value_bytes,
        ]))?;
        let mut reply = [0; 5];
        socket.read_exact(&mut reply)?;
        if &reply != b"+OK\r\n" {
            return Err("a server refuses to be filled".into());
        }
    }
    Ok(())
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
