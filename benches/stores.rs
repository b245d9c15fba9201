//! Speed of the embedded stores: rows written, documents read, nearest vectors found.
//!
//! Run: `cargo bench --bench stores -- [sqlite] [writes] [vectors [MOST]]`. `writes` puts SQLite and PostgreSQL side by side. Building the graph of 200,000 vectors takes minutes.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

#[path = "../tests/support/services/postgres.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod postgres;
#[path = "../tests/support/services.rs"]
mod services;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::config::postgres::PostgresConfig;
use tidemill::config::secret::Secret;
use tidemill::config::store::{StoreConfig, VectorsConfig};
use tidemill::messages::analysis::{
    Analysis, Category, EmbeddingInfo, Probabilities, Sentiment, SentimentLabel, VerdictLabel,
};
use tidemill::messages::correlation::CorrelationId;
use tidemill::messages::document::Document;
use tidemill::messages::record::Position;
use tidemill::stores::documents::{DocumentFilter, DocumentStore, VerdictRow};
use tidemill::stores::postgres::PostgresStore;
use tidemill::stores::sqlite::SqliteStore;
use tidemill::stores::vector_index::EmbeddedIndex;
use tidemill::stores::vectors::{Neighbor, VectorEntry, VectorFilter};

const DIMENSION: usize = 384;
const BATCH: usize = 256;
const ROWS: usize = 40_000;
const QUERIES: usize = 300;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|argument| argument == name);
    if runs("sqlite") {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(sqlite());
    }
    if runs("writes") {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(writes());
    }
    if runs("vectors") {
        vectors(wanted.iter().find_map(|argument| argument.parse().ok()).unwrap_or(usize::MAX));
    }
}

fn normalised(mut values: Vec<f32>) -> Arc<[f32]> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in &mut values {
        *value /= norm;
    }
    values.into()
}

fn random_vector(random: &mut fastrand::Rng) -> Arc<[f32]> {
    normalised((0..DIMENSION).map(|_| random.f32() - 0.5).collect())
}

/// One of a cluster: about 0.7 alike.
fn clustered(random: &mut fastrand::Rng, centers: &[Arc<[f32]>]) -> Arc<[f32]> {
    let center = &centers[random.usize(0..centers.len())];
    let noise = random_vector(random);
    normalised(center.iter().zip(noise.iter()).map(|(one, two)| one + two).collect())
}

fn row(index: usize, vector: Arc<[f32]>) -> VerdictRow {
    let id: Arc<str> = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &index.to_le_bytes()).to_string().into();
    let now = chrono::Utc::now();
    let document = Document {
        id: Arc::clone(&id),
        source: "news".into(),
        url: Some(format!("https://news.example/{index}")),
        title: Some(format!("Northwind lifts outlook for the {index}th time")),
        text: format!(
            "Northwind raised its full-year revenue guidance to ${index} million on Tuesday, citing record orders."
        ),
        author: None,
        published_at: Some(now),
        symbols: vec!["NWND".to_owned()],
        lang: Some("en".to_owned()),
        metadata: serde_json::Map::new(),
    };
    let analysis = Analysis {
        document_id: id,
        correlation_id: CorrelationId::random(),
        source: "news".into(),
        symbols: vec!["NWND".to_owned()],
        verdict: VerdictLabel::Stored,
        duplicate_of: None,
        rule: None,
        similarity: None,
        sentiment: Some(Sentiment {
            label: SentimentLabel::Positive,
            score: 0.5,
            probabilities: Probabilities { positive: 0.6, neutral: 0.3, negative: 0.1 },
            model: "bench".into(),
            abstained: false,
        }),
        category: Some(Category { label: "guidance".into(), confidence: 0.8 }),
        entities: Vec::new(),
        embedding: Some(EmbeddingInfo { model: "bench".into(), dimension: DIMENSION }),
        published_at: Some(now),
        processed_at: now,
        timings_ms: BTreeMap::new(),
        origin: Position { topic: "documents".into(), partition: 0, offset: i64::try_from(index).unwrap() },
    };
    VerdictRow {
        document: Arc::new(document),
        analysis: analysis.into(),
        vector: Some(vector),
        content_hash: [0; 32],
        timestamp_ms: now.timestamp_millis(),
    }
}

fn per_second(count: usize, elapsed: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / elapsed.as_secs_f64()
}

