//! Backups of stores that are filled by hand: what they hold, what is refused, what is told. Against real stores, a
//! PostgreSQL server, and doubles of an S3 service and of Qdrant.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "backup/buckets.rs"]
mod buckets;
#[path = "backup/embedded.rs"]
mod embedded;
#[path = "backup/graphs.rs"]
mod graphs;
#[path = "backup/postgres.rs"]
mod postgres;
#[path = "support/services/qdrant.rs"]
#[expect(clippy::unnecessary_wraps, reason = "its answers have one form")]
mod qdrant_server;
#[path = "backup/s3_double.rs"]
mod s3_double;
#[path = "support/services/postgres.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod server;
#[path = "support/services.rs"]
mod services;
#[path = "store_conformance/suite.rs"]
#[expect(dead_code, reason = "only its rows are used")]
mod suite;

use std::path::Path;
use std::time::Duration;

use tidemill::backup::create::create;
use tidemill::backup::manifest::Manifest;
use tidemill::backup::target::{Access, Target};
use tidemill::backup::verify::{Verified, verify};
use tidemill::backup::{BackupError, restore};
use tidemill::config::Config;
use tidemill::config::backup::BackupConfig;
use tidemill::kafka::embedded::EmbeddedLog;
use tidemill::kafka::log::{Log, LogEvent, PartitionLag};
use tidemill::messages::record::{NewRecord, Position};
use tidemill::stores::sqlite::SqliteStore;

const TOPIC: &str = "documents";

/// An installation with an embedded log in this directory.
fn config(directory: &Path) -> Config {
    let mut config = Config::default();
    directory.clone_into(&mut config.daemon.data_dir);
    config.kafka.topics.partitions = 1;
    config
}

fn log(config: &Config) -> EmbeddedLog {
    EmbeddedLog::open(&config.daemon.data_dir.join(&config.log.file), &config.log).unwrap()
}

fn documents(config: &Config) -> SqliteStore {
    SqliteStore::open(&config.daemon.data_dir.join(&config.store.sqlite_path), &config.store).unwrap()
}

async fn append(log: &dyn Log, count: usize) {
    log.ensure_topics(&[(TOPIC.to_owned(), 1)]).await.unwrap();
    let record = |index: usize| NewRecord {
        topic: TOPIC.into(),
        partition: Some(0),
        timestamp_ms: None,
        key: None,
        value: format!("record {index}").into(),
        headers: Vec::new(),
    };
    log.append((0..count).map(record).collect()).await.unwrap();
}

/// Has the daemon's group go on from this offset.
fn commit(log: &dyn Log, config: &Config, offset: i64) {
    let mut consumer = log.consumer(&config.kafka.group, &[TOPIC.to_owned()]).unwrap();
    let assigned = (0..200).any(|_| {
        let events = consumer.poll(Duration::from_millis(50)).unwrap();
        events.iter().any(|event| matches!(event, LogEvent::Assigned { .. }))
    });
    assert!(assigned);
    consumer.set_committable(&[Position { topic: TOPIC.into(), partition: 0, offset }]);
    consumer.commit(true).unwrap();
}

/// Where the group stands and the log ends.
async fn standing(config: &Config) -> (i64, i64) {
    let lags = log(config).lag(&config.kafka.group, &[TOPIC.to_owned()]).await.unwrap();
    let [PartitionLag { committed, end, .. }] = lags.as_slice() else { unreachable!("{lags:?}") };
    (*committed, *end)
}

fn directory(path: &Path) -> Target {
    Target::open(path.to_str().unwrap(), &BackupConfig::default(), Access::Write).unwrap()
}

fn quietly(_: f64, _: String) {}

async fn backed_up(config: &Config, target: &Target) -> Manifest {
    create(config, target, &quietly).await.unwrap()
}

async fn verified(target: &Target, id: &str) -> Result<Verified, BackupError> {
    let scratch = tempfile::tempdir().unwrap();
    verify(target, id, scratch.path(), &quietly).await
}

async fn restored(
    config: &Config,
    target: &Target,
    id: &str,
    options: restore::Options,
) -> Result<restore::Restored, BackupError> {
    restore::restore(config, target, id, options, &quietly).await
}

/// Names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}
