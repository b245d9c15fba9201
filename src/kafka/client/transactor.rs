//! Commits analyses and the offsets of their records in one transaction.
//!
//! The transactional id stays the same over restarts: making the producer ready ends what an earlier process of this
//! daemon left open and shuts that process out, should it still run. The offsets go with the group's generation, so a
//! member that was thrown out of the group can't commit either. A transaction whose outcome can't be known any more
//! (the producer failed for good) ends the consumer; the next one starts at the committed offsets, and those say exactly
//! which analyses were published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryFuture, FutureProducer, Producer};

use super::context::{ClientLog, Key, MemberContext, commit_list};
use super::errors::log_error;
use super::{outgoing, settings};
use crate::config::kafka::KafkaConfig;
use crate::kafka::log::LogError;
use crate::kafka::outbox::{Outbox, Staged, record_bytes};

/// Longest wait for room in librdkafka's queue.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// Where the producer stands between two calls.
enum State {
    /// Not made ready yet.
    New,
    /// No transaction is open.
    Ready,
    /// This transaction is complete and its commit was asked for, but not answered in time.
    Committing(Batch),
    /// The open transaction is to be aborted, but that was not answered in time.
    Aborting,
    /// Failed for good, with this.
    Dead(String),
}

/// What one transaction holds.
struct Batch {
    staged: Vec<Staged>,
    offsets: Vec<(Key, i64)>,
}

/// Why a transaction did not commit.
struct Failure {
    error: KafkaError,
    /// Whether the commit itself was asked for and may be asked for again.
    at_commit: bool,
    /// Records that came with one that the broker will never take.
    refused: Vec<usize>,
}

/// The transactional producer of one consumer.
pub(super) struct Transactor {
    producer: FutureProducer<ClientLog>,
    outbox: Arc<Outbox>,
    id: String,
    /// Longest wait for an answer of the brokers.
    timeout: Duration,
    /// Whether a transaction waits for its end although nothing new may be due.
    unfinished: AtomicBool,
    state: Mutex<State>,
}

impl Transactor {
    pub(super) fn new(
        config: &KafkaConfig,
        max_record_bytes: usize,
        outbox: Arc<Outbox>,
        client: ClientLog,
    ) -> Result<Self, LogError> {
        let producer = settings::transactional(config, max_record_bytes)
            .create_with_context(client)
            .map_err(|error| log_error(&error))?;
        Ok(Self {
            producer,
            outbox,
            id: config.transactional_id.clone(),
            timeout: Duration::from_millis(config.request_timeout_ms.into()),
            unfinished: AtomicBool::new(false),
            state: Mutex::new(State::New),
        })
    }

    /// Ends what an earlier process left open. Blocks until the brokers answer, at most for a request's timeout.
    pub(super) fn make_ready(&self) {
        let mut state = self.state.lock();
        if let Err(error) = self.settle(&mut state) {
            tracing::warn!(%error, transactional_id = self.id, "transactions are not ready yet");
        }
    }

    /// Whether a transaction waits for its end.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// Acts while nothing is being committed.
    pub(super) fn between_commits<T>(&self, act: impl FnOnce() -> T) -> T {
        let _quiet = self.state.lock();
        act()
    }

