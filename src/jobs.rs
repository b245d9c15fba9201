//! Jobs: what submits them, what kinds there are, and what a handler sees. The queue itself is a store
//! ([`crate::stores::jobs`]), the workers are [`crate::actors::dispatcher`].
//!
//! A kind is one registration of an asynchronous handler with a typed payload:
//!
//! ```ignore
//! Registry::default().register("reindex", "compare the vector index with the store", move |request: Request, ctx| {
//!     reindex(stores.clone(), request, ctx)
//! })
//! ```

mod context;
mod registry;
mod running;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

pub use self::context::{JobContext, JobFailure, Outcome};
pub use self::registry::{Kind, Registry};
pub use self::running::{Cause, RunningJob};

use crate::config::jobs::{JobsConfig, KindLimits};
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::event::{EventBus, EventKind};
use crate::messages::job::{Job, JobChange, MAX_PRIORITY, NewJob};
use crate::stores::jobs::{Enqueued, JobError, JobQueue};
use crate::telemetry::events::JobStateChanged;

/// Most attempts a job may ask for.
pub const MAX_ATTEMPTS: u32 = 100;
/// Longest key of a job, in bytes.
const MAX_KEY_BYTES: usize = 512;
/// Longest time a job may be put off or have to live, in milliseconds: 366 days.
const MAX_AHEAD_MS: i64 = 366 * 86_400_000;

/// Why a job was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The job makes no sense.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The queue did not take it.
    #[error(transparent)]
    Queue(#[from] JobError),
}

/// The job queue as the daemon uses it: checked on the way in, told of on the way out.
pub struct Jobs {
    queue: Arc<dyn JobQueue>,
    registry: Registry,
    config: JobsConfig,
    events: Arc<EventBus>,
    /// What this process works on now, by job id.
    running: Mutex<HashMap<Arc<str>, Arc<RunningJob>>>,
    /// Name of this process among the workers.
    worker: String,
    /// Whether anybody works on what is submitted here.
    has_workers: bool,
}

impl Jobs {
    /// Over a queue.
    #[must_use]
    pub fn new(queue: Arc<dyn JobQueue>, registry: Registry, config: JobsConfig, events: Arc<EventBus>) -> Self {
        Self { queue, registry, config, events, running: Mutex::default(), worker: worker_name(), has_workers: true }
    }

    /// For a node that works on no jobs and shares its queue with none that does: nothing can be submitted.
    #[must_use]
    pub fn without_workers(self) -> Self {
        Self { has_workers: false, ..self }
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn JobQueue> {
        &self.queue
    }

    /// The kinds.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &JobsConfig {
        &self.config
    }

    /// Name of this process among the workers.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// What holds for the jobs of a kind.
    #[must_use]
    pub fn limits(&self, kind: &str) -> KindLimits {
        self.config.limits(kind)
    }

    /// Checks a job and puts it in the queue.
    ///
    /// # Errors
    /// [`SubmitError::Rejected`] names the field that makes no sense.
    pub async fn submit(&self, job: NewJob) -> Result<Enqueued, SubmitError> {
        self.check(&job)?;
        let capacity = self.limits(&job.kind).capacity;
        let done = self.queue.enqueue(job, capacity).await?;
        if !done.existing {
            self.tell(&JobChange::of(&done.job));
        }
        Ok(done)
    }

