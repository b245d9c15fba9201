//! The backtest engine against figures of vectorbt 1.2.0, against definitions, and with bad input.
#![expect(clippy::unwrap_used, clippy::float_cmp, clippy::cast_precision_loss, clippy::print_stdout, reason = "tests")]

#[path = "backtest/bad_input.rs"]
mod bad_input;
#[path = "backtest/differential.rs"]
mod differential;
#[path = "backtest/golden.rs"]
mod golden;
#[path = "backtest/indicators.rs"]
mod indicators;
#[path = "backtest/properties.rs"]
mod properties;
#[path = "backtest/rules.rs"]
mod rules;
#[path = "backtest/walk_forward.rs"]
mod walk_forward;
