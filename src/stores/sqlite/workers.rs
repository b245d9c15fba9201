//! The threads that own connections: one that writes, some that read. Queues are bounded, calls have a deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::connection::{open_reader, open_writer, store_error};
use crate::config::store::StoreConfig;
use crate::stores::documents::StoreError;
use crate::stores::pools::PoolStatus;

/// Name of the thread that writes.
const WRITER: &str = "sqlite-writer";

/// Tells a job's caller how its transaction ended.
type Completion = Box<dyn FnOnce(&Result<(), StoreError>) + Send>;

/// Gets the connection inside the transaction, or why there is none.
type Work = Box<dyn FnOnce(Result<&mut Connection, StoreError>) -> Completion + Send>;

/// A piece of work inside the writer's transaction.
struct WriteJob {
    /// Rows it writes, for the bound on one transaction.
    rows: usize,
    run: Work,
}

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// What runs the jobs.
pub(super) struct Workers {
    path: PathBuf,
    /// Jobs that each kind of thread has in work, [writing, reading].
    working: Arc<[AtomicUsize; 2]>,
    call_timeout: Duration,
    /// `None` once closed.
    ways: RwLock<Option<Ways>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// To the threads.
#[derive(Clone)]
struct Ways {
    writer: mpsc::Sender<WriteJob>,
    readers: mpsc::Sender<ReadJob>,
}

impl Workers {
    /// Opens all connections and starts their threads.
    pub(super) fn start(path: &Path, config: &StoreConfig, migrations: &[&str]) -> Result<Self, StoreError> {
        let busy_timeout = Duration::from_millis(config.busy_timeout_ms);
        let (writer, jobs) = mpsc::channel(config.queue_capacity);
        let connection = open_writer(path, busy_timeout, migrations)?;
        let (file, max_rows) = (path.to_owned(), config.max_batch_rows);
        let working = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let writing = Arc::clone(&working);
        let write = move || write_jobs(connection, jobs, (&file, max_rows), &writing[0]);
        let mut threads = vec![spawn(WRITER, write)?];
        let (readers, jobs) = mpsc::channel(config.queue_capacity);
        let jobs = Arc::new(Mutex::new(jobs));
        for index in 0..config.readers {
            let connection = open_reader(path, busy_timeout)?;
            let jobs = Arc::clone(&jobs);
            let reading = Arc::clone(&working);
            let read = move || read_jobs(&connection, &jobs, &reading[1]);
            threads.push(spawn(&format!("sqlite-reader-{index}"), read)?);
        }
        let call_timeout = Duration::from_millis(config.call_timeout_ms);
        let ways = RwLock::new(Some(Ways { writer, readers }));
        Ok(Self { path: path.to_owned(), working, call_timeout, ways, threads: Mutex::new(threads) })
    }

