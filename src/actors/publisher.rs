//! Publishes analyses and signals and completes deliveries: the end of the way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;

use crate::kafka::log::{Log, LogError};
use crate::kafka::outbox::SharedOutbox;
use crate::messages::analysis::VerdictLabel;
use crate::messages::code::ErrorCode;
use crate::messages::event::{EventBus, EventKind};
use crate::messages::record::{CORRELATION_HEADER, NewRecord};
use crate::messages::signal::signals_of;
use crate::supervisors::{Actor, Context, Fault};
use crate::telemetry::events::DocumentJudged;

use super::sql_writer::Verdict;

/// Headers of the W3C trace context, passed on as they came.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// Appends to the topics `analyses` and `signals`, or stages for the transaction that commits the record's offset.
pub struct Publisher {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where they wait for the commit they belong to, if they are published exactly once.
    pub outbox: SharedOutbox,
    /// Name of the `analyses` topic.
    pub topic: Arc<str>,
    /// Name of the `signals` topic.
    pub signals_topic: Arc<str>,
    /// Told of every verdict.
    pub events: Arc<EventBus>,
}

impl Actor for Publisher {
    type Message = Verdict;

    async fn handle(&mut self, batch: Vec<Verdict>, ctx: &Context<Verdict>) -> Result<(), Fault> {
        match &self.outbox {
            None => {
                let mut records = Vec::with_capacity(batch.len());
                batch.iter().try_for_each(|verdict| self.add_records(verdict, &mut records))?;
                ctx.protect(self.log.append(records)).await.map_err(log_fault)?;
            }
            Some(outbox) => {
                let mut staged = Vec::with_capacity(batch.len());
                for verdict in &batch {
                    let mut records = Vec::with_capacity(1);
                    self.add_records(verdict, &mut records)?;
                    staged.push(records);
                }
                // Staged before it is complete: the commit of its offset takes it along.
                for (verdict, records) in batch.iter().zip(staged) {
                    let delivery = &verdict.judged.delivery;
                    outbox.stage(delivery.position(), delivery.epoch(), records);
                }
            }
        }
        let now_ms = Utc::now().timestamp_millis();
        batch.iter().for_each(|verdict| verdict.judged.delivery.complete());
        DocumentJudged::emit_all(batch.iter().map(|verdict| event(verdict, now_ms)));
        self.events
            .publish_all(batch.iter().map(|verdict| EventKind::verdict(&verdict.judged.document, &verdict.analysis)));
        Ok(())
    }
}

fn event(verdict: &Verdict, now_ms: i64) -> DocumentJudged<'_> {
    let (analysis, delivery) = (&verdict.analysis, &verdict.judged.delivery);
    DocumentJudged {
        id: &analysis.document_id,
        source: &analysis.source,
        verdict: match analysis.verdict {
            VerdictLabel::Stored => "stored",
            VerdictLabel::Duplicate => "duplicate",
        },
        since_accepted: Duration::from_millis(u64::try_from(now_ms - delivery.record().timestamp_ms).unwrap_or(0)),
        correlation_id: delivery.correlation_id(),
    }
}

impl Publisher {
    /// The analysis, then its signals. A record that repeats a document says nothing that was not said before.
    fn add_records(&self, verdict: &Verdict, records: &mut Vec<NewRecord>) -> Result<(), Fault> {
        let analysis = &verdict.analysis;
        let record = verdict.judged.delivery.record();
        let value = analysis.json_bytes().map_err(|error| not_json(&self.topic, &error))?;
        records.push(new_record(verdict, &self.topic, &analysis.document_id, value));
        if analysis.origin == record.position {
            for signal in signals_of(analysis, record.timestamp_ms) {
                let value = serde_json::to_vec(&signal).map_err(|error| not_json(&self.signals_topic, &error))?;
                records.push(new_record(verdict, &self.signals_topic, &signal.symbol, value.into()));
            }
        }
        Ok(())
    }
}

fn not_json(topic: &str, error: &impl std::fmt::Display) -> Fault {
    Fault::reject(ErrorCode::Internal, format!("{topic}: the value is not JSON: {error}"))
}

fn new_record(verdict: &Verdict, topic: &Arc<str>, key: &str, value: Bytes) -> NewRecord {
    let correlation_id = Bytes::copy_from_slice(verdict.analysis.correlation_id.as_str().as_bytes());
    let came = verdict.judged.delivery.record().headers.iter();
    let mut headers = vec![(CORRELATION_HEADER.to_owned(), correlation_id)];
    headers.extend(came.filter(|(name, _)| TRACE_HEADERS.contains(&name.as_str())).cloned());
    NewRecord {
        topic: Arc::clone(topic),
        partition: None,
        timestamp_ms: None,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value,
        headers,
    }
}

/// How the log's failure is met: one that may pass is waited for, a refused record is dead.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub fn log_fault(error: LogError) -> Fault {
    match error {
        LogError::Full(_)
        | LogError::Unavailable(_)
        | LogError::UnknownTopic(_)
        | LogError::UnknownPartition { .. } => Fault::unavailable(error.to_string()),
        LogError::TooLarge { .. } => Fault::reject(ErrorCode::TooLarge, error.to_string()),
        LogError::Failed(_) => Fault::broken(error.to_string()),
    }
}
