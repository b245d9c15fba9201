//! The producer with the thread that takes its delivery reports.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::producer::BaseProducer;

use super::appends::Appending;
use super::errors::log_error;
use crate::config::kafka::KafkaConfig;
use crate::kafka::log::LogError;

/// How long a look for reports lasts when none come. librdkafka waits for whole milliseconds and its Rust binding (0.39)
/// fills what is left of them by asking again and again, as its own `ThreadedProducer` does for the last millisecond of
/// every hundred: a hundredth of a processor. A little more than a whole number leaves nothing to fill.
const LOOK: Duration = Duration::from_micros(100_050);

/// A producer whose records have receipts, which come back by themselves.
pub(super) struct LogProducer {
    producer: Arc<BaseProducer<Appending>>,
    stopping: Arc<AtomicBool>,
    /// `None` only while dropping.
    thread: Option<JoinHandle<()>>,
}

impl LogProducer {
    /// Makes the producer and starts its thread.
    ///
    /// # Errors
    /// If librdkafka refuses a setting or the system has no thread left.
    pub(super) fn start(config: &KafkaConfig, max_record_bytes: usize, context: Appending) -> Result<Self, LogError> {
        let made = super::settings::producer(config, max_record_bytes).create_with_context(context);
        let producer: Arc<BaseProducer<Appending>> = Arc::new(made.map_err(|error| log_error(&error))?);
        let stopping = Arc::new(AtomicBool::new(false));
        let (polled, stop) = (Arc::clone(&producer), Arc::clone(&stopping));
        let poll = move || {
            while !stop.load(Ordering::Acquire) {
                polled.poll(LOOK);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-reports".to_owned()).spawn(poll);
        let thread = thread.map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Self { producer, stopping, thread: Some(thread) })
    }
}

impl Deref for LogProducer {
    type Target = BaseProducer<Appending>;

    fn deref(&self) -> &BaseProducer<Appending> {
        &self.producer
    }
}

impl Drop for LogProducer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
