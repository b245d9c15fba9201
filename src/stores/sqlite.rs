//! Documents, analyses and dead letters in one `SQLite` file.
//!
//! One thread writes, a few read; each owns its connection. Writes that wait together share one transaction and one
//! sync. Every call has a deadline and must be made inside a tokio runtime with its timer on.

mod backtests;
mod bars;
mod connection;
mod dead_letters;
mod deliveries;
mod events;
pub mod figures;
mod graphs;
pub mod jobs;
mod queries;
mod signals;
mod verdicts;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::workers::Workers;
use super::cursor::{self, Cursor, checked_limit};
use super::documents::{
    DeadLetterFilter, DeliveryRow, DocumentFilter, DocumentStore, Page, RememberedDocument, StoreCounts, StoreError,
    StoredDocument, VerdictRow, WriteOutcome,
};
use super::pools::PoolStatus;
use crate::config::store::StoreConfig;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::telemetry::metrics::store_operation;

/// Label of this store in metrics.
const STORE: &str = "sqlite";
/// How long a health check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Documents handed over at once while remembering.
const REMEMBER_CHUNK: usize = 256;

/// The store; dropping it finishes what is queued and closes the file.
pub struct SqliteStore {
    workers: Workers,
    /// Until when faults are injected.
    failing_until: Mutex<Option<Instant>>,
    /// The events that are kept, until the store closes.
    events: Mutex<Option<Arc<events::Kept>>>,
}

impl SqliteStore {
    /// Opens or creates the file and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names a file that is no database of ours or of a newer program;
    /// [`StoreError::Unavailable`] one that can't be opened.
    pub fn open(path: &Path, config: &StoreConfig) -> Result<Self, StoreError> {
        let workers = Workers::start(path, config, connection::MIGRATIONS)?;
        Ok(Self { workers, failing_until: Mutex::new(None), events: Mutex::new(None) })
    }

    /// Fails while faults are injected.
    fn fault(&self) -> Result<(), StoreError> {
        let failing = self.failing_until.lock().is_some_and(|until| Instant::now() < until);
        if failing { Err(StoreError::Unavailable("a fault was injected on purpose".to_owned())) } else { Ok(()) }
    }

    /// Measures a call and boxes it.
    fn call<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        async move {
            let started = Instant::now();
            let result = match self.fault() {
                Ok(()) => work.await,
                Err(error) => Err(error),
            };
            let outcome = match &result {
                Ok(_) => "ok",
                Err(StoreError::Unavailable(_)) => "unavailable",
                Err(StoreError::Refused(_)) => "refused",
                Err(StoreError::InvalidQuery(_)) => "invalid",
                Err(StoreError::Damaged(_)) => "damaged",
            };
            store_operation(STORE, operation, outcome, started.elapsed());
            result
        }
        .boxed()
    }
}

