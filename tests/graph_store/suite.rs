//! The cases, written against the trait alone.

use std::sync::Arc;

use chrono::{DateTime, TimeZone, Utc};
use serde_json::json;
use tidemill::stores::documents::StoreError;
use tidemill::stores::graphs::{BATCH_FILES, FileVector, Graph, GraphStore, NearFile, Similar, Training, cosine};

pub const REPO: &str = "https://example.com/a/b";

/// An empty store that can be closed and opened again.
pub struct Fresh {
    open: Box<dyn Fn() -> Box<dyn GraphStore>>,
}

impl Fresh {
    pub fn new(open: Box<dyn Fn() -> Box<dyn GraphStore>>) -> Self {
        Self { open }
    }

    fn open(&self) -> Box<dyn GraphStore> {
        (self.open)()
    }
}

fn time(seconds: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_750_000_000 + seconds, 123_456_000).unwrap()
}

pub fn graph(id: &str, repo_url: &str, files: usize) -> Graph {
    Graph {
        id: id.into(),
        repo_url: repo_url.into(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        job_id: format!("job-{id}"),
        correlation_id: format!("correlation-{id}"),
        trained_at: time(0),
        dimension: 4,
        files: files as u64,
        connected_files: files as u64,
        edges: 7,
        metrics: json!({ "loss": 0.25, "nested": { "a": [1, 2.5, null] } }),
    }
}

/// File `index` of a training; `salt` tells trainings apart.
fn file(index: usize, salt: f32) -> FileVector {
    #[expect(clippy::cast_precision_loss, reason = "few files")]
    let angle = index as f32 * 0.37 + salt;
    FileVector {
        path: format!("src/part{}/file{index:04}.py", index % 3).into(),
        language: "python".into(),
        imports: 1,
        imported_by: u32::try_from(index).unwrap(),
        vector: [angle.cos(), angle.sin(), salt, (angle * 3.0).sin()].into(),
    }
}

pub fn files(count: usize, salt: f32) -> Vec<FileVector> {
    (0..count).map(|index| file(index, salt)).collect()
}

pub async fn learn(store: &dyn GraphStore, id: &str, repo_url: &str, files: &[FileVector]) {
    store.begin(graph(id, repo_url, files.len())).await.unwrap();
    for batch in files.chunks(BATCH_FILES) {
        store.add(id, batch.to_vec()).await.unwrap();
    }
    store.publish(id).await.unwrap();
}

pub async fn near(store: &dyn GraphStore, repo_url: &str, path: &str, k: usize) -> (Graph, Vec<NearFile>) {
    match store.similar(repo_url, path, k).await.unwrap() {
        Similar::Found(graph, found) => (graph, found),
        other => panic!("{other:?}"),
    }
}

fn is_refused<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Refused(_)))
}

pub async fn published_graph_comes_back_whole(fresh: Fresh) {
    let store = fresh.open();
    assert!(store.list().await.unwrap().is_empty());
    assert_eq!(store.similar(REPO, "x", 3).await.unwrap(), Similar::NoGraph);
    let files = files(BATCH_FILES + 20, 0.5);
    learn(&*store, "one", REPO, &files).await;
    assert_eq!(store.list().await.unwrap(), [graph("one", REPO, files.len())]);
    let (of, found) = near(&*store, REPO, &files[5].path, 1000).await;
    assert_eq!(of, graph("one", REPO, files.len()));
    assert_eq!(found.len(), files.len() - 1);
    for near in found {
        let file = files.iter().find(|file| file.path == near.file_path).unwrap();
        assert_eq!((near.language, near.imports, near.imported_by), (file.language.clone(), 1, file.imported_by));
        assert!((near.similarity - cosine(&file.vector, &files[5].vector)).abs() < 1e-6);
    }
}

pub async fn unpublished_training_is_not_seen(fresh: Fresh) {
    let store = fresh.open();
    store.begin(graph("one", REPO, 1)).await.unwrap();
    store.add("one", files(1, 0.0)).await.unwrap();
    assert!(store.list().await.unwrap().is_empty());
    assert_eq!(store.similar(REPO, &file(0, 0.0).path, 3).await.unwrap(), Similar::NoGraph);
    assert_eq!(store.unfinished().await.unwrap(), 1);
    store.abandon("one").await.unwrap();
    assert_eq!(store.unfinished().await.unwrap(), 0);
    assert!(is_refused(&store.add("one", files(1, 0.0)).await));
    assert!(is_refused(&store.publish("one").await));
}

pub async fn new_training_takes_the_place_of_the_old(fresh: Fresh) {
    let store = fresh.open();
    learn(&*store, "one", REPO, &files(10, 0.0)).await;
    let fewer = files(5, 1.0);
    learn(&*store, "two", REPO, &fewer).await;
    assert_eq!(store.list().await.unwrap(), [graph("two", REPO, 5)]);
    let (of, found) = near(&*store, REPO, &fewer[0].path, 100).await;
    assert_eq!((&*of.id, found.len()), ("two", 4));
    assert!(matches!(store.similar(REPO, &file(7, 0.0).path, 3).await.unwrap(), Similar::NoFile(..)));
    assert_eq!(store.unfinished().await.unwrap(), 0);
    store.abandon("two").await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1, "what is published is not abandoned");
}

