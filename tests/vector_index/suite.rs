//! What every vector index promises, against the trait alone, with brute force as the judge.

use std::sync::Arc;

use tidemill::stores::documents::StoreError;
use tidemill::stores::vectors::{Neighbor, VectorEntry, VectorFilter, VectorIndex, VectorQuery};

/// Dimension of the suite's vectors.
pub const DIMENSION: usize = 24;

pub fn normalised(mut values: Vec<f32>) -> Arc<[f32]> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in &mut values {
        *value /= norm;
    }
    values.into()
}

pub fn random_vector(random: &mut fastrand::Rng, dimension: usize) -> Arc<[f32]> {
    normalised((0..dimension).map(|_| random.f32() - 0.5).collect())
}

/// A vector whose cosine to `center` is about `cosine`.
pub fn near(random: &mut fastrand::Rng, center: &[f32], cosine: f32) -> Arc<[f32]> {
    let noise = random_vector(random, center.len());
    let along: f32 = center.iter().zip(noise.iter()).map(|(one, two)| one * two).sum();
    let across = normalised(center.iter().zip(noise.iter()).map(|(one, two)| two - along * one).collect());
    let sine = (1.0 - cosine * cosine).sqrt();
    normalised(center.iter().zip(across.iter()).map(|(one, two)| cosine * one + sine * two).collect())
}

pub fn entry(index: usize, vector: Arc<[f32]>) -> VectorEntry {
    VectorEntry {
        id: format!("doc-{index:06}").into(),
        vector,
        timestamp_ms: i64::try_from(index).unwrap() * 60_000,
        source: if index.is_multiple_of(2) { "news".into() } else { "reddit".into() },
        symbols: vec!["ALL".to_owned(), format!("S{}", index % 10)].into(),
    }
}

pub fn entries(count: usize, seed: u64) -> Vec<VectorEntry> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|index| entry(index, random_vector(&mut random, DIMENSION))).collect()
}

/// Vectors in batches, as the pipeline writes them.
async fn insert_all(index: &dyn VectorIndex, all: &[VectorEntry]) {
    for batch in all.chunks(250) {
        index.upsert(batch.to_vec()).await.unwrap();
    }
}

async fn nearest(index: &dyn VectorIndex, vector: &[f32], k: usize, filter: &VectorFilter) -> Vec<Neighbor> {
    let query = VectorQuery { vector: vector.into(), k, filter: filter.clone() };
    index.nearest(query).await.unwrap()
}

fn cosine(one: &[f32], two: &[f32]) -> f32 {
    one.iter().zip(two).map(|(one, two)| one * two).sum()
}

pub fn brute_force(entries: &[VectorEntry], query: &[f32], k: usize, filter: &VectorFilter) -> Vec<Neighbor> {
    let passes = |entry: &&VectorEntry| {
        filter.since_ms.is_none_or(|since| entry.timestamp_ms >= since)
            && filter.until_ms.is_none_or(|until| entry.timestamp_ms <= until)
            && filter.source.as_ref().is_none_or(|source| **source == *entry.source)
            && filter.symbol.as_ref().is_none_or(|symbol| entry.symbols.contains(symbol))
            && filter.except.as_ref().is_none_or(|except| *except != entry.id)
            && filter.min_similarity.is_none_or(|least| cosine(&entry.vector, query) >= least)
    };
    let mut all: Vec<Neighbor> = entries
        .iter()
        .filter(passes)
        .map(|entry| Neighbor {
            id: Arc::clone(&entry.id),
            similarity: cosine(&entry.vector, query),
            timestamp_ms: entry.timestamp_ms,
        })
        .collect();
    all.sort_by(|one, two| two.similarity.total_cmp(&one.similarity));
    all.truncate(k);
    all
}

/// The same neighbours by similarity; which of two that differ by rounding comes first does not count.
#[track_caller]
pub fn assert_same(found: &[Neighbor], expected: &[Neighbor]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.similarity - expected.similarity).abs() < 1e-5, "{found:?} / {expected:?}");
    }
}

