//! The backtest engine against figures of vectorbt 1.2.0, against definitions, and with bad input.
#![expect(clippy::unwrap_used, clippy::float_cmp, clippy::cast_precision_loss, reason = "tests")]

#[path = "backtest/golden.rs"]
mod golden;
#[path = "backtest/indicators.rs"]
mod indicators;
