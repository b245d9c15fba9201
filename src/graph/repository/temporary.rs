//! Temporary folders that do not outlive their use: removed when dropped, swept after a crash.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::RepositoryError;

/// Begin of every name, so that nothing else is ever swept.
const PREFIX: &str = "tidemill-graph-";
/// File whose lock says that the folder is in use. The system lets it go when the process ends, however it ends.
const LOCK: &str = "lock";

/// A folder of our own. Removed on drop.
#[derive(Debug)]
pub(super) struct TemporaryFolder {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl TemporaryFolder {
    /// Makes one under `parent`, which is made too if need be.
    pub(super) fn new(parent: &Path) -> Result<Self, RepositoryError> {
        fs::create_dir_all(parent).map_err(RepositoryError::folder(parent))?;
        let path = parent.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        make_private(&path).map_err(RepositoryError::folder(&path))?;
        let lock = File::create_new(path.join(LOCK)).and_then(|file| file.lock().map(|()| file));
        match lock {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir_all(&path);
                Err(RepositoryError::Folder { path, source: error })
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "temporary folder cannot be removed");
        }
    }
}

#[cfg(unix)]
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> std::io::Result<()> {
    fs::create_dir(path)
}

/// Removes the temporary folders under `parent` whose process is gone, and says how many. Folders in use, also by
/// other processes, stay. To be called at start.
///
/// # Errors
/// If `parent` is there but cannot be listed.
pub fn sweep(parent: &Path) -> Result<usize, RepositoryError> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(RepositoryError::Folder { path: parent.to_owned(), source: error }),
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if ours && is_left_over(&entry.path()) {
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "temporary folder cannot be removed");
                }
            }
        }
    }
    Ok(removed)
}

/// Whether nobody holds its lock. A folder without a lock file is one whose maker died, or is just about to make it:
/// it is left over only if it is older than a minute.
fn is_left_over(folder: &Path) -> bool {
    if let Ok(lock) = File::open(folder.join(LOCK)) {
        return lock.try_lock().is_ok();
    }
    let age = fs::metadata(folder).and_then(|data| data.modified()).ok().and_then(|made| made.elapsed().ok());
    age.is_some_and(|age| age.as_secs() > 60)
}
