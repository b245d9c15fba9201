//! Live events: what the daemon tells those who watch it, and the bus that carries them.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::analysis::{Analysis, SentimentLabel, VerdictLabel};
use super::code::ErrorCode;
use super::correlation::CorrelationId;
use super::dead_letter::StoredDeadLetter;
use super::document::Document;
use super::job::{JobChange, JobState};

/// Events a watcher may be behind before it is dropped.
const BUS_CAPACITY: usize = 4096;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A document's verdict is durable.
    Verdict {
        /// Document id.
        document_id: Arc<str>,
        /// Correlation id.
        correlation_id: CorrelationId,
        /// The document's source.
        source: Arc<str>,
        /// Headline, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Stored or duplicate.
        verdict: VerdictLabel,
        /// The stored document it copies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duplicate_of: Option<Arc<str>>,
        /// Sentiment of a stored document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sentiment: Option<SentimentLabel>,
        /// Sentiment score, -1 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        score: Option<f32>,
    },
    /// A record was given up and kept.
    DeadLetter {
        /// Dead letter id.
        id: Arc<str>,
        /// Document id, if the record could be decoded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document_id: Option<Arc<str>>,
        /// Correlation id.
        correlation_id: String,
        /// Stage that gave up.
        stage: Arc<str>,
        /// Stable code.
        code: ErrorCode,
        /// In words.
        error: String,
    },
    /// A supervisor restarted an actor.
    ActorRestarted {
        /// The actor's name.
        actor: String,
        /// Why: `panicked`, `failed`, `unresponsive` or `killed`.
        reason: String,
        /// Restarts since the start of the process.
        restarts: u64,
    },
    /// The configuration was reloaded, or the new one refused.
    ConfigReloaded {
        /// `applied` or `refused`.
        outcome: String,
    },
    /// A job came into a state, by this daemon's doing.
    Job {
        /// Job id.
        id: Arc<str>,
        /// What kind of work.
        kind: Arc<str>,
        /// Its new state.
        state: JobState,
        /// Attempts begun.
        attempts: u32,
        /// Correlation id.
        correlation_id: String,
        /// Why, where there is more to say than the state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// State of actors, backlog and counts at one moment; never kept in the history.
    Metrics {
        /// The state.
        snapshot: serde_json::Value,
    },
}

impl EventKind {
    /// Name of the kind, as in the field `type`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Verdict { .. } => "verdict",
            Self::DeadLetter { .. } => "dead_letter",
            Self::ActorRestarted { .. } => "actor_restarted",
            Self::ConfigReloaded { .. } => "config_reloaded",
            Self::Job { .. } => "job",
            Self::Metrics { .. } => "metrics",
        }
    }

    /// The event of a job's change.
    #[must_use]
    pub fn job(changed: &JobChange) -> Self {
        let JobChange { id, kind, correlation_id, state, attempts, reason } = changed.clone();
        Self::Job { id, kind, state, attempts, correlation_id, reason }
    }

    /// The event of a verdict.
    #[must_use]
    pub fn verdict(document: &Document, analysis: &Analysis) -> Self {
        Self::Verdict {
            document_id: Arc::clone(&document.id),
            correlation_id: analysis.correlation_id.clone(),
            source: Arc::clone(&document.source),
            title: document.title.clone(),
            verdict: analysis.verdict,
            duplicate_of: analysis.duplicate_of.clone(),
            sentiment: analysis.sentiment.as_ref().map(|sentiment| sentiment.label),
            score: analysis.sentiment.as_ref().map(|sentiment| sentiment.score),
        }
    }

    /// The event of a dead letter.
    #[must_use]
    pub fn dead_letter(letter: &StoredDeadLetter) -> Self {
        Self::DeadLetter {
            id: Arc::clone(&letter.id),
            document_id: letter.document_id.clone(),
            correlation_id: letter.correlation_id.clone(),
            stage: Arc::clone(&letter.stage),
            code: letter.code,
            error: letter.error.clone(),
        }
    }
}

/// One event with its place in the order of this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1, on from the events that a store kept of earlier processes; a metrics event repeats the last number.
    pub sequence: u64,
    /// When it was published.
    pub at: DateTime<Utc>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Carries events to any number of watchers and keeps the last ones. Publishing never waits: a watcher that falls more
