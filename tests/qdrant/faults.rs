//! What Qdrant's faults do to calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::config::qdrant::QdrantConfig;
use tidemill::stores::documents::StoreError;
use tidemill::stores::qdrant::QdrantIndex;
use tidemill::stores::vectors::{VectorFilter, VectorIndex, VectorQuery};

use crate::server::QdrantTestServer;
use crate::suite::{DIMENSION, entries};
use crate::{PATIENCE, Place, embedding};

async fn waits(index: &QdrantIndex, about: &str) -> String {
    let entry = entries(1, 1).remove(0);
    let query = VectorQuery { vector: entry.vector.clone(), k: 1, filter: VectorFilter::default() };
    let written = index.upsert(vec![entry]).await.unwrap_err();
    assert!(matches!(written, StoreError::Unavailable(_)), "{about}: {written}");
    let _ = index.nearest(query).await;
    written.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_is_down_at_the_start_is_waited_for() {
    let mut place = Place::with_server(QdrantTestServer::start());
    place.server().stop();
    let store = Arc::clone(&place.store);
    let index = QdrantIndex::open(&place.config, &embedding("suite-v1", DIMENSION), store).await.unwrap();
    let url = place.config.url.clone();
    assert!(waits(&index, "down").await.contains(&url));
    let unhealthy = index.check().await.unwrap_err().to_string();
    assert!(unhealthy.contains(&url), "{unhealthy}");
    place.server().restart();
    assert!(index.wait_until_ready(PATIENCE).await);
    index.upsert(entries(5, 1)).await.unwrap();
    assert!(index.check().await.unwrap().starts_with("5 vectors"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_made_again() {
    let mut place = Place::with_server(QdrantTestServer::start());
    let index = place.open().await;
    for round in 0..3 {
        place.server().stop();
        assert!(waits(&index, "cut").await.contains("qdrant at"));
        place.server().restart();
        let started = Instant::now();
        while let Err(error) = index.upsert(entries(round + 1, 1)).await {
            assert!(started.elapsed() < PATIENCE, "{error}");
        }
    }
    index.check().await.unwrap();
    assert_eq!(index.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_writes_wait_and_searches_go_on() {
    let mut place = Place::with_server(QdrantTestServer::start());
    let index = place.open().await;
    index.upsert(entries(3, 1)).await.unwrap();
    let query = VectorQuery { vector: entries(3, 1)[2].vector.clone(), k: 1, filter: VectorFilter::default() };
    place.server().faults(|faults| faults.disk_full = true);
    assert!(waits(&index, "disk full").await.contains("No space left"));
    assert_eq!(&*index.nearest(query.clone()).await.unwrap()[0].id, "doc-000002");
    place.server().faults(|faults| (faults.disk_full, faults.read_only) = (false, true));
    assert!(waits(&index, "read-only").await.contains("forbidden"));
    assert_eq!(&*index.nearest(query).await.unwrap()[0].id, "doc-000002");
    place.server().faults(|faults| faults.read_only = false);
    index.upsert(entries(4, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_calls_are_tried_again_a_bounded_number_of_times() {
    let mut place = Place::with_server(QdrantTestServer::start());
    let index = place.open().await;
    place.server().faults(|faults| faults.lost_answers = 3);
    index.upsert(entries(2, 1)).await.unwrap();
    place.server().faults(|faults| faults.lost_answers = 100);
    let before = place.server().requests();
    assert!(index.upsert(entries(2, 1)).await.is_err());
    // the client itself makes a broken connection anew and asks once more, in each of the four attempts
    let requests = place.server().requests() - before;
    assert!((4..=8).contains(&requests), "{requests} requests");
    place.server().faults(|faults| faults.lost_answers = 0);
    index.check().await.unwrap();
    assert_eq!(index.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_server_ends_a_call_in_time() {
    let mut place = Place::with_server(QdrantTestServer::start());
    place.config = QdrantConfig { request_timeout_ms: 200, retries: 0, ..place.config.clone() };
    let index = place.open().await;
    place.server().faults(|faults| faults.delay = Duration::from_millis(20));
    index.upsert(entries(2, 1)).await.unwrap();
    place.server().faults(|faults| faults.delay = Duration::from_secs(30));
    let started = Instant::now();
    waits(&index, "slow").await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    place.server().faults(|faults| faults.delay = Duration::ZERO);
    index.upsert(entries(2, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_writes_go_in_batches() {
    let mut place = Place::with_server(QdrantTestServer::start());
    let index = place.open().await;
    let before = place.server().requests();
    index.upsert(entries(950, 1)).await.unwrap();
    assert_eq!(place.server().requests() - before, 10);
}
