//! Learned graphs and their files.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::PostgresStore;
use super::columns::whole_micros;
use super::error::Failure;
use super::pool::{Lease, Pools};
use super::queries::Values;
use super::sql::{column, escape, from_json, json, text};
use crate::stores::documents::StoreError;
use crate::stores::graphs::{
    BATCH_FILES, FileVector, Graph, GraphStore, MAX_GRAPHS, MAX_SUGGESTIONS, Nearest, STALE_MS, Similar, Training,
    from_bytes, to_bytes,
};

const GRAPH: &str = "id, repo_url, commit_id, job_id, correlation_id, trained_at, dimension, files, connected, edges, \
                     metrics";
const FILE: &str = "file_path, language, imports, imported_by, vector";

/// Daemons that begin a training of one repository at once do so one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('tidemill graph ' || $1, 0))";
const DROP_OLD: &str = "DELETE FROM analytics.graphs WHERE NOT published AND (repo_url = $1 OR begun_at < $2)";
const INSERT: &str =
    "INSERT INTO analytics.graphs (id, repo_url, commit_id, job_id, correlation_id, trained_at, dimension,
        files, connected, edges, metrics) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::json)";
/// Locks the training, so that it is not dropped before its files are there.
const ADD: &str = "INSERT INTO analytics.graph_files (graph_id, file_path, language, imports, imported_by, vector)
    SELECT g.id, f.* FROM (SELECT id FROM analytics.graphs WHERE id = $1 AND NOT published FOR KEY SHARE) g,
        unnest($2, $3, $4, $5, $6) AS f (file_path, language, imports, imported_by, vector)
    ON CONFLICT (graph_id, file_path) DO UPDATE SET language = excluded.language, imports = excluded.imports,
        imported_by = excluded.imported_by, vector = excluded.vector
    RETURNING 1";
const STATE: &str = "SELECT repo_url, published,
        files - (SELECT count(*) FROM analytics.graph_files WHERE graph_id = $1)
    FROM analytics.graphs WHERE id = $1 FOR UPDATE";
const DROP_PUBLISHED: &str = "DELETE FROM analytics.graphs WHERE repo_url = $1 AND published";
const PUBLISH: &str = "UPDATE analytics.graphs SET published = true WHERE id = $1";

impl GraphStore for PostgresStore {
    fn begin(&self, graph: Graph) -> BoxFuture<'_, Result<(), StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.writing("begin_graph", async move {
            let lease = pools.analytics.lease().await?;
            let done = begin(&lease, &graph).await;
            settled(lease, done).await
        })
    }

    fn add<'a>(&'a self, id: &'a str, files: Vec<FileVector>) -> BoxFuture<'a, Result<(), StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.to_owned());
        self.writing("add_graph_files", async move { add(&pools, &id, &files).await })
    }

    fn publish<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.to_owned());
        self.writing("publish_graph", async move {
            let lease = pools.analytics.lease().await?;
            let done = publish(&lease, &id).await;
            settled(lease, done).await
        })
    }

    fn abandon<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), escape(id).into_owned());
        self.writing("abandon_graph", async move {
            let mut values = Values::default();
            values.add(Type::TEXT, id);
            let sql = "DELETE FROM analytics.graphs WHERE id = $1 AND NOT published";
            values.query(&pools.analytics, sql).await.map(drop)
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Graph>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("list_graphs", async move {
            let sql = format!(
                "SELECT {GRAPH} FROM analytics.graphs WHERE published ORDER BY trained_at DESC, id LIMIT {MAX_GRAPHS}"
            );
            let rows = Values::default().query(pools.readers(), &sql).await?;
            rows.iter().map(graph).collect::<Result<_, _>>().map_err(Failure::from)
        })
    }

    fn similar<'a>(&'a self, repo_url: &'a str, path: &'a str, k: usize) -> BoxFuture<'a, Result<Similar, StoreError>> {
        let (pools, repo_url, path) = (Arc::clone(&self.pools), repo_url.to_owned(), path.to_owned());
        self.call("similar_files", async move {
            let lease = pools.readers().lease().await?;
            let done = similar(&lease, &repo_url, &path, k).await;
            settled(lease, done).await
        })
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("unfinished_graphs", async move {
            let sql = "SELECT count(*) FROM analytics.graphs WHERE NOT published";
            let rows = Values::default().query(&pools.analytics, sql).await?;
            let count: i64 = rows.first().map(|row| column(row, 0)).transpose()?.unwrap_or(0);
            Ok(count.unsigned_abs())
        })
    }

    fn published<'a>(&'a self, repo_url: &'a str) -> BoxFuture<'a, Result<Option<Graph>, StoreError>> {
        let (pools, repo_url) = (Arc::clone(&self.pools), escape(repo_url).into_owned());
        self.call("published_graph", async move {
            let mut values = Values::default();
            values.add(Type::TEXT, repo_url);
            let rows = values.query(pools.readers(), &of_repository()).await?;
            rows.first().map(graph).transpose().map_err(Failure::from)
        })
    }

    fn trainings(&self) -> BoxFuture<'_, Result<Vec<Training>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("list_trainings", async move {
            let sql = format!("SELECT {GRAPH}, published FROM analytics.graphs ORDER BY trained_at DESC, id");
            // what a replica has not seen yet would count as gone
            let rows = Values::default().query(&pools.analytics, &sql).await?;
            let training = |row| Ok(Training { graph: graph(row)?, is_published: column(row, 11)? });
            rows.iter().map(training).collect::<Result<_, StoreError>>().map_err(Failure::from)
        })
    }

    fn files_after<'a>(
        &'a self,
        id: &'a str,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<FileVector>, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), escape(id).into_owned());
        let path = path.map(|path| escape(path).into_owned());
        self.call("read_graph_files", async move {
            let sql = format!(
                "SELECT {FILE} FROM analytics.graph_files WHERE graph_id = $1 AND ($2 IS NULL OR file_path > $2)
                ORDER BY file_path LIMIT {BATCH_FILES}"
            );
            let mut values = Values::default();
            values.add(Type::TEXT, id);
            values.add(Type::TEXT, path);
            let rows = values.query(&pools.analytics, &sql).await?;
            rows.iter().map(file).collect::<Result<_, _>>().map_err(Failure::from)
        })
    }
}

