//! The task that makes the collection equal to the documents before anybody uses it: at the start, after Qdrant was away
//! at the start, and after the collection was deleted under a running daemon.
//!
//! Other daemons go on meanwhile. Vectors that are missing are inserted, unless another daemon was faster; points without
//! a stored document go, if a second look at the store says so too. Claims stay, except those whose document is dead.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use futures_util::FutureExt as _;
use qdrant_client::qdrant::{PointId, RetrievedPoint, ScrollPoints, UpdateMode, UpsertPoints, WithPayloadSelector};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::claims::claim_of;
use super::points::{self, DOCUMENT_ID, State, Statement, claim_point_id, point_id};
use super::{QdrantOpenError, Shared};
use crate::messages::analysis::VerdictLabel;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::stores::documents::{DocumentStore, RememberedDocument, StoreError};
use crate::stores::vectors::VectorEntry;

/// First and longest wait before another attempt.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Points of one page of a scroll.
const PAGE: u32 = 1000;
/// Chunks of missing vectors on their way from the store to Qdrant.
const CHUNKS: usize = 4;

/// The task; it ends when this is dropped.
pub(super) struct Keeper(JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Keeper {
    /// Starts it.
    pub(super) fn start(shared: Arc<Shared>, documents: Arc<dyn DocumentStore>) -> Self {
        Self(tokio::spawn(async move {
            let mut bound = RETRY.0;
            loop {
                if shared.ready.load(Ordering::Acquire) {
                    shared.wake.notified().await;
                    bound = RETRY.0;
                    continue;
                }
                if let Err(error) = shared.prepare(&documents).await {
                    shared.tell(&error);
                    tokio::time::sleep(bound.mul_f64(fastrand::f64())).await;
                    bound = (bound * 2).min(RETRY.1);
                }
            }
        }))
    }
}

/// What was different.
#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    inserted: usize,
    removed: usize,
    claims_ended: usize,
}

impl Shared {
    /// Notes why the collection can't be used, and logs it where it is news.
    fn tell(&self, error: &QdrantOpenError) {
        let error = error.to_string();
        let mut reason = self.reason.lock();
        if *reason != error {
            tracing::warn!(%error, "qdrant can't be used yet, documents wait for it");
            *reason = error;
        }
    }

