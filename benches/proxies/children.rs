//! Child processes that never outlive this one, the processors they run on, and free ports.
//!
//! A child is started through this program itself ([`become_program`]): it binds itself to its processors,
//! asks the kernel to be killed when its parent ends (Ctrl-C, panic, kill -9), and becomes the program.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{env, fs};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

use crate::Outcome;
use crate::options::Options;

/// The first argument of a child that has not become its program yet.
pub const BECOME: &str = "become";

/// Processors, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    fn allowed() -> Outcome<Cpus> {
        let set = sched_getaffinity(None)?;
        Ok(Cpus(
            (0..CpuSet::MAX_CPU)
                .filter(|cpu| set.is_set(*cpu))
                .collect(),
        ))
    }

    fn text(&self) -> String {
        let numbers: Vec<String> = self.0.iter().map(usize::to_string).collect();
        numbers.join(",")
    }
}

/// Which processors the proxy has, and which the load generator and the servers share.
#[derive(Clone, Debug)]
pub struct Placement {
    pub proxy: Cpus,
    pub load: Cpus,
}

impl Placement {
    /// # Errors
    /// If the kernel does not say which processors there are.
    pub fn new(options: &Options) -> Outcome<Placement> {
        let all = Cpus::allowed()?;
        if options.no_pin || all.0.len() < 2 && !options.one_cpu {
            let (proxy, load) = (all.clone(), all);
            return Ok(Placement { proxy, load });
        }
        let (first, last) = (all.0[0], all.0[all.0.len() - 1]);
        Ok(Placement {
            proxy: Cpus(vec![first]),
            load: Cpus(vec![if options.one_cpu { first } else { last }]),
        })
    }

    /// Everything on the proxy's processor.
    pub fn one_cpu(&self) -> Outcome<Placement> {
        let first = Cpus(Cpus::allowed()?.0[..1].to_vec());
        let (proxy, load) = (first.clone(), first);
        Ok(Placement { proxy, load })
    }

    /// Two processors for the proxy, the others for the load; with fewer than four all for everybody.
    pub fn two_for_the_proxy() -> Outcome<Placement> {
        let all = Cpus::allowed()?;
        let (proxy, load) = if all.0.len() < 4 {
            (all.clone(), all)
        } else {
            (Cpus(all.0[..2].to_vec()), Cpus(all.0[2..].to_vec()))
        };
        Ok(Placement { proxy, load })
    }

    pub fn describe(&self) -> String {
        format!(
            "proxy on processor {}, load generator and servers on {}",
            self.proxy.text(),
            self.load.text()
        )
    }
}

/// Starts children and has a directory for their files, which goes with it.
#[derive(Debug)]
pub struct Nursery {
    program: PathBuf,
    dir: TempDir,
}

impl Nursery {
    /// # Errors
    /// If there is no room for temporary files.
    pub fn new() -> Outcome<Nursery> {
        Ok(Nursery {
            program: env::current_exe()?,
            dir: tempfile::Builder::new()
                .prefix("nuthatch-bench.")
                .tempdir()?,
        })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// # Errors
    /// If the file cannot be written.
    pub fn file(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.dir().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A command that becomes `program` on `cpus`. Start it on the main thread: the kernel kills it when
    /// the thread that started it ends.
    pub fn command(&self, program: &Path, cpus: &Cpus) -> Command {
        let mut command = Command::new(&self.program);
        command.args([BECOME, &process::id().to_string(), &cpus.text()]);
        command.arg(program).current_dir(self.dir());
        command
    }

    /// This program in one of its other roles.
    pub fn role(&self, role: &str, cpus: &Cpus) -> Command {
        let mut command = self.command(&self.program, cpus);
        command.arg(role);
        command
    }

    /// Starts `command` with its output in a file.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, name: &str, mut command: Command) -> Outcome<Child> {
        let path = self.dir().join(format!("{name}.log"));
        let log = File::create(&path)?;
        command.stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let process = command.spawn()?;
        Ok(Child { process, log: path })
    }
}

/// Killed, by its own process id, when dropped.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    log: PathBuf,
}

impl Child {
    pub fn pid(&self) -> i32 {
        Pid::from_child(&self.process).as_raw_nonzero().get()
    }

    /// Why it is not running, with the end of what it said; nothing while it runs.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok().flatten()?;
        let said = fs::read(&self.log).unwrap_or_default();
        let tail = &said[said.len().saturating_sub(300)..];
        let tail = String::from_utf8_lossy(tail);
        Some(format!("ended with {status}: {}", tail.trim()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails only for a process that has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `PARENT CPUS PROGRAM ARGUMENTS...`: becomes that program.
///
/// # Errors
/// If it cannot.
pub fn become_program(mut arguments: impl Iterator<Item = OsString>) -> Outcome<()> {
    let mut next = |what: &str| {
        let text = arguments.next().ok_or_else(|| format!("no {what}"))?;
        text.into_string().map_err(|_| format!("{what} is no text"))
    };
    let parent: i32 = next("parent")?.parse()?;
    let cpus = next("processors")?;
    let program = next("program")?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err("the parent has ended".into());
    }
    let mut set = CpuSet::new();
    for cpu in cpus.split(',') {
        set.set(cpu.parse()?);
    }
    sched_setaffinity(None, &set)?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// A loopback port nobody listens on, below the range from which the kernel takes those of outgoing
/// connections.
///
/// # Errors
/// If all are taken.
pub fn free_port() -> Outcome<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u64::from(process::id()) * 7919;
    for _ in 0..COUNT {
        let step = u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((start + step) % u64::from(COUNT))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".into())
}
