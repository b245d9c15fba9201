//! Makes a backup, while the daemon runs or while it does not.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;

use super::drift::{self, Figures};
use super::log_side::{LogSide, from_first, lost};
use super::manifest::{FORMAT, Manifest, Part, SequenceValue, StoredFile, id_of};
use super::packing::{self, ContentSender};
use super::staging::Staging;
use super::target::Target;
use super::{BackupError, Places, Progress, blocking, database, graph_vectors, index_size};
use crate::config::Config;
use crate::config::jobs::JobsBackend;
use crate::config::log::LogBackend;
use crate::config::store::StoreBackend;
use crate::kafka::log::{GroupOffset, PartitionRange};
use crate::stores::documents::StoreError;
use crate::stores::postgres::dump::{Dump, RowCounter, Table};
use crate::stores::sqlite::figures;

/// Attempts to copy the stores while the log's retention deletes what the copy would still need.
const ATTEMPTS: usize = 3;

/// The stores at one moment, copied or held still, before they are stored in the target.
struct Taken {
    /// Where groups stood before.
    offsets: Vec<GroupOffset>,
    log: Vec<PartitionRange>,
    figures: Figures,
    /// Copies of files with what they hold.
    files: Vec<(Part, PathBuf)>,
    dump: Option<Dump>,
}

/// Makes a backup of everything the configuration names in a new folder of the target.
///
/// # Errors
/// Names what can't be read or written; what was stored so far is deleted again, as far as the target lets it.
pub async fn create(config: &Config, target: &Target, progress: Progress<'_>) -> Result<Manifest, BackupError> {
    let started_at = Utc::now();
    let id = id_of(started_at);
    let staging = Staging::new(&config.daemon.data_dir, &format!("backup-{id}"))?;
    progress(0.0, format!("backup {id}: copying the stores"));
    let taken = take(config, &staging).await?;
    let work = Work { config, target, id: &id, started_at, progress };
    let done = work.store(taken).await;
    if done.is_err() {
        // without a manifest it is no backup anyway; retention deletes what stays now
        let _ = target.delete(&id).await;
    }
    done
}

/// Copies the stores, again if the log lost records meanwhile that the copy of the store does not have.
async fn take(config: &Config, staging: &Staging) -> Result<Taken, BackupError> {
    for attempt in 1..=ATTEMPTS {
        let taken = take_once(config, staging, attempt).await?;
        if lost(&taken.offsets, &taken.log) == 0 {
            return Ok(taken);
        }
        tracing::info!(attempt, "the log deleted records while the stores were copied, they are copied again");
    }
    let said = "the log deletes records faster than the stores can be copied: raise log.retention_bytes or \
                log.retention_hours, or the retention of the topics";
    Err(BackupError::Unavailable(said.to_owned()))
}

/// The order is what makes the copy consistent: offsets, then the store, then the log.
async fn take_once(config: &Config, staging: &Staging, attempt: usize) -> Result<Taken, BackupError> {
    let places = Places::of(config);
    let log_side = LogSide::open(config)?;
    must_be_there(config, &places)?;
    let copy = async |from: &Path, name: &str| {
        let (from, to) = (from.to_owned(), staging.file(&format!("{attempt}-{name}")));
        let copied = to.clone();
        blocking(move || database::copy(&from, &to)).await?;
        Ok::<PathBuf, BackupError>(copied)
    };
    let before = log_side.ranges().await?;
    let offsets = from_first(log_side.offsets().await?, &before);
    let mut files = Vec::new();
    let mut dump = None;
    match config.store.backend {
        StoreBackend::Sqlite => files.push((Part::Documents, copy(&places.documents, "documents").await?)),
        StoreBackend::Postgres => dump = Some(Dump::begin(&config.postgres).await?),
    }
    if config.jobs.backend == JobsBackend::Sqlite && places.jobs.exists() {
        files.push((Part::Jobs, copy(&places.jobs, "jobs").await?));
    }
    let mut log = log_side;
    if config.log.backend == LogBackend::Embedded {
        let copied = copy(&places.log, "log").await?;
        log = LogSide::Embedded(copied.clone());
        log.set(&offsets).await?;
        files.push((Part::Log, copied));
    }
    let ranges = log.ranges().await?;
    let asked = drift::ranges(&config.kafka.topics.documents, &config.kafka.group, &ranges, &offsets);
    let (counted, verdicts) = match (&dump, files.first()) {
        (Some(dump), _) => dump.figures(&asked).await?,
        (None, Some((_, documents))) => {
            let (path, asked) = (documents.clone(), asked.clone());
            blocking(move || figures::figures(&path, &asked)).await?
        }
        (None, None) => return Err(BackupError::Refused("there is no store to copy".to_owned())),
    };
    let mut figures = Figures::new(counted, &ranges, &asked, &verdicts);
    figures.dense = log.is_dense();
    figures.index = index_size(config).await;
    figures.graphs = graph_vectors(config, dump.as_ref(), &places.documents).await?;
    for (part, path) in [(Part::Encoder, places.encoder), (Part::DaemonId, places.daemon_id)] {
        if path.exists() {
            files.push((part, path));
        }
    }
    Ok(Taken { offsets, log: ranges, figures, files, dump })
}

