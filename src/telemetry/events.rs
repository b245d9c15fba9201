//! Events: each is log line and counter at once, so that the two cannot drift.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::metrics;
use crate::config::reload::ReloadReport;
use crate::messages::code::ErrorCode;
use crate::messages::correlation::CorrelationId;
use crate::messages::job::{JobChange, JobState};

/// A dead letter was made durable.
#[derive(Debug)]
pub struct DocumentDeadLettered<'a> {
    /// Id of the dead letter.
    pub id: &'a str,
    /// Stage that gave up.
    pub stage: &'a str,
    /// Why, as a code.
    pub code: ErrorCode,
    /// Why, in words.
    pub error: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// The record's correlation id.
    pub correlation_id: &'a CorrelationId,
}

impl DocumentDeadLettered<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { id, stage, code, error, attempts, correlation_id } = self;
        metrics::dead_letter(stage, code.as_str());
        warn!(dead_letter = id, stage, code = code.as_str(), error, attempts, %correlation_id, "document dead-lettered");
    }
}

/// A verdict was made durable.
#[derive(Debug)]
pub struct DocumentJudged<'a> {
    /// Document id.
    pub id: &'a str,
    /// The document's source.
    pub source: &'a str,
    /// `stored`, `duplicate` or `dead`.
    pub verdict: &'static str,
    /// From the record's own time to now.
    pub since_accepted: Duration,
    /// The record's correlation id.
    pub correlation_id: &'a CorrelationId,
}

impl<'a> DocumentJudged<'a> {
    /// Logs each and counts them, those of one source and verdict together.
    pub fn emit_all(judged: impl IntoIterator<Item = Self>) {
        let mut counted: BTreeMap<(&'a str, &'static str), Vec<Duration>> = BTreeMap::new();
        for Self { id, source, verdict, since_accepted, correlation_id } in judged {
            counted.entry((source, verdict)).or_default().push(since_accepted);
            let seconds = since_accepted.as_secs_f64();
            debug!(document = id, source, verdict, seconds, %correlation_id, "document judged");
        }
        for ((source, verdict), since_accepted) in counted {
            metrics::documents_judged(source, verdict, &since_accepted);
        }
    }
}

/// A way in refused records because the pipeline is full.
#[derive(Debug)]
pub struct IntakeRefused<'a> {
    /// `http` or `kafka`.
    pub intake: &'static str,
    /// Why, as a code.
    pub code: ErrorCode,
    /// Why, in words.
    pub reason: &'a str,
    /// When the sender is told to come again.
    pub retry_after: Duration,
}

impl IntakeRefused<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { intake, code, reason, retry_after } = self;
        metrics::intake_refused(intake, code.as_str());
        debug!(intake, code = code.as_str(), reason, retry_after_ms = millis(retry_after), "intake refused");
    }
}

/// A job came into a state.
#[derive(Debug)]
pub struct JobStateChanged<'a> {
    /// The job and its state.
    pub changed: &'a JobChange,
}

impl JobStateChanged<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let JobChange { id, kind, correlation_id, state, attempts, reason } = self.changed;
        let (kind, attempts, reason) = (&**kind, *attempts, reason.as_deref().unwrap_or_default());
        metrics::job_state(kind, state.as_str());
        match state {
            JobState::Dead => warn!(job = %id, kind, attempts, reason, correlation_id, "job is dead"),
            JobState::Skipped => warn!(job = %id, kind, reason, correlation_id, "job skipped"),
            JobState::Queued | JobState::Delayed if attempts > 0 => {
                info!(job = %id, kind, attempts, reason, correlation_id, "job waits for another attempt");
            }
            JobState::Queued | JobState::Delayed => debug!(job = %id, kind, correlation_id, "job waits"),
            JobState::Running => debug!(job = %id, kind, attempts, correlation_id, "job started"),
            JobState::Succeeded => info!(job = %id, kind, attempts, correlation_id, "job succeeded"),
            JobState::Cancelled => info!(job = %id, kind, correlation_id, "job cancelled"),
        }
    }
}

/// The configuration was read again.
#[derive(Debug)]
pub struct ConfigReloaded<'a> {
    /// What asked for it: `file`, `signal` or `api`.
    pub trigger: &'static str,
    /// What it did.
    pub report: &'a ReloadReport,
}

impl ConfigReloaded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { trigger, report: ReloadReport { applied, needs_restart, errors } } = self;
        for finding in errors {
            error!(trigger, problem = %finding, "new configuration refused, the old stays in effect");
        }
        if !errors.is_empty() {
            metrics::config_reloaded("refused");
            return;
        }
        metrics::config_reloaded(if applied.is_empty() { "unchanged" } else { "applied" });
        info!(trigger, applied = applied.join(","), "configuration reloaded");
        if !needs_restart.is_empty() {
            warn!(trigger, keys = needs_restart.join(","), "changed settings wait for a restart");
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::telemetry::prometheus;

    #[test]
    fn event_is_counted() {
        let handle = prometheus::install().unwrap();
        let correlation_id = CorrelationId::parse("c-1").unwrap();
        let (code, error) = (ErrorCode::Panicked, "boom");
        DocumentDeadLettered {
            id: "d",
            stage: "event-test",
            code,
            error,
            attempts: 3,
            correlation_id: &correlation_id,
        }
        .emit();
        let line = "tidemill_dead_letters_total{stage=\"event-test\",code=\"TM0019\"} 1";
        assert!(handle.render().contains(line), "{}", handle.render());
    }
}
