//! Commits beside the polling thread.
//!
//! librdkafka tells the outcome of an asynchronous commit only to a callback that its Rust binding (0.39) doesn't set, so
//! failures would go unseen. This thread makes synchronous commits instead and keeps their outcome.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use super::context::{Key, MemberContext, Membership, Transactions, commit_list};
use super::errors::log_error;
use crate::kafka::log::LogError;
use crate::telemetry::metrics;

/// Next offsets to commit.
type Offsets = Vec<(Key, i64)>;

/// The thread, and the way to it. Ends when dropped and its last commit is answered.
pub(super) struct Committer {
    orders: SyncSender<Offsets>,
    thread: JoinHandle<()>,
}

impl Committer {
    pub(super) fn start(
        consumer: Arc<BaseConsumer<MemberContext>>,
        membership: Arc<Mutex<Membership>>,
    ) -> Result<Self, LogError> {
        // One order waits while one is carried out; the next has the newest offsets anyway.
        let (orders, waiting) = sync_channel::<Offsets>(1);
        let work = move || {
            if let Some(Transactions { transactor, .. }) = &consumer.context().transactions {
                transactor.make_ready();
            }
            for offsets in waiting {
                commit(&consumer, &membership, offsets);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-commit".to_owned()).spawn(work);
        let thread = thread.map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Self { orders, thread })
    }

    /// Orders a commit; `false` if one waits already.
    pub(super) fn order(&self, offsets: Offsets) -> Result<bool, LogError> {
        match self.orders.try_send(offsets) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(LogError::Failed("the commit thread is gone".to_owned())),
        }
    }

    /// Waits for the end of the commit under way.
    pub(super) fn finish(self) {
        drop(self.orders);
        let _ = self.thread.join();
    }
}

/// Commits these next offsets, with the analyses that go with them where they are published exactly once. Waits.
pub(super) fn carry_out(consumer: &BaseConsumer<MemberContext>, offsets: &[(Key, i64)]) -> Result<(), LogError> {
    let result = match &consumer.context().transactions {
        None => {
            let list = commit_list(offsets);
            list.and_then(|list| consumer.commit(&list, CommitMode::Sync)).map_err(|error| log_error(&error))
        }
        Some(Transactions { transactor, .. }) => transactor.commit(consumer, offsets),
    };
    metrics::offsets_committed(if result.is_ok() { "ok" } else { "failed" });
    result
}

fn commit(consumer: &BaseConsumer<MemberContext>, membership: &Mutex<Membership>, mut offsets: Offsets) {
    // An order waits a moment, and a partition may have gone meanwhile.
    offsets.retain({
        let membership = membership.lock();
        move |(key, _)| membership.assigned.contains(key)
    });
    let result = carry_out(consumer, &offsets);
    let mut membership = membership.lock();
    match result {
        Ok(()) => membership.note_committed(&offsets),
        Err(error) => {
            // Sent again with the next commit.
            for (key, _) in &offsets {
                membership.sent.remove(key);
            }
            membership.commit_failure = Some(error);
        }
    }
}
