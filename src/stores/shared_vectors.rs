//! What the near-duplicate check needs of a vector index that several daemons share: claims.
//!
//! A claim says "this document passed the check and is on its way to the store". It is made while the daemon holds the
//! lock of the installation, so that of near copies seen anywhere at once exactly one is claimed. It ends when the
//! document's vector is settled, or is withdrawn when the document won't be stored.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::documents::StoreError;
use super::vectors::{Neighbor, VectorEntry, VectorQuery};
use crate::messages::record::Position;

/// What a daemon found of a document that it checks.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorClaim {
    /// Document id.
    pub id: Arc<str>,
    /// Its vector where it is fresh; `None` for a copy: what is known of an earlier revision no longer counts.
    pub vector: Option<Arc<[f32]>>,
    /// The record that brought it.
    pub origin: Position,
    /// The record's time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The document's source.
    pub source: Arc<str>,
}

/// Who claims a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// The record that brought it.
    pub origin: Position,
    /// When it was claimed, milliseconds since the Unix epoch.
    pub claimed_at_ms: i64,
}

/// A document whose verdict is durable.
#[derive(Debug, Clone)]
pub struct SettledVector {
    /// Document id.
    pub id: Arc<str>,
    /// The record that brought it: only its own claim ends.
    pub origin: Position,
    /// The record's correlation id.
    pub correlation_id: Arc<str>,
    /// Its vector where it was stored; `None` for a copy, whose earlier revision may have had one.
    pub entry: Option<VectorEntry>,
}

/// How long things last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimLimits {
    /// Lease of the lock, and how long to wait for it.
    pub lease: Duration,
    /// Age from which a claim without a verdict counts as abandoned.
    pub max_age: Duration,
}

/// A vector index with claims.
pub trait SharedVectors: Send + Sync {
    /// For each query, in order, its nearest, best first: stored vectors and claims of documents on
    /// their way, each document once. A stored vector whose document is claimed anew does not count.
    fn nearest_claimed(&self, queries: Vec<VectorQuery>) -> BoxFuture<'_, Result<Vec<Vec<Neighbor>>, StoreError>>;

    /// Makes claims, each in place of what the document claimed before. Resolved claims are seen by every later search.
    fn claim(&self, claims: Vec<VectorClaim>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Withdraws the claims these records made, and no others of the same documents.
    fn withdraw(&self, claims: Vec<(Arc<str>, Position)>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Who claims a document now.
    fn claimant<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Claimant>, StoreError>>;

    /// Writes what is durable, then ends the claims of these records.
    fn settle(&self, settled: Vec<SettledVector>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Documents that came once more after their verdict was durable: where the daemon that stored one died before its
    /// vector was settled, the claim becomes the vector. Entries need no vector.
    fn settle_again(&self, stored: Vec<SettledVector>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// How long claims and the lock they are made under last.
    fn limits(&self) -> ClaimLimits;
}
