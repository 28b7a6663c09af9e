//! The file that holds the process id, for as long as the process runs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

/// Removes the file when dropped, unless another process has taken it over since.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// What it held before.
    before: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
#[error("writing pid file '{}' failed: {cause}", path.display())]
pub struct WriteError {
    path: PathBuf,
    cause: io::Error,
}

impl PidFile {
    /// Writes this process's id as decimal digits without an end of line, as nutcracker does. What a
    /// process left there that did not end cleanly is overwritten.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(path: &Path) -> Result<PidFile, WriteError> {
        let before = fs::read(path).ok();
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(path)
            .and_then(|mut file| file.write_all(process::id().to_string().as_bytes()));
        match written {
            Ok(()) => Ok(PidFile {
                path: path.to_owned(),
                before,
            }),
            Err(cause) => Err(WriteError {
                path: path.to_owned(),
                cause,
            }),
        }
    }

    /// Puts back what the file held before: the process it named goes on.
    pub fn give_back(mut self) {
        if let Some(before) = self.before.take()
            && let Err(error) = fs::write(&self.path, before)
        {
            let path = self.path.display();
            tracing::warn!("restoring pid file '{path}' failed: {error}");
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = process::id().to_string();
        if fs::read(&self.path).is_ok_and(|content| content == ours.as_bytes())
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(
                "removing pid file '{}' failed: {error}",
                self.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "99999999 left over").unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            process::id().to_string()
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn can_be_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "1").unwrap();
        PidFile::write(&path).unwrap().give_back();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
    }

    #[test]
    fn stays_if_another_process_took_it_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
    }
}
