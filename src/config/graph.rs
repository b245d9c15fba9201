//! `[graph]`: learning the import graphs of source repositories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::graph::dependencies::ReadOptions;
use crate::graph::error::GraphError;
use crate::graph::node2vec::Node2VecConfig;
use crate::graph::repository::{Access, Limits, Places};

/// A way to reach a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `https://HOST/PATH`
    Https,
    /// `ssh://USER@HOST/PATH`, with the keys of the daemon's SSH agent.
    Ssh,
    /// `http://HOST/PATH`: unencrypted, for hosts within one's own network.
    Http,
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
    /// Where repositories seen before are kept, so that only what changed is fetched and read again; a relative path
    /// counts from the data directory. It may be deleted while the daemon does not run.
    pub cache_dir: PathBuf,
    /// Most MiB kept there, 1 to 1048576; the repositories used longest ago go first.
    pub max_cache_mib: u64,
    /// Where repositories are unpacked while they are read; a relative path counts from the data directory. It belongs to
    /// the daemon alone: what a crash left in it is deleted at the start.
    pub temp_dir: PathBuf,
    /// Qdrant collection of the files' vectors, beside the store's own, with `store.vectors.backend = "qdrant"`; 1 to 200
    /// letters, digits, `-`, `_`.
    pub qdrant_collection: String,
    /// Whether walks follow an import only from who imports to what is imported. Off (default), both ways.
    pub directed: bool,
    /// Whether packages from outside of the repository are nodes too, so that files which use the same ones are near.
    pub externals: bool,
    /// Whether files of one Go or Java package that use each other's names are connected, though no import says so.
    pub same_package: bool,
    /// What a repository may be.
    pub repository: RepositoryConfig,
    /// How the graph is learned. Its threads also read the files.
    pub training: Node2VecConfig,
}

/// What a repository may be. One that is over a limit fails and says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepositoryConfig {
    /// Ways that are allowed: `https` (default), `ssh`, `http`, `file`. With `file` whoever may submit a repository can have any
    /// repository read that the daemon can read.
    pub schemes: Vec<Scheme>,
    /// Whether hosts in private networks are allowed. Off (default), a URL can't be used to reach what only the daemon's
    /// machine can reach: addresses that are loopback, link-local or private are refused, whatever name leads to them.
    pub private_addresses: bool,
    /// Most bytes that are fetched, in MiB (1 to 102400).
    pub max_fetch_mib: u64,
    /// Most entries of the tree: files, folders, links and submodules (1 to 10000000).
    pub max_tree_files: usize,
    /// Most source files that become nodes (1 to 1000000).
    pub max_source_files: usize,
    /// Most source, in MiB (1 to 102400).
    pub max_source_mib: u64,
    /// Source files that are larger are skipped, in KiB (1 to 102400).
    pub max_file_kib: u64,
    /// Deepest directory (1 to 1000).
    pub max_depth: usize,
    /// How long fetching may take, seconds (1 to 86400).
    pub fetch_timeout_seconds: u64,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self {
            pending: 10,
            job_ttl_seconds: 86_400,
            cache_dir: "graph-cache".into(),
            max_cache_mib: 2048,
            temp_dir: "graph-tmp".into(),
            qdrant_collection: "graph_files".to_owned(),
            directed: false,
            externals: false,
            same_package: true,
            repository: RepositoryConfig::default(),
            training: Node2VecConfig::default(),
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
            max_source_mib: 2048,
            max_file_kib: 1024,
            max_depth: 64,
            fetch_timeout_seconds: 600,
        }
    }
}

