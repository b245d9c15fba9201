//! The collection of files' vectors, compared with the store that has them too.

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{
    DeletePointsBuilder, PointId, PointStruct, PointsIdsList, ScrollPointsBuilder, UpsertPointsBuilder, Value,
};
use std::collections::HashMap;
use tidemill::config::qdrant::QdrantConfig;
use tidemill::stores::graphs::{GraphDrift, GraphStore};
use tidemill::stores::qdrant::graphs::QdrantGraphs;

use crate::Beside;
use crate::suite::{REPO, files, graph, learn, near};

const OTHER: &str = "https://example.com/a/c";

fn drift(same: u64, missing: u64, extra: u64) -> GraphDrift {
    GraphDrift { same, missing, extra }
}

impl Beside {
    async fn mend(&self, dry_run: bool) -> GraphDrift {
        self.graphs.reconcile(dry_run).await.unwrap().unwrap()
    }

    /// Names and payloads of the points of a training.
    async fn points_of(&self, id: &str) -> Vec<(PointId, HashMap<String, Value>)> {
        let request = ScrollPointsBuilder::new("graph_files").limit(1000).with_payload(true);
        let found = self.client().scroll(request).await.unwrap().result;
        let of = |payload: &HashMap<String, Value>| payload.get("graph_id") == Some(&Value::from(id));
        found.into_iter().filter(|point| of(&point.payload)).map(|point| (point.id.unwrap(), point.payload)).collect()
    }

    async fn write(&self, id: PointId, payload: HashMap<String, Value>) {
        let point = PointStruct::new(id, vec![1.0, 0.0, 0.0, 0.0], payload);
        self.client().upsert_points(UpsertPointsBuilder::new("graph_files", vec![point]).wait(true)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_collection_is_rebuilt_from_the_store() {
    let beside = Beside::start();
    assert_eq!(beside.mend(false).await, drift(0, 0, 0), "nothing was ever learned");
    let config = QdrantConfig { url: beside.server.url(), ..QdrantConfig::default() };
    assert_eq!(QdrantGraphs::count(&config, "graph_files").await.unwrap(), 0, "there is no collection");
    let learned = files(230, 0.5);
    learn(&beside.graphs, "one", REPO, &learned).await;
    learn(&beside.graphs, "two", OTHER, &files(30, 1.0)).await;
    assert_eq!(beside.mend(true).await, drift(260, 0, 0));
    let before = near(&beside.graphs, REPO, &learned[3].path, 9).await.1;

    beside.client().delete_collection("graph_files").await.unwrap();
    let paths = |found: Vec<tidemill::stores::graphs::NearFile>| -> Vec<_> {
        found.into_iter().map(|near| near.file_path).collect()
    };
    let meanwhile = near(&beside.graphs, REPO, &learned[3].path, 9).await.1;
    assert_eq!(paths(meanwhile), paths(before.clone()), "the store answers");
    assert_eq!(beside.mend(true).await, drift(0, 260, 0));
    assert_eq!(beside.mend(false).await, drift(0, 260, 0));
    assert_eq!(QdrantGraphs::count(&config, "graph_files").await.unwrap(), 260);
    assert_eq!(beside.mend(false).await, drift(260, 0, 0));
    assert_eq!(near(&beside.graphs, REPO, &learned[3].path, 9).await.1, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_differ_lack_or_belong_to_nobody_are_mended_and_those_on_their_way_left() {
    let beside = Beside::start();
    learn(&beside.graphs, "one", REPO, &files(40, 0.5)).await;
    beside.graphs.begin(graph("two", OTHER, 9)).await.unwrap();
    beside.graphs.add("two", files(5, 1.0)).await.unwrap();

    let points = beside.points_of("one").await;
    let (other_vector, other_payload, lost) = (points[0].clone(), points[1].clone(), points[2].0.clone());
    beside.write(other_vector.0, other_vector.1).await;
    let renamed = other_payload.1.into_iter().chain([("language".to_owned(), Value::from("cobol"))]).collect();
    beside.write(other_payload.0, renamed).await;
    beside
        .client()
        .delete_points(DeletePointsBuilder::new("graph_files").points(PointsIdsList { ids: vec![lost] }).wait(true))
        .await
        .unwrap();
    for (name, training) in
        [("6f0c1b7a-0000-4000-8000-000000000001", "one"), ("6f0c1b7a-0000-4000-8000-000000000002", "gone")]
    {
        let id = PointId { point_id_options: Some(PointIdOptions::Uuid(name.to_owned())) };
        let says = [("graph_id", training), ("model", "node2vec")];
        beside.write(id, says.map(|(key, value)| (key.to_owned(), Value::from(value))).into()).await;
    }
    let found = drift(37, 3, 2);
    assert_eq!(beside.mend(true).await, found);
    assert_eq!(beside.mend(true).await, found, "a dry run changes nothing");
    assert_eq!(beside.mend(false).await, found);
    assert_eq!(beside.mend(false).await, drift(40, 0, 0));
    assert_eq!(beside.points_of("one").await.len(), 40);
    assert_eq!(beside.points_of("two").await.len(), 5, "its trainer goes on");
    assert_eq!(beside.points().await, 45);
    beside.graphs.add("two", files(9, 1.0)).await.unwrap();
    beside.graphs.publish("two").await.unwrap();
    assert_eq!(beside.mend(false).await, drift(49, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn graphs_of_another_dimension_are_left_to_the_store() {
    let beside = Beside::start();
    learn(&beside.graphs, "one", REPO, &files(10, 0.5)).await;
    beside.client().delete_collection("graph_files").await.unwrap();
    let wider =
        tidemill::stores::graphs::Graph { dimension: 8, trained_at: chrono::Utc::now(), ..graph("two", OTHER, 3) };
    beside.graphs.begin(wider).await.unwrap();
    let doubled = |file: tidemill::stores::graphs::FileVector| tidemill::stores::graphs::FileVector {
        vector: [&*file.vector, &*file.vector].concat().into(),
        ..file
    };
    beside.graphs.add("two", files(3, 0.0).into_iter().map(doubled).collect()).await.unwrap();
    beside.graphs.publish("two").await.unwrap();
    assert_eq!(beside.mend(false).await, drift(3, 0, 0));
    assert_eq!(near(&beside.graphs, REPO, &files(10, 0.5)[0].path, 99).await.1.len(), 9);
}
