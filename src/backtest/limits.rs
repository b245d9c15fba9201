//! Entries as limit orders.
//!
//! An order placed at a bar's close waits for a later bar that comes to its price: it is filled at the price, or at the
//! open if the bar begins beyond it. A new entry replaces it, an exit or a stop withdraws it.

use super::decision::Decision;
use super::error::BacktestError;
use super::request::Limit;
use super::stops::BarRange;

impl Limit {
    /// Checks the ranges.
    pub(crate) fn check(self) -> Result<Self, BacktestError> {
        if !(self.offset >= 0.0 && self.offset < 1.0) {
            return Err(BacktestError::parameter("limit.offset", self.offset, "a fraction from 0, below 1"));
        }
        if self.valid_bars == 0 {
            return Err(BacktestError::parameter("limit.valid_bars", self.valid_bars, "at least 1"));
        }
        Ok(self)
    }
}

/// An order that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) decision: Decision,
    price: f64,
    pub(crate) last_row: usize,
}

impl Pending {
    pub(crate) fn new(limit: Limit, decision: Decision, close: f64, row: usize) -> Self {
        let better = if decision.size > 0.0 { 1.0 - limit.offset } else { 1.0 + limit.offset };
        Self { decision, price: close * better, last_row: row.saturating_add(limit.valid_bars) }
    }

    /// Price at which a bar fills it.
    pub(crate) fn met(self, bar: BarRange) -> Option<f64> {
        if self.decision.size > 0.0 { bar.falls_to(self.price) } else { bar.rises_to(self.price) }
    }
}
