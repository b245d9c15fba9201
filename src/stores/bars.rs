//! What bars need of a relational store: written once however often they come, read by symbol and interval.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use super::documents::{Page, StoreError};
use crate::messages::bar::Bar;
use crate::messages::correlation::CorrelationId;
use crate::messages::record::Position;

/// Most bars of one page.
pub const MAX_BARS: usize = 10_000;

/// A bar to write, and the record that brought it.
#[derive(Debug, Clone, PartialEq)]
pub struct BarRow {
    /// The bar.
    pub bar: Bar,
    /// The record's correlation id.
    pub correlation_id: CorrelationId,
    /// The record.
    pub origin: Position,
    /// The record's own time, milliseconds since the Unix epoch.
    pub record_ms: i64,
}

/// Which bars, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarFilter {
    /// Of this symbol, upper case.
    pub symbol: String,
    /// Of this interval.
    pub interval: String,
    /// At or after this time.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub to: Option<DateTime<Utc>>,
    /// At most this many (1 to [`MAX_BARS`]).
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// Relational store of bars (`raw.bars`). Resolved writes are durable.
pub trait BarStore: Send + Sync {
    /// Writes bars in order, all in one transaction. A bar of the same symbol, interval and time takes the place of the
    /// one that is there, unless that is of a later record of the same partition.
    fn write_bars(&self, rows: Vec<BarRow>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// One page of bars, oldest first.
    fn bars(&self, filter: BarFilter) -> BoxFuture<'_, Result<Page<Bar>, StoreError>>;

    /// How many bars there are, counted up to `most`; limit and cursor of the filter mean nothing here.
    fn count_bars(&self, filter: BarFilter, most: u64) -> BoxFuture<'_, Result<u64, StoreError>>;
}
