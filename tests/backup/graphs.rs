//! Learned graphs, whose vectors are in Qdrant too.

use std::sync::Arc;

use chrono::Utc;
use tidemill::backup::drift::GraphVectors;
use tidemill::backup::restore::Options;
use tidemill::backup::verify;
use tidemill::config::Config;
use tidemill::config::store::VectorsBackend;
use tidemill::stores::figures::GraphFigures;
use tidemill::stores::graphs::{FileVector, Graph, GraphStore, Similar};
use tidemill::stores::qdrant::graphs::QdrantGraphs;

use crate::qdrant_server::QdrantTestServer;
use crate::{append, backed_up, config, directory, documents, log, restored};

const REPO: &str = "https://example.com/a/b";

fn at(path: &std::path::Path, server: &QdrantTestServer) -> Config {
    let mut config = config(path);
    config.store.vectors.backend = VectorsBackend::Qdrant;
    config.qdrant.url = server.url();
    config
}

fn graphs(config: &Config) -> QdrantGraphs {
    QdrantGraphs::new(Arc::new(documents(config)), &config.qdrant, &config.graph.qdrant_collection)
}

fn graph(id: &str, files: u64) -> Graph {
    Graph {
        id: id.into(),
        repo_url: REPO.into(),
        commit: "c".to_owned(),
        job_id: "j".to_owned(),
        correlation_id: "k".to_owned(),
        trained_at: Utc::now(),
        dimension: 2,
        files,
        connected_files: files,
        edges: 1,
        metrics: serde_json::json!({}),
    }
}

fn files(count: u8) -> Vec<FileVector> {
    let file = |index: u8| FileVector {
        path: format!("{index}.rs").into(),
        language: "rust".into(),
        imports: 1,
        imported_by: 0,
        vector: [1.0, f32::from(index)].into(),
    };
    (0..count).map(file).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_graphs_are_counted_beside_the_store_and_come_back_after_a_restore() {
    let (one, two, backups) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, empty) = (QdrantTestServer::start(), QdrantTestServer::start());
    let own = at(one.path(), &server);
    append(&log(&own), 1).await;
    let learned = graphs(&own);
    learned.begin(graph("one", 7)).await.unwrap();
    learned.add("one", files(7)).await.unwrap();
    learned.publish("one").await.unwrap();
    learned.begin(graph("two", 4)).await.unwrap();
    learned.add("two", files(3)).await.unwrap();
    let counted = verify::stores(&own).await.unwrap();
    let store = GraphFigures { files: 7, unfinished: 4 };
    assert_eq!(counted.figures.graphs, Some(GraphVectors { store, index: 10 }));
    assert_eq!(counted.drift, Vec::<String>::new());

    let target = directory(backups.path());
    let manifest = backed_up(&own, &target).await;
    assert_eq!(manifest.figures.graphs, counted.figures.graphs);
    let other = at(two.path(), &empty);
    restored(&other, &target, &manifest.id, Options::default()).await.unwrap();
    let lacking = verify::stores(&other).await.unwrap();
    assert_eq!(lacking.drift, ["the collection of graphs has 0 vectors, the store 7"]);
    let again = graphs(&other);
    let similar = async || match again.similar(REPO, "3.rs", 2).await.unwrap() {
        Similar::Found(_, near) => near.iter().map(|near| near.file_path.to_string()).collect::<Vec<_>>(),
        other => unreachable!("{other:?}"),
    };
    assert_eq!(similar().await, ["4.rs", "5.rs"], "the store answers");
    let mended = again.reconcile(false).await.unwrap().unwrap();
    assert_eq!((mended.same, mended.missing, mended.extra), (0, 7, 0));
    assert_eq!(verify::stores(&other).await.unwrap().drift, Vec::<String>::new());
    assert_eq!(similar().await, ["4.rs", "5.rs"]);
}