/// A directory that no daemon ever used has nothing to copy, and opening its files would make them.
fn must_be_there(config: &Config, places: &Places) -> Result<(), BackupError> {
    let mut wanted = Vec::new();
    if config.store.backend == StoreBackend::Sqlite {
        wanted.push(&places.documents);
    }
    if config.log.backend == LogBackend::Embedded {
        wanted.push(&places.log);
    }
    match wanted.into_iter().find(|path| !path.exists()) {
        Some(path) => Err(BackupError::NotFound(format!("{} is not there: nothing to back up", path.display()))),
        None => Ok(()),
    }
}

/// What storing needs.
struct Work<'a> {
    config: &'a Config,
    target: &'a Target,
    id: &'a str,
    started_at: DateTime<Utc>,
    progress: Progress<'a>,
}

impl Work<'_> {
    async fn store(&self, taken: Taken) -> Result<Manifest, BackupError> {
        let tables = match &taken.dump {
            Some(dump) => dump.tables().await?,
            None => Vec::new(),
        };
        let total = taken.files.len() + tables.len();
        let mut files: Vec<StoredFile> = Vec::with_capacity(total);
        for (part, path) in &taken.files {
            let name = format!("{}.zst", file_name(part));
            self.tell(files.len(), total, &name);
            files.push(packing::store(self.target, self.id, &name, part.clone(), packing::of_file(path)).await?);
        }
        let (mut schemas, mut sequences) = (std::collections::BTreeMap::new(), Vec::new());
        if let Some(dump) = &taken.dump {
            for table in &tables {
                self.tell(files.len(), total, &format!("{}.{}", table.schema, table.name));
                files.push(self.table(dump, table).await?);
            }
            schemas = dump.versions().await?;
            let used = dump.sequences().await?.into_iter();
            sequences = used.map(|(schema, name, last)| SequenceValue { schema, name, last }).collect();
        }
        let manifest = Manifest {
            format: FORMAT,
            id: self.id.to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            finished_at: Utc::now(),
            log: self.config.log.backend,
            store: self.config.store.backend,
            documents_topic: self.config.kafka.topics.documents.clone(),
            offsets: taken.offsets,
            figures: taken.figures,
            schemas,
            sequences,
            files,
        };
        self.target.complete(&manifest).await?;
        (self.progress)(1.0, format!("backup {}: {} bytes in {total} files", self.id, manifest.bytes()));
        Ok(manifest)
    }

    fn tell(&self, done: usize, total: usize, name: &str) {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = 0.1 + 0.9 * done as f64 / total.max(1) as f64;
        (self.progress)(share, format!("backup {}: storing {name}", self.id));
    }

    async fn table(&self, dump: &Dump, table: &Table) -> Result<StoredFile, BackupError> {
        let name = format!("{}.{}.copy.zst", table.schema, table.name);
        let part = Part::Table {
            schema: table.schema.clone(),
            table: table.name.clone(),
            columns: table.columns.clone(),
            days: table.days.clone(),
        };
        let rows = dump.copy(table).await?;
        let (sender, content) = packing::channel();
        let (counted, stored) =
            tokio::join!(feed(rows, sender), packing::store(self.target, self.id, &name, part, content));
        let stored = stored?;
        let counted = counted.map_err(|reason| BackupError::Unavailable(format!("{name}: {reason}")))?;
        Ok(StoredFile { rows: Some(counted), ..stored })
    }
}

/// Sends rows on, counting them. An error of the stream goes to the receiver.
async fn feed(
    rows: impl futures_util::Stream<Item = Result<Bytes, StoreError>>,
    sender: ContentSender,
) -> Result<u64, &'static str> {
    let mut rows = std::pin::pin!(rows);
    let mut counter = RowCounter::default();
    while let Some(piece) = rows.next().await {
        if let Ok(piece) = &piece {
            counter.add(piece)?;
        }
        if sender.send(piece.map_err(BackupError::from)).await.is_err() {
            return Err("the upload ended early");
        }
    }
    drop(sender);
    counter.finish()
}

fn file_name(part: &Part) -> &'static str {
    match part {
        Part::Log => "log.db",
        Part::Documents => "documents.sqlite3",
        Part::Jobs => "jobs.sqlite3",
        Part::Encoder => "encoder",
        Part::DaemonId => "daemon-id",
        Part::Table { .. } => "table",
    }
}
