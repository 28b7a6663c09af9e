//! `--daemonize`: a second process goes on in the background while the first waits to hear that clients
//! can connect, so that its exit status tells the truth.
//!
//! The second process is started, not forked: it makes its own session, keeps the working directory and
//! the umask, writes its early errors to the terminal it was started from, and lets go of that terminal
//! when it reports that it is ready.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

/// Written by the background process on its standard output once clients can connect.
const READY: &[u8] = b"ready";

/// Starts this program again, in the background, with `flag` added to its arguments, and waits until it
/// is ready or has failed.
///
/// # Errors
/// If no process could be started.
pub fn detach(flag: &str) -> io::Result<ExitCode> {
    let mut arguments = env::args_os();
    let mut command = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    let mut background = command
        .arg(flag)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut report = Vec::new();
    if let Some(mut output) = background.stdout.take() {
        output.read_to_end(&mut report)?;
    }
    if report == READY {
        return Ok(ExitCode::SUCCESS);
    }
    background.wait()?;
    Ok(ExitCode::FAILURE)
}

/// The background process's side.
pub struct Detached(());

impl Detached {
    /// Leaves the session of the process that started this one.
    ///
    /// # Errors
    /// If this process leads its group already, which one made by [`detach`] does not.
    pub fn new() -> io::Result<Detached> {
        rustix::process::setsid()?;
        Ok(Detached(()))
    }

    /// Tells the waiting process that clients can connect; from now on standard output and standard
    /// error lead nowhere.
    ///
    /// # Errors
    /// If `/dev/null` cannot be opened. That the other process is gone is not an error.
    pub fn ready(self) -> io::Result<()> {
        let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
        let mut output = io::stdout();
        let told = output.write_all(READY).and_then(|()| output.flush());
        rustix::stdio::dup2_stderr(&nowhere)?;
        rustix::stdio::dup2_stdout(&nowhere)?;
        match told {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}
