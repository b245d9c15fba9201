//! Vectors in Qdrant, over its real protocol.
#![allow(
    clippy::type_complexity,
    clippy::expect_used,
    clippy::new_without_default,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "tests"
)]
#![expect(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "vector_index/suite.rs"]
mod suite;

#[path = "support/services/qdrant.rs"]
mod server;

#[path = "qdrant/claims.rs"]
mod claims;
#[path = "qdrant/collection.rs"]
mod collection;
#[path = "qdrant/faults.rs"]
mod faults;
#[path = "qdrant/pipelines.rs"]
mod pipelines;
#[path = "qdrant/reconcile.rs"]
mod reconcile;
#[path = "support/two_daemons.rs"]
mod two_daemons;

use std::sync::Arc;
use std::time::Duration;

use server::{QdrantTestServer, users_own};
use tidemill::config::qdrant::QdrantConfig;
use tidemill::config::store::StoreConfig;
use tidemill::messages::analysis::EmbeddingInfo;
use tidemill::stores::documents::DocumentStore;
use tidemill::stores::qdrant::QdrantIndex;
use tidemill::stores::sqlite::SqliteStore;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// An index over a collection of its own, with an empty store of documents beside it.
pub struct Place {
    pub server: Option<QdrantTestServer>,
    pub config: QdrantConfig,
    pub store: Arc<dyn DocumentStore>,
    _directory: tempfile::TempDir,
}

pub fn embedding(model: &str, dimension: usize) -> EmbeddingInfo {
    EmbeddingInfo { model: model.into(), dimension }
}

/// Settings that lose no time.
pub fn quick(url: String) -> QdrantConfig {
    let collection = format!("tidemill-test-{}", uuid::Uuid::new_v4().simple());
    QdrantConfig { url, collection, retry_base_ms: 1, ..QdrantConfig::default() }
}

impl Place {
    /// Over the user's own server where one is named, else over a test server.
    pub fn new() -> Self {
        match users_own() {
            Some(url) => Self::at(None, quick(url)),
            None => Self::with_server(QdrantTestServer::start()),
        }
    }

    /// Over a server that can be broken.
    pub fn with_server(server: QdrantTestServer) -> Self {
        let config = quick(server.url());
        Self::at(Some(server), config)
    }

    fn at(server: Option<QdrantTestServer>, config: QdrantConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store"), &StoreConfig::default()).unwrap();
        Self { server, config, store: Arc::new(store), _directory: directory }
    }

    pub async fn open(&self) -> QdrantIndex {
        self.open_for(&embedding("suite-v1", suite::DIMENSION)).await
    }

    pub async fn open_for(&self, embedding: &EmbeddingInfo) -> QdrantIndex {
        let index = QdrantIndex::open(&self.config, embedding, Arc::clone(&self.store)).await.unwrap();
        assert!(index.wait_until_ready(PATIENCE).await);
        index
    }

    /// The test server.
    pub fn server(&mut self) -> &mut QdrantTestServer {
        self.server.as_mut().unwrap()
    }
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod conformance {
            $(#[tokio::test(flavor = "multi_thread")] async fn $case() {
                super::suite::$case(&super::Place::new().open().await).await;
            })*
        }
    };
}

conformance!(
    finds_what_brute_force_finds,
    very_similar_vectors_are_all_found,
    inserted_vector_is_found_by_the_next_search,
    removed_and_replaced_vectors_are_gone_at_once,
    equal_similarities_go_by_time_then_id,
    wrong_vectors_are_refused,
    readers_and_writers_meet,
);
