//! What outlives a restart of the actors that use it: the duplicate memory and the vectors on their way to the index.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::messages::dead_letter::DeadLetter;
use crate::messages::delivery::Delivery;
use crate::messages::document::Document;
use crate::messages::record::Position;
use crate::stores::vectors::Neighbor;
use crate::supervisors::{Death, Mailbox};
use crate::text::near_duplicates::DuplicateMemory;

/// Handle on the duplicate memory and the pending vectors. Cheap to clone.
#[derive(Clone)]
pub struct Recall {
    /// Exact and `MinHash` memory of every document seen within the window, root of each duplicate included.
    pub memory: Arc<Mutex<DuplicateMemory>>,
    /// Vectors that passed the near-duplicate check and are not in the index yet.
    pub pending: Arc<Mutex<PendingVectors>>,
}

impl Recall {
    /// Forgets the document this record brought, which won't be stored, so that nothing becomes a duplicate of it.
    pub fn forget(&self, id: &str, origin: &Position) {
        self.memory.lock().forget(id, origin);
        self.pending.lock().remove(id);
    }
}

/// Vectors between the near-duplicate check and the index: bounded by what the mailboxes between them hold.
#[derive(Default)]
pub struct PendingVectors {
    entries: Vec<PendingVector>,
}

struct PendingVector {
    id: Arc<str>,
    vector: Arc<[f32]>,
    timestamp_ms: i64,
}

impl PendingVectors {
    /// Adds or replaces.
    pub fn insert(&mut self, id: &Arc<str>, vector: &Arc<[f32]>, timestamp_ms: i64) {
        self.remove(id);
        self.entries.push(PendingVector { id: Arc::clone(id), vector: Arc::clone(vector), timestamp_ms });
    }

    /// Removes, if it is there.
    pub fn remove(&mut self, id: &str) {
        self.entries.retain(|entry| &*entry.id != id);
    }

    /// The nearest by cosine within `since_ms..=until_ms`, never `except`; of equals the earliest, then by id.
    #[must_use]
    pub fn nearest(&self, vector: &[f32], (since_ms, until_ms): (i64, i64), except: &str) -> Option<Neighbor> {
        self.entries
            .iter()
            .filter(|entry| &*entry.id != except && (since_ms..=until_ms).contains(&entry.timestamp_ms))
            .map(|entry| Neighbor {
                id: Arc::clone(&entry.id),
                similarity: entry.vector.iter().zip(vector).map(|(a, b)| a * b).sum(),
                timestamp_ms: entry.timestamp_ms,
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
