//! `[qdrant]`: the vector database that daemons share.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::is_private;
use super::problem::Problems;
use super::secret::Secret;

/// How Qdrant keeps vectors for its first, coarse comparison. What it finds is always compared by the full values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// As they are.
    #[default]
    None,
    /// One byte a value, in memory: a quarter of the memory, best together with `on_disk`.
    Scalar,
}

/// Qdrant 1.16 or later. Used with `store.vectors.backend = "qdrant"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QdrantConfig {
    /// Address of the gRPC interface, `http://HOST:6334`, or `https://` for TLS with the certificates that the system
    /// trusts. Default `http://127.0.0.1:6334`.
    pub url: String,
    /// API key. Never printed.
    #[serde(skip_serializing)]
    pub api_key: Option<Secret>,
    /// File that holds the API key in its first line. Not together with `api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
    /// Whether `http://` may go to another machine: everything, the API key included, then crosses the network readable.
    /// Default false: only loopback and private names (`localhost`, `qdrant`, `qdrant.internal`).
    pub allow_plaintext: bool,
    /// The collection, 1 to 200 letters, digits, `_`, `-` and `.`; created where it is missing. Default `tidemill`.
    /// Daemons that share their documents need the same; every encoder needs one of its own.
    pub collection: String,
    /// Shards of a collection that is created, 1 to 1,000. Default 1; at least as many as servers.
    pub shards: u32,
    /// Copies of each shard of a collection that is created, 1 to 100. Default 1. With more, writes and the near-duplicate
    /// check each ask a majority of them, so that the check sees every write.
    pub replication: u32,
    /// Whether vectors and payload of a collection that is created live on disk, cached by the system, rather than in
    /// memory. Default false: a million vectors of 384 values take about 2 GB.
    pub on_disk: bool,
    /// `none` (default) or `scalar`: how vectors of a collection that is created are kept for the coarse comparison.
    pub quantization: Quantization,
    /// Edges per vector in the graph of a collection that is created, 4 to 128. Default 16.
    pub hnsw_m: u32,
    /// Candidates looked at while the graph of a collection that is created grows, 16 to 2,048. Default 128.
    pub hnsw_ef_construct: u32,
    /// Candidates looked at by a search, 16 to 4,096. Default 128. More is exacter and slower.
    pub hnsw_ef: u32,
    /// Whether every vector is looked at. Default false: exact, and slow from some 100,000 vectors on.
    pub exact: bool,
    /// Points of one write, 1 to 1,000. Default 100.
    pub batch_points: usize,
    /// Connections, 1 to 64. Default 3.
    pub connections: usize,
    /// How long connecting may take, 50 to 60,000 milliseconds. Default 2,000.
    pub connect_timeout_ms: u64,
    /// How long one attempt of a request may take, 50 to 600,000 milliseconds. Default 5,000.
    pub request_timeout_ms: u64,
    /// How often a failed request is tried again, 0 to 20. Default 3; after that its messages wait and are tried as a
    /// whole. A refused API key or wrong data is not tried again.
    pub retries: u32,
    /// Bound of the first wait before another attempt, 1 to 60,000 milliseconds. Default 50; each further one is up to
    /// twice as long, at most 2 seconds, drawn at random.
    pub retry_base_ms: u64,
    /// How long the near-duplicate check of a batch may hold the lock that keeps other daemons from checking at the same
    /// time, 500 to 600,000 milliseconds. Default 10,000. A daemon that dies while it holds it keeps the others waiting
    /// for that long.
    pub lock_lease_ms: u64,
    /// Seconds after which a document that was checked, but is neither stored nor dead, no longer counts as the original
    /// of a copy, 60 to 604,800. Default 3,600. It must be longer than any outage of the store of documents, or near
    /// copies in flight meanwhile may both be stored.
    pub claim_max_age_seconds: u64,
}

impl Default for QdrantConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:6334".to_owned(),
            api_key: None,
            api_key_file: None,
            allow_plaintext: false,
            collection: "tidemill".to_owned(),
            shards: 1,
            replication: 1,
            on_disk: false,
            quantization: Quantization::None,
            hnsw_m: 16,
            hnsw_ef_construct: 128,
            hnsw_ef: 128,
            exact: false,
            batch_points: 100,
            connections: 3,
            connect_timeout_ms: 2_000,
            request_timeout_ms: 5_000,
            retries: 3,
            retry_base_ms: 50,
            lock_lease_ms: 10_000,
            claim_max_age_seconds: 3_600,
        }
    }
}

