//! The dependency graph of a repository: its files, what they import, and what could not be found.

mod memory;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::imports::{self, Parsed};
use super::languages::{Language, extension};
use super::reading::{Observer, Progress, Stage};
use super::repository::{Checkout, Limits, RepositoryError, Skipped, TreeFile};
use super::resolution::{Project, Resolvers, Surroundings, Target};
use memory::Memory;

/// Files a thread takes at once.
const CHUNK: usize = 64;
/// Longest parse of one file; long, so that what is skipped does not depend on what else the machine does.
const PATIENCE: Duration = Duration::from_mins(1);
/// Begin of what stands for a large file kept elsewhere.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What goes into a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// Packages from elsewhere become nodes too.
    pub externals: bool,
    /// Go and Java: files of one package that use each other's names are connected, though no import says so.
    pub same_package: bool,
    /// Languages to read; empty reads all.
    pub languages: Vec<Language>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { externals: false, same_package: true, languages: Vec::new() }
    }
}

/// A source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileNode {
    /// From the root, with `/`.
    pub path: String,
    /// What it is written in.
    pub language: Language,
}

/// One node imports another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// Number of the importing file.
    pub from: u32,
    /// Number of the file or external package imported.
    pub to: u32,
    /// How many imports say so.
    pub count: u32,
}

/// An import that should lead to a file of the repository but does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unresolved {
    /// Number of the importing file.
    pub file: u32,
    /// From 1.
    pub line: u32,
    /// The import, or the part of it that is not found.
    pub import: String,
}

/// A repository's files and who imports whom. Nodes are numbered: files first, then external packages. The same
/// commit always gives the same graph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DependencyGraph {
    /// Files by number, sorted by path.
    pub files: Vec<FileNode>,
    /// External packages, sorted by name; the first has the number `files.len()`. Empty unless asked for.
    pub externals: Vec<String>,
    /// Sorted; each pair once; no file imports itself.
    pub edges: Vec<Edge>,
    /// Sorted.
    pub unresolved: Vec<Unresolved>,
    /// Source files and odd entries of the tree that were not read, sorted.
    pub skipped: Vec<Skipped>,
    /// Imports that lead to files of the repository, those of a file to itself included.
    pub resolved: u64,
    /// Imports that lead elsewhere.
    pub external: u64,
    /// Files that were parsed now; the others had been parsed before.
    pub parsed: usize,
}

impl DependencyGraph {
    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.files.len() + self.externals.len()
    }

    /// Name of a node: path of a file, name of a package.
    #[must_use]
    pub fn name(&self, node: u32) -> &str {
        let node = node as usize;
        match self.files.get(node) {
            Some(file) => &file.path,
            None => self.externals.get(node - self.files.len()).map_or("", String::as_str),
        }
    }

    /// Edges as pairs with weights, for [`super::csr`]: weights are import counts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a file imports another less than 2^24 times")]
    pub fn weighted_edges(&self) -> Vec<(u32, u32, f32)> {
        self.edges.iter().map(|edge| (edge.from, edge.to, edge.count as f32)).collect()
    }
}

