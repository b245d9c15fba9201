//! Objects of repositories seen before, kept for the next time.
//!
//! A kept database is moved into the temporary folder of who uses it, and back afterwards: it has one user at most,
//! needs no lock, and after a crash it is swept with the folder and fetched anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::error::RepositoryError;
use super::limits::Places;
use super::temporary::TemporaryFolder;

/// Each fetch adds a pack; from this many on a fresh clone is better.
const MAX_PACKS: usize = 16;

/// An object database in a temporary folder.
#[derive(Debug)]
pub(super) struct Objects {
    folder: TemporaryFolder,
    /// Where it goes afterwards; `None` removes it.
    home: Option<PathBuf>,
    max_kept_bytes: u64,
}

impl Objects {
    /// Takes what is kept of a repository, or makes room for a fresh clone.
    pub(super) fn take(places: &Places, url: &str) -> Result<Self, RepositoryError> {
        let folder = TemporaryFolder::new(&places.temporary)?;
        let home = home(places, url, "git");
        let objects = Self { folder, home, max_kept_bytes: places.max_kept_bytes };
        if let Some(home) = &objects.home {
            // an error says that nothing is kept, or that it lies on another file system and cannot be moved
            let _ = fs::rename(home, objects.database());
        }
        Ok(objects)
    }

    /// Where the database is or shall be.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.path().join("objects.git")
    }

    /// Whether something was kept.
    pub(super) fn is_used(&self) -> bool {
        self.database().exists()
    }

    /// Throws away what is there, for a fresh clone.
    pub(super) fn clear(&self) -> Result<(), RepositoryError> {
        let database = self.database();
        if database.exists() {
            fs::remove_dir_all(&database).map_err(RepositoryError::folder(&database))
        } else {
            Ok(())
        }
    }

    fn give_back(&self, home: &Path) -> std::io::Result<()> {
        let packs = fs::read_dir(self.database().join("objects/pack"))?;
        let packs = packs.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "pack")).count();
        let Some(parent) = home.parent().filter(|_| packs > 0 && packs < MAX_PACKS) else { return Ok(()) };
        fs::create_dir_all(parent)?;
        if home.exists() {
            // somebody else fetched the same repository meanwhile; theirs is as good
            return Ok(());
        }
        fs::rename(self.database(), home)?;
        make_room(parent, self.max_kept_bytes)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        if let Some(home) = self.home.as_deref().filter(|_| self.is_used())
            && let Err(error) = self.give_back(home)
        {
            tracing::debug!(path = %home.display(), %error, "objects are not kept");
        }
    }
}

/// Where something of a repository is kept.
pub(super) fn home(places: &Places, url: &str, kind: &str) -> Option<PathBuf> {
    let digest = Sha256::digest(url.as_bytes());
    let number = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    Some(places.kept.as_ref()?.join(format!("{number:032x}.{kind}")))
}

/// Removes what was used longest ago until the rest is within the bound.
pub(super) fn make_room(folder: &Path, max_bytes: u64) -> std::io::Result<()> {
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|kind| kind == "git" || kind == "imports") {
            kept.push((entry.metadata()?.modified()?, size(&path), path));
        }
    }
    kept.sort_unstable_by(|a, b| b.cmp(a));
    let mut total = 0_u64;
    for (_, bytes, path) in kept {
        total = total.saturating_add(bytes);
        if total > max_bytes {
            total -= bytes;
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    Ok(())
}

/// Bytes of all files under a path; links are not followed.
fn size(path: &Path) -> u64 {
    let (mut total, mut open) = (0_u64, vec![path.to_owned()]);
    while let Some(path) = open.pop() {
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => {
                open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
            Ok(data) => total = total.saturating_add(data.len()),
            Err(_) => {}
        }
    }
    total
}
