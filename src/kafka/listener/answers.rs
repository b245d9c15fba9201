//! The answers, written by version. What a producer's error number means stands here too.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FindCoordinatorResponse, InitProducerIdResponse, MetadataResponse,
    ProduceResponse, ProducerId, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::requests::{Api, RequestHeader};

/// We are the only broker.
const BROKER: BrokerId = BrokerId(1);
/// First version of Produce whose answer has its own structure here; older ones are only ever refused.
const FIRST_PRODUCE_WITH_BATCHES: i16 = 3;
/// First version of Produce whose answer carries words.
const FIRST_PRODUCE_WITH_MESSAGES: i16 = 8;

/// The protocol's error numbers that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub(super) enum ErrorCode {
    Unknown = -1,
    None = 0,
    CorruptMessage = 2,
    UnknownTopicOrPartition = 3,
    RequestTimedOut = 7,
    MessageTooLarge = 10,
    CoordinatorNotAvailable = 15,
    InvalidTopic = 17,
    /// Retriable, and says that nothing was written.
    NotEnoughReplicas = 19,
    /// Retriable, and says that it may have been written.
    NotEnoughReplicasAfterAppend = 20,
    InvalidRequiredAcks = 21,
    GroupAuthorizationFailed = 30,
    UnsupportedVersion = 35,
    UnsupportedForMessageFormat = 43,
    OutOfOrderSequenceNumber = 45,
    DuplicateSequenceNumber = 46,
    InvalidProducerEpoch = 47,
    TransactionalIdAuthorizationFailed = 53,
    UnsupportedCompressionType = 76,
    InvalidRecord = 87,
}

impl ErrorCode {
    pub(super) const fn number(self) -> i16 {
        self as i16
    }
}

/// The outcome of one partition's batch.
#[derive(Debug, Clone)]
pub(super) struct PartitionOutcome {
    pub partition: i32,
    pub code: ErrorCode,
    /// Offset of the batch's first record, or -1.
    pub base_offset: i64,
    pub message: Option<String>,
}

/// An answer could not be written; the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be written: {0}")]
pub(super) struct AnswerError(String);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Length, header and body.
fn frame(request: &RequestHeader, version: i16, body: &impl Encodable) -> Result<Bytes, AnswerError> {
    let failed = |error: &dyn std::fmt::Display| AnswerError(error.to_string());
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    let api = ApiKey::try_from(request.api.key()).map_err(|()| failed(&"unknown api"))?;
    let header = ResponseHeader::default().with_correlation_id(request.correlation_id);
    header.encode(&mut bytes, api.response_header_version(version)).map_err(|error| failed(&error))?;
    body.encode(&mut bytes, version).map_err(|error| failed(&error))?;
    finish(bytes)
}

fn finish(mut bytes: BytesMut) -> Result<Bytes, AnswerError> {
    let length = i32::try_from(bytes.len() - 4).map_err(|error| AnswerError(error.to_string()))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.freeze())
}

/// What is offered. A version not offered is answered at version 0, from where clients start again.
pub(super) fn api_versions(request: &RequestHeader) -> Result<Bytes, AnswerError> {
    let (low, high) = Api::ApiVersions.versions();
    let offered = (low..=high).contains(&request.version);
    let keys = Api::ALL.map(|api| {
        let (low, high) = api.versions();
        ApiVersion::default().with_api_key(api.key()).with_min_version(low).with_max_version(high)
    });
    let code = if offered { ErrorCode::None } else { ErrorCode::UnsupportedVersion };
    let body = ApiVersionsResponse::default().with_error_code(code.number()).with_api_keys(keys.to_vec());
    frame(request, if offered { request.version } else { 0 }, &body)
}

/// A topic as a client sees it: its partitions, or why there are none.
pub(super) type TopicAnswer = (String, Result<i32, ErrorCode>);

