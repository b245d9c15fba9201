//! Learned graphs and their files.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::queries::{damaged, from_json, text, time_us};
use crate::stores::documents::StoreError;
use crate::stores::graphs::{
    BATCH_FILES, FileVector, Graph, GraphStore, MAX_GRAPHS, MAX_SUGGESTIONS, Nearest, STALE_MS, Similar, Training,
    from_bytes, to_bytes,
};

const GRAPH: &str = "id, repo_url, commit_id, job_id, correlation_id, trained_at_us, dimension, files, connected, edges, \
                     metrics";
const FILE: &str = "file_path, language, imports, imported_by, vector";

/// What is wrong with a training that can't be published.
enum Unfit {
    Dropped,
    Incomplete(u64),
}

impl GraphStore for SqliteStore {
    fn begin(&self, graph: Graph) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call("begin_graph", async move {
            let metrics = serde_json::to_string(&graph.metrics)
                .map_err(|error| StoreError::Refused(format!("metrics are not JSON: {error}")))?;
            self.workers.write(1, move |connection| begin(connection, &graph, &metrics)).await
        })
    }

    fn add<'a>(&'a self, id: &'a str, files: Vec<FileVector>) -> BoxFuture<'a, Result<(), StoreError>> {
        let graph = id.to_owned();
        self.call("add_graph_files", async move {
            let work = move |connection: &Connection| add(connection, &graph, &files);
            if self.workers.write(BATCH_FILES, work).await? { Ok(()) } else { Err(dropped(id)) }
        })
    }

    fn publish<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let graph = id.to_owned();
        self.call("publish_graph", async move {
            match self.workers.write(1, move |connection| publish(connection, &graph)).await? {
                None => Ok(()),
                Some(Unfit::Dropped) => Err(dropped(id)),
                Some(Unfit::Incomplete(missing)) => {
                    Err(StoreError::Refused(format!("training {id} lacks {missing} of its files")))
                }
            }
        })
    }

    fn abandon<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let id = id.to_owned();
        let work = move |connection: &Connection| drop_graphs(connection, "id = ?1 AND published = 0", params![id]);
        self.call("abandon_graph", self.workers.write(1, work))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Graph>, StoreError>> {
        self.call("list_graphs", self.workers.read(list))
    }

    fn similar<'a>(&'a self, repo_url: &'a str, path: &'a str, k: usize) -> BoxFuture<'a, Result<Similar, StoreError>> {
        let (repo_url, path) = (repo_url.to_owned(), path.to_owned());
        self.call("similar_files", self.workers.read(move |connection| similar(connection, &repo_url, &path, k)))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        let count = |connection: &Connection| {
            let sql = "SELECT count(*) FROM analytics_graphs WHERE published = 0";
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
        };
        self.call("unfinished_graphs", self.workers.read(count)).boxed()
    }

    fn published<'a>(&'a self, repo_url: &'a str) -> BoxFuture<'a, Result<Option<Graph>, StoreError>> {
        let repo_url = repo_url.to_owned();
        self.call("published_graph", self.workers.read(move |connection| published(connection, &repo_url)))
    }

    fn trainings(&self) -> BoxFuture<'_, Result<Vec<Training>, StoreError>> {
        self.call("list_trainings", self.workers.read(trainings))
    }

    fn files_after<'a>(
        &'a self,
        id: &'a str,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<FileVector>, StoreError>> {
        let (id, path) = (id.to_owned(), path.map(str::to_owned));
        let work = move |connection: &Connection| files_after(connection, &id, path.as_deref());
        self.call("read_graph_files", self.workers.read(work))
    }
}

fn dropped(id: &str) -> StoreError {
    StoreError::Refused(format!("training {id} was dropped, as a newer one of its repository began"))
}

fn begin(connection: &Connection, graph: &Graph, metrics: &str) -> rusqlite::Result<()> {
    let now_ms = chrono::Utc::now().timestamp_millis();
    let old = params![&*graph.repo_url, now_ms.saturating_sub(STALE_MS)];
    drop_graphs(connection, "published = 0 AND (repo_url = ?1 OR begun_at_ms < ?2)", old)?;
    let insert = format!(
        "INSERT INTO analytics_graphs ({GRAPH}, begun_at_ms, published)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0)"
    );
    connection.prepare_cached(&insert)?.execute(params![
        &*graph.id,
        &*graph.repo_url,
        graph.commit,
        graph.job_id,
        graph.correlation_id,
        graph.trained_at.timestamp_micros(),
        graph.dimension,
        graph.files.cast_signed(),
        graph.connected_files.cast_signed(),
        graph.edges.cast_signed(),
        metrics,
        now_ms,
    ])?;
    Ok(())
}

/// Deletes the graphs that a condition holds for, with their files.
fn drop_graphs(connection: &Connection, condition: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
    let files = format!(
        "DELETE FROM analytics_graph_files WHERE graph_id IN (SELECT id FROM analytics_graphs WHERE {condition})"
    );
    connection.prepare_cached(&files)?.execute(values)?;
    connection.prepare_cached(&format!("DELETE FROM analytics_graphs WHERE {condition}"))?.execute(values)?;
    Ok(())
}

