//! What the dispatcher and the API need of a job queue: leases, not visibility timeouts. See `docs/semantics.md`.
//!
//! Order within a kind: a job's rank is the time from which it may start less `priority * aging`; the smallest goes
//! first, then the earliest enqueued. So a job that has been ready for `(9 - priority) * aging` goes before everything
//! that became ready after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::broadcast;

use super::documents::{Page, StoreError};
use crate::messages::job::{Job, JobChange, JobState, NewJob};

/// Wake-ups a listener may be behind before it misses some.
const WAKE_CAPACITY: usize = 1024;
/// Changes that one call brings about by itself at most; the rest comes with the next.
pub const MAX_CHANGES: usize = 1000;

/// Why a call to the queue failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The queue is away or busy; the same call may succeed later.
    #[error("the job queue is unavailable: {0}")]
    Unavailable(String),
    /// So many jobs of the kind wait already.
    #[error("{capacity} jobs of kind {kind} wait already")]
    Full {
        /// The kind.
        kind: Arc<str>,
        /// How many may wait.
        capacity: u64,
    },
    /// There is no such job.
    #[error("there is no job {0:?}")]
    NotFound(String),
    /// The job's state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The worker lost the lease: the job is another's, or finished.
    #[error("the lease of job {0} is lost")]
    LeaseLost(Arc<str>),
    /// The queue refuses this data.
    #[error("the job queue refused the data: {0}")]
    Refused(String),
    /// The query is wrong, such as a cursor that is not ours.
    #[error("{0}")]
    InvalidQuery(String),
    /// What is kept can't be read any more.
    #[error("the job queue is damaged: {0}")]
    Damaged(String),
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(said) => Self::Unavailable(said),
            StoreError::Refused(said) => Self::Refused(said),
            StoreError::InvalidQuery(said) => Self::InvalidQuery(said),
            StoreError::Damaged(said) => Self::Damaged(said),
        }
    }
}

/// How every job of a queue is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRules {
    /// A waiting job gains one level of priority in this time.
    pub aging: Duration,
    /// Finished jobs kept per kind, the dead not counted.
    pub keep_finished: usize,
    /// Dead jobs kept per kind.
    pub keep_dead: usize,
    /// Finished jobs are kept for this long at most, the dead excepted.
    pub keep_for: Duration,
}

impl Default for QueueRules {
    fn default() -> Self {
        Self { aging: Duration::from_mins(1), keep_finished: 100, keep_dead: 1000, keep_for: Duration::from_hours(168) }
    }
}

impl QueueRules {
    /// Where a job stands in the line: the smaller, the sooner.
    #[must_use]
    pub fn rank(&self, ready_ms: i64, priority: u8) -> i64 {
        ready_ms.saturating_sub(i64::from(priority).saturating_mul(millis(self.aging)))
    }
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a queue takes for the time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The clock of the machine the queue lives on.
    #[default]
    System,
    /// Set by hand, milliseconds since the Unix epoch; for tests.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Milliseconds since the Unix epoch, by this process's clock.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.manual_ms().unwrap_or_else(|| Utc::now().timestamp_millis())
    }

    /// The time set by hand, if it is.
    #[must_use]
    pub fn manual_ms(&self) -> Option<i64> {
        match self {
            Self::System => None,
            Self::Manual(now) => Some(now.load(Ordering::SeqCst)),
        }
    }
}

/// What enqueuing did.
#[derive(Debug, Clone, PartialEq)]
pub struct Enqueued {
    /// The job in the queue.
    pub job: Job,
    /// It was there already, by its key.
    pub existing: bool,
}

/// A worker's hold on a running job. Every claim gives a new fence: who holds an older one can do nothing to the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub id: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Counts the claims of the job.
    pub fence: u64,
}

/// What time did to the jobs of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Delayed jobs that became due, jobs skipped, leases lost.
    pub changed: Vec<JobChange>,
    /// When time does the next thing, milliseconds since the Unix epoch; `None` if nothing waits for it.
    pub next_ms: Option<i64>,
    /// The queue's own time at this call.
    pub now_ms: i64,
}

/// What a claim found.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The job to do now, with its lease.
    pub taken: Option<(Job, Lease)>,
    /// What time did meanwhile.
    pub passed: Passed,
}

/// Sign of life for one lease, and how far the job is.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// The lease to hold on to.
    pub lease: Lease,
    /// Progress since the last beat, 0 to 1 with a message.
    pub progress: Option<(f64, String)>,
}

/// The answer to a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The lease holds for its whole time again.
    Yes,
    /// The lease holds, and the job was called off: end soon.
    Cancelled,
    /// The lease is lost: whatever the handler does counts for nothing.
    Lost,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Well, with this result.
    Succeeded(Value),
    /// Not: tried again after `retry`, unless it was the last attempt; never again with `None`.
    Failed {
        /// What went wrong.
        error: String,
        /// How long to wait.
        retry: Option<Duration>,
    },
    /// Called off, as was asked.
    Cancelled,
    /// The worker stops: the job waits again where it stood, and the attempt is not counted.
    GivenBack,
}

/// Restricts a listing, newest first.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Only those of this kind.
    pub kind: Option<String>,
    /// At most this many (1 to 1000).
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// How many jobs of a kind there are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// The kind.
    pub kind: String,
    /// May start now.
    pub queued: u64,
    /// May start later.
    pub delayed: u64,
    /// A worker has them.
    pub running: u64,
    /// Given up and kept.
    pub dead: u64,
}

