//! The source: the thread that polls the log, hands deliveries to the pipeline and commits what has its verdict.
//!
//! It never blocks on the pipeline. What the first mailbox refuses is kept and offered again while polling goes on, so
//! that a group coordinator always sees a live member. Only when nothing was accepted for a while, or too much waits
//! for a verdict, are the partitions paused.

mod control;
mod work;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::control::{SourceControl, SourceStatus};
use super::ledger::OffsetLedger;
use super::log::{LogConsumer, LogError};
use crate::config::log::SourceConfig;
use crate::messages::delivery::Delivery;

/// The pipeline's answer to a delivery.
#[derive(Debug)]
pub enum Admission {
    /// The first mailbox has it.
    Accepted,
    /// The first mailbox is full; the source keeps the delivery and asks again.
    Full(Delivery),
}

/// Where a source hands its deliveries.
pub trait HandOver {
    /// Takes deliveries from the front, as many as there is room for; returns how many. The others stay, in order.
    fn hand_over(&mut self, held: &mut VecDeque<Delivery>) -> usize;
}

/// One by one, until one is refused.
impl<F: FnMut(Delivery) -> Admission> HandOver for F {
    fn hand_over(&mut self, held: &mut VecDeque<Delivery>) -> usize {
        let mut accepted = 0;
        while let Some(delivery) = held.pop_front() {
            match self(delivery) {
                Admission::Accepted => accepted += 1,
                Admission::Full(delivery) => {
                    held.push_front(delivery);
                    break;
                }
            }
        }
        accepted
    }
}

/// What a source did in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// Records read from the log.
    pub read: u64,
    /// Deliveries the pipeline accepted, redeliveries included.
    pub accepted: u64,
    /// Records delivered again because they came back without a verdict.
    pub redelivered: u64,
    /// Times the partitions were paused.
    pub pauses: u64,
    /// Records that had no verdict at the end; the next source reads them again.
    pub unfinished: usize,
    /// Whether the last commit is durable.
    pub committed: bool,
}

/// Why a source ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The log failed for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The thread panicked.
    #[error("the source panicked: {0}")]
    Panicked(String),
    /// The thread could not be started.
    #[error("the source's thread could not be started: {0}")]
    Spawn(#[from] std::io::Error),
}

/// Polls `consumer` until `control` says stop or the log fails for good. Blocks; wants a thread of its own.
///
/// # Errors
/// If the log fails in a way that trying again won't mend.
pub fn run_source(
    consumer: Box<dyn LogConsumer>,
    ledger: &Arc<OffsetLedger>,
    hand_over: impl HandOver,
    control: &SourceControl,
) -> Result<SourceReport, LogError> {
    work::Work::new(consumer, Arc::clone(ledger), hand_over, control).run()
}

/// A source on a thread of its own.
#[derive(Debug)]
pub struct SourceHandle {
    control: Arc<SourceControl>,
    ledger: Arc<OffsetLedger>,
    ended: oneshot::Receiver<Result<SourceReport, SourceError>>,
}

impl SourceHandle {
    /// Starts the thread. The ledger is new for every consumer: late reports of an earlier source's deliveries go to
    /// that source's ledger and change nothing here.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn spawn(
        name: &str,
        consumer: Box<dyn LogConsumer>,
        settings: SourceConfig,
        hand_over: impl HandOver + Send + 'static,
    ) -> Result<Self, SourceError> {
        let control = Arc::new(SourceControl::new(settings));
        let ledger = OffsetLedger::new();
        let (ending, ended) = oneshot::channel();
        let (its_control, its_ledger) = (Arc::clone(&control), Arc::clone(&ledger));
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let run = AssertUnwindSafe(|| run_source(consumer, &its_ledger, hand_over, &its_control));
            let result = match catch_unwind(run) {
                Ok(result) => result.map_err(SourceError::from),
                Err(payload) => Err(SourceError::Panicked(panic_text(payload.as_ref()))),
            };
            let _ = ending.send(result);
        })?;
        Ok(Self { control, ledger, ended })
    }

    /// Stops reading and handing over; goes on committing until all that was handed over has its verdict, at most this
    /// long, then commits for the last time and ends.
    pub fn drain(&self, deadline: Duration) {
        self.control.drain(deadline);
    }

    /// Commits what has its verdict and ends at once.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// The settings from now on.
    pub fn reconfigure(&self, settings: SourceConfig) {
        self.control.reconfigure(settings);
    }

    /// What it does now.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        self.control.status()
    }

    /// Its ledger, for status and for sinks that ask whether an epoch is current.
    #[must_use]
    pub fn ledger(&self) -> &Arc<OffsetLedger> {
        &self.ledger
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the log failed for good or the thread panicked.
    pub async fn join(&mut self) -> Result<SourceReport, SourceError> {
        let lost = || SourceError::Panicked("its result was taken already".to_owned());
        (&mut self.ended).await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for SourceHandle {
    fn drop(&mut self) {
        self.control.stop();
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}
