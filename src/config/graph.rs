//! `[graph]`: learning the import graphs of source repositories.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// A way to reach a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `https://HOST/PATH`
    Https,
    /// `ssh://USER@HOST/PATH`, with the keys of the daemon's SSH agent.
    Ssh,
    /// `file:///PATH`, a repository on this machine.
    File,
}

/// Learning the import graphs of source repositories: one job of kind `graph` reads a repository, learns where its files
/// sit among each other and stores that. How many jobs run at once, how long one may take and how often it is tried is
/// said in `[jobs.kinds.graph]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GraphConfig {
    /// Repositories that may wait, 1 to 10000. Default 10; further ones are refused with 429. `jobs.kinds.graph.capacity`
    /// goes before it.
    pub pending: u64,
    /// A repository whose job has not been started for so long is skipped, seconds, 60 to 31536000. Default a day: what
    /// was asked for before a long outage is asked for again by who still wants it.
    pub job_ttl_seconds: u64,
    /// Threads that read and learn, 0 to 512. 0 (default) takes every core.
    pub threads: usize,
    /// Where repositories seen before are kept, so that only what changed is fetched and read again; a relative path
    /// counts from the data directory. It may be deleted while the daemon does not run.
    pub cache_dir: PathBuf,
    /// Where repositories are unpacked while they are read; a relative path counts from the data directory. It belongs to
    /// the daemon alone: what a crash left in it is deleted at the start.
    pub temp_dir: PathBuf,
    /// What a repository may be.
    pub repository: RepositoryConfig,
    /// How the graph is learned.
    pub training: TrainingConfig,
}

/// What a repository may be. One that is over a limit fails and says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepositoryConfig {
    /// Ways that are allowed: `https` (default), `ssh`, `file`. With `file` whoever may submit a repository can have any
    /// repository read that the daemon can read.
    pub schemes: Vec<Scheme>,
    /// Whether hosts in private networks are allowed. Off (default), a URL can't be used to reach what only the daemon's
    /// machine can reach: addresses that are loopback, link-local or private are refused, whatever name leads to them.
    pub private_addresses: bool,
    /// Most bytes that are fetched, in MiB (1 to 102400).
    pub max_fetch_mib: u64,
    /// Most files in the tree (1 to 10000000).
    pub max_tree_files: usize,
    /// Most source files that become nodes (1 to 1000000).
    pub max_source_files: usize,
    /// Source files that are larger are skipped, in KiB (1 to 102400).
    pub max_file_kib: u64,
    /// Deepest directory (1 to 1000).
    pub max_depth: usize,
    /// How long fetching may take, seconds (1 to 86400).
    pub fetch_timeout_seconds: u64,
}

/// How the graph is learned: Node2Vec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Values of a file's vector (2 to 1024).
    pub dimension: usize,
    /// Nodes of a walk, its first included (2 to 1000).
    pub walk_length: usize,
    /// Nodes of a walk that count as near each other (2 to `walk_length`).
    pub context_size: usize,
    /// Walks from each node in each epoch (1 to 1000).
    pub walks_per_node: usize,
    /// Nodes whose walks are one batch (1 to 65536).
    pub batch_size: usize,
    /// Passes over all nodes (1 to 1000).
    pub epochs: usize,
    /// Return parameter: small, walks stay near where they began (0.001 to 1000).
    pub p: f32,
    /// In-out parameter: small, walks go far (0.001 to 1000).
    pub q: f32,
    /// Whether walks follow an import only from who imports to what is imported. Off (default), both ways.
    pub directed: bool,
    /// Whether packages from outside of the repository are nodes too, so that files which use the same ones are near.
    pub externals: bool,
    /// Start of the random numbers. With one thread the same seed gives the same vectors.
    pub seed: u64,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self {
            pending: 10,
            job_ttl_seconds: 86_400,
            threads: 0,
            cache_dir: "graph-cache".into(),
            temp_dir: "graph-tmp".into(),
            repository: RepositoryConfig::default(),
            training: TrainingConfig::default(),
        }
    }
}

impl Default for RepositoryConfig {
    fn default() -> Self {
        Self {
            schemes: vec![Scheme::Https],
            private_addresses: false,
            max_fetch_mib: 1024,
            max_tree_files: 500_000,
            max_source_files: 100_000,
            max_file_kib: 2048,
            max_depth: 64,
            fetch_timeout_seconds: 600,
        }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            dimension: 64,
            walk_length: 20,
            context_size: 10,
            walks_per_node: 10,
            batch_size: 128,
            epochs: 10,
            p: 1.0,
            q: 1.0,
            directed: false,
            externals: false,
            seed: 1,
        }
    }
}

impl GraphConfig {
    /// Notes every setting out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("pending", self.pending, 1, 10_000);
        problems.range("job_ttl_seconds", self.job_ttl_seconds, 60, 31_536_000);
        problems.range("threads", self.threads, 0, 512);
        for (key, path) in [("cache_dir", &self.cache_dir), ("temp_dir", &self.temp_dir)] {
            problems.require(path.file_name().is_some(), key, path.display(), "the path of a directory");
        }
        let apart = !self.temp_dir.starts_with(&self.cache_dir) && !self.cache_dir.starts_with(&self.temp_dir);
        let path = self.temp_dir.display();
        problems.require(apart, "temp_dir", path, "a directory apart from graph.cache_dir, as it is emptied");
        problems.section("repository", |problems| self.repository.validate(problems));
        problems.section("training", |problems| self.training.validate(problems));
    }
}

impl RepositoryConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.require(!self.schemes.is_empty(), "schemes", "[]", "one or more of \"https\", \"ssh\", \"file\"");
        problems.range("max_fetch_mib", self.max_fetch_mib, 1, 102_400);
        problems.range("max_tree_files", self.max_tree_files, 1, 10_000_000);
        problems.range("max_source_files", self.max_source_files, 1, 1_000_000);
        problems.range("max_file_kib", self.max_file_kib, 1, 102_400);
        problems.range("max_depth", self.max_depth, 1, 1000);
        problems.range("fetch_timeout_seconds", self.fetch_timeout_seconds, 1, 86_400);
    }
}

impl TrainingConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.range("dimension", self.dimension, 2, 1024);
        problems.range("walk_length", self.walk_length, 2, 1000);
        problems.range("context_size", self.context_size, 2, self.walk_length);
        problems.range("walks_per_node", self.walks_per_node, 1, 1000);
        problems.range("batch_size", self.batch_size, 1, 65_536);
        problems.range("epochs", self.epochs, 1, 1000);
        problems.range("p", self.p, 0.001, 1000.0);
        problems.range("q", self.q, 0.001, 1000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &GraphConfig) -> Vec<String> {
        let mut problems = Problems::default();
        config.validate(&mut problems);
        problems.into_found().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn defaults_are_valid() {
        assert!(keys(&GraphConfig::default()).is_empty());
    }

    #[test]
    fn problems_are_named() {
        let config = GraphConfig {
            temp_dir: "graph-cache/tmp".into(),
            repository: RepositoryConfig { schemes: Vec::new(), ..RepositoryConfig::default() },
            training: TrainingConfig { context_size: 21, p: f32::NAN, ..TrainingConfig::default() },
            ..GraphConfig::default()
        };
        assert_eq!(keys(&config), ["temp_dir", "repository.schemes", "training.context_size", "training.p"]);
    }
}
