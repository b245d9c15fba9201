//! The job `reindex`: compares the vector index with the store of documents and repairs it, while both are in use; then
//! the vectors of learned graphs, where Qdrant has them too.
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
use crate::stores::documents::{DocumentStore, RememberedDocument};
use crate::stores::graphs::{GraphDrift, GraphStore};
use crate::stores::vectors::{Reconcile, VectorEntry, VectorIndex};

/// Documents compared at once: their vectors are held in memory meanwhile.
const BATCH: usize = 4096;
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
    /// Vectors of the store that the index has as they are, in the last pass.
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
    /// Files' vectors of learned graphs, where they are kept beside the store too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphs: Option<GraphDrift>,
}

impl ReindexReport {
    /// In a line.
    fn words(&self) -> String {
        let graphs =
            self.graphs.map(|it| format!("; graphs: {} same, {} missing, {} extra", it.same, it.missing, it.extra));
        format!("{} same, {} missing, {} extra{}", self.same, self.missing, self.extra, graphs.unwrap_or_default())
    }
}

/// Runs the job.
///
/// # Errors
/// If a store fails, or the index can't be compared.
pub async fn run(
    documents: Arc<dyn DocumentStore>,
    vectors: Arc<dyn VectorIndex>,
    graphs: Arc<dyn GraphStore>,
    request: ReindexRequest,
    ctx: JobContext,
) -> Outcome {
    let index = vectors.reconcile().ok_or_else(|| JobFailure::Fatal("this index can't be compared".to_owned()))?;
    let report = ReindexReport { dry_run: request.dry_run, ..ReindexReport::default() };
    let mut reindex = Reindex { documents: &*documents, vectors: &*vectors, index, ctx: &ctx, report };
    while reindex.report.passes == 0 || (reindex.report.overtaken > 0 && reindex.report.passes < MAX_PASSES) {
        reindex.pass().await?;
    }
    let mut report = reindex.report;
    ctx.progress(0.95, "learned graphs are compared".to_owned());
    report.graphs = tokio::select! {
        biased;
        () = ctx.stopping() => return Err(JobFailure::Stopped),
        done = graphs.reconcile(request.dry_run) => done?,
    };
    ctx.progress(1.0, report.words());
    serde_json::to_value(report).map_err(|error| JobFailure::Fatal(error.to_string()))
}

struct Reindex<'a> {
    documents: &'a dyn DocumentStore,
    vectors: &'a dyn VectorIndex,
    index: &'a dyn Reconcile,
    ctx: &'a JobContext,
    report: ReindexReport,
}

/// A stream over the store, taken in batches: the next begins at the record time the one before ended with.
struct Stream {
    /// Where the next batch begins.
    since_ms: i64,
    /// Documents of exactly that time that were there already.
    passed: HashSet<Arc<str>>,
    /// Documents so far.
    seen: u64,
}

impl Stream {
    /// Whether the document is new; notes where the stream is.
    fn admits(&mut self, document: &RememberedDocument) -> bool {
        if document.timestamp_ms > self.since_ms {
            self.since_ms = document.timestamp_ms;
            self.passed.clear();
        }
        let fresh = self.passed.insert(Arc::clone(&document.id));
        self.seen += u64::from(fresh);
        fresh
    }
}

impl Reindex<'_> {
    /// Compares everything once, and mends what differs.
    async fn pass(&mut self) -> Result<(), JobFailure> {
        let counts = self.documents.counts().await?;
        let total = (counts.stored + counts.duplicates).max(1);
        self.index.begin().await?;
        (self.report.same, self.report.overtaken) = (0, 0);
        self.report.passes += 1;
        let mut stream = Stream { since_ms: i64::MIN, passed: HashSet::new(), seen: 0 };
        loop {
            let batch: Arc<[RememberedDocument]> = self.batch(&mut stream).await?.into();
            let ended = batch.len() < BATCH;
            let confirmed = self.index.confirm(Arc::clone(&batch)).await?;
            for (document, confirmed) in batch.iter().zip(confirmed) {
                self.ctx.check()?;
                match (&document.vector, confirmed) {
                    (None, _) => {}
                    (Some(_), true) => self.report.same += 1,
                    (Some(vector), false) => self.mend(document, vector).await?,
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            let share = stream.seen as f64 / total as f64;
            self.ctx.progress(share.min(1.0) * 0.95, format!("{} of {total} documents compared", stream.seen));
            if ended {
                break;
            }
        }
        for id in self.index.unconfirmed().await? {
            self.ctx.check()?;
            self.clear(&id).await?;
        }
        Ok(())
    }

    /// The next documents of the store, without their texts; fewer than [`BATCH`] only at its end.
    async fn batch(&self, stream: &mut Stream) -> Result<Vec<RememberedDocument>, JobFailure> {
        let full = CancellationToken::new();
        let mut batch: Vec<RememberedDocument> = Vec::new();
        let since_ms = stream.since_ms;
        let visit = Box::new(|document: RememberedDocument| {
            if batch.len() < BATCH && stream.admits(&document) {
                batch.push(RememberedDocument { text: String::new(), title: None, ..document });
            }
            if batch.len() == BATCH {
                full.cancel();
            }
        });
        tokio::select! {
            biased;
            () = self.ctx.stopping() => return Err(JobFailure::Stopped),
            () = full.cancelled() => {}
            done = self.documents.remember(since_ms, visit) => done?,
        }
        Ok(batch)
    }

    /// Puts a vector into the index, if the store still has it so.
    async fn mend(&mut self, document: &RememberedDocument, vector: &Arc<[f32]>) -> Result<(), JobFailure> {
        let id = &document.id;
        if !self.stands(id, &document.origin).await? {
            self.report.overtaken += 1;
            return Ok(());
        }
        if self.index.confirm(Arc::from([document.clone()])).await? == [true] {
            self.report.same += 1; // its writer was just about to
            return Ok(());
        }
        self.report.missing += 1;
        if self.report.missing_ids.len() < NAMED {
            self.report.missing_ids.push(Arc::clone(id));
        }
        if self.report.dry_run {
            return Ok(());
        }
        let entry = VectorEntry {
            id: Arc::clone(id),
            vector: Arc::clone(vector),
            timestamp_ms: document.timestamp_ms,
            source: Arc::clone(&document.source),
            symbols: document.symbols.clone().into(),
        };
        self.vectors.upsert(vec![entry]).await?;
        self.report.overtaken += u64::from(!self.stands(id, &document.origin).await?);
        Ok(())
    }

    /// Takes a vector out of the index, if the store has none.
    async fn clear(&mut self, id: &Arc<str>) -> Result<(), JobFailure> {
        if self.is_stored(id).await? {
            // a vector that differs and was left so by a dry run is counted already
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
        self.vectors.remove(vec![Arc::clone(id)]).await?;
        self.report.overtaken += u64::from(self.is_stored(id).await?);
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
