//! Apache Kafka by librdkafka: an idempotent producer, consumers that are polled by their owner's thread.

mod appends;
mod committer;
mod consumer;
mod context;
mod errors;
mod groups;
mod producer;
mod settings;
mod topics;
mod transactor;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use self::appends::{Appending, Appends, Receipt};
use self::consumer::KafkaConsumer;
use self::context::{ClientLog, MemberContext, Membership, Transactions, Trouble};
use self::errors::{explained, log_error};
use self::producer::LogProducer;
use self::transactor::Transactor;
use super::log::{Log, LogConsumer, LogError, PartitionLag};
use super::outbox::{Outbox, record_bytes};
use crate::config::kafka::KafkaConfig;
use crate::config::log::LogConfig;
use crate::messages::record::{NewRecord, Position};
use crate::telemetry::metrics;

/// Longest wait of a health check.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);
/// How much longer than librdkafka's own deadline an append is waited for.
const DELIVERY_GRACE: Duration = Duration::from_secs(5);
/// Wait while librdkafka's queue is full.
const QUEUE_WAIT: Duration = Duration::from_millis(5);

/// A log that is Apache Kafka.
pub struct KafkaLog {
    config: KafkaConfig,
    /// Most bytes of a record.
    max_record_bytes: usize,
    /// Most records and bytes of one poll.
    fetch: consumer::FetchLimits,
    /// Topics that were ensured; others aren't written to, because a broker might create them from a typing error.
    known: RwLock<BTreeSet<String>>,
    /// Replaced after a fatal error, which librdkafka never forgets.
    producer: Mutex<Arc<LogProducer>>,
    /// One for each group asked about; they join no group.
    inquirers: Mutex<HashMap<String, Arc<BaseConsumer<ClientLog>>>>,
    /// Last epoch given to an assignment.
    epochs: Arc<AtomicU64>,
    /// With `kafka.exactly_once`; of the one consumer that reads documents.
    outbox: Option<Arc<Outbox>>,
    /// Why the brokers don't answer, as far as librdkafka said.
    trouble: Trouble,
}

impl KafkaLog {
    /// Makes the client. Connects later, by itself.
    ///
    /// # Errors
    /// If librdkafka refuses a setting.
    pub fn new(config: &KafkaConfig, log: &LogConfig) -> Result<Self, LogError> {
        if config.exactly_once && config.transactional_id.is_empty() {
            return Err(LogError::Failed("kafka.exactly_once needs kafka.transactional_id".to_owned()));
        }
        let trouble = Trouble::default();
        let producer = new_producer(config, log.max_record_bytes, ClientLog(trouble.clone()))?;
        Ok(Self {
            config: config.clone(),
            max_record_bytes: log.max_record_bytes,
            fetch: consumer::FetchLimits { records: log.fetch_records, bytes: log.fetch_bytes },
            known: RwLock::new(BTreeSet::new()),
            producer: Mutex::new(producer),
            inquirers: Mutex::new(HashMap::new()),
            epochs: Arc::default(),
            outbox: config.exactly_once.then(Arc::default),
            trouble,
        })
    }

    fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.config.request_timeout_ms.into())
    }

    /// The context of a client.
    fn client(&self) -> ClientLog {
        ClientLog(self.trouble.clone())
    }

    /// The context of a group's member. Bars lead to no analyses: their group publishes nothing, and commits without
    /// transactions, whose name is taken.
    fn member(&self, group: &str) -> Result<MemberContext, LogError> {
        let transactions = match self.outbox.as_ref().filter(|_| group != self.config.bars_group()) {
            None => None,
            Some(outbox) => {
                let (outbox, client) = (Arc::clone(outbox), self.client());
                let transactor = Transactor::new(&self.config, self.max_record_bytes, Arc::clone(&outbox), client)?;
                Some(Transactions { transactor: Arc::new(transactor), outbox })
            }
        };
        Ok(MemberContext {
            membership: Arc::new(Mutex::new(Membership::default())),
            epochs: Arc::clone(&self.epochs),
            transactions,
            trouble: self.trouble.clone(),
        })
    }

    /// Runs a call that blocks and says what the connections suffer from if it gets no answer.
    async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        match blocking(call).await {
            Ok(answer) => {
                self.trouble.is_over();
                Ok(answer)
            }
            Err(error) => Err(explained(error, &self.trouble)),
        }
    }

    /// A producer that has not failed for good.
    fn producer(&self) -> Result<Arc<LogProducer>, LogError> {
        let mut producer = self.producer.lock();
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::error!(%code, reason, "the producer failed for good and is replaced");
            *producer = new_producer(&self.config, self.max_record_bytes, self.client())?;
        }
        Ok(Arc::clone(&producer))
    }

    fn inquirer(&self, group: &str) -> Result<Arc<BaseConsumer<ClientLog>>, LogError> {
        let mut inquirers = self.inquirers.lock();
        if let Some(known) = inquirers.get(group) {
            return Ok(Arc::clone(known));
        }
        let settings = settings::inquirer(&self.config, group);
        let inquirer = settings.create_with_context(self.client()).map_err(|error| log_error(&error))?;
        let inquirer: Arc<BaseConsumer<ClientLog>> = Arc::new(inquirer);
        inquirers.insert(group.to_owned(), Arc::clone(&inquirer));
        Ok(inquirer)
    }

    /// Queues one record, waiting while the queue is full.
    async fn enqueue(
        &self,
        producer: &LogProducer,
        record: &NewRecord,
        receipt: Receipt,
        deadline: tokio::time::Instant,
    ) -> Result<(), LogError> {
        let mut outgoing = with_receipt(record, receipt);
        loop {
            match producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    if tokio::time::Instant::now() + QUEUE_WAIT >= deadline {
                        return Err(LogError::Full("the producer's queue is full".to_owned()));
                    }
                    outgoing = refused;
                    tokio::time::sleep(QUEUE_WAIT).await;
                }
                Err((error, _)) => return Err(self.produce_error(&error, record)),
            }
        }
    }

    fn refuse(&self, records: &[NewRecord]) -> Result<(), LogError> {
        let limit = self.max_record_bytes;
        let known = self.known.read();
        for record in records {
            if !known.contains(&*record.topic) {
                return Err(LogError::UnknownTopic(record.topic.to_string()));
            }
            let bytes = record_bytes(record);
            if bytes > limit {
                return Err(LogError::TooLarge { bytes, limit });
            }
        }
        Ok(())
    }

    async fn append_all(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.refuse(&records)?;
        let producer = self.producer()?;
        let timeout = Duration::from_millis(self.config.delivery_timeout_ms.into()) + DELIVERY_GRACE;
        let deadline = tokio::time::Instant::now() + timeout;
        let appends = Appends::new(records.len());
        let mut first_error = None;
        for record in &records {
            if let Err(error) = self.enqueue(&producer, record, appends.receipt(), deadline).await {
                first_error = Some(error);
                break;
            }
        }
        // What was queued is waited for in any case, so that a retry comes after it and not between.
        let Ok(outcomes) = tokio::time::timeout_at(deadline, appends.outcomes()).await else {
            return Err(LogError::Unavailable("the broker did not acknowledge in time".to_owned()));
        };
        let mut positions = Vec::with_capacity(records.len());
        for (record, outcome) in records.iter().zip(outcomes) {
            match outcome {
                Some(Ok((partition, offset))) => {
                    positions.push(Position { topic: Arc::clone(&record.topic), partition, offset });
                }
                Some(Err(error)) => first_error = first_error.or(Some(self.produce_error(&error, record))),
                None => {
                    let error = LogError::Unavailable("the producer was replaced".to_owned());
                    first_error = first_error.or(Some(error));
                }
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        for run in positions.chunk_by(|left, right| left.topic == right.topic) {
            metrics::records_appended(&run[0].topic, run.len() as u64);
        }
        Ok(positions)
    }

    fn produce_error(&self, error: &KafkaError, record: &NewRecord) -> LogError {
        use RDKafkaErrorCode as Code;
        match (error.rdkafka_error_code(), record.partition) {
            (Some(Code::UnknownTopic), _) => LogError::UnknownTopic(record.topic.to_string()),
            (Some(Code::UnknownPartition | Code::UnknownTopicOrPartition), Some(partition)) => {
                LogError::UnknownPartition { topic: record.topic.to_string(), partition }
            }
            (Some(Code::UnknownPartition | Code::UnknownTopicOrPartition), None) => {
                LogError::UnknownTopic(record.topic.to_string())
            }
            (Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize), _) => {
                LogError::TooLarge { bytes: record_bytes(record), limit: self.max_record_bytes }
            }
            _ => log_error(error),
        }
    }
}

