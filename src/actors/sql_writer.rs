//! Makes verdicts durable: one transaction per batch, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;

use crate::messages::analysis::{Analysis, EmbeddingInfo, VerdictLabel};
use crate::messages::pipeline::{Judged, Sighting};
use crate::stores::documents::{DocumentStore, StoredDocument, VerdictRow, WriteOutcome};
use crate::stores::vectors::VectorIndex;
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::text::entities::symbols;
use crate::text::fingerprint::content_hash;

use super::deduplicator::store_fault;
use super::original::{self, Original};
use super::shared::Recall;
use super::timing::stamp;

/// A durable verdict on its way to the index and the `analyses` topic.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// As it was judged.
    pub judged: Judged,
    /// As it is stored.
    pub analysis: Arc<Analysis>,
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
                Sighting::Same => repeated.push(Arc::clone(&judged.document.id)),
                Sighting::Fresh | Sighting::Copy(_) => rows.push(self.row(judged)),
            }
        }
        let analyses: Vec<Arc<Analysis>> = rows.iter().map(|row| Arc::new(row.analysis.clone())).collect();
        let outcomes = if rows.is_empty() {
            Vec::new()
        } else {
            self.vectors.expect_changes().map_err(store_fault)?;
            ctx.protect(self.documents.write(rows)).await.map_err(store_fault)?
        };
        let stored = if repeated.is_empty() {
            Vec::new()
        } else {
            ctx.protect(self.documents.get_many(&repeated)).await.map_err(store_fault)?
        };
        self.settle_and_send(batch, (analyses, outcomes), &stored, ctx).await
    }
}

impl SqlWriter {
    fn row(&self, judged: &Judged) -> VerdictRow {
        VerdictRow {
            analysis: self.analysis(judged),
            vector: match judged.sighting {
                Sighting::Fresh => judged.encoded.as_ref().map(|encoded| Arc::clone(&encoded.vector)),
                Sighting::Same | Sighting::Copy(_) => None,
            },
            content_hash: content_hash(&judged.document),
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
        let mut timings = judged.timings.clone();
        stamp(&mut timings, "sql", &judged.delivery);
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
            timings_ms: timings
                .into_iter()
                .map(|(stage, elapsed)| (stage.to_owned(), elapsed))
                .collect::<BTreeMap<_, _>>(),
            origin: judged.delivery.position().clone(),
        }
    }

    /// Marks what is durable in the memory and sends it on, in order.
    async fn settle_and_send(
        &self,
        batch: Vec<Judged>,
        (made, outcomes): (Vec<Arc<Analysis>>, Vec<WriteOutcome>),
        stored: &[StoredDocument],
        ctx: &Context<Judged>,
    ) -> Result<(), Fault> {
        let mut written = made.into_iter().zip(outcomes);
        for judged in batch {
            let analysis = match judged.sighting {
                Sighting::Fresh | Sighting::Copy(_) => match written.next() {
                    Some((analysis, WriteOutcome::Written)) => Some(analysis),
                    Some((analysis, WriteOutcome::Rerooted(root))) => {
                        Some(Arc::new(Analysis { duplicate_of: Some(root), ..(*analysis).clone() }))
                    }
                    Some((_, WriteOutcome::AlreadyDead)) => {
                        self.already_dead(&judged).await;
                        ctx.done(1);
                        continue;
                    }
                    Some((_, WriteOutcome::OriginalMissing)) | None => None,
                },
                Sighting::Same => stored
                    .iter()
                    .find(|earlier| {
                        earlier.document.id == judged.document.id
                            && content_hash(&earlier.document) == content_hash(&judged.document)
                    })
                    .map(|earlier| Arc::new(earlier.analysis.clone())),
            };
            match analysis {
                Some(analysis) => {
                    self.recall.memory.lock().settle(
                        &analysis.document_id,
                        judged.delivery.position(),
                        analysis.duplicate_of.as_ref(),
                    );
                    ctx.send(&self.vector_writer, Verdict { judged, analysis }).await?;
                }
                None => self.reconsider(judged).await,
            }
            ctx.done(1);
        }
        Ok(())
    }

    /// The record was dead-lettered before, by a process that ended before it could commit: that verdict stands.
    async fn already_dead(&self, judged: &Judged) {
        self.recall.withdraw(&judged.document.id, judged.delivery.position()).await;
        judged.delivery.complete();
    }

    /// The document it copies ended in the dead letters after this one was judged: forget both and let the record go
    /// back to its source, which delivers it again as if it were the first. Where daemons share the index the original
    /// may be on its way in another one: then nothing is forgotten of it, and the record goes back after a moment.
    async fn reconsider(&self, judged: Judged) {
        let on_its_way = match &judged.sighting {
            Sighting::Copy(copy) => match original::lookup(&*self.vectors, &*self.documents, &copy.of).await {
                Original::Gone => {
                    self.recall.memory.lock().expel(&copy.of);
                    if let Err(error) = self.vectors.remove(vec![Arc::clone(&copy.of)]).await {
                        tracing::warn!(%error, document = %copy.of, "vector of a missing document stays in the index");
                    }
                    false
                }
                Original::OnItsWay => true,
            },
            Sighting::Same => {
                self.recall.memory.lock().expel(&judged.document.id);
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
            original::return_later(judged);
        }
    }
}
