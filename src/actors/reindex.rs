//! The job `reindex`: compares the vector index with the store of documents and repairs it, while both are in use.
//!
//! The store is the truth. What it streams may be overtaken by new verdicts, so the store is asked before and after each
//! repair: what was overtaken is looked at in another pass.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::jobs::{JobContext, JobFailure, Outcome};
use crate::messages::analysis::VerdictLabel;
use crate::messages::record::Position;
use crate::stores::documents::{DocumentStore, RememberedDocument, StoreError};
use crate::stores::vectors::{Reconcile, VectorEntry, VectorIndex};

/// Documents repaired between two looks into the store: their vectors are held in memory meanwhile.
const BATCH: usize = 4096;
/// Documents compared between two words of progress.
const WORD_EVERY: u64 = 256;
/// Passes over the store at most, while documents are overtaken.
const MAX_PASSES: u32 = 3;
/// Ids named in the report, of each kind.
const NAMED: usize = 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReindexRequest {
    /// Only says what is wrong.
    pub dry_run: bool,
}

/// What was found, and mended unless it was a dry run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReindexReport {
    /// Vectors of the store that the index has as they are.
    pub same: u64,
    /// Vectors of the store that the index lacked, or had otherwise.
    pub missing: u64,
    /// Vectors of the index that the store does not have.
    pub extra: u64,
    /// Documents that changed while they were mended, in the last pass; their writer sees to them.
    pub overtaken: u64,
    /// Passes over the store.
    pub passes: u32,
    /// Whether nothing was changed, on purpose.
    pub dry_run: bool,
    /// The first of those missing.
    pub missing_ids: Vec<Arc<str>>,
    /// The first of those too many.
    pub extra_ids: Vec<Arc<str>>,
}

/// Runs the job.
///
/// # Errors
/// If a store fails, or the index can't be compared.
pub async fn run(
    documents: Arc<dyn DocumentStore>,
    vectors: Arc<dyn VectorIndex>,
    request: ReindexRequest,
    ctx: JobContext,
) -> Outcome {
    let index = vectors.reconcile().ok_or_else(|| JobFailure::Fatal("this index can't be compared".to_owned()))?;
    let report = ReindexReport { dry_run: request.dry_run, ..ReindexReport::default() };
    let mut reindex = Reindex { documents: &*documents, vectors: &*vectors, index, ctx: &ctx, report };
    while reindex.report.passes == 0 || (reindex.report.overtaken > 0 && reindex.report.passes < MAX_PASSES) {
        reindex.pass().await?;
    }
    let report = reindex.report;
    ctx.progress(1.0, format!("{} same, {} missing, {} extra", report.same, report.missing, report.extra));
    serde_json::to_value(report).map_err(|error| JobFailure::Fatal(error.to_string()))
}

struct Reindex<'a> {
    documents: &'a dyn DocumentStore,
    vectors: &'a dyn VectorIndex,
    index: &'a dyn Reconcile,
    ctx: &'a JobContext,
    report: ReindexReport,
}

/// A document whose vector the index lacks or has otherwise.
struct Differing {
    entry: VectorEntry,
    origin: Position,
    document: RememberedDocument,
}

/// What a stream of documents leads to.
struct Compared {
    /// Record time it began at.
    since_ms: i64,
    /// Documents of exactly the time at which a new stream would begin, which it must not count again.
    counted: HashSet<Arc<str>>,
    same: u64,
    seen: u64,
    differing: Vec<Differing>,
    error: Option<StoreError>,
}