pub async fn readers_see_one_training_or_the_other(fresh: Fresh) {
    let store: Arc<dyn GraphStore> = fresh.open().into();
    learn(&*store, "0", REPO, &files(30, 0.0)).await;
    let reader = Arc::clone(&store);
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        for _ in 0..60 {
            let (of, found) = near(&*reader, REPO, &file(1, 0.0).path, 100).await;
            // the number of files goes with the training
            assert_eq!(found.len() as u64, of.files - 1, "{}", of.id);
            let salt = of.id.parse::<f32>().unwrap();
            let expected = cosine(&file(2, salt).vector, &file(1, salt).vector);
            let second = found.iter().find(|near| near.file_path == file(2, 0.0).path).unwrap();
            assert!((second.similarity - expected).abs() < 1e-6, "vectors of {} are of another training", of.id);
            seen.push(of.id);
        }
        seen
    });
    for training in 1_u16..12 {
        learn(&*store, &training.to_string(), REPO, &files(30 + usize::from(training), f32::from(training))).await;
    }
    assert_eq!(reading.await.unwrap().len(), 60);
}

pub async fn newer_training_drops_the_unfinished_one_before(fresh: Fresh) {
    let store = fresh.open();
    learn(&*store, "one", REPO, &files(3, 0.0)).await;
    store.begin(graph("two", REPO, 2)).await.unwrap();
    store.add("two", files(1, 1.0)).await.unwrap();
    store.begin(graph("three", REPO, 2)).await.unwrap();
    assert!(is_refused(&store.add("two", files(2, 1.0)).await), "its worker is told");
    assert!(is_refused(&store.publish("two").await));
    assert_eq!(store.unfinished().await.unwrap(), 1);
    assert_eq!(&*store.list().await.unwrap()[0].id, "one", "what is published stays meanwhile");
    store.add("three", files(2, 2.0)).await.unwrap();
    store.publish("three").await.unwrap();
    assert_eq!(&*store.list().await.unwrap()[0].id, "three");
}

pub async fn incomplete_training_is_not_published(fresh: Fresh) {
    let store = fresh.open();
    store.begin(graph("one", REPO, 3)).await.unwrap();
    store.add("one", files(2, 0.0)).await.unwrap();
    assert!(is_refused(&store.publish("one").await));
    assert!(store.list().await.unwrap().is_empty());
    store.add("one", vec![file(2, 0.0)]).await.unwrap();
    store.publish("one").await.unwrap();
}

pub async fn same_batch_again_changes_nothing(fresh: Fresh) {
    let store = fresh.open();
    store.begin(graph("one", REPO, 4)).await.unwrap();
    store.add("one", files(4, 3.0)).await.unwrap();
    store.add("one", files(4, 0.0)).await.unwrap();
    store.add("one", Vec::new()).await.unwrap();
    store.publish("one").await.unwrap();
    let (_, found) = near(&*store, REPO, &file(0, 0.0).path, 1).await;
    let best = (1..4).map(|index| cosine(&file(index, 0.0).vector, &file(0, 0.0).vector)).fold(-1.0, f32::max);
    assert!((found[0].similarity - best).abs() < 1e-6, "the later batch counts");
}

pub async fn publishing_again_is_harmless(fresh: Fresh) {
    let store = fresh.open();
    learn(&*store, "one", REPO, &files(2, 0.0)).await;
    store.publish("one").await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert!(is_refused(&store.add("one", files(2, 1.0)).await), "what is published does not change");
}

pub async fn similar_files_are_the_nearest_by_cosine(fresh: Fresh) {
    let store = fresh.open();
    let files = files(50, 0.25);
    learn(&*store, "one", REPO, &files).await;
    let mut expected: Vec<(f32, &str)> =
        files[1..].iter().map(|file| (cosine(&file.vector, &files[0].vector), &*file.path)).collect();
    expected.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(right.1)));
    let (_, found) = near(&*store, REPO, &files[0].path, 7).await;
    let found: Vec<&str> = found.iter().map(|near| &*near.file_path).collect();
    let expected: Vec<&str> = expected[..7].iter().map(|(_, path)| *path).collect();
    assert_eq!(found, expected);
}

pub async fn files_without_an_edge_are_near_to_nothing(fresh: Fresh) {
    let store = fresh.open();
    let mut files = files(4, 0.0);
    (files[0].imports, files[0].imported_by) = (0, 0);
    learn(&*store, "one", REPO, &files).await;
    assert!(near(&*store, REPO, &files[0].path, 10).await.1.is_empty());
    let (_, found) = near(&*store, REPO, &files[1].path, 10).await;
    assert!(found.len() == 2 && found.iter().all(|near| near.file_path != files[0].path), "{found:?}");
}

