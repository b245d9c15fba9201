//! What a handler sees of the job it works on.

use std::sync::Arc;

use serde_json::Value;

use super::running::{Cause, RunningJob};
use crate::stores::documents::StoreError;
use crate::supervisors::Fault;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobFailure {
    /// It may succeed another time.
    #[error("{0}")]
    Retry(String),
    /// It never will.
    #[error("{0}")]
    Fatal(String),
    /// It ended early because it was told to.
    #[error("told to stop")]
    Stopped,
}

impl From<StoreError> for JobFailure {
    fn from(error: StoreError) -> Self {
        if error.is_retriable() { Self::Retry(error.to_string()) } else { Self::Fatal(error.to_string()) }
    }
}

impl From<Fault> for JobFailure {
    fn from(fault: Fault) -> Self {
        Self::Retry(fault.to_string())
    }
}

/// What a handler answers: a result for those who look, or why there is none.
pub type Outcome = Result<Value, JobFailure>;

/// The job a handler works on. Cheap to clone.
#[derive(Clone)]
pub struct JobContext {
    pub(super) running: Arc<RunningJob>,
}

impl JobContext {
    /// For a job this process works on.
    #[must_use]
    pub fn new(running: Arc<RunningJob>) -> Self {
        Self { running }
    }

    /// Id of the job.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.running.lease.id
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.running.attempt
    }

    /// Goes through every log line of the job.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        &self.running.correlation_id
    }

    /// Says how far it is, 0 to 1, and with what. Cheap; the newest word is shown within half a second.
    pub fn progress(&self, fraction: f64, message: impl Into<String>) {
        self.running.report(fraction, message.into());
    }

    /// Whether the job shall end: it was called off, takes too long, lost its lease, or the daemon stops.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.running.cause().is_some()
    }

    /// Resolves when the job shall end.
    pub async fn stopping(&self) {
        self.running.stopping().await;
    }

    /// For the places in a handler where it can end: fails with [`JobFailure::Stopped`] when it shall.
    ///
    /// # Errors
    /// When it shall end.
    pub fn check(&self) -> Result<(), JobFailure> {
        if self.is_stopping() { Err(JobFailure::Stopped) } else { Ok(()) }
    }

    /// Whether the daemon stops and the job will be given to another worker.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.running.cause() == Some(Cause::Draining)
    }
}
