//! A directory for copies on their way, gone when this is dropped.

use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};

use super::BackupError;
use super::manifest::time_of;

/// Copies of this age are on their way nowhere.
const LEFT_BEHIND: TimeDelta = TimeDelta::days(1);

/// The directory.
#[derive(Debug)]
pub(super) struct Staging(PathBuf);

impl Staging {
    /// Makes a new one of this name in `parent`, which is made where it is missing.
    pub(super) fn new(parent: &Path, name: &str) -> Result<Self, BackupError> {
        let path = parent.join(name);
        std::fs::create_dir_all(parent).map_err(BackupError::file(parent))?;
        sweep(parent);
        std::fs::create_dir(&path).map_err(BackupError::file(&path))?;
        Ok(Self(path))
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Deletes what a process left behind that was killed.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((what, id)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
        let old = time_of(id).is_some_and(|at| Utc::now() - at > LEFT_BEHIND);
        // what a restore moved aside is the user's to delete
        if old && matches!(what, "backup" | "restore") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, directory = %self.0.display(), "copies on their way can't be deleted");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_was_left_behind_goes_and_what_a_user_may_want_stays() {
        let parent = tempfile::tempdir().unwrap();
        let now = super::super::manifest::id_of(Utc::now());
        let old = "20200101T000000000Z";
        for name in
            [format!("backup-{old}"), format!("restore-{old}"), format!("replaced-{old}"), format!("backup-{now}")]
        {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let staging = Staging::new(parent.path(), "backup-x").unwrap();
        std::fs::write(staging.file("copy"), "x").unwrap();
        drop(staging);
        let mut left: Vec<String> = std::fs::read_dir(parent.path())
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [format!("backup-{now}"), format!("replaced-{old}")]);
    }
}
