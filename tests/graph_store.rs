//! What every store of learned graphs promises, run against each backend.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "graph_store/mending.rs"]
mod mending;
#[path = "support/services/postgres.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod postgres_server;
#[path = "support/services/qdrant.rs"]
#[expect(clippy::unnecessary_wraps, reason = "its answers have one form")]
mod qdrant_server;
#[path = "support/services.rs"]
mod services;
#[path = "graph_store/suite.rs"]
mod suite;

use std::sync::Arc;

use tidemill::config::postgres::PostgresConfig;
use tidemill::config::qdrant::QdrantConfig;
use tidemill::config::secret::Secret;
use tidemill::config::store::StoreConfig;
use tidemill::stores::graphs::{Graph, GraphStore, NearFile};
use tidemill::stores::postgres::PostgresStore;
use tidemill::stores::qdrant::graphs::QdrantGraphs;
use tidemill::stores::sqlite::SqliteStore;

use suite::Fresh;

#[expect(clippy::unnecessary_wraps, reason = "a server may not be there, a file always is")]
fn sqlite() -> Option<Fresh> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite3");
    Some(Fresh::new(Box::new(move || -> Box<dyn GraphStore> {
        let _ = &directory;
        Box::new(SqliteStore::open(&path, &StoreConfig::default()).unwrap())
    })))
}

fn postgres() -> Option<Fresh> {
    postgres_with(PostgresConfig::default())
}

/// Behind a pooler: nothing is prepared, no session has settings.
fn postgres_pooled() -> Option<Fresh> {
    postgres_with(PostgresConfig { transaction_pooler: true, ..PostgresConfig::default() })
}

fn postgres_with(config: PostgresConfig) -> Option<Fresh> {
    let url = postgres_server::fresh_database().inspect_err(|why| services::skip("postgres", why)).ok()?;
    let config = PostgresConfig { url: Some(Secret::new(url)), ..config };
    Some(Fresh::new(Box::new(move || -> Box<dyn GraphStore> {
        Box::new(PostgresStore::open_blocking(&config).unwrap())
    })))
}

/// With the vectors in Qdrant too.
#[expect(clippy::unnecessary_wraps, reason = "a server may not be there, this one always is")]
fn qdrant() -> Option<Fresh> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite3");
    let server = qdrant_server::users_own().map_or_else(|| Ok(qdrant_server::QdrantTestServer::start()), Err);
    let url = server.as_ref().map_or_else(Clone::clone, qdrant_server::QdrantTestServer::url);
    let config = QdrantConfig { url, retry_base_ms: 1, ..QdrantConfig::default() };
    let collection = format!("tidemill-test-{}", uuid::Uuid::new_v4().simple());
    Some(Fresh::new(Box::new(move || -> Box<dyn GraphStore> {
        let _ = (&directory, &server);
        let store = SqliteStore::open(&path, &StoreConfig::default()).unwrap();
        Box::new(QdrantGraphs::new(Arc::new(store), &config, &collection))
    })))
}

macro_rules! conformance {
    ($backend:ident) => {
        conformance!($backend:
            published_graph_comes_back_whole,
            unpublished_training_is_not_seen,
            new_training_takes_the_place_of_the_old,
            readers_see_one_training_or_the_other,
            newer_training_drops_the_unfinished_one_before,
            incomplete_training_is_not_published,
            same_batch_again_changes_nothing,
            publishing_again_is_harmless,
            similar_files_are_the_nearest_by_cosine,
            files_without_an_edge_are_near_to_nothing,
            missing_file_gets_names_that_end_alike,
            repositories_do_not_mix,
            everything_survives_reopening,
            trainings_and_their_files_can_be_read_whole,
            hostile_names_are_data,
        );
    };
    ($backend:ident: $($case:ident),* $(,)?) => {
        mod $backend {
            $(#[tokio::test] async fn $case() {
                if let Some(fresh) = super::$backend() {
                    super::suite::$case(fresh).await;
                }
            })*
        }
    };
}

conformance!(sqlite);
conformance!(postgres);
conformance!(qdrant);
conformance!(postgres_pooled:
    published_graph_comes_back_whole,
    new_training_takes_the_place_of_the_old,
    similar_files_are_the_nearest_by_cosine,
    trainings_and_their_files_can_be_read_whole,
    hostile_names_are_data,
);

/// A Qdrant of the test's own, with a store beside it.
struct Beside {
    server: qdrant_server::QdrantTestServer,
    graphs: QdrantGraphs,
    _directory: tempfile::TempDir,
}

impl Beside {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = qdrant_server::QdrantTestServer::start();
        let store = SqliteStore::open(&directory.path().join("a.sqlite3"), &StoreConfig::default()).unwrap();
        let config = QdrantConfig { url: server.url(), retries: 0, retry_base_ms: 1, ..QdrantConfig::default() };
        Self { graphs: QdrantGraphs::new(Arc::new(store), &config, "graph_files"), server, _directory: directory }
    }

    fn client(&self) -> qdrant_client::Qdrant {
        tidemill::tls::install_provider();
        qdrant_client::Qdrant::from_url(&self.server.url()).skip_compatibility_check().build().unwrap()
    }

    async fn points(&self) -> u64 {
        let count = qdrant_client::qdrant::CountPointsBuilder::new("graph_files").exact(true);
        self.client().count(count).await.unwrap().result.unwrap().count
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_replaced_and_abandoned_trainings_are_deleted() {
    let beside = Beside::start();
    suite::learn(&beside.graphs, "one", suite::REPO, &suite::files(120, 0.0)).await;
    assert_eq!(beside.points().await, 120);
    suite::learn(&beside.graphs, "two", suite::REPO, &suite::files(30, 1.0)).await;
    assert_eq!(beside.points().await, 30);
    beside.graphs.begin(suite::graph("three", suite::REPO, 10)).await.unwrap();
    beside.graphs.add("three", suite::files(5, 2.0)).await.unwrap();
    assert_eq!(beside.points().await, 35);
    beside.graphs.abandon("three").await.unwrap();
    assert_eq!(beside.points().await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn qdrant_that_is_away_fails_trainings_and_leaves_questions_to_the_store() {
    let beside = Beside::start();
    let files = suite::files(20, 0.5);
    suite::learn(&beside.graphs, "one", suite::REPO, &files).await;
    let (_, whole) = suite::near(&beside.graphs, suite::REPO, &files[3].path, 5).await;
    beside.server.faults(|faults| faults.unavailable = true);
    let (_, found) = suite::near(&beside.graphs, suite::REPO, &files[3].path, 5).await;
    let paths = |found: &[NearFile]| found.iter().map(|near| Arc::clone(&near.file_path)).collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(&whole));
    beside.graphs.begin(suite::graph("two", suite::REPO, 20)).await.unwrap();
    let refused = beside.graphs.add("two", files.clone()).await.unwrap_err();
    assert!(refused.is_retriable(), "{refused}");
    beside.server.faults(|faults| faults.unavailable = false);
    beside.graphs.add("two", files).await.unwrap();
    beside.graphs.publish("two").await.unwrap();
    assert_eq!(&*beside.graphs.list().await.unwrap()[0].id, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_of_another_dimension_is_refused_and_its_setting_named() {
    let beside = Beside::start();
    suite::learn(&beside.graphs, "one", suite::REPO, &suite::files(3, 0.0)).await;
    let wider = Graph { dimension: 8, ..suite::graph("two", suite::REPO, 3) };
    let refused = beside.graphs.begin(wider).await.unwrap_err().to_string();
    assert!(refused.contains("graph.qdrant_collection") && refused.contains("graph_files"), "{refused}");
}
