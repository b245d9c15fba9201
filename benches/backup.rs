//! How long a backup of the embedded stores takes, its check, and the way back: 100,000 documents with vectors, and
//! their records in the log. `TIDEMILL_BENCH_DOCUMENTS` says another number.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/store_conformance/suite.rs"]
#[expect(dead_code, reason = "only its rows are used")]
mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidemill::backup::create::create;
use tidemill::backup::restore::{Options, restore};
use tidemill::backup::target::{Access, Target};
use tidemill::backup::verify::verify;
use tidemill::config::Config;
use tidemill::config::backup::BackupConfig;
use tidemill::kafka::embedded::EmbeddedLog;
use tidemill::kafka::log::Log;
use tidemill::messages::document::Document;
use tidemill::messages::record::NewRecord;
use tidemill::stores::documents::{DocumentStore, VerdictRow};
use tidemill::stores::sqlite::SqliteStore;

/// Rows and records of one write.
const BATCH: u64 = 1000;
/// Bytes of a document's text, about.
const TEXT_BYTES: usize = 600;
const DIMENSION: usize = 384;

fn row(index: u64, random: &mut fastrand::Rng) -> VerdictRow {
    let row = suite::row(index);
    let mut text = String::with_capacity(TEXT_BYTES + 16);
    while text.len() < TEXT_BYTES {
        text.extend((0..random.usize(2..9)).map(|_| random.lowercase()));
        text.push(' ');
    }
    let vector: Vec<f32> = (0..DIMENSION).map(|_| random.f32() - 0.5).collect();
    let document = Arc::new(Document { text, ..(*row.document).clone() });
    VerdictRow { document, vector: Some(vector.into()), ..row }
}

async fn fill(config: &Config, documents: u64) {
    let data = &config.daemon.data_dir;
    let store = SqliteStore::open(&data.join(&config.store.sqlite_path), &config.store).unwrap();
    let log = EmbeddedLog::open(&data.join(&config.log.file), &config.log).unwrap();
    log.ensure_topics(&[("documents".to_owned(), 1)]).await.unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for first in (0..documents).step_by(usize::try_from(BATCH).unwrap()) {
        let rows: Vec<VerdictRow> =
            (first..documents.min(first + BATCH)).map(|index| row(index, &mut random)).collect();
        let records = rows.iter().map(|row| NewRecord {
            topic: "documents".into(),
            partition: Some(0),
            timestamp_ms: None,
            key: None,
            value: serde_json::to_vec(&*row.document).unwrap().into(),
            headers: Vec::new(),
        });
        log.append(records.collect()).await.unwrap();
        store.write(rows).await.unwrap();
    }
}

fn config(data: &Path) -> Config {
    let mut config = Config::default();
    data.clone_into(&mut config.daemon.data_dir);
    config
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let documents = std::env::var("TIDEMILL_BENCH_DOCUMENTS").map_or(100_000, |text| text.parse().unwrap());
    let places = tempfile::tempdir().unwrap();
    let own = config(&places.path().join("data"));
    std::fs::create_dir(&own.daemon.data_dir).unwrap();
    fill(&own, documents).await;
    let backups = places.path().join("backups");
    let target = Target::open(backups.to_str().unwrap(), &BackupConfig::default(), Access::Write).unwrap();
    let quietly = |_: f64, _: String| {};
    let started = Instant::now();
    let manifest = create(&own, &target, &quietly).await.unwrap();
    let created = started.elapsed();
    let started = Instant::now();
    let verified = verify(&target, &manifest.id, places.path(), &quietly).await.unwrap();
    let checked = started.elapsed();
    let fresh = config(&places.path().join("fresh"));
    let started = Instant::now();
    restore(&fresh, &target, &manifest.id, Options::default(), &quietly).await.unwrap();
    let restored = started.elapsed();
    let content: u64 = manifest.files.iter().map(|file| file.content_bytes).sum();
    println!("documents {documents}, stores {content} bytes, backup {} bytes", manifest.bytes());
    println!("create {created:.2?}, verify {checked:.2?}, restore {restored:.2?}, drift {:?}", verified.drift);
}
