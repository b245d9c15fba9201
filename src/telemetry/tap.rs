//! A second way out for log lines: those at warn and above also go to whoever attached a queue, such as a store.
//!
//! Logging never waits: a full queue drops the line and counts it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::metrics;

/// What begins the targets of lines that must not be kept in a store: those about keeping them.
const OWN_TARGETS: &[&str] = &["tidemill::stores::postgres", "deadpool", "tokio_postgres", "refinery"];

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// When.
    pub at: DateTime<Utc>,
    /// `WARN` or `ERROR`.
    pub level: &'static str,
    /// Module that said it.
    pub target: String,
    /// What it said.
    pub message: String,
    /// The record it is about, if any.
    pub correlation_id: Option<String>,
    /// The other fields.
    pub fields: Map<String, Value>,
}

/// Where lines go besides standard error. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LogTap(Arc<ArcSwapOption<mpsc::Sender<LogLine>>>);

impl LogTap {
    /// Sends lines there from now on, in place of where they went before.
    pub fn attach(&self, queue: mpsc::Sender<LogLine>) {
        self.0.store(Some(Arc::new(queue)));
    }
}

impl<S: Subscriber> Layer<S> for LogTap {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO | Level::DEBUG | Level::TRACE => return,
        };
        if OWN_TARGETS.iter().any(|target| metadata.target().starts_with(target)) {
            return;
        }
        let Some(queue) = self.0.load_full() else { return };
        let mut line = LogLine {
            at: Utc::now(),
            level,
            target: metadata.target().to_owned(),
            message: String::new(),
            correlation_id: None,
            fields: Map::new(),
        };
        event.record(&mut line);
        if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(line) {
            metrics::logbook_dropped("line", 1);
        }
    }
}

impl LogLine {
    fn put(&mut self, field: &Field, value: Value) {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match field.name() {
            "message" => self.message = text(value),
            "correlation_id" => self.correlation_id = Some(text(value)),
            name => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn warnings_go_to_the_queue_with_their_fields_and_a_full_queue_drops() {
        let tap = LogTap::default();
        let subscriber = tracing_subscriber::registry().with(tap.clone());
        let (sender, mut lines) = mpsc::channel(1);
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("nobody listens");
            tap.attach(sender);
            tracing::info!("not this one");
            tracing::error!(target: "tidemill::stores::postgres::logbook", "nor what the store says about itself");
            tracing::warn!(correlation_id = %"c-1", count = 3, "stage failed");
            tracing::warn!("no room for this");
        });
        let line = lines.try_recv().unwrap();
        assert_eq!(
            (line.level, line.message.as_str(), line.correlation_id.as_deref()),
            ("WARN", "stage failed", Some("c-1"))
        );
        assert_eq!(serde_json::Value::Object(line.fields), serde_json::json!({"count": 3}));
        assert!(lines.try_recv().is_err());
    }
}
