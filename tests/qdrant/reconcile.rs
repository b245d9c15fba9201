//! The collection compared with the documents while it is in use.

use std::sync::Arc;

use parking_lot::Mutex;
use tidemill::stores::documents::RememberedDocument;
use tidemill::stores::vectors::{VectorEntry, VectorIndex};

use crate::Place;
use crate::collection::row;
use crate::suite::{DIMENSION, random_vector};

fn entry(document: &RememberedDocument) -> VectorEntry {
    VectorEntry {
        id: Arc::clone(&document.id),
        vector: document.vector.clone().unwrap(),
        timestamp_ms: document.timestamp_ms,
        source: Arc::clone(&document.source),
        symbols: document.symbols.clone().into(),
    }
}

async fn remembered(place: &Place) -> Vec<RememberedDocument> {
    let found = Mutex::new(Vec::new());
    place.store.remember(i64::MIN, Box::new(|document| found.lock().push(document))).await.unwrap();
    found.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_found_and_what_is_written_meanwhile_counts_as_seen() {
    let place = Place::new();
    let mut random = fastrand::Rng::with_seed(31);
    // more than one page of the server and one request of points
    let rows = (0..1_100).map(|index| row(index, &random_vector(&mut random, DIMENSION)));
    place.store.write(rows.collect()).await.unwrap();
    let index = place.open().await;
    let documents: Arc<[RememberedDocument]> = remembered(&place).await.into();
    let reconcile = index.reconcile().unwrap();
    reconcile.begin().await.unwrap();
    assert!(reconcile.confirm(Arc::clone(&documents)).await.unwrap().iter().all(|same| *same));
    assert!(reconcile.unconfirmed().await.unwrap().is_empty());

    let other_vector = VectorEntry { vector: Arc::clone(&entry(&documents[1]).vector), ..entry(&documents[0]) };
    let other_source = VectorEntry { source: "elsewhere".into(), ..entry(&documents[2]) };
    let other_symbols = VectorEntry { symbols: Arc::from([]), ..entry(&documents[3]) };
    let ghost = VectorEntry { id: "ghost".into(), ..entry(&documents[4]) };
    index.upsert(vec![other_vector, other_source, other_symbols, ghost.clone()]).await.unwrap();
    index.remove(vec![Arc::clone(&documents[5].id)]).await.unwrap();
    reconcile.begin().await.unwrap();
    let without = RememberedDocument { vector: None, ..documents[6].clone() };
    let asked: Vec<RememberedDocument> = documents.iter().cloned().chain([without]).collect();
    let confirmed = reconcile.confirm(asked.into()).await.unwrap();
    let differing: Vec<usize> = (0..confirmed.len()).filter(|at| !confirmed[*at]).collect();
    assert_eq!(differing, [0, 2, 3, 5]);
    let left = async || {
        let mut left: Vec<String> = reconcile.unconfirmed().await.unwrap().iter().map(ToString::to_string).collect();
        left.sort();
        left
    };
    let ids = |at: &[usize]| at.iter().map(|at| documents[*at].id.to_string()).collect::<Vec<_>>();
    assert_eq!(left().await, [ids(&[0, 2, 3]), vec!["ghost".to_owned()]].concat());

    index.upsert([0, 2, 3, 5].map(|at| entry(&documents[at])).to_vec()).await.unwrap();
    assert_eq!(left().await, ["ghost"]);
    index.remove(vec![ghost.id]).await.unwrap();
    reconcile.begin().await.unwrap();
    assert!(reconcile.confirm(Arc::clone(&documents)).await.unwrap().iter().all(|same| *same));
    assert_eq!(left().await, Vec::<String>::new());
}
