//! What backtests need to know of what documents said: signals by symbol. They are written with the verdicts
//! ([`super::documents::DocumentStore::write`]), in the same transaction.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use super::documents::{Page, StoreError};
use crate::messages::signal::Signal;

/// Most signals of one page.
pub const MAX_SIGNALS: usize = 10_000;

/// Which signals, oldest first by [`Signal::ts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalFilter {
    /// Of this symbol, upper case.
    pub symbol: String,
    /// At or after this time.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub to: Option<DateTime<Utc>>,
    /// At most this many (1 to [`MAX_SIGNALS`]).
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// Relational store of signals (`analytics.signals`).
pub trait SignalStore: Send + Sync {
    /// One page of signals, oldest first.
    fn signals(&self, filter: SignalFilter) -> BoxFuture<'_, Result<Page<Signal>, StoreError>>;
}
