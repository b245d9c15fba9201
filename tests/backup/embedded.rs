//! The embedded stores.

use std::path::Path;

use tidemill::backup::BackupError;
use tidemill::backup::manifest::{Manifest, Part};
use tidemill::backup::restore::Options;
use tidemill::backup::retention::{Keep, expired};
use tidemill::backup::target::Target;
use tidemill::backup::verify::stores;
use tidemill::config::Config;
use tidemill::stores::documents::DocumentStore;

use crate::suite::row;
use crate::{append, backed_up, commit, config, directory, documents, log, names, restored, standing, verified};

/// Twelve records, of which ten have their verdict and eight are committed: what a running daemon looks like.
async fn lived_in(config: &Config) {
    let log = log(config);
    append(&log, 12).await;
    commit(&log, config, 8);
    let store = documents(config);
    store.write((0..10).map(row).collect()).await.unwrap();
    std::fs::write(config.daemon.data_dir.join("encoder"), "minilm").unwrap();
    std::fs::write(config.daemon.data_dir.join("vectors.index"), "belongs to the documents").unwrap();
}

struct Place {
    origin: tempfile::TempDir,
    fresh: tempfile::TempDir,
    backups: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = || tempfile::tempdir().unwrap();
        Self { origin: directory(), fresh: directory(), backups: directory() }
    }

    async fn backed_up() -> (Self, Target, Manifest) {
        let place = Self::new();
        lived_in(&config(place.origin.path())).await;
        let target = directory(place.backups.path());
        let manifest = backed_up(&config(place.origin.path()), &target).await;
        (place, target, manifest)
    }

    fn file(&self, manifest: &Manifest, part: &Part) -> std::path::PathBuf {
        let file = manifest.files.iter().find(|file| file.part == *part).unwrap();
        self.backups.path().join(&manifest.id).join(&file.name)
    }
}

async fn counted(config: &Config) -> u64 {
    documents(config).counts().await.unwrap().stored
}

#[tokio::test]
async fn restored_installation_stands_where_the_copied_one_stood() {
    let (place, target, manifest) = Place::backed_up().await;
    assert_eq!(manifest.figures.to_replay(), 4);
    let verified = verified(&target, &manifest.id).await.unwrap();
    assert_eq!((verified.drift, verified.files), (Vec::new(), 3), "log, documents and encoder");
    let fresh = config(&place.fresh.path().join("data"));
    let done = restored(&fresh, &target, &manifest.id, Options::default()).await.unwrap();
    assert_eq!((done.to_replay, done.replaced), (4, None));
    for name in ["encoder", "log.db", "tidemill.sqlite3"] {
        assert!(fresh.daemon.data_dir.join(name).exists(), "{name}");
    }
    assert_eq!(standing(&fresh).await, (8, 12));
    assert_eq!(counted(&fresh).await, 10);
    assert_eq!(std::fs::read_to_string(fresh.daemon.data_dir.join("encoder")).unwrap(), "minilm");
    // the copied one goes on untouched
    assert_eq!(standing(&config(place.origin.path())).await, (8, 12));
    assert!(names(place.origin.path()).iter().all(|name| !name.starts_with("backup-")), "copies on their way are gone");
}

#[tokio::test]
async fn stores_are_copied_while_they_are_written() {
    let place = Place::new();
    let own = config(place.origin.path());
    let open = log(&own);
    append(&open, 40).await;
    commit(&open, &own, 10);
    let store = documents(&own);
    store.write((0..10).map(row).collect()).await.unwrap();
    let target = directory(place.backups.path());
    let writing = async {
        for index in 10..40 {
            store.write(vec![row(index)]).await.unwrap();
        }
    };
    let ((), manifest) = tokio::join!(writing, backed_up(&own, &target));
    let verified = verified(&target, &manifest.id).await.unwrap();
    assert_eq!(verified.drift, Vec::<String>::new());
    assert!((10..=40).contains(&verified.figures.store.stored), "{:?}", verified.figures);
    assert_eq!(manifest.offsets[0].next.offset, 10);
}

