//! A log whose topics and groups have names of their own, so that tests which share a broker don't meet.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tidemill::kafka::log::{Log, LogConsumer, LogError, LogEvent, PartitionLag};
use tidemill::messages::record::{NewRecord, Position};

/// Wraps a log.
pub struct Namespaced<L> {
    inner: L,
    prefix: String,
}

impl<L> Namespaced<L> {
    /// With a fresh prefix.
    pub fn new(inner: L) -> Self {
        Self { inner, prefix: format!("{}-", uuid::Uuid::new_v4().simple()) }
    }

    fn outer(&self, error: LogError) -> LogError {
        match error {
            LogError::UnknownTopic(topic) => LogError::UnknownTopic(strip(&self.prefix, &topic)),
            LogError::UnknownPartition { topic, partition } => {
                LogError::UnknownPartition { topic: strip(&self.prefix, &topic), partition }
            }
            other => other,
        }
    }

    fn inner_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

fn strip(prefix: &str, name: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

fn renamed(position: Position, name: impl Fn(&str) -> String) -> Position {
    Position { topic: name(&position.topic).into(), ..position }
}

impl<L: Log> Log for Namespaced<L> {
    fn ensure_topics<'a>(&'a self, topics: &'a [(String, i32)]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            let topics: Vec<(String, i32)> = topics.iter().map(|(name, n)| (self.inner_name(name), *n)).collect();
            self.inner.ensure_topics(&topics).await.map_err(|error| self.outer(error))
        })
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, LogError>> {
        Box::pin(async move {
            let rename = |record: NewRecord| NewRecord { topic: self.inner_name(&record.topic).into(), ..record };
            let positions = self.inner.append(records.into_iter().map(rename).collect()).await;
            let positions = positions.map_err(|error| self.outer(error))?;
            Ok(positions.into_iter().map(|position| renamed(position, |name| strip(&self.prefix, name))).collect())
        })
    }

    fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn LogConsumer>, LogError> {
        let topics: Vec<String> = topics.iter().map(|name| self.inner_name(name)).collect();
        let inner = self.inner.consumer(&self.inner_name(group), &topics)?;
        Ok(Box::new(NamespacedConsumer { inner, prefix: self.prefix.clone() }))
    }

    fn lag<'a>(&'a self, group: &'a str, topics: &'a [String]) -> BoxFuture<'a, Result<Vec<PartitionLag>, LogError>> {
        Box::pin(async move {
            let topics: Vec<String> = topics.iter().map(|name| self.inner_name(name)).collect();
            let lags = self.inner.lag(&self.inner_name(group), &topics).await.map_err(|error| self.outer(error))?;
            let rename = |lag: PartitionLag| PartitionLag { topic: strip(&self.prefix, &lag.topic), ..lag };
            Ok(lags.into_iter().map(rename).collect())
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.inner.check()
    }
}

struct NamespacedConsumer {
    inner: Box<dyn LogConsumer>,
    prefix: String,
}

impl LogConsumer for NamespacedConsumer {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<LogEvent>, LogError> {
        let mut events = self.inner.poll(timeout)?;
        for event in &mut events {
            match event {
                LogEvent::Records(records) => {
                    for record in records {
                        record.position.topic = strip(&self.prefix, &record.position.topic).into();
                    }
                }
                LogEvent::Assigned { partitions, .. } | LogEvent::Revoked { partitions } => {
                    partitions.iter_mut().for_each(|(topic, _)| *topic = strip(&self.prefix, topic));
                }
            }
        }
        Ok(events)
    }

    fn set_committable(&mut self, next_offsets: &[Position]) {
        let inner = |position: &Position| renamed(position.clone(), |name| format!("{}{name}", self.prefix));
        let next_offsets: Vec<Position> = next_offsets.iter().map(inner).collect();
        self.inner.set_committable(&next_offsets);
    }

    fn commit(&mut self, wait: bool) -> Result<(), LogError> {
        self.inner.commit(wait)
    }

    fn set_paused(&mut self, paused: bool) {
        self.inner.set_paused(paused);
    }
}
