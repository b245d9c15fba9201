//! Keeps what could not be processed, byte for byte, with its story.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::kafka::log::{Log, LogError};
use crate::messages::dead_letter::{DeadLetter, StoredDeadLetter};
use crate::messages::event::{EventBus, EventKind};
use crate::messages::record::{CORRELATION_HEADER, Header, NewRecord};
use crate::stores::documents::DocumentStore;
use crate::supervisors::{Actor, Context, Fault};
use crate::telemetry::events::DocumentDeadLettered;

use super::deduplicator::store_fault;
use super::publisher::log_fault;

/// What the names of our own headers begin with.
const STORY_PREFIX: &str = "tm-";

/// Appends to the `dead-letters` topic, then to the store, then completes the delivery.
pub struct DeadLetters {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Name of the `dead-letters` topic.
    pub topic: Arc<str>,
    /// Where they are listed from.
    pub documents: Arc<dyn DocumentStore>,
    /// Told of every dead letter.
    pub events: Arc<EventBus>,
}

impl Actor for DeadLetters {
    type Message = DeadLetter;

    async fn handle(&mut self, batch: Vec<DeadLetter>, ctx: &Context<DeadLetter>) -> Result<(), Fault> {
        for letter in batch {
            let stored = at_rest(&letter);
            let known = ctx.protect(self.documents.dead_letter(&stored.id)).await.map_err(store_fault)?;
            if known.is_none() && !self.has_verdict(&letter, ctx).await? {
                self.publish(&letter, &stored, ctx).await?;
                ctx.protect(self.documents.write_dead_letter(stored.clone())).await.map_err(store_fault)?;
                DocumentDeadLettered {
                    id: &stored.id,
                    stage: &stored.stage,
                    code: stored.code,
                    error: &stored.error,
                    attempts: stored.attempts,
                    correlation_id: letter.delivery.correlation_id(),
                }
                .emit();
                self.events.publish(EventKind::dead_letter(&stored));
            }
            letter.delivery.complete();
            ctx.done(1);
        }
        Ok(())
    }
}

impl DeadLetters {
    /// Whether the very record has a durable verdict from an earlier delivery, which then stands.
    async fn has_verdict(&self, letter: &DeadLetter, ctx: &Context<DeadLetter>) -> Result<bool, Fault> {
        let Some(id) = &letter.document_id else { return Ok(false) };
        let stored = ctx.protect(self.documents.get(id)).await.map_err(store_fault)?;
        Ok(stored.is_some_and(|stored| stored.analysis.origin == *letter.delivery.position()))
    }

    /// Appends to the topic. A record too large to carry its story as well is kept in the store alone.
    async fn publish(
        &self,
        letter: &DeadLetter,
        stored: &StoredDeadLetter,
        ctx: &Context<DeadLetter>,
    ) -> Result<(), Fault> {
        let record = self.record(letter, stored);
        match ctx.protect(self.log.append(vec![record])).await {
            Ok(_) => Ok(()),
            Err(error @ LogError::TooLarge { .. }) => {
                tracing::error!(dead_letter = %stored.id, %error, "dead letter is kept in the store alone");
                Ok(())
            }
            Err(error) => Err(log_fault(error)),
        }
    }

    /// The original key and bytes untouched, the story in headers.
    fn record(&self, letter: &DeadLetter, stored: &StoredDeadLetter) -> NewRecord {
        let original = letter.delivery.record();
        let story = [
            ("tm-error", stored.error.clone()),
            ("tm-error-code", stored.code.as_str().to_owned()),
            ("tm-stage", stored.stage.to_string()),
            ("tm-attempts", stored.attempts.to_string()),
            ("tm-topic", stored.topic.to_string()),
            ("tm-partition", stored.partition.to_string()),
            ("tm-offset", stored.offset.to_string()),
            ("tm-correlation-id", stored.correlation_id.clone()),
            ("tm-first-seen", stored.first_seen.to_rfc3339()),
            ("tm-id", stored.id.to_string()),
        ];
        let mut headers: Vec<Header> =
            original.headers.iter().filter(|(name, _)| !name.starts_with(STORY_PREFIX)).cloned().collect();
        if original.header(CORRELATION_HEADER).is_none() {
            headers.push((CORRELATION_HEADER.to_owned(), Bytes::from(stored.correlation_id.clone())));
        }
        headers.extend(story.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value))));
        NewRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            timestamp_ms: None,
            key: original.key.clone(),
            value: original.value.clone(),
            headers,
        }
    }
}

/// What the store keeps of it.
fn at_rest(letter: &DeadLetter) -> StoredDeadLetter {
    let record = letter.delivery.record();
    let position = &record.position;
    StoredDeadLetter {
        id: StoredDeadLetter::id_of(&position.topic, position.partition, position.offset),
        document_id: letter.document_id.clone(),
        correlation_id: letter.delivery.correlation_id().to_string(),
        stage: Arc::clone(&letter.stage),
        code: letter.code,
        error: letter.error.clone(),
        attempts: letter.attempts,
        history: letter.history.clone(),
        topic: Arc::clone(&position.topic),
        partition: position.partition,
        offset: position.offset,
        first_seen: DateTime::from_timestamp_millis(record.timestamp_ms).unwrap_or_else(Utc::now),
        dead_at: Utc::now(),
        replayed_at: None,
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.to_vec(),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), value.to_vec())).collect(),
    }
}
