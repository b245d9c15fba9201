//! PostgreSQL.

use std::path::Path;

use tidemill::backup::BackupError;
use tidemill::backup::create::create;
use tidemill::backup::manifest::Manifest;
use tidemill::backup::restore::{Options, Restored};
use tidemill::backup::target::Target;
use tidemill::backup::verify::stores;
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

/// With a database for each schema.
fn apart(directory: &Path) -> Option<Config> {
    let own = || Some(Some(Secret::new(database()?)));
    let mut config = at(&database()?, directory);
    (config.postgres.raw.url, config.postgres.logging.url) = (own()?, own()?);
    Some(config)
}

/// The address of a schema's database.
fn address<'a>(config: &'a Config, schema: &str) -> &'a str {
    let own = match schema {
        "raw" => &config.postgres.raw.url,
        "logging" => &config.postgres.logging.url,
        _ => &None,
    };
    own.as_ref().or(config.postgres.url.as_ref()).unwrap().expose()
}

/// An installation that was lived in, and backed up.
struct BackedUp {
    own: Config,
    target: Target,
    manifest: Manifest,
    backups: tempfile::TempDir,
    _origin: tempfile::TempDir,
}

impl BackedUp {
    async fn new(config: impl FnOnce(&Path) -> Option<Config>) -> Option<Self> {
        let (origin, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = config(origin.path())?;
        lived_in(&own).await;
        let target = directory(backups.path());
        let manifest = backed_up(&own, &target).await;
        Some(Self { own, target, manifest, backups, _origin: origin })
    }

    async fn restored_into(&self, config: &Config, options: Options) -> Result<Restored, BackupError> {
        restored(config, &self.target, &self.manifest.id, options).await
    }

    /// Every row of every table is there again.
    fn is_whole_in(&self, other: &Config) {
        for schema in ["raw", "analytics", "logging"] {
            let tables = format!(
                "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = '{schema}' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                    AND c.relname <> 'schema_history' ORDER BY 1"
            );
            let (from, to) = (address(&self.own, schema), address(other, schema));
            let names = sql_at(from, &tables);
            assert!(!names.is_empty() && sql_at(to, &tables) == names, "{names:?}");
            for name in names.iter().map(|row| &row[0]) {
                let all = format!("SELECT t::text FROM {name} t ORDER BY 1");
                assert_eq!(sql_at(to, &all), sql_at(from, &all), "{name}");
            }
        }
    }
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
    sql_at(
        address(config, "analytics"),
        "INSERT INTO analytics.graphs (id, repo_url, commit_id, job_id, correlation_id, trained_at, dimension, files,
            connected, edges, metrics) VALUES ('g', 'https://a/b', 'c', 'j', 'k', now(), 1, 1, 1, 0, '{}');
        INSERT INTO analytics.graph_files VALUES ('g', 'a.rs', 'rust', 0, 0, '\\x00000000')",
    );
    sql_at(
        address(config, "logging"),
        "CREATE TABLE logging.events_20260102 PARTITION OF logging.events
            FOR VALUES FROM ('2026-01-02 00:00:00+00') TO ('2026-01-03 00:00:00+00');
        INSERT INTO logging.events (at, kind, daemon, sequence, body) VALUES ('2026-01-02 10:00+00', 'job', 'a', 1, '{}')",
    );
}

async fn counts(config: &Config) -> StoreCounts {
    PostgresStore::open(&config.postgres).await.unwrap().counts().await.unwrap()
}

#[tokio::test]
async fn restored_database_has_every_row_and_goes_on() {
    let Some(to) = database() else { return };
    let Some(backup) = BackedUp::new(|origin| Some(at(&database()?, origin))).await else { return };
    let verified = verified(&backup.target, &backup.manifest.id).await.unwrap();
    assert_eq!(verified.drift, Vec::<String>::new());
    assert_eq!((verified.figures.store.stored, verified.figures.store.duplicates), (9, 1));

    let fresh = tempfile::tempdir().unwrap();
    let other = at(&to, fresh.path());
    let done = backup.restored_into(&other, Options::default()).await.unwrap();
    assert_eq!(done.to_replay, 4);
    assert_eq!(standing(&other).await, (8, 12));
    backup.is_whole_in(&other);
    // numbers go on after those that were given out
    let store = PostgresStore::open(&other.postgres).await.unwrap();
    store.write((10..12).map(row).collect()).await.unwrap();
    assert_eq!(store.counts().await.unwrap(), StoreCounts { stored: 11, duplicates: 1, dead_letters: 0 });
    assert!(store.get("doc-000011").await.unwrap().is_some());
}

#[tokio::test]
async fn databases_apart_are_backed_up_verified_and_restored_apart_or_together() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (Some(again), Some(together)) = (apart(one.path()), database()) else { return };
    let Some(backup) = BackedUp::new(apart).await else { return };
    let verified = verified(&backup.target, &backup.manifest.id).await.unwrap();
    assert_eq!(verified.drift, Vec::<String>::new());
    assert_eq!((verified.figures.store.documents, verified.figures.store.stored), (10, 9));
    let lost = ["9 documents for 10 analyses", "1 analyses have no document"];
    for (other, lost) in [again, at(&together, two.path())].into_iter().zip(lost) {
        backup.restored_into(&other, Options::default()).await.unwrap();
        backup.is_whole_in(&other);
        assert_eq!(counts(&other).await, StoreCounts { stored: 9, duplicates: 1, dead_letters: 0 });
        assert_eq!(stores(&other).await.unwrap().drift, Vec::<String>::new());
        sql_at(address(&other, "raw"), "DELETE FROM raw.documents WHERE id = 'doc-000004'");
        let drift = stores(&other).await.unwrap().drift.join("; ");
        assert!(drift.contains(lost), "{drift}");
        let refused = backup.restored_into(&other, Options::default()).await.unwrap_err();
        assert!(matches!(refused, BackupError::Refused(_)), "{refused}");
        backup.restored_into(&other, Options { force: true, ..Options::default() }).await.unwrap();
        backup.is_whole_in(&other);
    }
}

#[tokio::test]
async fn tables_with_rows_are_refused_and_by_force_replaced() {
    let Some(to) = database() else { return };
    let Some(backup) = BackedUp::new(|origin| Some(at(&database()?, origin))).await else { return };
    let fresh = tempfile::tempdir().unwrap();
    let other = at(&to, fresh.path());
    PostgresStore::open(&other.postgres).await.unwrap().write(vec![row(77)]).await.unwrap();
    let error = backup.restored_into(&other, Options::default()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Refused(said) if said.contains("analytics.analyses")), "{error}");
    assert_eq!(counts(&other).await.stored, 1);
    assert!(!fresh.path().join("log.db").exists(), "the log was not put there either");
    backup.restored_into(&other, Options { force: true, ..Options::default() }).await.unwrap();
    assert_eq!(counts(&other).await, StoreCounts { stored: 9, duplicates: 1, dead_letters: 0 });
}

#[tokio::test]
async fn tampered_table_changes_nothing() {
    let Some(to) = database() else { return };
    let Some(backup) = BackedUp::new(|origin| Some(at(&database()?, origin))).await else { return };
    let name = "raw.documents.copy.zst";
    let file = backup.backups.path().join(&backup.manifest.id).join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let other = at(&to, fresh.path());
    let refusals = [
        verified(&backup.target, &backup.manifest.id).await.map(drop).unwrap_err(),
        backup.restored_into(&other, Options::default()).await.map(drop).unwrap_err(),
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
