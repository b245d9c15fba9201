//! Documents, analyses, dead letters and log entries in PostgreSQL, which several daemons may share.
//!
//! Connections live on threads of the store's own, so that an actor that blocks its thread stalls nobody's socket. Every
//! call has a deadline; one that passes it closes its connection and the server rolls back what was not committed.

mod array;
mod backtests;
mod bars;
mod columns;
mod dead_letters;
mod deliveries;
pub mod dump;
mod error;
mod graphs;
pub mod load;
mod logbook;
mod partitions;
mod pool;
mod queries;
mod schema;
mod signals;
mod sql;
mod target;
mod tls;
mod upkeep;
mod verdicts;
mod views;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::error::Failure;
pub use self::error::OpenError;
use self::pool::{Pool, Pools};
use self::queries::Reached;
use super::cursor::{Cursor, checked_limit};
use super::documents::{
    DeadLetterFilter, DeliveryRow, DocumentFilter, DocumentStore, Page, RememberedDocument, StoreCounts, StoreError,
    StoredDocument, VerdictRow, WriteOutcome,
};
use super::pools::PoolStatus;
use crate::config::postgres::{PostgresConfig, UpkeepConfig};
use crate::messages::dead_letter::StoredDeadLetter;
use crate::messages::event::EventBus;
use crate::telemetry::metrics::store_operation;
use crate::telemetry::tap::LogTap;

/// Label of this store in metrics.
const STORE: &str = "postgres";
/// How long a health check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads that drive the connections.
const THREADS: usize = 2;
/// How long open calls may take to end when the store is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Counts that took longer than this are given again for thirty times as long.
const SLOW_COUNT: Duration = Duration::from_millis(250);

/// The store; dropping it closes the connections.
pub struct PostgresStore {
    pools: Arc<Pools>,
    call_timeout: Duration,
    upkeep: UpkeepConfig,
    /// Until when faults are injected.
    failing_until: Mutex<Option<Instant>>,
    /// Why the last write failed, until one succeeds: a disk that is full answers every question but this one.
    refused: Arc<Mutex<Option<String>>>,
    /// The last counts that were slow, and until when they are given again.
    counted: Arc<Mutex<Option<(StoreCounts, Instant)>>>,
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

impl PostgresStore {
    /// Connects and brings the schemas up to date.
    ///
    /// # Errors
    /// [`OpenError::Setting`] where a setting has to change: credentials, certificates, a schema of a newer program;
    /// [`OpenError::Unavailable`] where the server does not answer.
    pub async fn open(config: &PostgresConfig) -> Result<Self, OpenError> {
        let store = Self::prepare(config)?;
        let pools = Arc::clone(&store.pools);
        let limit = Duration::from_millis(config.call_timeout_ms);
        // migrations may take their time; that the server answers at all may not
        let answers = Arc::clone(&store.pools);
        let opening = async move {
            let late = |_| OpenError::Unavailable(format!("no answer within {} ms", limit.as_millis()));
            tokio::time::timeout(limit, try_connect(&answers)).await.map_err(late)??;
            schema::migrate(&pools).await
        };
        store.spawn(opening).await.map_err(|error| OpenError::Unavailable(error.to_string()))??;
        store.spawn_detached(upkeep::run(Arc::clone(&store.pools), config.upkeep.clone()));
        Ok(store)
    }

