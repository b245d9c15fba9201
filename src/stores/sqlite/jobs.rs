//! The job queue in a `SQLite` file of its own, so that jobs and documents never wait for each other's syncs.
//!
//! Every call is one transaction of the one writing connection; who reads uses another.

mod rows;
mod steps;

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::broadcast;

use self::steps::Step;
use super::connection::JOB_MIGRATIONS;
use super::workers::Workers;
use crate::config::store::StoreConfig;
use crate::messages::job::{Job, NewJob};
use crate::stores::documents::{Page, StoreError};
use crate::stores::jobs::{
    Beat, Claim, Clock, Depth, End, Enqueued, Held, JobError, JobFilter, JobQueue, Lease, Passed, QueueRules, Wake,
    Wakes, checked_limit, decode_cursor, millis,
};
use crate::telemetry::metrics::store_operation;

/// Label of this store in metrics.
const STORE: &str = "sqlite_jobs";
/// How long a health check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The queue; dropping it finishes what is being written and closes the file.
pub struct SqliteJobs {
    workers: Workers,
    rules: QueueRules,
    clock: Clock,
    wakes: Wakes,
}

impl SqliteJobs {
    /// Opens or creates the file and brings its schema up to date. Of `config` the limits and deadlines count.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names a file that is no queue of ours or of a newer program;
    /// [`StoreError::Unavailable`] one that can't be opened.
    pub fn open(path: &Path, config: &StoreConfig, rules: QueueRules, clock: Clock) -> Result<Self, StoreError> {
        // listings and counts are rare: one reader will do
        let config = StoreConfig { readers: 1, ..config.clone() };
        Ok(Self { workers: Workers::start(path, &config, JOB_MIGRATIONS)?, rules, clock, wakes: Wakes::default() })
    }

    /// Gives back every job whose worker cannot be alive any more, as the process that held the file is gone. How many.
    ///
    /// # Errors
    /// If the file does not answer.
    pub async fn recover(&self) -> Result<u64, JobError> {
        let step = self.step();
        self.call("recover", self.workers.write(1, move |connection| step.recover(connection))).await
    }

    fn step(&self) -> Step {
        Step { rules: self.rules, now: self.clock.now_ms() }
    }

    /// Runs one atomic step.
    fn change<'a, T: Send + 'static>(
        &'a self,
        operation: &'static str,
        work: impl FnOnce(&Connection, Step) -> rusqlite::Result<Result<T, JobError>> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, JobError>> {
        let step = self.step();
        let written = self.workers.write(1, move |connection| work(connection, step));
        async move { self.call(operation, written).await? }.boxed()
    }

    /// Measures a call.
    async fn call<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, JobError> {
        let started = Instant::now();
        let result = work.await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(StoreError::Refused(_)) => "refused",
            Err(StoreError::InvalidQuery(_)) => "invalid",
            Err(StoreError::Damaged(_)) => "damaged",
        };
        store_operation(STORE, operation, outcome, started.elapsed());
        Ok(result?)
    }
}

impl JobQueue for SqliteJobs {
    fn enqueue(&self, job: NewJob, capacity: u64) -> BoxFuture<'_, Result<Enqueued, JobError>> {
        let kind = job.kind.clone();
        let done = self.change("enqueue", move |connection, step| step.enqueue(connection, &job, capacity));
        async move {
            let done = done.await?;
            self.wakes.tell(Wake::Work(kind));
            Ok(done)
        }
        .boxed()
    }

    fn claim<'a>(&'a self, kind: &'a str, worker: &'a str, lease: Duration) -> BoxFuture<'a, Result<Claim, JobError>> {
        let (kind, worker, lease) = (kind.to_owned(), worker.to_owned(), millis(lease));
        self.change("claim", move |connection, step| step.claim(connection, &kind, &worker, lease).map(Ok))
    }

    fn beat(&self, beats: Vec<Beat>, lease: Duration) -> BoxFuture<'_, Result<Vec<Held>, JobError>> {
        let lease = millis(lease);
        self.change("beat", move |connection, step| {
            beats.iter().map(|beat| step.beat(connection, beat, lease)).collect::<rusqlite::Result<_>>().map(Ok)
        })
    }

    fn finish(&self, lease: Lease, end: End) -> BoxFuture<'_, Result<Job, JobError>> {
        let kind = lease.kind.clone();
        let done = self.change("finish", move |connection, step| step.finish(connection, &lease, end));
        async move {
            let job = done.await?;
            if !job.state.is_finished() {
                self.wakes.tell(Wake::Work(kind));
            }
            Ok(job)
        }
        .boxed()
    }

    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Job, JobError>> {
        let id = id.to_owned();
        let done = self.change("cancel", move |connection, step| step.cancel(connection, &id));
        async move {
            let job = done.await?;
            if !job.state.is_finished() {
                self.wakes.tell(Wake::Cancel(job.id.clone()));
            }
            Ok(job)
        }
        .boxed()
    }

    fn replay<'a>(&'a self, id: &'a str, capacity: u64) -> BoxFuture<'a, Result<Job, JobError>> {
        let id = id.to_owned();
        let done = self.change("replay", move |connection, step| step.replay(connection, &id, capacity));
        async move {
            let job = done.await?;
            self.wakes.tell(Wake::Work(job.kind.clone()));
            Ok(job)
        }
        .boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>, JobError>> {
        let id = id.to_owned();
        let read = self.workers.read(move |connection| rows::get(connection, &id));
        async move { Ok(self.call("get", read).await?.map(|row| row.job)) }.boxed()
    }

    fn list(&self, filter: JobFilter) -> BoxFuture<'_, Result<Page<Job>, JobError>> {
        async move {
            checked_limit(filter.limit)?;
            let before = decode_cursor(filter.cursor.as_deref())?;
            self.call("list", self.workers.read(move |connection| rows::list(connection, &filter, before))).await
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, kind: &'a str) -> BoxFuture<'a, Result<Passed, JobError>> {
        let kind = kind.to_owned();
        self.change("sweep", move |connection, step| step.sweep(connection, &kind).map(Ok))
    }

    fn depths(&self) -> BoxFuture<'_, Result<Vec<Depth>, JobError>> {
        self.call("depths", self.workers.read(rows::depths)).boxed()
    }

    fn subscribe(&self) -> broadcast::Receiver<Wake> {
        self.wakes.subscribe()
    }

    fn hears_others(&self) -> bool {
        true // the file is one process's own: there are no others
    }

    fn check(&self) -> BoxFuture<'_, Result<(), JobError>> {
        async move {
            // takes and gives back the write lock: a disk that does not write is ill
            let both = async {
                self.workers.read(|connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await?;
                self.workers.write(0, |_| Ok(())).await
            };
            let late = || Err(StoreError::Unavailable(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())));
            let answer = async { tokio::time::timeout(CHECK_TIMEOUT, both).await.unwrap_or_else(|_| late()) };
            self.call("check", answer).await
        }
        .boxed()
    }
}