/// Asks for the published graph of a repository.
fn of_repository() -> String {
    format!("SELECT {GRAPH} FROM analytics.graphs WHERE repo_url = $1 AND published")
}

/// Gives the connection back, its transaction rolled back where the call failed.
async fn settled<T>(lease: Lease, done: Result<T, Failure>) -> Result<T, Failure> {
    match &done {
        Ok(_) => lease.finish(),
        Err(failure) => lease.settle(failure).await,
    }
    done
}

fn dropped(id: &str) -> Failure {
    StoreError::Refused(format!("training {id} was dropped, as a newer one of its repository began")).into()
}

async fn begin(lease: &Lease, graph: &Graph) -> Result<(), Failure> {
    let session = lease.session();
    let repo_url = escape(&graph.repo_url);
    let metrics = json(&graph.metrics)?;
    let numbers = [graph.files, graph.connected_files, graph.edges].map(u64::cast_signed);
    let dimension = graph.dimension.cast_signed();
    session.batch("BEGIN").await?;
    session.query(LOCK, &[Type::TEXT], &[&repo_url]).await?;
    let stale = Utc::now() - TimeDelta::milliseconds(STALE_MS);
    session.query(DROP_OLD, &[Type::TEXT, Type::TIMESTAMPTZ], &[&repo_url, &stale]).await?;
    let types = [
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
    ];
    let values: [&(dyn ToSql + Sync); 11] = [
        &escape(&graph.id),
        &repo_url,
        &escape(&graph.commit),
        &escape(&graph.job_id),
        &escape(&graph.correlation_id),
        &whole_micros(graph.trained_at),
        &dimension,
        &numbers[0],
        &numbers[1],
        &numbers[2],
        &metrics,
    ];
    session.query(INSERT, &types, &values).await?;
    Ok(session.batch("COMMIT").await?)
}

async fn add(pools: &Pools, id: &str, files: &[FileVector]) -> Result<(), Failure> {
    if files.is_empty() {
        return Ok(());
    }
    let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let mut values = Values::default();
    values.add(Type::TEXT, escape(id).into_owned());
    let texts = |text: fn(&FileVector) -> &str| files.iter().map(|file| escape(text(file)).into_owned()).collect();
    let (paths, languages): (Vec<String>, Vec<String>) = (texts(|file| &file.path), texts(|file| &file.language));
    values.add(Type::TEXT_ARRAY, paths);
    values.add(Type::TEXT_ARRAY, languages);
    values.add(Type::INT4_ARRAY, files.iter().map(|file| whole(file.imports)).collect::<Vec<_>>());
    values.add(Type::INT4_ARRAY, files.iter().map(|file| whole(file.imported_by)).collect::<Vec<_>>());
    values.add(Type::BYTEA_ARRAY, files.iter().map(|file| to_bytes(&file.vector)).collect::<Vec<_>>());
    if values.query(&pools.analytics, ADD).await?.is_empty() { Err(dropped(id)) } else { Ok(()) }
}

