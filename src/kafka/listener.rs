//! The listener: any Kafka client can hand records to the log, and do nothing else.
//!
//! It speaks as much of Kafka's protocol as producers need: versions, metadata, producer ids, produce. Anything else ends
//! the connection with a reason in the log. It trusts nobody: every length is bounded, every wait has a deadline.

mod answers;
mod batch;
mod compression;
mod connection;
mod produce;
mod requests;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::answers::{ErrorCode, TopicAnswer};
use super::log::Log;
use crate::config::kafka_listener::KafkaListenerConfig;
use crate::telemetry::metrics;

/// The buffer is counted in these units.
const PERMIT_BYTES: usize = 1024;
/// How long connections may finish what they do when the listener stops.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Wait after a failed accept, such as when the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Most topics that clients can have made.
const MAX_TOPICS: usize = 1_000;
/// Longest topic name, as Kafka's.
const MAX_TOPIC_NAME_BYTES: usize = 249;

/// What all connections share.
struct Context {
    log: Arc<dyn Log>,
    config: KafkaListenerConfig,
    /// Partitions by topic name.
    topics: RwLock<BTreeMap<String, i32>>,
    /// Bytes of requests held, in units of [`PERMIT_BYTES`].
    buffer: Arc<Semaphore>,
    /// Batches held decompressed.
    batches: Semaphore,
}

impl Context {
    fn partitions(&self, topic: &str) -> Option<i32> {
        self.topics.read().get(topic).copied()
    }

    fn has_partition(&self, topic: &str, partition: i32) -> bool {
        self.partitions(topic).is_some_and(|count| (0..count).contains(&partition))
    }

    fn all_topics(&self) -> Vec<TopicAnswer> {
        self.topics.read().iter().map(|(name, count)| (name.clone(), Ok(*count))).collect()
    }

    /// Makes a topic that a client asked for.
    async fn create(&self, name: &str) -> Result<i32, ErrorCode> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let valid = !name.is_empty()
            && name.len() <= MAX_TOPIC_NAME_BYTES
            && name.bytes().all(legal)
            && ![".", ".."].contains(&name);
        if !valid || self.topics.read().len() >= MAX_TOPICS {
            return Err(ErrorCode::InvalidTopic);
        }
        let count = self.config.auto_create_partitions;
        match self.log.ensure_topics(&[(name.to_owned(), count)]).await {
            Ok(()) => {
                tracing::info!(topic = name, partitions = count, "topic made for a client");
                self.topics.write().insert(name.to_owned(), count);
                Ok(count)
            }
            Err(error) => {
                tracing::warn!(topic = name, %error, "topic could not be made");
                Err(ErrorCode::UnknownTopicOrPartition)
            }
        }
    }

    /// Where clients are told to connect to.
    fn address(&self, local: SocketAddr) -> (String, u16) {
        self.config.advertised_address().unwrap_or_else(|| (local.ip().to_string(), local.port()))
    }
}

/// Serves Kafka's produce protocol on `listener` until `shutdown`; then finishes the requests at hand, for at most a few
/// seconds. `topics` are those that clients may write to, with their partitions; the log must have them.
///
/// # Errors
/// None today: a failed accept is retried. The type leaves room for a listener that has to give up.
pub async fn serve(
    listener: TcpListener,
    log: Arc<dyn Log>,
    topics: Vec<(String, i32)>,
    config: KafkaListenerConfig,
    shutdown: impl Future,
) -> io::Result<()> {
    let context = Arc::new(Context {
        log,
        topics: RwLock::new(topics.into_iter().collect()),
        buffer: Arc::new(Semaphore::new(config.max_buffered_bytes.div_ceil(PERMIT_BYTES))),
        batches: Semaphore::new(config.max_concurrent_batches),
        config,
    });
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            _ = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if connections.len() < context.config.max_connections => {
                    connections.spawn(connection::serve(Arc::clone(&context), stream, peer, stopping.clone()));
                }
                Ok((_, peer)) => {
                    metrics::listener_request("connection", "refused");
                    tracing::warn!(%peer, limit = context.config.max_connections, "too many connections");
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_DEADLINE, drained).await.is_err() {
        tracing::warn!("connections did not end in time and are cut");
    }
    Ok(())
}