async fn sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("bench.sqlite3"), &StoreConfig::default()).unwrap();
    let vector = random_vector(&mut fastrand::Rng::with_seed(1));
    let batches: Vec<Vec<VerdictRow>> = (0..ROWS / BATCH)
        .map(|batch| (batch * BATCH..(batch + 1) * BATCH).map(|index| row(index, vector.clone())).collect())
        .collect();
    let ids: Vec<Arc<str>> = batches.iter().flatten().map(|row| Arc::clone(&row.document.id)).collect();
    let started = Instant::now();
    // Two writes under way at once, as the pipeline has: one being prepared while the other is synced.
    for pair in batches.chunks(2) {
        let writes = pair.iter().map(|batch| store.write(batch.clone()));
        futures_util::future::join_all(writes).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    }
    println!("sqlite write, batches of {BATCH}: {:.0} documents/s", per_second(ids.len(), started.elapsed()));
    let started = Instant::now();
    for id in ids.iter().step_by(20) {
        store.get(id).await.unwrap().unwrap();
    }
    println!("sqlite get: {:.1} µs", started.elapsed().as_secs_f64() * 1e6 / (ids.len() as f64 / 20.0));
    let started = Instant::now();
    let page =
        store.list(DocumentFilter { limit: 100, symbol: Some("NWND".into()), ..Default::default() }).await.unwrap();
    println!("sqlite page of {} by symbol: {:?}", page.items.len(), started.elapsed());
    let started = Instant::now();
    let mut seen = 0;
    store.remember(0, Box::new(|_| seen += 1)).await.unwrap();
    println!("sqlite remember: {:.0} documents/s", per_second(seen, started.elapsed()));
}

/// Documents without vectors written in batches of several sizes, two under way at once.
async fn write_batches(name: &str, store: &dyn DocumentStore) {
    for (round, size) in [100, 500, 1000].into_iter().enumerate() {
        let none: Arc<[f32]> = Arc::from([]);
        let rows = |batch: usize| {
            (0..size)
                .map(|index| VerdictRow {
                    vector: None,
                    ..row(1_000_000 * (round + 1) + batch * size + index, none.clone())
                })
                .collect::<Vec<_>>()
        };
        let batches: Vec<Vec<VerdictRow>> = (0..20_000 / size).map(rows).collect();
        let started = Instant::now();
        for pair in batches.chunks(2) {
            let writes = pair.iter().map(|batch| store.write(batch.clone()));
            futures_util::future::join_all(writes).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
        }
        println!("{name} write, batches of {size}: {:.0} documents/s", per_second(20_000, started.elapsed()));
    }
}

async fn writes() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("bench.sqlite3"), &StoreConfig::default()).unwrap();
    write_batches("sqlite", &store).await;
    let url = match postgres::fresh_database() {
        Ok(url) => url,
        Err(why) => return println!("postgres: skipped: {why}"),
    };
    arrays_or_copy(&url).await;
    let config = PostgresConfig { url: Some(Secret::new(url)), ..PostgresConfig::default() };
    let store = PostgresStore::open(&config).await.unwrap();
    write_batches("postgres", &store).await;
}

