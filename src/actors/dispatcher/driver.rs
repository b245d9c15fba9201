//! Sees one attempt of one job through: handler, time limit, calls to end, and the word to the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinHandle};

use crate::config::jobs::KindLimits;
use crate::jobs::{Cause, JobFailure, Jobs, Outcome, RunningJob};
use crate::messages::job::JobChange;
use crate::stores::jobs::{End, JobError};
use crate::supervisors::Backoff;
use crate::telemetry::metrics;

use super::heartbeat;

/// Waits between attempts to tell the queue how a job ended.
const PATIENCE: Backoff =
    Backoff { min: Duration::from_millis(50), max: Duration::from_secs(2), healthy_after: Duration::from_secs(30) };
/// Longest text of an error that is kept, in characters.
const MAX_ERROR_CHARS: usize = 2000;

/// Threads for handlers. Dropped, whatever still runs on them is cut off at its next wait.
pub(super) struct Handlers(Option<Runtime>);

impl Handlers {
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("tidemill-jobs")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Begins the work.
    pub(super) fn spawn(&self, work: impl Future<Output = Outcome> + Send + 'static) -> JoinHandle<Outcome> {
        match &self.0 {
            Some(runtime) => runtime.spawn(work),
            None => tokio::spawn(work), // never: it is taken only while dropping
        }
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // plain dropping would wait, which is not allowed on an async thread
            runtime.shutdown_background();
        }
    }
}

/// One attempt.
pub(super) struct Driver {
    pub(super) jobs: Arc<Jobs>,
    pub(super) running: Arc<RunningJob>,
    pub(super) limits: KindLimits,
}

impl Driver {
    /// Waits for the handler's end and tells the queue; the kind that has a worker free again.
    pub(super) async fn drive(self, handler: JoinHandle<Outcome>) -> Arc<str> {
        let kind = Arc::clone(&self.running.lease.kind);
        let end = self.await_end(handler).await;
        self.running.set_ended();
        metrics::job_ran(&kind, self.running.age());
        if let Some(end) = end {
            if self.running.has_news() {
                heartbeat::beat(&self.jobs).await;
            }
            self.report(end).await;
        }
        self.jobs.end(&self.running);
        kind
    }

    /// How it ended; `None` if that is nobody's business any more.
    async fn await_end(&self, mut handler: JoinHandle<Outcome>) -> Option<End> {
        tokio::select! {
            outcome = &mut handler => return self.end_of(outcome),
            () = self.running.stopping() => {}
            () = tokio::time::sleep(self.limits.timeout) => self.running.stop(Cause::TimedOut),
        }
        let config = self.jobs.config();
        let grace = match self.running.cause() {
            Some(Cause::Lost) => Duration::ZERO,
            Some(Cause::Draining) => Duration::from_secs(config.drain_seconds),
            Some(Cause::CalledOff | Cause::TimedOut) | None => Duration::from_secs(config.cancel_grace_seconds),
        };
        if let Ok(outcome) = tokio::time::timeout(grace, &mut handler).await {
            return self.end_of(outcome);
        }
        handler.abort();
        self.stopped("was cut off, as it did not end when it was told to")
    }

    fn end_of(&self, outcome: Result<Outcome, JoinError>) -> Option<End> {
        match outcome {
            Ok(Ok(result)) if self.running.cause() != Some(Cause::Lost) => Some(End::Succeeded(result)),
            Ok(Ok(_)) => None,
            Ok(Err(JobFailure::Stopped)) => self.stopped("ended early"),
            Ok(Err(JobFailure::Retry(error))) => Some(self.failed(&error, true)),
            Ok(Err(JobFailure::Fatal(error))) => Some(self.failed(&error, false)),
            Err(error) if error.is_panic() => {
                let text = panic_text(&*error.into_panic());
                Some(self.failed(&format!("panicked: {text}"), true))
            }
            Err(_) => self.stopped("was cut off"),
        }
    }

    /// How a job ends that was told to.
    fn stopped(&self, how: &str) -> Option<End> {
        match self.running.cause() {
            Some(Cause::Lost) => None,
            Some(Cause::CalledOff) => Some(End::Cancelled),
            Some(Cause::TimedOut) => {
                let seconds = self.limits.timeout.as_secs();
                Some(self.failed(&format!("took longer than {seconds} s (jobs.timeout_seconds) and {how}"), true))
            }
            Some(Cause::Draining) => Some(End::GivenBack),
            None => Some(self.failed(&format!("the handler {how} though nobody told it to"), true)),
        }
    }

    fn failed(&self, error: &str, may_retry: bool) -> End {
        let retry = may_retry.then(|| self.limits.backoff.delay(self.running.attempt.saturating_sub(1)));
        End::Failed { error: error.chars().take(MAX_ERROR_CHARS).collect(), retry }
    }

    /// Tells the queue, again and again while it is away: the lease is kept alive meanwhile.
    async fn report(&self, end: End) {
        let (lease, queue) = (&self.running.lease, self.jobs.queue());
        let mut failures = 0;
        loop {
            match queue.finish(lease.clone(), end.clone()).await {
                Ok(job) => return self.jobs.tell(&JobChange::of(&job)),
                Err(JobError::Unavailable(_)) => {
                    tokio::time::sleep(PATIENCE.delay(failures)).await;
                    failures += 1;
                }
                Err(error) => return self.not_told(&error, failures).await,
            }
        }
    }

    /// The queue would not hear it. An answer lost on its way looks like that too, and then the job did end so.
    async fn not_told(&self, error: &JobError, failures: u32) {
        let lease = &self.running.lease;
        if failures > 0
            && let Ok(Some(job)) = self.jobs.queue().get(&lease.id).await
            && job.state.is_finished()
            && job.attempts == self.running.attempt
        {
            return self.jobs.tell(&JobChange::of(&job));
        }
        tracing::warn!(job = %lease.id, kind = %lease.kind, %error, "the end of a job does not count");
    }
}

/// What a panic said.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
