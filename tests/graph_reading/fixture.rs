//! Repositories made of lists of files, and graphs as lists of names.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository, Signature};
use tempfile::TempDir;
use tidemill::graph::dependencies::{self, DependencyGraph, ReadOptions};
use tidemill::graph::reading::unobserved;
use tidemill::graph::repository::{self, Checkout, Limits, Places, RepositoryError, Source};

/// Mode of a regular file.
pub const FILE: i32 = 0o100_644;
/// Mode of a folder.
pub const FOLDER: i32 = 0o040_000;

/// A repository in a temporary folder.
pub struct Fixture {
    folder: TempDir,
    pub repository: Repository,
}

impl Fixture {
    /// A repository without commits.
    pub fn empty() -> Self {
        let folder = TempDir::new().unwrap();
        let repository = Repository::init_bare(folder.path().join("repository")).unwrap();
        Self { folder, repository }
    }

    /// A repository whose newest commit has these files.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let fixture = Self::empty();
        fixture.commit(files);
        fixture
    }

    /// Adds a commit that has exactly these files.
    pub fn commit(&self, files: &[(&str, &str)]) -> Oid {
        let mut index = git2::Index::new().unwrap();
        for (path, text) in files {
            let blob = self.repository.blob(text.as_bytes()).unwrap();
            index.add(&entry(path, blob)).unwrap();
        }
        let tree = index.write_tree_to(&self.repository).unwrap();
        self.commit_tree(tree)
    }

    /// Adds a commit of a tree.
    pub fn commit_tree(&self, tree: Oid) -> Oid {
        let by = Signature::new("tester", "tester@example.com", &git2::Time::new(0, 0)).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        let parent = self.repository.head().ok().map(|head| head.peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        self.repository.commit(Some("HEAD"), &by, &by, "a commit", &tree, &parents).unwrap()
    }

    /// Writes a tree byte by byte, past every check of names.
    pub fn raw_tree(&self, entries: &[(i32, &[u8], Oid)]) -> Oid {
        let mut bytes = Vec::new();
        for (mode, name, object) in entries {
            bytes.extend_from_slice(format!("{mode:o} ").as_bytes());
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(object.as_bytes());
        }
        self.repository.odb().unwrap().write(git2::ObjectType::Tree, &bytes).unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub fn source(&self) -> Source {
        Source::folder(&self.path())
    }

    /// Temporary and kept folders beside the repository.
    pub fn places(&self) -> Places {
        Places {
            temporary: self.folder.path().join("temporary"),
            kept: Some(self.folder.path().join("kept")),
            max_kept_bytes: 1 << 30,
        }
    }

    pub fn fetch(&self, limits: &Limits) -> Result<Checkout, RepositoryError> {
        repository::fetch(&self.source(), limits, &self.places(), &unobserved)
    }

    pub fn read_within(&self, limits: &Limits) -> Result<DependencyGraph, RepositoryError> {
        let options = ReadOptions { externals: true, ..ReadOptions::default() };
        dependencies::read(&self.fetch(limits)?, &options, limits, &unobserved)
    }

    /// The graph, external packages included.
    pub fn read(&self) -> DependencyGraph {
        self.read_within(&Limits::default()).unwrap()
    }
}

fn entry(path: &str, blob: Oid) -> git2::IndexEntry {
    let zero = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode: FILE.unsigned_abs(),
        uid: 0,
        gid: 0,
        file_size: 0,
        id: blob,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

/// Reads a repository of these files.
pub fn graph_of(files: &[(&str, &str)]) -> DependencyGraph {
    Fixture::of(files).read()
}

/// What a file imports, files and packages, sorted.
pub fn imports_of<'a>(graph: &'a DependencyGraph, from: &str) -> Vec<&'a str> {
    let from = (0..).zip(&graph.files).find(|(_, file)| file.path == from).unwrap().0;
    let mut names: Vec<&str> =
        graph.edges.iter().filter(|edge| edge.from == from).map(|edge| graph.name(edge.to)).collect();
    names.sort_unstable();
    names
}

/// Unresolved imports with file and line.
pub fn unresolved(graph: &DependencyGraph) -> Vec<(&str, u32, &str)> {
    graph.unresolved.iter().map(|one| (graph.name(one.file), one.line, one.import.as_str())).collect()
}

/// Reasons of what is skipped, by path.
pub fn skipped(graph: &DependencyGraph) -> Vec<(&str, &str)> {
    graph.skipped.iter().map(|one| (one.path.as_str(), one.reason.as_str())).collect()
}

/// How many entries a folder has; none if it is not there.
pub fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