pub fn ids(found: &[Neighbor]) -> Vec<&str> {
    found.iter().map(|neighbor| &*neighbor.id).collect()
}

// ---- the suite ----

/// Every search finds what brute force finds, whatever it is restricted to.
pub async fn finds_what_brute_force_finds(index: &dyn VectorIndex) {
    let all = entries(3000, 1);
    insert_all(index, &all).await;
    let mut random = fastrand::Rng::with_seed(2);
    let at = |minute: i64| Some(minute * 60_000);
    let filters = [
        VectorFilter::default(),
        VectorFilter { since_ms: at(2900), ..VectorFilter::default() },
        VectorFilter { since_ms: at(100), until_ms: at(2500), ..VectorFilter::default() },
        VectorFilter { until_ms: at(-1), ..VectorFilter::default() },
        VectorFilter { source: Some("reddit".into()), symbol: Some("S3".into()), ..VectorFilter::default() },
        VectorFilter { symbol: Some("S4".into()), since_ms: at(2990), ..VectorFilter::default() },
        VectorFilter { symbol: Some("none".into()), ..VectorFilter::default() },
        VectorFilter { source: Some("reddit".into()), symbol: Some("S2".into()), ..VectorFilter::default() },
        VectorFilter { min_similarity: Some(0.4), ..VectorFilter::default() },
        VectorFilter { min_similarity: Some(0.8), since_ms: at(1000), ..VectorFilter::default() },
        VectorFilter { symbol: Some("ALL".into()), except: Some("doc-000007".into()), ..VectorFilter::default() },
    ];
    for filter in &filters {
        let vectors: Vec<_> = (0..10).map(|_| random_vector(&mut random, DIMENSION)).collect();
        let query = |vector: &Arc<[f32]>| VectorQuery { vector: Arc::clone(vector), k: 5, filter: filter.clone() };
        let found = index.nearest_many(vectors.iter().map(query).collect()).await.unwrap();
        assert_eq!(found.len(), vectors.len());
        for (vector, found) in vectors.iter().zip(&found) {
            assert_same(found, &brute_force(&all, vector, 5, filter));
        }
    }
}

/// A search for very similar vectors misses none, and finds no others.
pub async fn very_similar_vectors_are_all_found(index: &dyn VectorIndex) {
    let mut random = fastrand::Rng::with_seed(12);
    let centers: Vec<Arc<[f32]>> = (0..40).map(|_| random_vector(&mut random, DIMENSION)).collect();
    let all: Vec<VectorEntry> = (0..2500)
        .map(|at| {
            let likeness = [0.5, 0.9, 0.97][at % 3];
            entry(at, near(&mut random, &centers[at % centers.len()], likeness))
        })
        .collect();
    insert_all(index, &all).await;
    let (since_ms, until_ms) = (Some(200 * 60_000), Some(2300 * 60_000));
    for _ in 0..60 {
        let center = random.usize(0..centers.len());
        let query = near(&mut random, &centers[center], 0.98);
        for least in [0.8, 0.9, 0.95] {
            let filter = VectorFilter { since_ms, until_ms, min_similarity: Some(least), ..VectorFilter::default() };
            let found = nearest(index, &query, 100, &filter).await;
            // one on the border may be rounded to either side
            let above = VectorFilter { min_similarity: Some(least + 1e-5), ..filter.clone() };
            assert!(found.len() >= brute_force(&all, &query, 100, &above).len());
            let below = VectorFilter { min_similarity: Some(least - 1e-5), ..filter };
            assert_same(&found, &brute_force(&all, &query, 100, &below)[..found.len()]);
        }
    }
}