#[tokio::test]
async fn torn_tampered_and_missing_files_are_named_and_nothing_is_touched() {
    for part in [Part::Log, Part::Documents, Part::Encoder] {
        for damage in ["torn", "tampered", "missing", "longer"] {
            let (place, target, manifest) = Place::backed_up().await;
            let file = place.file(&manifest, &part);
            let mut bytes = std::fs::read(&file).unwrap();
            match damage {
                "torn" => bytes.truncate(bytes.len() - 3),
                "tampered" => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x10;
                }
                _ => bytes.push(0),
            }
            std::fs::write(&file, bytes).unwrap();
            if damage == "missing" {
                std::fs::remove_file(&file).unwrap();
            }
            let name = file.file_name().unwrap().to_str().unwrap();
            let fresh = config(&place.fresh.path().join("data"));
            let refusals = [
                verified(&target, &manifest.id).await.map(drop).unwrap_err(),
                restored(&fresh, &target, &manifest.id, Options::default()).await.map(drop).unwrap_err(),
            ];
            for error in refusals {
                assert!(
                    matches!(&error, BackupError::Damaged { file, .. } if file == name),
                    "{damage} {name}: {error}"
                );
            }
            assert_eq!(names(&fresh.daemon.data_dir), Vec::<String>::new(), "{damage} {name}");
        }
    }
}

#[tokio::test]
async fn backup_without_its_manifest_is_none() {
    let (place, target, manifest) = Place::backed_up().await;
    let older = manifest.id;
    let newer = backed_up(&config(place.origin.path()), &target).await.id;
    assert_eq!(target.newest().await.unwrap(), newer);
    let file = place.backups.path().join(&newer).join("manifest.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(target.newest().await.unwrap(), older, "the torn one does not count");
    let missing = verified(&target, &newer).await.unwrap_err();
    assert!(matches!(&missing, BackupError::NotFound(said) if said.contains(&newer)), "{missing}");
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let torn = verified(&target, &newer).await.unwrap_err();
    assert!(matches!(&torn, BackupError::Damaged { file, .. } if file == "manifest.json"), "{torn}");
    for wrong in ["latest", "../..", ""] {
        assert!(matches!(verified(&target, wrong).await, Err(BackupError::NotFound(_))), "{wrong}");
    }
}

#[tokio::test]
async fn what_is_there_is_refused_and_by_force_moved_aside() {
    let (place, target, manifest) = Place::backed_up().await;
    let own = config(place.origin.path());
    append(&log(&own), 3).await;
    let before = names(place.origin.path());
    let error = restored(&own, &target, &manifest.id, Options::default()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Refused(said) if said.contains("--force")), "{error}");
    assert_eq!(names(place.origin.path()), before);
    let force = Options { force: true, ..Options::default() };
    let done = restored(&own, &target, &manifest.id, force).await.unwrap();
    assert_eq!(standing(&own).await, (8, 12), "the log is that of the backup");
    let aside = done.replaced.unwrap();
    let moved = names(&aside);
    for name in ["encoder", "log.db", "tidemill.sqlite3", "vectors.index"] {
        assert!(moved.contains(&name.to_owned()), "{moved:?}");
    }
    assert!(!own.daemon.data_dir.join("vectors.index").exists(), "the index is built anew");
}

#[tokio::test]
async fn newest_changes_of_a_lost_database_are_not_read_into_the_restored_one() {
    let (place, target, manifest) = Place::backed_up().await;
    let own = config(place.origin.path());
    let database = own.daemon.data_dir.join("tidemill.sqlite3");
    let lost = documents(&own);
    lost.write((10..12).map(row).collect()).await.unwrap();
    let newest = std::fs::read(own.daemon.data_dir.join("tidemill.sqlite3-wal")).unwrap();
    drop(lost);
    // as a kill and the loss of the file leave it
    std::fs::remove_file(&database).unwrap();
    std::fs::write(own.daemon.data_dir.join("tidemill.sqlite3-wal"), newest).unwrap();
    let options = Options { force: true, keep_log: true };
    restored(&own, &target, &manifest.id, options).await.unwrap();
    assert_eq!(tidemill::backup::database::check(&database).unwrap(), None);
    assert_eq!(counted(&own).await, 10);
}

#[tokio::test]
async fn kept_log_is_read_again_from_where_the_backup_stood() {
    let (place, target, manifest) = Place::backed_up().await;
    let own = config(place.origin.path());
    {
        let log = log(&own);
        append(&log, 3).await;
        commit(&log, &own, 15);
    }
    std::fs::remove_file(own.daemon.data_dir.join("tidemill.sqlite3")).unwrap();
    let options = Options { force: true, keep_log: true };
    let done = restored(&own, &target, &manifest.id, options).await.unwrap();
    assert_eq!(done.to_replay, 7);
    assert_eq!(standing(&own).await, (8, 15));
    assert_eq!(counted(&own).await, 10);
}

