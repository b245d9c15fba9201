//! Vectors of files in Qdrant, beside the store of graphs that says which training counts.
//!
//! A point carries the training it belongs to. All of a training are there before the store publishes it, and those of
//! the one before are deleted after: whoever asks for the published training finds it whole. Where Qdrant is away, or does
//! not have the file, the store's own vectors answer.

mod mend;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use qdrant_client::qdrant::{
    CountPoints, FieldType, PayloadSchemaType, PointStruct, QueryPoints, ScoredPoint, ScrollPoints, SearchParams, Value,
};
use uuid::Uuid;

use super::Shared;
use super::connection::Connection;
use super::points::{self, MODEL, Payload, Statement, text};
use crate::config::qdrant::QdrantConfig;
use crate::messages::analysis::EmbeddingInfo;
use crate::stores::documents::StoreError;
use crate::stores::graphs::{FileVector, Graph, GraphDrift, GraphStore, NearFile, Similar, Training};

/// What made the vectors, as the collection's metadata and its points say.
const NODE2VEC: &str = "node2vec";
/// The training a point belongs to.
const GRAPH_ID: &str = "graph_id";
/// The repository.
const REPO_URL: &str = "repo_url";
/// Path of the file.
const FILE_PATH: &str = "file_path";
/// Language of the file.
const LANGUAGE: &str = "language";
/// Commit that was read.
const COMMIT: &str = "commit";
/// Files it imports.
const IMPORTS: &str = "imports";
/// Files that import it.
const IMPORTED_BY: &str = "imported_by";
/// Whether it has an edge.
const CONNECTED: &str = "connected";
/// What filters ask for, indexed.
const INDEXES: [(&str, FieldType, PayloadSchemaType); 2] = [
    (GRAPH_ID, FieldType::Keyword, PayloadSchemaType::Keyword),
    (REPO_URL, FieldType::Keyword, PayloadSchemaType::Keyword),
];
/// Name space of the points' ids.
const FILES: Uuid = Uuid::from_u128(0x6f0c_1b7a_4b0e_5d52_8f3e_92a4_5a1d_7c33);
/// Searched for beyond `k`, so that equal similarities can be ordered by path.
const SPARE: usize = 8;

/// A store of graphs with its vectors in Qdrant too.
pub struct QdrantGraphs {
    /// Which training counts; it has the vectors as well.
    store: Arc<dyn GraphStore>,
    config: QdrantConfig,
    collection: String,
    /// Trainings that this process began and has neither published nor dropped, by id.
    begun: Mutex<HashMap<Arc<str>, Graph>>,
    /// The collection for vectors of the dimension it was opened for last.
    opened: Mutex<Option<Arc<Shared>>>,
}

impl QdrantGraphs {
    /// Over a store of graphs. The server is called with the first training.
    #[must_use]
    pub fn new(store: Arc<dyn GraphStore>, config: &QdrantConfig, collection: &str) -> Self {
        let config = QdrantConfig { collection: collection.to_owned(), ..config.clone() };
        Self { store, config, collection: collection.to_owned(), begun: Mutex::default(), opened: Mutex::new(None) }
    }