/// An inserted vector is found by the next search.
pub async fn inserted_vector_is_found_by_the_next_search(index: &dyn VectorIndex) {
    for entry in entries(200, 3) {
        index.upsert(vec![entry.clone()]).await.unwrap();
        let found = nearest(index, &entry.vector, 1, &VectorFilter::default()).await;
        assert_eq!(ids(&found), [&*entry.id]);
        assert!((found[0].similarity - 1.0).abs() < 1e-5);
        assert_eq!(found[0].timestamp_ms, entry.timestamp_ms);
    }
}

/// What was removed or replaced is gone at once.
pub async fn removed_and_replaced_vectors_are_gone_at_once(index: &dyn VectorIndex) {
    let all = entries(300, 4);
    insert_all(index, &all).await;
    let gone: Vec<Arc<str>> = all[..100].iter().map(|entry| Arc::clone(&entry.id)).collect();
    index.remove(gone[..1].to_vec()).await.unwrap();
    index.remove(gone.clone()).await.unwrap();
    for entry in &all[..100] {
        let found = nearest(index, &entry.vector, 300, &VectorFilter::default()).await;
        assert_eq!(found.len(), 200);
        assert!(!ids(&found).contains(&&*entry.id));
    }
    let mut moved = all[200].clone();
    moved.vector = all[0].vector.clone();
    index.upsert(vec![all[200].clone(), moved]).await.unwrap();
    let found = nearest(index, &all[0].vector, 300, &VectorFilter::default()).await;
    assert_eq!((found.len(), ids(&found)[0]), (200, "doc-000200"));
    let old = nearest(index, &all[200].vector, 1, &VectorFilter::default()).await;
    assert!(old[0].similarity < 0.999);
}

/// Equal similarities are ordered by time, then id.
pub async fn equal_similarities_go_by_time_then_id(index: &dyn VectorIndex) {
    let vector = random_vector(&mut fastrand::Rng::with_seed(5), DIMENSION);
    for (id, timestamp_ms) in [("c", 5), ("b", 5), ("a", 9), ("d", 1)] {
        let entry = VectorEntry { id: id.into(), timestamp_ms, ..entry(0, vector.clone()) };
        index.upsert(vec![entry]).await.unwrap();
    }
    assert_eq!(ids(&nearest(index, &vector, 4, &VectorFilter::default()).await), ["d", "b", "c", "a"]);
    assert_eq!(ids(&nearest(index, &vector, 2, &VectorFilter::default()).await), ["d", "b"]);
}

/// Wrong dimensions and values that are not finite are refused, and nothing of them is kept.
pub async fn wrong_vectors_are_refused(index: &dyn VectorIndex) {
    let good = random_vector(&mut fastrand::Rng::with_seed(6), DIMENSION);
    index.upsert(vec![entry(0, good.clone())]).await.unwrap();
    let mut nan = good.to_vec();
    nan[3] = f32::NAN;
    for wrong in [vec![1.0; DIMENSION + 1], Vec::new(), nan, vec![0.0; DIMENSION], vec![f32::INFINITY; DIMENSION]] {
        let wrong: Arc<[f32]> = wrong.into();
        assert!(matches!(index.upsert(vec![entry(1, wrong.clone())]).await, Err(StoreError::Refused(_))));
        let query = VectorQuery { vector: wrong, k: 1, filter: VectorFilter::default() };
        assert!(matches!(index.nearest(query).await, Err(StoreError::InvalidQuery(_))));
    }
    assert_eq!(ids(&nearest(index, &good, 5, &VectorFilter::default()).await), ["doc-000000"]);
    assert!(nearest(index, &good, 0, &VectorFilter::default()).await.is_empty());
}

/// Two writers that search for what they wrote never miss it.
pub async fn readers_and_writers_meet(index: &dyn VectorIndex) {
    let all = entries(600, 7);
    let work = all.chunks(300).map(|part| async move {
        for entry in part {
            index.upsert(vec![entry.clone()]).await.unwrap();
            assert_eq!(ids(&nearest(index, &entry.vector, 1, &VectorFilter::default()).await), [&*entry.id]);
        }
    });
    futures_util::future::join_all(work).await;
}