impl QdrantConfig {
    /// How long connecting may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// How long one attempt of a request may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long the check of a batch may hold the lock.
    #[must_use]
    pub fn lock_lease(&self) -> Duration {
        Duration::from_millis(self.lock_lease_ms)
    }

    /// Replicas that a write, and the check's read, must agree on.
    #[must_use]
    pub fn majority(&self) -> u32 {
        self.replication / 2 + 1
    }

    /// Checks every field's range.
    pub fn validate(&self, problems: &mut Problems) {
        if let Err(allowed) = self.check_url() {
            problems.require(false, "url", &self.url, allowed);
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let valid = (1..=200).contains(&self.collection.len()) && self.collection.bytes().all(legal);
        problems.require(valid, "collection", &self.collection, "1 to 200 letters, digits, `.`, `_` and `-`");
        let key = self.api_key.as_ref().is_none_or(|key| key.expose().bytes().all(|byte| (33..127).contains(&byte)));
        problems.require(key, "api_key", "(hidden)", "printable characters without spaces");
        problems.range("shards", self.shards, 1, 1_000);
        problems.range("replication", self.replication, 1, 100);
        problems.range("hnsw_m", self.hnsw_m, 4, 128);
        problems.range("hnsw_ef_construct", self.hnsw_ef_construct, 16, 2_048);
        problems.range("hnsw_ef", self.hnsw_ef, 16, 4_096);
        problems.range("batch_points", self.batch_points, 1, 1_000);
        problems.range("connections", self.connections, 1, 64);
        problems.range("connect_timeout_ms", self.connect_timeout_ms, 50, 60_000);
        problems.range("request_timeout_ms", self.request_timeout_ms, 50, 600_000);
        problems.range("retries", self.retries, 0, 20);
        problems.range("retry_base_ms", self.retry_base_ms, 1, 60_000);
        problems.range("lock_lease_ms", self.lock_lease_ms, 500, 600_000);
        problems.range("claim_max_age_seconds", self.claim_max_age_seconds, 60, 604_800);
    }

    fn check_url(&self) -> Result<(), &'static str> {
        let shape = "http://HOST:PORT or https://HOST:PORT";
        let url = Url::parse(&self.url).map_err(|_| shape)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("no user or password: the key is qdrant.api_key");
        }
        match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => Ok(()),
            ("http", Some(host)) if self.allow_plaintext || is_private(host) => Ok(()),
            ("http", Some(_)) => Err("https:// to another machine, unless qdrant.allow_plaintext = true"),
            _ => Err(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::keys_of;

    fn problems_of(config: &QdrantConfig) -> Vec<String> {
        keys_of(|problems| config.validate(problems))
    }

    #[test]
    fn defaults_are_valid() {
        assert!(problems_of(&QdrantConfig::default()).is_empty());
    }

    #[test]
    fn plain_connection_to_another_machine_must_be_allowed() {
        for (url, valid) in [
            ("http://qdrant:6334", true),
            ("http://[::1]:6334", true),
            ("http://vectors.example.com:6334", false),
            ("http://10.0.0.7:6334", false),
            ("https://vectors.example.com:6334", true),
            ("ftp://localhost", false),
            ("localhost:6334", false),
            ("https://key@vectors.example.com", false),
        ] {
            let config = QdrantConfig { url: url.to_owned(), ..QdrantConfig::default() };
            assert_eq!(problems_of(&config).is_empty(), valid, "{url}");
        }
        let url = "http://10.0.0.7:6334".to_owned();
        assert!(problems_of(&QdrantConfig { url, allow_plaintext: true, ..QdrantConfig::default() }).is_empty());
    }

    #[test]
    fn majority_of_replicas() {
        let of = |replication| QdrantConfig { replication, ..QdrantConfig::default() }.majority();
        assert_eq!([1, 2, 3, 4, 5].map(of), [1, 2, 2, 3, 3]);
    }
}