/// Runs a call that blocks on a thread for such calls.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(call).await.map_err(|error| LogError::Failed(error.to_string()))?
}

fn new_producer(
    config: &KafkaConfig,
    max_record_bytes: usize,
    client: ClientLog,
) -> Result<Arc<LogProducer>, LogError> {
    LogProducer::start(config, max_record_bytes, Appending(client)).map(Arc::new)
}

fn with_receipt(record: &NewRecord, receipt: Receipt) -> BaseRecord<'_, [u8], [u8], Box<Receipt>> {
    let mut outgoing =
        BaseRecord::<[u8], [u8], _>::with_opaque_to(&record.topic, Box::new(receipt)).payload(&record.value);
    outgoing.key = record.key.as_deref();
    outgoing.partition = record.partition;
    outgoing.timestamp = record.timestamp_ms;
    outgoing.headers = headers(record);
    outgoing
}

/// As librdkafka takes it.
fn outgoing(record: &NewRecord) -> FutureRecord<'_, [u8], [u8]> {
    let mut outgoing = FutureRecord::<[u8], [u8]>::to(&record.topic).payload(&record.value);
    outgoing.key = record.key.as_deref();
    outgoing.partition = record.partition;
    outgoing.timestamp = record.timestamp_ms;
    outgoing.headers = headers(record);
    outgoing
}

fn headers(record: &NewRecord) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    let add = |headers: OwnedHeaders, (name, value): &(String, bytes::Bytes)| {
        headers.insert(Header { key: name, value: Some(&value[..]) })
    };
    Some(record.headers.iter().fold(headers, add))
}

/// The partitions of a topic, in order. Blocks.
fn partitions(inquirer: &BaseConsumer<ClientLog>, topic: &str, timeout: Duration) -> Result<Vec<i32>, LogError> {
    let metadata = inquirer.fetch_metadata(Some(topic), timeout).map_err(|error| log_error(&error))?;
    let known = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
    let known = known.ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))?;
    let mut numbers: Vec<i32> = known.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Committed offset and end of every partition of the topics. Blocks.
fn lag(
    inquirer: &BaseConsumer<ClientLog>,
    topics: &[String],
    timeout: Duration,
) -> Result<Vec<PartitionLag>, LogError> {
    let mut wanted = TopicPartitionList::new();
    for topic in topics {
        for number in partitions(inquirer, topic, timeout)? {
            wanted.add_partition(topic, number);
        }
    }
    let committed = inquirer.committed_offsets(wanted, timeout).map_err(|error| log_error(&error))?;
    let mut lags = Vec::new();
    for element in committed.elements() {
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        let (low, end) = inquirer.fetch_watermarks(&topic, partition, timeout).map_err(|error| log_error(&error))?;
        let committed = match element.offset() {
            Offset::Offset(offset) => offset.max(low),
            _ => low,
        };
        lags.push(PartitionLag { topic, partition, committed, end });
    }
    Ok(lags)
}

impl Log for KafkaLog {
    fn ensure_topics<'a>(&'a self, topics: &'a [(String, i32)]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(self.ensure(topics))
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, LogError>> {
        Box::pin(self.append_all(records))
    }

    fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn LogConsumer>, LogError> {
        Ok(Box::new(KafkaConsumer::join(&self.config, group, topics, self.fetch, self.member(group)?)?))
    }

    fn outbox(&self) -> Option<Arc<Outbox>> {
        self.outbox.clone()
    }

    fn lag<'a>(&'a self, group: &'a str, topics: &'a [String]) -> BoxFuture<'a, Result<Vec<PartitionLag>, LogError>> {
        Box::pin(async move {
            let (inquirer, topics) = (self.inquirer(group)?, topics.to_vec());
            let timeout = self.request_timeout();
            self.ask(move || lag(&inquirer, &topics, timeout)).await
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let producer = self.producer()?;
            let call = move || {
                let metadata = producer.client().fetch_metadata(None, CHECK_DEADLINE);
                metadata.map(|_| ()).map_err(|error| log_error(&error))
            };
            self.ask(call).await
        })
    }
}
