//! The embedded log: topics and partitions in one `SQLite` file, durable before it acknowledges.
//!
//! One writer thread owns the writing connection. It takes whatever waits (appends, commits, new topics), puts it into
//! one transaction and acknowledges all of it after one fsync: group commit. Consumers read on connections of their own
//! and are woken when something was appended.

mod consumer;
pub mod offsets;
mod producers;
mod retention;
mod rows;
mod schema;
mod state;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::state::{Routed, Shared};
use self::writer::{Answer, Command, Work, Writer};
use super::log::{BatchSequence, Log, LogConsumer, LogError, PartitionLag, SequencedAppend};
use crate::config::log::LogConfig;
use crate::messages::record::{NewRecord, Position};
use crate::telemetry::metrics;

/// Appends charge the buffer in these units.
const PERMIT_BYTES: usize = 1024;
/// What an append charges at least, so that the number of waiting appends is bounded as well.
const MIN_APPEND_PERMITS: usize = 64;
/// Commands besides appends that may wait for the writer.
const CONTROL_COMMANDS: usize = 1024;
/// Longest wait for a commit or a new consumer.
const CONTROL_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait of a health check.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// Why the embedded log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or lock file could not be made.
    #[error("{path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process has the log open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// `SQLite` refused the file.
    #[error("{path}: {source}")]
    Sqlite {
        /// The log's file.
        path: PathBuf,
        /// `SQLite`'s reason.
        source: rusqlite::Error,
    },
    /// The file was written by a newer version.
    #[error("{path} has schema version {found}; this version reads up to {known}")]
    NewerSchema {
        /// The log's file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version known.
        known: i64,
    },
}

/// The durable log in one `SQLite` file.
pub struct EmbeddedLog {
    /// What the writer knows, for everybody.
    shared: Arc<Shared>,
    /// To the writer; `None` while the log closes.
    commands: Mutex<Option<SyncSender<Command>>>,
    /// Bytes of appends that wait for the disk.
    buffer: Arc<Semaphore>,
    /// All the buffer's permits: a larger append takes these and goes alone.
    buffer_permits: usize,
    /// Joined at the close, so that the file is closed when the log is.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedLog {
    /// Opens or creates the log at `path`. Takes an exclusive lock beside it for as long as it lives.
    ///
    /// # Errors
    /// If another process has it open, or the file can't be read or written.
    pub fn open(path: &Path, config: &LogConfig) -> Result<Self, OpenError> {
        let lock = schema::lock(path)?;
        let connection = schema::open_for_writing(path, config.fsync)?;
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let state = state::State::load(&connection).map_err(sqlite)?;
        let shared = Arc::new(Shared::new(path.to_owned(), config.clone(), state));
        let buffer_permits =
            (config.append_buffer_bytes / PERMIT_BYTES).clamp(MIN_APPEND_PERMITS, Semaphore::MAX_PERMITS);
        let (sender, receiver) = sync_channel(buffer_permits / MIN_APPEND_PERMITS + CONTROL_COMMANDS);
        let writer = Writer::new(connection, Arc::clone(&shared), lock);
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self {
            shared,
            commands: Mutex::new(Some(sender)),
            buffer: Arc::new(Semaphore::new(buffer_permits)),
            buffer_permits,
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Makes every call fail with [`LogError::Unavailable`] for this long, as a full or absent disk would. For fault tests.
    pub fn fail_for(&self, duration: Duration) {
        self.shared.fail_until(Instant::now() + duration);
    }

    /// Runs retention now and waits for its end.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn retain_now(&self) -> Result<(), LogError> {
        self.ask(Work::Retain, None, CONTROL_DEADLINE).await.map(|_| ())
    }

    /// First kept and next offset of every partition of the topic.
    #[must_use]
    pub fn offsets(&self, topic: &str) -> Vec<(i64, i64)> {
        self.shared.offsets(topic)
    }

    fn sender(&self) -> Result<SyncSender<Command>, LogError> {
        self.commands.lock().clone().ok_or_else(|| LogError::Failed("the log is closed".to_owned()))
    }

    /// Sends work to the writer and waits for the answer.
    async fn ask(
        &self,
        work: Work,
        permit: Option<OwnedSemaphorePermit>,
        deadline: Duration,
    ) -> Result<Answer, LogError> {
        let (reply, answer) = oneshot::channel();
        let command = Command {
            work,
            reply: Box::new(move |result| {
                drop(permit);
                let _ = reply.send(result);
            }),
        };
        send(&self.sender()?, command)?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LogError::Unavailable("the log's writer stopped".to_owned())),
            Err(_) => Err(LogError::Unavailable(format!("no answer from the disk within {} ms", deadline.as_millis()))),
        }
    }

    /// Waits for room in the buffer.
    async fn permit(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, LogError> {
        let permits = (bytes / PERMIT_BYTES).clamp(MIN_APPEND_PERMITS, self.buffer_permits);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let waiting = Arc::clone(&self.buffer).acquire_many_owned(permits);
        match tokio::time::timeout_at(deadline.into(), waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(LogError::Failed("the log is closed".to_owned())),
            Err(_) => Err(LogError::Unavailable("too many appends wait for the disk".to_owned())),
        }
    }

    async fn append_routed(
        &self,
        records: Vec<NewRecord>,
        work: impl FnOnce(Vec<Routed>) -> Work,
    ) -> Result<Answer, LogError> {
        let deadline = Instant::now() + Duration::from_millis(self.shared.config.append_timeout_ms);
        let (routed, bytes) = self.shared.route(records)?;
        let permit = self.permit(bytes, deadline).await?;
        self.ask(work(routed), Some(permit), deadline.saturating_duration_since(Instant::now())).await
    }
}

