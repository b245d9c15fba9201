//! What outlives a restart of the actors that use it: the duplicate memory and the vectors on their way to the index.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::messages::dead_letter::DeadLetter;
use crate::messages::delivery::Delivery;
use crate::messages::document::Document;
use crate::messages::record::{Position, Record};
use crate::supervisors::{Death, Mailbox};

use super::originals::Waiting;
use crate::stores::claims::Claims;
use crate::stores::vectors::{Neighbor, VectorIndex};

/// Handle on the duplicate memory and the pending vectors. Cheap to clone.
#[derive(Clone)]
pub struct Recall {
    /// Exact and `MinHash` memory of every document seen within the window, root of each duplicate included.
    pub claims: Arc<dyn Claims>,
    /// Documents that wait for what they copy.
    pub waiting: Arc<Waiting>,
    /// Vectors that passed the near-duplicate check and are not in the index yet.
    pub pending: Arc<Mutex<PendingVectors>>,
    /// The index; where several daemons share it, it has what is pending as claims.
    pub vectors: Arc<dyn VectorIndex>,
}

/// How long the withdrawal of a claim may take; what is not withdrawn then is found dead when a copy names it.
const WITHDRAWAL: Duration = Duration::from_secs(2);

impl Recall {
    /// Forgets the document this record brought, which won't be stored, so that nothing becomes a duplicate of it.
    pub fn forget(&self, id: &Arc<str>, origin: &Position) {
        self.claims.forget(id, origin);
        self.pending.lock().remove(id, origin);
    }

    /// As [`Recall::forget`], told to the other daemons too.
    pub async fn withdraw(&self, id: &Arc<str>, origin: &Position) {
        self.forget(id, origin);
        let Some(shared) = self.vectors.shared() else { return };
        let withdrawn = tokio::time::timeout(WITHDRAWAL, shared.withdraw(vec![(Arc::clone(id), origin.clone())])).await;
        let failed = match withdrawn {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the vector index did not answer".to_owned(),
        };
        tracing::warn!(error = failed, document = %id, "claim can't be withdrawn, it ends when a copy names it");
    }
}

/// What was judged and has not reached the index yet: a vector, or word that an earlier one no longer counts. Bounded by
/// what the mailboxes between the near-duplicate check and the vector writer hold.
#[derive(Clone, Default)]
pub struct PendingVectors {
    by_id: HashMap<Arc<str>, PendingVector>,
}

#[derive(Clone)]
struct PendingVector {
    /// `None` for a document that became a copy: what the index has of its earlier revision no longer counts.
    vector: Option<Arc<[f32]>>,
    origin: Position,
    timestamp_ms: i64,
}

impl PendingVectors {
    /// Adds or replaces; without a vector, word that this document has none any more.
    pub fn insert(&mut self, id: &Arc<str>, vector: Option<&Arc<[f32]>>, record: &Record) {
        let pending = PendingVector {
            vector: vector.cloned(),
            origin: record.position.clone(),
            timestamp_ms: record.timestamp_ms,
        };
        self.by_id.insert(Arc::clone(id), pending);
    }

    /// Removes what this record brought, if it is there.
    pub fn remove(&mut self, id: &str, origin: &Position) {
        if self.by_id.get(id).is_some_and(|pending| pending.origin == *origin) {
            self.by_id.remove(id);
        }
    }

    /// Whether the index is behind on this document.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The nearest by cosine within `since_ms..=until_ms`, never `except`; of equals the earliest, then by id.
    #[must_use]
    pub fn nearest(&self, vector: &[f32], (since_ms, until_ms): (i64, i64), except: &str) -> Option<Neighbor> {
        self.by_id
            .iter()
            .filter(|(id, pending)| &***id != except && (since_ms..=until_ms).contains(&pending.timestamp_ms))
            .filter_map(|(id, pending)| {
                let similarity = pending.vector.as_ref()?.iter().zip(vector).map(|(a, b)| a * b).sum();
                Some(Neighbor { id: Arc::clone(id), similarity, timestamp_ms: pending.timestamp_ms })
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
    recall.withdraw(&message.document().id, message.delivery().position()).await;
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
