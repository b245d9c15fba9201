//! From the address of a repository to vectors of its files: fetching, reading, learning, one after the other.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use rayon::ThreadPool;
use serde_json::{Value, json};

use super::csr::Csr;
use super::dependencies::{self, DependencyGraph, ReadOptions};
use super::error::GraphError;
use super::node2vec::{self, Embeddings, Node2VecConfig};
use super::reading::{self, Stage};
use super::repository::{self, Limits, Places, RepositoryError, Source};

/// Unresolved imports and skipped files that are named in the figures.
const NAMED: usize = 20;

/// What to learn, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The repository.
    pub source: Source,
    /// What it may cost.
    pub limits: Limits,
    /// Where may be written.
    pub places: Places,
    /// What goes into the graph.
    pub options: ReadOptions,
    /// Whether walks follow an import only from who imports.
    pub directed: bool,
    /// Walks and training.
    pub training: Node2VecConfig,
    /// A commit that was learned before: while the repository is at it, nothing is learned.
    pub known_commit: Option<String>,
}

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The repository can't be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The graph can't be learned.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// It is still at the commit that was learned before.
    #[error("{url} is unchanged, at commit {commit}")]
    Unchanged {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
    },
    /// It has nothing that could be learned.
    #[error("{url} has no source files in a language that is understood at commit {commit}")]
    NoSource {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
    },
}

impl LearnError {
    /// Whether the observer said to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Repository(RepositoryError::Cancelled) | Self::Graph(GraphError::Cancelled { .. }))
    }

    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_retriable(),
            Self::Graph(error) => matches!(error, GraphError::Thread(_)),
            Self::NoSource { .. } | Self::Unchanged { .. } => false,
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// The repository is being read.
    Reading(reading::Progress),
    /// Its graph is being learned.
    Learning(node2vec::Progress),
}

impl Progress {
    /// Share of the whole that is done, 0 to 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let part = |progress: &reading::Progress| {
            progress.total.map_or(0.0, |total| (progress.done as f64 / total.max(1) as f64).min(1.0))
        };
        match self {
            Self::Reading(progress) => {
                let (from, to) = match progress.stage {
                    Stage::Connecting => (0.0, 0.01),
                    Stage::Receiving => (0.01, 0.05),
                    Stage::Listing => (0.05, 0.1),
                    Stage::Parsing => (0.1, 0.35),
                    Stage::Resolving => (0.35, 0.4),
                };
                from + (to - from) * part(progress)
            }
            Self::Learning(progress) => 0.4 + 0.6 * progress.done,
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Reading(reading::Progress { stage: Stage::Receiving, done, .. }) => {
                format!("receiving, {done} bytes")
            }
            Self::Reading(reading::Progress { stage, done, total: Some(total) }) => {
                format!("{}, {done} of {total} files", stage.name())
            }
            Self::Reading(reading::Progress { stage, .. }) => stage.name().to_owned(),
            Self::Learning(progress) => format!("learning, epoch {} of {}", progress.epoch, progress.epochs),
        }
    }
}

/// Hears of progress and says whether to go on. Called often and from several threads.
pub type Observer<'a> = &'a (dyn Fn(Progress) -> ControlFlow<()> + Sync);

/// A learned repository.
#[derive(Debug)]
pub struct Learned {
    /// Its address in normal form.
    pub url: String,
    /// The commit, in hexadecimal.
    pub commit: String,
    /// Its branch, if that is known.
    pub branch: Option<String>,
    /// Bytes received for it.
    pub received_bytes: u64,
    /// Files, imports and what could not be read.
    pub graph: DependencyGraph,
    /// A vector per node of the graph: files first.
    pub embeddings: Embeddings,
    /// Files imported by each file.
    pub imports: Vec<u32>,
    /// Files that import each file.
    pub imported_by: Vec<u32>,
    /// Time each part took, seconds.
    pub seconds: Seconds,
}

/// Time each part took, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Seconds {
    /// Fetching the objects and listing the files.
    pub fetch: f64,
    /// Parsing and resolving.
    pub read: f64,
    /// Walks and training.
    pub train: f64,
}

