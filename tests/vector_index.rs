//! What every vector index promises, against brute force; and what the embedded one's file may suffer.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidemill::config::store::VectorsConfig;
use tidemill::messages::analysis::VerdictLabel;
use tidemill::messages::record::Position;
use tidemill::stores::documents::{RememberedDocument, StoreError};
use tidemill::stores::vector_index::{EmbeddedIndex, Opened, Rebuilt};
use tidemill::stores::vectors::{Neighbor, VectorEntry, VectorFilter, VectorIndex};

const DIMENSION: usize = 24;
const BUILD_DEADLINE: Duration = Duration::from_mins(2);

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("vectors.index")
    }

    fn open(&self, graph_from: usize) -> (EmbeddedIndex, Opened) {
        let config = VectorsConfig { graph_from, ..VectorsConfig::default() };
        EmbeddedIndex::open(&self.path(), DIMENSION, &config).unwrap()
    }
}

fn normalised(mut values: Vec<f32>) -> Arc<[f32]> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in &mut values {
        *value /= norm;
    }
    values.into()
}

fn random_vector(random: &mut fastrand::Rng, dimension: usize) -> Arc<[f32]> {
    normalised((0..dimension).map(|_| random.f32() - 0.5).collect())
}

/// A vector whose cosine to `center` is about `cosine`.
fn near(random: &mut fastrand::Rng, center: &[f32], cosine: f32) -> Arc<[f32]> {
    let noise = random_vector(random, center.len());
    let along: f32 = center.iter().zip(noise.iter()).map(|(one, two)| one * two).sum();
    let across = normalised(center.iter().zip(noise.iter()).map(|(one, two)| two - along * one).collect());
    let sine = (1.0 - cosine * cosine).sqrt();
    normalised(center.iter().zip(across.iter()).map(|(one, two)| cosine * one + sine * two).collect())
}

fn entry(index: usize, vector: Arc<[f32]>) -> VectorEntry {
    VectorEntry {
        id: format!("doc-{index:06}").into(),
        vector,
        timestamp_ms: i64::try_from(index).unwrap() * 60_000,
        source: if index.is_multiple_of(2) { "news".into() } else { "reddit".into() },
        symbols: vec!["ALL".to_owned(), format!("S{}", index % 10)].into(),
    }
}

fn entries(count: usize, seed: u64) -> Vec<VectorEntry> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|index| entry(index, random_vector(&mut random, DIMENSION))).collect()
}

fn insert_all(index: &dyn VectorIndex, all: &[VectorEntry]) {
    for entry in all {
        index.insert(entry.clone()).unwrap();
    }
}

fn brute_force(entries: &[VectorEntry], query: &[f32], k: usize, filter: &VectorFilter) -> Vec<Neighbor> {
    let passes = |entry: &&VectorEntry| {
        filter.since_ms.is_none_or(|since| entry.timestamp_ms >= since)
            && filter.until_ms.is_none_or(|until| entry.timestamp_ms <= until)
            && filter.source.as_ref().is_none_or(|source| **source == *entry.source)
            && filter.symbol.as_ref().is_none_or(|symbol| entry.symbols.contains(symbol))
            && filter.except.as_ref().is_none_or(|except| *except != entry.id)
    };
    let mut all: Vec<Neighbor> = entries
        .iter()
        .filter(passes)
        .map(|entry| Neighbor {
            id: Arc::clone(&entry.id),
            similarity: entry.vector.iter().zip(query).map(|(one, two)| one * two).sum(),
            timestamp_ms: entry.timestamp_ms,
        })
        .collect();
    all.sort_by(|one, two| two.similarity.total_cmp(&one.similarity));
    all.truncate(k);
    all
}

/// The same neighbours by similarity; which of two that differ by rounding comes first does not count.
#[track_caller]
fn assert_same(found: &[Neighbor], expected: &[Neighbor]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.similarity - expected.similarity).abs() < 1e-5, "{found:?} / {expected:?}");
    }
}

fn ids(found: &[Neighbor]) -> Vec<&str> {
    found.iter().map(|neighbor| &*neighbor.id).collect()
}

// ---- the suite, against the trait alone ----

fn finds_what_brute_force_finds(index: &dyn VectorIndex) {
    let all = entries(3000, 1);
    insert_all(index, &all);
    assert_eq!(index.len(), 3000);
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
        VectorFilter { symbol: Some("ALL".into()), except: Some("doc-000007".into()), ..VectorFilter::default() },
    ];
    for filter in &filters {
        for _ in 0..10 {
            let query = random_vector(&mut random, DIMENSION);
            assert_same(&index.nearest(&query, 5, filter).unwrap(), &brute_force(&all, &query, 5, filter));
        }
    }
}

