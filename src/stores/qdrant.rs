//! Vectors in Qdrant, shared by all daemons of an installation.
//!
//! A stored vector is a point named by the `UUIDv5` of its document's id. A claim (see [`super::shared_vectors`]) is a point
//! of its own, so that an earlier revision's vector stays until the new verdict is durable. Every write waits until it is
//! applied, so that the next search finds it. Similarities are computed by Qdrant from the full 32-bit values.
//!
//! Until the collection was checked against encoder and documents, every call fails as unavailable: see [`keeper`].

mod claims;
mod collection;
mod connection;
pub mod graphs;
mod keeper;
mod points;
mod reconcile;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use qdrant_client::qdrant::{
    CountPoints, DeletePoints, FieldType, PayloadSchemaType, PointStruct, QueryBatchPoints, QueryPoints,
    ReadConsistency, ScoredPoint, SearchParams, UpsertPoints,
};
use uuid::Uuid;

use self::connection::{CallError, Connection};
use self::keeper::Keeper;
use self::points::{State, Statement};
use super::documents::{DocumentStore, StoreError};
use super::shared_vectors::SharedVectors;
use super::vectors::{Neighbor, Reconcile, VectorEntry, VectorIndex, VectorQuery};
use crate::config::qdrant::QdrantConfig;
use crate::messages::analysis::EmbeddingInfo;

pub use self::collection::CollectionError;
pub use self::points::{claim_point_id, point_id};

/// Searched for beyond `k`, so that equal similarities can be ordered by time and id.
const SPARE: usize = 8;
/// How far below the least similarity the server is asked: it may compare roughly before it compares exactly.
const MARGIN: f32 = 1e-4;
/// Queries of one request.
const QUERY_BATCH: usize = 64;
/// A vector as long as this or shorter can't be normalised.
const MIN_NORM: f32 = 1e-6;

/// Why Qdrant can't be used.
#[derive(Debug, thiserror::Error)]
pub enum QdrantOpenError {
    /// It is away, or refuses the key.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The settings don't fit it.
    #[error(transparent)]
    Collection(#[from] CollectionError),
}

/// The index. Cheap to clone.
#[derive(Clone)]
pub struct QdrantIndex {
    shared: Arc<Shared>,
    /// Ends its task with the last clone.
    _keeper: Arc<Keeper>,
}

/// What calls and keeper share.
struct Shared {
    connection: Connection,
    config: QdrantConfig,
    embedding: EmbeddingInfo,
    /// Payload fields that filters ask for.
    indexes: &'static [(&'static str, FieldType, PayloadSchemaType)],
    /// Whether the collection is known to fit encoder and documents.
    ready: AtomicBool,
    /// Why it is not, for health and errors.
    reason: Mutex<String>,
    /// Stored vectors, as last counted.
    count: AtomicUsize,
    /// Stored points that the comparison under way did not find in the store of documents yet.
    unconfirmed: Mutex<HashSet<Uuid>>,
    /// Wakes the keeper.
    wake: tokio::sync::Notify,
}

impl QdrantIndex {
    /// Opens the index for vectors of this encoder; `documents` is the truth it is compared with. A server that is away
    /// is waited for in the background: calls fail as unavailable meanwhile.
    ///
    /// # Errors
    /// If the server answers and refuses the key, or its collection does not fit.
    pub async fn open(
        config: &QdrantConfig,
        embedding: &EmbeddingInfo,
        documents: Arc<dyn DocumentStore>,
    ) -> Result<Self, QdrantOpenError> {
        let shared = Arc::new(Shared {
            connection: Connection::new(config)?,
            config: config.clone(),
            embedding: embedding.clone(),
            indexes: &collection::INDEXES,
            ready: AtomicBool::new(false),
            reason: Mutex::new("the collection was not checked yet".to_owned()),
            count: AtomicUsize::new(0),
            unconfirmed: Mutex::default(),
            wake: tokio::sync::Notify::new(),
        });
        match shared.ensure_collection().await {
            Ok(()) => {}
            Err(error) if error.may_pass() => {
                let error = error.to_string();
                tracing::warn!(%error, url = %config.url, "qdrant is not available, documents wait for it");
                *shared.reason.lock() = error;
            }
            Err(error) => return Err(error),
        }
        let keeper = Keeper::start(Arc::clone(&shared), documents);
        Ok(Self { shared, _keeper: Arc::new(keeper) })
    }

    /// Asks the server and checks the collection, where there is one; changes nothing. What it is, in words.
    ///
    /// # Errors
    /// Why it can't be used.
    pub async fn probe(config: &QdrantConfig, embedding: &EmbeddingInfo) -> Result<String, QdrantOpenError> {
        let connection = Connection::new(config)?;
        let version = connection.version().await.map_err(StoreError::from)?;
        let found = collection::verify(&connection, config, embedding).await?;
        let about = if found { "fits" } else { "will be created" };
        Ok(format!("qdrant {version} answers, collection {} {about}", config.collection))
    }

