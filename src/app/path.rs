//! The path of a listening unix socket: who made it, who has to remove it, and what may be replaced.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::mem;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Why a path cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the path exists and is not a socket")]
    NotASocket,
    #[error("another process listens there")]
    InUse,
    #[error("whether another process listens there cannot be found out: {0}")]
    Unknown(io::Error),
}

/// Listens on `path`, in place of a socket that nobody answers on; anything else there is left alone.
/// `mode` replaces what the umask leaves.
///
/// # Errors
/// If the path is taken or cannot be had.
pub fn bind(
    path: &Path,
    kind: Type,
    mode: Option<u32>,
    backlog: i32,
) -> Result<(SocketPath, Socket), PathError> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, kind, &address)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let owned = SocketPath(RefCell::new(Owner::Us(Bound::new(path)?)));
    if let Some(mode) = mode {
        // Before listen: nobody can connect under other permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    Ok((owned, socket))
}

/// Removes what a process left at `path` that did not end cleanly.
fn remove_stale(path: &Path, kind: Type, address: &SockAddr) -> Result<(), PathError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(PathError::NotASocket),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // Non-blocking: a listener with a full backlog must not hold up the start.
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Ok(()) => Err(PathError::InUse),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
            io::ErrorKind::WouldBlock => Err(PathError::InUse),
            _ => Err(PathError::Unknown(error)),
        },
    }
}

/// The path of one socket, removed when this is dropped if it is this process's to remove.
#[derive(Debug, Default)]
pub struct SocketPath(RefCell<Owner>);

#[derive(Debug, Default)]
enum Owner {
    #[default]
    NotUs,
    /// Still the predecessor's; ours when it has let go.
    Heir {
        path: PathBuf,
        mode: Option<u32>,
    },
    Us(Bound),
}

impl SocketPath {
    /// A path that another process removes, as long as [`SocketPath::claim`] is not called. `mode` is
    /// set then.
    pub fn inherited(path: &Path, mode: Option<u32>) -> SocketPath {
        SocketPath(RefCell::new(Owner::Heir {
            path: path.to_owned(),
            mode,
        }))
    }

    /// Other permissions, if the path is this process's.
    ///
    /// # Errors
    /// As `chmod(2)`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        match &*self.0.borrow() {
            Owner::Us(bound) => fs::set_permissions(&bound.path, fs::Permissions::from_mode(mode)),
            Owner::NotUs | Owner::Heir { .. } => Ok(()),
        }
    }

    /// Takes over what was inherited. Failures are logged: the socket itself works.
    pub fn claim(&self) {
        let mut owner = self.0.borrow_mut();
        let Owner::Heir { path, mode } = &*owner else {
            return;
        };
        let permitted = match mode {
            Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(*mode)),
            None => Ok(()),
        };
        match permitted.and_then(|()| Bound::new(path)) {
            Ok(bound) => *owner = Owner::Us(bound),
            Err(error) => {
                tracing::warn!("taking over socket '{}' failed: {error}", path.display());
                *owner = Owner::NotUs;
            }
        }
    }

    /// Leaves the path to another process.
    pub fn leave(&self) {
        if let Owner::Us(bound) = self.0.take() {
            mem::forget(bound);
        }
    }

    pub fn is_ours(&self) -> bool {
        matches!(&*self.0.borrow(), Owner::Us(_))
    }
}

/// A socket's name in the file system.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Bound {
    fn new(path: &Path) -> io::Result<Bound> {
        Ok(Bound {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for Bound {
    /// Leaves alone what a successor has put there.
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("removing socket '{}' failed: {error}", self.path.display());
        }
    }
}
