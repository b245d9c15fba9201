//! Records on their way to the brokers, a batch at a time: one wait for all of them, where a future each would cost an
//! allocation, a channel and a wake-up per record.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::sync::Notify;

use super::context::ClientLog;

/// What became of one record: partition and offset, or why it was not taken. `None` if the producer went before it knew.
pub(super) type Outcome = Option<Result<(i32, i64), KafkaError>>;

/// A batch of records, each of which has a [`Receipt`]. Receipts come back on the producer's thread while others are
/// given out, so that nothing here is locked.
#[derive(Debug)]
pub(super) struct Appends {
    /// By place in the batch; set when the receipt of the place is given back.
    outcomes: Box<[OnceLock<Outcome>]>,
    /// Receipts given out.
    given: AtomicUsize,
    /// Receipts not given back yet.
    open: AtomicUsize,
    /// Woken by a last receipt.
    ended: Notify,
}

impl Appends {
    /// A batch of at most so many records.
    pub(super) fn new(records: usize) -> Arc<Self> {
        let outcomes = std::iter::repeat_with(OnceLock::new).take(records).collect();
        Arc::new(Self { outcomes, given: AtomicUsize::new(0), open: AtomicUsize::new(0), ended: Notify::new() })
    }

    /// A receipt for the next record.
    pub(super) fn receipt(self: &Arc<Self>) -> Receipt {
        self.open.fetch_add(1, Ordering::Relaxed);
        let place = self.given.fetch_add(1, Ordering::Relaxed);
        Receipt { appends: Arc::clone(self), place, outcome: None }
    }

    /// Waits until all receipts were given back: what became of their records, in order.
    pub(super) async fn outcomes(&self) -> impl Iterator<Item = Outcome> + '_ {
        loop {
            let ended = self.ended.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                break;
            }
            ended.await;
        }
        let given = self.given.load(Ordering::Relaxed);
        self.outcomes.iter().take(given).map(|outcome| outcome.get().cloned().flatten())
    }
}

/// Goes with one record and says what became of it when it is dropped, however that comes about.
#[derive(Debug)]
pub(super) struct Receipt {
    appends: Arc<Appends>,
    place: usize,
    outcome: Outcome,
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(place) = self.appends.outcomes.get(self.place) {
            let _ = place.set(self.outcome.take());
        }
        if self.appends.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.appends.ended.notify_one();
        }
    }
}

/// The context of a producer whose records have receipts.
#[derive(Debug, Clone)]
pub(super) struct Appending(pub ClientLog);

impl ClientContext for Appending {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Appending {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, mut receipt: Box<Receipt>) {
        receipt.outcome = Some(match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batch_ends_with_its_last_receipt_and_keeps_the_order() {
        let appends = Appends::new(3);
        let mut receipts: Vec<Receipt> = (0..3).map(|_| appends.receipt()).collect();
        for (offset, receipt) in (7..).zip(&mut receipts) {
            receipt.outcome = Some(Ok((0, offset)));
        }
        receipts[1].outcome = None;
        receipts.reverse();
        let last = receipts.pop();
        drop(receipts);
        let mut waiting = std::pin::pin!(appends.outcomes());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(last);
        let outcomes: Vec<Outcome> = waiting.await.collect();
        assert_eq!(outcomes, [Some(Ok((0, 7))), None, Some(Ok((0, 9)))]);
    }

    #[tokio::test]
    async fn records_that_were_never_queued_have_no_outcome() {
        let appends = Appends::new(3);
        drop(appends.receipt());
        assert_eq!(appends.outcomes().await.collect::<Vec<_>>(), [None]);
    }

    #[tokio::test]
    async fn empty_batch_has_ended() {
        assert_eq!(Appends::new(0).outcomes().await.count(), 0);
    }
}
