//! What outlives a restart of the actors that use it: the duplicate memory and the vectors on their way to the index.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::messages::dead_letter::DeadLetter;
use crate::messages::delivery::Delivery;
use crate::messages::document::Document;
use crate::messages::record::{Position, Record};
use crate::supervisors::{Death, Mailbox};

use super::originals::Waiting;
use crate::stores::claims::Claims;
use crate::stores::vectors::Neighbor;

/// Handle on the duplicate memory and the pending vectors. Cheap to clone.
#[derive(Clone)]
pub struct Recall {
    /// Exact and `MinHash` memory of every document seen within the window, root of each duplicate included.
    pub claims: Arc<dyn Claims>,
    /// Documents that wait for what they copy.
    pub waiting: Arc<Waiting>,
    /// Vectors that passed the near-duplicate check and are not in the index yet.
    pub pending: Arc<Mutex<PendingVectors>>,
}

impl Recall {
    /// Forgets the document this record brought, which won't be stored, so that nothing becomes a duplicate of it.
    pub fn forget(&self, id: &Arc<str>, origin: &Position) {
        self.claims.forget(id, origin);
        self.pending.lock().remove(id, origin);
    }
}

/// What was judged and has not reached the index yet: a vector, or word that an earlier one no longer counts. Bounded by
/// what the mailboxes between the near-duplicate check and the vector writer hold.
#[derive(Clone, Default)]
pub struct PendingVectors {
    entries: Vec<PendingVector>,
}

#[derive(Clone)]
struct PendingVector {
    id: Arc<str>,
    /// `None` for a document that became a copy: what the index has of its earlier revision no longer counts.
    vector: Option<Arc<[f32]>>,
    origin: Position,
    timestamp_ms: i64,
}

impl PendingVectors {
    /// Adds or replaces; without a vector, word that this document has none any more.
    pub fn insert(&mut self, id: &Arc<str>, vector: Option<&Arc<[f32]>>, record: &Record) {
        self.entries.retain(|entry| entry.id != *id);
        self.entries.push(PendingVector {
            id: Arc::clone(id),
            vector: vector.cloned(),
            origin: record.position.clone(),
            timestamp_ms: record.timestamp_ms,
        });
    }

    /// Removes what this record brought, if it is there.
    pub fn remove(&mut self, id: &str, origin: &Position) {
        self.entries.retain(|entry| &*entry.id != id || entry.origin != *origin);
    }

    /// Whether the index is behind on this document.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.id == id)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The nearest by cosine within `since_ms..=until_ms`, never `except`; of equals the earliest, then by id.
    #[must_use]
    pub fn nearest(&self, vector: &[f32], (since_ms, until_ms): (i64, i64), except: &str) -> Option<Neighbor> {
        self.entries
            .iter()
            .filter(|entry| &*entry.id != except && (since_ms..=until_ms).contains(&entry.timestamp_ms))
            .filter_map(|entry| {
                let similarity = entry.vector.as_ref()?.iter().zip(vector).map(|(a, b)| a * b).sum();
                Some(Neighbor { id: Arc::clone(&entry.id), similarity, timestamp_ms: entry.timestamp_ms })
            })
            .reduce(nearer)
    }
}

/// The nearer of two neighbours: by similarity, then the earlier, then the smaller id.
#[must_use]
pub fn nearer(left: Neighbor, right: Neighbor) -> Neighbor {
    let order = left
        .similarity
        .total_cmp(&right.similarity)
        .then_with(|| right.timestamp_ms.cmp(&left.timestamp_ms))
        .then_with(|| right.id.cmp(&left.id));
    if order.is_lt() { right } else { left }
}

/// A message that carries a delivery and can end in the dead letters.
pub trait Carries {
    /// The record's way back to its ledger.
    fn delivery(&self) -> &Delivery;
    /// The document.
    fn document(&self) -> &Document;
}

macro_rules! carries {
    ($($message:ty),*) => {$(
        impl Carries for $message {
            fn delivery(&self) -> &Delivery {
                &self.delivery
            }
            fn document(&self) -> &Document {
                &self.document
            }
        }
    )*};
}
carries!(
    crate::messages::pipeline::Intake,
    crate::messages::pipeline::Fingerprinted,
    crate::messages::pipeline::Embedded,
    crate::messages::pipeline::Judged
);

impl Carries for super::sql_writer::Verdict {
    fn delivery(&self) -> &Delivery {
        &self.judged.delivery
    }
    fn document(&self) -> &Document {
        &self.judged.document
    }
}

/// Buries a message that its stage gave up: forgets the document at once, then hands it to the dead letters.
///
/// If they are closed the delivery is dropped, and with it goes back to its source.
pub async fn bury(message: impl Carries, death: Death, recall: Recall, dead_letters: Mailbox<DeadLetter>) {
    recall.forget(&message.document().id, message.delivery().position());
    let letter = DeadLetter {
        delivery: message.delivery().clone(),
        document_id: Some(Arc::clone(&message.document().id)),
        stage: death.stage,
        code: death.code,
        error: death.reason,
        attempts: death.attempts,
        history: death.history,
    };
    drop(message);
    if dead_letters.send(letter).await.is_err() {
        tracing::warn!("dead letters are closed, the record stays with its source");
    }
}
