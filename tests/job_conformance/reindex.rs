//! The kind `reindex` over a real store and a real index.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemill::actors::reindex;
use tidemill::config::store::StoreConfig;
use tidemill::jobs::{Cause, JobContext, JobFailure, Registry, RunningJob};
use tidemill::messages::job::{JobState, NewJob};
use tidemill::stores::documents::DocumentStore;
use tidemill::stores::sqlite::SqliteStore;
use tidemill::stores::vector_index::{EmbeddedIndex, PooledIndex};
use tidemill::stores::vectors::{VectorEntry, VectorFilter, VectorIndex, VectorQuery};

use crate::dispatch::{Running, config, queue};
use crate::store_suite::row;

const DIMENSION: usize = 4;
/// Over one batch of the handler.
const DOCUMENTS: u64 = 4500;

fn vector(index: u64) -> Arc<[f32]> {
    let mut random = fastrand::Rng::with_seed(index);
    let values: Vec<f32> = (0..DIMENSION).map(|_| random.f32() - 0.5).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.iter().map(|value| value / length).collect()
}

fn entry(index: u64) -> VectorEntry {
    let row = row(index);
    VectorEntry {
        id: row.document.id.clone(),
        vector: vector(index),
        timestamp_ms: row.timestamp_ms,
        source: row.document.source.clone(),
        symbols: row.analysis.symbols.as_slice().into(),
    }
}

/// A store with documents, and an index that lacks two, has two otherwise, and one too many.
async fn differing(directory: &tempfile::TempDir) -> (Arc<SqliteStore>, Arc<dyn VectorIndex>) {
    let store = SqliteStore::open(&directory.path().join("a.sqlite3"), &StoreConfig::default()).unwrap();
    let rows = (0..DOCUMENTS).map(|index| {
        let mut row = row(index);
        row.vector = Some(vector(index));
        // many records of one moment, across the end of a batch
        row.timestamp_ms =
            if (4000..4200).contains(&index) { 5_000_000 } else { 1_000_000 + i64::try_from(index).unwrap() };
        row
    });
    let rows: Vec<_> = rows.collect();
    let mut entries: Vec<VectorEntry> = rows
        .iter()
        .zip(0..)
        .map(|(row, index)| VectorEntry { timestamp_ms: row.timestamp_ms, ..entry(index) })
        .collect();
    store.write(rows).await.unwrap();
    let path = directory.path().join("vectors.index");
    let (index, _) = EmbeddedIndex::open(&path, DIMENSION, &StoreConfig::default().vectors).unwrap();
    entries[7].vector = vector(8);
    entries[4444].source = "elsewhere".into();
    entries.remove(4100);
    entries.remove(3);
    entries.push(VectorEntry { id: "ghost".into(), ..entry(0) });
    let index = PooledIndex::new(index);
    index.upsert(entries).await.unwrap();
    (Arc::new(store), Arc::new(index))
}

fn registry(store: &Arc<SqliteStore>, index: &Arc<dyn VectorIndex>) -> Registry {
    let (store, index) = (store.clone(), index.clone());
    Registry::default().register("reindex", "repairs", move |request, ctx| {
        reindex::run(store.clone(), index.clone(), store.clone(), request, ctx)
    })
}

#[tokio::test]
async fn everything_that_differs_is_found_then_mended_then_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (store, index) = differing(&directory).await;
    let (queue, _queue_directory) = queue(&config());
    let running = Running::start(queue, registry(&store, &index), config());
    let run = async |payload: Value| {
        let id = running.submit("reindex", payload).await;
        let job = running.until(&id, |job| job.state.is_finished()).await;
        assert_eq!(job.state, JobState::Succeeded, "{job:?}");
        assert!(job.message.is_some_and(|message| message.contains("missing")));
        let report = job.result.unwrap();
        (report["same"].as_u64(), report["missing"].as_u64(), report["extra"].as_u64(), report["extra_ids"][0].clone())
    };
    let found = (Some(DOCUMENTS - 4), Some(4), Some(1), json!("ghost"));
    assert_eq!(run(json!({ "dry_run": true })).await, found);
    assert_eq!(index.len() as u64, DOCUMENTS - 1);
    assert_eq!(run(Value::Null).await, found);
    assert_eq!(run(Value::Null).await, (Some(DOCUMENTS), Some(0), Some(0), Value::Null));
    assert_eq!(index.len() as u64, DOCUMENTS);
    let query = VectorQuery { vector: vector(7), k: 1, filter: VectorFilter::default() };
    assert_eq!(*index.nearest(query).await.unwrap()[0].id, *row(7).document.id);
    running.drained().await;
}

#[tokio::test]
async fn reindex_that_is_called_off_ends_and_leaves_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (store, index) = differing(&directory).await;
    let before = index.len();
    let (queue, _queue_directory) = queue(&config());
    queue.enqueue(NewJob::new("reindex", Value::Null), 1).await.unwrap();
    let (job, lease) = queue.claim("reindex", "w", config().lease()).await.unwrap().taken.unwrap();
    let running = RunningJob::new(&job, lease);
    running.stop(Cause::CalledOff);
    let outcome =
        reindex::run(store.clone(), index.clone(), store, reindex::ReindexRequest::default(), JobContext::new(running))
            .await;
    assert_eq!(outcome, Err(JobFailure::Stopped));
    assert_eq!(index.len(), before);
}

#[tokio::test]
async fn store_that_is_away_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (store, index) = differing(&directory).await;
    let (queue, _queue_directory) = queue(&config());
    let settings = tidemill::config::jobs::JobsConfig { backoff_min_ms: 300, backoff_max_ms: 300, ..config() };
    let running = Running::start(queue, registry(&store, &index), settings);
    store.fail_for(std::time::Duration::from_millis(200));
    let job = NewJob { max_attempts: 50, ..NewJob::new("reindex", json!({ "dry_run": true })) };
    let id = running.submit_with(job).await;
    let job = running.until_state(&id, JobState::Succeeded).await;
    assert!(job.errors.iter().all(|entry| entry.error.contains("on purpose")), "{:?}", job.errors);
    running.drained().await;
}