fn inserted_vector_is_found_by_the_next_search(index: &dyn VectorIndex) {
    for entry in entries(500, 3) {
        index.insert(entry.clone()).unwrap();
        let found = index.nearest(&entry.vector, 1, &VectorFilter::default()).unwrap();
        assert_eq!(ids(&found), [&*entry.id]);
        assert!((found[0].similarity - 1.0).abs() < 1e-5);
    }
}

fn removed_and_replaced_vectors_are_gone_at_once(index: &dyn VectorIndex) {
    let all = entries(300, 4);
    insert_all(index, &all);
    for entry in &all[..100] {
        assert!(index.remove(&entry.id).unwrap());
        assert!(!index.remove(&entry.id).unwrap());
        let found = index.nearest(&entry.vector, 300, &VectorFilter::default()).unwrap();
        assert!(!ids(&found).contains(&&*entry.id));
    }
    let mut moved = all[200].clone();
    moved.vector = all[0].vector.clone();
    index.insert(moved).unwrap();
    assert_eq!(index.len(), 200);
    let found = index.nearest(&all[0].vector, 1, &VectorFilter::default()).unwrap();
    assert_eq!(ids(&found), ["doc-000200"]);
    let old = index.nearest(&all[200].vector, 1, &VectorFilter::default()).unwrap();
    assert!(old[0].similarity < 0.999);
}

fn equal_similarities_go_by_time_then_id(index: &dyn VectorIndex) {
    let vector = random_vector(&mut fastrand::Rng::with_seed(5), DIMENSION);
    for (id, timestamp_ms) in [("c", 5), ("b", 5), ("a", 9), ("d", 1)] {
        index.insert(VectorEntry { id: id.into(), timestamp_ms, ..entry(0, vector.clone()) }).unwrap();
    }
    assert_eq!(ids(&index.nearest(&vector, 4, &VectorFilter::default()).unwrap()), ["d", "b", "c", "a"]);
    assert_eq!(ids(&index.nearest(&vector, 2, &VectorFilter::default()).unwrap()), ["d", "b"]);
}

fn wrong_vectors_are_refused(index: &dyn VectorIndex) {
    let good = random_vector(&mut fastrand::Rng::with_seed(6), DIMENSION);
    index.insert(entry(0, good.clone())).unwrap();
    let mut nan = good.to_vec();
    nan[3] = f32::NAN;
    for wrong in [vec![1.0; DIMENSION + 1], Vec::new(), nan, vec![0.0; DIMENSION], vec![f32::INFINITY; DIMENSION]] {
        assert!(matches!(index.insert(entry(1, wrong.clone().into())), Err(StoreError::Refused(_))));
        assert!(matches!(index.nearest(&wrong, 1, &VectorFilter::default()), Err(StoreError::InvalidQuery(_))));
    }
    assert_eq!(index.len(), 1);
    assert!(index.nearest(&good, 0, &VectorFilter::default()).unwrap().is_empty());
}

fn readers_and_writers_meet(index: &dyn VectorIndex) {
    let all = entries(2000, 7);
    std::thread::scope(|scope| {
        for part in all.chunks(1000) {
            scope.spawn(move || {
                for entry in part {
                    index.insert(entry.clone()).unwrap();
                    let found = index.nearest(&entry.vector, 1, &VectorFilter::default()).unwrap();
                    assert_eq!(ids(&found), [&*entry.id]);
                }
            });
        }
    });
    assert_eq!(index.len(), 2000);
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod scanning {
            $(#[test] fn $case() { super::$case(&super::Place::new().open(1_000_000).0); })*
        }
        mod with_graph {
            $(#[test] fn $case() { super::$case(&super::Place::new().open(50).0); })*
        }
    };
}

conformance!(
    finds_what_brute_force_finds,
    inserted_vector_is_found_by_the_next_search,
    removed_and_replaced_vectors_are_gone_at_once,
    equal_similarities_go_by_time_then_id,
    wrong_vectors_are_refused,
    readers_and_writers_meet,
);

// ---- the embedded index ----

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any sequence of changes leaves the index equal to a list that is searched by brute force.
    #[test]
    fn any_changes_agree_with_brute_force(
        changes in prop::collection::vec((0..40_usize, any::<bool>(), any::<u64>()), 1..150), seed in any::<u64>(),
    ) {
        let (index, _) = Place::new().open(20);
        let mut model: std::collections::BTreeMap<usize, VectorEntry> = std::collections::BTreeMap::new();
        for (at, insert, value) in changes {
            if insert {
                let entry = entry(at, random_vector(&mut fastrand::Rng::with_seed(value), DIMENSION));
                index.insert(entry.clone()).unwrap();
                model.insert(at, entry);
            } else {
                prop_assert_eq!(index.remove(&format!("doc-{at:06}")).unwrap(), model.remove(&at).is_some());
            }
        }
        prop_assert_eq!(index.len(), model.len());
        let all: Vec<VectorEntry> = model.into_values().collect();
        let query = random_vector(&mut fastrand::Rng::with_seed(seed), DIMENSION);
        let filter = VectorFilter { symbol: Some("S3".into()), ..VectorFilter::default() };
        for filter in [VectorFilter::default(), filter] {
            assert_same(&index.nearest(&query, 3, &filter).unwrap(), &brute_force(&all, &query, 3, &filter));
        }
    }
}