    /// Vectors of files in the collection; 0 if there is none.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn count(config: &QdrantConfig, collection: &str) -> Result<u64, StoreError> {
        let config = QdrantConfig { collection: collection.to_owned(), ..config.clone() };
        let shared = look(&config, 0)?;
        match shared.count_of(Statement::of(NODE2VEC)).await {
            Err(_) if shared.is_gone() => Ok(0),
            counted => counted,
        }
    }

    /// The collection, made where it is missing.
    async fn open(&self, dimension: u32) -> Result<Arc<Shared>, StoreError> {
        let dimension = dimension as usize;
        let known = self.opened.lock().clone();
        // a collection that was deleted meanwhile is made again
        let fits = |shared: &Arc<Shared>| shared.embedding.dimension == dimension && !shared.is_gone();
        if let Some(shared) = known.filter(fits) {
            return Ok(shared);
        }
        let shared = look(&self.config, dimension)?;
        shared.ensure_collection().await.map_err(|error| match error {
            super::QdrantOpenError::Store(error) => error,
            super::QdrantOpenError::Collection(error) => {
                StoreError::Refused(error.to_string().replace("qdrant.collection", "graph.qdrant_collection"))
            }
        })?;
        *self.opened.lock() = Some(Arc::clone(&shared));
        Ok(shared)
    }

    /// A training that this process began.
    fn begun(&self, id: &str) -> Result<Graph, StoreError> {
        let known = self.begun.lock().get(id).cloned();
        known.ok_or_else(|| StoreError::Refused(format!("training {id} was dropped, or begun by another process")))
    }

    async fn is_published(&self, graph: &Graph) -> Result<bool, StoreError> {
        Ok(self.store.published(&graph.repo_url).await?.is_some_and(|published| published.id == graph.id))
    }

    async fn add_points(&self, id: &str, files: &[FileVector]) -> Result<(), StoreError> {
        let graph = self.begun(id)?;
        let shared = self.open(graph.dimension).await?;
        let points: Result<Vec<PointStruct>, StoreError> =
            files.iter().map(|file| shared.file_point(id, &graph, file)).collect();
        shared.upsert_points("add_graph_files", points?).await
    }

    async fn publish_whole(&self, id: &str) -> Result<(), StoreError> {
        let graph = match self.begun(id) {
            Ok(graph) => graph,
            Err(error) => {
                let trainings = self.store.trainings().await?;
                let is_this = |training: &Training| training.is_published && &*training.graph.id == id;
                return if trainings.iter().any(is_this) { Ok(()) } else { Err(error) };
            }
        };
        let shared = self.open(graph.dimension).await?;
        let there = shared.count_of(Statement::all().keyword(GRAPH_ID, id)).await?;
        if there != graph.files {
            return Err(StoreError::Refused(format!("training {id} has {there} of {} files in qdrant", graph.files)));
        }
        self.store.publish(id).await?;
        let others = Statement::all().keyword(REPO_URL, &graph.repo_url).not_keyword(GRAPH_ID, id);
        shared.delete_points("drop_graph_files", others).await?;
        self.begun.lock().remove(id);
        Ok(())
    }

    async fn abandon_whole(&self, id: &str) -> Result<(), StoreError> {
        self.store.abandon(id).await?;
        if let Ok(graph) = self.begun(id)
            && !self.is_published(&graph).await?
        {
            let shared = self.open(graph.dimension).await?;
            shared.delete_points("drop_graph_files", Statement::all().keyword(GRAPH_ID, id)).await?;
            self.begun.lock().remove(id);
        }
        Ok(())
    }

    /// The nearest by Qdrant; `None` if it does not have the file, as when the training was replaced meanwhile.
    async fn nearest(&self, graph: &Graph, path: &str, k: usize) -> Result<Option<Vec<NearFile>>, StoreError> {
        let shared = self.open(graph.dimension).await?;
        let statement = Statement::all().keyword(GRAPH_ID, &graph.id);
        let Some(asked) = shared.file(statement.clone().ids([point_id(&graph.id, path)])).await? else {
            return Ok(None);
        };
        if !asked.is_connected {
            return Ok(Some(Vec::new()));
        }
        let request = QueryPoints {
            collection_name: self.collection.clone(),
            query: Some(points::nearest_to(asked.values)),
            filter: Some(statement.flag(CONNECTED, true).filter()),
            params: Some(SearchParams {
                hnsw_ef: Some(u64::from(self.config.hnsw_ef)),
                exact: Some(self.config.exact),
                quantization: Some(points::full_values()),
                ..SearchParams::default()
            }),
            limit: Some((k + 1 + SPARE) as u64),
            with_payload: Some(true.into()),
            read_consistency: shared.read_consistency(),
            ..QueryPoints::default()
        };
        let answer = shared.connection.ask("similar_files", move |client| {
            let request = request.clone();
            async move { client.query(request).await }.boxed()
        });
        let found = shared.noticed(answer.await)?.result;
        let mut near: Vec<NearFile> =
            found.iter().filter_map(near_file).filter(|near| &*near.file_path != path).collect();
        near.sort_by(|left, right| {
            right.similarity.total_cmp(&left.similarity).then_with(|| left.file_path.cmp(&right.file_path))
        });
        near.truncate(k);
        Ok(Some(near))
    }
}

impl GraphStore for QdrantGraphs {
    fn begin(&self, graph: Graph) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.open(graph.dimension).await?;
            self.store.begin(graph.clone()).await?;
            let mut begun = self.begun.lock();
            begun.retain(|_, other| other.repo_url != graph.repo_url); // the store has dropped it
            begun.insert(Arc::clone(&graph.id), graph);
            Ok(())
        }
        .boxed()
    }

    fn add<'a>(&'a self, id: &'a str, files: Vec<FileVector>) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.store.add(id, files.clone()).await?;
            self.add_points(id, &files).await
        }
        .boxed()
    }

    fn publish<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.publish_whole(id).boxed()
    }

    fn abandon<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.abandon_whole(id).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Graph>, StoreError>> {
        self.store.list()
    }

    fn similar<'a>(&'a self, repo_url: &'a str, path: &'a str, k: usize) -> BoxFuture<'a, Result<Similar, StoreError>> {
        async move {
            let Some(graph) = self.store.published(repo_url).await? else { return Ok(Similar::NoGraph) };
            match self.nearest(&graph, path, k).await {
                // points are deleted only after their training was replaced: while it is there, the answer is whole
                Ok(Some(found)) if self.is_published(&graph).await? => return Ok(Similar::Found(graph, found)),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "similar files are looked for in the store, without qdrant"),
            }
            self.store.similar(repo_url, path, k).await
        }
        .boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.unfinished()
    }

    fn published<'a>(&'a self, repo_url: &'a str) -> BoxFuture<'a, Result<Option<Graph>, StoreError>> {
        self.store.published(repo_url)
    }

    fn trainings(&self) -> BoxFuture<'_, Result<Vec<Training>, StoreError>> {
        self.store.trainings()
    }

    fn files_after<'a>(
        &'a self,
        id: &'a str,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<FileVector>, StoreError>> {
        self.store.files_after(id, path)
    }

    fn reconcile(&self, dry_run: bool) -> BoxFuture<'_, Result<Option<GraphDrift>, StoreError>> {
        async move { self.mend(dry_run).await.map(Some) }.boxed()
    }
}

