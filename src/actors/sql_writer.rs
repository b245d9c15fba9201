//! Makes verdicts durable: one transaction per batch, in order.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use chrono::Utc;

use crate::config::dedup::DedupConfig;
use crate::messages::analysis::{Analysis, EmbeddingInfo, VerdictLabel};
use crate::messages::pipeline::{Judged, Sighting, Stage};
use crate::messages::sealed::SealedAnalysis;
use crate::stores::documents::{DeliveryOutcome, DeliveryRow, DocumentStore, StoredDocument, VerdictRow, WriteOutcome};
use crate::stores::vectors::VectorIndex;
use crate::supervisors::{Actor, Context, Fault, Mailbox, SendError};
use crate::text::entities::symbols;
use crate::text::fingerprint::content_hash;

use super::deduplicator::store_fault;
use super::originals::{Decision, Original, look_up, return_later, until_settled};
use super::shared::Recall;
use super::timing::stamp;

/// A durable verdict on its way to the index and the `analyses` topic.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// As it was judged.
    pub judged: Judged,
    /// As it is stored.
    pub analysis: SealedAnalysis,
}

/// Writes documents with their analyses and vectors.
pub struct SqlWriter {
    /// The store.
    pub documents: Arc<dyn DocumentStore>,
    /// The index, told before the verdicts are durable that it is about to fall behind them.
    pub vectors: Arc<dyn VectorIndex>,
    /// Which encoder made the vectors.
    pub embedding: EmbeddingInfo,
    /// Outlives restarts.
    pub recall: Recall,
    /// How long a copy waits for an original that another daemon has.
    pub dedup: Arc<ArcSwap<DedupConfig>>,
    /// Its own mailbox, which documents that waited come back to.
    pub itself: Mailbox<Judged>,
    /// Downstream.
    pub vector_writer: Mailbox<Verdict>,
}

impl Actor for SqlWriter {
    type Message = Judged;

    async fn handle(&mut self, batch: Vec<Judged>, ctx: &Context<Judged>) -> Result<(), Fault> {
        let mut rows = Vec::with_capacity(batch.len());
        let mut repeated = Vec::new();
        for judged in &batch {
            match &judged.sighting {
                Sighting::Same => repeated.push(judged),
                Sighting::Fresh | Sighting::Copy(_) => rows.push(self.row(judged)),
            }
        }
        let analyses: Vec<SealedAnalysis> = rows.iter().map(|row| row.analysis.clone()).collect();
        let outcomes = if rows.is_empty() {
            Vec::new()
        } else {
            self.vectors.expect_changes().map_err(store_fault)?;
            ctx.protect(self.documents.write(rows)).await.map_err(store_fault)?
        };
        let stored = if repeated.is_empty() { Vec::new() } else { self.repeated(&repeated, ctx).await? };
        self.settle_and_send(batch, (analyses, outcomes), &stored, ctx).await
    }
}

impl SqlWriter {
    /// The rows of documents that came again, and word of the records that brought them.
    async fn repeated(&self, repeated: &[&Judged], ctx: &Context<Judged>) -> Result<Vec<StoredDocument>, Fault> {
        let ids: Vec<Arc<str>> = repeated.iter().map(|judged| Arc::clone(&judged.document.id)).collect();
        let stored = ctx.protect(self.documents.get_many(&ids)).await.map_err(store_fault)?;
        // a record delivered again after its verdict became durable is no repeat of itself
        let again = repeated.iter().filter(|judged| {
            same_document(&stored, judged).is_some_and(|known| known.analysis.origin != *judged.delivery.position())
        });
        let deliveries: Vec<DeliveryRow> = again
            .map(|judged| DeliveryRow {
                origin: judged.delivery.position().clone(),
                document_id: Arc::clone(&judged.document.id),
                correlation_id: judged.delivery.correlation_id().clone(),
                outcome: DeliveryOutcome::Repeated,
                processed_at: Utc::now(),
            })
            .collect();
        if !deliveries.is_empty() {
            ctx.protect(self.documents.note_deliveries(deliveries)).await.map_err(store_fault)?;
        }
        Ok(stored)
    }

    fn row(&self, judged: &Judged) -> VerdictRow {
        VerdictRow {
            analysis: self.analysis(judged).into(),
            vector: match judged.sighting {
                Sighting::Fresh => judged.encoded.as_ref().map(|encoded| Arc::clone(&encoded.vector)),
                Sighting::Same | Sighting::Copy(_) => None,
            },
            content_hash: judged.content_hash,
            timestamp_ms: judged.delivery.record().timestamp_ms,
            document: Arc::clone(&judged.document),
        }
    }

    fn analysis(&self, judged: &Judged) -> Analysis {
        let document = &judged.document;
        let copy = match &judged.sighting {
            Sighting::Copy(copy) => Some(copy),
            Sighting::Fresh | Sighting::Same => None,
        };
        let opinion = judged.opinion.as_ref();
        let entities = opinion.map(|opinion| opinion.entities.clone()).unwrap_or_default();
        let mut timings = judged.timings;
        stamp(&mut timings, Stage::Sql, &judged.delivery, Instant::now());
        Analysis {
            document_id: Arc::clone(&document.id),
            correlation_id: judged.delivery.correlation_id().clone(),
            source: Arc::clone(&document.source),
            symbols: symbols(document, &entities),
            verdict: if copy.is_some() { VerdictLabel::Duplicate } else { VerdictLabel::Stored },
            duplicate_of: copy.map(|copy| Arc::clone(&copy.of)),
            rule: copy.map(|copy| copy.rule),
            similarity: copy.map(|copy| copy.similarity),
            sentiment: opinion.map(|opinion| opinion.sentiment.clone()),
            category: opinion.map(|opinion| opinion.category.clone()),
            entities,
            embedding: judged.encoded.as_ref().map(|_| self.embedding.clone()),
            published_at: document.published_at,
            processed_at: Utc::now(),
            timings_ms: timings.iter().map(|(stage, elapsed)| (stage.name().into(), elapsed)).collect(),
            origin: judged.delivery.position().clone(),
        }
    }