    /// Stored vectors of this encoder in the collection.
    ///
    /// # Errors
    /// If the server does not answer or has no such collection.
    pub async fn count(config: &QdrantConfig, model: &str) -> Result<u64, StoreError> {
        let connection = Connection::new(config)?;
        let answer = connection.ask("count", |client| {
            let request = count_request(config, model);
            async move { client.count(request).await }.boxed()
        });
        Ok(answer.await?.result.map_or(0, |result| result.count))
    }

    /// Waits until the collection was compared with the documents; false if that takes longer.
    pub async fn wait_until_ready(&self, timeout: std::time::Duration) -> bool {
        let ready = async {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
            while !self.shared.ready.load(Ordering::Acquire) {
                tick.tick().await;
            }
        };
        tokio::time::timeout(timeout, ready).await.is_ok()
    }
}

impl QdrantOpenError {
    /// Whether the same may succeed later without a change of settings.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retriable(),
            Self::Collection(_) => false,
        }
    }
}

impl Shared {
    /// Fails until the keeper has done its work.
    fn check_ready(&self) -> Result<(), StoreError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!("qdrant: {}", self.reason.lock())))
    }

    /// A collection that is gone is made again and filled by the keeper.
    fn noticed<T>(&self, result: Result<T, CallError>) -> Result<T, StoreError> {
        if let Err(CallError::Gone(reason)) = &result {
            reason.clone_into(&mut self.reason.lock());
            self.ready.store(false, Ordering::Release);
            self.wake.notify_one();
        }
        Ok(result?)
    }

    /// The vector with length 1, or why it can't be used.
    fn normalised(&self, vector: &[f32]) -> Result<Vec<f32>, String> {
        let wanted = self.embedding.dimension;
        if vector.len() != wanted {
            return Err(format!("the vector has {} values, the collection {wanted}", vector.len()));
        }
        if !vector.iter().all(|value| value.is_finite()) {
            return Err("the vector has a value that is not finite".to_owned());
        }
        let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !norm.is_finite() || norm <= MIN_NORM {
            return Err(format!("the vector has length {norm}"));
        }
        Ok(if (norm - 1.0).abs() <= 1e-5 { vector.to_vec() } else { vector.iter().map(|it| it / norm).collect() })
    }

    /// Writes points in batches, each applied when this resolves.
    async fn upsert_points(&self, operation: &'static str, points: Vec<PointStruct>) -> Result<(), StoreError> {
        for batch in points.chunks(self.config.batch_points) {
            let request = UpsertPoints {
                collection_name: self.config.collection.clone(),
                wait: Some(true),
                points: batch.to_vec(),
                ..UpsertPoints::default()
            };
            let written = self.connection.update(operation, move |client| {
                let request = request.clone();
                async move { client.upsert_points(request).await }.boxed()
            });
            self.noticed(written.await)?;
            let mut unconfirmed = self.unconfirmed.lock();
            for id in batch.iter().filter_map(|point| points::uuid(point.id.as_ref()?)) {
                unconfirmed.remove(&id);
            }
        }
        Ok(())
    }

    async fn delete_points(&self, operation: &'static str, points: Statement) -> Result<(), StoreError> {
        let request = DeletePoints {
            collection_name: self.config.collection.clone(),
            wait: Some(true),
            points: Some(points.selector()),
            ..DeletePoints::default()
        };
        let deleted = self.connection.update(operation, move |client| {
            let request = request.clone();
            async move { client.delete_points(request).await }.boxed()
        });
        self.noticed(deleted.await)
    }

    /// Asks all queries with their statements, in requests of a bounded size.
    async fn query(
        &self,
        operation: &'static str,
        queries: &[(VectorQuery, Statement)],
    ) -> Result<Vec<Vec<ScoredPoint>>, StoreError> {
        let mut found = Vec::with_capacity(queries.len());
        for part in queries.chunks(QUERY_BATCH) {
            let asked: Result<Vec<QueryPoints>, StoreError> =
                part.iter().map(|(query, statement)| self.query_points(query, statement)).collect();
            let request = QueryBatchPoints {
                collection_name: self.config.collection.clone(),
                query_points: asked?,
                read_consistency: self.read_consistency(),
                timeout: None,
            };
            let answer = self.connection.ask(operation, move |client| {
                let request = request.clone();
                async move { client.query_batch(request).await }.boxed()
            });
            let answer = self.noticed(answer.await).map_err(|error| match error {
                StoreError::Refused(reason) => StoreError::InvalidQuery(reason),
                other => other,
            })?;
            if answer.result.len() != part.len() {
                return Err(StoreError::Unavailable("qdrant answered another number of queries".to_owned()));
            }
            found.extend(answer.result.into_iter().map(|batch| batch.result));
        }
        Ok(found)
    }

    fn query_points(&self, query: &VectorQuery, statement: &Statement) -> Result<QueryPoints, StoreError> {
        let vector = self.normalised(&query.vector).map_err(StoreError::InvalidQuery)?;
        Ok(QueryPoints {
            collection_name: self.config.collection.clone(),
            query: Some(points::nearest_to(vector)),
            filter: Some(statement.filter()),
            params: Some(SearchParams {
                hnsw_ef: Some(u64::from(self.config.hnsw_ef)),
                exact: Some(self.config.exact),
                quantization: Some(points::full_values()),
                ..SearchParams::default()
            }),
            score_threshold: query.filter.min_similarity.map(|least| least - MARGIN),
            limit: Some((query.k + SPARE) as u64),
            with_payload: Some(points::wanted_payload()),
            ..QueryPoints::default()
        })
    }

    /// With replicas a majority is asked, so that what a majority has written is seen.
    fn read_consistency(&self) -> Option<ReadConsistency> {
        (self.config.replication > 1).then(points::majority)
    }

    /// Stored vectors of this encoder, exactly.
    async fn count_stored(&self) -> Result<u64, StoreError> {
        let request = count_request(&self.config, &self.embedding.model);
        let answer = self.connection.ask("count", move |client| {
            let request = request.clone();
            async move { client.count(request).await }.boxed()
        });
        let count = self.noticed(answer.await)?.result.map_or(0, |result| result.count);
        self.count.store(usize::try_from(count).unwrap_or(usize::MAX), Ordering::Relaxed);
        Ok(count)
    }
}