/// The collection as it is, for vectors of this dimension; asks nobody yet.
fn look(config: &QdrantConfig, dimension: usize) -> Result<Arc<Shared>, StoreError> {
    Ok(Arc::new(Shared {
        connection: Connection::new(config)?,
        config: config.clone(),
        embedding: EmbeddingInfo { model: NODE2VEC.into(), dimension },
        indexes: &INDEXES,
        ready: AtomicBool::new(true),
        reason: Mutex::default(),
        count: AtomicUsize::new(0),
        unconfirmed: Mutex::default(),
        wake: tokio::sync::Notify::new(),
    }))
}

/// A file as it is found by its name.
struct Asked {
    values: Vec<f32>,
    is_connected: bool,
}

impl Shared {
    /// Whether a call found that there is no collection.
    fn is_gone(&self) -> bool {
        !self.ready.load(Ordering::Acquire)
    }

    /// The one file that is meant.
    async fn file(&self, statement: Statement) -> Result<Option<Asked>, StoreError> {
        let request = ScrollPoints {
            collection_name: self.config.collection.clone(),
            filter: Some(statement.filter()),
            limit: Some(1),
            with_payload: Some(true.into()),
            with_vectors: Some(true.into()),
            read_consistency: self.read_consistency(),
            ..ScrollPoints::default()
        };
        let answer = self.connection.ask("scroll", move |client| {
            let request = request.clone();
            async move { client.scroll(request).await }.boxed()
        });
        let Some(point) = self.noticed(answer.await)?.result.into_iter().next() else { return Ok(None) };
        let is_connected = points::flag(&point.payload, CONNECTED).unwrap_or_default();
        Ok(points::values(point).map(|values| Asked { values, is_connected }))
    }

    /// How many points there are of these.
    async fn count_of(&self, statement: Statement) -> Result<u64, StoreError> {
        let request = CountPoints {
            collection_name: self.config.collection.clone(),
            filter: Some(statement.filter()),
            exact: Some(true),
            ..CountPoints::default()
        };
        let answer = self.connection.ask("count", move |client| {
            let request = request.clone();
            async move { client.count(request).await }.boxed()
        });
        Ok(self.noticed(answer.await)?.result.map_or(0, |result| result.count))
    }

    fn file_point(&self, id: &str, graph: &Graph, file: &FileVector) -> Result<PointStruct, StoreError> {
        let values = self.normalised(&file.vector).map_err(StoreError::Refused)?;
        let payload: Payload = HashMap::from([
            (GRAPH_ID.to_owned(), Value::from(id)),
            (REPO_URL.to_owned(), Value::from(&*graph.repo_url)),
            (COMMIT.to_owned(), Value::from(graph.commit.as_str())),
            (FILE_PATH.to_owned(), Value::from(&*file.path)),
            (LANGUAGE.to_owned(), Value::from(&*file.language)),
            (IMPORTS.to_owned(), Value::from(i64::from(file.imports))),
            (IMPORTED_BY.to_owned(), Value::from(i64::from(file.imported_by))),
            (CONNECTED.to_owned(), Value::from(file.is_connected())),
            (MODEL.to_owned(), Value::from(NODE2VEC)),
        ]);
        Ok(points::point(point_id(id, &file.path), values, payload))
    }
}

/// The point of a file in a training.
fn point_id(graph: &str, path: &str) -> Uuid {
    Uuid::new_v5(&FILES, format!("{graph}/{path}").as_bytes())
}

/// A point found; `None` if it is none of ours.
fn near_file(point: &ScoredPoint) -> Option<NearFile> {
    let count = |key| points::integer(&point.payload, key).and_then(|count| u32::try_from(count).ok());
    Some(NearFile {
        file_path: text(&point.payload, FILE_PATH)?.into(),
        language: text(&point.payload, LANGUAGE)?.into(),
        imports: count(IMPORTS)?,
        imported_by: count(IMPORTED_BY)?,
        similarity: point.score.clamp(-1.0, 1.0),
    })
}