/// Something happened that a dispatcher may want to know at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// There is a job of this kind to start, now or at a new time.
    Work(Arc<str>),
    /// This running job was called off.
    Cancel(Arc<str>),
}

/// Tells dispatchers of this process what happened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wakes(broadcast::Sender<Wake>);

impl Default for Wakes {
    fn default() -> Self {
        Self(broadcast::channel(WAKE_CAPACITY).0)
    }
}

impl Wakes {
    /// Tells all listeners.
    pub fn tell(&self, wake: Wake) {
        // Without a listener there is nobody to wake.
        let _ = self.0.send(wake);
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Wake> {
        self.0.subscribe()
    }
}

/// A durable queue of jobs. Resolved calls are durable; every call is atomic and bounded in time.
pub trait JobQueue: Send + Sync {
    /// Takes a job, or gives the unfinished job of its kind with the same key.
    ///
    /// Fails with [`JobError::Full`] if `capacity` jobs of the kind wait, queued or delayed.
    fn enqueue(&self, job: NewJob, capacity: u64) -> BoxFuture<'_, Result<Enqueued, JobError>>;

    /// Takes the job of this kind that is first in line, for as long as the lease is kept alive.
    fn claim<'a>(&'a self, kind: &'a str, worker: &'a str, lease: Duration) -> BoxFuture<'a, Result<Claim, JobError>>;

    /// Keeps leases alive. One answer per beat.
    fn beat(&self, beats: Vec<Beat>, lease: Duration) -> BoxFuture<'_, Result<Vec<Held>, JobError>>;

    /// Ends an attempt; the job as it is then. Fails with [`JobError::LeaseLost`] without the lease.
    ///
    /// A job that was called off ends as cancelled, unless it succeeded.
    fn finish(&self, lease: Lease, end: End) -> BoxFuture<'_, Result<Job, JobError>>;

    /// Calls a job off: one that waits is cancelled at once, the worker of one that runs is told. Fails with
    /// [`JobError::Conflict`] if it is finished.
    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Job, JobError>>;

    /// Puts a dead, cancelled or skipped job in the queue again, with all its attempts; its errors are kept. Fails with
    /// [`JobError::Conflict`] in any other state or when another job has its key, with [`JobError::Full`] as enqueuing.
    fn replay<'a>(&'a self, id: &'a str, capacity: u64) -> BoxFuture<'a, Result<Job, JobError>>;

    /// The job.
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>, JobError>>;

    /// One page of jobs.
    fn list(&self, filter: JobFilter) -> BoxFuture<'_, Result<Page<Job>, JobError>>;

    /// Lets time do what is due for this kind, and forgets finished jobs beyond those to keep.
    fn sweep<'a>(&'a self, kind: &'a str) -> BoxFuture<'a, Result<Passed, JobError>>;

    /// How many jobs there are, by kind.
    fn depths(&self) -> BoxFuture<'_, Result<Vec<Depth>, JobError>>;

    /// Wake-ups from now on. They may be lost: whoever needs none to be missed asks the queue now and then.
    fn subscribe(&self) -> broadcast::Receiver<Wake>;

    /// Whether wake-ups of other processes come through now; without them new jobs are found by asking.
    fn hears_others(&self) -> bool;

    /// Whether the queue answers; for health checks. Deadline 2 s.
    fn check(&self) -> BoxFuture<'_, Result<(), JobError>>;
}

/// Marks cursors of job listings.
const LISTING: char = 'j';

/// The cursor of a page that ended with the job of this sequence number.
pub(crate) fn encode_cursor(seq: i64) -> String {
    format!("{LISTING}{seq:016x}")
}

/// Reads a cursor back; without one, above every job.
pub(crate) fn decode_cursor(text: Option<&str>) -> Result<i64, JobError> {
    let Some(text) = text else { return Ok(i64::MAX) };
    let digits = text.strip_prefix(LISTING).filter(|digits| digits.len() == 16);
    let valid = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    valid
        .and_then(|digits| i64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| JobError::InvalidQuery("cursor is not one this listing gave".to_owned()))
}

/// Checks a page's size.
pub(crate) fn checked_limit(limit: usize) -> Result<usize, JobError> {
    if (1..=1000).contains(&limit) {
        return Ok(limit);
    }
    Err(JobError::InvalidQuery(format!("limit must be 1 to 1000, got {limit}")))
}

/// A time kept in milliseconds.
pub(crate) fn time(ms: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(ms)
}

/// What is said of a job whose worker was not heard of.
pub(crate) fn lost_lease(worker: &str) -> String {
    format!("worker {worker} was not heard of until its lease ended")
}

/// What is said of a job that was not started in time.
pub(crate) const EXPIRED: &str = "not started within its time to live";

/// What is said of a job that was called off.
pub(crate) const CALLED_OFF: &str = "called off";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_were_and_foreign_ones_are_refused() {
        assert_eq!(decode_cursor(Some(&encode_cursor(77))), Ok(77));
        assert_eq!(decode_cursor(None), Ok(i64::MAX));
        for text in ["", "j", "d0000000000000001", "j000000000000000g", "j+00000000000001", "jé"] {
            assert!(matches!(decode_cursor(Some(text)), Err(JobError::InvalidQuery(_))), "{text}");
        }
    }

    #[test]
    fn a_level_of_priority_is_worth_the_aging_time() {
        let rules = QueueRules { aging: Duration::from_mins(1), ..QueueRules::default() };
        assert_eq!(rules.rank(540_000, 9), rules.rank(0, 0));
        assert!(rules.rank(539_999, 9) < rules.rank(0, 0));
    }
}