async fn publish(lease: &Lease, id: &str) -> Result<(), Failure> {
    let session = lease.session();
    let key = escape(id);
    session.batch("BEGIN").await?;
    let rows = session.query(STATE, &[Type::TEXT], &[&key]).await?;
    let Some(row) = rows.first() else { return Err(dropped(id)) };
    let (repo_url, published, missing): (String, bool, i64) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
    if missing != 0 {
        return Err(StoreError::Refused(format!("training {id} lacks {missing} of its files")).into());
    }
    if !published {
        session.query(DROP_PUBLISHED, &[Type::TEXT], &[&repo_url]).await?;
        session.query(PUBLISH, &[Type::TEXT], &[&key]).await?;
    }
    Ok(session.batch("COMMIT").await?)
}

/// In one snapshot: a training published meanwhile does not show halfway.
async fn similar(lease: &Lease, repo_url: &str, path: &str, k: usize) -> Result<Similar, Failure> {
    let session = lease.session();
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let rows = session.query(&of_repository(), &[Type::TEXT], &[&escape(repo_url)]).await?;
    let found = match rows.first() {
        None => Similar::NoGraph,
        Some(row) => near(lease, graph(row)?, path, k).await?,
    };
    session.batch("COMMIT").await?;
    Ok(found)
}

async fn near(lease: &Lease, graph: Graph, path: &str, k: usize) -> Result<Similar, Failure> {
    let session = lease.session();
    let both = [Type::TEXT, Type::TEXT];
    let id = escape(&graph.id).into_owned();
    let sql = format!("SELECT {FILE} FROM analytics.graph_files WHERE graph_id = $1 AND file_path = $2");
    let rows = session.query(&sql, &both, &[&id, &escape(path)]).await?;
    let Some(asked) = rows.first().map(file).transpose()? else {
        let name = escape(path.rsplit('/').next().unwrap_or(path)).into_owned();
        let sql = format!(
            "SELECT file_path FROM analytics.graph_files
            WHERE graph_id = $1 AND (file_path = $2 OR right(file_path, length($2) + 1) = '/' || $2)
            ORDER BY file_path LIMIT {MAX_SUGGESTIONS}"
        );
        let rows = session.query(&sql, &both, &[&id, &name]).await?;
        let names = rows.iter().map(|row| Ok(text(row, 0)?.into())).collect::<Result<_, StoreError>>()?;
        return Ok(Similar::NoFile(graph, names));
    };
    let mut nearest = Nearest::to(&asked, k);
    if asked.is_connected() {
        let sql = format!("SELECT {FILE} FROM analytics.graph_files WHERE graph_id = $1");
        for row in session.query(&sql, &[Type::TEXT], &[&id]).await? {
            nearest.look(&file(&row)?);
        }
    }
    Ok(Similar::Found(graph, nearest.into_found()))
}

fn graph(row: &Row) -> Result<Graph, StoreError> {
    let number = |index| column::<i64>(row, index).map(i64::unsigned_abs);
    Ok(Graph {
        id: text(row, 0)?.into(),
        repo_url: text(row, 1)?.into(),
        commit: text(row, 2)?,
        job_id: text(row, 3)?,
        correlation_id: text(row, 4)?,
        trained_at: column(row, 5)?,
        dimension: column::<i32>(row, 6)?.unsigned_abs(),
        files: number(7)?,
        connected_files: number(8)?,
        edges: number(9)?,
        metrics: from_json(row, 10)?,
    })
}

fn file(row: &Row) -> Result<FileVector, StoreError> {
    let bytes: &[u8] = column(row, 4)?;
    let vector = from_bytes(bytes)
        .ok_or_else(|| StoreError::Damaged("postgres: a graph's vector has a wrong length".to_owned()))?;
    Ok(FileVector {
        path: text(row, 0)?.into(),
        language: text(row, 1)?.into(),
        imports: column::<i32>(row, 2)?.unsigned_abs(),
        imported_by: column::<i32>(row, 3)?.unsigned_abs(),
        vector: vector.into(),
    })
}
