//! Puts a backup in the place of an installation. Everything is checked before anything is touched, and what is replaced
//! is moved aside, not deleted.
//!
//! The log and its offsets come first, the documents last: what is cut off in between is an installation whose store is
//! missing, which a daemon refuses to start on, and not one that goes on behind records it never saw.

use std::path::{Path, PathBuf};

use chrono::Utc;

use super::log_side::{LogSide, beyond, lost};
use super::manifest::{Manifest, Part, StoredFile, id_of};
use super::packing;
use super::staging::Staging;
use super::target::Target;
use super::{BackupError, Places, Progress, blocking};
use crate::config::Config;
use crate::config::log::LogBackend;
use crate::config::store::StoreBackend;
use crate::kafka::embedded::offsets;
use crate::kafka::log::PartitionRange;
use crate::stores::postgres::dump::Table;
use crate::stores::postgres::load::{Load, LoadError};

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether what is there is replaced.
    pub force: bool,
    /// Whether the log of this installation stays, and is read again from the backup's offsets: then nothing that it
    /// accepted since is lost. With Kafka the log always stays.
    pub keep_log: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// The backup.
    pub id: String,
    /// Records that the daemon reads again when it starts.
    pub to_replay: u64,
    /// Where the files are now that were replaced.
    pub replaced: Option<PathBuf>,
}

impl From<LoadError> for BackupError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Open(error) => error.into(),
            LoadError::Store(error) => error.into(),
            LoadError::NotEmpty { .. } => Self::Refused(format!("{error}: --force replaces what is there")),
        }
    }
}

/// Restores a backup. The data directory must be the caller's alone, and no daemon may use the servers meanwhile.
///
/// # Errors
/// [`BackupError::Refused`] if something is there and `force` was not asked, or if the log is not the one the backup
/// fits; [`BackupError::Damaged`] names the file that is not as it was stored. Nothing has changed then.
pub async fn restore(
    config: &Config,
    target: &Target,
    id: &str,
    options: Options,
    progress: Progress<'_>,
) -> Result<Restored, BackupError> {
    let manifest = target.manifest(id).await?;
    let places = Places::of(config);
    let plan = Plan { config, target, manifest: &manifest, places: &places, options, progress };
    plan.fits()?;
    plan.is_clear()?;
    let staging = Staging::new(&config.daemon.data_dir, &format!("restore-{}", id_of(Utc::now())))?;
    let fetched = plan.fetch(&staging).await?;
    let log = plan.log(&fetched).await?;
    plan.put(fetched, log).await
}

/// A file of the backup, fetched and checked.
struct Fetched {
    part: Part,
    at: PathBuf,
}

struct Plan<'a> {
    config: &'a Config,
    target: &'a Target,
    manifest: &'a Manifest,
    places: &'a Places,
    options: Options,
    progress: Progress<'a>,
}