    /// As [`PostgresStore::open`], from outside of asynchronous code.
    ///
    /// # Errors
    /// As there.
    pub fn open_blocking(config: &PostgresConfig) -> Result<Self, OpenError> {
        let config = config.clone();
        let opening = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| OpenError::Unavailable(error.to_string()))?;
            runtime.block_on(Self::open(&config))
        });
        opening.join().map_err(|_| OpenError::Unavailable("opening panicked".to_owned()))?
    }

    fn prepare(config: &PostgresConfig) -> Result<Self, OpenError> {
        let pools = Arc::new(Pools::new(config)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tidemill-postgres")
            .enable_all()
            .build()
            .map_err(|error| OpenError::Unavailable(format!("no threads: {error}")))?;
        Ok(Self {
            pools,
            call_timeout: Duration::from_millis(config.call_timeout_ms),
            upkeep: config.upkeep.clone(),
            failing_until: Mutex::new(None),
            refused: Arc::default(),
            counted: Arc::default(),
            runtime: Some(runtime),
        })
    }

    /// Keeps the log's lines at warn and above and the bus's events in the schema `logging` from now on.
    pub fn keep_logs(&self, tap: &LogTap, bus: &EventBus) {
        let UpkeepConfig { queue_capacity, verdict_events, .. } = self.upkeep;
        let (logbook, carrying) = logbook::Logbook::attach(tap, bus, queue_capacity, verdict_events);
        self.spawn_detached(carrying);
        self.spawn_detached(logbook.keep(Arc::clone(&self.pools)));
    }

    /// Host, port and database.
    #[must_use]
    pub fn address(&self) -> &str {
        self.pools.analytics.address()
    }

    /// Makes and drops partitions and refreshes views now, as the daemon does by itself; for tests and tools.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn tend(&self) -> Result<(), StoreError> {
        let (pools, config) = (Arc::clone(&self.pools), self.upkeep.clone());
        let work = async move { upkeep::tend(&pools, &config, true).await };
        self.call("tend", work).await
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let Some(runtime) = &self.runtime else {
            return std::future::ready(Err(StoreError::Unavailable("the store is closing".to_owned()))).boxed();
        };
        // a caller that goes away takes its call with it
        let task = AbortOnDropHandle::new(runtime.spawn(work));
        task.map(|done| done.map_err(|error| StoreError::Unavailable(format!("the call ended early: {error}")))).boxed()
    }

    fn spawn_detached(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }

    /// Fails while faults are injected.
    fn fault(&self) -> Result<(), StoreError> {
        let failing = self.failing_until.lock().is_some_and(|until| Instant::now() < until);
        if failing { Err(StoreError::Unavailable("a fault was injected on purpose".to_owned())) } else { Ok(()) }
    }

    /// Runs a call on the store's threads, within its deadline, and measures it.
    fn call<'a, T: Send + 'static>(
        &'a self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        async move {
            let started = Instant::now();
            let (pools, limit) = (Arc::clone(&self.pools), self.call_timeout);
            let timed = async move {
                let address = pools.analytics.address();
                match tokio::time::timeout(limit, work).await {
                    Ok(done) => done.map_err(|failure| failure.into_store(address)),
                    Err(_) => Err(StoreError::Unavailable(format!(
                        "postgres at {address}: no answer within {} ms",
                        limit.as_millis()
                    ))),
                }
            };
            let result = match self.fault() {
                Ok(()) => self.spawn(timed).await.and_then(|done| done),
                Err(error) => Err(error),
            };
            measure(operation, &result, started);
            result
        }
        .boxed()
    }

    /// As [`PostgresStore::call`], noting whether the server takes writes.
    fn writing<'a, T: Send + 'static>(
        &'a self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        async move {
            let result = self.call(operation, work).await;
            *self.refused.lock() = match &result {
                Err(StoreError::Unavailable(why)) => Some(why.clone()),
                _ => None,
            };
            result
        }
        .boxed()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        for pool in self.pools.all() {
            pool.close();
        }
        if let Some(runtime) = self.runtime.take() {
            // waiting is not allowed on an async thread
            let closing = std::thread::spawn(move || runtime.shutdown_timeout(CLOSE_TIMEOUT));
            let _ = closing.join();
        }
    }
}

fn measure<T>(operation: &'static str, result: &Result<T, StoreError>, started: Instant) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(StoreError::Unavailable(_)) => "unavailable",
        Err(StoreError::Refused(_)) => "refused",
        Err(StoreError::InvalidQuery(_)) => "invalid",
        Err(StoreError::Damaged(_)) => "damaged",
    };
    store_operation(STORE, operation, outcome, started.elapsed());
}

/// Logs in once to each database, to tell what is wrong in words of the start.
async fn try_connect(pools: &Pools) -> Result<(), OpenError> {
    for pool in pools.all() {
        let (client, driver) = pool.connect().await?;
        drop(client);
        driver.abort();
    }
    Ok(())
}

/// Whether the server answers and takes writes.
async fn ping(pool: &Pool) -> Result<(), Failure> {
    let rows = queries::Values::default()
        .query(pool, "SELECT current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery()")
        .await?;
    let read_only = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    if read_only {
        return Err(StoreError::Unavailable(format!("postgres at {}: is read-only", pool.address())).into());
    }
    Ok(())
}