/// Fetches, reads and learns. Parses on `pool`; the training has threads of its own.
///
/// # Errors
/// Says what can't be read or learned. Whatever was fetched is gone, or kept for the next time, when this returns.
pub fn learn(plan: &Plan, pool: &ThreadPool, observer: Observer<'_>) -> Result<Learned, LearnError> {
    let read_observer = |progress| observer(Progress::Reading(progress));
    let mut seconds = Seconds::default();
    let started = Instant::now();
    let checkout = repository::fetch(&plan.source, &plan.limits, &plan.places, &read_observer)?;
    seconds.fetch = started.elapsed().as_secs_f64();
    if let Some(commit) = plan.known_commit.clone().filter(|known| *known == checkout.commit()) {
        return Err(LearnError::Unchanged { url: checkout.url().to_owned(), commit });
    }
    let started = Instant::now();
    let graph = pool.install(|| dependencies::read(&checkout, &plan.options, &plan.limits, &read_observer))?;
    seconds.read = started.elapsed().as_secs_f64();
    let (url, commit, branch) = (checkout.url().to_owned(), checkout.commit(), checkout.branch().map(str::to_owned));
    let received_bytes = checkout.received_bytes();
    drop(checkout); // its files are not needed any more
    if graph.files.is_empty() {
        return Err(LearnError::NoSource { url, commit });
    }
    let started = Instant::now();
    let csr = Csr::from_edges(graph.nodes(), &graph.weighted_edges(), plan.directed)?;
    let embeddings = node2vec::train(&csr, &plan.training, &mut |progress| observer(Progress::Learning(progress)))?;
    seconds.train = started.elapsed().as_secs_f64();
    let (imports, imported_by) = degrees(&graph);
    Ok(Learned { url, commit, branch, received_bytes, graph, embeddings, imports, imported_by, seconds })
}

/// How many files each file imports, and is imported by. External packages don't count.
fn degrees(graph: &DependencyGraph) -> (Vec<u32>, Vec<u32>) {
    let files = graph.files.len();
    let (mut imports, mut imported_by) = (vec![0_u32; files], vec![0_u32; files]);
    for edge in &graph.edges {
        let (from, to) = (edge.from as usize, edge.to as usize);
        if from < files && to < files {
            imports[from] += 1;
            imported_by[to] += 1;
        }
    }
    (imports, imported_by)
}

impl Learned {
    /// Files with an edge to another file.
    #[must_use]
    pub fn connected_files(&self) -> u64 {
        self.imports.iter().zip(&self.imported_by).filter(|&(out, back)| out + back > 0).count() as u64
    }

    /// Pairs of files of which one imports the other.
    #[must_use]
    pub fn file_edges(&self) -> u64 {
        self.imports.iter().map(|&count| u64::from(count)).sum()
    }

    /// Loss of the last epoch.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        self.embeddings.losses.last().map(|epoch| epoch.loss).filter(|loss| loss.is_finite())
    }

    /// All figures, for people and history.
    #[must_use]
    pub fn figures(&self) -> Value {
        let graph = &self.graph;
        let mut languages: BTreeMap<&str, u64> = BTreeMap::new();
        for file in &graph.files {
            *languages.entry(file.language.name()).or_default() += 1;
        }
        let unresolved: Vec<Value> = graph
            .unresolved
            .iter()
            .take(NAMED)
            .map(|one| json!({ "file": graph.name(one.file), "line": one.line, "import": one.import }))
            .collect();
        let losses: Vec<Value> =
            self.embeddings.losses.iter().map(|one| json!({ "epoch": one.epoch, "loss": one.loss })).collect();
        json!({
            "repo_url": self.url,
            "commit": self.commit,
            "branch": self.branch,
            "received_bytes": self.received_bytes,
            "files": graph.files.len(),
            "connected_files": self.connected_files(),
            "languages": languages,
            "externals": graph.externals.len(),
            "edges": self.file_edges(),
            "imports_resolved": graph.resolved,
            "imports_external": graph.external,
            "imports_unresolved": graph.unresolved.len(),
            "unresolved": unresolved,
            "files_parsed": graph.parsed,
            "files_skipped": graph.skipped.len(),
            "skipped": graph.skipped.iter().take(NAMED).collect::<Vec<_>>(),
            "dimension": self.embeddings.dimension,
            "walk_steps": self.embeddings.steps,
            "training_pairs": self.embeddings.pairs,
            "loss": self.loss(),
            "losses": losses,
            "seconds": self.seconds,
        })
    }
}
