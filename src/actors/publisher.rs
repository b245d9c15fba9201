//! Publishes analyses and completes deliveries: the end of the way.

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
use crate::supervisors::{Actor, Context, Fault};
use crate::telemetry::events::DocumentJudged;

use super::sql_writer::Verdict;

/// Headers of the W3C trace context, passed on as they came.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// Appends to the `analyses` topic, or stages for the transaction that commits the record's offset.
pub struct Publisher {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where analyses wait for the commit they belong to, if they are published exactly once.
    pub outbox: SharedOutbox,
    /// Name of the `analyses` topic.
    pub topic: Arc<str>,
    /// Told of every verdict.
    pub events: Arc<EventBus>,
}

impl Actor for Publisher {
    type Message = Verdict;

    async fn handle(&mut self, batch: Vec<Verdict>, ctx: &Context<Verdict>) -> Result<(), Fault> {
        let records = batch.iter().map(|verdict| self.record(verdict)).collect::<Result<Vec<_>, _>>()?;
        match &self.outbox {
            None => {
                ctx.protect(self.log.append(records)).await.map_err(log_fault)?;
            }
            // Staged before it is complete: the commit of its offset takes it along.
            Some(outbox) => batch.iter().zip(records).for_each(|(verdict, record)| {
                let delivery = &verdict.judged.delivery;
                outbox.stage(delivery.position(), delivery.epoch(), record);
            }),
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
    fn record(&self, verdict: &Verdict) -> Result<NewRecord, Fault> {
        let value = verdict
            .analysis
            .json()
            .map(|json| Bytes::copy_from_slice(json.as_bytes()))
            .map_err(|error| Fault::reject(ErrorCode::Internal, format!("analysis is not JSON: {error}")))?;
        let mut headers = vec![(
            CORRELATION_HEADER.to_owned(),
            Bytes::copy_from_slice(verdict.analysis.correlation_id.as_str().as_bytes()),
        )];
        headers.extend(
            verdict
                .judged
                .delivery
                .record()
                .headers
                .iter()
                .filter(|(name, _)| TRACE_HEADERS.contains(&name.as_str()))
                .cloned(),
        );
        Ok(NewRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            timestamp_ms: None,
            key: Some(Bytes::copy_from_slice(verdict.analysis.document_id.as_bytes())),
            value,
            headers,
        })
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