    /// Makes the collection ready to use.
    async fn prepare(&self, documents: &Arc<dyn DocumentStore>) -> Result<(), QdrantOpenError> {
        self.ensure_collection().await?;
        let stored = documents.counts().await?.stored;
        let points = self.count_stored().await?;
        if points != stored {
            "the vectors are being compared with the documents".clone_into(&mut self.reason.lock());
            let done = self.compare(documents).await?;
            let points = self.count_stored().await?;
            tracing::info!(
                documents = stored,
                points,
                inserted = done.inserted,
                removed = done.removed,
                claims_ended = done.claims_ended,
                "qdrant collection compared with the documents"
            );
        }
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    async fn compare(&self, documents: &Arc<dyn DocumentStore>) -> Result<Compared, QdrantOpenError> {
        let mut done = Compared::default();
        let mut left = HashSet::new();
        let mut claims = Vec::new();
        let mut offset = None;
        loop {
            let (points, next) =
                self.page(Statement::of(&self.embedding.model), points::wanted_payload(), offset).await?;
            for point in &points {
                if points::is_claim(&point.payload) {
                    claims.extend(claim_of(&point.payload));
                } else {
                    left.extend(point.id.as_ref().and_then(points::uuid));
                }
            }
            offset = next;
            if offset.is_none() {
                break;
            }
        }
        done.inserted = self.insert_missing(documents, &mut left).await?;
        done.removed = self.remove_strangers(documents, left).await?;
        let mut dead = Vec::new();
        for (id, claimant) in claims {
            let origin = &claimant.origin;
            let letter = StoredDeadLetter::id_of(&origin.topic, origin.partition, origin.offset);
            if documents.dead_letter(&letter).await?.is_some() {
                dead.push(claim_point_id(&id));
            }
        }
        done.claims_ended = dead.len();
        if !dead.is_empty() {
            self.delete_points("unclaim", Statement::all().ids(dead)).await?;
        }
        Ok(done)
    }

    /// A page of the points that are meant, and where the next begins.
    pub(super) async fn page(
        &self,
        statement: Statement,
        payload: WithPayloadSelector,
        offset: Option<PointId>,
    ) -> Result<(Vec<RetrievedPoint>, Option<PointId>), StoreError> {
        let request = ScrollPoints {
            collection_name: self.config.collection.clone(),
            filter: Some(statement.filter()),
            offset,
            limit: Some(PAGE),
            with_payload: Some(payload),
            ..ScrollPoints::default()
        };
        let answer = self.connection.ask("scroll", |client| {
            let request = request.clone();
            async move { client.scroll(request).await }.boxed()
        });
        let answer = self.noticed(answer.await)?;
        Ok((answer.result, answer.next_page_offset))
    }

    /// Inserts what the store has and `points` lacks; what is left in `points` afterwards the store does not know.
    async fn insert_missing(
        &self,
        documents: &Arc<dyn DocumentStore>,
        points: &mut HashSet<Uuid>,
    ) -> Result<usize, StoreError> {
        let (sender, receiver) = sync_channel(CHUNKS);
        let known = std::mem::take(points);
        let reader = Arc::clone(documents);
        let chunk = self.config.batch_points;
        let runtime = tokio::runtime::Handle::current();
        // the visit can't wait in an async way, so it has a thread where it may block
        let reading =
            tokio::task::spawn_blocking(move || runtime.block_on(read_missing(&*reader, known, sender, chunk)));
        let inserted = self.insert_received(receiver).await;
        let left =
            reading.await.map_err(|error| StoreError::Unavailable(format!("the store's reader ended: {error}")))?;
        let inserted = inserted?;
        *points = left?;
        Ok(inserted)
    }

    async fn insert_received(&self, receiver: Receiver<Vec<VectorEntry>>) -> Result<usize, StoreError> {
        let receiver = Arc::new(parking_lot::Mutex::new(receiver));
        let mut inserted = 0;
        loop {
            let waits = Arc::clone(&receiver);
            let received = tokio::task::spawn_blocking(move || waits.lock().recv()).await;
            let Ok(Ok(entries)) = received else { return Ok(inserted) };
            let points: Result<Vec<_>, StoreError> =
                entries.iter().map(|entry| self.stored_point(entry, None)).collect();
            let request = UpsertPoints {
                collection_name: self.config.collection.clone(),
                wait: Some(true),
                points: points?,
                update_mode: Some(UpdateMode::InsertOnly.into()),
                ..UpsertPoints::default()
            };
            let written = self.connection.update("rebuild", move |client| {
                let request = request.clone();
                async move { client.upsert_points(request).await }.boxed()
            });
            self.noticed(written.await)?;
            inserted += entries.len();
        }
    }

    /// Removes points whose document is not stored, seen at a second look.
    async fn remove_strangers(
        &self,
        documents: &Arc<dyn DocumentStore>,
        left: HashSet<Uuid>,
    ) -> Result<usize, StoreError> {
        let left: Vec<Uuid> = left.into_iter().collect();
        let mut removed = 0;
        for part in left.chunks(self.config.batch_points) {
            let found = self.get_points(part, points::wanted_payload(), false).await?;
            let ids: Vec<Arc<str>> =
                found.iter().filter_map(|point| points::text(&point.payload, DOCUMENT_ID)).map(Arc::from).collect();
            let stored: HashSet<Uuid> = documents
                .get_many(&ids)
                .await?
                .iter()
                .filter(|stored| stored.analysis.verdict == VerdictLabel::Stored)
                .map(|stored| point_id(&stored.document.id))
                .collect();
            let strangers: Vec<Uuid> = part.iter().copied().filter(|id| !stored.contains(id)).collect();
            removed += strangers.len();
            let statement = Statement::of(&self.embedding.model).state(State::Stored).ids(strangers);
            self.delete_points("rebuild", statement).await?;
        }
        Ok(removed)
    }
}

/// Sends what the store has and `known` lacks, in chunks; what the store does not have of `known`.
async fn read_missing(
    documents: &dyn DocumentStore,
    mut known: HashSet<Uuid>,
    sender: SyncSender<Vec<VectorEntry>>,
    chunk: usize,
) -> Result<HashSet<Uuid>, StoreError> {
    let mut missing = Vec::with_capacity(chunk);
    let mut wanted = true;
    let visit = |document: RememberedDocument| {
        let Some(vector) = document.vector else { return };
        if known.remove(&point_id(&document.id)) || !wanted {
            return;
        }
        missing.push(VectorEntry {
            id: document.id,
            vector,
            timestamp_ms: document.timestamp_ms,
            source: document.source,
            symbols: document.symbols.into(),
        });
        if missing.len() == chunk {
            // who asked may have gone; then nobody wants the rest
            wanted = sender.send(std::mem::replace(&mut missing, Vec::with_capacity(chunk))).is_ok();
        }
    };
    documents.remember(i64::MIN, Box::new(visit)).await?;
    if !missing.is_empty() {
        let _ = sender.send(missing);
    }
    Ok(known)
}