pub async fn missing_file_gets_names_that_end_alike(fresh: Fresh) {
    let store = fresh.open();
    learn(&*store, "one", REPO, &files(4, 0.0)).await;
    for asked in ["file0002.py", "wrong/folder/file0002.py"] {
        match store.similar(REPO, asked, 3).await.unwrap() {
            Similar::NoFile(of, names) => {
                assert_eq!(
                    (&*of.id, names.iter().map(|name| &**name).collect::<Vec<_>>()),
                    ("one", vec!["src/part2/file0002.py"])
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let Similar::NoFile(_, names) = store.similar(REPO, "2.py", 3).await.unwrap() else { panic!("it is no file") };
    assert!(names.is_empty(), "{names:?}");
}

pub async fn repositories_do_not_mix(fresh: Fresh) {
    let store = fresh.open();
    learn(&*store, "one", REPO, &files(3, 0.0)).await;
    let other = Graph { trained_at: time(60), ..graph("two", "https://example.com/a/c", 5) };
    store.begin(other.clone()).await.unwrap();
    store.add("two", files(5, 1.0)).await.unwrap();
    store.publish("two").await.unwrap();
    assert_eq!(store.list().await.unwrap(), [other, graph("one", REPO, 3)], "newest first");
    assert_eq!(near(&*store, REPO, &file(0, 0.0).path, 100).await.1.len(), 2);
    assert_eq!(near(&*store, "https://example.com/a/c", &file(0, 0.0).path, 100).await.1.len(), 4);
}

pub async fn everything_survives_reopening(fresh: Fresh) {
    let store = fresh.open();
    learn(&*store, "one", REPO, &files(3, 0.0)).await;
    store.begin(graph("two", REPO, 9)).await.unwrap();
    drop(store);
    let store = fresh.open();
    assert_eq!(store.list().await.unwrap(), [graph("one", REPO, 3)]);
    assert_eq!(near(&*store, REPO, &file(0, 0.0).path, 100).await.1.len(), 2);
    assert_eq!(store.unfinished().await.unwrap(), 1);
}

pub async fn trainings_and_their_files_can_be_read_whole(fresh: Fresh) {
    let store = fresh.open();
    let many = files(2 * BATCH_FILES + 7, 0.5);
    learn(&*store, "one", REPO, &many).await;
    let later = Graph { trained_at: time(60), ..graph("two", REPO, 9) };
    store.begin(later.clone()).await.unwrap();
    store.add("two", files(2, 1.0)).await.unwrap();
    let published = graph("one", REPO, many.len());
    assert_eq!(store.published(REPO).await.unwrap().as_ref(), Some(&published));
    assert_eq!(store.published("https://example.com/a/c").await.unwrap(), None);
    let trainings = [(later, false), (published, true)];
    let trainings = trainings.map(|(graph, is_published)| Training { graph, is_published });
    assert_eq!(store.trainings().await.unwrap(), trainings, "newest first");
    let (mut read, mut batches) = (Vec::<FileVector>::new(), Vec::new());
    loop {
        let after = read.last().map(|file| file.path.clone());
        let batch = store.files_after("one", after.as_deref()).await.unwrap();
        batches.push(batch.len());
        read.extend(batch);
        if batches.last() < Some(&BATCH_FILES) {
            break;
        }
    }
    assert_eq!(batches, [BATCH_FILES, BATCH_FILES, 7]);
    let mut expected = many;
    expected.sort_by(|left, right| left.path.cmp(&right.path));
    assert_eq!(read, expected);
    assert_eq!(store.files_after("two", None).await.unwrap().len(), 2);
    assert_eq!(store.files_after("three", None).await.unwrap(), []);
}

pub async fn hostile_names_are_data(fresh: Fresh) {
    let store = fresh.open();
    let names = ["a'; DROP TABLE graphs;--", "nul\u{0}/byte", "ünï/\u{1F680}", "%_\\", "\u{10FFFE}0"];
    let files: Vec<FileVector> = names
        .iter()
        .enumerate()
        .map(|(index, name)| FileVector { path: (*name).into(), language: "ru\"st".into(), ..file(index, 0.0) })
        .collect();
    let repo_url = "https://example.com/'; DROP TABLE graphs;--";
    learn(&*store, "o'ne", repo_url, &files).await;
    for name in names {
        let (of, found) = near(&*store, repo_url, name, 10).await;
        assert_eq!((&*of.id, found.len()), ("o'ne", names.len() - 1));
        assert!(found.iter().all(|near| names.contains(&&*near.file_path)));
        let left: Vec<FileVector> = store.files_after("o'ne", Some(name)).await.unwrap();
        assert!(left.iter().all(|file| &*file.path != name && names.contains(&&*file.path)));
    }
    assert_eq!(store.files_after("o'ne", None).await.unwrap().len(), names.len());
    assert_eq!(&*store.published(repo_url).await.unwrap().unwrap().id, "o'ne");
}
