//! Claims: what passed the check is seen by every later check, and ends as it should.

use std::sync::Arc;

use tidemill::messages::record::Position;
use tidemill::stores::qdrant::QdrantIndex;
use tidemill::stores::shared_vectors::{SettledVector, SharedVectors, VectorClaim};
use tidemill::stores::vectors::{VectorEntry, VectorFilter, VectorIndex, VectorQuery};

use crate::Place;
use crate::suite::{DIMENSION, near, random_vector};

fn at(offset: i64) -> Position {
    Position { topic: "documents".into(), partition: 3, offset }
}

fn claim(id: &str, vector: Option<&Arc<[f32]>>, offset: i64) -> VectorClaim {
    let source = "news".into();
    VectorClaim { id: id.into(), vector: vector.cloned(), origin: at(offset), timestamp_ms: 5, source }
}

fn settled(id: &str, vector: Option<&Arc<[f32]>>, offset: i64) -> SettledVector {
    let entry = vector.map(|vector| VectorEntry {
        id: id.into(),
        vector: Arc::clone(vector),
        timestamp_ms: 5,
        source: "news".into(),
        symbols: vec!["AAPL".to_owned()].into(),
    });
    SettledVector { id: id.into(), origin: at(offset), correlation_id: "corr".into(), entry }
}

/// Ids near a vector, as the check sees them.
async fn checked(index: &QdrantIndex, vector: &Arc<[f32]>, except: &str) -> Vec<String> {
    let filter = VectorFilter { except: Some(except.into()), min_similarity: Some(0.95), ..VectorFilter::default() };
    let query = VectorQuery { vector: Arc::clone(vector), k: 8, filter };
    let found = index.nearest_claimed(vec![query]).await.unwrap().remove(0);
    found.into_iter().map(|neighbor| neighbor.id.to_string()).collect()
}

/// Ids near a vector, as a user's search sees them.
async fn searched(index: &QdrantIndex, vector: &Arc<[f32]>) -> Vec<String> {
    let filter = VectorFilter { min_similarity: Some(0.95), ..VectorFilter::default() };
    let found = index.nearest(VectorQuery { vector: Arc::clone(vector), k: 8, filter }).await.unwrap();
    found.into_iter().map(|neighbor| neighbor.id.to_string()).collect()
}

fn vectors() -> [Arc<[f32]>; 2] {
    let mut random = fastrand::Rng::with_seed(40);
    [random_vector(&mut random, DIMENSION), random_vector(&mut random, DIMENSION)]
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_is_seen_by_checks_and_not_by_searches_until_it_is_settled() {
    let place = Place::new();
    let index = place.open().await;
    let [vector, _] = vectors();
    index.claim(vec![claim("a", Some(&vector), 1)]).await.unwrap();
    let copy = near(&mut fastrand::Rng::with_seed(1), &vector, 0.97);
    assert_eq!(checked(&index, &copy, "b").await, ["a"]);
    assert!(checked(&index, &copy, "a").await.is_empty(), "never a copy of itself");
    assert!(searched(&index, &copy).await.is_empty());
    let claimant = index.claimant("a").await.unwrap().unwrap();
    assert_eq!(claimant.origin, at(1));
    index.settle(vec![settled("a", Some(&vector), 1)]).await.unwrap();
    assert_eq!(checked(&index, &copy, "b").await, ["a"]);
    assert_eq!(searched(&index, &copy).await, ["a"]);
    assert_eq!(index.claimant("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_revision_hides_the_one_before_and_its_withdrawal_shows_it_again() {
    let place = Place::new();
    let index = place.open().await;
    let [old, new] = vectors();
    index.settle(vec![settled("a", Some(&old), 1)]).await.unwrap();
    index.claim(vec![claim("a", Some(&new), 2)]).await.unwrap();
    assert!(checked(&index, &old, "b").await.is_empty());
    assert_eq!(checked(&index, &new, "b").await, ["a"]);
    assert_eq!(searched(&index, &old).await, ["a"], "searches see what is stored");
    index.withdraw(vec![("a".into(), at(2))]).await.unwrap();
    assert_eq!(checked(&index, &old, "b").await, ["a"]);
    // as a copy it leaves word, too
    index.claim(vec![claim("a", None, 3)]).await.unwrap();
    assert!(checked(&index, &old, "b").await.is_empty());
    index.settle(vec![settled("a", None, 3)]).await.unwrap();
    assert!(searched(&index, &old).await.is_empty());
    assert_eq!(index.claimant("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_record_that_claimed_ends_its_claim() {
    let place = Place::new();
    let index = place.open().await;
    let [first, second] = vectors();
    index.claim(vec![claim("a", Some(&first), 1)]).await.unwrap();
    index.claim(vec![claim("a", Some(&second), 2)]).await.unwrap();
    index.settle(vec![settled("a", Some(&first), 1)]).await.unwrap();
    index.withdraw(vec![("a".into(), at(1)), ("b".into(), at(3))]).await.unwrap();
    assert_eq!(index.claimant("a").await.unwrap().unwrap().origin, at(2));
    assert_eq!(checked(&index, &second, "b").await, ["a"]);
    assert!(checked(&index, &first, "b").await.is_empty(), "the revision on its way counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_that_was_claimed_before_loses_its_claim() {
    let place = Place::new();
    let index = place.open().await;
    let [vector, _] = vectors();
    index.claim(vec![claim("a", Some(&vector), 1)]).await.unwrap();
    // delivered again and found to be a copy: there is no earlier revision to leave word about
    index.claim(vec![claim("a", None, 1)]).await.unwrap();
    assert!(checked(&index, &vector, "b").await.is_empty());
    assert_eq!(index.claimant("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_of_a_stored_document_whose_daemon_died_becomes_its_vector() {
    let place = Place::new();
    let index = place.open().await;
    let [vector, other] = vectors();
    index.claim(vec![claim("a", Some(&vector), 1), claim("b", Some(&other), 2)]).await.unwrap();
    let again = |id, offset| {
        let mut again = settled(id, Some(&vector), offset);
        again.entry.as_mut().unwrap().vector = Vec::new().into();
        again
    };
    // b's verdict is of another record than its claim: that is a revision on its way
    index.settle_again(vec![again("a", 1), again("b", 7), again("never", 9)]).await.unwrap();
    assert_eq!(searched(&index, &vector).await, ["a"]);
    assert_eq!(index.claimant("a").await.unwrap(), None);
    assert!(searched(&index, &other).await.is_empty());
    assert!(index.claimant("b").await.unwrap().is_some());
}