/// Two ways to send a batch: arrays that the server unnests, and `COPY` in binary into a temporary table; beside a plain
/// `COPY` into the table, which can meet no row that is there already.
async fn arrays_or_copy(url: &str) {
    use tokio_postgres::binary_copy::BinaryCopyInWriter;
    use tokio_postgres::types::Type;
    let (mut client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute("CREATE TABLE t (id text PRIMARY KEY, n bigint, body text)").await.unwrap();
    let upsert = "ON CONFLICT (id) DO UPDATE SET n = excluded.n, body = excluded.body";
    let text = "x".repeat(600);
    for size in [100_i64, 500, 1000] {
        let ids = |batch: i64, way: &str| -> Vec<String> {
            (0..size)
                .map(|index| format!("{way}-{size}-{}", (batch * size + index).wrapping_mul(7_777_777_777)))
                .collect()
        };
        let arrays = client
            .prepare_typed(
                &format!("INSERT INTO t SELECT * FROM unnest($1, $2, $3) {upsert}"),
                &[Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
            )
            .await
            .unwrap();
        let started = Instant::now();
        for batch in 0..20_000 / size {
            let transaction = client.transaction().await.unwrap();
            let numbers: Vec<i64> = (0..size).collect();
            let bodies = vec![text.as_str(); usize::try_from(size).unwrap()];
            transaction.execute(&arrays, &[&ids(batch, "a"), &numbers, &bodies]).await.unwrap();
            transaction.commit().await.unwrap();
        }
        println!("arrays, batches of {size}: {:.0} rows/s", per_second(20_000, started.elapsed()));
        let started = Instant::now();
        for batch in 0..20_000 / size {
            let transaction = client.transaction().await.unwrap();
            transaction.batch_execute("CREATE TEMP TABLE s (LIKE t) ON COMMIT DROP").await.unwrap();
            let sink = transaction.copy_in("COPY s FROM STDIN BINARY").await.unwrap();
            let writer = BinaryCopyInWriter::new(sink, &[Type::TEXT, Type::INT8, Type::TEXT]);
            futures_util::pin_mut!(writer);
            for (number, id) in (0..size).zip(ids(batch, "c")) {
                writer.as_mut().write(&[&id, &number, &text]).await.unwrap();
            }
            writer.finish().await.unwrap();
            transaction.batch_execute(&format!("INSERT INTO t SELECT * FROM s {upsert}")).await.unwrap();
            transaction.commit().await.unwrap();
        }
        println!("copy, batches of {size}: {:.0} rows/s", per_second(20_000, started.elapsed()));
        let started = Instant::now();
        for batch in 0..20_000 / size {
            let sink = client.copy_in("COPY t FROM STDIN BINARY").await.unwrap();
            let writer = BinaryCopyInWriter::new(sink, &[Type::TEXT, Type::INT8, Type::TEXT]);
            futures_util::pin_mut!(writer);
            for (number, id) in (0..size).zip(ids(batch, "p")) {
                writer.as_mut().write(&[&id, &number, &text]).await.unwrap();
            }
            writer.finish().await.unwrap();
        }
        println!("plain copy, no conflicts, batches of {size}: {:.0} rows/s", per_second(20_000, started.elapsed()));
    }
    driver.abort();
}

/// Time this thread was on a processor, so that a busy machine does not count; wall time where that is not told.
fn on_processor(since: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// Processor time of a search in microseconds, and what was found.
fn timed(index: &EmbeddedIndex, queries: &[Arc<[f32]>], k: usize) -> (u128, Vec<Vec<Neighbor>>) {
    let wall = Instant::now();
    let started = on_processor(wall);
    let found = queries.iter().map(|query| index.nearest(query, k, &VectorFilter::default()).unwrap()).collect();
    (on_processor(wall).saturating_sub(started).as_micros() / QUERIES as u128, found)
}

/// Up to `most` vectors.
fn vectors(most: usize) {
    let runs = [(10_000, usize::MAX), (50_000, usize::MAX), (50_000, 1000), (200_000, usize::MAX), (200_000, 1000)];
    for (count, graph_from) in runs.into_iter().filter(|(count, _)| *count <= most) {
        let mut random = fastrand::Rng::with_seed(2);
        let centers: Vec<Arc<[f32]>> = (0..count / 50).map(|_| random_vector(&mut random)).collect();
        let directory = tempfile::tempdir().unwrap();
        let config = VectorsConfig { graph_from, ..VectorsConfig::default() };
        let (index, _) = EmbeddedIndex::open(&directory.path().join("v.index"), DIMENSION, &config).unwrap();
        let all: Vec<Arc<[f32]>> = (0..count).map(|_| clustered(&mut random, &centers)).collect();
        let started = Instant::now();
        for (at, vector) in all.iter().enumerate() {
            let entry = VectorEntry {
                id: format!("doc-{at}").into(),
                vector: Arc::clone(vector),
                timestamp_ms: i64::try_from(at).unwrap() * 1000,
                source: "news".into(),
                symbols: Vec::new().into(),
            };
            index.insert(entry).unwrap();
        }
        let inserted = started.elapsed();
        assert!(index.wait_until_built(Duration::from_hours(1)));
        let built = started.elapsed();
        let queries: Vec<Arc<[f32]>> = (0..QUERIES)
            .map(|_| {
                let original = &all[random.usize(0..count)];
                let noise = random_vector(&mut random);
                normalised(original.iter().zip(noise.iter()).map(|(one, two)| one + 0.3 * two).collect())
            })
            .collect();
        let (one, found) = timed(&index, &queries, 1);
        let (ten, _) = timed(&index, &queries, 10);
        let right = queries.iter().zip(&found).filter(|(query, found)| {
            let best = all.iter().map(|vector| vector.iter().zip(query.iter()).map(|(a, b)| a * b).sum::<f32>());
            found.first().is_some_and(|found| best.fold(f32::MIN, f32::max) - found.similarity < 1e-5)
        });
        let way = if graph_from == usize::MAX { "scan" } else { "graph" };
        println!(
            "vectors {count} ({way}): nearest 1 in {one} µs, 10 in {ten} µs of processor time, recall@1 {}/{QUERIES}, \
             insert {:.0}/s, graph {:.0}/s",
            right.count(),
            per_second(count, inserted),
            per_second(count, built),
        );
    }
}