#[tokio::test]
async fn kept_log_has_to_be_the_one_of_the_backup() {
    let (place, target, manifest) = Place::backed_up().await;
    let other = config(place.fresh.path());
    let keep = Options { force: true, keep_log: true };
    let error = restored(&other, &target, &manifest.id, keep).await.unwrap_err();
    assert!(matches!(&error, BackupError::Refused(said) if said.contains("no log to keep")), "{error}");
    append(&log(&other), 2).await;
    let error = restored(&other, &target, &manifest.id, keep).await.unwrap_err();
    assert!(matches!(&error, BackupError::Refused(said) if said.contains("not the one")), "{error}");
    assert_eq!(standing(&other).await, (0, 2), "nothing was touched");
    assert!(!other.daemon.data_dir.join("tidemill.sqlite3").exists());
}

#[tokio::test]
async fn backup_of_another_kind_of_installation_is_refused_by_key() {
    let (place, target, manifest) = Place::backed_up().await;
    let mut fresh = config(place.fresh.path());
    fresh.kafka.topics.documents = "stories".to_owned();
    let error = restored(&fresh, &target, &manifest.id, Options::default()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Setting(said) if said.contains("kafka.topics.documents")), "{error}");
    fresh.store.backend = tidemill::config::store::StoreBackend::Postgres;
    let error = restored(&fresh, &target, &manifest.id, Options::default()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Setting(said) if said.contains("store.backend")), "{error}");
}

fn sql(directory: &Path, statement: &str) {
    let connection = rusqlite::Connection::open(directory.join("tidemill.sqlite3")).unwrap();
    connection.execute_batch(statement).unwrap();
}

#[tokio::test]
async fn drift_between_the_stores_is_told_by_backup_and_stores_alike() {
    for (statement, said) in [
        ("DELETE FROM raw_deliveries WHERE \"offset\" = 3", "1 consumed records have no verdict"),
        ("DELETE FROM analytics_vectors WHERE seq = 2", "1 stored documents lost their vector"),
        ("DELETE FROM raw_documents WHERE id = 'doc-000004'", "1 analyses have no document"),
        ("UPDATE raw_deliveries SET \"offset\" = 77 WHERE \"offset\" = 9", "verdict of offset 77"),
    ] {
        let place = Place::new();
        let own = config(place.origin.path());
        lived_in(&own).await;
        assert_eq!(stores(&own).await.unwrap().drift, Vec::<String>::new());
        sql(place.origin.path(), statement);
        let target = directory(place.backups.path());
        let manifest = backed_up(&own, &target).await;
        let from_backup = verified(&target, &manifest.id).await.unwrap().drift.join("; ");
        let from_stores = stores(&own).await.unwrap().drift.join("; ");
        assert!(from_backup.contains(said) && from_stores.contains(said), "{from_backup:?} {from_stores:?}");
    }
}

#[tokio::test]
async fn expired_backups_are_deleted_and_others_stay() {
    let (place, target, first) = Place::backed_up().await;
    let own = config(place.origin.path());
    let second = backed_up(&own, &target).await;
    let third = backed_up(&own, &target).await;
    std::fs::write(place.backups.path().join("a file of somebody else"), "x").unwrap();
    let gone = expired(&target.list().await.unwrap(), Keep { last: 2, daily: 1, weekly: 1 }, chrono::Utc::now());
    assert_eq!(gone, std::slice::from_ref(&first.id));
    target.delete(&first.id).await.unwrap();
    let left: Vec<String> = target.list().await.unwrap().into_iter().map(|backup| backup.id).collect();
    assert_eq!(left, [second.id, third.id]);
    target.delete(&first.id).await.unwrap();
}

#[tokio::test]
async fn empty_data_directory_has_nothing_to_back_up_and_stays_empty() {
    let place = Place::new();
    let own = config(&place.origin.path().join("data"));
    let target = directory(place.backups.path());
    let error = tidemill::backup::create::create(&own, &target, &crate::quietly).await.unwrap_err();
    assert!(matches!(&error, BackupError::NotFound(said) if said.contains("tidemill.sqlite3")), "{error}");
    assert_eq!(names(&own.daemon.data_dir), Vec::<String>::new());
    assert_eq!(names(place.backups.path()), Vec::<String>::new());
}
