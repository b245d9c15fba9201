//! A job this process works on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::messages::job::Job;
use crate::stores::jobs::Lease;

/// Why a handler shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The daemon stops.
    Draining,
    /// It took longer than its kind may.
    TimedOut,
    /// Somebody called the job off.
    CalledOff,
    /// The lease is lost: whatever it does counts for nothing.
    Lost,
}

/// A job this process works on, shared by handler, driver and heartbeat.
#[derive(Debug)]
pub struct RunningJob {
    /// The hold on it.
    pub lease: Lease,
    /// Which attempt this is.
    pub attempt: u32,
    /// Goes through every log line of the job.
    pub correlation_id: String,
    /// When this process began.
    started: Instant,
    stop: CancellationToken,
    /// Whether the handler has ended and only the queue has to hear of it.
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The gravest cause so far.
    cause: Option<Cause>,
    progress: f64,
    message: String,
    /// Whether the queue has not heard of progress and message yet.
    unsent: bool,
}

impl RunningJob {
    /// A job just claimed.
    #[must_use]
    pub fn new(job: &Job, lease: Lease) -> Arc<Self> {
        Arc::new(Self {
            lease,
            attempt: job.attempts,
            correlation_id: job.correlation_id.clone(),
            started: Instant::now(),
            stop: CancellationToken::new(),
            ended: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Tells it to end. The gravest cause counts.
    pub fn stop(&self, cause: Cause) {
        {
            let mut state = self.state.lock();
            state.cause = state.cause.max(Some(cause));
        }
        self.stop.cancel();
    }

    /// Why it shall end, if it shall.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.state.lock().cause
    }

    /// Resolves when it shall end.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// The handler has ended: only the queue has to hear of it.
    pub fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the handler has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// How long this process has worked on it.
    #[must_use]
    pub fn age(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    pub(super) fn report(&self, fraction: f64, message: String) {
        let mut state = self.state.lock();
        state.progress = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { state.progress };
        state.message = message;
        state.unsent = true;
    }

    /// Whether there is progress the queue has not heard of.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.state.lock().unsent
    }

    /// Progress the queue has not heard of; from now on it counts as told.
    #[must_use]
    pub fn take_news(&self) -> Option<(f64, String)> {
        let mut state = self.state.lock();
        std::mem::take(&mut state.unsent).then(|| (state.progress, state.message.clone()))
    }

    /// The queue did not hear of it after all.
    pub fn keep_news(&self) {
        self.state.lock().unsent = true;
    }

    /// For people.
    #[must_use]
    pub fn shown(&self) -> Value {
        let state = self.state.lock();
        json!({
            "id": self.lease.id,
            "kind": self.lease.kind,
            "attempt": self.attempt,
            "correlation_id": self.correlation_id,
            "seconds": self.age().as_secs_f64(),
            "progress": state.progress,
            "message": state.message,
            "stopping": state.cause.is_some(),
        })
    }
}