/// Asks for the number of stored vectors of an encoder.
fn count_request(config: &QdrantConfig, model: &str) -> CountPoints {
    CountPoints {
        collection_name: config.collection.clone(),
        filter: Some(Statement::of(model).state(State::Stored).filter()),
        exact: Some(true),
        ..CountPoints::default()
    }
}

/// The best that were asked for, ordered as every index orders them.
#[expect(clippy::needless_pass_by_value, reason = "an answer that is read once")]
fn ordered(points: Vec<ScoredPoint>, query: &VectorQuery) -> Vec<Neighbor> {
    let enough = |found: &Neighbor| query.filter.min_similarity.is_none_or(|least| found.similarity >= least);
    let mut neighbors: Vec<Neighbor> = points.iter().filter_map(points::neighbor).filter(enough).collect();
    neighbors.sort_by(|one, two| {
        let similarity = two.similarity.total_cmp(&one.similarity);
        similarity.then_with(|| one.timestamp_ms.cmp(&two.timestamp_ms)).then_with(|| one.id.cmp(&two.id))
    });
    neighbors.truncate(query.k);
    neighbors
}

impl VectorIndex for QdrantIndex {
    fn upsert(&self, entries: Vec<VectorEntry>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.shared.check_ready()?;
            let points: Result<Vec<PointStruct>, StoreError> =
                entries.iter().map(|entry| self.shared.stored_point(entry, None)).collect();
            self.shared.upsert_points("upsert", points?).await
        }
        .boxed()
    }

    fn remove(&self, ids: Vec<Arc<str>>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.shared.check_ready()?;
            let ids = ids.iter().map(|id| point_id(id));
            self.shared.delete_points("remove", Statement::of(&self.shared.embedding.model).ids(ids)).await
        }
        .boxed()
    }

    fn nearest_many(&self, queries: Vec<VectorQuery>) -> BoxFuture<'_, Result<Vec<Vec<Neighbor>>, StoreError>> {
        async move {
            let model = &self.shared.embedding.model;
            let stated: Vec<(VectorQuery, Statement)> = queries
                .into_iter()
                .map(|query| {
                    let statement = Statement::of(model).state(State::Stored).filtered(&query.filter);
                    (query, statement)
                })
                .collect();
            self.shared.check_ready()?;
            let found = self.shared.query("nearest", &stated).await?;
            Ok(found.into_iter().zip(&stated).map(|(points, (query, _))| ordered(points, query)).collect())
        }
        .boxed()
    }

    fn reconcile(&self) -> Option<&dyn Reconcile> {
        Some(self)
    }

    fn len(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    fn check(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        async move {
            self.shared.check_ready()?;
            let counted = tokio::time::timeout(connection::CHECK_TIMEOUT, self.shared.count_stored()).await;
            let count = counted.unwrap_or_else(|_| {
                let seconds = connection::CHECK_TIMEOUT.as_secs();
                Err(StoreError::Unavailable(format!(
                    "qdrant at {} did not answer in {seconds} s",
                    self.shared.config.url
                )))
            })?;
            Ok(format!("{count} vectors in qdrant collection {}", self.shared.config.collection))
        }
        .boxed()
    }

    fn shared(&self) -> Option<&dyn SharedVectors> {
        Some(self)
    }
}
