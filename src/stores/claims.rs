//! Claims on content: which document is the first of its copies.
//!
//! The pipeline claims what it is about to process; of copies in flight anywhere exactly one claim is fresh. One daemon
//! keeps its claims in its own memory ([`LocalClaims`]); several share them ([`super::redis::claims::SharedClaims`]).

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::documents::StoreError;
use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::Sighting;
use crate::messages::record::Position;
use crate::text::fingerprint::Fingerprint;
use crate::text::near_duplicates::{DuplicateMemory, Standing};

/// A document that comes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Document id.
    pub id: Arc<str>,
    /// Hash and signature of its content.
    pub fingerprint: Fingerprint,
    /// The record that brought it.
    pub origin: Position,
    /// The record's time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// The duplicate memory as the pipeline uses it. What is said of a claim depends on the order of claims alone; see
/// [`DuplicateMemory::sight`] for the rules. Only [`Claims::claim`] may wait; the others are told to the rest of the
/// installation later, in order and before any later claim of this daemon.
pub trait Claims: Send + Sync {
    /// Looks documents up and records them, in order and in one step. Safe to repeat after an error.
    ///
    /// Fails as [`StoreError::Unavailable`] while the claims of others can't be known.
    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Result<Vec<Sighting>, StoreError>>;

    /// The verdict of the document this record brought is durable: stored, or a copy of `root`.
    fn settle(&self, id: &Arc<str>, origin: &Position, root: Option<&Arc<str>>);

    /// The document this record brought won't be stored: its claim is withdrawn.
    fn forget(&self, id: &Arc<str>, origin: &Position);

    /// A later check found this document to be a copy of `root`.
    fn redirect(&self, id: &Arc<str>, origin: &Position, root: &Arc<str>);

    /// The document at the root of this one: what it copies, or itself.
    fn root(&self, id: &Arc<str>) -> Arc<str>;

    /// The store has no document of this id, whatever record brought it: it is no longer known.
    fn expel(&self, id: &Arc<str>);

    /// What is known of the verdict of this document.
    fn standing(&self, id: &str) -> Standing;

    /// Takes over new settings.
    fn reconfigure(&self, config: &DedupConfig);

    /// Documents held.
    fn len(&self) -> usize;

    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether other daemons may hold claims too: then the original of a copy may be on its way elsewhere.
    fn is_shared(&self) -> bool;
}

/// Claims of one daemon.
pub struct LocalClaims {
    memory: Mutex<DuplicateMemory>,
}

impl LocalClaims {
    /// Begins with what this memory holds.
    #[must_use]
    pub fn new(memory: DuplicateMemory) -> Self {
        Self { memory: Mutex::new(memory) }
    }
}

impl Claims for LocalClaims {
    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Result<Vec<Sighting>, StoreError>> {
        let mut memory = self.memory.lock();
        let sightings = claims
            .iter()
            .map(|claim| memory.sight(&claim.id, &claim.fingerprint, &claim.origin, claim.timestamp_ms))
            .collect();
        std::future::ready(Ok(sightings)).boxed()
    }

    fn settle(&self, id: &Arc<str>, origin: &Position, root: Option<&Arc<str>>) {
        self.memory.lock().settle(id, origin, root);
    }

    fn forget(&self, id: &Arc<str>, origin: &Position) {
        self.memory.lock().forget(id, origin);
    }

    fn redirect(&self, id: &Arc<str>, origin: &Position, root: &Arc<str>) {
        self.memory.lock().redirect(id, origin, root);
    }

    fn root(&self, id: &Arc<str>) -> Arc<str> {
        self.memory.lock().root(id)
    }

    fn expel(&self, id: &Arc<str>) {
        self.memory.lock().expel(id);
    }

    fn standing(&self, id: &str) -> Standing {
        self.memory.lock().standing(id)
    }

    fn reconfigure(&self, config: &DedupConfig) {
        self.memory.lock().reconfigure(config);
    }

    fn len(&self) -> usize {
        self.memory.lock().len()
    }

    fn is_shared(&self) -> bool {
        false
    }
}
