//! The source: reads the log on a thread of its own and hands documents to the pipeline without ever waiting for it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::kafka::source::{HandOver, SourceHandle};
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::dead_letter::DeadLetter;
use crate::messages::delivery::Delivery;
use crate::messages::document::Document;
use crate::messages::pipeline::Intake;
use crate::supervisors::{Fault, ServiceContext};
use crate::text::decode::decode;

use super::compute::compute;
use super::services::Services;
use super::topology::Mailboxes;

/// How long a stopped source waits for the verdicts of what it handed over; less than the service's own deadline.
const VERDICT_DEADLINE: Duration = Duration::from_secs(25);
/// Most records decoded before they are handed over.
const TURN: usize = 128;

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
    let admit = Admit { services: services.clone(), to };
    feed.run(&services, admit, ctx).await
}

impl Feed {
    /// Reads the topic on a thread of its own and hands its deliveries over.
    ///
    /// # Errors
    /// If the consumer can't be made, the log fails for good or the thread panics.
    pub(super) async fn run(
        self,
        services: &Services,
        hand_over: impl HandOver + Send + 'static,
        ctx: ServiceContext,
    ) -> Result<(), Fault> {
        let config = services.live.config.load_full();
        let Self { name, group, topic } = self;
        let log = Arc::clone(&services.log);
        let consumer = ctx
            .protect(compute(move || log.consumer(&group, &[topic])))
            .await?
            .map_err(|error| Fault::broken(format!("no consumer: {error}")))?;
        let mut source = SourceHandle::spawn(name, consumer, config.log.source.clone(), hand_over)
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

/// Decodes records and offers them downstream in turns; what can't be decoded is offered to the dead letters.
struct Admit {
    services: Services,
    to: Mailboxes,
}

impl HandOver for Admit {
    fn hand_over(&mut self, held: &mut VecDeque<Delivery>) -> usize {
        let before = held.len();
        loop {
            // nobody else sends there, so that what is decoded finds room
            let turn = self.to.fingerprinter.room().min(TURN).min(held.len());
            let (mut intakes, mut letters) = (VecDeque::with_capacity(turn), VecDeque::new());
            for delivery in held.drain(..turn) {
                match self.decode(&delivery) {
                    Ok(document) => intakes.push_back(Intake { delivery, document: Arc::new(document) }),
                    Err(rejection) => letters.push_back(rejected("source", delivery, rejection)),
                }
            }
            // closed or full is the same here: what stays is offered again
            let _ = self.to.fingerprinter.try_send_front(&mut intakes);
            let _ = self.to.dead_letters.try_send_front(&mut letters);
            let jammed = turn == 0 || !intakes.is_empty() || !letters.is_empty();
            let refused = intakes.into_iter().map(|intake| intake.delivery);
            let refused = refused.chain(letters.into_iter().map(|letter| letter.delivery));
            refused.collect::<Vec<_>>().into_iter().rev().for_each(|delivery| held.push_front(delivery));
            if jammed {
                return before - held.len();
            }
        }
    }
}

impl Admit {
    fn decode(&self, delivery: &Delivery) -> Result<Document, Rejection> {
        let record = delivery.record();
        // limits on time count from the record's own time, so that a replay years later gives the same verdict
        let now = DateTime::from_timestamp_millis(record.timestamp_ms).unwrap_or_else(Utc::now);
        let limits = self.services.live.documents.load();
        catch_unwind(AssertUnwindSafe(|| decode(&record.value, &limits, now)))
            .unwrap_or_else(|_| Err(Rejection::new(ErrorCode::Panicked, "decoding crashed on this record")))
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