impl DocumentStore for PostgresStore {
    fn write(&self, rows: Vec<VerdictRow>) -> BoxFuture<'_, Result<Vec<WriteOutcome>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.writing("write", async move { verdicts::write(&pools, &rows).await })
    }

    fn note_deliveries(&self, rows: Vec<DeliveryRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.writing("note_deliveries", async move { deliveries::note(&pools, rows).await })
    }

    fn deliveries_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRow>, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.to_owned());
        self.call("deliveries_of", async move { deliveries::of(&pools, &id).await })
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>> {
        let (pools, ids) = (Arc::clone(&self.pools), [Arc::from(id)]);
        self.call("get", async move { Ok(queries::get_many(&pools, &ids).await?.pop()) })
    }

    fn get_many<'a>(&'a self, ids: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>> {
        let (pools, ids) = (Arc::clone(&self.pools), ids.to_vec());
        self.call("get_many", async move { queries::get_many(&pools, &ids).await })
    }

    fn by_correlation<'a>(&'a self, correlation_id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), correlation_id.to_owned());
        self.call("by_correlation", async move { queries::by_correlation(&pools, &id).await })
    }

    fn list(&self, filter: DocumentFilter) -> BoxFuture<'_, Result<Page<StoredDocument>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("list", async move {
            checked_limit(filter.limit)?;
            let after = Cursor::decode(filter.cursor.as_deref(), queries::LISTING)?;
            queries::list(&pools, &filter, after).await
        })
    }

    fn remember<'a>(
        &'a self,
        since_ms: i64,
        mut visit: Box<dyn FnMut(RememberedDocument) + Send + 'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let started = Instant::now();
            let result = async {
                self.fault()?;
                let (sender, mut chunks) = mpsc::channel(2);
                let (pools, limit) = (Arc::clone(&self.pools), self.call_timeout);
                let reading = self.spawn(read_chunks(pools, since_ms, limit, sender));
                let visiting = async {
                    while let Some(chunk) = chunks.recv().await {
                        Vec::into_iter(chunk).for_each(&mut visit);
                    }
                };
                let (read, ()) = futures_util::future::join(reading, visiting).await;
                read?
            }
            .await;
            measure("remember", &result, started);
            result
        }
        .boxed()
    }

    fn write_dead_letter(&self, letter: StoredDeadLetter) -> BoxFuture<'_, Result<(), StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.writing("write_dead_letter", async move { dead_letters::write(&pools, &letter).await })
    }

    fn dead_letters(&self, filter: DeadLetterFilter) -> BoxFuture<'_, Result<Page<StoredDeadLetter>, StoreError>> {
        let pools = Arc::clone(&self.pools);
        self.call("dead_letters", async move {
            checked_limit(filter.limit)?;
            let after = Cursor::decode(filter.cursor.as_deref(), dead_letters::LISTING)?;
            dead_letters::list(&pools, &filter, after).await
        })
    }

    fn dead_letter<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDeadLetter>, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.to_owned());
        self.call("dead_letter", async move { dead_letters::get(&pools, &id).await })
    }

    fn dead_letters_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDeadLetter>, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.to_owned());
        self.call("dead_letters_of", async move { dead_letters::of(&pools, &id).await })
    }

    fn mark_replayed<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.to_owned());
        self.call("mark_replayed", async move { dead_letters::mark_replayed(&pools, &id).await })
    }

    fn purge_dead_letters<'a>(&'a self, id: Option<&'a str>) -> BoxFuture<'a, Result<u64, StoreError>> {
        let (pools, id) = (Arc::clone(&self.pools), id.map(str::to_owned));
        self.call("purge_dead_letters", async move { dead_letters::purge(&pools, id.as_deref()).await })
    }

    fn counts(&self) -> BoxFuture<'_, Result<StoreCounts, StoreError>> {
        let known = self.counted.lock().filter(|(_, until)| Instant::now() < *until);
        let (pools, counted) = (Arc::clone(&self.pools), Arc::clone(&self.counted));
        self.call("counts", async move {
            if let Some((counts, _)) = known {
                return Ok(counts);
            }
            let started = Instant::now();
            let counts = queries::counts(&pools).await?;
            let took = started.elapsed();
            if took > SLOW_COUNT {
                *counted.lock() = Some((counts, started + took * 30));
            }
            Ok(counts)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let pools = Arc::clone(&self.pools);
        let refused = Arc::clone(&self.refused);
        self.call("check", async move {
            let all = async {
                for pool in pools.all() {
                    ping(pool).await?;
                }
                match refused.lock().clone() {
                    Some(why) => Err(StoreError::Unavailable(format!("the last write failed: {why}")).into()),
                    None => Ok(()),
                }
            };
            let late = || StoreError::Unavailable(format!("no answer within {} s", CHECK_TIMEOUT.as_secs()));
            tokio::time::timeout(CHECK_TIMEOUT, all).await.unwrap_or_else(|_| Err(late().into()))
        })
    }

    fn fail_for(&self, duration: Duration) {
        *self.failing_until.lock() = Some(Instant::now() + duration);
    }

    fn describe(&self) -> String {
        format!("postgres at {}", self.address())
    }

    fn pools(&self) -> Vec<PoolStatus> {
        self.pools.all().map(Pool::status).into()
    }
}

/// Reads everything from a time on, chunk after chunk, each within the deadline of a call.
async fn read_chunks(
    pools: Arc<Pools>,
    since_ms: i64,
    limit: Duration,
    chunks: mpsc::Sender<Vec<RememberedDocument>>,
) -> Result<(), StoreError> {
    let address = pools.analytics.address().to_owned();
    let mut from = Some(Reached::before(since_ms));
    while let Some(place) = from {
        let late =
            |_| StoreError::Unavailable(format!("postgres at {address}: no answer within {} ms", limit.as_millis()));
        let read = tokio::time::timeout(limit, queries::remember(&pools, place)).await.map_err(late)?;
        let (chunk, reached) = read.map_err(|failure| failure.into_store(&address))?;
        if chunks.send(chunk).await.is_err() {
            return Ok(()); // nobody wants the rest
        }
        from = reached;
    }
    Ok(())
}
