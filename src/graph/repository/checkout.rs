//! One commit of a repository, ready to be read.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use serde::Serialize;

use super::error::RepositoryError;
use super::kept::Objects;

/// A regular file of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// From the root, with `/`.
    pub path: String,
    /// Where its content is in the object database.
    pub blob: Oid,
}

/// Something that was not read, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    /// From the root, with `/`; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Why, for people.
    pub reason: String,
}

/// One commit of a repository. What was fetched for it is removed, or kept for the next time, when this is dropped.
#[derive(Debug)]
pub struct Checkout {
    pub(super) url: String,
    pub(super) commit: Oid,
    pub(super) branch: Option<String>,
    pub(super) files: Vec<TreeFile>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) received_bytes: u64,
    /// Path of the object database.
    pub(super) database: PathBuf,
    /// Where parsed imports are kept.
    pub(super) imports: Option<PathBuf>,
    pub(super) max_kept_bytes: u64,
    pub(super) import_path: Option<String>,
    /// Owns the database unless it is read in place.
    pub(super) _objects: Option<Objects>,
}

impl Checkout {
    /// The repository's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Id of the commit, in hexadecimal.
    #[must_use]
    pub fn commit(&self) -> String {
        self.commit.to_string()
    }

    /// Name of the branch it is the tip of, if that is known.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// All regular files with a proper name, sorted by path.
    #[must_use]
    pub fn files(&self) -> &[TreeFile] {
        &self.files
    }

    /// Entries of the tree that are left out: links, submodules, odd names, what is too deep.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Bytes received from the host, its list of branches included; 0 if the repository is on this machine.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// How Go imports name the repository; `None` if it is a folder.
    pub(in crate::graph) fn import_path(&self) -> Option<&str> {
        self.import_path.as_deref()
    }

    /// File for parsed imports, if they are to be kept, and how large it may be.
    pub(in crate::graph) fn kept_imports(&self) -> Option<(&Path, u64)> {
        Some((self.imports.as_deref()?, self.max_kept_bytes))
    }

    /// Opens the object database; each thread needs its own.
    pub(in crate::graph) fn open(&self) -> Result<Repository, RepositoryError> {
        open(&self.database)
    }
}

/// Opens a repository exactly where it is said to be.
pub(super) fn open(path: &Path) -> Result<Repository, RepositoryError> {
    let flags = git2::RepositoryOpenFlags::NO_SEARCH;
    let none: [&std::ffi::OsStr; 0] = [];
    Repository::open_ext(path, flags, none).map_err(|error| RepositoryError::Damaged(error.message().to_owned()))
}
