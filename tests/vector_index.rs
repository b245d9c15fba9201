//! What every vector index promises, against brute force; and what the embedded one's file may suffer.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidemill::config::store::VectorsConfig;
use tidemill::messages::analysis::VerdictLabel;
use tidemill::messages::record::Position;
use tidemill::stores::documents::RememberedDocument;
use tidemill::stores::vector_index::{EmbeddedIndex, Opened, PooledIndex, Rebuilt};
use tidemill::stores::vectors::{VectorEntry, VectorFilter};

#[path = "vector_index/suite.rs"]
mod suite;

use suite::{DIMENSION, assert_same, brute_force, entries, entry, ids, near, random_vector};

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

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod scanning {
            $(#[tokio::test(flavor = "multi_thread")] async fn $case() {
                let place = super::Place::new();
                super::suite::$case(&super::PooledIndex::new(place.open(1_000_000).0)).await;
            })*
        }
        mod with_graph {
            $(#[tokio::test(flavor = "multi_thread")] async fn $case() {
                let place = super::Place::new();
                super::suite::$case(&super::PooledIndex::new(place.open(50).0)).await;
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
    const CLUSTERS: usize = 50;
    const QUERIES: usize = 200;
    let mut random = fastrand::Rng::with_seed(8);
    let place = Place::new();
    let config = VectorsConfig { graph_from: 500, ..VectorsConfig::default() };
    let (index, _) = EmbeddedIndex::open(&place.path(), 96, &config).unwrap();
    let centers: Vec<Arc<[f32]>> = (0..CLUSTERS).map(|_| random_vector(&mut random, 96)).collect();
    let all: Vec<VectorEntry> =
        (0..1500).map(|at| entry(at, near(&mut random, &centers[at % CLUSTERS], 0.8))).collect();
    all.iter().for_each(|entry| index.insert(entry.clone()).unwrap());
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
        all.iter().for_each(|entry| index.insert(entry.clone()).unwrap());
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
    all.iter().for_each(|entry| index.insert(entry.clone()).unwrap());
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
