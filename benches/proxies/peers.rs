//! The proxies that are compared, and configurations of equal meaning for them: three servers (or as many
//! as there are) of equal weight, hashed with fnv1a_64 and placed with ketama, one thread, nothing that
//! is logged per request.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::children::{Cpus, Nursery, free_port};
use crate::options::Options;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first server itself.
    Direct,
    Nuthatch,
    Nutcracker,
    Predixy,
    Envoy,
}

/// A proxy and how it is run.
#[derive(Clone, Debug)]
pub struct Peer {
    /// In tables.
    pub name: String,
    pub kind: Kind,
    program: PathBuf,
    /// Nuthatch's `--workers`.
    workers: usize,
    /// Nuthatch's further keys of the pool, as lines of YAML.
    keys: Vec<String>,
    /// Nuthatch's further arguments.
    arguments: Vec<String>,
}

pub const NUTHATCH: &str = "nuthatch";
/// The second build of it.
pub const OTHER: &str = "nuthatch, other";
pub const NUTCRACKER: &str = "nutcracker";
pub const PREDIXY: &str = "predixy";
pub const DIRECT: &str = "direct";

impl Peer {
    fn new(name: &str, kind: Kind, program: PathBuf) -> Peer {
        Peer {
            name: name.to_owned(),
            kind,
            program,
            workers: 1,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// # Errors
    /// If the program is not there.
    pub fn nuthatch(options: &Options) -> Outcome<Peer> {
        Ok(Peer::new(
            NUTHATCH,
            Kind::Nuthatch,
            absolute(&options.nuthatch)?,
        ))
    }

    pub fn direct() -> Peer {
        Peer::new(DIRECT, Kind::Direct, PathBuf::new())
    }

    /// The same by another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Peer {
        Peer {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    #[must_use]
    pub fn workers(self, workers: usize) -> Peer {
        Peer { workers, ..self }
    }

    /// Nuthatch with these keys of its pool and these arguments besides.
    #[must_use]
    pub fn with(self, keys: &[String], arguments: &[&str]) -> Peer {
        Peer {
            keys: keys.to_vec(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            ..self
        }
    }

    /// Nuthatch, and all others that are there.
    ///
    /// # Errors
    /// If one that was asked for is not there.
    pub fn all(options: &Options) -> Outcome<Vec<Peer>> {
        let mut peers = vec![Peer::nuthatch(options)?];
        if let Some(path) = &options.also {
            peers.push(Peer::new(OTHER, Kind::Nuthatch, absolute(path)?));
        }
        for (name, kind, path) in [
            (NUTCRACKER, Kind::Nutcracker, &options.nutcracker),
            (PREDIXY, Kind::Predixy, &options.predixy),
            ("envoy", Kind::Envoy, &options.envoy),
        ] {
            let program = match path {
                Some(path) => Some(absolute(path)?),
                None if kind == Kind::Nutcracker => in_path(name),
                None => None,
            };
            match program {
                Some(program) => peers.push(Peer::new(name, kind, program)),
                None if kind == Kind::Envoy => {}
                None => eprintln!("{name} is left out: say where it is with --{name} PATH"),
            }
        }
        Ok(peers)
    }

    /// What it says about its version.
    pub fn version(&self) -> Option<String> {
        let argument = match self.kind {
            Kind::Direct => return None,
            Kind::Predixy => "-v",
            Kind::Nuthatch | Kind::Nutcracker | Kind::Envoy => "--version",
        };
        let output = Command::new(&self.program).arg(argument).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let line = said.lines().find(|line| !line.trim().is_empty())?;
        // "This is nutcracker-0.5.0", "/path/predixy predixy-1.0.5", "/path/envoy version: COMMIT/1.40.0/Clean".
        let word = line.split_whitespace().last()?;
        let version = word.split('/').nth(1).unwrap_or(word);
        Some(version.to_owned())
    }

    /// The command that serves on `port` with these servers.
    ///
    /// # Errors
    /// If its configuration cannot be written.
    pub fn command(
        &self,
        nursery: &Nursery,
        cpus: &Cpus,
        port: u16,
        servers: &[u16],
    ) -> Outcome<Command> {
        let mut command = nursery.command(&self.program, cpus);
        let file = |ending: &str, text: String| nursery.file(&format!("{port}.{ending}"), &text);
        match self.kind {
            Kind::Direct => return Err("nothing to start".into()),
            Kind::Nuthatch => {
                let config = file("yml", twemproxy(port, servers, &self.keys))?;
                command.arg("-c").arg(config);
                command.args(["--workers", &self.workers.to_string()]);
                if !self.arguments.iter().any(|argument| argument == "-s") {
                    command.args(["-s", &free_port()?.to_string()]);
                }
                command.args(&self.arguments);
            }
            Kind::Nutcracker => {
                let config = file("yml", twemproxy(port, servers, &[]))?;
                command.arg("-c").arg(config);
                command.args(["-s", &free_port()?.to_string(), "-a", "127.0.0.1"]);
                // With its default, -v 5, it writes lines about requests and costs up to 1.7 times as
                // much.
                command.args(["-v", "1", "-m", "16384"]);
            }
            Kind::Predixy => {
                command.arg(file("conf", predixy(port, servers))?);
            }
            Kind::Envoy => {
                command.arg("-c").arg(file("yaml", envoy(port, servers))?);
                command.args(["--concurrency", "1", "-l", "error", "--disable-hot-restart"]);
            }
        }
        Ok(command)
    }
}

/// nutcracker.yml. Servers are named, so that keys lie where they lie whatever the ports are.
fn twemproxy(port: u16, servers: &[u16], keys: &[String]) -> String {
    let mut text = format!(
        "bench:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n  \
         preconnect: true\n"
    );
    if !keys.iter().any(|key| key.starts_with("auto_eject_hosts")) {
        text.push_str("  auto_eject_hosts: false\n");
    }
    for key in keys {
        let _ = writeln!(text, "  {key}");
    }
    text.push_str("  servers:\n");
    for (index, server) in servers.iter().enumerate() {
        let _ = writeln!(text, "   - 127.0.0.1:{server}:1 {}", server_name(index));
    }
    text
}

pub fn server_name(index: usize) -> String {
    format!("server{index}")
}

/// It has neither ketama nor fnv1a_64 by that name; crc16 and modula spread keys as evenly.
fn predixy(port: u16, servers: &[u16]) -> String {
    let mut text = format!(
        "Name bench\nBind 127.0.0.1:{port}\nWorkerThreads 1\nLog {port}.predixy.log\n\
         Authority {{\n    Auth {{\n        Mode write\n    }}\n}}\n\
         StandaloneServerPool {{\n    Databases 1\n    Hash crc16\n    Distribution modula\n    \
         RefreshMethod fixed\n"
    );
    for (index, server) in servers.iter().enumerate() {
        let name = server_name(index);
        let _ = writeln!(
            text,
            "    Group {name} {{\n        + 127.0.0.1:{server}\n    }}"
        );
    }
    text.push_str("}\n");
    text
}

/// Without the buffering that its documentation advises: a timer would hold back requests that are not
/// pipelined.
fn envoy(port: u16, servers: &[u16]) -> String {
    let address =
        |port: u16| format!("{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}");
    let mut text = format!(
        "static_resources:
  listeners:
  - name: bench
    address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: bench
          settings: {{op_timeout: 30s}}
          prefix_routes: {{catch_all_route: {{cluster: servers}}}}
  clusters:
  - name: servers
    type: STATIC
    connect_timeout: 1s
    lb_policy: MAGLEV
    load_assignment:
      cluster_name: servers
      endpoints:
      - lb_endpoints:
",
        listen = address(port)
    );
    for server in servers {
        let _ = writeln!(
            text,
            "        - endpoint: {{address: {}}}",
            address(*server)
        );
    }
    text
}

fn absolute(path: &Path) -> Outcome<PathBuf> {
    let path = path.canonicalize();
    Ok(path.map_err(|error| format!("a program that was asked for: {error}"))?)
}

/// In PATH, or where systems keep services.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