/// Reads the dependency graph of a commit. Works on all threads of the current rayon pool.
///
/// # Errors
/// If there is more source than the limits allow, objects are damaged, or the observer says stop. Files that do not
/// parse are no error: they are in `skipped`.
pub fn read(
    checkout: &Checkout,
    options: &ReadOptions,
    limits: &Limits,
    observer: Observer<'_>,
) -> Result<DependencyGraph, RepositoryError> {
    let wanted = |path: &str| {
        Language::of(path).is_some_and(|language| options.languages.is_empty() || options.languages.contains(&language))
    };
    let sources: Vec<&TreeFile> = checkout.files().iter().filter(|file| wanted(&file.path)).collect();
    if sources.len() > limits.max_source_files {
        return Err(RepositoryError::TooLarge { what: "source files", limit: limits.max_source_files as u64 });
    }
    let mut memory = Memory::load(checkout);
    let read = Reading { checkout, limits, observer, done: AtomicUsize::new(0), bytes: AtomicU64::new(0) };
    let outcomes = read.parse_all(&sources, &memory)?;
    let mut skipped = checkout.skipped().to_vec();
    let (mut parsed, mut parsed_now) = (Vec::with_capacity(sources.len()), 0);
    for (file, outcome) in sources.iter().zip(outcomes) {
        let (one, is_new) = match outcome {
            Outcome::Known(parsed) => (Some(parsed), false),
            Outcome::Parsed(parsed) => (Some(parsed), true),
            Outcome::Skipped(reason) => {
                skipped.push(Skipped { path: file.path.clone(), reason });
                (None, false)
            }
        };
        parsed_now += usize::from(is_new);
        if let Some(parsed) = &one {
            memory.keep(file, parsed);
        }
        parsed.push(one);
    }
    memory.save();
    let manifests = read.manifests()?;
    let mut graph = draw(&read, &sources, &parsed, &manifests, options)?;
    skipped.sort_unstable();
    graph.skipped = skipped;
    graph.parsed = parsed_now;
    Ok(graph)
}

/// What became of a file.
enum Outcome {
    Known(Parsed),
    Parsed(Parsed),
    Skipped(String),
}

/// One reading of a checkout.
struct Reading<'a> {
    checkout: &'a Checkout,
    limits: &'a Limits,
    observer: Observer<'a>,
    done: AtomicUsize,
    bytes: AtomicU64,
}

impl Reading<'_> {
    fn parse_all(&self, sources: &[&TreeFile], memory: &Memory) -> Result<Vec<Outcome>, RepositoryError> {
        let chunks: Result<Vec<Vec<Outcome>>, RepositoryError> = sources
            .par_chunks(CHUNK)
            .map(|chunk| {
                let repository = self.checkout.open()?;
                let database = repository.odb().map_err(|error| damaged(&error))?;
                let outcomes = chunk.iter().map(|file| match memory.get(file) {
                    Some(parsed) => Ok(Outcome::Known(parsed.clone())),
                    None => self.parse(&database, file),
                });
                let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
                let done = self.done.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
                self.tell(Stage::Parsing, done, sources.len())?;
                Ok(outcomes)
            })
            .collect();
        Ok(chunks?.into_iter().flatten().collect())
    }

    fn tell(&self, stage: Stage, done: usize, total: usize) -> Result<(), RepositoryError> {
        match (self.observer)(Progress { stage, done: done as u64, total: Some(total as u64) }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RepositoryError::Cancelled),
        }
    }

    fn parse(&self, database: &git2::Odb<'_>, file: &TreeFile) -> Result<Outcome, RepositoryError> {
        // the size stands before the content: a file of gigabytes costs nothing
        let (size, _) = database.read_header(file.blob).map_err(|error| damaged(&error))?;
        if size as u64 > self.limits.max_file_bytes {
            return Ok(Outcome::Skipped(format!("larger than {} bytes", self.limits.max_file_bytes)));
        }
        let total = self.bytes.fetch_add(size as u64, Ordering::Relaxed) + size as u64;
        if total > self.limits.max_source_bytes {
            let limit = self.limits.max_source_bytes;
            return Err(RepositoryError::TooLarge { what: "bytes of source", limit });
        }
        let Some(language) = Language::of(&file.path) else { return Ok(Outcome::Skipped("not source".to_owned())) };
        let object = database.read(file.blob).map_err(|error| damaged(&error))?;
        if object.data().starts_with(LFS_POINTER) {
            return Ok(Outcome::Skipped("kept in lfs".to_owned()));
        }
        Ok(match imports::parse(language, &file.path, object.data(), PATIENCE) {
            Ok(parsed) => Outcome::Parsed(parsed),
            Err(error) => Outcome::Skipped(error.to_string()),
        })
    }

    /// Texts of the files that describe packages.
    fn manifests(&self) -> Result<BTreeMap<String, String>, RepositoryError> {
        let repository = self.checkout.open()?;
        let database = repository.odb().map_err(|error| damaged(&error))?;
        let mut texts = BTreeMap::new();
        for file in self.checkout.files().iter().filter(|file| is_manifest(&file.path)) {
            let (size, _) = database.read_header(file.blob).map_err(|error| damaged(&error))?;
            if size as u64 > self.limits.max_file_bytes {
                continue;
            }
            let object = database.read(file.blob).map_err(|error| damaged(&error))?;
            if let Ok(text) = std::str::from_utf8(object.data()) {
                texts.insert(file.path.clone(), text.trim_start_matches('\u{feff}').to_owned());
            }
        }
        Ok(texts)
    }
}

