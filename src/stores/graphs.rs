//! What the trainer and the API need of a store of learned graphs.
//!
//! A training is written under an id of its own while the graph before stays in use: [`GraphStore::begin`], then
//! [`GraphStore::add`] for batch after batch, then [`GraphStore::publish`], which puts it in the place of the one before
//! in one step. Who asks meanwhile gets the one or the other, never a mixture.

mod nearest;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

pub use self::nearest::{Nearest, cosine, norm};
use super::documents::StoreError;

/// Files that one call of [`GraphStore::add`] is given.
pub const BATCH_FILES: usize = 100;
/// Most graphs of a listing.
pub const MAX_GRAPHS: usize = 1000;
/// Names given where a file is asked for that is not there.
pub const MAX_SUGGESTIONS: usize = 5;
/// A training begun so long ago and never published is dropped with the next one that begins, milliseconds.
pub const STALE_MS: i64 = 86_400_000;

/// A learned graph, without its files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Graph {
    /// Of this training.
    pub id: Arc<str>,
    /// The repository, as its URL is written after validation.
    pub repo_url: Arc<str>,
    /// Commit that was read, in hexadecimal digits.
    pub commit: String,
    /// The job that trained it.
    pub job_id: String,
    /// Correlation id of the job.
    pub correlation_id: String,
    /// When it was trained, in whole microseconds.
    pub trained_at: DateTime<Utc>,
    /// Values of each vector.
    pub dimension: u32,
    /// Files with a vector.
    pub files: u64,
    /// Files that import another, or are imported: only these have something to be near to.
    pub connected_files: u64,
    /// Edges between files, each pair once.
    pub edges: u64,
    /// All figures of the training.
    pub metrics: Value,
}

/// A file with its place in the learned space.
#[derive(Debug, Clone, PartialEq)]
pub struct FileVector {
    /// Path in the repository, `/` between its parts.
    pub path: Arc<str>,
    /// Its language.
    pub language: Arc<str>,
    /// Files it imports.
    pub imports: u32,
    /// Files that import it.
    pub imported_by: u32,
    /// `dimension` values.
    pub vector: Arc<[f32]>,
}

impl FileVector {
    /// Whether it has an edge: without one, its place says nothing.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.imports > 0 || self.imported_by > 0
    }
}

/// A file that lies near another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearFile {
    /// Its path.
    pub file_path: Arc<str>,
    /// Its language.
    pub language: Arc<str>,
    /// Files it imports.
    pub imports: u32,
    /// Files that import it.
    pub imported_by: u32,
    /// Cosine of both vectors, -1 to 1.
    pub similarity: f32,
}

/// What there is about a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Similar {
    /// No graph of this repository is there.
    NoGraph,
    /// The graph has no such file; names that end the same way, if there are any.
    NoFile(Graph, Vec<Arc<str>>),
    /// The nearest files that have an edge, best first. Empty if the file itself has none.
    Found(Graph, Vec<NearFile>),
}

/// A training, published or on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Its graph.
    pub graph: Graph,
    /// Whether it is the one of its repository that counts.
    pub is_published: bool,
}

/// How the vectors of files that are kept elsewhere too differ from those of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GraphDrift {
    /// Vectors of published graphs that are there as they are in the store.
    pub same: u64,
    /// Those that are not there, or otherwise.
    pub missing: u64,
    /// Vectors that no training of the store has.
    pub extra: u64,
}

/// Keeps learned graphs, one per repository.
pub trait GraphStore: Send + Sync {
    /// Begins a training. What another began for the same repository and did not publish is dropped: the newest counts.
    fn begin(&self, graph: Graph) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds files to a training that was begun, the same files again in place of themselves. Fails with
    /// [`StoreError::Refused`] if the training was dropped.
    fn add<'a>(&'a self, id: &'a str, files: Vec<FileVector>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Puts a training in the place of the one before, in one step. Again is harmless. Fails with
    /// [`StoreError::Refused`] if it was dropped, or has not all its files.
    fn publish<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Drops a training that was begun and not published.
    fn abandon<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Published graphs, newest first, at most [`MAX_GRAPHS`].
    fn list(&self) -> BoxFuture<'_, Result<Vec<Graph>, StoreError>>;

    /// The `k` files nearest to `path` in the graph of `repo_url`.
    fn similar<'a>(&'a self, repo_url: &'a str, path: &'a str, k: usize) -> BoxFuture<'a, Result<Similar, StoreError>>;

    /// Trainings that were begun and neither published nor dropped.
    fn unfinished(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// The published graph of a repository.
    fn published<'a>(&'a self, repo_url: &'a str) -> BoxFuture<'a, Result<Option<Graph>, StoreError>>;

    /// Every training there is, the newest first.
    fn trainings(&self) -> BoxFuture<'_, Result<Vec<Training>, StoreError>>;

    /// Files of a training in the order of their paths, at most [`BATCH_FILES`], from after a path on.
    fn files_after<'a>(
        &'a self,
        id: &'a str,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<FileVector>, StoreError>>;

    /// Compares vectors that are kept elsewhere too with those of the store, while both are in use, and mends them unless
    /// it is a dry run; `None` if the store alone has them. Safe to drop halfway.
    fn reconcile(&self, dry_run: bool) -> BoxFuture<'_, Result<Option<GraphDrift>, StoreError>> {
        let _ = dry_run;
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Values as a column of bytes, little-endian.
#[must_use]
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Values of a column; `None` if it is no whole number of them.
#[must_use]
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = bytes.as_chunks();
    rest.is_empty().then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