    /// Publishes what is staged below these next offsets and commits them, all or nothing.
    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<MemberContext>,
        next_offsets: &[(Key, i64)],
    ) -> Result<(), LogError> {
        let mut state = self.state.lock();
        self.settle(&mut state)?;
        // A partition that went meanwhile has another owner, whose offsets must not be set back.
        let offsets: Vec<(Key, i64)> = next_offsets.iter().filter(|(key, _)| self.outbox.has(key)).cloned().collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let Some(group) = consumer.group_metadata() else {
            return Err(LogError::Unavailable("the consumer is in no group".to_owned()));
        };
        let batch = Batch { staged: self.outbox.due(&offsets), offsets };
        match self.attempt(&batch, &group) {
            Ok(()) => {
                self.outbox.remove(&batch.staged);
                Ok(())
            }
            Err(failure) => Err(self.recover(&mut state, batch, &failure)),
        }
    }

    fn attempt(&self, batch: &Batch, group: &ConsumerGroupMetadata) -> Result<(), Failure> {
        let plain = |error| Failure { error, at_commit: false, refused: Vec::new() };
        self.producer.begin_transaction().map_err(plain)?;
        let mut deliveries: Vec<DeliveryFuture> = Vec::with_capacity(batch.staged.len());
        for (index, staged) in batch.staged.iter().enumerate() {
            let delivery = self.enqueue(staged).map_err(|error| {
                let refused = if is_refusal(&error) { vec![index] } else { Vec::new() };
                Failure { error, at_commit: false, refused }
            })?;
            deliveries.push(delivery);
        }
        let list = commit_list(&batch.offsets).map_err(plain)?;
        let mut at_commit = false;
        let sent = self.producer.send_offsets_to_transaction(&list, group, self.timeout);
        let committed = sent.and_then(|()| {
            at_commit = true;
            self.producer.commit_transaction(self.timeout)
        });
        committed.map_err(|error| {
            // reports of what was refused may still be on their way; what is not told now is told by the next attempt
            let _ = self.producer.flush(ROOM_WAIT);
            let refused = deliveries.into_iter().enumerate().filter_map(|(index, delivery)| {
                let outcome = delivery.now_or_never()?.ok()?;
                outcome.is_err_and(|(error, _)| is_refusal(&error)).then_some(index)
            });
            Failure { error, at_commit, refused: refused.collect() }
        })
    }

    fn enqueue(&self, staged: &Staged) -> Result<DeliveryFuture, KafkaError> {
        let give_up = Instant::now() + self.timeout;
        loop {
            match self.producer.send_result(outgoing(&staged.record)) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) if Instant::now() < give_up => {
                    // an error here only says that some still wait
                    let _ = self.producer.flush(ROOM_WAIT);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Leaves no transaction open, or notes what is still to be done.
    fn recover(&self, state: &mut State, batch: Batch, failure: &Failure) -> LogError {
        // The broker refuses a batch as a whole; its largest record is the one that can't go.
        let suspects = failure.refused.iter().map(|index| &batch.staged[*index]);
        let refused: Vec<Staged> =
            suspects.max_by_key(|staged| record_bytes(&staged.record)).into_iter().cloned().collect();
        for Staged { origin, offset, .. } in &refused {
            tracing::error!(
                topic = origin.0, partition = origin.1, offset, error = %failure.error,
                "verdict stands, but the broker does not take its analysis"
            );
        }
        self.outbox.remove(&refused);
        let (fatal, retriable, abort) = kinds(&failure.error);
        *state = if fatal {
            self.death(&failure.error)
        } else if failure.at_commit && retriable && !abort {
            State::Committing(batch)
        } else {
            State::Aborting
        };
        tracing::warn!(error = %failure.error, transactional_id = self.id, "transaction failed");
        // what can be ended now needs no further call
        if let Err(error @ LogError::Failed(_)) = self.settle(state) {
            return error;
        }
        LogError::Unavailable(format!("the transaction failed: {}", failure.error))
    }

    /// Ends what an earlier call left open.
    fn settle(&self, state: &mut State) -> Result<(), LogError> {
        let result = match state {
            State::Ready => Ok(()),
            State::Dead(reason) => return Err(LogError::Failed(reason.clone())),
            State::New => self.producer.init_transactions(self.timeout),
            State::Committing(_) => self.producer.commit_transaction(self.timeout),
            State::Aborting => self.producer.abort_transaction(self.timeout),
        };
        let outcome = match result {
            Ok(()) => {
                if let State::Committing(batch) = std::mem::replace(state, State::Ready) {
                    self.outbox.remove(&batch.staged);
                    tracing::info!(partitions = batch.offsets.len(), "a transaction was committed late");
                }
                Ok(())
            }
            Err(error) => {
                let (fatal, _, abort) = kinds(&error);
                if fatal {
                    *state = self.death(&error);
                } else if abort {
                    *state = State::Aborting;
                }
                match state {
                    State::Dead(reason) => Err(LogError::Failed(reason.clone())),
                    _ => Err(LogError::Unavailable(format!("the transaction is not over: {error}"))),
                }
            }
        };
        self.unfinished.store(matches!(state, State::Committing(_) | State::Aborting), Ordering::Relaxed);
        outcome
    }

    fn death(&self, error: &KafkaError) -> State {
        let cause = self.producer.client().fatal_error();
        let text = cause.as_ref().map_or_else(|| error.to_string(), |(_, reason)| reason.clone());
        let fenced = matches!(
            cause.map(|(code, _)| code).or(error.rdkafka_error_code()),
            Some(Code::ProducerFenced | Code::Fenced | Code::InvalidProducerEpoch)
        );
        State::Dead(if fenced {
            format!("another daemon uses the transactional id {:?} and shut this one out: {text}", self.id)
        } else {
            format!("transactions of {:?} failed for good: {text}", self.id)
        })
    }
}

/// Whether the record itself is at fault, so that trying again won't help.
fn is_refusal(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize))
}

/// Whether it is fatal, may be called again as it was, or asks for an abort.
fn kinds(error: &KafkaError) -> (bool, bool, bool) {
    match error {
        KafkaError::Transaction(error) => (error.is_fatal(), error.is_retriable(), error.txn_requires_abort()),
        error => (error.rdkafka_error_code() == Some(Code::Fatal), false, true),
    }
}
