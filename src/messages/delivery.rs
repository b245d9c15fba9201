//! The delivery: a record on its way to a verdict.
//!
//! Every stage passes the delivery on. Whoever makes the verdict durable calls [`Delivery::complete`]; a delivery
//! that is dropped without it goes back to its source and is delivered again, so that no lost message can lose a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::correlation::CorrelationId;
use super::record::{CORRELATION_HEADER, Position, Record};

/// Told what became of the records it handed out. Calls never block.
pub trait Ledger: Send + Sync {
    /// The verdict on the record is durable.
    fn completed(&self, position: &Position, epoch: u64);
    /// The record was let go without a verdict and must be delivered again.
    fn returned(&self, record: Record, epoch: u64);
}

/// A record, its correlation id and the ledger that waits for it. Clones share one fate.
#[derive(Clone)]
pub struct Delivery(Arc<Inner>);

struct Inner {
    record: Record,
    /// Assignment epoch: late work of a revoked partition is told apart by it.
    epoch: u64,
    correlation_id: CorrelationId,
    /// When the source handed it out; stage timings count from here.
    received: Instant,
    ledger: Arc<dyn Ledger>,
    completed: AtomicBool,
}

impl Delivery {
    /// Wraps a record. Takes the correlation id from its header, else derives one from its position.
    #[must_use]
    pub fn new(record: Record, epoch: u64, ledger: Arc<dyn Ledger>) -> Self {
        let correlation_id = record.header(CORRELATION_HEADER).and_then(CorrelationId::parse).unwrap_or_else(|| {
            let Position { topic, partition, offset } = &record.position;
            CorrelationId::of_position(topic, *partition, *offset)
        });
        Self(Arc::new(Inner {
            record,
            epoch,
            correlation_id,
            received: Instant::now(),
            ledger,
            completed: AtomicBool::new(false),
        }))
    }

    /// The record as it was read.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.0.record
    }

    /// Where the record stands in the log.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.0.record.position
    }

    /// The assignment epoch it was read under.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The id that ties all traces of this record together.
    #[must_use]
    pub fn correlation_id(&self) -> &CorrelationId {
        &self.0.correlation_id
    }

    /// When the source handed the record out.
    #[must_use]
    pub fn received(&self) -> Instant {
        self.0.received
    }

    /// Reports that the verdict is durable. Later calls do nothing.
    pub fn complete(&self) {
        if !self.0.completed.swap(true, Ordering::AcqRel) {
            self.0.ledger.completed(&self.0.record.position, self.0.epoch);
        }
    }

    /// Whether [`Delivery::complete`] was called on any clone.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.completed.load(Ordering::Acquire)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !*self.completed.get_mut() {
            self.ledger.returned(self.record.clone(), self.epoch);
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("position", self.position())
            .field("correlation_id", self.correlation_id())
            .field("complete", &self.is_complete())
            .finish_non_exhaustive()
    }
}
