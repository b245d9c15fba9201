//! Records on their way to the brokers, a batch at a time: one wait for all of them, where a future each would cost an
//! allocation, a channel and a wake-up per record.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::sync::Notify;

use super::context::ClientLog;

/// What became of one record: partition and offset, or why it was not taken. `None` if the producer went before it knew.
pub(super) type Outcome = Option<Result<(i32, i64), KafkaError>>;

/// A batch of records, each of which has a [`Receipt`].
#[derive(Debug)]
pub(super) struct Appends {
    state: Mutex<State>,
    /// Woken once, by the last receipt.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// By place in the batch.
    outcomes: Vec<Outcome>,
    /// Receipts not given back yet.
    open: usize,
}

impl Appends {
    /// A batch with room for so many records.
    pub(super) fn new(records: usize) -> Arc<Self> {
        let state = State { outcomes: Vec::with_capacity(records), open: 0 };
        Arc::new(Self { state: Mutex::new(state), ended: Notify::new() })
    }

    /// A receipt for the next record.
    pub(super) fn receipt(self: &Arc<Self>) -> Receipt {
        let mut state = self.state.lock();
        state.open += 1;
        state.outcomes.push(None);
        Receipt { appends: Arc::clone(self), place: state.outcomes.len() - 1, outcome: None }
    }

    /// Waits until all receipts were given back: what became of the records, in order.
    pub(super) async fn outcomes(&self) -> Vec<Outcome> {
        loop {
            let ended = self.ended.notified();
            {
                let mut state = self.state.lock();
                if state.open == 0 {
                    return std::mem::take(&mut state.outcomes);
                }
            }
            ended.await;
        }
    }

    fn close(&self, place: usize, outcome: Outcome) {
        let mut state = self.state.lock();
        if let Some(known) = state.outcomes.get_mut(place) {
            *known = outcome;
        }
        state.open -= 1;
        if state.open == 0 {
            self.ended.notify_one();
        }
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
        self.appends.close(self.place, self.outcome.take());
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
        assert_eq!(waiting.await, [Some(Ok((0, 7))), None, Some(Ok((0, 9)))]);
    }

    #[tokio::test]
    async fn empty_batch_has_ended() {
        assert_eq!(Appends::new(0).outcomes().await, []);
    }
}