impl Plan<'_> {
    /// The backup has to be one of such an installation.
    fn fits(&self) -> Result<(), BackupError> {
        let Manifest { id, log, store, documents_topic, .. } = self.manifest;
        let topic = &self.config.kafka.topics.documents;
        let differs = |key: &str, was: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| {
            Err(BackupError::Setting(format!("{key}: backup {id} is of {was:?}, the configuration says {is:?}")))
        };
        if *store != self.config.store.backend {
            return differs("store.backend", store, &self.config.store.backend);
        }
        if *log != self.config.log.backend {
            return differs("log.backend", log, &self.config.log.backend);
        }
        if documents_topic != topic {
            return differs("kafka.topics.documents", documents_topic, topic);
        }
        if self.options.keep_log && !self.places.log.exists() && *log == LogBackend::Embedded {
            let said = format!("{} is not there: there is no log to keep", self.places.log.display());
            return Err(BackupError::Refused(said));
        }
        Ok(())
    }

    /// Files that this restore would replace, or that belong to one.
    fn replaced(&self) -> Vec<PathBuf> {
        let mut found: Vec<&Path> = Vec::new();
        for file in &self.manifest.files {
            found.extend(self.place(&file.part));
        }
        if found.contains(&self.places.documents.as_path()) {
            found.push(&self.places.index); // belongs to the documents
        }
        found.into_iter().flat_map(with_companions).filter(|path| path.exists()).collect()
    }

    /// Where a part goes; `None` for one that stays out or is not a file.
    fn place(&self, part: &Part) -> Option<&Path> {
        match part {
            Part::Log if self.options.keep_log => None,
            Part::Log => Some(&self.places.log),
            Part::Documents => Some(&self.places.documents),
            Part::Jobs => Some(&self.places.jobs),
            Part::Encoder => Some(&self.places.encoder),
            Part::DaemonId => Some(&self.places.daemon_id),
            Part::Table { .. } => None,
        }
    }

    fn is_clear(&self) -> Result<(), BackupError> {
        match self.replaced().first() {
            Some(path) if !self.options.force => {
                let said = format!("{} is there already: --force moves it aside", path.display());
                Err(BackupError::Refused(said))
            }
            _ => Ok(()),
        }
    }

    /// Fetches what lies in files, all of it checked.
    async fn fetch(&self, staging: &Staging) -> Result<Vec<Fetched>, BackupError> {
        let files: Vec<&StoredFile> =
            self.manifest.files.iter().filter(|file| self.place(&file.part).is_some()).collect();
        let mut fetched = Vec::with_capacity(files.len());
        for (index, file) in files.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            (self.progress)(0.5 * index as f64 / files.len() as f64, format!("fetching {}", file.name));
            let at = staging.file(&index.to_string());
            packing::into_file(packing::fetch(self.target, &self.manifest.id, file), &at).await?;
            fetched.push(Fetched { part: file.part.clone(), at });
        }
        Ok(fetched)
    }

    /// The log as it will be, with its groups set back where it is only a copy; else checked to be the one the backup fits.
    async fn log(&self, fetched: &[Fetched]) -> Result<Vec<PartitionRange>, BackupError> {
        let offsets = &self.manifest.offsets;
        if let Some(copy) = fetched.iter().find(|it| it.part == Part::Log) {
            let (path, offsets) = (copy.at.clone(), offsets.clone());
            return blocking(move || {
                offsets::set_groups(&path, &offsets)?;
                offsets::ranges(&path)
            })
            .await;
        }
        let log = LogSide::open(self.config)?.ranges().await?;
        if let Some(at) = beyond(offsets, &log) {
            return Err(BackupError::Refused(format!(
                "the log is not the one of the backup: partition {} of {} ends before offset {}",
                at.next.partition, at.next.topic, at.next.offset
            )));
        }
        let gone = lost(offsets, &log);
        if gone > 0 && !self.options.force {
            return Err(BackupError::Refused(format!(
                "the log does not have {gone} records any more that came after the backup: --force goes on without them"
            )));
        }
        Ok(log)
    }

    /// From here on things change.
    async fn put(&self, fetched: Vec<Fetched>, log: Vec<PartitionRange>) -> Result<Restored, BackupError> {
        let offsets = &self.manifest.offsets;
        let own_log = fetched.iter().any(|it| it.part == Part::Log);
        if !own_log && self.config.log.backend == LogBackend::Kafka {
            LogSide::open(self.config)?.set(offsets).await?; // refused while the group has members
        }
        let load = match self.config.store.backend {
            StoreBackend::Sqlite => None,
            StoreBackend::Postgres => Some(self.load().await?),
        };
        let replaced = self.move_aside()?;
        if !own_log && self.config.log.backend == LogBackend::Embedded {
            LogSide::open(self.config)?.set(offsets).await?;
        }
        let (documents, others): (Vec<_>, Vec<_>) = fetched.into_iter().partition(|it| it.part == Part::Documents);
        for Fetched { part, at } in others.into_iter().chain(documents) {
            if let Some(place) = self.place(&part) {
                move_file(&at, place)?;
            }
        }
        if let Some((load, tables)) = load {
            let sequences = self.manifest.sequences.iter();
            let sequences: Vec<_> = sequences.map(|it| (it.schema.clone(), it.name.clone(), it.last)).collect();
            load.commit(&sequences, &tables).await?;
        }
        let to_replay = offsets
            .iter()
            .filter(|at| at.group == self.config.kafka.group && *at.next.topic == *self.manifest.documents_topic)
            .filter_map(|at| {
                let range = log.iter().find(|it| it.topic == at.next.topic && it.partition == at.next.partition)?;
                Some((range.end - at.next.offset.max(range.first)).max(0).cast_unsigned())
            })
            .sum();
        (self.progress)(1.0, format!("backup {} is restored", self.manifest.id));
        Ok(Restored { id: self.manifest.id.clone(), to_replay, replaced })
    }

    /// Fills the tables, not committed yet.
    async fn load(&self) -> Result<(Load, Vec<Table>), BackupError> {
        let files = &self.manifest.files;
        let tables: Vec<(&StoredFile, Table)> =
            files.iter().filter_map(|file| Some((file, table(&file.part)?))).collect();
        let all: Vec<Table> = tables.iter().map(|(_, table)| table.clone()).collect();
        let load = Load::begin(&self.config.postgres, &self.manifest.schemas, &all, self.options.force).await?;
        for (index, (file, table)) in tables.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            (self.progress)(0.5 + 0.5 * index as f64 / all.len() as f64, format!("loading {}", file.name));
            let mut content = packing::fetch(self.target, &self.manifest.id, file);
            let rows = load.table(table, async || content.recv().await.transpose()).await?;
            if Some(rows) != file.rows {
                let reason = format!("has {rows} rows, the manifest says {:?}", file.rows);
                return Err(BackupError::Damaged { id: self.manifest.id.clone(), file: file.name.clone(), reason });
            }
        }
        Ok((load, all))
    }

    /// Moves what is there into a directory of its own beside the data; where that is, if anything was.
    fn move_aside(&self) -> Result<Option<PathBuf>, BackupError> {
        let replaced = self.replaced();
        if replaced.is_empty() {
            return Ok(None);
        }
        let aside = self.config.daemon.data_dir.join(format!("replaced-{}", id_of(Utc::now())));
        std::fs::create_dir(&aside).map_err(BackupError::file(&aside))?;
        // the documents go first: without them a daemon does not start on what a cut leaves
        let of_documents = with_companions(&self.places.documents);
        let (documents, others): (Vec<PathBuf>, Vec<PathBuf>) =
            replaced.into_iter().partition(|path| of_documents.contains(path));
        for path in documents.into_iter().chain(others) {
            let Some(name) = path.file_name() else { continue };
            // a log without documents is not started on; no log at all would be taken for a beginning
            if path == self.places.log {
                keep_file(&path, &aside.join(name))?;
            } else {
                move_file(&path, &aside.join(name))?;
            }
        }
        Ok(Some(aside))
    }
}

fn table(part: &Part) -> Option<Table> {
    match part {
        Part::Table { schema, table, columns, days } => {
            Some(Table { schema: schema.clone(), name: table.clone(), columns: columns.clone(), days: days.clone() })
        }
        Part::Log | Part::Documents | Part::Jobs | Part::Encoder | Part::DaemonId => None,
    }
}

/// A file, and what `SQLite` may have put beside it: beside another file that would be read as its newest changes.
fn with_companions(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        name.into()
    })
}

/// Keeps what a file is now under another name: the file is about to be replaced.
fn keep_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let kept = std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(drop));
    kept.map_err(BackupError::file(to))
}

/// Moves a file, durably. A place on another file system gets a copy.
fn move_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(BackupError::file(parent))?;
    let moved = match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let copied = std::fs::copy(from, to).and_then(|_| std::fs::File::open(to)?.sync_all());
            copied.and_then(|()| std::fs::remove_file(from))
        }
        done => done,
    };
    let synced = moved.and_then(|()| std::fs::File::open(parent)?.sync_all());
    synced.map_err(BackupError::file(to))
}
