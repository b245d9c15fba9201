//! PostgreSQL.

use std::path::Path;

use tidemill::backup::BackupError;
use tidemill::backup::create::create;
use tidemill::backup::restore::Options;
use tidemill::config::Config;
use tidemill::config::postgres::PostgresConfig;
use tidemill::config::secret::Secret;
use tidemill::config::store::StoreBackend;
use tidemill::stores::documents::{DocumentStore, StoreCounts};
use tidemill::stores::postgres::PostgresStore;

use crate::server::{fresh_database, sql_at};
use crate::suite::row;
use crate::{append, backed_up, commit, config, directory, log, quietly, restored, services, standing, verified};

/// A new database, or a word that the test is skipped.
fn database() -> Option<String> {
    fresh_database().inspect_err(|why| services::skip("postgres", why)).ok()
}

fn at(url: &str, directory: &Path) -> Config {
    let mut config = config(directory);
    config.store.backend = StoreBackend::Postgres;
    config.postgres = PostgresConfig { url: Some(Secret::new(url)), ..PostgresConfig::default() };
    config
}

/// Ten documents of twelve records, eight of them committed.
async fn lived_in(config: &Config) {
    let log = log(config);
    append(&log, 12).await;
    commit(&log, config, 8);
    let store = PostgresStore::open(&config.postgres).await.unwrap();
    let mut rows: Vec<_> = (0..10).map(row).collect();
    rows[3].analysis.verdict = tidemill::messages::analysis::VerdictLabel::Duplicate;
    rows[3].analysis.duplicate_of = Some("doc-000001".into());
    rows[3].vector = None;
    store.write(rows).await.unwrap();
    let url = config.postgres.url.as_ref().unwrap().expose();
    sql_at(
        url,
        "CREATE TABLE logging.events_20260102 PARTITION OF logging.events
            FOR VALUES FROM ('2026-01-02 00:00:00+00') TO ('2026-01-03 00:00:00+00');
        INSERT INTO analytics.graphs (id, repo_url, commit_id, job_id, correlation_id, trained_at, dimension, files,
            connected, edges, metrics) VALUES ('g', 'https://a/b', 'c', 'j', 'k', now(), 1, 1, 1, 0, '{}');
        INSERT INTO analytics.graph_files VALUES ('g', 'a.rs', 'rust', 0, 0, '\\x00000000');
        INSERT INTO logging.events (at, kind, daemon, sequence, body) VALUES ('2026-01-02 10:00+00', 'job', 'a', 1, '{}')",
    );
}

async fn counts(config: &Config) -> StoreCounts {
    PostgresStore::open(&config.postgres).await.unwrap().counts().await.unwrap()
}

#[tokio::test]
async fn restored_database_has_every_row_and_goes_on() {
    let (Some(from), Some(to)) = (database(), database()) else { return };
    let (origin, fresh, backups) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = at(&from, origin.path());
    lived_in(&own).await;
    let target = directory(backups.path());
    let manifest = backed_up(&own, &target).await;
    let verified = verified(&target, &manifest.id).await.unwrap();
    assert_eq!(verified.drift, Vec::<String>::new());
    assert_eq!((verified.figures.store.stored, verified.figures.store.duplicates), (9, 1));

    let other = at(&to, fresh.path());
    let done = restored(&other, &target, &manifest.id, Options::default()).await.unwrap();
    assert_eq!(done.to_replay, 4);
    assert_eq!(standing(&other).await, (8, 12));
    let tables = "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('raw', 'analytics', 'logging') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname <> 'schema_history' ORDER BY 1";
    let names = sql_at(&from, tables);
    assert_eq!(sql_at(&to, tables), names);
    for name in names.iter().map(|row| &row[0]) {
        let all = format!("SELECT t::text FROM {name} t ORDER BY 1");
        assert_eq!(sql_at(&to, &all), sql_at(&from, &all), "{name}");
    }
    // numbers go on after those that were given out
    let store = PostgresStore::open(&other.postgres).await.unwrap();
    store.write((10..12).map(row).collect()).await.unwrap();
    assert_eq!(store.counts().await.unwrap(), StoreCounts { stored: 11, duplicates: 1, dead_letters: 0 });
    assert!(store.get("doc-000011").await.unwrap().is_some());
}

#[tokio::test]
async fn tables_with_rows_are_refused_and_by_force_replaced() {
    let (Some(from), Some(to)) = (database(), database()) else { return };
    let (origin, fresh, backups) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = at(&from, origin.path());
    lived_in(&own).await;
    let target = directory(backups.path());
    let id = backed_up(&own, &target).await.id;
    let other = at(&to, fresh.path());
    PostgresStore::open(&other.postgres).await.unwrap().write(vec![row(77)]).await.unwrap();
    let error = restored(&other, &target, &id, Options::default()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Refused(said) if said.contains("analytics.analyses")), "{error}");
    assert_eq!(counts(&other).await.stored, 1);
    assert!(!fresh.path().join("log.db").exists(), "the log was not put there either");
    restored(&other, &target, &id, Options { force: true, ..Options::default() }).await.unwrap();
    assert_eq!(counts(&other).await, StoreCounts { stored: 9, duplicates: 1, dead_letters: 0 });
}

#[tokio::test]
async fn tampered_table_changes_nothing() {
    let (Some(from), Some(to)) = (database(), database()) else { return };
    let (origin, fresh, backups) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = at(&from, origin.path());
    lived_in(&own).await;
    let target = directory(backups.path());
    let id = backed_up(&own, &target).await.id;
    let name = "raw.documents.copy.zst";
    let file = backups.path().join(&id).join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let other = at(&to, fresh.path());
    let refusals = [
        verified(&target, &id).await.map(drop).unwrap_err(),
        restored(&other, &target, &id, Options::default()).await.map(drop).unwrap_err(),
    ];
    for error in refusals {
        assert!(matches!(&error, BackupError::Damaged { file, .. } if file == name), "{error}");
    }
    assert_eq!(counts(&other).await, StoreCounts::default());
    assert!(!fresh.path().join("log.db").exists());
}

#[tokio::test]
async fn wrong_password_and_server_that_is_away_are_told_apart() {
    let Some(from) = database() else { return };
    let (origin, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = at(&from, origin.path());
    lived_in(&own).await;
    let target = directory(backups.path());
    if let Some((user, rest)) = from.split_once(":mill-") {
        let (_, host) = rest.split_once('@').unwrap();
        let wrong = at(&format!("{user}:hunter2@{host}"), origin.path());
        let error = create(&wrong, &target, &quietly).await.unwrap_err();
        assert!(matches!(error, BackupError::Setting(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let mut away = own.clone();
    away.postgres.url = Some(Secret::new("postgres://u:p@127.0.0.1:1/none"));
    let error = create(&away, &target, &quietly).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert_eq!(target.list().await.unwrap(), []);
}
