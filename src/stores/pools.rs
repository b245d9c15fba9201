//! How busy a store's connections are.

use serde::Serialize;

/// One pool of connections at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// Label in metrics, such as `postgres_analytics`.
    pub store: &'static str,
    /// Where it leads: a file, or host and database.
    pub address: String,
    /// Most connections.
    pub max: usize,
    /// Connections open now.
    pub size: usize,
    /// Of these, free ones.
    pub available: usize,
    /// Of these, ones at work.
    pub used: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}
