//! The backtest engine: signals or orders on bars become a portfolio with its metrics. Pure.
//!
//! Definitions are vectorbt's (see `docs/backtest.md`), implemented from their descriptions.
//!
//! - [`request`], [`result`], [`error`]: what is asked, answered and refused
//! - [`prices`], [`signals`], [`orders`]: checked columns
//! - [`strategies`], [`indicators`]: signals from prices
//! - [`sentiment_signals`]: signals from what documents said
//! - [`metrics`]: what a portfolio is measured by
//! - [`run`](run()), [`run_orders`], [`evaluate`]: one backtest
//! - [`run_columns`]: many assets, each with its own cash or all from one account
//! - [`walk_forward`], [`bootstrap`]: what a result is worth outside the bars it was found on
//! - [`sweep`]: many parameter sets; [`lanes`] and [`cuda`] compute them

pub mod bootstrap;
pub mod calendar;
pub mod chart;
mod column;
pub mod columns;
pub mod cuda;
mod decision;
pub mod device;
pub mod error;
mod execution;
pub mod indicators;
pub mod lanes;
mod limits;
mod margin;
pub mod metrics;
pub mod normal;
pub mod orders;
pub mod prices;
pub mod quantile;
pub mod request;
pub mod result;
mod run;
pub mod sentiment_signals;
pub mod signals;
mod simulation;
pub mod source;
pub mod span;
mod stops;
pub mod strategies;
pub mod sweep;
mod tolerance;
mod trades;
pub mod walk_forward;

pub use columns::{Asset, CallSequence, ColumnsResult, Sharing, run_columns};
pub use error::BacktestError;
pub use prices::{PriceColumns, Prices};
pub use request::BacktestRequest;
pub use result::BacktestResult;
pub use run::{evaluate, frequency, return_settings, run, run_orders};
pub use signals::Signals;
pub use source::SignalSource;