    fn check(&self, job: &NewJob) -> Result<(), Rejection> {
        if !self.has_workers {
            let said =
                "this node works on no jobs, and none that does shares its queue: set jobs.backend = \"redis\" on all";
            return Err(Rejection::new(ErrorCode::NotThisNode, said));
        }
        let Some(kind) = self.registry.get(&job.kind) else {
            let known: Vec<&str> = self.registry.names().collect();
            let said = format!("there is no kind {:?}; there are: {}", job.kind, known.join(", "));
            return Err(Rejection::field(ErrorCode::InvalidParameter, "kind", said));
        };
        kind.check(&job.payload).map_err(|(field, said)| Rejection::field(ErrorCode::WrongType, field, said))?;
        let bytes = serde_json::to_vec(&job.payload).map_or(usize::MAX, |text| text.len());
        if bytes > self.config.max_payload_bytes {
            let most = self.config.max_payload_bytes;
            let said = format!("the payload has {bytes} bytes, at most {most} are taken (jobs.max_payload_bytes)");
            return Err(Rejection::field(ErrorCode::TooLarge, "payload", said));
        }
        let wrong = |field: &str, said: String| Err(Rejection::field(ErrorCode::InvalidParameter, field, said));
        if job.priority > MAX_PRIORITY {
            return wrong("priority", format!("{} is not 0 to {MAX_PRIORITY}", job.priority));
        }
        if !(1..=MAX_ATTEMPTS).contains(&job.max_attempts) {
            return wrong("max_attempts", format!("{} is not 1 to {MAX_ATTEMPTS}", job.max_attempts));
        }
        if let Some(ttl) = job.ttl_ms.filter(|ttl| !(1..=MAX_AHEAD_MS).contains(ttl)) {
            return wrong("ttl_seconds", format!("{ttl} ms is not over 0 s and at most {} s", MAX_AHEAD_MS / 1000));
        }
        if job.run_at.is_some_and(|at| (at - chrono::Utc::now()).num_milliseconds() > MAX_AHEAD_MS) {
            return wrong("run_at", "it lies more than 366 days ahead".to_owned());
        }
        match &job.key {
            Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) => {
                wrong("key", format!("a key has 1 to {MAX_KEY_BYTES} bytes and no control characters"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Calls a job off.
    ///
    /// # Errors
    /// See [`JobQueue::cancel`].
    pub async fn cancel(&self, id: &str) -> Result<Job, JobError> {
        let job = self.queue.cancel(id).await?;
        if job.state.is_finished() {
            self.tell(&JobChange::of(&job));
        }
        Ok(job)
    }

    /// Puts a dead, cancelled or skipped job in the queue again.
    ///
    /// # Errors
    /// See [`JobQueue::replay`].
    pub async fn replay(&self, id: &str) -> Result<Job, JobError> {
        let found = self.queue.get(id).await?.ok_or_else(|| JobError::NotFound(id.to_owned()))?;
        let job = self.queue.replay(id, self.limits(&found.kind).capacity).await?;
        self.tell(&JobChange::of(&job));
        Ok(job)
    }

    /// Logs, counts and publishes a change.
    pub fn tell(&self, changed: &JobChange) {
        JobStateChanged { changed }.emit();
        self.events.publish(EventKind::job(changed));
    }

    /// Notes that this process works on a job.
    pub(crate) fn begin(&self, job: Arc<RunningJob>) {
        self.running.lock().insert(Arc::clone(&job.lease.id), job);
    }

    /// Notes that it does no more.
    pub(crate) fn end(&self, job: &RunningJob) {
        let mut running = self.running.lock();
        if running.get(&job.lease.id).is_some_and(|found| found.lease == job.lease) {
            running.remove(&job.lease.id);
        }
    }

    /// What a dispatcher left behind that ended without a word.
    pub(crate) fn take_left(&self) -> Vec<Arc<RunningJob>> {
        self.running.lock().drain().map(|(_, job)| job).collect()
    }

    /// What this process works on.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<RunningJob>> {
        self.running.lock().values().cloned().collect()
    }

    /// How many jobs of a kind this process works on.
    #[must_use]
    pub fn busy(&self, kind: &str) -> usize {
        self.running.lock().values().filter(|job| &*job.lease.kind == kind).count()
    }

    /// Tells a job of this process to end.
    pub(crate) fn stop(&self, id: &str, cause: Cause) {
        if let Some(job) = self.running.lock().get(id) {
            job.stop(cause);
        }
    }

    /// Workers, kinds and depths, for people.
    ///
    /// # Errors
    /// If the queue does not answer.
    pub async fn status(&self) -> Result<Value, JobError> {
        let depths = self.queue.depths().await?;
        let kinds = self.registry.iter().map(|kind| {
            let limits = self.limits(kind.name());
            let depth = depths.iter().find(|depth| depth.kind == kind.name());
            json!({
                "kind": kind.name(),
                "summary": kind.summary(),
                "workers": limits.workers,
                "busy": self.busy(kind.name()),
                "capacity": limits.capacity,
                "queued": depth.map_or(0, |depth| depth.queued),
                "delayed": depth.map_or(0, |depth| depth.delayed),
                "running": depth.map_or(0, |depth| depth.running),
                "dead": depth.map_or(0, |depth| depth.dead),
            })
        });
        let kinds: Vec<Value> = kinds.collect();
        let mut running: Vec<Value> = self.running().iter().map(|job| job.shown()).collect();
        running.sort_by(|left, right| left["id"].as_str().cmp(&right["id"].as_str()));
        Ok(json!({ "worker": self.worker, "kinds": kinds, "running": running }))
    }
}

/// A name no other process has: host, process and a random part, as process ids come again.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "host",
        name => name,
    };
    format!("{host}-{}-{:06x}", std::process::id(), fastrand::u32(..0x0100_0000))
}