/// Whether the training is still there and not published.
fn add(connection: &Connection, id: &str, files: &[FileVector]) -> rusqlite::Result<bool> {
    let open = "SELECT 1 FROM analytics_graphs WHERE id = ?1 AND published = 0";
    if connection.prepare_cached(open)?.query_row([id], |_| Ok(())).optional()?.is_none() {
        return Ok(false);
    }
    let insert =
        format!("INSERT OR REPLACE INTO analytics_graph_files (graph_id, {FILE}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    let mut statement = connection.prepare_cached(&insert)?;
    for file in files {
        let vector = to_bytes(&file.vector);
        statement.execute(params![id, &*file.path, &*file.language, file.imports, file.imported_by, vector])?;
    }
    Ok(true)
}

/// What keeps it from being published, if anything does.
fn publish(connection: &Connection, id: &str) -> rusqlite::Result<Option<Unfit>> {
    let sql = "SELECT repo_url, published, files - (SELECT count(*) FROM analytics_graph_files WHERE graph_id = ?1)
        FROM analytics_graphs WHERE id = ?1";
    let state = |row: &Row<'_>| Ok((text(row, 0)?, row.get::<_, bool>(1)?, row.get::<_, i64>(2)?));
    let found = connection.prepare_cached(sql)?.query_row([id], state).optional()?;
    let Some((repo_url, published, missing)) = found else { return Ok(Some(Unfit::Dropped)) };
    if published {
        return Ok(None);
    }
    if missing != 0 {
        return Ok(Some(Unfit::Incomplete(missing.unsigned_abs())));
    }
    drop_graphs(connection, "repo_url = ?1 AND published = 1", params![&*repo_url])?;
    connection.prepare_cached("UPDATE analytics_graphs SET published = 1 WHERE id = ?1")?.execute([id])?;
    Ok(None)
}

fn list(connection: &Connection) -> rusqlite::Result<Vec<Graph>> {
    let sql = format!(
        "SELECT {GRAPH} FROM analytics_graphs WHERE published = 1 ORDER BY trained_at_us DESC, id LIMIT {MAX_GRAPHS}"
    );
    connection.prepare_cached(&sql)?.query_map([], graph)?.collect()
}

fn published(connection: &Connection, repo_url: &str) -> rusqlite::Result<Option<Graph>> {
    let sql = format!("SELECT {GRAPH} FROM analytics_graphs WHERE repo_url = ?1 AND published = 1");
    connection.prepare_cached(&sql)?.query_row([repo_url], graph).optional()
}

fn trainings(connection: &Connection) -> rusqlite::Result<Vec<Training>> {
    let sql = format!("SELECT {GRAPH}, published FROM analytics_graphs ORDER BY trained_at_us DESC, id");
    let training = |row: &Row<'_>| Ok(Training { graph: graph(row)?, is_published: row.get(11)? });
    connection.prepare_cached(&sql)?.query_map([], training)?.collect()
}

fn files_after(connection: &Connection, id: &str, path: Option<&str>) -> rusqlite::Result<Vec<FileVector>> {
    let sql = format!(
        "SELECT {FILE} FROM analytics_graph_files WHERE graph_id = ?1 AND (?2 IS NULL OR file_path > ?2)
        ORDER BY file_path LIMIT {BATCH_FILES}"
    );
    connection.prepare_cached(&sql)?.query_map(params![id, path], file)?.collect()
}

/// One read transaction: a training published meanwhile does not show halfway.
fn similar(connection: &Connection, repo_url: &str, path: &str, k: usize) -> rusqlite::Result<Similar> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(graph) = published(&snapshot, repo_url)? else { return Ok(Similar::NoGraph) };
    let sql = format!("SELECT {FILE} FROM analytics_graph_files WHERE graph_id = ?1 AND file_path = ?2");
    let Some(asked) = snapshot.prepare_cached(&sql)?.query_row([&graph.id, path], file).optional()? else {
        let names = suggestions(&snapshot, &graph.id, path)?;
        return Ok(Similar::NoFile(graph, names));
    };
    let mut nearest = Nearest::to(&asked, k);
    if asked.is_connected() {
        let sql = format!("SELECT {FILE} FROM analytics_graph_files WHERE graph_id = ?1");
        let mut statement = snapshot.prepare_cached(&sql)?;
        let mut rows = statement.query([&graph.id])?;
        while let Some(row) = rows.next()? {
            nearest.look(&file(row)?);
        }
    }
    Ok(Similar::Found(graph, nearest.into_found()))
}

/// Paths that end with the last part of the one asked for.
fn suggestions(connection: &Connection, id: &str, path: &str) -> rusqlite::Result<Vec<Arc<str>>> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let sql = format!(
        "SELECT file_path FROM analytics_graph_files
        WHERE graph_id = ?1 AND (file_path = ?2 OR substr(file_path, -length(?2) - 1) = '/' || ?2)
        ORDER BY file_path LIMIT {MAX_SUGGESTIONS}"
    );
    connection.prepare_cached(&sql)?.query_map([id, name], |row| text(row, 0))?.collect()
}

fn graph(row: &Row<'_>) -> rusqlite::Result<Graph> {
    Ok(Graph {
        id: text(row, 0)?,
        repo_url: text(row, 1)?,
        commit: row.get(2)?,
        job_id: row.get(3)?,
        correlation_id: row.get(4)?,
        trained_at: time_us(row, 5)?,
        dimension: row.get(6)?,
        files: row.get::<_, i64>(7)?.cast_unsigned(),
        connected_files: row.get::<_, i64>(8)?.cast_unsigned(),
        edges: row.get::<_, i64>(9)?.cast_unsigned(),
        metrics: from_json(row, 10)?,
    })
}

fn file(row: &Row<'_>) -> rusqlite::Result<FileVector> {
    let bytes = row.get_ref(4)?.as_blob().map_err(|error| damaged(4, Type::Blob, error.into()))?;
    let vector = from_bytes(bytes).ok_or_else(|| damaged(4, Type::Blob, "a vector's length".into()))?;
    Ok(FileVector {
        path: text(row, 0)?,
        language: text(row, 1)?,
        imports: row.get(2)?,
        imported_by: row.get(3)?,
        vector: vector.into(),
    })
}