#[test]
fn graph_recalls_copies_in_clustered_data() {
    const CLUSTERS: usize = 150;
    const QUERIES: usize = 500;
    let mut random = fastrand::Rng::with_seed(8);
    let place = Place::new();
    let config = VectorsConfig { graph_from: 1000, ..VectorsConfig::default() };
    let (index, _) = EmbeddedIndex::open(&place.path(), 96, &config).unwrap();
    let centers: Vec<Arc<[f32]>> = (0..CLUSTERS).map(|_| random_vector(&mut random, 96)).collect();
    let all: Vec<VectorEntry> =
        (0..6000).map(|at| entry(at, near(&mut random, &centers[at % CLUSTERS], 0.8))).collect();
    insert_all(&index, &all);
    assert!(index.wait_until_built(BUILD_DEADLINE));
    let mut found_copies = 0;
    for _ in 0..QUERIES {
        let original = &all[random.usize(0..all.len())];
        let query = near(&mut random, &original.vector, 0.96);
        let best = &brute_force(&all, &query, 1, &VectorFilter::default())[0];
        assert!(best.similarity >= 0.95);
        let found = index.nearest(&query, 1, &VectorFilter::default()).unwrap();
        found_copies += usize::from(ids(&found) == [&*best.id]);
    }
    println!("recall {found_copies} of {QUERIES}");
    assert!(found_copies * 100 >= QUERIES * 98, "recall {found_copies} of {QUERIES}");
}

#[test]
fn graph_is_made_anew_when_most_of_it_is_gone() {
    let (index, _) = Place::new().open(100);
    for round in 0..8 {
        let all = entries(1000, 100 + round);
        insert_all(&index, &all);
        assert!(index.wait_until_built(BUILD_DEADLINE));
        let query = &all[500].vector;
        assert_same(
            &index.nearest(query, 5, &VectorFilter::default()).unwrap(),
            &brute_force(&all, query, 5, &VectorFilter::default()),
        );
    }
    assert_eq!(index.len(), 1000);
}

fn saved(place: &Place, graph_from: usize) -> Vec<VectorEntry> {
    let (index, opened) = place.open(graph_from);
    assert!(matches!(opened, Opened::MustRebuild(_)));
    let all = entries(400, 9);
    insert_all(&index, &all);
    index.remove("doc-000003").unwrap();
    assert!(index.wait_until_built(BUILD_DEADLINE));
    index.save().unwrap();
    all.into_iter().filter(|entry| &*entry.id != "doc-000003").collect()
}

#[test]
fn saved_index_opens_as_it_was() {
    for graph_from in [50, 1_000_000] {
        let place = Place::new();
        let all = saved(&place, graph_from);
        let (index, opened) = place.open(graph_from);
        assert_eq!(opened, Opened::Current);
        assert_eq!(index.len(), 399);
        let filter = VectorFilter { symbol: Some("S3".into()), since_ms: Some(60_000), ..VectorFilter::default() };
        for filter in [VectorFilter::default(), filter] {
            let query = &all[42].vector;
            assert_same(&index.nearest(query, 9, &filter).unwrap(), &brute_force(&all, query, 9, &filter));
        }
        index.insert(entry(3, all[0].vector.clone())).unwrap();
        assert_eq!(index.len(), 400);
    }
}