impl GraphConfig {
    /// Notes every setting out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("pending", self.pending, 1, 10_000);
        problems.range("job_ttl_seconds", self.job_ttl_seconds, 60, 31_536_000);
        problems.range("max_cache_mib", self.max_cache_mib, 1, 1_048_576);
        for (key, path) in [("cache_dir", &self.cache_dir), ("temp_dir", &self.temp_dir)] {
            problems.require(path.file_name().is_some(), key, path.display(), "the path of a directory");
        }
        let apart = !self.temp_dir.starts_with(&self.cache_dir) && !self.cache_dir.starts_with(&self.temp_dir);
        let path = self.temp_dir.display();
        problems.require(apart, "temp_dir", path, "a directory apart from graph.cache_dir, as it is emptied");
        let name = &self.qdrant_collection;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = (1..=200).contains(&name.len()) && name.bytes().all(letter);
        problems.require(is_name, "qdrant_collection", name, "1 to 200 letters, digits, - and _");
        problems.section("repository", |problems| self.repository.validate(problems));
        if let Err(GraphError::Parameter { name, value, allowed }) = self.training.validate() {
            problems.section("training", |problems| problems.require(false, name, value, allowed));
        }
    }

    /// With directories that don't depend on where the process runs.
    #[must_use]
    pub fn rooted(&self, data_dir: &Path) -> Self {
        let (cache_dir, temp_dir) = (data_dir.join(&self.cache_dir), data_dir.join(&self.temp_dir));
        Self { cache_dir, temp_dir, ..self.clone() }
    }

    /// Time a submitted repository has to be started in, milliseconds.
    #[must_use]
    pub fn job_ttl_ms(&self) -> i64 {
        i64::try_from(self.job_ttl_seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
    }

    /// Where reading may write.
    #[must_use]
    pub fn places(&self) -> Places {
        Places {
            temporary: self.temp_dir.clone(),
            kept: Some(self.cache_dir.clone()),
            max_kept_bytes: self.max_cache_mib << 20,
        }
    }

    /// What goes into a graph.
    #[must_use]
    pub fn options(&self) -> ReadOptions {
        ReadOptions { externals: self.externals, same_package: self.same_package, languages: Vec::new() }
    }
}

impl RepositoryConfig {
    /// What a repository may cost.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_transfer_bytes: self.max_fetch_mib << 20,
            max_entries: self.max_tree_files,
            max_source_files: self.max_source_files,
            max_source_bytes: self.max_source_mib << 20,
            timeout: Duration::from_secs(self.fetch_timeout_seconds),
            max_file_bytes: self.max_file_kib << 10,
            max_depth: self.max_depth,
        }
    }

    /// Which addresses are allowed.
    #[must_use]
    pub fn access(&self) -> Access {
        let allows = |scheme| self.schemes.contains(&scheme);
        Access {
            https: allows(Scheme::Https),
            ssh: allows(Scheme::Ssh),
            http: allows(Scheme::Http),
            file: allows(Scheme::File),
            private_addresses: self.private_addresses,
        }
    }

    fn validate(&self, problems: &mut Problems) {
        problems.require(
            !self.schemes.is_empty(),
            "schemes",
            "[]",
            "one or more of \"https\", \"ssh\", \"http\", \"file\"",
        );
        problems.range("max_fetch_mib", self.max_fetch_mib, 1, 102_400);
        problems.range("max_tree_files", self.max_tree_files, 1, 10_000_000);
        problems.range("max_source_files", self.max_source_files, 1, 1_000_000);
        problems.range("max_source_mib", self.max_source_mib, 1, 102_400);
        problems.range("max_file_kib", self.max_file_kib, 1, 102_400);
        problems.range("max_depth", self.max_depth, 1, 1000);
        problems.range("fetch_timeout_seconds", self.fetch_timeout_seconds, 1, 86_400);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::keys_of;

    fn keys(config: &GraphConfig) -> Vec<String> {
        keys_of(|problems| config.validate(problems))
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
            training: Node2VecConfig { context_size: 21, ..Node2VecConfig::default() },
            ..GraphConfig::default()
        };
        assert_eq!(keys(&config), ["temp_dir", "repository.schemes", "training.context_size"]);
    }
}
