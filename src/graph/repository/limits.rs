//! What a repository may cost, and where its objects are put meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of what is fetched and read. Past the first five the repository is refused; single files past the last two
/// are skipped and reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most bytes received from a host.
    pub max_transfer_bytes: u64,
    /// Most entries of the tree: files, folders, links and submodules.
    pub max_entries: usize,
    /// Most source files.
    pub max_source_files: usize,
    /// Most bytes of source parsed at once; files that have not changed since the last time do not count.
    pub max_source_bytes: u64,
    /// Longest fetch and longest listing.
    pub timeout: Duration,
    /// Largest file read.
    pub max_file_bytes: u64,
    /// Deepest folder that is looked into.
    pub max_depth: usize,
}

impl Default for Limits {
    /// Enough for the largest public repositories of one language, little enough for a daemon with other work.
    fn default() -> Self {
        Self {
            max_transfer_bytes: 1 << 30,
            max_entries: 500_000,
            max_source_files: 100_000,
            max_source_bytes: 2 << 30,
            timeout: Duration::from_mins(10),
            max_file_bytes: 1 << 20,
            max_depth: 64,
        }
    }
}

/// Folders that reading may write to.
#[derive(Debug, Clone)]
pub struct Places {
    /// For temporary folders. Best on the same file system as `kept`.
    pub temporary: PathBuf,
    /// Where objects and parsed imports are kept for the next time; `None` keeps nothing.
    pub kept: Option<PathBuf>,
    /// Most bytes kept; the repositories used longest ago go first.
    pub max_kept_bytes: u64,
}

impl Places {
    /// Only a temporary folder; nothing is kept.
    #[must_use]
    pub fn temporary(folder: impl Into<PathBuf>) -> Self {
        Self { temporary: folder.into(), kept: None, max_kept_bytes: 0 }
    }
}