/// than 4096 events behind misses some and is told so.
pub struct EventBus {
    sender: broadcast::Sender<Arc<Event>>,
    /// Number and history change together, so that a watcher can resume without gap or repetition.
    kept: Mutex<Kept>,
}

struct Kept {
    last: u64,
    history: VecDeque<Arc<Event>>,
    capacity: usize,
}

impl EventBus {
    /// A bus that keeps the last `history` events.
    #[must_use]
    pub fn new(history: usize) -> Self {
        let capacity = history.max(1);
        Self {
            sender: broadcast::channel(BUS_CAPACITY).0,
            kept: Mutex::new(Kept { last: 0, history: VecDeque::with_capacity(capacity.min(1024)), capacity }),
        }
    }

    /// Tells all watchers and keeps the event, unless it is a metrics snapshot.
    pub fn publish(&self, kind: EventKind) {
        self.publish_all([kind]);
    }

    /// Publishes several, at one moment and in order.
    pub fn publish_all(&self, kinds: impl IntoIterator<Item = EventKind>) {
        let mut kept = self.kept.lock();
        let at = Utc::now();
        for kind in kinds {
            let passing = matches!(kind, EventKind::Metrics { .. });
            if !passing {
                kept.last += 1;
            }
            let event = Arc::new(Event { sequence: kept.last, at, kind });
            if !passing {
                if kept.history.len() == kept.capacity {
                    kept.history.pop_front();
                }
                kept.history.push_back(Arc::clone(&event));
            }
            // Without a watcher there is nobody to tell, which is no fault.
            let _ = self.sender.send(event);
        }
    }

    /// Goes on after the events of earlier processes, oldest first: they are the history's beginning, and new ones are
    /// numbered after them. For the time before anybody publishes or watches.
    pub fn resume(&self, events: Vec<Event>) {
        let mut kept = self.kept.lock();
        for event in events {
            if event.sequence <= kept.last {
                continue;
            }
            kept.last = event.sequence;
            if kept.history.len() == kept.capacity {
                kept.history.pop_front();
            }
            kept.history.push_back(Arc::new(event));
        }
    }

    /// Events that are kept at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.kept.lock().capacity
    }

    /// Number of the last event, 0 before the first.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.kept.lock().last
    }

    /// The last `limit` events, oldest first.
    #[must_use]
    pub fn history(&self, limit: usize) -> Vec<Arc<Event>> {
        let kept = self.kept.lock();
        kept.history.iter().skip(kept.history.len().saturating_sub(limit)).cloned().collect()
    }

    /// Watches from now on; with `after`, the kept events after that number come first.
    #[must_use]
    pub fn subscribe(&self, after: Option<u64>) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock();
        let missed = match after {
            Some(number) => kept.history.iter().filter(|event| event.sequence > number).cloned().collect(),
            None => Vec::new(),
        };
        (missed, self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reloaded(outcome: &str) -> EventKind {
        EventKind::ConfigReloaded { outcome: outcome.to_owned() }
    }

    #[test]
    fn history_keeps_the_last_events_in_order() {
        let bus = EventBus::new(2);
        for outcome in ["a", "b", "c"] {
            bus.publish(reloaded(outcome));
        }
        let kinds: Vec<_> = bus.history(10).iter().map(|event| (event.sequence, event.kind.clone())).collect();
        assert_eq!(kinds, [(2, reloaded("b")), (3, reloaded("c"))]);
        assert_eq!(bus.history(1)[0].sequence, 3);
    }

    #[test]
    fn a_watcher_resumes_without_gap_or_repetition() {
        let bus = EventBus::new(10);
        bus.publish(reloaded("a"));
        bus.publish(reloaded("b"));
        let (missed, mut receiver) = bus.subscribe(Some(1));
        bus.publish(reloaded("c"));
        assert_eq!(missed.iter().map(|event| event.sequence).collect::<Vec<_>>(), [2]);
        assert_eq!(receiver.try_recv().map(|event| event.sequence), Ok(3));
    }

    #[test]
    fn snapshots_pass_by_the_history() {
        let bus = EventBus::new(10);
        let (_, mut receiver) = bus.subscribe(None);
        bus.publish(EventKind::Metrics { snapshot: serde_json::json!({}) });
        assert!(bus.history(10).is_empty());
        assert_eq!(receiver.try_recv().map(|event| event.kind.name()), Ok("metrics"));
    }
}