/// Us, and the topics.
pub(super) fn metadata(
    request: &RequestHeader,
    (host, port): (&str, u16),
    topics: Vec<TopicAnswer>,
) -> Result<Bytes, AnswerError> {
    let broker = MetadataResponseBroker::default().with_node_id(BROKER).with_host(text(host)).with_port(port.into());
    let topics = topics.into_iter().map(|(name, partitions)| {
        let topic = MetadataResponseTopic::default().with_name(Some(TopicName(StrBytes::from_string(name))));
        match partitions {
            Err(code) => topic.with_error_code(code.number()),
            Ok(count) => topic.with_partitions((0..count).map(partition).collect()),
        }
    });
    let mut body =
        MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BROKER).with_topics(topics.collect());
    if request.version >= 2 {
        body = body.with_cluster_id(Some(text("tidemill")));
    }
    frame(request, request.version, &body)
}

fn partition(number: i32) -> MetadataResponsePartition {
    MetadataResponsePartition::default()
        .with_partition_index(number)
        .with_leader_id(BROKER)
        .with_replica_nodes(vec![BROKER])
        .with_isr_nodes(vec![BROKER])
}

/// A producer id, or why not.
pub(super) fn init_producer_id(request: &RequestHeader, id: Result<i64, ErrorCode>) -> Result<Bytes, AnswerError> {
    let body = InitProducerIdResponse::default();
    let body = match id {
        Ok(id) => body.with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(code) => body.with_error_code(code.number()).with_producer_id(ProducerId(-1)).with_producer_epoch(-1),
    };
    frame(request, request.version, &body)
}

/// There are neither consumer groups nor transactions here.
pub(super) fn no_coordinator(request: &RequestHeader, transactions: bool) -> Result<Bytes, AnswerError> {
    let (code, words) = if transactions {
        (ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not supported")
    } else {
        (ErrorCode::GroupAuthorizationFailed, "this listener only takes records; it has no consumer groups")
    };
    let body = FindCoordinatorResponse::default();
    let mut body = body.with_error_code(code.number()).with_node_id(BrokerId(-1)).with_port(-1);
    if request.version >= 1 {
        body = body.with_error_message(Some(text(words)));
    }
    frame(request, request.version, &body)
}

/// What became of each batch.
pub(super) fn produce(
    request: &RequestHeader,
    topics: Vec<(String, Vec<PartitionOutcome>)>,
) -> Result<Bytes, AnswerError> {
    if request.version < FIRST_PRODUCE_WITH_BATCHES {
        return old_produce(request, &topics);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|outcome| {
            let message = outcome.message.filter(|_| request.version >= FIRST_PRODUCE_WITH_MESSAGES);
            PartitionProduceResponse::default()
                .with_index(outcome.partition)
                .with_error_code(outcome.code.number())
                .with_base_offset(outcome.base_offset)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(if request.version >= 5 { 0 } else { -1 })
                .with_error_message(message.map(StrBytes::from_string))
        });
        TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partition_responses(partitions.collect())
    });
    frame(request, request.version, &ProduceResponse::default().with_responses(topics.collect()))
}

/// Versions 0 to 2, which the protocol crate no longer writes.
fn old_produce(request: &RequestHeader, topics: &[(String, Vec<PartitionOutcome>)]) -> Result<Bytes, AnswerError> {
    let count = |length: usize| i32::try_from(length).map_err(|error| AnswerError(error.to_string()));
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    bytes.put_i32(request.correlation_id);
    bytes.put_i32(count(topics.len())?);
    for (name, partitions) in topics {
        bytes.put_i16(i16::try_from(name.len()).map_err(|error| AnswerError(error.to_string()))?);
        bytes.put_slice(name.as_bytes());
        bytes.put_i32(count(partitions.len())?);
        for outcome in partitions {
            bytes.put_i32(outcome.partition);
            bytes.put_i16(outcome.code.number());
            bytes.put_i64(outcome.base_offset);
            if request.version >= 2 {
                bytes.put_i64(-1);
            }
        }
    }
    if request.version >= 1 {
        bytes.put_i32(0);
    }
    finish(bytes)
}