/// Hands a command to the writer without waiting.
fn send(commands: &SyncSender<Command>, command: Command) -> Result<(), LogError> {
    commands.try_send(command).map_err(|error| match error {
        TrySendError::Full(_) => LogError::Unavailable("too much waits for the disk".to_owned()),
        TrySendError::Disconnected(_) => LogError::Unavailable("the log's writer stopped".to_owned()),
    })
}

/// Sends work to the writer and blocks this thread until the answer. For consumers, which have a thread of their own.
fn ask_blocking(commands: &SyncSender<Command>, work: Work, deadline: Duration) -> Result<Answer, LogError> {
    let (reply, answer) = sync_channel(1);
    let reply = Box::new(move |result| {
        let _ = reply.send(result);
    });
    send(commands, Command { work, reply })?;
    answer
        .recv_timeout(deadline)
        .map_err(|_| LogError::Unavailable(format!("no answer from the disk within {} ms", deadline.as_millis())))?
}

fn unexpected() -> LogError {
    LogError::Failed("the log's writer gave an answer to another question".to_owned())
}

impl Log for EmbeddedLog {
    fn ensure_topics<'a>(&'a self, topics: &'a [(String, i32)]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            if self.shared.has_topics(topics) {
                return self.shared.injected_failure().map_or(Ok(()), Err);
            }
            self.ask(Work::EnsureTopics(topics.to_vec()), None, CONTROL_DEADLINE).await.map(|_| ())
        })
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, LogError>> {
        Box::pin(async move {
            if records.is_empty() {
                return Ok(Vec::new());
            }
            let Answer::Positions(positions) = self.append_routed(records, Work::Append).await? else {
                return Err(unexpected());
            };
            for run in positions.chunk_by(|left, right| left.topic == right.topic) {
                metrics::records_appended(&run[0].topic, run.len() as u64);
            }
            Ok(positions)
        })
    }

    fn new_producer_id(&self) -> BoxFuture<'_, Result<i64, LogError>> {
        Box::pin(async move {
            match self.ask(Work::NewProducerId, None, CONTROL_DEADLINE).await? {
                Answer::ProducerId(id) => Ok(id),
                _ => Err(unexpected()),
            }
        })
    }

    fn append_once(
        &self,
        sequence: BatchSequence,
        records: Vec<NewRecord>,
    ) -> BoxFuture<'_, Result<SequencedAppend, LogError>> {
        Box::pin(async move {
            let Some(first) = records.first() else {
                return Err(LogError::Failed("a numbered batch needs a record".to_owned()));
            };
            let one_partition = first.partition.is_some()
                && records.iter().all(|record| record.topic == first.topic && record.partition == first.partition);
            if !one_partition {
                return Err(LogError::Failed("a numbered batch goes to one partition".to_owned()));
            }
            let count = records.len() as u64;
            let answer = self.append_routed(records, |routed| Work::AppendOnce(sequence, routed)).await?;
            let Answer::Sequenced(outcome) = answer else { return Err(unexpected()) };
            if let SequencedAppend::Appended(position) = &outcome {
                metrics::records_appended(&position.topic, count);
            }
            Ok(outcome)
        })
    }

    fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn LogConsumer>, LogError> {
        let consumer = consumer::EmbeddedConsumer::join(Arc::clone(&self.shared), self.sender()?, group, topics)?;
        Ok(Box::new(consumer))
    }

    fn lag<'a>(&'a self, group: &'a str, topics: &'a [String]) -> BoxFuture<'a, Result<Vec<PartitionLag>, LogError>> {
        Box::pin(async move {
            if let Some(error) = self.shared.injected_failure() {
                return Err(error);
            }
            self.shared.lag(group, topics)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move { self.ask(Work::Check, None, CHECK_DEADLINE).await.map(|_| ()) })
    }

    fn close(&self) {
        self.shared.close();
        let commands = self.commands.lock().take();
        if let Some(commands) = commands {
            // Only wakes the writer; if its queue is full it is awake anyway.
            let _ = commands.try_send(Command { work: Work::Check, reply: Box::new(|_| ()) });
        }
        let writer = self.writer.lock().take();
        if let Some(thread) = writer {
            let _ = thread.join();
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}
