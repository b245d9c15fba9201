//! The source: reads the log on a thread of its own and hands documents to the pipeline without ever waiting for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::kafka::source::{Admission, SourceHandle};
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::dead_letter::DeadLetter;
use crate::messages::delivery::Delivery;
use crate::messages::pipeline::Intake;
use crate::supervisors::{Fault, ServiceContext, TrySendError};
use crate::text::decode::decode;

use super::compute::compute;
use super::services::Services;
use super::topology::Mailboxes;

/// How long a stopped source waits for the verdicts of what it handed over; less than the service's own deadline.
const VERDICT_DEADLINE: Duration = Duration::from_secs(25);

/// What a source reads.
pub(super) struct Feed {
    /// Of its thread, and in its log lines.
    pub(super) name: &'static str,
    /// The consumer group.
    pub(super) group: String,
    /// The topic.
    pub(super) topic: String,
}

/// Runs until asked to stop; then waits for the verdicts of what it handed over and commits them.
///
/// # Errors
/// If the consumer can't be made, the log fails for good or the thread panics.
pub async fn run(services: Services, to: Mailboxes, ctx: ServiceContext) -> Result<(), Fault> {
    let config = services.live.config.load_full();
    let feed = Feed { name: "source", group: config.kafka.group.clone(), topic: config.kafka.topics.documents.clone() };
    let admitting = services.clone();
    feed.run(&services, move |delivery| admit(&admitting, &to, delivery), ctx).await
}

impl Feed {
    /// Reads the topic on a thread of its own and hands each delivery to `admit`.
    ///
    /// # Errors
    /// If the consumer can't be made, the log fails for good or the thread panics.
    pub(super) async fn run(
        self,
        services: &Services,
        admit: impl FnMut(Delivery) -> Admission + Send + 'static,
        ctx: ServiceContext,
    ) -> Result<(), Fault> {
        let config = services.live.config.load_full();
        let Self { name, group, topic } = self;
        let log = Arc::clone(&services.log);
        let consumer = ctx
            .protect(compute(move || log.consumer(&group, &[topic])))
            .await?
            .map_err(|error| Fault::broken(format!("no consumer: {error}")))?;
        let mut source = SourceHandle::spawn(name, consumer, config.log.source.clone(), admit)
            .map_err(|error| Fault::broken(error.to_string()))?;
        let ended = ctx
            .protect(async {
                tokio::select! {
                    () = ctx.stopping() => None,
                    ended = source.join() => Some(ended),
                }
            })
            .await;
        let ended = if let Some(ended) = ended {
            ended
        } else {
            source.drain(VERDICT_DEADLINE);
            ctx.protect(source.join()).await
        };
        let report = ended.map_err(|error| Fault::broken(error.to_string()))?;
        tracing::info!(source = name, ?report, "source ended");
        if ctx.is_stopping() { Ok(()) } else { Err(Fault::broken("the source ended by itself")) }
    }
}

/// Decodes a record and offers it downstream; what can't be decoded is offered to the dead letters.
fn admit(services: &Services, to: &Mailboxes, delivery: Delivery) -> Admission {
    let record = delivery.record();
    // limits on time count from the record's own time, so that a replay years later gives the same verdict
    let now = DateTime::from_timestamp_millis(record.timestamp_ms).unwrap_or_else(Utc::now);
    let limits = services.live.documents.load();
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(&record.value, &limits, now)))
        .unwrap_or_else(|_| Err(Rejection::new(ErrorCode::Panicked, "decoding crashed on this record")));
    match decoded {
        Ok(document) => match to.fingerprinter.try_send(Intake { delivery, document: Arc::new(document) }) {
            Ok(()) => Admission::Accepted,
            Err(TrySendError::Full(intake) | TrySendError::Closed(intake)) => Admission::Full(intake.delivery),
        },
        Err(rejection) => match to.dead_letters.try_send(rejected("source", delivery, rejection)) {
            Ok(()) => Admission::Accepted,
            Err(TrySendError::Full(letter) | TrySendError::Closed(letter)) => Admission::Full(letter.delivery),
        },
    }
}

/// A record that `stage` could not decode.
pub(super) fn rejected(stage: &str, delivery: Delivery, rejection: Rejection) -> DeadLetter {
    let error = match rejection.field {
        Some(field) => format!("{field}: {}", rejection.message),
        None => rejection.message,
    };
    DeadLetter {
        history: vec![format!("{stage}: {error}")],
        delivery,
        document_id: None,
        stage: stage.into(),
        code: rejection.code,
        error,
        attempts: 1,
    }
}
