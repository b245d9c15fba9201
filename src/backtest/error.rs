//! What is wrong with a backtest and where: every error names its field, and the row where there is one.

use std::fmt;

/// Why a backtest cannot be run. Rows count from 0, as in `close[0]`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BacktestError {
    /// A column or the series itself holds nothing to trade.
    #[error("{field} {reason}")]
    Empty {
        /// Full name, as `prices.close`.
        field: String,
        /// What is missing.
        reason: &'static str,
    },
    /// Two columns that belong together differ in length.
    #[error("{field} has {len} rows where {expected_by} has {expected}")]
    Length {
        /// Full name of the column that is too short or too long.
        field: String,
        /// Its rows.
        len: usize,
        /// The column that sets the length.
        expected_by: &'static str,
        /// Rows of that column.
        expected: usize,
    },
    /// A number in a column is not allowed.
    #[error("{field}[{row}] is {value}: {allowed}")]
    Value {
        /// Full name of the column.
        field: String,
        /// From 0.
        row: usize,
        /// As given.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A time is out of order, doubled or off the interval.
    #[error("{field}[{row}]: {reason}")]
    Time {
        /// Full name of the column.
        field: String,
        /// From 0.
        row: usize,
        /// What is wrong, with both times.
        reason: String,
    },
    /// A setting of the request is out of range.
    #[error("{field} is {value}: {allowed}")]
    Parameter {
        /// Full name, as `signals.params.fast`.
        field: String,
        /// As given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Two settings contradict each other or one lacks another that it needs.
    #[error("{field}: {reason}")]
    Combination {
        /// The setting to change.
        field: String,
        /// What it clashes with or what it needs.
        reason: String,
    },
}

impl BacktestError {
    /// Full name of the field at fault.
    pub fn field(&self) -> &str {
        match self {
            Self::Empty { field, .. }
            | Self::Length { field, .. }
            | Self::Value { field, .. }
            | Self::Time { field, .. }
            | Self::Parameter { field, .. }
            | Self::Combination { field, .. } => field,
        }
    }

    /// The row at fault, from 0.
    pub fn row(&self) -> Option<usize> {
        match self {
            Self::Value { row, .. } | Self::Time { row, .. } => Some(*row),
            Self::Length { len, expected, .. } => Some((*len).min(*expected)),
            Self::Empty { .. } | Self::Parameter { .. } | Self::Combination { .. } => None,
        }
    }

    /// A setting that is out of range.
    pub(crate) fn parameter(field: &str, value: impl fmt::Display, allowed: &str) -> Self {
        Self::Parameter { field: field.to_owned(), value: value.to_string(), allowed: allowed.to_owned() }
    }

    /// Settings that do not go together.
    pub(crate) fn combination(field: &str, reason: impl Into<String>) -> Self {
        Self::Combination { field: field.to_owned(), reason: reason.into() }
    }
}