impl DocumentStore for SqliteStore {
    fn write(&self, rows: Vec<VerdictRow>) -> BoxFuture<'_, Result<Vec<WriteOutcome>, StoreError>> {
        let work = self.workers.write(rows.len(), move |connection| verdicts::write(connection, &rows));
        self.call("write", work)
    }

    fn note_deliveries(&self, rows: Vec<DeliveryRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        let work = self.workers.write(rows.len(), move |connection| deliveries::note(connection, &rows));
        self.call("note_deliveries", work)
    }

    fn deliveries_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRow>, StoreError>> {
        let id = id.to_owned();
        self.call("deliveries_of", self.workers.read(move |connection| deliveries::of(connection, &id)))
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>> {
        let ids = [Arc::from(id)];
        let work = self.workers.read(move |connection| queries::get_many(connection, &ids));
        self.call("get", work.map(|found| Ok(found?.pop())))
    }

    fn get_many<'a>(&'a self, ids: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>> {
        let ids = ids.to_vec();
        self.call("get_many", self.workers.read(move |connection| queries::get_many(connection, &ids)))
    }

    fn by_correlation<'a>(&'a self, correlation_id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>> {
        let id = correlation_id.to_owned();
        self.call("by_correlation", self.workers.read(move |connection| queries::by_correlation(connection, &id)))
    }

    fn list(&self, filter: DocumentFilter) -> BoxFuture<'_, Result<Page<StoredDocument>, StoreError>> {
        self.call("list", async move {
            checked_limit(filter.limit)?;
            let after = Cursor::decode(filter.cursor.as_deref(), queries::LISTING)?;
            self.workers.read(move |connection| queries::list(connection, &filter, after)).await
        })
    }

    fn remember<'a>(
        &'a self,
        since_ms: i64,
        mut visit: Box<dyn FnMut(RememberedDocument) + Send + 'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call("remember", async move {
            let (sender, mut chunks) = mpsc::channel::<Result<Vec<RememberedDocument>, StoreError>>(4);
            let path = self.workers.path().to_owned();
            let stream = move |connection: &rusqlite::Connection| {
                let mut chunk = Vec::with_capacity(REMEMBER_CHUNK);
                let result = queries::remember(connection, since_ms, |document| {
                    chunk.push(document);
                    if chunk.len() < REMEMBER_CHUNK {
                        return true;
                    }
                    let full = std::mem::replace(&mut chunk, Vec::with_capacity(REMEMBER_CHUNK));
                    sender.blocking_send(Ok(full)).is_ok()
                });
                // Who asked may have gone; then nobody wants the rest.
                let _ = sender.blocking_send(Ok(chunk));
                let end = result.map(|()| Vec::new()).map_err(|error| connection::store_error(&error, &path));
                let _ = sender.blocking_send(end);
            };
            self.workers.start_read(stream).await?;
            let mut ended = false;
            while let Some(chunk) = chunks.recv().await {
                let chunk = chunk?;
                ended = chunk.is_empty();
                chunk.into_iter().for_each(&mut visit);
            }
            if ended { Ok(()) } else { Err(StoreError::Unavailable("the stream of documents broke off".to_owned())) }
        })
    }

    fn write_dead_letter(&self, letter: StoredDeadLetter) -> BoxFuture<'_, Result<(), StoreError>> {
        let work = self.workers.write(1, move |connection| dead_letters::write(connection, &letter));
        self.call("write_dead_letter", work)
    }

    fn dead_letters(&self, filter: DeadLetterFilter) -> BoxFuture<'_, Result<Page<StoredDeadLetter>, StoreError>> {
        self.call("dead_letters", async move {
            checked_limit(filter.limit)?;
            let after = Cursor::decode(filter.cursor.as_deref(), dead_letters::LISTING)?;
            self.workers.read(move |connection| dead_letters::list(connection, &filter, after)).await
        })
    }

    fn dead_letter<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDeadLetter>, StoreError>> {
        let id = id.to_owned();
        self.call("dead_letter", self.workers.read(move |connection| dead_letters::get(connection, &id)))
    }

    fn dead_letters_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDeadLetter>, StoreError>> {
        let id = id.to_owned();
        self.call("dead_letters_of", self.workers.read(move |connection| dead_letters::of(connection, &id)))
    }

    fn mark_replayed<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        let id = id.to_owned();
        let work = self.workers.write(1, move |connection| dead_letters::mark_replayed(connection, &id));
        self.call("mark_replayed", work)
    }

    fn purge_dead_letters<'a>(&'a self, id: Option<&'a str>) -> BoxFuture<'a, Result<u64, StoreError>> {
        let id = id.map(str::to_owned);
        let work = self.workers.write(1, move |connection| dead_letters::purge(connection, id.as_deref()));
        self.call("purge_dead_letters", work)
    }

    fn counts(&self) -> BoxFuture<'_, Result<StoreCounts, StoreError>> {
        self.call("counts", self.workers.read(queries::counts))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call("check", async {
            let both = async {
                self.workers.read(|connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await?;
                // Takes and gives back the write lock: a queue that does not move or a disk that does not write is ill.
                self.workers.write(0, |_| Ok(())).await
            };
            let late = || Err(StoreError::Unavailable(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())));
            tokio::time::timeout(CHECK_TIMEOUT, both).await.unwrap_or_else(|_| late())
        })
    }

    fn close(&self) {
        self.finish_events();
        self.workers.close();
    }

    fn fail_for(&self, duration: Duration) {
        *self.failing_until.lock() = Some(Instant::now() + duration);
    }

    fn describe(&self) -> String {
        self.workers.path().display().to_string()
    }

    fn pools(&self) -> Vec<PoolStatus> {
        self.workers.pools()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::messages::code::ErrorCode;

    fn letter(offset: i64, bytes: usize) -> StoredDeadLetter {
        StoredDeadLetter {
            id: StoredDeadLetter::id_of("documents", 0, offset),
            document_id: None,
            correlation_id: "c".to_owned(),
            stage: "source".into(),
            code: ErrorCode::InvalidJson,
            error: String::new(),
            attempts: 1,
            history: Vec::new(),
            topic: "documents".into(),
            partition: 0,
            offset,
            first_seen: chrono::DateTime::UNIX_EPOCH,
            dead_at: chrono::DateTime::UNIX_EPOCH,
            replayed_at: None,
            key: None,
            value: vec![0; bytes],
            headers: Vec::new(),
        }
    }

    /// The page limit gives the same error as a full disk.
    async fn limit_pages(store: &SqliteStore, pages: i64) {
        let set = move |connection: &rusqlite::Connection| connection.pragma_update(None, "max_page_count", pages);
        store.workers.write(0, set).await.unwrap();
    }

    #[tokio::test]
    async fn full_disk_is_unavailable_until_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("a.sqlite3"), &StoreConfig::default()).unwrap();
        store.write_dead_letter(letter(0, 10)).await.unwrap();
        limit_pages(&store, 1).await;
        let error = store.write_dead_letter(letter(1, 10_000_000)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(said) if said.contains("full")), "{error}");
        limit_pages(&store, 1_000_000).await;
        store.write_dead_letter(letter(1, 10_000_000)).await.unwrap();
        assert_eq!(store.counts().await.unwrap().dead_letters, 2);
    }

    #[tokio::test]
    async fn job_that_fails_or_panics_does_not_take_others_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("a.sqlite3"), &StoreConfig::default()).unwrap();
        let bad = store.workers.write(1, |connection| {
            connection.execute("INSERT INTO logging_error_summary VALUES ('a', 'b', 1, 1, 1, 'c', 'd')", [])?;
            connection.execute("INSERT INTO nowhere VALUES (1)", [])
        });
        let (bad, good) = tokio::join!(bad, store.write_dead_letter(letter(0, 1)));
        assert!(bad.is_err());
        good.unwrap();
        let panicked: Result<(), StoreError> = store.workers.write(1, |_| panic!("on purpose")).await;
        assert!(panicked.unwrap_err().is_retriable());
        let panicked: Result<(), StoreError> = store.workers.read(|_| panic!("on purpose")).await;
        assert!(panicked.unwrap_err().is_retriable());
        store.check().await.unwrap();
        let count = |connection: &rusqlite::Connection| {
            connection.query_row("SELECT count(*) FROM logging_error_summary WHERE stage = 'a'", [], |row| row.get(0))
        };
        let half_done: i64 = store.workers.read(count).await.unwrap();
        assert_eq!(half_done, 0);
        assert_eq!(store.counts().await.unwrap().dead_letters, 1);
    }
}