    /// Marks what is durable in the memory and sends it on, in order.
    async fn settle_and_send(
        &self,
        batch: Vec<Judged>,
        (made, outcomes): (Vec<SealedAnalysis>, Vec<WriteOutcome>),
        stored: &[StoredDocument],
        ctx: &Context<Judged>,
    ) -> Result<(), Fault> {
        let mut written = made.into_iter().zip(outcomes);
        let mut ready = Vec::with_capacity(batch.len());
        for judged in batch {
            let analysis = match judged.sighting {
                Sighting::Fresh | Sighting::Copy(_) => match written.next() {
                    Some((analysis, WriteOutcome::Written)) => Some(analysis),
                    Some((mut analysis, WriteOutcome::Rerooted(root))) => {
                        analysis.duplicate_of = Some(root);
                        Some(analysis)
                    }
                    Some((_, WriteOutcome::AlreadyDead)) => {
                        ctx.forward(&self.vector_writer, std::mem::take(&mut ready)).await?;
                        self.already_dead(&judged).await;
                        ctx.done(1);
                        continue;
                    }
                    Some((_, WriteOutcome::OriginalMissing)) | None => None,
                },
                Sighting::Same => same_document(stored, &judged).map(|known| known.analysis.clone().into()),
            };
            if let Some(analysis) = analysis {
                let origin = judged.delivery.position();
                self.recall.claims.settle(&analysis.document_id, origin, analysis.duplicate_of.as_ref());
                self.recall.waiting.ended(origin);
                ready.push(Verdict { judged, analysis });
            } else {
                ctx.forward(&self.vector_writer, std::mem::take(&mut ready)).await?;
                self.wait_or_reconsider(judged).await;
                ctx.done(1);
            }
        }
        ctx.forward(&self.vector_writer, ready).await
    }

    /// The record was dead-lettered before, by a process that ended before it could commit: that verdict stands.
    async fn already_dead(&self, judged: &Judged) {
        self.recall.waiting.ended(judged.delivery.position());
        self.recall.withdraw(&judged.document.id, judged.delivery.position()).await;
        judged.delivery.complete();
    }

    /// What it copies may be on its way at another daemon: then it comes back here once that has arrived. It waits
    /// outside the mailbox, so that nobody else does; if this process ends, its source has it still.
    async fn wait_or_reconsider(&self, judged: Judged) {
        let original = match &judged.sighting {
            Sighting::Copy(copy) => Arc::clone(&copy.of),
            Sighting::Same | Sighting::Fresh => Arc::clone(&judged.document.id),
        };
        let bound = self.dedup.load().original_wait();
        let decision = self.recall.waiting.decide(&*self.recall.claims, &original, judged.delivery.position(), bound);
        if decision == Decision::Reconsider {
            return self.reconsider(judged).await;
        }
        let (recall, itself) = (self.recall.clone(), self.itself.clone());
        tokio::spawn(async move {
            until_settled(Arc::clone(&recall.claims), original, bound).await;
            if let Err(SendError(judged)) = itself.send(judged).await {
                recall.waiting.ended(judged.delivery.position());
            }
        });
    }

    /// The document it copies ended in the dead letters after this one was judged: forget both and let the record go
    /// back to its source, which delivers it again as if it were the first. Where daemons share the index the original
    /// may be on its way in another one: then nothing is forgotten of it, and the record goes back after a moment.
    async fn reconsider(&self, judged: Judged) {
        let on_its_way = match &judged.sighting {
            Sighting::Copy(copy) => match look_up(&*self.vectors, &*self.documents, &copy.of).await {
                Original::Gone => {
                    self.recall.claims.expel(&copy.of);
                    if let Err(error) = self.vectors.remove(vec![Arc::clone(&copy.of)]).await {
                        tracing::warn!(%error, document = %copy.of, "vector of a missing document stays in the index");
                    }
                    false
                }
                Original::OnItsWay => true,
            },
            Sighting::Same => {
                self.recall.claims.expel(&judged.document.id);
                false
            }
            Sighting::Fresh => false,
        };
        self.recall.withdraw(&judged.document.id, judged.delivery.position()).await;
        tracing::info!(
            document_id = %judged.document.id,
            correlation_id = %judged.delivery.correlation_id(),
            on_its_way,
            "original is not stored, document is judged again"
        );
        if on_its_way {
            return_later(judged);
        }
    }
}

/// The row of the same document: with the same content, or with that of a later record, its revision.
fn same_document<'a>(stored: &'a [StoredDocument], judged: &Judged) -> Option<&'a StoredDocument> {
    stored.iter().find(|known| {
        known.document.id == judged.document.id
            && (judged.delivery.position().is_before(&known.analysis.origin)
                || content_hash(&known.document) == judged.content_hash)
    })
}