impl Reindex<'_> {
    /// Compares everything once, and mends what differs.
    async fn pass(&mut self) -> Result<(), JobFailure> {
        let counts = self.documents.counts().await?;
        let total = (counts.stored + counts.duplicates).max(1);
        self.index.begin();
        (self.report.same, self.report.overtaken) = (0, 0);
        self.report.passes += 1;
        let mut compared = Compared {
            since_ms: i64::MIN,
            counted: HashSet::new(),
            same: 0,
            seen: 0,
            differing: Vec::new(),
            error: None,
        };
        loop {
            let ended = self.compare(&mut compared, total).await?;
            for differing in std::mem::take(&mut compared.differing) {
                self.ctx.check()?;
                self.mend(differing).await?;
            }
            if ended {
                break;
            }
        }
        self.report.same += compared.same;
        for id in self.index.unconfirmed() {
            self.ctx.check()?;
            self.clear(&id).await?;
        }
        Ok(())
    }

    /// Streams documents until the store has no more, which is true, or enough of them differ.
    async fn compare(&self, compared: &mut Compared, total: u64) -> Result<bool, JobFailure> {
        let full = CancellationToken::new();
        let since_ms = compared.since_ms;
        let visit = Box::new(|document: RememberedDocument| {
            if full.is_cancelled() {
                return;
            }
            compared.look(document, self.index);
            if compared.seen.is_multiple_of(WORD_EVERY) {
                #[expect(clippy::cast_precision_loss, reason = "a share for people")]
                let share = compared.seen as f64 / total as f64;
                self.ctx.progress(share.min(1.0) * 0.95, format!("{} of {total} documents compared", compared.seen));
            }
            if compared.differing.len() >= BATCH || compared.error.is_some() {
                full.cancel();
            }
        });
        let ended = tokio::select! {
            biased;
            () = self.ctx.stopping() => return Err(JobFailure::Stopped),
            () = full.cancelled() => false,
            done = self.documents.remember(since_ms, visit) => {
                done?;
                !full.is_cancelled()
            }
        };
        match compared.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(ended),
        }
    }

    /// Puts a vector into the index, if the store still has it so.
    async fn mend(&mut self, Differing { entry, origin, document }: Differing) -> Result<(), JobFailure> {
        let id = Arc::clone(&entry.id);
        if !self.stands(&id, &origin).await? {
            self.report.overtaken += 1;
            return Ok(());
        }
        if self.index.confirm(&document)? {
            self.report.same += 1; // its writer was just about to
            return Ok(());
        }
        self.report.missing += 1;
        if self.report.missing_ids.len() < NAMED {
            self.report.missing_ids.push(Arc::clone(&id));
        }
        if self.report.dry_run {
            return Ok(());
        }
        self.vectors.insert(entry)?;
        if !self.stands(&id, &origin).await? {
            self.report.overtaken += 1;
        }
        Ok(())
    }

    /// Takes a vector out of the index, if the store has none.
    async fn clear(&mut self, id: &Arc<str>) -> Result<(), JobFailure> {
        if self.is_stored(id).await? {
            // one that differs and was left alone in a dry run is counted already
            self.report.overtaken += u64::from(!self.report.dry_run);
            return Ok(());
        }
        self.report.extra += 1;
        if self.report.extra_ids.len() < NAMED {
            self.report.extra_ids.push(Arc::clone(id));
        }
        if self.report.dry_run {
            return Ok(());
        }
        self.vectors.remove(id)?;
        if self.is_stored(id).await? {
            self.report.overtaken += 1;
        }
        Ok(())
    }

    /// Whether the verdict is still that of this record, and stored.
    async fn stands(&self, id: &str, origin: &Position) -> Result<bool, JobFailure> {
        let stored = self.documents.get(id).await?;
        Ok(stored.is_some_and(|it| it.analysis.origin == *origin && it.analysis.verdict == VerdictLabel::Stored))
    }

    async fn is_stored(&self, id: &str) -> Result<bool, JobFailure> {
        Ok(self.documents.get(id).await?.is_some_and(|stored| stored.analysis.verdict == VerdictLabel::Stored))
    }
}

impl Compared {
    fn look(&mut self, document: RememberedDocument, index: &dyn Reconcile) {
        if document.timestamp_ms > self.since_ms {
            self.since_ms = document.timestamp_ms;
            self.counted.clear();
        }
        if !self.counted.insert(Arc::clone(&document.id)) {
            return; // the end of the stream before
        }
        self.seen += 1;
        let Some(vector) = document.vector.clone() else { return };
        match index.confirm(&document) {
            Ok(true) => self.same += 1,
            Ok(false) => {
                let entry = VectorEntry {
                    id: Arc::clone(&document.id),
                    vector,
                    timestamp_ms: document.timestamp_ms,
                    source: Arc::clone(&document.source),
                    symbols: document.symbols.clone().into(),
                };
                let origin = document.origin.clone();
                // what it says is not needed again
                let document = RememberedDocument { text: String::new(), title: None, ..document };
                self.differing.push(Differing { entry, origin, document });
            }
            Err(error) => self.error = Some(error),
        }
    }
}
