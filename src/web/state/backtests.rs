//! What the API needs to run backtests.

use futures_util::future::BoxFuture;

use crate::backtest::BacktestRequest;
use crate::backtest::error::BacktestError;
use crate::backtest::sweep::SweepRequest;
use crate::kafka::log::LogError;
use crate::messages::backtest::StoredRun;
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::correlation::CorrelationId;
use crate::stores::documents::StoreError;

/// Why a backtest or sweep came to no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The request, its bars or its signals make no sense.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store is away or damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log did not take the result.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It was told to stop.
    #[error("told to stop")]
    Stopped,
    /// The program is at fault.
    #[error("{0}")]
    Failed(String),
}

impl From<BacktestError> for RunError {
    fn from(error: BacktestError) -> Self {
        Rejection::field(ErrorCode::InvalidBacktest, error.field(), error.to_string()).into()
    }
}

/// The simulator behind the API.
pub trait Backtests: Send + Sync {
    /// Simulates now and keeps the result; `None` if the request is too large to be answered at once.
    fn run_now<'a>(
        &'a self,
        request: BacktestRequest,
        correlation_id: &'a CorrelationId,
    ) -> BoxFuture<'a, Result<Option<StoredRun>, RunError>>;

    /// How many sets a sweep has, the request checked as far as it can be without its bars.
    ///
    /// # Errors
    /// [`RunError::Rejected`] names the field at fault.
    fn check_sweep(&self, request: &SweepRequest) -> Result<u64, RunError>;
}
