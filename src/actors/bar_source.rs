//! The source of bars: a member of a group of its own, so that a jam of documents never holds up bars, nor the reverse,
//! and partitions of either move without the other's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::kafka::source::Admission;
use crate::messages::bar::decode;
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::delivery::Delivery;
use crate::messages::pipeline::BarIntake;
use crate::supervisors::{Fault, ServiceContext, TrySendError};

use super::services::Services;
use super::source::{Feed, rejected};
use super::topology::Mailboxes;

/// Runs until asked to stop; then waits for the verdicts of what it handed over and commits them.
///
/// # Errors
/// If the consumer can't be made, the log fails for good or the thread panics.
pub async fn run(services: Services, to: Mailboxes, ctx: ServiceContext) -> Result<(), Fault> {
    let config = services.live.config.load_full();
    let feed = Feed { name: "bar_source", group: config.kafka.bars_group(), topic: config.kafka.topics.bars.clone() };
    feed.run(&services, move |delivery| admit(&to, delivery), ctx).await
}

/// Decodes a record and offers it downstream; what can't be decoded is offered to the dead letters.
fn admit(to: &Mailboxes, delivery: Delivery) -> Admission {
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(&delivery.record().value)))
        .unwrap_or_else(|_| Err(Rejection::new(ErrorCode::Panicked, "decoding crashed on this record")));
    match decoded {
        Ok(bar) => match to.bar_writer.try_send(BarIntake { delivery, bar }) {
            Ok(()) => Admission::Accepted,
            Err(TrySendError::Full(intake) | TrySendError::Closed(intake)) => Admission::Full(intake.delivery),
        },
        Err(rejection) => match to.dead_letters.try_send(rejected("bar_source", delivery, rejection)) {
            Ok(()) => Admission::Accepted,
            Err(TrySendError::Full(letter) | TrySendError::Closed(letter)) => Admission::Full(letter.delivery),
        },
    }
}