#[test]
fn index_that_changed_after_its_file_was_written_must_be_rebuilt() {
    let place = Place::new();
    saved(&place, 50);
    let (index, _) = place.open(50);
    index.insert(entry(1000, random_vector(&mut fastrand::Rng::with_seed(1), DIMENSION))).unwrap();
    // Nothing is closed in order: as after a kill.
    let copy = Place::new();
    std::fs::copy(place.path(), copy.path()).unwrap();
    let (_, opened) = copy.open(50);
    assert!(matches!(&opened, Opened::MustRebuild(why) if why.contains("changed after")), "{opened:?}");
    index.save().unwrap();
    assert_eq!(place.open(50).1, Opened::Current);
}

#[test]
fn torn_or_damaged_file_must_be_rebuilt() {
    let place = Place::new();
    saved(&place, 50);
    let whole = std::fs::read(place.path()).unwrap();
    let mut random = fastrand::Rng::with_seed(10);
    let mut broken: Vec<Vec<u8>> =
        [0, 1, 63, 64, 71, 72, 5000, whole.len() - 1].map(|end| whole[..end].to_vec()).into();
    broken.extend((0..40).map(|_| {
        let mut bytes = whole.clone();
        let at = random.usize(0..bytes.len());
        // Bytes 65 to 71 are padding.
        let at = if (65..72).contains(&at) { 100 } else { at };
        bytes[at] ^= 1 << random.u8(0..8);
        bytes
    }));
    broken.push([whole.clone(), vec![0]].concat());
    broken.push(vec![b'x'; 500]);
    for bytes in broken {
        std::fs::write(place.path(), bytes).unwrap();
        let (_, opened) = place.open(50);
        assert!(matches!(opened, Opened::MustRebuild(_)));
    }
    std::fs::write(place.path(), &whole).unwrap();
    let other = EmbeddedIndex::open(&place.path(), DIMENSION + 1, &VectorsConfig::default()).unwrap().1;
    assert!(matches!(&other, Opened::MustRebuild(why) if why.contains("values")), "{other:?}");
}

fn remembered(entry: &VectorEntry) -> RememberedDocument {
    RememberedDocument {
        id: entry.id.clone(),
        verdict: VerdictLabel::Stored,
        duplicate_of: None,
        content_hash: [0; 32],
        title: None,
        text: "t".to_owned(),
        timestamp_ms: entry.timestamp_ms,
        origin: Position { topic: "documents".into(), partition: 0, offset: 0 },
        vector: Some(entry.vector.clone()),
        source: entry.source.clone(),
        symbols: entry.symbols.to_vec(),
    }
}

fn rebuild(index: &EmbeddedIndex, all: &[VectorEntry]) -> Rebuilt {
    let mut done = Rebuilt::default();
    index.start_rebuild();
    for entry in all {
        index.confirm(&remembered(entry), &mut done).unwrap();
    }
    let without = RememberedDocument { vector: None, ..remembered(&all[0]) };
    index.confirm(&without, &mut done).unwrap();
    index.finish_rebuild(&mut done).unwrap();
    done
}

#[test]
fn rebuild_makes_the_index_equal_to_the_store() {
    let place = Place::new();
    let mut all = saved(&place, 50);
    all.truncate(390);
    all.extend([entry(2000, all[5].vector.clone())]);
    all[7].vector = all[8].vector.clone();
    all[9].symbols = vec!["NEW".to_owned()].into();
    let (index, _) = place.open(50);
    assert_eq!(rebuild(&index, &all), Rebuilt { kept: 388, inserted: 3, removed: 9 });
    assert_eq!(rebuild(&index, &all), Rebuilt { kept: 391, inserted: 0, removed: 0 });
    let filter = VectorFilter { symbol: Some("NEW".into()), ..VectorFilter::default() };
    assert_eq!(ids(&index.nearest(&all[9].vector, 5, &filter).unwrap()), [&*all[9].id]);
}

#[test]
fn vectors_that_come_during_a_rebuild_stay() {
    let place = Place::new();
    let all = saved(&place, 1_000_000);
    let (index, _) = place.open(1_000_000);
    let mut done = Rebuilt::default();
    index.start_rebuild();
    index.insert(entry(5000, all[0].vector.clone())).unwrap();
    all[..10].iter().for_each(|entry| index.confirm(&remembered(entry), &mut done).unwrap());
    index.finish_rebuild(&mut done).unwrap();
    assert_eq!((index.len(), done), (11, Rebuilt { kept: 10, inserted: 0, removed: 389 }));
}

#[test]
fn index_file_in_a_place_that_can_not_be_written_is_an_error() {
    let index = EmbeddedIndex::open(Path::new("/proc/none/vectors.index"), DIMENSION, &VectorsConfig::default());
    let (index, _) = index.unwrap();
    let error = index.save().unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("/proc/none"), "{error}");
}
