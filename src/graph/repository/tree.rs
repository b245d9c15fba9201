//! Lists the files of a commit without checking anything out.

use std::ops::ControlFlow;
use std::time::Instant;

use git2::{Oid, Repository, Tree, TreeEntry};

use super::checkout::{Skipped, TreeFile};
use super::error::RepositoryError;
use super::limits::Limits;
use crate::graph::reading::{Observer, Progress, Stage};

const LINK: i32 = 0o120_000;
const SUBMODULE: i32 = 0o160_000;
const FOLDER: i32 = 0o040_000;

/// What a listing finds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<TreeFile>,
    pub(super) skipped: Vec<Skipped>,
}

/// A folder still to be listed.
struct Open {
    tree: Oid,
    /// Ends in `/`, or is empty.
    prefix: String,
    depth: usize,
}

/// Lists all files under a tree. Trees that contain one tree many times are bounded by the number of entries, not by
/// the number of objects.
pub(super) fn list(
    repository: &Repository,
    root: Oid,
    limits: &Limits,
    observer: Observer<'_>,
) -> Result<Listing, RepositoryError> {
    let deadline = Instant::now() + limits.timeout;
    let (mut listing, mut entries) = (Listing::default(), 0_usize);
    let mut open = vec![Open { tree: root, prefix: String::new(), depth: 0 }];
    while let Some(folder) = open.pop() {
        let tree =
            repository.find_tree(folder.tree).map_err(|error| RepositoryError::Damaged(error.message().to_owned()))?;
        if let Some(reason) = belongs_to_others(&folder.prefix, &tree) {
            listing.skip(folder.prefix.trim_end_matches('/').to_owned(), reason);
            continue;
        }
        entries += tree.len();
        if entries > limits.max_entries {
            return Err(RepositoryError::TooLarge { what: "entries", limit: limits.max_entries as u64 });
        }
        for entry in &tree {
            listing.add(&entry, &folder, limits, &mut open);
        }
        let progress = Progress { stage: Stage::Listing, done: listing.files.len() as u64, total: None };
        if observer(progress) == ControlFlow::Break(()) {
            return Err(RepositoryError::Cancelled);
        }
        if Instant::now() > deadline {
            return Err(RepositoryError::TimedOut { seconds: limits.timeout.as_secs() });
        }
    }
    listing.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    // a damaged tree can have one name twice
    listing.files.dedup_by(|a, b| a.path == b.path);
    listing.skipped.sort_unstable();
    Ok(listing)
}

impl Listing {
    fn skip(&mut self, path: String, reason: &str) {
        self.skipped.push(Skipped { path, reason: reason.to_owned() });
    }

    fn add(&mut self, entry: &TreeEntry<'_>, folder: &Open, limits: &Limits, open: &mut Vec<Open>) {
        let path = format!("{}{}", folder.prefix, String::from_utf8_lossy(entry.name_bytes()));
        let Ok(name) = std::str::from_utf8(entry.name_bytes()) else {
            return self.skip(path, "name is not utf-8");
        };
        if !is_proper(name) {
            return self.skip(path, "name is not safe");
        }
        match entry.filemode_raw() {
            LINK => self.skip(path, "symbolic link"),
            SUBMODULE => self.skip(path, "submodule"),
            FOLDER if folder.depth + 1 > limits.max_depth => self.skip(path, "too deep"),
            FOLDER => open.push(Open { tree: entry.id(), prefix: format!("{path}/"), depth: folder.depth + 1 }),
            _ => self.files.push(TreeFile { path, blob: entry.id() }),
        }
    }
}

/// Whether a name could stand in a folder and nowhere else.
fn is_proper(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && !name.eq_ignore_ascii_case(".git")
        && !name.chars().any(|character| matches!(character, '/' | '\\') || character.is_control())
}

/// Why a folder is not the repository's own code, if it is not.
fn belongs_to_others(prefix: &str, tree: &Tree<'_>) -> Option<&'static str> {
    let name = prefix.trim_end_matches('/').rsplit('/').next()?;
    if name == "node_modules" {
        return Some("installed packages");
    }
    if name == "vendor" && tree.get_name("modules.txt").is_some() {
        return Some("vendored modules");
    }
    (!name.is_empty() && tree.get_name("pyvenv.cfg").is_some()).then_some("virtual environment")
}