    /// Runs `work` in a transaction, maybe together with others; resolved means durable. An error of `work` undoes
    /// what `work` did and nothing else.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let run = Box::new(move |connection: Result<&mut Connection, StoreError>| -> Completion {
            let result = connection
                .and_then(|connection| in_savepoint(connection, work).map_err(|error| store_error(&error, &path)));
            Box::new(move |committed: &Result<(), StoreError>| {
                // The caller may have gone; then nobody wants to know.
                let _ = reply.send(match committed {
                    Ok(()) => result,
                    Err(error) => result.and(Err(error.clone())),
                });
            })
        });
        let ways = self.ways()?;
        let call = async {
            ways.writer.send(WriteJob { rows, run }).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        self.in_time(call).await
    }

    /// Runs `work` on a reading connection.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let job: ReadJob = Box::new(move |connection| {
            let _ = reply.send(work(connection).map_err(|error| store_error(&error, &path)));
        });
        let ways = self.ways()?;
        let call = async {
            ways.readers.send(job).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        self.in_time(call).await
    }

    /// Starts `work` on a reading connection without waiting for it; for streams, which have their own bound.
    pub(super) async fn start_read(&self, work: impl FnOnce(&Connection) + Send + 'static) -> Result<(), StoreError> {
        let ways = self.ways()?;
        self.in_time(async { ways.readers.send(Box::new(work)).await.map_err(|_| gone()) }).await
    }

    /// Lets the threads finish what is queued and closes the connections; later calls fail.
    pub(super) fn close(&self) {
        let Some(Ways { writer, readers }) = self.ways.write().take() else { return };
        let threads = std::mem::take(&mut *self.threads.lock());
        // Who closes last takes the write-ahead log back into the file, which a reader may not.
        drop(readers);
        let (writers, readers): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(|thread| thread.thread().name() == Some(WRITER));
        let join = |thread: JoinHandle<()>| {
            // A thread that panicked has nothing left to close.
            let _ = thread.join();
        };
        readers.into_iter().for_each(join);
        drop(writer);
        writers.into_iter().for_each(join);
    }

    fn ways(&self) -> Result<Ways, StoreError> {
        self.ways
            .read()
            .clone()
            .ok_or_else(|| StoreError::Unavailable(format!("{}: the store is closed", self.path.display())))
    }

    /// How busy the connections are.
    pub(super) fn pools(&self) -> Vec<PoolStatus> {
        let status = |store, kind: usize, max: usize, waiting| {
            let used = self.working[kind].load(Ordering::Relaxed).min(max);
            let address = self.path.display().to_string();
            PoolStatus { store, address, max, size: max, available: max - used, used, waiting }
        };
        let ways = self.ways.read();
        let (writing, reading) = ways.as_ref().map_or((0, 0), |ways| (waiting(&ways.writer), waiting(&ways.readers)));
        vec![
            status("sqlite_writer", 0, 1, writing),
            status("sqlite_readers", 1, self.threads.lock().len().saturating_sub(1), reading),
        ]
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::time::timeout(self.call_timeout, call).await.unwrap_or_else(|_| {
            let millis = self.call_timeout.as_millis();
            Err(StoreError::Unavailable(format!("{}: no answer within {millis} ms", self.path.display())))
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

/// Jobs in a queue.
fn waiting<T>(queue: &mpsc::Sender<T>) -> usize {
    queue.max_capacity() - queue.capacity()
}

fn gone() -> StoreError {
    StoreError::Unavailable("the store's thread gave up this call, see the log".to_owned())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| StoreError::Unavailable(format!("can't start thread {name}: {error}")))
}

fn in_savepoint<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let savepoint = connection.savepoint()?;
    let result = work(&savepoint)?;
    savepoint.commit()?;
    Ok(result)
}

/// The writer's loop: what is waiting shares one transaction and one sync.
fn write_jobs(
    mut connection: Connection,
    mut jobs: mpsc::Receiver<WriteJob>,
    (path, max_rows): (&Path, usize),
    working: &AtomicUsize,
) {
    while let Some(first) = jobs.blocking_recv() {
        working.store(1, Ordering::Relaxed);
        let mut rows = first.rows;
        let mut batch = vec![first];
        while rows < max_rows
            && let Ok(next) = jobs.try_recv()
        {
            rows += next.rows;
            batch.push(next);
        }
        let mut completions = Vec::with_capacity(batch.len());
        let outcome = catch_unwind(AssertUnwindSafe(|| run_batch(&mut connection, batch, &mut completions, path)));
        roll_back(&connection);
        working.store(0, Ordering::Relaxed);
        let Ok(committed) = outcome else {
            // Callers see their replies dropped and try again.
            tracing::error!(store = "sqlite", "a write panicked");
            continue;
        };
        for completion in completions {
            completion(&committed);
        }
    }
}

fn run_batch(
    connection: &mut Connection,
    batch: Vec<WriteJob>,
    completions: &mut Vec<Completion>,
    path: &Path,
) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| store_error(&error, path);
    let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(failed);
    for job in batch {
        // A full disk ends the transaction from within: nothing may be written outside of one.
        let usable = match &begun {
            Ok(()) if connection.is_autocommit() => {
                Err(StoreError::Unavailable(format!("{}: the transaction was lost", path.display())))
            }
            Ok(()) => Ok(&mut *connection),
            Err(error) => Err(error.clone()),
        };
        completions.push((job.run)(usable));
    }
    begun?;
    connection.execute_batch("COMMIT").map_err(failed)
}

/// Ends a transaction that was left open by a failure.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(store = "sqlite", %error, "roll back failed");
    }
}

/// A reader's loop.
fn read_jobs(connection: &Connection, jobs: &Mutex<mpsc::Receiver<ReadJob>>, working: &AtomicUsize) {
    loop {
        let job = jobs.lock().blocking_recv();
        let Some(job) = job else { return };
        working.fetch_add(1, Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| job(connection)));
        working.fetch_sub(1, Ordering::Relaxed);
        if outcome.is_err() {
            tracing::error!(store = "sqlite", "a read panicked");
        }
    }
}
