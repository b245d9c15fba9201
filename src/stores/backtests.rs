//! What backtests and sweeps need of a relational store: results by id, rows of sweeps, checkpoints.

use futures_util::future::BoxFuture;

use super::documents::{Page, StoreError};
use crate::messages::backtest::{RunKind, StoredRun, SweepRow};

/// Which runs, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only of this kind.
    pub kind: Option<RunKind>,
    /// Only of this symbol, upper case.
    pub symbol: Option<String>,
    /// Only of this strategy.
    pub strategy: Option<String>,
    /// At most this many (1 to 1000).
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// Relational store of runs (`analytics.backtests`, `analytics.sweep_results`). Resolved writes are durable.
pub trait BacktestStore: Send + Sync {
    /// Keeps a run; the same id again is the same run.
    fn save_run(&self, run: StoredRun) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The run with this id, else the newest whose `portfolio_id` this is.
    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredRun>, StoreError>>;

    /// One page of runs, newest first, without their results.
    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Page<StoredRun>, StoreError>>;

    /// Writes rows of a sweep; a row at the same position takes the earlier one's place.
    fn write_sweep_rows(
        &self,
        sweep_id: &str,
        correlation_id: &str,
        rows: Vec<SweepRow>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Rows of a sweep in order, from this position on, at most `limit`.
    fn sweep_rows<'a>(
        &'a self,
        sweep_id: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<SweepRow>, StoreError>>;

    /// Keeps how far a sweep is, for whoever goes on with it; `None` forgets it.
    fn save_checkpoint<'a>(
        &'a self,
        sweep_id: &'a str,
        checkpoint: Option<Vec<u8>>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// How far a sweep was.
    fn checkpoint<'a>(&'a self, sweep_id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>>;
}