fn damaged(error: &git2::Error) -> RepositoryError {
    RepositoryError::Damaged(error.message().to_owned())
}

fn is_manifest(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(name, "package.json" | "Cargo.toml" | "go.mod" | "jsconfig.json")
        || (path.contains("tsconfig") && extension(name) == Some("json"))
}

fn draw(
    read: &Reading<'_>,
    sources: &[&TreeFile],
    parsed: &[Option<Parsed>],
    manifests: &BTreeMap<String, String>,
    options: &ReadOptions,
) -> Result<DependencyGraph, RepositoryError> {
    let checkout = read.checkout;
    let every = checkout.files().iter().map(|file| file.path.as_str());
    let paths = sources.iter().map(|file| file.path.as_str()).collect();
    let project = Project::new(every, paths, parsed, Surroundings { manifests, import_path: checkout.import_path() });
    let resolvers = Resolvers::new(&project);
    let mut drawing = Drawing::default();
    for (from, one) in (0..).zip(parsed) {
        for import in one.iter().flat_map(|parsed| &parsed.imports) {
            drawing.add(from, import.line, resolvers.resolve(from, import));
        }
        if options.same_package && one.is_some() {
            drawing.connect(from, resolvers.neighbours(from));
        }
        if (from as usize).is_multiple_of(CHUNK) {
            read.tell(Stage::Resolving, from as usize, sources.len())?;
        }
    }
    let files = sources.iter().filter_map(|file| Some((file, Language::of(&file.path)?)));
    let files = files.map(|(file, language)| FileNode { path: file.path.clone(), language }).collect();
    Ok(drawing.finish(files, options.externals))
}

/// A graph being drawn.
#[derive(Default)]
struct Drawing {
    edges: HashMap<(u32, u32), u32>,
    externals: BTreeMap<String, HashMap<u32, u32>>,
    unresolved: Vec<Unresolved>,
    resolved: u64,
    external: u64,
}

impl Drawing {
    /// Takes in what one import names.
    fn add(&mut self, from: u32, line: u32, targets: Vec<Target>) {
        for target in targets {
            match target {
                Target::File(to) => {
                    self.resolved += 1;
                    self.connect(from, [to]);
                }
                Target::External(name) => {
                    self.external += 1;
                    *self.externals.entry(name).or_default().entry(from).or_default() += 1;
                }
                Target::Missing(import) => self.unresolved.push(Unresolved { file: from, line, import }),
            }
        }
    }

    fn connect(&mut self, from: u32, to: impl IntoIterator<Item = u32>) {
        for to in to.into_iter().filter(|to| *to != from) {
            *self.edges.entry((from, to)).or_default() += 1;
        }
    }

    fn finish(self, files: Vec<FileNode>, with_externals: bool) -> DependencyGraph {
        let mut edges: Vec<Edge> = self.edges.into_iter().map(|((from, to), count)| Edge { from, to, count }).collect();
        let mut externals = Vec::new();
        if with_externals {
            let first = u32::try_from(files.len()).unwrap_or(u32::MAX);
            for (to, (name, importers)) in (first..).zip(self.externals) {
                edges.extend(importers.into_iter().map(|(from, count)| Edge { from, to, count }));
                externals.push(name);
            }
        }
        edges.sort_unstable();
        let mut unresolved = self.unresolved;
        unresolved.sort_unstable();
        unresolved.dedup();
        let (resolved, external) = (self.resolved, self.external);
        DependencyGraph { files, externals, edges, unresolved, resolved, external, ..DependencyGraph::default() }
    }
}
