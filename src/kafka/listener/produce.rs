//! Produce: each partition's batch is decoded and appended; a full log holds the request back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use super::Context;
use super::answers::{ErrorCode, PartitionOutcome};
use super::batch::{self, Batch, BatchError, Limits};
use super::requests::Produce;
use crate::kafka::log::{LogError, SequencedAppend};

/// Compressed batches from this size on are decompressed on a thread for blocking work.
const BLOCKING_FROM_BYTES: usize = 64 << 10;
/// Waits between tries while the log is full.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LAST_WAIT: Duration = Duration::from_millis(200);

/// Why a partition's batch was not appended.
struct Refusal {
    code: ErrorCode,
    message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        let code = match error {
            BatchError::Legacy(_) | BatchError::UnknownFormat(_) => ErrorCode::UnsupportedForMessageFormat,
            BatchError::Checksum | BatchError::Corrupt(_) => ErrorCode::CorruptMessage,
            BatchError::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
            BatchError::TooLarge { .. } | BatchError::RecordTooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchError::Invalid(_) => ErrorCode::InvalidRecord,
            BatchError::Transactional => ErrorCode::TransactionalIdAuthorizationFailed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        let code = match error {
            LogError::UnknownTopic(_) | LogError::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
            LogError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            LogError::Full(_) => ErrorCode::NotEnoughReplicas,
            LogError::Unavailable(_) => ErrorCode::NotEnoughReplicasAfterAppend,
            LogError::Failed(_) => ErrorCode::Unknown,
        };
        Self::new(code, error.to_string())
    }
}

/// Appends all batches of the request; gives each one's outcome in the request's order.
pub(super) async fn produce(context: &Context, request: Produce, version: i16) -> Vec<(String, Vec<PartitionOutcome>)> {
    let refusal = refusal_of_all(&request, version);
    let hold = Duration::from_millis(context.config.max_hold_ms);
    let timeout = u64::try_from(request.timeout_ms).map_or(hold, Duration::from_millis);
    let deadline = Instant::now() + timeout.min(hold);
    let topics = request.topics.into_iter().map(|(name, partitions)| {
        let topic: Arc<str> = name.as_str().into();
        async move {
            let appends = partitions.into_iter().map(|(partition, bytes)| {
                let (topic, refusal) = (Arc::clone(&topic), refusal);
                async move {
                    let result = match refusal {
                        Some((code, message)) => Err(Refusal::new(code, message)),
                        None => append(context, &topic, (partition, bytes), deadline).await,
                    };
                    outcome(&topic, partition, result)
                }
            });
            (name, join_all(appends).await)
        }
    });
    join_all(topics).await
}

/// Why no batch of the request can be taken, if it is so.
fn refusal_of_all(request: &Produce, version: i16) -> Option<(ErrorCode, &'static str)> {
    if version < 3 {
        let code = ErrorCode::UnsupportedForMessageFormat;
        return Some((code, "produce versions 0 to 2 carry message formats that are too old"));
    }
    if request.transactional_id.is_some() {
        return Some((ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not supported"));
    }
    let valid = matches!(request.acks, -1..=1);
    (!valid).then_some((ErrorCode::InvalidRequiredAcks, "acks must be -1, 0 or 1"))
}

fn outcome(topic: &str, partition: i32, result: Result<i64, Refusal>) -> PartitionOutcome {
    match result {
        Ok(base_offset) => PartitionOutcome { partition, code: ErrorCode::None, base_offset, message: None },
        Err(Refusal { code, message }) => {
            tracing::debug!(topic, partition, ?code, reason = message, "batch refused");
            PartitionOutcome { partition, code, base_offset: -1, message: Some(message) }
        }
    }
}

/// Appends one batch; gives the offset of its first record.
async fn append(
    context: &Context,
    topic: &Arc<str>,
    (partition, bytes): (i32, Option<Bytes>),
    deadline: Instant,
) -> Result<i64, Refusal> {
    if !context.has_partition(topic, partition) {
        let message = format!("there is no partition {partition} of topic {topic}");
        return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
    }
    let bytes = bytes.ok_or_else(|| Refusal::new(ErrorCode::InvalidRecord, "the batch is missing"))?;
    // Held until the batch is appended: it bounds what is in memory decompressed.
    let Ok(_slot) = context.batches.acquire().await else {
        return Err(Refusal::new(ErrorCode::NotEnoughReplicas, "the listener stops"));
    };
    let limits = Limits { batch_bytes: context.config.max_batch_bytes, record_bytes: context.config.max_record_bytes };
    let batch = if bytes.len() < BLOCKING_FROM_BYTES {
        batch::decode(&bytes, topic, partition, limits)?
    } else {
        let topic = Arc::clone(topic);
        let decoding = tokio::task::spawn_blocking(move || batch::decode(&bytes, &topic, partition, limits));
        decoding.await.map_err(|error| Refusal::new(ErrorCode::Unknown, error.to_string()))??
    };
    let mut wait = FIRST_WAIT;
    loop {
        let error = match tokio::time::timeout_at(deadline.into(), append_once(context, &batch)).await {
            Ok(Ok(offset)) => return offset,
            Ok(Err(error)) => error,
            Err(_) => return Err(Refusal::new(ErrorCode::RequestTimedOut, "the log took too long")),
        };
        if !matches!(error, LogError::Full(_)) || Instant::now() + wait >= deadline {
            return Err(error.into());
        }
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// One try. The outer error is the log's; the inner one is final.
async fn append_once(context: &Context, batch: &Batch) -> Result<Result<i64, Refusal>, LogError> {
    let records = batch.records.clone();
    let Some(sequence) = batch.sequence else {
        let positions = context.log.append(records).await?;
        return Ok(Ok(positions.first().map_or(-1, |position| position.offset)));
    };
    Ok(match context.log.append_once(sequence, records).await? {
        SequencedAppend::Appended(position) | SequencedAppend::Duplicate(Some(position)) => Ok(position.offset),
        SequencedAppend::Duplicate(None) => {
            Err(Refusal::new(ErrorCode::DuplicateSequenceNumber, "the batch was appended long ago"))
        }
        SequencedAppend::OutOfOrder { expected } => {
            let message = format!("batch number {} came, {expected} was expected", sequence.first);
            Err(Refusal::new(ErrorCode::OutOfOrderSequenceNumber, message))
        }
        SequencedAppend::Fenced { epoch } => {
            let message = format!("epoch {} is over, {epoch} has begun", sequence.epoch);
            Err(Refusal::new(ErrorCode::InvalidProducerEpoch, message))
        }
    })
}
