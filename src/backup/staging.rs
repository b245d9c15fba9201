//! A directory for copies on their way, gone when this is dropped.

use std::path::{Path, PathBuf};

use super::BackupError;

/// The directory.
#[derive(Debug)]
pub(super) struct Staging(PathBuf);

impl Staging {
    /// Makes a new one of this name in `parent`, which is made where it is missing.
    pub(super) fn new(parent: &Path, name: &str) -> Result<Self, BackupError> {
        let path = parent.join(name);
        std::fs::create_dir_all(parent).map_err(BackupError::file(parent))?;
        std::fs::create_dir(&path).map_err(BackupError::file(&path))?;
        Ok(Self(path))
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, directory = %self.0.display(), "copies on their way can't be deleted");
        }
    }
}
