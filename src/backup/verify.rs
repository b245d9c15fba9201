//! Checks a backup without restoring it, or the stores as they are now.

use std::path::{Path, PathBuf};

use super::database;
use super::drift::{self, Figures};
use super::log_side::LogSide;
use super::manifest::{Manifest, Part, StoredFile};
use super::packing;
use super::staging::Staging;
use super::target::Target;
use super::{BackupError, Places, Progress, blocking, graph_vectors, index_size};
use crate::config::Config;
use crate::config::store::StoreBackend;
use crate::kafka::embedded::offsets;
use crate::kafka::log::GroupOffset;
use crate::stores::figures::{OffsetRange, StoreFigures, Verdicts};
use crate::stores::postgres::dump::{Dump, RowCounter};
use crate::stores::sqlite::figures;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// The backup; `None` for the stores themselves.
    pub id: Option<String>,
    /// Files whose checksums are right.
    pub files: usize,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// Where consumer groups stand.
    pub offsets: Vec<GroupOffset>,
    /// What was counted.
    pub figures: Figures,
    /// What does not fit, in words; empty if all does.
    pub drift: Vec<String>,
}

/// Reads every file of a backup, compares checksums, and counts again what was counted when it was made. Databases are
/// unpacked below `scratch` for as long as this takes.
///
/// # Errors
/// [`BackupError::Damaged`] names the file that is not as it was stored.
pub async fn verify(
    target: &Target,
    id: &str,
    scratch: &Path,
    progress: Progress<'_>,
) -> Result<Verified, BackupError> {
    let manifest = target.manifest(id).await?;
    let staging = Staging::new(scratch, &format!("tidemill-verify-{id}-{}", std::process::id()))?;
    let mut databases: Vec<(Part, PathBuf)> = Vec::new();
    for (index, file) in manifest.files.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        progress(index as f64 / manifest.files.len() as f64, format!("checking {}", file.name));
        let content = packing::fetch(target, id, file);
        match &file.part {
            Part::Log | Part::Documents | Part::Jobs => {
                let at = staging.file(&index.to_string());
                packing::into_file(content, &at).await?;
                let path = at.clone();
                if let Some(reason) = blocking(move || database::check(&path)).await? {
                    return Err(BackupError::Damaged { id: id.to_owned(), file: file.name.clone(), reason });
                }
                databases.push((file.part.clone(), at));
            }
            Part::Encoder | Part::DaemonId => packing::into_nothing(content).await?,
            Part::Table { .. } => count_rows(id, file, content).await?,
        }
    }
    let mut drift = manifest.figures.drift();
    drift.extend(recount(&manifest, &databases).await?);
    progress(1.0, format!("backup {id} is checked"));
    Ok(Verified {
        id: Some(id.to_owned()),
        files: manifest.files.len(),
        bytes: manifest.bytes(),
        offsets: manifest.offsets,
        figures: manifest.figures,
        drift,
    })
}

async fn count_rows(id: &str, file: &StoredFile, mut content: packing::Content) -> Result<(), BackupError> {
    let damaged = |reason: String| BackupError::Damaged { id: id.to_owned(), file: file.name.clone(), reason };
    let mut counter = RowCounter::default();
    while let Some(piece) = content.recv().await {
        counter.add(&piece?).map_err(|reason| damaged(reason.to_owned()))?;
    }
    let rows = counter.finish().map_err(|reason| damaged(reason.to_owned()))?;
    if Some(rows) == file.rows {
        return Ok(());
    }
    Err(damaged(format!("has {rows} rows, the manifest says {:?}", file.rows)))
}

/// What the databases of the backup say otherwise than its manifest.
async fn recount(manifest: &Manifest, databases: &[(Part, PathBuf)]) -> Result<Vec<String>, BackupError> {
    let find = |part: &Part| databases.iter().find(|(found, _)| found == part).map(|(_, path)| path.clone());
    let mut differences = Vec::new();
    if let Some(path) = find(&Part::Log) {
        let (stand, ranges) =
            blocking(move || Ok::<_, BackupError>((offsets::group_offsets(&path)?, offsets::ranges(&path)?))).await?;
        if stand != manifest.offsets {
            differences.push("the log's groups do not stand where the manifest says".to_owned());
        }
        for it in &manifest.figures.partitions {
            let same = |range: &&crate::kafka::log::PartitionRange| {
                *range.topic == *manifest.documents_topic && range.partition == it.partition
            };
            let found = ranges.iter().find(same).map(|range| (range.first, range.end));
            if found != Some((it.first, it.end)) {
                differences
                    .push(format!("partition {} of the log holds {found:?}, not what the manifest says", it.partition));
            }
        }
    }
    if let Some(path) = find(&Part::Documents) {
        let asked = asked(manifest);
        let (counted, verdicts) = blocking(move || figures::figures(&path, &asked)).await?;
        if counted != manifest.figures.store || !same_verdicts(&manifest.figures, &verdicts) {
            differences.push(format!("the store's counts are not the manifest's: {counted:?}"));
        }
    }
    Ok(differences)
}

fn asked(manifest: &Manifest) -> Vec<OffsetRange> {
    let topic: std::sync::Arc<str> = manifest.documents_topic.as_str().into();
    let partitions = manifest.figures.partitions.iter();
    partitions
        .map(|it| OffsetRange {
            topic: std::sync::Arc::clone(&topic),
            partition: it.partition,
            from: it.first,
            to: it.committed,
        })
        .collect()
}

fn same_verdicts(figures: &Figures, verdicts: &[Verdicts]) -> bool {
    let known = figures.partitions.iter().map(|it| Verdicts { in_range: it.with_verdict, highest: it.highest });
    known.eq(verdicts.iter().copied())
}

/// Compares the stores of an installation as they are now, while the daemon runs or not.
///
/// # Errors
/// If a store or the log can't be read.
pub async fn stores(config: &Config) -> Result<Verified, BackupError> {
    let log = LogSide::open(config)?;
    // the order of a backup: what is counted later has seen everything below the offsets
    let offsets = log.offsets().await?;
    let before = log.ranges().await?;
    let asked = drift::ranges(&config.kafka.topics.documents, &config.kafka.group, &before, &offsets);
    let documents = Places::of(config).documents;
    let dump = match config.store.backend {
        StoreBackend::Sqlite => None,
        StoreBackend::Postgres => Some(Dump::begin(&config.postgres).await?),
    };
    let (counted, verdicts): (StoreFigures, Vec<Verdicts>) = match &dump {
        None => {
            let (path, asked) = (documents.clone(), asked.clone());
            blocking(move || figures::figures(&path, &asked)).await?
        }
        Some(dump) => dump.figures(&asked).await?,
    };
    let index = index_size(config).await;
    let graphs = graph_vectors(config, dump.as_ref(), &documents).await?;
    let after = log.ranges().await?;
    let mut figures = Figures::new(counted, &after, &asked, &verdicts);
    figures.dense = log.is_dense();
    figures.index = index;
    figures.graphs = graphs;
    let drift = figures.drift();
    Ok(Verified { id: None, files: 0, bytes: 0, offsets, figures, drift })
}
