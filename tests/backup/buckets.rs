//! Object stores, and targets that refuse.

use tidemill::backup::BackupError;
use tidemill::backup::create::create;
use tidemill::backup::restore::Options;
use tidemill::backup::target::{Access, Target};
use tidemill::config::backup::BackupConfig;
use tidemill::config::secret::Secret;
use tidemill::stores::documents::DocumentStore;

use crate::suite::row;
use crate::{append, backed_up, commit, config, documents, log, quietly, restored, s3_double, standing, verified};

const ROOM: usize = 64 << 20;

fn settings(endpoint: &str) -> BackupConfig {
    BackupConfig {
        endpoint: endpoint.to_owned(),
        access_key_id: s3_double::KEY.to_owned(),
        secret_access_key: Some(Secret::new("secret")),
        retries: 0,
        ..BackupConfig::default()
    }
}

async fn lived_in(directory: &std::path::Path) -> tidemill::config::Config {
    let own = config(directory);
    let log = log(&own);
    append(&log, 5).await;
    commit(&log, &own, 4);
    documents(&own).write((0..4).map(row).collect()).await.unwrap();
    own
}

#[tokio::test]
async fn bucket_holds_what_a_directory_holds() {
    tidemill::tls::install_provider();
    let endpoint = s3_double::start(ROOM).await;
    let (origin, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = lived_in(origin.path()).await;
    for location in ["s3://backups/some/prefix", "r2://backups"] {
        let target = Target::open(location, &settings(&endpoint), Access::Write).unwrap();
        let id = backed_up(&own, &target).await.id;
        let reader = Target::open(location, &settings(&endpoint), Access::Read).unwrap();
        assert_eq!(reader.newest().await.unwrap(), id);
        assert_eq!(verified(&reader, &id).await.unwrap().drift, Vec::<String>::new());
        let place = config(&fresh.path().join(&id));
        let done = restored(&place, &reader, &id, Options::default()).await.unwrap();
        assert_eq!(done.to_replay, 1);
        assert_eq!(standing(&place).await, (4, 5));
        target.delete(&id).await.unwrap();
        assert_eq!(target.list().await.unwrap(), []);
    }
}

#[tokio::test]
async fn missing_bucket_and_wrong_key_are_settings_and_named() {
    tidemill::tls::install_provider();
    let endpoint = s3_double::start(ROOM).await;
    let origin = tempfile::tempdir().unwrap();
    let own = lived_in(origin.path()).await;
    let missing = Target::open("s3://nowhere/a", &settings(&endpoint), Access::Write).unwrap();
    let error = create(&own, &missing, &quietly).await.unwrap_err();
    assert!(matches!(&error, BackupError::Setting(said) if said.contains("nowhere")), "{error}");
    let wrong = BackupConfig { access_key_id: "AKIDOTHER".to_owned(), ..settings(&endpoint) };
    let denied = Target::open("s3://backups/a", &wrong, Access::Write).unwrap();
    let error = create(&own, &denied, &quietly).await.unwrap_err();
    assert!(matches!(&error, BackupError::Setting(said) if said.contains("keys")), "{error}");
    assert!(!error.to_string().contains("secret_"), "{error}");
}

#[tokio::test]
async fn full_target_and_one_that_is_away_may_pass_and_leave_no_backup() {
    tidemill::tls::install_provider();
    let endpoint = s3_double::start(900).await;
    let origin = tempfile::tempdir().unwrap();
    let own = lived_in(origin.path()).await;
    let full = Target::open("s3://backups/a", &settings(&endpoint), Access::Write).unwrap();
    let error = create(&own, &full, &quietly).await.unwrap_err();
    assert!(matches!(&error, BackupError::Unavailable(said) if said.contains("s3://backups/a")), "{error}");
    assert!(matches!(full.newest().await, Err(BackupError::NotFound(_))));
    let away = Target::open("s3://backups/a", &settings("http://127.0.0.1:1"), Access::Write).unwrap();
    let error = create(&own, &away, &quietly).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    let left: Vec<_> = std::fs::read_dir(origin.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("backup-")), "{left:?}");
}

#[tokio::test]
async fn target_that_is_none_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let open = |location: &str, access| Target::open(location, &BackupConfig::default(), access).map(drop).unwrap_err();
    let below_a_file = open(file.join("a").to_str().unwrap(), Access::Write);
    assert!(matches!(&below_a_file, BackupError::File { path, .. } if path.starts_with(&file)), "{below_a_file}");
    let missing = open(directory.path().join("none").to_str().unwrap(), Access::Read);
    assert!(matches!(missing, BackupError::NotFound(_)), "{missing}");
    for (location, said) in [
        ("gs://bucket/a", "gs://"),
        ("s3:///a", "bucket"),
        ("s3://key:secret@bucket/a", "secret_access_key"),
        ("r2://bucket/a", "backup.endpoint"),
    ] {
        let error = open(location, Access::Write);
        assert!(matches!(&error, BackupError::Setting(text) if text.contains(said)), "{location}: {error}");
    }
}
